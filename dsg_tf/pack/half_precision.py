"""Checkpoints in half precision: the weights of a model alone, for a start and for inference, in half the bytes.

They are TensorFlow's checkpoints too, with the names of training's: one reader serves both, and each tensor has its
name, its shape and its checksum without a format of our own.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf


def write(source: str, target: str) -> None:
    """Rounds the checkpoint with prefix `source`; see `rounded` for what stays float32."""
    _rewrite(source, target, rounded)


def rounded(value: np.ndarray) -> np.ndarray:
    """A float32 tensor as float16.

    Vectors stay as they are, few numbers whose errors count for whole channels: biases, scales, the statistics of batch
    normalization. So does a tensor with a number that float16 has no place for. Other types are passed through.
    """
    if getattr(value, "dtype", None) != np.float32 or value.ndim < 2:
        return value
    with np.errstate(over="ignore"):
        half = value.astype(np.float16)
    return half if np.isfinite(half).all() else value


@contextlib.contextmanager
def as_float32(prefix: str) -> Iterator[str]:
    """The prefix of the same checkpoint without float16, for the time of the block: `prefix`, or a copy."""
    if tf.float16 not in tf.train.load_checkpoint(prefix).get_variable_to_dtype_map().values():
        yield prefix
        return
    with tempfile.TemporaryDirectory() as directory:
        copy = os.path.join(directory, "float32")
        _rewrite(prefix, copy, _widened)
        yield copy


def _widened(value):
    return value.astype(np.float32) if getattr(value, "dtype", None) == np.float16 else value


def _rewrite(source: str, target: str, change: Callable) -> None:
    reader = tf.train.load_checkpoint(source)
    names = sorted(reader.get_variable_to_shape_map())
    # With the string that says which object each name belongs to, without which nothing is restored.
    tensors = [tf.convert_to_tensor(change(reader.get_tensor(name))) for name in names]
    tf.raw_ops.SaveV2(prefix=target, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)
