"""The files that training reads: TFRecord shards of scenes and `dataset_info.json`."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import tensorflow as tf

from dsg_tf.data.scene import Scene, Vocabulary
from dsg_tf.process import files

INFO_FILE = "dataset_info.json"
_FORMAT_VERSION = 1


def shard_name(split: str, shard: int, num_shards: int) -> str:
    """The file name of one shard, `train-00000-of-00008.tfrecord`."""
    return f"{split}-{shard:05d}-of-{num_shards:05d}.tfrecord"


def scene_to_example(scene: Scene) -> tf.train.Example:
    """Writes a scene and its queries as a protocol buffer.

    Its features are `image/{encoded,id,height,width}`, `box/coordinates` (4 floats a box, yxyx), `box/entity`,
    `relation/{subject,predicate,object}` (subject and object are box indices), `relation/query` (the query of each
    relation) and `query/{subject,predicate,object}`.
    """
    triplets, query_of_relation = scene.queries()
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                "image/encoded": _bytes(scene.image),
                "image/id": _bytes(scene.image_id.encode()),
                "image/height": _int64(np.array([scene.height])),
                "image/width": _int64(np.array([scene.width])),
                "box/coordinates": tf.train.Feature(
                    float_list=tf.train.FloatList(value=scene.boxes.reshape(-1).tolist())
                ),
                "box/entity": _int64(scene.entities),
                "relation/subject": _int64(scene.relations[:, 0]),
                "relation/predicate": _int64(scene.relations[:, 1]),
                "relation/object": _int64(scene.relations[:, 2]),
                "relation/query": _int64(query_of_relation),
                "query/subject": _int64(triplets[:, 0]),
                "query/predicate": _int64(triplets[:, 1]),
                "query/object": _int64(triplets[:, 2]),
            }
        )
    )


_INTEGERS = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)
_STRING, _INTEGER = tf.io.FixedLenFeature([], tf.string), tf.io.FixedLenFeature([], tf.int64)
_TRIPLETS = {
    "relations": ("relation/subject", "relation/predicate", "relation/object"),
    "queries": ("query/subject", "query/predicate", "query/object"),
}
_FEATURES = {
    "image/encoded": _STRING,
    "image/id": _STRING,
    "image/height": _INTEGER,
    "image/width": _INTEGER,
    "box/coordinates": tf.io.FixedLenSequenceFeature([4], tf.float32, allow_missing=True),
    **dict.fromkeys(("box/entity", "relation/query", *_TRIPLETS["relations"], *_TRIPLETS["queries"]), _INTEGERS),
}


def parse_example(record) -> dict[str, tf.Tensor]:
    """Reads what `scene_to_example` wrote; the only reader of these files, in graphs and outside.

    Args:
      record: string `[]`, a serialized example.

    Returns:
      `encoded` (bytes of the image file) and `image_id`, string `[]`; `size` float32 `[2]`, (height, width); `boxes`
      float32 `[M, 4]`, pixels of the original image; `entities` int32 `[M]`; `relations` int32 `[T, 3]`, rows (subject
      box, relation, object box); `queries` int32 `[Q, 3]`, rows (subject class, relation, object class);
      `query_of_relation` int32 `[T]`, the query that each relation is an instance of.
    """
    features = tf.io.parse_single_example(record, _FEATURES)
    triplets = {
        name: tf.cast(tf.stack([features[column] for column in columns], axis=1), tf.int32)
        for name, columns in _TRIPLETS.items()
    }
    return {
        "encoded": features["image/encoded"],
        "image_id": features["image/id"],
        "size": tf.cast(tf.stack([features["image/height"], features["image/width"]]), tf.float32),
        "boxes": features["box/coordinates"],
        "entities": tf.cast(features["box/entity"], tf.int32),
        "query_of_relation": tf.cast(features["relation/query"], tf.int32),
        **triplets,
    }


@dataclasses.dataclass(frozen=True)
class SplitInfo:
    """What one prepared split holds, and what it was made of.

    Attributes:
      num_images, num_boxes, num_relations, num_queries: totals of what was written.
      num_shards: files; `examples_per_shard` images in each.
      max_boxes, max_relations, max_queries: most in one image.
      max_height, max_width: largest image, pixels.
      annotated: what the annotation files hold before anything is left out: `images`, `relations` and
        `images_without_relation`.
      source: the arguments that it was prepared with.
      problems: `{kind: {"count": n, "first": [up to five descriptions]}}`, see `problems.KINDS`.
      bytes_per_shard: sizes of the files; none in data prepared before they were kept.
    """

    num_images: int
    num_boxes: int
    num_relations: int
    num_queries: int
    num_shards: int
    max_boxes: int
    max_relations: int
    max_queries: int
    max_height: int
    max_width: int
    examples_per_shard: list[int]
    annotated: dict[str, int]
    source: dict[str, object]
    problems: dict[str, dict]
    bytes_per_shard: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """The content of `dataset_info.json`: the vocabulary and every split of a prepared data set."""

    vocabulary: Vocabulary
    splits: dict[str, SplitInfo]

    @classmethod
    def load(cls, data_dir: str) -> DatasetInfo:
        """Reads `dataset_info.json` of a prepared data set.

        Raises:
          FileNotFoundError: there is no such file in `data_dir`.
          ValueError: it was written by another version of this format.
        """
        path = os.path.join(data_dir, INFO_FILE)
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        if content["format_version"] != _FORMAT_VERSION:
            raise ValueError(
                f"{path} has format_version {content['format_version']}, this program reads "
                f"{_FORMAT_VERSION}; prepare the data again in a new directory"
            )
        return cls(
            vocabulary=Vocabulary(tuple(content["entities"]), tuple(content["relations"])),
            splits={name: SplitInfo(**split) for name, split in content["splits"].items()},
        )

    def save(self, data_dir: str) -> None:
        """Writes `dataset_info.json` at once, so that a reader sees the old or the new file."""
        content = {
            "format_version": _FORMAT_VERSION,
            "entities": self.vocabulary.entities,
            "relations": self.vocabulary.relations,
            "flipped_relations": self.vocabulary.flipped_relations(),
            "splits": {name: dataclasses.asdict(self.splits[name]) for name in sorted(self.splits)},
        }
        files.write_json(os.path.join(data_dir, INFO_FILE), content)

    def shard_paths(self, data_dir: str, split: str) -> list[str]:
        """The shards of a split in order.

        Raises:
          ValueError: there is no such split; names those there are.
        """
        if split not in self.splits:
            raise ValueError(
                f"{os.path.join(data_dir, INFO_FILE)} has no split {split!r}, "
                f"only {', '.join(sorted(self.splits)) or 'none'}"
            )
        num_shards = self.splits[split].num_shards
        return [os.path.join(data_dir, shard_name(split, shard, num_shards)) for shard in range(num_shards)]


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int64(values: np.ndarray) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values.tolist()))
