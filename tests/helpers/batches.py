"""Scenes of a few boxes, the shards and the batches they become."""

from __future__ import annotations

import io
import itertools

import numpy as np
import tensorflow as tf
from PIL import Image

from dsg_tf.data import records
from dsg_tf.data.batches import pipeline
from dsg_tf.data.batches.batch_spec import BatchSpec
from dsg_tf.data.batches.network_input import Resize
from dsg_tf.data.scene import Scene

LEFT, RIGHT, ABOVE = 0, 1, 2
FLIPPED = (RIGHT, LEFT, ABOVE)


def png(pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def make_scene(name="image", pixels=None, boxes=(), entities=(), relations=()) -> Scene:
    pixels = np.zeros([24, 32, 3], np.uint8) if pixels is None else pixels
    return Scene(
        image_id=name,
        image=png(pixels),
        height=pixels.shape[0],
        width=pixels.shape[1],
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        entities=np.asarray(entities, np.int64),
        relations=np.asarray(relations, np.int64).reshape(-1, 3),
    )


def random_scene(seed, name="image", size=(48, 60), num_boxes=5, num_relations=9) -> Scene:
    rng = np.random.default_rng(seed)
    corners = rng.uniform([0, 0], [size[0] - 9, size[1] - 9], [num_boxes, 2])
    sizes = rng.uniform(2, 9, [num_boxes, 2])
    rows = itertools.product(range(num_boxes), range(3), range(num_boxes))
    rows = [(subject, relation, obj) for subject, relation, obj in rows if subject != obj]
    return make_scene(
        name,
        rng.integers(0, 256, [*size, 3], dtype=np.uint8),
        np.concatenate([corners, corners + sizes], 1),
        rng.integers(0, 4, num_boxes),
        rng.permutation(rows)[:num_relations],
    )


def write(folder, scenes, num_shards=1) -> list[str]:
    files = [str(folder / records.shard_name("train", k, num_shards)) for k in range(num_shards)]
    for k, path in enumerate(files):
        with tf.io.TFRecordWriter(path) as writer:
            for scene in scenes[k::num_shards]:
                writer.write(records.scene_to_example(scene).SerializeToString())
    return files


def make_spec(**changes) -> BatchSpec:
    size = {"image_size": (64, 96), "short_side": 64, "long_side": 96, "keep_aspect": True}
    limits = {"max_boxes": 8, "max_relations": 30, "max_queries": 30, "flipped_relations": FLIPPED}
    resize = Resize(**{name: changes.pop(name, value) for name, value in size.items()})
    return BatchSpec(resize, **(limits | changes))


def train(files, spec, num_examples, *, batch_size=1, seed=1, start_step=0, steps=1):
    batches = pipeline.train_batches(files, spec, batch_size, seed, start_step, num_examples)
    return list(batches.take(steps).as_numpy_iterator())


def evaluate(files, spec, batch_size=1):
    return list(pipeline.eval_batches(files, spec, batch_size).as_numpy_iterator())


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def questions(batch):
    """{triplet: (its subject boxes, its object boxes)} of the first example."""
    used = batch["query_mask"][0]
    rows = zip(batch["queries"][0][used], batch["subject_of"][0][used], batch["object_of"][0][used])
    return {tuple(q): (tuple(s.nonzero()[0]), tuple(o.nonzero()[0])) for q, s, o in rows}
