"""Images and what is asked about them, from a prepared data set or from a folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator

import tensorflow as tf

from dsg_tf.data import records
from dsg_tf.data.image_files import index_images
from dsg_tf.data.json_files import read_json
from dsg_tf.data.problems import PreparationError
from dsg_tf.data.queries import Query
from dsg_tf.data.records import DatasetInfo
from dsg_tf.data.scene import Vocabulary


@dataclasses.dataclass(frozen=True)
class Request:
    """One image and the queries about it.

    Attributes:
      image_id: name of the image.
      image: the encoded file; None if it could not be read.
      queries: what is asked about it.
      missing: why there is no image.
    """

    image_id: str
    image: bytes | None
    queries: tuple[Query, ...]
    missing: str = ""


@dataclasses.dataclass(frozen=True)
class PreparedSplit:
    """The images of a split of a prepared data set, with its queries.

    Attributes:
      source: what it is, the same wherever the data set lies.
      vocabulary: the words of the data set.
      shards: (path, number of images) of the TFRecord files.
      start, stop: the images from `start` to `stop` (exclusive) count.
    """

    source: dict[str, object]
    vocabulary: Vocabulary
    shards: tuple[tuple[str, int], ...]
    start: int
    stop: int

    @classmethod
    def load(cls, data_dir: str, split: str) -> PreparedSplit:
        """Reads the description of the split.

        Raises:
          ValueError: there is no such split, or a file of it is missing.
          FileNotFoundError: there is no prepared data set in `data_dir`.
        """
        info = DatasetInfo.load(data_dir)
        paths = info.shard_paths(data_dir, split)
        for path in paths:
            if not os.path.exists(path):
                raise ValueError(f"--data_dir={data_dir} lacks {os.path.basename(path)} of split {split!r}")
        described = dataclasses.asdict(info.splits[split]), dataclasses.asdict(info.vocabulary)
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
        return cls(
            {"split": f"{split} sha256:{digest[:16]}"},
            info.vocabulary,
            tuple(zip(paths, info.splits[split].examples_per_shard)),
            0,
            info.splits[split].num_images,
        )

    def __len__(self) -> int:
        return self.stop - self.start

    def part(self, start: int, stop: int) -> PreparedSplit:
        """The images from `start` to `stop` (exclusive)."""
        return dataclasses.replace(self, start=self.start + start, stop=self.start + stop)

    def __iter__(self) -> Iterator[Request]:
        before = 0
        for path, count in self.shards:
            first, last = max(self.start - before, 0), min(self.stop - before, count)
            if first < last:
                for record in _records(path, first, last):
                    yield self._request(records.parse_example(record))
            before += count

    def _request(self, example: dict[str, tf.Tensor]) -> Request:
        entities, relations = self.vocabulary.entities, self.vocabulary.relations
        queries = tuple(
            Query.of_words(entities[subject], relations[relation], entities[object_])
            for subject, relation, object_ in example["queries"].numpy()
        )
        return Request(example["image_id"].numpy().decode(), example["encoded"].numpy(), queries)


@dataclasses.dataclass(frozen=True)
class NamedImage:
    """An image that a queries file names, where the folder has it, and its queries as text."""

    name: str
    path: str | None
    texts: tuple[str, ...]

    def request(self) -> Request:
        """With the content of the image file, or why there is none."""
        queries = tuple(map(Query.parse, self.texts))
        if self.path is None:
            return Request(self.name, None, queries, "it is not in the folder")
        try:
            with open(self.path, "rb") as file:
                return Request(self.name, file.read(), queries)
        except OSError as error:
            return Request(self.name, None, queries, error.strerror or str(error))


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """The images that a queries file names.

    Attributes:
      source: what it is.
      rows: one per image, in the order of the file.
    """

    source: dict[str, object]
    rows: tuple[NamedImage, ...]

    @classmethod
    def load(cls, images: str, queries: str) -> ImageFolder:
        """Reads the queries and lists the folder.

        Args:
          images: a folder, or one with Visual Genome's two folders in it.
          queries: a JSON file `{"photo.jpg": ["person, riding, horse", ...], ...}`; or `.jsonl`, with such an object on
            every line.

        Raises:
          PreparationError: a file is not of the form, an image comes twice, or the folder is missing.
        """
        asked, fingerprint = (_read_lines if queries.endswith(".jsonl") else _read_object)(queries)
        if not asked:
            raise PreparationError(f"{queries} names no image")
        paths = index_images(images)
        rows = tuple(NamedImage(name, paths.get(name), tuple(texts)) for name, texts in asked.items())
        return cls({"images": images, "queries": fingerprint}, rows)

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, start: int, stop: int) -> ImageFolder:
        """The images from `start` to `stop` (exclusive)."""
        return dataclasses.replace(self, rows=self.rows[start:stop])

    def __iter__(self) -> Iterator[Request]:
        for row in self.rows:
            yield row.request()


def _records(path: str, first: int, last: int) -> Iterator[tf.Tensor]:
    try:
        yield from tf.data.TFRecordDataset(path).skip(first).take(last - first)
    except tf.errors.DataLossError as error:
        raise ValueError(f"{path} is damaged: {error.message}") from error


def _read_object(path: str) -> tuple[dict[str, list[str]], str]:
    asked, fingerprint = read_json(path, dict)
    for name, texts in asked.items():
        _check(path, name, texts)
    return asked, fingerprint


def _read_lines(path: str) -> tuple[dict[str, list[str]], str]:
    asked, digest = {}, hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                digest.update(line)
                for name, texts in _object(f"{path}, line {number}", line).items():
                    _check(f"{path}, line {number}", name, texts)
                    if name in asked:
                        raise PreparationError(f"{path}, line {number}: {name} for the second time")
                    asked[name] = texts
    except OSError as error:
        raise PreparationError(f"cannot read {path}: {error.strerror}") from error
    return asked, f"{os.path.basename(path)} sha256:{digest.hexdigest()[:16]}"


def _object(where: str, line: bytes) -> dict:
    try:
        value = json.loads(line) if line.strip() else {}
    except ValueError as error:
        raise PreparationError(f"{where} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise PreparationError(f"{where} must be an object {{image: queries}}, not a {type(value).__name__}")
    return value


def _check(where: str, name: str, texts: object) -> None:
    if not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
        raise PreparationError(f'{where}: the queries of {name} must be a list of texts "subject, relation, object"')
