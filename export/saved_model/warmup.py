"""Requests that TF Serving runs before a version takes traffic, so that no client waits for first-time work.

TF Serving reads `assets.extra/tf_serving_warmup_requests`: a TFRecord file of `PredictionLog` protos.
"""

from __future__ import annotations

import io
import os

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from dsg_tf.data.scene import Vocabulary
from dsg_tf.process import files

FILE = "tf_serving_warmup_requests"
SIDE = 64


def write(vocabulary: Vocabulary, functions, path: str) -> None:
    """Writes one request for each signature that takes encoded images."""
    buffer = io.BytesIO()
    Image.fromarray(np.full([SIDE, SIDE, 3], 128, np.uint8)).save(buffer, "JPEG")
    words = {"subject": vocabulary.entities[0], "relation": vocabulary.relations[0], "object": vocabulary.entities[0]}
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with files.atomic(path) as temporary, tf.io.TFRecordWriter(temporary) as writer:
        for signature in ("serving_default", "refer", "encode", "scene_graph"):
            if signature not in functions:
                continue
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = signature
            request.inputs["image"].CopyFrom(tf.make_tensor_proto([buffer.getvalue()]))
            if "refer" in signature or signature == "serving_default":
                for role, word in words.items():
                    request.inputs[role].CopyFrom(tf.make_tensor_proto([[word]]))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
