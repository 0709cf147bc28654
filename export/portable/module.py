"""The trained system as signatures of numbers alone, for runtimes that neither decode pictures nor know strings."""

from __future__ import annotations

import tensorflow as tf

from export.saved_model import signatures
from export.saved_model.answers import best_boxes, state_of
from export.saved_model.module import concrete

MEANINGS = {
    **signatures.MEANINGS,
    "image": "RGB in 0 to 255, padded at the bottom and the right",
    "boxes": "refined boxes, pixels of the network input",
}


class PortableModule(tf.Module):
    """Signatures of a `DSG` for one image and any number of queries.

    Nothing is checked: what the server refuses with a sentence, a runtime answers with an error of its own or with
    numbers that mean nothing.

    Args:
      model: a trained `DSG`, in float32.
      image_size: (height, width) of its input.
    """

    def __init__(self, model, image_size: tuple[int, int]):
        super().__init__()
        self.weights = model.variables
        self.image_size = image_size
        # Behind lambdas, as in `ServingModule`.
        self._encode = lambda *inputs: model.encode(*inputs)
        self._answer = lambda *inputs: model.answer(*inputs)

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """`refer_ids`, `encode` and `answer`."""
        image = {
            "image": tf.TensorSpec([1, *self.image_size, 3], tf.uint8),
            "image_size": tf.TensorSpec([1, 2], tf.float32),
        }
        queries = {"queries": tf.TensorSpec([1, None, 3], tf.int32)}
        encode = concrete(self.encode, image)
        state = {name: tf.TensorSpec(spec.shape, spec.dtype) for name, spec in encode.structured_outputs.items()}
        return {
            "refer_ids": concrete(self.refer_ids, image | queries),
            "encode": encode,
            "answer": concrete(self.answer, state | queries),
        }

    def encode(self, image, image_size):
        """All that `answer` needs of an image; boxes in pixels of the network input."""
        encoded = self._encode(image, image_size)
        return {**state_of(encoded), "boxes": encoded["boxes"]}

    def refer_ids(self, image, image_size, queries):
        """Answers to queries about an image."""
        return self._answers(self.encode(image, image_size), queries)

    def answer(self, queries, **state):
        """The same of an image that `encode` has seen, less what the caller has: in ONNX no output is an input."""
        return {name: value for name, value in self._answers(state, queries).items() if name not in state}

    def _answers(self, state, queries):
        found = self._answer(state_of(state), queries)
        return best_boxes(state, found, tf.ones(tf.shape(queries)[:2], tf.bool))
