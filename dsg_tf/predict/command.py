"""Answers the queries of a whole data set with a model, to JSON lines.

  python -m dsg_tf.predict --saved_model=exported/clevr --data_dir=data/clevr_small --split=val --output_dir=predicted
  python -m dsg_tf.predict --saved_model=exported/mine --images=photos/ --queries=queries.json --output_dir=predicted
  python -m dsg_tf.predict --model=clevr --images=photos/ --queries=queries.json --output_dir=predicted

queries.json is {"photo.jpg": ["person, riding, horse", ...], ...}; queries.jsonl has such an object on every line.
Run the same command again to go on after a kill. With --runner, Apache Beam does the work, past one machine.

The exit code is 0 if all is answered, 3 if all is done and some images or queries have no answer (errors.jsonl in
--output_dir names them), 1 after an error, as where nothing has an answer, or with --strict something has none.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from absl import app, flags

from dsg_tf.predict import loading, summary
from dsg_tf.process import beam, command

FLAGS = flags.FLAGS
# Not 2, which shells and argument parsers have uses for.
SOME_WITHOUT_ANSWER = 3


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the command."""

    def string(name, text, required=False):
        flags.DEFINE_string(name, None, text, required=required, flag_values=values)

    string("saved_model", "exported model, or the directory of its versions: the newest is taken")
    string("model", "in place of it any model: the name of one at hand, a model directory, or an export")
    string("output_dir", "where the predictions go", required=True)
    string("data_dir", "prepared data set, with --split")
    string("split", "the split to predict")
    string("images", "folder of images, with --queries")
    string("queries", "JSON or JSON-lines file of the queries about each image")
    flags.DEFINE_integer("batch_size", 8, "images that the model sees at once", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("num_shards", None, "files; by default one per 250 images", lower_bound=1, flag_values=values)
    flags.DEFINE_bool("strict", False, "stop at the first image or query that has no answer", flag_values=values)
    beam.define_flags(values)


def run() -> None:
    """The command `python -m dsg_tf.predict`, installed as `dsg-predict`."""
    command.run("predict", define_flags, _main, usage=__doc__, stoppable=False)


def _main() -> None:
    result = predict(FLAGS)
    print(summary.text(result, FLAGS.output_dir))
    if result["errors"]:
        sys.exit(SOME_WITHOUT_ANSWER)


def predict(values: flags.FlagValues) -> dict[str, Any]:
    """Does what the flags say; returns what became of the images, see `shards.predict`.

    Raises:
      UsageError: the flags do not fit together.
      ValueError, FileNotFoundError: what they name does not fit; see `shards.predict`.
    """
    prepared, folder = (
        [name for name in names if values[name].value is not None]
        for names in (("data_dir", "split"), ("images", "queries"))
    )
    if (len(prepared), len(folder)) not in ((2, 0), (0, 2)):
        given = ", ".join(f"--{name}" for name in prepared + folder) or "none of them"
        raise app.UsageError(f"either --data_dir and --split or --images and --queries are needed; given: {given}")
    model = _model(values)
    for name in (*prepared[:1], *folder):
        if not os.path.exists(values[name].value):
            raise FileNotFoundError(f"--{name}={values[name].value} is not there")
    runner = beam.from_flags(values)
    from dsg_tf.predict import shards
    from dsg_tf.predict.requests import ImageFolder, PreparedSplit

    requests: PreparedSplit | ImageFolder
    if prepared:
        requests = PreparedSplit.load(values.data_dir, values.split)
    else:
        requests = ImageFolder.load(values.images, values.queries)
    return shards.predict(
        requests,
        model,
        values.output_dir,
        batch_size=values.batch_size,
        num_shards=values.num_shards,
        strict=values.strict,
        beam=runner,
    )


def _model(values: flags.FlagValues) -> str:
    """The directory of the model that the flags name."""
    given = [name for name in ("saved_model", "model") if values[name].value is not None]
    if len(given) != 1:
        told = " ".join(f"--{name}={values[name].value}" for name in given) or "neither"
        raise app.UsageError(f"either --saved_model or --model is needed; given: {told}")
    if given == ["model"]:
        return loading.find(values.model)
    if not os.path.exists(values.saved_model):
        raise FileNotFoundError(f"--saved_model={values.saved_model} is not there")
    return loading.newest_version(values.saved_model)
