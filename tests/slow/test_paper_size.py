"""The paper's full-size network on a handful of images in Visual Genome's layout, through the real commands."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from paths import ROOT
from PIL import Image

pytestmark = pytest.mark.process


def _write_visual_genome(folder):
    """Four noise images in VG's two folders with one relationship each."""
    rng = np.random.default_rng(0)
    annotations, metadata = {}, {}
    for number in range(4):
        name = f"{number}.jpg"
        part = folder / ("VG_100K" if number % 2 else "VG_100K_2")
        part.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, [375, 500, 3], np.uint8)).save(part / name)
        annotations[name] = [
            {
                "predicate": 1,
                "subject": {"category": 0, "bbox": [40, 240, 30, 260]},
                "object": {"category": 99, "bbox": [100, 350, 200, 480]},
            }
        ]
        metadata[name] = {"width": 500, "height": 375}
    content = {
        "annotations_train.json": annotations,
        "train_image_metadata.json": metadata,
        "objects.json": [f"entity {k}" for k in range(100)],
        "predicates.json": [f"relation {k}" for k in range(70)],
    }
    for name, value in content.items():
        (folder / name).write_text(json.dumps(value))


def _run(*command):
    result = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def test_vg_flags_train_resnet_101_on_a_handful_of_images(tmp_path):
    raw, data, model = tmp_path / "raw", tmp_path / "data", tmp_path / "model"
    raw.mkdir()
    _write_visual_genome(raw)
    _run(
        "-m",
        "dsg_tf.data.prepare",
        "--format=referring_relationships",
        "--split=train",
        f"--annotations={raw}/annotations_train.json",
        f"--image_metadata={raw}/train_image_metadata.json",
        f"--objects={raw}/objects.json",
        f"--predicates={raw}/predicates.json",
        f"--images={raw}",
        f"--output_dir={data}",
        "--processes=1",
    )
    printed = _run(
        "train.py",
        "--flagfile=configs/vg.flags",
        f"--data_dir={data}",
        f"--model_dir={model}",
        "--epochs=0.5",
        "--log_steps=1",
    )
    assert "step 2/2" in printed
    assert all(np.isfinite(float(value)) for value in re.findall(r"total ([\d.]+|nan|inf)", printed))
    assert int(re.search(r"detector ([\d,]+)", printed)[1].replace(",", "")) > 40e6
    assert (model / "checkpoints" / "checkpoint").exists()
