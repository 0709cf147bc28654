"""A model is traced once, whatever is asked of it."""

import numpy as np
import pytest
import tensorflow as tf
import tiny
import tiny_data

from dsg_tf import build
from dsg_tf import config as config_lib
from dsg_tf.data.records import DatasetInfo
from dsg_tf.evaluation import gallery, inference, scoring
from dsg_tf.evaluation.analysis import samples


class Counted(tf.Module):
    """A model that knows how often it was traced."""

    hidden = ""

    def __init__(self, model):
        super().__init__()
        self.model, self.calls = model, 0

    def __call__(self, inputs, training):
        self.calls += 1
        return self.model(inputs, training=training)

    def answer(self, outputs, queries):
        return self.model.answer(outputs, queries)


def split_of(prepared, settings, split):
    folder, info = prepared
    assert isinstance(info, DatasetInfo)
    return info.shard_paths(folder, split), build.batch_spec(settings, info, split, training=False)


@pytest.mark.parametrize("system", ["dsg", "two_step", "co"])
def test_validations_splits_figures_and_analyses_trace_the_network_once(prepared, system):
    settings = config_lib.for_system(tiny.config(data_dir=prepared[0]), system)
    model = Counted(tiny.model(settings))
    for split, batch_size in (("val", 2), ("val", 2), ("test", 3)):
        shards, spec = split_of(prepared, settings, split)
        result = scoring.evaluate(model, shards, spec, batch_size, ask_absent=True)
        gallery.figures(model, result, shards, spec, tiny_data.VOCABULARY, 3)
        assert len(list(samples.samples(model, shards, spec, batch_size))) == result.num_images
    assert model.calls == 1


def test_a_traced_model_sees_the_weights_of_now(prepared):
    settings = tiny.config(data_dir=prepared[0])
    model, (shards, spec) = tiny.model(settings), split_of(prepared, settings, "test")
    before = scoring.evaluate(model, shards, spec, 2)
    for variable in model.classifier.trainable_variables:
        variable.assign_add(np.random.default_rng(0).normal(size=variable.shape))
    after = scoring.evaluate(model, shards, spec, 2)
    found = [[q.answer_probability for q in result.queries] for result in (before, after)]
    assert not np.allclose(*found, atol=1e-3)
    fresh = inference.Inference(model)
    assert inference.of(model) is inference.of(model) is not fresh
