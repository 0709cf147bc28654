"""The settings that another system has on the same data."""

from __future__ import annotations

import dataclasses
from typing import Any

from dsg_tf.config.settings import ATTENTION_MODELS, Config


def for_system(config: Config, name: str) -> Config:
    """The settings of a system: of the attention models, their published input and optimizer.

    Args:
      config: settings of any system.
      name: of `SYSTEMS`; with "-relation" or "-image" behind it, the control that does not get to see that.

    Raises:
      ValueError: there is no such system.
    """
    model, _, hidden = name.partition("-")
    changes: dict[str, Any] = {"model": model, "hide": hidden}
    if model in ATTENTION_MODELS:
        changes |= {
            "image_height": 224,
            "image_width": 224,
            "short_side": 224,
            "long_side": 224,
            "keep_aspect": False,
            "decoder": "identity",
            "rpn_level": 4,
            "rpn_max_level": 0,
            "roi_level": 4,
            "roi_max_level": 0,
            "optimizer": "rmsprop",
            "learning_rate": config.attention_learning_rate,
            "weight_decay": 0.0,
        }
    return dataclasses.replace(config, **changes)
