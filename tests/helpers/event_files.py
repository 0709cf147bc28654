"""What TensorBoard's event files hold."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read(folder) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    return found.Reload()


def tensors(found: EventAccumulator, tag: str) -> dict[int, np.ndarray]:
    return {event.step: tf.make_ndarray(event.tensor_proto) for event in found.Tensors(tag)}
