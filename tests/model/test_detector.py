"""The detector's own arithmetic against its textbook forms."""

import numpy as np
import pytest
import tensorflow as tf
from official.vision.modeling.layers import roi_generator

from dsg_tf.model import detector

SIZE, ANCHORS, PROPOSALS = (64, 96), 2, 12
MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 70.0]


def make(nms_iou: float, num_boxes: int = PROPOSALS, pre_nms_top_k: int = 100):
    return detector.Detector(
        backbone=None,
        decoder=None,
        rpn_head=None,
        rpn_level=3,
        roi_level=3,
        anchors=detector.make_anchors(SIZE, 3, [2, 4], [1]),
        num_boxes=num_boxes,
        nms_iou=nms_iou,
        pre_nms_top_k=pre_nms_top_k,
        score_threshold=0.0,
        train_on_all_proposals=True,
        pixel_mean=MEAN,
        pixel_std=STD,
        frozen_norms=(),
    )


def test_pixels_are_normalised_inside_the_image_and_zero_in_its_padding():
    rng = np.random.default_rng(0)
    image, sizes = rng.integers(0, 256, [2, *SIZE, 3]).astype(np.uint8), np.array([[64, 50], [31, 96]], np.float32)
    found = make(0.5)._normalize(tf.constant(image), tf.constant(sizes)).numpy()
    expected = (image - np.array(MEAN)) / np.array(STD)
    expected[0, :, 50:] = expected[1, 31:] = 0
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("nms_iou", [0.0, 0.5, 0.7])
@pytest.mark.parametrize("num_boxes, pre_nms_top_k", [(12, 100), (100, 100), (12, 1000)])
def test_proposals_are_those_of_model_garden(nms_iou, num_boxes, pre_nms_top_k):
    """Where its threshold is no less than the 0.5 that is written into its suppression, or 0: none."""
    rng = np.random.default_rng(0)
    own = make(nms_iou, num_boxes, pre_nms_top_k)
    scores = tf.constant(rng.normal(size=[3, 8, 12, ANCHORS]), tf.float32)
    encoded = tf.constant(rng.normal(scale=0.5, size=[3, 8, 12, 4 * ANCHORS]), tf.float32)
    image_size = tf.constant([SIZE, (40, 96), (5, 5)], tf.float32)
    generator = roi_generator.MultilevelROIGenerator(
        test_pre_nms_top_k=pre_nms_top_k,
        test_nms_iou_threshold=nms_iou,
        test_num_proposals=num_boxes,
        test_pre_nms_min_size_threshold=detector.MIN_SIDE,
    )
    anchors = tf.tile(own.anchors[tf.newaxis], [3, 1, 1, 1])
    expected, expected_scores = generator({"3": encoded}, {"3": scores}, {"3": anchors}, image_size, training=False)
    found, found_scores, valid = own._propose(scores, encoded, image_size, training=True)
    expected_valid = (expected[..., 2:] > expected[..., :2]).numpy().all(-1)
    np.testing.assert_array_equal(valid, expected_valid)
    np.testing.assert_allclose(found, expected * expected_valid[..., np.newaxis], atol=1e-5)
    np.testing.assert_allclose(found_scores, expected_scores * expected_valid, atol=1e-6)


def test_below_one_half_boxes_that_overlap_more_are_suppressed_too():
    own = make(0.3)
    rng = np.random.default_rng(0)
    scores = tf.constant(rng.normal(size=[1, 8, 12, ANCHORS]), tf.float32)
    boxes, _, valid = own._propose(scores, tf.zeros([1, 8, 12, 4 * ANCHORS]), tf.constant([SIZE], tf.float32), True)
    boxes = boxes.numpy()[valid.numpy()]
    low, high = (
        f(boxes[:, None, s], boxes[None, :, s]) for f, s in ((np.maximum, slice(2)), (np.minimum, slice(2, 4)))
    )
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)
    inter = np.prod(np.maximum(high - low, 0), axis=-1)
    iou = inter / (areas[:, None] + areas - inter)
    assert iou[~np.eye(len(boxes), dtype=bool)].max() <= 0.3
