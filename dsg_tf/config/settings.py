"""Every setting of the program: one frozen dataclass, made from flags in one place and saved with the checkpoint.

Defaults are the paper's (the supplement, section 1) where it gives a number. No other module reads a flag.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from dsg_tf.config import checks
from dsg_tf.config.loss_weights import LossWeights

ATTENTION_MODELS = ("ssas", "ss", "co", "vrd")
HIDDEN = ("relation", "image")
SYSTEMS = ("dsg", "no_dsg", "no_dsg_br", "dsg_no_sgl", "dsg_no_br", "two_step", *ATTENTION_MODELS)


_ELEMENT_TYPES: dict[str, Callable[[Any], Any]] = {
    "tuple[int, ...]": int,
    "tuple[float, ...]": float,
    "tuple[str, ...]": str,
}


def _setting(
    default: Any,
    help_text: str,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    may_change: bool = False,
    before: Any = None,
) -> Any:
    """A field.

    Args:
      default, help_text, choices, minimum: of the flag.
      may_change: whether a run may go on with another value than it began with.
      before: what the program did before it had the setting, where that is not the default.
    """
    metadata = {
        "help": help_text,
        "choices": choices,
        "minimum": minimum,
        "may_change": may_change,
        "before": default if before is None else before,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one run. Tuples come from comma-separated flags; `help` texts are the documentation."""

    # What to train, on what, where to.
    model: str = _setting(
        "dsg",
        "the system to train, a row of the paper's Table 1 or 2; the last four are the "
        "attention models of Krishna et al. 2018 and bring their own input size and optimizer",
        SYSTEMS,
    )
    hide: str = _setting("", "control: the part of the input that the system does not get to see", ("", *HIDDEN))
    dataset: str = _setting(
        "",
        "which data set's download and preparation steps to name when data is missing; "
        "'synthetic' is rendered on the spot",
        (
            *("", "vg", "vrd", "vg_release", "vg150", "gqa", "open_images", "psg", "coco", "clevr"),
            *("synthetic", "clevr_small", "coco_photos", "vrd_small"),
        ),
    )
    data_dir: str = _setting(
        "", "directory of TFRecords and dataset_info.json, written by dsg_tf.data.prepare", may_change=True
    )
    model_dir: str = _setting("", "directory for checkpoints, logs, figures and results", may_change=True)
    seed: int = _setting(0, "seed of the initial weights, the data order and all sampling", minimum=0)
    synthetic_images: tuple[int, ...] = _setting(
        (4000, 250, 250), "images to render in the train, val and test splits of --dataset=synthetic", minimum=1
    )

    # Input.
    image_height: int = _setting(608, "network input height, pixels", minimum=32)
    image_width: int = _setting(1024, "network input width, pixels", minimum=32)
    short_side: int = _setting(600, "images are resized to this short side, pixels ...", minimum=16)
    long_side: int = _setting(1000, "... unless their long side then exceeds this, pixels", minimum=16)
    keep_aspect: bool = _setting(True, "whether the aspect ratio is kept; if not, images fill the network input")
    max_queries: int = _setting(
        0, "queries sampled per training image (Q); 0: all that an image has, as in the paper", minimum=0
    )
    contrastive_queries: float = _setting(
        0.0, "share of those queries that do not hold: another relation, or a class that is not there", minimum=0
    )
    color_jitter: float = _setting(0.0, "strength of brightness, contrast, saturation and hue jitter", minimum=0)
    scale_jitter: float = _setting(
        0.0,
        "training images are cropped, around boxes and never through one, to as little as 1 minus this of a side, and "
        "shrunk by as much",
        minimum=0,
    )
    pixel_mean: tuple[float, ...] = _setting((123.675, 116.28, 103.53), "RGB mean subtracted from the image")
    pixel_std: tuple[float, ...] = _setting((58.395, 57.12, 57.375), "RGB scale the image is divided by", minimum=1e-6)

    # Detector.
    backbone: str = _setting(
        "dilated_resnet",
        "Model Garden backbone; or NanoDet-Plus, a detector of COCO's classes with its neck, whose boxes are the RPN's "
        "anchors",
        ("resnet", "dilated_resnet", "efficientnet", "nanodet_plus"),
    )
    backbone_depth: str = _setting(
        "101",
        "model id: ResNet depth (10, 18, ... 152) or EfficientNet id (b0, ...; "
        "lite0 is b0 without squeeze-and-excitation and with ReLU6); m of NanoDet-Plus",
    )
    backbone_width: float = _setting(1.0, "multiplier of the channels of a resnet backbone", minimum=0.1)
    decoder: str = _setting("identity", "Model Garden decoder", ("identity", "fpn"))
    fpn_filters: int = _setting(256, "channels of the FPN", minimum=1)
    fpn_max_level: int = _setting(5, "coarsest FPN level", minimum=2)
    rpn_level: int = _setting(4, "feature level (stride 2**level) of the RPN", minimum=2)
    rpn_max_level: int = _setting(0, "its coarsest level, of several; 0: it has one, as in the paper", minimum=0)
    roi_level: int = _setting(4, "feature level of the region features", minimum=2)
    roi_max_level: int = _setting(
        0,
        "their coarsest level, of several: each box has that of its size, as in Faster R-CNN with FPN; 0: one",
        minimum=0,
    )
    rpn_filters: int = _setting(512, "channels of the RPN's convolution", minimum=1)
    anchor_scales: tuple[float, ...] = _setting(
        (4, 8, 16, 32), "anchor sides in strides of the RPN level", minimum=1e-6
    )
    aspect_ratios: tuple[float, ...] = _setting((0.5, 1, 2), "width / height of the anchors", minimum=1e-6)
    rpn_positive_iou: float = _setting(0.8, "anchors at or above this IoU are positive", minimum=0)
    rpn_negative_iou: float = _setting(0.3, "anchors below this IoU are negative", minimum=0)
    rpn_samples: int = _setting(256, "anchors per image in the RPN loss, at most half of them positive", minimum=2)
    num_boxes: int = _setting(32, "proposals per image (N)", minimum=1)
    nms_iou: float = _setting(0.5, "IoU threshold of the non-maximum suppression", minimum=0)
    pre_nms_top_k: int = _setting(2000, "best-scoring anchors that enter the NMS", minimum=1)
    nms_of_levels: bool = _setting(
        True,
        "whether each level of the RPN has its own NMS and top k, as in Faster R-CNN with FPN; if not, a box of one "
        "level suppresses those of the others: better for few boxes",
    )
    score_threshold: float = _setting(0.8, "proposals below it are dropped, but never the best", minimum=0)
    train_on_all_proposals: bool = _setting(
        False,
        "whether in training none is dropped, so that the heads learn before the RPN is sure of any box; "
        "if not, training sees the boxes that inference sees, as in the authors' code",
        before=True,
    )
    refined_nms_iou: float = _setting(
        1.0,
        "at inference, refined boxes with a larger IoU with a better proposal's box "
        "do not answer; 1: all do, as in the paper",
        minimum=0,
    )
    answer_overlap: float = _setting(
        1.0,
        "of the boxes of an answer that share at least so much of the smaller one, the most probable answers; "
        "1: all do, as in the paper",
        minimum=0,
    )

    # Region features.
    point_features: str = _setting(
        "all",
        "what a node has of the head of --backbone=nanodet_plus: its class probabilities alone, where its classes are "
        "those of the data, or its features too",
        ("classes", "all"),
    )
    roi_op: str = _setting(
        "matmul",
        "how RoIs are pooled: the mean of 7 x 7 samples by a matrix product or, slower "
        "and with the same numbers, by the textbook path; or the exact mean over the box",
        ("matmul", "crop_and_resize", "integral"),
    )
    feature_size: int = _setting(512, "size of f_i and f_ij (D)", minimum=1)
    entity_grid: int = _setting(
        1,
        "pool entities on a grid of this many cells a side; 1 is the paper's average "
        "pool, more keep the position inside the box",
        minimum=1,
    )

    # Graph and heads.
    gpi_attention: str = _setting("feature", "weights of the GPI sums", ("feature", "neighbor", "none"))
    hidden_units: int = _setting(512, "hidden units of phi, alpha, rho and the RR classifier", minimum=1)
    gpi_hidden_layers: int = _setting(
        1,
        "hidden layers of phi, alpha and rho, before their output; from 2 on, the authors' code, phi and alpha end in "
        "a ReLU",
        minimum=1,
    )
    gpi_units: int = _setting(512, "outputs of phi and alpha", minimum=1)
    node_units: int = _setting(1024, "outputs of rho: size of z'_i and z'_ij", minimum=1)
    gated_relations: bool = _setting(
        False,
        "what a box is and how it lies from another are multiplied, in phi and in the RR classifier; the paper's "
        "concatenate them",
    )
    pair_units: int = _setting(
        0,
        "size of the pair descriptors with which the RR classifier scores pairs of boxes; "
        "0: it sees one box at a time, as in the paper",
        minimum=0,
    )
    neighbor_units: int = _setting(
        0,
        "gates by which the RR classifier sees the label head's classes of the boxes around a box; 0: none, as in the "
        "paper, which has to learn for each class anew what it means as a partner",
        minimum=0,
    )
    label_term: bool = _setting(
        False,
        "the query's classes enter the RR classifier by the label head's logits of them alone; the paper's has to "
        "learn for each class anew what a query that names it means",
    )
    edge_pixels: int = _setting(
        0,
        "how far, in pixels of the network input, the edges of refined boxes are looked for in the image itself; "
        "0: not at all, as in the paper",
        minimum=0,
    )
    whole_pixels: bool = _setting(
        False,
        "whether answers end at whole pixels of the original image, as annotations do; the paper's do not",
        may_change=True,
    )
    refine_loss: str = _setting(
        "smooth_l1", "loss of the box refiner; giou needs the extra [addons]", ("smooth_l1", "giou")
    )
    refine_beta: float = _setting(1.0, "where smooth L1 turns from quadratic to linear", minimum=1e-6)
    rr_balance: bool = _setting(
        True,
        "the background boxes of a query together weigh half as much as its subject and object boxes, as in the "
        "authors' code; other boxes, such as the wrong one of two of a class, keep their weight",
    )
    relation_loss: str = _setting(
        "softmax",
        "one relation a pair, learned where one is annotated, as in the paper; or a sigmoid for each relation, learned "
        "on all pairs of true boxes: for data in which what is not annotated does not hold",
        ("softmax", "sigmoid"),
        before="sigmoid",
    )
    loss_scale: str = _setting(
        "released",
        "rr is summed over queries, entity and relation over boxes and pairs, as in the authors' code, for which the "
        "default weights are meant; or all terms are means",
        ("released", "mean"),
        before="mean",
    )
    shift_layers: int = _setting(
        6,
        "SSAS: convolutions that shift attention; Krishna et al. have 6 for VG and VRD, 4 for CLEVR",
        minimum=1,
        before=4,
    )
    shift_kernel: int = _setting(7, "SSAS: their size, cells; 7 for VG and VRD, 5 for CLEVR", minimum=1, before=5)
    shift_channels: int = _setting(10, "SSAS: their channels; 10 for VG and VRD, 5 for CLEVR", minimum=1, before=8)
    iteration_weight: float = _setting(
        1.0, "SSAS: an iteration's map weighs this times the one before it; 1 for VG and VRD, 2 for CLEVR", before=2.0
    )
    released_attention: bool = _setting(
        True,
        "the attention models' queries end in a ReLU, CO and VRD have no hidden layer before it, and the weighted mean "
        "of SSAS's iterations is divided by their number, as in the code of Krishna et al.; if not, as in version 0.2",
        before=False,
    )
    attention_learning_rate: float = _setting(1e-4, "learning rate (RMSprop) of the attention models", minimum=0)
    loss_weights: LossWeights = _setting(
        LossWeights(), "weights of the loss terms by name, such as rr=0.5,relation=0.3; the others keep their defaults"
    )

    # Optimisation.
    optimizer: str = _setting(
        "sgd",
        "Keras optimizer; lamb and lookahead (over adam) need the extra [addons]",
        ("sgd", "adamw", "rmsprop", "lamb", "lookahead"),
    )
    learning_rate: float = _setting(1e-3, "peak learning rate", minimum=0)
    base_batch_size: int = _setting(
        0,
        "batch that --learning_rate is meant for: it is scaled in proportion to "
        "--batch_size (Goyal et al. 2017); 0: for --batch_size, as it is",
        minimum=0,
    )
    schedule: str = _setting(
        "stepwise",
        "halved --num_halvings times at equal distances or at --halving_epochs, or a cosine to zero",
        ("stepwise", "cosine"),
    )
    num_halvings: int = _setting(4, "of the stepwise schedule", minimum=0)
    halving_epochs: tuple[float, ...] = _setting(
        (), "epochs after which the stepwise schedule halves, in place of those at equal distances", minimum=0
    )
    warmup_steps: int = _setting(0, "steps of linear warm-up", minimum=0)
    weight_decay: float = _setting(0.0, "decoupled weight decay of kernels", minimum=0)
    clip_norm: float = _setting(10.0, "largest global gradient norm; 0 does not clip", minimum=0)
    batch_norm: str = _setting(
        "frozen_all",
        "batch normalisation of the detector: fixed statistics (frozen: the backbone's only; frozen_all: also the "
        "FPN's and the RPN head's, which so are none when they are new), per device, or over all devices",
        ("frozen_all", "frozen", "batch", "sync"),
    )
    freeze_stem: bool = _setting(
        False, "whether the backbone's layers up to stride 4 (conv1 and block1) do not train, as in the authors' code"
    )
    dropout: float = _setting(
        0.0, "share of f_i, f_ij and z'_i that is zero in a training step; none in the paper", minimum=0
    )
    ema_decay: float = _setting(0.0, "decay of the moving average of the weights; 0 keeps none", minimum=0)
    precision: str = _setting("float32", "arithmetic of the layers", ("float32", "mixed_bfloat16"))
    jit_compile: bool = _setting(
        False, "compile the forward and backward pass with XLA, which draws other random RPN samples"
    )
    batch_size: int = _setting(1, "images a step, over all devices", minimum=1)
    accumulation: int = _setting(
        1,
        "parts in which a device takes its images of a step, one after another: the same step in less memory",
        minimum=1,
        may_change=True,
    )
    epochs: float = _setting(20.0, "passes over the training split", minimum=0)
    init_checkpoint: str = _setting(
        "", "checkpoint to start from: Model Garden's, or one of this program", may_change=True
    )
    init_modules: tuple[str, ...] = _setting(
        ("all",),
        "what to read from it: backbone, decoder, rpn_head, all, or matching (what a model of this program has of it)",
    )
    init_rate: float = _setting(
        1.0,
        "learning rate of the modules that are named there, as a share of the others'; 0: they stay as they are",
        minimum=0,
    )

    # Run.
    strategy: str = _setting(
        "mirrored",
        "devices: all GPUs of this machine, or its CPU; one of them; those of the "
        "workers that the environment's TF_CONFIG names; a TPU",
        ("mirrored", "one_device", "multi_worker_mirrored", "tpu"),
        may_change=True,
    )
    tpu: str = _setting("", "name or address of the TPU of --strategy=tpu; empty: this machine's", may_change=True)
    log_steps: int = _setting(20, "steps between progress lines and scalars", minimum=1, may_change=True)
    checkpoint_steps: int = _setting(500, "steps between checkpoints", minimum=1, may_change=True)
    eval_steps: int = _setting(
        2000, "steps between evaluations on the validation split; 0: only at the end", minimum=0, may_change=True
    )
    eval_images: int = _setting(250, "images of those evaluations; 0: all", minimum=0, may_change=True)
    eval_batch_size: int = _setting(4, "images a step in evaluations", minimum=1, may_change=True)
    profile_steps: tuple[int, ...] = _setting(
        (), "first and last step of a TensorBoard profile", minimum=0, may_change=True
    )

    def __post_init__(self):
        if not isinstance(self.loss_weights, LossWeights):
            object.__setattr__(self, "loss_weights", LossWeights.parse(self.loss_weights))
        checks.check_each(self)
        checks.check_together(self)

    @property
    def image_size(self) -> tuple[int, int]:
        return self.image_height, self.image_width

    @property
    def rpn_levels(self) -> tuple[int, ...]:
        return tuple(range(self.rpn_level, max(self.rpn_level, self.rpn_max_level) + 1))

    @property
    def roi_levels(self) -> tuple[int, ...]:
        return tuple(range(self.roi_level, max(self.roi_level, self.roi_max_level) + 1))

    @property
    def is_attention_model(self) -> bool:
        return self.model in ATTENTION_MODELS

    @property
    def system(self) -> str:
        """The name of the system and, after a "-", of what is hidden from it."""
        return f"{self.model}-{self.hide}" if self.hide else self.model

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate of this batch size."""
        return self.learning_rate * (self.batch_size / self.base_batch_size if self.base_batch_size else 1.0)


def typed(values: Mapping[str, Any]) -> Config:
    """Settings from lists of strings (flags) or of numbers (JSON), in the type of each; a missing one has its default.

    Raises:
      ValueError: a value of another type or out of range, or values that do not go together; names the flags.
    """
    result = dict(values)
    for field in dataclasses.fields(Config):
        if field.name in values and isinstance(field.default, tuple):
            kind = _ELEMENT_TYPES[str(field.type)]
            try:
                result[field.name] = tuple(kind(value) for value in values[field.name])
            except ValueError as error:
                raise ValueError(f"--{field.name}={','.join(map(str, values[field.name]))}: {error}") from error
    return Config(**result)
