"""The words of an exported model, read without TensorFlow."""

from __future__ import annotations

import json
import os

from dsg_tf.data.scene import Vocabulary

# An asset of the SavedModel, under the name and in the form that `checkpoints.save_vocabulary` gives it.
FILE = os.path.join("assets", "vocabulary.json")


def read(version_path: str) -> Vocabulary | None:
    """The class names of a version.

    Args:
      version_path: the directory `<base>/<version>` that `export_saved_model` wrote.

    Returns:
      The vocabulary; None for one of an older exporter, which has no such file.

    Raises:
      ValueError: the file is there and holds something else.
    """
    path = os.path.join(version_path, FILE)
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
        return Vocabulary(tuple(value["entities"]), tuple(value["relations"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no vocabulary: {type(error).__name__}: {error}") from error
