"""What a part of a split holds: numbers that add up over parts."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator

from dsg_tf.data.prepare.reader import Reader
from dsg_tf.data.problems import Problems
from dsg_tf.data.scene import Scene


@dataclasses.dataclass
class Tally:
    """Counts over scenes; two tallies of neighbouring parts make the tally of both.

    Attributes:
      problems: what was wrong.
      annotated: `images`, `relations` and `images_without_relation` of the annotation files.
      totals: `num_images`, `num_boxes`, `num_relations`, `num_queries` of the scenes.
      largest: `max_boxes`, `max_relations`, `max_queries`, `max_height`, `max_width` of a scene.
    """

    problems: Problems
    annotated: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    totals: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    largest: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def scenes_of(self, reader: Reader) -> Iterator[Scene | None]:
        """Counts and passes on what a reader reads: None for an image that cannot be used."""
        for scene in reader.scenes(self.problems, self.annotated):
            if scene is not None:
                self._count(scene)
            yield scene

    def _count(self, scene: Scene) -> None:
        sizes = {"boxes": len(scene.boxes), "relations": len(scene.relations), "queries": len(scene.queries()[0])}
        self.totals += {"num_images": 1, **{f"num_{name}": n for name, n in sizes.items()}}
        sizes |= {"height": scene.height, "width": scene.width}
        self.largest |= collections.Counter({f"max_{name}": n for name, n in sizes.items()})

    def merge(self, other: dict) -> None:
        """Adds the `as_dict` of the part that follows.

        Raises:
          PreparationError: it has a problem and this tally is strict.
        """
        self.problems.merge(other["problems"])
        self.annotated += other["annotated"]
        self.totals += other["totals"]
        self.largest |= collections.Counter(other["largest"])

    def as_dict(self) -> dict:
        return {
            "problems": self.problems.in_order(),
            "annotated": dict(self.annotated),
            "totals": dict(self.totals),
            "largest": dict(self.largest),
        }
