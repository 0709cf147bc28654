"""Whether the shards of a prepared data set are there and whole; which of them an error is about."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

import tensorflow as tf

from dsg_tf.data.records import DatasetInfo

_REMEDY = "Remove it and prepare the split again"


class BrokenShardError(ValueError):
    """A shard is missing or broken; the message names it."""


def check_shards(info: DatasetInfo, data_dir: str) -> None:
    """Compares the files of all splits with `dataset_info.json`, by their sizes: reads none of them.

    Raises:
      BrokenShardError: a file is missing, or shorter or longer than it was written.
    """
    for split, entry in info.splits.items():
        paths = info.shard_paths(data_dir, split)
        # Data prepared by earlier versions has no sizes to compare with.
        sizes: Sequence[int | None] = entry.bytes_per_shard or [None] * len(paths)
        for path, size in zip(paths, sizes):
            if not os.path.exists(path):
                raise BrokenShardError(f"{path} is missing: prepare the split again")
            if size is not None and os.path.getsize(path) != size:
                raise BrokenShardError(f"{path} has {os.path.getsize(path)} bytes, {size} were written. {_REMEDY}")


@contextlib.contextmanager
def naming_broken_shards(info: DatasetInfo, data_dir: str) -> Iterator[None]:
    """Lets an error of reading name the file: TensorFlow tells the place in it only.

    Raises:
      BrokenShardError: a shard has gone or is broken.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.FailedPreconditionError) as error:
        for split, entry in info.splits.items():
            for path, count in zip(info.shard_paths(data_dir, split), entry.examples_per_shard):
                _read_through(path, count, error)
        raise


def _read_through(path: str, expected: int, cause: Exception) -> None:
    count = 0
    try:
        for _ in tf.data.TFRecordDataset(path):
            count += 1
    except tf.errors.NotFoundError:
        raise BrokenShardError(f"{path} is missing: prepare the split again") from cause
    except tf.errors.DataLossError:
        raise BrokenShardError(f"{path} is broken or cut after {count} of {expected} images. {_REMEDY}") from cause
    if count != expected:
        raise BrokenShardError(f"{path} holds {count} images, {expected} were written. {_REMEDY}") from cause
