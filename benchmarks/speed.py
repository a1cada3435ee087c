"""How fast a Gated Linear Network learns, as ratios within one run: to a floor, to a plain loop, from size to size.

One pass of the plain learner over MNIST's 60,000 training rows, beside the floor and a row-by-row NumPy loop::

    python benchmarks/speed.py plain --json plain.json

One pass of the most accurate learner, beside another script's class GLN(K, hidden, c, seed, scaling)::

    python benchmarks/speed.py default --prototype FILE

Peak memory of a pass against weights and data; how seconds grow with each size of the problem::

    python benchmarks/speed.py memory
    python benchmarks/speed.py scaling --out scaling.png

One row a call, beside river's and scikit-learn's linear models, and where the time goes::

    python benchmarks/speed.py single

`--rows N` and `--repeats N` make short runs. MNIST, deskewed, comes from `--mnist FOLDER`, the folder named by
SKLEARN_GLN_MNIST, or OpenML. What is compared is measured in turn (A B A B ...) in the same run; the minimum and the
median of the repetitions are reported. Seconds are those of one `partial_fit` call on data in memory; a first chunk,
learned by a model that is thrown away, pays for compilation and is reported apart as the warm-up.

The floor is a time that learning could hardly go below on this machine: the gating product of all rows with all
hyperplanes, in blocks of the best of several sizes, and for each row and first-layer neuron a dot product and a clipped
update of weights that never leave the L1 cache, divided by the number of cores.
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
from joblib import cpu_count
from scipy.special import expit
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import scale
from threadpoolctl import threadpool_limits

from sklearn_gln import GLNClassifier
from sklearn_gln._network import infer, init_network, learn
from sklearn_gln._online import MAX_BLOCK_ROWS
from sklearn_gln.datasets import fetch_mnist
from sklearn_gln.kernels import get_kernels, in_tasks

BACKENDS = ("numba", "numpy")
HOST = get_kernels("numpy")
RECORDED_OPTIONS = ("rows", "repeats", "backends", "n_jobs", "loop_rows", "preset")  # none names a file
WARM_UP_ROWS = 2048

PRODUCT_ROWS = (1024, 2048, 4096, 8192, 16384)  # block sizes tried for the gating product
SQUARE_SIZE = 4096  # of the matrices whose product shows the best rate
FAIR_SHARE = 0.8  # of that rate, which the gating product must reach
N_PAIRS = 2**17  # dot products and updates timed at once, some milliseconds
PAIR_RUNS = 10
CHECKS = (("float32", 32, 1e-3), ("float64", 256, 1e-6))  # rows and tolerance: this step size amplifies rounding

MEMORY_PRESETS = ("pygln", "one-pass")
MEGABYTE = 1e6

SCALING_JOBS = {"numba": 2, "numpy": 1}
SCALING_BASE = {"rows": 8192, "neurons": 32, "inputs": 128, "outputs": 8, "context_dim": 4}  # neurons: of two layers
SCALING_RANGES = {
    "rows": (2048, 4096, 8192, 16384, 32768),
    "neurons": (8, 16, 32, 64, 128),
    "inputs": (32, 64, 128, 256, 512),
    "outputs": (4, 8, 16, 32, 64),
    "context_dim": (1, 2, 3, 4, 6, 8, 12),
}
SERIES_STYLES = {  # apart in colour-blind eyes and in grey
    "numba": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "numpy": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
}


def main(arguments=None):
    """Run the subcommand that the arguments name; returns its results, as written to --json."""
    options = build_parser().parse_args(arguments)
    results = {
        "options": {name: value for name, value in vars(options).items() if name in RECORDED_OPTIONS},
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

    plain_parser = add_command(subparsers, plain, "the plain learner, the floor and a row-by-row loop")
    add_data_options(plain_parser)
    plain_parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    plain_parser.add_argument("--n-jobs", type=positive_int, nargs="+", default=[1, 2], metavar="N")
    plain_parser.add_argument(
        "--loop-rows", type=positive_int, default=300, metavar="N", help="rows that the loop is timed on (%(default)s)"
    )

    default_parser = add_command(subparsers, default, "the most accurate learner")
    add_data_options(default_parser)
    default_parser.add_argument("--n-jobs", type=positive_int, nargs="+", default=[1, 2], metavar="N")
    default_parser.add_argument(
        "--prototype", type=Path, metavar="FILE", help="script with a class GLN to compare with"
    )

    memory_parser = add_command(subparsers, memory, "peak memory of one pass")
    add_data_options(memory_parser)
    memory_parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)

    scaling_parser = add_command(subparsers, scaling, "seconds against each size, on synthetic data")
    scaling_parser.add_argument("--rows", type=positive_int, default=SCALING_BASE["rows"], metavar="N")
    scaling_parser.add_argument("--preset", choices=PRESETS, default="default", help="learner (%(default)s)")
    scaling_parser.add_argument("--out", type=Path, metavar="FILE", help="picture to write")

    add_command(subparsers, single, "one row a call, beside linear models")
    return parser


def add_command(subparsers, run, summary):
    parser = subparsers.add_parser(run.__name__, help=summary)
    parser.set_defaults(run=run)
    parser.add_argument("--repeats", type=positive_int, default=5, metavar="N", help="repetitions (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results, versions and machine to FILE")
    return parser


def add_data_options(parser):
    parser.add_argument("--mnist", metavar="FOLDER", help="folder with MNIST's four idx files")
    parser.add_argument("--rows", type=positive_int, metavar="N", help="only N training images")


def touch_memory(layer_sizes, context_dim, n_inputs, n_outputs):
    """Take and give back as much memory as the weights of this network fill.

    A virtual machine may need seconds to get back a gigabyte that has lain idle: not what is measured here.
    """
    widths = [n_inputs + 1 + n_previous for n_previous in (0, *layer_sizes[:-1])]
    n_weights = n_outputs * 2**context_dim * int(np.dot(layer_sizes, widths))
    np.zeros(n_weights, np.float32)[::1024] = 1  # one in each page


def fit_seconds(model, X, y):
    """Seconds that a new model like this one takes for one pass."""
    return seconds_of(clone(model).partial_fit, X, y, classes=DIGITS)


# Subcommand plain


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


def floor_measures(X):
    """What the floor is made of, and the rate that it is held against: functions that return seconds, by name."""
    rng = np.random.default_rng(0)
    square = rng.standard_normal((SQUARE_SIZE, SQUARE_SIZE), dtype=np.float32)
    hyperplanes = rng.standard_normal((n_hyperplanes(), X.shape[1]), dtype=np.float32)
    measures = {"square product": partial(seconds_of, np.matmul, square, square, out=np.empty_like(square))}
    for n_rows in sorted({min(n_rows, len(X)) for n_rows in PRODUCT_ROWS}):
        measures["gating product", n_rows] = partial(product_seconds, X, hyperplanes.T, n_rows)
    return measures | {"pair": partial(pair_seconds, X.shape[1] + 1)}


def n_hyperplanes():
    """Those of the plain network for ten outputs, its final neurons included."""
    return len(DIGITS) * (sum(PYGLN["layer_sizes"]) + 1) * PYGLN["context_dim"]


def product_seconds(X, normals, block_rows):
    """Seconds of X @ normals in blocks of rows."""
    projections = np.empty((block_rows, normals.shape[1]), np.float32)
    start = perf_counter()
    for first in range(0, len(X), block_rows):
        block = X[first : first + block_rows]
        np.matmul(block, normals, out=projections[: len(block)])
    return perf_counter() - start


def pair_seconds(n_inputs):
    """Seconds of one dot product and clipped update, on one core."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((4, n_inputs), dtype=np.float32)
    weights = np.full(n_inputs, 1 / n_inputs, np.float32)
    arguments = weights, inputs, np.arange(4, dtype=np.float32), np.float32(1e-4), np.float32(PYGLN["max_weight"])
    learn_pairs(*arguments, 1)  # compiled here
    return min(seconds_of(learn_pairs, *arguments, N_PAIRS // len(inputs)) / N_PAIRS for _ in range(PAIR_RUNS))


@numba.njit(fastmath=True, error_model="numpy")
def learn_pairs(weights, inputs, targets, rate, max_weight, n_rounds):
    for _ in range(n_rounds):
        for t in range(len(inputs)):
            row = inputs[t]
            dot = np.float32(0)
            for i in range(weights.size):
                dot += weights[i] * row[i]
            step = rate * (dot - targets[t])
            for i in range(weights.size):
                weights[i] = min(max(weights[i] - step * row[i], -max_weight), max_weight)


def floor_of(samples, n_rows, n_features):
    """The floor from the best samples of its two parts, and whether its matrix product is near the best rate."""
    products = {name[1]: min(seconds) for name, seconds in samples.items() if name[0] == "gating product"}
    block_rows = min(products, key=products.get)
    gflops = 2 * n_rows * n_features * n_hyperplanes() / products[block_rows] / 1e9
    square_gflops = 2 * SQUARE_SIZE**3 / min(samples["square product"]) / 1e9
    pair = min(samples["pair"])
    pairs_seconds = pair * n_rows * len(DIGITS) * PYGLN["layer_sizes"][0] / cpu_count()
    return {
        "seconds": products[block_rows] + pairs_seconds,
        "gating_seconds": products[block_rows],
        "gating_block_rows": block_rows,
        "gating_gflops": gflops,
        "square_gflops": square_gflops,
        "fair": gflops >= FAIR_SHARE * square_gflops,
        "pairs_seconds": pairs_seconds,
        "nanoseconds_per_pair": pair * 1e9,
        "cores": cpu_count(),
    }


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
            learn(network, kernels, base_logits, side_info, targets, None, numbers, online.settings)
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
    rate, max_logit, max_weight = (
        dtype.type(value) for value in (settings.learning_rate_init, settings.max_logit, settings.max_weight)
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
            logits = np.clip(np.vecdot(weights, inputs[:, np.newaxis]), -max_logit, max_logit)
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
            found = learn(network, kernels, *rows, targets, None, np.arange(len(X_check)) + 1, online.settings)
        for layer_found, layer_expected in zip(found, expected, strict=True):
            np.testing.assert_allclose(layer_found, layer_expected, rtol=0, atol=tolerance)


# Subcommand default


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


# Subcommand scaling


def scaling(options):
    """Seconds of a pass over synthetic rows, with one size at a time varied around the base."""
    base = SCALING_BASE | {"rows": options.rows}
    ranges = SCALING_RANGES | {"rows": [options.rows * n // SCALING_BASE["rows"] for n in SCALING_RANGES["rows"]]}
    cases = {(name, value): base | {name: value} for name, values in ranges.items() for value in values}
    warm_up = {backend: synthetic_pass_seconds(backend, options.preset, base) for backend in BACKENDS}
    samples = measure_in_turn(
        {
            (backend, *key): partial(synthetic_pass_seconds, backend, options.preset, sizes)
            for key, sizes in cases.items()
            for backend in BACKENDS
        },
        options.repeats,
    )
    curves = {
        name: {
            backend: describe_curve(values, [summarise(samples[backend, name, value]) for value in values])
            for backend in BACKENDS
        }
        for name, values in ranges.items()
    }
    print_table(
        {
            "seconds against": name,
            "from": values[0],
            "to": values[-1],
            **{f"slope, {backend}": curve["slope"] for backend, curve in curves[name].items()},
        }
        for name, values in ranges.items()
    )
    if options.out:
        plot_scaling(curves, base, options.repeats, options.out)
    return {"base": base, "n_jobs": SCALING_JOBS, "warm_up_seconds": warm_up, "curves": curves}


def synthetic_pass_seconds(backend, preset, sizes):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((sizes["rows"], sizes["inputs"]), dtype=np.float32)
    y = np.argmax(X @ rng.standard_normal((sizes["inputs"], sizes["outputs"]), dtype=np.float32), axis=1)
    network = {"layer_sizes": (sizes["neurons"],) * 2, "context_dim": sizes["context_dim"]}
    params = PRESETS[preset] | network | {"backend": backend, "n_jobs": SCALING_JOBS[backend], "random_state": 0}
    model = GLNClassifier(**params)
    touch_memory(**network, n_inputs=sizes["inputs"], n_outputs=sizes["outputs"])
    return seconds_of(model.partial_fit, X, y, classes=np.arange(sizes["outputs"]))


def describe_curve(values, seconds):
    """The slope is that of the best seconds in the upper half of the range, on logarithmic axes."""
    values, best = np.array(values), np.array([summary["min"] for summary in seconds])
    upper = values >= np.sqrt(values[0] * values[-1])
    slope = np.polyfit(np.log(values[upper]), np.log(best[upper]), 1)[0]
    return {"values": values.tolist(), "seconds": seconds, "slope": float(slope)}


def plot_scaling(curves, base, repeats, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    panels = figure.subplots(2, 3, sharey=True).flat
    for panel, (name, by_backend) in zip(panels, curves.items(), strict=False):
        for backend, curve in by_backend.items():
            best = [summary["min"] for summary in curve["seconds"]]
            label = f"{backend}, n_jobs={SCALING_JOBS[backend]}"
            panel.plot(curve["values"], best, label=label, **SERIES_STYLES[backend])
        values = np.array(curve["values"])
        lowest = min(c["seconds"][-1]["min"] for c in by_backend.values())
        panel.plot(values, 0.6 * lowest * values / values[-1], color="0.4", linestyle=":", label="slope 1")
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks(values, values)
        panel.minorticks_off()
        panel.grid(color="0.9")
        panel.set_xlabel("neurons in each of two layers" if name == "neurons" else name)
        slopes = ", ".join(f"{backend} {curve['slope']:.2f}" for backend, curve in by_backend.items())
        panel.set_title(f"slopes: {slopes}", fontsize="medium")
    for panel in figure.axes[::3]:
        panel.set_ylabel(f"seconds of one pass, best of {repeats}")
    figure.axes[-1].set_axis_off()
    figure.axes[-1].legend(*figure.axes[0].get_legend_handles_labels(), loc="center", frameon=False)
    figure.suptitle("around " + ", ".join(f"{name} = {value}" for name, value in base.items()))
    figure.savefig(path, dpi=200)


# Subcommand single


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
    kernels, settings = in_tasks(get_kernels()), online.settings

    def learn_in_network(x, label):
        inputs = online.predictor.transform(x, kernels)
        learn(online.network, kernels, *inputs, label[:, np.newaxis] == 1, None, number, settings)

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


def print_floor(floor):
    share = floor["gating_gflops"] / floor["square_gflops"]
    verdict = "fair" if floor["fair"] else f"not fair: below {FAIR_SHARE:.0%}, repeat on a quiet machine"
    print(
        f"floor {floor['seconds']:.2f} s\n"
        f"  gating product {floor['gating_seconds']:.2f} s in blocks of {floor['gating_block_rows']} rows, "
        f"{floor['gating_gflops']:.0f} GFLOP/s, {share:.0%} of the {floor['square_gflops']:.0f} of a square product "
        f"({verdict})\n"
        f"  dot products and updates {floor['pairs_seconds']:.2f} s, {floor['nanoseconds_per_pair']:.0f} ns a pair, "
        f"{floor['cores']} cores"
    )


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


if __name__ == "__main__":
    main()
