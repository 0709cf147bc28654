"""Evaluates a trained model, or asks it about a photo.

  python eval.py --model_dir=DIR --split=test [--data_dir=...] [--analyses=errors,oracles,...]
  python eval.py --model_dir=DIR --image=photo.jpg --query "red rubber cube, left, blue metal sphere" --output=out.png
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# A quarter faster on CPUs where TensorFlow does not turn it on by itself (those without AVX-512).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import json

from absl import app, flags

from dsg_tf import answers, checkpoints, entry, evaluation, inference, results, visualize
from dsg_tf.analysis import run as analyses
from dsg_tf.data import integrity
from dsg_tf.data.records import DatasetInfo

FLAGS = flags.FLAGS

flags.DEFINE_string("model_dir", None, "directory of the trained model", required=True)
flags.DEFINE_string("split", "test", "split to evaluate")
flags.DEFINE_string("data_dir", "", "prepared data set; default: the one the model was trained on")
flags.DEFINE_integer("max_images", 0, "evaluate so many images only; 0: all", lower_bound=0)
flags.DEFINE_list("analyses", [], f"after the evaluation: any of {', '.join(analyses.NAMES)}")
flags.DEFINE_string("image", "", "a photo to ask about, in place of a split")
flags.DEFINE_multi_string("query", [], '"subject, relation, object"; may be given several times')
flags.DEFINE_string("output", "", "where to draw the answers about --image (PNG)")
flags.DEFINE_boolean("debug", False, "show the stack trace of an error")


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    with entry.sentences("eval.py", FLAGS.debug):
        if FLAGS.image:
            ask()
        elif FLAGS.query or FLAGS.output:
            raise ValueError("--query and --output go with --image")
        else:
            evaluate()


def evaluate() -> None:
    analyses.check_names(FLAGS.analyses)
    model, config, vocabulary, step = checkpoints.load_model(FLAGS.model_dir)
    data_dir = FLAGS.data_dir or config.data_dir
    info = DatasetInfo.load(data_dir)
    if info.vocabulary != vocabulary:
        raise ValueError(f"--data_dir={data_dir} has another vocabulary than the model in "
                         f"--model_dir={FLAGS.model_dir}")
    with integrity.naming_broken_shards(info, data_dir):
        evaluate_on(model, config, info, step, data_dir)


def evaluate_on(model, config, info: DatasetInfo, step: int, data_dir: str) -> None:
    summary = evaluation.evaluate_split(model, config, info, FLAGS.split, step, data_dir=data_dir,
                                        model_dir=FLAGS.model_dir, max_images=FLAGS.max_images)
    print(results.table([summary]))
    if FLAGS.analyses:
        report = analyses.run(FLAGS.analyses, model, config, info, FLAGS.split, data_dir=data_dir,
                              model_dir=FLAGS.model_dir, max_images=FLAGS.max_images)
        print(json.dumps({name: part.get("all", part) for name, part in report.items()}, indent=2))


def ask() -> None:
    if not FLAGS.query:
        raise ValueError("--image needs a --query, such as \"person, riding, horse\"")
    predictor = inference.Predictor.load(FLAGS.model_dir)
    with open(FLAGS.image, "rb") as file:
        encoded = file.read()
    found = predictor.answer(encoded, FLAGS.query)
    for answer in found:
        print(json.dumps(answer.as_dict()))
    if FLAGS.output:
        visualize.save_png(answers.draw(encoded, found), FLAGS.output)


if __name__ == "__main__":
    app.run(main)
