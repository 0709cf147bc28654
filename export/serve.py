"""Serves exported models over gRPC and REST as TF Serving does, without it: for development and small deployments.

  python -m export.serve --model_dir=exported/clevr --port=8500 --rest_port=8501

`--model_dir` holds the numbered versions that `export_saved_model` writes; a new one is taken up while the server
runs. SIGTERM or Ctrl-C: what was accepted is answered, nothing more is accepted, exit status 0.
"""

from __future__ import annotations

import os
import signal
import threading

from absl import flags, logging

from dsg_tf.process import command

FLAGS = flags.FLAGS


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("model_dir", None, "directory of the versions", required=True, flag_values=values)
    flags.DEFINE_string("model_name", "dsg", "name that requests give", flag_values=values)
    flags.DEFINE_string(
        "host", "127.0.0.1", "address to listen on; 0.0.0.0: reachable from other machines", flag_values=values
    )
    flags.DEFINE_integer("port", 8500, "gRPC port; 0: a free one", lower_bound=0, upper_bound=65535, flag_values=values)
    flags.DEFINE_integer(
        "rest_port",
        -1,
        "REST and Prometheus port; 0: a free one; -1: none",
        lower_bound=-1,
        upper_bound=65535,
        flag_values=values,
    )
    flags.DEFINE_string("tls_key", "", "private key (PEM) for gRPC over TLS", flag_values=values)
    flags.DEFINE_string("tls_certificate", "", "its certificate chain (PEM)", flag_values=values)
    flags.DEFINE_boolean("batching", True, "run requests that wait for each other as one batch", flag_values=values)
    flags.DEFINE_integer("workers", 2, "batches that run at a time", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("max_message_mib", 64, "largest request", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("max_images", 16, "most images of a request or a batch", lower_bound=1, flag_values=values)
    flags.DEFINE_integer(
        "max_queries",
        4096,
        "most queries of a request or a batch, over all its images",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_concurrent", 64, "most requests at a time; the next is refused", lower_bound=1, flag_values=values
    )
    flags.DEFINE_float("rest_timeout", 30.0, "seconds that a REST request may take", lower_bound=0, flag_values=values)
    flags.DEFINE_float(
        "poll_seconds", 2.0, "how often --model_dir is looked at for versions", lower_bound=0.01, flag_values=values
    )
    flags.DEFINE_float(
        "drain_seconds", 30.0, "how long accepted requests may take after SIGTERM", lower_bound=0, flag_values=values
    )


def run() -> None:
    """The command `python -m export.serve`, installed as `dsg-serve`."""
    # What runs as a batch depends on who asks: a client alone must not wait for arithmetic that suits batches only.
    command.run("serve", define_flags, main, usage=__doc__, batches=lambda: False, stoppable=False)


def main() -> None:
    if not os.path.isdir(FLAGS.model_dir):
        raise FileNotFoundError(f"--model_dir={FLAGS.model_dir} is not there")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    serve(stop)


def serve(stop: threading.Event) -> None:
    """Serves until `stop` is set, then answers what was accepted."""
    tls = _tls(FLAGS.tls_key, FLAGS.tls_certificate)
    from tensorflow_serving.config import model_server_config_pb2

    from export.serving import grpc_service, rest
    from export.serving.batching import Batcher
    from export.serving.limits import Limits
    from export.serving.monitoring import Monitoring
    from export.serving.predictor import Predictor
    from export.serving.versions import Versions

    limits = Limits(
        message_bytes=FLAGS.max_message_mib * 2**20,
        images=FLAGS.max_images,
        queries=FLAGS.max_queries,
        concurrent=FLAGS.max_concurrent,
    )
    monitoring = Monitoring()
    versions = Versions(model_server_config_pb2.ModelConfig(name=FLAGS.model_name, base_path=FLAGS.model_dir))
    batcher = Batcher(limits, FLAGS.workers, FLAGS.batching, monitoring.batch_images.observe)
    predictor = Predictor(versions, batcher, limits, monitoring)
    versions.update()
    if not versions.is_ready():
        logging.warning("--model_dir=%s holds no version that can be served yet", FLAGS.model_dir)
    grpc_server = grpc_service.Server(predictor, f"{FLAGS.host}:{FLAGS.port}", tls)
    rest_server = None
    if FLAGS.rest_port >= 0:
        rest_server = rest.Server(predictor, (FLAGS.host, FLAGS.rest_port), FLAGS.rest_timeout)
    logging.info(
        "serving %s: gRPC on %s:%d%s",
        FLAGS.model_name,
        FLAGS.host,
        grpc_server.port,
        f", REST on {FLAGS.host}:{rest_server.port}" if rest_server else "",
    )
    following = versions.follow(FLAGS.poll_seconds)
    grpc_server.set_ready(versions.is_ready())
    while not stop.wait(1):
        grpc_server.set_ready(versions.is_ready())
    logging.info("stopping: answering what was accepted")
    grpc_server.set_ready(False)
    # Refused with a sentence while the servers still run: gRPC itself would cancel what it has not yet handed over.
    predictor.drain(FLAGS.drain_seconds)
    draining = [
        threading.Thread(target=server.drain, args=[FLAGS.drain_seconds])
        for server in (grpc_server, rest_server)
        if server
    ]
    for thread in draining:
        thread.start()
    for thread in draining:
        thread.join()
    versions.close()
    following.join()
    batcher.close()
    logging.info("stopped")


def _tls(key: str, certificate: str) -> tuple[bytes, bytes] | None:
    if bool(key) != bool(certificate):
        raise ValueError(f"--tls_key={key} and --tls_certificate={certificate} go together")
    if not key:
        return None
    with open(key, "rb") as key_file, open(certificate, "rb") as certificate_file:
        return key_file.read(), certificate_file.read()


if __name__ == "__main__":
    run()
