"""NanoDet-Plus-m: what the original computes with the weights that the repository brings, sizes, types, names, errors.

`nanodet_excerpt.npz` comes from another implementation: the operations of the original's exported graph, one after the
other, on the original weights (BGR, shuffled channels, all padding explicit), which on a photograph of 416 x 416 agrees
with the original's own outputs to 4e-5. Its input were `drawing`s. Of each output it has every so-manieth cell:
`<height>x<width>/pool_4`, `neck_8` to `neck_64`, and `head_8` to `head_64`: 80 class logits, then 4 sides of 8 logits.
"""

import os
import types

import numpy as np
import pytest
import tensorflow as tf
from paths import ROOT

from dsg_tf import checkpoints
from dsg_tf.data import coco_classes
from dsg_tf.keras import keras
from dsg_tf.model import nanodet_head, nanodet_plus

EXCERPT = np.load(os.path.join(ROOT, "tests", "model", "nanodet_excerpt.npz"))
SIZES = [(416, 416), (96, 160)]
EVERY = {(416, 416): {"2": 15, "3": 11, "4": 5, "5": 3, "6": 2}, (96, 160): {"2": 5, "3": 3, "4": 2, "5": 1, "6": 1}}
LEVELS = {"3": 8, "4": 16, "5": 32, "6": 64}


def drawing(height, width):
    """Integers alone, the same everywhere: waves of three frequencies, a chequered part and two plain rectangles."""
    y, x, channel = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    image = (x * x * (channel + 1) // 97 + y * (5 - channel) + x * y // 61) % 256
    image = np.where((x // 24 + y // 16) % 5 == 0, 40 * channel + 60, image)
    image[height // 5 : height // 2, width // 6 : width // 3] = (200, 30, 60)
    image[height // 3 : 3 * height // 4, width // 2 : 3 * width // 5] = (20, 90, 210)
    return image.astype(np.uint8)


def normalized(height, width):
    pixels = drawing(height, width).astype(np.float32)
    return ((pixels - np.float32(nanodet_plus.PIXEL_MEAN)) / np.float32(nanodet_plus.PIXEL_STD))[np.newaxis]


def make(height, width, weights=True):
    backbone = nanodet_plus.NanoDetPlus(keras.layers.InputSpec(shape=[None, height, width, 3]))
    head = nanodet_head.NanoDetHead()
    head(backbone.output)
    if weights:
        # As `PointRPN` has the head.
        parts = {"backbone": backbone, "rpn_head": tf.train.Checkpoint(head=head)}
        model = types.SimpleNamespace(modules_of_model_garden=parts)
        checkpoints.initialize(model, "models/nanodet_plus_m", ["backbone", "rpn_head"])
    return backbone, head


@pytest.fixture(scope="module", params=SIZES, ids=str)
def outputs(request):
    backbone, head = make(*request.param)
    levels = backbone(normalized(*request.param))
    return request.param, levels, head(levels)


@pytest.fixture(scope="module")
def small():
    """Parts for 64 x 64 pixels and what they give in float32."""
    parts = make(64, 64)
    return (*parts, *run(*parts, normalized(64, 64)))


def run(backbone, head, image):
    levels = backbone(image)
    return levels, head(levels)


def excerpt(size, name):
    return EXCERPT[f"{size[0]}x{size[1]}/{name}"]


def plain_boxes(logits, size, level, step):
    """From the definition, box by box."""
    stride = LEVELS[level]
    boxes = np.zeros([*logits.shape[:2], 4])
    for (row, column), _ in np.ndenumerate(logits[..., 0]):
        mean = []
        for side in logits[row, column].astype(np.float64).reshape(4, 8):
            weights = np.exp(side)
            mean.append(stride * sum(bin_ * weight for bin_, weight in enumerate(weights)) / weights.sum())
        x, y = column * step * stride, row * step * stride
        left, top, right, bottom = mean
        boxes[row, column] = y - top, x - left, y + bottom, x + right
    return boxes


def test_features_are_the_originals(outputs):
    size, levels, _ = outputs
    for level, name in {"2": "pool_4", **{level: f"neck_{stride}" for level, stride in LEVELS.items()}}.items():
        step, expected = EVERY[size][level], excerpt(size, name)
        np.testing.assert_allclose(levels[level][0, ::step, ::step], expected, rtol=1e-4, atol=1e-4, err_msg=level)


def test_class_logits_and_boxes_are_the_originals(outputs):
    size, _, found = outputs
    for level, stride in LEVELS.items():
        features, logits, boxes = (output[0, :: EVERY[size][level], :: EVERY[size][level]] for output in found[level])
        expected = excerpt(size, f"head_{stride}")
        np.testing.assert_allclose(logits, expected[..., :80], rtol=1e-4, atol=1e-4, err_msg=level)
        plain = plain_boxes(expected[..., 80:], size, level, EVERY[size][level])
        np.testing.assert_allclose(boxes, plain, rtol=1e-4, atol=1e-2, err_msg=level)
        assert features.shape[-1] == 96 and found[level][2].dtype == tf.float32


def test_it_has_the_interface_of_model_gardens_backbones():
    backbone, head = make(320, 448, weights=False)
    shapes = {"2": (80, 112, 24), "3": (40, 56, 96), "4": (20, 28, 96), "5": (10, 14, 96), "6": (5, 7, 96)}
    assert backbone.output_specs == {level: tf.TensorShape([None, *shape]) for level, shape in shapes.items()}
    assert {level: output.shape for level, output in backbone.output.items()} == backbone.output_specs
    count = sum(int(np.prod(v.shape)) for v in backbone.trainable_variables + head.trainable_variables)
    assert count == 1_186_346
    # Of level 2, which --freeze_stem keeps, it has one layer with weights.
    stem = keras.Model(backbone.inputs, backbone.output["2"])
    assert [tuple(v.shape) for v in stem.trainable_variables] == [(3, 3, 3, 24), (24,)]


@pytest.mark.parametrize("size", [(400, 416), (416, 300), (None, 416)])
def test_a_size_that_does_not_divide_is_refused(size):
    with pytest.raises(ValueError, match=f"height {size[0]} and width {size[1]}: .*multiples of 32"):
        make(*size, weights=False)


def test_in_bfloat16_it_is_near(small):
    *_, expected_levels, expected = small
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        levels, found = run(*make(64, 64), normalized(64, 64))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    for level in LEVELS:
        features, logits, boxes = found[level]
        assert levels[level].dtype == features.dtype == logits.dtype == tf.bfloat16 and boxes.dtype == tf.float32
        for near, true in ((levels[level], expected_levels[level]), *zip(found[level], expected[level])):
            assert tf.norm(tf.cast(near, tf.float32) - true) < 0.06 * tf.norm(true), level


def test_xla_computes_the_same(small):
    backbone, head, levels, found = small
    compiled = tf.function(lambda image: run(backbone, head, image), jit_compile=True)
    for expected, output in zip(tf.nest.flatten((levels, found)), tf.nest.flatten(compiled(normalized(64, 64)))):
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-3)


def test_every_variable_has_a_gradient_from_classes_and_boxes(small):
    backbone, head, *_ = small
    image = np.repeat(normalized(64, 64), 2, axis=0)
    with tf.GradientTape(persistent=True) as tape:
        _, found = run(backbone, head, image)
        losses = [tf.add_n([tf.reduce_sum(tf.square(level[k])) for level in found.values()]) for k in (0, 1, 2)]
    last = {id(level.predict.kernel) for level in head.levels.values()}
    last |= {id(level.predict.bias) for level in head.levels.values()}
    variables = backbone.trainable_variables + head.trainable_variables
    for k, loss in enumerate(losses):
        for variable, gradient in zip(variables, tape.gradient(loss, variables)):
            if k == 0 and id(variable) in last:
                assert gradient is None
            else:
                assert np.isfinite(gradient).all() and np.any(gradient), variable.name


def test_checkpoints_have_readable_names_and_half_the_bytes():
    stored = dict(tf.train.list_variables(os.path.join(ROOT, "models", "nanodet_plus_m", "weights")))
    names = {name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") for name in stored} - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    rpn = {f"rpn_head/{part}/{kind}" for part in ("score", "deltas") for kind in ("kernel", "bias")}
    assert len(names - rpn) == 2 * 110
    assert not [name for name in names if "layer" in name]
    assert {
        "backbone/stem/convolution/kernel",
        "backbone/stage_4/branch/7/depthwise/depthwise_kernel",
        "backbone/neck/top_down/4/shortcut/pointwise/bias",
        "rpn_head/head/levels/6/predict/kernel",
    } <= names


def test_as_a_model_directory_it_is_refused_with_its_purpose(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="nanodet_plus_m holds only weights .*--init_checkpoint="):
        checkpoints.load_model("models/nanodet_plus_m")


def test_the_head_has_an_output_for_each_of_cocos_classes():
    assert nanodet_head.NUM_CLASSES == len(set(coco_classes.NAMES)) == 80
    # By the order of COCO's category ids, of which 1, 44 and 90 are these.
    assert [coco_classes.NAMES[k] for k in (0, 39, 79)] == ["person", "bottle", "toothbrush"]
