"""An export to ask, and the pictures of a split: prepared, and as files."""

import os
import shutil

import pytest
import tiny_data
from predictions import NUM_IMAGES


@pytest.fixture(scope="session")
def saved_model(shared, exported):
    """A directory of versions."""
    return shared("versions", lambda path: shutil.copytree(exported, os.path.join(path, "3")))


@pytest.fixture(scope="session")
def data_dir(shared):
    return shared("data_to_predict", lambda path: tiny_data.write(path, {"test": NUM_IMAGES}))


@pytest.fixture
def photos(tmp_path):
    """The images of the test split as files."""
    os.makedirs(tmp_path / "photos")
    for index in range(NUM_IMAGES):
        (tmp_path / "photos" / f"test{index}.png").write_bytes(tiny_data.draw("test", index).image)
    return tmp_path / "photos"
