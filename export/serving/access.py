"""Who may ask: TLS, certificates of clients, and a token."""

from __future__ import annotations

import dataclasses
import hmac
import ipaddress
import ssl

import grpc
from absl import logging

from export.serving.status import Status

_SHORTEST_TOKEN = 16


@dataclasses.dataclass(frozen=True)
class Access:
    """What is asked of clients.

    Attributes:
      key, certificate: PEM files of the server; "": no TLS.
      client_roots: PEM file of the authorities that sign clients' certificates; "": clients need none.
      token: that every request but health checks has to bring; "": none.
    """

    key: str = ""
    certificate: str = ""
    client_roots: str = ""
    token: str = ""

    @classmethod
    def of_files(cls, key: str, certificate: str, client_roots: str, token_file: str) -> Access:
        """Reads the token, and tries the certificates.

        Raises:
          ValueError: flags that do not go together, or files that are none.
          OSError: a file cannot be read.
        """
        if bool(key) != bool(certificate):
            raise ValueError(f"--tls_key={key} and --tls_certificate={certificate} go together")
        if client_roots and not key:
            raise ValueError(f"--tls_client_roots={client_roots} needs --tls_key and --tls_certificate")
        token = ""
        if token_file:
            with open(token_file, encoding="utf-8") as file:
                token = file.read().strip()
            if len(token) < _SHORTEST_TOKEN or not token.isascii() or len(token.split()) > 1:
                raise ValueError(
                    f"--token_file={token_file} must hold one word of at least {_SHORTEST_TOKEN} ASCII characters"
                )
        access = cls(key, certificate, client_roots, token)
        access.of_rest()
        return access

    def of_grpc(self) -> grpc.ServerCredentials | None:
        """Credentials of the gRPC port; None: in the clear."""
        if not self.key:
            return None
        roots = _read(self.client_roots) if self.client_roots else None
        return grpc.ssl_server_credentials([(_read(self.key), _read(self.certificate))], roots, bool(roots))

    def of_rest(self) -> ssl.SSLContext | None:
        """Credentials of the REST port; None: in the clear."""
        if not self.key:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.certificate, self.key)
        except ssl.SSLError as error:
            raise ValueError(
                f"--tls_certificate={self.certificate} and --tls_key={self.key} are no such pair: {error}"
            ) from error
        if self.client_roots:
            try:
                context.load_verify_locations(self.client_roots)
            except ssl.SSLError as error:
                raise ValueError(f"--tls_client_roots={self.client_roots} holds no certificates: {error}") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def check(self, authorization: str | bytes) -> None:
        """Raises `Status` if the header `Authorization` of a request does not hold the token."""
        given = authorization.encode() if isinstance(authorization, str) else authorization
        if self.token and not hmac.compare_digest(given, b"Bearer " + self.token.encode()):
            raise Status("UNAUTHENTICATED", "the request needs the header 'authorization: Bearer <token>'")

    def warn(self, host: str) -> None:
        """Says so where strangers can ask, or listen."""
        if _is_local(host):
            return
        missing = []
        if not self.key:
            missing.append("without TLS everybody on the way can read and change requests (--tls_key)")
        if not self.token and not self.client_roots:
            missing.append("whoever reaches it may ask (--token_file, --tls_client_roots)")
        if missing:
            logging.warning("--host=%s listens beyond this machine: %s", host, "; ".join(missing))


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
