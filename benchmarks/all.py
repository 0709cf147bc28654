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
NOTES = os.path.join(ROOT, "benchmarks", "notes.md")


def main(_):
    reports = {}
    for name in FLAGS.only or BENCHMARKS:
        if not FLAGS.quick or BENCHMARKS[name].quick is not None:
            reports[name] = _report(name, BENCHMARKS[name])
    path = os.path.join(ROOT, FLAGS.output)
    files.write_text(path, page(reports))
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


def page(reports: dict[str, dict]) -> str:
    """The Markdown page.

    Args:
      reports: by the names of `BENCHMARKS`; aims whose reports are not there are left out.
    """
    groups = (union_rows, graph_rows, network_rows, onednn_rows, pipeline_rows, serving_rows)
    rows = [row for group in groups for row in group(reports)]
    parts = [
        "# Performance",
        "",
        "Written by `python -m benchmarks.all`. Ratios are medians over rounds in which all candidates take turns;",
        '"gradient" and "step" are forward and backward.',
        "",
        "| what | aim | measured | met |",
        "|---|---|---|---|",
    ]
    parts += [
        f"| {what} | {aim} | {measured} | {'yes' if met(aim, measured) else '**no**'} |"
        for what, aim, measured in rows
        if aim
    ]
    parts += ["", "| what has no aim | measured |", "|---|---|"]
    parts += [f"| {what} | {measured} |" for what, aim, measured in rows if not aim]
    parts.append("")
    with open(NOTES, encoding="utf-8") as file:  # What no benchmark of today can tell: how it was before, and why.
        parts += [file.read()]
    if "scaling" in reports:
        parts += [
            "## Exponents",
            "",
            "Time grows with this power of the size:",
            "",
            "| part | all sizes | the last two |",
            "|---|---|---|",
        ]
        parts += [
            f"| {name} | {found['all']} | {found['last_two']} |"
            for name, found in reports["scaling"]["exponents"].items()
        ]
        parts.append("")
    for name, report in reports.items():
        title = name.replace("_", " ").capitalize().replace("onednn", "oneDNN")
        parts += [f"## {title}", "", f"`{report['command']}`", "", *_medians(report), _machine(report["machine"]), ""]
    return "\n".join(parts)


def met(aim: str, measured: float) -> bool:
    """Whether a number reaches an aim such as ">= 25" or "<= 1.05"."""
    sign, limit = aim.split()
    return measured >= float(limit) if sign == ">=" else measured <= float(limit)


def union_rows(reports):
    """Union features at the largest number of boxes that the cropping ways were measured with."""
    for name, words in (("union_features", ""), ("union_features_without_onednn", " without oneDNN")):
        if name not in reports:
            continue
        report = reports[name]
        count = max(
            (int(count) for count, found in report["by_boxes"].items() if "textbook" in found["forward"]["median_ms"]),
            default=None,
        )
        if count is not None:
            found = report["by_boxes"][str(count)]
            for fast in ("matmul", "integral"):
                for kind in ("forward", "gradient"):
                    for slow, aim in (("textbook", ">= 25"), ("crop_and_resize", ""), ("roi_align", "")):
                        yield (
                            f"union features{words}, {kind}, n = {count}: {slow} / {fast}",
                            aim,
                            found[kind]["ratios"][f"{slow} / {fast}"],
                        )
        if "memory" in report:
            for ratio, value in report["memory"]["ratios"].items():
                yield (
                    f"peak memory ({report['memory']['how']}), n = {report['memory']['boxes']}: {ratio}",
                    ">= 20" if "textbook" in ratio else "",
                    value,
                )


def graph_rows(reports):
    """The graph layer and the classifier."""
    if "graph_layer" not in reports:
        return
    report = reports["graph_layer"]
    for part, words, aim in (("graph_layer", "graph layer", ">= 2"), ("classifier", "classifier", "")):
        for kind in ("forward", "gradient"):
            yield f"{words}, {kind}: textbook / split", aim, report[part]["textbook / split"][kind]
    for kind in ("forward", "gradient"):
        share = report["graph_layer"]["share_of_matmul_rate"][f"split {kind}"]
        yield f"graph layer, {kind}: share of a plain matrix product's rate", ">= 0.6", share


def network_rows(reports):
    """Table 3 of the paper; its own ratios are 1.2 at inference and 1.15 in training.

    The aims are for its network: in a small one the graph is a larger part.
    """
    paper = {"inference, with the graph / without": "<= 1.05", "step, with the graph / without": "<= 1.1"}
    for name, aims, words in (
        ("network", {}, ""),
        ("network_with_onednn", {}, " with oneDNN"),
        ("network_of_the_paper", paper, ""),
    ):
        if name in reports:
            report = reports[name]
            network = report["settings"] + words
            for key, value in report["ratios"].items():
                yield f"{network}: {key}", aims.get(key, ""), value
            yield f"{network}: training step, images a second", "", report["step_images_per_second"]
            yield f"{network}: evaluation, images a second", "", report["evaluation_images_per_second"]
            yield (
                f"{network}: share of the evaluation's time that its network takes alone",
                ">= 0.5",
                report["network_share_of_evaluation"],
            )


def onednn_rows(reports):
    """What the rule of `dsg_tf.process.environment` rests on."""
    if "onednn" in reports:
        for isa, ratios in reports["onednn"]["on / off"].items():
            words = "" if isa == "native" else f" with no more than {isa}"
            for call, ratio in ratios.items():
                yield f"oneDNN{words}, {call}: images a second with it / without", "", ratio


def pipeline_rows(reports):
    """How many times as fast as a training step the input is."""
    if "network_with_onednn" in reports and "input_pipeline" in reports:
        step = reports["network_with_onednn"]["step_images_per_second"]
        for cores, rate in reports["input_pipeline"]["images_per_second_by_cores"].items():
            yield (
                f"input pipeline on {cores} {'core' if cores == '1' else 'cores'} / training step, images a second "
                f"({rate} / {step})",
                ">= 5" if cores == "1" else "",
                round(rate / step, 2),
            )


def serving_rows(reports):
    """What more queries cost a request with one image, and what the server adds to the model."""
    if "serving" in reports:
        for network, found in reports["serving"]["configurations"].items():
            for count, aim in (("100", "<= 1.05"), ("1000", "<= 1.25")):
                yield (
                    f"{network}: refer with {count} queries / with one",
                    aim,
                    found["refer_relative_to_one_query"][count],
                )
            yield (
                f"{network}: milliseconds that the server adds to answer with one query",
                "<= 3",
                found["server_overhead_ms"]["answer 1"],
            )
            for clients, speed in found["throughput_of_refer_10"].items():
                yield f"{network}: refer, requests a second, {clients}", "", speed["requests_per_second"]


def _medians(report):
    """Rows of every table of medians inside a report, wherever it lies."""
    tables = list(_find(report, "median_ms"))
    if not tables:
        return []
    rows = ["| milliseconds | median |", "|---|---|"]
    for where, medians in tables:
        prefix = "".join(f"{part}, " for part in where)
        rows += [f"| {prefix}{name} | {value:.4g} |" for name, value in medians.items()]
    return [*rows, ""]


def _find(value, key, where=()):
    if isinstance(value, dict):
        if key in value:
            yield where, value[key]
        for name, inner in value.items():
            yield from _find(inner, key, (*where, name))


def _machine(machine):
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cpu']}, {machine['usable_cores']} of {machine['cores']} cores, load average "
        f"{machine['load_average']}; {versions}."
    )


if __name__ == "__main__":
    flags.DEFINE_boolean("quick", False, "Tiny sizes and few rounds: shows that all run, measures nothing of use.")
    flags.DEFINE_list("only", [], "Names of the benchmarks to run; none: all.")
    flags.DEFINE_string("reports_dir", "runs/benchmarks", "Where reports are kept, relative to the repository.")
    flags.DEFINE_string("output", "docs/performance.md", "The page to write, relative to the repository.")
    app.run(main)
