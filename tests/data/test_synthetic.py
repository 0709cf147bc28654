"""Synthetic scenes: what is drawn and what is said about it."""

import hashlib
import io
import json
import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
from paths import SHARED_DATA
from PIL import Image
from plain_geometry import extent

from dsg_tf.data import clevr_classes
from dsg_tf.data.synthetic import raycast
from dsg_tf.data.synthetic import scenes as synthetic

CLEVR_SCENES = os.path.join(SHARED_DATA, "clevr", "CLEVR_val_scenes.json")
SEED, NUM_SCENES, HEIGHT, WIDTH = 7, 30, 240, 320


class View(NamedTuple):
    camera: raycast.Camera
    solids: list
    owner: np.ndarray


@pytest.fixture(scope="module")
def rendered():
    """Pairs of a scene and the `View` that it was drawn from, and the views that were turned down."""
    views, look = [], raycast.look

    def watched_look(camera, solids):
        owner, distance = look(camera, solids)
        views.append(View(camera, solids, owner))
        return owner, distance

    pairs, rejected = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raycast, "look", watched_look)
        for index in range(NUM_SCENES):
            scene = synthetic.render_scene(SEED, index)
            *tried, seen = views
            pairs.append((scene, seen))
            rejected += tried
            views.clear()
    return pairs, rejected


def fingerprint(seed, index):
    scene = synthetic.render_scene(seed, index)
    arrays = [scene.boxes, scene.entities, scene.relations]
    return hashlib.sha256(scene.image + b"".join(array.tobytes() for array in arrays)).hexdigest()


def test_a_scene_depends_on_seed_and_index_alone():
    keys = [(3, 5), (3, 6), (4, 5)]
    here = [fingerprint(*key) for key in keys]
    assert len(set(here)) == len(keys)
    assert [fingerprint(*key) for key in reversed(keys)] == here[::-1]
    code = f"import test_synthetic as t; print(*(t.fingerprint(*key) for key in {keys}))"
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    fresh = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "9"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert fresh.stdout.split() == here


def test_the_draws_have_not_changed():
    """Data sets are named by their seed, so what a seed means must not change from version to version."""
    scene = synthetic.render_scene(1, 1)
    assert [clevr_classes.VOCABULARY.entities[i] for i in scene.entities] == [
        "blue rubber cylinder",
        "brown rubber cylinder",
        "green metal cylinder",
        "purple metal sphere",
        "cyan rubber sphere",
        "purple metal sphere",
        "blue rubber cylinder",
    ]
    expected = [
        [84, 101, 111, 123],
        [162, 110, 207, 143],
        [79, 142, 144, 192],
        [95, 35, 117, 59],
        [141, 137, 169, 165],
        [77, 194, 96, 213],
        [90, 232, 159, 293],
    ]
    np.testing.assert_allclose(scene.boxes, expected, atol=1)


def test_the_image_is_a_jpeg_of_the_size_asked_for():
    large, small = (synthetic.render_scene(SEED, 0, *size) for size in ((HEIGHT, WIDTH), (121, 161)))
    for scene, size in ((large, (WIDTH, HEIGHT)), (small, (161, 121))):
        image = Image.open(io.BytesIO(scene.image))
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", size) and size == (scene.width, scene.height)
    # The same scene, at half the size.
    np.testing.assert_array_equal(large.entities, small.entities)
    np.testing.assert_array_equal(large.relations, small.relations)
    np.testing.assert_allclose(large.boxes, small.boxes * 2, atol=3)


def test_boxes_are_the_extents_of_the_visible_pixels(rendered):
    for scene, view in rendered[0]:
        seen = view.owner
        masks = [seen == number for number in range(len(view.solids))]
        assert scene.boxes.dtype == np.float32 and scene.boxes.tolist() == [extent(mask) for mask in masks]
        assert min(mask.sum() for mask in masks) >= 200
        y0, x0, y1, x1 = scene.boxes.T
        assert y0.min() >= 0 and x0.min() >= 0 and y1.max() <= HEIGHT and x1.max() <= WIDTH


def test_only_scenes_with_a_hidden_object_are_drawn_anew(rendered):
    _, rejected = rendered
    assert rejected
    for view in rejected:
        seen = view.owner
        assert min((seen == number).sum() for number in range(len(view.solids))) < 200


def test_entities_name_the_objects_that_are_drawn(rendered):
    for scene, view in rendered[0]:
        assert len(scene.entities) == len(view.solids) == len(scene.boxes)
        for entity, thing in zip(scene.entities, view.solids):
            color, material, shape = clevr_classes.VOCABULARY.entities[entity].split()
            assert (thing.shape, thing.metal) == (shape, material == "metal")
            np.testing.assert_array_equal(thing.color, np.array(synthetic.PALETTE[color], np.float32) / 255)
            assert thing.size in (0.7, 0.35) and thing.center[2] == np.float32(thing.size)


def test_the_pixels_of_an_object_have_its_color(rendered):
    shares = {name: np.array(rgb) / sum(rgb) for name, rgb in synthetic.PALETTE.items()}
    for scene, view in rendered[0]:
        light = (np.asarray(Image.open(io.BytesIO(scene.image))) / 255) ** 2.2
        seen = view.owner
        for number, entity in enumerate(scene.entities):
            mean = light[seen == number].mean(axis=0)
            distances = {name: np.abs(mean / mean.sum() - share).max() for name, share in shares.items()}
            nearest = min(distances, key=distances.get)
            assert nearest == clevr_classes.VOCABULARY.entities[entity].split()[0], scene.image_id


def test_objects_are_placed_by_the_rules(rendered):
    counts = []
    for _, view in rendered[0]:
        places = np.array([thing.center[:2] for thing in view.solids], np.float64)
        counts.append(len(places))
        assert np.abs(places).max() <= 3
        forward = view.camera.axes[2, :2].astype(np.float64)
        forward /= np.linalg.norm(forward)
        right = np.array([forward[1], -forward[0]])
        for i, first in enumerate(view.solids):
            for j, second in enumerate(view.solids[:i]):
                step = places[i] - places[j]
                assert np.hypot(*step) - first.size - second.size >= 0.25 - 1e-5
                assert min(abs(step @ forward), abs(step @ right)) >= 0.4 - 1e-5
    assert min(counts) >= 3 and max(counts) <= 10 and len(set(counts)) > 4


def relations_by_hand(positions, ways):
    rows = set()
    for subject, first in enumerate(positions):
        for obj, second in enumerate(positions):
            for relation, way in enumerate(ways):
                if subject != obj and sum((a - b) * w for a, b, w in zip(first, second, way)) > 0.2:
                    rows.add((subject, relation, obj))
    return rows


def test_every_ordered_pair_has_one_relation_of_each_axis(rendered):
    left, right, front, behind = range(4)
    for scene, view in rendered[0]:
        rows = {tuple(row) for row in scene.relations.tolist()}
        assert len(rows) == len(scene.relations) and scene.relations.dtype == np.int64
        count = len(scene.boxes)
        for subject in range(count):
            for obj in range(count):
                held = {relation for relation in range(4) if (subject, relation, obj) in rows}
                assert len(held & {left, right}) == len(held & {front, behind}) == (subject != obj)
                for relation, opposite in ((left, right), (front, behind)):
                    assert ((subject, relation, obj) in rows) == ((obj, opposite, subject) in rows)
        assert rows == relations_by_hand([t.center.tolist() for t in view.solids], ways_by_hand(view.camera))


def ways_by_hand(camera):
    """Left, right, front and behind on the plane, from where the camera stands and looks."""
    x, y = (-camera.position)[:2] / np.hypot(*camera.position[:2])
    return [(-y, x, 0), (y, -x, 0), (-x, -y, 0), (x, y, 0)]


def test_directions_are_those_of_the_image(rendered):
    for _, view in rendered[0]:
        ways = synthetic.directions(view.camera)
        np.testing.assert_allclose(ways, ways_by_hand(view.camera), atol=1e-5)
        (x, y, depth), *moved = view.camera.project(np.concatenate([np.zeros([1, 3]), ways]))
        left, right, front, behind = moved
        assert left[0] < x < right[0] and front[1] > y > behind[1] and front[2] < depth < behind[2]


def test_relations_need_more_than_the_smallest_distance():
    ways = np.array([[-1.0, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0]])
    positions = np.array([[0.0, 0, 0.35], [0.1875, 0.25, 0.7]])
    assert synthetic.spatial_relations(positions, ways).tolist() == [[0, 2, 1], [1, 3, 0]]


@pytest.mark.skipif(
    not os.path.isfile(CLEVR_SCENES),
    reason="needs clevr/CLEVR_val_scenes.json; set DSG_TF_SHARED_DATA to the folder that holds clevr/",
)
def test_relations_are_those_of_clevr():
    with open(CLEVR_SCENES, encoding="utf-8") as file:
        scenes = json.load(file)["scenes"]
    total = 0
    for scene in scenes:
        expected = {
            (subject, relation, obj)
            for relation, name in enumerate(clevr_classes.RELATIONS)
            for obj, subjects in enumerate(scene["relationships"][name])
            for subject in subjects
        }
        positions = np.array([obj["3d_coords"] for obj in scene["objects"]])
        ways = np.array([scene["directions"][name] for name in clevr_classes.RELATIONS])
        rows = [tuple(row) for row in synthetic.spatial_relations(positions, ways).tolist()]
        assert set(rows) == expected and len(rows) == len(expected), scene["image_filename"]
        total += len(rows)
    assert total > 10 * len(scenes)


def test_the_vocabulary_is_in_order_of_color_shape_and_material():
    names = clevr_classes.VOCABULARY.entities
    assert len(names) == 48 and clevr_classes.VOCABULARY.relations == ("left", "right", "front", "behind")
    assert names[:7] == (
        "gray rubber cube",
        "gray metal cube",
        "gray rubber sphere",
        "gray metal sphere",
        "gray rubber cylinder",
        "gray metal cylinder",
        "red rubber cube",
    )
    for c, color in enumerate("gray red blue green brown purple cyan yellow".split()):
        for s, shape in enumerate("cube sphere cylinder".split()):
            for m, material in enumerate("rubber metal".split()):
                number = clevr_classes.entity_id(color, shape, material)
                assert number == 6 * c + 2 * s + m and names[number] == f"{color} {material} {shape}"
    with pytest.raises(ValueError, match="unknown shape 'cone', known are cube, sphere, cylinder"):
        clevr_classes.entity_id("red", "cone", "metal")
