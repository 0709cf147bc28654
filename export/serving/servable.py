"""One loaded version of an exported model, run by a session as TF Serving runs it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from export.saved_model import warmup
from export.serving.status import Status

DEFAULT_SIGNATURE = "serving_default"


@dataclasses.dataclass(frozen=True)
class Call:
    """A request that fits its signature.

    Attributes:
      servable, signature: what it asks.
      inputs: arrays by name.
      outputs: names of what it wants, sorted.
    """

    servable: Servable
    signature: str
    inputs: Mapping[str, np.ndarray]
    outputs: tuple[str, ...]

    @property
    def images(self) -> int:
        """Rows of the batch; of the longest input where they differ, which the graph will refuse."""
        return max((len(value) for value in self.inputs.values()), default=0)

    @property
    def queries(self) -> int:
        """Queries per image."""
        return max((self.inputs[name].shape[1] for name in self.servable.ragged_inputs[self.signature]), default=0)


class Servable:
    """A version in memory.

    Args:
      path: directory `<base>/<version>` that `export_saved_model` wrote.
    """

    def __init__(self, path: str):
        self.path, self.version = path, int(os.path.basename(path))
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            graph = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], path)
        # SavedModel adds a signature of its own, which only initialises tables.
        self.signatures = {
            name: signature
            for name, signature in graph.signature_def.items()
            if signature.method_name == tf.saved_model.PREDICT_METHOD_NAME
        }
        self.ragged_inputs = {name: _ragged(signature.inputs) for name, signature in self.signatures.items()}
        self.ragged_outputs = {name: _ragged(signature.outputs) for name, signature in self.signatures.items()}

    def warm_up(self) -> None:
        """Runs the requests that the export put beside the model."""
        for record in tf.data.TFRecordDataset(os.path.join(self.path, "assets.extra", warmup.FILE)).as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            self.run(self.prepare(request))

    def signature(self, name: str):
        """The `SignatureDef` of a name, "" being the default."""
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise Status("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        return self.signatures[name]

    def prepare(self, request: predict_pb2.PredictRequest, check_sizes=lambda images, queries: None) -> Call:
        """Checks a request against its signature.

        Args:
          request: any request.
          check_sizes: called with (images, queries per image) before their tensors are made.

        Raises:
          Status: FAILED_PRECONDITION: no such signature. INVALID_ARGUMENT: names, dtypes or shapes that do not fit.
        """
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = self.signature(name)
        given, needed = set(request.inputs), set(signature.inputs)
        missing, extra = sorted(needed - given), sorted(given - needed)
        if missing or extra:
            raise Status(
                "INVALID_ARGUMENT",
                f"input size does not match signature: {len(request.inputs)}!="
                f"{len(signature.inputs)}. Sent extra: {{{','.join(extra)}}}. Missing but required: "
                f"{{{','.join(missing)}}}.",
            )
        unknown = sorted(set(request.output_filter) - set(signature.outputs))
        if unknown:
            raise Status(
                "INVALID_ARGUMENT",
                f"output tensor alias not found in signature: {unknown[0]} Outputs "
                f"expected to be in the set {{{','.join(sorted(signature.outputs))}}}.",
            )
        shapes = {key: _checked_shape(key, tensor, signature.inputs[key]) for key, tensor in request.inputs.items()}
        # A proto of a few bytes can announce any shape, and its tensor would be made in full.
        check_sizes(
            max(shape[0] for shape in shapes.values()),
            max((shapes[key][1] for key in self.ragged_inputs[name]), default=0),
        )
        inputs = {key: _array(key, tensor) for key, tensor in request.inputs.items()}
        return Call(self, name, inputs, tuple(sorted(set(request.output_filter) or set(signature.outputs))))

    def run(self, call: Call) -> dict[str, np.ndarray]:
        """Outputs by name.

        Raises:
          Status: what the graph refuses.
        """
        signature = self.signatures[call.signature]
        feeds = {signature.inputs[name].name: value for name, value in call.inputs.items()}
        try:
            return self._session.run({name: signature.outputs[name].name for name in call.outputs}, feeds)
        except tf.errors.OpError as error:
            raise Status.of_tensorflow(error) from error


def _ragged(tensors) -> Sequence[str]:
    """Those whose axis 1 is the number of queries: the only axis besides the batch that is free."""
    return [
        name
        for name, tensor in tensors.items()
        if len(tensor.tensor_shape.dim) > 1 and tensor.tensor_shape.dim[1].size < 0
    ]


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
            f"input {name} has shape {shape}, not {[want if want >= 0 else None for want in wanted]}",
        )
    return shape


def _type_name(number: int) -> str:
    try:
        return tf.as_dtype(number).name
    except TypeError:
        return f"of type {number}"


def _array(name: str, tensor) -> np.ndarray:
    try:
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        raise Status("INVALID_ARGUMENT", f"input {name} cannot be read: {error}") from error
