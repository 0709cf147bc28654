"""The order of examples: shuffled, resumed, shared among workers, and once each in evaluations."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from batches import assert_same, evaluate, make_scene, make_spec, random_scene, train, write

from dsg_tf.data.batches import pipeline
from dsg_tf.data.batches.pipeline import Share


def numbered_scenes(count):
    """Scene k has one box of class k, so that batches tell which examples they hold."""
    return [make_scene(f"{k}", boxes=[[0, 0, 5, 5]], entities=[k]) for k in range(count)]


def numbers(batches):
    return [int(n) for batch in batches for n in batch["entities"][:, 0]]


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
