"""What batch inference refuses before it begins: flags, queries, models, data."""

import pytest
import tensorflow as tf
from absl import app
from predictions import asked, run

from dsg_tf.data.problems import PreparationError
from dsg_tf.predict.requests import ImageFolder, PreparedSplit


def test_either_an_export_or_any_model_is_named(saved_model, data_dir, tmp_path):
    given = {"data_dir": data_dir, "split": "test", "output_dir": tmp_path / "out"}
    with pytest.raises(app.UsageError, match="either --saved_model or --model is needed; given: neither"):
        run(**given)
    with pytest.raises(app.UsageError, match=f"given: --saved_model={saved_model} --model=clevr"):
        run(**given, saved_model=saved_model, model="clevr")
    with pytest.raises(FileNotFoundError, match="'celvr' is no model"):
        run(**given, model="celvr")


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"a.png": "red square, left, red disc"}', "line 1: the queries of a.png must be a list of texts"),
        ('{"a.png": []}\n{"b.png": [], "a.png": []}', "line 2: a.png for the second time"),
        ('{"a.png": []}\n{"b.png": [', "line 2 is not valid JSON"),
        ('["a.png"]', "line 1 must be an object {image: queries}, not a list"),
        ("\n", "names no image"),
    ],
)
def test_queries_of_another_form_are_refused(content, message, photos, tmp_path):
    (tmp_path / "queries.jsonl").write_text(content)
    with pytest.raises(PreparationError, match=f"queries.jsonl.*{message}"):
        ImageFolder.load(str(photos), str(tmp_path / "queries.jsonl"))


def test_what_does_not_fit_is_told_at_once(saved_model, data_dir, photos, tmp_path):
    given = {"saved_model": saved_model, "output_dir": tmp_path / "out"}
    with pytest.raises(app.UsageError, match="--images and --queries are needed; given: --data_dir, --queries"):
        run(**given, data_dir=data_dir, queries="q.json")
    with pytest.raises(app.UsageError, match="given: none of them"):
        run(**given)
    with pytest.raises(app.UsageError, match="--beam_options=--x=1 has no effect without --runner"):
        run(**given, data_dir=data_dir, split="test", beam_options="--x=1")
    with pytest.raises(ValueError, match="has no split 'val', only test"):
        run(**given, data_dir=data_dir, split="val")
    with pytest.raises(ValueError, match="--num_shards=8 are too many for 7 images"):
        run(**given, data_dir=data_dir, split="test", num_shards=8)
    with pytest.raises(FileNotFoundError, match=f"--saved_model={photos} has no saved_model.pb, nor versions"):
        run(**{**given, "saved_model": photos}, data_dir=data_dir, split="test")
    queries = asked(tmp_path / "queries.json", {"a.png": []})
    for name in ("saved_model", "images", "queries"):
        with pytest.raises(FileNotFoundError, match=f"^--{name}={tmp_path}/no is not there$"):
            run(**{**given, "images": photos, "queries": queries, name: tmp_path / "no"})
    with pytest.raises(FileNotFoundError, match=f"^--data_dir={tmp_path}/no is not there$"):
        run(**given, data_dir=tmp_path / "no", split="test")
    with pytest.raises(PreparationError, match="the image folder is not there"):
        run(**given, images=queries, queries=queries)
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    with pytest.raises(ValueError, match="has no signature answer and encode, only none"):
        run(**{**given, "saved_model": tmp_path / "other"}, data_dir=data_dir, split="test")
    assert not list((tmp_path / "out").glob("*.jsonl"))


def test_a_damaged_record_file_is_named(data_dir, tmp_path):
    requests = PreparedSplit.load(data_dir, "test")
    path, count = requests.shards[0]
    damaged = tmp_path / "damaged.tfrecord"
    with open(path, "rb") as file:
        damaged.write_bytes(file.read()[:-40])
    cut = PreparedSplit({}, requests.vocabulary, ((str(damaged), count),), 0, count)
    with pytest.raises(ValueError, match=f"{damaged} is damaged: "):
        list(cut)
