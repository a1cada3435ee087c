"""Features first, a Gated Linear Network on top: fixed or random features, and those of a network that is frozen.

Pixels, principal components, random convolutional patches and kernel features of deskewed MNIST. On each GLNClassifier
and SGDClassifier learn in one pass, LogisticRegression in as many as it takes; test accuracy, log-loss and seconds::

    python benchmarks/features.py pipelines

The same on scikit-learn's 8x8 digits, in seconds; or a part of it, smaller, in a minute::

    python benchmarks/features.py pipelines --digits
    python benchmarks/features.py pipelines --quick

To choose settings, on the last 10,000 training images in place of the test images::

    python benchmarks/features.py pipelines --validate 10000 --seeds 0 --features Nystroem --feature-param gamma=0.01

A convolutional network learns the digits 0 to 4 by backpropagation and is frozen (`extractor.py`, made to be copied; it
needs PyTorch). From its features a GLN learns the digits 5 to 9 in one pass; how accurate it is after 10 images, after
30 and so on, compared with other learners and other features::

    python benchmarks/features.py extractor

Seeds, one run each, draw features, halfspaces and the order of rows. Results are written to `--out FOLDER`, where a run
that was stopped goes on, as features_pipelines.jsonl, features_extractor.jsonl and .png. MNIST comes from
`--mnist FOLDER`, the folder named by SKLEARN_GLN_MNIST, or OpenML. A run works on one thread; its seconds are those of
making the training images' features and of learning, without compilation, which a first fit, thrown away, pays for.
"""

import argparse
import warnings
from functools import partial
from math import isqrt
from time import perf_counter

import numpy as np
from common import (
    ONE_PASS,
    RESULTS,
    STYLES,
    add_options,
    draw_band,
    load_mnist,
    parse_param,
    positive_int,
    print_table,
    run_tasks,
    seconds_of,
)
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_approximation import Nystroem, RBFSampler
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from sklearn_gln import GLNClassifier
from sklearn_gln.__main__ import PIXEL_MAX

WARM_UP_ROWS = 512
CHUNK_ROWS = 256  # images that are convolved at a time
RIDGE = 0.01  # added to variances of patches, so that noise is not blown up to contrast
SIZES = (10, 30, 100, 300, 1000, 3000, 10_000)  # of the learning curves
FIRST_NEW_DIGIT = 5  # the extractor has seen those below


class RandomPatches(TransformerMixin, BaseEstimator):
    """Square images (n, side * side) convolved with random patches of them, rectified and pooled.

    After Coates & Ng (ICML 2011). Patches are brought to one contrast and whitened; a filter's responses beyond
    `threshold`, of either sign, are added up in each cell of a grid: 2 * n_filters * grid * grid features.
    """

    def __init__(self, n_filters, patch_side, grid=3, threshold=0.5, random_state=None):
        self.n_filters = n_filters
        self.patch_side = patch_side  # pixels
        self.grid = grid
        self.threshold = threshold
        self.random_state = random_state

    def fit(self, X, y=None):  # noqa: ARG002
        rng = np.random.default_rng(self.random_state)
        patches = np.concatenate(self._patches(X[rng.permutation(len(X))[:CHUNK_ROWS]]))
        patches = rng.permutation(patches[patches.any(axis=1)])
        self.mean_ = patches.mean(axis=0)
        variances, directions = np.linalg.eigh(np.cov(patches, rowvar=False))
        whitening = directions / np.sqrt(variances + RIDGE) @ directions.T
        filters = (patches[: self.n_filters] - self.mean_) @ whitening
        filters = whitening @ (filters / np.linalg.norm(filters, axis=1, keepdims=True)).T
        self.filters_ = filters.astype(patches.dtype)
        return self

    def transform(self, X):
        return np.concatenate([self._pool(X[i : i + CHUNK_ROWS]) for i in range(0, len(X), CHUNK_ROWS)])

    def _patches(self, X):
        """All patches of images (n, side * side): (n, n_patches, patch_side * patch_side)."""
        side, shape = isqrt(X.shape[1]), (self.patch_side, self.patch_side)
        windows = sliding_window_view(X.reshape(-1, side, side), shape, axis=(1, 2))
        patches = windows.reshape(len(X), -1, self.patch_side**2)
        patches = patches - patches.mean(axis=2, keepdims=True)
        return patches / np.sqrt(patches.var(axis=2, keepdims=True) + RIDGE)  # blank ones stay so

    def _pool(self, X):
        """Features of images (n, side * side)."""
        responses = (self._patches(X) - self.mean_) @ self.filters_
        rectified = np.maximum(np.concatenate([responses, -responses], axis=2) - self.threshold, 0)
        side = isqrt(rectified.shape[1])
        starts = np.linspace(0, side, self.grid, endpoint=False).astype(int)
        maps = rectified.reshape(len(X), side, side, -1)
        return np.add.reduceat(np.add.reduceat(maps, starts, axis=1), starts, axis=2).reshape(len(X), -1)


# Chosen with --validate, as was ONE_PASS for all of them
FEATURES = {
    "MNIST": {
        "pixels": (FunctionTransformer, {}),
        "PCA": (PCA, {"n_components": 100}),
        "Nystroem": (Nystroem, {"n_components": 300, "gamma": 0.01}),
        "RBFSampler": (RBFSampler, {"n_components": 500, "gamma": 0.01}),
        "RandomPatches": (RandomPatches, {"n_filters": 32, "patch_side": 6}),
    },
    "digits": {
        "pixels": (FunctionTransformer, {}),
        "PCA": (PCA, {"n_components": 20}),
        "Nystroem": (Nystroem, {"n_components": 200, "gamma": 0.1}),
        "RBFSampler": (RBFSampler, {"n_components": 200, "gamma": 0.1}),
        "RandomPatches": (RandomPatches, {"n_filters": 32, "patch_side": 3}),
    },
}


def main(arguments=None):
    options = build_parser().parse_args(arguments)
    if options.quick:
        options.seeds, options.train_rows = options.seeds[:1], options.train_rows or options.quick_rows
        options.out = RESULTS / "quick" if options.out == RESULTS else options.out
    options.run(options)


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    pipelines_parser = subparsers.add_parser("pipelines", help="one learner after another on fixed or random features")
    pipelines_parser.set_defaults(run=pipelines, quick_rows=3000)
    pipelines_parser.add_argument("--digits", action="store_true", help="scikit-learn's 8x8 digits in place of MNIST")
    pipelines_parser.add_argument(
        "--features", nargs="+", choices=FEATURES["MNIST"], metavar="NAME", help="only these (%(choices)s)"
    )
    pipelines_parser.add_argument(
        "--feature-param", type=parse_param, action="append", default=[], metavar="NAME=VALUE",
        help="a parameter of the transformer, such as n_components=50; may be given several times",
    )  # fmt: skip
    extractor_parser = subparsers.add_parser("extractor", help="new digits on features learned from others")
    extractor_parser.set_defaults(run=extractor, digits=False, quick_rows=10_000)
    extractor_parser.add_argument("--epochs", type=positive_int, default=2, help="the extractor's (%(default)s)")
    for subparser in (pipelines_parser, extractor_parser):
        add_options(
            subparser, "--mnist", "--raw", "--train-rows", "--validate", "--param", "--seeds", "--jobs", "--out"
        )
        subparser.add_argument("--quick", action="store_true", help="one seed, few images; for results/quick")
        subparser.set_defaults(seeds=[0, 1, 2])
    return parser


def load_data(options):
    """X, X_test (n, side * side) in [0, 1]; y, y_test (n,)."""
    if options.digits:
        X, y = load_digits(return_X_y=True)
        X, X_test, y, y_test = train_test_split(X / PIXEL_MAX, y, test_size=1 / 3, stratify=y, random_state=0)
        if options.validate:
            X, X_test, y, y_test = train_test_split(X, y, test_size=options.validate, shuffle=False)
    else:
        X, X_test, y, y_test = load_mnist(options.mnist, deskew=not options.raw, validate=options.validate)
    return X[: options.train_rows], X_test, y[: options.train_rows], y_test


def what_data(options):
    """The part of a run's record that is about its data."""
    return {
        "data": "digits" if options.digits else "MNIST",
        "deskewed": not (options.digits or options.raw),
        "train_rows": options.train_rows,
        "validate": options.validate,
    }


def on_one_thread(function, *arguments, **task):
    with threadpool_limits(1):
        return function(*arguments, **task)


def fit(model, X, y):
    """Seconds of learning; what learns in the passes it was given does not warn that it could learn more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return seconds_of(model.fit, X, y)


def score(model, X, y):
    """Accuracy and log-loss; a class that the model has not seen yet has probability 0."""
    classes = np.unique(y)
    probabilities = np.zeros((len(X), len(classes)))
    probabilities[:, np.searchsorted(classes, model.classes_)] = model.predict_proba(X)
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # those of float32 sum to 1 but for rounding
    return {
        "accuracy": float(np.mean(classes[probabilities.argmax(axis=1)] == y)),
        "log_loss": float(log_loss(y, probabilities, labels=classes)),
    }


# Fixed and random features


def pipelines(options):
    """Subcommand `pipelines`: one task for each kind of features and seed."""
    data = what_data(options)
    features = FEATURES[data["data"]]
    tasks = [
        {
            **data,
            "features": name,
            "feature_params": features[name][1] | dict(options.feature_param),
            "gln_params": ONE_PASS | dict(options.param),
            "seed": seed,
        }
        for name in options.features or features
        for seed in options.seeds
    ]
    run = partial(on_one_thread, run_pipeline, load_data(options))
    records = run_tasks(run, tasks, options.out / "features_pipelines.jsonl", n_jobs=options.jobs)
    print_table(pipeline_rows(records))


def run_pipeline(arrays, data, features, feature_params, gln_params, seed, **_):
    """The scores of each learner on one kind of features."""
    X, X_test, y, y_test = arrays
    transformer = FEATURES[data][features][0](**feature_params)
    if "random_state" in transformer.get_params():
        transformer.set_params(random_state=seed)
    start = perf_counter()
    X = transformer.fit_transform(X)
    seconds = perf_counter() - start
    X_test = transformer.transform(X_test)
    learners = {
        "GLN, one pass": GLNClassifier(**{"max_iter": 1, "random_state": seed, **gln_params}),
        "SGD, one pass": one_pass_sgd(seed),
        "LogisticRegression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)),
    }
    warm_up(X, y)
    scores = {name: {"seconds": fit(model, X, y), **score(model, X_test, y_test)} for name, model in learners.items()}
    return {"n_features": X.shape[1], "feature_seconds": seconds, "learners": scores}


def one_pass_sgd(seed):
    sgd = SGDClassifier(loss="log_loss", max_iter=1, tol=None, random_state=seed)
    return make_pipeline(StandardScaler(), sgd)


def warm_up(X, y):
    GLNClassifier(max_iter=1).fit(X[:WARM_UP_ROWS], y[:WARM_UP_ROWS])


def pipeline_rows(records):
    """For each kind of features and each learner, the mean over the seeds and the range of accuracies."""
    for features in dict.fromkeys(record["features"] for record in records):
        runs = [record for record in records if record["features"] == features]
        for learner in runs[0]["learners"]:
            scores = [run["learners"][learner] for run in runs]
            percents = [100 * score["accuracy"] for score in scores]
            yield {
                "features": features,
                "n": runs[0]["n_features"],
                "learner": learner,
                "accuracy %": f"{np.mean(percents):.2f} ({min(percents):.2f}-{max(percents):.2f})",
                "log-loss": f"{np.mean([score['log_loss'] for score in scores]):.4f}",
                "s, features": float(np.mean([run["feature_seconds"] for run in runs])),
                "s, learning": float(np.mean([score["seconds"] for score in scores])),
            }


# Features of a frozen network


def extractor(options):
    """Subcommand `extractor`: one task for each seed."""
    try:
        from extractor import ConvExtractor
    except ImportError as error:
        raise SystemExit("The extractor needs PyTorch: pip install torch") from error
    params = {"epochs": options.epochs, "gln_params": dict(options.param)}
    tasks = [{**what_data(options), **params, "seed": seed} for seed in options.seeds]
    path = options.out / "features_extractor.jsonl"
    run = partial(on_one_thread, run_extractor, load_data(options), ConvExtractor)
    records = run_tasks(run, tasks, path, n_jobs=options.jobs)
    print_table(extractor_rows(records))
    draw_extractor(records, path.with_suffix(".png"))


def run_extractor(arrays, make_extractor, epochs, gln_params, seed, **_):
    """A network learns the old digits; from its features and from others each learner learns the new ones."""
    X, X_test, y, y_test = arrays
    old, new, new_test = y < FIRST_NEW_DIGIT, y >= FIRST_NEW_DIGIT, y_test >= FIRST_NEW_DIGIT
    trained, untrained = (make_extractor(epochs=n, random_state=seed) for n in (epochs, 0))
    seconds = seconds_of(trained.fit, X[old], y[old])
    untrained.fit(X[old], y[old])
    order = np.random.default_rng(seed).permutation(np.flatnonzero(new))
    images, y, y_test = (X[order], X_test[new_test]), y[order], y_test[new_test]
    features, random_features = ([model.transform(part) for part in images] for model in (trained, untrained))
    warm_up(features[0], y)
    gln = {"random_state": seed, **gln_params}
    stream = partial(stream_curve, y=y, y_test=y_test)
    refit = partial(refit_curve, y=y, y_test=y_test)
    return {
        "extractor_seconds": seconds,
        "n_features": features[0].shape[1],
        "sizes": sizes_up_to(len(y)),
        "curves": {
            "GLN on pixels": stream(GLNClassifier(**ONE_PASS | gln), *images),
            "GLN on untrained features": stream(GLNClassifier(**gln), *random_features),
            "GLN": stream(GLNClassifier(**gln), *features),
            "SGD": refit(one_pass_sgd(seed), *features),
            "LogisticRegression": refit(LogisticRegression(max_iter=1000), *features),
            "MLP": refit(MLPClassifier(random_state=seed), *features),
        },
    }


def sizes_up_to(n_rows):
    return [size for size in SIZES if size < n_rows] + [n_rows]


def stream_curve(model, X, X_test, y, y_test):
    """The scores of a model after each of the sizes, in one pass; and those of its predictions along the stream."""
    scores, seconds, start = [], 0.0, 0
    for stop in sizes_up_to(len(y)):
        seconds += seconds_of(model.partial_fit, X[start:stop], y[start:stop], classes=np.unique(y))
        scores.append({**score(model, X_test, y_test), "progressive_accuracy": float(model.progressive_accuracy_)})
        start = stop
    return columns(scores) | {"seconds": seconds}


def refit_curve(model, X, X_test, y, y_test):
    """The scores of a model that learns from nothing at each of the sizes; the seconds of the last fit."""
    scores = []
    for stop in sizes_up_to(len(y)):
        seconds = fit(model, X[:stop], y[:stop])
        scores.append(score(model, X_test, y_test))
    return columns(scores) | {"seconds": seconds}


def columns(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


def extractor_rows(records):
    """For each curve the mean accuracy at each size; log-loss and progressive accuracy at the end."""
    sizes = records[0]["sizes"]
    for name in records[0]["curves"]:
        curves = [record["curves"][name] for record in records]
        accuracy = 100 * np.mean([curve["accuracy"] for curve in curves], axis=0)
        progressive = [curve["progressive_accuracy"][-1] for curve in curves if "progressive_accuracy" in curve]
        yield {
            "accuracy % after": name,
            **dict(zip(map(str, sizes), accuracy.tolist(), strict=True)),
            "progressive %": 100 * float(np.mean(progressive)) if progressive else None,
            "log-loss": f"{np.mean([curve['log_loss'][-1] for curve in curves]):.4f}",
            "seconds": float(np.mean([curve["seconds"] for curve in curves])),
        }


PANELS = {
    "a GLN in one pass, on several kinds of features": {
        "GLN": "frozen network's features",
        "GLN on untrained features": "untrained network's features",
        "GLN on pixels": "pixels",
    },
    "several learners, on the frozen network's features": {
        "GLN": "GLN, one pass",
        "SGD": "SGDClassifier, one pass",
        "LogisticRegression": "LogisticRegression, many passes",
        "MLP": "MLPClassifier, many passes",
    },
}
ERROR_TICKS = (0.5, 1, 2, 5, 10, 20, 50)  # percent


def draw_extractor(records, path):
    """Test error against images learned: of a GLN on each kind of features, of each learner on the frozen ones."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(9, 4.9), layout="constrained")
    figure.suptitle("A network trained on the digits 0 to 4 is frozen; then 5 to 9 are learned", fontsize="medium")
    for ax, (title, curves) in zip(figure.subplots(1, 2, sharey=True), PANELS.items(), strict=True):
        for (name, label), style in zip(curves.items(), STYLES, strict=False):
            errors = 100 * (1 - np.array([record["curves"][name]["accuracy"] for record in records]))
            draw_band(ax, records[0]["sizes"], errors.T, style, label)
        ax.set(xscale="log", yscale="log", xlabel="images of 5 to 9 learned")
        ax.set_yticks(ERROR_TICKS, ERROR_TICKS)
        ax.yaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.set_title(title, fontsize="medium")
        ax.grid(alpha=0.3)
        ax.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.16))
    figure.axes[0].set_ylabel("test error on 5 to 9, %")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
