"""How fast the same network learns and predicts on every backend, compared with Numba in the same run.

One pass over MNIST's training rows with the plain learner (16-16-1) and with the most accurate one::

    python benchmarks/backends.py learn --json

One pass of the regressor over generated rows of ten features, with either likelihood::

    python benchmarks/backends.py regress --rows 20000

Rows per second against the batch size and the width of the layers, as a picture::

    python benchmarks/backends.py sizes --picture backends_sizes.png

Predicting 10,000 rows, against a bound: the gating product at the framework's matrix-product rate, and each selected
weight row read from memory, at the best rate that one of the frameworks reaches::

    python benchmarks/backends.py predict

A cost model of the form that runs on GPUs: kernel launches and bytes for 1,000 rows, counted as PyTorch's operations,
and the time that this would take at given costs of a launch and a byte::

    python benchmarks/backends.py launches

`--device` names where PyTorch, TensorFlow and JAX run; Numba has all cores. What is compared is measured in turn in the
same run. A first chunk, learned by a model that is thrown away, pays for compilation and is reported apart.
"""

import argparse
from functools import partial

import numpy as np
from common import (
    DIGITS,
    ONE_PASS,
    PYGLN,
    add_command,
    add_options,
    pass_seconds,
    print_table,
    ratio,
    run_and_record,
    seconds_of,
    time_in_turn,
)
from internals import hyperplane_elements, layers_of
from sklearn.datasets import make_friedman1

from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln.datasets import fetch_mnist
from sklearn_gln.kernels import BACKENDS, get_kernels

LEARNERS = {"plain": PYGLN, "one-pass": ONE_PASS}
LIKELIHOODS = ("squared", "gaussian")
WARM_UP_ROWS = 2 * 2048 + 100  # each number of rows that kernels are compiled for
SIZES = {
    "batch_size": [1, 4, 16, 64, 256],
    "neurons in each of two layers": [16, 64, 256],
}
PREDICTED_ROWS = 10_000
SQUARE_SIZE = 2048
READ_BYTES = 2**28
LAUNCH_ROWS = 1000
STYLES = {
    "numba": {"color": "#0072B2", "marker": "o"},
    "numpy": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    "torch": {"color": "#009E73", "marker": "^", "linestyle": "-."},
    "tensorflow": {"color": "#CC79A7", "marker": "D", "linestyle": ":"},
    "jax": {"color": "#000000", "marker": "v", "linestyle": (0, (5, 1))},
}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for run, summary in (
        (learn, "one pass on every backend"),
        (regress, "the same of the regressor"),
        (sizes, "rows per second against batch size and width"),
        (predict, "10,000 rows against a bound"),
        (launches, "kernel launches and bytes"),
    ):
        command = add_command(subparsers, run, summary, "backends")
        add_options(command, "--repeats", "--mnist", "--rows", "--picture")
        command.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
        command.add_argument("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
        command.add_argument("--device", help="of PyTorch, TensorFlow and JAX")
        command.add_argument("--launch-microseconds", type=float, default=5.0, help="cost model (%(default)s)")
        command.add_argument("--gigabytes-per-second", type=float, default=3000.0, help="cost model (%(default)s)")
    return run_and_record(parser.parse_args(arguments))


def new(backend, device, kind=GLNClassifier, **params):
    device = device if get_kernels(backend).ON_DEVICE else None
    return kind(**params, backend=backend, device=device, n_jobs=-1, random_state=0)


def train_rows(options):
    X, y = fetch_mnist(subset="train", folder=options.mnist, return_X_y=True)
    return X[: options.rows], y[: options.rows]


def learn(options):
    """One pass over the training images."""
    X, y = train_rows(options)
    models = {
        (learner, backend): new(backend, options.device, **LEARNERS[learner])
        for learner in options.learners
        for backend in options.backends
    }
    return compare_passes(models, X, y, DIGITS, options.repeats)


def regress(options):
    """As `learn`, of the regressor with its default settings."""
    X, y = make_friedman1(options.rows or 20_000, noise=1.0, random_state=0)
    models = {
        (likelihood, backend): new(backend, options.device, GLNRegressor, likelihood=likelihood)
        for likelihood in LIKELIHOODS
        for backend in options.backends
    }
    return compare_passes(models, X, y, None, options.repeats)


def compare_passes(models, X, y, classes, repeats):
    """Seconds of a pass of each model, compilation apart, and how many times Numba's they are."""
    first = X[:WARM_UP_ROWS], y[:WARM_UP_ROWS], classes
    warm_up = {key: pass_seconds(model, *first) for key, model in models.items()}
    again = {key: pass_seconds(model, *first) for key, model in models.items()}
    seconds = time_in_turn({key: partial(pass_seconds, model, X, y, classes) for key, model in models.items()}, repeats)
    runs = [
        {
            "learner": learner,
            "backend": backend,
            "seconds": seconds[learner, backend],
            "/ numba": ratio(seconds[learner, backend], seconds.get((learner, "numba"))),
            "compilation": warm_up[learner, backend] - again[learner, backend],
        }
        for learner, backend in models
    ]
    print("min (median)")
    print_table(runs)
    return {"n_rows": len(X)}, runs


def sizes(options):
    """Rows per second of the plain learner, from batch to batch and from width to width."""
    X, y = train_rows(options)
    curves = {}
    for name, values in SIZES.items():
        models = {
            (backend, value): new(backend, options.device, **PYGLN | changed(name, value))
            for value in values
            for backend in options.backends
        }
        for model in models.values():
            pass_seconds(model, X[:WARM_UP_ROWS], y[:WARM_UP_ROWS], DIGITS)
        seconds = time_in_turn(
            {key: partial(pass_seconds, model, X, y, DIGITS) for key, model in models.items()}, options.repeats
        )
        curves[name] = {
            backend: [len(X) / seconds[backend, value]["min"] for value in values] for backend in options.backends
        }
        print_table({name: value, **{b: c[i] for b, c in curves[name].items()}} for i, value in enumerate(values))
    if options.picture:
        plot(curves, len(X), options.picture)
    return {"n_rows": len(X)}, [
        {"varied": name, "backend": backend, "values": SIZES[name], "rows_per_second": rates}
        for name, by_backend in curves.items()
        for backend, rates in by_backend.items()
    ]


def changed(name, value):
    return {name: value} if name == "batch_size" else {"layer_sizes": (value, value)}


def plot(curves, n_rows, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    for panel, (name, by_backend) in zip(figure.subplots(1, 2), curves.items(), strict=True):
        for backend, rates in by_backend.items():
            panel.plot(SIZES[name], rates, label=backend, **STYLES[backend])
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks(SIZES[name], SIZES[name])
        panel.minorticks_off()
        panel.grid(color="0.9")
        panel.set_xlabel(name)
    figure.axes[0].set_ylabel("rows learned per second")
    figure.axes[1].legend(frameon=False)
    figure.suptitle(f"plain learner, {n_rows:,} rows of 784 features, ten outputs")
    figure.savefig(path, dpi=200)


def predict(options):
    """Seconds for 10,000 rows after 5,000 learned, and the bound of each framework."""
    X, y = train_rows(options)
    rows = np.resize(X, (PREDICTED_ROWS, X.shape[1]))
    runs = []
    for learner in options.learners:
        models = {
            backend: new(backend, options.device, **LEARNERS[learner]).partial_fit(X[:5000], y[:5000], DIGITS)
            for backend in options.backends
        }
        for model in models.values():
            model.predict_proba(rows)
        times = time_in_turn(
            {backend: partial(seconds_of, model.predict_proba, rows) for backend, model in models.items()}
            | {("rates", backend): partial(rates_of, backend, options.device) for backend in models},
            options.repeats,
        )
        bandwidth = max(max(times["rates", backend]["bytes"]["all"]) for backend in models)
        for backend, model in models.items():
            operations, read = work_of(model, len(rows))
            flops = max(times["rates", backend]["operations"]["all"])
            bound = operations / flops + read / bandwidth
            seconds = times[backend]
            runs.append(
                {
                    "learner": learner,
                    "backend": backend,
                    "seconds": seconds,
                    "bound": bound,
                    "/ bound": seconds["min"] / bound,
                    "float64 GFLOP/s": flops / 1e9,
                    "GB/s": bandwidth / 1e9,
                }
            )
    print_table(runs)
    return {"n_rows": PREDICTED_ROWS}, runs


def work_of(model, n_rows):
    """Operations of the gating product, and bytes of the slots that are selected, for n_rows rows."""
    operations = 2 * n_rows * hyperplane_elements(model)
    weights = [layer.weights for layer in layers_of(model)]
    read = sum(n_rows * w.shape[0] * w.shape[1] * w.shape[3] for w in weights) * np.dtype(model.dtype).itemsize
    return operations, read


def rates_of(backend, device):
    """Operations of a float64 matrix product, as in gating, and bytes of a sum of squares per second."""
    kernels = get_kernels(backend)
    rng = np.random.default_rng(0)
    with kernels.scope(device if kernels.ON_DEVICE else None):
        block = kernels.asarray(rng.standard_normal((SQUARE_SIZE, 1, SQUARE_SIZE)))
        matrix = kernels.asarray(rng.standard_normal((1, SQUARE_SIZE, SQUARE_SIZE)))
        memory = kernels.asarray(np.ones((READ_BYTES // 4096, 1, 1024), np.float32))
        seconds = []
        for work in (partial(kernels.precondition, block, matrix), partial(kernels.precondition, memory, None)):
            for _ in range(2):  # `to_numpy` waits for work that frameworks do later; the first call compiles
                last = seconds_of(lambda work=work: kernels.to_numpy(work()[1]))
            seconds.append(last)
    return {"operations": 2 * SQUARE_SIZE**3 / seconds[0], "bytes": READ_BYTES / seconds[1]}


def launches(options):
    """PyTorch's operations that are not views, and the bytes they read and write, for 1,000 rows in one call."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Count(TorchDispatchMode):
        n_launches = n_bytes = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if not function.is_view:
                tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
                self.n_launches += 1
                self.n_bytes += bytes_of(tensors)
            return result

    def bytes_of(tensors):
        dense = [tensor for tensor in tensors if tensor.layout == torch.strided]
        if len(dense) == len(tensors):
            return sum(tensor.numel() * tensor.element_size() for tensor in dense)
        # Sparse products read a weight row and a row of inputs for each place where they meet.
        met = max(tensor.values().numel() for tensor in tensors if tensor.layout == torch.sparse_csr)
        width = max((min(tensor.shape) for tensor in dense if tensor.ndim == 2), default=1)
        return 2 * met * width * tensors[0].element_size()

    X, y = train_rows(options)
    seen, rows = slice(0, 2048), slice(2048, 2048 + LAUNCH_ROWS)
    runs = []
    for learner in options.learners:
        model = new("torch", "cpu", **LEARNERS[learner]).partial_fit(X[seen], y[seen], classes=DIGITS)
        for task in ("learn", "predict"):
            with Count() as count:
                model.partial_fit(X[rows], y[rows]) if task == "learn" else model.predict_proba(X[rows])
            seconds = count.n_launches * options.launch_microseconds / 1e6
            seconds += count.n_bytes / options.gigabytes_per_second / 1e9
            runs.append(
                {
                    "learner": learner,
                    "task": task,
                    "launches": count.n_launches,
                    "GB": count.n_bytes / 1e9,
                    "modelled ms": 1e3 * seconds,
                }
            )
    print_table(runs)
    return {"n_rows": LAUNCH_ROWS}, runs


if __name__ == "__main__":
    main()
