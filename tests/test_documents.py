"""The documentation against the code: commands, examples, links, names of files and tests, generated tables."""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.util
import os
import pathlib
import re

import documented_commands
import documents
import pytest
from absl import app, flags
from documents import PROGRAMS, Command
from paths import ROOT

from dsg_tf import config as config_lib
from dsg_tf.data.prepare.formats import FORMATS
from dsg_tf.evaluation.analysis import names

PAGES = documents.pages()
COMMANDS = documents.all_commands()
README_LINES, COLUMNS = 150, 120
# Where the flags of each of our commands are defined.
MODULES = {
    "train.py": "dsg_tf.training.command",
    "eval.py": "dsg_tf.evaluation.command",
    "dsg_tf.data.prepare": "dsg_tf.data.prepare.command",
    "dsg_tf.inspect": "dsg_tf.inspect.command",
    "dsg_tf.compare": "dsg_tf.compare.command",
    "dsg_tf.predict": "dsg_tf.predict.command",
    "dsg_tf.pack": "dsg_tf.pack.command",
    "export.export_saved_model": "export.export_saved_model",
    "export.serve": "export.serve",
    "export.client": "export.client",
    "export.demo": "export.demo.command",
}


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(os.path.join(ROOT, "setup.cfg"), encoding="utf-8")
    return parser


def console_scripts() -> dict[str, str]:
    """The module behind each installed command."""
    lines = setup_cfg().get("options.entry_points", "console_scripts", fallback="").split("\n")
    pairs = [re.fullmatch(r"([\w-]+)\s*=\s*([\w.]+):\w+", line.strip()) for line in lines if line.strip()]
    return {pair[1]: pair[2] for pair in pairs}


def module_of(program: str) -> str | None:
    """The module with the flags of a command of ours; None for other programs."""
    return MODULES.get(program) or console_scripts().get(program)


def define_flags_of(module_name: str):
    module = importlib.import_module(module_name)
    return getattr(module, "define_flags", config_lib.define_flags)


def parsed(define, arguments, take_arguments=None) -> flags.FlagValues:
    values = flags.FlagValues()
    define(values)
    flags.DEFINE_boolean("debug", False, "", flag_values=values)
    _, *rest = values(["program", *arguments])
    if take_arguments:
        take_arguments(rest, values)
        return values
    assert not rest, f"unexpected arguments {rest}"
    return values


def flags_in_source(path: str):
    """What defines the flags of a benchmark, without the rest of the script, which imports TensorFlow."""
    tree = ast.parse(documents.read(path))
    functions = [node for node in tree.body if getattr(node, "name", "") == "define_flags"]
    if functions:
        scope = {"flags": flags}
        exec(compile(ast.Module(functions, []), path, "exec"), scope)
        return scope["define_flags"]
    calls = [node for node in ast.walk(tree) if getattr(getattr(node, "func", None), "attr", "").startswith("DEFINE_")]

    def define(values):
        for call in calls:
            call.keywords.append(ast.keyword("flag_values", ast.Name("values", ast.Load())))
            expression = ast.fix_missing_locations(ast.Expression(call))
            eval(compile(expression, path, "eval"), {"flags": flags, "values": values})

    return define


def check_ours(command: Command) -> None:
    """Raises where a command of ours would be refused for its flags."""
    if "--help" in command.arguments:
        return
    module = module_of(command.program)
    take_arguments = getattr(importlib.import_module(module), "take_arguments", None)
    values = parsed(define_flags_of(module), command.arguments, take_arguments)
    if "loss_weights" in values:
        config = config_lib.from_flags(values)
        for model in values.models if "models" in values else []:
            config_lib.for_system(config, model)
    if "analyses" in values:
        names.check(values.analyses)
    if module == MODULES["dsg_tf.data.prepare"]:
        missing = [name for name in FORMATS[values.format].needed if values[name].value is None]
        assert not missing, f"--format={values.format} needs {missing}"


def check_tool(command: Command) -> None:
    """What is asked of a tool is there."""
    program, arguments = command.program, list(command.arguments)
    text = " ".join(arguments)
    if program == "pip":
        (extras,) = re.findall(r"install -e \.(?:/dsg_tf)?(?:\[([\w,]+)\])?$", text)
        known = setup_cfg().options("options.extras_require")
        assert set(filter(None, extras.split(","))) <= set(known), f"{extras}: known are {known}"
    elif program == "pytest":
        allowed = re.sub(r"-n 2|--dist=loadfile|-m not process", "", text).split()
        assert all(os.path.exists(os.path.join(ROOT, path)) for path in allowed), allowed
        if "-m" in arguments:
            markers = setup_cfg().get("tool:pytest", "markers")
            assert re.search(r"^process:", markers, re.MULTILINE), "setup.cfg has no marker process"
    else:
        known = {
            "mkdocs": ["build --strict", "serve"],
            "jupyter": ["execute --inplace docs/tour.ipynb"],
            "ruff": ["check .", "format ."],
            "tensorboard": ["--logdir=runs", "--logdir=runs/compare"],
        }
        assert text in known[program]


def check(command: Command) -> None:
    program = command.program
    if module_of(program):
        check_ours(command)
    elif program.startswith("benchmarks") and command.words[0] == "python":
        parsed(flags_in_source(file_of(command)), command.arguments)
    elif program.endswith(".py"):
        defined = re.findall(r'add_argument\("(--\w+)"', documents.read(program))
        assert {argument.split("=")[0] for argument in command.arguments} <= set(defined)
    else:
        check_tool(command)


def file_of(command: Command) -> str:
    """The file that `python FILE` or `python -m MODULE` runs, relative to the checkout."""
    if command.words[1] != "-m":
        return command.program
    path = command.program.replace(".", "/")
    return f"{path}/__main__.py" if os.path.isdir(os.path.join(ROOT, path)) else f"{path}.py"


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_is_one_that_its_program_takes(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    check(command)


def test_wrong_commands_are_found(monkeypatch):
    """Of each kind of mistake one."""
    monkeypatch.chdir(ROOT)
    for text in (
        "python train.py --flagfile=configs/synthetic.flags --batch_sise=2",
        "python train.py --flagfile=configs/syntetic.flags",
        "python train.py --flagfile=configs/synthetic.flags --epochs=-1",
        "python train.py --flagfile=configs/synthetic.flags extra",
        "python eval.py --split=val",
        "python -m dsg_tf.inspect data/mine data/yours",
        "python eval.py --model_dir=runs/a --analyses=erors",
        "python -m dsg_tf.compare --models=dgs",
        "python -m dsg_tf.data.prepare --format=synthetic --split=val --output_dir=data/a",
        "python benchmarks/network.py --mode=graph --mode=eager",
        "python docs/tensorboard_pages.py --dir=runs",
        "pip install -e '.[nothing]'",
        "pytest tests/no_such_folder",
        "mkdocs deploy",
    ):
        with pytest.raises((flags.Error, app.UsageError, ValueError, AssertionError, OSError)):
            check(Command.parse(text))


def test_the_reader_of_commands():
    text = "A=1 python train.py --x 'a, b' && pytest tests  # a comment"
    first, second = documents._split(text)
    assert first == Command(("A=1",), ("python", "train.py", "--x", "a, b"))
    assert (first.program, first.arguments) == ("train.py", ("--x", "a, b"))
    assert second == Command((), ("pytest", "tests"))
    assert not list(documents._split("cat file; echo python train.py"))


@pytest.mark.parametrize("page", PAGES)
def test_programs_that_a_page_names_exist(page):
    for command in documents.names_in(page):
        if command.words[0] == "python":
            assert os.path.isfile(os.path.join(ROOT, file_of(command))), str(command)
        else:
            assert command.program in (*PROGRAMS, *console_scripts()), str(command)


def test_the_installed_commands_are_documented():
    page = documents.read("docs/install.md")
    assert console_scripts()
    for name, module in console_scripts().items():
        assert f"`{name}`" in page and module in MODULES.values(), name


def test_every_command_is_run_or_excused():
    """`tests/slow/test_documents.py` runs what `documented_commands` plans."""
    planned = [Command.parse(run.command) for run in documented_commands.runs()]
    assert [str(command) for command in planned if command not in COMMANDS] == []
    excused = tuple(documented_commands.NOT_RUN)
    assert [
        f"{where}: {command}"
        for command, where in COMMANDS.items()
        if command not in planned and not str(command).startswith(excused)
    ] == []
    named = re.findall(r"tests/[\w/]+\.py", " ".join(documented_commands.NOT_RUN.values()))
    assert named and all(map(exists, named)), named
    assert [start for start in excused if not any(str(command).startswith(start) for command in COMMANDS)] == []


@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in documents.read(page)])
def test_examples_in_python_compile(page):
    for language, block in documents.fenced_blocks(page):
        if language == "python":
            compile(block, page, "exec")


def anchors(page: str) -> set[str]:
    """Of the headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", documents.read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_and_pictures_are_there(page):
    text = re.sub(r"^```.*?^```$", "", documents.read(page), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        assert os.path.exists(os.path.join(ROOT, found)), f"{page}: {target}"
        assert not anchor or anchor in anchors(found), f"{page}: {target}"


def exists(name: str) -> bool:
    """Whether a name that looks like one of our files or modules is one; the last part may be something in a module."""
    if "/" in name:
        return os.path.exists(os.path.join(ROOT, name))
    parts = name.split(".")
    paths = [os.path.join(ROOT, *parts[:length]) for length in (len(parts), len(parts) - 1)]
    return any(os.path.exists(path) or os.path.exists(f"{path}.py") for path in paths)


@pytest.mark.parametrize("page", PAGES)
def test_files_and_modules_that_a_page_names_exist(page):
    looks_ours = re.compile(r"(?:dsg_tf|export|tests|docs|configs|benchmarks)(?:/[\w./]*|(?:\.\w+)+)")
    ours = [code for code in documents.inline_code(page) if looks_ours.fullmatch(code)]
    assert [name for name in ours if not exists(name)] == []


def test_tests_that_the_page_on_faults_names_exist():
    page = documents.read("docs/robustness.md")
    found = re.findall(r"((?:`[\w/]*test_\w+\.py`(?:, )?)+)(?:: ((?:`\w+`(?:, )?)+))?", page)
    assert len(found) > 20
    for files, parts in found:
        for file in re.findall(r"`(.*?)`", files):
            tests = re.findall(r"^def (test_\w+)", documents.read(f"tests/{file}"), re.MULTILINE)
            missing = [part for part in re.findall(r"`(.*?)`", parts) if not any(part in test for test in tests)]
            assert not missing, f"{file} has no test {missing}"


def tables():
    """`docs/tables.py`, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("documentation_tables", os.path.join(ROOT, "docs", "tables.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_tables_are_those_of_the_code():
    texts = {page: documents.read(page) for page in PAGES if page.startswith("docs/")}
    module = tables()
    assert [page for page, text in texts.items() if module.filled(text) != text] == [], "run python docs/tables.py"
    assert set(re.findall(r"<!-- (\w+): written by", "".join(texts.values()))) == set(module.TABLES)


def test_the_page_on_performance_has_the_notes_of_its_generator():
    assert documents.read("benchmarks/notes.md") in documents.read("docs/performance.md")


def test_every_package_has_its_page_of_docstrings():
    documented = set(re.findall(r"^::: (\S+)$", "\n".join(map(documents.read, PAGES)), re.MULTILINE))
    assert all(map(exists, documented))
    for package in ("dsg_tf", "export"):
        for path in sorted(pathlib.Path(ROOT, package).rglob("*.py")):
            if path.stem not in ("__init__", "__main__", "command"):
                parts = path.relative_to(ROOT).with_suffix("").parts
                prefixes = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
                assert prefixes & documented, f"no page under docs/api/ has {'.'.join(parts)}"


def test_the_readme_is_short():
    assert len(documents.read("README.md").splitlines()) <= README_LINES


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_lines_are_short(page):
    generated = "docs/performance.md"
    text = re.sub(r"^```.*?^```$", "", documents.read(page), flags=re.MULTILINE | re.DOTALL)
    long = [line for line in text.splitlines() if len(line) > COLUMNS and not line.startswith(("|", "!["))]
    assert page == generated or not long, long
