"""HTTP/2 by hand: what no gRPC library sends, since it is written to be polite."""

import socket
import struct

DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_INITIAL_WINDOW = 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def call_headers(method: str) -> bytes:
    """The header block of a gRPC call, every field spelled out."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": "x",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )


def open_connection(port: int, window: int = 65_535) -> socket.socket:
    """A connection whose streams take so many bytes of answers before they must be allowed more."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW, window)))
    return connection


def call(method: str, message: bytes, stream: int = 1) -> bytes:
    """A call and its message, cut into frames; no more than 64 KiB of it will be taken at once."""
    framed = b"\0" + struct.pack(">I", len(message)) + message
    pieces = [framed[start : start + 16_384] for start in range(0, len(framed), 16_384)]
    return frame(HEADERS, END_HEADERS, stream, call_headers(method)) + b"".join(
        frame(DATA, END_STREAM if piece is pieces[-1] else 0, stream, piece) for piece in pieces
    )
