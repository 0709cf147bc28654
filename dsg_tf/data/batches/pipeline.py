"""TFRecords to batches.

Training batches are a pure function of (seed, step), so a run that was killed goes on with exactly the batches that it
would have seen. Evaluation batches hold every example once, in file order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from dsg_tf.data import records
from dsg_tf.data.batches import examples
from dsg_tf.data.batches.batch_spec import BatchSpec

# Encoded records shuffled together; a smaller data set is shuffled as a whole.
SHUFFLE_BLOCK = 4096
# Shards read in turn, so that a block mixes examples from all over the data set.
INTERLEAVED_SHARDS = 8

_AUTOTUNE = tf.data.AUTOTUNE


@dataclasses.dataclass(frozen=True)
class Share:
    """One of `count` workers that share every batch: each has as many successive rows."""

    index: int = 0
    count: int = 1


def train_batches(
    files: Sequence[str],
    spec: BatchSpec,
    batch_size: int,
    seed: int,
    start_step: int,
    num_examples: int,
    share: Share = Share(),
    devices: int = 1,
) -> tf.data.Dataset:
    """Endless training batches, a pure function of (seed, step).

    The examples come epoch after epoch, each a permutation that depends on `seed` and the epoch. A batch may hold the
    end of one epoch and the start of the next: nothing is dropped.

    Args:
      files: the TFRecord shards, in a fixed order.
      spec: what a batch looks like.
      batch_size: B.
      seed: of the order, the flips, the jitter and the sampled queries.
      start_step: the first batch is the one that an uninterrupted run sees at this step.
      num_examples: in all `files` together. If this is wrong, reading ends with an error at the end of the first epoch.
      share: the rows of every batch that this process gets; it reads the others without decoding them.
      devices: the rows of a worker come as so many batches, one for each of its devices.

    Returns:
      A data set of dicts: `image` uint8 `[B, H, W, 3]`; `image_size`, `original_size` float32 `[B, 2]`, (height,
      width); `true_boxes` float32 `[B, M, 4]`, network pixels; `box_mask` bool `[B, M]`; `entities` int32 `[B, M]`;
      `relations` int32 `[B, T, 3]`, -1 where padded; `queries` int32 `[B, Q, 3]`; `query_mask` bool `[B, Q]`;
      `query_holds` bool `[B, Q]`, False for padded and for contrastive queries, which no box answers; `subject_of`,
      `object_of` bool `[B, Q, M]`; `seed` int32 `[B, 2]`.

    Raises:
      ValueError: no files, or a negative or zero count.
    """
    encoded = _of_worker(_in_training_order(files, batch_size, seed, start_step, num_examples), batch_size, share)

    def example(number, record):
        key = tf.random.experimental.stateless_fold_in([seed, 1], number)
        return examples.for_training(record, spec, key)

    rows = batch_size // share.count // devices
    batches = encoded.map(example, _AUTOTUNE).batch(rows, drop_remainder=True)
    return batches.prefetch(_AUTOTUNE).with_options(_deterministic())


def training_ids(
    files: Sequence[str], batch_size: int, seed: int, start_step: int, num_examples: int, share: Share = Share()
) -> list[str]:
    """The ids of a worker's images in the first of `train_batches`, row by row.

    Batches do not have them, since a training step on an accelerator takes no strings; as a batch is a function of
    (seed, step), they can be read when something is wrong with one.
    """
    encoded = _in_training_order(files, batch_size, seed, start_step, num_examples).take(batch_size)
    encoded = _of_worker(encoded, batch_size, share)
    ids = encoded.map(lambda _, record: records.parse_example(record)["image_id"])
    return [image_id.decode() for image_id in ids.as_numpy_iterator()]


def eval_batches(files: Sequence[str], spec: BatchSpec, batch_size: int) -> tf.data.Dataset:
    """All examples once, in file order, unchanged but for the resize.

    Args:
      files: the TFRecord shards.
      spec: as for training; its limits must hold all boxes, relations and queries of every image (`dataset_info.json`
        tells them), or reading ends with an error that names the image.
      batch_size: B. The last batch is filled up with black images without boxes or queries.

    Returns:
      A data set of the dicts of `train_batches` with two keys more: `image_id` string `[B]` and `example_mask` bool
      `[B]`, False for the fill. `seed` is zero.

    Raises:
      ValueError: no files, or a batch size below 1.
    """
    encoded = tf.data.TFRecordDataset(_checked(files, batch_size))
    rows = encoded.map(lambda record: examples.for_evaluation(record, spec), _AUTOTUNE)
    fill = tf.data.Dataset.from_tensors(examples.filler(rows.element_spec)).repeat(batch_size - 1)
    batches = rows.concatenate(fill).batch(batch_size, drop_remainder=True)
    return batches.prefetch(_AUTOTUNE).with_options(_deterministic())


def annotated_images(files: Sequence[str]) -> tf.data.Dataset:
    """What is known about all images, in file order, without decoding them: dicts as of `records.parse_example`."""
    return tf.data.TFRecordDataset(_checked(files, 1)).map(records.parse_example, _AUTOTUNE).prefetch(_AUTOTUNE)


def _in_training_order(files, batch_size, seed, start_step, num_examples):
    """Endless (number, encoded record) from the first example of step `start_step` on."""
    files = _checked(files, batch_size)
    if num_examples < 1 or start_step < 0:
        raise ValueError(
            f"num_examples must be positive and start_step not negative, got {num_examples} and {start_step}"
        )
    first = start_step * batch_size
    first_epoch, done = divmod(first, num_examples)
    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    encoded = epochs.flat_map(lambda epoch: _one_epoch(files, seed, epoch, num_examples))
    # Skipped before they are decoded: this costs no more than reading.
    return encoded.skip(done).enumerate(start=first)


def _of_worker(encoded, batch_size, share):
    """The (number, encoded record) of one worker's rows of each batch."""
    if share.count == 1:
        return encoded
    rows = batch_size // share.count
    return encoded.filter(lambda number, _: number % batch_size // rows == share.index)


def _one_epoch(files, seed, epoch, num_examples):
    """The encoded records in the order of `epoch`: shuffled shards, then shuffled blocks.

    `Dataset.shuffle` would mix in TensorFlow's global seed; this depends on its arguments alone.
    """
    key = tf.random.experimental.stateless_fold_in([seed, 0], epoch)
    shards = tf.random.experimental.stateless_shuffle(tf.constant(files), key)
    interleaved = min(len(files), INTERLEAVED_SHARDS)
    encoded = tf.data.TFRecordDataset(shards, num_parallel_reads=interleaved)

    def shuffled(number, block):
        block_key = tf.random.experimental.stateless_fold_in(key, number)
        return tf.random.experimental.stateless_shuffle(block, block_key)

    blocks = encoded.batch(SHUFFLE_BLOCK).enumerate().map(shuffled)
    return blocks.unbatch().apply(tf.data.experimental.assert_cardinality(num_examples))


def _checked(files, batch_size):
    if not files:
        raise ValueError("no TFRecord files to read")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    return list(files)


def _deterministic():
    options = tf.data.Options()
    options.deterministic = True
    return options
