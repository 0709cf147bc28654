"""Who answers the page: a model in this process, or a server."""

from __future__ import annotations

import abc
import concurrent.futures
import contextlib
from collections.abc import Iterator
from typing import Any

from dsg_tf import api
from dsg_tf.predict.answers import Answer, LabelledGraph
from export import dsg_client

_ALL = 32 * 31  # Relations: those of the paper's 32 boxes.


class View(abc.ABC):
    """What the page needs; its methods block, and run in threads of `executor`.

    Attributes:
      flag: flags that name the same model for `dsg-ask`.
      python: lines of Python that ask the same; PICTURE, TEXT and THRESHOLD stand for what is asked.
      executor: as many threads as may ask at once.
    """

    flag: tuple[str, ...]
    python: tuple[str, ...]
    executor: concurrent.futures.ThreadPoolExecutor

    @abc.abstractmethod
    def encode(self, image: bytes) -> Any:
        """What stands for an image in `ask`; ValueError, OSError: it is none."""

    @abc.abstractmethod
    def ask(self, encoded: Any, text: str) -> Answer:
        """The answer to a question about it; ValueError: it is not understood."""

    @abc.abstractmethod
    def scene_graph(self, image: bytes, encoded: Any) -> LabelledGraph:
        """What is in the image, with all relations there are; ValueError, OSError: the system has no label heads."""


class OfModel(View):
    """A model in this process, which answers one question after the other.

    Args:
      model: as of `dsg_tf.load_model`.
    """

    def __init__(self, model: str):
        self.flag = (f"--model={model}",)
        self.python = (
            "from dsg_tf import load_model",
            f"model = load_model({model!r})",
            "answer = model.ask(PICTURE, TEXT, threshold=THRESHOLD)",
            "print(answer.found, answer.answer_probability, answer.subject_boxes, answer.object_boxes)",
            'answer.picture().save("answer.png")',
        )
        self.executor = concurrent.futures.ThreadPoolExecutor(1)
        self._model = api.load_model(model)

    def encode(self, image: bytes) -> Any:
        return self._model.encode(image)

    def ask(self, encoded: Any, text: str) -> Answer:
        return self._model.ask(encoded, text)

    def scene_graph(self, image: bytes, encoded: Any) -> LabelledGraph:
        return self._model.scene_graph(encoded, _ALL)


class OfServer(View):
    """A model behind `export.serve` or TF Serving.

    Args:
      server: host:port of its gRPC service.
      model_name: name of the model there.
    """

    def __init__(self, server: str, model_name: str):
        self.flag = (f"--server={server}", *([f"--model_name={model_name}"] if model_name != "dsg" else []))
        arguments = repr(server) + (f", model={model_name!r}" if model_name != "dsg" else "")
        self.python = (
            "from export.dsg_client import DSGClient",
            f"with DSGClient({arguments}) as client:",
            '    image = client.encode(open(PICTURE, "rb").read())',
            "    (answer,) = client.ask(image, [TEXT])",
            '    print(answer.not_found(THRESHOLD) or "found", answer.subject_boxes, answer.object_boxes)',
        )
        self.executor = concurrent.futures.ThreadPoolExecutor(8)
        self._client = dsg_client.DSGClient(server, model=model_name)

    def encode(self, image: bytes) -> Any:
        with _refusals():
            return self._client.encode(image)

    def ask(self, encoded: Any, text: str) -> Answer:
        with _refusals():
            return self._client.ask(encoded, [text])[0]

    def scene_graph(self, image: bytes, encoded: Any) -> LabelledGraph:
        with _refusals():
            return self._client.scene_graph(image)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What the server says against a picture or a question as a `ValueError`, as a model in this process has it."""
    try:
        yield
    except dsg_client.RequestError as error:
        if error.code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"):
            raise ValueError(error.message) from error
        raise
