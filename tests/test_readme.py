"""README.rst renders without a warning, and its code runs."""

import importlib.util
import re
from pathlib import Path
from textwrap import dedent

import pytest

README = Path(__file__).parent.parent / "README.rst"
TEXT = README.read_text(encoding="utf-8")


def code_blocks():
    return [dedent(code) for code in re.findall(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", TEXT, re.MULTILINE)]


def test_code_runs():
    blocks = code_blocks()
    assert len(blocks) >= 3
    namespace = {}
    for code in blocks:  # in order, in one session: a reader goes on from block to block
        if 'backend="torch"' in code and importlib.util.find_spec("torch") is None:
            continue
        exec(compile(code, str(README), "exec"), namespace)
    assert namespace["search"].best_score_ > 0.9
    assert namespace["stream"].progressive_accuracy_ > 0.9


def test_renders_without_warnings():
    core = pytest.importorskip("docutils.core", reason="docutils renders the README")
    settings = {"report_level": 2, "halt_level": 2, "syntax_highlight": "none", "input_encoding": "utf-8"}
    html = core.publish_string(TEXT, writer="html5", settings_overrides=settings).decode()
    assert "<h1" in html


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:image|figure):: (\S+)|`[^`<]+ <([^>:]+)>`_", TEXT))))
def test_links_to_files_exist(target):
    path = next(filter(None, target))
    assert (README.parent / path).exists()
