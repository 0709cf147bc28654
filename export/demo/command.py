"""Shows a page in the browser that asks a model about pictures.

dsg-demo
dsg-demo --model=runs/mine --port=8600
dsg-demo --server=localhost:8500
"""

from __future__ import annotations

import gc
import logging

from absl import flags

from dsg_tf.predict import loading
from dsg_tf.process import command

FLAGS = flags.FLAGS


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "model", "clevr", "the name of a model at hand, a model directory, or an export", flag_values=values
    )
    flags.DEFINE_string("server", "", "in place of --model: host:port of a gRPC service to ask", flag_values=values)
    flags.DEFINE_string("model_name", "dsg", "name of the model at --server", flag_values=values)
    flags.DEFINE_string(
        "host", "127.0.0.1", "address to listen at; 0.0.0.0: other machines may look, too", flag_values=values
    )
    flags.DEFINE_integer("port", 8600, "port of the page; 0: any", lower_bound=0, upper_bound=65535, flag_values=values)


def run() -> None:
    """The command `python -m export.demo`, installed as `dsg-demo`."""
    command.run("demo", define_flags, main, usage=__doc__, batches=lambda: False, stoppable=False)


def main() -> None:
    if FLAGS.server and FLAGS["model"].present:
        raise ValueError(f"--model={FLAGS.model} and --server={FLAGS.server}: give one, the other one is not asked")
    if FLAGS["model_name"].present and not FLAGS.server:
        raise ValueError(f"--model_name={FLAGS.model_name} is that of a model at a --server")
    if not FLAGS.server:
        loading.find(FLAGS.model)
    gc.disable()  # Until all is loaded: a million objects that stay would be looked at again and again.
    from export.demo import page, views

    if FLAGS.server:
        view: views.View = views.OfServer(FLAGS.server, FLAGS.model_name)
    else:
        view = views.OfModel(FLAGS.model)
    gc.enable()
    gc.freeze()
    if FLAGS.host not in ("127.0.0.1", "localhost", "::1"):
        logging.getLogger("absl").warning(
            "--host=%s: whoever reaches this machine may ask, without a password or TLS", FLAGS.host
        )
    page.serve(view, FLAGS.host, FLAGS.port)
