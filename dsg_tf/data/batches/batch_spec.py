"""What a batch looks like."""

from __future__ import annotations

import dataclasses

from dsg_tf.data.batches.network_input import Resize


@dataclasses.dataclass(frozen=True)
class BatchSpec:
    """The shapes of a batch, and what is changed at random in training.

    Attributes:
      resize: from images to the network's input.
      max_boxes, max_relations, max_queries: M, T and Q.
      flipped_relations: id of each relation in a mirrored image; empty: training does not flip.
      color_jitter: strength of the colour jitter in training, 0 to 1 (see `augment`).
      scale_jitter: how much training images are cropped and shrunk (see `crop`), 0 to below 1.
      contrastive_queries: share of the queries in training that do not hold (see `contrast`), 0 to below 1.
      num_entities, num_relations: E and R, of which those are made.
    """

    resize: Resize
    max_boxes: int
    max_relations: int
    max_queries: int
    flipped_relations: tuple[int, ...] = ()
    color_jitter: float = 0.0
    scale_jitter: float = 0.0
    contrastive_queries: float = 0.0
    num_entities: int = 1
    num_relations: int = 1

    def __post_init__(self):
        for name in ("max_boxes", "max_relations", "max_queries"):
            if getattr(self, name) < 1:
                raise ValueError(f"BatchSpec.{name} must be at least 1, got {getattr(self, name)}")
        if sorted(self.flipped_relations) != list(range(len(self.flipped_relations))):
            raise ValueError(
                f"BatchSpec.flipped_relations must hold every relation id once, got {self.flipped_relations}"
            )
        if not 0 <= self.color_jitter <= 1:
            raise ValueError(f"BatchSpec.color_jitter must be in 0..1, got {self.color_jitter}")
        for name in ("scale_jitter", "contrastive_queries"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"BatchSpec.{name} must be in [0, 1), got {getattr(self, name)}")
