"""From a configuration to parts: the functions that turn settings into a model and its input."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from dsg_tf.config import ATTENTION_MODELS, Config
from dsg_tf.data import coco_classes
from dsg_tf.data.batches.batch_spec import BatchSpec
from dsg_tf.data.batches.network_input import Resize
from dsg_tf.data.records import DatasetInfo
from dsg_tf.keras import keras
from dsg_tf.model import backbones, detector, dsg, gpi, heads, regions
from dsg_tf.model.baselines import attention, shifts, two_step
from dsg_tf.model.edge_refiner import EdgeRefiner
from dsg_tf.model.known_classes import KnownClasses
from dsg_tf.model.nanodet_head import NanoDetHead
from dsg_tf.model.point_rpn import PointRPN
from dsg_tf.model.proposals import Selection
from dsg_tf.objectives import box_losses, losses

SSAS_ITERATIONS = 3


def build_model(config: Config, num_entities: int, num_relations: int):
    """Builds the system that `config.model` names, with its variables made.

    Raises:
      ValueError: settings that the parts reject; names the flags.
    """
    keras.mixed_precision.set_global_policy(config.precision)
    keras.utils.set_random_seed(config.seed)
    make = _attention_model if config.model in ATTENTION_MODELS else _graph_model
    model = make(config, num_entities, num_relations)
    _make_variables(model, config)
    if config.init_rate == 0:  # Here, since Keras orders a model's variables by whether they train.
        for part in initialized_parts(model, config):
            part.trainable = False
    return model


def initialized_parts(model, config: Config) -> list[tf.Module]:
    """What --init_modules names one by one; of a `PointRPN` the detector's head, since what it adds to that is new."""
    modules = model.modules_of_model_garden
    parts = [modules[name] for name in config.init_modules if name in modules]
    return [part.head if isinstance(part, PointRPN) else part for part in parts]


@dataclasses.dataclass(frozen=True)
class GraphSystem:
    """What a system of the DSG family has (the paper, section 6.2)."""

    graph: bool = True
    labels: bool = True
    refines_from: str = "nodes"  # z'_i; or "features", f_i; or "": boxes stay as proposed.
    matches_triplets: bool = False


GRAPH_SYSTEMS = {
    "dsg": GraphSystem(),
    "no_dsg": GraphSystem(graph=False, labels=False, refines_from=""),
    "no_dsg_br": GraphSystem(graph=False, labels=False, refines_from="features"),
    "dsg_no_sgl": GraphSystem(labels=False),
    "dsg_no_br": GraphSystem(refines_from="features"),
    "two_step": GraphSystem(matches_triplets=True),
}


def _graph_model(config: Config, num_entities: int, num_relations: int) -> dsg.DSG:
    """The DSG and its ablations: parts left out or exchanged."""
    has = GRAPH_SYSTEMS[config.model]
    pair_units = config.pair_units if has.graph and not has.matches_triplets else 0
    exclusive = config.relation_loss == "softmax"
    pair_features = graph = labeler = known_classes = describe_pairs = auxiliary = edge_refiner = None
    if has.graph:
        pair_features = regions.PairFeatures(config.feature_size, op=config.roi_op, name="pair_features")
        graph = gpi.GraphLayer(
            hidden_units=config.hidden_units,
            hidden_layers=config.gpi_hidden_layers,
            units=config.gpi_units,
            node_units=config.node_units,
            attention=config.gpi_attention,
            unordered_edges=True,
            gated=config.gated_relations,
            name="graph",
        )
    if has.labels:
        knows_classes = config.backbone == "nanodet_plus"
        labeler = heads.LabelHeads(
            num_entities, num_relations, exclusive_relations=exclusive, adds_to_known=knows_classes, name="labeler"
        )
        if knows_classes:
            known_classes = KnownClasses(coco_classes.NAMES, num_entities, name="known_classes")
    if pair_units:
        describe_pairs = keras.layers.Dense(pair_units, name="describe_pairs")
    if config.edge_pixels and has.refines_from:
        edge_refiner = EdgeRefiner(config.hidden_units, reach=config.edge_pixels, name="edge_refiner")
    if has.matches_triplets:
        classifier = two_step.GraphMatcher(exclusive_relations=exclusive, name="classifier")
    else:
        sizes = num_entities, num_relations, config.hidden_units
        gated = has.graph and config.gated_relations
        label_term = config.label_term and has.labels
        neighbor_units = config.neighbor_units if has.graph and has.labels else 0
        classifier = heads.ReferringClassifier(
            *sizes, pair_units, gated=gated, label_term=label_term, neighbor_units=neighbor_units, name="classifier"
        )
        if has.graph and config.loss_weights.auxiliary_rr:
            auxiliary = heads.ReferringClassifier(*sizes, name="auxiliary_classifier")
    return dsg.DSG(
        detector=build_detector(config),
        entity_features=regions.EntityFeatures(
            config.feature_size, op=config.roi_op, grid=config.entity_grid, name="entity_features"
        ),
        pair_features=pair_features,
        graph=graph,
        known_classes=known_classes,
        relative_geometry=config.gated_relations,
        classifier=classifier,
        auxiliary_classifier=auxiliary,
        describe_pairs=describe_pairs,
        refiner=heads.BoxRefiner(name="refiner") if has.refines_from else None,
        edge_refiner=edge_refiner,
        refine_features=has.refines_from == "features",
        labeler=labeler,
        refined_nms_iou=config.refined_nms_iou,
        answer_overlap=config.answer_overlap,
        whole_pixels=config.whole_pixels,
        dropout=config.dropout,
        hidden=config.hide,
        name=config.model,
    )


def _attention_model(config: Config, num_entities: int, num_relations: int) -> attention.AttentionModel:
    backbone = _backbone(config)
    return attention.AttentionModel(
        backbone=backbone,
        level=config.roi_level,
        attender=make_attender(config, num_entities, num_relations),
        pixel_mean=config.pixel_mean,
        pixel_std=config.pixel_std,
        freeze_batch_norm=config.batch_norm in ("frozen", "frozen_all"),
        hidden=config.hide,
        name=config.model,
    )


def make_attender(config: Config, num_entities: int, num_relations: int):
    """How each of the attention models of Krishna et al. 2018 attends."""
    if config.model in ("co", "vrd"):
        return attention.QueryAttention(
            num_entities,
            num_relations,
            use_relation=config.model == "vrd",
            released=config.released_attention,
            name="attender",
        )
    if config.model == "ssas":
        stack = {
            "num_layers": config.shift_layers,
            "kernel_size": config.shift_kernel,
            "channels": config.shift_channels,
        }
        moves = [shifts.ConvolutionalShift(num_relations, **stack, name=name) for name in ("shift", "inverse_shift")]
    else:
        moves = [
            shifts.StatisticalShift(num_relations, direction=direction, name=name)
            for name, direction in (("shift", 1), ("inverse_shift", -1))
        ]
    return attention.StackedAttention(
        num_entities,
        shift=moves[0],
        inverse_shift=moves[1],
        iterations=SSAS_ITERATIONS if config.model == "ssas" else 1,
        iteration_weight=config.iteration_weight,
        released=config.released_attention,
        name="attender",
    )


def build_losses(config: Config, num_relations: int):
    """The loss terms of the system that `build_model` made."""
    if config.model in ATTENTION_MODELS:
        return losses.MapLosses()
    return losses.Losses(
        num_relations,
        weights=dataclasses.asdict(config.loss_weights),
        rpn_positive_iou=config.rpn_positive_iou,
        rpn_negative_iou=config.rpn_negative_iou,
        rpn_samples=config.rpn_samples,
        released_scale=config.loss_scale == "released",
        balance_roles=config.rr_balance,
        exclusive_relations=config.relation_loss == "softmax",
        refine_loss=box_losses.make_refine_loss(config.refine_loss, config.refine_beta),
    )


def _backbone(config: Config) -> keras.Model:
    backbone = backbones.make_backbone(
        config.backbone, config.backbone_depth, config.backbone_width, config.image_size, config.batch_norm == "sync"
    )
    if config.freeze_stem:
        backbones.freeze_stem(backbone)
    return backbone


def build_detector(config: Config) -> detector.Detector:
    """Builds the detector of the configuration."""
    sync = config.batch_norm == "sync"
    rpn_levels, roi_levels = config.rpn_levels, config.roi_levels
    levels = sorted({*rpn_levels, *roi_levels})
    backbone = _backbone(config)
    max_level = config.fpn_max_level if config.decoder == "fpn" else levels[-1]
    decoder = detector.make_decoder(
        config.decoder, backbone.output_specs, levels[0], max_level, config.fpn_filters, sync
    )
    if config.backbone == "nanodet_plus":
        rpn_head, anchors = PointRPN(NanoDetHead(name="head"), config.point_features == "all", name="rpn_head"), None
    else:
        num_anchors = len(config.anchor_scales) * len(config.aspect_ratios)
        rpn_head = detector.make_rpn_head(rpn_levels, num_anchors, config.rpn_filters, sync)
        anchors = detector.make_anchors(config.image_size, rpn_levels, config.anchor_scales, config.aspect_ratios)
    return detector.Detector(
        backbone,
        decoder,
        rpn_head,
        rpn_levels=rpn_levels,
        roi_levels=roi_levels,
        anchors=anchors,
        selection=Selection(
            num_boxes=config.num_boxes,
            nms_iou=config.nms_iou,
            pre_nms_top_k=config.pre_nms_top_k,
            score_threshold=config.score_threshold,
            train_on_all_proposals=config.train_on_all_proposals,
            levels_apart=config.nms_of_levels,
        ),
        pixel_mean=config.pixel_mean,
        pixel_std=config.pixel_std,
        frozen_norms={"frozen": ("backbone",), "frozen_all": ("backbone", "decoder", "rpn_head")}.get(
            config.batch_norm, ()
        ),
        name="detector",
    )


def _make_variables(model: keras.Model, config: Config) -> None:
    """Calls the model on symbols: no arithmetic is done, and AutoGraph, which takes seconds, has no part."""
    shapes = {
        "image": ([*config.image_size, 3], tf.uint8),
        "image_size": ([2], tf.float32),
        "queries": ([1, 3], tf.int32),
    }
    images = tf.distribute.get_strategy().num_replicas_in_sync  # Keras divides them by the devices.
    tf.autograph.experimental.do_not_convert(model)(
        {name: keras.Input(shape, batch_size=images, dtype=dtype) for name, (shape, dtype) in shapes.items()}
    )


def resize(config: Config) -> Resize:
    """How images become the network's input."""
    return Resize(config.image_size, config.short_side, config.long_side, config.keep_aspect)


def batch_spec(config: Config, info: DatasetInfo, split: str, training: bool) -> BatchSpec:
    """How a split is fed to the network; limits hold all boxes and relations of any image."""
    limits = info.splits[split]
    return BatchSpec(
        resize(config),
        max_boxes=max(limits.max_boxes, 1),
        max_relations=max(limits.max_relations, 1),
        max_queries=(training and config.max_queries) or max(limits.max_queries, 1),
        flipped_relations=info.vocabulary.flipped_relations() if training else (),
        color_jitter=config.color_jitter if training else 0.0,
        scale_jitter=config.scale_jitter if training else 0.0,
        contrastive_queries=config.contrastive_queries if training else 0.0,
        num_entities=len(info.vocabulary.entities),
        num_relations=len(info.vocabulary.relations),
    )


def count_parameters(model: keras.Model) -> dict[str, int]:
    """Trainable parameters of the model and of its parts."""
    parts = {layer.name: layer for layer in model.layers if layer.trainable_variables}
    counts = {name: sum(int(np.prod(v.shape)) for v in layer.trainable_variables) for name, layer in parts.items()}
    return {**counts, "total": sum(counts.values())}
