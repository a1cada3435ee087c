"""Peak memory of one pass, against weights and data."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from common import (
    DIGITS,
    PRESETS,
    add_command,
    add_options,
    in_new_process,
    measure_in_turn,
    peak_memory,
    print_table,
    summarise,
)
from internals import weight_bytes

from sklearn_gln import GLNClassifier
from sklearn_gln.datasets import fetch_mnist
from sklearn_gln.kernels import get_kernels

BACKENDS = ("numba", "numpy")
MEMORY_PRESETS = ("pygln", "one-pass")
MEGABYTE = 1e6


def add_memory(subparsers):
    parser = add_command(subparsers, memory, "peak memory of one pass", "speed")
    add_options(parser, "--repeats", "--mnist", "--rows")
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
    return {"unit": "megabytes"}, runs


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


def save_training_rows(folder, mnist, n_rows):
    """Save the rows to files, so that unpacking and deskewing the images is not part of what is measured."""
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
        weights = weight_bytes(model)
    return {
        "peak": peak_memory() / MEGABYTE,
        "weights": weights / MEGABYTE,
        "data": (X.nbytes + y.nbytes) / MEGABYTE,
    }
