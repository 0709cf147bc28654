"""The training loop: losses, logs, averages, bad numbers, devices, precision."""

from __future__ import annotations

import dataclasses
import math
import os
import resource
import types

import numpy as np
import pytest
import tensorflow as tf

import tiny
import tiny_data
from dsg_tf import build, checkpoints, gradients, stopping, training
from dsg_tf.data import pipeline
from dsg_tf.data.records import DatasetInfo
from dsg_tf.keras import keras
from dsg_tf.losses import TERMS

STEPS, STEPS_PER_EPOCH = 40, 4


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    tiny_data.write(folder, {"train": 8})
    return folder


def make_trainer(data_dir, model_dir, evaluate=lambda model, step: {}, **changes):
    settings = tiny.config(data_dir=data_dir, model_dir=str(model_dir), log_steps=1, **changes)
    return training.Trainer(settings, DatasetInfo.load(data_dir), tf.distribute.MirroredStrategy(["/cpu:0"]), evaluate)


@pytest.fixture(scope="module")
def trainer(data_dir, tmp_path_factory):
    """Before its first step. Its validation notes whether the model holds the averages."""
    notes = []

    def evaluate(model, step):
        notes.append((step, all(np.array_equal(v.numpy(), a.numpy()) for v, a in zip(model.variables, made.average.averages))))
        return {"subject_iou": 0.5}

    made = make_trainer(data_dir, tmp_path_factory.mktemp("run"), evaluate, epochs=STEPS / STEPS_PER_EPOCH,
                        optimizer="adamw", learning_rate=1e-2, schedule="cosine", warmup_steps=5, clip_norm=1.0,
                        ema_decay=0.9, batch_norm="batch", eval_steps=15, loss_weights=(1, 1, 1, 0.02, 0.02, 0.01))
    made.notes = notes
    return made


@pytest.fixture(scope="module")
def trained(trainer):
    trainer.config.save(trainer.config.model_dir)
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


def batch_of(trainer):
    return next(iter(trainer.strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensors(
        tiny.batch(trainer.config, 2)))))


def state_of(trainer):
    """All that an update changes. (Batch-norm statistics move in the forward pass.)"""
    variables = [*trainer.model.trainable_variables, *trainer.optimizer.variables, *trainer.average.averages, trainer.step]
    return [v.numpy() for v in variables]


def test_a_bad_number_stops_before_the_update_and_is_named(trainer):
    bias = trainer.model.labeler.entity.bias
    healthy = bias.numpy()
    bias.assign(np.where(np.arange(len(healthy)) == 2, np.nan, healthy))
    before = state_of(trainer)
    try:
        ids = ids_of(trainer, 7)
        message = (r"step 7: loss/entity is nan.*Every image of the batch has such a value by itself: "
                   rf"{ids[0]}, {ids[1]}\. .*still those of step 6; there is no checkpoint")
        with pytest.raises(training.NonFiniteError, match=message):
            trainer._checked_step(batch_of(trainer), 7)
        for old, new in zip(before, state_of(trainer)):
            np.testing.assert_array_equal(old, new)
    finally:
        bias.assign(healthy)


def ids_of(trainer, step):
    return pipeline.training_ids(trainer.info.shard_paths(trainer.config.data_dir, "train"), 2, trainer.config.seed,
                                 step - 1, 8)


@pytest.mark.parametrize("row", [0, 1])
def test_the_image_that_a_bad_number_comes_from_is_named(row, trainer):
    batch = {**batch_of(trainer)}
    bad = np.zeros([2, 1], np.float32)
    bad[row] = np.nan
    batch["image_size"] = batch["image_size"] + bad
    before, traces = state_of(trainer), trainer.compute.compute.experimental_get_tracing_count()
    statistics = [v.numpy() for v in trainer.model.variables]
    try:
        message = rf"step 3: loss/rr is nan.*It comes from {ids_of(trainer, 3)[row]}: look at"
        with pytest.raises(training.NonFiniteError, match=message):
            trainer._checked_step(batch, 3)
        for old, new in zip(before, state_of(trainer)):
            np.testing.assert_array_equal(old, new)
        assert trainer.compute.compute.experimental_get_tracing_count() == max(traces, 1)  # Nothing is compiled for it.
    finally:
        for variable, value in zip(trainer.model.variables, statistics):
            variable.assign(value)


def test_training_ids_are_those_of_the_batches(data_dir, tmp_path):
    """Told by the sizes of the images: those of two in a batch differ."""
    info = DatasetInfo.load(data_dir)
    shards, sizes = info.shard_paths(data_dir, "train"), {}
    for k in range(8):
        scene = tiny_data.draw("train", k)
        sizes[scene.image_id] = (scene.height, scene.width)
    spec = training.build.input_spec(tiny.config(), info, "train", training=True)
    for step, batch in enumerate(pipeline.train_batches(shards, spec, 3, 5, 0, 8).take(6)):
        ids = pipeline.training_ids(shards, 3, 5, step, 8)
        assert [sizes[image_id] for image_id in ids] == [tuple(size) for size in batch["original_size"].numpy()]
    assert {*pipeline.training_ids(shards, 8, 5, 0, 8)} == set(sizes)


def test_gradient_is_clipped_by_its_global_norm(trainer):
    gradients, scalars = trainer.compute(batch_of(trainer))
    norm = math.sqrt(sum(float(np.sum(np.square(g.numpy()))) for g in gradients))
    assert float(scalars["optim/gradient_norm"]) > 1.5  # The norm before clipping is what is logged.
    assert norm == pytest.approx(1.0, abs=1e-4)


def test_parts_of_a_step_give_the_whole(small):
    """In one batch of four, and in four parts of one; the images have one to three queries."""
    trainer = small[0]
    batch = tiny.batch(trainer.config, 4)
    batch["query_mask"] = tf.constant([[True, False, False], [True, True, False], [True, True, True], [True, True, False]])
    frozen = build.build_model(dataclasses.replace(trainer.config, batch_norm="frozen"), tiny.NUM_ENTITIES,
                               tiny.NUM_RELATIONS)
    found = []
    for parts in (1, 4):
        compute = gradients.Gradients(frozen, trainer.compute.losses, trainer.strategy, clip_norm=0.0, parts=parts)
        found.append(compute(batch))
    (whole, scalars), (summed, scalars_of_parts) = found
    assert scalars == pytest.approx(scalars_of_parts, rel=1e-4) and scalars["metric/subject_iou"] > 0
    for first, second, variable in zip(whole, summed, frozen.trainable_variables):
        np.testing.assert_allclose(first, second, atol=1e-5, rtol=1e-3, err_msg=variable.name)


def test_loss_goes_down(events):
    total = [float(events["loss/total"][step]) for step in range(1, STEPS + 1)]
    rpn = [float(events["loss/rpn_score"][step]) for step in range(1, STEPS + 1)]
    for values in (total, rpn):
        assert np.mean(values[-STEPS_PER_EPOCH:]) < 0.95 * np.mean(values[:STEPS_PER_EPOCH])


def test_scalars_are_logged_at_every_step(events, trained):
    wanted = {*(f"loss/{term}" for term in (*TERMS, "total")), "metric/subject_iou", "metric/object_iou",
              "optim/gradient_norm", "optim/learning_rate", "input/images_per_second",
              "input/step_milliseconds", "input/wait_share"}
    assert wanted <= set(events)
    for tag in wanted:
        assert sorted(events[tag]) == list(range(1, STEPS + 1)), tag
        assert np.isfinite(list(events[tag].values())).all(), tag
    for step in (1, 3, 20, STEPS):
        weighted = sum(w * float(events[f"loss/{t}"][step]) for t, w in zip(TERMS, trained.config.loss_weights))
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
    averaged = [np.array_equal(v.numpy(), a.numpy())
                for v, a in zip(trained.model.trainable_variables, trained.average.averages)]
    assert np.mean(averaged) < 0.2  # The coarsest levels are not in use and have no gradient.


def test_batch_norm_statistics_are_trained_and_averaged(trained):
    variance = [(v.numpy(), a.numpy()) for v, a in zip(trained.model.variables, trained.average.averages)
                if "moving_variance" in v.name]
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


@pytest.fixture(scope="module")
def small(data_dir, tmp_path_factory):
    """A trainer of six steps with the smaller network, and how it began."""
    made = make_trainer(data_dir, tmp_path_factory.mktemp("small"), epochs=1.5, model="no_dsg", optimizer="adamw",
                        ema_decay=0.9, batch_norm="batch", checkpoint_steps=2, eval_steps=3)
    return made, [v.numpy() for v in all_of(made)]


def all_of(trainer):
    return [*trainer.model.variables, *trainer.optimizer.variables, *trainer.average.averages, trainer.step]


@pytest.fixture
def fresh(small, tmp_path, monkeypatch):
    """That trainer as it began, with an empty directory."""
    trainer, start = small
    put(trainer, start)
    monkeypatch.setattr(trainer, "config", dataclasses.replace(trainer.config, model_dir=str(tmp_path)))
    monkeypatch.setattr(trainer, "manager", trainer._make_manager())
    return trainer


def put(trainer, values):
    for variable, value in zip(all_of(trainer), values):
        variable.assign(value)


def names_in(folder):
    return sorted(name.split(".")[0] for name in os.listdir(folder) if name.endswith(".index"))


@pytest.mark.parametrize("where", ["between steps", "in the evaluation"])
def test_a_stopped_run_has_saved_and_goes_on_to_the_same_weights(where, fresh, small, monkeypatch):
    fresh.train()
    expected = [v.numpy() for v in all_of(fresh)]
    folder = fresh.manager.directory
    for name in os.listdir(folder):
        os.remove(os.path.join(folder, name))
    put(fresh, small[1])

    def ask(*args):
        monkeypatch.setattr(stopping, "_asked", 15)
        if where == "in the evaluation":
            stopping.check()  # As `evaluation.evaluate` does for each batch.
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


def test_a_gradient_that_is_not_finite_stops_a_finite_loss(fresh, monkeypatch):
    compute, before = fresh.compute.compute, [v.numpy() for v in fresh.model.trainable_variables]

    def with_a_bad_gradient(batch):
        gradients, scalars, finite = compute(batch)
        gradients[3] *= np.nan
        return gradients, tf.concat([scalars[:-1], [tf.linalg.global_norm(gradients)]], 0), finite

    monkeypatch.setattr(fresh.compute, "compute", with_a_bad_gradient)
    message = r"step 1: optim/gradient_norm is nan.*'loss/total': \d.*no checkpoint"
    with pytest.raises(training.NonFiniteError, match=message):
        fresh.train()
    for old, variable in zip(before, fresh.model.trainable_variables):
        np.testing.assert_array_equal(old, variable.numpy())
    assert not os.path.exists(fresh.manager.directory)


@pytest.mark.parametrize("of", ["weights", "averages"])
def test_weights_that_are_not_finite_are_not_saved(of, fresh):
    fresh._save(1)
    variable = (fresh.model.trainable_variables if of == "weights" else fresh.average.averages)[3]
    variable.assign(tf.where(tf.ones_like(variable) > 0, np.inf, 0.0))
    message = f"step 2: .*not saved, the last checkpoint is {fresh.manager.directory}/ckpt-1"
    with pytest.raises(training.NonFiniteError, match=message):
        fresh._save(2)
    assert names_in(fresh.manager.directory) == ["ckpt-1"]


def test_a_full_disk_names_the_file_and_leaves_the_last_checkpoint(fresh):
    fresh._save(1)
    folder = fresh.manager.directory
    before = {name: open(os.path.join(folder, name), "rb").read() for name in os.listdir(folder)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # What fails is the write, as on a full disk.
    try:
        message = f"step 2 cannot be written, the last checkpoint is {folder}/ckpt-1: .*{folder}/ckpt-2.*File too large"
        with pytest.raises(OSError, match=message):
            fresh._save(2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {name: open(os.path.join(folder, name), "rb").read() for name in os.listdir(folder)} == before
    fresh._save(2)
    assert names_in(folder) == ["ckpt-1", "ckpt-2"]


def test_progress_does_not_follow_the_clock_of_the_wall(monkeypatch):
    progress = training._Progress(batch_size=4, total_steps=10, first_step=0)
    monkeypatch.setattr(training.time, "time", lambda: -1e9)
    now = progress._last_time
    monkeypatch.setattr(training.time, "monotonic", lambda: now + 2.0)
    assert progress.rate(5) == 10.0 and progress.line(5, {}).endswith("10.0 images/s, 0.0 min left")


def test_batch_size_must_fit_the_devices(data_dir):
    strategy = types.SimpleNamespace(num_replicas_in_sync=2)
    with pytest.raises(ValueError, match="--batch_size=3 must be a multiple of the number of devices, 2$"):
        training.Trainer(tiny.config(batch_size=3), DatasetInfo.load(data_dir), strategy, None)
    with pytest.raises(ValueError, match="--batch_size=6 must be .* of devices, 2 times --accumulation=2$"):
        training.Trainer(tiny.config(batch_size=6, accumulation=2), DatasetInfo.load(data_dir), strategy, None)


# XLA takes a smaller model here: test_network.py compiles a step of the whole one.
@pytest.mark.parametrize("changes", [{"precision": "mixed_bfloat16"}, {"jit_compile": True, "model": "no_dsg"}],
                         ids=lambda changes: next(iter(changes)))
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
