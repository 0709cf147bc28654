"""The attention models: SSAS, spatial shifts, co-occurrence, and VRD's visual term.

Krishna et al. 2018, "Referring Relationships", sections 4 and 5. All four look at a 14 x 14 feature map of a 224 x 224
image and answer with two 14 x 14 maps, in place of boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from dsg_tf.keras import keras
from dsg_tf.model import hidden_input
from dsg_tf.model.baselines.shifts import MAP_SIZE

EMBEDDING_SIZE = 512


class AttentionModel(keras.Model):
    """Image features, and attention on them that depends on the query.

    Args:
      backbone: Model Garden backbone, image to `{level: features}`.
      level: the backbone level with 14 x 14 cells.
      attender: `StackedAttention` or `QueryAttention`.
      pixel_mean, pixel_std: RGB normalisation.
      freeze_batch_norm: whether batch normalisation uses its stored statistics in training too.
      hidden: part of the input that it does not get to see, see `hidden_input.hide`.
    """

    def __init__(
        self,
        *,
        backbone,
        level: int,
        attender,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        freeze_batch_norm: bool,
        hidden: str = "",
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.backbone, self.level, self.attender = backbone, str(level), attender
        self.pixel_mean, self.pixel_std = list(pixel_mean), list(pixel_std)
        self.freeze_batch_norm, self.hidden = freeze_batch_norm, hidden

    @property
    def modules_of_model_garden(self) -> dict[str, tf.Module]:
        """What `--init_modules` can name."""
        return {"backbone": self.backbone}

    def call(self, inputs, training: bool = False) -> dict[str, tf.Tensor]:
        """Answers queries about images.

        Args:
          inputs: `image` uint8 `[B, 224, 224, 3]`, which the image fills; `queries` int32 `[B, Q, 3]`. Other
            keys are ignored.
          training: training mode of batch normalisation.

        Returns:
          `subject_map`, `object_map` float32 `[B, Q, 14, 14]` in [0, 1).
        """
        inputs = hidden_input.hide(inputs, self.hidden)
        normalized = (tf.cast(inputs["image"], tf.float32) - self.pixel_mean) / self.pixel_std
        levels = self.backbone(
            tf.cast(normalized, self.compute_dtype), training=training and not self.freeze_batch_norm
        )
        subject, object_ = self.attender(levels[self.level], inputs["queries"])
        return {"subject_map": tf.cast(subject, tf.float32), "object_map": tf.cast(object_, tf.float32)}


class StackedAttention(keras.layers.Layer):
    """SSAS and spatial shifts: the subject's attention, shifted by the relation, tells where the object may be.

    Args:
      num_entities: E.
      shift: layer that moves subject attention to the object, (maps `[B, Q, 14, 14]`, relations `[B, Q]`) to maps.
      inverse_shift: the same from object to subject.
      iterations: how often attention is shifted.
      iteration_weight: the map of iteration t weighs this to the power of t.
      released: whether queries end in a ReLU, and the weighted mean of the maps is divided by their number once more,
        as in the code of Krishna et al.
    """

    def __init__(
        self,
        num_entities: int,
        *,
        shift,
        inverse_shift,
        iterations: int,
        iteration_weight: float,
        released: bool,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.iteration_weight, self.released = iteration_weight, released
        self.entity = keras.layers.Embedding(num_entities, EMBEDDING_SIZE, name="entity")
        self.shift, self.inverse_shift, self.iterations = shift, inverse_shift, iterations

    def build(self, input_shape):
        self.project = keras.layers.Dense(input_shape[-1], "relu" if self.released else None, name="project")

    def call(self, features, queries):
        """Features `[B, 14, 14, C]` and queries `[B, Q, 3]` to two maps `[B, Q, 14, 14]`."""
        relations = queries[..., 1]
        # Features times a map, attended by a query, are the map times the features' attention.
        of_subject = _products(features, self.project(self.entity(queries[..., 0])))
        of_object = _products(features, self.project(self.entity(queries[..., 2])))
        subject, object_ = tf.nn.relu(of_subject), tf.nn.relu(of_object)
        subjects, objects = [subject], [object_]
        for _ in range(self.iterations):
            seen_from_subject = tf.tanh(self.shift(subject, relations))
            seen_from_object = tf.tanh(self.inverse_shift(object_, relations))
            subject = tf.nn.relu(seen_from_object * of_subject)
            object_ = tf.nn.relu(seen_from_subject * of_object)
            subjects.append(subject)
            objects.append(object_)
        return self._combine(subjects), self._combine(objects)

    def _combine(self, maps):
        """Weighted mean of the iterations' maps, then tanh."""
        weights = [self.iteration_weight**t for t in range(len(maps))]
        divisor = sum(weights) * (len(maps) if self.released else 1)
        return tf.tanh(sum(w * m for w, m in zip(weights, maps)) / divisor)


class QueryAttention(keras.layers.Layer):
    """CO and VRD: the query, embedded as a whole, attends once as subject and once as object.

    Args:
      num_entities, num_relations: E, R.
      use_relation: whether the query's relation is embedded too (VRD) or not (CO).
      released: whether queries end in a ReLU, without a hidden layer before it, as in the code of Krishna et al.
    """

    def __init__(self, num_entities: int, num_relations: int, *, use_relation: bool, released: bool, **kwargs):
        super().__init__(**kwargs)
        self.released = released
        self.subject = keras.layers.Embedding(num_entities, EMBEDDING_SIZE, name="subject")
        self.object = keras.layers.Embedding(num_entities, EMBEDDING_SIZE, name="object")
        self.relation = keras.layers.Embedding(num_relations, EMBEDDING_SIZE, name="relation") if use_relation else None

    def build(self, input_shape):
        channels = input_shape[-1]
        self.hidden = None if self.released else keras.layers.Dense(channels, activation="relu", name="hidden")
        activation = "relu" if self.released else None
        self.to_subject = keras.layers.Dense(channels, activation, name="to_subject")
        self.to_object = keras.layers.Dense(channels, activation, name="to_object")

    def call(self, features, queries):
        """Features `[B, 14, 14, C]` and queries `[B, Q, 3]` to two maps `[B, Q, 14, 14]`."""
        words = [self.subject(queries[..., 0]), self.object(queries[..., 2])]
        if self.relation is not None:
            words.append(self.relation(queries[..., 1]))
        query = tf.concat(words, axis=-1)
        if self.hidden is not None:
            query = self.hidden(query)
        return tuple(
            tf.tanh(tf.nn.relu(_products(features, project(query)))) for project in (self.to_subject, self.to_object)
        )


def _products(features, queries):
    """Dot products of features `[B, 14, 14, C]` with queries `[B, Q, C]`: `[B, Q, 14, 14]`."""
    flat = tf.reshape(features, [tf.shape(features)[0], MAP_SIZE**2, features.shape[-1]])
    products = tf.matmul(queries, flat, transpose_b=True)
    return tf.reshape(products, [tf.shape(products)[0], -1, MAP_SIZE, MAP_SIZE])
