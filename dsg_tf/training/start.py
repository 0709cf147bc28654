"""What a run starts from: weights of a checkpoint, and what a system knows of the training set before it learns."""

from __future__ import annotations

from absl import logging

from dsg_tf import build, checkpoints
from dsg_tf.config import Config
from dsg_tf.data.batches import displacements
from dsg_tf.data.records import DatasetInfo
from dsg_tf.model.baselines.shifts import MAP_SIZE
from dsg_tf.process import environment
from dsg_tf.words.aliases import for_vocabulary, shipped

# Below so many input channels, oneDNN's gradient of the kernel of a 1x1 convolution with stride 2 writes beyond its
# memory on processors with AVX-512 (TensorFlow 2.20; 4, 8 and 12 channels do, 16 and more never did).
_ONEDNN_CHANNELS = 16


def initialize(model, config: Config, info: DatasetInfo) -> None:
    """Gives a model of `build.build_model` the values that training starts from.

    Raises:
      FileNotFoundError, ValueError: the checkpoint of --init_checkpoint is not there or does not fit.
    """
    _warn_of_random_norms(config)
    if config.init_checkpoint:
        checkpoints.initialize(model, config.init_checkpoint, config.init_modules)
        if "rpn_head" in config.init_modules and getattr(model, "known_classes", None) is not None:
            known = (*for_vocabulary(info.vocabulary), shipped("coco"))
            model.known_classes.match(info.vocabulary.entities, [group for words in known for group in words.entities])
    if config.model == "ss":
        cells = MAP_SIZE * displacements.mean_displacements(
            info.shard_paths(config.data_dir, "train"), len(info.vocabulary.relations)
        )
        for layer in (model.attender.shift, model.attender.inverse_shift):
            layer.displacements.assign(cells)


def slow_variables(model, config: Config) -> list:
    """The trainable variables that --init_rate is about."""
    return [variable for part in build.initialized_parts(model, config) for variable in part.trainable_variables]


def _warn_of_random_norms(config: Config) -> None:
    """Fixed statistics are those of another training: without its weights they are 0 and 1, and normalise nothing."""
    reads_backbone = bool({"all", "backbone", "matching"} & set(config.init_modules))
    if config.batch_norm in ("frozen", "frozen_all") and not (config.init_checkpoint and reads_backbone):
        given = f"--init_checkpoint={config.init_checkpoint} --init_modules={','.join(config.init_modules)}"
        frozen = f"--batch_norm={config.batch_norm}{' --freeze_stem' if config.freeze_stem else ''}"
        logging.warning(
            "%s keeps parts of the backbone as they are, but %s gives it no weights: they stay random. Give weights "
            "(--init_checkpoint=PREFIX --init_modules=backbone), or train from nothing with --batch_norm=batch",
            frozen,
            given if config.init_checkpoint else "no --init_checkpoint",
        )


def refuse_what_crashes(model, config: Config) -> None:
    """Raises ValueError for a model whose training would end in a crash of the process (not of one step: of memory)."""
    if not environment.onednn_is_on():
        return
    for layer in model.submodules:
        if getattr(layer, "kernel_size", None) == (1, 1) and getattr(layer, "strides", None) == (2, 2):
            channels = layer.kernel.shape[-2]
            if channels < _ONEDNN_CHANNELS:
                raise ValueError(
                    f"--backbone_width={config.backbone_width} gives the backbone's {layer.name} (1 x 1, stride 2) "
                    f"{channels} input channels; below {_ONEDNN_CHANNELS}, oneDNN's gradient corrupts memory. "
                    f"Choose a larger --backbone_width, or set {environment.ONEDNN}=0 in the environment"
                )
