"""How time and memory grow with the number of classes, where halfspaces are shared by all of them.

A network 16-1 (one hidden layer of 16 neurons, then one neuron) for each of 10, 100 and 1,000 classes, learned on
100,000 rows one against all, and for 1,000 classes on fewer rows::

    python benchmarks/many_classes.py --json many_classes.json

A minute of it, to see that it runs::

    python benchmarks/many_classes.py --quick

Rows are synthetic: each class has a centre, from which its rows are a standard deviation away in each feature. A run
has a process of its own, in one thread, in which a small fit, thrown away, pays for compilation. Rows are learned in
calls of --chunk. Seconds are split into *gating* (the product of rows and hyperplanes), *neurons* (their steps) and the
*rest* (scaling, preconditioners, the loss of each row). Megabytes are the process's peak above the peak before
learning; *weights* those of the network's arrays. Exponents are slopes on logarithmic axes between neighbouring sizes:
1 is in proportion.
"""

import argparse
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import numpy as np
from common import describe_machine, measure_in_turn, positive_int, print_machine, print_table, summarise, write_json

from sklearn_gln import GLNClassifier

NETWORK = {"layer_sizes": (16,), "aggregation": "neuron", "context_dim": 4}
N_FEATURES = 32
QUICK = {"rows": 4096, "classes": [10, 100], "repeats": 1}
MEGABYTE = 1e6
WARM_UP_ROWS = 1024
PARTS = {"select_contexts": "gating", "linear_learn": "neurons"}


def main(arguments=None):
    options = build_parser().parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    content = {
        "options": {name: value for name, value in vars(options).items() if name not in ("json", "quick")},
        "network": NETWORK | {"n_features": N_FEATURES},
        "environment": describe_machine(),
    }
    print_machine(content["environment"])
    content["runs"] = measure(options)
    content["exponents"] = [*exponents(content["runs"], "classes"), *exponents(content["runs"], "rows")]
    print_runs(content)
    if options.json:
        write_json(options.json, content)
    return content


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=positive_int, default=100_000, metavar="N")
    parser.add_argument("--classes", type=positive_int, nargs="+", default=[10, 100, 1000], metavar="N")
    parser.add_argument("--chunk", type=positive_int, default=10_000, metavar="N", help="rows a call (%(default)s)")
    parser.add_argument("--repeats", type=positive_int, default=3, metavar="N", help="repetitions (%(default)s)")
    parser.add_argument("--backend", default="numba")
    parser.add_argument("--quick", action="store_true", help="fewer rows and classes, once")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


def measure(options):
    """Runs of all sizes, in turn; the number of rows is varied for the most classes."""
    *fewer, most = sorted(options.classes)
    sizes = [(n, options.rows, shared) for n in (*fewer, most) for shared in (True, False)]
    sizes += [(most, options.rows // divisor, True) for divisor in (4, 2)]
    measures = {size: partial(in_a_process, learn, *size, options.chunk, options.backend) for size in sizes}
    samples = measure_in_turn(measures, options.repeats)
    return [
        {"classes": n_classes, "rows": n_rows, "share_halfspaces": shared}
        | {name: summarise([sample[name] for sample in samples[n_classes, n_rows, shared]]) for name in figures}
        for (n_classes, n_rows, shared), (figures, *_) in samples.items()
    ]


def in_a_process(function, *arguments):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(function, *arguments).result()


def learn(n_classes, n_rows, share_halfspaces, chunk, backend):
    """What learning all rows takes."""
    X, y = make_classes(n_rows, n_classes)
    params = NETWORK | {"share_halfspaces": share_halfspaces, "backend": backend, "random_state": 0}
    GLNClassifier(**params).fit(*make_classes(WARM_UP_ROWS, 10))
    model, before = Timed(**params), peak()
    start = perf_counter()
    for first in range(0, n_rows, chunk):
        rows = slice(first, first + chunk)
        model.partial_fit(X[rows], y[rows], classes=np.arange(n_classes))
    seconds = perf_counter() - start
    parts = {f"{part}_seconds": model.seconds[part] for part in PARTS.values()}
    return {
        "seconds": seconds,
        **parts,
        "rest_seconds": seconds - sum(parts.values()),
        "peak_megabytes": peak() - before,
        "weights_megabytes": sum(layer.weights.nbytes for layer in model._online.network.layers) / MEGABYTE,
        "progressive_accuracy": model.progressive_accuracy_,
    }


def make_classes(n_rows, n_classes, n_features=N_FEATURES, seed=0):
    """Rows X (n, n_features) float32 about the centres of their classes y (n,)."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_rows)
    centres = 2 * rng.standard_normal((n_classes, n_features), dtype=np.float32)
    return centres[y] + rng.standard_normal((n_rows, n_features), dtype=np.float32), y


def peak():
    """Megabytes of this process at its peak so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / MEGABYTE


class Timed(GLNClassifier):
    """Sums up the seconds of each part."""

    @property
    def seconds(self):
        return vars(self).setdefault("_seconds", dict.fromkeys(PARTS.values(), 0.0))

    @contextmanager
    def _kernels(self, n_rows):
        with super()._kernels(n_rows) as kernels:
            yield TimedKernels(kernels, self.seconds)


class TimedKernels:
    def __init__(self, kernels, seconds):
        self.kernels, self.seconds = kernels, seconds

    def __getattr__(self, name):
        function = getattr(self.kernels, name)
        if name not in PARTS:
            return function

        def timed(*args, **options):
            start = perf_counter()
            result = function(*args, **options)
            self.seconds[PARTS[name]] += perf_counter() - start
            return result

        return timed


def exponents(runs, size):
    """Between neighbouring sizes, the other one at its largest."""
    other = {"classes": "rows", "rows": "classes"}[size]
    largest = max(run[other] for run in runs)
    described = []
    for shared in (True, False):
        chosen = [run for run in runs if run[other] == largest and run["share_halfspaces"] == shared]
        chosen = sorted(chosen, key=lambda run: run[size])
        for low, high in pairwise(chosen):
            span = np.log(high[size] / low[size])
            growth = {
                name: float(np.log(high[name]["min"] / low[name]["min"]) / span)
                for name in ("seconds", "gating_seconds", "neurons_seconds", "rest_seconds", "peak_megabytes")
                if min(low[name]["min"], high[name]["min"]) > 0
            }
            described.append({"of": size, "share_halfspaces": shared, "from": low[size], "to": high[size], **growth})
    return described


def print_runs(content):
    print("seconds and megabytes, min (median)")
    print_table(
        {
            "classes": run["classes"],
            "rows": run["rows"],
            "halfspaces": "shared" if run["share_halfspaces"] else "of each",
            "seconds": run["seconds"],
            "us/row": 1e6 * run["seconds"]["min"] / run["rows"],
            "gating": run["gating_seconds"],
            "neurons": run["neurons_seconds"],
            "rest": run["rest_seconds"],
            "peak MB": run["peak_megabytes"],
            "weights MB": run["weights_megabytes"]["min"],
        }
        for run in content["runs"]
    )
    print("exponents")
    names = dict.fromkeys(name for growth in content["exponents"] for name in growth)
    print_table({name: growth.get(name) for name in names} for growth in content["exponents"])


if __name__ == "__main__":
    main()
