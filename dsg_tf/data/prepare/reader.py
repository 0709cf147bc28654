"""What every form of data is read through."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from dsg_tf.data.problems import Problems
from dsg_tf.data.scene import Scene, Vocabulary

Row = TypeVar("Row")
Images = TypeVar("Images", bound="AnnotatedImages")


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


@dataclasses.dataclass(frozen=True)
class AnnotatedImages(Generic[Row]):
    """A `Reader` over a list: subclasses say what of an image is a scene.

    Attributes:
      vocabulary: names of the ids.
      source: what was read, for `dataset_info.json`.
      rows: one per image.
      with_images: False to look at the annotations only; the scenes then have no image bytes.
    """

    vocabulary: Vocabulary
    source: dict[str, object]
    rows: list[Row]
    with_images: bool

    def __len__(self) -> int:
        return len(self.rows)

    def part(self: Images, start: int, stop: int) -> Images:
        """See `Reader`."""
        return dataclasses.replace(self, rows=self.rows[start:stop])

    def scenes(self, problems: Problems, annotated: collections.Counter[str]) -> Iterator[Scene | None]:
        """See `Reader`."""
        for row in self.rows:
            yield self._scene(row, problems, annotated)

    def _scene(self, row: Row, problems: Problems, annotated: collections.Counter[str]) -> Scene | None:
        raise NotImplementedError
