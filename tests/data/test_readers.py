"""What the readers make of annotation files, whole and broken."""

import collections
import copy
import json
import os

import pytest
from dataset_files import box, changed, good_annotations, relationship, write_image, write_referring_relationships
from paths import SHARED_DATA
from PIL import Image

from dsg_tf.data import clevr_classes
from dsg_tf.data.prepare.clevr import ClevrScenes
from dsg_tf.data.prepare.referring_relationships import ReferringRelationships
from dsg_tf.data.prepare.shards import check
from dsg_tf.data.problems import KINDS, PreparationError, Problems

GOOD = relationship(box(0), 1, box(1, 4, 20, 5, 30))


def read(reader, strict=False):
    """(scenes, {kind: count}, annotated) of a reader."""
    problems, annotated = Problems(strict), collections.Counter()
    scenes = [s for s in reader.scenes(problems, annotated) if s is not None]
    return scenes, {kind: entry["count"] for kind, entry in problems.found.items()}, annotated


def read_one(tmp_path, relationships, **options):
    arguments = write_referring_relationships(tmp_path, {"a.png": relationships}, **options)
    return read(ReferringRelationships.from_files(**arguments))


def test_boxes_become_yxyx_and_equal_boxes_one_entity(tmp_path):
    relationships = [GOOD, relationship(box(1, 4, 20, 5, 30), 0, box(0)), GOOD]
    # The same place with another class is another entity.
    relationships.append(relationship(box(2), 0, box(0)))
    (scene,), problems, annotated = read_one(tmp_path, relationships)
    assert scene.image_id == "a.png" and (scene.height, scene.width) == (30, 40)
    assert scene.boxes.tolist() == [[2, 3, 12, 13], [4, 5, 20, 30], [2, 3, 12, 13]]
    assert scene.entities.tolist() == [0, 1, 2]
    assert scene.relations.tolist() == [[0, 1, 1], [1, 0, 0], [2, 0, 0]]
    assert problems == {"duplicate_relation": 1}
    assert annotated == {"images": 1, "relations": 4}
    with open(tmp_path / "images" / "a.png", "rb") as file:
        assert scene.image == file.read()


# Each gives one image with the good relationship and a broken one: (broken, kinds, boxes left).
BROKEN = {
    "unknown entity": (relationship(box(3), 0, box(0)), {"unknown_entity": 1}, 2),
    "negative entity": (relationship(box(-1), 0, box(0)), {"unknown_entity": 1}, 2),
    "true is no entity": (relationship(box(True), 0, box(0)), {"unknown_entity": 1}, 2),
    "unknown relation": (relationship(box(0), 2, box(2)), {"unknown_relation": 1}, 3),
    "relation by name": (relationship(box(0), "on", box(2)), {"unknown_relation": 1}, 3),
    "no predicate": ({"subject": box(0), "object": box(2)}, {"unknown_relation": 1}, 3),
    "no object": ({"subject": box(0), "predicate": 1}, {"malformed_annotation": 1}, 2),
    "object is a number": (relationship(box(0), 1, 7), {"malformed_annotation": 1}, 2),
    "relationship is a list": ([1, 2, 3], {"malformed_annotation": 1}, 2),
    "no box": (relationship({"category": 1}, 1, box(0)), {"malformed_box": 1}, 2),
    "three numbers": (relationship({"category": 1, "bbox": [1, 2, 3]}, 1, box(0)), {"malformed_box": 1}, 2),
    "a word": (relationship(box(1, ymin="2"), 1, box(0)), {"malformed_box": 1}, 2),
    "NaN": (relationship(box(1, ymin=float("nan")), 1, box(0)), {"malformed_box": 1}, 2),
    "infinite": (relationship(box(1, xmax=float("inf")), 1, box(0)), {"malformed_box": 1}, 2),
    "no height": (relationship(box(1, 5, 5), 1, box(0)), {"zero_area_box": 1}, 2),
    "exchanged": (relationship(box(1, 5, 4), 1, box(0)), {"zero_area_box": 1}, 2),
    "outside": (relationship(box(1, 31, 50), 1, box(0)), {"zero_area_box": 1}, 2),
    "two at once": (
        relationship(box(9), 9, box(1, 5, 5)),
        {"unknown_relation": 1, "unknown_entity": 1, "zero_area_box": 1},
        2,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_relationships_are_counted_and_left_out(tmp_path, name):
    broken, kinds, boxes_left = BROKEN[name]
    scenes, problems, annotated = read_one(tmp_path, [broken, GOOD])
    assert problems == kinds
    assert len(scenes[0].relations) == 1 and len(scenes[0].boxes) == boxes_left
    assert annotated == {"images": 1, "relations": 2}
    assert set(kinds) <= set(KINDS)
    # Alone, it leaves nothing of its image.
    scenes, problems, _ = read_one(tmp_path, [broken])
    assert scenes == [] and problems == {**kinds, "nothing_left": 1}


def test_a_box_that_leaves_the_image_is_clipped_and_counted_once(tmp_path):
    beyond = box(1, ymin=-4, ymax=33, xmin=10, xmax=20)
    (scene,), problems, _ = read_one(tmp_path, [relationship(beyond, 0, box(0)), relationship(box(0), 0, beyond)])
    assert scene.boxes.tolist() == [[0, 10, 30, 20], [2, 3, 12, 13]]
    assert problems == {"out_of_image_box": 1}


def test_subject_equal_to_object_is_kept_and_counted(tmp_path):
    (scene,), problems, _ = read_one(tmp_path, [relationship(box(0), 1, box(0))])
    assert scene.relations.tolist() == [[0, 1, 0]] and len(scene.boxes) == 1
    assert problems == {"self_relation": 1}


def test_an_image_without_relationship_is_left_out_even_if_strict(tmp_path):
    arguments = write_referring_relationships(tmp_path, {"a.png": [], "b.png": [GOOD]})
    scenes, problems, annotated = read(ReferringRelationships.from_files(**arguments), strict=True)
    assert [scene.image_id for scene in scenes] == ["b.png"]
    assert problems == {"no_relationship": 1}
    assert annotated == {"images": 2, "relations": 1, "images_without_relation": 1}


@pytest.mark.parametrize("metadata", [{}, {"a.png": {"width": 40}}, {"a.png": {"width": 0, "height": 30}}])
def test_without_metadata_the_image_says_its_size(tmp_path, metadata):
    beyond = relationship(box(0), 1, box(1, xmax=99))
    (scene,), problems, _ = read_one(tmp_path, [beyond], metadata=metadata)
    assert problems == {"missing_metadata": 1, "out_of_image_box": 1}
    assert (scene.height, scene.width) == (30, 40) and scene.boxes[1, 3] == 40


def test_image_problems_are_counted_and_leave_the_image_out(tmp_path):
    names = ["good.png", "gone.png", "cut.jpg", "text.png", "empty.png", "picture.gif", "size.png"]
    arguments = write_referring_relationships(tmp_path, {name: [GOOD] for name in names}, images=["good.png"])
    images = tmp_path / "images"
    write_image(str(images / "cut.jpg"))
    (images / "cut.jpg").write_bytes((images / "cut.jpg").read_bytes()[:-300])
    (images / "text.png").write_text("not an image")
    (images / "empty.png").write_bytes(b"")
    Image.new("RGB", (40, 30)).save(images / "picture.gif")
    write_image(str(images / "size.png"), size=(30, 40))
    reader = ReferringRelationships.from_files(**arguments)
    problems = Problems()
    scenes = [s for s in reader.scenes(problems, collections.Counter()) if s is not None]
    assert [scene.image_id for scene in scenes] == ["good.png"]
    assert {k: e["count"] for k, e in problems.found.items()} == {
        "missing_image": 1,
        "unreadable_image": 4,
        "size_mismatch": 1,
    }
    assert problems.found["missing_image"]["first"] == ["gone.png"]
    named = problems.found["unreadable_image"]["first"]
    assert [what.split(":")[0] for what in named] == names[2:6]
    assert problems.found["size_mismatch"]["first"] == ["size.png: the image is 30 x 40, the metadata says 40 x 30"]


def test_the_first_five_are_named_and_strict_names_the_first(tmp_path):
    annotations = {f"{i}.png": [relationship(box(9), 0, box(0))] for i in range(7)}
    arguments = write_referring_relationships(tmp_path, annotations)
    reader = ReferringRelationships.from_files(**arguments)
    problems = Problems()
    list(reader.scenes(problems, collections.Counter()))
    assert problems.found["unknown_entity"] == {
        "count": 7,
        "first": [f"{i}.png, relationship 0, subject: 9 of 3" for i in range(5)],
    }
    message = r"unknown_entity: 0.png, relationship 0, subject: 9 of 3 \(--strict\)"
    with pytest.raises(PreparationError, match=message):
        list(reader.scenes(Problems(strict=True), collections.Counter()))


def test_visual_genome_images_lie_in_two_folders(tmp_path):
    arguments = write_referring_relationships(tmp_path, good_annotations(3))
    images = tmp_path / "images"
    for folder, name in (("VG_100K", "000.png"), ("VG_100K_2", "001.png")):
        (images / folder).mkdir()
        (images / name).rename(images / folder / name)
    scenes, problems, _ = read(ReferringRelationships.from_files(**arguments))
    assert [scene.image_id for scene in scenes] == ["000.png", "001.png", "002.png"]
    assert problems == {}


def test_files_that_are_not_of_the_format_say_which_and_where(tmp_path):
    arguments = write_referring_relationships(tmp_path, good_annotations(2))

    def rejected(name, change, message):
        with changed(arguments[name], change), pytest.raises(PreparationError, match=message):
            ReferringRelationships.from_files(**arguments)

    rejected("annotations", lambda text: text[:-5], r"annotations.json .* at line 1, column \d+")
    rejected("image_metadata", lambda _: "[1]", "metadata.json must hold a JSON object.* a list")
    rejected("objects", lambda _: '{"a": 1}', "objects.json must hold a JSON array, .* a dict")
    rejected("predicates", lambda _: "[1, 2]", "predicates.json must be a list of names")
    with pytest.raises(PreparationError, match="cannot read .*nowhere.json: No such file"):
        ReferringRelationships.from_files(**{**arguments, "objects": "nowhere.json"})
    with pytest.raises(PreparationError, match="the image folder is not there: .*nowhere"):
        ReferringRelationships.from_files(**{**arguments, "images": "nowhere"})


@pytest.mark.skipif(
    not os.path.isdir(os.path.join(SHARED_DATA, "vrd_annotations")),
    reason="needs the VRD annotations; set DSG_TF_SHARED_DATA to the folder of vrd_annotations/",
)
@pytest.mark.parametrize(
    ["split", "images", "relations", "without", "missing_metadata"],
    [("train", 4000, 30355, 220, None), ("test", 1000, 7638, 45, 1)],
)
def test_vrd_counts_are_those_of_the_files(split, images, relations, without, missing_metadata):
    folder = os.path.join(SHARED_DATA, "vrd_annotations")
    reader = ReferringRelationships.from_files(
        annotations=os.path.join(folder, f"annotations_{split}.json"),
        image_metadata=os.path.join(folder, f"{split}_image_metadata.json"),
        objects=os.path.join(folder, "objects.json"),
        predicates=os.path.join(folder, "predicates.json"),
        images=None,
    )
    info = check(reader, strict=False)
    assert info.annotated == {"images": images, "relations": relations, "images_without_relation": without}
    count = collections.Counter({kind: entry["count"] for kind, entry in info.problems.items()})
    assert count["no_relationship"] == without
    assert count["missing_metadata"] == (missing_metadata or 0)
    # One relationship of 9210906893_4102aa74c8_b.jpg joins two boxes far below its 374 rows.
    lost = 1 if split == "train" else 0
    assert info.num_relations == relations - count["duplicate_relation"] - lost
    assert info.num_images == images - without


def clevr_scene(name="CLEVR_val_000000.png"):
    """A cyan rubber cube left of and behind a red metal sphere."""
    return {
        "image_filename": name,
        "objects": [
            {"color": "cyan", "shape": "cube", "material": "rubber", "bbox": [1, 2, 11, 12]},
            {"color": "red", "shape": "sphere", "material": "metal", "bbox": [20, 5, 30, 25]},
        ],
        "relationships": {"left": [[], [0]], "right": [[1], []], "front": [[1], []], "behind": [[], [0]]},
    }


def read_clevr(tmp_path, *scenes):
    for seed, scene in enumerate(scenes):
        write_image(str(tmp_path / "images" / scene["image_filename"]), seed)
    path = tmp_path / "scenes.json"
    path.write_text(json.dumps({"scenes": scenes}))
    return read(ClevrScenes.from_files(str(path), str(tmp_path / "images")))


def test_clevr_relations_run_from_the_listed_object(tmp_path):
    (scene,), problems, annotated = read_clevr(tmp_path, clevr_scene())
    assert problems == {} and annotated == {"images": 1, "relations": 4}
    assert scene.boxes.tolist() == [[2, 1, 12, 11], [5, 20, 25, 30]]
    names = clevr_classes.VOCABULARY.entities
    assert [names[i] for i in scene.entities] == ["cyan rubber cube", "red metal sphere"]
    words = [(s, clevr_classes.VOCABULARY.relations[r], o) for s, r, o in scene.relations]
    assert set(words) == {(0, "left", 1), (1, "right", 0), (1, "front", 0), (0, "behind", 1)}
    assert (scene.height, scene.width) == (30, 40)


def test_clevr_problems_are_counted(tmp_path):
    def changed(change, index):
        scene = copy.deepcopy(clevr_scene(f"{index}.png"))
        change(scene)
        return scene

    changes = {
        "unknown_entity": lambda s: s["objects"][0].update(color="pink"),
        "malformed_box": lambda s: s["objects"][0].pop("bbox"),
        "zero_area_box": lambda s: s["objects"][0].update(bbox=[3, 3, 3, 9]),
        "out_of_image_box": lambda s: s["objects"][0].update(bbox=[30, 3, 50, 9]),
        "unknown_relation": lambda s: s["relationships"].update(above=[[1], []]),
        "malformed_annotation": lambda s: s["relationships"]["left"][0].append(2),
        "self_relation": lambda s: s["relationships"]["left"][0].append(0),
        "duplicate_relation": lambda s: s["relationships"]["left"][1].append(0),
        "no_relationship": lambda s: s["relationships"].clear(),
    }
    scenes = [changed(change, i) for i, change in enumerate(changes.values())]
    read_scenes, problems, _ = read_clevr(tmp_path, clevr_scene(), *scenes)
    # Without one of two objects there is no relationship left.
    assert problems == {**dict.fromkeys(changes, 1), "nothing_left": 3}
    assert len(read_scenes) == 1 + len(changes) - 3 - 1
    assert [len(scene.relations) for scene in read_scenes] == [4, 4, 4, 4, 5, 4]


def test_clevr_files_without_boxes_are_explained(tmp_path):
    scene = clevr_scene()
    for obj in scene["objects"]:
        del obj["bbox"]
    with pytest.raises(PreparationError, match="official CLEVR .* no boxes.*x0, y0, x1, y1"):
        read_clevr(tmp_path, scene)
    with pytest.raises(PreparationError, match="CLEVR_val_000000.png more than once"):
        read_clevr(tmp_path, clevr_scene(), clevr_scene())
    (tmp_path / "scenes.json").write_text('{"scenes": [{}]}')
    with pytest.raises(PreparationError, match='scene 0 has no "image_filename"'):
        ClevrScenes.from_files(str(tmp_path / "scenes.json"), None)
