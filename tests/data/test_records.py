"""TFRecords: what is written is what is read."""

import numpy as np
import pytest
import tensorflow as tf

from dsg_tf.data import records
from dsg_tf.data.batches import pipeline
from dsg_tf.data.records import DatasetInfo
from dsg_tf.data.scene import Scene, Vocabulary

SCENES = [
    # Two pairs of the same classes are one query: the relations are of the queries 1, 0 and 1.
    Scene("a.png", b"A", 9, 12, np.arange(12).reshape(3, 4) / 3, [5, 5, 2], [[0, 1, 2], [2, 0, 0], [1, 1, 2]]),
    Scene("empty.png", b"", 4, 5, [], [], []),
]


def written(path) -> str:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for scene in SCENES:
            writer.write(records.scene_to_example(scene).SerializeToString())
    return str(path)


def test_an_example_is_read_as_its_scene(tmp_path):
    read = list(pipeline.annotated_images([written(tmp_path / "a.tfrecord")]).as_numpy_iterator())
    assert len(read) == len(SCENES)
    for scene, found in zip(SCENES, read):
        triplets, query_of_relation = scene.queries()
        expected = {
            "encoded": scene.image,
            "image_id": scene.image_id.encode(),
            "size": np.array([scene.height, scene.width], np.float32),
            "boxes": scene.boxes,
            "entities": scene.entities.astype(np.int32),
            "relations": scene.relations.astype(np.int32),
            "queries": triplets.astype(np.int32),
            "query_of_relation": query_of_relation.astype(np.int32),
        }
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)
            assert np.shape(found[name]) == np.shape(value) and np.asarray(found[name]).dtype == np.asarray(value).dtype


def test_an_example_is_read_outside_a_graph_too(tmp_path):
    record = next(iter(tf.data.TFRecordDataset(written(tmp_path / "a.tfrecord"))))
    found = records.parse_example(record)
    assert found["image_id"].numpy() == b"a.png" and found["query_of_relation"].numpy().tolist() == [1, 0, 1]


def test_a_description_of_another_version_is_refused(tmp_path):
    DatasetInfo(Vocabulary(("dog",), ("on",)), {}).save(str(tmp_path))
    path = tmp_path / records.INFO_FILE
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 7'))
    with pytest.raises(ValueError, match=f"{path} has format_version 7, this program reads 1"):
        DatasetInfo.load(str(tmp_path))
