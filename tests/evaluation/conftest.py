"""The data and the model that evaluations are tested with; no test writes to them."""

import pytest
import tiny_data

from dsg_tf import checkpoints
from dsg_tf.data.records import DatasetInfo


@pytest.fixture(scope="session")
def data_dir(shared):
    """All splits of `tiny_data`."""
    return shared("data", tiny_data.write)


@pytest.fixture(scope="session")
def prepared(data_dir):
    """(folder, what is in it)."""
    return data_dir, DatasetInfo.load(data_dir)


@pytest.fixture(scope="module")
def loaded(model_dir):
    """(model, settings, vocabulary, step)."""
    return checkpoints.load_model(model_dir)
