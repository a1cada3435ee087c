"""Microseconds of a call with one row, beside linear models, and where the time goes."""

import importlib.util
from functools import partial
from time import perf_counter

import numpy as np
from common import measure_in_turn, print_table, ratio, summarise
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import scale
from speed_passes import add_command

from sklearn_gln import GLNClassifier
from sklearn_gln._network import infer, learn
from sklearn_gln.kernels import get_kernels, in_tasks


def add_single(subparsers):
    add_command(subparsers, single, "one row a call, beside linear models")


def single(options):
    """Microseconds of a call with one row, on breast_cancer's 30 features, after 512 rows."""
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    measures = {**gln_calls(X, y), **sgd_calls(X, y), **river_calls(X, y)}
    samples = measure_in_turn(
        {name: partial(microseconds_per_row, *call) for name, call in measures.items()}, options.repeats
    )
    cold = measure_in_turn({n_rows: partial(cold_seconds, X, y, n_rows) for n_rows in (1, 256)}, options.repeats)
    summaries = {name: summarise(values) for name, values in samples.items()}
    references = {task: summaries.get(f"river LogisticRegression: {task}") for task in ("learn", "predict")}
    runs = []
    for name, summary in summaries.items():
        river = references[name.rsplit(" ", 1)[-1]]
        runs.append({"call": name, "microseconds": summary, "/ river": ratio(summary, river) if river else None})
    print("min (median); each line of GLNClassifier is a part of the line above it")
    print_table(runs)
    one, many = summarise(cold[256]), summarise(cold[1])
    print(f"256 rows from cold, milliseconds: one call {1e3 * one['min']:.1f}, 256 calls {1e3 * many['min']:.1f}")
    return {"microseconds": summaries, "cold_seconds": {"one call": one, "256 calls": many}}


def gln_calls(X, y):
    """What a call of GLNClassifier does, and that without the outer parts; arguments are a row and its label."""
    model = GLNClassifier(random_state=0).partial_fit(X[:512], y[:512], classes=[0, 1])
    online, weight, number = model._online, np.ones(1), np.array([513])
    kernels, settings, first_visit = in_tasks(get_kernels()), online.settings, np.ones(1, bool)

    def learn_in_network(x, label):
        inputs = online.predictor.transform(x, kernels)
        learn(online.network, kernels, *inputs, label[:, np.newaxis] == 1, None, number, settings, first_visit)

    def infer_in_network(x, _):
        infer(online.network, kernels, *online.predictor.transform(x, kernels), settings)

    calls = {
        "partial_fit learn": model.partial_fit,
        "partial_fit, check_input=False learn": partial(model.partial_fit, check_input=False),
        "the clock and below learn": lambda x, label: list(online.learn(x, label, weight, kernels)),
        "the network and below learn": learn_in_network,
        "predict_proba predict": lambda x, _: model.predict_proba(x),
        "predict_proba, check_input=False predict": lambda x, _: model.predict_proba(x, check_input=False),
        "the clock and below predict": lambda x, _: online.infer(x, kernels),
        "the network and below predict": infer_in_network,
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


def microseconds_per_row(call, rows):
    start = perf_counter()
    for row in rows:
        call(*row)
    return 1e6 * (perf_counter() - start) / len(rows)


def cold_seconds(X, y, rows_per_call):
    """Seconds for the first 256 rows."""
    model = GLNClassifier(random_state=0)
    start = perf_counter()
    for first in range(0, 256, rows_per_call):
        rows = slice(first, first + rows_per_call)
        model.partial_fit(X[rows], y[rows], classes=[0, 1], check_input=False)
    return perf_counter() - start
