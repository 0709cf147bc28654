"""Settings: flags, files, and what is rejected."""

import dataclasses
import json
import pathlib

import pytest
from absl import flags
from absl.testing import flagsaver

from dsg_tf import config as config_lib
from dsg_tf.config import Config, LossWeights

CONFIGS = sorted((pathlib.Path(__file__).parent.parent / "configs").glob("*.flags"))


@pytest.fixture
def parse():
    """Turns a command line into a configuration, and forgets it after the test."""
    if "roi_op" not in flags.FLAGS:
        config_lib.define_flags()

    def run(*arguments):
        flags.FLAGS(["train.py", *arguments])
        return config_lib.from_flags()

    with flagsaver.flagsaver():
        yield run


def test_without_flags_the_defaults_hold(parse):
    assert parse() == Config()


def test_flags_become_settings_of_the_right_types(parse, tmp_path):
    config = parse(
        "--model=no_dsg",
        "--num_boxes=7",
        "--learning_rate=0.5",
        "--anchor_scales=2,4.5",
        "--jit_compile",
        "--norr_balance",
        "--profile_steps=3,5",
        "--init_modules=backbone,decoder",
        "--backbone_depth=50",
        "--synthetic_images=30,2,1",
        "--data_dir=some/where",
    )
    assert config == Config(
        model="no_dsg",
        num_boxes=7,
        learning_rate=0.5,
        anchor_scales=(2.0, 4.5),
        jit_compile=True,
        rr_balance=False,
        profile_steps=(3, 5),
        init_modules=("backbone", "decoder"),
        backbone_depth="50",
        synthetic_images=(30, 2, 1),
        data_dir="some/where",
    )
    assert isinstance(config.profile_steps[0], int) and isinstance(config.anchor_scales[0], float)
    assert config.image_size == (608, 1024)
    config_lib.save(config, str(tmp_path))
    assert config_lib.load(str(tmp_path)) == config
    assert [path.name for path in tmp_path.iterdir()] == [config_lib.CONFIG_FILE]


def test_loss_weights_are_given_by_name_and_the_others_keep_their_defaults(parse, tmp_path):
    config = parse("--loss_weights=rr=0.5, relation = 0.3")
    assert config.loss_weights == dataclasses.replace(LossWeights(), rr=0.5, relation=0.3)
    config_lib.save(config, str(tmp_path))
    assert json.loads((tmp_path / config_lib.CONFIG_FILE).read_text())["loss_weights"]["relation"] == 0.3
    assert config_lib.load(str(tmp_path)) == config
    assert parse(f"--loss_weights={config.loss_weights}") == config


def test_loss_weights_of_version_0_1_are_six_numbers_in_order(parse, tmp_path):
    weights = LossWeights(rpn_score=1.0, rpn_box=2.0, rr=3.0, refine=4.0, entity=5.0, relation=0.5)
    assert parse("--loss_weights=1,2,3,4,5,0.5").loss_weights == weights
    values = {**dataclasses.asdict(Config()), "loss_weights": [1.0, 2.0, 3.0, 4.0, 5.0, 0.5]}
    (tmp_path / config_lib.CONFIG_FILE).write_text(json.dumps(values))
    assert config_lib.load(str(tmp_path)) == Config(loss_weights=weights)


def test_loading_from_an_empty_directory_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds no model"):
        config_lib.load(str(tmp_path))


def test_loading_names_settings_it_does_not_know(tmp_path):
    values = {**dataclasses.asdict(Config()), "old_setting": 1}
    (tmp_path / config_lib.CONFIG_FILE).write_text(json.dumps(values))
    with pytest.raises(ValueError, match="unknown settings old_setting"):
        config_lib.load(str(tmp_path))


def test_loading_an_older_file_takes_defaults_for_younger_settings(tmp_path):
    values = dataclasses.asdict(Config(nms_iou=0.7, model="no_dsg"))
    del values["keep_aspect"]
    (tmp_path / config_lib.CONFIG_FILE).write_text(json.dumps(values))
    assert config_lib.load(str(tmp_path)) == Config(nms_iou=0.7, model="no_dsg")


@pytest.mark.parametrize("model, today", [("no_dsg", "no_dsg_br"), ("dsg", "dsg")])
def test_a_file_of_version_0_2_means_what_it_meant(tmp_path, model, today):
    """Its NO-DSG refined boxes, frozen norms were all of the detector's, and losses were means."""
    values = dataclasses.asdict(Config(model=model, batch_norm="frozen"))
    for name in ("loss_scale", "relation_loss", "train_on_all_proposals", "freeze_stem", "halving_epochs"):
        del values[name]
    del values["loss_weights"]["auxiliary_rr"]
    (tmp_path / config_lib.CONFIG_FILE).write_text(json.dumps(values))
    assert config_lib.load(str(tmp_path)) == Config(
        model=today, batch_norm="frozen_all", loss_scale="mean", relation_loss="sigmoid", train_on_all_proposals=True
    )


@pytest.mark.parametrize("model", config_lib.SYSTEMS)
def test_attention_models_bring_their_published_settings(model):
    settings = config_lib.for_system(Config(learning_rate=0.5, attention_learning_rate=1e-4), model)
    attention = model in config_lib.ATTENTION_MODELS
    assert settings.model == model and settings.keep_aspect != attention
    assert (settings.image_size == (224, 224)) == (settings.optimizer == "rmsprop") == attention
    assert settings.learning_rate == (1e-4 if attention else 0.5)


@pytest.mark.parametrize(
    "arguments, names",
    [
        (["--image_height=600"], ["--image_height=600", "multiple of 16", "level 4"]),
        (["--image_width=1000", "--decoder=fpn"], ["--image_width=1000", "multiple of 32", "level 5"]),
        (["--decoder=fpn", "--rpn_level=6"], ["--rpn_level=6", "--fpn_max_level=5"]),
        (["--decoder=fpn", "--roi_level=5", "--fpn_max_level=4"], ["--roi_level=5", "--fpn_max_level=4"]),
        (["--rpn_negative_iou=0.6", "--rpn_positive_iou=0.5"], ["--rpn_negative_iou=0.6", "--rpn_positive_iou=0.5"]),
        (["--loss_weights=1,2"], ["--loss_weights=1,2", "by name", "6 values of rpn_score, rpn_box, rr"]),
        (["--loss_weights=1,1,1,1,-2,1"], ["--loss_weights=1,1,1,1,-2,1", "entity=-2.0", "at least 0"]),
        (["--loss_weights=1,1,x,1,1,1"], ["--loss_weights=1,1,x,1,1,1", "'x'"]),
        (["--loss_weights=rr=x"], ["--loss_weights=rr=x", "'x'"]),
        (["--loss_weights=rr=nan"], ["--loss_weights=rr=nan", "rr=nan", "at least 0"]),
        (["--loss_weights=rr=1,rpn=2"], ["--loss_weights=rr=1,rpn=2", "'rpn'", "rpn_score, rpn_box, rr"]),
        (["--loss_weights=rr=1,rr=2"], ["--loss_weights=rr=1,rr=2", "twice"]),
        (["--loss_weights=rr=1,2"], ["--loss_weights=rr=1,2", "by name"]),
        (["--synthetic_images=10,5"], ["--synthetic_images=(10, 5)", "3 values"]),
        (["--pixel_mean=1,2,3,4"], ["--pixel_mean=(1.0, 2.0, 3.0, 4.0)", "3 values"]),
        (["--pixel_std=1"], ["--pixel_std=(1.0,)", "3 values"]),
        (["--profile_steps=5"], ["--profile_steps=(5,)", "two steps"]),
        (["--profile_steps=5,3"], ["--profile_steps=(5, 3)", "first before the last"]),
        (["--init_modules=backbone,head"], ["--init_modules=backbone,head", "rpn_head"]),
        (["--ema_decay=1"], ["--ema_decay=1.0", "[0, 1)"]),
        (["--halving_epochs=2,4,4"], ["--halving_epochs=(2.0, 4.0, 4.0)", "grow"]),
        (["--halving_epochs=2", "--schedule=cosine"], ["--halving_epochs=(2.0,)", "--schedule=cosine"]),
        (["--contrastive_queries=1"], ["--contrastive_queries=1.0", "[0, 1)"]),
        (["--jit_compile", "--batch_norm=sync"], ["--jit_compile", "--batch_norm=sync"]),
        (["--jit_compile", "--model=ssas"], ["--jit_compile", "--model=ssas"]),
        (["--num_boxes=0"], ["--num_boxes=0", "at least 1"]),
        (["--nms_iou=0.4"], ["--nms_iou=0.4", "at least 0.5"]),
        (["--batch_size=-4"], ["--batch_size=-4", "at least 1"]),
        (["--learning_rate=nan"], ["--learning_rate=nan", "at least 0"]),
    ],
)
def test_an_impossible_setting_is_named_with_both_values(parse, arguments, names):
    with pytest.raises(ValueError) as raised:
        parse(*arguments)
    assert [name for name in names if name not in str(raised.value)] == []


def test_an_unknown_choice_is_named_with_the_known_ones(parse):
    with pytest.raises(flags.IllegalFlagValueError, match="--roi_op=pool: .* one of <matmul.crop_and_resize.integral>"):
        parse("--roi_op=pool")
    with pytest.raises(ValueError, match="--roi_op='pool' is not one of 'matmul', 'crop_and_resize', 'integral'"):
        Config(roi_op="pool")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_file_is_valid_and_opens_with_a_comment(parse, path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ") and len(lines[0]) > 20
    config = parse(f"--flagfile={path}")
    assert config.model_dir and config.data_dir and config.dataset
    given = [line.split("=")[0].lstrip("-") for line in lines if line.startswith("--")]
    assert len(given) == len(set(given)), "a flag is given twice"
    assert max(config.image_size) >= config.long_side and min(config.image_size) >= config.short_side


@pytest.mark.parametrize("name", ["vg", "vrd", "clevr"])
def test_the_papers_configurations_have_the_released_protocol(parse, name):
    config = parse(f"--flagfile={CONFIGS[0].parent / name}.flags")
    assert (config.loss_scale, config.relation_loss, config.rr_balance) == ("released", "softmax", True)
    assert dataclasses.asdict(config.loss_weights) | {
        "rr": 0.1,
        "entity": 0.01,
        "relation": 0.01,
    } == dataclasses.asdict(LossWeights())
    assert config.max_queries == 0 and not config.train_on_all_proposals and config.freeze_stem
    assert config.epochs == (50 if name == "vrd" else 20) and config.num_halvings == 4
    assert config.halving_epochs == (() if name == "vrd" else (2, 4, 6, 8))  # Of VRD at 10, 20, 30 and 40.


@pytest.mark.parametrize("name", ["synthetic", "clevr_small", "vrd_small"])
def test_the_small_configurations_have_means(parse, name):
    config = parse(f"--flagfile={CONFIGS[0].parent / name}.flags")
    assert config.loss_scale == "mean" and config.train_on_all_proposals
    assert config.relation_loss == ("softmax" if name == "vrd_small" else "sigmoid")


def test_there_are_configuration_files():
    assert {"synthetic.flags", "vg.flags"} <= {path.name for path in CONFIGS}


def test_every_setting_has_a_help_text():
    assert all(len(field.metadata["help"]) > 10 for field in dataclasses.fields(Config))
