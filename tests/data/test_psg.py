"""PSG: segments become boxes."""

import pytest
from readings import first_offenders, in_words, read
from relation_files import write_psg

from dsg_tf.data.prepare.psg import PanopticSceneGraphs
from dsg_tf.data.problems import PreparationError


def test_boxes_are_those_of_the_segments(tmp_path):
    reader = PanopticSceneGraphs.from_files("val", **write_psg(tmp_path), val_images=1)
    assert reader.vocabulary.entities == ("person", "dog", "grass")
    assert reader.vocabulary.relations == ("standing on", "playing with")
    (scene,), problems, annotated = read(reader, strict=True)
    assert scene.image_id == "train2017/000000107903.jpg" and (scene.height, scene.width) == (30, 40)
    person, dog, grass = ("person", 3, 2, 23, 12), ("dog", 5, 10, 15, 20), ("grass", 20, 0, 30, 40)
    assert in_words(scene, reader.vocabulary) == [(person, "playing with", dog), (person, "standing on", grass)]
    assert problems == {"no_relationship": 1}
    assert annotated == {"images": 2, "relations": 2, "images_without_relation": 1}


def test_splits_share_no_image_and_the_vocabulary(tmp_path):
    files = write_psg(tmp_path)
    readers = {
        split: PanopticSceneGraphs.from_files(split, **files, val_images=1) for split in ("train", "val", "test")
    }
    assert {split: [row.image_id[-10:] for row in reader.rows] for split, reader in readers.items()} == {
        "val": ["107902.jpg", "107903.jpg"],
        "train": ["107905.jpg", "7905.jpg#2"],
        "test": ["107904.jpg"],
    }
    assert len({reader.vocabulary for reader in readers.values()}) == 1
    # Annotated twice: two scenes of one picture.
    first, second = read(readers["train"], strict=True)[0]
    assert first.image == second.image and first.relations.tolist() != second.relations.tolist()
    with pytest.raises(PreparationError, match="split train, of which it has 0 train, 3 val, 1 test"):
        PanopticSceneGraphs.from_files("train", **files)
    with pytest.raises(PreparationError, match="--split=dev: this format has the splits train, val, test"):
        PanopticSceneGraphs.from_files("dev", **files)


def of_test(change):
    return lambda content: change(content["data"][2])


BROKEN = {
    "category 3": (lambda i: i["annotations"][1].update(category_id=3), {"unknown_entity": 1, "nothing_left": 1}),
    "no box": (lambda i: i["annotations"][1].pop("bbox"), {"malformed_box": 1, "nothing_left": 1}),
    "no area": (lambda i: i["annotations"][1].update(bbox=[5, 5, 5, 9]), {"zero_area_box": 1, "nothing_left": 1}),
    "segment is a text": (
        lambda i: i["annotations"].__setitem__(1, "dog"),
        {"malformed_annotation": 1, "nothing_left": 1},
    ),
    "segment 3": (lambda i: i["relations"].append([1, 3, 0]), {"malformed_annotation": 1}),
    "two numbers": (lambda i: i["relations"].append([1, 2]), {"malformed_annotation": 1}),
    "relation 2": (lambda i: i["relations"].append([1, 2, 2]), {"unknown_relation": 1}),
    "no relations": (lambda i: i.update(relations=[]), {"no_relationship": 1}),
    "beyond the image": (lambda i: i["annotations"][1].update(bbox=[10, 5, 41, 15]), {"out_of_image_box": 1}),
    "of itself": (lambda i: i["relations"].append([1, 1, 0]), {"self_relation": 1}),
    "twice": (lambda i: i["relations"].append([1, 2, 0]), {"duplicate_relation": 1}),
    "no height": (lambda i: i.pop("height"), {"missing_metadata": 1}),
    "no segments": (lambda i: i.pop("annotations"), {"malformed_annotation": 1}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_annotations_are_counted_and_left_out(tmp_path, name):
    change, kinds = BROKEN[name]
    files = write_psg(tmp_path, of_test(change))
    if name == "no relations":  # Then the test has no image that counts.
        with pytest.raises(PreparationError, match="for split test"):
            PanopticSceneGraphs.from_files("test", **files)
        return
    scenes, problems, _ = read(PanopticSceneGraphs.from_files("test", **files))
    assert problems == kinds
    assert len(scenes) == (0 if "nothing_left" in kinds or name == "no segments" else 1)


def test_a_picture_that_is_not_there_is_counted(tmp_path):
    files = write_psg(tmp_path)
    (tmp_path / "coco" / "val2017" / "000000107904.jpg").unlink()
    reader = PanopticSceneGraphs.from_files("test", **files)
    assert first_offenders(reader, "missing_image") == ["val2017/000000107904.jpg"]


def test_files_that_are_not_of_the_format_say_which_and_where(tmp_path):
    def rejected(change, message):
        with pytest.raises(PreparationError, match=message):
            PanopticSceneGraphs.from_files("test", **write_psg(tmp_path, change))

    rejected(lambda c: c.pop("predicate_classes"), 'psg.json must hold a list under "predicate_classes"')
    rejected(lambda c: c.pop("test_image_ids"), 'psg.json must hold a list under "test_image_ids"')
    rejected(lambda c: c.pop("data") and c.update(data=[]), "for split test")
    rejected(lambda c: c["data"].append({"file_name": "a.jpg"}), 'psg.json: data 5 has no "image_id"')
    rejected(lambda c: c["stuff_classes"].append("dog"), "psg.json: two entity classes have the same name: dog")
    with pytest.raises(PreparationError, match="the image folder is not there: nowhere"):
        PanopticSceneGraphs.from_files("test", **{**write_psg(tmp_path), "images": "nowhere"})
