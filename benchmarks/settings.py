"""A configuration as a flag file gives it, for benchmarks that have flags of their own."""

from __future__ import annotations

import os

from absl import flags

from dsg_tf import config as config_lib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def of_flag_file(path: str) -> config_lib.Config:
    """What a flag file says.

    Args:
      path: relative to the root of the repository, as are the flag files that it names.

    Raises:
      ValueError: the file is not there, or has a flag or a value that the program does not know; names it.
    """
    values = flags.FlagValues()
    config_lib.define_flags(values)
    before = os.getcwd()
    os.chdir(ROOT)
    try:
        values(["benchmark", f"--flagfile={path}"])
    except flags.Error as error:
        raise ValueError(f"{path}: {error}") from error
    finally:
        os.chdir(before)
    return config_lib.from_flags(values)
