"""Error analysis, scene graphs and oracles, on constructed cases and against brute force."""

import itertools
import json

import numpy as np
import pytest
import tensorflow as tf
import tiny
import tiny_data

from dsg_tf import build
from dsg_tf.data import roles
from dsg_tf.drawing import answer_pictures
from dsg_tf.evaluation import scoring
from dsg_tf.evaluation.analysis import cost, drawings, errors, oracles, scene_graphs
from dsg_tf.evaluation.analysis import run as analyses
from dsg_tf.evaluation.analysis.samples import Sample, samples
from dsg_tf.objectives import metrics

CUBE, BALL = 0, 1
# Three cubes and a ball, apart from each other.
BOXES = np.array([[0, 0, 20, 20], [0, 40, 20, 60], [40, 0, 60, 20], [40, 40, 60, 60]], np.float32)
ENTITIES = np.array([CUBE, CUBE, CUBE, BALL])


def sample(answers, wanted, proposals=BOXES, valid=None, category=CUBE, boxes=None):
    """One query whose subjects are ``wanted`` and whose answer are the proposals ``answers``."""
    proposals = np.array(proposals, np.float32)
    chosen = np.isin(np.arange(len(proposals)), answers)
    marks = np.isin(np.arange(len(BOXES)), wanted)
    outputs = {
        "boxes": proposals if boxes is None else boxes,
        "proposals": proposals,
        "valid": np.ones(len(proposals), bool) if valid is None else np.array(valid),
        "subject_mask": chosen[np.newaxis],
        "object_mask": chosen[np.newaxis],
        "subject_scores": chosen[np.newaxis].astype(np.float32),
        "object_scores": chosen[np.newaxis].astype(np.float32),
    }
    return Sample(
        0,
        "image",
        np.zeros([64, 64, 3], np.uint8),
        np.ones(2, np.float32),
        BOXES,
        ENTITIES,
        np.zeros([0, 3], int),
        np.array([[category, 0, category]]),
        marks[np.newaxis],
        marks[np.newaxis],
        outputs,
    )


NEARLY = BOXES + np.array([0, 0, 3, 0], np.float32)


@pytest.mark.parametrize(
    "kind, case, iou",
    [
        ("right", sample([0], [0]), 0.9),
        ("right", sample([0, 2], [0, 2], proposals=NEARLY), 0.8),
        ("right", sample([0, 4], [0], proposals=[*BOXES, NEARLY[0]]), 0.8),  # Two answers on one box are one.
        ("other", sample([0], [0]), 0.4),
        ("missed", sample([0], [2], proposals=BOXES[:2]), 0.0),
        ("missed", sample([0], [2], valid=[True, True, False, True]), 0.0),
        ("missed", sample([0], [0, 2], proposals=BOXES[:2]), 0.5),  # Too few, since one was not detected.
        ("multiplicity", sample([0], [0, 2]), 0.5),
        ("multiplicity", sample([0, 1], [0]), 0.5),
        ("multiplicity", sample([0, 3], [0]), 0.5),
        ("multiplicity", sample([0, 4], [0], proposals=[*BOXES, [30, 30, 35, 35]]), 0.9),  # One on nothing.
        ("relation", sample([1], [0]), 0.0),
        ("relation", sample([1, 3], [0]), 0.0),
        ("misclassified", sample([3], [0]), 0.0),
        ("misclassified", sample([4], [0], proposals=[*BOXES, [30, 30, 35, 35]]), 0.0),
        ("misclassified", sample([1], [3], category=BALL), 0.0),
    ],
)
def test_each_case_lands_in_its_kind(kind, case, iou):
    assert errors.of_sample(case, "subject", [iou]) == [kind]
    report, pictures = errors.analyze([case], {(0, 0, role): iou for role in roles.ROLES}, tiny_data.VOCABULARY)
    assert report["all"] == {"count": 2, **{name: float(name == kind) for name in errors.KINDS}}
    ambiguous = case.queries[0, 0] == CUBE
    assert report["ambiguous"]["count"] == 2 * ambiguous and report["unambiguous"]["count"] == 2 * (not ambiguous)
    assert set(pictures) == ({f"errors_{kind}"} if kind != "right" else set())


def test_a_box_that_only_its_refinement_brings_near_counts_as_detected():
    away = BOXES + np.array([12, 0, 12, 0], np.float32)
    assert errors.of_sample(sample([1], [0], proposals=away), "subject", [0.0]) == ["missed"]
    assert errors.of_sample(sample([1], [0], proposals=away, boxes=BOXES), "subject", [0.0]) == ["relation"]


def truth_with(relations):
    """The boxes with ``relations`` between them, and no query."""
    no_query, no_box = np.zeros([0, 3], int), np.zeros([0, 4], bool)
    image, scale = np.zeros([64, 64, 3], np.uint8), np.ones(2, np.float32)
    return Sample(0, "image", image, scale, BOXES, ENTITIES, relations, no_query, no_box, no_box, {})


def random_graph(rng, num_boxes=5, num_relations=3):
    """Outputs around the true boxes, and a sample with random relations."""
    truth = truth_with(np.unique(rng.integers(0, [4, num_relations, 4], [6, 3]), axis=0))
    outputs = {
        "boxes": (BOXES[rng.integers(0, 4, num_boxes)] + rng.uniform(-3, 3, [num_boxes, 4])).astype(np.float32),
        "valid": rng.random(num_boxes) < 0.9,
        "entity_logits": rng.normal(size=[num_boxes, 2]),
        "relation_probabilities": rng.uniform(size=[num_boxes, num_boxes, num_relations]),
    }
    return truth, outputs


def literal_triplets(outputs, constrained):
    """All triplets with their probability, most probable first."""
    rows = []
    valid = np.flatnonzero(outputs["valid"])
    for a, b in itertools.permutations(range(len(valid)), 2):
        edge = outputs["relation_probabilities"][valid[a], valid[b]]
        of_ends = 1.0
        for k in (valid[a], valid[b]):
            of_ends *= (np.exp(outputs["entity_logits"][k]) / np.exp(outputs["entity_logits"][k]).sum()).max()
        for relation in [int(edge.argmax())] if constrained else range(len(edge)):
            rows.append((edge[relation] * of_ends, (a, relation, b)))
    return sorted(rows, reverse=True)


@pytest.mark.parametrize("constrained", [True, False])
def test_scene_graphs_and_their_recall_are_the_brute_force_ones(constrained):
    rng, found_some = np.random.default_rng(0), 0
    for _ in range(25):
        truth, outputs = random_graph(rng)
        graph, rows = scene_graphs.read(outputs, constrained), literal_triplets(outputs, constrained)
        np.testing.assert_allclose(graph.scores, [score for score, _ in rows], rtol=1e-6)
        assert [tuple(row) for row in graph.relations] == [triplet for _, triplet in rows]
        for count in (1, 5, 100):
            recalled = 0
            for subject, relation, object_ in truth.relations:
                recalled += any(
                    r == relation
                    and graph.entities[a] == ENTITIES[subject]
                    and graph.entities[b] == ENTITIES[object_]
                    and literal_iou(graph.boxes[a], BOXES[subject]) >= 0.5
                    and literal_iou(graph.boxes[b], BOXES[object_]) >= 0.5
                    for _, (a, r, b) in rows[:count]
                )
            found_some += recalled
            assert scene_graphs.recall(graph, truth, count) == pytest.approx(recalled / len(truth.relations))
    assert found_some > 5


def test_the_constraint_holds_where_several_relations_are_certain():
    outputs = {
        "boxes": BOXES[:2],
        "valid": np.ones(2, bool),
        "entity_logits": np.zeros([2, 2]),
        "relation_probabilities": np.ones([2, 2, 3]),
    }
    assert len(scene_graphs.read(outputs).relations) == 2
    assert len(scene_graphs.read(outputs, constrained=False).relations) == 6


def literal_iou(first, second):
    sides = [min(first[k + 2], second[k + 2]) - max(first[k], second[k]) for k in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared)


def test_scene_graph_accuracy_counts_precise_boxes_only():
    truth = truth_with(np.array([[0, 2, 1], [1, 0, 0], [0, 1, 3]]))
    probabilities = np.full([4, 4, 3], 0.01)
    # Right, wrong, and right but for a loose box.
    probabilities[0, 1, 2] = probabilities[1, 0, 1] = probabilities[0, 3, 1] = 0.99
    boxes = BOXES.copy()
    boxes[3] += [0, 6, 0, 0]
    outputs = {
        "boxes": boxes,
        "valid": np.ones(4, bool),
        "relation_probabilities": probabilities,
        "entity_logits": 5.0 * np.eye(2)[[CUBE, BALL, CUBE, BALL]],
    }
    labels, pairs = scene_graphs.accuracies(scene_graphs.read(outputs), truth)
    assert labels == [True, False, True] and sorted(pairs) == [False, True]


def test_a_graph_without_boxes_is_empty():
    outputs = {
        "boxes": BOXES,
        "valid": np.zeros(4, bool),
        "entity_logits": np.zeros([4, 2]),
        "relation_probabilities": np.zeros([4, 4, 3]),
    }
    graph = scene_graphs.read(outputs)
    assert len(graph.boxes) == len(graph.relations) == 0
    assert scene_graphs.as_dict(graph, tiny_data.VOCABULARY, np.ones(2)) == {"entities": [], "relations": []}


@pytest.fixture(scope="module")
def system(prepared):
    """(settings, model, shards, input spec)"""
    folder, info = prepared
    settings = tiny.config(score_threshold=0.0)
    return (
        settings,
        tiny.model(settings),
        info.shard_paths(folder, "test"),
        build.batch_spec(settings, info, "test", False),
    )


def test_oracles_are_ordered_and_true_proposals_reach_the_network(system):
    settings, model, shards, spec = system
    found = oracles.analyze(model, shards, spec, 3, relations=tiny_data.VOCABULARY.relations)
    assert list(found) == list(oracles.TITLES)
    summary = scoring.evaluate(model, shards, spec, 3).summary()
    assert found["model"] == pytest.approx({name: summary[name] for name in oracles.SCORES}, nan_ok=True)
    for name in oracles.SCORES:
        assert all(0 <= scores[name] <= 1 for scores in found.values())
        assert found["true_roles_and_boxes"][name] >= found["true_roles"][name]
    batch = tiny.batch(settings, 2)
    given = {**batch, "proposals": batch["true_boxes"], "proposal_mask": batch["box_mask"]}
    outputs = model(given, training=False)
    np.testing.assert_array_equal(outputs["proposals"], batch["true_boxes"])
    np.testing.assert_array_equal(outputs["valid"], batch["box_mask"])
    # A network at its start does not move boxes: as true roles do, all-knowing proposals score 1.
    assert model.refiner.deltas.kernel.numpy().any() == False  # noqa: E712


def cells_of(boxes, size):
    """The cells of the metric's grid that boxes in pixels cover, one by one."""
    corners = np.asarray(boxes) / np.tile(size, 2) * metrics.MASK_SIZE
    return {
        cell
        for y0, x0, y1, x1 in np.round(corners, 4)
        for cell in itertools.product(range(int(y0), int(np.ceil(y1))), range(int(x0), int(np.ceil(x1))))
    }


def literal_scores(rule):
    """Means over all queries and over ambiguous ones of (subject, object), from the scenes themselves."""
    scores = {name: [] for name in oracles.SCORES}
    for number in range(tiny_data.NUM_IMAGES["test"]):
        scene = tiny_data.draw("test", number)
        boxes, classes, size = np.array(scene.boxes), np.array(scene.entities), (scene.height, scene.width)
        triplets, query_of = scene.queries()
        for query, triplet in enumerate(triplets):
            pairs = scene.relations[query_of == query]
            answered = rule(boxes, classes, triplet, pairs)
            for role, column in zip(roles.ROLES, (0, 2)):
                truth, said = (cells_of(boxes[list(k)], size) for k in (set(pairs[:, column]), answered[column // 2]))
                iou = len(truth & said) / len(truth | said)
                scores[f"{role}_iou"].append(iou)
                if (classes == triplet[column]).sum() > 1:
                    scores[f"ambiguous_{role}_iou"].append(iou)
    return {name: np.mean(values) for name, values in scores.items()}


def by_class(boxes, classes, triplet, pairs):
    return [np.flatnonzero(classes == triplet[column]) for column in (0, 2)]


def by_centers(boxes, classes, triplet, pairs):
    y, x = (boxes[:, :2] + boxes[:, 2:]).T / 2
    way = {"left": -x, "right": x, "above": -y, "below": y}[tiny_data.VOCABULARY.relations[triplet[1]]]
    subjects, objects = by_class(boxes, classes, triplet, pairs)
    found = [(i, j) for i in subjects for j in objects if i != j and way[i] > way[j]]
    return [{i for i, _ in found}, {j for _, j in found}]


def test_rules_score_what_they_score_scene_by_scene(system):
    _, model, shards, spec = system
    found = oracles.analyze(model, shards, spec, 3, relations=tiny_data.VOCABULARY.relations)
    for name, rule in (("all_of_class", by_class), ("centers", by_centers)):
        assert found[name] == pytest.approx(literal_scores(rule), abs=1e-6)
    ambiguous = [found[name]["ambiguous_subject_iou"] for name in ("all_of_class", "own_position", "true_labels")]
    assert ambiguous == sorted(ambiguous) and ambiguous[0] < 1.0


def test_each_role_and_relation_has_the_threshold_that_scores_best():
    # Two thresholds, the four scores, two relations.
    sums = np.array([[[5, 1], [2, 2], [3, 1], [2, 1]], [[4, 3], [3, 1], [1, 2], [9, 9]]], float)
    # Of subjects the first and the second threshold, of objects the second and the first.
    np.testing.assert_array_equal(oracles._best(sums), [5 + 3, 3 + 2, 3 + 2, 9 + 1])


def test_the_table_has_a_row_an_oracle_and_says_where_positions_have_no_rules(system):
    _, model, shards, spec = system
    found = oracles.analyze(model, shards, spec, 3, max_images=3, relations=("on", "left", "wear", "has"))
    lines = oracles.table(found).splitlines()
    assert list(found) == [name for name in oracles.TITLES if name not in ("most_extreme", "own_position", "centers")]
    assert lines[-1].startswith("no rules of position: not every relation is one of left, right, front")
    assert lines[0].split()[-3:] == ["all", "queries", "ambiguous"] and len(lines) == 2 + len(found)
    cells = [f"{found['true_boxes'][name]:.4f}" for name in oracles.SCORES]
    assert lines[2].endswith(f"{cells[0]} / {cells[1]}   {cells[2]} / {cells[3]}")
    shown = analyses.text({"errors": {"all": {"count": 3}, "ambiguous": {}}, "oracles": found})
    assert shown.endswith("\n".join(lines)) and json.loads(shown.split("\nsubject")[0]) == {"errors": {"count": 3}}


def test_samples_are_the_images_in_order_without_padding(system):
    _, model, shards, spec = system
    found = list(samples(model, shards, spec, 3))
    assert [s.number for s in found] == list(range(tiny_data.NUM_IMAGES["test"]))
    for s in found:
        scene = tiny_data.draw("test", s.number)
        assert s.image_id == scene.image_id and len(s.boxes) == len(scene.boxes)
        np.testing.assert_allclose(s.boxes * np.tile(s.scale, 2), scene.boxes, atol=1e-3)
        triplets, _ = scene.queries()
        np.testing.assert_array_equal(s.queries, triplets)
        assert s.outputs["subject_mask"].shape == (len(triplets), tiny.SETTINGS["num_boxes"])
    assert len(list(samples(model, shards, spec, 3, max_images=2))) == 2


def test_pictures_show_graph_and_attention(system):
    _, model, shards, spec = system
    first = next(samples(model, shards, spec, 1))
    graph = scene_graphs.read(first.outputs)
    picture = drawings.scene_graph(first, graph, tiny_data.VOCABULARY)
    plain = np.asarray(drawings.attention(first))
    colors = {tuple(c) for c in np.asarray(picture).reshape(-1, 3)}
    assert answer_pictures.COLORS[0] in colors and answer_pictures.COLORS[0] in {tuple(c) for c in plain.reshape(-1, 3)}
    without = Sample(**{**vars(first), "outputs": {k: v for k, v in first.outputs.items() if k != "node_attention"}})
    with pytest.raises(ValueError, match="no attention"):
        drawings.attention(without)


def test_the_cost_of_the_graph_is_counted():
    found = cost.analyze(tiny.config(), tiny.NUM_ENTITIES, tiny.NUM_RELATIONS, num_queries=2)
    assert found["dsg"]["parameters"] > found["no_dsg"]["parameters"]
    assert found["dsg"]["giga_operations"] > found["no_dsg"]["giga_operations"] > 1e-3
    assert found["time_ratio"] > 0 and tf.executing_eagerly()
