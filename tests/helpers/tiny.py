"""A model small enough for tests, and batches for it."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from dsg_tf import build
from dsg_tf.config import Config, LossWeights

NUM_ENTITIES, NUM_RELATIONS = 5, 4
SETTINGS = {
    "image_height": 64,
    "image_width": 96,
    "short_side": 64,
    "long_side": 96,
    "max_queries": 3,
    "backbone": "resnet",
    "backbone_depth": "10",
    "backbone_width": 0.25,
    "decoder": "fpn",
    "fpn_filters": 16,
    "fpn_max_level": 4,
    "rpn_level": 3,
    "roi_level": 3,
    "rpn_filters": 16,
    "anchor_scales": (2.0, 4.0),
    "aspect_ratios": (1.0,),
    "rpn_positive_iou": 0.6,
    "rpn_samples": 16,
    "num_boxes": 6,
    "pre_nms_top_k": 64,
    "feature_size": 12,
    "hidden_units": 16,
    "gpi_units": 12,
    "node_units": 14,
    "entity_grid": 2,
    "loss_weights": (1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    "loss_scale": "mean",
    "relation_loss": "sigmoid",
    "train_on_all_proposals": True,
    "learning_rate": 1e-2,
    "clip_norm": 5.0,
    "batch_size": 2,
}


# The loss terms of a DSG, in the order of their weights.
TERMS = tuple(field.name for field in dataclasses.fields(LossWeights))[:6]


def config(**changes) -> Config:
    return Config(**{**SETTINGS, **changes})


# The settings of the model behind the fixtures `model_dir` and `exported`.
EXPORTED = config(score_threshold=0.5, pair_units=4, neighbor_units=4, answer_overlap=0.3, edge_pixels=3)


def model(settings: Config):
    return build.build_model(settings, NUM_ENTITIES, NUM_RELATIONS)


def batch(settings: Config, size: int, seed: int = 0, num_boxes: int = 5, num_relations: int = 7) -> dict:
    """A training batch of noise images with random boxes; the last box, query and relation are padding."""
    rng = np.random.default_rng(seed)
    height, width = settings.image_size
    low = rng.uniform(0, 0.6, [size, num_boxes, 2])
    corners = np.concatenate([low, low + rng.uniform(0.15, 0.4, low.shape)], -1) * [height, width, height, width]
    box_mask = np.arange(num_boxes) < num_boxes - 1
    queries = settings.max_queries
    roles = rng.random([2, size, queries, num_boxes]) < 0.4
    roles[..., 0] = True  # Every query has a subject and an object.
    query_mask = np.arange(queries) < queries - 1
    relations = rng.integers(0, [num_boxes - 1, NUM_RELATIONS, num_boxes - 1], [size, num_relations, 3])
    relations[:, -1] = -1
    triplets = rng.integers(0, [NUM_ENTITIES, NUM_RELATIONS, NUM_ENTITIES], [size, queries, 3])
    tile = lambda mask: np.tile(mask, [size, 1])
    values = {
        "image": rng.integers(0, 256, [size, height, width, 3]).astype(np.uint8),
        "image_size": np.full([size, 2], [height, width], np.float32),
        "original_size": np.full([size, 2], [height, width], np.float32),
        "true_boxes": (corners * box_mask[:, None]).astype(np.float32),
        "box_mask": tile(box_mask),
        "entities": rng.integers(0, NUM_ENTITIES, [size, num_boxes]).astype(np.int32),
        "relations": relations.astype(np.int32),
        "queries": (triplets * query_mask[:, None]).astype(np.int32),
        "query_mask": tile(query_mask),
        "query_holds": tile(query_mask),
        "subject_of": roles[0] & box_mask & query_mask[:, None],
        "object_of": roles[1] & box_mask & query_mask[:, None],
        "seed": rng.integers(0, 2**31, [size, 2]).astype(np.int32),
    }
    return {name: tf.constant(value) for name, value in values.items()}
