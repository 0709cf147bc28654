"""The paper's full-size network, built and counted; tests/slow trains it for two steps."""

from __future__ import annotations

from dsg_tf import build
from dsg_tf.config import Config

# Visual Genome's classes, as the paper counts them.
NUM_ENTITIES, NUM_RELATIONS = 100, 70


def test_the_defaults_are_a_dsg_on_resnet_101():
    settings = Config()
    model = build.build_model(settings, NUM_ENTITIES, NUM_RELATIONS)
    convolutions = [v for v in model.detector.backbone.trainable_variables if v.shape.rank == 4]
    # 101 layers: 100 convolutions and, in classification, a dense one; 4 more project the shortcuts.
    assert len(convolutions) == 100 + 4
    counts = build.count_parameters(model)
    assert counts["labeler"] == (settings.node_units + 1) * (NUM_ENTITIES + NUM_RELATIONS)
    assert counts["refiner"] == (settings.node_units + 1) * 4
    assert counts["detector"] > 40e6 and counts["graph"] > 6e6 and counts["total"] == 61_759_278
