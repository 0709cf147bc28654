"""Checkpoints: of this program, for resuming and for inference, and Model Garden's, for a start."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Sequence

import tensorflow as tf
from absl import logging

from dsg_tf import build
from dsg_tf import config as config_lib
from dsg_tf.data.scene import Vocabulary
from dsg_tf.model import calibration
from dsg_tf.model.moving_average import MovingAverage, named_variables
from dsg_tf.model.point_rpn import PointRPN
from dsg_tf.pack import half_precision
from dsg_tf.process import files

VOCABULARY_FILE = "vocabulary.json"
_NAMES_LISTED = 10
_MODULES_FIT = "do --backbone, --decoder and --init_modules fit it"


def checkpoint_dir(model_dir: str) -> str:
    return os.path.join(model_dir, "checkpoints")


def newest(directory: str) -> str | None:
    """The prefix of the whole checkpoint of the last step, whatever the clock said when; None without checkpoints.

    A checkpoint that cannot be read is passed over, with a warning.

    Raises:
      ValueError: there are checkpoints, but none can be read: to begin anew is for the user to decide.
    """
    names = os.listdir(directory) if os.path.exists(directory) else []
    found = {name.removesuffix(".index") for name in names if re.fullmatch(r"ckpt-\d+\.index", name)}
    state = tf.train.get_checkpoint_state(directory)
    if state is not None:  # Also knows the checkpoint whose index has gone.
        found.add(os.path.basename(state.model_checkpoint_path))
    broken = []
    for name in sorted(found, key=lambda name: int(name.rsplit("-", 1)[1]), reverse=True):
        prefix = os.path.join(directory, name)
        problem = _problem(prefix)
        if problem is None:
            return prefix
        logging.warning("%s cannot be read (%s): the checkpoint before it is taken", prefix, problem)
        broken.append(prefix)
    if broken:
        raise ValueError(
            f"no checkpoint in {directory} can be read, neither {' nor '.join(broken)}. To begin anew, "
            "remove the directory"
        )
    return None


def _problem(prefix: str) -> str | None:
    """What keeps a checkpoint from being read, all of it."""
    try:
        reader = tf.train.load_checkpoint(prefix)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    # A file that is too short is an IndexError, any other damage an OpError, a missing index a ValueError.
    except (tf.errors.OpError, IndexError, ValueError) as error:
        return str(error)
    return None


def remove_unfinished(directory: str) -> None:
    """Removes what a save that did not come to its end left behind; for the process that writes there."""
    names = os.listdir(directory) if os.path.exists(directory) else []
    for name in names:
        saved = re.fullmatch(r"(ckpt-\d+)\.(index|data-\d+-of-\d+)", name)
        path = os.path.join(directory, name)
        if name == "checkpoint" or saved and f"{saved[1]}.index" in names:
            continue
        logging.info("removing %s, of a checkpoint that was not finished", path)
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.remove(path)


def save_vocabulary(model_dir: str, vocabulary: Vocabulary) -> None:
    files.write_json(os.path.join(model_dir, VOCABULARY_FILE), dataclasses.asdict(vocabulary))


def load_vocabulary(model_dir: str) -> Vocabulary:
    """The class names a model was trained with."""
    with open(os.path.join(config_lib.find(model_dir), VOCABULARY_FILE), encoding="utf-8") as file:
        return Vocabulary(**{name: tuple(values) for name, values in json.load(file).items()})


def load_model(model_dir: str, precision: str = ""):
    """Builds the model of `model_dir` with the weights of its last checkpoint, averaged if that keeps an average.

    Args:
      model_dir: of training, or packed by `dsg_tf.pack`; see `config.find`.
      precision: of the arithmetic, where it is not to be that of the training.

    Returns:
      (model, `Config`, `Vocabulary`, step).

    Raises:
      FileNotFoundError: no configuration, vocabulary or checkpoint there.
      ValueError: no checkpoint can be read, or packed weights do not fit the configuration beside them.
    """
    model_dir = config_lib.find(model_dir)
    config = config_lib.load(model_dir)
    if precision:
        config = dataclasses.replace(config, precision=precision)
    vocabulary = load_vocabulary(model_dir)
    packed = _packed(model_dir)
    model = build.build_model(config, len(vocabulary.entities), len(vocabulary.relations))
    # Not before: a training that goes on meanwhile removes its old checkpoints.
    path = packed or _last(model_dir)
    stored = dict(tf.train.list_variables(path))
    items, average = _items(model, stored)
    target = tf.train.Checkpoint(**items)
    if packed:
        _check_match(target, stored, path, f"is {os.path.join(model_dir, config_lib.CONFIG_FILE)} of the same model")
    with half_precision.as_float32(path) as readable:
        target.read(readable).expect_partial().assert_existing_objects_matched()
    if average is not None:
        average.copy_to_variables()
    # Not a variable of its own, which under a distribution strategy would be one for each device.
    step = int(tf.train.load_variable(path, "step/.ATTRIBUTES/VARIABLE_VALUE"))
    model.calibration = calibration.load(model_dir, step)
    return model, config, vocabulary, step


def prefix_of(model_dir: str) -> str:
    """The prefix of the weights that `load_model` would read.

    Raises:
      FileNotFoundError: there is no checkpoint yet.
      ValueError: none can be read.
    """
    model_dir = config_lib.find(model_dir)
    return _packed(model_dir) or _last(model_dir)


def _last(model_dir: str) -> str:
    """The prefix of the last checkpoint of a training."""
    path = newest(checkpoint_dir(model_dir))
    if path is None:
        raise FileNotFoundError(
            f"{checkpoint_dir(model_dir)} holds no checkpoint yet: let train.py run until it writes one"
        )
    return path


def _packed(model_dir: str) -> str | None:
    """The prefix of the weights that `dsg_tf.pack` wrote there; None without them."""
    if not config_lib.is_packed(model_dir):
        return None
    prefix = os.path.join(model_dir, config_lib.WEIGHTS)
    problem = _problem(prefix)
    if problem is not None:
        raise ValueError(f"{prefix} cannot be read ({problem}): copy {model_dir} again")
    return prefix


def _items(model, stored: Collection[str]) -> tuple[dict[str, object], MovingAverage | None]:
    """What of a checkpoint of this program gives its model, and the average of the weights, where it keeps one."""
    if not any(name.startswith("average/") for name in stored):
        return {"model": model}, None
    average = MovingAverage(named_variables(model), 0.0)
    return {"model": model, "average": average.as_stored(stored)}, average


def initialize(model, path: str, modules: Sequence[str]) -> None:
    """Reads weights to start from.

    Args:
      model: of `build.build_model`.
      path: a checkpoint prefix, or a directory with checkpoints or packed weights; Model Garden's (`backbone/...`,
        `decoder/...`, `rpn_head/...`) or this program's.
      modules: of "backbone", "decoder", "rpn_head"; or "all": the whole model from this program's checkpoint, all
        three modules from Model Garden's; or "matching": what this program's model in directory `path` has of the
        model, the other variables keep their start and are logged. A moving average, where there is one, is read for
        "all" and "matching".

    Raises:
      FileNotFoundError: no checkpoint at `path`.
      ValueError: variables are missing from the checkpoint (but for "matching") or have another shape; names them.
    """
    if "matching" in modules:
        _initialize_matching(model, path)
        return
    prefix = _find(path)
    stored = dict(tf.train.list_variables(prefix))
    is_own = any(name.startswith("model/") for name in stored)
    average = None
    if is_own and "all" in modules:
        items, average = _items(model, stored)
    else:
        known = {name: _what_is_read(module) for name, module in model.modules_of_model_garden.items()}
        items = known if "all" in modules else {name: known[name] for name in modules if name in known}
        if is_own:
            items = {"model": tf.train.Checkpoint(**items)}
            if any(name.startswith("model/detector/") for name in stored):
                items = {"model": tf.train.Checkpoint(detector=items["model"])}
    target = tf.train.Checkpoint(**items)
    _check_match(target, stored, f"--init_checkpoint={prefix}", _MODULES_FIT)
    with half_precision.as_float32(prefix) as readable:
        target.read(readable).expect_partial()
    if average is not None:
        average.copy_to_variables()


def _what_is_read(module: tf.Module):
    """A module; of a `PointRPN` the detector's head, since what it adds to that is new."""
    return tf.train.Checkpoint(head=module.head) if isinstance(module, PointRPN) else module


def _initialize_matching(model, model_dir: str) -> None:
    donor, *_ = load_model(model_dir)
    with tempfile.TemporaryDirectory() as directory:
        prefix = tf.train.Checkpoint(model=donor).write(os.path.join(directory, "donor"))
        target = tf.train.Checkpoint(model=model)
        stored = dict(tf.train.list_variables(prefix))
        missing = _check_match(target, stored, f"--init_checkpoint={model_dir}", _MODULES_FIT, may_miss=True)
        target.read(prefix).expect_partial()
    logging.info("--init_checkpoint=%s has no %s", model_dir, ", ".join(missing) or "variable less than the model")


def _find(path: str) -> str:
    path = config_lib.find(path)
    for candidate in (path, tf.train.latest_checkpoint(path), _packed(path), newest(checkpoint_dir(path))):
        if candidate is not None and tf.io.gfile.exists(candidate + ".index"):
            return candidate
    raise FileNotFoundError(
        f"--init_checkpoint={path}: no checkpoint there (neither {path}.index nor a directory with one)"
    )


def _check_match(
    target: tf.train.Checkpoint, stored: dict[str, list[int]], name_of_it: str, question: str, may_miss: bool = False
) -> list[str]:
    """Compares with the names under which `target` itself would be written: TensorFlow has no other public list.

    Args:
      name_of_it, question: for the error, what does not fit and what to ask oneself.

    Returns:
      What is not in the checkpoint, if it may miss something.
    """
    with tempfile.TemporaryDirectory() as directory:
        written = tf.train.list_variables(target.write(os.path.join(directory, "ckpt")))
    expected = {name: shape for name, shape in written if not name.startswith(("save_counter", "_CHECKPOINTABLE"))}
    wrong, missing = [], []
    for name, shape in expected.items():
        short = name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")
        if name not in stored and may_miss:
            missing.append(short)
        elif name not in stored:
            wrong.append(f"{short}: not in the checkpoint")
        elif stored[name] != shape:
            wrong.append(f"{short}: shape {stored[name]} in the checkpoint, {shape} in the model")
    if wrong:
        more = f"\n  and {len(wrong) - _NAMES_LISTED} more" if len(wrong) > _NAMES_LISTED else ""
        raise ValueError(
            f"{name_of_it} does not fit the model in {len(wrong)} of {len(expected)} variables ({question}?):\n  "
            + "\n  ".join(wrong[:_NAMES_LISTED])
            + more
        )
    return missing
