"""The gradient of a device's images, in one part and in several."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tiny

from dsg_tf import build
from dsg_tf.training.gradients import Gradients


def test_parts_of_a_step_give_the_whole():
    """In one batch of four, and in four parts of one; the images have one to three queries."""
    settings = tiny.config(model="no_dsg_br", batch_norm="frozen_all")
    model = tiny.model(settings)
    losses = build.build_losses(settings, tiny.NUM_RELATIONS)
    batch = tiny.batch(settings, 4)
    batch["query_mask"] = batch["query_holds"] = tf.constant(
        [[True, False, False], [True, True, False], [True, True, True], [True, True, False]]
    )
    found = []
    for parts in (1, 4):
        gradients, scalars = tf.function(Gradients(model, losses, parts=parts), autograph=False)(batch)
        found.append((gradients, {name: float(total / weight) for name, (total, weight) in scalars.items()}))
    (whole, scalars), (summed, scalars_of_parts) = found
    assert scalars == pytest.approx(scalars_of_parts, rel=1e-4) and scalars["metric/subject_iou"] > 0
    assert set(scalars) == {
        *(f"loss/{term}" for term in (*tiny.TERMS, "total") if term not in ("entity", "relation")),
        "metric/subject_iou",
        "metric/object_iou",
    }
    for first, second, variable in zip(whole, summed, model.trainable_variables):
        np.testing.assert_allclose(first, second, atol=1e-5, rtol=1e-3, err_msg=variable.name)
