"""One pass over MNIST by the plain learner, compared with the floor and a row-by-row NumPy loop."""

from functools import partial
from time import perf_counter

import numpy as np
from common import (
    DIGITS,
    PYGLN,
    WARM_UP_ROWS,
    add_command,
    add_options,
    pass_seconds,
    positive_int,
    print_table,
    ratio,
    seconds_of,
    show,
    time_in_turn,
)
from internals import MAX_CHUNK, learn_in_network, new_network, timed_kernels
from scipy.special import expit
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from sklearn_gln import GLNClassifier
from sklearn_gln.datasets import fetch_mnist
from sklearn_gln.kernels import get_kernels
from speed.floor import floor_measures, floor_of, print_floor

BACKENDS = ("numba", "numpy")
HOST = get_kernels("numpy")
CHECKS = (("float32", 32, 1e-3), ("float64", 256, 1e-6))  # rows and tolerance: this step size amplifies rounding


def add_plain(subparsers):
    parser = add_command(subparsers, plain, "the plain learner, the floor and a row-by-row loop", "speed")
    add_options(parser, "--repeats", "--mnist", "--rows", "--n-jobs")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument(
        "--loop-rows", type=positive_int, default=300, metavar="N", help="rows that the loop is timed on (%(default)s)"
    )


def plain(options):
    """The plain learner's pass, the floor, and the loop: the same work, measured in turn."""
    X, y = fetch_mnist(subset="train", folder=options.mnist, return_X_y=True)
    X, y = X[: options.rows], y[: options.rows]
    models = {
        (backend, n_jobs): GLNClassifier(**PYGLN, backend=backend, n_jobs=n_jobs, random_state=0)
        for backend in options.backends
        for n_jobs in options.n_jobs
    }
    warm_up = {key: pass_seconds(model, X[:WARM_UP_ROWS], y[:WARM_UP_ROWS], DIGITS) for key, model in models.items()}
    for model in models.values():
        check_loop(model, X, y)
    loop_model = GLNClassifier(**PYGLN, random_state=0)
    times = time_in_turn(
        floor_measures(X)
        | {"loop": partial(loop_seconds, loop_model, X[: options.loop_rows], y[: options.loop_rows], len(X))}
        | {key: partial(pass_seconds, model, X, y, DIGITS) for key, model in models.items()}
        | {("parts", *key): partial(parts_seconds, model, X, y) for key, model in models.items()},
        options.repeats,
    )
    floor = floor_of(times, *X.shape)
    runs = [describe_plain(*key, times, floor) | {"warm_up_seconds": warm_up[key]} for key in models]
    print_floor(floor)
    print(f"row-by-row loop, scaled to all rows: {show(times['loop'])} s")
    print("min (median)")
    print_table({name: value for name, value in (run | run["parts"]).items() if name != "parts"} for run in runs)
    return {"params": PYGLN, "n_rows": len(X), "floor": floor, "loop_seconds": times["loop"]}, runs


def describe_plain(backend, n_jobs, times, floor):
    seconds = times[backend, n_jobs]
    return {
        "backend": backend,
        "n_jobs": n_jobs,
        "seconds": seconds,
        "over_floor": {key: seconds[key] / floor["seconds"] for key in ("min", "median")},
        "loop_over_this": ratio(times["loop"], seconds),
        "speed_up": ratio(times.get((backend, 1)), seconds),
        "parts": times["parts", backend, n_jobs],
    }


def parts_seconds(model, X, y):
    """Seconds of each part of a pass, its functions called block by block as `partial_fit` calls them."""
    online, network = new_network(model, X, y, DIGITS)
    predicting = learning = 0.0
    with timed_kernels(model, len(X), {"select_contexts": "gating"}) as kernels:
        for first in range(0, len(X), MAX_CHUNK):
            rows = slice(first, first + MAX_CHUNK)
            targets = y[rows, np.newaxis] == online.output_numbers
            start = perf_counter()
            inputs = online.predictor.transform(X[rows], kernels)
            predicted = perf_counter()
            learn_in_network(online, network, kernels, inputs, targets, first)
            predicting += predicted - start
            learning += perf_counter() - predicted
    gating = kernels.seconds["gating"]
    return {"base_predictor": predicting, "gating": gating, "learning": learning - gating}


def loop_seconds(model, X, y, n_rows):
    """Seconds that the row-by-row loop takes for these rows, scaled to n_rows."""
    online, network = new_network(model, X, y, DIGITS)
    with threadpool_limits(1, user_api="blas"):  # as the package does; its small products gain nothing from more
        return seconds_of(learn_by_row, online, network, X, y) * n_rows / len(X)


def learn_by_row(online, network, X, y):
    """The plain learner as a loop over rows in NumPy; each layer's logits (n, n_outputs, n_neurons) before each row."""
    settings = online.settings
    dtype = np.dtype(settings.dtype)
    inputs = online.predictor.transform(X, HOST)
    base_logits, side_info = (array.astype(dtype, copy=False) for array in (inputs.base, inputs.side_info))
    base_logits = np.column_stack([base_logits, np.ones(len(X), dtype)])
    targets = (y[:, np.newaxis] == online.output_numbers).astype(dtype)
    ends = np.cumsum([layer.weights.shape[1] for layer in network.layers])[:-1]
    hyperplanes, offsets = np.split(network.hyperplanes, ends, axis=1), np.split(network.offsets, ends, axis=1)
    rate, limit, max_weight = (
        dtype.type(value) for value in (settings.learning_rate_init, settings.limit, settings.max_weight)
    )
    bits = 1 << np.arange(settings.context_dim)
    outputs = np.arange(len(online.output_numbers))[:, np.newaxis]
    constant = np.ones((len(outputs), 1), dtype)
    slots = np.arange(2**settings.context_dim + 1, dtype=np.int32)
    for layer in network.layers:  # a slot for every context, the first apart
        layer.slot_of[...], layer.n_slots[...] = slots[1:], len(slots)
        layer.weights = layer.weights[:, :, np.zeros_like(slots)]
    all_logits = [np.empty((len(X), *layer.weights.shape[:2]), dtype) for layer in network.layers]
    for t in range(len(X)):
        inputs = base_logits[t : t + 1]
        for number, layer in enumerate(network.layers):
            contexts = (hyperplanes[number] @ side_info[t] > offsets[number]) @ bits
            selected = outputs, np.arange(layer.weights.shape[1]), contexts + 1
            weights = layer.weights[selected]  # (n_outputs, n_neurons, n_inputs)
            logits = np.clip(np.vecdot(weights, inputs[:, np.newaxis]), -limit, limit)
            steps = rate * (expit(logits) - targets[t, :, np.newaxis])
            stepped = weights - steps[:, :, np.newaxis] * inputs[:, np.newaxis]
            layer.weights[selected] = np.clip(stepped, -max_weight, max_weight)
            all_logits[number][t] = logits
            inputs = np.concatenate([logits, constant], axis=1)
    return all_logits


def check_loop(model, X, y):
    """Stop unless the loop predicts what the model's kernels predict."""
    for dtype, n_rows, tolerance in CHECKS:
        typed = clone(model).set_params(dtype=dtype)
        X_check, y_check = X[:n_rows], y[:n_rows]
        expected = learn_by_row(*new_network(typed, X, y, DIGITS), X_check, y_check)
        online, network = new_network(typed, X, y, DIGITS)
        inputs = online.predictor.transform(X_check, HOST)
        with timed_kernels(typed, len(X_check), {}) as kernels:
            found = learn_in_network(
                online, network, kernels, inputs, y_check[:, np.newaxis] == online.output_numbers, 0
            )
        for layer_found, layer_expected in zip(found.layers, expected, strict=True):
            np.testing.assert_allclose(layer_found, layer_expected, rtol=0, atol=tolerance)
