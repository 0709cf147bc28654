"""Shows what is in a prepared data set, as one HTML file with its pictures.

  python -m dsg_tf.inspect data/mine [--output=inspect.html]
  python -m dsg_tf.inspect data/mine --flagfile=configs/vrd_small.flags
  python -m dsg_tf.inspect data/mine --model_dir=runs/mine

Of every split: samples, counts of classes and of relations, sizes, queries and how many are ambiguous, what preparing
left out and why. With settings, of a flag file or of a trained model, also how large boxes are in the network's input
and how many of them an anchor reaches. Every image is read once, and only those that are shown are decoded.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from absl import app, flags

from dsg_tf import config as config_lib
from dsg_tf.process import command

FLAGS = flags.FLAGS
# They name places: alone they do not make a configuration.
_PLACES = ("data_dir", "model_dir", "dataset")


def define_flags(values: flags.FlagValues) -> None:
    """Its own flags, and all settings: a flag file of a training is one for this command, too."""
    flags.DEFINE_string("output", "inspect.html", "the file to write", flag_values=values)
    flags.DEFINE_integer("samples", 12, "images to show of each split", lower_bound=0, flag_values=values)
    flags.DEFINE_list("splits", [], "splits to look at; default: all", flag_values=values)
    config_lib.define_flags(values)


def run() -> None:
    """The command `python -m dsg_tf.inspect`, installed as `dsg-inspect`."""
    command.run("inspect", define_flags, main, usage=__doc__, batches=lambda: False, take_arguments=take_arguments)


def take_arguments(arguments: Sequence[str], values: flags.FlagValues) -> None:
    """The data set."""
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        raise app.UsageError(f"unexpected arguments: {list(arguments)}")
    for argument in arguments:
        values["data_dir"].parse(argument)


def main() -> None:
    config = settings(FLAGS)
    data_dir = FLAGS.data_dir or (config.data_dir if config else "")
    if not data_dir:
        raise app.UsageError("name a prepared data set: python -m dsg_tf.inspect data/mine")
    if not os.path.exists(os.path.join(data_dir, "dataset_info.json")):
        raise FileNotFoundError(f"{data_dir} has no dataset_info.json: python -m dsg_tf.data.prepare writes it")
    if os.path.isdir(FLAGS.output):
        raise IsADirectoryError(f"--output={FLAGS.output} is a directory: name a file, such as inspect.html")
    from dsg_tf.inspect import pages

    for sentence in pages.write(data_dir, FLAGS.output, config, samples=FLAGS.samples, splits=FLAGS.splits):
        print(sentence)
    print(FLAGS.output)


def settings(values: flags.FlagValues) -> config_lib.Config | None:
    """The settings that flags or a flag file give; else those of the model in --model_dir; None without either.

    Raises:
      FileNotFoundError: --model_dir holds no model.
      ValueError: settings that do not go together.
    """
    names = [field.name for field in dataclasses.fields(config_lib.Config) if field.name not in _PLACES]
    if any(values[name].present for name in names):
        return config_lib.from_flags(values)
    return config_lib.load(values.model_dir) if values.model_dir else None
