"""TF Serving's JSON for tensors: rows ("instances") or columns ("inputs") to requests, and answers back.

The form is that of TF Serving's REST interface (tensorflow_serving/g3doc/api_rest.md).
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from export.serving.status import Status


def parse(body: bytes) -> dict[str, Any]:
    """The body of a `:predict` request.

    Raises:
      Status: INVALID_ARGUMENT.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Status("INVALID_ARGUMENT", f"JSON Parse error: {error}") from error
    if not isinstance(value, dict):
        raise Status("INVALID_ARGUMENT", "Request body is expected to be a JSON object")
    if not isinstance(value.get("signature_name", ""), str):
        raise Status("INVALID_ARGUMENT", "'signature_name' key must be a string value")
    if ("instances" in value) == ("inputs" in value):
        raise Status("INVALID_ARGUMENT", "Request must have either 'instances' or 'inputs', and not both")
    return value


def fill(request: predict_pb2.PredictRequest, value: dict[str, Any], expected) -> None:
    """Makes the tensors of a request.

    Args:
      request: gets the inputs.
      value: what `parse` returned.
      expected: the signature's inputs, `TensorInfo` by name.

    Raises:
      Status: INVALID_ARGUMENT.
    """
    columns = _columns_of_rows(value["instances"], expected) if "instances" in value else value["inputs"]
    if not isinstance(columns, dict) or _is_base64(columns):
        if len(expected) != 1:
            raise Status("INVALID_ARGUMENT", f"inputs must be an object with {', '.join(sorted(expected))}")
        columns = {next(iter(expected)): columns}
    for name, column in columns.items():
        if name in expected:
            request.inputs[name].CopyFrom(_tensor(name, column, tf.as_dtype(expected[name].dtype)))
        else:  # For the check against the signature to name.
            request.inputs[name].SetInParent()


def answer(response: predict_pb2.PredictResponse, in_rows: bool) -> bytes:
    """The body of an answer, in the form of its request."""
    columns = {name: _values(tf.make_ndarray(tensor)) for name, tensor in sorted(response.outputs.items())}
    result: dict[str, Any]
    if in_rows:
        rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
        result = {"predictions": [next(iter(row.values())) for row in rows] if len(columns) == 1 else rows}
    else:
        result = {"outputs": next(iter(columns.values())) if len(columns) == 1 else columns}
    return json.dumps(result).encode()


def _columns_of_rows(rows, expected) -> dict[str, list]:
    if not isinstance(rows, list) or not rows:
        raise Status("INVALID_ARGUMENT", "'instances' must be a list with at least one element")
    if not isinstance(rows[0], dict) or _is_base64(rows[0]):
        if len(expected) != 1:
            raise Status("INVALID_ARGUMENT", f"instances must be objects with {', '.join(sorted(expected))}")
        return {next(iter(expected)): rows}
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != set(rows[0]):
            raise Status("INVALID_ARGUMENT", f"instance {number} does not have the names of instance 0")
    return {name: [row[name] for row in rows] for name in rows[0]}


def _tensor(name: str, column, dtype: tf.DType):
    """A nested list as a tensor: its shape is that of the first elements, from which no other may differ."""
    shape: list[int] = []
    values = [column]
    while values and isinstance(values[0], list):
        size = len(values[0])
        if any(not isinstance(value, list) or len(value) != size for value in values):
            raise Status("INVALID_ARGUMENT", f"input {name}: lists at level {len(shape)} differ in size")
        shape.append(size)
        values = [item for value in values for item in value]
    parsed = [_scalar(name, value, dtype) for value in values]
    if dtype == tf.string:
        return tf.make_tensor_proto(np.array(parsed, object).reshape(shape), dtype)
    try:
        return tf.make_tensor_proto(np.array(parsed, dtype.as_numpy_dtype).reshape(shape), dtype)
    except OverflowError as error:
        raise Status("INVALID_ARGUMENT", f"input {name}: {error}") from error


def _scalar(name: str, value, dtype: tf.DType):
    if dtype == tf.string:
        if isinstance(value, str):
            return value.encode("utf-8", "surrogatepass")
        if _is_base64(value):
            try:
                return base64.b64decode(value["b64"], validate=True)
            except (binascii.Error, ValueError) as error:
                raise Status("INVALID_ARGUMENT", f"input {name}: Unable to base64 decode: {error}") from error
        right = False
    elif dtype == tf.bool:
        right = isinstance(value, bool)
    else:
        right = isinstance(value, (int, float) if dtype.is_floating else int) and not isinstance(value, bool)
    if not right:
        raise Status(
            "INVALID_ARGUMENT",
            f"input {name}: JSON Value: {json.dumps(value)[:80]} is not of expected type: {dtype.name}",
        )
    return value


def _is_base64(value) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _values(array: np.ndarray):
    if array.dtype == object:
        return np.vectorize(lambda text: text.decode("utf-8", "replace"), otypes=[object])(array).tolist()
    return array.tolist()
