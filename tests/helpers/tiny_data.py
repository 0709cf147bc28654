"""A prepared data set of a few drawn pictures: coloured squares and discs that stand left of or above each other."""

from __future__ import annotations

import collections
import dataclasses
import io
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tiny
from PIL import Image, ImageDraw

from dsg_tf import checkpoints
from dsg_tf import config as config_lib
from dsg_tf.data.prepare import shards
from dsg_tf.data.problems import Problems
from dsg_tf.data.records import DatasetInfo
from dsg_tf.data.scene import Scene, Vocabulary

VOCABULARY = Vocabulary(
    ("red square", "green square", "blue square", "red disc", "blue disc"), ("left", "right", "above", "below")
)
# The test split does not fill its last batch of 3; val is one batch.
NUM_IMAGES = {"train": 8, "val": 2, "test": 5}
SIZES = (
    (48, 72),
    (40, 72),
    (60, 60),
    (64, 96),
)  # (height, width): larger and smaller than the network's, other shapes.

assert (len(VOCABULARY.entities), len(VOCABULARY.relations)) == (tiny.NUM_ENTITIES, tiny.NUM_RELATIONS)


@dataclasses.dataclass(frozen=True)
class Drawings:
    """Pictures ``start`` to ``stop`` (exclusive) of a split, as a reader for `shards.write_split`."""

    split: str
    start: int
    stop: int

    vocabulary = VOCABULARY

    @property
    def source(self) -> dict[str, object]:
        return {"format": "drawings", "num_images": self.stop}

    def __len__(self) -> int:
        return self.stop - self.start

    def part(self, start: int, stop: int) -> Drawings:
        return dataclasses.replace(self, start=self.start + start, stop=self.start + stop)

    def scenes(self, problems: Problems, annotated: collections.Counter) -> Iterator[Scene]:
        del problems
        for index in range(self.start, self.stop):
            scene = draw(self.split, index)
            annotated.update(images=1, relations=len(scene.relations))
            yield scene


def draw(split: str, index: int) -> Scene:
    """One picture: two to four things, of which two may be of the same class."""
    rng = np.random.default_rng([*split.encode(), index])
    height, width = SIZES[index % len(SIZES)]
    image = Image.fromarray(rng.integers(90, 120, [height, width, 3], np.uint8))
    # One thing in each chosen quarter of the picture: none hides another.
    quarters = rng.permutation(4)[: rng.integers(2, 5)]
    entities = rng.integers(0, len(VOCABULARY.entities), len(quarters))
    boxes = []
    for quarter, entity in zip(quarters, entities):
        side = int(rng.integers(14, min(height, width) // 2))
        room = np.array([height, width]) // 2 - side
        top, left = np.array([quarter // 2, quarter % 2]) * [height // 2, width // 2] + rng.integers(0, room + 1)
        color, shape = VOCABULARY.entities[entity].split()
        draw_shape = getattr(ImageDraw.Draw(image), {"square": "rectangle", "disc": "ellipse"}[shape])
        draw_shape([left, top, left + side - 1, top + side - 1], fill=color)
        boxes.append([top, left, top + side, left + side])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Scene(f"{split}{index}.png", buffer.getvalue(), height, width, boxes, entities, _relations(quarters))


def _relations(quarters) -> list[tuple[int, int, int]]:
    """Things in the left half are left of those in the right half, and so on."""
    rows = []
    for i, first in enumerate(quarters):
        for j, second in enumerate(quarters):
            for axis, names in (
                (first % 2 - second % 2, ("left", "right")),
                (first // 2 - second // 2, ("above", "below")),
            ):
                if axis:
                    rows.append((i, VOCABULARY.relations.index(names[int(axis > 0)]), j))
    return rows


def write(data_dir: str, splits: dict[str, int] = NUM_IMAGES) -> DatasetInfo:
    """Prepares the splits in ``data_dir``, two shards each."""
    for split, count in splits.items():
        shards.write_split(Drawings(split, 0, count), split, data_dir, processes=1, num_shards=2)
    return DatasetInfo.load(data_dir)


def write_model_dir(model_dir: str, settings) -> None:
    """What train.py leaves behind, with random weights that do detect, move and answer something."""
    model = tiny.model(settings)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add((0.5 * variable.numpy().std() + 0.02) * rng.normal(size=variable.shape))
    config_lib.save(settings, model_dir)
    checkpoints.save_vocabulary(model_dir, VOCABULARY)
    checkpoint = tf.train.Checkpoint(model=model, step=tf.Variable(7, dtype=tf.int64))
    tf.train.CheckpointManager(checkpoint, checkpoints.checkpoint_dir(model_dir), 1).save(7)
