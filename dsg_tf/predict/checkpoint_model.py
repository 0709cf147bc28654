"""A checkpoint of train.py, asked about single images; answers are in pixels of the original."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf import build, checkpoints
from dsg_tf.data import queries as query_lib
from dsg_tf.data.batches import network_input
from dsg_tf.data.roles import ROLES
from dsg_tf.data.scene import Vocabulary
from dsg_tf.predict import answers


class CheckpointModel:
    """A trained model that takes encoded images and queries in words."""

    def __init__(self, model, resize: network_input.Resize, vocabulary: Vocabulary):
        self._model, self._resize, self._vocabulary = model, resize, vocabulary

    @classmethod
    def load(cls, model_dir: str) -> CheckpointModel:
        """Reads the last checkpoint of `model_dir`."""
        model, config, vocabulary, _ = checkpoints.load_model(model_dir)
        return cls(model, build.resize(config), vocabulary)

    def answer(self, encoded: bytes, queries: Sequence[str]) -> list[answers.Answer]:
        """Answers "subject, relation, object" queries about one JPEG or PNG image.

        Raises:
          ValueError: a query is not of three parts, a word is not in the vocabulary, the bytes are no image, or the
            system answers with maps.
        """
        triplets = [query.ids(self._vocabulary) for query in query_lib.parse_all(queries)]
        if network_input.is_animated_webp(encoded):
            raise ValueError("an animated WebP, not a picture: give one of its frames")
        try:
            image, image_size, original_size = network_input.network_image(encoded, self._resize)
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(f"not a JPEG or PNG image: {error.message}") from error
        outputs = self._model(
            {
                "image": image[tf.newaxis],
                "image_size": image_size[tf.newaxis],
                "original_size": original_size[tf.newaxis],
                "queries": tf.reshape(tf.constant(triplets, tf.int32), [1, -1, 3]),
            },
            training=False,
        )
        if "boxes" not in outputs:
            raise ValueError(
                f"the system {self._model.name!r} answers with maps, not with boxes: eval.py --split draws them"
            )
        wanted = ("boxes", "answer_probability", *(f"{role}_{kind}" for role in ROLES for kind in ("mask", "scores")))
        found = {name: outputs[name][0].numpy() for name in wanted}
        found["boxes"] = box_lib.scale(found["boxes"], (original_size / image_size).numpy())
        return [answers.read(query, found, row) for row, query in enumerate(queries)]
