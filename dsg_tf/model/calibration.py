"""A calibrated `answer_probability`: a logistic function of its log odds (Platt 1999), kept beside the weights."""

from __future__ import annotations

import dataclasses
import json
import os

import tensorflow as tf
from absl import logging

from dsg_tf.process import files

FILE = "calibration.json"
LEAST = 1e-6  # Nearer to 0 or 1 a float32 tells no differences.


@dataclasses.dataclass(frozen=True)
class Calibration:
    """p becomes sigmoid(scale * log(p / (1 - p)) + shift).

    Attributes:
      scale: above 0, so that the order of queries stays; below 1 where the model is too sure.
      shift: above 0 where it says "not found" too often.
    """

    scale: float
    shift: float

    def __call__(self, probability: tf.Tensor) -> tf.Tensor:
        """The same for a tensor `[...]` of probabilities; 0, where there is no box that could answer, stays 0."""
        clipped = tf.clip_by_value(probability, LEAST, 1.0 - LEAST)
        log_odds = tf.math.log(clipped) - tf.math.log1p(-clipped)
        return tf.where(probability > 0, tf.sigmoid(self.scale * log_odds + self.shift), 0.0)

    def save(self, model_dir: str, step: int, queries: int) -> None:
        """Writes it beside the weights of a step, found with so many queries."""
        files.write_json(
            os.path.join(model_dir, FILE), {"scale": self.scale, "shift": self.shift, "step": step, "queries": queries}
        )


def load(model_dir: str, step: int) -> Calibration | None:
    """What `save` wrote; None where there is nothing, or, with a warning, of other weights than those of `step`.

    Raises:
      ValueError: the file is something else; names it.
    """
    path = os.path.join(model_dir, FILE)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        try:
            found = json.load(file)
            calibration, of_step = Calibration(float(found["scale"]), float(found["shift"])), found["step"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no calibration: {type(error).__name__}: {error}") from error
    if not calibration.scale > 0:
        raise ValueError(f"{path}: scale is {calibration.scale:g}, it must be above 0")
    if of_step != step:
        logging.warning("%s is of step %s, the weights are of step %d: it is left out", path, of_step, step)
        return None
    return calibration
