"""What several test files use and what takes long to make."""

import fcntl
import importlib.util
import os
import pathlib

# As `dsg_tf.process.environment` does it, before anything imports TensorFlow.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "0" if importlib.util.find_spec("tensorflow_addons") else "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import logged_runs
import pytest
import tensorflow as tf
import tiny
import tiny_data

from dsg_tf.keras import keras
from export import export_saved_model

# A second device, for the tests of distribution; what does not ask for it runs on the first.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture(autouse=True)
def float32():
    """The precision that layers have by themselves: a model of another one leaves its own behind."""
    keras.mixed_precision.set_global_policy("float32")


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id):
    """Makes a folder for all workers of pytest-xdist: `shared(name, make)` calls `make(path)` in the first only."""
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent

    def folder(name, make):
        with open(base / f"{name}.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (base / name).exists():
                make(str(base / f"{name}.{worker_id}"))
                os.rename(base / f"{name}.{worker_id}", base / name)  # Nobody takes what was half made.
        return str(base / name)

    return folder


@pytest.fixture(scope="session")
def model_dir(shared):
    """A model directory as train.py leaves it, with the settings `tiny.EXPORTED`."""
    return shared("model", lambda path: tiny_data.write_model_dir(path, tiny.EXPORTED))


@pytest.fixture(scope="session")
def exported(shared, model_dir):
    """Its export: the directory of the version."""
    path = shared("exported", lambda path: export_saved_model.export(model_dir, path, num_relations=5))
    return os.path.join(path, "1")


@pytest.fixture(scope="session")
def logged(shared):
    """The directory that TensorBoard is given for the runs of `logged_runs`."""
    return pathlib.Path(shared("logged", logged_runs.write))


@pytest.fixture(scope="session")
def two_devices():
    """One object for all tests: a second one would take the keys of its all-reduces anew, which TensorFlow refuses."""
    return tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
