"""The pages render without a warning, their links lead somewhere, their code runs, all that is public is named."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from sklearn_gln import GLNClassifier, GLNRegressor

ROOT = Path(__file__).parent.parent
README = ROOT / "README.rst"
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in (
        README,
        *sorted((ROOT / "sklearn_gln").rglob("*.rst")),
        ROOT / "tests" / "README.rst",
        ROOT / "benchmarks" / "README.rst",
        ROOT / "benchmarks" / "backprop" / "README.rst",
    )
    if path.exists()  # of a source distribution's benchmarks are the scripts alone
}


def blocks_of(path):
    found = re.findall(
        r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", path.read_text(encoding="utf-8"), re.MULTILINE
    )
    return list(map(dedent, found))


BLOCKS = {name: blocks_of(path) for name, path in PAGES.items() if blocks_of(path)}


@pytest.mark.thorough
@pytest.mark.parametrize("page", [name for name in BLOCKS if "backprop" not in name])
def test_code_runs_and_prints_what_it_says(page, tmp_path, monkeypatch, capsys):
    if page == "sklearn_gln/kernels/README.rst":
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)  # where it writes files
    namespace = {}
    for code in BLOCKS[page]:  # in order, in one session: a reader goes on from block to block
        exec(compile(code, page, "exec"), namespace)
        said = re.findall(r"^print\(.*\)  # (\S.*\d.*)$", code, re.MULTILINE)
        printed = capsys.readouterr().out.splitlines()
        assert set(said) <= set(printed), printed
    if "X_test" in namespace:
        assert namespace["model"].score(namespace["X_test"], namespace["y_test"]) > 0.9
    if "search" in namespace:
        assert namespace["search"].best_score_ > 0.9
    if "stream" in namespace:
        assert namespace["stream"].progressive_accuracy_ > 0.9


def test_the_front_page_says_what_it_prints():
    assert sum(len(re.findall(r"^print\(.*\)  # .*\d", code, re.MULTILINE)) for code in BLOCKS["README.rst"]) >= 3


@pytest.mark.thorough
@pytest.mark.parametrize("backend", ["tensorflow"])  # on all: tests/backprop
@pytest.mark.parametrize("code", BLOCKS["sklearn_gln/backprop/README.rst"])
def test_code_of_keras_runs(code, backend):
    pytest.importorskip("keras")
    variables = {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert 0.9 < float(ran.stdout.split()[-1]) <= 1  # the accuracy that it prints


@pytest.mark.parametrize("estimator", [GLNClassifier, GLNRegressor])
def test_every_parameter_is_explained(estimator):
    parameters = estimator.__doc__.partition("    Parameters\n")[2].partition("    Attributes\n")[0]
    explained = re.findall(r"^    (\w+) : ", parameters, re.MULTILINE)
    assert sorted(explained) == sorted(estimator().get_params())


@pytest.mark.parametrize("module", ["", ".bandit", ".inspection", ".io", ".onnx", ".datasets", ".backprop"])
def test_the_front_page_lists_all_public_names(module):
    listed = README.read_text(encoding="utf-8").partition("Public names\n")[2].partition("Figures\n")[0]
    tree = ast.parse((ROOT / "sklearn_gln" / path_of(module)).read_text(encoding="utf-8"))
    names = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__"
    )
    assert all(f"``{name}``" in listed for name in names)


def path_of(module):
    path = Path(module.lstrip(".")) if module else Path()
    is_file = module and not (ROOT / "sklearn_gln" / path).is_dir()
    return path.with_suffix(".py") if is_file else path / "__init__.py"


@pytest.mark.parametrize("readme", PAGES.values(), ids=PAGES)
def test_renders_without_warnings(readme):
    core = pytest.importorskip("docutils.core", reason="docutils renders the READMEs")
    settings = {"report_level": 2, "halt_level": 2, "syntax_highlight": "none", "input_encoding": "utf-8"}
    html = core.publish_string(readme.read_text(encoding="utf-8"), writer="html5", settings_overrides=settings).decode()
    assert "<h1" in html


@pytest.mark.parametrize("readme", PAGES.values(), ids=PAGES)
def test_links_to_files_exist(readme):
    text = readme.read_text(encoding="utf-8")
    found = re.findall(r"(?:image|figure):: (\S+)|`[^`<]+\s<([^>:]+)>`_", text)
    targets = {next(filter(None, target)) for target in found}
    assert targets
    has_figures = (ROOT / "benchmarks" / "results").exists()
    for path, _, section in (target.partition("#") for target in targets):
        if "benchmarks" in path and not has_figures:
            continue
        assert (readme.parent / path).exists(), path
        if section:  # as GitHub names them
            titles = re.findall(r"^(.+)\n[=-]{3,}$", (readme.parent / path).read_text(encoding="utf-8"), re.MULTILINE)
            assert section in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("readme", PAGES.values(), ids=PAGES)
def test_benchmarks_exist(readme):
    for name in re.findall(r"\b(\w+\.py)\b", readme.read_text(encoding="utf-8")):
        assert list(ROOT.glob(f"*/{name}")) or list(ROOT.glob(f"*/*/{name}")), name
