"""The life of the server: ports, model, service, end."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import signal

from absl import logging
from grpc import aio

from export.serving import grpc_options, ports
from export.serving.access import Access
from export.serving.limits import Limits
from export.serving.log_lines import LogLines

_GRPC_END_SECONDS = 5.0  # For answers that are on their way when all are made.


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is served, and where.

    Attributes:
      model_name: name that requests give.
      model_dir: directory of the versions.
      host, port: of gRPC; port 0 takes a free one.
      rest_port: of REST; None: no REST.
      rest_tls: whether TLS holds for REST, too.
      allow_reload: whether clients may choose the versions.
      batching, workers: see `Batcher`.
      poll_seconds: how often `model_dir` is looked at.
      drain_seconds: how long accepted requests may take when the server ends.
    """

    model_name: str
    model_dir: str
    host: str
    port: int
    rest_port: int | None
    rest_tls: bool
    allow_reload: bool
    batching: bool
    workers: int
    poll_seconds: float
    drain_seconds: float


async def serve(settings: Settings, limits: Limits, access: Access, log: LogLines) -> None:
    """Serves until SIGTERM or SIGINT, then answers what was accepted.

    Raises:
      OSError: a port cannot be had.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # Both ports first: that costs nothing, loading TensorFlow and the model seconds. Who connects meanwhile waits.
    grpc_server = aio.server(options=grpc_options.of(limits))
    port = ports.add_grpc(grpc_server, settings.host, settings.port, access.of_grpc())
    socket = None if settings.rest_port is None else ports.listening(settings.host, settings.rest_port)
    await asyncio.to_thread(_import)

    from tensorflow_serving.config import model_server_config_pb2

    from export.serving import grpc_service, http_server, rest
    from export.serving.batching import Batcher
    from export.serving.memory import Budget
    from export.serving.monitoring import Monitoring
    from export.serving.predictor import Predictor
    from export.serving.request_log import RequestLog
    from export.serving.versions import Versions

    monitoring = Monitoring()
    versions = Versions(model_server_config_pb2.ModelConfig(name=settings.model_name, base_path=settings.model_dir))
    following = versions.follow(settings.poll_seconds)
    if not await asyncio.to_thread(versions.wait):
        logging.warning("--model_dir=%s holds no version that can be served yet", settings.model_dir)
    # What is there now stays, and no collection needs to look at it again.
    gc.freeze()
    gc.enable()
    batcher = Batcher(limits, monitoring, settings.workers, settings.batching)
    predictor = Predictor(versions, batcher, limits, monitoring)
    budget, requests = Budget(limits.memory_bytes), RequestLog(monitoring, settings.model_name)
    monitoring.observe(budget, log)
    service = grpc_service.Service(predictor, budget, access, requests, settings.allow_reload)
    grpc_server.add_generic_rpc_handlers(tuple(service.handlers()))
    http = http_server.Server(rest.Api(predictor, budget, access, requests, monitoring), limits, requests, monitoring)
    await grpc_server.start()
    if socket is not None:
        await http.start(socket, access.of_rest() if settings.rest_tls else None)
    rest_address = f", REST on {ports.address(settings.host, socket.getsockname()[1])}" if socket else ""
    logging.info("serving %s: gRPC on %s%s", settings.model_name, ports.address(settings.host, port), rest_address)
    while not stop.is_set():
        await service.set_ready(versions.is_ready())
        monitoring.observe_versions(versions.snapshot())
        try:
            await asyncio.wait_for(stop.wait(), 1)
        except asyncio.TimeoutError:
            pass
    logging.info("stopping: answering what was accepted")
    await service.set_ready(False)
    # Refused with a sentence while the servers still run: gRPC itself would cancel what it has not yet handed over.
    await asyncio.to_thread(predictor.drain, settings.drain_seconds)
    await asyncio.gather(grpc_server.stop(_GRPC_END_SECONDS), http.stop(_GRPC_END_SECONDS))
    versions.close()
    await asyncio.to_thread(following.join)
    await asyncio.to_thread(batcher.close)
    logging.info("stopped")


def _import() -> None:
    """What takes seconds to import."""
    import export.serving.grpc_service
    import export.serving.rest  # noqa: F401
