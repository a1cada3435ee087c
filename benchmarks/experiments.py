"""The experiments of PyGLN's authors: their parameters, values and learners, and their tables and pictures.

`accuracy.py` runs them. MNIST, batch size 1, one pass and 16-16-1 unless varied. The learners are GLNClassifier with
PyGLN's settings, GLNClassifier with the settings of this package for one pass, and an MLP with Adam.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from common import ONE_PASS, PYGLN, PYGLN_MLP, STYLES, draw_band
from sklearn.neural_network import MLPClassifier

from sklearn_gln import GLNClassifier
from sklearn_gln.kernels import BACKENDS

SLOW_RUNS = 3  # at most, of learners and networks that take many seconds a pass
QUICK_RUNS, QUICK_ROWS = 2, 6000
ERROR_TICKS = (1, 1.5, 2, 3, 4, 5, 7, 10, 20, 30, 50, 80)  # percent


@dataclass(frozen=True)
class Learner:
    label: str
    estimator: type
    params: dict[str, Any]
    slow: bool
    style: dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """`curves` has for each learner the values and the function of a value that gives the parameters it changes."""

    title: str
    axis: str
    curves: dict[str, tuple[tuple, Callable[[Any], dict[str, Any]]]]
    published: dict[Any, float] = field(default_factory=dict)  # accuracy that PyGLN's authors report at a value
    scale: str = "log"  # or "linear", or "categories"
    slow_above: float | None = None  # values above take long: few runs, none of them quick
    by_epoch: bool = False  # the values are epochs: checkpoints of one run
    timed: bool = False  # seconds count: runs follow one another, each on all cores


LEARNERS = {
    "pygln": Learner("GLN, PyGLN's settings", GLNClassifier, PYGLN, slow=False, style=STYLES[0]),
    "one-pass": Learner("GLN, one-pass settings", GLNClassifier, ONE_PASS, slow=True, style=STYLES[2]),
    "mlp": Learner(
        "MLP, Adam",
        MLPClassifier,
        {**PYGLN_MLP, "batch_size": 1},
        slow=True,
        style=STYLES[1],
    ),
}

EPOCHS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
DEPTHS = tuple(range(11))
BIASES = {
    "no bias": {"bias": False},
    "layer bias": {},
    "context bias": {"bias": False, "halfspaces": "gaussian", "offset_scale": 1.0},
    "both biases": {"halfspaces": "gaussian", "offset_scale": 1.0},
}
INSTALLED = tuple(name for name in BACKENDS if find_spec(name))
CONSTANTS = {"784 random constants": 784, "16 random constants": 16, "one random constant": 1}

EXPERIMENTS = {
    "backends": Experiment(
        "Backends, one pass",
        "backend",
        {"pygln": (INSTALLED, lambda name: {"backend": name, "n_jobs": -1}), "mlp": (("MLP",), lambda _: {})},
        published=dict.fromkeys({*INSTALLED, "MLP"} - {"numba"}, 0.961),
        scale="categories",
        timed=True,
    ),
    "epochs": Experiment(
        "From a hundredth of a pass to fifty passes",
        "epochs",
        {name: (EPOCHS if name != "one-pass" else EPOCHS[:-3], lambda _: {}) for name in LEARNERS},
        slow_above=5,
        by_epoch=True,
    ),
    "layer-size": Experiment(
        "Width, one pass",
        "neurons in each layer (two; three of the one-pass settings)",
        {
            "pygln": (SIZES, lambda size: {"layer_sizes": (size,) * 2}),
            "one-pass": (SIZES[:-2], lambda size: {"layer_sizes": (size,) * 3}),
            "mlp": (SIZES, lambda size: {"hidden_layer_sizes": (size,) * 2}),
        },
        published={4: 0.957, 16: 0.961},
        slow_above=64,
    ),
    "depth": Experiment(
        "Depth, one pass",
        "layers of 16 neurons",
        {
            "pygln": (DEPTHS, lambda depth: {"layer_sizes": (16,) * depth}),
            "one-pass": (DEPTHS[1:], lambda depth: {"layer_sizes": (16,) * depth}),
            "mlp": (DEPTHS, lambda depth: {"hidden_layer_sizes": (16,) * depth}),
        },
        published={0: 0.940, 2: 0.961},
        scale="linear",
    ),
    "context-dim": Experiment(
        "Halfspaces of a neuron, one pass",
        "context_dim",
        {
            "pygln": (tuple(range(11)), lambda dim: {"context_dim": dim}),
            "one-pass": ((0, 1, 2, 4, 6, 8), lambda dim: {"context_dim": dim}),
        },
        scale="linear",
    ),
    "learning-rate": Experiment(
        "Constant learning rate, one pass",
        "learning_rate_init",
        {"pygln": ((1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1), lambda rate: {"learning_rate_init": rate})},
    ),
    "prediction-clipping": Experiment(
        "Clipping of predictions to [eps, 1 - eps], one pass",
        "eps",
        {"pygln": ((1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.2, 0.3), lambda eps: {"eps": eps})},
    ),
    "weight-clipping": Experiment(
        "Clipping of weights to [-w, w], one pass",
        "max_weight",
        {"pygln": ((0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0), lambda limit: {"max_weight": limit})},
    ),
    "biases": Experiment(
        "Constant inputs of layers, offsets of halfspaces, one pass",
        "",
        {"pygln": (tuple(BIASES), BIASES.get)},
        published=dict(zip(BIASES, (0.961, 0.961, 0.953, 0.954), strict=True)),
        scale="categories",
    ),
    "base-predictor": Experiment(
        "Base predictions, one pass (halfspaces see the image in every case)",
        "",
        {"pygln": (("image", *CONSTANTS), lambda name: {} if name == "image" else {"base_predictor": name})},
        scale="categories",
    ),
}


def make_model(learner, params, seed):
    """A new estimator; names of constant base predictors stand for them."""
    params = dict(params)
    if params.get("base_predictor") in CONSTANTS:
        n_constants = CONSTANTS[params["base_predictor"]]
        params["base_predictor"] = partial(predict_constants, n_constants=n_constants, seed=seed)
    return LEARNERS[learner].estimator(random_state=seed, **params)


def predict_constants(X, n_constants, seed):
    """The same random probabilities (n, n_constants) for every row."""
    return np.tile(np.random.default_rng(seed).uniform(size=n_constants), (len(X), 1))


def make_tasks(experiment, *, n_runs, quick):
    """A dict for each run: what `accuracy.py` needs to do it, run by run."""
    tasks = []
    for seed in range(min(n_runs, QUICK_RUNS) if quick else n_runs):
        for learner, (values, params_at) in experiment.curves.items():
            many_runs = seed >= SLOW_RUNS
            if many_runs and LEARNERS[learner].slow:
                continue
            if experiment.slow_above and (quick or many_runs):
                values = [value for value in values if value <= experiment.slow_above]
            common = {"learner": learner, "seed": seed, "train_rows": QUICK_ROWS if quick else None}
            params = LEARNERS[learner].params
            if experiment.by_epoch:
                tasks.append({**common, "params": params, "checkpoints": list(values)})
            else:
                tasks += [
                    {**common, "value": value, "params": {**params, **params_at(value)}, "checkpoints": [1]}
                    for value in values
                ]
    return tasks


def curves_of(experiment, records):
    """For each learner {value: the scores of its runs}."""
    curves = {learner: {} for learner in experiment.curves}
    for record in records:
        for scores in record["epochs"]:
            value = scores["epoch"] if experiment.by_epoch else record["value"]
            curves[record["learner"]].setdefault(value, []).append(scores)
    return curves


def published_of(experiment, records):
    """The accuracies that PyGLN's authors report, if the records are of whole passes, as theirs are."""
    return experiment.published if all(record["train_rows"] is None for record in records) else {}


def print_experiment(experiment, records):
    print(f"{experiment.title}: test accuracy, mean (range), seconds of learning")
    for learner, curve in curves_of(experiment, records).items():
        for value, scores in curve.items():
            accuracy = [score["test_accuracy"] for score in scores]
            seconds = np.median([score["seconds"] for score in scores])
            published = published_of(experiment, records).get(value) if learner == "pygln" else None
            print(
                f"  {LEARNERS[learner].label:24}{value!s:22}{np.mean(accuracy):.2%} ({min(accuracy):.2%} to "
                f"{max(accuracy):.2%}), {len(accuracy)} runs, {seconds:.1f} s"
                + (f", published {published:.1%}" if published else "")
            )


def draw_experiment(experiment, records, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    ax = figure.subplots()
    draw = _draw_categories if experiment.scale == "categories" else _draw_curves
    draw(ax, experiment, curves_of(experiment, records), published_of(experiment, records))
    figure.suptitle(experiment.title, fontsize="medium")
    ax.grid(color="0.9")
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    figure.savefig(path, dpi=110)


def _draw_curves(ax, experiment, curves, published):
    from matplotlib.ticker import NullLocator

    for learner, curve in curves.items():
        errors = [[100 * (1 - score["test_accuracy"]) for score in scores] for scores in curve.values()]
        draw_band(ax, list(curve), errors, LEARNERS[learner].style, LEARNERS[learner].label)
    _mark_published(ax, {value: (value, 100 * (1 - accuracy)) for value, accuracy in published.items()})
    ax.set(xlabel=experiment.axis, ylabel="test error, %", xscale=experiment.scale, yscale="log")
    values = next(iter(experiment.curves.values()))[0]
    ax.set_xticks(values, [f"{value:g}" for value in values], fontsize="small")
    low, high = ax.get_ylim()
    ticks = [tick for tick in ERROR_TICKS if low <= tick <= high]
    ax.set_yticks(ticks, ticks)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_locator(NullLocator())


def _draw_categories(ax, experiment, curves, published):
    places, labels = {}, []
    for learner, curve in curves.items():
        style = {**LEARNERS[learner].style, "linestyle": "none"}
        for value, scores in curve.items():
            places[value] = len(places)
            seconds = np.median([score["seconds"] for score in scores])
            labels.append(f"{value}, {seconds:.1f} s" if experiment.timed else value)
        accuracy = 100 * np.array([[score["test_accuracy"] for score in scores] for scores in curve.values()])
        mean = accuracy.mean(axis=1)
        ranges = [mean - accuracy.min(axis=1), accuracy.max(axis=1) - mean]
        label = f"{LEARNERS[learner].label} ({accuracy.shape[1]} runs)"
        ax.errorbar(mean, [places[value] for value in curve], xerr=ranges, **style, capsize=4, label=label)
    _mark_published(ax, {value: (100 * accuracy, places[value]) for value, accuracy in published.items()})
    ax.set(xlabel="test accuracy, %", yticks=list(places.values()), yticklabels=labels)
    ax.set_ylim(len(places) - 0.4, -0.6)


def _mark_published(ax, points):
    if points:
        ax.plot(*zip(*points.values(), strict=True), "kx", markersize=7, label="published with PyGLN", zorder=3)
