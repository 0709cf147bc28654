"""A checkpoint of train.py, asked about single images; answers are in pixels of the original."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf import build, checkpoints
from dsg_tf import config as config_lib
from dsg_tf.data.batches import network_input
from dsg_tf.data.roles import ROLES
from dsg_tf.data.scene import Vocabulary
from dsg_tf.predict import answers, asked
from dsg_tf.words import aliases
from dsg_tf.words.words import Words

_AT_ONCE = 512  # Triplets; the network looks at the picture again for the next ones.
_KINDS = ("mask", "scores")


class CheckpointModel:
    """A trained model that takes encoded images and queries in words; `words` None: with the program's own aliases."""

    def __init__(self, model, resize: network_input.Resize, vocabulary: Vocabulary, words: Words | None = None):
        self._model, self._resize, self._words = model, resize, words or Words(vocabulary)

    @classmethod
    def load(cls, model_dir: str) -> CheckpointModel:
        """Reads the last checkpoint of `model_dir`."""
        model, config, vocabulary, _ = checkpoints.load_model(model_dir)
        words = Words(vocabulary, aliases.for_vocabulary(vocabulary, config_lib.find(model_dir)))
        return cls(model, build.resize(config), vocabulary, words)

    def answer(self, encoded: bytes, queries: Sequence[str]) -> list[answers.Answer]:
        """Answers queries, "subject, relation, object" or free text, about one JPEG or PNG image.

        Raises:
          ValueError: a query is not understood, the bytes are no image, or the system answers with maps.
        """
        questions = [self._words.read(query) for query in queries]
        triplets = [triplet for question in questions for triplet in question.triplets]
        if network_input.is_animated_webp(encoded):
            raise ValueError("an animated WebP, not a picture: give one of its frames")
        try:
            image, image_size, original_size = network_input.network_image(encoded, self._resize)
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(f"not a JPEG or PNG image: {error.message}") from error
        inputs = {
            "image": image[tf.newaxis],
            "image_size": image_size[tf.newaxis],
            "original_size": original_size[tf.newaxis],
        }
        pieces = [self._outputs(inputs, triplets[k : k + _AT_ONCE]) for k in range(0, max(len(triplets), 1), _AT_ONCE)]
        found = asked.joined(pieces)
        found["boxes"] = box_lib.scale(found["boxes"], (original_size / image_size).numpy())
        return asked.read_all([asked.Asked.of_question(q, self._words.vocabulary) for q in questions], found)

    def _outputs(self, inputs: dict[str, tf.Tensor], triplets: Sequence[tuple[int, int, int]]) -> dict[str, np.ndarray]:
        """What the model says about triplets, without the batch axis."""
        queries = tf.reshape(tf.constant(triplets, tf.int32), [1, -1, 3])
        outputs = self._model({**inputs, "queries": queries}, training=False)
        if "boxes" not in outputs:
            raise ValueError(
                f"the system {self._model.name!r} answers with maps, not with boxes: eval.py --split draws them"
            )
        wanted = ["boxes", "valid", "answer_probability"] + [f"{role}_{kind}" for role in ROLES for kind in _KINDS]
        wanted += ["role_probabilities"] if "role_probabilities" in outputs else []
        return {name: outputs[name][0].numpy() for name in wanted}
