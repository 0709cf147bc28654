"""Packs a trained model into a directory to hand on: weights in half precision, settings, words and a card.

  python -m dsg_tf.pack --model_dir=runs/clevr_small_dsg --output_dir=models/clevr --splits=val \
      --trained_on="4,233 CLEVR renders of 320 x 240" --license="CC BY 4.0, as its data" \
      --command="python train.py --flagfile=configs/clevr_small.flags" --time="24 minutes on two CPU cores" \
      --limit="Pictures of CLEVR's colors, shapes and materials only."

Weights are those that eval.py takes. The packed model is evaluated on --splits, and its card, CARD.md, has the scores
before (eval_<split>.json of --model_dir) and after rounding.
"""

from __future__ import annotations

import os
from typing import Any

from absl import flags

from dsg_tf import config as config_lib
from dsg_tf.process import command

FLAGS = flags.FLAGS


def define_flags(values: flags.FlagValues) -> None:
    def string(name, text, default=None):
        flags.DEFINE_string(name, default, text, required=default is None, flag_values=values)

    string("model_dir", "directory of the trained model")
    string("output_dir", "the directory to write, such as models/NAME; it must not be there")
    flags.DEFINE_list("splits", ["val"], "splits to score the packed model on", flag_values=values)
    string("data_dir", "prepared data set; default: the one the model was trained on", "")
    string("trained_on", "for the card: the data, in words")
    string("license", "for the card: the license of the weights")
    string("command", "for the card: the command that trained the model")
    string("time", "for the card: how long that took, and on what")
    flags.DEFINE_multi_string(
        "limit",
        None,
        "for the card: what the model cannot do; may be given several times",
        required=True,
        flag_values=values,
    )


def run() -> None:
    """The command `python -m dsg_tf.pack`, installed as `dsg-pack`."""
    command.run("pack", define_flags, main, usage=__doc__)


def main() -> None:
    config = config_lib.load(FLAGS.model_dir)
    if os.path.exists(FLAGS.output_dir):
        raise FileExistsError(f"--output_dir={FLAGS.output_dir} exists: choose another, or remove it")
    data_dir = FLAGS.data_dir or config.data_dir
    if FLAGS.splits and not os.path.exists(data_dir):
        raise FileNotFoundError(f"--data_dir={data_dir} is not there")
    from dsg_tf.pack import packing

    texts: dict[str, Any] = {name: FLAGS[name].value for name in ("trained_on", "license", "command", "time", "limit")}
    packing.pack(FLAGS.model_dir, FLAGS.output_dir, texts, splits=FLAGS.splits, data_dir=data_dir)
    print(FLAGS.output_dir)
