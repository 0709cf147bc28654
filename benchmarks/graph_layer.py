"""The graph layer and the referring classifier against their textbook forms; prints one JSON object.

    python benchmarks/graph_layer.py [--boxes=32 --queries=32] [--seconds=10]

Here the first layer of a network on a concatenation is a sum of products: those of the nodes and of the query are
computed once each, those of a pair once for both directions. The textbook forms repeat and concatenate:
`[z_i; z_ij; z_j]` for all n^2 pairs, `[z'_i; query]` with one-hot queries for all Q x n. Results and gradients are
compared before anything is timed.

The achieved rate counts matrix products only, forward and backward, and is compared with a plain product in the same
rounds.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # As train.py does.

import json
import operator
import statistics
from unittest import mock

import machine
import numpy as np
import tensorflow as tf
import timing
from absl import app, flags

from dsg_tf.model import gpi, heads
from dsg_tf.model import unordered_pairs as pairs

FLAGS = flags.FLAGS
ENTITIES, RELATIONS = 100, 70  # Of Visual Genome and VRD.
NODE_UNITS, COORDINATES = 1024, 4
NODES_AND_EDGES = operator.itemgetter("nodes", "edges")


class Concatenated(gpi.SplitDense):
    """The textbook form: repeats its inputs to one shape, concatenates them, multiplies once."""

    def call(self, inputs):
        inputs = [pairs.spread(value) if k == self.unordered else value for k, value in enumerate(inputs)]
        shape = tf.broadcast_static_shape(inputs[0].shape[:-1], inputs[1].shape[:-1])
        for value in inputs[2:]:
            shape = tf.broadcast_static_shape(shape, value.shape[:-1])
        repeated = [tf.broadcast_to(value, [*shape, value.shape[-1]]) for value in inputs]
        return self.activation(tf.tensordot(tf.concat(repeated, axis=-1), self.kernel, axes=1) + self.bias)


class ConcatenatedClassifier(heads.ReferringClassifier):
    """The textbook form, with one-hot queries; its first kernel is made of the same variables."""

    def _logits(self, nodes, queries):
        count, asked = nodes.shape[1], queries.shape[1]
        tables = [table.embeddings for table in (self.subject, self.relation, self.object)]
        query = tf.concat([tf.one_hot(queries[..., k], table.shape[0]) for k, table in enumerate(tables)], axis=-1)
        pairs = tf.concat(
            [tf.repeat(nodes[:, tf.newaxis], asked, axis=1), tf.repeat(query[:, :, tf.newaxis], count, axis=2)], axis=-1
        )
        kernel = tf.concat([self.node.kernel, *tables], axis=0)
        return self.logits(self.hidden(tf.nn.relu(tf.tensordot(pairs, kernel, axes=1) + self.node.bias)))


def main(_):
    count, queries, size = FLAGS.boxes, FLAGS.queries, FLAGS.units
    rng = np.random.default_rng(0)
    random = lambda *shape: tf.constant(rng.normal(size=shape), tf.float32)
    graph_inputs = (
        random(1, count, size + COORDINATES),
        random(1, count * (count + 1) // 2, size + COORDINATES),
        tf.ones([1, count], tf.bool),
    )
    asked = tf.constant(rng.integers(0, RELATIONS, [1, queries, 3]), tf.int32)
    report = {"boxes": count, "queries": queries, "units": size, "machine": machine.describe("tensorflow")}
    report["graph_layer"] = _compare(
        _graph(size, textbook=False),
        _graph(size, textbook=True),
        lambda layer, *values: [*NODES_AND_EDGES(layer(*values))],
        graph_inputs,
    )
    own, textbook = (kind(ENTITIES, RELATIONS, size) for kind in (heads.ReferringClassifier, ConcatenatedClassifier))
    nodes = random(1, count, NODE_UNITS)
    for layer in (own, textbook):
        heads.ReferringClassifier._logits(layer, nodes, asked)  # Makes the variables.
    report["classifier"] = _compare(own, textbook, lambda layer, nodes: [layer._logits(nodes, asked)], (nodes,))
    print(json.dumps(report, indent=2))


def _graph(size, textbook):
    with mock.patch.object(gpi, "SplitDense", Concatenated if textbook else gpi.SplitDense):
        return gpi.GraphLayer(
            hidden_units=size, units=size, node_units=NODE_UNITS, attention="feature", unordered_edges=True
        )


def _compare(own, textbook, call, inputs):
    """Results, gradients, times, and the rate of this program's form."""
    layers = {"split": own, "textbook": textbook}
    functions = {}
    for name, layer in layers.items():
        functions[f"{name} forward"] = tf.function(lambda *values, layer=layer: call(layer, *values), autograph=False)
        functions[f"{name} gradient"] = tf.function(
            lambda *values, layer=layer: _gradient(layer, call, values), autograph=False
        )
    results = {name: function(*inputs) for name, function in functions.items()}  # Makes the variables.
    textbook.set_weights(own.get_weights())
    results = {name: function(*inputs) for name, function in functions.items()}
    differences = {}
    for kind in ("forward", "gradient"):
        differences[kind] = 0.0
        for first, second in zip(results[f"split {kind}"], results[f"textbook {kind}"]):
            scale = float(tf.reduce_max(tf.abs(second)))
            np.testing.assert_allclose(first, second, atol=1e-4 * scale, rtol=1e-3)
            differences[kind] = max(differences[kind], float(tf.reduce_max(tf.abs(first - second))) / scale)
    side = FLAGS.matmul_side
    square = tf.random.normal([side, side])
    product = tf.function(tf.matmul)
    calls = {name: lambda function=function: function(*inputs) for name, function in functions.items()}
    times = timing.in_turns({**calls, "matmul": lambda: product(square, square)}, FLAGS.seconds, FLAGS.rounds)
    operations = {
        name: _matmul_operations(function.get_concrete_function(*inputs).graph) for name, function in functions.items()
    }
    operations["matmul"] = 2 * side**3
    rates = {name: count / statistics.median(times[name]) / 1e6 for name, count in operations.items()}
    return {
        "relative_difference": differences,
        "giga_operations": {name: round(count / 1e9, 3) for name, count in operations.items()},
        "giga_operations_per_second": {name: round(rate, 2) for name, rate in rates.items()},
        "share_of_matmul_rate": {
            name: round(count / operations["matmul"] * timing.ratio(times, "matmul", name), 3)
            for name, count in operations.items()
        },
        "textbook / split": {
            kind: timing.ratio(times, f"textbook {kind}", f"split {kind}") for kind in ("forward", "gradient")
        },
        **timing.report(times),
    }


def _gradient(layer, call, values):
    with tf.GradientTape() as tape:
        floats = [value for value in values if value.dtype.is_floating]
        tape.watch(floats)
        total = tf.add_n([tf.reduce_sum(tf.sin(value)) for value in call(layer, *values)])
    variables = [variable for variable in layer.trainable_variables if variable.shape.rank > 1]
    return [tf.convert_to_tensor(value) for value in tape.gradient(total, [*floats, *variables])]


def _matmul_operations(graph) -> int:
    """Multiplications and additions of all matrix products of a graph."""
    total = 0
    for op in graph.get_operations():
        if "MatMul" in op.type:
            first = op.inputs[0].shape
            transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
            total += 2 * op.outputs[0].shape.num_elements() * first[-2 if transposed else -1]
    return total


if __name__ == "__main__":
    flags.DEFINE_integer("boxes", 32, "Boxes of the image, n.", lower_bound=1)
    flags.DEFINE_integer("queries", 32, "Queries, Q.", lower_bound=1)
    flags.DEFINE_integer("units", 512, "D, and hidden units.", lower_bound=1)
    flags.DEFINE_integer("matmul_side", 1024, "Rows and columns of the plain product.", lower_bound=1)
    flags.DEFINE_float("seconds", 10, "How long each measurement takes, at least.")
    flags.DEFINE_integer("rounds", 5, "Rounds of each measurement, at least.", lower_bound=1)
    app.run(main)
