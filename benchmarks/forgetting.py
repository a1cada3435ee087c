"""How much of earlier tasks is left after later ones: Gated Linear Networks and MLPs, told of no task boundaries.

Permuted MNIST: ten tasks in turn, the images as they are and with their pixels in nine fixed random orders::

    python benchmarks/forgetting.py permuted

Split MNIST: five tasks of two digits each; "all ten digits" may be answered (class-incremental), or, from the same run,
"the task's two" only (task-aware)::

    python benchmarks/forgetting.py split

Both in a minute each on one core, three tasks of few rows, apart from recorded results::

    python benchmarks/forgetting.py permuted --quick
    python benchmarks/forgetting.py split --quick

GLNs run with settings that were chosen for one pass over MNIST as a single task. The MLPs' were chosen for these
tasks, in their favour: by the average over all tasks after the last, in trials of 24 settings with one seed on the
last 10,000 training images in place of the test images. With permuted tasks wide layers and SGD kept most (89.9 %,
next 87.5 %). With split tasks, where every MLP forgets all but the last if all digits may be answered, the other
protocol decided: no setting was better than the chosen one by more than 0.2 points. Dropout is .5 of the hidden
neurons, else the same. "MLP, Adam" is a usual choice, among the best on the first task. Settings are for 20,000 rows a
task: with few, as in --quick, SGD learns too slowly. To repeat the trials of three widths, SGD and Adam, at four rates
each::

    python benchmarks/forgetting.py permuted --choose --seeds 0
    python benchmarks/forgetting.py split --choose --seeds 0

Each task's rows are drawn again and seen once, by GLNs row by row, by MLPs in batches. Seconds are those of
learning, on one thread. Runs that were recorded are not repeated.
"""

import argparse
import importlib.util
import json
from dataclasses import dataclass
from functools import partial

import numpy as np
from common import (
    DIGITS,
    ONE_PASS,
    PYGLN,
    RESULTS,
    STYLES,
    add_options,
    draw_band,
    load_mnist,
    positive_int,
    print_table,
    run_tasks,
    seconds_of,
)
from threadpoolctl import threadpool_limits

from sklearn_gln import GLNClassifier

QUICK = {"train_rows": 1000, "test_rows": 1000, "tasks": 3, "seeds": [0, 1], "out": RESULTS / "quick"}
VALIDATION_ROWS = 10_000
ALL_DIGITS, OWN_DIGITS = "all ten digits", "the task's two"  # the possible answers
MORE_STYLES = (*STYLES, {"color": "#000000", "marker": "x", "linestyle": (0, (1, 1))})


class MLP:
    """A multilayer perceptron learned online by backpropagation, with the methods of a scikit-learn classifier."""

    def __init__(self, *, hidden, activation, dropout, optimizer, learning_rate, batch_size, random_state):
        import torch
        from torch import nn

        torch.set_num_threads(1)
        torch.manual_seed(random_state)
        layers = []
        for width in hidden:
            layers += [nn.LazyLinear(width), getattr(nn, activation)(), nn.Dropout(dropout)]
        self.network = nn.Sequential(*layers)
        self.make_optimizer = partial(getattr(torch.optim, optimizer), lr=learning_rate)
        self.optimizer = None
        self.batch_size = batch_size

    def partial_fit(self, X, y, classes):
        """Learn rows X (n, n_features) of class numbers y (n,) once, in their order."""
        from torch import from_numpy
        from torch.nn import LazyLinear
        from torch.nn.functional import cross_entropy

        if self.optimizer is None:
            self.network.append(LazyLinear(len(classes)))
            self.network(from_numpy(X[:1]))  # gives the layers their sizes
            self.optimizer = self.make_optimizer(self.network.parameters())
        self.network.train()
        for X_batch, y_batch in zip(*(from_numpy(rows).split(self.batch_size) for rows in (X, y)), strict=True):
            self.optimizer.zero_grad()
            cross_entropy(self.network(X_batch), y_batch).backward()
            self.optimizer.step()

    def predict_proba(self, X):
        import torch

        self.network.eval()
        with torch.no_grad():
            return self.network(torch.from_numpy(X)).softmax(dim=1).numpy()


WIDTHS = {
    "64 tanh": {"hidden": [64], "activation": "Tanh"},
    "256-256": {"hidden": [256, 256], "activation": "ReLU"},
    "1000-1000": {"hidden": [1000, 1000], "activation": "ReLU"},
}
RATES = {"SGD": (0.01, 0.03, 0.1, 0.3), "Adam": (3e-5, 1e-4, 3e-4, 1e-3)}
CHOSEN_RATE = {"permuted": 0.1, "split": 0.03}  # of SGD


def mlp_params(width, optimizer, learning_rate, dropout=0.0):
    steps = {"optimizer": optimizer, "learning_rate": learning_rate, "batch_size": 32}
    return {**WIDTHS[width], **steps, "dropout": dropout}


def models_of(scenario):
    """Label, which says the class, and parameters of each model, by name."""
    chosen = partial(mlp_params, "1000-1000", "SGD", CHOSEN_RATE[scenario])
    return {
        "gln": ("GLN, one pass", ONE_PASS),
        "gln-mixed": ("GLN, half_life='auto'", {**ONE_PASS, "half_life": "auto"}),
        "pygln": ("GLN, PyGLN's settings", PYGLN),
        "mlp": ("MLP, SGD", chosen()),
        "mlp-dropout": ("MLP, SGD, dropout", chosen(dropout=0.5)),
        "mlp-adam": ("MLP, Adam", mlp_params("256-256", "Adam", 1e-3)),
    }


def mlps_to_choose_from():
    """As `models_of`."""
    settings = [(width, optimizer, rate) for width in WIDTHS for optimizer in RATES for rate in RATES[optimizer]]
    return {setting: ("MLP {}, {} {:g}".format(*setting), mlp_params(*setting)) for setting in settings}


@dataclass(frozen=True)
class Task:
    """The images of some digits, their pixels in some order."""

    digits: np.ndarray  # (n_digits,)
    pixels: np.ndarray  # (784,)

    def rows_of(self, X, y):
        """Images (n, 784) and digits (n,) of this task, of those given."""
        own = np.isin(y, self.digits)
        return X[own][:, self.pixels], y[own]


def permuted_tasks(n_tasks, n_pixels, rng):
    orders = [np.arange(n_pixels), *(rng.permutation(n_pixels) for _ in range(1, n_tasks))]
    return [Task(DIGITS, order) for order in orders]


def split_tasks(n_tasks, n_pixels, _rng):
    return [Task(pair, np.arange(n_pixels)) for pair in DIGITS.reshape(-1, 2)[:n_tasks]]


SCENARIOS = {"permuted": (permuted_tasks, 10), "split": (split_tasks, 5)}
NAMES = list(models_of("permuted"))


def main(arguments=None):
    options = parse(arguments)
    models = models_of(options.scenario)
    models = mlps_to_choose_from() if options.choose else {name: models[name] for name in options.models}
    tasks = [
        {
            "scenario": options.scenario,
            "validate": options.choose,
            "model": label,
            "params": json.loads(json.dumps(params)),  # as records hold them
            "raw": options.raw,
            "tasks": options.tasks or SCENARIOS[options.scenario][1],
            "train_rows": options.train_rows,
            "test_rows": options.test_rows,
            "seed": seed,
        }
        for seed in options.seeds
        for label, params in models.values()
    ]
    path = options.out / f"forgetting_{options.scenario}.jsonl"
    validate = VALIDATION_ROWS if options.choose else None
    data = load_mnist(options.mnist, deskew=not options.raw, validate=validate)
    records = run_tasks(partial(learn_tasks, data), tasks, path, n_jobs=options.jobs)
    print_summary(records)
    if not options.choose:
        draw(records, path.with_suffix(".png"))
    return records


def parse(arguments):
    parser = build_parser()
    if parser.parse_args(arguments).quick:
        parser.set_defaults(**QUICK)
    options = parser.parse_args(arguments)
    if not importlib.util.find_spec("torch") and (options.choose or any("mlp" in name for name in options.models)):
        parser.error("the MLPs need PyTorch: pip install torch, or leave them out with --models gln pygln")
    return options


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=SCENARIOS)
    add_options(parser, "--mnist", "--raw", "--seeds", "--jobs", "--out", seeds=[0, 1, 2])
    parser.add_argument("--models", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help="%(choices)s")
    parser.add_argument("--choose", action="store_true", help="compare settings of the MLP on validation images")
    parser.add_argument("--tasks", type=positive_int, metavar="N", help="the first N (10 permuted, 5 split)")
    parser.add_argument(
        "--train-rows", type=positive_int, default=20_000, metavar="N", help="of each task, at most (%(default)s)"
    )
    parser.add_argument("--test-rows", type=positive_int, default=10_000, metavar="N", help="test images (%(default)s)")
    parser.add_argument(
        "--quick", action="store_true", help="few rows, tasks and seeds; --out benchmarks/results/quick"
    )
    return parser


# Runs


def learn_tasks(data, *, scenario, model, params, tasks, train_rows, test_rows, seed, **_):
    """Learn the tasks in turn; accuracy[answers][i][j] is that on task j after task i, seconds[i] of learning it."""
    X, X_test, y, y_test = data
    rng = np.random.default_rng(seed)
    tasks = SCENARIOS[scenario][0](tasks, X.shape[1], rng)
    tests = [task.rows_of(X_test[:test_rows], y_test[:test_rows]) for task in tasks]
    with threadpool_limits(1):
        warm_up(model, params, X, y)
        learner = make_model(model, params, seed)
        accuracy, seconds = {}, []
        for i, task in enumerate(tasks):
            X_task, y_task = task.rows_of(X, y)
            order = rng.permutation(len(X_task))[:train_rows]
            X_task, y_task = X_task[order], y_task[order]
            seconds.append(seconds_of(learner.partial_fit, X_task, y_task, classes=DIGITS))
            scores = [score(learner, task, *test) for task, test in zip(tasks[: i + 1], tests, strict=False)]
            for answers in scores[0]:
                accuracy.setdefault(answers, []).append([of_task[answers] for of_task in scores])
    return {"accuracy": accuracy, "seconds": seconds}


def make_model(label, params, seed):
    return (GLNClassifier if label.startswith("GLN") else MLP)(**params, random_state=seed)


def warm_up(label, params, X, y):
    """Have what learning needs compiled before it is timed."""
    model = make_model(label, params, seed=0)
    X, y = X[:512].copy(), y[:512].copy()  # processes share data that cannot be written, of which PyTorch warns
    model.partial_fit(X, y, classes=DIGITS)
    model.predict_proba(X)


def score(model, task, X, y):
    """Accuracy on a task's test rows X (n, 784) of digits y (n,), by possible answers."""
    probabilities = model.predict_proba(X)
    scores = {ALL_DIGITS: probabilities.argmax(axis=1) == y}
    if len(task.digits) < len(DIGITS):
        scores[OWN_DIGITS] = task.digits[probabilities[:, task.digits].argmax(axis=1)] == y
    return {answers: float(hits.mean()) for answers, hits in scores.items()}


# Summaries


def print_summary(records):
    """Means over the seeds."""
    for answers in records[0]["accuracy"]:
        print(f"\n{records[0]['scenario']} MNIST, possible answers: {answers}")
        print_table(
            {"model": label, **{name: float(np.mean([row[name] for row in rows])) for name in rows[0]}}
            for label, rows in by_model(records, partial(summarise, answers)).items()
        )


def by_model(records, function):
    """The function's values for the records of each model, as lists, by label."""
    labels = dict.fromkeys(record["model"] for record in records)
    return {label: [function(record) for record in records if record["model"] == label] for label in labels}


def summarise(answers, record):
    """Forgetting: what was lost since a task was known best, on average over all tasks but the last."""
    accuracy = record["accuracy"][answers]
    best = [max(row[task] for row in accuracy[task:]) for task in range(len(accuracy))]
    return {
        "average %": 100 * np.mean(accuracy[-1]),
        "forgetting %": 100 * np.mean(np.subtract(best, accuracy[-1])[:-1]),
        "first task when new %": 100 * accuracy[0][0],
        "last task when new %": 100 * accuracy[-1][-1],
        "seconds": sum(record["seconds"]),
    }


def curve(answers, value, record):
    """A value of the accuracies on the tasks so far, after each task: (n_tasks,)."""
    return [value(accuracies) for accuracies in record["accuracy"][answers]]


def draw(records, path):
    """For each set of possible answers, accuracy over the tasks so far and on the first task, after each task."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    panels = {"all tasks so far": np.mean, "the first task": lambda accuracies: accuracies[0]}
    protocols = list(records[0]["accuracy"])
    figure = Figure(figsize=(8.4, 3.2 * len(protocols) + 0.6), layout="constrained")
    axes = figure.subplots(len(protocols), len(panels), sharex=True, sharey="row", squeeze=False)
    for answers, axes_of_protocol in zip(protocols, axes, strict=True):
        for (what, value), ax in zip(panels.items(), axes_of_protocol, strict=True):
            curves = by_model(records, partial(curve, answers, value))
            for (label, runs), style in zip(curves.items(), MORE_STYLES, strict=False):
                draw_band(ax, np.arange(1, len(runs[0]) + 1), np.transpose(runs), style, label)
            ax.set_title(f"{what}; answers: {answers}" if len(protocols) > 1 else what, fontsize="medium")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            ax.grid(alpha=0.3)
        axes_of_protocol[0].set_ylabel("test accuracy")
    for ax in axes[-1]:
        ax.set_xlabel("tasks learned")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
