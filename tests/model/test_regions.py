"""Region features: sampling operators against a literal implementation, integrals against numerical integration."""

import numpy as np
import pytest
import tensorflow as tf

from dsg_tf.model import box_integrals, regions, unordered_pairs
from dsg_tf.model import pooling as pooling_lib
from dsg_tf.model.pooling import RegionPooling

HEIGHT, WIDTH, CHANNELS, FILTERS, LEVEL = 6, 9, 5, 4, 3
STRIDE = 2**LEVEL
RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=[CHANNELS, FILTERS]).astype(np.float32)
BIAS = RNG.normal(size=[FILTERS]).astype(np.float32)
FEATURES = RNG.normal(size=[2, HEIGHT, WIDTH, CHANNELS]).astype(np.float32)
SPECIAL_BOXES = [
    [0, 0, 0, 0],
    [20, 20, 20, 20],
    [20, 30, 20, 50],
    [5, 8, 40, 8],  # No area: a padded box, a point, lines.
    [0, 0, 48, 72],
    [0, 0, 3, 3],
    [40, 60, 48, 72],
    [0, 10, 48, 12],  # The whole map, its corners, its height.
    [-20, -30, 30, 20],
    [30, 50, 90, 200],
    [-9, -9, 99, 99],  # Partly outside.
    [-50, -50, -10, -10],
    [60, 80, 90, 99],
    [10, 100, 30, 120],  # Wholly outside.
    [13.2, 17.1, 13.3, 17.2],
    [7.99, 7.99, 8.01, 8.01],  # Tiny.
]


def random_boxes(count=12):
    low = RNG.uniform([-10, -10], [HEIGHT * STRIDE, WIDTH * STRIDE], [count, 2])
    return np.concatenate([low, low + RNG.exponential(20.0, [count, 2])], -1)


EVERY_OP = pytest.mark.parametrize("op", ["matmul", "crop_and_resize", "integral"])
BOXES = np.stack([np.concatenate([SPECIAL_BOXES, random_boxes()]) for _ in range(2)]).astype(np.float32)


def pooling(op, grid=1, layer=RegionPooling):
    """A layer with the kernel and the bias above."""
    made = layer(FILTERS, op=op, **({"grid": grid} if grid > 1 else {}))
    made({LEVEL: FEATURES}, BOXES[:, :2])
    getattr(made, "pooling", made).convolution.set_weights([KERNEL, BIAS])
    return made


def literal_pooling(features, box, grid):
    """One box of one image: samples at bin centres, clamped bilinear, 1x1 convolution, mean per grid cell."""
    samples = {1: 7, 3: 3, 4: 2}[grid]
    result = np.zeros([grid, grid, FILTERS])
    y0, x0, y1, x1 = np.clip(box.astype(np.float64), 0, np.array([HEIGHT, WIDTH, HEIGHT, WIDTH]) * STRIDE)
    for row in range(grid * samples):
        for column in range(grid * samples):
            y = (y0 + (y1 - y0) * (row + 0.5) / (grid * samples)) / STRIDE - 0.5
            x = (x0 + (x1 - x0) * (column + 0.5) / (grid * samples)) / STRIDE - 0.5
            y, x = min(max(y, 0), HEIGHT - 1), min(max(x, 0), WIDTH - 1)
            top, left = min(int(y), HEIGHT - 2), min(int(x), WIDTH - 2)
            dy, dx = y - top, x - left
            value = (
                (1 - dy) * (1 - dx) * features[top, left]
                + (1 - dy) * dx * features[top, left + 1]
                + dy * (1 - dx) * features[top + 1, left]
                + dy * dx * features[top + 1, left + 1]
            )
            result[row // samples, column // samples] += value @ KERNEL + BIAS
    return result / samples**2


@pytest.mark.stack
@pytest.mark.parametrize("grid", [1, 3, 4])
def test_both_operators_equal_the_literal_implementation(grid):
    expected = np.array(
        [[literal_pooling(features, box, grid) for box in boxes] for features, boxes in zip(FEATURES, BOXES)]
    )
    for op in ("matmul", "crop_and_resize"):
        pooled = pooling(op, grid)({LEVEL: FEATURES}, BOXES).numpy()
        assert pooled.shape == (2, BOXES.shape[1], grid, grid, FILTERS)
        np.testing.assert_allclose(pooled, expected, atol=1e-4, err_msg=op)


@pytest.mark.parametrize("grid", [1, 3])
def test_both_operators_have_the_same_gradients(grid):
    features, direction = tf.constant(FEATURES), RNG.normal(size=[2, BOXES.shape[1], grid, grid, FILTERS])
    gradients = {}
    for op in ("matmul", "crop_and_resize"):
        layer = pooling(op, grid)
        with tf.GradientTape() as tape:
            tape.watch(features)
            # Box by box: TensorFlow's gradient of crop_and_resize has a race between the boxes of one call.
            pooled = [
                layer({LEVEL: features[b : b + 1]}, BOXES[b : b + 1, k : k + 1])[0, 0]
                * direction[b, k].astype(np.float32)
                for b in range(2)
                for k in range(BOXES.shape[1])
            ]
            value = tf.reduce_sum(tf.stack(pooled))
        gradients[op] = tape.gradient(value, [features, *layer.trainable_variables])
    for first, second in zip(gradients["matmul"], gradients["crop_and_resize"]):
        assert np.abs(first).max() > 0.1
        np.testing.assert_allclose(first, second, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("op", ["matmul", "integral"])
@pytest.mark.parametrize("grid", [1, 3])
def test_both_orders_of_the_product_give_the_same_results_and_gradients(op, grid, monkeypatch):
    features, found = tf.constant(FEATURES), []
    direction = RNG.normal(size=[2, BOXES.shape[1], grid, grid, FILTERS]).astype(np.float32)
    for first in (True, False):
        monkeypatch.setattr(pooling_lib, "map_first", lambda *sizes, first=first: first)
        layer = pooling(op, grid)
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = layer({LEVEL: features}, BOXES)
            value = tf.reduce_sum(direction * pooled)
        found.append([pooled, *tape.gradient(value, [features, *layer.trainable_variables])])
    for first, second in zip(*found):
        assert np.abs(first).max() > 0.1
        np.testing.assert_allclose(first, second, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "regions_, cells, channels, filters",
    [(36, 1900, 2048, 512), (528, 1900, 2048, 512), (900, 1900, 2048, 512), (256, 1280, 64, 128), (500, 600, 512, 16)],
)
def test_the_order_of_the_product_is_the_one_of_fewer_operations(
    regions_, cells, channels, filters, training, monkeypatch
):
    """Counted in the graph, in training with the backward pass."""
    boxes = tf.zeros([1, regions_, 4])

    def operations(first):
        monkeypatch.setattr(pooling_lib, "map_first", lambda *sizes: first)
        layer = RegionPooling(filters)
        layer.build([])
        layer.convolution.build([None, channels])

        @tf.function(autograph=False)
        def step(features):
            if not training:
                return [layer({LEVEL: features}, boxes)]
            with tf.GradientTape() as tape:
                tape.watch(features)
                value = tf.reduce_sum(tf.sin(layer({LEVEL: features}, boxes)))  # Its gradient needs the result.
            return tape.gradient(value, [features, layer.convolution.kernel])

        graph = step.get_concrete_function(tf.TensorSpec([1, cells, 1, channels])).graph
        return sum(matmul_operations(op) for op in ops_of(graph.outputs) if "MatMul" in op.type)

    expected = operations(True) < operations(False)
    monkeypatch.undo()
    assert pooling_lib.map_first(regions_, cells, channels, filters, training) == expected


def test_the_layers_learn_whether_a_gradient_follows(monkeypatch):
    told = []
    monkeypatch.setattr(pooling_lib, "map_first", lambda *sizes: told.append(sizes[-1]))
    layer = regions.PairFeatures(FILTERS, op="matmul")
    for training in (False, True):
        layer({LEVEL: FEATURES}, BOXES[:, :2], training=training)
    assert told == [False, True]


def ops_of(tensors):
    """The operations that these tensors need; the graph has others, which are not run."""
    found, ahead = set(), [tensor.op for tensor in tensors]
    while ahead:
        op = ahead.pop()
        if op not in found:
            found.add(op)
            ahead += [tensor.op for tensor in op.inputs]
    return found


def matmul_operations(op):
    first = op.inputs[0].shape
    transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
    return op.outputs[0].shape.num_elements() * first[-2 if transposed else -1]


def mean_by_integration(features, box, grid, samples=1000):
    """As `literal_pooling`, but the mean of so many samples a side of each cell that it is the integral."""
    sides = []
    for low, high, length in zip(box[:2], box[2:], (HEIGHT, WIDTH)):
        ends = np.clip([low, high], 0, length * STRIDE).astype(np.float64)
        fractions = (np.arange(grid * samples) + 0.5) / (grid * samples)
        positions = (ends[0] + (ends[1] - ends[0]) * fractions) / STRIDE - 0.5
        # Row c: cell c's bilinear weight at the samples; np.interp clamps.
        weights = np.stack([np.interp(positions, np.arange(length), cell) for cell in np.eye(length)])
        sides.append(weights.reshape(length, grid, samples).mean(-1))
    return np.einsum("yi,xj,yxc->ijc", *sides, features) @ KERNEL + BIAS


@pytest.mark.stack
@pytest.mark.parametrize("grid", [1, 3])
def test_the_integral_equals_numerical_integration(grid):
    expected = np.array(
        [[mean_by_integration(features, box, grid) for box in boxes] for features, boxes in zip(FEATURES, BOXES)]
    )
    pooled = pooling("integral", grid)({LEVEL: FEATURES}, BOXES).numpy()
    assert pooled.shape == (2, BOXES.shape[1], grid, grid, FILTERS)
    np.testing.assert_allclose(pooled, expected, atol=1e-4)
    assert (
        np.abs(pooled - pooling("matmul", grid)({LEVEL: FEATURES}, BOXES)).max() > 0.02
    )  # Another pooling than samples.


def every_pair(layer, boxes):
    """Features and union boxes in tables of all ordered pairs."""
    return [unordered_pairs.spread(values).numpy() for values in layer({LEVEL: FEATURES}, boxes)]


@pytest.mark.stack
def test_integrals_equal_numerical_integration_over_every_union_box():
    features, unions = every_pair(pooling("integral", layer=regions.PairFeatures), BOXES)
    expected = np.array(
        [
            [[mean_by_integration(image, box, 1, 500)[0, 0] for box in row] for row in boxes]
            for image, boxes in zip(FEATURES, unions)
        ]
    )
    np.testing.assert_allclose(features, expected, atol=1e-4)


def test_integrals_have_the_gradients_of_finite_differences():
    boxes = np.array([[[0.3, -0.4, 2.2, 3.1], [1.7, 0.6, 3.4, 1.9], [-0.2, 2.3, 0.9, 6.2]]])
    features = FEATURES[:1, :4, :7, :2].astype(np.float64)

    def means(features, boxes):
        weights = [
            tf.cast(box_integrals.mean_weights(boxes[..., k], boxes[..., k + 2], length, 2), tf.float64)
            for k, length in ((0, 4), (1, 7))
        ]
        return tf.einsum("brgy,brhx,byxd->brghd", *weights, features)

    # The weights are float32, which the difference over a step feels.
    for analytic, numeric in zip(*tf.test.compute_gradient(means, [features, boxes], 1e-2)):
        assert np.abs(numeric).max() > 0.05
        np.testing.assert_allclose(analytic, numeric, atol=1e-3)


@pytest.mark.stack
@pytest.mark.parametrize("layer", [RegionPooling, regions.PairFeatures])
def test_integrals_under_xla_are_those_without_and_have_finite_gradients(layer):
    """Boxes without area take part."""
    layer = pooling("integral", layer=layer)

    def compute(features, boxes):
        with tf.GradientTape() as tape:
            tape.watch([features, boxes])
            pooled = tf.nest.flatten(layer({LEVEL: features}, boxes))[0]
            value = tf.reduce_sum(tf.sin(pooled))
        return [pooled, *tape.gradient(value, [features, boxes, layer.trainable_variables[0]])]

    arguments = tf.constant(FEATURES), tf.constant(BOXES)
    for eager, compiled in zip(
        compute(*arguments), tf.function(compute, autograph=False, jit_compile=True)(*arguments)
    ):
        assert np.all(np.isfinite(eager)) and np.abs(eager).max() > 0.1
        np.testing.assert_allclose(eager, compiled, atol=1e-3, rtol=1e-3)


def test_permuting_boxes_permutes_the_integrals_of_their_unions():
    layer, order = pooling("integral", layer=regions.PairFeatures), RNG.permutation(BOXES.shape[1])
    features, permuted = (every_pair(layer, boxes)[0] for boxes in (BOXES, BOXES[:, order]))
    np.testing.assert_allclose(features[:, order][:, :, order], permuted, atol=1e-5)
    assert np.abs(features - permuted).max() > 0.1


@EVERY_OP
def test_a_constant_map_gives_the_constant(op):
    constant = np.arange(CHANNELS, dtype=np.float32)
    features = np.broadcast_to(constant, FEATURES.shape)
    expected = np.broadcast_to(constant @ KERNEL + BIAS, [2, BOXES.shape[1], 4, 4, FILTERS])
    np.testing.assert_allclose(pooling(op, grid=4)({LEVEL: features}, BOXES), expected, atol=1e-4)


@EVERY_OP
def test_a_box_of_one_cell_gives_that_cells_neighbourhood(op):
    """Fixes which pixel a feature cell lies at: a ramp along x must give the centre of the box, in cells."""
    ramp = np.broadcast_to(np.arange(WIDTH, dtype=np.float32)[:, None], [1, HEIGHT, WIDTH, CHANNELS])
    layer = pooling(op)
    layer.convolution.set_weights([np.eye(CHANNELS, FILTERS, dtype=np.float32), np.zeros(FILTERS)])
    boxes = np.array([[[8, 16, 16, 24], [0, 8, 48, 64]]], np.float32)  # Cell 2; cells 1 to 7.
    np.testing.assert_allclose(layer({LEVEL: ramp}, boxes)[0, :, 0, 0, 0], [2.0, 4.0], atol=1e-4)


@EVERY_OP
def test_pair_features_are_those_of_the_union_boxes(op):
    boxes = BOXES[:, 6:15]
    features, unions = every_pair(pooling(op, layer=regions.PairFeatures), boxes)
    count = boxes.shape[1]
    assert features.shape == (2, count, count, FILTERS) and unions.shape == (2, count, count, 4)
    np.testing.assert_array_equal(features, features.transpose(0, 2, 1, 3))
    single = pooling(op)
    for i, j in [(0, 1), (1, 0), (3, 8), (7, 2), (5, 5)]:
        union = np.concatenate(
            [np.minimum(boxes[:, i, :2], boxes[:, j, :2]), np.maximum(boxes[:, i, 2:], boxes[:, j, 2:])], -1
        )
        np.testing.assert_array_equal(unions[:, i, j], union)
        np.testing.assert_allclose(
            features[:, i, j], single({LEVEL: FEATURES}, union[:, np.newaxis])[:, 0, 0, 0], atol=1e-4
        )
    diagonal = np.arange(count)
    np.testing.assert_array_equal(unions[:, diagonal, diagonal], boxes)
    np.testing.assert_allclose(features[:, diagonal, diagonal], single({LEVEL: FEATURES}, boxes)[:, :, 0, 0], atol=1e-4)


def test_entity_features_of_one_cell_are_the_pooled_features():
    layer = pooling("matmul", layer=regions.EntityFeatures)
    assert layer.project is None
    np.testing.assert_array_equal(
        layer({LEVEL: FEATURES}, BOXES), pooling("matmul")({LEVEL: FEATURES}, BOXES)[:, :, 0, 0]
    )


def test_entity_features_of_a_grid_are_a_linear_map_of_all_cells():
    layer = pooling("matmul", grid=3, layer=regions.EntityFeatures)
    kernel, bias = layer.project.kernel.numpy(), RNG.normal(size=[FILTERS]).astype(np.float32)
    layer.project.set_weights([kernel, bias])
    cells = pooling("matmul", grid=3)({LEVEL: FEATURES}, BOXES).numpy().reshape([2, -1, 9 * FILTERS])
    np.testing.assert_allclose(layer({LEVEL: FEATURES}, BOXES), np.maximum(cells, 0) @ kernel + bias, atol=1e-4)


def test_of_several_maps_each_box_has_that_of_its_size():
    maps = {level: RNG.normal(size=[1, 40 >> level, 64 >> level, CHANNELS]).astype(np.float32) for level in (2, 3, 4)}
    maps = {level: np.repeat(np.repeat(value, 16, 1), 16, 2) for level, value in maps.items()}
    sides = np.array([10, 55, 57, 100, 111, 113, 200, 400.0])
    boxes = np.stack([0 * sides, 3 + 0 * sides, sides, 3 + sides], -1)[np.newaxis].astype(np.float32)
    levels = [2, 2, 2, 2, 2, 3, 3, 4]  # Level 3 begins at 112 pixels, half of 224, level 4 at 224.
    assert pooling_lib.level_of(boxes, 2, 4).numpy().tolist() == [levels]
    for op in ("matmul", "crop_and_resize", "integral"):
        layer = pooling(op, grid=3)
        found = layer(maps, boxes).numpy()
        for number, level in enumerate(levels):
            alone = layer({level: maps[level]}, boxes[:, number : number + 1])
            np.testing.assert_allclose(found[:, number : number + 1], alone, atol=1e-4)
