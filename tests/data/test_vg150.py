"""VG150: rows of an HDF5 file become scenes."""

import json

import numpy as np
import pytest
from readings import in_words, read
from relation_files import write_vg150

from dsg_tf.data.prepare.vg150 import Vg150, pixels
from dsg_tf.data.problems import PreparationError


def test_boxes_are_in_pixels_of_the_image(tmp_path):
    reader = Vg150.from_files("test", **write_vg150(tmp_path))
    assert reader.vocabulary.entities == ("airplane", "animal", "arm") and reader.vocabulary.relations == (
        "above",
        "across",
    )
    scenes, problems, annotated = read(reader, strict=True)
    assert [scene.image_id for scene in scenes] == ["5.jpg", "6.jpg"]
    # 40 / 1024 pixels a unit: x from 256 - 256 to 512, y from 384 - 128 to 512; then 512 - 128 and 512 - 64.
    airplane, arm = ("airplane", 10, 0, 20, 20), ("arm", 17.5, 15, 22.5390625, 25.0390625)
    assert in_words(scenes[0], reader.vocabulary) == [(airplane, "above", arm)]
    assert problems == {} and annotated == {"images": 2, "relations": 2}


@pytest.mark.parametrize(
    ["x0", "y0", "x1", "y1", "height", "width"],
    [(0, 0, 640, 480, 480, 640), (3, 7, 100, 333, 1000, 750), (1, 2, 4, 3, 9, 5)],
)
def test_boxes_are_within_a_unit_of_what_the_file_was_made_of(x0, y0, x1, y1, height, width):
    """The file is made as `vg_to_roidb.py` of scene-graph-TF-release makes it, but for its shift by one pixel."""
    unit = max(height, width) / 1024
    left, top = np.floor([x0 / unit, y0 / unit])
    w, h = np.ceil([(x1 - x0) / unit, (y1 - y0) / unit])
    box = pixels([left + w // 2, top + h // 2, w, h], (height, width))
    np.testing.assert_allclose(box, [y0, x0, y1, x1], atol=unit)
    assert box[2] <= height and box[3] <= width


def test_what_leaves_the_image_by_more_than_a_unit_stays():
    assert pixels([32, 16, 64, 33], (32, 64)) == (0, 0, 33 / 16, 4)
    assert pixels([512, 256, 1024, 513], (32, 64))[2] == 32, "rounded up by the file"
    assert pixels([512, 257, 1024, 514], (32, 64))[2] == 514 / 16
    assert pixels([512, 256, 1024, 512], None) == (0, 0, 512, 1024)


def test_val_are_the_first_images_with_relations(tmp_path):
    files = write_vg150(tmp_path)

    def images(split, val_images):
        return [row.image_id for row in Vg150.from_files(split, **files, val_images=val_images).rows]

    assert (images("val", 1), images("train", 1)) == (["1.jpg"], ["2.jpg", "3.jpg", "4.jpg"])
    assert images("train", 0) == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    scenes, problems, annotated = read(Vg150.from_files("train", **files, val_images=1), strict=True)
    assert [scene.image_id for scene in scenes] == ["4.jpg"]
    assert problems == {"no_relationship": 2} and annotated["images_without_relation"] == 2
    with pytest.raises(PreparationError, match="no image with relations for split train, .* 0 train, 2 val, 2 test"):
        images("train", 5000)
    with pytest.raises(PreparationError, match="--split=all: this format has the splits train, val, test"):
        images("all", 1)


def test_a_file_with_validation_images_is_followed(tmp_path):
    files = write_vg150(tmp_path, lambda arrays: arrays["split"].__setitem__(3, 1))
    rows = {split: Vg150.from_files(split, **files).rows for split in ("train", "val", "test")}
    assert {split: [row.image_id for row in of] for split, of in rows.items()} == {
        "train": ["1.jpg", "2.jpg", "3.jpg"],
        "val": ["4.jpg"],
        "test": ["5.jpg", "6.jpg"],
    }


BROKEN = {
    "label 0": (lambda a: a["labels"].__setitem__(6, 0), {"unknown_entity": 1, "nothing_left": 1}),
    "label 4": (lambda a: a["labels"].__setitem__(6, 4), {"unknown_entity": 1, "nothing_left": 1}),
    "predicate 0": (lambda a: a["predicates"].__setitem__(3, 0), {"unknown_relation": 1, "nothing_left": 1}),
    "box of another image": (
        lambda a: a["relationships"].__setitem__(3, [6, 8]),
        {"malformed_annotation": 1, "nothing_left": 1},
    ),
    "no width": (lambda a: a["boxes_1024"].__setitem__((6, 2), 0), {"zero_area_box": 1, "nothing_left": 1}),
    "beyond": (lambda a: a["boxes_1024"].__setitem__((6, 0), 900), {"out_of_image_box": 1}),
    "rows that are not there": (lambda a: a["img_to_last_rel"].__setitem__(4, 9), {"malformed_annotation": 1}),
    "boxes that are not there": (lambda a: a["img_to_first_box"].__setitem__(4, 8), {"malformed_annotation": 1}),
    "of itself": (lambda a: a["relationships"].__setitem__(3, [6, 6]), {"self_relation": 1}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rows_are_counted_and_left_out(tmp_path, name):
    change, kinds = BROKEN[name]
    scenes, problems, _ = read(Vg150.from_files("test", **write_vg150(tmp_path, change)))
    assert problems == kinds
    assert len(scenes) == (2 if set(kinds) <= {"out_of_image_box", "self_relation"} else 1)


FILES = {
    "lacks": (lambda a: a.pop("predicates"), 'attri.h5 has no data set "predicates"'),
    "fractions": (
        lambda a: a.update(labels=a["labels"] * 0.5),
        r'"labels" must hold 1 integers a row, it is float64 \(10, 1\)',
    ),
    "columns": (lambda a: a.update(boxes_1024=a["boxes_1024"][:, :3]), '"boxes_1024" must hold 4 integers a row'),
    "rows": (lambda a: a.update(labels=a["labels"][:9]), '"boxes_1024" has 10 rows, "labels" has 9'),
    "images": (
        lambda a: a.update({name: a[name][:5] for name in a if name.startswith("img_") or name == "split"}),
        r"h5 is of 5 images, .*image_data.json has 6 \(and 1 corrupt ones\)",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_not_of_the_format_say_which_and_where(tmp_path, name):
    change, message = FILES[name]
    with pytest.raises(PreparationError, match=message):
        Vg150.from_files("test", **write_vg150(tmp_path, change))


def test_cut_files_and_dictionaries_say_which(tmp_path):
    files = write_vg150(tmp_path)
    with open(files["objects"], encoding="utf-8") as file:
        dictionary = json.load(file)
    for changed, message in (
        ({**dictionary, "idx_to_label": {"0": "airplane"}}, 'the keys of "idx_to_label" must be 1 to 1'),
        (
            {**dictionary, "idx_to_predicate": {"1": "on", "2": "on"}},
            "dicts.*two relation classes have the same name: on",
        ),
        ({"idx_to_label": {"1": "on"}}, 'has no "idx_to_predicate" that is an object'),
    ):
        with open(files["objects"], "w", encoding="utf-8") as file:
            json.dump(changed, file)
        with pytest.raises(PreparationError, match=message):
            Vg150.from_files("test", **files)
    with open(files["objects"], "w", encoding="utf-8") as file:
        json.dump(dictionary, file)
    with open(files["annotations"], "r+b") as file:
        file.truncate(100)
    with pytest.raises(PreparationError, match="attri.h5 is not a whole HDF5 file"):
        Vg150.from_files("test", **files)
    with pytest.raises(PreparationError, match="cannot read nowhere.h5: No such file"):
        Vg150.from_files("test", **{**files, "annotations": "nowhere.h5"})


def test_the_corrupt_images_may_be_left_out_of_the_metadata(tmp_path):
    files = write_vg150(tmp_path)
    with open(files["image_metadata"], encoding="utf-8") as file:
        kept = [image for image in json.load(file) if image["image_id"] != 1592]
    with open(files["image_metadata"], "w", encoding="utf-8") as file:
        json.dump(kept, file)
    assert [row.image_id for row in Vg150.from_files("test", **files).rows] == ["5.jpg", "6.jpg"]
