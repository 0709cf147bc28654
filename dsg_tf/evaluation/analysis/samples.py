"""One image at a time with everything a system said about it, for analyses that look at single boxes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from dsg_tf import boxes as box_lib
from dsg_tf.data.batches import pipeline
from dsg_tf.data.batches.batch_spec import BatchSpec
from dsg_tf.evaluation import inference


@dataclasses.dataclass(frozen=True)
class Sample:
    """An image, its ground truth without padding, and a system's outputs.

    Attributes:
      number: of the image in the split, in file order.
      image_id: its name.
      pixels: uint8 `[h, w, 3]`, network input without padding.
      scale: float32 `[2]` (y, x), original pixels per pixel of the network input.
      boxes: float32 `[M, 4]`, pixels of the network input.
      entities: int `[M]`; relations: int `[T, 3]` (subject box, class, object box); queries: int `[Q, 3]`.
      subject_of, object_of: bool `[Q, M]`.
      outputs: of the system, numpy, without the batch axis; queries that are padding are left out.
    """

    number: int
    image_id: str
    pixels: np.ndarray
    scale: np.ndarray
    boxes: np.ndarray
    entities: np.ndarray
    relations: np.ndarray
    queries: np.ndarray
    subject_of: np.ndarray
    object_of: np.ndarray
    outputs: dict[str, np.ndarray]

    @property
    def image(self) -> Image.Image:
        return Image.fromarray(self.pixels)

    @functools.cached_property
    def overlaps(self) -> tuple[np.ndarray, np.ndarray]:
        """IoU `[N, M]` of the refined boxes and of the proposals with the true boxes."""
        return iou(self.outputs["boxes"], self.boxes), iou(self.outputs["proposals"], self.boxes)


def iou(first, second) -> np.ndarray:
    """IoU of every pair, `[N, 4]` and `[M, 4]` to `[N, M]`."""
    return box_lib.iou(first[np.newaxis], second[np.newaxis])[0].numpy()


PER_QUERY = (
    "role_logits",
    "role_probabilities",
    "subject_mask",
    "object_mask",
    "subject_scores",
    "object_scores",
    "answer_probability",
    "subject_map",
    "object_map",
)


def samples(model, shards: Sequence[str], spec: BatchSpec, batch_size: int, max_images: int = 0) -> Iterator[Sample]:
    """All images of a split in file order; `max_images`: only so many, 0: all."""
    infer = inference.of(model)
    number = 0
    for batch in pipeline.eval_batches(shards, spec, batch_size):
        outputs = {name: value.numpy() for name, value in infer.outputs(batch).items()}
        truth = {name: value.numpy() for name, value in batch.items()}
        for row in np.flatnonzero(truth["example_mask"]):
            if max_images and number == max_images:
                return
            yield _sample(
                number,
                {name: value[row] for name, value in truth.items()},
                # Anchors that are the same for all images are there once.
                {name: value[min(row, len(value) - 1)] for name, value in outputs.items()},
            )
            number += 1


def _sample(number, truth, outputs) -> Sample:
    height, width = truth["image_size"].astype(int)
    boxes, queries, relations = truth["box_mask"], truth["query_mask"], truth["relations"][:, 1] >= 0
    outputs = {name: value[queries] if name in PER_QUERY else value for name, value in outputs.items()}
    return Sample(
        number,
        truth["image_id"].decode(),
        truth["image"][:height, :width],
        truth["original_size"] / truth["image_size"],
        truth["true_boxes"][boxes],
        truth["entities"][boxes],
        truth["relations"][relations],
        truth["queries"][queries],
        truth["subject_of"][queries][:, boxes],
        truth["object_of"][queries][:, boxes],
        outputs,
    )
