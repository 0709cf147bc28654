"""One image with its boxes and relations, and the words they are named with.

Every reader makes a `Scene`, every writer takes one. Boxes are `[y0, x0, y1, x1]` in pixels of the original image,
triplets are (subject, relation, object).
"""

from __future__ import annotations

import dataclasses

import numpy as np

_MIRRORED_WORDS = {"left": "right", "right": "left"}


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Names of the entity classes and of the relation classes; an id is a position in its tuple."""

    entities: tuple[str, ...]
    relations: tuple[str, ...]

    def __post_init__(self):
        for kind, names in (("entity", self.entities), ("relation", self.relations)):
            if not names:
                raise ValueError(f"the vocabulary has no {kind} names")
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"two {kind} classes have the same name: {', '.join(repeated)}")

    def flipped_relations(self) -> tuple[int, ...]:
        """The id of each relation after a horizontal flip of the image.

        A relation becomes the one whose name has the words "left" and "right" exchanged, where the vocabulary has it;
        every other relation stays itself.
        """
        ids = {name: i for i, name in enumerate(self.relations)}
        return tuple(ids.get(_mirrored(name), i) for i, name in enumerate(self.relations))


@dataclasses.dataclass(frozen=True)
class Scene:
    """One image and what is known about it.

    Attributes:
      image_id: name of the image, unique in its split.
      image: the encoded JPEG or PNG as it lies on disk.
      height: of the image, in pixels.
      width: of the image, in pixels.
      boxes: float32 `[M, 4]`, `[y0, x0, y1, x1]`.
      entities: int64 `[M]`, the entity class of each box.
      relations: int64 `[T, 3]`, distinct rows (subject box, relation class, object box).
    """

    image_id: str
    image: bytes
    height: int
    width: int
    boxes: np.ndarray
    entities: np.ndarray
    relations: np.ndarray

    def __post_init__(self):
        for name, dtype, shape in (
            ("boxes", np.float32, (-1, 4)),
            ("entities", np.int64, (-1,)),
            ("relations", np.int64, (-1, 3)),
        ):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype).reshape(shape))
        if len(self.boxes) != len(self.entities):
            raise ValueError(f"{self.image_id}: {len(self.boxes)} boxes but {len(self.entities)} entities")
        ends = self.relations[:, [0, 2]]
        if ends.size and not (0 <= ends.min() and ends.max() < len(self.boxes)):
            raise ValueError(
                f"{self.image_id}: relations name the boxes {ends.min()} to {ends.max()}, "
                f"but there are {len(self.boxes)}"
            )

    def queries(self) -> tuple[np.ndarray, np.ndarray]:
        """The questions this image can be asked: its distinct class triplets, sorted.

        Returns:
          triplets: int64 `[Q, 3]`, (subject entity, relation, object entity), distinct, ascending.
          query_of_relation: int64 `[T]`, the row of `triplets` that each relation is an instance of.
        """
        subjects, predicates, objects = self.relations.T
        entities = self.entities
        of_relation = np.stack([entities[subjects], predicates, entities[objects]], axis=1)
        triplets, query_of_relation = np.unique(of_relation, axis=0, return_inverse=True)
        return triplets, query_of_relation.reshape(-1)


def _mirrored(name: str) -> str:
    return " ".join(_MIRRORED_WORDS.get(word, word) for word in name.split(" "))


def plain(name: str) -> str:
    """A name as it is looked up: upper case and extra blanks do not matter."""
    return " ".join(name.lower().split())
