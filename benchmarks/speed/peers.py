"""One pass over MNIST by learners that people would use instead, measured in turn with GLNClassifier."""

import importlib.util
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from common import (
    DIGITS,
    ONE_PASS,
    PYGLN,
    PYGLN_MLP,
    WARM_UP_ROWS,
    add_command,
    add_options,
    positive_int,
    print_table,
    ratio,
    seconds_of,
    summarise,
    time_in_turn,
    touch_memory,
)
from pygln_peer import PYGLN_BACKENDS, PyGLN, importable
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from sklearn_gln import GLNClassifier
from sklearn_gln.datasets import fetch_mnist
from speed.floor import floor_measures, floor_of, print_floor

REFERENCE = "GLNClassifier, plain"
BATCHES = (1, 32)
SLOW_WARM_UP_ROWS = 64


def add_peers(subparsers):
    parser = add_command(subparsers, peers, "scikit-learn, river and PyGLN in comparison", "speed")
    add_options(parser, "--repeats", "--mnist", "--rows")
    parser.add_argument("--peers", nargs="*", choices=FAMILIES, default=list(FAMILIES), help="all, with GLNClassifier")
    parser.add_argument(
        "--slow-rows",
        type=positive_int,
        default=2048,  # whole batches: frameworks compile for each size
        metavar="N",
        help="rows that river's and PyGLN's models are timed on, scaled to all (%(default)s)",
    )
    parser.add_argument(
        "--n-jobs", type=positive_int, default=1, metavar="N", help="threads of every learner (%(default)s)"
    )
    parser.add_argument("--pygln", type=Path, metavar="FOLDER", help="a checkout of PyGLN to measure as well")
    parser.add_argument("--pygln-backends", nargs="+", choices=PYGLN_BACKENDS, default=["numpy"])


def peers(options):
    """Seconds of a pass, slow learners' scaled from fewer rows, and test accuracy after the rows that were timed.

    TensorFlow and JAX take the cores that they find; the threads of all others are limited to --n-jobs.
    """
    X, y = fetch_mnist(subset="train", folder=options.mnist, return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))[: options.rows]
    X, y = X[order], y[order]
    test = fetch_mnist(subset="test", folder=options.mnist, return_X_y=True)
    n_slow = min(options.slow_rows, len(X))
    with ExitStack() as stack:
        learners = gln_peers(options.n_jobs)
        for family in options.peers:
            learners |= FAMILIES[family]()
        if options.pygln:
            stack.enter_context(importable(options.pygln, options.pygln_backends))
            learners |= pygln_peers(options.pygln_backends, X, y)
        warm_up = {name: peer.learn(*peer.warm_up_rows(X, y)) for name, peer in learners.items()}
        stack.enter_context(threadpool_limits(options.n_jobs))  # of what the warm-up has loaded
        n_rows = {name: n_slow if peer.slow else len(X) for name, peer in learners.items()}
        times = time_in_turn(
            floor_measures(X)
            | {"reference on the slow rows": partial(Peer(learners[REFERENCE].new).learn, X[:n_slow], y[:n_slow])}
            | {name: partial(peer.learn, X[: n_rows[name]], y[: n_rows[name]]) for name, peer in learners.items()},
            options.repeats,
        )
        accuracy = {name: peer.accuracy(*test) for name, peer in learners.items()}
    floor = floor_of(times, *X.shape, options.n_jobs)
    runs = [
        describe(name, n_rows[name], len(X), times, floor)
        | {"test_accuracy": accuracy[name], "warm_up_seconds": warm_up[name]}
        for name in learners
    ]
    print_floor(floor)
    print(f"seconds for {len(X)} rows, min (median); accuracy after the rows that were timed")
    print_table(runs, ".4g")
    return {"n_rows": len(X), "n_test_rows": len(test[0]), "floor": floor}, runs


def describe(name, n_timed, n_rows, times, floor):
    seconds = summarise([n_rows / n_timed * value for value in times[name]["all"]])
    reference = times[REFERENCE if n_timed == n_rows else "reference on the slow rows"]
    return {
        "learner": name,
        "seconds": seconds,
        "rows_per_second": n_rows / seconds["min"],
        "over_floor": {key: seconds[key] / floor["seconds"] for key in ("min", "median")},
        "over_reference": ratio(seconds, times[REFERENCE]),
        "over_reference_on_the_rows_timed": ratio(times[name], reference),
        "rows_timed": n_timed,
    }


# Learners by name


class Peer:
    """A learner: new() makes a model with partial_fit and predict, which get `call_rows` rows a call (all)."""

    def __init__(self, new, call_rows=None, *, slow=False):
        self.new, self.call_rows, self.slow = new, call_rows, slow

    def warm_up_rows(self, X, y):
        n_rows = SLOW_WARM_UP_ROWS if self.slow else WARM_UP_ROWS
        return X[:n_rows], y[:n_rows]

    def learn(self, X, y):
        """Seconds of a new model's pass; the model is kept."""
        self.model = self.new()
        if isinstance(self.model, GLNClassifier):
            touch_memory(self.model.layer_sizes, self.model.context_dim, X.shape[1], len(DIGITS))
        return seconds_of(learn_in_calls, self.model, X, y, self.call_rows or len(X))

    def accuracy(self, X, y):
        return float(np.mean(self.model.predict(X) == y))


def learn_in_calls(model, X, y, call_rows):
    for first in range(0, len(X), call_rows):
        rows = slice(first, first + call_rows)
        model.partial_fit(X[rows], y[rows], classes=DIGITS)


def gln_peers(n_jobs):
    plain = partial(GLNClassifier, **PYGLN, n_jobs=n_jobs, random_state=0)
    return {
        REFERENCE: Peer(plain),
        f"{REFERENCE}, batches of 32": Peer(partial(plain, batch_size=32)),
        f"{REFERENCE}, calls of 1": Peer(plain, 1),
        "GLNClassifier, one-pass": Peer(partial(GLNClassifier, **ONE_PASS, n_jobs=n_jobs, random_state=0)),
    }


def sgd_peers():
    new = partial(SGDClassifier, loss="log_loss", random_state=0)
    return {"SGDClassifier, one call": Peer(new)} | {
        f"SGDClassifier, calls of {n}": Peer(new, n) for n in BATCHES[::-1]
    }


def mlp_peers():
    """PyGLN's baseline."""
    new = partial(MLPClassifier, **PYGLN_MLP, random_state=0)
    in_one_call = {f"MLPClassifier, batches of {n}": Peer(partial(new, batch_size=n)) for n in BATCHES}
    return in_one_call | {"MLPClassifier, calls of 1": Peer(partial(new, batch_size=1), 1)}


def river_peers():
    """River's models with their defaults; none if it is not installed."""
    if importlib.util.find_spec("river") is None:
        print("river is not installed: left out (python -m pip install river)")
        return {}
    from river import linear_model, multiclass, tree

    return {
        "river LogisticRegression": Peer(
            lambda: RowByRow(multiclass.OneVsRestClassifier(linear_model.LogisticRegression())), slow=True
        ),
        "river HoeffdingAdaptiveTree": Peer(lambda: RowByRow(tree.HoeffdingAdaptiveTreeClassifier(seed=0)), slow=True),
    }


class RowByRow:
    """A model of river's behind two of scikit-learn's methods."""

    def __init__(self, model):
        self.model = model

    def partial_fit(self, X, y, classes=None):  # noqa: ARG002
        for row, label in zip(X, y.tolist(), strict=True):
            self.model.learn_one(dict(enumerate(row.tolist())), label)

    def predict(self, X):
        return np.array([self.model.predict_one(dict(enumerate(row.tolist()))) for row in X])


def pygln_peers(backends, X, y):
    """PyGLN's networks; new ones learn the last rows once, outside the clock, to be compiled."""
    return {
        f"PyGLN, {backend}, batches of {n}": Peer(partial(PyGLN, backend, n, X[-n:], y[-n:]), slow=True)
        for backend in backends
        for n in BATCHES
    }


FAMILIES = {"sgd": sgd_peers, "mlp": mlp_peers, "river": river_peers}
