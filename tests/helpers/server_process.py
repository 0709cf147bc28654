"""A running `python -m export.serve`, what it is asked and what it answers."""

import contextlib
import json
import re
import resource
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
from paths import ROOT
from pictures import QUERY

QUERIES = [QUERY, ("blue disc", "above", "red disc"), ("red disc", "left", "red square")]


class Server:
    """A running `python -m export.serve`.

    Args:
      base_path: directory of the versions; the log lies beside it.
      options: flags.
      bounds: resource limits by their number in `resource`.
    """

    def __init__(self, base_path, *options, bounds=None):
        self.base_path, self.log = str(base_path), str(base_path) + ".log"
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "export.serve",
                    f"--model_dir={base_path}",
                    "--port=0",
                    "--rest_port=0",
                    "--poll_seconds=0.2",
                    *options,
                ],
                cwd=ROOT,
                stderr=log,
                stdout=log,
            )
        for kind, bound in (bounds or {}).items():
            resource.prlimit(self.process.pid, kind, (bound, bound))
        found = self.wait_for(r"gRPC on \S+:(\d+), REST on \S+:(\d+)")
        self.port, self.rest_port = int(found.group(1)), int(found.group(2))
        self.address = f"127.0.0.1:{self.port}"

    def wait_for(self, pattern, seconds=180):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = re.search(pattern, self.text())
            if found:
                return found
            assert self.process.poll() is None, self.text()
            time.sleep(0.05)
        raise AssertionError(f"{pattern} does not come:\n{self.text()}")

    def text(self):
        with open(self.log, encoding="utf-8") as file:
            return file.read()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.text()

    def metrics(self):
        url = f"http://127.0.0.1:{self.rest_port}/monitoring/prometheus/metrics"
        with urllib.request.urlopen(url, timeout=30) as page:
            return page.read().decode()

    def rest(self, path, value=None):
        body = None if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
        url = f"http://127.0.0.1:{self.rest_port}{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=60) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


@contextlib.contextmanager
def serving(base_path, *options, bounds=None):
    server = Server(base_path, *options, bounds=bounds)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def words(images, queries):
    """Words of the same queries for each image."""
    return {
        role: np.array([[query[k] for query in queries]] * images, object).reshape(images, -1)
        for k, role in enumerate(("subject", "relation", "object"))
    }


def refer_inputs(files, queries):
    return {"image": np.array(files, object), **words(len(files), queries)}


def assert_equal(found, expected):
    """Equal outputs, but for the last digits of numbers."""
    assert set(found) == set(expected)
    for name, value in expected.items():
        value = np.asarray(value)
        if value.dtype.kind in "OSU" or value.dtype == bool:
            np.testing.assert_array_equal(found[name], value, err_msg=name)
        else:
            np.testing.assert_allclose(
                found[name], value, rtol=1e-5, atol=1e-3 if "box" in name else 1e-5, err_msg=name
            )
