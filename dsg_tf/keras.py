"""The one place that knows which Keras is in use: the one that Model Garden is written on.

Model Garden 2.16 and later is written on ``tf_keras`` (Keras 2 as a package of its own), Model Garden 2.15 on the
``tf.keras`` of TensorFlow 2.15, which is the same Keras 2. Every other module imports ``keras`` from here.
"""

import tensorflow as tf

if tuple(int(part) for part in tf.__version__.split(".")[:2]) >= (2, 16):
    import tf_keras as keras
    PACKAGE = "tf_keras"  # The installed distribution that it comes from.
else:
    keras = tf.keras
    PACKAGE = "keras"

__all__ = ["PACKAGE", "keras"]
