"""Requests that TF Serving runs before a version takes traffic, so that no client waits for first-time work.

TF Serving reads `assets.extra/tf_serving_warmup_requests`: a TFRecord file of `PredictionLog` protos.
"""

from __future__ import annotations

import io
import os

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from dsg_tf.data.scene import Vocabulary
from dsg_tf.process import files

FILE = "tf_serving_warmup_requests"
SIDE = 64


def write(vocabulary: Vocabulary, functions, path: str) -> None:
    """Writes one request for each signature with inputs, of one image and one query; other sizes cost nothing new."""
    given = _words_and_picture(vocabulary)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with files.atomic(path) as temporary, tf.io.TFRecordWriter(temporary) as writer:
        for signature, function in functions.items():
            inputs = tf.nest.flatten(function.structured_input_signature)
            if not inputs:
                continue
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = signature
            for spec in inputs:
                request.inputs[spec.name].CopyFrom(given[spec.name] if spec.dtype == tf.string else _numbers(spec))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def _words_and_picture(vocabulary: Vocabulary) -> dict[str, tensor_pb2.TensorProto]:
    buffer = io.BytesIO()
    Image.fromarray(np.full([SIDE, SIDE, 3], 128, np.uint8)).save(buffer, "JPEG")
    entity, relation = vocabulary.entities[0], vocabulary.relations[0]
    values = {"image": [buffer.getvalue()], "subject": [[entity]], "relation": [[relation]], "object": [[entity]]}
    return {name: tf.make_tensor_proto(value) for name, value in values.items()}


def _numbers(spec: tf.TensorSpec) -> tensor_pb2.TensorProto:
    """Zeros, or ones for `image_size` and `valid`: one value and the shape it is repeated to, not megabytes of them."""
    tensor = tf.make_tensor_proto(spec.name in ("image_size", "valid"), spec.dtype)
    tensor.tensor_shape.CopyFrom(tf.TensorShape([size or 1 for size in spec.shape]).as_proto())
    return tensor
