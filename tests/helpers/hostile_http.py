"""Raw HTTP, as a client speaks it that nobody wrote for this server."""

import socket


def connect(port: int, receive_buffer: int = 0) -> socket.socket:
    """A TCP connection; its buffer can be so small that an answer does not fit."""
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", port))
    return connection


def begin_connecting(port: int) -> socket.socket:
    """A TCP connection that may be there, now or some time, or be refused: nobody waits for it."""
    connection = socket.socket()
    connection.setblocking(False)
    connection.connect_ex(("127.0.0.1", port))
    return connection


def post(length: int | None = None, *headers: str) -> bytes:
    """The head of a prediction."""
    lines = ["POST /v1/models/dsg:predict HTTP/1.1", "Host: x", *headers]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


def read_responses(connection: socket.socket) -> list[tuple[int, bytes]]:
    """(status, body) of all responses until the server ends the connection; an incomplete one is an error."""
    data = b""
    try:
        while part := connection.recv(1 << 16):
            data += part
    except ConnectionResetError:
        pass
    found = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        status = head.split(b" ")
        assert separator and status[0] in (b"HTTP/1.0", b"HTTP/1.1"), head
        lengths = [
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
        ]
        assert len(lengths) == 1, head
        assert len(data) >= lengths[0], (head, data)
        found.append((int(status[1]), data[: lengths[0]]))
        data = data[lengths[0] :]
    return found


def status_of(port: int, body: bytes, *headers: str) -> str:
    """The status of a prediction over a new connection, as text."""
    with connect(port) as connection:
        try:
            connection.sendall(post(len(body), "Connection: close", *headers) + body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # Refused before all of it was sent; the answer is there.
        responses = read_responses(connection)
    return str(responses[0][0]) if responses else "no answer"
