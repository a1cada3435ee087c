"""Recorded runs can be read; the front page's figures and the marked tables of benchmarks/README.rst are theirs."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"

pytestmark = pytest.mark.skipif(not RESULTS.exists(), reason="a source distribution leaves results out")


def runs(name):
    """The runs of a file: their facts and records."""
    found = []
    for line in (RESULTS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        content = json.loads(line)
        if "run" in content:
            found.append((content["run"], []))
        else:
            found[-1][1].append(content)
    return found


def records(name, **facts):
    """The records of a file that state these facts; of those alike the last one."""
    kept = {}
    for _, of_run in runs(name):
        for record in of_run:
            if all(record.get(fact) == value for fact, value in facts.items()):
                kept[json.dumps([record.get(key) for key in KEYS])] = record
    return list(kept.values())


KEYS = ("group", "set", "stream", "table", "problem", "model", "policy", "seed", "call", "params", "rows")


def mean(values):
    return float(np.mean(list(values)))


def tables_loss(model):
    return [mean(r["means"]["log_loss"] for r in records("tables", group=g, model=model)) for g in GROUPS]


def categories_loss(model):
    return mean(record["log_loss"] for record in records("categories_tables", model=model))


def words_loss(model):
    return records("sparse_rows_streams", stream="modules", model=model)[0]["log_loss"]


def regret(policy):
    by_problem = {}
    for record in records("bandits", policy=policy):
        by_problem.setdefault(record["problem"], []).append(record["regret"])
    return mean(map(mean, by_problem.values()))


def microseconds(call):
    return records("speed_single", call=call)[0]["microseconds"]["min"]


def stream_ranks():
    """Average ranks in log-loss over the real streams, by model."""
    losses = {}
    for record in records("streams", group="real"):
        if record["log_loss"] is not None:
            losses.setdefault(record["model"], {})[record["stream"]] = record["log_loss"]
    streams = sorted(losses["GLN"])
    table = np.array([[of_model[stream] for stream in streams] for of_model in losses.values()])
    ranks = (table[:, np.newaxis] > table).sum(axis=1) + ((table[:, np.newaxis] == table).sum(axis=1) + 1) / 2
    return dict(zip(losses, ranks.mean(axis=1), strict=True))


GROUPS = "development", "fresh"
FIGURES = {
    "tables.py": lambda: (
        *(f"{loss:.3f}" for model in ("GLNClassifier", "MLPClassifier") for loss in tables_loss(model)),
        *(f"{loss:.3f}" for loss in tables_loss("HistGradientBoostingClassifier")),
    ),
    "streams.py": lambda: tuple(f"{stream_ranks()[model]:.1f}" for model in ("GLN", "MLP", "ARF")),
    "categories.py tables": lambda: tuple(f"{categories_loss(m):.3f}" for m in ("GLN", "CatBoost", "LightGBM")),
    "sparse_rows.py streams": lambda: tuple(f"{words_loss(model):.3f}" for model in ("GLN", "VW")),
    "bandits.py": lambda: tuple(f"{regret(policy):.3f}" for policy in ("GLN", "LinUCB", "VW squarecb")),
    "speed single": lambda: tuple(
        f"{microseconds(f'{call}'):.0f}"
        for call in (
            "GLNClassifier: partial_fit learn",
            "GLNClassifier: predict_proba predict",
            "SGDClassifier: learn",
            "SGDClassifier: predict",
        )
    ),
}


@pytest.mark.parametrize("command", FIGURES)
def test_figures_of_the_front_page_are_recorded(command):
    page = (ROOT / "README.rst").read_text(encoding="utf-8").partition("Figures\n=======")[2]
    (line,) = (line for line in page.splitlines() if f"(``{command}``)" in line)
    place, text = 0, line.partition("``)")[2]
    for figure in FIGURES[command]():  # in their order
        place = text.find(figure, place)
        assert place >= 0, (figure, line)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_recorded_runs_can_be_read(path):
    for facts, of_run in runs(path.stem):
        assert of_run
        assert facts["environment"]


@pytest.fixture
def tables(monkeypatch):
    """The script that writes marked tables, and the page."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for package in ("pandas", "tqdm", "river"):
        pytest.importorskip(package, reason="the scripts that print tables need the benchmarks extra")
    return importlib.import_module("readme_tables"), (ROOT / "benchmarks" / "README.rst").read_text(encoding="utf-8")


def test_marked_tables_are_those_of_their_records(tables):
    script, text = tables
    assert text.count(".. written by ") == len(script.MARKED.findall(text)) > 0
    assert script.rewrite(text) == text


def test_a_typed_figure_in_a_marked_table_is_found(tables):
    script, text = tables
    table = script.MARKED.search(text)[6]
    assert script.rewrite(text.replace(table, table.replace("1", "7"))) == text
