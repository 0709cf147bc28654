"""The evaluation against a literal one: the paper's protocol box by box, cell by cell."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tiny
import tiny_data

from dsg_tf import build
from dsg_tf.data.batches import pipeline
from dsg_tf.data.records import DatasetInfo
from dsg_tf.evaluation import inference, query_results, scoring


def scores_of(loaded, data_dir, batch_size, **options):
    model, config, _, _ = loaded
    info = DatasetInfo.load(data_dir)
    spec = build.batch_spec(config, info, "test", training=False)
    return scoring.evaluate(model, info.shard_paths(data_dir, "test"), spec, batch_size, **options)


@pytest.fixture(scope="module")
def one_by_one(loaded, data_dir):
    return scores_of(loaded, data_dir, 1)


def test_batch_size_does_not_matter(loaded, data_dir, one_by_one):
    padded = scores_of(loaded, data_dir, 3)
    assert padded.num_images == one_by_one.num_images == 5
    assert padded.proposal_recall == one_by_one.proposal_recall
    assert len(padded.queries) == len(one_by_one.queries)
    for found, expected in zip(padded.queries, one_by_one.queries):
        scores = {"subject_iou": 0.0, "object_iou": 0.0, "answer_probability": 0.0}
        assert dataclasses.replace(found, **scores) == dataclasses.replace(expected, **scores)
        assert found.subject_iou == pytest.approx(expected.subject_iou, abs=1e-5)
        assert found.object_iou == pytest.approx(expected.object_iou, abs=1e-5)
        assert found.answer_probability == pytest.approx(expected.answer_probability, abs=1e-5)


def test_evaluation_stops_after_max_images(loaded, data_dir, one_by_one):
    some = scores_of(loaded, data_dir, 1, max_images=2)
    assert some.num_images == 2
    assert some.queries == [query for query in one_by_one.queries if query.image < 2]


def literal_mask(boxes, size):
    mask = np.zeros([14, 14], bool)
    for box in boxes:
        y0, x0 = np.floor(box[:2] / size * 14).astype(int)
        y1, x1 = np.ceil(box[2:] / size * 14).astype(int)
        mask[y0:y1, x0:x1] = True
    return mask


def literal_iou(first, second):
    return (first & second).sum() / (first | second).sum() if (first | second).any() else 0.0


def literal_apart(best_first, boxes, overlap):
    """Without those that share so much of the smaller of two with a better one, `--answer_overlap`."""
    area = lambda box: max(box[2] - box[0], 0) * max(box[3] - box[1], 0)

    def share(one, other):
        common = area([*np.maximum(one[:2], other[:2]), *np.minimum(one[2:], other[2:])])
        return common / min(area(one), area(other))

    return [
        k
        for place, k in enumerate(best_first)
        if not any(share(boxes[k], boxes[better]) >= overlap for better in best_first[:place])
    ]


def test_evaluation_equals_a_slow_loop(loaded, data_dir, one_by_one, tmp_path):
    model, config, _, _ = loaded
    info = DatasetInfo.load(data_dir)
    spec = build.batch_spec(config, info, "test", training=False)
    expected, ambiguous = [], []
    for number, batch in enumerate(pipeline.eval_batches(info.shard_paths(data_dir, "test"), spec, 1)):
        scene = tiny_data.draw("test", number)
        triplets, query_of_relation = scene.queries()
        # Of the same graph: an edge at the border of two cells must be the same to the last digit.
        outputs = {name: value[0].numpy() for name, value in inference.of(model).outputs(batch).items()}
        assert outputs["valid"].any()
        size, truth = batch["image_size"][0].numpy(), batch["true_boxes"][0].numpy()
        for query, triplet in enumerate(triplets):
            rows = scene.relations[query_of_relation == query]
            logits = outputs["role_logits"][query]
            ious = []
            for label, column in ((1, 0), (2, 2)):
                scores = np.exp(logits[:, label]) / np.exp(logits).sum(1)
                best_first = sorted(np.flatnonzero(outputs["valid"]), key=lambda k: -scores[k])
                chosen = [k for k in best_first if logits[k].argmax() == label] or best_first[:1]
                chosen = literal_apart(chosen, outputs["boxes"], config.answer_overlap)
                ious.append(
                    literal_iou(
                        literal_mask(outputs["boxes"][chosen], size), literal_mask(truth[rows[:, column]], size)
                    )
                )
            expected.append((number, scene.image_id, query, tuple(triplet), *ious))
            ambiguous.append([list(scene.entities).count(triplet[k]) > 1 for k in (0, 2)])
    assert len(expected) == info.splits["test"].num_queries == len(one_by_one.queries)
    for found, values in zip(one_by_one.queries, expected):
        assert (found.image, found.image_id, found.query, found.triplet) == values[:4]
        np.testing.assert_allclose([found.subject_iou, found.object_iou], values[4:], atol=1e-5)
    assert [[q.subject_ambiguous, q.object_ambiguous] for q in one_by_one.queries] == ambiguous
    assert any(map(any, ambiguous)) and not all(map(all, ambiguous))
    query_results.write_queries(one_by_one.queries, str(tmp_path / "queries.csv"))
    assert query_results.read_queries(str(tmp_path / "queries.csv")) == one_by_one.queries
    assert all(0 < q.answer_probability < 1 for q in one_by_one.queries)
    for column, name in ((4, "subject_iou"), (5, "object_iou")):
        scores = np.array([values[column] for values in expected])
        summary = one_by_one.summary()
        assert summary[name] == pytest.approx(scores.mean(), abs=1e-5)
        hard = scores[[row[column - 4] for row in ambiguous]]
        assert summary[f"ambiguous_{name}"] == pytest.approx(hard.mean(), abs=1e-5)
        assert summary[f"num_ambiguous_{name[:-4]}"] == len(hard)
        assert summary[f"{name}_stderr"] == pytest.approx(scores.std(ddof=1) / np.sqrt(len(scores)), abs=1e-5)


def test_scores_of_version_0_2_are_read_and_those_of_maps_have_no_probability(tmp_path):
    query = query_results.QueryResult(0, "a.png", 1, (2, 3, 4), 0.5, 0.25, True, False)
    path = tmp_path / "queries.csv"
    query_results.write_queries([query], str(path))
    assert query_results.read_queries(str(path)) == [query] and query.answer_probability is None
    path.write_text("\n".join(line.rpartition(",")[0] for line in path.read_text().splitlines()))
    assert "answer_probability" not in path.read_text()
    assert query_results.read_queries(str(path)) == [query]


def test_an_evaluation_sums_counts_over_its_batches(data_dir):
    info, config = DatasetInfo.load(data_dir), tiny.config(model="ss", data_dir=data_dir)
    shards, spec = info.shard_paths(data_dir, "test"), build.batch_spec(config, info, "test", training=False)

    def model(batch, training):
        del training
        cells = tf.zeros([*tf.unstack(tf.shape(batch["queries"])[:2]), 14, 14])
        return {"subject_map": cells, "object_map": cells}

    count = lambda outputs, batch: {
        "images": tf.reduce_sum(tf.cast(batch["example_mask"], tf.int32)),
        "shape": tf.shape(outputs["subject_map"]),
    }
    result = scoring.evaluate(model, shards, spec, 2, count=count)
    assert result.counts["images"] == 5 and result.counts["shape"][0] == 6  # Three batches of two.
    assert scoring.evaluate(model, shards, spec, 2).counts == {}
