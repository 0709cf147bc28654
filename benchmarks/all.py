"""Runs all benchmarks and writes docs/performance.md: each aim beside what was measured.

    python -m benchmarks.all [--quick] [--only=graph_layer,network]

Takes an hour on two cores; they should have nothing else to do. Each report is kept in --reports_dir as soon as it is
there, and read from there the next time; delete what is to be measured again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # Where python -m does not look.

import performance_page
from absl import app, flags, logging

from dsg_tf.process import files

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A script with its flags.

    Attributes:
      script: in this folder.
      arguments: its flags.
      quick: more flags, for a run that only shows that everything works; None: it has no part in one.
      environment: variables that it runs with.
    """

    script: str
    arguments: Sequence[str] = ()
    quick: Sequence[str] | None = None
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def command(self, quick: bool) -> list[str]:
        return [f"benchmarks/{self.script}", *self.arguments, *((self.quick or ()) if quick else ())]


QUICK_NETWORK = ("--images=12", "--seconds=0", "--rounds=2")
BENCHMARKS = {
    "union_features": Benchmark(
        "union_features.py",
        quick=("--boxes=4,32", "--map_size=10,12,64", "--features=32", "--memory_boxes=0", "--seconds=0.1"),
    ),
    "union_features_without_onednn": Benchmark(  # TensorFlow's default on CPUs without AVX-512.
        "union_features.py", ("--boxes=32", "--memory_boxes=0"), environment={"TF_ENABLE_ONEDNN_OPTS": "0"}
    ),
    "graph_layer": Benchmark("graph_layer.py", quick=("--units=64", "--seconds=0.1")),
    "network": Benchmark(
        "network.py", ("--modes=graph", "--modes=eager", "--modes=xla", "--modes=bfloat16"), QUICK_NETWORK
    ),
    "network_with_onednn": Benchmark(  # As train.py has it.
        "network.py", quick=QUICK_NETWORK, environment={"TF_ENABLE_ONEDNN_OPTS": "1"}
    ),
    "network_of_the_paper": Benchmark(
        "network.py", ("--settings=configs/vg.flags", "--images=12", "--rounds=15", "--modes=graph")
    ),
    "onednn": Benchmark("onednn.py", ("--isa=AVX2",), ("--rounds=1", "--seconds=0")),
    "scaling": Benchmark(
        "scaling.py", quick=("--boxes=4,8", "--queries=8,16", "--map_size=10,12,64", "--units=64", "--seconds=0")
    ),
    "input_pipeline": Benchmark(
        "input_pipeline.py",
        (
            "--batch_size=4",
            "--height=256",
            "--width=320",
            "--max_queries=32",
            "--color_jitter=0.2",
            f"--cores={','.join(sorted({'1', str(len(os.sched_getaffinity(0)))}))}",
        ),
        quick=("--seconds=1",),
    ),
    "serving": Benchmark("serving.py", ("--flagfiles=configs/synthetic.flags",)),
}


def main(_):
    reports = {}
    for name in FLAGS.only or BENCHMARKS:
        if not FLAGS.quick or BENCHMARKS[name].quick is not None:
            reports[name] = _report(name, BENCHMARKS[name])
    path = os.path.join(ROOT, FLAGS.output)
    files.write_text(path, performance_page.page(reports))
    print(f"wrote {path}")


def _report(name: str, benchmark: Benchmark) -> dict:
    """The report that is there, or a new one."""
    path = os.path.join(ROOT, FLAGS.reports_dir, f"{name}.json")
    if os.path.exists(path):
        logging.info("%s: read from %s", name, path)
    else:
        command, extra = benchmark.command(FLAGS.quick), benchmark.environment
        variables = [f"{variable}={value}" for variable, value in extra.items()]
        as_text = " ".join([*variables, "python", shlex.join(command)])
        logging.info("%s: %s", name, as_text)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")]), **extra}
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        files.write_json(path, {"command": as_text, **json.loads(done.stdout)})
    with open(path, encoding="utf-8") as file:
        return json.load(file)


if __name__ == "__main__":
    flags.DEFINE_boolean("quick", False, "Tiny sizes and few rounds: shows that all run, measures nothing of use.")
    flags.DEFINE_list("only", [], "Names of the benchmarks to run; none: all.")
    flags.DEFINE_string("reports_dir", "runs/benchmarks", "Where reports are kept, relative to the repository.")
    flags.DEFINE_string("output", "docs/performance.md", "The page to write, relative to the repository.")
    app.run(main)
