"""What the attacks on the server share."""

import shutil

import attacks
import pytest
from server_process import serving


@pytest.fixture(scope="module")
def expected(exported):
    """What a good client must be told."""
    return attacks.Expected(exported)


@pytest.fixture(scope="module")
def server(exported, tmp_path_factory):
    """A server with 2 GiB of private memory at most."""
    base = tmp_path_factory.mktemp("attacked") / "models"
    shutil.copytree(exported, base / "1")
    with serving(base, bounds=attacks.BOUNDS) as running:
        yield running
