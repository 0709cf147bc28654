"""Which of the documentation's command lines the tests run, and why the others are not run."""

from __future__ import annotations

import dataclasses
import itertools

import notebook_cells
from documents import Command


@dataclasses.dataclass(frozen=True)
class Run:
    """How a documented command is run by a test.

    Attributes:
      command: as the documentation has it.
      smaller: flags behind it that make it short.
      says: what is among its output.
      exit_code: how it ends; with 1 after --help, and where it tells what to download; with 3 where a query has no
        answer.
    """

    command: str
    smaller: str = ""
    says: str = ""
    exit_code: int = 0


_FEW = "--epochs=0.5 --batch_size=2 --eval_images=2"
_SYNTHETIC = f"--synthetic_images=8,2,2 {_FEW}"
_PAPER = "--contrastive_queries=0 --nogated_relations --neighbor_units=0 --edge_pixels=0 --nowhole_pixels"
_CLEVR = "python train.py --flagfile=configs/clevr_small.flags"
_PHOTO = '--image=photo.png --query "red rubber cube, left, blue metal sphere" --output=answer.png'
_MODEL = "python eval.py --model_dir=runs/clevr_small_dsg"

# In the order in which they need each other: what stands in one stage can run at the same time.
STAGES = (
    (
        Run("python train.py --flagfile=configs/synthetic.flags", _SYNTHETIC),
        Run(
            "python -m dsg_tf.data.prepare --format=referring_relationships --split=train --output_dir=data/mine "
            "--annotations=annotations_train.json --image_metadata=train_image_metadata.json "
            "--objects=objects.json --predicates=predicates.json --images=images/"
        ),
        Run(
            "python -m dsg_tf.data.prepare --format=clevr_scenes --split=val --output_dir=data/clevr_small "
            "--annotations=data/clevr_small/raw/CLEVR_val_scenes.json --images=data/clevr_small/raw/images"
        ),
        Run(
            "python -m dsg_tf.data.prepare --format=synthetic --split=train --num_images=1000 "
            "--output_dir=data/rendered",
            "--num_images=4",
        ),
        Run("python train.py --help", says="--batch_size", exit_code=1),
        Run("python train.py --flagfile=configs/vg.flags", says="download the Visual Genome images", exit_code=1),
        Run("python train.py --flagfile=configs/vrd.flags", says="download the VRD images", exit_code=1),
        Run("python train.py --flagfile=configs/clevr.flags", says="download CLEVR v1.0", exit_code=1),
        Run(
            "python train.py --flagfile=configs/vg.flags --dataset=gqa --data_dir=data/gqa --model_dir=runs/gqa",
            says="download the scene graphs",
            exit_code=1,
        ),
    ),
    (
        Run(_CLEVR, _FEW),
        Run(
            f"python train.py --flagfile=configs/synthetic.flags --model_dir=runs/synthetic_plain {_PAPER}", _SYNTHETIC
        ),
        Run(
            "python train.py --flagfile=configs/synthetic.flags --model=no_dsg_br --epochs=3.6 "
            f"--model_dir=runs/synthetic_no_dsg {_PAPER}",
            _SYNTHETIC,
        ),
        Run(
            "python train.py --flagfile=configs/vrd_small.flags --dataset= --data_dir=data/mine --model_dir=runs/mine",
            f"{_FEW} --image_height=64 --image_width=64 --short_side=64 --long_side=64",
        ),
        Run("python -m dsg_tf.inspect data/mine", says="train: 4 of 4"),
        Run("python -m dsg_tf.inspect data/mine --flagfile=configs/vrd.flags --output=inspect_vrd.html"),
        Run("python eval.py --model_dir=runs/synthetic_dsg --data_dir=data/clevr_small --split=val"),
    ),
    (
        Run(f"{_CLEVR} --init_checkpoint=runs/synthetic_plain --model_dir=runs/clevr_small_plain {_PAPER}", _FEW),
        Run("python -m export.export_saved_model --model_dir=runs/clevr_small_dsg --output_dir=exported/clevr"),
        Run(
            "python -m export.export_saved_model --model_dir=runs/clevr_small_dsg --output_dir=exported/clevr_tflite "
            "--format=tflite"
        ),
        Run(
            f"{_CLEVR} --model=no_dsg_br --init_checkpoint=runs/synthetic_no_dsg "
            f"--model_dir=runs/clevr_small_no_dsg {_PAPER}",
            _FEW,
        ),
        Run(f"{_CLEVR} --init_checkpoint=runs/synthetic_dsg", f"{_FEW} --model_dir=runs/from_synthetic"),
        Run(
            f"{_CLEVR} --init_checkpoint=runs/synthetic_dsg --epochs=2 --ema_decay=0.995 "
            "--model_dir=runs/clevr_small_short",
            _FEW,
        ),
        Run(f"{_MODEL} --split=val"),
        Run(f"{_MODEL} {_PHOTO}"),
        Run(
            f'{_MODEL} --image=photo.png --query "the red cube left of the metal ball"',
            says="red cube: red rubber cube, red metal cube; left of: left; metal ball: ",
        ),
        Run(
            "python -m dsg_tf.compare --flagfile=configs/clevr_small.flags --models=dsg,no_dsg,vrd --seeds=0,1,2 "
            "--compare_dir=runs/compare",
            f"{_FEW} --models=vrd --seeds=0",
        ),
    ),
    (
        Run(
            f"{_CLEVR} --init_checkpoint=runs/clevr_small_dsg --init_modules=matching --pair_units=64 --epochs=1.5 "
            "--learning_rate=6e-4 --ema_decay=0.995 --model_dir=runs/clevr_small_pairs",
            _FEW,
        ),
        Run(
            "python -m dsg_tf.pack --model_dir=runs/clevr_small_dsg --output_dir=models/mine --splits=val "
            '--trained_on="4,233 CLEVR renders" --license="CC BY 4.0, as its data" '
            '--command="python train.py --flagfile=configs/clevr_small.flags" --time="an hour on two CPU cores" '
            '--limit="Knows the colors, shapes and materials of CLEVR only."'
        ),
        Run(f"{_MODEL} --split=val --calibrate"),
        Run(f"{_MODEL} --split=val --analyses=errors,scene_graphs,attention,oracles,cost"),
        Run(
            "python -m dsg_tf.compare --flagfile=configs/clevr_small.flags --compare_dir=runs/compare "
            "--models=dsg,no_dsg,no_dsg_br,dsg_no_sgl,dsg_no_br,two_step,dsg-relation,ssas,ss,co,vrd "
            "--init_checkpoint=runs/synthetic_dsg --init_modules=backbone,decoder,rpn_head --epochs=2 "
            "--learning_rate=1.5e-3 --ema_decay=0.995 --attention_learning_rate=3e-3 --eval_steps=0",
            f"{_FEW} --models=co --compare_dir=runs/compare_clevr",
        ),
        Run(
            "python -m dsg_tf.compare --flagfile=configs/synthetic.flags --models=dsg,no_dsg "
            "--synthetic_images=400,64,64 --data_dir=data/board --epochs=4 --eval_steps=100 --log_steps=5 "
            "--profile_steps=50,52 --compare_dir=runs/board",
            f"{_SYNTHETIC} --profile_steps=1,2 --models=no_dsg",
        ),
        Run(
            "python -m dsg_tf.predict --saved_model=exported/clevr --data_dir=data/clevr_small --split=val "
            "--output_dir=predicted/val"
        ),
        Run(
            "python -m dsg_tf.predict --saved_model=exported/mine --images=photos/ --queries=queries.json "
            "--output_dir=predicted/mine",
            exit_code=3,
        ),
        Run(
            "python -m dsg_tf.predict --model=clevr --images=photos/ --queries=queries.json "
            "--output_dir=predicted/clevr",
            exit_code=3,
        ),
    ),
    (
        Run(
            "python eval.py --model_dir=models/clevr --data_dir=data/clevr_small --split=val --analyses=errors,oracles"
        ),
        Run("python eval.py --model_dir=models/mine --split=val"),
    ),
)
SERVER = Run("python -m export.serve --model_dir=exported/clevr --port=8500 --rest_port=8501", "--port=0 --rest_port=0")
CLIENTS = (
    Run(f"python -m export.client --server=localhost:8500 {_PHOTO}"),
    Run("python -m export.client --server=localhost:8500 --image=photo.png --scene_graph --json"),
)

# What no test runs, by how it begins, and why; that it can be parsed is tested all the same.
NOT_RUN = {
    "pip install": "the tests run in what it makes; .ci/run begins with it",
    "pytest": "these are the tests",
    "dsg-serve --model_dir=clevr": "does not end; tests/export/test_ask.py starts a server of a trained model",
    "dsg-demo --model=clevr": "does not end; tests/slow/test_demo_process.py starts it",
    "python docs/demo_pages.py": "needs a browser; tests/slow/test_demo_page.py looks at the same where one is",
    "dsg-ask --model=clevr photo.png": "is there once it is installed; tests/test_wheel.py runs it so",
    "dsg-ask --model=clevr photo.jpg": "tests/slow/test_first_minutes.py runs it, and compares what it prints",
    "dsg-ask --model=clever photo.jpg": "tests/slow/test_first_minutes.py runs it, and compares what it prints",
    "dsg-ask --model=clevr --words": "tests/export/test_ask.py asks for words",
    **{str(Command.parse(text)): "tests/slow/test_tour.py runs the notebook" for text in notebook_cells.commands()},
    "jupyter execute": "tests/slow/test_tour.py does the same",
    "ruff ": ".ci/run runs it",
    "mkdocs ": ".ci/run runs it",
    "tensorboard --logdir=": "does not end; tests/compare/test_tensorboard_server.py starts it",
    "python docs/tensorboard_pages.py": "needs a browser; tests/slow/test_tensorboard_pages.py runs it where one is",
    "python benchmarks/": "takes long and needs a machine of its own",
    "TF_ENABLE_ONEDNN_OPTS=0 python benchmarks/": "takes long and needs a machine of its own",
    "'TF_CONFIG=": "needs several machines; tests/slow/test_two_workers.py runs two workers on one",
    "python train.py --flagfile=configs/vrd_small.flags": "needs photographs that are not here",
    "python -m dsg_tf.compare --flagfile=configs/vrd_small.flags": "needs photographs that are not here",
    "python -m dsg_tf.compare --flagfile=configs/coco_photos.flags": "needs photographs that are not here",
    "python train.py --flagfile=configs/vg.flags --init_checkpoint=PREFIX": "needs weights that are not here",
    "python train.py --flagfile=configs/coco_photos.flags": "needs photographs that are not here",
    "python train.py --flagfile=configs/vg.flags --model=dsg_no_sgl": "needs Visual Genome",
    **{
        f"python -m dsg_tf.data.prepare --format={name} --split=": "needs a download; tests/data/test_every_format.py "
        "prepares small files of the same form"
        for name in ("referring_relationships", "visual_genome", "vg150", "gqa", "open_images", "psg", "coco")
    },
    "python -m export.export_saved_model --model_dir=runs/clevr_small_dsg "
    "--output_dir=exported/clevr_onnx": "needs the extra [onnx]; tests/export/test_portable.py writes this format",
    "python -m dsg_tf.predict --saved_model=exported/clevr --data_dir=data/clevr_small --split=val "
    "--output_dir=predicted/beam": "needs a Flink cluster; tests/process/test_beam.py runs the DirectRunner",
}


def runs() -> list[Run]:
    """All that the tests run."""
    return [*itertools.chain.from_iterable(STAGES), SERVER, *CLIENTS]
