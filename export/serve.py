"""Serves exported models over gRPC and REST as TF Serving does, without it: for development and small deployments.

  python -m export.serve --model_dir=exported/clevr --port=8500 --rest_port=8501

`--model_dir` holds the numbered versions that `export_saved_model` writes; a new one is taken up while the server
runs. Of a trained model, such as `clevr`, an export is made for the time of the server. SIGTERM or Ctrl-C: what was
accepted is answered, nothing more is accepted, exit status 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from absl import flags, logging

from dsg_tf import config as config_lib
from dsg_tf.predict import loading
from dsg_tf.process import command

FLAGS = flags.FLAGS


def define_flags(values: flags.FlagValues) -> None:
    def integer(name, default, text, lowest=1, highest=None):
        flags.DEFINE_integer(name, default, text, lower_bound=lowest, upper_bound=highest, flag_values=values)

    def number(name, default, text, lowest=0.0):
        flags.DEFINE_float(name, default, text, lower_bound=lowest, flag_values=values)

    def string(name, default, text, required=False):
        flags.DEFINE_string(name, default, text, required=required, flag_values=values)

    string("model_dir", None, "directory of the versions, or a trained model", required=True)
    string("model_name", "dsg", "name that requests give")
    string("host", "127.0.0.1", "address to listen on; 0.0.0.0 or ::: reachable from other machines")
    integer("port", 8500, "gRPC port; 0: a free one", 0, 65535)
    integer("rest_port", -1, "REST and Prometheus port; 0: a free one; -1: none", -1, 65535)
    string("tls_key", "", "private key (PEM), for TLS on both ports")
    flags.DEFINE_boolean(
        "rest_tls",
        True,
        "TLS on the REST port, too; --norest_tls: probes and Prometheus reach it without a certificate",
        flag_values=values,
    )
    string("tls_certificate", "", "its certificate chain (PEM)")
    string("tls_client_roots", "", "authorities (PEM) of whom clients need a certificate; default: they need none")
    string("token_file", "", "file with the token that clients send as 'authorization: Bearer <token>'")
    flags.DEFINE_boolean(
        "allow_reload", False, "let clients choose the versions (HandleReloadConfigRequest)", flag_values=values
    )
    flags.DEFINE_boolean("batching", True, "run requests that wait for each other as one batch", flag_values=values)
    integer("workers", 2, "batches that run at a time")
    integer("max_message_mib", 32, "largest request, unpacked")
    integer("max_images", 16, "most images of a request")
    integer("max_queries", 4096, "most queries of a request or a batch, over all its images")
    integer("max_megapixels", 64, "most pixels of a request's pictures, and of those that are decoded at a time")
    integer("memory_mib", 512, "memory that all requests together may take")
    integer("max_concurrent", 64, "most requests that wait or run; the next is refused")
    number("timeout", 30.0, "seconds that a request may take, its arrival included", 0.01)
    flags.DEFINE_alias("rest_timeout", "timeout", flag_values=values)  # Its name when it was for REST alone.
    number("poll_seconds", 2.0, "how often --model_dir is looked at for versions", 0.01)
    number("drain_seconds", 30.0, "how long accepted requests may take after SIGTERM")


def run() -> None:
    """The command `python -m export.serve`, installed as `dsg-serve`."""
    # What runs as a batch depends on who asks: a client alone must not wait for arithmetic that suits batches only.
    command.run("serve", define_flags, main, usage=__doc__, batches=lambda: False, stoppable=False)


def main() -> None:
    trained = os.path.exists(os.path.join(config_lib.find(FLAGS.model_dir), config_lib.CONFIG_FILE))
    if not trained and not os.path.isdir(FLAGS.model_dir):
        raise FileNotFoundError(f"--model_dir={FLAGS.model_dir} is not there")
    if FLAGS.memory_mib < 2 * FLAGS.max_message_mib:
        raise ValueError(
            f"--memory_mib={FLAGS.memory_mib} must be twice --max_message_mib={FLAGS.max_message_mib} at least"
        )
    is_export = not trained or loading.exported_version(FLAGS.model_dir) is not None
    with contextlib.nullcontext(FLAGS.model_dir) if is_export else _exported(FLAGS.model_dir) as versions:
        is_read = _serve(versions)
    if not is_read:
        os._exit(0)  # Nobody reads the log, and Python's own end would wait for that.


@contextlib.contextmanager
def _exported(model_dir: str) -> Iterator[str]:
    """A directory with an export of a trained model, which goes with the block.

    Raises:
      ValueError: it could not be exported; the sentence that tells why stands before this one.
    """
    for number in (signal.SIGTERM, signal.SIGINT):  # Until the server listens, which answers them then.
        signal.signal(number, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="dsg_serve_") as versions:
        logging.info("--model_dir=%s is a trained model: it is exported first", model_dir)
        # In a process of its own, whose memory and graphs go with it.
        command = ["-m", "export.export_saved_model", f"--model_dir={model_dir}", f"--output_dir={versions}"]
        if subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL).returncode:
            raise ValueError(f"--model_dir={model_dir} could not be exported")
        yield versions


def _serve(versions: str) -> bool:
    """Serves what the flags say until it is told to stop; whether all of the log was read."""
    gc.disable()  # Until all is loaded: a million objects that stay would be looked at again and again.
    from export.serving import allocator, ports, server
    from export.serving.access import Access
    from export.serving.limits import Limits
    from export.serving.log_lines import LogLines

    access = Access.of_files(FLAGS.tls_key, FLAGS.tls_certificate, FLAGS.tls_client_roots, FLAGS.token_file)
    limits = Limits(
        message_bytes=FLAGS.max_message_mib * 2**20,
        images=FLAGS.max_images,
        queries=FLAGS.max_queries,
        pixels=FLAGS.max_megapixels * 1_000_000,
        memory_bytes=FLAGS.memory_mib * 2**20,
        concurrent=FLAGS.max_concurrent,
        connections=ports.connections(),
        seconds=FLAGS.timeout,
    )
    settings = server.Settings(
        model_name=FLAGS.model_name,
        model_dir=versions,
        host=FLAGS.host,
        port=FLAGS.port,
        rest_port=FLAGS.rest_port if FLAGS.rest_port >= 0 else None,
        rest_tls=FLAGS.rest_tls,
        allow_reload=FLAGS.allow_reload,
        batching=FLAGS.batching,
        workers=FLAGS.workers,
        poll_seconds=FLAGS.poll_seconds,
        drain_seconds=FLAGS.drain_seconds,
    )
    allocator.configure()
    log = LogLines()
    access.warn(FLAGS.host)
    try:
        asyncio.run(server.serve(settings, limits, access, log))
    finally:
        is_read = log.close()
    return is_read


if __name__ == "__main__":
    run()
