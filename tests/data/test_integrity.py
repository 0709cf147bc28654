"""Shards that are missing, cut or changed, before and while they are read."""

from __future__ import annotations

import os

import pytest
import tensorflow as tf
import tiny_data

from dsg_tf.data import integrity
from dsg_tf.data.records import DatasetInfo


@pytest.fixture
def prepared(tmp_path):
    """(description, folder, path of the second training shard)."""
    info = tiny_data.write(str(tmp_path), {"train": 4, "val": 2})
    return info, str(tmp_path), tmp_path / "train-00001-of-00002.tfrecord"


def cut(path):
    os.truncate(path, path.stat().st_size - 10)


def cut_between_records(path):
    first = next(iter(tf.data.TFRecordDataset(str(path)))).numpy()
    os.truncate(path, 16 + len(first))


def change(path):
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)


def test_whole_data_passes(prepared):
    info, folder, shard = prepared
    assert info.splits["train"].bytes_per_shard[1] == shard.stat().st_size
    integrity.check_shards(info, folder)


@pytest.mark.parametrize(
    "damage, message",
    [(os.remove, "{} is missing: prepare the split again"), (cut, "{} has {} bytes, {} were written. Remove it")],
)
def test_a_damaged_shard_is_named_before_anything_is_read(damage, message, prepared):
    info, folder, shard = prepared
    size = shard.stat().st_size
    damage(shard)
    with pytest.raises(integrity.BrokenShardError) as caught:
        integrity.check_shards(info, folder)
    assert str(caught.value).startswith(message.format(shard, size - 10, size))


def test_data_without_sizes_is_checked_for_missing_files(prepared):
    info, folder, shard = prepared
    for split in info.splits.values():
        split.bytes_per_shard.clear()
    info.save(folder)
    info = DatasetInfo.load(folder)
    cut(shard)
    integrity.check_shards(info, folder)
    os.remove(shard)
    with pytest.raises(integrity.BrokenShardError, match=f"{shard} is missing"):
        integrity.check_shards(info, folder)


@pytest.mark.parametrize(
    "damage, message",
    [
        (os.remove, "{} is missing: prepare the split again"),
        (cut, "{} is broken or cut after 1 of 2 images. Remove it"),
        (change, "{} is broken or cut after 0 of 2 images. Remove it"),
        (cut_between_records, "{} holds 1 images, 2 were written. Remove it"),
    ],
)
def test_an_error_of_reading_names_the_shard(damage, message, prepared):
    info, folder, shard = prepared
    records = tf.data.TFRecordDataset(info.shard_paths(folder, "train"))
    damage(shard)
    with pytest.raises(integrity.BrokenShardError) as caught, integrity.naming_broken_shards(info, folder):
        for _ in records.apply(tf.data.experimental.assert_cardinality(4)):
            pass
    assert str(caught.value).startswith(message.format(shard))


def test_an_error_about_something_else_stays_what_it_is(prepared):
    info, folder, _ = prepared
    with pytest.raises(tf.errors.NotFoundError, match="elsewhere"), integrity.naming_broken_shards(info, folder):
        tf.io.read_file(folder + "/elsewhere")
