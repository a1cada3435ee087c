"""Microseconds of a call with one row, compared with linear models, and where the time goes."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter

import numpy as np
from common import add_command, add_options, microseconds_per_row, print_table, ratio, seconds_of, time_in_turn
from internals import calls_of_one_row
from scipy.sparse import csr_array
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import scale

from sklearn_gln import GLNClassifier, GLNRegressor

N_BEFORE = 512  # rows that have been learned
N_THREADS = 4
N_SPARSE = 2**14  # columns


def add_single(subparsers):
    parser = add_command(subparsers, single, "one row a call, compared with linear models", "speed")
    add_options(parser, "--repeats", "--rows", rows=1_000_000)


def single(options):
    """Microseconds of a call with one row, of 30 features; where nothing else is said breast_cancer's, after 512."""
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    measures = {**gln_calls(X, y), **other_gln_calls(X, y), **sgd_calls(X, y), **river_calls(X, y)}
    measures |= {**calls_after(1000), **calls_after(options.rows)}
    summaries = time_in_turn(
        {name: partial(microseconds_per_row, *call) for name, call in measures.items()}, options.repeats
    )
    cold = time_in_turn({n_rows: partial(cold_seconds, X, y, n_rows) for n_rows in (1, 256)}, options.repeats)
    references = {task: summaries[f"SGDClassifier: {task}"] for task in ("learn", "predict")}
    print("min (median); each line of GLNClassifier is a part of the line above it")
    print_table(
        {"call": name, "microseconds": summary, "/ SGDClassifier": ratio(summary, references[name.rsplit(" ", 1)[-1]])}
        for name, summary in summaries.items()
    )
    one, many = cold[256], cold[1]
    print(f"256 rows from cold, milliseconds: one call {1e3 * one['min']:.1f}, 256 calls {1e3 * many['min']:.1f}")
    records = [{"call": name, "microseconds": summary} for name, summary in summaries.items()]
    records += [
        {"call": f"256 rows from cold, {name}", "seconds": summary}
        for name, summary in (("one call", one), ("256 calls", many))
    ]
    served = [in_threads(name, model, X) for name, model in fitted(X, y).items()]
    print_table(served)
    return {}, records + served


def fitted(X, y):
    """Models that are asked by several threads at once."""
    gln = GLNClassifier(random_state=0).partial_fit(X[:N_BEFORE], y[:N_BEFORE], classes=[0, 1])
    return {"GLNClassifier": gln, "SGDClassifier": SGDClassifier(loss="log_loss").fit(X, y)}


def in_threads(name, model, X, n_calls=2000):
    """Percentiles of the microseconds of a predict_proba, where N_THREADS threads call it all the time."""

    def ask(first):
        times = []
        for i in range(first, first + n_calls):
            row = X[i % len(X)][np.newaxis]
            start = perf_counter()
            model.predict_proba(row)
            times.append(1e6 * (perf_counter() - start))
        return times

    ask(0)
    with ThreadPoolExecutor(N_THREADS) as executor:
        times = np.concatenate(list(executor.map(ask, range(N_THREADS))))
    p50, p99 = np.percentile(times, [50, 99]).tolist()
    return {"call": f"{name}: predict, {N_THREADS} threads", "p50": p50, "p99": p99}


def gln_calls(X, y):
    """Calls of GLNClassifier, and of its parts without the outer ones, with the rows and labels that they get."""
    model = GLNClassifier(random_state=0).partial_fit(X[:N_BEFORE], y[:N_BEFORE], classes=[0, 1])
    parts = calls_of_one_row(model)
    calls = {
        "partial_fit learn": model.partial_fit,
        "partial_fit, check_input=False learn": partial(model.partial_fit, check_input=False),
        **{name: call for name, call in parts.items() if name.endswith("learn")},
        "predict_proba predict": lambda x, _: model.predict_proba(x),
        "predict_proba, check_input=False predict": lambda x, _: model.predict_proba(x, check_input=False),
        **{name: call for name, call in parts.items() if name.endswith("predict")},
    }
    rows = one_by_one(X, y)
    return {f"GLNClassifier: {name}": (call, rows) for name, call in calls.items()}


def one_by_one(X, y, first=0):
    """The rows from one on and their targets, as single calls get them."""
    return [(X[i : i + 1], y[i : i + 1]) for i in range(first, X.shape[0])]


def other_gln_calls(X, y):
    """Calls of a regressor, and with categories and sparse rows."""
    binned = X.copy()
    binned[:, :3] = np.round(2 * X[:, :3])
    kinds = {
        "GLNRegressor": (GLNRegressor(random_state=0), X, y.astype(float), {}),
        "3 of 30 columns categories": (
            GLNClassifier(categorical_features=[0, 1, 2], random_state=0),
            binned,
            y,
            {"classes": [0, 1]},
        ),
        "sparse, 30 of 16,384 columns": (GLNClassifier(random_state=0), sparse(X), y, {"classes": [0, 1]}),
    }
    calls = {}
    for name, (model, rows, targets, given) in kinds.items():
        model.partial_fit(rows[:N_BEFORE], targets[:N_BEFORE], **given)
        parts = one_by_one(rows, targets)
        answer = model.predict_proba if given else model.predict
        calls[f"{name}: learn"] = model.partial_fit, parts
        calls[f"{name}: predict"] = lambda x, _, answer=answer: answer(x), parts
    return calls


def calls_after(n_rows):
    """Calls of GLNClassifier after so many rows of 30 normal numbers, in most of its contexts."""
    X = np.random.default_rng(0).normal(size=(n_rows + 1000, 30))
    y = (X[:, 0] * X[:, 1] > X[:, 2]).astype(int)
    model = GLNClassifier(random_state=0).partial_fit(X[:n_rows], y[:n_rows], classes=[0, 1])
    rows = one_by_one(X, y, n_rows)
    return {
        f"after {n_rows:,} rows: learn": (model.partial_fit, rows),
        f"after {n_rows:,} rows: predict": (lambda x, _: model.predict_proba(x), rows),
    }


def sparse(X):
    """Each value in one of many columns, which it says with its sign."""
    rng = np.random.default_rng(0)
    columns = rng.integers(N_SPARSE // 2, size=X.shape[1]) + N_SPARSE // 2 * (X > 0)
    rows = np.repeat(np.arange(len(X)), X.shape[1])
    return csr_array((np.abs(X).ravel(), (rows, columns.ravel())), shape=(len(X), N_SPARSE))


def sgd_calls(X, y):
    model = SGDClassifier(loss="log_loss").partial_fit(X, y, classes=[0, 1])
    rows = one_by_one(X, y)
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
