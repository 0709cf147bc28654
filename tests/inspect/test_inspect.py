"""The page about a data set against the data: counted here once more, scene by scene."""

from __future__ import annotations

import collections
import dataclasses
import subprocess
import sys

import html_pages
import numpy as np
import pytest
import tensorflow as tf
import tiny
import tiny_data
from commands import ENVIRONMENT
from paths import ROOT

from dsg_tf import boxes as box_lib
from dsg_tf import build
from dsg_tf.data import integrity, records
from dsg_tf.data.batches import pipeline
from dsg_tf.data.records import DatasetInfo
from dsg_tf.data.scene import Scene, Vocabulary
from dsg_tf.drawing import answer_pictures
from dsg_tf.evaluation.analysis import box_rules
from dsg_tf.inspect import anchors, counts, pages
from dsg_tf.model import detector

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    tiny_data.write(folder)
    return folder


def page_of(data_dir, tmp_path, config=None, **options):
    path = tmp_path / "page.html"
    remarks = pages.write(str(data_dir), str(path), config, **options)
    return html_pages.check(path.read_text(encoding="utf-8")), remarks


def write_split(data_dir, split, scenes, vocabulary=tiny_data.VOCABULARY, **changes):
    """A shard of any scenes, as another program may write it."""
    infos = DatasetInfo.load(str(data_dir)).splits if (data_dir / records.INFO_FILE).exists() else {}
    path = data_dir / records.shard_name(split, 0, 1)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for scene in scenes:
            writer.write(records.scene_to_example(scene).SerializeToString())
    most = {f"max_{name}": 9 for name in ("boxes", "relations", "queries", "height", "width")}
    totals = {f"num_{name}": 9 for name in ("boxes", "relations", "queries")}
    values = {"annotated": {}, "source": {}, "problems": {}, "num_images": len(scenes), "num_shards": 1}
    values |= {"examples_per_shard": [len(scenes)], **most, **totals, **changes}
    DatasetInfo(vocabulary, {**infos, split: records.SplitInfo(**values)}).save(str(data_dir))


def test_the_numbers_are_those_of_the_data(data_dir, tmp_path):
    found, remarks = page_of(data_dir, tmp_path)
    info = DatasetInfo.load(data_dir)
    assert list(found.tables["What the splits hold"][1:]) == [
        [s, str(i.num_images), str(i.num_boxes), str(i.num_relations), str(i.num_queries)]
        for s, i in ((s, info.splits[s]) for s in ("train", "val", "test"))
    ]
    for split, number in tiny_data.NUM_IMAGES.items():
        scenes = [tiny_data.draw(split, k) for k in range(number)]
        entities = collections.Counter(tiny_data.VOCABULARY.entities[e] for s in scenes for e in s.entities)
        relations = collections.Counter(tiny_data.VOCABULARY.relations[r] for s in scenes for r in s.relations[:, 1])
        shown = found.numbers("Boxes of each class, most frequent first", split)
        assert set(shown) == set(tiny_data.VOCABULARY.entities) and +collections.Counter(shown) == entities
        shown = found.numbers("Relations of each class, most frequent first", split)
        assert +collections.Counter(shown) == relations
        sides = found.numbers("Boxes by the root of their area, pixels of the image", split)
        wide = found.numbers("Boxes by width / height", split)
        assert sides["8 to 16 px"] == sum(
            8 <= np.sqrt((b[2] - b[0]) * (b[3] - b[1])) < 16 for s in scenes for b in s.boxes
        )
        assert sum(sides.values()) == sum(wide.values()) == sum(len(s.boxes) for s in scenes)
        sizes = found.numbers(f"Sizes of the images of {split}", "number")
        assert sizes == dict(collections.Counter(f"{s.width} × {s.height}" for s in scenes))
        per_image = found.numbers("Images by their relations", split)
        assert sum(per_image.values()) == number
        assert per_image["6 to 10"] == sum(6 <= len(s.relations) <= 10 for s in scenes)
    assert [sentence for sentence in remarks if "the same" in sentence or "there before" in sentence] == []


def test_ambiguous_queries_are_those_of_the_evaluation(data_dir, tmp_path):
    found, _ = page_of(data_dir, tmp_path, samples=0)
    info = DatasetInfo.load(data_dir)
    for split in tiny_data.NUM_IMAGES:
        spec = build.batch_spec(tiny.config(), info, split, training=False)
        expected, decided = collections.Counter(), collections.Counter()
        for batch in pipeline.eval_batches(info.shard_paths(data_dir, split), spec, 1):
            ambiguous, of_class = box_rules.ambiguous(batch), box_rules.of_class(batch)
            asked = batch["query_mask"].numpy()
            for role in ("subject", "object"):
                hard = ambiguous[role].numpy() & asked
                expected[role] += hard.sum()
                some = (batch[f"{role}_of"].numpy() != of_class[role].numpy()).any(axis=-1)
                decided[role] += (hard & some).sum()
            expected["some"] += (np.logical_or(*(ambiguous[r].numpy() for r in ("subject", "object"))) & asked).sum()
        shown = found.numbers("Queries whose class several boxes have", split)
        assert shown["all"] == info.splits[split].num_queries
        assert shown["ambiguous in some role"] == expected["some"]
        for role in ("subject", "object"):
            assert shown[f"{role} ambiguous"] == expected[role] and (split != "train" or expected[role])
            assert shown[f"of these, some of the {role}s answer"] == decided[role]
        share = expected["some"] / shown["all"]
        cell = found.column("Queries whose class several boxes have", split)["ambiguous in some role"]
        assert cell.endswith(f"({share:.1%})")


def test_a_box_that_answers_in_several_relations_is_one():
    """Two squares and two discs; one square is left of both discs."""
    counted = counts.SplitCounts(len(tiny_data.VOCABULARY.entities), len(tiny_data.VOCABULARY.relations))
    boxes = [(0, k, 9, k + 9) for k in range(4)]
    record = records.scene_to_example(scene(entities=(0, 0, 3, 3), boxes=boxes, relations=((0, 0, 2), (0, 0, 3))))
    counted.add({k: v.numpy() for k, v in records.parse_example(record.SerializeToString()).items()})
    assert counted.ambiguous == {"subject": 1, "object": 1} and counted.ambiguous_queries == 1
    assert counted.decided == {"subject": 1, "object": 0}


def test_samples_are_drawn_at_equal_distances(data_dir, tmp_path):
    found, _ = page_of(data_dir, tmp_path, samples=3, splits=["train"])
    pictures = found.pictures()
    assert [alt.split(":")[0] for _, alt in pictures] == ["train0.png", "train3.png", "train7.png"]
    for (picture, alt), number in zip(pictures, (0, 3, 7)):
        scene = tiny_data.draw("train", number)
        assert all(f"{k + 1} {tiny_data.VOCABULARY.entities[e]}" in alt for k, e in enumerate(scene.entities))
        near = np.abs(np.asarray(picture, int) - answer_pictures.COLORS[0]).max(axis=-1) < 24
        assert near.sum() > 50  # The frame of the first box.
    assert "Samples of val" not in found.text
    assert not page_of(data_dir, tmp_path, samples=0)[0].pictures()
    assert len(page_of(data_dir, tmp_path, samples=99, splits=["val"])[0].pictures()) == tiny_data.NUM_IMAGES["val"]


def scene(name="a.png", entities=(0, 1), boxes=((4, 4, 20, 20), (30, 30, 46, 60)), relations=((0, 0, 1),), image=None):
    encoded = tiny_data.draw("train", 0).image if image is None else image
    return Scene(name, encoded, 48, 72, list(boxes), list(entities), list(relations))


def test_names_are_text(tmp_path):
    vocabulary = Vocabulary((EVIL, "dog"), (f"on {EVIL}",))
    problems = {
        "missing_image": {"count": 7, "first": [f"{EVIL}.jpg"]},
        "of_a_later_version": {"count": 1, "first": []},
    }
    source = {"annotations": f"{EVIL}.json", "max_images": None}
    write_split(tmp_path, "train", [scene(f"{EVIL}.png")], vocabulary, problems=problems, source=source)
    found, _ = page_of(tmp_path, tmp_path)
    assert found.numbers("Boxes of each class, most frequent first", "train") == {EVIL: 1, "dog": 1}
    assert f"1 {EVIL}, on {EVIL}, 2 dog" in found.text and f"{EVIL}.json" in found.text
    kinds = found.tables["What was wrong in train"][1:]
    assert kinds[0] == ["missing_image", "7", "the image file is not there; the image is left out", f"{EVIL}.jpg"]
    assert kinds[1] == ["of_a_later_version", "1", "", ""] and "max_images" not in found.text


def test_an_empty_split_and_one_without_relations(tmp_path):
    write_split(tmp_path, "train", [])
    write_split(tmp_path, "val", [scene(relations=()), scene("none.png", (), (), ())])
    found, remarks = page_of(tmp_path, tmp_path, tiny.config())
    assert remarks[:2] == ["train has no images", "val has no relations: there is nothing to ask"]
    assert found.tables["What the splits hold"][1:] == [["train", "0", "0", "0", "0"], ["val", "2", "2", "0", "0"]]
    assert found.column("Queries whose class several boxes have", "val")["ambiguous in some role"] == "0"
    assert [alt for _, alt in found.pictures()] == ["a.png: 1 red square, 2 green square", "none.png: no boxes"]


def test_classes_that_another_split_lacks_and_images_in_two_are_named(tmp_path):
    both, hidden = scene(), tiny_data.draw("train", 1).image
    write_split(tmp_path, "train", [both, dataclasses.replace(both, image_id="b.png")])
    write_split(tmp_path, "val", [both, scene("c.png", (2, 1), relations=((0, 1, 1),), image=hidden)])
    _, remarks = page_of(tmp_path, tmp_path, samples=0)
    assert remarks == [
        "train: images whose file was there before: 1",
        "the same image files in train and in val: 1",
        "2 entity classes with fewer than 10 in train: red square, green square",
        "1 entity class of val not in train: blue square",
        "2 entity classes in no split: red disc, blue disc",
        "1 relation class with fewer than 10 in train: left",
        "1 relation class of val not in train: right",
        "2 relation classes in no split: above, below",
    ]
    write_split(tmp_path, "val", [scene("c.png", (1,), ((0, 0, 9, 9),), (), image=hidden)])
    assert "1 entity class of train not in val: red square" in page_of(tmp_path, tmp_path, samples=0)[1]


def test_what_is_wrong_in_the_files_is_counted(tmp_path):
    boxes = ((4, 4, 20, 20), (30, 30, 50, 60), (np.nan, 0, 9, 9), (5, 5, 5, 9))
    example = records.scene_to_example(scene(entities=(0, 1, 77, 0), boxes=boxes, relations=((0, 0, 1), (1, 3, 3))))
    example.features.feature["relation/object"].int64_list.value[0] = 9
    write_split(tmp_path, "train", [scene()])
    with tf.io.TFRecordWriter(str(tmp_path / records.shard_name("train", 0, 1))) as writer:
        writer.write(example.SerializeToString())
    found, remarks = page_of(tmp_path, tmp_path, tiny.config())
    assert remarks[:5] == [f"train: {what}: 1" for what in counts.FAULTS.values()]
    assert "3 class 77" in found.pictures()[0][1]
    assert sum(found.numbers("Boxes of train in the network's input", "boxes").values()) == 2 * 2  # With the sum.


def test_an_image_that_does_not_decode_is_named(tmp_path):
    write_split(tmp_path, "train", [scene("broken.png", image=b"no image")])
    with pytest.raises(ValueError, match=r"image 'broken\.png' does not decode"):
        page_of(tmp_path, tmp_path)
    page_of(tmp_path, tmp_path, samples=0)


def test_a_broken_shard_is_named_and_an_old_page_stays(data_dir, tmp_path):
    tiny_data.write(str(tmp_path / "data"), {"train": 4})
    shard = tmp_path / "data" / records.shard_name("train", 1, 2)
    shard.write_bytes(shard.read_bytes()[:-9])
    (tmp_path / "page.html").write_text("old")
    with pytest.raises(integrity.BrokenShardError, match="train-00001-of-00002"):
        page_of(tmp_path / "data", tmp_path)
    with pytest.raises(ValueError, match="no split 'tset', only test, train, val"):
        page_of(data_dir, tmp_path, splits=["tset"])
    assert (tmp_path / "page.html").read_text() == "old"


@pytest.mark.parametrize(
    "changes", [{}, {"rpn_max_level": 4, "anchor_scales": (1.0, 3.0), "aspect_ratios": (0.5, 2.0)}]
)
def test_the_best_anchor_is_that_of_brute_force(changes):
    config = tiny.config(**changes)
    rng = np.random.default_rng(0)
    low = rng.uniform(-4, 60, [300, 2])
    boxes = np.concatenate([low, low + np.exp(rng.uniform(0, 4.5, [300, 2]))], axis=1).astype(np.float32)
    every = detector.make_anchors(config.image_size, config.rpn_levels, config.anchor_scales, config.aspect_ratios)
    expected = box_lib.iou(boxes[np.newaxis], every[np.newaxis])[0].numpy().max(axis=1)
    np.testing.assert_allclose(anchors.best_iou(boxes, anchors.grids(config)), expected, atol=1e-6)
    assert (expected > 0.5).sum() > 20 and (expected < 0.5).sum() > 20


def test_anchors_are_held_against_boxes_at_the_size_of_the_input(data_dir, tmp_path):
    config = tiny.config(rpn_positive_iou=0.7)
    found, remarks = page_of(data_dir, tmp_path, config, samples=0)
    info = DatasetInfo.load(data_dir)
    every = detector.make_anchors(config.image_size, config.rpn_levels, config.anchor_scales, config.aspect_ratios)
    best, sides = [], []
    spec = build.batch_spec(config, info, "train", training=False)
    for batch in pipeline.eval_batches(info.shard_paths(data_dir, "train"), spec, 1):
        boxes = batch["true_boxes"][batch["box_mask"]].numpy()
        best += box_lib.iou(boxes[np.newaxis], every[np.newaxis])[0].numpy().max(axis=1).tolist()
        sides += np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)).tolist()
    best, sides = np.array(best), np.array(sides)
    caption = "Boxes of train in the network's input"
    assert found.tables[caption][0][2:] == ["reached at IoU 0.5", "reached at IoU 0.6", "reached at IoU 0.7"]
    middle = (sides >= 16) & (sides < 32)
    for name, chosen in (("16 to 32 px", middle), ("all", sides > 0)):
        assert found.numbers(caption, "boxes")[name] == chosen.sum() > 0
        for threshold in (0.5, 0.6, 0.7):
            share = found.column(caption, f"reached at IoU {threshold:g}")[name]
            assert share == f"{(best[chosen] >= threshold).mean():.1%}"
    assert found.column(caption, "reached at IoU 0.5")["below 8 px"] == "–"
    few = tiny.config(anchor_scales=(8.0,))
    assert any("train: an anchor reaches" in sentence for sentence in page_of(data_dir, tmp_path, few, samples=0)[1])


@pytest.mark.parametrize(
    "changes, says", [({"model": "co"}, "--model=co attends to cells"), (None, "no fixed anchors")]
)
def test_systems_without_fixed_anchors(data_dir, tmp_path, changes, says):
    nanodet = {"backbone": "nanodet_plus", "backbone_depth": "m", "decoder": "identity", "rpn_max_level": 6}
    found, _ = page_of(data_dir, tmp_path, tiny.config(**(changes or nanodet)), samples=0)
    assert says in found.text
    assert found.tables["Boxes of val in the network's input"][0] == ["root of the area", "boxes"]


def test_ranges_hold_their_lower_bound():
    assert counts.in_ranges(np.array([0.0, 7.9, 8, 512, 4000]), counts.SIDES).tolist() == [2, 1, 0, 0, 0, 0, 0, 2]
    assert counts.range_names((0, 8, 16)) == ["below 8", "8 to 16", "16 and more"]
    assert counts.whole_range_names((0, 1, 2, 5)) == ["0", "1", "2 to 4", "5 and more"]
    assert [counts.median(collections.Counter(v)) for v in ([3], [1, 2, 9], [1, 2, 3, 4], [])] == [3, 2, 2, 0]


def run(*arguments, folder):
    return subprocess.run(
        [sys.executable, "-m", "dsg_tf.inspect", *arguments],
        env={**ENVIRONMENT, "PYTHONPATH": ROOT},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.process
def test_the_command(data_dir, model_dir, tmp_path):
    done = run(data_dir, f"--model_dir={model_dir}", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "inspect.html" and "train: 8 of 8" in done.stderr
    found = html_pages.check((tmp_path / "inspect.html").read_text(encoding="utf-8"))
    assert "sides of 2, 4 strides" in found.text and len(found.pictures()) == 8 + 2 + 5
    (tmp_path / "tiny.flags").write_text(f"--data_dir={data_dir}\n--anchor_scales=3\n--model_dir=runs/not_yet\n")
    done = run("--flagfile=tiny.flags", "--samples=0", "--output=a/b.html", folder=tmp_path)
    assert done.returncode == 0 and "sides of 3 strides" in (tmp_path / "a" / "b.html").read_text(), done.stderr


@pytest.mark.process
def test_wrong_arguments_are_a_sentence_before_tensorflow(data_dir, tmp_path):
    for arguments, says in (
        ([], "name a prepared data set"),
        (["nowhere"], "nowhere has no dataset_info.json"),
        ([data_dir, "another"], "unexpected arguments"),
        ([data_dir, "--samples=-1"], "samples"),
        ([data_dir, "--model_dir=nowhere"], "--model_dir=nowhere holds no model"),
        ([data_dir, "--anchor_scales=0"], "--anchor_scales"),
        ([data_dir, f"--output={tmp_path}"], "is a directory"),
    ):
        done = run(*arguments, folder=tmp_path)
        assert done.returncode == 1 and says in done.stdout + done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())
