"""Devices and workers: the strategy that the flags ask for, and what several workers have to agree on."""

from __future__ import annotations

import functools
import json
import os

import tensorflow as tf
from official.common import distribute_utils

from dsg_tf.process import stopping


def make_strategy(name: str, tpu: str = "") -> tf.distribute.Strategy:
    """A strategy by name. With several workers call it before anything else of TensorFlow.

    Args:
      name: of --strategy.
      tpu: name or address of the TPU, where `name` is "tpu"; empty: this machine's.

    Raises:
      ValueError: several workers were asked for and the environment's TF_CONFIG does not tell which.
    """
    if name == "multi_worker_mirrored":
        check_cluster(os.environ.get("TF_CONFIG", ""))
    gpus = 0 if name == "tpu" else len(tf.config.list_physical_devices("GPU"))
    with stopping.handlers_kept():
        return distribute_utils.get_distribution_strategy(
            name, num_gpus=min(gpus, 1) if name == "one_device" else gpus, tpu_address=tpu
        )


def check_cluster(text: str) -> None:
    """Raises ValueError where `text` is not what TF_CONFIG must be."""
    try:
        value = json.loads(text)
        workers, task = value["cluster"]["worker"], value["task"]
        if task["type"] in ("chief", "worker") and 0 <= task["index"] < len(value["cluster"][task["type"]]) and workers:
            return
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(
        f"--strategy=multi_worker_mirrored needs TF_CONFIG in the environment of each worker, such as "
        f'{{"cluster": {{"worker": ["host0:2222", "host1:2222"]}}, "task": {{"type": "worker", "index": 0}}}}; it is '
        f"{text!r}"
    )


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """Processes that train together; 1 but for `multi_worker_mirrored`."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    cluster = strategy.cluster_resolver.cluster_spec().as_dict()
    return len(cluster.get("chief", [])) + len(cluster["worker"])


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes what the workers write once: checkpoints, logs, results."""
    return strategy.extended.should_checkpoint


def of_all_workers(strategy: tf.distribute.Strategy, number: int) -> list[int]:
    """The number that each worker calls this with, in the same order everywhere. Waits for all of them."""
    if num_workers(strategy) == 1:
        return [number]
    values = strategy.experimental_distribute_values_from_function(lambda _: tf.constant([number], tf.int64))
    return _gather(strategy)(values).numpy().tolist()


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Returns when all workers have called this."""
    of_all_workers(strategy, 0)


@functools.lru_cache(maxsize=1)
def _gather(strategy):
    return tf.function(
        lambda values: strategy.gather(values, axis=0), autograph=False
    )  # Strategies themselves compile at every call.
