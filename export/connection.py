"""How a client reaches a server: what it may send over a connection, and how long it waits."""

from __future__ import annotations

import ipaddress
import math
import re

# gRPC counts nanoseconds in 64 bits: far above this a deadline would lie in the past.
_LONGEST_SECONDS = 1e8
_ADDRESS = re.compile(r"(?:dns:(?:///)?|ipv4:|ipv6:)?(?:\[(?P<brackets>[^\[\]]+)\]|(?P<name>[^:,/\[\]]+))(?::\d+)?")


def time_limit(seconds: float | None, name: str) -> float | None:
    """The timeout of a call as gRPC takes it; None, infinity and more than three years: no limit.

    Args:
      seconds: as a user gave it.
      name: of the flag or argument, for the error.

    Raises:
      ValueError: it is not a number, or not above 0.
    """
    if seconds is None:
        return None
    if math.isnan(seconds) or seconds <= 0:
        raise ValueError(f"{name}={seconds} must be a number of seconds above 0; inf: no limit")
    return seconds if seconds <= _LONGEST_SECONDS else None


def metadata(server: str, token: str, encrypted: bool) -> list[tuple[str, str]]:
    """What goes with every call: the token, where it cannot be overheard.

    Raises:
      ValueError: the token would go to another machine without TLS, or is no token. The message does not hold it.
    """
    if not token:
        return []
    if not re.fullmatch(r"[!-~]+", token):
        raise ValueError("the token has blanks, line breaks or characters outside ASCII")
    if not encrypted and not is_this_machine(server):
        raise ValueError(f"a token is not sent to {server} without TLS: anyone on the way could read it")
    return [("authorization", f"Bearer {token}")]


def is_this_machine(server: str) -> bool:
    """Whether an address as gRPC takes it, such as "localhost:8500", is of the machine itself."""
    if server.startswith(("unix:", "unix-abstract:")):
        return True
    found = _ADDRESS.fullmatch(server)
    if not found:
        return False
    host = found["brackets"] or found["name"]
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
