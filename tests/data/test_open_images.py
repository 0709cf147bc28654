"""Open Images: rows of a table become scenes."""

import pytest
from dataset_files import changed
from readings import first_offenders, in_words, read
from relation_files import write_open_images

from dsg_tf.data.prepare.open_images import OpenImages
from dsg_tf.data.problems import PreparationError


def test_boxes_are_shares_of_the_image(tmp_path):
    reader = OpenImages.from_files(**write_open_images(tmp_path))
    # In the order of the triplets, without Tortoise, which has no relationship.
    assert reader.vocabulary.entities == ("Man", "Table", "Guitar")
    assert reader.vocabulary.relations == ("interacts with", "plays")
    (scene,), problems, annotated = read(reader, strict=True)
    assert scene.image_id == "000ac95750ac7399.jpg" and (scene.height, scene.width) == (30, 40)
    man, guitar, table = ("Man", 6, 4, 27, 24), ("Guitar", 9, 10, 21, 20), ("Table", 15, 0, 30, 40)
    assert in_words(scene, reader.vocabulary) == [(man, "plays", guitar), (man, "interacts with", table)]
    assert problems == {"attribute": 2, "no_relationship": 1}
    assert annotated == {"images": 2, "relations": 2, "images_without_relation": 1}


def test_without_images_the_counts_are_the_same(tmp_path):
    reader = OpenImages.from_files(**{**write_open_images(tmp_path), "images": None})
    (scene,), problems, _ = read(reader, strict=True)
    assert len(scene.boxes) == 3 and problems == {"attribute": 2, "no_relationship": 1}


BROKEN = {
    "unknown label": ({1: "/m/none"}, {"unknown_entity": 1}),
    "a class that has no relationship": ({2: "/m/011k07"}, {"unknown_entity": 1}),
    "unknown relation": ({11: "kicks"}, {"unknown_relation": 1}),
    "no number": ({3: "left"}, {"malformed_box": 1}),
    "not a number": ({3: "nan"}, {"malformed_box": 1}),
    "empty": ({10: ""}, {"malformed_box": 1}),
    "exchanged": ({3: 0.7}, {"zero_area_box": 1}),
    "beyond the image": ({4: 1.5}, {"out_of_image_box": 1}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rows_are_counted_and_left_out(tmp_path, name):
    changes, kinds = BROKEN[name]
    files = write_open_images(tmp_path, lambda rows: [rows[1].__setitem__(*change) for change in changes.items()])
    (scene,), problems, annotated = read(OpenImages.from_files(**files))
    assert problems == {"attribute": 2, **kinds, "no_relationship": 1}
    assert len(scene.relations) == (2 if "out_of_image_box" in kinds else 1) and annotated["relations"] == 2


def test_a_problem_names_the_row_and_the_box(tmp_path):
    reader = OpenImages.from_files(**write_open_images(tmp_path, lambda rows: rows[2].__setitem__(2, "/m/x")))
    assert first_offenders(reader, "unknown_entity") == ["000ac95750ac7399.jpg, relationship 1, box 2: '/m/x'"]


def test_columns_go_by_their_names(tmp_path):
    def change(rows):
        for number, row in enumerate(rows):
            row.reverse()
            row.insert(0, "more" if number else "More")

    reader = OpenImages.from_files(**write_open_images(tmp_path / "other", change))
    usual = OpenImages.from_files(**write_open_images(tmp_path))
    assert [row.content for row in reader.rows] == [row.content for row in usual.rows]


def test_class_descriptions_may_have_a_header(tmp_path):
    files = write_open_images(tmp_path)
    with open(files["objects"], encoding="utf-8") as file:
        rows = file.read()
    with open(files["objects"], "w", encoding="utf-8") as file:
        file.write("LabelName,DisplayName\n" + rows)
    assert OpenImages.from_files(**files).vocabulary.entities == ("Man", "Table", "Guitar")


def test_files_that_are_not_of_the_format_say_which_and_where(tmp_path):
    files = write_open_images(tmp_path)

    def rejected(name, change, message):
        with changed(files[name], change), pytest.raises(PreparationError, match=message):
            OpenImages.from_files(**files)

    rejected(
        "annotations", lambda text: text.replace("XMin2", "X2"), r"vrd.csv has no column XMin2, its first row is \["
    )
    rejected("annotations", lambda text: text[:-20], "vrd.csv, perhaps cut short: row 5 has 7 fields")
    rejected("annotations", lambda text: "", r"vrd.csv has no column ImageID, its first row is \[\]")
    rejected(
        "objects", lambda text: text.replace("/m/0342h,Guitar\n", ""), "boxable.csv does not name /m/0342h, which "
    )
    rejected("objects", lambda text: text.replace("Guitar", "Guitar,x"), "row 2 must be a label and its name")
    rejected("objects", lambda text: text.replace("Guitar", "Man"), "two entity classes have the same name: Man")
    rejected("predicates", lambda text: text.replace("LabelName2", "Label2"), "triplets.csv has no column LabelName2")
    with pytest.raises(PreparationError, match="cannot read nowhere.csv"):
        OpenImages.from_files(**{**files, "predicates": "nowhere.csv"})
