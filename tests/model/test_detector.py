"""The detector's input, and Model Garden's own Faster R-CNN in it."""

import numpy as np
import pytest
import tensorflow as tf
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
    found = made._normalize(tf.constant(image), tf.constant(sizes)).numpy()
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

    normalized = model.detector._normalize(image, tf.constant(size))
    levels = items["decoder"](items["backbone"](normalized, training=False), training=False)
    scores, boxes = items["rpn_head"](levels)
    anchors = {
        str(level): detector.make_anchors(MODEL_GARDEN_SIZE, [level], (8,), (0.5, 1, 2))[tf.newaxis]
        for level in range(2, 7)
    }
    expected, expected_scores = faster_rcnn.roi_generator(boxes, scores, anchors, tf.constant(size), training=False)
    assert found["valid"].numpy().all()
    np.testing.assert_allclose(found["proposals"], expected[:, :PROPOSALS], atol=1e-4)
    np.testing.assert_allclose(found["proposal_scores"], expected_scores[:, :PROPOSALS], atol=1e-5)
