"""What the benchmarks share: presets, options, runs that resume, timing in turn, the machine, tables and curves."""

import argparse
import ast
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

import numpy as np
from joblib import Parallel, cpu_count, delayed
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_info
from tqdm import tqdm

from sklearn_gln import __version__
from sklearn_gln.datasets import fetch_mnist

PACKAGES = (
    "scikit-learn", "numpy", "scipy", "numba", "torch", "tensorflow-cpu", "tensorflow", "jax", "keras", "river",
    "vowpalwabbit",
)  # fmt: skip
RESULTS = Path(__file__).parent / "results"
DIGITS = np.arange(10)

# Pixels have one unit, and images of one digit are much alike: a common scale, cuts near the middle, full steps. The
# small eps changes no figure, but leaves nearly all rows without a clipped neuron, so that they can be explained.
ONE_PASS = {"base_predictor": "global", "offset_scale": 0.5, "learning_rate_init": 8.0, "eps": 1e-9}
PYGLN = {
    "layer_sizes": (16, 16),
    "context_dim": 4,
    "aggregation": "neuron",
    "skip": False,
    "base_predictor": "minmax",
    "halfspaces": "raw_gaussian",
    "share_halfspaces": False,
    "learning_rate": "constant",
    "learning_rate_init": 1e-4,
    "eps": 1e-3,
    "max_weight": 5.0,
    "initial_weights": "uniform",
}
PYGLN_MLP = {"hidden_layer_sizes": (64,), "activation": "tanh", "learning_rate_init": 2.5e-4}  # its baseline
PRESETS = {"default": {}, "one-pass": ONE_PASS, "pygln": PYGLN}

STYLES = (  # apart in colour-blind eyes and in grey
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    {"color": "#009E73", "marker": "^", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "D", "linestyle": ":"},
    {"color": "#E69F00", "marker": "v", "linestyle": (0, (5, 1, 1, 1, 1, 1))},
)


def load_mnist(folder=None, *, deskew=True, validate=None):
    """X, X_test (n, 784) and y, y_test (n,); to validate on the last rows of the training images, no test image."""
    X, y = fetch_mnist(subset="train", deskew=deskew, folder=folder, return_X_y=True)
    if validate:
        return train_test_split(X, y, test_size=validate, shuffle=False)
    X_test, y_test = fetch_mnist(subset="test", deskew=deskew, folder=folder, return_X_y=True)
    return X, X_test, y, y_test


def running_moments(X):
    """Means and deviations (n, n_features) of the rows up to each; a deviation of 0 counts as 1."""
    counts = np.arange(1, len(X) + 1)[:, np.newaxis]
    shifted = X - X[0]
    means = np.cumsum(shifted, axis=0) / counts
    variances = np.maximum(np.cumsum(np.square(shifted), axis=0) / counts - np.square(means), 0)
    return X[0] + means, np.where(variances > 1e-12, np.sqrt(variances), 1)


def scale_online(X):
    """Each row scaled by the mean and deviation of the rows up to it."""
    means, deviations = running_moments(X)
    return (X - means) / deviations


# Options of the command line


def add_param_option(parser, text="a parameter of GLNClassifier, over a preset's"):
    parser.add_argument(
        "--param",
        type=parse_param,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"{text}; may be given several times",
    )


def parse_param(text):
    """('context_dim', 4) of "context_dim=4"; what is no Python literal stays a string."""
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE, such as context_dim=4")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def positive_int(text):
    return _positive(int, text)


def positive_float(text):
    return _positive(float, text)


def one_of(names):
    """The type of an argument that is one of these names; `choices` would refuse that there are none."""

    def check(text):
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(names)}")
        return text

    return check


def _positive(kind, text):
    try:
        number = kind(text)
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive {kind.__name__}")
    return number


# Runs that resume


def run_tasks(function, tasks, path, *, n_jobs=1):
    """What function(**task) returns for each task, as records {**task, **result} in the order of the tasks.

    The file of records (JSON) is written whenever a task is done, and tasks that it has a record of are not run again:
    a run that was stopped goes on where it was. Tasks and results are dicts of what JSON can hold. With n_jobs > 1
    tasks run side by side in processes, each on its share of the cores.
    """
    tasks = json.loads(json.dumps(tasks))  # as they will be read again
    content = json.loads(path.read_text()) if path.exists() else {"records": []}
    records = content["records"]
    left = [task for task in tasks if _record_of(task, records) is None]
    content["environment"] = describe_machine() | {"processes": n_jobs}
    path.parent.mkdir(parents=True, exist_ok=True)
    finished = Parallel(n_jobs, return_as="generator_unordered")(delayed(_run_task)(function, task) for task in left)
    for record in tqdm(finished, desc=path.stem, total=len(tasks), initial=len(tasks) - len(left), disable=None):
        records.append(record)
        write_json(path, content)
    return [_record_of(task, records) for task in tasks]


def _run_task(function, task):
    return {**task, **function(**task)}


def _record_of(task, records):
    return next((record for record in records if all(record.get(name) == value for name, value in task.items())), None)


def write_json(path, content):
    """Write the whole file or nothing."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    unfinished.replace(path)


# Timing


def measure_in_turn(measures, repeats):
    """Call the functions one after the other, `repeats` times over; what each returned, as a list, by name."""
    samples = {name: [] for name in measures}
    with tqdm(total=repeats * len(measures), leave=False, disable=None) as bar:
        for _ in range(repeats):
            for name, measure in measures.items():
                bar.set_postfix_str(str(name), refresh=True)
                samples[name].append(measure())
                bar.update()
    return samples


def summarise(values):
    return {"min": min(values), "median": float(np.median(values)), "all": list(values)}


def ratio(above, below):
    return {key: above[key] / below[key] for key in ("min", "median")}


def compare(samples, above, below):
    """The ratio of two entries; None where the first was not measured."""
    return ratio(summarise(samples[above]), summarise(samples[below])) if above in samples else None


def seconds_of(function, *arguments, **keywords):
    start = perf_counter()
    function(*arguments, **keywords)
    return perf_counter() - start


# The machine


def environment():
    """Versions of what takes part, and the machine."""
    return {
        "python": platform.python_version(),
        "sklearn_gln": __version__,
        "packages": {name: found for name in PACKAGES if (found := installed_version(name))},
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
    }


def installed_version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def describe_machine():
    """Versions, processor, BLAS, and how busy the machine was before the run."""
    blas = [info for info in threadpool_info() if info["user_api"] == "blas"]
    return {
        **environment(),
        "cpu": cpu_model(),
        "usable_cores": cpu_count(),
        "blas": [{key: value for key, value in info.items() if key != "filepath"} for info in blas],
        "load_average": os.getloadavg(),
    }


def cpu_model():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def print_machine(machine):
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    print(f"sklearn_gln {machine['sklearn_gln']}, Python {machine['python']}, {packages}")
    print(f"{machine['cpu']}, {machine['usable_cores']} cores, load average {machine['load_average'][0]:.1f}")
    for blas in machine["blas"]:
        print(
            f"{blas['internal_api']} {blas['version']} for {blas.get('architecture')}, {blas['num_threads']} threads "
            f"({blas['prefix']})"
        )


# Tables in print


def print_table(rows, form=".2f"):
    """Print dicts of the same keys; a summary shows as "min (median)"."""
    rows = list(rows)
    cells = [list(rows[0]), *([show(value, form) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def show(value, form=".2f"):
    if value is None:
        return ""
    if isinstance(value, dict):
        return f"{value['min']:{form}} ({value['median']:{form}})"
    return format(value, form) if isinstance(value, float) else str(value)


# Curves


def draw_band(ax, x, runs, style, label):
    """The mean of the runs at each x as a line, lowest to highest as a band; places may have more runs than others."""
    counts = sorted({len(values) for values in runs})
    label = f"{label} ({' to '.join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))} runs)"
    ax.plot(x, [np.mean(values) for values in runs], **style, markersize=4, label=label)
    low, high = [min(values) for values in runs], [max(values) for values in runs]
    ax.fill_between(x, low, high, color=style["color"], alpha=0.2, linewidth=0)
