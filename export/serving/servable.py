"""One loaded version of an exported model, run by a session as TF Serving runs it."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from dsg_tf.process import error_sentences
from dsg_tf.words import aliases
from export.saved_model import image_sizes, vocabulary, warmup
from export.serving.call import Call
from export.serving.limits import Limits
from export.serving.status import Status
from export.serving.words import Words

DEFAULT_SIGNATURE = "serving_default"


class Servable:
    """A version in memory.

    Args:
      path: directory `<base>/<version>` that `export_saved_model` wrote.

    Attributes:
      version: its number.
      definitions: `SignatureDef` by name, SavedModel's own for initialisation included.
      signatures: those that can be asked.
      ragged_inputs, ragged_outputs: of each signature, the tensors whose axis 1 is the number of queries.
      words: its vocabulary; None in versions exported before 0.3.
    """

    def __init__(self, path: str):
        self.path, self.version = path, int(os.path.basename(path))
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=_session_config())
        with self._session.graph.as_default():
            graph = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], path)
        self.definitions = dict(graph.signature_def)
        self.signatures = {
            name: signature
            for name, signature in self.definitions.items()
            if signature.method_name == tf.saved_model.PREDICT_METHOD_NAME
        }
        self._aliases = _aliases(self.signatures, self._session.graph)
        self.ragged_inputs = {name: _ragged(signature.inputs) for name, signature in self.signatures.items()}
        self.ragged_outputs = {name: _ragged(signature.outputs) for name, signature in self.signatures.items()}
        known = vocabulary.read(path)
        self.words = Words(known, aliases.for_vocabulary(known, os.path.join(path, "assets.extra"))) if known else None

    def warm_up(self) -> Iterator[None]:
        """Runs the requests that the export put beside the model, one a step: the default signature first."""
        for record in tf.data.TFRecordDataset(os.path.join(self.path, "assets.extra", warmup.FILE)).as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            self.run(self.prepare(request, Limits()))
            yield

    def signature(self, name: str):
        """The `SignatureDef` of a name, "" being the default."""
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise Status("FAILED_PRECONDITION", f'Serving signature key "{name[:100]}" not found.')
        return self.signatures[name]

    def prepare(self, request: predict_pb2.PredictRequest, limits: Limits) -> Call:
        """Checks a request against its signature, its words and the sizes of its pictures: all that needs no network.

        Raises:
          Status: FAILED_PRECONDITION: no such signature. INVALID_ARGUMENT: names, dtypes, shapes or words that do not
            fit. RESOURCE_EXHAUSTED: it is too large.
        """
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = self.signature(name)
        _check_names(request, signature)
        shapes = {key: _checked_shape(key, tensor, signature.inputs[key]) for key, tensor in request.inputs.items()}
        # A proto of a few bytes can announce any shape, and its tensor would be made in full.
        limits.check(
            max((shape[0] for shape in shapes.values()), default=0),
            max((shapes[key][1] for key in self.ragged_inputs[name]), default=0),
        )
        inputs = {key: _array(key, tensor) for key, tensor in request.inputs.items()}
        if self.words:
            self.words.check(inputs)
        pixels: tuple[int, ...] = ()
        if "image" in inputs and inputs["image"].dtype == object:
            pixels = tuple(_pixels(number, file) for number, file in enumerate(inputs["image"]))
            limits.check_pixels(sum(pixels))
        return Call(self, name, inputs, tuple(sorted(set(request.output_filter) or set(signature.outputs))), pixels)

    def output_bytes(self, call: Call) -> int:
        """Memory of the answer to a call, about."""
        total = 0
        for name in call.outputs:
            info = self.signatures[call.signature].outputs[name]
            free = iter((call.images, max(call.queries, 1)))
            shape = [dim.size if dim.size >= 0 else next(free, 1) for dim in info.tensor_shape.dim]
            total += int(np.prod(shape, dtype=np.int64)) * (tf.as_dtype(info.dtype).size or 32)
        return total

    def run(self, call: Call) -> dict[str, np.ndarray]:
        """Outputs by name.

        Raises:
          Status: what the graph refuses.
        """
        signature = self.signatures[self._aliases[call.signature]]
        feeds = {signature.inputs[name].name: value for name, value in call.inputs.items()}
        try:
            return self._session.run({name: signature.outputs[name].name for name in call.outputs}, feeds)
        except tf.errors.OpError as error:
            # Of a failed check inside the graph the sentence alone, without the names of its nodes.
            raise Status.of_number(error.error_code, error_sentences.sentence(error)) from error


def _session_config() -> tf.compat.v1.ConfigProto:
    """Leaves out passes over the graph that cost seconds at the start and change nothing that can be measured after."""
    config = tf.compat.v1.ConfigProto()
    rewrites = config.graph_options.rewrite_options
    rewrites.meta_optimizer_iterations = rewrites.ONE
    rewrites.memory_optimization = rewrites.NO_MEM_OPT
    for name in ("layout_optimizer", "loop_optimization", "arithmetic_optimization", "dependency_optimization"):
        setattr(rewrites, name, rewrites.OFF)
    return config


def _aliases(signatures, graph: tf.Graph) -> dict[str, str]:
    """For each signature the first one that does the same: only that is optimised, warmed up and run."""
    bodies = {function.signature.name: function for function in graph.as_graph_def().library.function}
    first: dict[tuple, str] = {}
    return {
        name: first.setdefault(_what_it_does(signature, graph, bodies) or (name,), name)
        for name, signature in sorted(signatures.items())
    }


def _what_it_does(signature, graph: tf.Graph, bodies) -> tuple | None:
    """The same for two signatures that call one function; None: it is no call of a function."""
    places = {name: info.name.rsplit(":", 1) for name, info in signature.outputs.items()}
    nodes = {node for node, _ in places.values()}
    if len(nodes) != 1:
        return None
    call = graph.get_operation_by_name(nodes.pop()).node_def
    if "f" not in call.attr:
        return None
    body = type(bodies[call.attr["f"].func.name])()
    body.CopyFrom(bodies[call.attr["f"].func.name])
    body.signature.name = ""
    body.ClearField("arg_attr")  # Numbers that tell arguments of different functions apart.
    outputs = tuple(sorted((name, place[1]) for name, place in places.items()))
    return body.SerializeToString(deterministic=True), tuple(sorted(signature.inputs)), outputs


def _ragged(tensors) -> Sequence[str]:
    """Those whose axis 1 is the number of queries: the only axis besides the batch that is free."""
    return [
        name
        for name, tensor in tensors.items()
        if len(tensor.tensor_shape.dim) > 1 and tensor.tensor_shape.dim[1].size < 0
    ]


def _check_names(request: predict_pb2.PredictRequest, signature) -> None:
    given, needed = set(request.inputs), set(signature.inputs)
    missing, extra = sorted(needed - given), sorted(given - needed)
    if missing or extra:
        raise Status(
            "INVALID_ARGUMENT",
            f"input size does not match signature: {len(request.inputs)}!={len(signature.inputs)}. Sent extra: "
            f"{{{','.join(extra)}}}. Missing but required: {{{','.join(missing)}}}.",
        )
    wanted = collections.Counter(request.output_filter)
    unknown = sorted(set(wanted) - set(signature.outputs))
    if unknown:
        raise Status(
            "INVALID_ARGUMENT",
            f"output tensor alias not found in signature: {unknown[0][:100]} Outputs expected to be in the set "
            f"{{{','.join(sorted(signature.outputs))}}}.",
        )
    twice = [name for name, count in wanted.items() if count > 1]
    if twice:
        raise Status("INVALID_ARGUMENT", f"duplicate output tensor alias: {twice[0]}")


def _checked_shape(name: str, tensor, expected) -> list[int]:
    if tensor.dtype != expected.dtype:
        raise Status(
            "INVALID_ARGUMENT", f"input {name} is {_type_name(tensor.dtype)}, not {_type_name(expected.dtype)}"
        )
    shape, wanted = ([dim.size for dim in proto.tensor_shape.dim] for proto in (tensor, expected))
    fits = (
        not tensor.tensor_shape.unknown_rank
        and len(shape) == len(wanted)
        and min(shape, default=0) >= 0
        and all(size == want or want < 0 for size, want in zip(shape, wanted))
    )
    if not fits:
        raise Status(
            "INVALID_ARGUMENT",
            f"input {name} has shape {shape[:20]}, not {[want if want >= 0 else None for want in wanted]}",
        )
    if shape and shape[0] == 0:
        raise Status("INVALID_ARGUMENT", f"input {name} is for no image: its shape is {shape}")
    return shape


def _pixels(number: int, file: bytes) -> int:
    """How many a picture has; what the graph would refuse for its header alone costs no run with others."""
    size = image_sizes.pixels(file)
    if size is None:
        raise Status(
            "INVALID_ARGUMENT", f"image {number} of the batch is not a JPEG, PNG or WebP file: it has {len(file)} bytes"
        )
    return size[0] * size[1]


def _type_name(number: int) -> str:
    try:
        return tf.as_dtype(number).name
    except TypeError:
        return f"of type {number}"


def _array(name: str, tensor) -> np.ndarray:
    try:
        value = tf.make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        raise Status("INVALID_ARGUMENT", f"input {name} cannot be read: {error}") from error
    # A finite sum is quickly known and enough; an infinite one may be of large numbers.
    if value.dtype.kind == "f" and not np.isfinite(value.sum()) and not np.isfinite(value).all():
        raise Status("INVALID_ARGUMENT", f"input {name} has values that are not finite numbers")
    return value
