"""Every form of annotated images: the command prepares it, and what it wrote is what the reader reads."""

import pickle

import commands
import dataset_files
import numpy as np
import pytest
import relation_files
import tensorflow as tf
from readings import read

from dsg_tf.data.prepare import command
from dsg_tf.data.prepare.formats import FORMATS
from dsg_tf.data.problems import PreparationError
from dsg_tf.data.records import DatasetInfo, parse_example

# How each form's files are written, and a split of them with at least two images and one relation.
SOURCES = {
    "referring_relationships": (
        lambda folder: dataset_files.write_referring_relationships(folder, dataset_files.good_annotations(3)),
        "train",
    ),
    "visual_genome": (relation_files.write_visual_genome, "train"),
    "vg150": (relation_files.write_vg150, "test"),
    "gqa": (relation_files.write_gqa, "train"),
    "open_images": (relation_files.write_open_images, "train"),
    "psg": (relation_files.write_psg, "val"),
    "coco": (relation_files.write_coco, "train"),
}
OF_OTHER_TESTS = {"clevr_scenes", "synthetic"}


def flags_of(name, files, output_dir, **more):
    values = {"format": name, **files, "output_dir": output_dir, "processes": 1, **more}
    return [f"--{key}={value}" for key, value in values.items() if value is not None]


def prepare(arguments):
    command.prepare(commands.parsed(command.define_flags, arguments))


def test_every_format_has_a_test():
    assert set(SOURCES) | OF_OTHER_TESTS == set(FORMATS)


@pytest.mark.parametrize("name", SOURCES)
def test_records_hold_what_the_reader_reads(name, tmp_path):
    write, split = SOURCES[name]
    files, out = write(tmp_path / "raw"), str(tmp_path / "out")
    prepare(flags_of(name, files, out, split=split, num_shards=2))
    form = FORMATS[name]
    reader = form.read(split, **{flag: files.get(flag) for flag in (*form.needed, *form.optional)})
    scenes, problems, annotated = read(reader)
    info = DatasetInfo.load(out)
    assert scenes and info.vocabulary == reader.vocabulary
    written = info.splits[split]
    assert written.source == {**reader.source, "num_shards": 2}
    assert {kind: entry["count"] for kind, entry in written.problems.items()} == problems
    assert written.annotated == {"images_without_relation": 0, **annotated}
    records = list(tf.data.TFRecordDataset(info.shard_paths(out, split)))
    assert len(records) == len(scenes)
    for scene, record in zip(scenes, records):
        parsed = parse_example(record)
        assert parsed["image_id"].numpy().decode() == scene.image_id
        assert parsed["size"].numpy().tolist() == [scene.height, scene.width]
        decoded = tf.io.decode_image(parsed["encoded"])
        assert decoded.shape == (scene.height, scene.width, 3)
        for field in ("boxes", "entities", "relations"):
            np.testing.assert_array_equal(parsed[field].numpy(), getattr(scene, field))
        assert (scene.boxes[:, :2] >= 0).all() and (scene.boxes[:, 2:] <= [scene.height, scene.width]).all()
        assert (scene.boxes[:, 2:] > scene.boxes[:, :2]).all()


@pytest.mark.parametrize("name", SOURCES)
def test_a_part_of_the_images_can_be_read(name, tmp_path):
    write, split = SOURCES[name]
    files, form = write(tmp_path), FORMATS[name]
    given = {flag: files.get(flag) for flag in (*form.needed, *form.optional)}
    whole = form.read(split, **given)
    part = form.read(split, **{**given, "first_image": 1, "max_images": 1})
    assert len(whole) >= 2 and [row.image_id for row in part.rows] == [whole.rows[1].image_id]
    assert part.vocabulary == whole.vocabulary, "of all the images"
    assert (part.source["first_image"], part.source["max_images"]) == (1, 1)
    # It goes to other processes.
    sent = pickle.loads(pickle.dumps(whole))
    assert [scene.boxes.tolist() for scene in read(sent)[0]] == [scene.boxes.tolist() for scene in read(whole)[0]]
    with pytest.raises(PreparationError, match=f"--first_image=9, but there are {len(whole)} images"):
        form.read(split, **{**given, "first_image": 9})


@pytest.mark.parametrize("name", SOURCES)
def test_strict_stops_at_a_picture_that_is_not_there(name, tmp_path):
    write, split = SOURCES[name]
    files = {**write(tmp_path / "raw"), "images": str(tmp_path)}
    with pytest.raises(PreparationError, match=r"missing_image: .*\(--strict\)"):
        prepare([*flags_of(name, files, tmp_path / "out", split=split), "--strict"])


def test_val_of_gqa_with_its_own_vocabulary_is_refused_beside_train(tmp_path):
    train, val = (relation_files.write_gqa(tmp_path / "raw", name) for name in ("train", "val"))
    out = str(tmp_path / "out")
    prepare(flags_of("gqa", train, out, split="train"))
    with pytest.raises(
        PreparationError, match="3 entities .number 0 is 'chair'., this source has 3 .number 0 is 'lamp'"
    ):
        prepare(flags_of("gqa", val, out, split="val"))
    prepare(flags_of("gqa", val, out, split="val", vocabulary_from=train["annotations"]))
    assert sorted(DatasetInfo.load(out).splits) == ["train", "val"]


def test_other_counts_of_classes_are_refused_beside_the_first(tmp_path):
    files, out = relation_files.write_visual_genome(tmp_path / "raw"), str(tmp_path / "out")
    prepare(flags_of("visual_genome", files, out, split="train", num_entities=3))
    with pytest.raises(PreparationError, match="3 entities .none is number 3., this source has 5"):
        prepare(flags_of("visual_genome", files, out, split="val"))
    prepare(flags_of("visual_genome", files, out, split="val", num_entities=3))
