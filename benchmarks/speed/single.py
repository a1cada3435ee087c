"""Microseconds of a call with one row, compared with linear models, and where the time goes."""

import importlib.util
from functools import partial

from common import add_command, add_options, microseconds_per_row, print_table, ratio, seconds_of, time_in_turn
from internals import calls_of_one_row
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import scale

from sklearn_gln import GLNClassifier


def add_single(subparsers):
    parser = add_command(subparsers, single, "one row a call, compared with linear models", "speed")
    add_options(parser, "--repeats")


def single(options):
    """Microseconds of a call with one row, on breast_cancer's 30 features, after 512 rows."""
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    measures = {**gln_calls(X, y), **sgd_calls(X, y), **river_calls(X, y)}
    summaries = time_in_turn(
        {name: partial(microseconds_per_row, *call) for name, call in measures.items()}, options.repeats
    )
    cold = time_in_turn({n_rows: partial(cold_seconds, X, y, n_rows) for n_rows in (1, 256)}, options.repeats)
    references = {task: summaries.get(f"river LogisticRegression: {task}") for task in ("learn", "predict")}
    print("min (median); each line of GLNClassifier is a part of the line above it")
    print_table(
        {"call": name, "microseconds": summary, "/ river": ratio(summary, references[name.rsplit(" ", 1)[-1]])}
        for name, summary in summaries.items()
    )
    one, many = cold[256], cold[1]
    print(f"256 rows from cold, milliseconds: one call {1e3 * one['min']:.1f}, 256 calls {1e3 * many['min']:.1f}")
    records = [{"call": name, "microseconds": summary} for name, summary in summaries.items()]
    records += [
        {"call": f"256 rows from cold, {name}", "seconds": summary}
        for name, summary in (("one call", one), ("256 calls", many))
    ]
    return {}, records


def gln_calls(X, y):
    """Calls of GLNClassifier, and of its parts without the outer ones, with the rows and labels that they get."""
    model = GLNClassifier(random_state=0).partial_fit(X[:512], y[:512], classes=[0, 1])
    parts = calls_of_one_row(model, 512)
    calls = {
        "partial_fit learn": model.partial_fit,
        "partial_fit, check_input=False learn": partial(model.partial_fit, check_input=False),
        **{name: call for name, call in parts.items() if name.endswith("learn")},
        "predict_proba predict": lambda x, _: model.predict_proba(x),
        "predict_proba, check_input=False predict": lambda x, _: model.predict_proba(x, check_input=False),
        **{name: call for name, call in parts.items() if name.endswith("predict")},
    }
    rows = [(X[i : i + 1], y[i : i + 1]) for i in range(len(X))]
    return {f"GLNClassifier: {name}": (call, rows) for name, call in calls.items()}


def sgd_calls(X, y):
    model = SGDClassifier(loss="log_loss").partial_fit(X, y, classes=[0, 1])
    rows = [(X[i : i + 1], y[i : i + 1]) for i in range(len(X))]
    return {
        "SGDClassifier: learn": (model.partial_fit, rows),
        "SGDClassifier: predict": (lambda x, _: model.predict_proba(x), rows),
    }


def river_calls(X, y):
    """River's calls, if it is installed."""
    if importlib.util.find_spec("river") is None:
        return {}
    from river.linear_model import LogisticRegression

    model = LogisticRegression()
    rows = [(dict(enumerate(x)), bool(label)) for x, label in zip(X.tolist(), y, strict=True)]
    return {
        "river LogisticRegression: learn": (model.learn_one, rows),
        "river LogisticRegression: predict": (lambda x, _: model.predict_proba_one(x), rows),
    }


def cold_seconds(X, y, rows_per_call):
    """Seconds for the first 256 rows."""
    model = GLNClassifier(random_state=0)
    rows = [slice(first, first + rows_per_call) for first in range(0, 256, rows_per_call)]
    return seconds_of(lambda: [model.partial_fit(X[part], y[part], [0, 1], check_input=False) for part in rows])
