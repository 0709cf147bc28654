"""The training loop: losses, logs, averages, bad numbers, stops, precision."""

from __future__ import annotations

import dataclasses
import math
import os
import types

import numpy as np
import pytest
import tensorflow as tf
import tiny
import tiny_data

from dsg_tf import checkpoints
from dsg_tf import config as config_lib
from dsg_tf.data.batches import pipeline
from dsg_tf.data.records import DatasetInfo
from dsg_tf.keras import keras
from dsg_tf.process import stopping
from dsg_tf.training import loop
from dsg_tf.training.nonfinite import NonFiniteError
from dsg_tf.training.saving import RunState

STEPS, STEPS_PER_EPOCH = 40, 4


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    tiny_data.write(folder, {"train": 8})
    return folder


def make_trainer(data_dir, model_dir, evaluate=lambda model, step: {}, **changes):
    settings = tiny.config(data_dir=data_dir, model_dir=str(model_dir), log_steps=1, **changes)
    return loop.Trainer(settings, DatasetInfo.load(data_dir), tf.distribute.MirroredStrategy(["/cpu:0"]), evaluate)


@pytest.fixture(scope="module")
def trainer(data_dir, tmp_path_factory):
    """Before its first step. Its validation notes whether the model holds the averages."""
    notes = []

    def evaluate(model, step):
        notes.append(
            (step, all(np.array_equal(v.numpy(), a.numpy()) for v, a in zip(model.variables, made.average.averages)))
        )
        return {"subject_iou": 0.5}

    made = make_trainer(
        data_dir,
        tmp_path_factory.mktemp("run"),
        evaluate,
        epochs=STEPS / STEPS_PER_EPOCH,
        optimizer="adamw",
        learning_rate=1e-2,
        schedule="cosine",
        warmup_steps=5,
        rr_balance=False,  # With it the loss grows with the boxes that are found.
        clip_norm=1.0,
        ema_decay=0.9,
        batch_norm="batch",
        eval_steps=15,
        loss_weights=(1, 1, 1, 0.02, 0.02, 0.01),
    )
    made.notes = notes
    return made


@pytest.fixture(scope="module")
def trained(trainer):
    config_lib.save(trainer.config, trainer.config.model_dir)
    checkpoints.save_vocabulary(trainer.config.model_dir, trainer.info.vocabulary)
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def events(trained):
    """What the TensorBoard files hold: tag to {step: value}."""
    found = {}
    folder = os.path.join(trained.config.model_dir, "train")
    for name in os.listdir(folder):
        for event in tf.compat.v1.train.summary_iterator(os.path.join(folder, name)):
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
    return found


def state_of(trainer):
    """All that an update changes. (Batch-norm statistics move in the forward pass.)"""
    state = trainer.state
    return [
        v.numpy()
        for v in (*state.model.trainable_variables, *state.optimizer.variables, *state.average.averages, state.step)
    ]


def test_training_ids_are_those_of_the_batches(data_dir, tmp_path):
    """Told by the sizes of the images: those of two in a batch differ."""
    info = DatasetInfo.load(data_dir)
    shards, sizes = info.shard_paths(data_dir, "train"), {}
    for k in range(8):
        scene = tiny_data.draw("train", k)
        sizes[scene.image_id] = (scene.height, scene.width)
    spec = loop.build.batch_spec(tiny.config(), info, "train", training=True)
    for step, batch in enumerate(pipeline.train_batches(shards, spec, 3, 5, 0, 8).take(6)):
        ids = pipeline.training_ids(shards, 3, 5, step, 8)
        assert [sizes[image_id] for image_id in ids] == [tuple(size) for size in batch["original_size"].numpy()]
    assert {*pipeline.training_ids(shards, 8, 5, 0, 8)} == set(sizes)


def test_loss_goes_down(events):
    total = [float(events["loss/total"][step]) for step in range(1, STEPS + 1)]
    rpn = [float(events["loss/rpn_score"][step]) for step in range(1, STEPS + 1)]
    quarter = STEPS // 4  # Of an epoch, four batches, the sampling of proposals is louder than what is learned.
    for values, factor in ((total, 0.95), (rpn, 0.7)):
        assert np.mean(values[-quarter:]) < factor * np.mean(values[:quarter])


def test_scalars_are_logged_at_every_step(events, trained):
    wanted = {
        *(f"loss/{term}" for term in (*tiny.TERMS, "total")),
        "metric/subject_iou",
        "metric/object_iou",
        "optim/gradient_norm",
        "optim/learning_rate",
        "input/images_per_second",
        "input/step_milliseconds",
        "input/wait_share",
    }
    assert wanted <= set(events)
    for tag in wanted:
        assert sorted(events[tag]) == list(range(1, STEPS + 1)), tag
        assert np.isfinite(list(events[tag].values())).all(), tag
    for step in (1, 3, 20, STEPS):
        weights = dataclasses.asdict(trained.config.loss_weights)
        weighted = sum(weights[term] * float(events[f"loss/{term}"][step]) for term in tiny.TERMS)
        assert float(events["loss/total"][step]) == pytest.approx(weighted, rel=1e-4)
    cosine = lambda step: 1e-2 * 0.5 * (1 + math.cos(math.pi * step / STEPS))
    rates = [float(events["optim/learning_rate"][step]) for step in (1, 3, 21)]
    np.testing.assert_allclose(rates, [0.0, 2 / 5 * cosine(5), cosine(20)], rtol=1e-4)
    assert 0 < max(float(v) for v in events["metric/subject_iou"].values()) <= 1
    assert 0 < max(float(v) for v in events["input/wait_share"].values()) < 1


def test_settings_are_in_tensorboard(events):
    text = b"\n".join(events["config"][0].reshape(-1)).decode()
    assert "| learning_rate | 0.01 |" in text and "| batch_norm | batch |" in text


def test_validation_sees_the_averages_and_the_weights_come_back(trained):
    assert trained.notes == [(15, True), (30, True)]
    averaged = [
        np.array_equal(v.numpy(), a.numpy())
        for v, a in zip(trained.model.trainable_variables, trained.average.averages)
    ]
    assert np.mean(averaged) < 0.2  # The coarsest levels are not in use and have no gradient.


def test_batch_norm_statistics_are_trained_and_averaged(trained):
    variance = [
        (v.numpy(), a.numpy())
        for v, a in zip(trained.model.variables, trained.average.averages)
        if "moving_variance" in v.name
    ]
    assert len(variance) == 16
    for own, average in variance:
        assert not np.allclose(own, 1.0, atol=1e-3) and not np.array_equal(own, average)


def test_load_model_answers_as_the_averaged_weights(trained):
    loaded, config, vocabulary, step = checkpoints.load_model(trained.config.model_dir)
    assert (config, vocabulary, step) == (trained.config, tiny_data.VOCABULARY, STEPS)
    batch = tiny.batch(config, 2)
    with trained.average.swapped_in():
        expected = trained.model(batch, training=False)
    own = trained.model(batch, training=False)
    found = loaded(batch, training=False)
    for name in ("role_logits", "boxes", "entity_logits"):
        np.testing.assert_allclose(found[name].numpy(), expected[name].numpy(), atol=1e-5, err_msg=name)
    assert np.abs(found["role_logits"].numpy() - own["role_logits"].numpy()).max() > 1e-3

    # Another run can start from this one: from the averages or, of the parts of the detector, the weights.
    for variable in loaded.variables:
        variable.assign(tf.zeros_like(variable))
    checkpoints.initialize(loaded, config.model_dir, ("all",))
    for variable, average in zip(loaded.variables, trained.average.averages):
        np.testing.assert_array_equal(variable.numpy(), average.numpy(), err_msg=variable.name)
    checkpoints.initialize(loaded, config.model_dir, ("backbone",))
    for variable, own_variable in zip(loaded.detector.backbone.variables, trained.model.detector.backbone.variables):
        np.testing.assert_array_equal(variable.numpy(), own_variable.numpy(), err_msg=variable.name)


def test_a_finished_run_is_left_alone(trained):
    before = state_of(trained)
    trained.train()
    for old, new in zip(before, state_of(trained)):
        np.testing.assert_array_equal(old, new)


class SizesCount:
    """Losses that are not finite where an image's size is not: what NO-DSG computes hardly looks at it."""

    def __init__(self, losses):
        self.losses, self.total = losses, losses.total

    def __call__(self, outputs, batch):
        terms = self.losses(outputs, batch)
        return {**terms, "rr": terms["rr"] + 0.0 * tf.reduce_sum(batch["image_size"])}


@pytest.fixture(scope="module")
def small(data_dir, tmp_path_factory):
    """A trainer of six steps with the smaller network, and how it began."""
    made = make_trainer(
        data_dir,
        tmp_path_factory.mktemp("small"),
        epochs=1.5,
        model="no_dsg",
        optimizer="adamw",
        ema_decay=0.9,
        batch_norm="batch",
        checkpoint_steps=2,
        eval_steps=3,
    )
    made.step.gradients.losses = SizesCount(made.step.gradients.losses)
    return made, [v.numpy() for v in all_of(made)]


def all_of(trainer):
    state = trainer.state
    return [*state.model.variables, *state.optimizer.variables, *state.average.averages, state.step]


@pytest.fixture
def fresh(small, tmp_path, monkeypatch):
    """That trainer as it began, with an empty directory."""
    trainer, start = small
    put(trainer, start)
    before = trainer.state
    state = RunState(
        str(tmp_path),
        trainer.strategy,
        model=before.model,
        optimizer=before.optimizer,
        step=before.step,
        average=before.average,
    )
    monkeypatch.setattr(trainer, "config", dataclasses.replace(trainer.config, model_dir=str(tmp_path)))
    monkeypatch.setattr(trainer, "state", state)
    return trainer


def put(trainer, values):
    for variable, value in zip(all_of(trainer), values):
        variable.assign(value)


def names_in(folder):
    return sorted(name.split(".")[0] for name in os.listdir(folder) if name.endswith(".index"))


def ids_of(trainer, step):
    return pipeline.training_ids(
        trainer.info.shard_paths(trainer.config.data_dir, "train"), 2, trainer.config.seed, step - 1, 8
    )


def test_a_bad_number_stops_before_the_update_and_is_named(fresh):
    bias = fresh.model.classifier.logits.bias
    bias.assign(np.where(np.arange(4) == 2, np.nan, bias))
    before = state_of(fresh)
    ids = ids_of(fresh, 1)
    message = (
        r"step 1: loss/rr is nan.*Every image of the batch has such a value by itself: "
        rf"{ids[0]}, {ids[1]}\. .*The update of that step was not made; there is no checkpoint yet\.$"
    )
    with pytest.raises(NonFiniteError, match=message):
        fresh.train()
    for old, new in zip(before, state_of(fresh)):
        np.testing.assert_array_equal(old, new)
    assert not os.path.exists(checkpoints.checkpoint_dir(fresh.config.model_dir))


@pytest.mark.parametrize(
    "bad_step, row, updates, saved, evaluated",
    [
        pytest.param(3, 0, 2, ["ckpt-2"], [], id="before the evaluation of that step"),
        pytest.param(4, 1, 3, ["ckpt-2"], [3], id="before the checkpoint of that step"),
        pytest.param(5, 0, 5, ["ckpt-2", "ckpt-4"], [3], id="a step later"),
    ],
)
def test_a_bad_step_and_its_image_are_named_whenever_the_host_looks(
    bad_step, row, updates, saved, evaluated, fresh, monkeypatch
):
    """The run evaluates at step 3, saves at each second one, and logs the sixth and last only."""
    batches = pipeline.train_batches

    def spoiled(step, batch):
        is_bad = (step == bad_step) & (tf.range(2) == row)
        return {**batch, "image_size": tf.where(is_bad[:, tf.newaxis], np.nan, batch["image_size"])}

    def spoiled_batches(shards, spec, batch_size, seed, first_step, *args, **options):
        made = batches(shards, spec, batch_size, seed, first_step, *args, **options)
        return made.enumerate(tf.constant(first_step + 1, tf.int64)).map(spoiled)

    steps_evaluated = []
    monkeypatch.setattr(pipeline, "train_batches", spoiled_batches)
    monkeypatch.setattr(fresh, "config", dataclasses.replace(fresh.config, log_steps=100))
    monkeypatch.setattr(fresh, "evaluate", lambda model, step: steps_evaluated.append(step) or {})
    folder = checkpoints.checkpoint_dir(fresh.config.model_dir)
    message = (
        rf"step {bad_step}: loss/rr is nan.*It comes from {ids_of(fresh, bad_step)[row]}: look at the annotations\. "
        rf"The update of that step was not made; the last checkpoint is {folder}/{saved[-1]}\.$"
    )
    with pytest.raises(NonFiniteError, match=message):
        fresh.train()
    assert names_in(folder) == saved and steps_evaluated == evaluated
    assert int(fresh.state.step.numpy()) == updates and all(np.isfinite(v).all() for v in state_of(fresh))


def test_a_gradient_that_is_not_finite_stops_a_finite_loss(fresh, monkeypatch):
    numbers = {"loss/total": tf.constant(1.5), "optim/gradient_norm": tf.constant(np.nan)}
    monkeypatch.setattr(fresh, "step", lambda batch: numbers)
    message = (
        r"step 1: optim/gradient_norm is nan.*'loss/total': 1\.5.*No image of the batch has such a value by itself"
    )
    with pytest.raises(NonFiniteError, match=message):
        fresh.train()
    assert not os.path.exists(checkpoints.checkpoint_dir(fresh.config.model_dir))


@pytest.mark.parametrize("where", ["between steps", "in the evaluation"])
def test_a_stopped_run_has_saved_and_goes_on_to_the_same_weights(where, fresh, small, monkeypatch):
    fresh.train()
    expected = [v.numpy() for v in all_of(fresh)]
    folder = checkpoints.checkpoint_dir(fresh.config.model_dir)
    for name in os.listdir(folder):
        os.remove(os.path.join(folder, name))
    put(fresh, small[1])

    def ask(*args):
        monkeypatch.setattr(stopping, "_asked", 15)
        if where == "in the evaluation":
            stopping.check()  # As `scoring.evaluate` does for each batch.
        return {}

    with monkeypatch.context() as patch:
        patch.setattr(fresh, "evaluate", ask)  # After step 3; every second step saves.
        with pytest.raises(stopping.Stopped, match="^stopped at step 3; resume with the same command$"):
            fresh.train()
    assert names_in(folder) == ["ckpt-2", "ckpt-3"]

    put(fresh, [np.full_like(v.numpy(), 3) for v in all_of(fresh)])
    monkeypatch.setattr(stopping, "_asked", None)
    fresh.train()
    for value, variable in zip(expected, all_of(fresh)):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.name)


def test_batch_size_must_fit_the_devices(data_dir):
    strategy = types.SimpleNamespace(num_replicas_in_sync=2)
    with pytest.raises(ValueError, match="--batch_size=3 must be a multiple of the number of devices, 2$"):
        loop.Trainer(tiny.config(batch_size=3), DatasetInfo.load(data_dir), strategy, None)
    with pytest.raises(ValueError, match="--batch_size=6 must be .* of devices, 2 times --accumulation=2$"):
        loop.Trainer(tiny.config(batch_size=6, accumulation=2), DatasetInfo.load(data_dir), strategy, None)


# XLA takes a smaller model here: test_network_step.py compiles a step of the whole one.
@pytest.mark.parametrize(
    "changes",
    [{"precision": "mixed_bfloat16"}, {"jit_compile": True, "model": "no_dsg"}],
    ids=lambda changes: next(iter(changes)),
)
def test_precision_and_compilation_train_a_step(changes, data_dir, tmp_path):
    try:
        trainer = make_trainer(data_dir, tmp_path, epochs=1 / STEPS_PER_EPOCH, **changes)
        before = [v.numpy() for v in trainer.model.trainable_variables]
        trainer.train()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert trainer.model.classifier.compute_dtype == ("bfloat16" if "precision" in changes else "float32")
    assert {v.dtype for v in trainer.model.variables} == {tf.float32}
    after = [v.numpy() for v in trainer.model.trainable_variables]
    assert all(np.isfinite(v).all() for v in after)
    assert sum(not np.array_equal(old, new) for old, new in zip(before, after)) > len(after) / 2
