"""The refinement of edges: where it looks, where it puts them, and that it finds those that the image shows."""

import numpy as np
import pytest
import tensorflow as tf

from dsg_tf.keras import keras
from dsg_tf.model import edge_refiner
from dsg_tf.objectives import box_losses

HEIGHT, WIDTH, REACH = 48, 64, 4
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, [2, HEIGHT, WIDTH, 3]).astype(np.uint8)
SIZES = np.array([[48, 64], [40, 50]], np.float32)
BOXES = np.array([[[8, 8, 30, 40], [0, 0, 48, 64]], [[4, 10, 39, 49], [6, 6, 16, 24]]], np.float32)
NODES = RNG.normal(size=[2, 2, 5]).astype(np.float32)


def literal_strip(image, size, box, edge):
    """Pixel by pixel."""
    height, width = map(int, size)
    strip = np.zeros([2 * REACH, edge_refiner.ALONG, 3], image.dtype)
    for step in range(2 * REACH):
        for sample in range(edge_refiner.ALONG):
            other = 1 - edge % 2
            along = box[other] + (box[other + 2] - box[other]) * (sample + 0.5) / edge_refiner.ALONG
            across = box[edge] + step - REACH if edge < 2 else box[edge] - 1 - (step - REACH)
            row, column = (across, along) if edge % 2 == 0 else (along, across)
            strip[step, sample] = image[
                int(np.clip(np.floor(row), 0, height - 1)), int(np.clip(np.floor(column), 0, width - 1))
            ]
    return strip


def test_strips_are_those_of_a_literal_reading():
    found = edge_refiner.strips(IMAGE, SIZES, BOXES, REACH).numpy()
    assert found.shape == (2, 2, 4, 2 * REACH, edge_refiner.ALONG, 3) and found.dtype == np.uint8
    for image in range(2):
        for box in range(2):
            for edge in range(4):
                expected = literal_strip(IMAGE[image], SIZES[image], BOXES[image, box], edge)
                np.testing.assert_array_equal(found[image, box, edge], expected, err_msg=f"{image} {box} {edge}")


def test_padding_does_not_count_and_surroundings_and_the_node_do():
    layer = edge_refiner.EdgeRefiner(8, reach=REACH)
    before = layer(IMAGE, SIZES, NODES, BOXES)["edge_logits"].numpy()
    padded = IMAGE.copy()
    padded[1, 40:], padded[1, :, 50:] = 0, 0
    np.testing.assert_array_equal(layer(padded, SIZES, NODES, BOXES)["edge_logits"], before)
    assert np.abs(layer(IMAGE, SIZES, NODES + 1, BOXES)["edge_logits"] - before).max() > 1e-3
    beside = IMAGE.copy()
    # Right of the first box; the strips of the second's upper and lower edge cross it.
    beside[0, :, 42] = 255 - beside[0, :, 42]
    changed = np.abs(layer(beside, SIZES, NODES, BOXES)["edge_logits"] - before).max(-1) > 1e-4
    assert changed[0, 0].tolist() == [False, False, False, True]
    assert changed[0, 1].tolist() == [True, False, True, False]
    assert not changed[1].any()


def test_edges_go_to_the_most_probable_place_and_the_mean_of_its_neighbors():
    starts = tf.constant([[[10.0, 12.0, 20.0, 24.0]]])
    logits = np.full([1, 1, 4, 2 * REACH + 1], -30.0, np.float32)
    logits[0, 0, 0, REACH + 2] = 0  # Two pixels inside.
    logits[0, 0, 1, [REACH - 1, REACH]] = np.log([0.6, 0.4])  # Between two places, outside.
    logits[0, 0, 2, [REACH + 3, REACH - 4]] = np.log([0.7, 0.3])  # Two far places: the first, not their mean.
    logits[0, 0, 3, REACH] = 0
    np.testing.assert_allclose(edge_refiner._moved(starts, logits), [[[12, 11.4, 17, 24]]], atol=1e-4)
    crossing = np.full([1, 1, 4, 2 * REACH + 1], -30.0, np.float32)
    crossing[..., -1] = 0  # All four inside by more than half of a box.
    found = edge_refiner._moved(tf.constant([[[10.0, 10.0, 16.0, 16.0]]]), crossing).numpy()
    assert (found[..., :2] <= found[..., 2:]).all()


@pytest.mark.parametrize("reach", [1, 6])
def test_targets_are_what_the_places_are_read_as(reach):
    rng = np.random.default_rng(3)
    starts = np.round(rng.uniform(20, 60, [3, 5, 4])).astype(np.float32)
    truth = starts + rng.uniform(-reach, reach, starts.shape).astype(np.float32)
    target = box_losses.edge_targets(truth, starts, 2 * reach + 1).numpy()
    np.testing.assert_allclose(target.sum(-1), 1, atol=1e-4)
    assert ((target > 0).sum(-1) <= 2).all()
    places = np.arange(-reach, reach + 1)
    np.testing.assert_allclose(starts + [1, 1, -1, -1] * (target @ places), truth, atol=1e-3)
    far = box_losses.edge_targets(starts + 100, starts, 2 * reach + 1).numpy()
    assert far[..., :2, -1].all() and far[..., 2:, 0].all() and (far.sum(-1) == 1).all()


def test_it_learns_to_put_boxes_on_edges_that_the_image_shows():
    """Rectangles of any color on any other: after a few hundred steps nine of ten edges are exact."""
    keras.utils.set_random_seed(0)
    layer, optimizer, rng = edge_refiner.EdgeRefiner(32, reach=REACH), keras.optimizers.Adam(3e-3), RNG
    size = tf.constant([[HEIGHT, WIDTH]] * 16, tf.float32)
    nodes = tf.zeros([16, 1, 1])

    def scene():
        corner, sides = rng.integers(6, 14, [16, 1, 2]), rng.integers(14, 26, [16, 1, 2])
        truth = np.concatenate([corner, corner + sides], -1).astype(np.float32)
        image = np.empty([16, HEIGHT, WIDTH, 3], np.uint8)
        for one, (y0, x0, y1, x1) in zip(image, truth[:, 0].astype(int)):
            one[:], one[y0:y1, x0:x1] = rng.integers(0, 110, 3), rng.integers(145, 256, 3)
        return image, truth, truth + rng.integers(-3, 4, truth.shape).astype(np.float32)

    @tf.function(autograph=False)
    def step(image, truth, start):
        with tf.GradientTape() as tape:
            found = layer(image, size, nodes, start)
            target = box_losses.edge_targets(truth, found["edge_starts"], 2 * REACH + 1)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, found["edge_logits"]))
        variables = layer.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

    for _ in range(250):
        step(*map(tf.constant, scene()))
    image, truth, start = scene()
    found = layer(image, size, nodes, start)["boxes"].numpy()
    assert (np.abs(start - truth) < 0.5).mean() < 0.3
    assert (np.abs(found - truth) < 0.5).mean() > 0.9
