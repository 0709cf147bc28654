"""HTTP as it goes over the wire, also such as no client would send."""

import http.client
import io
import socket
from typing import NamedTuple


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


def ask(port, method, path, body=None, headers=(), chunked=False) -> Answer:
    """One request of a well-behaved client."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, dict(headers), encode_chunked=chunked)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def send(port, data: bytes, count: int, without_body=False) -> tuple[list[Answer], bool]:
    """What comes back for these bytes on one connection, and whether the server ended it.

    Waits for so many answers, and a moment longer: there may be one too many. `without_body`: the first has none.
    """
    received, ended = b"", False
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        while not ended:
            try:
                part = connection.recv(2**16)
            except TimeoutError:
                break
            received, ended = received + part, not part
            if received.count(b"HTTP/1.") >= count:
                connection.settimeout(0.5)
    return list(_parsed(received, without_body)), ended


def _parsed(data, without_body):
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        line, _, fields = head.partition(b"\r\n")
        headers = http.client.parse_headers(io.BytesIO(fields + b"\r\n\r\n"))
        length = 0 if without_body else int(headers.get("Content-Length", 0))
        yield Answer(int(line.split()[1]), headers, data[:length])
        data, without_body = data[length:], False
