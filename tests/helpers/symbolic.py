"""Scenes without pictures: the graph layer and the classifier get the true class and box of each object.

They are asked about any two classes of a scene and any of four relations, whether it holds or not. One box at a time is
enough to answer: "is there such a partner" is a fact about a box.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf.data import roles
from dsg_tf.keras import keras
from dsg_tf.model import gpi, heads, relative_geometry
from dsg_tf.objectives import targets

IMAGES, BOXES, QUERIES, RELATIONS, UNITS, FEW = 24, 6, 16, 4, 96, 6
SIZE = np.array([240, 320], np.float32)
SURE = -20.0  # Logit of the classes that an object is not of.


def scenes(rng, count, classes):
    """A batch of scenes, each with boxes of a few classes, and what the relation decides.

    That is for each role bool `[B, Q, N]`: boxes of its class, in queries where not all of these have it.
    """
    centers, sides = rng.uniform([30, 30], SIZE - 30, [count, BOXES, 2]), rng.uniform(15, 50, [count, BOXES, 2])
    few = np.argsort(rng.random([count, classes]), axis=1)[:, :FEW]
    entities = np.take_along_axis(few, rng.integers(0, FEW, [count, BOXES]), 1)
    offsets = centers[:, np.newaxis] - centers[:, :, np.newaxis]  # Of axis 2 from axis 1.
    stands = np.stack([offsets[..., 1] > 0, offsets[..., 1] < 0, offsets[..., 0] > 0, offsets[..., 0] < 0], 1)
    subject, object_ = (np.take_along_axis(entities, rng.integers(0, BOXES, [count, QUERIES]), 1) for _ in range(2))
    relation = rng.integers(0, RELATIONS, [count, QUERIES])
    of_subject, of_object = (entities[:, np.newaxis] == asked[..., np.newaxis] for asked in (subject, object_))
    pairs = (
        stands[np.arange(count)[:, np.newaxis], relation] & of_subject[..., np.newaxis] & of_object[:, :, np.newaxis]
    )
    subject_of, object_of = pairs.any(3), pairs.any(2)
    batch = {
        "true_boxes": np.concatenate([centers - sides / 2, centers + sides / 2], -1).astype(np.float32),
        "box_mask": np.ones([count, BOXES], bool),
        "entities": entities.astype(np.int32),
        "queries": np.stack([subject, relation, object_], -1).astype(np.int32),
        "query_mask": np.ones([count, QUERIES], bool),
        "subject_of": subject_of,
        "object_of": object_of,
    }
    decides = [
        of_class & (of_class & ~of_role).any(-1, keepdims=True) & pairs.any((2, 3))[..., np.newaxis]
        for of_class, of_role in ((of_subject, subject_of), (of_object, object_of))
    ]
    return {name: tf.constant(value) for name, value in batch.items()}, dict(zip(roles.ROLES, decides))


class Symbolic(keras.Model):
    """DSG from z_i on, without a detector."""

    def __init__(self, classes, *, gated=True, sees_relation=True, neighbor_units=0):
        super().__init__()
        self.classes = classes
        self.graph = gpi.GraphLayer(hidden_units=UNITS, units=UNITS, node_units=UNITS, attention="feature", gated=gated)
        self.classifier = heads.ReferringClassifier(
            classes, RELATIONS, UNITS, gated=gated, neighbor_units=neighbor_units
        )
        self.gated, self.sees_relation = gated, sees_relation

    def call(self, batch):
        boxes, queries = batch["true_boxes"], batch["queries"]
        unions = box_lib.union(boxes[:, :, tf.newaxis], boxes[:, tf.newaxis])
        nodes = tf.concat([tf.one_hot(batch["entities"], self.classes), _normalize(boxes)], -1)
        geometry = relative_geometry.of_pairs(boxes) if self.gated else None
        graph = self.graph(nodes, _normalize(unions), batch["box_mask"], geometry)
        if not self.sees_relation:
            queries *= [1, 0, 1]
        labels = tf.one_hot(batch["entities"], self.classes, on_value=0.0, off_value=SURE)
        encoded = {"nodes": graph["nodes"], "valid": batch["box_mask"], "boxes": boxes, "entity_logits": labels}
        return self.classifier(encoded, queries)


def _normalize(boxes):
    return 2.0 * box_lib.normalize(boxes, tf.constant(SIZE)) - 1.0


def accuracy(classes=8, steps=500, **parts):
    """After `steps`, on held-out scenes, the share of right boxes among those where the relation decides."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model, optimizer = Symbolic(classes, **parts), keras.optimizers.Adam()

    @tf.function(autograph=False)
    def step(batch):
        with tf.GradientTape() as tape:
            matches = targets.match(batch["true_boxes"], batch["box_mask"], batch)
            target, _ = targets.role_targets(matches, batch)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, model(batch)["role_logits"]))
        weights = [weight for weight in model.trainable_variables if "rho_relation" not in weight.name]
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))

    for number in range(steps):
        optimizer.learning_rate = 6e-3 * (1 - number / steps)
        step(scenes(rng, IMAGES, classes)[0])
    batch, decides = scenes(np.random.default_rng(1), 400, classes)
    found = model(batch)
    right = [found[f"{role}_mask"].numpy() == batch[f"{role}_of"].numpy() for role in roles.ROLES]
    return np.concatenate([values[decides[role]] for role, values in zip(roles.ROLES, right)]).mean()
