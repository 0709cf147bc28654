"""A checkpoint of train.py, or a packed one, asked about images; answers are in pixels of the original."""

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
from dsg_tf.model import dsg, hidden_input
from dsg_tf.predict import answers, asked, graphs
from dsg_tf.predict.image_model import RELATIONS, EncodedImage, ImageModel, Refused
from dsg_tf.words import aliases as alias_lib
from dsg_tf.words.aliases import Aliases
from dsg_tf.words.words import Words

_AT_ONCE = 512  # Triplets about one image in one call; with pairs of boxes, a triplet takes megabytes.
# What is kept of an image: for answers, for scene graphs, and for both.
_STATE = (*dsg.STATE, "relation_probabilities")


class CheckpointModel(ImageModel):
    """A trained model that takes encoded images and queries in words; `words` None: with the program's own aliases.

    The network looks at one image operation by operation: to trace a graph takes longer than a few images do. At
    several images it looks through a graph, which is traced once.
    """

    words: Words

    def __init__(
        self, model: dsg.DSG, resize: network_input.Resize, vocabulary: Vocabulary, words: Words | None = None
    ):
        self._model, self._resize, self.words = model, resize, words or Words(vocabulary)
        self._traced = tf.function(self._encode, autograph=False, reduce_retracing=True)
        self._entities = {name: number for number, name in enumerate(vocabulary.entities)}
        self._relations = {name: number for number, name in enumerate(vocabulary.relations)}

    @classmethod
    def load(cls, model_dir: str, aliases: Aliases | None = None) -> CheckpointModel:
        """Reads the last checkpoint of `model_dir`, or its packed weights.

        Args:
          model_dir: see `config.find`.
          aliases: other words that come before those of the model and of the program.

        Raises:
          FileNotFoundError, ValueError: as of `checkpoints.load_model`, or the system answers with maps.
        """
        system = config_lib.load(model_dir).model
        if system in config_lib.ATTENTION_MODELS:
            raise ValueError(f"the system {system!r} answers with maps, not with boxes: eval.py --split draws them")
        model, config, vocabulary, _ = checkpoints.load_model(model_dir)
        own = () if aliases is None else (aliases,)
        words = Words(vocabulary, (*own, *alias_lib.for_vocabulary(vocabulary, config_lib.find(model_dir))))
        return cls(model, build.resize(config), vocabulary, words)

    def encode(self, images: Sequence[bytes]) -> list[EncodedImage]:
        decoded = [self._decoded(image) for image in images]
        inputs = [tf.stack(parts) for parts in zip(*decoded)]
        found = (self._traced if len(images) > 1 else self._encode)(*inputs)
        return [
            EncodedImage(image, {name: value[row] for name, value in found.items()}) for row, image in enumerate(images)
        ]

    def ask(
        self, images: Sequence[EncodedImage], questions: Sequence[Sequence[asked.Asked]]
    ) -> list[list[answers.Answer]]:
        return [self._answers(image, some) for image, some in zip(images, questions)]

    def scene_graph(self, image: EncodedImage, relations: int = RELATIONS) -> answers.LabelledGraph:
        outputs = {name: value.numpy() for name, value in image.state.items()}
        return graphs.read(outputs).labelled(self.words.vocabulary, count=relations)

    def _decoded(self, encoded: bytes):
        if network_input.is_animated_webp(encoded):
            raise Refused("an animated WebP, not a picture: give one of its frames")
        try:
            return network_input.network_image(encoded, self._resize)
        except tf.errors.InvalidArgumentError as error:
            raise Refused(f"not a JPEG or PNG image: {error.message}") from error

    def _encode(self, image, image_size, original_size) -> dict[str, tf.Tensor]:
        """What is kept of a batch of network inputs, with boxes in pixels of the originals."""
        image = hidden_input.hide({"image": image}, self._model.hidden)["image"]
        found = self._model.encode(image, image_size, original_size)
        found["boxes"] = box_lib.scale(found["boxes"], (original_size / image_size)[:, tf.newaxis])
        return {name: found[name] for name in _STATE if name in found}

    def _answers(self, image: EncodedImage, questions: Sequence[asked.Asked]) -> list[answers.Answer]:
        state = {name: value[tf.newaxis] for name, value in image.state.items()}
        common = {name: image.state[name].numpy() for name in asked.OF_BOXES}
        found = [{**common, **self._outputs(state, triplets)} for triplets in asked.pieces(questions, _AT_ONCE)]
        return asked.read_all(questions, asked.joined(found)) if found else []

    def _outputs(self, state: dict[str, tf.Tensor], triplets: Sequence[tuple[str, ...]]) -> dict[str, np.ndarray]:
        """What the model says about triplets, without the batch axis."""
        ids = [[self._entities[s], self._relations[r], self._entities[o]] for s, r, o in triplets]
        queries = hidden_input.hide({"queries": tf.constant([ids], tf.int32)}, self._model.hidden)["queries"]
        outputs = self._model.answer(state, queries)
        wanted = ["answer_probability", *(f"{role}_{kind}" for role in ROLES for kind in ("mask", "scores"))]
        wanted += ["role_probabilities"] if "role_probabilities" in outputs else []
        return {name: outputs[name][0].numpy() for name in wanted}
