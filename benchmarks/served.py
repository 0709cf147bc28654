"""An exported model with random weights behind `python -m export.serve`, and what it is asked; for benchmarks.

Of the weights, times depend on how many boxes are valid only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import grpc
import numpy as np
import settings
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from dsg_tf import build, checkpoints
from dsg_tf import config as config_lib
from dsg_tf.data.roles import QUERY_PARTS
from dsg_tf.data.scene import Vocabulary
from export import export_saved_model

# As many words as of Visual Genome and VRD.
VOCABULARY = Vocabulary(tuple(f"entity {k}" for k in range(100)), tuple(f"relation {k}" for k in range(70)))


def export(config: config_lib.Config, folder: str) -> str:
    """Writes a version with random weights below `folder`; returns its path."""
    config = dataclasses.replace(config, ema_decay=0.0)  # There is no average of weights that were never trained.
    model = build.build_model(config, len(VOCABULARY.entities), len(VOCABULARY.relations))
    model_dir = os.path.join(folder, "run")
    config_lib.save(config, model_dir)
    checkpoints.save_vocabulary(model_dir, VOCABULARY)
    checkpoint = tf.train.Checkpoint(model=model, step=tf.Variable(0, dtype=tf.int64))
    tf.train.CheckpointManager(checkpoint, checkpoints.checkpoint_dir(model_dir), 1).save(0)
    return export_saved_model.export(model_dir, os.path.join(folder, "exported"))


def photo(config: config_lib.Config) -> bytes:
    """A picture that fills the network's input, as JPEG."""
    rng = np.random.default_rng(0)
    size = (config.long_side if config.image_width == config.long_side else config.image_width, config.short_side)
    picture = Image.fromarray(rng.integers(0, 256, [12, 16, 3], np.uint8)).resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def words(count: int, images: int = 1, vocabulary: Vocabulary = VOCABULARY) -> dict[str, np.ndarray]:
    """So many queries for each image, all different while there are so many, in no order.

    Returns:
      `subject`, `relation`, `object`, string [images, count].
    """
    parts = (vocabulary.entities, vocabulary.relations, vocabulary.entities)
    shape = [len(names) for names in parts]
    combinations = int(np.prod(shape))
    ids = np.unravel_index(np.random.default_rng(0).permutation(combinations)[np.arange(count) % combinations], shape)
    return {
        role: np.repeat(np.array([np.array(names)[k]], object), images, axis=0)
        for role, names, k in zip(QUERY_PARTS, parts, ids)
    }


def request(signature: str, **inputs) -> predict_pb2.PredictRequest:
    """What asks a signature; `inputs` are arrays or tensors by name."""
    message = predict_pb2.PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = "dsg", signature
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message


@contextlib.contextmanager
def server(path: str, *flags_: str, root: str = settings.ROOT) -> Iterator[str]:
    """A running server; yields its "host:port".

    Args:
      path: of the version that it serves.
      *flags_: of the server, beside the model's directory and the port.
      root: the checkout whose server it is.

    Raises:
      RuntimeError: it does not start; has its log.
    """
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "export.serve", f"--model_dir={os.path.dirname(path)}", "--port=0", *flags_],
            cwd=root,
            env={**os.environ, "PYTHONPATH": root},
            stderr=log,
        )
        try:
            while True:
                log.seek(0)
                text = log.read()
                if found := re.search(r"gRPC on 127.0.0.1:(\d+)", text):
                    break
                if process.poll() is not None:
                    raise RuntimeError(f"the server of {root} ended with {process.returncode}:\n{text}")
                time.sleep(0.2)
            yield f"127.0.0.1:{found.group(1)}"
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def connection(address: str) -> Iterator[grpc.UnaryUnaryMultiCallable]:
    """Predict of a server, over a connection that nobody else uses."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options) as channel:
        grpc.channel_ready_future(channel).result(60)
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
