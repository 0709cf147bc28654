"""Signatures as files for ONNX Runtime, one each: a file of ONNX holds one function."""

from __future__ import annotations

import os

import tensorflow as tf

OPSET = 18  # Of December 2022: ONNX Runtime 1.14.


def write(functions, directory: str) -> None:
    """Writes `<signature>.onnx` of each of `functions`, concrete functions by signature, into a directory.

    Raises:
      ValueError: the extra [onnx] is not installed, or tf2onnx cannot convert a signature.
    """
    converter, onnx = import_converter()
    for name, function in functions.items():
        path = os.path.join(directory, f"{name}.onnx")
        specs = {spec.name: spec for spec in tf.nest.flatten(function.structured_input_signature)}
        converter.convert.from_function(
            _positional(function, list(specs)), input_signature=list(specs.values()), opset=OPSET, output_path=path
        )
        _check(onnx, path, specs)


def import_converter():
    """The modules `tf2onnx` and `onnx`.

    Raises:
      ValueError: they are not installed.
    """
    try:
        import onnx
        import tf2onnx
    except (ImportError, AttributeError) as error:  # The latter where a package that onnx needs is too old for it.
        raise ValueError(
            f"--format=onnx needs tf2onnx ({error}): pip install -e '.[onnx]', Python 3.10 or newer"
        ) from error
    return tf2onnx, onnx


def _positional(function, names):
    return tf.function(lambda *inputs: function(**dict(zip(names, inputs))), autograph=False)


def _check(onnx, path: str, specs) -> None:
    """tf2onnx logs what it cannot convert and goes on: such a file has unknown operations, or inputs of its own."""
    name = os.path.basename(path)
    try:
        onnx.checker.check_model(path, full_check=True)
    except onnx.checker.ValidationError as error:
        raise ValueError(f"{name} is not what ONNX takes: {error}") from error
    inputs = {value.name for value in onnx.load(path).graph.input}
    if inputs != set(specs):
        raise ValueError(f"{name} has the inputs {sorted(inputs)}, not {sorted(specs)}")
