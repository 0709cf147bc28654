"""Whole networks of random weights, and one step of their training."""

import numpy as np
import tensorflow as tf
import tiny

from dsg_tf import build

CONFIG = tiny.config(score_threshold=0.6)
SIGNATURE = {
    "image": tf.TensorSpec([None, *CONFIG.image_size, 3], tf.uint8),
    "image_size": tf.TensorSpec([None, 2], tf.float32),
    "queries": tf.TensorSpec([None, None, 3], tf.int32),
}


def make_network(**changes):
    """A model with weights far from their start: proposals with distinct scores, boxes that do move."""
    model = tiny.model(tiny.config(score_threshold=0.6, **changes))
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        scale = 0.5 * variable.numpy().std() + 0.02
        variable.assign_add(scale * rng.normal(size=variable.shape))
    return model


def eagerly(model):
    """What a model answers, without a graph, which takes longer to make than a few calls."""
    return lambda inputs: {
        k: v.numpy() for k, v in model({name: tf.constant(inputs[name]) for name in SIGNATURE}, training=False).items()
    }


def images(size=3, seed=0, queries=3):
    rng = np.random.default_rng(seed)
    height, width = CONFIG.image_size
    limits = [tiny.NUM_ENTITIES, tiny.NUM_RELATIONS, tiny.NUM_ENTITIES]
    return {
        "image": rng.integers(0, 256, [size, height, width, 3]).astype(np.uint8),
        "image_size": np.array([[64, 96], [50, 96], [64, 61.5]] * size, np.float32)[:size],
        "queries": rng.integers(0, limits, [size, queries, 3]).astype(np.int32),
    }


def matched_batch(model, size=2):
    """A training batch whose true boxes lie on proposals, so that every loss term has something to say."""
    batch = tiny.batch(CONFIG, size)
    found = model.detector(batch["image"], batch["image_size"], training=True)
    boxes = found["proposals"].numpy()[:, :5] + [0.3, -0.4, 0.5, 0.6]
    return {**batch, "true_boxes": tf.constant(boxes * batch["box_mask"].numpy()[..., np.newaxis], tf.float32)}


def make_step(model):
    """One training step without the update. All anchors count: under XLA a sample of them is another sample."""
    losses = build.build_losses(tiny.config(rpn_samples=512), tiny.NUM_RELATIONS)

    def step(batch):
        with tf.GradientTape() as tape:
            outputs = model(batch, training=True)
            terms = losses(outputs, batch)
            total = losses.total(terms)
        gradients = tape.gradient(total, model.trainable_variables)
        return terms, [None if value is None else tf.convert_to_tensor(value) for value in gradients], outputs

    return step
