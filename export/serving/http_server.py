"""Connections of the REST port: how many, and how long a silent one stays."""

from __future__ import annotations

import asyncio
import socket
import ssl
from http import HTTPStatus

import orjson
from aiohttp import web

from export.serving import rest
from export.serving.limits import Limits
from export.serving.monitoring import Monitoring
from export.serving.request_log import RequestLog

_FIRST_REQUEST_SECONDS = 15.0
_NEXT_REQUEST_SECONDS = 60.0
_LINGERING_SECONDS = 2.0  # For the rest of a body that nobody wants: without it the client might not see the answer.
_BACKLOG = 512
# Those that have to go make room in between; all at once would take the other port's files, too.
_ACCEPTED_AT_ONCE = 16


class Server:
    """The HTTP server.

    When all connections are in use, a new one takes the place of that which has been without a whole request longest.

    Args:
      api: what answers.
      limits: how many connections there may be.
      log, monitoring: what they are told.
    """

    def __init__(self, api: rest.Api, limits: Limits, log: RequestLog, monitoring: Monitoring):
        self._api, self._limits, self._log = api, limits, log
        self._gauge = monitoring.connections.labels("rest")
        self._connections = 0
        self._silent: dict[_Connection, None] = {}  # Those without a whole request, the oldest first.
        self._manager = web.Server(self._answer, handler_cancellation=True)
        self._server: asyncio.Server | None = None

    async def start(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Accepts connections."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self, self._manager),
            sock=listening,
            ssl=tls,
            backlog=_ACCEPTED_AT_ONCE,
            ssl_handshake_timeout=_FIRST_REQUEST_SECONDS if tls else None,
        )
        listening.listen(_BACKLOG)  # asyncio has one number for both.

    async def stop(self, seconds: float) -> None:
        """Accepts nothing more, and returns when what was accepted is answered, or after so many seconds."""
        if self._server is not None:
            self._server.close()
        self._manager.pre_shutdown()
        await self._manager.shutdown(seconds)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _Connection)
        connection.begin()
        try:
            return await self._api.answer(request, lambda: self._silent.pop(connection, None))
        finally:
            if connection.transport is not None:
                self._silent.pop(connection, None)
                self._silent[connection] = None

    def opened(self, connection: _Connection) -> None:
        """A connection is there; perhaps another one has to go."""
        self._connections += 1
        self._gauge.set(self._connections)
        self._silent[connection] = None
        if self._connections > self._limits.connections:
            oldest = next(iter(self._silent))
            self._log.refusal("rest", "", "connections", f"{self._limits.connections} connections are open")
            oldest.abort()

    def closed(self, connection: _Connection) -> None:
        """It is gone."""
        self._connections -= 1
        self._gauge.set(self._connections)
        self._silent.pop(connection, None)

    def malformed(self, message: str) -> None:
        """What came is not HTTP."""
        self._log.refusal("rest", "", "malformed", message)


class _Connection(web.RequestHandler):
    def __init__(self, server: Server, manager: web.Server):
        super().__init__(
            manager,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=_NEXT_REQUEST_SECONDS,
            lingering_time=_LINGERING_SECONDS,
            auto_decompress=False,  # It would unpack without a bound of ours.
            access_log=None,  # type: ignore[arg-type]  # None: no log; the lines of `RequestLog` tell more.
        )
        self._owner = server
        self._first: asyncio.TimerHandle | None = None

    def connection_made(self, transport):
        super().connection_made(transport)
        self._first = asyncio.get_running_loop().call_later(_FIRST_REQUEST_SECONDS, self.abort)
        self._owner.opened(self)

    def connection_lost(self, exc):
        self.begin()
        self._owner.closed(self)
        super().connection_lost(exc)

    def begin(self) -> None:
        """A first request is there."""
        if self._first is not None:
            self._first.cancel()

    def abort(self) -> None:
        """Ends it without a word."""
        if self.transport is not None:
            self.transport.abort()

    def handle_error(self, request, status=500, exc=None, message=None):
        """What aiohttp answers to what is not HTTP; in our form, without a stack trace."""
        text = (message or HTTPStatus(status).phrase).splitlines()[0][:200]
        self._owner.malformed(text)
        response = web.Response(
            status=status,
            body=orjson.dumps({"error": text}),
            headers={"Server": "dsg_tf"},
            content_type="application/json",
        )
        response.force_close()
        return response
