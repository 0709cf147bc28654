"""Checkpoints in half precision: what is rounded, what is not, and the way back."""

import numpy as np
import tensorflow as tf

from dsg_tf.pack import half_precision


def test_matrices_are_rounded_and_vectors_and_what_does_not_fit_are_not():
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=[3, 4]).astype(np.float32), rng.normal(size=[4]).astype(np.float32)
    half = half_precision.rounded(kernel)
    assert half.dtype == np.float16 and (half != kernel).any()
    np.testing.assert_allclose(half.astype(np.float32), kernel, rtol=2**-11)
    assert half_precision.rounded(bias) is bias
    large = np.array([[1.0, 65_520.0]], np.float32)  # Rounds to infinity.
    assert half_precision.rounded(large) is large
    step, name = np.array([[7]], np.int64), b"a name"
    assert half_precision.rounded(step) is step and half_precision.rounded(name) is name


def test_a_checkpoint_comes_back_in_float32_under_the_same_names(tmp_path):
    rng = np.random.default_rng(1)
    kernel = tf.Variable(rng.normal(size=[64, 64]), dtype=tf.float32)
    whole = tf.train.Checkpoint(kernel=kernel, step=tf.Variable(7, dtype=tf.int64))
    whole.write(str(tmp_path / "whole"))
    half_precision.write(str(tmp_path / "whole"), str(tmp_path / "half"))
    sizes = [(tmp_path / f"{name}.data-00000-of-00001").stat().st_size for name in ("whole", "half")]
    assert sizes[0] - sizes[1] == 64 * 64 * 2
    before = kernel.numpy()
    kernel.assign(tf.zeros_like(kernel))
    whole.step.assign(0)
    with half_precision.as_float32(str(tmp_path / "half")) as prefix:
        whole.read(prefix).assert_consumed()
    assert int(whole.step) == 7
    np.testing.assert_array_equal(kernel, before.astype(np.float16).astype(np.float32))
    with half_precision.as_float32(str(tmp_path / "whole")) as prefix:
        assert prefix == str(tmp_path / "whole")
