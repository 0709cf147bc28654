"""The attention models against textbook forms."""

import numpy as np
import pytest
import tensorflow as tf
import tiny
import tiny_data

from dsg_tf import build, checkpoints
from dsg_tf import config as config_lib
from dsg_tf.data import roles
from dsg_tf.data.batches import displacements
from dsg_tf.keras import keras
from dsg_tf.model.baselines import attention, shifts
from dsg_tf.objectives import metrics

SIZE, RELATIONS, ENTITIES = shifts.MAP_SIZE, 4, 5
RNG = np.random.default_rng(0)
ASKED = np.array([[0, 3, 3], [1, 0, 2]], np.int32)


def random_maps():
    return RNG.random([2, 3, SIZE, SIZE]).astype(np.float32)


def shifted_by_all_convolutions(layer, maps, relations):
    """Every relation's convolution of every map, as the textbook has it; then those that were asked for are kept."""
    result = np.zeros_like(maps)
    for relation in range(RELATIONS):
        values = maps.reshape([-1, SIZE, SIZE, 1])
        for kernels in layer.kernels:
            side = layer.kernel_size
            kernel = kernels.numpy()[relation].reshape([side, side, -1, kernels.shape[-1]])
            values = tf.nn.relu(tf.nn.conv2d(values, kernel, 1, "SAME"))
        of_relation = values.numpy().reshape(maps.shape)
        result[relations == relation] = of_relation[relations == relation]
    return result


def test_gathered_convolutions_are_the_dense_ones():
    keras.utils.set_random_seed(0)
    layer, maps = shifts.ConvolutionalShift(RELATIONS, num_layers=4, kernel_size=5, channels=6), random_maps()
    shifted = layer(maps, ASKED).numpy()
    assert shifted.any() and not np.allclose(shifted[0, 1], shifted[0, 0])
    np.testing.assert_allclose(shifted, shifted_by_all_convolutions(layer, maps, ASKED), atol=1e-5)


def test_only_the_kernels_that_are_asked_for_get_a_gradient():
    layer, maps = shifts.ConvolutionalShift(RELATIONS, num_layers=4, kernel_size=5, channels=8), random_maps()
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(maps, np.array([[0, 3, 3], [3, 0, 0]], np.int32)))
    for gradient in tape.gradient(total, layer.trainable_variables):
        moved = np.abs(tf.convert_to_tensor(gradient)).sum(axis=(1, 2)) > 0
        assert moved.tolist() == [True, False, False, True]


def test_a_statistical_shift_moves_by_hand_computed_cells():
    forward, back = (shifts.StatisticalShift(RELATIONS, direction=direction) for direction in (1, -1))
    maps = np.zeros([1, 3, SIZE, SIZE], np.float32)
    maps[0, :, 5, 8] = 1.0
    relations = np.array([[0, 1, 2]], np.int32)
    for layer in (forward, back):
        layer(maps, relations)
        layer.displacements.assign([[2, -3], [0.25, 0], [-6, 6], [0, 0]])
    moved = forward(maps, relations).numpy()[0]
    expected = np.zeros([3, SIZE, SIZE])
    expected[0, 7, 5] = 1.0
    expected[1, 5, 8], expected[1, 6, 8] = 0.75, 0.25
    np.testing.assert_allclose(moved, expected, atol=1e-6)  # The third one leaves the map.
    assert np.argwhere(back(maps, relations).numpy()[0, 0]).tolist() == [[3, 11]]


def test_displacements_are_the_mean_over_the_instances(tmp_path):
    info = tiny_data.write(str(tmp_path))
    rows = {relation: [] for relation in range(tiny.NUM_RELATIONS)}
    for index in range(tiny_data.NUM_IMAGES["train"]):
        scene = tiny_data.draw("train", index)
        for subject, relation, object_ in scene.relations:
            centers = [(scene.boxes[k, :2] + scene.boxes[k, 2:]) / 2 for k in (subject, object_)]
            rows[relation].append((centers[1] - centers[0]) / [scene.height, scene.width])
    found = displacements.mean_displacements(info.shard_paths(str(tmp_path), "train"), tiny.NUM_RELATIONS + 1)
    assert found.shape == (tiny.NUM_RELATIONS + 1, 2) and not found[-1].any()
    for relation, values in rows.items():
        np.testing.assert_allclose(found[relation], np.mean(values, axis=0), atol=1e-5)
    assert found[0, 1] > 0.15 and found[1, 1] < -0.15  # "left": the object lies to the right.


@pytest.mark.parametrize("released, weight", [(True, 1.0), (True, 2.0), (False, 2.0)])
def test_stacked_attention_is_the_literal_iteration(released, weight):
    keras.utils.set_random_seed(1)
    stack = {"num_layers": 2, "kernel_size": 5, "channels": 8}
    forward, back = (shifts.ConvolutionalShift(RELATIONS, **stack) for _ in range(2))
    layer = attention.StackedAttention(
        ENTITIES, shift=forward, inverse_shift=back, iterations=3, iteration_weight=weight, released=released
    )
    features = RNG.normal(size=[1, SIZE, SIZE, 6]).astype(np.float32)
    query = np.array([[[4, 2, 1]]], np.int32)
    found = [m.numpy()[0, 0] for m in layer(features, query)]

    kernel, bias = (v.numpy() for v in layer.project.variables)
    embedded = [layer.entity(np.array(word)).numpy() @ kernel + bias for word in (4, 1)]
    if released:
        embedded = [np.maximum(vector, 0) for vector in embedded]

    def attend(image, vector):
        return np.maximum(image @ vector, 0)

    def shift(by, values):
        return np.tanh(by(values[np.newaxis, np.newaxis].astype(np.float32), query[..., 1]).numpy()[0, 0])

    subject, object_ = (attend(features[0], vector) for vector in embedded)
    weighted = [[subject], [object_]]
    for step in range(1, 4):
        to_object, to_subject = shift(forward, subject), shift(back, object_)
        subject = attend(features[0] * to_subject[..., np.newaxis], embedded[0])
        object_ = attend(features[0] * to_object[..., np.newaxis], embedded[1])
        weighted[0].append(weight**step * subject)
        weighted[1].append(weight**step * object_)
    for values, maps in zip(found, weighted):
        divisor = sum(weight**step for step in range(4)) * (4 if released else 1)
        np.testing.assert_allclose(values, np.tanh(sum(maps) / divisor), atol=1e-5)
        assert values.any()


@pytest.mark.parametrize("released", [True, False])
def test_query_attention_is_the_literal_one(released):
    keras.utils.set_random_seed(1)
    layer = attention.QueryAttention(ENTITIES, RELATIONS, use_relation=True, released=released)
    features, query = RNG.normal(size=[1, SIZE, SIZE, 32]).astype(np.float32), np.array([[[4, 2, 1]]], np.int32)
    found = [m.numpy()[0, 0] for m in layer(features, query)]
    tables = (layer.subject, layer.object, layer.relation)
    words = np.concatenate([table(np.array(word)).numpy() for table, word in zip(tables, (4, 1, 2))])
    if not released:
        words = layer.hidden(words[np.newaxis]).numpy()[0]
    for values, dense in zip(found, (layer.to_subject, layer.to_object)):
        kernel, bias = (v.numpy() for v in dense.variables)
        vector = words @ kernel + bias
        vector = np.maximum(vector, 0) if released else vector
        np.testing.assert_allclose(values, np.tanh(np.maximum(features[0] @ vector, 0)), atol=1e-5)
        assert values.any()


@pytest.fixture(scope="module")
def models():
    settings = {
        name: config_lib.for_system(tiny.config(attention_learning_rate=1e-3), name)
        for name in config_lib.ATTENTION_MODELS
    }
    return {name: (setting, tiny.model(setting)) for name, setting in settings.items()}


@pytest.mark.stack
@pytest.mark.parametrize("name", config_lib.ATTENTION_MODELS)
def test_steps_lower_the_loss_and_the_maps_answer(models, name):
    settings, model = models[name]
    assert settings.image_size == (224, 224) and settings.optimizer == "rmsprop" and settings.learning_rate == 1e-3
    batch = tiny.batch(settings, 2)
    losses = build.build_losses(settings, tiny.NUM_RELATIONS)
    optimizer = keras.optimizers.RMSprop(5e-4)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            outputs = model(batch, training=True)
            terms = losses(outputs, batch)
            total = losses.total(terms)
        return terms, tape.gradient(total, model.trainable_variables), outputs

    first, gradients, outputs = step()
    assert set(first) == {"subject_map", "object_map"}
    for role in roles.ROLES:
        maps = outputs[f"{role}_map"].numpy()
        assert maps.shape == (2, settings.max_queries, SIZE, SIZE) and 0 <= maps.min() and maps.max() < 1
        np.testing.assert_array_equal(metrics.answer_mask(outputs, batch["image_size"], role), maps >= 0.5)
    attender = [v.name for v in model.attender.trainable_variables]
    assert attender and all(
        gradient is not None for v, gradient in zip(model.trainable_variables, gradients) if v.name in attender
    )
    for _ in range(8):
        pairs = zip(step()[1], model.trainable_variables)
        optimizer.apply_gradients([(gradient, v) for gradient, v in pairs if gradient is not None])
    assert sum(map(float, step()[0].values())) < 0.8 * sum(map(float, first.values()))


def test_the_loss_is_the_literal_weighted_cross_entropy(models):
    settings, model = models["co"]
    batch = tiny.batch(settings, 2)
    maps = {
        f"{role}_map": RNG.uniform(0.1, 0.9, [2, settings.max_queries, SIZE, SIZE]).astype(np.float32)
        for role in roles.ROLES
    }
    terms = build.build_losses(settings, tiny.NUM_RELATIONS)(maps, batch)
    for role in roles.ROLES:
        truth = metrics.true_mask(batch, role).numpy()
        of_image = []
        for image in range(2):
            queries = [k for k in range(settings.max_queries) if batch["query_mask"][image, k]]
            cells = [
                [
                    -7.5 * np.log(p) if t else -np.log(1 - p)
                    for p, t in zip(maps[f"{role}_map"][image, k].ravel(), truth[image, k].ravel())
                ]
                for k in queries
            ]
            of_image.append(np.mean(cells))
        assert float(terms[f"{role}_map"]) == pytest.approx(np.mean(of_image), rel=1e-4)


def test_words_matter_as_the_systems_say(models):
    """CO is blind for the relation; the others are not."""
    features = RNG.normal(size=[1, SIZE, SIZE, 8]).astype(np.float32)
    queries = np.array([[[0, 0, 1], [0, 2, 1], [3, 0, 1]]], np.int32)
    for name, (settings, _) in models.items():
        keras.utils.set_random_seed(2)
        attender = build.make_attender(settings, ENTITIES, RELATIONS)
        attender(features, queries)
        if name == "ss":
            for layer in (attender.shift, attender.inverse_shift):
                layer.displacements.assign([[0, 3], [0, -3], [4, 0], [-4, 0]])
        maps = attender(features, queries)[0].numpy()[0]
        assert np.allclose(maps[0], maps[1], atol=1e-6) == (name == "co"), name
        assert not np.allclose(maps[0], maps[2], atol=1e-4), name


def test_a_backbone_of_a_dsg_starts_an_attention_model(models, tmp_path):
    donor = tiny.model(tiny.config(seed=3))
    path = tf.train.Checkpoint(model=donor).write(str(tmp_path / "donor"))
    settings, _ = models["vrd"]
    model = tiny.model(settings)
    checkpoints.initialize(model, path, ("backbone",))
    for mine, theirs in zip(model.backbone.variables, donor.detector.backbone.variables):
        np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(ValueError, match="attender.*not in the checkpoint"):
        checkpoints.initialize(model, path, ("all",))
