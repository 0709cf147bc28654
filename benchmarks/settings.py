"""A configuration as a flag file gives it, for benchmarks that have flags of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from dsg_tf import config as config_lib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def of_flag_file(path: str) -> config_lib.Config:
    """What a flag file says, read by a process of its own: flags are parsed once in a process.

    Args:
      path: relative to the root of the repository.

    Raises:
      subprocess.CalledProcessError: the file has a flag or a value that the program does not know; stderr names it.
    """
    parsed = subprocess.run(
        [sys.executable, "-c", "import sys; from absl import flags; from dsg_tf import config; config.define_flags(); "
         "flags.FLAGS(sys.argv); print(config.from_flags().to_json())", f"--flagfile={path}"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return config_lib.Config(**{name: tuple(value) if isinstance(value, list) else value
                                for name, value in json.loads(parsed.stdout).items()})
