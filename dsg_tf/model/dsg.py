"""The whole network (the paper, Figure 2): image and queries to boxes, a scene graph and answers.

Ablations are parts left out or exchanged by the builder (`dsg_tf.build`), never branches copied through the network.
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf.keras import keras
from dsg_tf.model import duplicates, hidden_input, relative_geometry
from dsg_tf.model.calibration import Calibration
from dsg_tf.model.heads import relation_probabilities

# What `answer` reads of what `encode` returns; TWO STEP answers from labels, all others from nodes (and pairs).
STATE = ("nodes", "pairs", "valid", "boxes", "entity_logits", "relation_logits")


class DSG(keras.Model):
    """Differentiable scene graphs for referring relationships.

    Args:
      detector: `Detector`.
      entity_features: `EntityFeatures`, f_i.
      pair_features: `PairFeatures`, f_ij; None without a graph.
      graph: `GraphLayer`; None answers from the detector's features f_i alone (NO-DSG).
      classifier: `ReferringClassifier`, or a `GraphMatcher` (TWO STEP).
      refiner: `BoxRefiner`; None answers with the proposals as they are (NO-DSG).
      refine_features: whether the refiner sees f_i in place of z'_i (DSG -BR).
      labeler: `LabelHeads`, or None (DSG -SGL).
      known_classes: `KnownClasses` of the detector's classes, whose logits the label heads' start from; or None.
      relative_geometry: whether z_ij has the geometry of j as seen from i too.
      auxiliary_classifier: `ReferringClassifier` that answers from z_i, for its loss only; or None.
      describe_pairs: layer from edges z'_ij to the descriptors of a `PairTerm`; None without one.
      edge_refiner: `EdgeRefiner` of the refined boxes; None without one.
      refined_nms_iou: at inference, IoU threshold of a non-maximum suppression of the refined boxes; 1: none.
      answer_overlap: overlap of two boxes from which on one of them answers, see `duplicates.drop`; 1: both.
      whole_pixels: whether, at inference, boxes end at whole pixels of the original image.
      dropout: share of f_i, f_ij and z'_i that is zero in a training step.
      hidden: part of the input that it does not get to see, see `hidden_input.hide`.
    """

    def __init__(
        self,
        *,
        detector,
        entity_features,
        pair_features,
        graph,
        classifier,
        refiner,
        labeler,
        known_classes=None,
        relative_geometry: bool = False,
        auxiliary_classifier=None,
        describe_pairs=None,
        edge_refiner=None,
        refine_features: bool = False,
        refined_nms_iou: float = 1.0,
        answer_overlap: float = 1.0,
        whole_pixels: bool = False,
        dropout: float = 0.0,
        hidden: str = "",
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # Under mixed precision image_size stays float32.
        self.detector = detector
        self.entity_features, self.pair_features = entity_features, pair_features
        self.graph, self.relative_geometry = graph, relative_geometry
        self.classifier, self.refiner, self.labeler = classifier, refiner, labeler
        self.auxiliary_classifier, self.describe_pairs = auxiliary_classifier, describe_pairs
        self.edge_refiner, self.known_classes = edge_refiner, known_classes
        self.refine_features, self.refined_nms_iou = refine_features, refined_nms_iou
        self.answer_overlap, self.whole_pixels = answer_overlap, whole_pixels
        self.dropout, self.hidden = dropout, hidden
        self.calibration: Calibration | None = None  # Of the `answer_probability`, where weights have one.

    @property
    def modules_of_model_garden(self) -> dict[str, tf.Module]:
        """What `--init_modules` can name."""
        parts = {name: getattr(self.detector, name) for name in ("backbone", "decoder", "rpn_head")}
        return {name: part for name, part in parts.items() if part is not None}

    def call(self, inputs, training: bool = False) -> dict[str, tf.Tensor]:
        """Answers queries about images; needs no labels.

        Args:
          inputs: `image` uint8 `[B, H, W, 3]`, `image_size` float32 `[B, 2]` (height and width of the
            un-padded part, pixels), `queries` int32 `[B, Q, 3]` class triplets; for answers that end at whole
            pixels of the original image also `original_size` `[B, 2]`; for oracles also `proposals` `[B, M, 4]` with
            bool `proposal_mask` `[B, M]`, in place of the detector's; for dropout in training also `seed` int32
            `[B, 2]`. Other keys are ignored.
          training: training mode of the detector (proposals, batch normalisation).

        Returns:
          Everything `encode` and `answer` return; with an auxiliary classifier also `auxiliary_role_logits`.
        """
        inputs = hidden_input.hide(inputs, self.hidden)
        given = (inputs["proposals"], inputs["proposal_mask"]) if "proposals" in inputs else None
        sizes = inputs["image_size"], inputs.get("original_size")
        seed = inputs["seed"][0] if training and self.dropout else None
        encoded = self.encode(inputs["image"], *sizes, training=training, given=given, seed=seed)
        result = {**encoded, **self.answer(encoded, inputs["queries"])}
        if self.auxiliary_classifier is not None:
            nodes = {"nodes": encoded["node_inputs"], "valid": encoded["valid"]}
            result["auxiliary_role_logits"] = self.auxiliary_classifier(nodes, inputs["queries"])["role_logits"]
        return result

    def encode(
        self, image, image_size, original_size=None, training: bool = False, given=None, seed=None
    ) -> dict[str, tf.Tensor]:
        """The differentiable scene graph of images; arguments as of `call`, `given` as of `Detector.call`.

        With a `seed` int32 `[2]` there is dropout, which depends on it alone.

        Returns:
          The detector's `rpn_scores`, `rpn_boxes`, `anchors`, `proposals`, `proposal_scores`, `valid`;
          `nodes` `[B, N, .]`: z'_i; `boxes` float32 `[B, N, 4]`: refined boxes clipped to the image, pixels of
          the network input; with a refiner `deltas` float32 `[B, N, 4]`: encoded refinement; with an edge refiner
          `edge_starts` and `edge_logits`, see there; with a graph
          `neighbor_attention` `[B, N, N]` and `node_attention` `[B, N]`; with label heads float32 `entity_logits`
          `[B, N, E]`, `relation_logits` and `relation_probabilities` `[B, N, N, R]`; with a pair term `pairs`
          `[B, N, N, .]`; with an auxiliary classifier `node_inputs` `[B, N, .]`: z_i.
        """
        found = self.detector(image, image_size, training=training, given=given)
        maps = found.pop("features")
        entities = self.entity_features(maps, found["proposals"], training)
        if "descriptors" in found:
            entities = tf.concat([entities, tf.cast(found.pop("descriptors"), entities.dtype)], axis=-1)
        entities = self._dropped(entities, seed, 0)
        graph, node_inputs = {"nodes": entities}, None
        if self.graph is not None:
            pairs, unions = self.pair_features(maps, found["proposals"], training)
            pairs = self._dropped(pairs, seed, 1)
            node_inputs = _append_coordinates(entities, found["proposals"], image_size[:, tf.newaxis])
            graph = self.graph(
                node_inputs,
                _append_coordinates(pairs, unions, image_size[:, tf.newaxis]),
                found["valid"],
                relative_geometry.of_pairs(found["proposals"]) if self.relative_geometry else None,
            )
            graph["nodes"] = self._dropped(graph["nodes"], seed, 2)
        result = {**found, **graph, "boxes": found["proposals"]}
        known = entities if self.refine_features else graph["nodes"]
        if self.refiner is not None:
            result["deltas"], refined = self.refiner(known, found["proposals"])
            result["boxes"] = box_lib.clip(refined, image_size)
        if self.edge_refiner is not None:
            result |= self.edge_refiner(image, image_size, known, result["boxes"])
            result["boxes"] = box_lib.clip(result["boxes"], image_size)
        if self.whole_pixels and not training and original_size is not None:
            result["boxes"] = box_lib.to_whole_pixels(result["boxes"], image_size, original_size)
        if not training and self.refined_nms_iou < 1:
            # Proposals of one object come together when they are refined; one of them is enough to answer.
            result["valid"] &= box_lib.non_maxima(result["boxes"], found["proposal_scores"], self.refined_nms_iou)
        if self.labeler is not None:
            result["entity_logits"], result["relation_logits"] = self.labeler(graph["nodes"], graph["edges"])
            if self.known_classes is not None:
                result["entity_logits"] += self.known_classes(found["class_logits"])
            result["relation_probabilities"] = relation_probabilities(
                result["relation_logits"], self.labeler.exclusive_relations
            )
        if self.auxiliary_classifier is not None:
            result["node_inputs"] = node_inputs
        if self.describe_pairs is not None:
            result["pairs"] = self.describe_pairs(graph["edges"])
        result.pop("edges", None)
        return result

    def _dropped(self, features, seed, number: int):
        """Features after dropout; `number` tells one use of the seed from another."""
        if seed is None:
            return features
        seed = tf.random.experimental.stateless_fold_in(seed, number)
        return tf.nn.experimental.stateless_dropout(features, self.dropout, seed)

    def answer(self, encoded, queries, skip_invalid: bool = False) -> dict[str, tf.Tensor]:
        """Answers to queries int32 `[B, Q, 3]` about what `encode` returned; `skip_invalid` as of `heads`.

        Returns:
          `subject_mask`, `object_mask` bool `[B, Q, N]`; `subject_scores`, `object_scores` float32
          `[B, Q, N]` in [0, 1]; `answer_probability` float32 `[B, Q]`: that there is an answer; and, but for TWO STEP,
          `role_logits` and `role_probabilities` float32 `[B, Q, N, 4]`: Background, Subject, Object, Other.
        """
        found = self.classifier(encoded, queries, skip_invalid)
        if self.calibration is not None:
            found["answer_probability"] = self.calibration(found["answer_probability"])
        return duplicates.drop(found, encoded["boxes"], self.answer_overlap) if self.answer_overlap < 1 else found


def _append_coordinates(features, boxes, image_size):
    """`z = [f ; b]` with b normalised to [-1, 1] over the image."""
    coordinates = 2.0 * box_lib.normalize(boxes, image_size) - 1.0
    return tf.concat([features, tf.cast(coordinates, features.dtype)], axis=-1)
