"""The differentiable scene graph generator: a graph permutation invariant (GPI) layer with attention.

The supplement of the paper, section 1, equations (1) and (2), with weighted means in place of the sums:

    n_i   = attend_j!=i  phi([z_i; z_ij; z_j])
    g     = attend_i     alpha([z_i; n_i])
    z'_k  = rho_entity([z_k; n_k; g])
    z'_kl = rho_relation([z_kl; z_k; z_l; g])

With gates, beyond the paper, z_ij has the geometry g_ij of j as seen from i too, a message is
`phi([z_i; z_ij; z_j]) + gate(g_ij) * W z_j`, and z'_k is `rho_entity([z_k; n_k; g]) + V n_k`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from dsg_tf.keras import keras
from dsg_tf.model import unordered_pairs

NEGATIVE = -1e9  # Logit of what gets no weight; finite, so that a softmax over nothing else stays finite.


class SplitDense(keras.layers.Layer):
    """A fully connected layer on the concatenation of its inputs, as a sum of one product per input.

    The inputs broadcast against each other: what depends on a node is multiplied once per node, not once per pair.
    Its kernel is the textbook layer's, `[sum of input sizes, units]`.

    Args:
      units: outputs.
      activation: as in Keras.
      unordered: number of the input that has a row for each unordered pair (`unordered_pairs.indices`); none: None.
    """

    def __init__(self, units: int, activation=None, unordered: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.activation, self.unordered = units, keras.activations.get(activation), unordered

    def build(self, input_shapes):
        self.sizes = [shape[-1] for shape in input_shapes]
        self.kernel = self.add_weight("kernel", [sum(self.sizes), self.units], initializer="glorot_uniform")
        self.bias = self.add_weight("bias", [self.units], initializer="zeros")

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        kernels = tf.split(tf.cast(self.kernel, self.compute_dtype), self.sizes, axis=0)
        # Not tf.matmul: the gradient of its batches holds a copy of the kernel for each.
        products = [
            tf.tensordot(tf.cast(value, self.compute_dtype), kernel, axes=1) for value, kernel in zip(inputs, kernels)
        ]
        if self.unordered is not None:
            products[self.unordered] = unordered_pairs.spread(products[self.unordered])
        return self.activation(sum(products) + tf.cast(self.bias, self.compute_dtype))


class SplitMLP(keras.layers.Layer):
    """Fully connected layers on a concatenation: `SplitDense` with ReLU, `hidden_layers` - 1 more, and an output."""

    def __init__(
        self,
        hidden_units: int,
        units: int,
        unordered: int | None = None,
        hidden_layers: int = 1,
        activation=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.hidden = SplitDense(hidden_units, activation="relu", unordered=unordered, name="hidden")
        self.more = [keras.layers.Dense(hidden_units, "relu", name=f"hidden{k}") for k in range(2, hidden_layers + 1)]
        self.out = keras.layers.Dense(units, activation, name="out")

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        values = self.hidden(inputs)
        for layer in self.more:
            values = layer(values)
        return self.out(values)


class GatedMLP(keras.layers.Layer):
    """`SplitMLP` of the inputs, plus a function of the last, how j lies from i, times a linear map of the third, z_j.

    So a message can say "a red cube" and "to the left" in one product. A sum of the two, which is all that a linear
    output makes of them, tells what is around a box and where things are, not which is where. Because the
    factor sees nothing but where, it is learned in about half the steps (docs/comparison.md).
    """

    def __init__(self, hidden_units: int, units: int, *options, **kwargs):
        super().__init__(**kwargs)
        self.message = SplitMLP(hidden_units, units, *options, name="message")
        self.gate = SplitMLP(hidden_units // 4, units, name="gate")
        self.neighbor = keras.layers.Dense(units, name="neighbor")

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        return self.message(inputs) + self.gate(inputs[3:]) * self.neighbor(inputs[2])


class Aggregate(keras.layers.Layer):
    """Sum of `mlp(inputs)` over one axis, weighted by attention ("integrated attention", the supplement, section 1).

    Args:
      attention: "feature" (a softmax over the axis for each feature), "neighbor" (one weight per element), or "none"
        (the plain sum of equation 1).
      unordered: see `SplitDense`.
      gated: whether `mlp` is a `GatedMLP`, whose last input tells where the neighbour is.
      hidden_layers: of `mlp` and of the network of the weights; from 2 on the outputs of `mlp` pass a ReLU.
    """

    def __init__(
        self,
        hidden_units: int,
        units: int,
        *,
        attention: str,
        unordered: int | None = None,
        gated: bool = False,
        hidden_layers: int = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        make = GatedMLP if gated else SplitMLP
        activation = "relu" if hidden_layers > 1 else None
        self.values = make(hidden_units, units, unordered, hidden_layers, activation, name="values")
        num_scores = {"feature": units, "neighbor": 1, "none": 0}[attention]
        self.scores = None
        if num_scores:
            self.scores = SplitMLP(hidden_units, num_scores, unordered, hidden_layers, name="scores")

    def call(self, inputs: Sequence[tf.Tensor], mask: tf.Tensor, axis: int):
        """Aggregates.

        Args:
          inputs: tensors that broadcast to `[B, ..., features]`; pairs may come unordered.
          mask: bool, of the broadcast shape without features: what takes part.
          axis: the axis to sum over.

        Returns:
          The weighted sum, and float32 weights of the broadcast shape with 1 or `units` features; 0 where masked.
        """
        values = self.values(inputs)
        mask = mask[..., tf.newaxis]
        if self.scores is None:
            weights = tf.cast(mask, tf.float32)
        else:
            logits = tf.where(mask, tf.cast(self.scores(inputs), tf.float32), NEGATIVE)
            weights = tf.nn.softmax(logits, axis=axis) * tf.cast(mask, tf.float32)
        return tf.reduce_sum(tf.cast(weights, values.dtype) * values, axis=axis), weights


class GraphLayer(keras.layers.Layer):
    """The GPI transformation of nodes and edges.

    Args:
      hidden_units, hidden_layers: of phi, alpha and rho; with two and more hidden layers, which is the authors' code,
        phi and alpha end in a ReLU.
      units: outputs of phi and alpha.
      node_units: outputs of rho.
      attention: see `Aggregate`.
      unordered_edges: both directions of an edge have the same features, and come as one row.
      gated: whether messages hold products, and reach z'_k by a linear map of their own too; needs `geometry`.
    """

    def __init__(
        self,
        *,
        hidden_units: int,
        units: int,
        node_units: int,
        attention: str,
        unordered_edges: bool = False,
        gated: bool = False,
        hidden_layers: int = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        # Number of the input that has a row for each unordered pair: the edges.
        of_phi, of_relation = (1, 0) if unordered_edges else (None, None)
        common: dict[str, Any] = {"attention": attention, "hidden_layers": hidden_layers}
        self.phi = Aggregate(hidden_units, units, unordered=of_phi, gated=gated, **common, name="phi")
        self.alpha = Aggregate(hidden_units, units, **common, name="alpha")
        self.rho_entity = SplitMLP(hidden_units, node_units, None, hidden_layers, name="rho_entity")
        self.rho_relation = SplitMLP(hidden_units, node_units, of_relation, hidden_layers, name="rho_relation")
        # The hidden layer of rho would mix products that have to be read one by one.
        self.messages = keras.layers.Dense(node_units, use_bias=False, name="messages") if gated else None

    def call(self, nodes, edges, valid, geometry=None) -> dict[str, tf.Tensor]:
        """Transforms a graph; equivariant to a permutation of its nodes.

        Args:
          nodes: `[B, N, .]`, z_i.
          edges: z_ij, `[B, N, N, .]`, axis 1 the subject, axis 2 the object; or `[B, N (N + 1) / 2, .]`, a row for
            each of `unordered_pairs.indices`.
          valid: bool `[B, N]`; other nodes influence nothing.
          geometry: of `relative_geometry.of_pairs`, `[B, N, N, .]`; None without gates.

        Returns:
          nodes: `[B, N, node_units]`, z'_i; edges: `[B, N, N, node_units]`, z'_ij.
          neighbor_attention: float32 `[B, N, N]`, how much node i (axis 1) takes from node j, mean over features.
          node_attention: float32 `[B, N]`, how much the graph vector takes from each node.
        """
        subjects, objects = nodes[:, :, tf.newaxis], nodes[:, tf.newaxis]
        not_self = ~tf.eye(nodes.shape[1], dtype=tf.bool)
        pair_mask = valid[:, :, tf.newaxis] & valid[:, tf.newaxis] & not_self
        directed = [] if geometry is None else [geometry]
        neighborhood, neighbor_weights = self.phi([subjects, edges, objects, *directed], pair_mask, axis=2)
        graph, node_weights = self.alpha([nodes, neighborhood], valid, axis=1)
        graph = graph[:, tf.newaxis]  # [B, 1, units]
        context = self.rho_entity([nodes, neighborhood, graph])
        if self.messages is not None:
            context += self.messages(neighborhood)
        return {
            "nodes": context,
            "edges": self.rho_relation([edges, subjects, objects, graph[:, tf.newaxis], *directed]),
            "neighbor_attention": tf.reduce_mean(neighbor_weights, axis=-1),
            "node_attention": tf.reduce_mean(node_weights, axis=-1),
        }
