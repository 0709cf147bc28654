"""An exported model, asked about batches of images."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from dsg_tf.data.roles import QUERY_PARTS
from dsg_tf.data.scene import Vocabulary
from dsg_tf.predict import answers, asked, graphs
from dsg_tf.predict.image_model import RELATIONS, EncodedImage, ImageModel, Refused
from dsg_tf.process import error_sentences
from dsg_tf.words import aliases as alias_lib
from dsg_tf.words.aliases import Aliases
from dsg_tf.words.words import Words

_PADDING = ("", "", "")


class ExportedModel(ImageModel):
    """The signatures `encode` and `answer` of a directory that `export_saved_model` wrote."""

    def __init__(self, path: str, aliases: Aliases | None = None):
        """Loads it.

        Args:
          path: of the version.
          aliases: other words that come before those of the model and of the program.

        Raises:
          ValueError: the directory holds something else.
        """
        self._model = tf.saved_model.load(path)  # Kept: the signatures alone do not hold the weights.
        missing = {"encode", "answer"}.difference(self._model.signatures)
        if missing:
            raise ValueError(
                f"--saved_model={path} has no signature {' and '.join(sorted(missing))}, only "
                f"{', '.join(sorted(self._model.signatures)) or 'none'}"
            )
        self._encode, self._answer = self._model.signatures["encode"], self._model.signatures["answer"]
        self.words = _words(path, aliases)

    def encode(self, images: Sequence[bytes]) -> list[EncodedImage]:
        with _refusing():
            found = {name: value.numpy() for name, value in self._encode(image=tf.constant(images)).items()}
        return [
            EncodedImage(image, {name: value[row] for name, value in found.items()}) for row, image in enumerate(images)
        ]

    def ask(
        self, images: Sequence[EncodedImage], questions: Sequence[Sequence[asked.Asked]]
    ) -> list[list[answers.Answer]]:
        """All images are asked together, those with fewer triplets padded."""
        state = {name: tf.constant(np.stack([image.state[name] for image in images])) for name in images[0].state}
        pieces = [asked.pieces(of_image) for of_image in questions]
        found: list[list[dict[str, np.ndarray]]] = [[] for _ in images]
        for number in range(max(map(len, pieces))):
            some = [of_image[number] if number < len(of_image) else () for of_image in pieces]
            longest = max(map(len, some))
            padded = [[*triplets, *[_PADDING] * (longest - len(triplets))] for triplets in some]
            words = {
                part: tf.constant([[names[k].encode("utf-8", "replace") for names in triplets] for triplets in padded])
                for k, part in enumerate(QUERY_PARTS)
            }
            with _refusing():
                outputs = {name: value.numpy() for name, value in self._answer(**state, **words).items()}
            for i, triplets in enumerate(some):
                if triplets:
                    found[i].append(_of_image(outputs, i, len(triplets)))
        return [
            asked.read_all(of_image, asked.joined(outputs)) if outputs else []
            for of_image, outputs in zip(questions, found)
        ]

    def scene_graph(self, image: EncodedImage, relations: int = RELATIONS) -> answers.LabelledGraph:
        """Those of the relations that the model was exported for."""
        if "scene_graph" not in self._model.signatures:
            raise ValueError("this export has no scene graphs: its system has no label heads")
        found = self._model.signatures["scene_graph"](image=tf.constant([image.image]))
        return graphs.of_signature({name: value[0].numpy() for name, value in found.items()}, relations)


def _of_image(outputs: dict[str, np.ndarray], image: int, count: int) -> dict[str, np.ndarray]:
    """The rows of an image of the batch, without padding."""
    return {name: value[image] if name in asked.OF_BOXES else value[image, :count] for name, value in outputs.items()}


def _words(path: str, own: Aliases | None) -> Words | None:
    """The words of an exported model; None of one that does not have them."""
    file = os.path.join(path, "assets", "vocabulary.json")
    if not os.path.exists(file):
        return None
    with open(file, encoding="utf-8") as opened:
        vocabulary = Vocabulary(**{name: tuple(names) for name, names in json.load(opened).items()})
    others = alias_lib.for_vocabulary(vocabulary, os.path.join(path, "assets.extra"))
    return Words(vocabulary, others if own is None else (own, *others))


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Raises `Refused` with what the model says about an image or a query."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        sentence = _sentence(error)
        if sentence is None:  # Not the data's fault.
            raise
        raise Refused(sentence) from error


def _sentence(error: tf.errors.InvalidArgumentError) -> str | None:
    """What the model says about an image or a query, without its place in the batch; None if it says something else."""
    found = re.fullmatch(
        r"(?:image \d+ of the batch|query \d+ of image \d+)(?: |: )(.*)", error_sentences.sentence(error), re.DOTALL
    )
    return found.group(1) if found else None
