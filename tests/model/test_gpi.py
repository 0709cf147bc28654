"""The GPI layer: invariances, and a textbook implementation on concatenations."""

import numpy as np
import pytest
import tensorflow as tf

from dsg_tf.keras import keras
from dsg_tf.model import gpi, unordered_pairs

ATTENTIONS = pytest.mark.parametrize("attention", ["feature", "neighbor", "none"])
BATCH, COUNT, NODE_SIZE, EDGE_SIZE, UNITS = 2, 5, 6, 7, 4


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


NODES, EDGES = random(BATCH, COUNT, NODE_SIZE), random(BATCH, COUNT, COUNT, EDGE_SIZE, seed=1)
VALID = np.array([[True, True, False, True, True], [True, True, True, True, False]])


def graph_layer(attention, unordered=False, hidden_layers=1):
    keras.utils.set_random_seed(0)
    layer = gpi.GraphLayer(
        hidden_units=8,
        units=UNITS,
        node_units=3,
        attention=attention,
        unordered_edges=unordered,
        hidden_layers=hidden_layers,
    )
    layer(NODES, EDGES[(slice(None), *unordered_pairs.indices(COUNT))] if unordered else EDGES, VALID)
    for index, variable in enumerate(layer.trainable_variables):  # Biases too must take part.
        variable.assign_add(0.2 * random(*variable.shape, seed=index))
    return layer


def compare(first, second, take_first=lambda name, value: value, take_second=lambda name, value: value):
    assert set(first) == {"nodes", "edges", "neighbor_attention", "node_attention"}
    for name in first:
        np.testing.assert_allclose(
            take_first(name, first[name].numpy()), take_second(name, second[name].numpy()), atol=1e-5, err_msg=name
        )


def test_split_dense_is_dense_on_the_concatenation():
    nodes, pairs = tf.constant(random(2, 3, 4)), tf.constant(random(2, 3, 3, 5, seed=1))
    split, dense = gpi.SplitDense(6, activation="relu"), keras.layers.Dense(6, activation="relu")

    def broadcast(nodes, pairs):
        return split([nodes[:, :, None], pairs, nodes[:, None]])

    def textbook(nodes, pairs):
        subjects, objects = tf.repeat(nodes[:, :, None], 3, axis=2), tf.repeat(nodes[:, None], 3, axis=1)
        return dense(tf.concat([subjects, pairs, objects], -1))

    broadcast(nodes, pairs)  # Makes the variables.
    textbook(nodes, pairs)
    split.bias.assign(random(6, seed=3))
    dense.set_weights(split.get_weights())
    results = []
    for layer, call in ((split, broadcast), (dense, textbook)):
        with tf.GradientTape() as tape:
            tape.watch([nodes, pairs])
            value = call(nodes, pairs)
            total = tf.reduce_sum(value * random(*value.shape, seed=4))
        results.append([value, *tape.gradient(total, [nodes, pairs, *layer.trainable_variables])])
    for first, second in zip(*results):
        assert np.abs(first).max() > 0.1
        np.testing.assert_allclose(first, second, atol=1e-5)


def test_a_row_for_each_unordered_pair_is_what_both_directions_have():
    first, second = unordered_pairs.indices(COUNT)
    rows = tf.constant(random(BATCH, len(first), EDGE_SIZE))
    table = unordered_pairs.spread(rows).numpy()
    for row, (i, j) in enumerate(zip(first, second)):
        np.testing.assert_array_equal(table[:, i, j], rows[:, row])
        np.testing.assert_array_equal(table[:, j, i], rows[:, row])
    assert [unordered_pairs.number_of_boxes(n * (n + 1) // 2) for n in range(1, 300)] == [*range(1, 300)]


@pytest.mark.parametrize("compiled", [False, True])
@ATTENTIONS
def test_unordered_edges_give_the_results_and_gradients_of_both_directions(attention, compiled):
    first, second = unordered_pairs.indices(COUNT)
    rows, results = tf.constant(random(BATCH, len(first), EDGE_SIZE)), []
    for unordered in (False, True):
        layer = graph_layer(attention, unordered)

        def compute(nodes, rows, layer=layer, unordered=unordered):
            with tf.GradientTape() as tape:
                tape.watch([nodes, rows])
                found = layer(nodes, rows if unordered else _by_gather(rows), VALID)
                total = tf.add_n([tf.reduce_sum(tf.sin(value)) for value in found.values()])
            return [*found.values(), *tape.gradient(total, [nodes, rows, *layer.trainable_variables])]

        results.append(tf.function(compute, autograph=False, jit_compile=compiled)(tf.constant(NODES), rows))
    for ordered, unordered in zip(*results):
        assert ordered.shape.rank < 2 or np.abs(ordered).max() > 1e-3  # A bias before a softmax has no gradient.
        np.testing.assert_allclose(ordered, unordered, atol=2e-5, rtol=1e-4)


def _by_gather(rows):
    index = np.zeros([COUNT, COUNT], int)
    first, second = unordered_pairs.indices(COUNT)
    index[first, second] = index[second, first] = np.arange(len(first))
    return tf.gather(rows, index, axis=1)


def literal_graph(layer, nodes, edges, valid, attention, hidden_layers):
    """Equations (1) and (2) for one image, one pair at a time; weighted as the attention says.

    With two hidden layers as the released code has it: phi and alpha end in a ReLU.
    """

    def dense(layer, value):
        return value @ layer.kernel.numpy() + layer.bias.numpy()

    def mlp(layer, *values):
        value = np.maximum(dense(layer.hidden, np.concatenate(values)), 0)
        assert len(layer.more) == hidden_layers - 1
        for hidden in layer.more:
            value = np.maximum(dense(hidden, value), 0)
        return dense(layer.out, value)

    def attend(layer, inputs):
        if not inputs:
            return np.zeros(UNITS)
        values = np.stack([mlp(layer.values, *value) for value in inputs])
        if hidden_layers > 1:
            values = np.maximum(values, 0)
        if attention == "none":
            return values.sum(0)
        scores = np.exp(np.stack([mlp(layer.scores, *value) for value in inputs]))
        return (values * scores / scores.sum(0)).sum(0)

    members = np.flatnonzero(valid)
    around = [
        attend(layer.phi, [(nodes[i], edges[i, j], nodes[j]) for j in members if j != i and valid[i]])
        for i in range(COUNT)
    ]
    graph = attend(layer.alpha, [(nodes[i], around[i]) for i in members])
    return {
        "nodes": np.stack([mlp(layer.rho_entity, nodes[k], around[k], graph) for k in range(COUNT)]),
        "edges": np.stack(
            [
                [mlp(layer.rho_relation, edges[i, j], nodes[i], nodes[j], graph) for j in range(COUNT)]
                for i in range(COUNT)
            ]
        ),
    }


@pytest.mark.stack
@pytest.mark.parametrize("hidden_layers", [1, 2])
@ATTENTIONS
def test_the_layer_is_the_equations(attention, hidden_layers):
    layer = graph_layer(attention, hidden_layers=hidden_layers)
    result = layer(NODES, EDGES, VALID)
    for image in range(BATCH):
        expected = literal_graph(layer, NODES[image], EDGES[image], VALID[image], attention, hidden_layers)
        for name, value in expected.items():
            np.testing.assert_allclose(result[name][image], value, atol=2e-5, err_msg=name)


@pytest.mark.stack
@ATTENTIONS
def test_permuting_nodes_permutes_the_results(attention):
    layer, order = graph_layer(attention), np.array([3, 0, 4, 1, 2])
    permuted = layer(NODES[:, order], EDGES[:, order][:, :, order], VALID[:, order])

    def permute(name, value):
        value = value[:, order]
        return value[:, :, order] if name in ("edges", "neighbor_attention") else value

    compare(layer(NODES, EDGES, VALID), permuted, take_first=permute)


def test_gates_multiply_senders_by_where_they_are_and_pass_messages_on():
    """With one neighbour, a message is all that its node gets."""
    layer = gpi.GraphLayer(hidden_units=8, units=UNITS, node_units=3, attention="none", gated=True)
    pair, geometry = np.tile(np.arange(COUNT) < 2, [BATCH, 1]), random(BATCH, COUNT, COUNT, 6, seed=5)
    result = layer(NODES, EDGES, pair, geometry)["nodes"].numpy()[:, :1]
    of_pair = [NODES[:, :1], EDGES[:, 0, 1:2], NODES[:, 1:2], geometry[:, 0, 1:2]]
    message = layer.phi.values(of_pair).numpy()
    gate = layer.phi.values.gate(of_pair[3:]).numpy()
    product = gate * (NODES[:, 1:2] @ layer.phi.values.neighbor.kernel.numpy())
    np.testing.assert_allclose(message, layer.phi.values.message(of_pair) + product, atol=1e-5)
    kernel = layer.messages.kernel.numpy()
    layer.messages.kernel.assign(np.zeros_like(kernel))
    without = layer(NODES, EDGES, pair, geometry)["nodes"].numpy()[:, :1]
    np.testing.assert_allclose(result - without, message @ kernel, atol=1e-5)


def test_permuting_nodes_permutes_the_results_of_a_graph_with_geometry():
    geometry, order = random(BATCH, COUNT, COUNT, 2, seed=5), np.array([3, 0, 4, 1, 2])
    layer = gpi.GraphLayer(hidden_units=8, units=UNITS, node_units=3, attention="feature", gated=True)
    plain = layer(NODES, EDGES, VALID, geometry)
    both = lambda value: value[:, order][:, :, order]
    permuted = layer(NODES[:, order], both(EDGES), VALID[:, order], both(geometry))
    for name, value in plain.items():
        value = value.numpy()
        value = both(value) if name in ("edges", "neighbor_attention") else value[:, order]
        np.testing.assert_allclose(value, permuted[name], atol=1e-5, err_msg=name)
    turned = layer(NODES, EDGES, VALID, geometry.transpose(0, 2, 1, 3))
    assert all(np.abs(turned[name] - plain[name]).max() > 1e-3 for name in ("nodes", "edges"))


@ATTENTIONS
def test_invalid_nodes_change_nothing(attention):
    layer = graph_layer(attention)
    nodes, edges = NODES.copy(), EDGES.copy()
    nodes[~VALID] = 50.0
    edges[~VALID] = -50.0
    edges.transpose(0, 2, 1, 3)[~VALID] = 70.0

    def keep(name, value):
        mask = VALID[:, :, None] & VALID[:, None] if name in ("edges", "neighbor_attention") else VALID
        return value[mask]

    compare(layer(NODES, EDGES, VALID), layer(nodes, edges, VALID), keep, keep)


@ATTENTIONS
def test_more_padding_changes_nothing(attention):
    layer = graph_layer(attention)
    more = lambda *widths: [(0, 0), *[(0, width) for width in widths], (0, 0)]
    padded = layer(np.pad(NODES, more(3)), np.pad(EDGES, more(3, 3)), np.pad(VALID, [(0, 0), (0, 3)]))

    def cut(name, value):
        return value[:, :COUNT, :COUNT] if name in ("edges", "neighbor_attention") else value[:, :COUNT]

    compare(layer(NODES, EDGES, VALID), padded, take_second=cut)


@pytest.mark.parametrize("attention", ["feature", "neighbor"])
def test_attention_is_a_distribution_over_the_other_valid_nodes(attention):
    result = graph_layer(attention)(NODES, EDGES, VALID)
    weights, node_weights = result["neighbor_attention"].numpy(), result["node_attention"].numpy()
    takes_part = VALID[:, :, None] & VALID[:, None] & ~np.eye(COUNT, dtype=bool)
    assert np.all(weights[~takes_part] == 0) and np.all(weights[takes_part] > 0)
    np.testing.assert_allclose(weights.sum(2)[VALID], 1.0, atol=1e-6)
    assert np.all(node_weights[~VALID] == 0) and weights[takes_part].std() > 0.01
    np.testing.assert_allclose(node_weights.sum(1), 1.0, atol=1e-6)


def test_attention_of_each_feature_is_a_distribution():
    layer = graph_layer("feature")
    mask = VALID[:, :, None] & VALID[:, None]
    _, weights = layer.phi([NODES[:, :, None], EDGES, NODES[:, None]], mask, axis=2)
    assert weights.shape == (BATCH, COUNT, COUNT, UNITS)
    np.testing.assert_allclose(weights.numpy().sum(2)[VALID], 1.0, atol=1e-6)
    assert weights.numpy().std(axis=-1)[mask].min() > 1e-3  # Features attend to different neighbours.


@ATTENTIONS
@pytest.mark.parametrize("count_valid", [0, 1])
def test_one_node_or_none_gives_finite_numbers_and_gradients(attention, count_valid):
    layer = graph_layer(attention)
    valid = np.tile(np.arange(COUNT) < count_valid, [BATCH, 1])
    nodes = tf.constant(NODES)
    with tf.GradientTape() as tape:
        tape.watch(nodes)
        result = layer(nodes, EDGES, valid)
        total = tf.add_n([tf.reduce_sum(value**2) for value in result.values()])
    gradients = tape.gradient(total, [nodes, *layer.trainable_variables])
    for value in [*result.values(), *gradients]:
        assert np.all(np.isfinite(value))
    assert not result["neighbor_attention"].numpy().any()
    np.testing.assert_allclose(result["node_attention"], valid, atol=1e-6)


def test_parameters_at_the_papers_sizes():
    """The paper's Table 3 says fewer than 4 M; the layers that its supplement lists have more, attention or not."""
    counts = {}
    for attention in ("none", "neighbor", "feature"):
        layer = gpi.GraphLayer(hidden_units=512, units=512, node_units=1024, attention=attention)
        specs = [tf.TensorSpec([1, *shape]) for shape in ([2, 516], [2, 2, 516])]
        graph = tf.function(layer, autograph=False)
        graph.get_concrete_function(*specs, tf.TensorSpec([1, 2], tf.bool))  # No arithmetic is done.
        counts[attention] = sum(int(np.prod(v.shape)) for v in layer.trainable_variables)
    hidden = lambda inputs: (inputs + 1) * 512
    pooled = hidden(3 * 516) + hidden(512) + hidden(516 + 512) + hidden(512)  # phi and alpha.
    scored = pooled - 2 * (512 - 1) * 513
    rho = hidden(516 + 2 * 512) + hidden(3 * 516 + 512) + 2 * 513 * 1024
    assert counts == {"none": pooled + rho, "neighbor": pooled + scored + rho, "feature": 2 * pooled + rho}
    assert counts == {"none": 4_740_096, "neighbor": 6_061_058, "feature": 6_585_344}
