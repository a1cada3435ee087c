"""Recorded runs can be read; the front page's figures and the marked tables of benchmarks/README.rst are theirs."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"

pytestmark = pytest.mark.skipif(not RESULTS.exists(), reason="a source distribution leaves results out")

KEYS = ("group", "set", "stream", "table", "problem", "model", "policy", "seed", "call", "params", "rows")


@pytest.fixture
def records(load):
    """A function that gives the records of a file that state some facts; of those alike the last one."""
    read_runs = load("common").read_runs

    def stating(name, **facts):
        kept = {}
        for record in (record for run in read_runs(RESULTS / f"{name}.jsonl") for record in run["records"]):
            if all(record.get(fact) == value for fact, value in facts.items()):
                kept[json.dumps([record.get(key) for key in KEYS])] = record
        return list(kept.values())

    return stating


def mean(values):
    return float(np.mean(list(values)))


def tables_loss(records, model):
    return [mean(r["means"]["log_loss"] for r in records("tables", group=g, model=model)) for g in GROUPS]


def categories_loss(records, model):
    return mean(record["log_loss"] for record in records("categories_tables", model=model))


def words_loss(records, model):
    return records("sparse_rows_streams", stream="modules", model=model)[0]["log_loss"]


def regret(records, policy):
    by_problem = {}
    for record in records("bandits", policy=policy):
        by_problem.setdefault(record["problem"], []).append(record["regret"])
    return mean(map(mean, by_problem.values()))


def microseconds(records, call):
    return records("speed_single", call=call)[0]["microseconds"]["min"]


def stream_ranks(records):
    """Average ranks in log-loss over the real streams, by model."""
    losses = {}
    for record in records("streams", group="real"):
        if record["log_loss"] is not None:
            losses.setdefault(record["model"], {})[record["stream"]] = record["log_loss"]
    streams = sorted(losses["GLN"])
    table = np.array([[of_model[stream] for stream in streams] for of_model in losses.values()])
    return dict(zip(losses, rankdata(table, axis=0).mean(axis=1), strict=True))


GROUPS = "development", "fresh"
FIGURES = {
    "tables.py": lambda records: (
        *(f"{loss:.3f}" for model in ("GLNClassifier", "MLPClassifier") for loss in tables_loss(records, model)),
        *(f"{loss:.3f}" for loss in tables_loss(records, "HistGradientBoostingClassifier")),
    ),
    "streams.py": lambda records: tuple(f"{stream_ranks(records)[model]:.1f}" for model in ("GLN", "MLP", "ARF")),
    "categories.py tables": lambda records: tuple(
        f"{categories_loss(records, m):.3f}" for m in ("GLN", "CatBoost", "LightGBM")
    ),
    "sparse_rows.py streams": lambda records: tuple(f"{words_loss(records, model):.3f}" for model in ("GLN", "VW")),
    "bandits.py": lambda records: tuple(
        f"{regret(records, policy):.3f}" for policy in ("GLN", "LinUCB", "VW squarecb")
    ),
    "speed single": lambda records: tuple(
        f"{microseconds(records, call):.0f}"
        for call in (
            "GLNClassifier: partial_fit learn",
            "GLNClassifier: predict_proba predict",
            "SGDClassifier: learn",
            "SGDClassifier: predict",
        )
    ),
}


@pytest.mark.parametrize("command", FIGURES)
def test_figures_of_the_front_page_are_recorded(command, records):
    page = (ROOT / "README.rst").read_text(encoding="utf-8").partition("Figures\n=======")[2]
    (line,) = (line for line in page.splitlines() if f"(``{command}``)" in line)
    place, text = 0, line.partition("``)")[2]
    for figure in FIGURES[command](records):  # in their order
        place = text.find(figure, place)
        assert place >= 0, (figure, line)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_recorded_runs_can_be_read(path, load):
    for run in load("common").read_runs(path):
        assert run["records"]
        assert run["environment"]


@pytest.fixture
def tables(load):
    """The script that writes marked tables, and the page."""
    pytest.importorskip("river", reason="the scripts that print tables need the benchmarks extra")
    return load("readme_tables"), (ROOT / "benchmarks" / "README.rst").read_text(encoding="utf-8")


def test_marked_tables_are_those_of_their_records(tables):
    script, text = tables
    assert text.count(".. written by ") == len(script.MARKED.findall(text)) > 0
    assert script.rewrite(text) == text


def test_a_typed_figure_in_a_marked_table_is_found(tables):
    script, text = tables
    table = script.MARKED.search(text)[6]
    assert script.rewrite(text.replace(table, table.replace("1", "7"))) == text
