"""Backbones by name: Model Garden's, and what has their interface."""

from __future__ import annotations

from official.vision.modeling import backbones

from dsg_tf.keras import keras
from dsg_tf.model.nanodet_plus import NanoDetPlus


def make_backbone(kind: str, depth: str, width: float, image_size: tuple[int, int], sync_batch_norm: bool):
    """Builds a backbone.

    Raises:
      ValueError: there is no such `depth`; names the flag and the known values.
    """
    input_specs = keras.layers.InputSpec(shape=[None, *image_size, 3])
    common = {"input_specs": input_specs, "use_sync_bn": sync_batch_norm}
    if kind == "efficientnet":
        lite = depth.startswith("lite")
        model_id = "b" + depth[len("lite") :] if lite else depth
        known = [f"b{k}" for k in range(8)]
        if model_id not in known or (lite and model_id != "b0"):
            raise ValueError(
                f"--backbone_depth={depth} with --backbone=efficientnet: known are lite0, {', '.join(known)}"
            )
        return backbones.EfficientNet(
            model_id,
            se_ratio=0.0 if lite else 0.25,
            norm_epsilon=1e-3,
            activation="relu6" if lite else "swish",
            **common,
        )
    if kind == "nanodet_plus":
        if depth != "m":
            raise ValueError(f"--backbone_depth={depth} with --backbone=nanodet_plus: known is m")
        _check_width(kind, width)
        return NanoDetPlus(input_specs)
    known = ["10", "18", "26", "34", "50", "101", "152"] if kind == "resnet" else ["50", "101", "152", "200"]
    if depth not in known:
        raise ValueError(f"--backbone_depth={depth} with --backbone={kind}: known are {', '.join(known)}")
    if kind == "resnet":
        return backbones.ResNet(int(depth), depth_multiplier=width, norm_epsilon=1e-5, **common)
    _check_width(kind, width)
    return backbones.DilatedResNet(int(depth), output_stride=16, norm_epsilon=1e-5, **common)


def _check_width(kind: str, width: float) -> None:
    if width != 1.0:
        raise ValueError(f"--backbone_width={width} needs --backbone=resnet, not --backbone={kind}")


def freeze_stem(backbone) -> None:
    """Keeps the layers up to level 2 (stride 4; of a ResNet conv1 and block1) as they are in training."""
    for layer in keras.Model(backbone.inputs, backbone.output["2"]).layers:
        layer.trainable = False
