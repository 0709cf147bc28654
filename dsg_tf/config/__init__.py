"""Every setting of the program: one frozen dataclass, made from flags in one place and saved with the checkpoint."""

from dsg_tf.config.command_line import define_flags, from_flags
from dsg_tf.config.loss_weights import LossWeights
from dsg_tf.config.model_dirs import MODELS, WEIGHTS, at_hand, find, is_packed, results_dir
from dsg_tf.config.settings import ATTENTION_MODELS, HIDDEN, SYSTEMS, Config
from dsg_tf.config.store import CONFIG_FILE, load, save
from dsg_tf.config.systems import for_system

__all__ = [
    "ATTENTION_MODELS",
    "CONFIG_FILE",
    "Config",
    "HIDDEN",
    "LossWeights",
    "MODELS",
    "SYSTEMS",
    "WEIGHTS",
    "at_hand",
    "define_flags",
    "find",
    "for_system",
    "from_flags",
    "is_packed",
    "load",
    "results_dir",
    "save",
]
