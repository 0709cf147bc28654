"""The synthetic set as a reader: images that are rendered instead of read."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator

from dsg_tf.data import clevr_classes
from dsg_tf.data.problems import PreparationError, Problems
from dsg_tf.data.scene import Scene, Vocabulary
from dsg_tf.data.synthetic.scenes import render_scene

# No two splits may share a seed, or they would share images.
SEEDS = {"train": 1, "val": 2, "test": 3}


def seed_of_split(split: str, seed: int | None) -> int:
    """The seed asked for, or the one that belongs to the split.

    Raises:
      PreparationError: none is given for a split that has none, or it belongs to another split.
    """
    if seed is None and split not in SEEDS:
        raise PreparationError(f"split {split} needs a --seed; {SEEDS} have theirs")
    if seed is None:
        return SEEDS[split]
    owner = next((name for name, known in SEEDS.items() if known == seed), split)
    if owner != split:
        raise PreparationError(f"--seed={seed} is that of split {owner}, not to be shared: {SEEDS}")
    return seed


@dataclasses.dataclass(frozen=True)
class SyntheticScenes:
    """Scenes `start` to `stop` (exclusive) of a seed."""

    seed: int
    start: int
    stop: int

    @property
    def vocabulary(self) -> Vocabulary:
        return clevr_classes.VOCABULARY

    @property
    def source(self) -> dict[str, object]:
        return {"format": "synthetic", "seed": self.seed, "num_images": self.stop}

    def __len__(self) -> int:
        return self.stop - self.start

    def part(self, start: int, stop: int) -> SyntheticScenes:
        """The images from `start` to `stop` (exclusive)."""
        first = self.start
        return dataclasses.replace(self, start=first + start, stop=min(first + stop, self.stop))

    def scenes(self, problems: Problems, annotated: collections.Counter[str]) -> Iterator[Scene]:
        """Renders the images one after the other; nothing is wrong with any of them."""
        del problems
        for index in range(self.start, self.stop):
            scene = render_scene(self.seed, index)
            annotated.update(images=1, relations=len(scene.relations))
            yield scene
