"""Runs of `python -m dsg_tf.predict` in this process, and what they leave behind."""

import json
import os
import pathlib

import commands
import numpy as np
import tiny_data

from dsg_tf.predict import command
from dsg_tf.predict import summary as summary_lib

QUERIES = ["red square, left, blue disc", "Blue  Disc,above, green square"]
NUM_IMAGES = 7


def run(**arguments) -> str:
    """What the command prints; it runs in this process."""
    values = commands.parsed(command.define_flags, [f"--{name}={value}" for name, value in arguments.items()])
    return summary_lib.text(command.predict(values), values.output_dir)


def asked(path, queries) -> str:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(queries, file)
    return str(path)


def lines(folder) -> list[dict]:
    return [line for path in sorted(pathlib.Path(folder).glob("predictions-*.jsonl")) for line in rows(path)]


def rows(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def summary(folder) -> dict:
    with open(os.path.join(folder, "predictions.json"), encoding="utf-8") as file:
        return json.load(file)


def all_triplets() -> dict:
    """The queries of the prepared split, in words."""
    words = tiny_data.VOCABULARY
    return {
        f"test{i}.png": [
            ", ".join([words.entities[s], words.relations[r], words.entities[o]])
            for s, r, o in tiny_data.draw("test", i).queries()[0]
        ]
        for i in range(NUM_IMAGES)
    }


def assert_same(one, other):
    """Equal lines, but for the last digit of rounded numbers."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if "box" in name or "score" in name:
                np.testing.assert_allclose(value, other[name], atol=0.0101 if "box" in name else 1.01e-5, err_msg=name)
            else:
                assert_same(value, other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other):
            assert_same(*pair)
    else:
        assert one == other
