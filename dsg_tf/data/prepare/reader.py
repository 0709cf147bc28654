"""What every form of data is read through."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Protocol

from dsg_tf.data.problems import Problems
from dsg_tf.data.scene import Scene, Vocabulary


class Reader(Protocol):
    """The images of a split, or a part of them. It goes to other processes, so it holds paths and not pixels."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The words of the whole split."""

    @property
    def source(self) -> dict[str, object]:
        """What the data was made of, for `dataset_info.json`."""

    def __len__(self) -> int: ...

    def part(self, start: int, stop: int) -> Reader:
        """The images from `start` to `stop` (exclusive)."""

    def scenes(self, problems: Problems, annotated: collections.Counter[str]) -> Iterator[Scene | None]:
        """Reads the images one after the other.

        Args:
          problems: counts what is wrong.
          annotated: counts what the files hold: `images`, `relations`, `images_without_relation`.

        Yields:
          A scene for every image, or None where the image cannot be used.
        """
