"""How the gRPC server treats connections."""

from __future__ import annotations

from export.serving.limits import Limits


def of(limits: Limits) -> list[tuple[str, int]]:
    """Channel arguments (`grpc_types.h`)."""
    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.per_message_decompression", 0),
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", 2 * limits.concurrent),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        # What nobody reads yet stays in the client's hands, but for so much a stream.
        ("grpc.http2.bdp_probe", 0),
        # Who connects and then says nothing holds a place that others cannot take.
        ("grpc.server_handshake_timeout_ms", 3_000),
        ("grpc.max_connection_idle_ms", 600_000),
        # A peer that is gone without a word is noticed; one that asks too often whether we are there is let go.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ]
