"""Signatures as one file for LiteRT, which was TensorFlow Lite."""

from __future__ import annotations

import os
import tempfile

import tensorflow as tf

FILE = "model.tflite"


def write(module: tf.Module, functions, directory: str) -> None:
    """Writes `model.tflite` with all signatures, which share the weights.

    Only LiteRT's own operations are allowed: TensorFlow's (Select TF) are not in its packages.

    Args:
      module: owner of the variables of `functions`.
      functions: concrete functions by signature.
      directory: is there.

    Raises:
      tf.lite.python.convert_phase.ConverterError: there is an operation that LiteRT lacks.
    """
    with tempfile.TemporaryDirectory() as saved_model:
        tf.saved_model.save(module, saved_model, signatures=functions)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=sorted(functions))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        content = converter.convert()
    with open(os.path.join(directory, FILE), "wb") as file:
        file.write(content)
