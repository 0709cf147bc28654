"""Headless Chromium for tests of pages, with a log of what it asks the network for."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.parse
from collections.abc import Iterator

from paths import ROOT

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--force-color-profile=srgb",
)


def missing() -> str:
    """What is not installed of what `opened` needs; "" where all is."""
    if importlib.util.find_spec("selenium") is None:
        return "Selenium is not installed: pip install -e '.[browser]'"
    programs = {"Chromium": _chromium(), "ChromeDriver": shutil.which("chromedriver")}
    return next((f"{name} is not installed" for name, path in programs.items() if path is None), "")


@contextlib.contextmanager
def opened(width: int = 1200, height: int = 900, dark: bool = False) -> Iterator:
    """Yields a Selenium driver of a new browser without a past."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory() as directory:
        options = webdriver.ChromeOptions()
        options.binary_location = _chromium()
        for flag in (*FLAGS, f"--user-data-dir={directory}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            if dark:
                feature = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
                driver.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
            yield driver
        finally:
            driver.quit()


def requests(driver) -> list[urllib.parse.SplitResult]:
    """The addresses that pages asked for since the last call, but for those inside the browser (`data:`, `blob:`)."""
    found = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            address = urllib.parse.urlsplit(message["params"]["request"]["url"])
            if address.scheme not in ("data", "blob", "chrome"):
                found.append(address)
    return found


def as_high_as_its_page(driver) -> None:
    """Makes the window so high that nothing has to be scrolled."""
    width, height = driver.execute_script("return [innerWidth, document.documentElement.scrollHeight]")
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@contextlib.contextmanager
def demo() -> Iterator[str]:
    """Yields the address of a running `dsg-demo` with the model at hand."""
    command = [sys.executable, "-m", "export.demo", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        timer = threading.Timer(120, process.kill)
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        try:
            yield line.split()[0]
        finally:
            process.terminate()


class Visitor:
    """Someone at the page of `dsg-demo`."""

    def __init__(self, driver, address: str):
        self.driver = driver
        driver.get(address)
        self.wait("#examples img")

    def find(self, selector: str) -> list:
        return self.driver.find_elements("css selector", selector)

    def wait(self, selector: str, text: str = ""):
        """The first visible element with `text`."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        shown = lambda _: [some for some in self.find(selector) if text in some.text and some.is_displayed()]
        return WebDriverWait(self.driver, 60, ignored_exceptions=[StaleElementReferenceException]).until(shown)[0]


def _chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
