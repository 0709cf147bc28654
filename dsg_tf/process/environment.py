"""What has to be settled before TensorFlow is imported: its arithmetic on CPUs, its Keras, and how much it says.

oneDNN, measured with the network of `configs/synthetic.flags` (`python benchmarks/onednn.py --isa=AVX2`): with AVX-512
training is 1.7 times as fast, batches and single images are 1.2 times as fast; TensorFlow turns it on there by itself.
With AVX2 only, training is 1.5 and batches 1.2 times as fast, but an image alone takes 7 times as long. So programs
that work on batches turn it on everywhere, and those that answer about one image leave the choice to TensorFlow. The
environment variable TF_ENABLE_ONEDNN_OPTS, where it is set, decides in place of both.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings

from absl import logging as absl_logging

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
# TensorFlow's own rule (`tensorflow/core/util/port.cc`): oneDNN is on where the processor has one of these.
_FEATURES = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}
_PACKAGES = tuple(
    os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), name, "")
    for name in ("dsg_tf", "export")
)


def prepare(*, batches: bool, debug: bool = False) -> None:
    """Sets the environment of this process and of those that it starts. Call it before TensorFlow is imported.

    Args:
      batches: the program works on batches of images, not on single ones.
      debug: let TensorFlow and the libraries say what they like.
    """
    leave_out_keras_3()
    if batches:
        os.environ.setdefault(ONEDNN, "1")
    absl_logging.set_verbosity(absl_logging.INFO)
    absl_logging.use_absl_handler()
    if debug:
        return
    # Greetings, and notes about accelerators that are not there. What stops a program is an exception.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    absl_logging.get_absl_handler().addFilter(_is_ours)
    warnings.simplefilter("ignore")


def leave_out_keras_3() -> None:
    """Otherwise TensorFlow imports it, which takes a second and which nobody here uses.

    The set of packages with tensorflow-addons has a TensorFlow without Keras 3, where the variable does something else.
    """
    if importlib.util.find_spec("tensorflow_addons") is None:
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")


def onednn_is_on() -> bool:
    """Whether TensorFlow computes with oneDNN in this process."""
    return os.environ[ONEDNN] == "1" if ONEDNN in os.environ else bool(_FEATURES & _processor_features())


def _processor_features() -> set[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((set(line.split()) for line in file if line.startswith("flags")), set())
    except FileNotFoundError:  # Only Linux has it, and oneDNN is off by default elsewhere.
        return set()


def _is_ours(record: logging.LogRecord) -> bool:
    """Libraries log through the same handler; of theirs, errors only."""
    return record.levelno >= logging.ERROR or os.path.abspath(record.pathname).startswith(_PACKAGES)
