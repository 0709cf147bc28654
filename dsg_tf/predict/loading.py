"""Models by name or by path, whatever they are: at hand, of a training, packed, or exported."""

from __future__ import annotations

import hashlib
import os

from dsg_tf import config as config_lib
from dsg_tf.predict.image_model import ImageModel
from dsg_tf.process import files
from dsg_tf.words.aliases import Aliases

_SAVED = "saved_model.pb"


def find(model: str) -> str:
    """The directory of a model; of the versions of an export the newest.

    Args:
      model: the name of a model at hand, the directory of a training or of packed weights, an exported version, or the
        directory of versions.

    Raises:
      FileNotFoundError: there is no model; tells what there could be.
    """
    path = config_lib.find(model)
    if os.path.exists(os.path.join(path, config_lib.CONFIG_FILE)):
        return path
    version = exported_version(path)
    if version is not None:
        return version
    if config_lib.is_packed(path):
        config_lib.load(model)  # Which says that there are weights only.
    raise FileNotFoundError(
        f"{model!r} is no model: neither one at hand ({', '.join(config_lib.at_hand()) or 'there is none'}), nor a "
        "directory that train.py or dsg_tf.pack wrote (config.json), nor an export (saved_model.pb, or versions 1/, 2/ "
        "... with one)"
    )


def exported_version(path: str) -> str | None:
    """`path`, or its sub-directory with the largest number where it holds versions as TF Serving takes them.

    Returns:
      None where there is no exported model.
    """
    if os.path.exists(os.path.join(path, _SAVED)):
        return path
    names = os.listdir(path) if os.path.isdir(path) else []
    versions = [name for name in names if files.is_version(name) and os.path.exists(os.path.join(path, name, _SAVED))]
    return os.path.join(path, max(versions, key=int)) if versions else None


def newest_version(path: str) -> str:
    """`path`, or its sub-directory with the largest number where it holds versions as TF Serving takes them.

    Raises:
      FileNotFoundError: there is no exported model.
    """
    version = exported_version(path)
    if version is None:
        raise FileNotFoundError(
            f"--saved_model={path} has no saved_model.pb, nor versions 1/, 2/ ... with one: write "
            "it with python -m export.export_saved_model"
        )
    return version


def is_export(path: str) -> bool:
    """Whether a directory that `find` returned holds an export."""
    return os.path.exists(os.path.join(path, _SAVED))


def load(model: str, aliases: Aliases | None = None) -> ImageModel:
    """The model, ready to be asked.

    Args:
      model: as of `find`.
      aliases: other words that come before those of the model and of the program.

    Raises:
      FileNotFoundError: there is no model, or a part of it is missing.
      ValueError: it cannot be read, or answers with maps, not with boxes.
    """
    path = find(model)
    if is_export(path):
        from dsg_tf.predict.exported_model import ExportedModel

        return ExportedModel(path, aliases)
    from dsg_tf.predict.checkpoint_model import CheckpointModel

    return CheckpointModel.load(path, aliases)


def fingerprint(path: str) -> str:
    """Tells a directory that `find` returned from others, the same wherever it lies.

    Raises:
      FileNotFoundError: a part of the model is missing.
    """
    if is_export(path):
        import tensorflow as tf

        try:
            found = tf.saved_model.experimental.read_fingerprint(path)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"--saved_model={path} has no fingerprint.pb: it is not whole") from error
        return f"{os.path.basename(path)} {found.graph_def_program_hash}/{found.checkpoint_hash}"
    from dsg_tf import checkpoints

    # An index has the checksums of all tensors.
    parts = [f"{checkpoints.prefix_of(path)}.index"]
    parts += [os.path.join(path, name) for name in (config_lib.CONFIG_FILE, checkpoints.VOCABULARY_FILE)]
    digest = hashlib.sha256()
    for part in parts:
        with open(part, "rb") as file:
            digest.update(hashlib.sha256(file.read()).digest())
    return f"{os.path.basename(path)} sha256:{digest.hexdigest()[:16]}"
