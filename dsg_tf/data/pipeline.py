"""TFRecords to batches: decode, flip, resize, sample queries, pad.

Training batches are a pure function of (seed, step), so a run that was killed goes on with exactly
the batches that it would have seen. Evaluation batches hold every example once, in file order.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from dsg_tf import boxes as box_ops
from dsg_tf.data import augment, network_input
from dsg_tf.data.network_input import InputSpec

# Encoded records shuffled together; a smaller data set is shuffled as a whole.
SHUFFLE_BLOCK = 4096
# Shards read in turn, so that a block mixes examples from all over the data set.
INTERLEAVED_SHARDS = 8

_AUTOTUNE = tf.data.AUTOTUNE

_INTEGERS = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)
# As `records.scene_to_example` writes them.
_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/id": tf.io.FixedLenFeature([], tf.string),
    "box/coordinates": tf.io.FixedLenSequenceFeature([4], tf.float32, allow_missing=True),
    "box/entity": _INTEGERS,
    "relation/subject": _INTEGERS,
    "relation/predicate": _INTEGERS,
    "relation/object": _INTEGERS,
    "relation/query": _INTEGERS,
    "query/subject": _INTEGERS,
    "query/predicate": _INTEGERS,
    "query/object": _INTEGERS,
}


def train_batches(
    files: Sequence[str],
    spec: InputSpec,
    batch_size: int,
    seed: int,
    start_step: int,
    num_examples: int,
    worker: tuple[int, int] = (0, 1),
    devices: int = 1,
) -> tf.data.Dataset:
    """Endless training batches, a pure function of (seed, step).

    The examples come epoch after epoch, each a permutation that depends on `seed` and the epoch.
    A batch may hold the end of one epoch and the start of the next: nothing is dropped.

    Args:
      files: the TFRecord shards, in a fixed order.
      spec: what a batch looks like.
      batch_size: B.
      seed: of the order, the flips, the jitter and the sampled queries.
      start_step: the first batch is the one that an uninterrupted run sees at this step.
      num_examples: in all `files` together. If this is wrong, reading ends with an error at the
        end of the first epoch.
      worker: (number, of how many): each gets as many successive rows of every batch, and reads
        the others without decoding them.
      devices: the rows of a worker come as so many batches, one for each of its devices.

    Returns:
      A data set of dicts: `image` uint8 `[B, H, W, 3]`; `image_size`, `original_size` float32
      `[B, 2]`, (height, width); `boxes` float32 `[B, M, 4]`, network pixels; `box_mask` bool
      `[B, M]`; `entities` int32 `[B, M]`; `relations` int32 `[B, T, 3]`, -1 where padded;
      `queries` int32 `[B, Q, 3]`; `query_mask` bool `[B, Q]`; `subject_of`, `object_of` bool
      `[B, Q, M]`; `seed` int32 `[B, 2]`.

    Raises:
      ValueError: no files, or a negative or zero count.
    """
    encoded = _of_worker(
        _in_training_order(files, batch_size, seed, start_step, num_examples), batch_size, worker
    )

    def example(number, record):
        key = tf.random.experimental.stateless_fold_in([seed, 1], number)
        return _training_example(record, spec, key)

    rows = batch_size // worker[1] // devices
    batches = encoded.map(example, _AUTOTUNE).batch(rows, drop_remainder=True)
    return batches.prefetch(_AUTOTUNE).with_options(_deterministic())


def training_ids(
    files: Sequence[str],
    batch_size: int,
    seed: int,
    start_step: int,
    num_examples: int,
    worker: tuple[int, int] = (0, 1),
) -> list[str]:
    """The ids of a worker's images in the first of `train_batches`, row by row.

    Batches do not have them, since a training step on an accelerator takes no strings; as a batch
    is a function of (seed, step), they can be read when something is wrong with one.
    """
    encoded = _in_training_order(files, batch_size, seed, start_step, num_examples).take(batch_size)
    encoded = _of_worker(encoded, batch_size, worker)
    feature = {"image/id": _FEATURES["image/id"]}
    ids = encoded.map(lambda _, record: tf.io.parse_single_example(record, feature)["image/id"])
    return [image_id.decode() for image_id in ids.as_numpy_iterator()]


def eval_batches(files: Sequence[str], spec: InputSpec, batch_size: int) -> tf.data.Dataset:
    """All examples once, in file order, unchanged but for the resize.

    Args:
      files: the TFRecord shards.
      spec: as for training; its limits must hold all boxes, relations and queries of every image
        (`dataset_info.json` tells them), or reading ends with an error that names the image.
      batch_size: B. The last batch is filled up with black images without boxes or queries.

    Returns:
      A data set of the dicts of `train_batches` with two keys more: `image_id` string `[B]` and
      `example_mask` bool `[B]`, False for the fill. `seed` is zero.

    Raises:
      ValueError: no files, or a batch size below 1.
    """
    encoded = tf.data.TFRecordDataset(_checked(files, batch_size))
    examples = encoded.map(lambda record: _evaluation_example(record, spec), _AUTOTUNE)
    fill = tf.data.Dataset.from_tensors(_fill(examples.element_spec)).repeat(batch_size - 1)
    batches = examples.concatenate(fill).batch(batch_size, drop_remainder=True)
    return batches.prefetch(_AUTOTUNE).with_options(_deterministic())


def annotations(files: Sequence[str]) -> tf.data.Dataset:
    """What is known about all images, in file order, without decoding them.

    Returns:
      A data set of (boxes float32 `[M, 4]`, original pixels; relations int32 `[T, 3]`, rows (subject box, relation,
      object box); size float32 `[2]`, (height, width) of the image).
    """
    names = ("image/height", "image/width")
    sizes = {name: tf.io.FixedLenFeature([], tf.int64) for name in names}

    def parse(record):
        features = tf.io.parse_single_example(record, _FEATURES | sizes)
        columns = [features[f"relation/{role}"] for role in ("subject", "predicate", "object")]
        size = tf.stack([features[name] for name in names])
        return features["box/coordinates"], tf.cast(tf.stack(columns, axis=1), tf.int32), tf.cast(size, tf.float32)

    return tf.data.TFRecordDataset(_checked(files, 1)).map(parse, _AUTOTUNE).prefetch(_AUTOTUNE)


def _in_training_order(files, batch_size, seed, start_step, num_examples):
    """Endless (number, encoded record) from the first example of step `start_step` on."""
    files = _checked(files, batch_size)
    if num_examples < 1 or start_step < 0:
        raise ValueError(
            f"num_examples must be positive and start_step not negative, "
            f"got {num_examples} and {start_step}"
        )
    first = start_step * batch_size
    first_epoch, done = divmod(first, num_examples)
    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    encoded = epochs.flat_map(lambda epoch: _one_epoch(files, seed, epoch, num_examples))
    # Skipped before they are decoded: this costs no more than reading.
    return encoded.skip(done).enumerate(start=first)


def _of_worker(encoded, batch_size, worker):
    """The (number, encoded record) of one worker's rows of each batch."""
    index, count = worker
    if count == 1:
        return encoded
    return encoded.filter(lambda number, _: number % batch_size // (batch_size // count) == index)


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


def _training_example(record, spec, key):
    keys = tf.unstack(tf.random.experimental.stateless_split(key, num=5))
    scene = augment.random_flip(_parse(record), spec.flipped_relations, keys[0])
    scene = _sample_queries(scene, spec.max_queries, keys[1])
    scene = _sample_relations(scene, spec.max_relations, keys[2])
    scene = _keep_boxes(scene, spec.max_boxes)
    scene = _resize(scene, spec)
    scene["image"] = augment.color_jitter(scene["image"], spec.color_jitter, keys[3])
    seed = tf.random.stateless_uniform([2], keys[4], None, None, tf.int32)
    example = _pad(scene, spec) | {"seed": seed}
    del example["image_id"]
    return example


def _evaluation_example(record, spec):
    scene = _checked_to_fit(_parse(record), spec)
    return _pad(_resize(scene, spec), spec) | {
        "seed": tf.zeros([2], tf.int32),
        "example_mask": tf.constant(True),
    }


def _fill(element_spec):
    """A black image without boxes, relations or queries."""
    fill = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in element_spec.items()}
    fill["image_id"] = tf.constant("")
    fill["relations"] -= 1
    # Not zero, since coordinates are divided by these.
    size = tf.constant(element_spec["image"].shape[:2], tf.float32)
    return fill | {"image_size": size, "original_size": size}


def _parse(record):
    """A serialized example as the dict of tensors that the steps below change.

    Its keys: `image` uint8 `[h, w, 3]`, `image_id`, `original_size` float32 `[2]`, `boxes` float32
    `[M, 4]`, `entities` int32 `[M]`, `relations` int32 `[T, 3]`, `queries` int32 `[Q, 3]`,
    `subject_of` and `object_of` bool `[Q, M]`; M, T and Q as the file has them.
    """
    features = tf.io.parse_single_example(record, _FEATURES)
    triplets = {}
    for kind in ("relation", "query"):
        columns = [features[f"{kind}/{role}"] for role in ("subject", "predicate", "object")]
        triplets[kind] = tf.cast(tf.stack(columns, axis=1), tf.int32)
    image = network_input.decode(features["image/encoded"])
    boxes, queries = features["box/coordinates"], triplets["query"]
    # Such a box would match nothing, and training would go on as if it were not there.
    message = ["image", features["image/id"], "has a box that is not finite:", boxes]
    tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(boxes)), message)
    shape = [tf.shape(queries)[0], tf.shape(boxes)[0]]
    query_of_relation = features["relation/query"]
    return {
        "image": image,
        "image_id": features["image/id"],
        "original_size": network_input.size_of(image),
        "boxes": boxes,
        "entities": tf.cast(features["box/entity"], tf.int32),
        "relations": triplets["relation"],
        "queries": queries,
        "subject_of": _marks(query_of_relation, features["relation/subject"], shape),
        "object_of": _marks(query_of_relation, features["relation/object"], shape),
    }


def _marks(rows, columns, shape):
    """bool of `shape` [2], True at (rows[k], columns[k]) for every k."""
    cells = tf.cast(tf.stack([rows, columns], axis=1), tf.int32)
    return tf.scatter_nd(cells, tf.ones_like(cells[:, 0]), shape) > 0


def _sample_queries(scene, limit, key):
    """At most `limit` queries, each subset equally likely."""
    names = ("queries", "subject_of", "object_of")
    chosen = _sample(tf.shape(scene["queries"])[0], limit, key)
    return scene | {name: tf.gather(scene[name], chosen) for name in names}


def _sample_relations(scene, limit, key):
    """At most `limit` relations, each subset equally likely."""
    chosen = _sample(tf.shape(scene["relations"])[0], limit, key)
    return scene | {"relations": tf.gather(scene["relations"], chosen)}


def _sample(count, limit, key):
    """Indices int32 of `limit` of `count` rows in rising order; of all rows where they fit."""
    lots = tf.random.stateless_uniform([count], key)
    return tf.sort(tf.math.top_k(lots, tf.minimum(count, limit)).indices)


def _keep_boxes(scene, limit):
    """At most `limit` boxes: those that take part in the queries first, then in file order.

    Relations that lose a box go, and so do queries that lose all their subjects or all their
    objects.
    """
    count = tf.shape(scene["boxes"])[0]
    takes_part = tf.reduce_any(scene["subject_of"] | scene["object_of"], axis=0)
    # Of equal values, top_k takes the first.
    kept = tf.math.top_k(tf.cast(takes_part, tf.int32), tf.minimum(count, limit)).indices
    kept = tf.sort(kept)

    number_of = tf.tensor_scatter_nd_update(
        tf.fill([count], -1), kept[:, tf.newaxis], tf.range(tf.size(kept))
    )
    subject, relation, object_ = tf.unstack(scene["relations"], axis=1)
    subject, object_ = tf.gather(number_of, subject), tf.gather(number_of, object_)
    relations = tf.stack([subject, relation, object_], axis=1)
    relations = tf.boolean_mask(relations, tf.reduce_min(relations, axis=1) >= 0)

    subject_of = tf.gather(scene["subject_of"], kept, axis=1)
    object_of = tf.gather(scene["object_of"], kept, axis=1)
    whole = tf.reduce_any(subject_of, axis=1) & tf.reduce_any(object_of, axis=1)
    return scene | {
        "boxes": tf.gather(scene["boxes"], kept),
        "entities": tf.gather(scene["entities"], kept),
        "relations": relations,
        "queries": tf.boolean_mask(scene["queries"], whole),
        "subject_of": tf.boolean_mask(subject_of, whole),
        "object_of": tf.boolean_mask(object_of, whole),
    }


def _resize(scene, spec):
    """Resizes the image, and the boxes by exactly what the image was resized by."""
    image = network_input.resize(scene["image"], spec)
    factors = network_input.size_of(image) / scene["original_size"]
    boxes = box_ops.scale(scene["boxes"], factors)
    return scene | {"image": image, "boxes": boxes}


def _pad(scene, spec):
    """The scene with static shapes and masks: an example of a batch."""
    m, t, q = spec.max_boxes, spec.max_relations, spec.max_queries
    image, image_size = network_input.pad(scene["image"], spec)
    return {
        "image": image,
        "image_id": scene["image_id"],
        "image_size": image_size,
        "original_size": scene["original_size"],
        "boxes": _pad_to(scene["boxes"], [m, 4]),
        "box_mask": _pad_to(tf.ones_like(scene["entities"], tf.bool), [m]),
        "entities": _pad_to(scene["entities"], [m]),
        "relations": _pad_to(scene["relations"], [t, 3], value=-1),
        "queries": _pad_to(scene["queries"], [q, 3]),
        "query_mask": _pad_to(tf.ones_like(scene["queries"][:, 0], tf.bool), [q]),
        "subject_of": _pad_to(scene["subject_of"], [q, m]),
        "object_of": _pad_to(scene["object_of"], [q, m]),
    }


def _pad_to(tensor, shape, value=0):
    missing = tf.constant(shape) - tf.shape(tensor)
    paddings = tf.stack([tf.zeros_like(missing), missing], axis=1)
    return tf.ensure_shape(tf.pad(tensor, paddings, constant_values=value), shape)


def _checked_to_fit(scene, spec):
    """The scene; an error that names the image if it holds more than a batch has room for."""
    checks = []
    for name in ("boxes", "relations", "queries"):
        count, limit = tf.shape(scene[name])[0], getattr(spec, f"max_{name}")
        message = ["image", scene["image_id"], "has", count, name]
        message += [f"but InputSpec.max_{name} is", limit]
        checks.append(tf.debugging.Assert(count <= limit, message))
    # Without this the padding may run first, and fail with a message that names nothing.
    with tf.control_dependencies(checks):
        return {name: tf.identity(tensor) for name, tensor in scene.items()}


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
