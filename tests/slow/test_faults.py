"""Faults of a run as real processes: signals, a second process, broken data, full disks, broken checkpoints."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal

import commands
import pytest
import tiny_data

pytestmark = pytest.mark.process

# As good as endless: ended by what is tested.
SETTINGS = {**commands.SETTINGS, "model": "no_dsg", "epochs": 1e5, "checkpoint_steps": 10, "eval_steps": 0}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    tiny_data.write(folder)
    return folder


@pytest.fixture
def settings(data_dir, tmp_path):
    return {**SETTINGS, "data_dir": data_dir, "model_dir": str(tmp_path / "run")}


def stop(process, number) -> tuple[int, int]:
    """Sends the signal; returns the exit code and the step at which the program says that it stopped."""
    process.send_signal(number)
    output = commands.read_to_end(process)
    sentence = re.fullmatch(r"train\.py: stopped at step (\d+); resume with the same command", output.splitlines()[-1])
    assert sentence and "Traceback" not in output, output
    return process.returncode, int(sentence[1])


def ends_in_a_sentence(process_or_done, *parts) -> None:
    if isinstance(process_or_done, commands.subprocess.Popen):
        output, code = commands.read_to_end(process_or_done), process_or_done.returncode
    else:
        output, code = process_or_done.stderr, process_or_done.returncode
    assert code == 1 and "Traceback" not in output, output
    assert all(part in output.splitlines()[-1] for part in parts), output


def test_a_second_process_is_refused_eval_is_not_and_signals_save(settings):
    with commands.start("train.py", **settings) as first:
        commands.read_to_step(first, 11)
        second = commands.run("train.py", **settings)
        ends_in_a_sentence(second, f"{settings['model_dir']} is in use by process {first.pid} on ")
        looked = commands.run("eval.py", model_dir=settings["model_dir"], split="val")
        assert looked.returncode == 0, looked.stderr
        assert first.poll() is None
        code, step = stop(first, signal.SIGTERM)
    assert code == 0 and commands.last_step(settings["model_dir"]) == step > 11
    with commands.start("train.py", **settings) as again:
        assert f"resuming after step {step} " in commands.read_to_step(again, step + 1)
        code, step = stop(again, signal.SIGINT)
    assert code == 130 and commands.last_step(settings["model_dir"]) == step


def test_a_full_disk_keeps_the_checkpoint_and_the_run_goes_on_when_there_is_room(settings):
    with commands.start("train.py", **settings) as process:
        commands.read_to_step(process, 2)
        _, step = stop(process, signal.SIGTERM)
    before = commands.last_checkpoint(settings["model_dir"])
    no_room = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    with commands.start("train.py", preexec_fn=no_room, **settings) as process:
        ends_in_a_sentence(
            process,
            "cannot be written",
            "File too large",
            f"the last checkpoint is {settings['model_dir']}/checkpoints/ckpt-",
        )
    after = commands.last_checkpoint(settings["model_dir"])
    assert all((after[name] == value).all() for name, value in before.items())
    with commands.start("train.py", **settings) as process:
        assert f"resuming after step {step} " in commands.read_to_step(process, step + 1)
        stop(process, signal.SIGTERM)


def test_a_directory_that_cannot_be_written_is_named(settings, tmp_path):
    (tmp_path / "file").write_text("")
    done = commands.run("train.py", **{**settings, "model_dir": str(tmp_path / "file" / "run")})
    ends_in_a_sentence(done, str(tmp_path / "file"))


def cut(path):
    os.truncate(path, os.path.getsize(path) // 2)


@pytest.mark.parametrize("damage, message", [(os.remove, "is missing"), (cut, "is broken or cut after")])
def test_a_shard_that_breaks_is_named_during_the_run_and_at_the_next_start(damage, message, settings, tmp_path):
    settings["data_dir"] = shutil.copytree(settings["data_dir"], str(tmp_path / "data"))
    shard = os.path.join(settings["data_dir"], "train-00001-of-00002.tfrecord")
    with commands.start("train.py", **settings) as process:
        commands.read_to_step(process, 11)
        damage(shard)
        ends_in_a_sentence(process, shard, message)
    assert commands.last_step(settings["model_dir"]) >= 10
    ends_in_a_sentence(commands.run("train.py", **settings), shard)


def test_a_checkpoint_that_broke_is_passed_over(settings):
    with commands.start("train.py", **settings) as process:
        commands.read_to_step(process, 11)
        _, step = stop(process, signal.SIGTERM)
    folder = os.path.join(settings["model_dir"], "checkpoints")
    cut(os.path.join(folder, f"ckpt-{step}.data-00000-of-00001"))
    before = commands.last_step(settings["model_dir"])
    assert before < step
    with commands.start("train.py", **settings) as process:
        output = commands.read_to_step(process, before + 1)
        assert f"{folder}/ckpt-{step} cannot be read" in output and f"resuming after step {before} " in output
        stop(process, signal.SIGTERM)


def test_a_stopped_comparison_saves_and_goes_on(settings, tmp_path):
    del settings["model_dir"]
    settings |= {"models": ("no_dsg", "dsg"), "compare_dir": str(tmp_path / "compare"), "checkpoint_steps": 1000}
    first, other = tmp_path / "compare" / "no_dsg_seed0", tmp_path / "compare" / "dsg_seed0"
    with commands.start("dsg_tf.compare", **settings) as process:
        commands.read_to_step(process, 2)
        process.send_signal(signal.SIGTERM)
        output = commands.read_to_end(process)
    assert process.returncode == 0 and "Traceback" not in output, output
    assert output.splitlines()[-1] == f"compare: stopped in {first}; resume with the same command"
    step = commands.last_step(first)
    assert f"{first}: stopped at step {step}; resume with the same command" in output and not other.exists()
    with commands.start("dsg_tf.compare", **settings) as process:
        assert f"resuming after step {step} " in commands.read_to_step(process, step + 1)
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in commands.read_to_end(process)
    assert process.returncode == 130 and commands.last_step(first) > step
