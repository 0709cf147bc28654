"""Ports and file descriptors: taken first, so that a port in use is noticed before the model is loaded."""

from __future__ import annotations

import resource
import socket

from grpc import aio

_WANTED_FILES = 8200
_OTHER_FILES = 200  # Libraries, pipes, and what the model keeps open.
_MOST_CONNECTIONS = 4000


def connections() -> int:
    """Connections that each of the two ports may have, after allowing this process as many files as it may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(_WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(8, min(_MOST_CONNECTIONS, (soft - _OTHER_FILES) // 2))


def address(host: str, port: int) -> str:
    """ "host:port", an address of IPv6 in brackets."""
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def listening(host: str, port: int) -> socket.socket:
    """A bound socket for the REST server.

    Raises:
      OSError: there is no such address, or the port is in use; names them.
    """
    try:
        family, _, _, _, where = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(where[:2], family=family, backlog=512)
    except OSError as error:
        raise OSError(f"--host={host} --rest_port={port}: {error.strerror or error}") from error


def add_grpc(server: aio.Server, host: str, port: int, credentials) -> int:
    """Binds the gRPC port; returns its number.

    Raises:
      OSError: there is no such address, or the port is in use; names them.
    """
    where = address(host, port)
    try:
        return server.add_secure_port(where, credentials) if credentials else server.add_insecure_port(where)
    except RuntimeError as error:
        raise OSError(f"--host={host} --port={port}: the address cannot be had, or is in use") from error
