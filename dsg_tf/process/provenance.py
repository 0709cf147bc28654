"""Which program this is: its commit or version, the libraries under it, the command that runs it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys

import tensorflow as tf

from dsg_tf import keras

_HERE = os.path.dirname(os.path.abspath(__file__))


def description() -> dict[str, str]:
    """What to know in order to run it again, by name."""
    return {
        "dsg_tf": commit() or f"version {installed('dsg_tf')}",
        "command": command(),
        "Python": platform.python_version(),
        "TensorFlow": tf.__version__,
        "Keras": installed(keras.PACKAGE),
        "Model Garden": installed("tf-models-official"),
    }


def command() -> str:
    """The command line, with the path of the script from the root of this program."""
    root = os.path.join(os.path.dirname(os.path.dirname(_HERE)), "")
    return shlex.join([sys.argv[0].removeprefix(root), *sys.argv[1:]])


def commit() -> str | None:
    """The git commit of this program, with "-dirty" where files differ from it; None where it is not in a checkout."""
    try:
        # An installed package may lie in the checkout of another project, which does not track its files.
        _git("ls-files", "--error-unmatch", "__init__.py")
        return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):  # Without git, or without a checkout.
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", _HERE, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def installed(package: str) -> str:
    """The version of a package; "unknown" where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
