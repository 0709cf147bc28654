"""Writes a trained system as a SavedModel for TF Serving.

  python -m export.export_saved_model --model_dir=runs/clevr_small_dsg --output_dir=exported/clevr

Each call writes a new version, `<output_dir>/<number>`: whole, or not at all.
"""

from __future__ import annotations

import dataclasses
import os
import shutil

from absl import flags

from dsg_tf import config as config_lib
from dsg_tf.process import command, files
from dsg_tf.words import aliases

FLAGS = flags.FLAGS
EXTRA = "assets.extra"  # What TF Serving carries along without reading it as part of the model.


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("model_dir", None, "directory of the trained model", required=True, flag_values=values)
    flags.DEFINE_string("output_dir", None, "directory of the versions", required=True, flag_values=values)
    flags.DEFINE_integer(
        "version", 0, "number of the version; 0: one more than the largest there is", lower_bound=0, flag_values=values
    )
    flags.DEFINE_enum(
        "precision", "float32", ["float32", "mixed_bfloat16"], "arithmetic of the layers", flag_values=values
    )
    flags.DEFINE_integer("num_relations", 20, "relations that scene_graph returns", lower_bound=1, flag_values=values)
    flags.DEFINE_boolean(
        "jit_compile", False, "compile the network with XLA, for each new shape of a request", flag_values=values
    )


def run() -> None:
    """The command `python -m export.export_saved_model`, installed as `dsg-export`."""
    command.run("export_saved_model", define_flags, main, usage=__doc__, batches=lambda: False, stoppable=False)


def main() -> None:
    print(
        export(
            FLAGS.model_dir,
            FLAGS.output_dir,
            version=FLAGS.version,
            precision=FLAGS.precision,
            num_relations=FLAGS.num_relations,
            jit_compile=FLAGS.jit_compile,
        )
    )


def export(
    model_dir: str,
    output_dir: str,
    *,
    version: int = 0,
    precision: str = "float32",
    num_relations: int = 20,
    jit_compile: bool = False,
) -> str:
    """Exports the last checkpoint of `model_dir`.

    Args:
      version: a number that is not there yet; 0: one more than the largest there is.
      precision: arithmetic of the layers, "float32" or "mixed_bfloat16"; weights stay float32.
      num_relations: relations that the signature `scene_graph` returns.
      jit_compile: compile the network with XLA, for each new shape of a request.

    Returns:
      The directory of the new version.

    Raises:
      FileExistsError: the version is there.
      ValueError: the system answers with maps: only the DSG family is served.
    """
    model_dir = config_lib.find(model_dir)
    config = config_lib.load(model_dir)
    if config.model in config_lib.ATTENTION_MODELS:
        raise ValueError(
            f"--model_dir={model_dir} holds --model={config.model}, which answers with maps; the DSG family is served"
        )
    path = os.path.join(output_dir, str(version or _next_version(output_dir)))
    if os.path.exists(path):
        raise FileExistsError(f"--version: {path} exists, and a version is never written again")
    import tensorflow as tf

    from dsg_tf import build, checkpoints
    from export.saved_model import signatures, warmup
    from export.saved_model.module import ServingModule

    model, config, vocabulary, step = checkpoints.load_model(model_dir, precision=precision)
    vocabulary_file = os.path.join(model_dir, checkpoints.VOCABULARY_FILE)
    module = ServingModule(model, build.resize(config), vocabulary, vocabulary_file, num_relations, jit_compile)
    functions = module.signatures()
    # TF Serving takes directories whose names are numbers: not this one, until it is renamed.
    temporary = os.path.join(output_dir, f".writing-{os.getpid()}")
    try:
        tf.saved_model.save(module, temporary, signatures=functions)
        extra = os.path.join(temporary, EXTRA)
        source = {
            "model_dir": os.path.abspath(model_dir),
            "step": step,
            "precision": precision,
            "config": dataclasses.asdict(config),
        }
        signatures.write(functions, vocabulary, source, os.path.join(extra, "signatures.json"))
        warmup.write(vocabulary, functions, os.path.join(extra, warmup.FILE))
        aliases.copy(model_dir, extra)
        os.rename(temporary, path)
    finally:
        if os.path.exists(temporary):
            shutil.rmtree(temporary)
    return path


def _next_version(output_dir: str) -> int:
    names = os.listdir(output_dir) if os.path.isdir(output_dir) else []
    return max((int(name) for name in names if files.is_version(name)), default=0) + 1


if __name__ == "__main__":
    run()
