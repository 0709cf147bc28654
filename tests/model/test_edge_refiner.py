"""The second refinement: where it looks, and that it finds edges which the first one cannot see."""

import numpy as np
import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf.keras import keras
from dsg_tf.model import edge_refiner
from dsg_tf.model.sampling import crop_bin_centers, feature_coordinates, sample_grid

STRIDE, HEIGHT, WIDTH, CHANNELS = 4, 16, 20, 3
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=[2, HEIGHT, WIDTH, CHANNELS]).astype(np.float32)
BOXES = np.array([[[8, 8, 30, 40], [20, 12, 44, 60]], [[4, 10, 50, 70], [6, 6, 16, 24]]], np.float32)
NODES = RNG.normal(size=[2, 2, 5]).astype(np.float32)


def test_samples_are_those_of_the_textbook_path():
    found = sample_grid(FEATURES, BOXES, 6, STRIDE)
    expected = crop_bin_centers(FEATURES, feature_coordinates(BOXES, STRIDE), 6)
    np.testing.assert_allclose(found, tf.reshape(expected, [2, 2, 6, 6, CHANNELS]), atol=1e-5)


def test_samples_beyond_the_map_take_the_value_of_its_border():
    ramp = np.broadcast_to(np.arange(WIDTH, dtype=np.float32)[:, None], [1, HEIGHT, WIDTH, 1])
    found = sample_grid(ramp, np.array([[[0, -40, 64, 120]]], np.float32), 4, STRIDE).numpy()
    # Bin centres at -20, 20, 60 and 100 pixels; cell c has its centre at 4 c + 2.
    np.testing.assert_allclose(found[0, 0, :, :, 0], np.tile([0, 4.5, 14.5, WIDTH - 1], [4, 1]), atol=1e-5)


def test_it_starts_as_the_identity_and_asks_the_surroundings_and_the_node():
    layer = edge_refiner.EdgeRefiner(8, stride=STRIDE)
    deltas, boxes = layer(FEATURES, NODES, BOXES)
    assert not deltas.numpy().any()
    np.testing.assert_allclose(boxes, BOXES, atol=1e-4)
    layer.deltas.kernel.assign(RNG.normal(size=[8, 4]))
    moved = layer(FEATURES, NODES, BOXES)[1].numpy()
    for features, nodes in ((FEATURES, NODES + 1), (FEATURES + 1, NODES)):
        assert np.abs(layer(features, nodes, BOXES)[1] - moved).max() > 1e-2
    beside = FEATURES.copy()
    beside[0, :, 11] += 9.0  # Pixels 44 to 48: right of the first box, within a quarter of its width.
    changed = np.abs(layer(beside, NODES, BOXES)[1] - moved).max(-1) > 1e-3
    assert changed[0, 0] and not changed[1].any()


def test_it_learns_to_put_boxes_on_edges_that_the_map_shows():
    """Filled rectangles, boxes that are up to a sixth off: a few hundred steps leave a quarter of the error."""
    keras.utils.set_random_seed(0)
    layer, optimizer, rng = edge_refiner.EdgeRefiner(32, stride=STRIDE), keras.optimizers.Adam(3e-3), RNG

    def scene():
        corner, sides = rng.uniform(8, 20, [16, 1, 2]), rng.uniform(18, 36, [16, 1, 2])
        truth = np.concatenate([corner, corner + sides], -1).astype(np.float32)
        start = (truth + rng.uniform(-1, 1, truth.shape) * np.tile(sides, 2) / 6).astype(np.float32)
        starts_at = np.arange(WIDTH) * STRIDE
        low, high = truth[:, 0, :2], truth[:, 0, 2:]
        # The share of each cell that is covered.
        cover = np.clip(
            np.minimum(starts_at + STRIDE, high[..., None]) - np.maximum(starts_at, low[..., None]), 0, None
        )
        features = (cover[:, 0, :, None] * cover[:, 1, None, :] / STRIDE**2)[..., None]
        return features.astype(np.float32), truth, start

    @tf.function(autograph=False)
    def step(features, truth, start):
        with tf.GradientTape() as tape:
            deltas, _ = layer(features, tf.zeros([16, 1, 1]), start)
            loss = tf.reduce_mean(tf.abs(deltas - box_lib.encode(truth, start)))
        variables = layer.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

    for _ in range(400):
        step(*map(tf.constant, scene()))
    features, truth, start = scene()
    error = np.abs(layer(features, np.zeros([16, 1, 1], np.float32), start)[1] - truth).mean()
    assert error < 0.25 * np.abs(start - truth).mean()
