"""Takes the pictures of docs/tensorboard.md in headless Chromium; needs ChromeDriver and Selenium.

python docs/tensorboard_pages.py --logdir=runs/compare --output_dir=docs/tensorboard
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "helpers"))

import browser
from PIL import Image

WIDTH, HEIGHT = 1600, 900
SECONDS_TO_SETTLE = 60
# The address of each page below TensorBoard's, what it says when it has its data, and what is clicked there then.
PAGES = {
    "scalars": (
        "?tagFilter=loss/(total|rr)|metric/(sub|obj|prop)|wait_share#timeseries",
        "input/wait_share",
        ["Close side pane"],
    ),
    "images": ("#images&tagFilter=sample", "sample", ["Show actual image size"]),
    "histograms": ("#histograms", "score/object_other", []),
    "distributions": ("#distributions", "score/object_other", []),
    "text": ("#text&tagFilter=program", "program", []),
    "pr_curves": ("#pr_curves&tagFilter=subject|left", "role/subject", []),
    "hparams": ("#hparams", "dsg", ["batch_size", "epochs", "init_checkpoint", "learning_rate"]),
}
# The first innermost element with a text or a label, also inside shadow roots.
FIND = """(text => {
    const roots = [document], found = [], says = element => element.textContent.trim() === text;
    for (const root of roots)
        for (const element of Array.from(root.querySelectorAll("*"))) {
            if (element.shadowRoot) roots.push(element.shadowRoot);
            const innermost = says(element) && !Array.from(element.children).some(says);
            if ((innermost || element.ariaLabel === text) && element.getClientRects().length) found.push(element);
        }
    return found[0];
})(%s)"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logdir", required=True)
    parser.add_argument("--output_dir", required=True)
    arguments = parser.parse_args()
    with tensorboard(arguments.logdir) as address:
        take_pictures(address, arguments.output_dir)


@contextlib.contextmanager
def tensorboard(logdir: str) -> Iterator[str]:
    """Yields the address of a TensorBoard that has read ``logdir``."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={logdir}", f"--port={port}", "--load_fast=false"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = f"http://localhost:{port}"
            output = []
            for line in process.stderr:
                output.append(line)
                if address in line:
                    break
            else:
                raise RuntimeError(f"tensorboard ended: {''.join(output)}")
            while not fetch(address, "data/runs"):
                time.sleep(0.5)
            yield address
        finally:
            process.terminate()


def fetch(address: str, path: str, body: dict | None = None):
    """The JSON that TensorBoard answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        content = response.read()
        return json.loads(gzip.decompress(content) if response.headers["Content-Encoding"] == "gzip" else content)


def take_pictures(address: str, output_dir: str) -> None:
    """Writes a PNG of 256 colours for each of `PAGES`, and of the first profile where there is one."""
    os.makedirs(output_dir, exist_ok=True)
    pages = {**PAGES, **trace_viewer(address)}
    with browser.opened(WIDTH, HEIGHT) as driver:
        page = Page(driver)
        for name, (path, text, clicks) in pages.items():
            page.open(f"{address}/{path}")
            page.wait_for(text)
            for text in clicks:
                page.click(text)
            page.settled().quantize(256).save(os.path.join(output_dir, f"{name}.png"), optimize=True)


def trace_viewer(address: str) -> dict[str, tuple[str, str, list[str]]]:
    """The page of a profile's trace, which needs no network, unlike the one around it; none without a profile.

    TensorBoard shows profiles where tensorboard-plugin-profile is installed.
    """
    if not fetch(address, "data/plugins_listing").get("profile", {}).get("enabled"):
        return {}
    run = fetch(address, "data/plugin/profile/runs")[0]
    host = fetch(address, f"data/plugin/profile/hosts?run={run}&tag=trace_viewer")[0]["hostname"]
    data = urllib.parse.quote(f"/data/plugin/profile/data?run={run}&tag=trace_viewer&host={host}", safe="")
    page = f"data/plugin/profile/trace_viewer_index.html?trace_data_url={data}"
    return {"profile": (page, "Expand All", [])}


class Page:
    """A page of TensorBoard in a browser."""

    def __init__(self, driver):
        self._driver = driver

    def open(self, address: str) -> None:
        self._driver.get("about:blank")  # Else a page with another fragment would not load anew.
        self._driver.get(address)

    def wait_for(self, text: str) -> None:
        """Waits until an element says this."""
        end = time.monotonic() + SECONDS_TO_SETTLE
        while not self._driver.execute_script(f"return !!{FIND % json.dumps(text)}"):
            if time.monotonic() > end:
                raise RuntimeError(f"the page does not say {text!r} within {SECONDS_TO_SETTLE} s")
            time.sleep(0.5)

    def click(self, text: str) -> None:
        self.wait_for(text)
        self._driver.execute_script(f"{FIND % json.dumps(text)}.click()")

    def settled(self) -> Image.Image:
        """What the page looks like when it does not change any more."""
        end, last = time.monotonic() + SECONDS_TO_SETTLE, None
        while time.monotonic() < end:
            time.sleep(1)
            now = self._driver.get_screenshot_as_png()
            if now == last:
                break
            last = now
        return Image.open(io.BytesIO(last)).convert("RGB")


if __name__ == "__main__":
    main()
