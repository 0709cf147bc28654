"""NanoDet-Plus-m, backbone and neck: the features of a small detector that was trained on COCO.

The original: https://github.com/RangiLyu/nanodet, ShuffleNetV2 1.0x and Ghost-PAN. Batch normalisation is folded into
the convolutions; `models/nanodet_plus_m` has the weights.
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf.keras import keras
from dsg_tf.model.nanodet_layers import GhostBlock, Separable, ShuffleStage, leaky_relu, padded, pointwise

# The RGB normalisation that it was trained with, of values in 0 to 255.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
STRIDES = {"3": 8, "4": 16, "5": 32, "6": 64}
CHANNELS = 96
_KERNEL = 5
_STEM_CHANNELS = 24
# Per stage: channels, and units after the one that halves.
_STAGES = {"3": (116, 3), "4": (232, 7), "5": (464, 3)}


class Stem(keras.layers.Layer):
    """Image `[B, H, W, 3]` to `[B, H / 4, W / 4, 24]`: a convolution and a maximum over 3 x 3 pixels."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.convolution = keras.layers.Conv2D(_STEM_CHANNELS, 3, strides=2, activation=leaky_relu)

    def call(self, image):
        features = self.convolution(padded(image, 3))
        return tf.nn.max_pool2d(padded(features, 3, features.dtype.min), 3, 2, "VALID")


class GhostPAN(keras.layers.Layer):
    """Path aggregation: coarse features go down to the fine levels, then fine ones up; level 6 is made of level 5.

    From a mapping of levels 3 to 5 to `[B, H / stride, W / stride, C]` to one of levels 3 to 6, with 96 channels.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.lateral = {level: pointwise(CHANNELS) for level in "345"}
        self.top_down = {level: GhostBlock(CHANNELS, _KERNEL) for level in "43"}
        self.halve = {level: Separable(CHANNELS, _KERNEL, 2) for level in "34"}
        self.bottom_up = {level: GhostBlock(CHANNELS, _KERNEL) for level in "45"}
        self.extra_input = Separable(CHANNELS, _KERNEL, 2)
        self.extra_output = Separable(CHANNELS, _KERNEL, 2)

    def call(self, levels):
        lateral = {level: convolution(levels[level]) for level, convolution in self.lateral.items()}
        middle = self.top_down["4"](tf.concat([doubled(lateral["5"]), lateral["4"]], axis=-1))
        fine = self.top_down["3"](tf.concat([doubled(middle), lateral["3"]], axis=-1))
        middle = self.bottom_up["4"](tf.concat([self.halve["3"](fine), middle], axis=-1))
        coarse = self.bottom_up["5"](tf.concat([self.halve["4"](middle), lateral["5"]], axis=-1))
        extra = self.extra_input(lateral["5"]) + self.extra_output(coarse)
        return {"3": fine, "4": middle, "5": coarse, "6": extra}


def doubled(features: tf.Tensor) -> tf.Tensor:
    """Bilinear interpolation between the centres of pixels, `[B, H, W, C]` to `[B, 2 * H, 2 * W, C]`."""
    height, width = features.shape[1:3]
    return tf.cast(tf.image.resize(features, [2 * height, 2 * width]), features.dtype)


class NanoDetPlus(keras.Model):
    """Backbone and neck, in the interface of Model Garden's backbones.

    Takes float `[B, H, W, 3]`, RGB normalised by `PIXEL_MEAN` and `PIXEL_STD`; gives by level "2": `[B, H / 4, W / 4,
    24]`, what the stem finds; "3" to "6": `[B, H / stride, W / stride, 96]`, strides 8 to 64, rounded up.

    Args:
      input_specs: with the shape `[None, H, W, 3]`.

    Raises:
      ValueError: height or width is unknown or no multiple of 32; names both.
    """

    def __init__(self, input_specs: keras.layers.InputSpec, **kwargs):
        height, width = input_specs.shape[1:3]
        if None in (height, width) or height % STRIDES["5"] or width % STRIDES["5"]:
            raise ValueError(
                f"NanoDet-Plus with an input of height {height} and width {width}: it needs multiples of {STRIDES['5']}"
            )
        stem = Stem(name="stem")
        stages = {level: ShuffleStage(*sizes, name=f"stage_{level}") for level, sizes in _STAGES.items()}
        neck = GhostPAN(name="neck")
        image = keras.Input(input_specs.shape[1:])
        features = found = stem(image)
        levels = {}
        for level, stage in stages.items():
            levels[level] = features = stage(features)
        outputs = {"2": found, **neck(levels)}
        super().__init__(inputs=image, outputs=outputs, **kwargs)
        self.stem, self.neck = stem, neck
        self.stage_3, self.stage_4, self.stage_5 = stages.values()
        self._output_specs = {level: output.shape for level, output in outputs.items()}

    @property
    def _layer_checkpoint_dependencies(self):
        """None by number, which Keras prefers: in checkpoints the layers have the names of the attributes."""
        return {}

    @property
    def output_specs(self) -> dict[str, tf.TensorShape]:
        """The shape of each level's features."""
        return self._output_specs
