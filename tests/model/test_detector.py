"""The detector's input, and Model Garden's own Faster R-CNN in it."""

import numpy as np
import pytest
import tensorflow as tf
import tiny
from networks import images
from official.vision.configs import maskrcnn as maskrcnn_config
from official.vision.modeling import factory

from dsg_tf import build, checkpoints
from dsg_tf.config import Config
from dsg_tf.keras import keras
from dsg_tf.model import detector

SIZE = (64, 96)
MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 70.0]


def test_pixels_are_normalised_inside_the_image_and_zero_in_its_padding():
    rng = np.random.default_rng(0)
    image, sizes = rng.integers(0, 256, [2, *SIZE, 3]).astype(np.uint8), np.array([[64, 50], [31, 96]], np.float32)
    made = detector.Detector(
        *(None, None, None),
        rpn_levels=[3],
        roi_levels=[3],
        anchors=None,
        selection=None,
        pixel_mean=MEAN,
        pixel_std=STD,
        frozen_norms=(),
    )
    found = made.normalize(tf.constant(image), tf.constant(sizes)).numpy()
    expected = (image - np.array(MEAN)) / np.array(STD)
    expected[0, :, 50:] = expected[1, 31:] = 0
    np.testing.assert_allclose(found, expected, atol=1e-6)


MODEL_GARDEN_SIZE, PROPOSALS = (128, 192), 40


def faster_rcnn_scores(model):
    return [variable for variable in model.rpn_head.trainable_variables if "score" in variable.name]


@pytest.fixture(scope="module")
def faster_rcnn():
    """Model Garden's `fasterrcnn_resnetfpn_coco` with a smaller backbone and input, new; biases and norms random."""
    task = maskrcnn_config.fasterrcnn_resnetfpn_coco().task
    task.model.backbone.resnet.model_id = 18
    task.model.detection_generator.use_batched_nms = False
    specs = keras.layers.InputSpec(shape=[None, *MODEL_GARDEN_SIZE, 3])
    model = factory.build_maskrcnn(input_specs=specs, model_config=task.model)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if variable.shape.rank == 1:
            noise = rng.normal(size=variable.shape, scale=0.1).astype(np.float32)
            variable.assign_add(np.abs(noise) if "variance" in variable.name else noise)
    for variable in faster_rcnn_scores(model):
        variable.assign(20.0 * variable)  # New, all scores are nearly one half, and their order is one of rounding.
    return model


def same_numbers(flat, levels):
    """Those of `levels`, as `flat` has them: scores tie but for rounding, which is not the same in two calls."""
    parts = {level: tf.reshape(values, [1, -1, *flat.shape[2:]]) for level, values in levels.items()}
    np.testing.assert_allclose(flat, tf.concat(list(parts.values()), axis=1), atol=1e-5)
    split = tf.split(flat, [part.shape[1] for part in parts.values()], axis=1)
    return {level: tf.reshape(part, levels[level].shape) for level, part in zip(levels, split)}


@pytest.mark.stack
def test_a_faster_rcnn_of_model_garden_loads_whole_and_proposes_the_same(tmp_path, faster_rcnn):
    coarse = np.random.default_rng(1).uniform(0, 255, [1, 4, 6, 3])  # No noise, in which all places look the same.
    image = tf.cast(tf.image.resize(coarse, MODEL_GARDEN_SIZE), tf.uint8)
    size = np.array([[120.0, 190.0]], np.float32)
    items = {"backbone": faster_rcnn.backbone, "decoder": faster_rcnn.decoder, "rpn_head": faster_rcnn.rpn_head}
    prefix = tf.train.Checkpoint(model=faster_rcnn, **faster_rcnn.checkpoint_items).save(str(tmp_path / "ckpt"))

    config = Config(
        image_height=MODEL_GARDEN_SIZE[0],
        image_width=MODEL_GARDEN_SIZE[1],
        backbone="resnet",
        backbone_depth="18",
        decoder="fpn",
        fpn_filters=256,
        fpn_max_level=6,
        rpn_level=2,
        rpn_max_level=6,
        roi_level=2,
        roi_max_level=6,
        rpn_filters=256,
        anchor_scales=(8,),
        aspect_ratios=(0.5, 1, 2),
        nms_iou=0.7,
        pre_nms_top_k=1000,
        num_boxes=PROPOSALS,
        score_threshold=0.0,
    )
    model = build.build_model(config, 5, 3)
    checkpoints.initialize(model, prefix, ["backbone", "decoder", "rpn_head"])
    found = model.detector(image, tf.constant(size))

    normalized = model.detector.normalize(image, tf.constant(size))
    levels = items["decoder"](items["backbone"](normalized, training=False), training=False)
    scores, boxes = items["rpn_head"](levels)
    anchors = {
        str(level): detector.make_anchors(MODEL_GARDEN_SIZE, [level], (8,), (0.5, 1, 2))[tf.newaxis]
        for level in range(2, 7)
    }
    scores, boxes = same_numbers(found["rpn_scores"], scores), same_numbers(found["rpn_boxes"], boxes)
    expected, expected_scores = faster_rcnn.roi_generator(boxes, scores, anchors, tf.constant(size), training=False)
    assert found["valid"].numpy().all()
    np.testing.assert_allclose(found["proposals"], expected[:, :PROPOSALS], atol=1e-4)
    np.testing.assert_allclose(found["proposal_scores"], expected_scores[:, :PROPOSALS], atol=1e-5)


@pytest.mark.parametrize(
    "batch_norm, learns",
    [("frozen_all", ()), ("frozen", ("decoder", "rpn_head")), ("batch", ("backbone", "decoder", "rpn_head"))],
)
def test_frozen_norms_are_those_of_the_backbone_or_of_all_the_detector(batch_norm, learns):
    model, inputs = tiny.model(tiny.config(batch_norm=batch_norm)), images()
    parts = {name: getattr(model.detector, name) for name in ("backbone", "decoder", "rpn_head")}
    before = {name: [v.numpy() for v in part.non_trainable_variables] for name, part in parts.items()}
    model.detector(inputs["image"], inputs["image_size"], training=True)
    for name, part in parts.items():
        after = [v.numpy() for v in part.non_trainable_variables]
        assert after and any(not np.array_equal(a, b) for a, b in zip(before[name], after)) == (name in learns), name


def test_a_frozen_stem_keeps_the_first_convolution_and_block():
    free, frozen = (tiny.model(tiny.config(freeze_stem=freeze)).detector.backbone for freeze in (False, True))
    kept = len(free.trainable_variables) - len(frozen.trainable_variables)
    assert kept == len(keras.Model(free.inputs, free.output["2"]).trainable_variables) > 0
    shapes = [v.shape for v in frozen.trainable_variables]
    assert shapes and shapes == [v.shape for v in free.trainable_variables][kept:]


def test_anchors_by_hand():
    anchors = detector.make_anchors((64, 96), [3], (2.0, 4.0), (0.5, 1.0)).numpy().reshape([8, 12, 16])
    root = 2**0.5
    for row, column in [(0, 0), (7, 11), (3, 5)]:
        y, x = 8 * row + 4, 8 * column + 4  # Sides of 2 and of 4 strides; an aspect ratio is width / height.
        sides = [(16 * root, 16 / root), (16, 16), (32 * root, 32 / root), (32, 32)]
        expected = [[y - h / 2, x - w / 2, y + h / 2, x + w / 2] for h, w in sides]
        np.testing.assert_allclose(anchors[row, column].reshape([4, 4]), expected, atol=1e-4)


@pytest.mark.parametrize(
    "changes, names",
    [
        ({"backbone_depth": "17"}, ["--backbone_depth=17", "--backbone=resnet", "18"]),
        ({"backbone": "dilated_resnet", "backbone_depth": "18", "backbone_width": 1.0}, ["--backbone_depth=18", "101"]),
        (
            {"backbone": "dilated_resnet", "backbone_depth": "50"},
            ["--backbone_width=0.25", "--backbone=dilated_resnet"],
        ),
        ({"backbone": "efficientnet", "backbone_depth": "lite1"}, ["--backbone_depth=lite1", "lite0"]),
        ({"decoder": "identity", "rpn_level": 6, "image_width": 128}, ["--rpn_level", "6", "2, 3, 4, 5"]),
    ],
)
def test_a_detector_that_model_garden_lacks_is_an_error_that_names_the_flags(changes, names):
    with pytest.raises(ValueError) as raised:
        build.build_detector(tiny.config(**changes))
    assert [name for name in names if name not in str(raised.value)] == []
