"""The SavedModel: the same answers as the checkpoint, for any image file, and errors that say what is wrong."""

import io
import json
import os

import commands
import numpy as np
import pytest
import tensorflow as tf
import tiny
import tiny_data
from pictures import FILES, QUERY, encoded
from PIL import Image
from tensorflow_serving.apis import prediction_log_pb2

from dsg_tf import checkpoints
from dsg_tf.predict import checkpoint_model
from export import export_saved_model
from export.saved_model import vocabulary, warmup

SETTINGS = tiny.EXPORTED
ENTITIES, RELATIONS = tiny_data.VOCABULARY.entities, tiny_data.VOCABULARY.relations


@pytest.fixture(scope="module")
def signatures(exported):
    return tf.saved_model.load(exported).signatures


@pytest.fixture(scope="module")
def predictor(model_dir):
    return checkpoint_model.CheckpointModel.load(model_dir)


def refer(signatures, images, queries, name="refer"):
    """``queries``: the same for each image."""
    columns = [
        tf.constant([[query[k] for query in queries]] * len(images), tf.string, [len(images), len(queries)])
        for k in range(3)
    ]
    found = signatures[name](image=tf.constant(images), subject=columns[0], relation=columns[1], object=columns[2])
    return {key: value.numpy() for key, value in found.items()}


@pytest.mark.parametrize("name", FILES)
def test_the_saved_model_answers_as_the_checkpoint(signatures, predictor, name):
    found = refer(signatures, [FILES[name]], [QUERY])
    answer = predictor.answer(FILES[name], [", ".join(QUERY)])[0]
    assert found["valid"].any()
    for label, role in ((1, "subject"), (2, "object")):
        scores = found[f"{role}_scores"][0, 0]
        np.testing.assert_allclose(scores, found["role_probabilities"][0, 0, :, label] * found["valid"][0], atol=1e-6)
        chosen = np.flatnonzero(found[f"{role}_mask"][0, 0])
        order = chosen[np.argsort(-scores[chosen], kind="stable")]
        np.testing.assert_allclose(found["boxes"][0, order], getattr(answer, f"{role}_boxes"), atol=1e-3, rtol=1e-5)
        np.testing.assert_allclose(scores[order], getattr(answer, f"{role}_scores"), atol=1e-5)
        for kind, tolerance in (("score", 1e-5), ("box", 1e-3)):
            np.testing.assert_allclose(
                found[f"{role}_{kind}"][0, 0], getattr(answer, f"{role}_{kind}"), atol=tolerance, rtol=1e-5
            )
        assert found[f"{role}_score"][0, 0] == scores.max()
        np.testing.assert_array_equal(found[f"{role}_box"][0, 0], found["boxes"][0, scores.argmax()])


@pytest.mark.parametrize(
    "queries",
    [[], [QUERY], [(ENTITIES[k % 5], RELATIONS[k % 4], ENTITIES[k // 5 % 5]) for k in range(100)]],
    ids=["0 queries", "1 query", "100 queries"],
)
def test_batches_of_images_and_of_queries(signatures, queries):
    images = [FILES["jpeg"], FILES["large"], FILES["rgba"]]
    together = refer(signatures, images, queries)
    assert together["role_probabilities"].shape == (3, len(queries), SETTINGS.num_boxes, 4)
    for number, image in enumerate(images):
        alone = refer(signatures, [image], queries)
        for name, value in alone.items():
            np.testing.assert_allclose(
                value[0], together[name][number], atol=1e-3 if "box" in name else 1e-5, err_msg=name
            )
    for number in (0, 57):
        if number < len(queries):
            single = refer(signatures, images, [queries[number]])
            np.testing.assert_allclose(
                single["role_probabilities"][:, 0], together["role_probabilities"][:, number], atol=1e-5
            )


def test_encode_and_answer_are_refer(signatures):
    images, queries = [FILES["png"], FILES["large"]], [QUERY, ("blue disc", "above", "red disc")]
    expected = refer(signatures, images, queries)
    state = signatures["encode"](image=tf.constant(images))
    columns = {
        role: tf.constant([[query[k] for query in queries]] * 2)
        for k, role in enumerate(("subject", "relation", "object"))
    }
    found = signatures["answer"](**state, **columns)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)


def test_empty_strings_pad_and_case_and_blanks_do_not_matter(signatures):
    found = refer(signatures, [FILES["png"]], [QUERY, ("", "", ""), ("  Red   SQUARE", "LEFT ", "blue disc")])
    assert (
        not found["subject_mask"][0, 1].any()
        and not found["object_scores"][0, 1].any()
        and not found["object_box"][0, 1].any()
        and found["subject_score"][0, 1] == 0
        and found["answer_probability"][0, 1] == 0
    )
    np.testing.assert_allclose(found["role_probabilities"][0, 0], found["role_probabilities"][0, 2], atol=1e-6)


def test_ids_and_a_preprocessed_image_are_the_same_question(signatures, model_dir):
    model, *_ = checkpoints.load_model(model_dir)
    batch = tiny.batch(SETTINGS, 2)
    expected = model(batch, training=False)
    found = signatures["refer_ids"](
        image=tf.cast(batch["image"], tf.float32), image_size=batch["image_size"], queries=batch["queries"]
    )
    np.testing.assert_allclose(found["role_probabilities"], expected["role_probabilities"], atol=1e-5)
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-3)
    np.testing.assert_allclose(found["answer_probability"], expected["answer_probability"], atol=1e-5)
    assert (
        found["answer_probability"].shape == (2, SETTINGS.max_queries)
        and found["answer_probability"].dtype == "float32"
    )


def test_the_scene_graph_has_the_most_probable_relations(signatures):
    found = {
        name: value.numpy()[0] for name, value in signatures["scene_graph"](image=tf.constant([FILES["large"]])).items()
    }
    state = {
        name: value.numpy()[0] for name, value in signatures["encode"](image=tf.constant([FILES["large"]])).items()
    }
    labels = np.exp(state["entity_logits"]) / np.exp(state["entity_logits"]).sum(-1, keepdims=True)
    edges = 1 / (1 + np.exp(-state["relation_logits"]))
    valid = np.flatnonzero(state["valid"])
    rows = sorted(
        ((labels[i].max() * labels[j].max() * edges[i, j].max(), i, j) for i in valid for j in valid if i != j),
        reverse=True,
    )[:5]
    np.testing.assert_allclose(found["relation_score"][: len(rows)], [row[0] for row in rows], rtol=1e-5)
    for k, (_, i, j) in enumerate(rows):
        assert (found["relation_subject"][k], found["relation_object"][k]) == (i, j)
        assert found["relation"][k].decode() == RELATIONS[edges[i, j].argmax()]
    assert [name.decode() for name in found["entity"][valid]] == [ENTITIES[k] for k in labels[valid].argmax(-1)]


@pytest.mark.parametrize(
    "images, queries, message",
    [
        ([FILES["png"]], [QUERY, ("red square", "left", "zebra")], "query 1 of image 0: unknown object: zebra"),
        ([FILES["png"]], [("red square", "besides", "zebra")], "query 0 of image 0: unknown relation: besides"),
        ([FILES["png"]], [("red square", "", "red disc")], "query 0 of image 0 has no relation"),
        ([FILES["png"], b"no image"], [QUERY], "image 1 of the batch is not a JPEG, PNG or WebP file: it has 8 bytes"),
        ([b""], [QUERY], "image 0 of the batch is not a JPEG"),
        ([FILES["png"], FILES["large"][:400]], [QUERY], "image 1 of the batch is"),
        ([FILES["png"], FILES["large"], FILES["large"][:4000]], [QUERY], "image 2 of the batch is damaged"),
        (
            [encoded("PNG", "1", (20000, 20000))],
            [QUERY],
            r"image 0 of the batch has \[20000 20000\] .* more than 40000000",
        ),
    ],
)
def test_what_is_wrong_is_named(signatures, images, queries, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        refer(signatures, images, queries)


def test_shapes_that_do_not_fit_are_named(signatures):
    words = [tf.constant([[word]]) for word in QUERY]
    with pytest.raises(tf.errors.InvalidArgumentError, match="there are 2 images and queries for 1"):
        signatures["refer"](image=tf.constant([FILES["png"]] * 2), subject=words[0], relation=words[1], object=words[2])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"one shape, not \[1 1\], \[1 2\] and \[1 1\]"):
        signatures["refer"](
            image=tf.constant([FILES["png"]]),
            subject=words[0],
            relation=tf.constant([["left", "left"]]),
            object=words[2],
        )


def test_webp_where_tensorflow_reads_it(signatures):
    if not hasattr(tf.io, "decode_webp"):
        pytest.skip("this TensorFlow has no WebP decoder")
    expected = refer(signatures, [FILES["png"]], [QUERY])
    for options in ({"lossless": True}, {"lossless": True, "exif": b"Exif\0\0"}):
        found = refer(signatures, [encoded("WEBP", **options)], [QUERY])
        np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-3)
    assert refer(signatures, [encoded("WEBP", quality=90)], [QUERY])["valid"].any()
    # Transparent pixels keep their colour, as those of a PNG.
    transparent = refer(signatures, [encoded("WEBP", "RGBA", lossless=True)], [QUERY])
    np.testing.assert_allclose(transparent["boxes"], expected["boxes"], atol=1e-3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_animated_webp_is_refused_as_what_it_is(signatures, predictor, mode):
    if not hasattr(tf.io, "decode_webp"):
        pytest.skip("this TensorFlow has no WebP decoder")
    frames = [Image.new(mode, (60, 40), color) for color in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=100)
    with pytest.raises(tf.errors.InvalidArgumentError, match="image 1 of the batch is an animated WebP: send one of"):
        refer(signatures, [FILES["png"], buffer.getvalue()], [QUERY])
    with pytest.raises(ValueError, match="^an animated WebP, not a picture: give one of its frames$"):
        predictor.answer(buffer.getvalue(), [", ".join(QUERY)])


def test_a_version_has_its_table_and_its_warmup_requests(exported, signatures):
    with open(os.path.join(exported, "assets.extra", "signatures.json"), encoding="utf-8") as file:
        table = json.load(file)
    assert (
        set(table["signatures"])
        == set(signatures)
        == {"serving_default", "refer", "encode", "answer", "refer_ids", "words", "scene_graph"}
    )
    assert table["vocabulary"] == {"entities": list(ENTITIES), "relations": list(RELATIONS)}
    assert table["source"]["step"] == 7 and table["source"]["config"]["num_boxes"] == SETTINGS.num_boxes
    for name, function in signatures.items():
        described = table["signatures"][name]
        assert set(described["outputs"]) == set(function.structured_outputs)
        assert set(described["inputs"]) == set(function.structured_input_signature[1])
    records = tf.data.TFRecordDataset(os.path.join(exported, "assets.extra", warmup.FILE))
    requests = [prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request for record in records]
    # All that have inputs; the values are few bytes, whatever the size of the network's input.
    assert [request.model_spec.signature_name for request in requests] == [
        "serving_default",
        "refer",
        "encode",
        "answer",
        "refer_ids",
        "scene_graph",
    ]
    assert max(request.ByteSize() for request in requests) < 2000
    for request in requests:
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        assert signatures[request.model_spec.signature_name](**inputs)


def test_a_version_tells_its_words(exported, model_dir, signatures, tmp_path):
    assert vocabulary.read(exported) == tiny_data.VOCABULARY == checkpoints.load_vocabulary(model_dir)
    assert vocabulary.read(str(tmp_path)) is None
    found = signatures["words"]()
    assert [name.decode() for name in found["entities"].numpy()] == list(ENTITIES)
    assert [name.decode() for name in found["relations"].numpy()] == list(RELATIONS)
    (tmp_path / "assets").mkdir()
    for text in ('{"entities": ["a"]}', "[]", "no JSON", '{"entities": [], "relations": ["left"]}'):
        (tmp_path / "assets" / "vocabulary.json").write_text(text)
        with pytest.raises(ValueError, match=r"vocabulary.json is no vocabulary: \w+"):
            vocabulary.read(str(tmp_path))


def test_the_words_come_from_a_session_without_feeds(exported):
    """As TF Serving runs a signature, together or output by output."""
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], exported)
        signature = graph.signature_def["words"]
        assert not signature.inputs and signature.method_name == tf.saved_model.PREDICT_METHOD_NAME
        outputs = {name: info.name for name, info in signature.outputs.items()}
        together = session.run(outputs, {})
        assert [name.decode() for name in together["entities"]] == list(ENTITIES)
        assert [name.decode() for name in session.run(outputs["relations"], {})] == list(RELATIONS)


def preprocessed(images=1, sizes=((40.0, 50.0),), value=1.0):
    image = np.full([images, SETTINGS.image_height, SETTINGS.image_width, 3], 100, np.float32)
    image[-1, 3, 4, 1] = value
    return {
        "image": tf.constant(image),
        "image_size": tf.constant(sizes, tf.float32, [len(sizes), 2]),
        "queries": tf.zeros([images, 1, 3], tf.int32),
    }


@pytest.mark.parametrize(
    "inputs, message",
    [
        (preprocessed(2, [(40, 50), (40, np.nan)]), r"image_size of image 1 of the batch is \[40 nan\], not within"),
        (preprocessed(2, [(40, 0), (40, 50)]), r"image_size of image 0 of the batch is \[40 0\], not within"),
        (preprocessed(1, [(-1, 50)]), r"image_size of image 0 of the batch is \[-1 50\]"),
        (preprocessed(1, [(np.inf, 50)]), r"image_size of image 0 of the batch is \[inf 50\]"),
        (
            preprocessed(1, [(SETTINGS.image_height + 1, 50)]),
            rf"to \[{SETTINGS.image_height} {SETTINGS.image_width}\] \(height, width\)",
        ),
        (preprocessed(2, [(40, 50)] * 2, np.nan), "image 1 of the batch has values that are not finite"),
        (preprocessed(1, [(40, 50)], -np.inf), "image 0 of the batch has values that are not finite"),
        (preprocessed(2, [(40, 50)]), "there are 2 images and image_size for 1"),
        ({**preprocessed(), "queries": tf.zeros([2, 1, 3], tf.int32)}, "there are 1 images and queries for 2"),
    ],
)
def test_preprocessed_images_that_are_none_are_named(signatures, inputs, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures["refer_ids"](**inputs)
    assert signatures["refer_ids"](**preprocessed())


@pytest.mark.parametrize("name", ["refer", "encode", "scene_graph", "answer", "refer_ids"])
def test_an_empty_batch_is_refused(signatures, name):
    specs = signatures[name].structured_input_signature[1]
    inputs = {key: tf.zeros([0, *(size or 1 for size in spec.shape[1:])], spec.dtype) for key, spec in specs.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match="the batch is empty: send one image at least"):
        signatures[name](**inputs)


def test_the_error_of_a_long_word_is_short(signatures):
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        refer(signatures, [FILES["png"]], [("red square", "left", "zé" * 500_000)])
    assert len(caught.value.message) < 1000
    assert f"unknown object: {'zé' * 30}...]" in caught.value.message


@pytest.mark.parametrize(
    "names, version",
    [(["1", "3"], 4), (["00000005"], 6), (["²", "9x", "-7", "٣"], 1), (["2", ".writing-7", "assets"], 3), ([], 1)],
)
def test_the_next_version_is_one_more_than_tf_serving_sees(tmp_path, names, version):
    for name in names:
        (tmp_path / name).mkdir()
    assert export_saved_model._next_version(str(tmp_path)) == version


def test_a_version_is_never_written_again(model_dir, exported):
    output_dir = os.path.dirname(exported)
    assert os.path.basename(exported) == "1" and os.listdir(output_dir) == ["1"]
    again = export_saved_model.export(model_dir, output_dir, precision="mixed_bfloat16")
    assert os.path.basename(again) == "2" and sorted(os.listdir(output_dir)) == ["1", "2"]
    rough = refer(tf.saved_model.load(again).signatures, [FILES["png"]], [QUERY])
    assert rough["boxes"].dtype == np.float32 and rough["valid"].any()
    with pytest.raises(FileExistsError, match="--version"):
        export_saved_model.export(model_dir, output_dir, version=1)
    assert sorted(os.listdir(output_dir)) == ["1", "2"]


@pytest.mark.process
def test_the_command_and_a_system_that_is_not_served(tmp_path):
    attention = tiny.config(
        model="co",
        image_height=224,
        image_width=224,
        short_side=224,
        long_side=224,
        keep_aspect=False,
        decoder="identity",
        rpn_level=4,
        roi_level=4,
    )
    tiny_data.write_model_dir(str(tmp_path / "co"), attention)
    done = commands.run("export.export_saved_model", model_dir=tmp_path / "co", output_dir=tmp_path / "out")
    sentence = f"--model_dir={tmp_path}/co holds --model=co, which answers with maps; the DSG family is served"
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == f"export_saved_model: {sentence}"
    assert not (tmp_path / "out").exists()
