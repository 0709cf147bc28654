"""Model directories by name: one's own, those that come with the program, and where results about them go."""

import pytest

from dsg_tf.config import model_dirs


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program with the models "inside" and "beside", asked in an empty directory."""
    folders = [tmp_path / "package" / "models", tmp_path / "models_of_checkout"]
    for folder, name in zip(folders, ("inside", "beside")):
        (folder / name).mkdir(parents=True)
        (folder / name / "weights.index").touch()
    monkeypatch.setattr(model_dirs, "_FOLDERS", tuple(map(str, folders)))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.mark.parametrize(
    "name, place", [("models/inside", "package/models/inside"), ("models/beside/", "models_of_checkout/beside")]
)
def test_a_model_of_the_program_is_found_until_there_is_one_of_the_same_name(name, place, program):
    assert model_dirs.find(name) == str(program / place)
    assert model_dirs.results_dir(name) == f"runs/{name.rstrip('/')}"
    (program / "work" / name).mkdir(parents=True)
    assert model_dirs.find(name) == model_dirs.results_dir(name) == name


@pytest.mark.parametrize("name, place", [("inside", "package/models/inside"), ("beside/", "models_of_checkout/beside")])
def test_its_name_alone_is_enough(name, place, program):
    assert model_dirs.find(name) == str(program / place)
    assert model_dirs.results_dir(name) == f"runs/models/{name.rstrip('/')}"
    (program / "work" / "models" / name).mkdir(parents=True)  # One's own of this name.
    assert model_dirs.find(name) == f"models/{name.rstrip('/')}"
    (program / "work" / name).mkdir()
    assert model_dirs.find(name) == name


def test_a_checkpoint_with_the_name_of_a_model_is_the_checkpoint(program):
    (program / "work" / "inside.index").touch()
    assert model_dirs.find("inside") == "inside"


def test_the_whole_models_at_hand_are_listed(program):
    assert model_dirs.at_hand() == []  # Weights alone.
    (program / "models_of_checkout" / "beside" / "config.json").touch()
    assert model_dirs.at_hand() == ["beside"]


@pytest.mark.parametrize(
    "name", ["models/other", "runs/inside", "other", "models", "a/models/inside", "/models/inside", ".", ".."]
)
def test_other_names_are_paths(name, program):
    assert model_dirs.find(name) == model_dirs.results_dir(name) == name


def test_results_about_a_packed_model_anywhere_go_to_the_working_directory(program):
    packed = program / "elsewhere" / "mine"
    packed.mkdir(parents=True)
    (packed / "weights.data-00000-of-00001").touch()  # Also of one that is broken.
    assert model_dirs.results_dir(str(packed)) == "runs/models/mine"
