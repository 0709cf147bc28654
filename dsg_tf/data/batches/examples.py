"""One record as one example of a batch: parse, flip, resize, sample queries, pad."""

from __future__ import annotations

import tensorflow as tf

from dsg_tf import boxes as box_ops
from dsg_tf.data import records
from dsg_tf.data.batches import augment, contrast, crop, network_input, some_boxes
from dsg_tf.data.batches.batch_spec import BatchSpec


@tf.autograph.experimental.do_not_convert  # There is nothing to convert, and looking for it takes a second.
def for_training(record: tf.Tensor, spec: BatchSpec, key: tf.Tensor) -> dict[str, tf.Tensor]:
    """A row of `pipeline.train_batches`.

    Args:
      record: string scalar, a serialized example as `records.scene_to_example` writes it.
      spec: the shapes.
      key: int32 `[2]`, of all that is drawn: flip, queries, relations, jitter, and the row's `seed`.
    """
    keys = tf.unstack(tf.random.experimental.stateless_split(key, num=5))
    scene = augment.random_flip(_parse(record), spec.flipped_relations, keys[0])
    scene = crop.random_crop(scene, spec.scale_jitter, tf.random.experimental.stateless_fold_in(keys[0], 1))
    scene = _sample_queries(scene, spec, keys[1])
    scene = _sample_relations(scene, spec.max_relations, keys[2])
    scene = _add_contrastive(_keep_boxes(scene, spec.max_boxes))
    scene = _resize(
        scene, spec, crop.random_shrink(spec.scale_jitter, tf.random.experimental.stateless_fold_in(keys[0], 2))
    )
    scene["image"] = augment.color_jitter(scene["image"], spec.color_jitter, keys[3])
    seed = tf.random.stateless_uniform([2], keys[4], None, None, tf.int32)
    example = _pad(scene, spec) | {"seed": seed}
    del example["image_id"]
    return example


@tf.autograph.experimental.do_not_convert
def for_evaluation(record: tf.Tensor, spec: BatchSpec) -> dict[str, tf.Tensor]:
    """A row of `pipeline.eval_batches`: unchanged but for the resize.

    Raises:
      tf.errors.InvalidArgumentError: when run, with the image's name: it has more of something than `spec` has room
        for.
    """
    scene = _add_contrastive(_checked_to_fit(_parse(record), spec))
    return _pad(_resize(scene, spec), spec) | {"seed": tf.zeros([2], tf.int32), "example_mask": tf.constant(True)}


def filler(element_spec: dict[str, tf.TensorSpec]) -> dict[str, tf.Tensor]:
    """A row that is no image's: a black one without boxes, relations or queries."""
    fill = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in element_spec.items()}
    fill["image_id"] = tf.constant("")
    fill["relations"] -= 1
    # Not zero, since coordinates are divided by these.
    size = tf.constant(element_spec["image"].shape[:2], tf.float32)
    return fill | {"image_size": size, "original_size": size}


def _parse(record):
    """A serialized example as the dict of tensors that the steps below change.

    Its keys: `image` uint8 `[h, w, 3]`, `image_id`, `original_size` float32 `[2]`, `boxes` float32 `[M, 4]`, `entities`
    int32 `[M]`, `relations` int32 `[T, 3]`, `queries` int32 `[Q, 3]`, `subject_of` and `object_of` bool `[Q, M]`; M, T
    and Q as the file has them.
    """
    example = records.parse_example(record)
    image, boxes, queries = network_input.decode(example["encoded"]), example["boxes"], example["queries"]
    # Such a box would match nothing, and training would go on as if it were not there.
    message = ["image", example["image_id"], "has a box that is not finite:", boxes]
    tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(boxes)), message)
    shape = [tf.shape(queries)[0], tf.shape(boxes)[0]]
    subject, _, object_ = tf.unstack(example["relations"], axis=1)
    return {
        "image": image,
        "image_id": example["image_id"],
        "original_size": network_input.size_of(image),
        "boxes": boxes,
        "entities": example["entities"],
        "relations": example["relations"],
        "queries": queries,
        "subject_of": _marks(example["query_of_relation"], subject, shape),
        "object_of": _marks(example["query_of_relation"], object_, shape),
    }


def _marks(rows, columns, shape):
    """bool of `shape` [2], True at (rows[k], columns[k]) for every k."""
    cells = tf.stack([rows, columns], axis=1)
    return tf.scatter_nd(cells, tf.ones_like(cells[:, 0]), shape) > 0


def _sample_queries(scene, spec, key):
    """At most `max_queries` queries, each subset equally likely; of them, as `contrastive`, those that do not hold."""
    names = ("queries", "subject_of", "object_of")
    share = spec.contrastive_queries
    limit = spec.max_queries - int(share * spec.max_queries)
    chosen = _sample(tf.shape(scene["queries"])[0], limit, key)
    sampled = {name: tf.gather(scene[name], chosen) for name in names}
    if not share:
        return scene | sampled
    wanted = tf.cast(tf.round(tf.cast(tf.size(chosen), tf.float32) * share / (1.0 - share)), tf.int32)
    contrastive = contrast.draw(
        scene["queries"],
        scene["entities"],
        tf.minimum(wanted, spec.max_queries - tf.size(chosen)),
        tf.random.experimental.stateless_fold_in(key, 1),
        num_entities=spec.num_entities,
        num_relations=spec.num_relations,
    )
    return scene | sampled | {"contrastive": contrastive}


def _sample_relations(scene, limit, key):
    """At most `limit` relations, each subset equally likely."""
    chosen = _sample(tf.shape(scene["relations"])[0], limit, key)
    return scene | {"relations": tf.gather(scene["relations"], chosen)}


def _sample(count, limit, key):
    """Indices int32 of `limit` of `count` rows in rising order; of all rows where they fit."""
    lots = tf.random.stateless_uniform([count], key)
    return tf.sort(tf.math.top_k(lots, tf.minimum(count, limit)).indices)


def _keep_boxes(scene, limit):
    """At most `limit` boxes: those that take part in the queries first, then in file order."""
    takes_part = tf.reduce_any(scene["subject_of"] | scene["object_of"], axis=0)
    # Of equal values, top_k takes the first.
    kept = tf.math.top_k(tf.cast(takes_part, tf.int32), tf.minimum(tf.size(takes_part), limit)).indices
    return some_boxes.of_scene(scene, tf.sort(kept))


def _add_contrastive(scene):
    """The queries of `contrastive` behind the others: no box is their subject or object."""
    holds = tf.ones_like(scene["queries"][:, 0], tf.bool)
    if "contrastive" not in scene:
        return scene | {"query_holds": holds}
    added = tf.shape(scene["contrastive"])[0]
    rows = {name: [[0, added], [0, 0]] for name in ("subject_of", "object_of")}
    return scene | {
        "queries": tf.concat([scene["queries"], scene["contrastive"]], axis=0),
        "query_holds": tf.pad(holds, [[0, added]]),
        **{name: tf.pad(scene[name], widths) for name, widths in rows.items()},
    }


def _resize(scene, spec, shrink=None):
    """Resizes the image, and the boxes by exactly what the image was resized by; `shrink` as of `network_input`."""
    image = network_input.resize(scene["image"], spec.resize, shrink)
    factors = network_input.size_of(image) / scene["original_size"]
    boxes = box_ops.scale(scene["boxes"], factors)
    return scene | {"image": image, "boxes": boxes}


def _pad(scene, spec):
    """The scene with static shapes and masks: an example of a batch."""
    m, t, q = spec.max_boxes, spec.max_relations, spec.max_queries
    image, image_size = network_input.pad(scene["image"], spec.resize)
    return {
        "image": image,
        "image_id": scene["image_id"],
        "image_size": image_size,
        "original_size": scene["original_size"],
        "true_boxes": _pad_to(scene["boxes"], [m, 4]),
        "box_mask": _pad_to(tf.ones_like(scene["entities"], tf.bool), [m]),
        "entities": _pad_to(scene["entities"], [m]),
        "relations": _pad_to(scene["relations"], [t, 3], value=-1),
        "queries": _pad_to(scene["queries"], [q, 3]),
        "query_mask": _pad_to(tf.ones_like(scene["queries"][:, 0], tf.bool), [q]),
        "query_holds": _pad_to(scene["query_holds"], [q]),
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
        message += [f"but BatchSpec.max_{name} is", limit]
        checks.append(tf.debugging.Assert(count <= limit, message))
    # Without this the padding may run first, and fail with a message that names nothing.
    with tf.control_dependencies(checks):
        return {name: tf.identity(tensor) for name, tensor in scene.items()}
