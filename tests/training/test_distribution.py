"""The strategy by flag, and what workers agree on; tests/slow/test_two_workers.py has two of them."""

import json
import os

import pytest
import tensorflow as tf

from dsg_tf.training import distribution

GOOD = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


@pytest.mark.stack
def test_one_process_is_the_first_of_one(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name, kind in (("mirrored", tf.distribute.MirroredStrategy), ("one_device", tf.distribute.OneDeviceStrategy)):
        strategy = distribution.make_strategy(name)
        assert isinstance(strategy, kind)
        assert distribution.num_workers(strategy) == 1 and distribution.is_chief(strategy)
        assert distribution.of_all_workers(strategy, 7) == [7]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        json.dumps({"cluster": GOOD["cluster"]}),
        json.dumps({"task": GOOD["task"]}),
        json.dumps({**GOOD, "task": {"type": "worker", "index": 2}}),
        json.dumps({**GOOD, "task": {"type": "ps", "index": 0}}),
        json.dumps({**GOOD, "task": {"type": "worker", "index": "0"}}),
        json.dumps({**GOOD, "cluster": {"worker": []}}),
    ],
)
def test_several_workers_need_to_be_told_who_they_are(text, monkeypatch):
    monkeypatch.setitem(os.environ, "TF_CONFIG", text)
    with pytest.raises(ValueError, match="--strategy=multi_worker_mirrored needs TF_CONFIG .* it is "):
        distribution.make_strategy("multi_worker_mirrored")


@pytest.mark.parametrize(
    "task", [GOOD, {"cluster": {"chief": ["a:1"], "worker": ["b:2"]}, "task": {"type": "chief", "index": 0}}]
)
def test_a_whole_description_of_the_workers_is_taken(task):
    distribution.check_cluster(json.dumps(task))
