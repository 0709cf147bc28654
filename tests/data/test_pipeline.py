"""The input pipeline: order, resume, geometry, sampling, padding."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dsg_tf.data import records
from dsg_tf.data.batches import augment, network_input, pipeline
from dsg_tf.data.batches.batch_spec import BatchSpec
from dsg_tf.data.batches.network_input import Resize
from dsg_tf.data.batches.pipeline import Share
from dsg_tf.data.scene import Scene

LEFT, RIGHT, ABOVE = 0, 1, 2
FLIPPED = (RIGHT, LEFT, ABOVE)


def png(pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def make_scene(name="image", pixels=None, boxes=(), entities=(), relations=()) -> Scene:
    pixels = np.zeros([24, 32, 3], np.uint8) if pixels is None else pixels
    return Scene(
        image_id=name,
        image=png(pixels),
        height=pixels.shape[0],
        width=pixels.shape[1],
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        entities=np.asarray(entities, np.int64),
        relations=np.asarray(relations, np.int64).reshape(-1, 3),
    )


def random_scene(seed, name="image", size=(48, 60), num_boxes=5, num_relations=9) -> Scene:
    rng = np.random.default_rng(seed)
    corners = rng.uniform([0, 0], [size[0] - 9, size[1] - 9], [num_boxes, 2])
    sizes = rng.uniform(2, 9, [num_boxes, 2])
    rows = itertools.product(range(num_boxes), range(3), range(num_boxes))
    rows = [(subject, relation, obj) for subject, relation, obj in rows if subject != obj]
    return make_scene(
        name,
        rng.integers(0, 256, [*size, 3], dtype=np.uint8),
        np.concatenate([corners, corners + sizes], 1),
        rng.integers(0, 4, num_boxes),
        rng.permutation(rows)[:num_relations],
    )


def write(folder, scenes, num_shards=1) -> list[str]:
    files = [str(folder / records.shard_name("train", k, num_shards)) for k in range(num_shards)]
    for k, path in enumerate(files):
        with tf.io.TFRecordWriter(path) as writer:
            for scene in scenes[k::num_shards]:
                writer.write(records.scene_to_example(scene).SerializeToString())
    return files


def make_spec(**changes) -> BatchSpec:
    size = {"image_size": (64, 96), "short_side": 64, "long_side": 96, "keep_aspect": True}
    limits = {"max_boxes": 8, "max_relations": 30, "max_queries": 30, "flipped_relations": FLIPPED}
    resize = Resize(**{name: changes.pop(name, value) for name, value in size.items()})
    return BatchSpec(resize, **(limits | changes))


def train(files, spec, num_examples, *, batch_size=1, seed=1, start_step=0, steps=1):
    batches = pipeline.train_batches(files, spec, batch_size, seed, start_step, num_examples)
    return list(batches.take(steps).as_numpy_iterator())


def evaluate(files, spec, batch_size=1):
    return list(pipeline.eval_batches(files, spec, batch_size).as_numpy_iterator())


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def numbered_scenes(count):
    """Scene k has one box of class k, so that batches tell which examples they hold."""
    return [make_scene(f"{k}", boxes=[[0, 0, 5, 5]], entities=[k]) for k in range(count)]


def numbers(batches):
    return [int(n) for batch in batches for n in batch["entities"][:, 0]]


# What a batch looks like.


def test_batches_have_the_promised_keys_shapes_and_types(tmp_path):
    files = write(tmp_path, [random_scene(k, str(k)) for k in range(3)])
    b, h, w, m, t, q = 2, 64, 96, 8, 30, 30
    promised = {
        "image": ([b, h, w, 3], tf.uint8),
        "image_size": ([b, 2], tf.float32),
        "original_size": ([b, 2], tf.float32),
        "true_boxes": ([b, m, 4], tf.float32),
        "box_mask": ([b, m], tf.bool),
        "entities": ([b, m], tf.int32),
        "relations": ([b, t, 3], tf.int32),
        "queries": ([b, q, 3], tf.int32),
        "query_mask": ([b, q], tf.bool),
        "query_holds": ([b, q], tf.bool),
        "subject_of": ([b, q, m], tf.bool),
        "object_of": ([b, q, m], tf.bool),
        "seed": ([b, 2], tf.int32),
    }
    found = pipeline.train_batches(files, make_spec(), b, 0, 0, 3).element_spec
    assert {k: (s.shape.as_list(), s.dtype) for k, s in found.items()} == promised
    found = pipeline.eval_batches(files, make_spec(), b).element_spec
    promised |= {"image_id": ([b], tf.string), "example_mask": ([b], tf.bool)}
    assert {k: (s.shape.as_list(), s.dtype) for k, s in found.items()} == promised


def test_what_is_beyond_the_scene_is_padding(tmp_path):
    scene = random_scene(0, size=(48, 60), num_boxes=5, num_relations=9)
    (batch,) = evaluate(write(tmp_path, [scene]), make_spec())
    num_queries = len(scene.queries()[0])
    assert batch["box_mask"][0].tolist() == [True] * 5 + [False] * 3
    assert batch["query_mask"][0].tolist() == [True] * num_queries + [False] * (30 - num_queries)
    np.testing.assert_array_equal(batch["entities"][0, :5], scene.entities)
    np.testing.assert_array_equal(batch["relations"][0, :9], scene.relations)
    np.testing.assert_array_equal(batch["queries"][0, :num_queries], scene.queries()[0])
    assert (batch["relations"][0, 9:] == -1).all()
    for name, used in (("true_boxes", 5), ("entities", 5), ("queries", num_queries)):
        assert not batch[name][0, used:].any()
    # 48 x 60 becomes 64 x 80 in 64 x 96.
    assert batch["original_size"].tolist() == [[48, 60]]
    assert batch["image_size"].tolist() == [[64, 80]]
    assert batch["image"][0, :, :80].any(axis=2).mean() > 0.99
    assert not batch["image"][0, :, 80:].any()


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "I;16"])
def test_every_kind_of_image_becomes_rgb(mode):
    image = Image.new("L" if mode == "I;16" else "RGB", [32, 24], "white").convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    network, size, original = network_input.network_image(buffer.getvalue(), make_spec().resize)
    assert network.dtype == tf.uint8 and network.shape == [64, 96, 3]
    assert size.numpy().tolist() == [64, 85] and original.numpy().tolist() == [24, 32]
    if mode != "I;16":
        assert (network.numpy()[:, :85] >= 254).all()


def test_an_image_alone_looks_as_in_the_batch(tmp_path):
    scene = random_scene(3, size=(200, 170))
    (batch,) = evaluate(write(tmp_path, [scene]), make_spec())
    network, size, original = network_input.network_image(scene.image, make_spec().resize)
    np.testing.assert_array_equal(network, batch["image"][0])
    np.testing.assert_array_equal(size, batch["image_size"][0])
    np.testing.assert_array_equal(original, batch["original_size"][0])


# Geometry.


def test_an_aspect_ratio_that_need_not_be_kept_is_lost(tmp_path):
    """In a graph, with the boxes, as the attention models see it."""
    pixels = np.zeros([40, 90, 3], np.uint8)
    pixels[10:20, 30:60] = 255
    shards = write(tmp_path, [make_scene("wide", pixels, [[10, 30, 20, 60]], [0])])
    spec = make_spec(image_size=(64, 64), short_side=64, long_side=64, keep_aspect=False)
    batch = next(iter(pipeline.eval_batches(shards, spec, 1)))
    np.testing.assert_array_equal(batch["image_size"][0], [64, 64])
    np.testing.assert_allclose(batch["true_boxes"][0, 0], [16, 30 * 64 / 90, 32, 60 * 64 / 90], rtol=1e-5)
    assert batch["image"][0, 24, 32, 0] == 255
    assert batch["image"].numpy().mean() == pytest.approx(255 / 12, rel=0.03)


@pytest.mark.parametrize(
    "size, expected",
    [
        ((60, 80), (60, 80)),
        ((30, 40), (60, 80)),
        ((600, 800), (60, 80)),
        ((45, 59), (60, 79)),  # 78.67, to the nearest pixel
        ((90, 40), (70, 31)),  # short 60 asks for 135 x 60, but only 70 rows are there
        ((20, 80), (22, 90)),  # short 60 asks for 60 x 240, the long side may be 90
        ((1, 400), (1, 90)),  # never less than a pixel
    ],
)
def test_resize_keeps_to_the_short_side_the_long_side_and_the_network(size, expected):
    image = network_input.resize(np.zeros([*size, 3], np.uint8), Resize((70, 96), short_side=60, long_side=90))
    assert tuple(image.shape[:2]) == expected


def test_a_resize_is_that_of_tensorflow_without_its_copy_in_floats():
    """At most one level in a thousand pixels rounds to the other side, and by one."""
    rng = np.random.default_rng(0)
    for size in ((300, 500), (61, 47), (20, 30), (64, 95)):
        image = rng.integers(0, 256, [*size, 3], np.uint8)
        how = Resize((70, 96), short_side=60, long_side=90)
        found, image_size = network_input.pad(network_input.resize(image, how), how)
        new_size = image_size.numpy().astype(int)
        floats = tf.image.resize(tf.image.convert_image_dtype(image, tf.float32), new_size, antialias=True)
        expected, _ = network_input.pad(floats, how)
        difference = np.abs(found.numpy().astype(int) - expected.numpy())
        assert difference.max() <= 1 and difference.mean() < 1e-3


def test_resizing_to_the_same_size_changes_no_pixel(tmp_path):
    scene = random_scene(4, size=(64, 96))
    (batch,) = evaluate(write(tmp_path, [scene]), make_spec())
    np.testing.assert_array_equal(batch["image"][0], Image.open(io.BytesIO(scene.image)))


@pytest.mark.parametrize("size", [(64, 96), (37, 53), (411, 307), (31, 90)])
def test_boxes_stay_on_their_pixels(tmp_path, size):
    """A white rectangle on black: its bright pixels span its box, flipped and not."""
    pixels = np.zeros([*size, 3], np.uint8)
    y0, x0, y1, x1 = size[0] // 5, size[1] // 7, size[0] // 2, size[1] // 3
    pixels[y0:y1, x0:x1] = 255
    files = write(tmp_path, [make_scene(pixels=pixels, boxes=[[y0, x0, y1, x1]], entities=[0])])
    batches = evaluate(files, make_spec()) + train(files, make_spec(), 1, steps=10)
    for batch in batches:
        image, box = batch["image"][0].astype(float).mean(-1) / 255, batch["true_boxes"][0, 0]
        rows, columns = np.nonzero(image >= 0.5)
        found = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        np.testing.assert_allclose(found, box, atol=0.75)
        # The light is where the box is: same centre of mass and, antialiased, the same amount.
        ys, xs = np.indices(image.shape) + 0.5
        centre = [(ys * image).sum() / image.sum(), (xs * image).sum() / image.sum()]
        np.testing.assert_allclose(centre, (box[:2] + box[2:]) / 2, atol=0.05)
        area = (box[2] - box[0]) * (box[3] - box[1])
        np.testing.assert_allclose(image.sum(), area, rtol=0.02)
    assert len({batch["true_boxes"][0, 0, 1].item() for batch in batches}) == 2


def mirrored(scene: Scene) -> Scene:
    pixels = np.asarray(Image.open(io.BytesIO(scene.image)))[:, ::-1]
    y0, x0, y1, x1 = scene.boxes.T
    boxes = np.stack([y0, scene.width - x1, y1, scene.width - x0], 1)
    relations = scene.relations.copy()
    relations[:, 1] = np.asarray(FLIPPED)[relations[:, 1]]
    return make_scene(scene.image_id, pixels, boxes, scene.entities, relations)


def questions(batch):
    """{triplet: (its subject boxes, its object boxes)} of the first example."""
    used = batch["query_mask"][0]
    rows = zip(batch["queries"][0][used], batch["subject_of"][0][used], batch["object_of"][0][used])
    return {tuple(q): (tuple(s.nonzero()[0]), tuple(o.nonzero()[0])) for q, s, o in rows}


@pytest.mark.parametrize("size", [(48, 60), (150, 200)])
def test_the_mirrored_twin_gives_the_mirrored_batch(tmp_path, size):
    """Whatever was drawn for an example: its twin gives the same boxes, mirrored, and the same
    questions with left and right exchanged."""
    scene = random_scene(5, size=size)
    (tmp_path / "twin").mkdir()
    spec = make_spec(color_jitter=0.2)
    ours = train(write(tmp_path, [scene]), spec, 1, steps=12)
    theirs = train(write(tmp_path / "twin", [mirrored(scene)]), spec, 1, steps=12)
    for one, two in zip(ours, theirs):
        width = int(one["image_size"][0, 1])
        np.testing.assert_allclose(one["image"][0, :, :width].astype(int), two["image"][0, :, :width][:, ::-1], atol=2)
        used = one["box_mask"][0]
        y0, x0, y1, x1 = two["true_boxes"][0][used].T
        np.testing.assert_allclose(one["true_boxes"][0][used], np.stack([y0, width - x1, y1, width - x0], 1), atol=1e-3)
        in_mirror = [(s, FLIPPED[r], o) for s, r, o in two["relations"][0] if s >= 0]
        assert [tuple(row) for row in one["relations"][0] if row[0] >= 0] == in_mirror
        asked = {(s, FLIPPED[r], o): roles for (s, r, o), roles in questions(two).items()}
        assert questions(one) == asked and len(asked) == len(scene.queries()[0])
    assert 1 < sum(np.allclose(batch["true_boxes"], ours[0]["true_boxes"]) for batch in ours) < 11


def test_flipping_twice_is_the_identity():
    scene = {
        "image": tf.constant(np.random.default_rng(0).integers(0, 256, [5, 7, 3], dtype=np.uint8)),
        "boxes": tf.constant([[1.0, 2.0, 3.0, 6.5]]),
        "relations": tf.constant([[0, LEFT, 1], [2, ABOVE, 1]]),
        "queries": tf.constant([[4, RIGHT, 3]]),
    }
    once = augment.flip(scene, FLIPPED)
    assert once["boxes"].numpy().tolist() == [[1, 0.5, 3, 5]]
    assert once["relations"].numpy().tolist() == [[0, RIGHT, 1], [2, ABOVE, 1]]
    assert once["queries"].numpy().tolist() == [[4, LEFT, 3]]
    assert_same(augment.flip(once, FLIPPED), scene)


def test_without_flipped_relations_nothing_is_flipped(tmp_path):
    files = write(tmp_path, [random_scene(6)])
    (plain,) = evaluate(files, make_spec())
    for batch in train(files, make_spec(flipped_relations=()), 1, steps=10):
        np.testing.assert_array_equal(batch["image"], plain["image"])
        np.testing.assert_array_equal(batch["true_boxes"], plain["true_boxes"])


def test_color_jitter_changes_colours_only(tmp_path):
    files = write(tmp_path, [random_scene(7)])
    (plain,) = evaluate(files, make_spec())
    batches = train(files, make_spec(flipped_relations=(), color_jitter=0.3), 1, steps=6)
    for batch in batches:
        np.testing.assert_array_equal(batch["true_boxes"], plain["true_boxes"])
        difference = np.abs(batch["image"].astype(int) - plain["image"]).mean()
        assert 1 < difference < 80
        assert not batch["image"][0, :, 80:].any()  # padding stays black
    assert len({batch["image"].tobytes() for batch in batches}) == 6


# Order.


@pytest.mark.parametrize("block", [4, 4096])
def test_an_epoch_is_a_permutation_and_batches_cross_its_end(tmp_path, monkeypatch, block):
    monkeypatch.setattr(pipeline, "SHUFFLE_BLOCK", block)
    files = write(tmp_path, numbered_scenes(11), num_shards=3)
    seen = numbers(train(files, make_spec(), 11, batch_size=4, steps=11))
    epochs = [tuple(seen[k : k + 11]) for k in range(0, 44, 11)]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert len(set(epochs)) == 4


def test_shards_are_shuffled_too(tmp_path, monkeypatch):
    """Blocks of one record keep their order, so what changes is the order of the shards."""
    monkeypatch.setattr(pipeline, "SHUFFLE_BLOCK", 1)
    files = write(tmp_path, numbered_scenes(6), num_shards=6)
    seen = numbers(train(files, make_spec(), 6, batch_size=6, steps=4))
    epochs = [tuple(seen[k : k + 6]) for k in range(0, 24, 6)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs) and len(set(epochs)) > 1


def test_batches_depend_on_seed_and_step_alone(tmp_path):
    files = write(tmp_path, [random_scene(k, str(k)) for k in range(5)], num_shards=2)
    spec = make_spec(max_queries=3, color_jitter=0.1)
    tf.random.set_seed(1)
    whole = train(files, spec, 5, batch_size=2, steps=9)
    tf.random.set_seed(2)
    for step in (1, 2, 3, 8):  # the epochs end inside step 2 and after step 4
        (resumed,) = train(files, spec, 5, batch_size=2, start_step=step)
        assert_same(resumed, whole[step])
    other = train(files, spec, 5, batch_size=2, steps=9, seed=2)
    assert not all((a["image"] == b["image"]).all() for a, b in zip(whole, other))
    model_seeds = {tuple(seed) for batch in whole + other for seed in batch["seed"]}
    assert len(model_seeds) == 36


def test_workers_and_devices_share_the_rows_of_every_batch(tmp_path):
    files = write(tmp_path, [random_scene(k, str(k)) for k in range(7)], num_shards=2)
    spec = make_spec(max_queries=3, color_jitter=0.1)
    whole = train(files, spec, 7, batch_size=8, start_step=1, steps=2)
    ids = pipeline.training_ids(files, 8, 1, 1, 7)
    for worker in range(2):
        share = Share(worker, 2)
        batches = pipeline.train_batches(files, spec, 8, 1, 1, 7, share, devices=2)
        for k, batch in enumerate(batches.take(4).as_numpy_iterator()):
            rows = slice(4 * worker + 2 * (k % 2), 4 * worker + 2 * (k % 2) + 2)
            assert_same(batch, {name: value[rows] for name, value in whole[k // 2].items()})
        assert pipeline.training_ids(files, 8, 1, 1, 7, share) == ids[4 * worker : 4 * worker + 4]


def test_a_wrong_number_of_examples_is_an_error(tmp_path):
    files = write(tmp_path, numbered_scenes(5))
    with pytest.raises(tf.errors.OpError, match="expected to contain 6 elements"):
        train(files, make_spec(), 6, steps=10)


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_evaluation_shows_everything_once_in_file_order(tmp_path, batch_size):
    files = write(tmp_path, numbered_scenes(7), num_shards=2)
    batches = evaluate(files, make_spec(), batch_size)
    assert len(batches) == -(-7 // batch_size)
    real = np.concatenate([batch["example_mask"] for batch in batches])
    names = np.concatenate([batch["image_id"] for batch in batches])
    assert real.tolist() == [True] * 7 + [False] * (len(real) - 7)
    assert names[real].tolist() == [b"0", b"2", b"4", b"6", b"1", b"3", b"5"]
    for batch in batches:
        fill = ~batch["example_mask"]
        assert not batch["query_mask"][fill].any() and not batch["box_mask"][fill].any()
        assert (batch["relations"][fill] == -1).all() and (batch["image_size"][fill] > 0).all()


# Sampling and cutting.


def brute_force_questions(scene: Scene):
    found = {}
    for s, r, o in scene.relations:
        triplet = scene.entities[s], r, scene.entities[o]
        subjects, objects = found.setdefault(triplet, (set(), set()))
        subjects.add(s)
        objects.add(o)
    return {t: (tuple(sorted(s)), tuple(sorted(o))) for t, (s, o) in found.items()}


def test_queries_are_sampled_without_replacement_each_with_all_its_boxes(tmp_path):
    scene = random_scene(8, num_boxes=6, num_relations=14)
    truth = brute_force_questions(scene)
    spec = make_spec(max_queries=4, flipped_relations=())
    counts = dict.fromkeys(truth, 0)
    for batch in train(write(tmp_path, [scene]), spec, 1, steps=300):
        asked = questions(batch)
        assert batch["query_mask"].all() and len(asked) == 4
        for triplet, roles in asked.items():
            assert roles == truth[triplet]
            counts[triplet] += 1
    expected = 300 * 4 / len(truth)
    assert len(truth) > 8 and all(0.6 < n / expected < 1.4 for n in counts.values())


def test_a_share_of_the_queries_does_not_hold(tmp_path):
    """Other relations of the same classes, each once, and now and then a class that is not in the image."""
    scene = random_scene(8, num_boxes=6, num_relations=14)
    truth = brute_force_questions(scene)
    classes, class_pairs = set(scene.entities), {(subject, object_) for subject, _, object_ in truth}
    settings = {"max_queries": 10, "contrastive_queries": 0.4, "num_entities": 7, "num_relations": 3}
    spec = make_spec(flipped_relations=(), **settings)
    for batch in train(write(tmp_path, [scene]), spec, 1, steps=30):
        holds = batch["query_holds"][0]
        assert batch["query_mask"].all() and holds.sum() == 6
        answered = batch["subject_of"][0].any(1), batch["object_of"][0].any(1)
        assert all((has_answer == holds).all() for has_answer in answered)
        assert {tuple(triplet) for triplet in batch["queries"][0][holds]} <= set(truth)
        contrastive = [tuple(triplet) for triplet in batch["queries"][0][~holds]]
        assert not set(contrastive) & set(truth)
        related = {t for t in contrastive if (t[0], t[2]) in class_pairs}
        assert len(related) == 3 and all(0 <= t[1] < 3 for t in contrastive)
        assert all({t[0], t[2]} - classes and {t[0], t[2]} & classes for t in contrastive if t not in related)
    evaluated = evaluate(write(tmp_path, [scene]), make_spec(**settings | {"max_queries": 30}))
    assert evaluated[0]["query_holds"].sum() == len(truth)


def test_few_queries_that_hold_get_few_that_do_not(tmp_path):
    scene = make_scene(boxes=[[0, 0, 5, 5], [9, 9, 15, 15]], entities=[0, 1], relations=[[0, LEFT, 1], [0, ABOVE, 1]])
    spec = make_spec(contrastive_queries=0.5, num_entities=2, num_relations=3, flipped_relations=())
    batch = train(write(tmp_path, [scene]), spec, 1)[0]
    assert batch["query_holds"].sum() == 2 and batch["query_mask"].sum() == 3
    assert batch["queries"][0, 2].tolist() == [0, RIGHT, 1]  # The only one; no class is absent.


@pytest.mark.parametrize("num_boxes", [0, 2])
def test_a_scene_without_queries_gets_none_that_do_not_hold(tmp_path, num_boxes):
    scene = make_scene(boxes=[[0, 0, 5, 5]] * num_boxes, entities=[0] * num_boxes)
    spec = make_spec(contrastive_queries=0.5, num_entities=2, num_relations=3)
    assert not train(write(tmp_path, [scene]), spec, 1)[0]["query_mask"].any()


def test_relations_are_sampled_without_replacement(tmp_path):
    scene = random_scene(9, num_boxes=6, num_relations=20)
    whole = {tuple(row) for row in scene.relations}
    seen = set()
    spec = make_spec(max_relations=5, flipped_relations=())
    for batch in train(write(tmp_path, [scene]), spec, 1, steps=40):
        rows = {tuple(row) for row in batch["relations"][0]}
        assert len(rows) == 5 and rows <= whole
        assert questions(batch) == brute_force_questions(scene)
        seen |= rows
    assert seen == whole


def test_boxes_of_the_sampled_queries_stay_when_boxes_are_cut(tmp_path):
    """Five boxes of five classes, one relation: box 3 is left of box 4. Only three boxes fit."""
    boxes = [[k, k, k + 5, k + 5] for k in range(5)]
    scene = make_scene(boxes=boxes, entities=[10, 11, 12, 13, 14], relations=[[3, LEFT, 4]])
    spec = make_spec(max_boxes=3, flipped_relations=())
    (batch,) = train(write(tmp_path, [scene]), spec, 1)
    assert batch["entities"].tolist() == [[10, 13, 14]]
    factor = 64 / 24
    np.testing.assert_allclose(batch["true_boxes"][0, :, 0], np.array([0, 3, 4]) * factor, rtol=1e-6)
    assert batch["relations"][0, 0].tolist() == [1, LEFT, 2]
    assert questions(batch) == {(13, LEFT, 14): ((1,), (2,))}


def test_what_lost_a_box_is_dropped_when_even_those_do_not_fit(tmp_path):
    """Boxes 0, 1 and 2 are left of box 3; box 3 is above box 0. Boxes 0 and 1 fit."""
    scene = make_scene(
        boxes=[[k, k, k + 5, k + 5] for k in range(4)],
        entities=[5, 5, 5, 6],
        relations=[[0, LEFT, 3], [1, LEFT, 3], [2, LEFT, 3], [3, ABOVE, 0], [0, ABOVE, 1]],
    )
    spec = make_spec(max_boxes=2, flipped_relations=())
    (batch,) = train(write(tmp_path, [scene]), spec, 1)
    assert questions(batch) == {(5, ABOVE, 5): ((0,), (1,))}
    assert batch["relations"][0, 0].tolist() == [0, ABOVE, 1]
    assert (batch["relations"][0, 1:] == -1).all()
    assert not batch["subject_of"][0, 1:].any() and not batch["object_of"][0, 1:].any()


@pytest.mark.parametrize("name", ["boxes", "relations", "queries"])
def test_evaluation_refuses_to_cut(tmp_path, name):
    files = write(tmp_path, [random_scene(0, "crowd.png")])
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"crowd.png.*BatchSpec.max_{name}"):
        evaluate(files, make_spec(**{f"max_{name}": 2}))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_box_that_is_not_finite_names_its_image(tmp_path, value):
    scene = make_scene("bad.png", boxes=[[0, 0, 9, 9], [0, 0, 5, value]], entities=[3, 3], relations=[[0, LEFT, 1]])
    files = write(tmp_path, [scene])
    for read in (lambda: evaluate(files, make_spec()), lambda: train(files, make_spec(), 1)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="bad.png.*not finite"):
            read()


def test_scenes_without_boxes_relations_or_queries(tmp_path):
    scenes = [make_scene("empty"), make_scene("no relations", boxes=[[0, 0, 9, 9]], entities=[3])]
    files = write(tmp_path, scenes)
    trained = train(files, make_spec(), 2, batch_size=2, steps=4)
    for batch in evaluate(files, make_spec(), 2) + trained:
        assert sorted(batch["box_mask"].sum(axis=1)) == [0, 1]
        assert not batch["query_mask"].any()
        assert not batch["subject_of"].any() and not batch["object_of"].any()
        assert (batch["relations"] == -1).all()


# Errors.


def test_impossible_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no TFRecord files"):
        pipeline.train_batches([], make_spec(), 1, 0, 0, 1)
    with pytest.raises(ValueError, match="no TFRecord files"):
        pipeline.eval_batches([], make_spec(), 1)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        pipeline.eval_batches(["x"], make_spec(), 0)
    with pytest.raises(ValueError, match="got 0 and -1"):
        pipeline.train_batches(["x"], make_spec(), 1, 0, -1, 0)
    with pytest.raises(ValueError, match="max_boxes must be at least 1, got 0"):
        make_spec(max_boxes=0)
    with pytest.raises(ValueError, match=r"Resize.image_size must be \(height, width\), got \(0, 64\)"):
        make_spec(image_size=(0, 64))
    with pytest.raises(ValueError, match="Resize.short_side must be at least 1, got 0"):
        make_spec(short_side=0)
    with pytest.raises(ValueError, match=r"every relation id once, got \(1, 1\)"):
        make_spec(flipped_relations=(1, 1))
    with pytest.raises(ValueError, match="color_jitter must be in 0..1, got 2"):
        make_spec(color_jitter=2)
    with pytest.raises(ValueError, match=r"contrastive_queries must be in \[0, 1\), got 1"):
        make_spec(contrastive_queries=1)
