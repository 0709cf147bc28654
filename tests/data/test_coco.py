"""COCO: boxes that count, and the rule by which they are related."""

import collections
import itertools
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paths import SHARED_DATA
from readings import in_words, read
from relation_files import write_coco

from dsg_tf.data.prepare.coco import RELATIONS, CocoInstances, relation_between
from dsg_tf.data.problems import PreparationError

OPPOSITE = {"left of": "right of", "above": "below", "in": "around"}
OPPOSITE |= {second: first for first, second in OPPOSITE.items()}


def test_boxes_that_count_are_related(tmp_path):
    reader = CocoInstances.from_files(**write_coco(tmp_path))
    assert reader.vocabulary.entities == ("person", "toothbrush") and reader.vocabulary.relations == RELATIONS
    (scene,), problems, annotated = read(reader, strict=True)
    assert scene.image_id == "000000000139.jpg" and (scene.height, scene.width) == (90, 120)
    person, toothbrush = ("person", 20, 10, 80, 42), ("toothbrush", 10, 60.5, 42, 100.5)
    assert in_words(scene, reader.vocabulary) == [(toothbrush, "right of", person), (person, "left of", toothbrush)]
    # One box of the second image counts, the third has none.
    assert problems == {"small_box": 1, "crowd_box": 1, "no_relationship": 2}
    assert annotated == {"images": 3, "relations": 2, "images_without_relation": 2}


# Boxes are yxyx; the ones of photographs are as annotated there, in COCO's val2017 scaled to 512 pixels.
PAIRS = {
    "tennis racket and person": ((35, 145, 421, 338), (71, 5, 494, 327), "in"),
    "person and tv": ((52, 33, 504, 341), (277, 290, 367, 372), "left of"),
    "laptop and person": ((280, 247, 309, 292), (52, 33, 504, 341), "in"),
    "person and laptop": ((52, 33, 504, 341), (280, 247, 309, 292), "around"),
    "offsets are equal": ((51, 296, 146, 343), (221, 231, 251, 254), "right of"),
    "above": ((0, 0, 10, 10), (11, 5, 21, 15), "above"),
    "below": ((11, 5, 21, 15), (0, 0, 10, 10), "below"),
    "wide boxes reach far": ((0, 0, 10, 100), (9, 60, 19, 160), "above"),
    "85 % inside": ((0, 0, 20, 100), (0, 15, 100, 200), "in"),
    "84 % inside": ((0, 0, 20, 100), (0, 16, 100, 200), "above"),
    "1 / 0.7 times as large": ((0, 0, 70, 100), (0, 0, 100, 100), "in"),
    "not so much larger": ((0, 0, 71, 100), (0, 0, 100, 100), "above"),
    "one center, none in the other": ((0, 40, 100, 60), (40, 0, 60, 100), None),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_relation_of_two_boxes(name):
    subject, object_, relation = PAIRS[name]
    assert relation_between(subject, object_) == relation


_SIDE = st.integers(1, 300)
_BOX = st.tuples(_SIDE, _SIDE, _SIDE, _SIDE).map(lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3]))


@given(_BOX, _BOX)
def test_the_opposite_holds_the_other_way_round(first, second):
    assert relation_between(second, first) == OPPOSITE.get(relation_between(first, second))


def first_image(change):
    return lambda content: change([row for row in content["annotations"] if row["image_id"] == 139], content)


BROKEN = {
    "no box": (lambda rows, _: rows[0].pop("bbox"), {"malformed_box": 1}, 0),
    "unknown category": (lambda rows, _: rows[0].update(category_id=7), {"unknown_entity": 1, "nothing_left": 1}, 0),
    "beyond the image": (lambda rows, _: rows[0].update(bbox=[60, 10, 70, 40]), {"out_of_image_box": 1}, 2),
    "outside": (lambda rows, _: rows[0].update(bbox=[160, 10, 70, 40]), {"zero_area_box": 1, "nothing_left": 1}, 0),
    "the same again": (lambda rows, c: c["annotations"].append(dict(rows[1])), {}, 2),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_annotations_are_counted_and_left_out(tmp_path, name):
    change, kinds, relations_left = BROKEN[name]
    reader = CocoInstances.from_files(**write_coco(tmp_path, first_image(change)))
    scenes, problems, _ = read(reader)
    without = 2 if "nothing_left" in kinds or relations_left else 3
    assert problems == {"small_box": 1, "crowd_box": 1, **kinds, "no_relationship": without}
    assert sum(len(scene.relations) for scene in scenes) == relations_left


def test_files_that_are_not_of_the_format_say_which_and_where(tmp_path):
    def rejected(change, message):
        with pytest.raises(PreparationError, match=message):
            CocoInstances.from_files(**write_coco(tmp_path, change))

    rejected(lambda c: c.pop("categories"), 'val2017.json must hold a list under "categories"')
    rejected(lambda c: c["images"][1].pop("file_name"), 'images 1 has no "file_name" that is a text')
    rejected(lambda c: c["images"][1].update(id=139), "val2017.json has image id 139 more than once")
    rejected(lambda c: c["images"][1].update(file_name="000000000139.jpg"), "has 000000000139.jpg more than once")
    rejected(lambda c: c["annotations"][4].update(image_id=1), 'annotation 4 is of image 1, which "images" lacks')
    rejected(lambda c: c["annotations"][4].pop("image_id"), 'annotations 4 has no "image_id" that is an integer')
    rejected(lambda c: c["categories"][1].update(name="person"), "two entity classes have the same name: person")


@pytest.mark.skipif(
    not os.path.isdir(os.path.join(SHARED_DATA, "coco_photos")),
    reason="needs the COCO photographs; set DSG_TF_SHARED_DATA to the folder of coco_photos/",
)
@pytest.mark.parametrize(["split", "relations"], [("train", 12226), ("val", 1952)])
def test_the_rule_gives_the_relations_of_the_photographs(split, relations):
    with open(os.path.join(SHARED_DATA, "coco_photos", f"annotations_{split}.json"), encoding="utf-8") as file:
        annotated = json.load(file)
    agree = collections.Counter()
    for relationships in annotated.values():
        found = {}
        for row in relationships:
            ends = []
            for end in (row["subject"], row["object"]):
                y0, y1, x0, x1 = end["bbox"]
                ends.append(((y0, x0, y1, x1), end["category"]))
            found[tuple(ends)] = RELATIONS[row["predicate"]]
        entities = {end for ends in found for end in ends}
        assert set(found) == set(itertools.permutations(entities, 2)), "every ordered pair"
        agree.update(relation == relation_between(*(box for box, _ in ends)) for ends, relation in found.items())
    assert agree == {True: relations}
