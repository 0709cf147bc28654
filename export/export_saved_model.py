"""Writes a trained system as a SavedModel for TF Serving, or for LiteRT or ONNX Runtime.

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
SIGNATURES = "signatures.json"
# A file that a version of each format has.
FORMATS = {"saved_model": "saved_model.pb", "tflite": "model.tflite", "onnx": "refer_ids.onnx"}


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("model_dir", None, "directory of the trained model", required=True, flag_values=values)
    flags.DEFINE_string("output_dir", None, "directory of the versions", required=True, flag_values=values)
    flags.DEFINE_enum(
        "format",
        "saved_model",
        list(FORMATS),
        "a SavedModel; or files for LiteRT (tflite) or, with the extra [onnx], for ONNX Runtime, which take numbers",
        flag_values=values,
    )
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
            format=FLAGS.format,
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
    format: str = "saved_model",
    version: int = 0,
    precision: str = "float32",
    num_relations: int = 20,
    jit_compile: bool = False,
) -> str:
    """Exports the last checkpoint of `model_dir`.

    Args:
      format: one of `FORMATS`.
      version: a number that is not there yet; 0: one more than the largest there is.
      precision: arithmetic of the layers, "float32" or "mixed_bfloat16"; weights stay float32.
      num_relations: relations that the signature `scene_graph` returns.
      jit_compile: compile the network with XLA, for each new shape of a request.

    Returns:
      The directory of the new version.

    Raises:
      FileExistsError: the version is there.
      ValueError: the system answers with maps: only the DSG family is served; `output_dir` holds versions of another
        format; `format` needs an extra, or does not go with `precision`, `jit_compile` or the model's `--roi_op`.
    """
    model_dir = config_lib.find(model_dir)
    config = config_lib.load(model_dir)
    if config.model in config_lib.ATTENTION_MODELS:
        raise ValueError(
            f"--model_dir={model_dir} holds --model={config.model}, which answers with maps; the DSG family is served"
        )
    _check_format(format, output_dir, config, precision, jit_compile)
    path = os.path.join(output_dir, str(version or _next_version(output_dir)))
    if os.path.exists(path):
        raise FileExistsError(f"--version: {path} exists, and a version is never written again")
    from dsg_tf import checkpoints

    model, config, vocabulary, step = checkpoints.load_model(model_dir, precision=precision)
    source = {
        "model_dir": os.path.abspath(model_dir),
        "step": step,
        "precision": precision,
        "config": dataclasses.asdict(config),
    }
    # TF Serving takes directories whose names are numbers: not this one, until it is renamed.
    temporary = os.path.join(output_dir, f".writing-{os.getpid()}")
    try:
        if format == "saved_model":
            _write_saved_model(temporary, model, config, vocabulary, source, num_relations, jit_compile)
        else:
            _write_portable(temporary, format, model, config, vocabulary, source)
        os.rename(temporary, path)
    finally:
        if os.path.exists(temporary):
            shutil.rmtree(temporary)
    return path


def _check_format(format: str, output_dir: str, config, precision: str, jit_compile: bool) -> None:
    for version in _versions(output_dir):
        for other, file in FORMATS.items():
            path = os.path.join(output_dir, version, file)
            if other != format and os.path.exists(path):
                raise ValueError(f"--output_dir: {path} is a version in --format={other}, not {format}")
    if format == "saved_model":
        return
    if precision != "float32" or jit_compile:
        given = "--jit_compile" if jit_compile else f"--precision={precision}"
        raise ValueError(f"{given} does not go with --format={format}, whose runtime chooses the arithmetic")
    if format == "tflite" and config.roi_op != "matmul":
        raise ValueError(f"--format=tflite: LiteRT lacks what --roi_op={config.roi_op} needs; --format=onnx has it")
    if format == "onnx":
        from export.portable import onnx

        onnx.import_converter()


def _write_saved_model(path, model, config, vocabulary, source, num_relations, jit_compile) -> None:
    import tensorflow as tf

    from dsg_tf import build, checkpoints
    from export.saved_model import signatures, warmup
    from export.saved_model.module import ServingModule

    vocabulary_file = os.path.join(source["model_dir"], checkpoints.VOCABULARY_FILE)
    module = ServingModule(model, build.resize(config), vocabulary, vocabulary_file, num_relations, jit_compile)
    functions = module.signatures()
    tf.saved_model.save(module, path, signatures=functions)
    extra = os.path.join(path, EXTRA)
    signatures.write(functions, vocabulary, source, os.path.join(extra, SIGNATURES))
    warmup.write(vocabulary, functions, os.path.join(extra, warmup.FILE))
    aliases.copy(source["model_dir"], extra)


def _write_portable(path, format, model, config, vocabulary, source) -> None:
    from export.portable import module as portable
    from export.portable import onnx, tflite
    from export.saved_model import signatures

    module = portable.PortableModule(model, config.image_size)
    functions = module.signatures()
    os.makedirs(path)
    if format == "onnx":
        onnx.write(functions, path)
    else:
        tflite.write(module, functions, path)
    signatures.write(functions, vocabulary, source, os.path.join(path, SIGNATURES), portable.MEANINGS)


def _next_version(output_dir: str) -> int:
    return max(map(int, _versions(output_dir)), default=0) + 1


def _versions(output_dir: str) -> list[str]:
    names = os.listdir(output_dir) if os.path.isdir(output_dir) else []
    return [name for name in names if files.is_version(name)]


if __name__ == "__main__":
    run()
