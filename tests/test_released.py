"""What version 0.1.0 wrote keeps working: its data, checkpoints and exports, with the numbers that it gave for them.

`released/0.1.0.tar.xz` holds a data set, a model directory after step 3 of 6, the export of it, a picture, what the
export's signature `refer` said about the picture, and what `eval.py --image` printed.
"""

import json
import os
import tarfile

import numpy as np
import pytest
import tensorflow as tf
from commands import last_step, run

from dsg_tf import build
from dsg_tf import config as config_lib
from dsg_tf.data.batches import pipeline
from dsg_tf.data.queries import Query
from dsg_tf.data.records import DatasetInfo
from dsg_tf.predict.checkpoint_model import CheckpointModel
from dsg_tf.predict.exported_model import ExportedModel
from dsg_tf.predict.requests import Request
from export import export_saved_model

QUERIES = ("red square, left, blue disc", "blue square, above, red square")


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("released")
    with tarfile.open(os.path.join(os.path.dirname(__file__), "released", "0.1.0.tar.xz")) as archive:
        archive.extractall(folder, filter="data") if hasattr(tarfile, "data_filter") else archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def photo(released):
    return (released / "photo.png").read_bytes()


@pytest.fixture(scope="module")
def printed(released):
    """What eval.py of version 0.1.0 said: boxes to 0.1 pixels, scores to 0.001, answer sets only."""
    return [json.loads(line) for line in (released / "answers.jsonl").read_text().splitlines()]


def assert_as_printed(answers, printed):
    assert len(answers) == len(printed) == len(QUERIES)
    for answer, before in zip(answers, printed):
        assert answer["query"] == before["query"] and set(before) <= set(answer)
        for role in ("subject", "object"):
            np.testing.assert_allclose(answer[f"{role}_boxes"], before[f"{role}_boxes"], atol=0.06)
            np.testing.assert_allclose(answer[f"{role}_scores"], before[f"{role}_scores"], atol=0.0006)


def test_a_checkpoint_answers_as_it_did(released, photo, printed):
    model = CheckpointModel.load(str(released / "model"))
    assert_as_printed([answer.as_dict() for answer in model.answer(photo, QUERIES)], printed)


def test_an_export_answers_as_it_did(released, photo, printed):
    request = Request("photo.png", photo, tuple(map(Query.parse, QUERIES)))
    (line,) = ExportedModel(str(released / "exported" / "1")).lines([request])
    assert line["image"] == "photo.png"
    assert_as_printed(line["answers"], printed)
    assert [answer["answer_probability"] for answer in line["answers"]] == [None] * len(QUERIES)


def test_an_export_of_today_has_the_outputs_of_then_and_their_numbers(released, photo, tmp_path):
    path = export_saved_model.export(str(released / "model"), str(tmp_path))
    parts = zip(*(text.split(", ") for text in QUERIES))
    words = {name: tf.constant([part]) for name, part in zip(("subject", "relation", "object"), parts)}
    model = tf.saved_model.load(path)
    found = model.signatures["refer"](image=tf.constant([photo]), **words)
    before = np.load(released / "refer.npz")
    assert set(found) == {*before.files, "subject_scores", "object_scores", "answer_probability"}
    for name in before.files:
        close = {"rtol": 1e-4, "atol": 1e-3 if "box" in name else 1e-5}
        np.testing.assert_allclose(found[name].numpy(), before[name], **close, err_msg=name)


def test_data_is_read_as_it_was_written(released):
    info = DatasetInfo.load(str(released / "data"))
    config = config_lib.load(str(released / "model"))
    assert (config.loss_weights.rr, config.loss_weights.relation) == (1.0, 1.0)  # Six numbers then, by name today.
    spec = build.batch_spec(config, info, "val", training=False)
    batches = list(pipeline.eval_batches(info.shard_paths(str(released / "data"), "val"), spec, 1))
    assert [batch["image_id"].numpy()[0] for batch in batches] == [b"val0.png", b"val1.png"]
    assert sum(int(batch["query_mask"].numpy().sum()) for batch in batches) == info.splits["val"].num_queries > 0


@pytest.mark.process
def test_a_run_goes_on_with_the_command_it_was_begun_with(released, tmp_path):
    """And with the values of then for the settings whose default is another today: `before` of their fields."""
    config = config_lib.load(str(released / "model"))
    os.rename(released / "model", tmp_path / "model")
    try:
        flags = {name: value for name, value in vars(config).items() if value != getattr(config_lib.Config(), name)}
        flags |= {"model_dir": tmp_path / "model", "data_dir": released / "data", "loss_weights": (1,) * 6}
        # Its backbone is as narrow as oneDNN cannot train it.
        done = run("train.py", environment={"TF_ENABLE_ONEDNN_OPTS": "0"}, **flags)
        assert done.returncode == 0, done.stderr
        assert "resuming after step 3" in done.stderr
        assert last_step(tmp_path / "model") == 6
    finally:
        os.rename(tmp_path / "model", released / "model")
