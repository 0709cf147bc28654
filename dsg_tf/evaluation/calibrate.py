"""Finds the calibration of `answer_probability` on a split: `eval.py --calibrate`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import optimize

from dsg_tf.build import batch_spec
from dsg_tf.config import Config
from dsg_tf.data.records import DatasetInfo
from dsg_tf.evaluation import scoring
from dsg_tf.model.calibration import LEAST, Calibration

_STEEPEST = 100.0  # Of the scale: queries that are told apart without an error would have any.


def fit(truths: Sequence[float], others: Sequence[float]) -> Calibration:
    """The logistic function of the log odds under which what holds and what does not is most probable.

    Args:
      truths: probabilities `[K]` of queries that hold; others: `[L]` of those that do not.

    Raises:
      ValueError: there are none of one kind.
    """
    if not len(truths) or not len(others):
        raise ValueError(f"{len(truths)} queries that hold and {len(others)} that do not: it takes some of both")
    clipped = np.clip(np.concatenate([truths, others]).astype(np.float64), LEAST, 1 - LEAST)
    log_odds = np.log(clipped) - np.log1p(-clipped)
    # Platt's targets, a little inside 0 and 1: few queries that nothing contradicts are no certainty.
    high, low = (len(truths) + 1) / (len(truths) + 2), 1 / (len(others) + 2)
    targets = np.repeat([high, low], [len(truths), len(others)])

    def loss(parameters):
        """The cross entropy and its gradient."""
        values = parameters[0] * log_odds + parameters[1]
        wrong = 0.5 * (1 + np.tanh(values / 2)) - targets
        return (np.logaddexp(0, values) - targets * values).sum(), np.array([wrong @ log_odds, wrong.sum()])

    found = optimize.minimize(loss, [1.0, 0.0], jac=True, bounds=[(1e-3, _STEEPEST), (None, None)])
    return Calibration(float(found.x[0]), float(found.x[1]))


def calibrate(
    model, config: Config, info: DatasetInfo, split: str, step: int, *, data_dir: str, model_dir: str
) -> Calibration:
    """Asks the queries of a split, and as many that do not hold, and writes what `checkpoints.load_model` will find.

    Args:
      model: just loaded; what calibrates it already is taken from it.
      data_dir: the prepared data set.
      model_dir: where the weights are.

    Raises:
      ValueError: the system has no `answer_probability`, or the split no queries.
    """
    if config.is_attention_model:
        raise ValueError(f"--calibrate: the system {config.model!r} has no answer_probability")
    model.calibration = None
    spec = batch_spec(config, info, split, training=False)
    found = scoring.evaluate(model, info.shard_paths(data_dir, split), spec, config.eval_batch_size, ask_absent=True)
    truths = [query.answer_probability for query in found.queries if query.answer_probability is not None]
    others = [probability for values in found.absent.values() for probability in values]
    calibration = fit(truths, others)
    calibration.save(model_dir, step, len(truths) + len(others))
    return calibration
