"""One pass over MNIST by the most accurate learner, on one thread and on several."""

from functools import partial

import numpy as np
from common import (
    DIGITS,
    ONE_PASS,
    WARM_UP_ROWS,
    add_command,
    add_options,
    print_table,
    ratio,
    seconds_of,
    time_in_turn,
    touch_memory,
)

from sklearn_gln import GLNClassifier
from sklearn_gln.datasets import fetch_mnist


def add_default(subparsers):
    parser = add_command(subparsers, default, "the most accurate learner", "speed")
    add_options(parser, "--repeats", "--mnist", "--rows", "--n-jobs")


def default(options):
    """Seconds of the most accurate learner's pass, and its test accuracy."""
    X, y = fetch_mnist(subset="train", folder=options.mnist, return_X_y=True)
    order = np.random.RandomState(0).permutation(len(X))[: options.rows]
    data = X[order], y[order], *fetch_mnist(subset="test", folder=options.mnist, return_X_y=True)
    warm_up = {
        n_jobs: seconds_of(one_pass, n_jobs, *(array[:WARM_UP_ROWS] for array in data)) for n_jobs in options.n_jobs
    }
    passes = time_in_turn({n_jobs: partial(one_pass, n_jobs, *data) for n_jobs in options.n_jobs}, options.repeats)
    runs = [
        {
            "learner": "sklearn_gln",
            "n_jobs": n_jobs,
            "seconds": summary["seconds"],
            "test_accuracy": summary["test_accuracy"]["all"][0],
            "speed_up": ratio(passes[1]["seconds"], summary["seconds"]) if 1 in passes else None,
            "warm_up_seconds": warm_up[n_jobs],
        }
        for n_jobs, summary in passes.items()
    ]
    print_table(runs, ".4g")
    return {"params": ONE_PASS, "n_rows": len(order)}, runs


def one_pass(n_jobs, X, y, X_test, y_test):
    model = GLNClassifier(**ONE_PASS, n_jobs=n_jobs, random_state=0)
    touch_memory(model.layer_sizes, model.context_dim, X.shape[1], len(DIGITS))
    seconds = seconds_of(model.partial_fit, X, y, classes=DIGITS)
    return {"seconds": seconds, "test_accuracy": float(model.score(X_test, y_test))}
