"""Relative geometry of pairs of boxes."""

import numpy as np

from dsg_tf.model import relative_geometry

BOXES = np.array([[[10, 10, 30, 50], [40, 100, 60, 110], [0, 0, 0, 0]]], np.float32)


def test_offsets_are_in_sizes_and_saturate():
    found = relative_geometry.of_pairs(BOXES).numpy()
    assert found.shape == (1, 3, 3, relative_geometry.SIZE) and np.isfinite(found).all()
    size = np.sqrt(np.sqrt(20 * 40) * np.sqrt(20 * 10))
    offset = np.array([30, 75]) / size  # From the centre (20, 30) to (50, 105).
    expected = [*np.tanh(4 * offset), *(2 * offset / (1 + offset)), np.log(20 / 20), np.log(10 / 40)]
    np.testing.assert_allclose(found[0, 0, 1] / relative_geometry.SCALE, expected, rtol=1e-5, atol=1e-6)


def test_the_other_direction_has_the_other_sign_and_moving_or_scaling_all_changes_nothing():
    found = relative_geometry.of_pairs(BOXES[:, :2]).numpy()
    np.testing.assert_allclose(found, -found.transpose(0, 2, 1, 3), atol=1e-6)
    np.testing.assert_allclose(relative_geometry.of_pairs(3 * BOXES[:, :2] + 7), found, atol=1e-5)
