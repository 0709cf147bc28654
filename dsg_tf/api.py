"""Models from Python: load one, ask it about pictures in words, look at what it says.

    from dsg_tf import load_model

    model = load_model("clevr")
    answer = model.ask("photo.png", "red cube left of the metal ball")
    print(answer.found, answer.answer_probability, answer.subject_boxes, answer.object_boxes)
    answer.picture().save("answer.png")

Boxes are `[y0, x0, y1, x1]` in pixels of the picture as its file stores it; an EXIF orientation is not applied.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Union, overload

import numpy as np
from PIL import Image

from dsg_tf.data.scene import Vocabulary
from dsg_tf.predict import answers, loading, picture_files, plain_text
from dsg_tf.predict.image_model import RELATIONS, EncodedImage, ImageModel, Refused, in_batches
from dsg_tf.predict.picture_files import Picture

if TYPE_CHECKING:
    from dsg_tf.words.aliases import Aliases

AnyPicture = Union[Picture, EncodedImage]


@dataclasses.dataclass(frozen=True)
class Answer(answers.Answer):
    """An answer with the picture that it is about; a notebook shows it drawn.

    Attributes:
      image: the encoded picture.
      threshold: the `answer_probability` from which on what was asked for counts as found.
    """

    image: bytes = dataclasses.field(default=b"", repr=False)
    threshold: float = answers.FOUND

    @property
    def found(self) -> bool:
        """Whether what was asked for is there; True of an old export, which does not tell."""
        return not self.not_found(self.threshold)

    def picture(self) -> Image.Image:
        """The subject's boxes in green, the object's in violet, with their scores; says where nothing was found."""
        from dsg_tf.drawing import answer_pictures

        return answer_pictures.draw(self.image, [self], self.threshold)

    def __str__(self) -> str:
        return plain_text.of_answer(self, self.threshold)

    def _repr_png_(self) -> bytes:
        return _png(self.picture())


@dataclasses.dataclass(frozen=True)
class SceneGraph(answers.LabelledGraph):
    """A scene graph with the picture that it is about; a notebook shows it drawn.

    Attributes:
      image: the encoded picture.
    """

    image: bytes = dataclasses.field(default=b"", repr=False)

    def picture(self) -> Image.Image:
        """The most probable relations, over the picture and beside it."""
        from dsg_tf.drawing import answer_pictures

        return answer_pictures.draw_graph(answer_pictures.open_image(self.image), self)

    def __str__(self) -> str:
        return plain_text.of_graph(self)

    def _repr_png_(self) -> bytes:
        return _png(self.picture())


class Model:
    """A trained model; `load_model` makes one. TensorFlow takes a GPU where it has one."""

    def __init__(self, model: ImageModel, name: str):
        self._model, self.name = model, name

    def __repr__(self) -> str:
        return f"<Model {self.name!r}>"

    @property
    def vocabulary(self) -> Vocabulary:
        """The names that the model knows.

        Raises:
          ValueError: it was exported by version 0.1, which did not keep them.
        """
        if self._model.words is None:
            raise ValueError(f"{self.name} was exported without its words: export it again to ask for them")
        return self._model.words.vocabulary

    def encode(self, picture: Picture) -> EncodedImage:
        """Lets the network look at a picture once; the result stands for the picture in `ask` and `scene_graph`.

        Args:
          picture: as of `picture_files.encoded`.

        Raises:
          OSError, TypeError, ValueError: it cannot be read; names the file.
        """
        return self._encode([picture])[0]

    # A text is a sequence of texts, too: the first that fits counts.
    @overload
    def ask(  # type: ignore[overload-overlap]
        self, picture: AnyPicture, texts: str, *, threshold: float = ...
    ) -> Answer: ...
    @overload
    def ask(self, picture: AnyPicture, texts: Sequence[str], *, threshold: float = ...) -> list[Answer]: ...
    def ask(self, picture, texts, *, threshold=answers.FOUND):
        """Where what is asked for is.

        Args:
          picture: path, bytes, `PIL.Image`, uint8 array, or what `encode` returned.
          texts: a question in free text or as "subject, relation, object", or several.
          threshold: the probability from which on it counts as found.

        Returns:
          An `Answer`, or a list of them where `texts` is one.

        Raises:
          ValueError: a question is not understood (`NotUnderstood`, with what is near), or the picture is none.
          OSError, TypeError: the picture cannot be read.
        """
        return self.ask_many([picture], texts, threshold=threshold)[0]

    @overload
    def ask_many(  # type: ignore[overload-overlap]
        self, pictures: Iterable[AnyPicture], texts: str, *, threshold: float = ..., batch_size: int = ...
    ) -> list[Answer]: ...
    @overload
    def ask_many(
        self, pictures: Iterable[AnyPicture], texts: Sequence[str], *, threshold: float = ..., batch_size: int = ...
    ) -> list[list[Answer]]: ...
    def ask_many(self, pictures, texts, *, threshold=answers.FOUND, batch_size=8):
        """Asks the same about many pictures, `batch_size` of which the network sees at once.

        Returns:
          For each picture what `ask` returns.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold={threshold} is a probability: 0 to 1")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        questions = [self._model.read(text) for text in ([texts] if isinstance(texts, str) else texts)]
        result = []
        for batch in in_batches(pictures, batch_size):
            images = self._encode(batch)
            for image, found in zip(images, self._model.ask(images, [questions] * len(images))):
                told = [Answer(**vars(answer), image=image.image, threshold=threshold) for answer in found]
                result.append(told[0] if isinstance(texts, str) else told)
        return result

    def scene_graph(self, picture: AnyPicture, relations: int = RELATIONS) -> SceneGraph:
        """What is in a picture, and how it stands to each other.

        Args:
          picture: as of `ask`.
          relations: the most probable ones, so many at most; of an export at most as many as it was exported for.

        Raises:
          ValueError: the system has no label heads, or the picture is none.
          OSError, TypeError: the picture cannot be read.
        """
        (image,) = self._encode([picture])
        return SceneGraph(**vars(self._model.scene_graph(image, relations)), image=image.image)

    def _encode(self, pictures: Sequence[AnyPicture]) -> list[EncodedImage]:
        """Pictures, of which some may be encoded; those that are not are all at once."""
        new = [picture for picture in pictures if not isinstance(picture, EncodedImage)]
        files = [picture_files.encoded(picture) for picture in new]
        try:
            encoded = iter(self._model.encode(files) if files else [])
        except Refused as error:
            if len(new) == 1:
                raise ValueError(f"{picture_files.name(new[0])}: {error}") from error
            for picture in new:  # One of them; which, it tells alone.
                self._encode([picture])
            raise
        return [picture if isinstance(picture, EncodedImage) else next(encoded) for picture in pictures]


def load_model(model: str | os.PathLike[str], *, aliases: Aliases | None = None) -> Model:
    """Loads a trained model.

    Args:
      model: the name of a model at hand, such as "clevr" or "models/clevr"; a directory of train.py or of
        `dsg_tf.pack`; or an export: a version, or the directory of versions, of which the newest is taken.
      aliases: other words that come before those of the model and of the program, see `dsg_tf.words.aliases`.

    Raises:
      FileNotFoundError: there is no model; tells what there could be.
      ValueError: it cannot be read, or answers with maps, not with boxes.
    """
    model = os.fspath(model)
    loading.find(model)  # Before TensorFlow, which takes seconds.
    with _left_as_they_are():
        return Model(loading.load(model, aliases), model)


@contextlib.contextmanager
def _left_as_they_are() -> Iterator[None]:
    """Puts back what to build a network sets for the whole process: Keras' policy, and the numbers by chance.

    But not TensorFlow's seed, which nothing public tells. Model Garden, when it is imported, has matplotlib draw
    without a screen (`matplotlib.use("Agg")`), and a notebook would no longer show its own plots: not so here.
    """
    import matplotlib

    from dsg_tf.keras import keras

    state, numpy_state, policy = random.getstate(), np.random.get_state(), keras.mixed_precision.global_policy()
    use, matplotlib.use = matplotlib.use, lambda *args, **kwargs: None
    try:
        yield
    finally:
        matplotlib.use = use
        random.setstate(state)
        np.random.set_state(numpy_state)
        keras.mixed_precision.set_global_policy(policy)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
