"""A real browser shows every page of docs/tensorboard.md."""

from __future__ import annotations

import itertools

import browser
import docs_pages
import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.process
pages = docs_pages.load()


@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())
def test_a_browser_shows_every_page(logged, tmp_path):
    with pages.tensorboard(str(logged)) as address:
        pages.take_pictures(address, str(tmp_path))
    shown = {}
    for name in pages.PAGES:
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.size == (pages.WIDTH, pages.HEIGHT), name
            pixels = np.asarray(picture.convert("RGB"), int)
        content = pixels[120:, 360:].reshape(-1, 3)  # Below the tabs and the filter, right of the runs.
        colors, pixels_of = np.unique(content, axis=0, return_counts=True)
        assert len(colors) > 30 and pixels_of.max() < 0.99 * len(content), name
        shown[name] = pixels
    for first, second in itertools.combinations(shown, 2):
        assert (shown[first] != shown[second]).any(axis=2).mean() > 0.005, (first, second)
