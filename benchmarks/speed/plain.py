"""How fast a Gated Linear Network learns, as ratios within one run: to a floor, to other learners, from size to size.

One pass of the plain learner over MNIST's 60,000 training rows, beside the floor and a row-by-row NumPy loop::

    python benchmarks/speed.py plain --json plain.json

One pass of the most accurate learner, beside another script's class GLN(K, hidden, c, seed, scaling)::

    python benchmarks/speed.py default --prototype FILE

The same pass by learners that people would use instead, and by a checkout of PyGLN, if there is one::

    python benchmarks/speed.py peers --json peers.json
    python benchmarks/speed.py peers --pygln FOLDER --pygln-backends numpy pytorch tf jax

Peak memory of a pass against weights and data; how seconds grow with each size and shrink with threads::

    python benchmarks/speed.py memory
    python benchmarks/speed.py scaling --out scaling.png

One row a call, beside river's and scikit-learn's linear models, and where the time goes::

    python benchmarks/speed.py single

`--rows N` and `--repeats N` make short runs. MNIST, deskewed, comes from `--mnist FOLDER`, the folder named by
SKLEARN_GLN_MNIST, or OpenML. What is compared is measured in turn (A B A B ...) in the same run; the minimum and the
median of the repetitions are reported. Seconds are those of one `partial_fit` call on data in memory; a first chunk,
learned by a model that is thrown away, pays for compilation and is reported apart as the warm-up. In `peers`, "batches
of N" are the rows of a step within one call, "calls of N" the rows of a call; river's and PyGLN's models learn
--slow-rows rows, from which their seconds are scaled.

The floor is a time that learning could hardly go below on this machine: the gating product of all rows with all
hyperplanes, in blocks of the best of several sizes, and for each row and first-layer neuron a dot product and a clipped
update of weights that never leave the L1 cache, divided by the number of cores (in
`peers` by --n-jobs).
"""

import argparse
import importlib.util
import json
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numba
import numpy as np
from common import (
    DIGITS,
    ONE_PASS,
    PRESETS,
    PYGLN,
    compare,
    describe_machine,
    measure_in_turn,
    positive_int,
    print_machine,
    print_table,
    ratio,
    seconds_of,
    show,
    summarise,
)
from scipy.special import expit
from sklearn.base import clone
from speed_floor import floor_measures, floor_of, print_floor
from speed_passes import WARM_UP_ROWS, add_command, add_data_options, fit_seconds, touch_memory
from speed_peers import add_peers
from speed_scaling import add_scaling
from speed_single import add_single
from threadpoolctl import threadpool_limits

from sklearn_gln import GLNClassifier
from sklearn_gln._network import init_network, learn
from sklearn_gln._online import MAX_BLOCK_ROWS
from sklearn_gln.datasets import fetch_mnist
from sklearn_gln.kernels import get_kernels

BACKENDS = ("numba", "numpy")
HOST = get_kernels("numpy")
UNRECORDED_OPTIONS = ("run", "json", "mnist", "prototype", "pygln", "out")  # a function, files and folders
CHECKS = (("float32", 32, 1e-3), ("float64", 256, 1e-6))  # rows and tolerance: this step size amplifies rounding

MEMORY_PRESETS = ("pygln", "one-pass")
MEGABYTE = 1e6


def main(arguments=None):
    """Run the subcommand that the arguments name; returns its results, as written to --json."""
    options = build_parser().parse_args(arguments)
    results = {
        "options": {name: value for name, value in vars(options).items() if name not in UNRECORDED_OPTIONS},
        "environment": describe_machine(),
    }
    print_machine(results["environment"])
    results |= options.run(options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return results


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_plain, add_default, add_peers, add_memory, add_scaling, add_single):
        add(subparsers)
    return parser


# Subcommand plain


def add_plain(subparsers):
    parser = add_command(subparsers, plain, "the plain learner, the floor and a row-by-row loop")
    add_data_options(parser)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--n-jobs", type=positive_int, nargs="+", default=[1, 2], metavar="N")
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
    warm_up = {key: fit_seconds(model, X[:WARM_UP_ROWS], y[:WARM_UP_ROWS]) for key, model in models.items()}
    for model in models.values():
        check_loop(model, X, y)
    loop_model = GLNClassifier(**PYGLN, random_state=0)
    samples = measure_in_turn(
        floor_measures(X)
        | {"loop": partial(loop_seconds, loop_model, X[: options.loop_rows], y[: options.loop_rows], len(X))}
        | {key: partial(fit_seconds, model, X, y) for key, model in models.items()}
        | {("parts", *key): partial(parts_seconds, model, X, y) for key, model in models.items()},
        options.repeats,
    )
    floor = floor_of(samples, *X.shape)
    loop = summarise(samples["loop"])
    runs = [describe_plain(*key, samples, floor, loop) | {"warm_up_seconds": warm_up[key]} for key in models]
    print_floor(floor)
    print(f"row-by-row loop, scaled to all rows: {show(loop)} s")
    print_plain(runs)
    return {"params": PYGLN, "n_rows": len(X), "floor": floor, "loop_seconds": loop, "runs": runs}


def describe_plain(backend, n_jobs, samples, floor, loop):
    seconds = summarise(samples[backend, n_jobs])
    parts = samples["parts", backend, n_jobs]
    return {
        "backend": backend,
        "n_jobs": n_jobs,
        "seconds": seconds,
        "over_floor": {key: seconds[key] / floor["seconds"] for key in ("min", "median")},
        "loop_over_this": ratio(loop, seconds),
        "speed_up": compare(samples, (backend, 1), (backend, n_jobs)),
        "parts": {part: summarise([sample[part] for sample in parts]) for part in parts[0]},
    }


def print_plain(runs):
    print("min (median); of the parts the min")
    print_table(
        {
            "backend": run["backend"],
            "n_jobs": run["n_jobs"],
            "seconds": run["seconds"],
            "/ floor": run["over_floor"],
            "loop / this": run["loop_over_this"],
            "speed-up": run["speed_up"],
            **{part.replace("_", " "): seconds["min"] for part, seconds in run["parts"].items()},
            "warm-up": run["warm_up_seconds"],
        }
        for run in runs
    )


def new_network(model, X, y):
    """The model's online network after one row, for its settings; a network of these settings that learned nothing."""
    online = clone(model).partial_fit(X[:1], y[:1], classes=DIGITS)._online
    base_logits, side_info = online.predictor.transform(X[:1], HOST)
    n_base = base_logits.shape[1] + online.settings.bias
    return online, init_network(n_base, side_info, online.outputs, online.settings, online.seed)


def parts_seconds(model, X, y):
    """Seconds of each part of a pass, its functions called block by block as `partial_fit` calls them."""
    online, network = new_network(model, X, y)
    predicting = learning = 0.0
    with model._kernels(len(X)) as kernels:
        kernels = TimedGating(kernels)
        for first in range(0, len(X), MAX_BLOCK_ROWS):
            rows = slice(first, first + MAX_BLOCK_ROWS)
            targets = y[rows, np.newaxis] == online.outputs
            numbers = np.arange(first, first + len(targets)) + 1
            start = perf_counter()
            base_logits, side_info = online.predictor.transform(X[rows], kernels)
            predicted = perf_counter()
            visited = numbers, online.settings, np.ones(len(targets), bool)
            learn(network, kernels, base_logits, side_info, targets, None, *visited)
            predicting += predicted - start
            learning += perf_counter() - predicted
    return {"base_predictor": predicting, "gating": kernels.seconds, "learning": learning - kernels.seconds}


class TimedGating:
    """Kernels that sum up the seconds of their gating."""

    def __init__(self, kernels):
        self.kernels = kernels
        self.seconds = 0.0

    def __getattr__(self, name):
        return getattr(self.kernels, name)

    def select_contexts(self, *arrays):
        start = perf_counter()
        contexts = self.kernels.select_contexts(*arrays)
        self.seconds += perf_counter() - start
        return contexts


def loop_seconds(model, X, y, n_rows):
    """Seconds that the row-by-row loop takes for these rows, scaled to n_rows."""
    online, network = new_network(model, X, y)
    with threadpool_limits(1, user_api="blas"):  # as the package does; its small products gain nothing from more
        return seconds_of(learn_by_row, online, network, X, y) * n_rows / len(X)


def learn_by_row(online, network, X, y):
    """The plain learner as a loop over rows in NumPy; each layer's logits (n, n_outputs, n_neurons) before each row."""
    settings = online.settings
    dtype = np.dtype(settings.dtype)
    base_logits, side_info = (array.astype(dtype, copy=False) for array in online.predictor.transform(X, HOST))
    base_logits = np.column_stack([base_logits, np.ones(len(X), dtype)])
    targets = (y[:, np.newaxis] == online.outputs).astype(dtype)
    ends = np.cumsum([layer.weights.shape[1] for layer in network.layers])[:-1]
    hyperplanes, offsets = np.split(network.hyperplanes, ends, axis=1), np.split(network.offsets, ends, axis=1)
    rate, limit, max_weight = (
        dtype.type(value) for value in (settings.learning_rate_init, settings.limit, settings.max_weight)
    )
    bits = 1 << np.arange(settings.context_dim)
    outputs = np.arange(len(online.outputs))[:, np.newaxis]
    constant = np.ones((len(outputs), 1), dtype)
    rows = np.arange(2**settings.context_dim + 1, dtype=np.int32)
    for layer in network.layers:  # a weight row for every context, the first apart
        layer.row_of[...], layer.n_rows[...] = rows[1:], len(rows)
        layer.weights = layer.weights[:, :, np.zeros_like(rows)]
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
        expected = learn_by_row(*new_network(typed, X, y), X_check, y_check)
        online, network = new_network(typed, X, y)
        rows = online.predictor.transform(X_check, HOST)
        targets = y_check[:, np.newaxis] == online.outputs
        with typed._kernels(len(X_check)) as kernels:
            visited = np.arange(len(X_check)) + 1, online.settings, np.ones(len(X_check), bool)
            found = learn(network, kernels, *rows, targets, None, *visited)
        for layer_found, layer_expected in zip(found.layers, expected, strict=True):
            np.testing.assert_allclose(layer_found, layer_expected, rtol=0, atol=tolerance)


# Subcommand default


def add_default(subparsers):
    parser = add_command(subparsers, default, "the most accurate learner")
    add_data_options(parser)
    parser.add_argument("--n-jobs", type=positive_int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--prototype", type=Path, metavar="FILE", help="script with a class GLN to compare with")


def default(options):
    """The most accurate learner's pass, alone or in turn with a prototype's."""
    X, y = fetch_mnist(subset="train", folder=options.mnist, return_X_y=True)
    order = np.random.RandomState(0).permutation(len(X))[: options.rows]
    data = X[order], y[order], *fetch_mnist(subset="test", folder=options.mnist, return_X_y=True)
    learners = {"sklearn_gln": one_pass}
    if options.prototype:
        learners["prototype"] = partial(one_pass_of_prototype, load_script(options.prototype).GLN)
    measures, warm_up = {}, {}
    for n_jobs in options.n_jobs:
        for name, learner in learners.items():
            warm_up[name, n_jobs] = seconds_of(learner, n_jobs, *(array[:WARM_UP_ROWS] for array in data))
            measures[name, n_jobs] = partial(learner, n_jobs, *data)
    samples = measure_in_turn(measures, options.repeats)
    all_seconds = {key: [seconds for seconds, _ in passes] for key, passes in samples.items()}
    runs = [
        {
            "learner": name,
            "n_jobs": n_jobs,
            "seconds": summarise(all_seconds[name, n_jobs]),
            "test_accuracy": samples[name, n_jobs][0][1],
            "speed_up": compare(all_seconds, (name, 1), (name, n_jobs)),
            "prototype_over_this": compare(all_seconds, ("prototype", n_jobs), (name, n_jobs)),
            "warm_up_seconds": warm_up[name, n_jobs],
        }
        for name, n_jobs in samples
    ]
    print_table(
        {
            "learner": run["learner"],
            "n_jobs": run["n_jobs"],
            "seconds": run["seconds"],
            "test accuracy": f"{run['test_accuracy']:.2%}",
            "speed-up": run["speed_up"],
            "prototype / this": run["prototype_over_this"],
            "warm-up": run["warm_up_seconds"],
        }
        for run in runs
    )
    return {"params": ONE_PASS, "n_rows": len(order), "runs": runs}


def one_pass(n_jobs, X, y, X_test, y_test):
    """Seconds of learning, and test accuracy."""
    model = GLNClassifier(**ONE_PASS, n_jobs=n_jobs, random_state=0)
    touch_memory(model.layer_sizes, model.context_dim, X.shape[1], len(DIGITS))
    seconds = seconds_of(model.partial_fit, X, y, classes=DIGITS)
    return seconds, float(model.score(X_test, y_test))


def one_pass_of_prototype(prototype, n_threads, X, y, X_test, y_test):
    numba.set_num_threads(n_threads)
    ours = GLNClassifier(**ONE_PASS)
    sizes, context_dim = ours.layer_sizes, ours.context_dim
    model = prototype(len(DIGITS), hidden=sizes, c=context_dim, seed=0, scaling=ours.base_predictor)
    touch_memory(sizes, context_dim, X.shape[1], len(DIGITS))
    seconds = seconds_of(model.partial_fit, X, (DIGITS[:, np.newaxis] == y).astype(np.float32))
    predictions = model.logits(X_test)[-1].argmax(axis=0)
    return seconds, float(np.mean(predictions == y_test))


def load_script(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)  # named there for Numba's cache
    spec.loader.exec_module(module)
    return module


# Subcommand memory


def add_memory(subparsers):
    parser = add_command(subparsers, memory, "peak memory of one pass")
    add_data_options(parser)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)


def memory(options):
    """Peak memory of a pass, each in a process of its own, against weights and data.

    Pages of weights that no row has selected may never become resident: an excess can be negative.
    """
    cases = [(preset, backend) for preset in MEMORY_PRESETS for backend in options.backends]
    with TemporaryDirectory() as folder:
        in_new_process(save_training_rows, folder, options.mnist, options.rows)
        measures = {
            (*case, learns): partial(in_new_process, measure_memory, folder, *case, learns)
            for case in cases
            for learns in (False, True)
        }
        samples = measure_in_turn(measures, options.repeats)
    runs = [describe_memory(*case, samples[*case, True], samples[*case, False]) for case in cases]
    print("Megabytes, min (median); excess = peak - weights - data; baseline: the peak of a process that imported and")
    print("loaded everything and learned nothing; learning = peak - baseline - weights")
    print_table(runs, ".0f")
    return {"unit": "megabytes", "runs": runs}


def describe_memory(preset, backend, passes, idle):
    weights, data = passes[0]["weights"], passes[0]["data"]
    peaks, baseline = [sample["peak"] for sample in passes], summarise([sample["peak"] for sample in idle])
    return {
        "preset": preset,
        "backend": backend,
        "weights": weights,
        "data": data,
        "peak": summarise(peaks),
        "excess": summarise([peak - weights - data for peak in peaks]),
        "baseline": baseline,
        "learning": summarise([peak - baseline["median"] - weights for peak in peaks]),
    }


def in_new_process(function, *arguments):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def save_training_rows(folder, mnist, n_rows):
    """To files, so that what it takes to unpack and deskew the images is no part of what is measured."""
    X, y = fetch_mnist(subset="train", folder=mnist, return_X_y=True)
    np.save(Path(folder, "X.npy"), X[:n_rows])
    np.save(Path(folder, "y.npy"), y[:n_rows])


def measure_memory(folder, preset, backend, learns):
    """Megabytes of this process at its peak, and of what it holds."""
    X, y = np.load(Path(folder, "X.npy")), np.load(Path(folder, "y.npy"))
    model = GLNClassifier(**PRESETS[preset], backend=backend, random_state=0)
    get_kernels(backend)
    weights = 0
    if learns:
        model.partial_fit(X, y, classes=DIGITS)
        weights = sum(layer.weights.nbytes for layer in model._online.network.layers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"peak": peak / MEGABYTE, "weights": weights / MEGABYTE, "data": (X.nbytes + y.nbytes) / MEGABYTE}


if __name__ == "__main__":
    main()
