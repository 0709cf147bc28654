"""A request that fits its signature: cut into pieces, put together to batches, and its answers cut and joined again."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from export.serving.servable import Servable

# How the graph's messages name a row of the batch: "image 3 of the batch is damaged", "query 0 of image 3: ...".
_ROW = re.compile(r"\bimage (\d+)\b")


@dataclasses.dataclass(frozen=True)
class Call:
    """A request that fits its signature, or some rows of it.

    Attributes:
      servable, signature: what it asks.
      inputs: arrays by name.
      outputs: names of what it wants, sorted.
      pixels: of each picture in it; 0 where that is not known.
    """

    servable: Servable
    signature: str
    inputs: Mapping[str, np.ndarray]
    outputs: tuple[str, ...]
    pixels: tuple[int, ...] = ()

    @property
    def images(self) -> int:
        """Rows of the batch; of the longest input where they differ, which the graph will refuse."""
        return max((len(value) for value in self.inputs.values()), default=0)

    @property
    def queries(self) -> int:
        """Queries per image."""
        return max((self.inputs[name].shape[1] for name in self.ragged_inputs), default=0)

    @property
    def file_bytes(self) -> int:
        """Of its pictures as they came: TensorFlow copies them several times while they run."""
        return sum(map(len, self.inputs["image"])) if self.pixels and "image" in self.inputs else 0

    @property
    def cost(self) -> float:
        """Of its run, about, in images of usual size: an image, a megapixel and 300 queries cost the same."""
        images = self.images if self.pixels else 0.1
        return images + sum(self.pixels) / 1e6 + self.images * self.queries / 300

    @property
    def ragged_inputs(self) -> Sequence[str]:
        """Those whose axis 1 is the number of queries."""
        return self.servable.ragged_inputs[self.signature]

    @property
    def is_even(self) -> bool:
        """Whether its inputs agree on images and queries; what does not runs alone, for the graph to say so."""
        return (
            bool(self.inputs)
            and len({len(value) for value in self.inputs.values()}) == 1
            and len({self.inputs[name].shape[1] for name in self.ragged_inputs}) <= 1
        )

    def goes_with(self, other: Call) -> bool:
        """Whether both can be parts of one batch, as far as their kind goes."""
        return (
            self.servable is other.servable
            and self.signature == other.signature
            and self.outputs == other.outputs
            and self.is_even
            and other.is_even
        )

    def pieces(self, images: int, pixels: int) -> list[Call]:
        """Itself in parts of so many images and pixels at most, or of one image."""
        if not self.is_even:
            return [self]
        starts, count, size = [0], 0, 0
        for row in range(self.images):
            of_row = self.pixels[row] if self.pixels else 0
            if count and (count == images or size + of_row > pixels):
                starts.append(row)
                count, size = 0, 0
            count, size = count + 1, size + of_row
        return [self._rows(start, stop) for start, stop in zip(starts, [*starts[1:], self.images])]

    def _rows(self, start: int, stop: int) -> Call:
        inputs = {name: value[start:stop] for name, value in self.inputs.items()}
        return dataclasses.replace(self, inputs=inputs, pixels=self.pixels[start:stop])


def run(calls: Sequence[Call]) -> list[dict[str, np.ndarray]]:
    """Runs calls that go with each other as one batch: queries are padded to the most, and cut again."""
    if len(calls) == 1:
        return [calls[0].servable.run(calls[0])]
    first, queries = calls[0], max(call.queries for call in calls)
    inputs = {
        name: np.concatenate(
            [
                _padded(call.inputs[name], queries) if name in first.ragged_inputs else call.inputs[name]
                for call in calls
            ]
        )
        for name in first.inputs
    }
    outputs = first.servable.run(dataclasses.replace(first, inputs=inputs))
    ragged = first.servable.ragged_outputs[first.signature]
    results, start = [], 0
    for call in calls:
        stop = start + call.images
        results.append(
            {
                name: value[start:stop, : call.queries] if name in ragged else value[start:stop]
                for name, value in outputs.items()
            }
        )
        start = stop
    return results


def joined(results: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The answers to the pieces of a call as one answer."""
    if len(results) == 1:
        return results[0]
    return {name: np.concatenate([result[name] for result in results]) for name in results[0]}


def row_of(message: str) -> int | None:
    """The row of a batch that a message of the graph is about, if it is about one."""
    found = _ROW.search(message)
    return int(found.group(1)) if found else None


def with_row(message: str, row: int) -> str:
    """The message about another row."""
    return _ROW.sub(f"image {row}", message, count=1)


def _padded(value: np.ndarray, queries: int) -> np.ndarray:
    """Words to empty ones, ids to class 0: what comes of them is cut off."""
    widths = [(0, 0), (0, queries - value.shape[1])] + [(0, 0)] * (value.ndim - 2)
    return np.pad(value, widths, constant_values=b"" if value.dtype == object else 0)
