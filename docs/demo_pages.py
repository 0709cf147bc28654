"""Takes the pictures of docs/demo.md in headless Chromium; needs ChromeDriver and Selenium.

python docs/demo_pages.py --output_dir=docs/demo
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "helpers"))

import browser
from PIL import Image, ImageOps

MARGIN = 12
COLORS = 256  # Of a picture's palette: half of the bytes.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", required=True)
    arguments = parser.parse_args()
    os.makedirs(arguments.output_dir, exist_ok=True)
    with browser.demo() as address:
        with browser.opened(width=1000) as driver:
            page = Page(driver, address, arguments.output_dir)
            page.show_example(1)
            page.press("#questions button", 0)
            page.wait(".verdict")
            page.picture("answer", "#ask")
            page.press("#questions button", 3)
            page.wait(".verdict.not")
            page.picture("not_found", "#ask .columns > div")
            driver.execute_script("document.querySelectorAll('.node')[6].focus()")
            page.picture("graph", "#graph")
        with browser.opened(width=380) as driver:
            page = Page(driver, address, arguments.output_dir)
            page.show_example(2)
            page.press("#questions button", 0)
            page.wait(".verdict")
            page.picture("phone", "#ask")
        with browser.opened(width=700) as driver, tempfile.NamedTemporaryFile(suffix=".png") as broken:
            page = Page(driver, address, arguments.output_dir)
            page.find("#file")[0].send_keys(broken.name)
            page.wait("#error")
            page.picture("error", "main")


class Page(browser.Visitor):
    """A page whose parts become pictures."""

    def __init__(self, driver, address: str, output_dir: str):
        super().__init__(driver, address)
        self._output_dir = output_dir

    def show_example(self, number: int) -> None:
        self.press("#examples button", number)
        self.wait("#questions button")

    def press(self, selector: str, number: int) -> None:
        self.find(selector)[number].click()

    def picture(self, name: str, selector: str) -> None:
        """Of the first element that `selector` finds."""
        browser.as_high_as_its_page(self.driver)
        path = os.path.join(self._output_dir, f"{name}.png")
        self.find(selector)[0].screenshot(path)
        with Image.open(path) as taken:
            framed = ImageOps.expand(taken.convert("RGB"), MARGIN, "white")
        small = framed.quantize(COLORS, kmeans=1, dither=Image.Dither.FLOYDSTEINBERG)
        small.save(path, optimize=True)


if __name__ == "__main__":
    main()
