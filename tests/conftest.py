"""What several test files use and what takes long to make."""

import fcntl
import os

import pytest

import tiny
import tiny_data
from export import export_saved_model

EXPORTED = tiny.config(score_threshold=0.5, pair_units=4)


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id):
    """Makes a folder for all of pytest-xdist's workers: ``shared(name, make)`` calls ``make(path)`` in the first only."""
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
    """A model directory as train.py leaves it, with the settings `EXPORTED`."""
    return shared("model", lambda path: tiny_data.write_model_dir(path, EXPORTED))


@pytest.fixture(scope="session")
def exported(shared, model_dir):
    """Its export: the directory of the version."""
    path = shared("exported", lambda path: export_saved_model.export(model_dir, path, num_relations=5))
    return os.path.join(path, "1")
