"""The selection of proposals against Model Garden's, and what it does beyond that."""

import numpy as np
import pytest
import tensorflow as tf
from official.vision.modeling.layers import roi_generator

from dsg_tf import boxes as box_lib
from dsg_tf.model import detector, proposals

SIZE, SCALES, PROPOSALS = (64, 96), [2, 4], 12
IMAGE_SIZES = [SIZE, (40, 96), (5, 5)]
ONE, SEVERAL = [3], [2, 3, 4]


def maps(levels, images=3, deviation=0.5):
    """Random scores and boxes of an RPN by level."""
    rng = np.random.default_rng(0)
    shapes = {str(level): [images, SIZE[0] >> level, SIZE[1] >> level] for level in levels}
    normal = lambda shape, scale: tf.constant(rng.normal(scale=scale, size=shape), tf.float32)
    scores = {name: normal([*shape, len(SCALES)], 1.0) for name, shape in shapes.items()}
    return scores, {name: normal([*shape, 4 * len(SCALES)], deviation) for name, shape in shapes.items()}


def select(scores, encoded, image_sizes, **changes):
    settings = {"num_boxes": PROPOSALS, "nms_iou": 0.5, "pre_nms_top_k": 100, **changes}
    levels = sorted(map(int, scores))
    flat = lambda maps, end: tf.concat([tf.reshape(maps[str(k)], [len(image_sizes), -1, *end]) for k in levels], axis=1)
    sizes = [int(np.prod(scores[str(level)].shape[1:])) for level in levels]
    anchors = detector.make_anchors(SIZE, levels, SCALES, [1])[tf.newaxis]
    selection = proposals.Selection(score_threshold=0.0, train_on_all_proposals=True, **settings)
    image_size = tf.constant(image_sizes, tf.float32)
    return selection(flat(scores, []), flat(encoded, [4]), anchors, sizes, image_size, training=True)


@pytest.mark.parametrize("levels", [ONE, SEVERAL])
@pytest.mark.parametrize("nms_iou", [0.0, 0.5, 0.7])
@pytest.mark.parametrize("num_boxes, pre_nms_top_k", [(12, 100), (100, 100), (12, 1000)])
def test_proposals_are_those_of_model_garden(levels, nms_iou, num_boxes, pre_nms_top_k):
    """Where its threshold is no less than the 0.5 that is written into its suppression, or 0: none."""
    scores, encoded = maps(levels)
    generator = roi_generator.MultilevelROIGenerator(
        test_pre_nms_top_k=pre_nms_top_k,
        test_nms_iou_threshold=nms_iou,
        test_num_proposals=num_boxes,
        test_pre_nms_min_size_threshold=proposals.MIN_SIDE,
    )
    anchors = {str(k): tf.tile(detector.make_anchors(SIZE, [k], SCALES, [1])[tf.newaxis], [3, 1, 1]) for k in levels}
    image_size = tf.constant(IMAGE_SIZES, tf.float32)
    expected, expected_scores = generator(encoded, scores, anchors, image_size, training=False)
    settings = {"num_boxes": num_boxes, "pre_nms_top_k": pre_nms_top_k, "nms_iou": nms_iou}
    found, found_scores, valid, _ = select(scores, encoded, IMAGE_SIZES, **settings)
    expected_valid = (expected[..., 2:] > expected[..., :2]).numpy().all(-1)
    np.testing.assert_array_equal(valid, expected_valid)
    np.testing.assert_allclose(found, expected * expected_valid[..., np.newaxis], atol=1e-5)
    np.testing.assert_allclose(found_scores, expected_scores * expected_valid, atol=1e-6)


@pytest.mark.parametrize("apart", [True, False])
def test_a_proposal_names_its_anchor(apart):
    scores, encoded = maps(SEVERAL)
    found, found_scores, valid, numbers = select(scores, encoded, IMAGE_SIZES, levels_apart=apart)
    logits = np.concatenate([scores[str(k)].numpy().reshape([3, -1]) for k in SEVERAL], axis=1)
    deltas = np.concatenate([encoded[str(k)].numpy().reshape([3, -1, 4]) for k in SEVERAL], axis=1)
    anchors = detector.make_anchors(SIZE, SEVERAL, SCALES, [1]).numpy()
    for image in range(3):
        mine = numbers.numpy()[image][valid.numpy()[image]]
        np.testing.assert_allclose(found_scores[image][: len(mine)], tf.sigmoid(logits[image][mine]), atol=1e-6)
        boxes = box_lib.decode(deltas[image][mine], anchors[mine], weights=(1, 1, 1, 1))
        boxes = box_lib.clip(boxes[tf.newaxis], tf.constant([IMAGE_SIZES[image]], tf.float32))[0]
        np.testing.assert_allclose(found[image][: len(mine)], boxes, atol=1e-4)


def largest_overlap(boxes):
    iou = box_lib.iou(tf.constant(boxes[tf.newaxis]), tf.constant(boxes[tf.newaxis]))[0].numpy()
    return iou[~np.eye(len(boxes), dtype=bool)].max()


def test_only_together_a_level_suppresses_another():
    # 16 pixels are 4 strides of level 2 and 2 of level 3: their anchors fall on each other.
    scores, encoded = maps(SEVERAL, images=1, deviation=0.01)
    several = {}
    for apart in (True, False):
        boxes, _, valid, _ = select(scores, encoded, [SIZE], levels_apart=apart, num_boxes=200, pre_nms_top_k=1000)
        several[apart] = largest_overlap(boxes.numpy()[valid.numpy()])
    assert several[False] <= 0.5 < several[True]


def test_below_one_half_boxes_that_overlap_more_are_suppressed_too():
    scores, encoded = maps(ONE, images=1, deviation=0.0)
    boxes, _, valid, _ = select(scores, encoded, [SIZE], nms_iou=0.3)
    assert largest_overlap(boxes.numpy()[valid.numpy()]) <= 0.3
