"""TF Serving's JSON for tensors: rows ("instances") or columns ("inputs") to requests, and answers back.

The form is that of TF Serving's REST interface (tensorflow_serving/g3doc/api_rest.md), errors and leniences are those
of tensorflow_serving/util/json_tensor.cc. orjson reads and writes it: it takes numpy arrays as they are, and writes
float32 with as many digits as it needs, as TF Serving does.
"""

from __future__ import annotations

import base64
import gc
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from export.serving.limits import Limits
from export.serving.status import Status

COPIES = 5  # Of an answer that are in memory for a moment: arrays, and the longer JSON.
VALUE_BYTES = 64  # Of Python's memory for a number or a list, about.
_BLANKS = b" \t\n\v\f\r"
_BOM = b"\xef\xbb\xbf"  # With which some clients begin what they write in UTF-8.
_LARGEST_WHOLE_FLOAT = 2**24 - 1


def count_values(body: bytes | bytearray, limits: Limits) -> int:
    """About how many numbers, texts, lists and objects a body holds; before they are made.

    Raises:
      Status: RESOURCE_EXHAUSTED: too many.
    """
    count = 1 + sum(map(body.count, (b",", b"[", b"{")))
    if count > limits.json_values:
        raise Status("RESOURCE_EXHAUSTED", f"the JSON body has {count} values, more than {limits.json_values}")
    return count


def parse(body: bytes | bytearray) -> dict[str, Any]:
    """The body of a request.

    Raises:
      Status: INVALID_ARGUMENT.
    """
    if not body:
        raise Status("INVALID_ARGUMENT", "JSON Parse error: The document is empty")
    gc.disable()  # A million lists would be looked through a thousand times while they are made, and nobody else runs.
    try:
        value = orjson.loads(memoryview(body)[len(_BOM) :] if body.startswith(_BOM) else body)
    except orjson.JSONDecodeError as error:
        raise Status("INVALID_ARGUMENT", f"JSON Parse error: {error}") from error
    finally:
        gc.enable()
    if not isinstance(value, dict):
        raise Status("INVALID_ARGUMENT", f"JSON Value: {_shown(value)} Is not object")
    if not isinstance(value.get("signature_name", ""), str):
        raise Status("INVALID_ARGUMENT", "'signature_name' key must be a string value.")
    return value


def fill(request: predict_pb2.PredictRequest, value: dict[str, Any], expected: Mapping[str, Any]) -> None:
    """Makes the tensors of a request.

    Args:
      request: gets the inputs.
      value: what `parse` returned.
      expected: the signature's inputs, `TensorInfo` by name.

    Raises:
      Status: INVALID_ARGUMENT.
    """
    if "instances" in value and "inputs" in value:
        raise Status("INVALID_ARGUMENT", "expecting only one of 'inputs' or 'instances' keys to exist")
    if "instances" in value:
        columns = _columns_of_rows(value["instances"], expected)
    elif "inputs" in value:
        columns = _columns(value["inputs"], expected)
    else:
        raise Status("INVALID_ARGUMENT", "Missing 'inputs' or 'instances' key")
    for name, column in columns.items():
        request.inputs[name].CopyFrom(_tensor(name, column, expected[name]))


def bytes_of(name: str, value) -> bytes:
    """What `{"b64": ...}` holds.

    Raises:
      Status: INVALID_ARGUMENT: it is something else; names it.
    """
    if not _is_base64(value):
        raise Status("INVALID_ARGUMENT", f'{name!r} must be {{"b64": ...}}, not {_shown(value)}')
    return _base64(name, value["b64"])


def answer(outputs: Mapping[str, np.ndarray], in_rows: bool) -> bytes:
    """The body of an answer, in the form of its request.

    Raises:
      Status: INVALID_ARGUMENT: the outputs do not have a row for each instance.
    """
    columns = {name: _writable(outputs[name]) for name in sorted(outputs)}
    if not in_rows:
        result = {"outputs": next(iter(columns.values())) if len(columns) == 1 else columns}
    else:
        if len({len(column) for column in columns.values()}) > 1:
            raise Status("INVALID_ARGUMENT", "the outputs of this signature are not rows: ask with 'inputs'")
        rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
        result = {"predictions": [next(iter(row.values())) for row in rows] if len(columns) == 1 else rows}
    return orjson.dumps(result, option=orjson.OPT_SERIALIZE_NUMPY)


def _columns(inputs, expected) -> dict[str, Any]:
    if not isinstance(inputs, dict) or _is_base64(inputs):
        if len(expected) != 1:
            raise Status(
                "INVALID_ARGUMENT",
                f"inputs is a plain value/list, but expecting an object with {', '.join(sorted(expected))}",
            )
        return {next(iter(expected)): inputs}
    for name in sorted(expected):
        if name not in inputs:
            raise Status("INVALID_ARGUMENT", f"Missing named input: {name} in 'inputs' object.")
    return {name: inputs[name] for name in expected}


def _columns_of_rows(rows, expected) -> dict[str, list]:
    if not isinstance(rows, list) or not rows:
        raise Status("INVALID_ARGUMENT", "'instances' must be a list with at least one element")
    if not isinstance(rows[0], dict) or _is_base64(rows[0]):
        if len(expected) != 1:
            raise Status(
                "INVALID_ARGUMENT",
                f"instances is a plain list, but expecting a list of objects with {', '.join(sorted(expected))}",
            )
        return {next(iter(expected)): rows}
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != set(expected):
            raise Status(
                "INVALID_ARGUMENT",
                f"Failed to process element: {number} of 'instances' list. JSON object: {_shown(row)} keys must be "
                f"equal to: {','.join(sorted(expected))}",
            )
    return {name: [row[name] for row in rows] for name in expected}


def _tensor(name: str, column, info):
    """A nested list as a tensor: its shape is that of the first elements, from which no other may differ."""
    dtype, rank = tf.as_dtype(info.dtype), len(info.tensor_shape.dim)
    shape: list[int] = []
    values = [column]
    while values and isinstance(values[0], list):
        size = len(values[0])
        if len(shape) == rank:
            raise Status(
                "INVALID_ARGUMENT", f"input {name}: Encountered list at unexpected level: {rank} expected < {rank}"
            )
        if any(not isinstance(value, list) or len(value) != size for value in values):
            raise Status("INVALID_ARGUMENT", f"input {name}: lists at level {len(shape)} differ in size")
        shape.append(size)
        values = [item for value in values for item in value]
    parsed = [_scalar(name, value, dtype) for value in values]
    try:
        array = np.array(parsed, object if dtype == tf.string else dtype.as_numpy_dtype).reshape(shape)
    except OverflowError as error:
        raise Status("INVALID_ARGUMENT", f"input {name}: {error}") from error
    return tf.make_tensor_proto(array, dtype, shape)


def _scalar(name: str, value, dtype: tf.DType):
    if dtype == tf.string:
        if isinstance(value, str):
            return value.encode()
        if _is_base64(value):
            return _base64(name, value["b64"])
        right = False
    elif dtype == tf.bool:
        right = isinstance(value, bool)
    elif dtype.is_floating:
        right = isinstance(value, (int, float)) and not isinstance(value, bool)
        if right and isinstance(value, int) and abs(value) > _LARGEST_WHOLE_FLOAT and dtype == tf.float32:
            raise Status(
                "INVALID_ARGUMENT",
                f"input {name}: Cannot convert JSON value: {_shown(value)} to float without loss of precision.",
            )
    else:
        right = isinstance(value, int) and not isinstance(value, bool)
    if not right:
        raise Status(
            "INVALID_ARGUMENT", f"input {name}: JSON Value: {_shown(value)} is not of expected type: {dtype.name}"
        )
    return value


def _base64(name: str, text: str) -> bytes:
    """Blanks in it are skipped, and padding may be missing, as in absl's Base64Unescape."""
    given = text.encode().translate(None, _BLANKS)
    packed = given.rstrip(b"=")
    padding = b"=" * (-len(packed) % 4)
    try:
        if given not in (packed, packed + padding):
            raise ValueError("Incorrect padding")
        return base64.b64decode(packed + padding, validate=True)
    except ValueError as error:
        raise Status("INVALID_ARGUMENT", f"input {name}: Unable to base64 decode: {error}") from error


def _is_base64(value) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _writable(array: np.ndarray):
    if array.dtype == object:
        return np.vectorize(lambda text: text.decode("utf-8", "replace"), otypes=[object])(array).tolist()
    return np.ascontiguousarray(array)


def _shown(value) -> str:
    """The beginning of a value, for an error; not all of it is written to be cut."""
    if isinstance(value, (list, dict)):
        return "[...]" if isinstance(value, list) else "{...}"
    return repr(value[:80]) if isinstance(value, str) else str(value)[:80]
