"""Visual Genome's release and GQA: boxes, names, the vocabulary of the most frequent ones, splits."""

import pytest
from dataset_files import changed
from readings import first_offenders, in_words, read
from relation_files import VG_IDS, vg_end, vg_object, vg_relationship, write_gqa, write_visual_genome

from dsg_tf.data.prepare.gqa import GqaSceneGraphs
from dsg_tf.data.prepare.named_graphs import NamedGraph, NamedObject, NamedRelation, frequent_vocabulary, read_aliases
from dsg_tf.data.prepare.visual_genome import VisualGenome
from dsg_tf.data.problems import PreparationError

MAN, HAT, SHIRT, STREET = ("man", 3, 2, 23, 12), ("hat", 3, 4, 7, 9), ("shirt", 8, 3, 17, 10), ("street", 20, 0, 30, 40)
DOG = ("dog", 20, 20, 26, 26)


def test_visual_genome_boxes_become_yxyx_and_merged_ids_one_box(tmp_path):
    reader = VisualGenome.from_files("test", **write_visual_genome(tmp_path))
    assert reader.vocabulary.entities == ("hat", "man", "shirt", "street", "dog")
    assert reader.vocabulary.relations == ("wears", "on", "near")
    (scene,), problems, annotated = read(reader, strict=True)
    assert scene.image_id == "10.jpg" and (scene.height, scene.width) == (30, 40)
    assert in_words(scene, reader.vocabulary) == [(MAN, "wears", HAT), (MAN, "wears", SHIRT), (MAN, "on", STREET)]
    assert problems == {} and annotated == {"images": 1, "relations": 3}


def test_visual_genome_splits_go_by_the_last_digit_and_share_a_vocabulary(tmp_path):
    files = write_visual_genome(tmp_path)
    readers = {split: VisualGenome.from_files(split, **files) for split in ("train", "val", "test")}
    assert {split: [row.image_id for row in reader.rows] for split, reader in readers.items()} == {
        "train": ["12.jpg", "2407892.jpg"],
        "val": ["11.jpg"],
        "test": ["10.jpg"],
    }
    assert len({reader.vocabulary for reader in readers.values()}) == 1
    assert len(read(readers["train"])[0]) == 2, "pictures lie in VG_100K_2, too"
    with pytest.raises(PreparationError, match="--split=dev: this format has the splits train, val, test"):
        VisualGenome.from_files("dev", **files)


def test_a_split_without_an_image_is_refused(tmp_path):
    files = write_visual_genome(tmp_path, lambda objects, relationships: relationships.pop(11))
    with pytest.raises(PreparationError, match="relationships.json has no image of split val"):
        VisualGenome.from_files("val", **files)


def test_rare_classes_are_left_out_and_no_reason_to_stop(tmp_path):
    files = write_visual_genome(tmp_path)
    reader = VisualGenome.from_files("train", **files, num_entities=4, num_relations=1)
    scenes, problems, annotated = read(reader, strict=True)
    assert problems == {"rare_class": 4} and annotated["relations"] == 8
    assert in_words(scenes[0], reader.vocabulary) == [(MAN, "wears", HAT), (MAN, "wears", SHIRT)]
    assert [reader.vocabulary.entities[e] for e in scenes[0].entities] == ["man", "hat", "street", "shirt"]
    assert first_offenders(reader, "rare_class")[:2] == [
        "12.jpg, relationship 2: ('man', 'on', 'street')",
        "12.jpg, relationship 3: ('dog', 'near', 'man')",
    ]
    assert reader.source["num_entities"] == 4 and reader.source["num_relations"] == 1
    # Of hat, man, shirt and street, which are as frequent, hat is the first in the alphabet.
    one = VisualGenome.from_files("train", **files, num_entities=1)
    assert one.vocabulary.entities == ("hat",)
    scenes, problems, _ = read(one, strict=True)
    assert scenes == [] and problems == {"rare_class": 8, "no_relationship": 2}


def test_other_forms_of_names_count_as_the_name(tmp_path):
    def change(objects, relationships):
        objects[10][0]["names"] = ["Guy"]
        relationships[10][2]["predicate"] = "standing  ON"

    plain = VisualGenome.from_files("test", **write_visual_genome(tmp_path, change))
    assert in_words(read(plain)[0][0], plain.vocabulary)[2] == (("guy", *MAN[1:]), "standing on", STREET)
    files = write_visual_genome(tmp_path, change, aliases=("object_aliases", "relation_aliases"))
    reader = VisualGenome.from_files("test", **files)
    assert in_words(read(reader)[0][0], reader.vocabulary)[2] == (MAN, "on", STREET)
    assert reader.source["object_aliases"].startswith("object_aliases.txt sha256:")


def test_aliases_of_an_alias_and_empty_ones(tmp_path):
    path = tmp_path / "aliases.txt"
    path.write_text("person ,person  is\nmen,mens\nmens,many men,\n\ngrass\n")
    aliases, file_print = read_aliases(str(path))
    assert aliases == {"person is": "person", "mens": "men", "many men": "men"}
    assert file_print.startswith("aliases.txt sha256:")
    assert read_aliases(None) == ({}, None)
    path.write_bytes(b"\xff")
    with pytest.raises(PreparationError, match="aliases.txt is not text in UTF-8"):
        read_aliases(str(path))


def test_the_most_frequent_names_come_first():
    objects = {i: NamedObject(name, []) for i, name in enumerate(["b", "c", "c", "a", "", ""])}
    graph = NamedGraph(objects, [NamedRelation(0, name, 1) for name in ("on", "in", "in", "")])
    vocabulary = frequent_vocabulary("f.json", [graph, None, graph], 2, 5)
    assert vocabulary.entities == ("c", "a") and vocabulary.relations == ("in", "on")
    with pytest.raises(PreparationError, match="f.json: the vocabulary has no entity names"):
        frequent_vocabulary("f.json", [None], 2, 5)


# What is changed of image 10, and what it gives; a good relationship stays.
BROKEN = {
    "object without an id": (lambda o, r: o[0].pop("object_id"), {"malformed_annotation": 1}, 3),
    "object is a text": (lambda o, r: o.append("dog"), {"malformed_annotation": 1}, 3),
    "object without a name": (lambda o, r: o[1].update(names=[]), {"malformed_annotation": 1}, 2),
    "object without x": (lambda o, r: o[1].pop("x"), {"malformed_box": 1}, 2),
    "y is a text": (lambda o, r: o[1].update(y="3"), {"malformed_box": 1}, 2),
    "no width": (lambda o, r: o[1].update(w=0), {"zero_area_box": 1}, 2),
    "beyond the image": (lambda o, r: o[1].update(w=99), {"out_of_image_box": 1}, 3),
    "relationship is a list": (lambda o, r: r.__setitem__(0, [1]), {"malformed_annotation": 1}, 2),
    "no predicate": (lambda o, r: r[0].pop("predicate"), {"malformed_annotation": 1}, 2),
    "predicate is a number": (lambda o, r: r[0].update(predicate=3), {"malformed_annotation": 1}, 2),
    "no subject": (lambda o, r: r[0].pop("subject"), {"malformed_annotation": 1}, 2),
    "object's id is a text": (lambda o, r: r[0]["object"].update(object_id="101"), {"malformed_annotation": 1}, 2),
    "twice": (lambda o, r: r.append(r[0]), {"duplicate_relation": 1}, 3),
    "of itself": (lambda o, r: r[0].update(object=r[0]["subject"]), {"self_relation": 1}, 3),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_annotations_of_visual_genome_are_counted_and_left_out(tmp_path, name):
    change, kinds, relations_left = BROKEN[name]
    files = write_visual_genome(tmp_path, lambda objects, relationships: change(objects[10], relationships[10]))
    (scene,), problems, _ = read(VisualGenome.from_files("test", **files))
    assert problems == kinds
    assert len(scene.relations) == relations_left


def test_an_object_that_only_relationships_have_is_a_box(tmp_path):
    def change(objects, relationships):
        objects[10].clear()
        relationships[10] = [
            vg_relationship(1, vg_end(5, "man", 2, 3, 10, 20), "on", vg_object(6, "street", 0, 20, 40, 10)),
            vg_relationship(2, vg_end(5, "boy", 9, 9, 9, 9), "near", vg_end(6, "road", 1, 1, 2, 2)),
        ]

    reader = VisualGenome.from_files("test", **write_visual_genome(tmp_path, change))
    (scene,), problems, _ = read(reader, strict=True)
    assert in_words(scene, reader.vocabulary) == [(MAN, "on", STREET), (MAN, "near", STREET)] and problems == {}


def test_visual_genome_files_that_are_not_of_the_format_say_which_and_where(tmp_path):
    files = write_visual_genome(tmp_path)

    def rejected(name, text, message):
        with changed(files[name], lambda _: text), pytest.raises(PreparationError, match=message):
            VisualGenome.from_files("test", **files)

    rejected("annotations", '[{"image_id": 1}]', 'relationships.json: image 0 has no "relationships" that is an array')
    rejected("objects", '[{"image_id": "1", "objects": []}]', 'objects.json: image 0 has no "image_id" that is an int')
    rejected("objects", '{"image_id": 1}', "objects.json must hold a JSON array, it holds a dict")
    rejected("image_metadata", '[{"id": 1}]', 'image_data.json: image 0 has no "image_id"')
    twice = '[{"image_id": 1, "objects": []}, {"image_id": 1, "objects": []}]'
    rejected("objects", twice, "objects.json has image 1 more than once")
    rejected("image_metadata", "[", "image_data.json is not valid JSON.* line 1, column 2")


def test_sizes_of_visual_genome_are_those_of_its_metadata(tmp_path):
    files = write_visual_genome(tmp_path)
    with open(files["image_metadata"], "w", encoding="utf-8") as file:
        file.write(f'[{{"image_id": {VG_IDS[0]}, "width": 30, "height": 40}}]')
    assert read(VisualGenome.from_files("test", **files))[1] == {"size_mismatch": 1}
    assert read(VisualGenome.from_files("val", **files))[1] == {"missing_metadata": 1}


CHAIR, TABLE, LAMP = ("chair", 10, 20, 22, 28), ("table", 5, 2, 25, 12), ("lamp", 2, 30, 7, 35)


def test_gqa_relations_run_from_the_object_that_has_them(tmp_path):
    reader = GqaSceneGraphs.from_files(**write_gqa(tmp_path))
    assert reader.vocabulary.entities == ("chair", "lamp", "table")
    assert reader.vocabulary.relations == ("near", "on", "to the left of", "to the right of")
    assert reader.vocabulary.flipped_relations() == (0, 1, 3, 2)
    (scene,), problems, annotated = read(reader, strict=True)
    assert scene.image_id == "2407890.jpg" and (scene.height, scene.width) == (30, 40)
    assert in_words(scene, reader.vocabulary) == [
        (CHAIR, "to the right of", TABLE),
        (CHAIR, "near", TABLE),
        (TABLE, "to the left of", CHAIR),
        (LAMP, "on", TABLE),
    ]
    assert scene.boxes[3].tolist() == [1, 1, 4, 4], "an object without a relation is a box as well"
    assert problems == {"no_relationship": 1}
    assert annotated == {"images": 2, "relations": 4, "images_without_relation": 1}


def test_val_of_gqa_takes_the_vocabulary_of_train(tmp_path):
    train, val = write_gqa(tmp_path), write_gqa(tmp_path, "val")
    of_train = GqaSceneGraphs.from_files(**train, num_entities=1, num_relations=2)
    assert of_train.vocabulary.entities == ("chair",)
    own = GqaSceneGraphs.from_files(**val, num_entities=1, num_relations=2)
    assert own.vocabulary.entities == ("lamp",)
    shared = GqaSceneGraphs.from_files(**val, vocabulary_from=train["annotations"], num_entities=1, num_relations=2)
    assert shared.vocabulary == of_train.vocabulary
    assert shared.source["vocabulary_from"] == of_train.source["annotations"] != shared.source["annotations"]
    assert of_train.source["vocabulary_from"] == of_train.source["annotations"]


GQA_BROKEN = {
    "no objects": (lambda scene: scene.pop("objects"), {"malformed_annotation": 1}, None),
    "object is a text": (lambda scene: scene["objects"].update({"1": "cup"}), {"malformed_annotation": 1}, 4),
    "no name": (lambda scene: scene["objects"]["279472"].pop("name"), {"malformed_annotation": 1}, 3),
    "no height": (lambda scene: scene["objects"]["279472"].pop("h"), {"malformed_box": 1}, 3),
    "no area": (lambda scene: scene["objects"]["279472"].update(h=0), {"zero_area_box": 1}, 3),
    "relations are a text": (
        lambda scene: scene["objects"]["279472"].update(relations="on"),
        {"malformed_annotation": 1},
        3,
    ),
    "relation without a name": (
        lambda scene: scene["objects"]["279472"]["relations"][0].pop("name"),
        {"malformed_annotation": 1},
        3,
    ),
    "of an object that is not there": (
        lambda scene: scene["objects"]["279472"]["relations"][0].update(object="8"),
        {"malformed_annotation": 1},
        3,
    ),
    "no width": (lambda scene: scene.pop("width"), {"missing_metadata": 1}, 4),
}


@pytest.mark.parametrize("name", GQA_BROKEN)
def test_broken_annotations_of_gqa_are_counted_and_left_out(tmp_path, name):
    change, kinds, relations_left = GQA_BROKEN[name]
    files = write_gqa(tmp_path, change=lambda scenes: change(scenes["2407890"]))
    files["vocabulary_from"] = write_gqa(tmp_path / "whole")["annotations"]
    scenes, problems, _ = read(GqaSceneGraphs.from_files(**files))
    assert problems == {**kinds, "no_relationship": 1}
    assert [len(scene.relations) for scene in scenes] == ([] if relations_left is None else [relations_left])
