"""Losses of the tiny model, and outputs for them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tiny

from dsg_tf import build
from dsg_tf.model import detector

CONFIG = tiny.config()
ANCHORS = detector.make_anchors(CONFIG.image_size, CONFIG.rpn_levels, CONFIG.anchor_scales, CONFIG.aspect_ratios)[None]
E, R, N = tiny.NUM_ENTITIES, tiny.NUM_RELATIONS, CONFIG.num_boxes


def make_losses(**changes):
    return build.build_losses(tiny.config(**changes), R)


def make_outputs(batch, seed=0):
    """Random answers; proposals 0 to 3 lie near the true boxes, 4 far from all, 5 is padding."""
    rng = np.random.default_rng(seed)
    size, queries = batch["queries"].shape[:2]
    normal = lambda *shape: tf.constant(rng.normal(size=[size, *shape]), tf.float32)
    near = batch["true_boxes"].numpy()[:, :4] + rng.uniform(-0.5, 0.5, [size, 4, 4])
    others = np.tile([[61, 93, 64, 96], [0, 0, 0, 0]], [size, 1, 1])
    proposals = np.concatenate([near, others], axis=1)
    return {
        "rpn_scores": normal(ANCHORS.shape[1]),
        "rpn_boxes": normal(ANCHORS.shape[1], 4),
        "anchors": ANCHORS,
        "proposals": tf.constant(proposals, tf.float32),
        "valid": tf.constant([[True] * 5 + [False]] * size),
        "role_logits": normal(queries, N, 4),
        "deltas": normal(N, 4),
        "entity_logits": normal(N, E),
        "relation_logits": normal(N, N, R),
    }
