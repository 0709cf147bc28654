"""The trained system as a module of signatures: bytes and words in, boxes in pixels of the original image out."""

from __future__ import annotations

import functools

import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf.data.batches.network_input import Resize
from dsg_tf.data.scene import Vocabulary
from dsg_tf.model.heads import relation_probabilities
from export.saved_model import checks, decoding
from export.saved_model.answers import best_boxes, state_of
from export.saved_model.words import Words

_STRINGS = tf.TensorSpec([None, None], tf.string)
QUERY = {"subject": _STRINGS, "relation": _STRINGS, "object": _STRINGS}
IMAGE = {"image": tf.TensorSpec([None], tf.string)}


class ServingModule(tf.Module):
    """Signatures of a `DSG`.

    Args:
      model: a trained `DSG`.
      resize: from images to its input.
      vocabulary: its words.
      vocabulary_file: the same as a file, which becomes an asset of the SavedModel under its own name.
      num_relations: K, relations that `scene_graph` returns.
      jit_compile: whether the network runs under XLA.
    """

    def __init__(
        self,
        model,
        resize: Resize,
        vocabulary: Vocabulary,
        vocabulary_file: str,
        num_relations: int,
        jit_compile: bool = False,
    ):
        super().__init__()
        self.resize, self.num_relations, self.has_labels = resize, num_relations, model.labeler is not None
        self.exclusive_relations = self.has_labels and model.labeler.exclusive_relations
        self.words = Words(vocabulary)
        self.vocabulary_file = tf.saved_model.Asset(vocabulary_file)
        # The weights without the Keras model around them, which would be saved with functions that nobody calls.
        self.weights = model.variables
        encode = tf.function(model.encode, autograph=False, jit_compile=jit_compile)
        answer = functools.partial(model.answer, skip_invalid=not jit_compile)
        answer = tf.function(answer, autograph=False, jit_compile=jit_compile)
        # Behind lambdas, or they and the model would be attributes, which are saved; made once, since signatures share
        # what was traced.
        self._encode_images = lambda *inputs: encode(*inputs)
        self._answer_queries = lambda *inputs: answer(*inputs)

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """By name; `serving_default` is `refer`."""
        image = tf.TensorSpec([None, *self.resize.image_size, 3], tf.float32, name="image")
        refer = concrete(self.refer, IMAGE | QUERY)
        encode = concrete(self.encode, IMAGE)
        state = {
            name: tf.TensorSpec([None, *spec.shape[1:]], spec.dtype) for name, spec in encode.structured_outputs.items()
        }
        result = {
            "serving_default": refer,
            "refer": refer,
            "encode": encode,
            "answer": concrete(self.answer, state | QUERY),
            "refer_ids": concrete(
                self.refer_ids,
                {
                    "image": image,
                    "image_size": tf.TensorSpec([None, 2], tf.float32),
                    "queries": tf.TensorSpec([None, None, 3], tf.int32),
                },
            ),
            "words": concrete(self.list_words, {}),
        }
        if self.has_labels:
            result["scene_graph"] = concrete(self.scene_graph, IMAGE)
        return result

    def refer(self, image, subject, relation, object):
        """Where the subject and the object of each query are."""
        # The words first, beside the decoding of the image, which is one core's work.
        queries, is_query = self._ids(image, subject, relation, object)
        return self._answers(self.encode(image), queries, is_query)

    def encode(self, image):
        """The differentiable scene graph of images: all that `answer` needs of them."""
        with tf.control_dependencies([checks.some_images(image)]):
            network, image_size, original_size = decoding.network_images(image, self.resize)
        encoded = self._encode_images(network, image_size, original_size)
        factors = (original_size / image_size)[:, tf.newaxis]
        state = state_of(encoded)
        return {
            **{name: tf.cast(value, tf.float32) if value.dtype.is_floating else value for name, value in state.items()},
            "boxes": box_lib.scale(encoded["boxes"], factors),
        }

    def answer(self, subject, relation, object, **state):
        """Answers to queries about images that `encode` has seen."""
        queries, is_query = self._ids(state["valid"], subject, relation, object)
        return self._answers(state, queries, is_query)

    def refer_ids(self, image, image_size, queries):
        """`refer` for those who preprocess themselves: network input and class ids in, pixels of the input out."""
        with tf.control_dependencies([checks.some_images(image), checks.same_batch(image, queries)]):
            fits = checks.network_images(image, image_size, self.resize.image_size)
        with tf.control_dependencies(fits):
            encoded = self._encode_images(image, image_size)
        return self._answers(encoded, queries, tf.ones(tf.shape(queries)[:2], tf.bool))

    def list_words(self):
        """The names that queries are made of, by class id."""
        return {"entities": tf.identity(self.words.entities), "relations": tf.identity(self.words.relations)}

    def scene_graph(self, image):
        """Labels of the boxes and the most probable relations between them."""
        state = self.encode(image)
        labels, valid = tf.nn.softmax(state["entity_logits"]), state["valid"]
        scores = tf.where(valid, tf.reduce_max(labels, axis=-1), 0.0)
        relations = relation_probabilities(state["relation_logits"], self.exclusive_relations)
        pairs = scores[:, :, tf.newaxis] * scores[:, tf.newaxis] * tf.reduce_max(relations, axis=-1)
        count = pairs.shape[1]
        pairs = tf.where(tf.eye(count, dtype=tf.bool), 0.0, pairs)
        best = tf.math.top_k(tf.reshape(pairs, [-1, count * count]), min(self.num_relations, count * (count - 1)))
        names = tf.gather(self.words.relations, tf.argmax(relations, axis=-1))
        entities = tf.gather(self.words.entities, tf.argmax(labels, axis=-1))
        return {
            "boxes": state["boxes"],
            "valid": valid,
            "entity": tf.where(valid, entities, ""),
            "entity_score": scores,
            "relation_subject": best.indices // count,
            "relation_object": best.indices % count,
            "relation": tf.gather(tf.reshape(names, [-1, count * count]), best.indices, batch_dims=1),
            "relation_score": best.values,
        }

    def _ids(self, images, subject, relation, object):
        with tf.control_dependencies([checks.some_images(images), checks.same_batch(images, subject)]):
            return self.words.ids(subject, relation, object)

    def _answers(self, state, queries, is_query):
        return best_boxes(state, self._answer_queries(state_of(state), queries), is_query)


def concrete(function, inputs):
    """A signature with keyword arguments only, named as in `inputs`."""
    named = {name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in inputs.items()}
    return tf.function(function, autograph=False).get_concrete_function(**named)
