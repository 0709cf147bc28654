"""What settings cannot be; every message has the flag and the value, of two that do not go together both."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsg_tf.config.settings import Config


def check_each(config: Config) -> None:
    """Rejects values that are none of a setting's choices or too small."""
    for field in dataclasses.fields(config):
        _check(field, getattr(config, field.name))


def _check(field: dataclasses.Field, value: Any) -> None:
    choices, minimum = field.metadata["choices"], field.metadata["minimum"]
    if choices and value not in choices:
        raise ValueError(f"--{field.name}={value!r} is not one of {', '.join(map(repr, choices))}")
    for number in value if isinstance(value, tuple) else (value,):
        if minimum is not None and not number >= minimum:
            raise ValueError(f"--{field.name}={number!r} must be at least {minimum}")


def check_together(config: Config) -> None:
    """Rejects settings that cannot work together, with both values in the message."""
    expected = {"synthetic_images": 3, "pixel_mean": 3, "pixel_std": 3}
    for name, length in expected.items():
        if len(getattr(config, name)) != length:
            raise ValueError(f"--{name}={getattr(config, name)} must have {length} values")
    if config.profile_steps and (len(config.profile_steps) != 2 or config.profile_steps[0] >= config.profile_steps[1]):
        raise ValueError(f"--profile_steps={config.profile_steps} must be two steps, the first before the last")
    levels = {name: getattr(config, name) for name in ("rpn_level", "rpn_max_level", "roi_level", "roi_max_level")}
    coarsest = config.fpn_max_level if config.decoder == "fpn" else max(levels.values())
    if config.backbone == "nanodet_plus":
        coarsest = 5  # Its level 6 has a cell more where there is half of one.
    for name, value in (("image_height", config.image_height), ("image_width", config.image_width)):
        if value % 2**coarsest:
            raise ValueError(
                f"--{name}={value} must be a multiple of {2**coarsest}, the stride of level {coarsest}, "
                "the coarsest in use"
            )
    if config.decoder == "fpn":
        for name, level in levels.items():
            if level > config.fpn_max_level:
                raise ValueError(f"--{name}={level} is above --fpn_max_level={config.fpn_max_level}")
    for name in ("rpn", "roi"):
        first, last = levels[f"{name}_level"], levels[f"{name}_max_level"]
        if 0 < last < first:
            raise ValueError(f"--{name}_max_level={last} is below --{name}_level={first}; 0 means one level")
    if config.backbone == "nanodet_plus" and not config.is_attention_model:
        for name, needed in (("decoder", "identity"), ("rpn_level", 3), ("rpn_max_level", 6)):
            if getattr(config, name) != needed:
                raise ValueError(
                    f"--{name}={getattr(config, name)} does not go with --backbone=nanodet_plus, whose neck and head "
                    f"need --{name}={needed}"
                )
    if config.rpn_negative_iou > config.rpn_positive_iou:
        raise ValueError(
            f"--rpn_negative_iou={config.rpn_negative_iou} is above --rpn_positive_iou={config.rpn_positive_iou}"
        )
    if config.nms_iou < 0.5:
        # Its `_self_suppression` has 0.5 in place of the threshold: boxes that are suppressed then suppress others.
        raise ValueError(f"--nms_iou={config.nms_iou} must be at least 0.5: below, Model Garden's suppression is wrong")
    if config.pre_nms_top_k < config.num_boxes:
        raise ValueError(f"--pre_nms_top_k={config.pre_nms_top_k} is below --num_boxes={config.num_boxes}")
    known = ("backbone", "decoder", "rpn_head", "all", "matching")
    if not set(config.init_modules) <= set(known):
        raise ValueError(f"--init_modules={','.join(config.init_modules)}: known are {', '.join(known)}")
    if config.init_rate != 1 and {"all", "matching"} & set(config.init_modules):
        raise ValueError(
            f"--init_rate={config.init_rate} needs modules by name, not --init_modules={','.join(config.init_modules)}"
        )
    if config.jit_compile and config.batch_norm == "sync":
        raise ValueError("--jit_compile does not go with --batch_norm=sync: XLA compiles for one device at a time")
    if config.jit_compile and config.model == "ssas":
        raise ValueError(
            "--jit_compile does not go with --model=ssas, which gathers maps by relation: XLA needs fixed shapes"
        )
    if config.accumulation > 1 and config.batch_norm == "sync":
        raise ValueError(
            f"--accumulation={config.accumulation} does not go with --batch_norm=sync: the parts of a step "
            "are not normalised together"
        )
    if list(config.halving_epochs) != sorted(set(config.halving_epochs)):
        raise ValueError(f"--halving_epochs={config.halving_epochs} must grow")
    if config.halving_epochs and config.schedule != "stepwise":
        raise ValueError(f"--halving_epochs={config.halving_epochs} does not go with --schedule={config.schedule}")
    for name in ("scale_jitter", "contrastive_queries", "dropout", "ema_decay"):
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"--{name}={getattr(config, name)} must be in [0, 1)")
