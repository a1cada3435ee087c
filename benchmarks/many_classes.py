"""How time and memory grow with the number of classes, where halfspaces are shared by all of them.

A network 16-1 (one hidden layer of 16 neurons, then one neuron) for each of 10, 100 and 1,000 classes, learned on
100,000 rows one against all, and for 1,000 classes on fewer rows::

    python benchmarks/many_classes.py --json

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
from functools import partial
from itertools import pairwise
from time import perf_counter

import numpy as np
from common import (
    add_json_option,
    add_options,
    in_new_process,
    peak_memory,
    positive_int,
    print_table,
    run_and_record,
    time_in_turn,
)
from internals import Timed, weight_bytes

from sklearn_gln import GLNClassifier

NETWORK = {"layer_sizes": (16,), "aggregation": "neuron", "context_dim": 4}
N_FEATURES = 32
QUICK = {"rows": 4096, "classes": [10, 100], "repeats": 1}
MEGABYTE = 1e6
WARM_UP_ROWS = 1024


def main(arguments=None):
    options = build_parser().parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    return run_and_record(options)


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(run=measure)
    add_options(parser, "--rows", "--repeats", rows=100_000, repeats=3)
    parser.add_argument("--classes", type=positive_int, nargs="+", default=[10, 100, 1000], metavar="N")
    parser.add_argument("--chunk", type=positive_int, default=10_000, metavar="N", help="rows a call (%(default)s)")
    parser.add_argument("--backend", default="numba")
    parser.add_argument("--quick", action="store_true", help="fewer rows and classes, once")
    add_json_option(parser, "many_classes")
    return parser


def measure(options):
    """Runs of all sizes, in turn; the number of rows is varied for the most classes."""
    *fewer, most = sorted(options.classes)
    sizes = [(n, options.rows, shared) for n in (*fewer, most) for shared in (True, False)]
    sizes += [(most, options.rows // divisor, True) for divisor in (4, 2)]
    measures = {size: partial(in_new_process, learn, *size, options.chunk, options.backend) for size in sizes}
    runs = [
        {"classes": n_classes, "rows": n_rows, "share_halfspaces": shared, **figures}
        for (n_classes, n_rows, shared), figures in time_in_turn(measures, options.repeats).items()
    ]
    growths = [*exponents(runs, "classes"), *exponents(runs, "rows")]
    print("seconds and megabytes, min (median)")
    print_table(run | {"us/row": 1e6 * run["seconds"]["min"] / run["rows"]} for run in runs)
    print("exponents")
    names = dict.fromkeys(name for growth in growths for name in growth)
    print_table({name: growth.get(name) for name in names} for growth in growths)
    return {"network": NETWORK | {"n_features": N_FEATURES}, "exponents": growths}, runs


def learn(n_classes, n_rows, share_halfspaces, chunk, backend):
    """Seconds and memory that learning all rows takes."""
    X, y = make_classes(n_rows, n_classes)
    params = NETWORK | {"share_halfspaces": share_halfspaces, "backend": backend, "random_state": 0}
    GLNClassifier(**params).fit(*make_classes(WARM_UP_ROWS, 10))
    model, before = Timed(**params), peak_memory()
    start = perf_counter()
    for first in range(0, n_rows, chunk):
        rows = slice(first, first + chunk)
        model.partial_fit(X[rows], y[rows], classes=np.arange(n_classes))
    seconds = perf_counter() - start
    parts = {f"{part}_seconds": of_part for part, of_part in model.seconds.items()}
    return {
        "seconds": seconds,
        **parts,
        "rest_seconds": seconds - sum(parts.values()),
        "peak_megabytes": (peak_memory() - before) / MEGABYTE,
        "weights_megabytes": weight_bytes(model) / MEGABYTE,
        "progressive_accuracy": model.progressive_accuracy_,
    }


def make_classes(n_rows, n_classes, n_features=N_FEATURES, seed=0):
    """Rows X (n, n_features) float32 about the centres of their classes y (n,)."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_rows)
    centres = 2 * rng.standard_normal((n_classes, n_features), dtype=np.float32)
    return centres[y] + rng.standard_normal((n_rows, n_features), dtype=np.float32), y


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


if __name__ == "__main__":
    main()
