"""Evaluates a trained model, or asks it about a photo.

python eval.py --model_dir=DIR --split=test [--data_dir=...] [--analyses=errors,oracles,...]
python eval.py --model_dir=DIR --image=photo.jpg --query "red rubber cube, left, blue metal sphere" --output=out.png
python eval.py --model_dir=DIR --image=photo.jpg --query "the red cube left of the metal ball"
"""

from __future__ import annotations

import json
import os

from absl import flags

from dsg_tf import config as config_lib
from dsg_tf.evaluation.analysis import names
from dsg_tf.predict import answers
from dsg_tf.process import command

FLAGS = flags.FLAGS


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("model_dir", None, "directory of the trained model", required=True, flag_values=values)
    flags.DEFINE_string("split", "test", "split to evaluate", flag_values=values)
    flags.DEFINE_string(
        "data_dir", "", "prepared data set; default: the one the model was trained on", flag_values=values
    )
    flags.DEFINE_string(
        "output_dir",
        "",
        "where scores and figures go; default: --model_dir, or runs/models/NAME of a model in half precision",
        flag_values=values,
    )
    flags.DEFINE_integer("max_images", 0, "evaluate so many images only; 0: all", lower_bound=0, flag_values=values)
    flags.DEFINE_boolean("report", True, "write report_<split>.html, the result as a page", flag_values=values)
    flags.DEFINE_boolean(
        "calibrate",
        False,
        "first find on the split how sure the model may be that a query has an answer; kept in its calibration.json",
        flag_values=values,
    )
    flags.DEFINE_list("analyses", [], f"after the evaluation: any of {', '.join(names.ALL)}", flag_values=values)
    flags.DEFINE_string("image", "", "a photo to ask about, in place of a split", flag_values=values)
    flags.DEFINE_multi_string(
        "query", [], '"subject, relation, object" or free text; may be given several times', flag_values=values
    )
    flags.DEFINE_string("output", "", "where to draw the answers about --image (PNG)", flag_values=values)
    flags.DEFINE_float(
        "threshold",
        answers.FOUND,
        "answer_probability below which the picture in --output says that nothing was found",
        lower_bound=0.0,
        upper_bound=1.0,
        flag_values=values,
    )


def run() -> None:
    """The command `eval.py`, installed as `dsg-eval`."""
    command.run("eval.py", define_flags, main, usage=__doc__, batches=lambda: not FLAGS.image)


def main() -> None:
    config = config_lib.load(FLAGS.model_dir)  # What is wrong with the directory is told before TensorFlow is there.
    if FLAGS.image and FLAGS.calibrate:
        raise ValueError("--calibrate goes with --split, not with --image")
    if FLAGS.image:
        _ask()
    elif FLAGS.query or FLAGS.output or FLAGS["threshold"].present:
        raise ValueError("--query, --output and --threshold go with --image")
    else:
        _evaluate(config)


def _evaluate(config: config_lib.Config) -> None:
    names.check(FLAGS.analyses)
    if FLAGS.calibrate and config_lib.is_packed(config_lib.find(FLAGS.model_dir)):
        raise ValueError(
            f"--calibrate: --model_dir={FLAGS.model_dir} is packed: calibrate the run that it was made of and pack that"
        )
    data_dir = FLAGS.data_dir or config.data_dir
    if not os.path.exists(data_dir):
        raise FileNotFoundError(f"--data_dir={data_dir} is not there")
    from dsg_tf import checkpoints
    from dsg_tf.data import integrity
    from dsg_tf.data.records import DatasetInfo
    from dsg_tf.evaluation import calibrate

    model, config, vocabulary, step = checkpoints.load_model(FLAGS.model_dir)
    info = DatasetInfo.load(data_dir)
    if info.vocabulary != vocabulary:
        raise ValueError(
            f"--data_dir={data_dir} has another vocabulary than the model in --model_dir={FLAGS.model_dir}"
        )
    with integrity.naming_broken_shards(info, data_dir):
        if FLAGS.calibrate:
            model_dir = config_lib.find(FLAGS.model_dir)
            calibrate.calibrate(model, config, info, FLAGS.split, step, data_dir=data_dir, model_dir=model_dir)
            model, *_ = checkpoints.load_model(FLAGS.model_dir)
        _evaluate_on(model, config, info, step, data_dir)


def _evaluate_on(model, config: config_lib.Config, info, step: int, data_dir: str) -> None:
    from dsg_tf.evaluation import query_results, scoring
    from dsg_tf.evaluation.analysis import run as analyses

    output_dir = FLAGS.output_dir or config_lib.results_dir(FLAGS.model_dir)
    summary = scoring.evaluate_split(
        model,
        config,
        info,
        FLAGS.split,
        step,
        data_dir=data_dir,
        model_dir=output_dir,
        trained_in=FLAGS.model_dir,
        max_images=FLAGS.max_images,
        report=FLAGS.report,
    )
    print(query_results.table([summary]))
    if FLAGS.analyses:
        queries = query_results.read_queries(os.path.join(output_dir, f"queries_{FLAGS.split}.csv"))
        report = analyses.run(
            FLAGS.analyses,
            model,
            config,
            info,
            FLAGS.split,
            queries=queries,
            data_dir=data_dir,
            model_dir=output_dir,
            max_images=FLAGS.max_images,
        )
        print(analyses.text(report))


def _ask() -> None:
    if not FLAGS.query:
        raise ValueError('--image needs a --query, such as "person, riding, horse" or "a person who rides a horse"')
    with open(FLAGS.image, "rb") as file:
        encoded = file.read()
    from dsg_tf.drawing import answer_pictures, canvas
    from dsg_tf.predict.checkpoint_model import CheckpointModel

    found = CheckpointModel.load(FLAGS.model_dir).answer(encoded, FLAGS.query)
    for answer in found:
        print(json.dumps(answer.as_dict()))
    if FLAGS.output:
        canvas.save_png(answer_pictures.draw(encoded, found, FLAGS.threshold), FLAGS.output)
