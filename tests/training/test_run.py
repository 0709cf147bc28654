"""What a run needs before it begins: data, and a model directory of the same settings."""

from __future__ import annotations

import dataclasses

import pytest
import tiny
import tiny_data

from dsg_tf import checkpoints
from dsg_tf import config as config_lib
from dsg_tf.data.scene import Vocabulary
from dsg_tf.training import run


def test_no_data_is_one_sentence_and_the_commands(tmp_path):
    with pytest.raises(ValueError) as caught:
        run.load_data(tiny.config(dataset="vrd", data_dir=str(tmp_path)))
    sentence, *commands = str(caught.value).splitlines()
    assert sentence.startswith(f"{tmp_path} has no prepared data: download the VRD images")
    assert len(commands) == 3 and all("python -m dsg_tf.data.prepare" in command for command in commands)


def test_no_data_of_an_unnamed_set_names_the_folder(tmp_path):
    config = tiny.config(data_dir=str(tmp_path))
    with pytest.raises(
        ValueError, match=f"--data_dir={tmp_path} has no prepared data: write it with python -m dsg_tf.data.prepare"
    ):
        run.load_data(config)


def test_a_data_set_without_training_split_is_refused(tmp_path):
    tiny_data.write(str(tmp_path), {"val": 2})
    with pytest.raises(ValueError, match="has no split 'train', only val"):
        run.load_data(tiny.config(data_dir=str(tmp_path)))


def test_another_setting_on_the_same_model_dir_is_refused(tmp_path):
    info = tiny_data.write(str(tmp_path / "data"), {"train": 2})
    config = tiny.config(data_dir=str(tmp_path / "data"), model_dir=str(tmp_path))
    run.check_same_run(config, info)  # Nothing there yet.
    config_lib.save(config, str(tmp_path))
    checkpoints.save_vocabulary(str(tmp_path), info.vocabulary)
    run.check_same_run(config, info)
    run.check_same_run(dataclasses.replace(config, log_steps=3, eval_batch_size=7), info)
    with pytest.raises(
        ValueError, match="--hidden_units was 16, now 17; --learning_rate was 0.01, now 0.5. Choose another"
    ):
        run.check_same_run(dataclasses.replace(config, hidden_units=17, learning_rate=0.5), info)
    other = dataclasses.replace(info, vocabulary=Vocabulary(("a", "b"), ("on",)))
    with pytest.raises(ValueError, match="another vocabulary"):
        run.check_same_run(config, other)
