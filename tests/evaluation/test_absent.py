"""Queries about what is not there: what is drawn, and what an evaluation tells of it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tiny_data

from dsg_tf import build, checkpoints
from dsg_tf.data.batches import pipeline
from dsg_tf.data.records import DatasetInfo
from dsg_tf.evaluation import absent, binary_scores, query_results, scoring


@pytest.fixture(scope="module")
def system(model_dir, data_dir):
    """(model, shards, spec)."""
    model, config, _, _ = checkpoints.load_model(model_dir)
    info = DatasetInfo.load(data_dir)
    return model, info.shard_paths(data_dir, "test"), build.batch_spec(config, info, "test", training=False)


def drawn_of_images(system, batch_size):
    """The queries and kinds of every image, without padding."""
    _, shards, spec = system
    rows = []
    for number, batch in enumerate(pipeline.eval_batches(shards, spec, batch_size)):
        drawn = absent.draw(batch, number * batch_size, spec)
        assert drawn.queries.shape == batch["queries"].shape
        for row in np.flatnonzero(batch["example_mask"]):
            there = drawn.kinds[row] != ""
            assert not drawn.queries[row][~there].any()
            rows.append((drawn.queries[row][there].tolist(), drawn.kinds[row][there].tolist()))
    return rows


def test_all_of_the_drawing_is_done_on_the_cpu():
    """On a GPU, counting has no deterministic form, and the validation of a training is deterministic."""
    queries, entities = tf.TensorSpec([None, 3], tf.int32), tf.TensorSpec([None], tf.int32)
    graph = absent._draw.get_concrete_function(queries, entities, tf.TensorSpec([2], tf.int32), 3, 2).graph
    counting = [operation for operation in graph.get_operations() if "Bincount" in operation.type]
    assert counting
    assert all("CPU" in operation.device for operation in counting)


def test_what_is_drawn_does_not_hold_and_is_of_the_kind_it_is_called(system):
    kinds = set()
    for number, (queries, of_queries) in enumerate(drawn_of_images(system, 1)):
        scene = tiny_data.draw("test", number)
        true = {tuple(triplet) for triplet in scene.queries()[0]}
        assert 0 < len(queries) <= len(true)
        for query, kind in zip(queries, of_queries):
            assert tuple(query) not in true
            assert (kind == "absent_class") == (not {query[0], query[2]} <= set(scene.entities.tolist()))
        kinds |= set(of_queries)
    assert kinds == set(absent.KINDS)


def test_the_same_queries_are_drawn_again_whatever_the_batch_size(system):
    one = drawn_of_images(system, 1)
    assert drawn_of_images(system, 1) == one and drawn_of_images(system, 3) == one


def test_an_evaluation_asks_for_them_and_the_paper_s_scores_do_not_change(system):
    model, shards, spec = system
    without = scoring.evaluate(model, shards, spec, 2)
    found = scoring.evaluate(model, shards, spec, 2, ask_absent=True)
    assert found.queries == without.queries and without.answer_probability is None
    truths, others = [], {kind: [] for kind in absent.KINDS}
    for number, batch in enumerate(pipeline.eval_batches(shards, spec, 1)):
        truths += model(batch, training=False)["answer_probability"].numpy()[batch["query_mask"]].tolist()
        drawn = absent.draw(batch, number, spec)
        asked = model({**batch, "queries": tf.constant(drawn.queries)}, training=False)["answer_probability"]
        for kind, values in others.items():
            values += asked.numpy()[drawn.kinds == kind].tolist()
    np.testing.assert_allclose([q.answer_probability for q in found.queries], truths, atol=1e-5)
    parts = {"all": [*others["other_relation"], *others["absent_class"]], **others}
    report = found.summary()["answer_probability"]
    assert list(report) == ["all", "other_relation", "absent_class"]
    for name, part in parts.items():
        assert (report[name]["num_true"], report[name]["num_contrastive"]) == (len(truths), len(part))
        for score in ("auroc", "average_precision", "calibration_error"):
            expected = getattr(binary_scores, score)(truths, part)
            assert report[name][score] == pytest.approx(expected, abs=0.02)  # Near ties fall either way.


def test_a_control_that_sees_no_relation_gives_another_relation_the_same_probability(system):
    """The queries that do not hold are hidden from it as those that do."""
    model, shards, spec = system
    model.hidden = "relation"
    try:
        infer = scoring.inference.Inference(model)
        batch = next(iter(pipeline.eval_batches(shards, spec, 1)))
        outputs = infer.outputs(batch)
        other = {**batch, "queries": (batch["queries"] + [0, 1, 0]) % [100, spec.num_relations, 100]}
        asked = infer.ask_again(outputs, other)["answer_probability"]
        np.testing.assert_allclose(asked, outputs["answer_probability"], atol=1e-6)
    finally:
        model.hidden = ""


def test_the_table_shows_the_auroc_and_none_for_maps(system):
    model, shards, spec = system
    summary = {"split": "test", **scoring.evaluate(model, shards, spec, 2, ask_absent=True).summary()}
    auroc = summary["answer_probability"]["all"]["auroc"]
    table = query_results.table([summary, {**summary, "answer_probability": None}]).splitlines()
    assert [line.split()[-1] for line in table] == ["AUROC", f"{auroc:.4f}", "none"]
