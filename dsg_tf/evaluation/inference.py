"""A model at inference, traced once for evaluations, figures and analyses together."""

from __future__ import annotations

import functools

import tensorflow as tf

from dsg_tf.model import hidden_input

INPUTS = ("image", "image_size", "original_size", "queries")


class Inference:
    """The functions of a model, for any number of images and of queries.

    Args:
      model: of `build.build_model`. Its weights are read at every call.
    """

    def __init__(self, model):
        def ask(outputs, batch):
            return model.answer(outputs, hidden_input.hide(batch, model.hidden)["queries"])

        self._call = tf.function(lambda inputs: model(inputs, training=False), autograph=False)
        self._ask = tf.function(ask, autograph=False, reduce_retracing=True)
        self._traced: dict[tuple[int, int], tf.types.experimental.ConcreteFunction] = {}

    def outputs(self, batch) -> dict[str, tf.Tensor]:
        """All outputs of the model for a batch of `pipeline.eval_batches`."""
        inputs = {name: batch[name] for name in INPUTS}
        height, width = inputs["image"].shape[1:3]
        if (height, width) not in self._traced:
            self._traced[height, width] = self._call.get_concrete_function(
                {
                    "image": tf.TensorSpec([None, height, width, 3], tf.uint8),
                    "image_size": tf.TensorSpec([None, 2], tf.float32),
                    "original_size": tf.TensorSpec([None, 2], tf.float32),
                    "queries": tf.TensorSpec([None, None, 3], tf.int32),
                }
            )
        return self._traced[height, width](inputs)

    def ask_again(self, outputs, batch) -> dict[str, tf.Tensor]:
        """What a `DSG` answers to other queries, those of `batch`, about images whose `outputs` are known."""
        return self._ask(outputs, {name: batch[name] for name in INPUTS})


@functools.lru_cache(maxsize=1)
def of(model) -> Inference:
    """That of a model. The last one is kept: a run validates one model again and again."""
    return Inference(model)
