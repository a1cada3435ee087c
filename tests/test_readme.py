"""The READMEs render without a warning, their links lead somewhere, the code runs, every parameter is explained."""

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
READMES = (README, ROOT / "benchmarks" / "README.rst", ROOT / "benchmarks" / "backprop" / "README.rst")
NAMES = ("front", "benchmarks", "backprop")
TEXT = README.read_text(encoding="utf-8")
BLOCKS = [dedent(code) for code in re.findall(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", TEXT, re.MULTILINE)]


@pytest.mark.thorough
@pytest.mark.parametrize("framework", [None, "torch"])
def test_code_runs(framework, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where it writes files
    namespace = {}
    for code in BLOCKS:  # in order, in one session: a reader goes on from block to block
        if "keras" not in code and ('backend="torch"' not in code or framework == "torch"):
            exec(compile(code, str(README), "exec"), namespace)
    assert namespace["model"].score(namespace["X_test"], namespace["y_test"]) > 0.9
    assert namespace["search"].best_score_ > -0.2
    assert namespace["stream"].progressive_accuracy_ > 0.9


@pytest.mark.thorough
@pytest.mark.parametrize("backend", ["tensorflow"])  # on all: tests/backprop
@pytest.mark.parametrize("code", [code for code in BLOCKS if "keras" in code])
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
    explained = re.findall(r"^   \* - ``(\w+)``", TEXT.partition("Coming from\n")[0], re.MULTILINE)
    assert len(explained) == len(set(explained))
    assert estimator().get_params().keys() <= set(explained)


@pytest.mark.parametrize("readme", READMES, ids=NAMES)
def test_renders_without_warnings(readme):
    core = pytest.importorskip("docutils.core", reason="docutils renders the READMEs")
    settings = {"report_level": 2, "halt_level": 2, "syntax_highlight": "none", "input_encoding": "utf-8"}
    html = core.publish_string(readme.read_text(encoding="utf-8"), writer="html5", settings_overrides=settings).decode()
    assert "<h1" in html


@pytest.mark.parametrize("readme", READMES, ids=NAMES)
def test_links_to_files_exist(readme):
    text = readme.read_text(encoding="utf-8")
    found = re.findall(r"(?:image|figure):: (\S+)|`[^`<]+ <([^>:]+)>`_", text)
    targets = {next(filter(None, target)) for target in found}
    assert targets
    for path, _, section in (target.partition("#") for target in targets):
        assert (readme.parent / path).exists(), path
        if section:  # as GitHub names them
            titles = re.findall(r"^(.+)\n[=-]{3,}$", (readme.parent / path).read_text(encoding="utf-8"), re.MULTILINE)
            assert section in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("readme", READMES, ids=NAMES)
def test_benchmarks_exist(readme):
    for name in re.findall(r"\b(\w+\.py)\b", readme.read_text(encoding="utf-8")):
        assert list(ROOT.glob(f"*/{name}")) or list(ROOT.glob(f"*/*/{name}")), name
