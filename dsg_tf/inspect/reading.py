"""Reads a split once: its counts, the sizes of its boxes in the network's input, and the images that are shown."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from dsg_tf import build
from dsg_tf.config import Config
from dsg_tf.data import integrity
from dsg_tf.data.batches import network_input, pipeline
from dsg_tf.data.records import DatasetInfo
from dsg_tf.data.scene import Vocabulary
from dsg_tf.drawing import page, scene_pictures
from dsg_tf.inspect import counts
from dsg_tf.inspect.anchors import Reach
from dsg_tf.process import progress, stopping

RELATIONS_DRAWN = 6
BOXES_NAMED = 6  # In the picture; of more, it has the numbers, or the names would hide it.


@dataclasses.dataclass(frozen=True)
class Seen:
    """A split: its counts, its boxes in the network's input (None without settings), and some of its images."""

    counts: counts.SplitCounts
    reach: Reach | None
    samples: list[page.Picture]


def read(data_dir: str, info: DatasetInfo, split: str, config: Config | None, samples: int) -> Seen:
    """Reads all images of a split and shows `samples` of them, at equal distances.

    Raises:
      BrokenShardError: a file is missing or broken.
      ValueError: an image that is to be shown does not decode; names it.
    """
    vocabulary, total = info.vocabulary, info.splits[split].num_images
    counted = counts.SplitCounts(len(vocabulary.entities), len(vocabulary.relations))
    reach = Reach(config) if config else None
    shown = set(np.linspace(0, total - 1, min(samples, total)).astype(int).tolist())
    pictures = []
    with integrity.naming_broken_shards(info, data_dir), progress.Progress(split, total, lambda: counted.num_images):
        for example in _images(info.shard_paths(data_dir, split), config):
            stopping.check()
            if counted.num_images in shown:
                pictures.append(_sample(example, vocabulary))
            counted.add(example)
            if reach:
                reach.add(example["boxes"], example["factors"])
    if reach:
        reach.finish()
    return Seen(counted, reach, pictures)


def _images(paths: Sequence[str], config: Config | None):
    """Dicts of `pipeline.annotated_images` as numpy; with settings also `factors` `[2]` (y, x), of the resize."""
    images = pipeline.annotated_images(paths)
    if config:
        how = build.resize(config)

        @tf.autograph.experimental.do_not_convert
        def with_factors(image):
            size = tf.cast(network_input.network_size(image["size"], how), tf.float32)
            return image | {"factors": size / image["size"]}

        images = images.map(with_factors)
    return images.as_numpy_iterator()


def _sample(example, vocabulary: Vocabulary) -> page.Picture:
    """An image with all its boxes and some of its relations, which stand below it in words."""
    name = example["image_id"].decode(errors="replace")
    try:
        image = Image.open(io.BytesIO(example["encoded"])).convert("RGB")
    except OSError as error:
        raise ValueError(f"image {name!r} does not decode: {error}") from error
    names = [f"{k + 1} {_name(vocabulary.entities, e)}" for k, e in enumerate(example["entities"])]
    relations = counts.drawable(example)
    some = np.unique(np.linspace(0, len(relations) - 1, min(RELATIONS_DRAWN, len(relations))).astype(int))
    drawn = relations[some]
    sentences = [f"{names[i]}, {_name(vocabulary.relations, r)}, {names[j]}" for i, r, j in drawn]
    labels = names if len(names) <= BOXES_NAMED else [str(k + 1) for k in range(len(names))]
    picture = scene_pictures.draw(image, example["boxes"], labels, [(i, j) for i, _, j in drawn])
    more = len(relations) - len(drawn)
    boxes = ", ".join(names) or "no boxes"
    about = f"{name}, {image.width} × {image.height}, {len(relations):,} relations: {boxes}"
    listed = page.bullets([*sentences, *([f"… {more:,} more"] if more else [])])
    return page.Picture(picture, f"{name}: {boxes}", page.line(about, listed))


def _name(names: Sequence[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else f"class {number}"
