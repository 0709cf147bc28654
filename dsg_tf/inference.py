"""Answers about single images, in pixels of the original."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf import checkpoints, metrics
from dsg_tf.answers import Answer, best_first
from dsg_tf.data import network_input
from dsg_tf.data.network_input import InputSpec
from dsg_tf.data.scene import Vocabulary


class Predictor:
    """A trained model that takes encoded images and queries in words."""

    def __init__(self, model, spec: InputSpec, vocabulary: Vocabulary):
        self._model, self._spec, self._vocabulary = model, spec, vocabulary

    @classmethod
    def load(cls, model_dir: str) -> Predictor:
        """Reads the last checkpoint of ``model_dir``."""
        model, config, vocabulary, _ = checkpoints.load_model(model_dir)
        spec = InputSpec(image_size=config.image_size, short_side=config.short_side, long_side=config.long_side,
                         max_boxes=1, max_relations=1, max_queries=1, keep_aspect=config.keep_aspect)
        return cls(model, spec, vocabulary)

    def answer(self, encoded: bytes, queries: Sequence[str]) -> list[Answer]:
        """Answers "subject, relation, object" queries about one JPEG or PNG image.

        Raises:
          ValueError: a word is not in the vocabulary, or the bytes are no image.
        """
        triplets = [self._vocabulary.parse_query(query) for query in queries]
        try:
            image, image_size, original_size = network_input.network_image(encoded, self._spec)
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(f"not a JPEG or PNG image: {error.message}") from error
        outputs = self._model({"image": image[tf.newaxis], "image_size": image_size[tf.newaxis],
                               "queries": tf.constant([triplets], tf.int32)}, training=False)
        if "boxes" not in outputs:
            raise ValueError(f"the system {self._model.name!r} answers with maps, not with boxes: eval.py --split "
                             "draws them")
        boxes = box_lib.scale(outputs["boxes"][0], original_size / image_size).numpy()
        parts = []
        for role in metrics.ROLES:
            scores, chosen = (outputs[f"{role}_{kind}"][0].numpy() for kind in ("scores", "set"))
            parts.append([best_first(boxes, s, c) for s, c in zip(scores, chosen)])
        return [Answer(query, *subject, *object_) for query, subject, object_ in zip(queries, *parts)]
