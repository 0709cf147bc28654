"""Trains and compares systems on the same data by the same metric: the paper's Tables 1 and 2.

  python -m dsg_tf.compare --flagfile=configs/clevr_small.flags --models=dsg,no_dsg,vrd --seeds=0,1,2 \\
      --compare_dir=runs/compare

Each system and seed gets a directory <compare_dir>/<model>_seed<k> as train.py would write it. Finished runs are
reused, an interrupted one goes on: run the same command again. SIGTERM and Ctrl-C let the run at work save first.
"""

from __future__ import annotations

from absl import flags

from dsg_tf import config as config_lib
from dsg_tf.process import command

FLAGS = flags.FLAGS


def define_flags(values: flags.FlagValues) -> None:
    config_lib.define_flags(values)
    flags.DEFINE_list(
        "models",
        ["dsg", "no_dsg"],
        "systems: any of "
        + ", ".join(config_lib.SYSTEMS)
        + "; NAME-relation and NAME-image are controls that do not see the query's relation or the image",
        flag_values=values,
    )
    flags.DEFINE_list("seeds", ["0"], "seeds; each system is trained once with each", flag_values=values)
    flags.DEFINE_string("split", "val", "the split to compare on", flag_values=values)
    flags.DEFINE_string("compare_dir", "runs/compare", "where the runs and the results go", flag_values=values)


def run() -> None:
    """The command `python -m dsg_tf.compare`, installed as `dsg-compare`."""
    command.run("compare", define_flags, main, usage=__doc__)


def main() -> None:
    wrong = [seed for seed in FLAGS.seeds if not seed.isdigit()]
    if wrong:
        raise ValueError(f"--seeds={','.join(FLAGS.seeds)}: {wrong[0]!r} is not a whole number from 0")
    base = config_lib.from_flags(FLAGS)
    from dsg_tf.compare import runs

    print(
        runs.compare(
            base, FLAGS.models, [int(seed) for seed in FLAGS.seeds], FLAGS.split, FLAGS.compare_dir, FLAGS.debug
        )
    )
