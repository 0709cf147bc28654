"""What several test files use and what takes long to make."""

import pytest

import tiny
import tiny_data
from export import export_saved_model

EXPORTED = tiny.config(score_threshold=0.5, pair_units=4)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    """A model directory as train.py leaves it, with the settings `EXPORTED`."""
    folder = str(tmp_path_factory.mktemp("run"))
    tiny_data.write_model_dir(folder, EXPORTED)
    return folder


@pytest.fixture(scope="session")
def exported(model_dir, tmp_path_factory):
    """Its export: the directory of the version."""
    return export_saved_model.export(model_dir, str(tmp_path_factory.mktemp("exported")), num_relations=5)
