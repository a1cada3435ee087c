"""How accurate a Gated Linear Network is: measured on MNIST, in as many passes and with as many seeds as asked for.

Ten classes in one pass over the deskewed digits, with the package's defaults::

    python benchmarks/accuracy.py evaluate

The settings for one pass, three seeds, recorded in `benchmarks/results/accuracy_evaluate.jsonl` or a file as well::

    python benchmarks/accuracy.py evaluate --preset one-pass --seeds 0 1 2 --json

To choose settings, on the last 10,000 training images in place of the test images::

    python benchmarks/accuracy.py evaluate --preset one-pass --validate 10000

"Is it a 3?" on the images as they are, a tenth of a pass, with one parameter changed::

    python benchmarks/accuracy.py evaluate --digit 3 --raw --epochs 0.1 --param context_dim=2

scikit-learn's 8x8 digits, no settings: 5-fold accuracy next to MLPClassifier's, and the picture of one pass::

    python benchmarks/accuracy.py digits --seeds 0 1 2 3 4 --picture benchmarks/results/accuracy_digits.png

The experiments of PyGLN's authors (`experiments.py`), one or all of them, in full or in minutes::

    python benchmarks/accuracy.py layer-size
    python benchmarks/accuracy.py all --quick

Their records and pictures go to `benchmarks/results`, where a run that was stopped goes on; seconds count in `backends`
alone, the others run several networks side by side.

MNIST comes from `--mnist FOLDER`, the folder named by SKLEARN_GLN_MNIST, or OpenML. Seconds are those of learning;
a first chunk, learned by a model that is thrown away, pays for compilation and is reported apart as the warm-up.
"""

import argparse
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
from common import (
    PRESETS,
    RESULTS,
    add_command,
    add_options,
    load_mnist,
    positive_float,
    positive_int,
    run_and_record,
    run_tasks,
    seconds_of,
)
from context_functions import CONTEXT_FUNCTIONS
from experiments import EXPERIMENTS, draw_experiment, make_model, make_tasks, print_experiment
from joblib import cpu_count
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from sklearn_gln import GLNClassifier
from sklearn_gln.__main__ import PIXEL_MAX, RowByRow

CHUNK_ROWS = 2048  # rows from one step of the progress bar to the next


def main(arguments=None):
    """Run the subcommand that the arguments name; returns its results."""
    options = build_parser().parse_args(arguments)
    return options.run(options) if options.run is run_experiments else run_and_record(options)


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    evaluate_parser = add_command(subparsers, evaluate, "train and test with one setting", "accuracy")
    add_data_options(evaluate_parser)
    add_model_options(evaluate_parser)
    add_run_options(evaluate_parser)
    digits_parser = add_command(subparsers, digits, "scikit-learn's digits: 5-fold, and one pass", "accuracy")
    add_options(digits_parser, "--seeds", "--picture")
    for name, experiment in {**EXPERIMENTS, "all": None}.items():
        summary = experiment.title if experiment else "all experiments, one after the other"
        experiment_parser = subparsers.add_parser(name, help=summary)
        experiment_parser.set_defaults(run=run_experiments, names=[name] if experiment else list(EXPERIMENTS))
        add_experiment_options(experiment_parser)
    return parser


def add_experiment_options(parser):
    add_options(parser, "--mnist", "--jobs", jobs=cpu_count())
    parser.add_argument("--runs", type=positive_int, default=10, metavar="N", help="seeds (%(default)s; slow ones 3)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, 2 runs, no large networks: minutes")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for results (benchmarks/results; quick/ in it)")


def add_data_options(parser):
    add_options(parser, "--mnist", "--raw", "--train-rows", "--validate")
    parser.add_argument("--digit", type=int, choices=range(10), metavar="D", help="two classes: is it a D or not")


def add_model_options(parser):
    parser.add_argument("--preset", choices=PRESETS, default="default", help="named parameters (%(choices)s)")
    add_options(parser, "--param")
    parser.add_argument("--batch-size", type=positive_int, metavar="N", help="rows that one step learns from")
    parser.add_argument("--n-jobs", type=int, metavar="N", help="threads")
    parser.add_argument(
        "--context-function", choices=CONTEXT_FUNCTIONS, default="halfspaces", help="what gates (%(default)s)"
    )


def add_run_options(parser):
    parser.add_argument("--epochs", type=positive_float, default=1.0, help="passes, e.g. 0.1 or 2.5 (%(default)s)")
    add_options(parser, "--seeds")
    parser.add_argument("--quiet", action="store_true", help="print the summary only")


def evaluate(options):
    """Subcommand `evaluate`: one run per seed, and their mean and range."""
    X, X_test, y, y_test = load_data(options)
    params = model_params(options)
    runs = []
    for seed in options.seeds:
        model = CONTEXT_FUNCTIONS[options.context_function](**{"random_state": seed, **params})
        checkpoints = [*range(1, ceil(options.epochs)), options.epochs]
        report = None if options.quiet else f"seed {seed}"
        run = run_once(model, X, X_test, y, y_test, seed=seed, checkpoints=checkpoints, report=report)
        runs.append({"seed": seed, **run})
    summary = summarise(runs)
    print_summary(summary, options.epochs)
    return {"params": params, "summary": summary}, runs


def digits(options):
    """Subcommand `digits`: 5-fold scores with default settings, and the course of a single pass."""
    X, y = load_digits(return_X_y=True)
    records = []
    for name, model in {
        "GLNClassifier": GLNClassifier(),
        "StandardScaler, MLPClassifier": make_pipeline(StandardScaler(), MLPClassifier(max_iter=1000)),
    }.items():
        scores = [cross_validate_once(model, X, y, seed) for seed in options.seeds]
        accuracy, loss = np.mean(scores, axis=0).tolist()
        records.append({"protocol": "5-fold", "model": name, "accuracy": accuracy, "log_loss": loss})
        print(f"5-fold, {name:30} accuracy {accuracy:.2%}, log-loss {loss:.4f}")
    streams = {
        "GLNClassifier": lambda seed: GLNClassifier(random_state=seed),
        "SGDClassifier": lambda seed: RowByRow(SGDClassifier(loss="log_loss", random_state=seed)),
        "MLPClassifier": lambda seed: RowByRow(MLPClassifier(random_state=seed)),
    }
    hits = {
        name: [stream_hits(make, X / PIXEL_MAX, y, seed) for seed in options.seeds] for name, make in streams.items()
    }
    for name, runs in hits.items():
        accuracy = float(np.mean(runs))
        records.append({"protocol": "one pass", "model": name, "progressive_accuracy": accuracy})
        print(f"one pass, {name:28} progressive accuracy {accuracy:.2%}")
    if options.picture:
        draw_streams(hits, options.picture)
    return {"seeds": options.seeds}, records


def run_experiments(options):
    """Experiments of `experiments.py`: their records, each in a file, with a picture."""
    folder = options.out or RESULTS / ("quick" if options.quick else "")
    data = load_mnist(options.mnist)
    records = {}
    for name in options.names:
        experiment, path = EXPERIMENTS[name], folder / f"accuracy_{name.replace('-', '_')}.jsonl"
        tasks = make_tasks(experiment, n_runs=options.runs, quick=options.quick)
        n_jobs = 1 if experiment.timed else options.jobs
        records[name] = run_tasks(partial(run_task, data), tasks, path, n_jobs=n_jobs)
        print_experiment(experiment, records[name])
        draw_experiment(experiment, records[name], path.with_suffix(".png"))
    return records


def run_task(data, *, learner, params, seed, train_rows, checkpoints, **_):
    X, X_test, y, y_test = data
    model = make_model(learner, params, seed)
    return run_once(model, X[:train_rows], X_test, y[:train_rows], y_test, seed=seed, checkpoints=checkpoints)


def cross_validate_once(model, X, y, seed):
    """Accuracy and log-loss, each the mean of five folds."""
    model = clone(model).set_params(**{name: seed for name in model.get_params() if name.endswith("random_state")})
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    scores = cross_validate(model, X, y, cv=folds, scoring=("accuracy", "neg_log_loss"))
    return scores["test_accuracy"].mean(), -scores["test_neg_log_loss"].mean()


def stream_hits(make_model, X, y, seed):
    """Whether each row of one pass was predicted right before it was learned: (n,)."""
    order = np.random.default_rng(seed).permutation(len(X))
    probabilities = make_model(seed).progressive_predict_proba(X[order], y[order], classes=np.unique(y))
    return probabilities.argmax(axis=1) == y[order]


def draw_streams(hits, path):
    """Accuracy of the predictions over the last 100 rows, mean and range of the seeds."""
    import matplotlib.pyplot as plt

    window = 100
    figure, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for (name, runs), style in zip(hits.items(), ("-", "--", ":"), strict=True):
        sums = np.cumsum(np.insert(np.array(runs, float), 0, 0, axis=1), axis=1)
        accuracy = (sums[:, window:] - sums[:, :-window]) / window
        rows = np.arange(window, sums.shape[1])
        (line,) = ax.plot(rows, accuracy.mean(axis=0), style, label=name)
        ax.fill_between(rows, accuracy.min(axis=0), accuracy.max(axis=0), color=line.get_color(), alpha=0.2, lw=0)
    ax.set(xlabel="images seen, each once", ylabel=f"accuracy on the last {window} images", ylim=(0, 1))
    ax.set_title("Handwritten digits, each predicted before it is learned", fontsize="medium")
    ax.grid(alpha=0.3)
    ax.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def load_data(options):
    """X, X_test (n, 784) and y, y_test (n,): digits, or with --digit whether it is this one."""
    X, X_test, y, y_test = load_mnist(options.mnist, deskew=not options.raw, validate=options.validate)
    if options.digit is not None:
        y, y_test = y == options.digit, y_test == options.digit
    return X[: options.train_rows], X_test, y[: options.train_rows], y_test


def model_params(options):
    """The preset's parameters, overridden by --batch-size and --n-jobs, overridden by --param."""
    shortcuts = {"batch_size": options.batch_size, "n_jobs": options.n_jobs}
    given = {name: value for name, value in shortcuts.items() if value is not None}
    return {**PRESETS[options.preset], **given, **dict(options.param)}


def run_once(model, X, X_test, y, y_test, *, seed, checkpoints, report=None):
    """Train a new model; the scores at each checkpoint, which is a number of epochs such as 0.1 or 2."""
    classes = np.unique(np.concatenate([y, y_test]))
    warm_up_seconds = warm_up(model, X, X_test, y, classes) if isinstance(model, GLNClassifier) else 0.0
    rng = np.random.default_rng(seed)
    scores, seconds, learned = [], 0.0, 0
    for checkpoint in checkpoints:
        goal = max(1, round(checkpoint * len(X)))
        while learned < goal:
            epoch, start = divmod(learned, len(X))
            if start == 0:
                order = rng.permutation(len(X))
            rows = order[start : start + goal - learned]
            if epoch and isinstance(model, GLNClassifier):
                seconds += learn_again(model, X[rows], y[rows])
            else:
                seconds += learn_rows(model, X, y, rows, classes, label=report)
            learned += len(rows)
        scores.append({"epoch": learned / len(X), "seconds": seconds, **score(model, X_test, y_test)})
        if report:
            print_scores(report, scores[-1])
    return {"warm_up_seconds": warm_up_seconds, "epochs": scores}


def warm_up(model, X, X_test, y, classes):
    """Seconds that a model like this one, thrown away, takes to learn and predict a first chunk."""
    X, X_test, y, other = X[:CHUNK_ROWS], X_test[:CHUNK_ROWS], y[:CHUNK_ROWS], clone(model)
    return seconds_of(lambda: other.partial_fit(X, y, classes=classes).predict_proba(X_test))


def learn_rows(model, X, y, order, classes, *, label):
    """Learn rows in this order by `partial_fit`, in chunks, under a progress bar if it has a label; the seconds."""
    seconds = 0.0
    with tqdm(total=len(order), desc=label, unit="row", disable=label is None, leave=False) as bar:
        for start in range(0, len(order), CHUNK_ROWS):
            rows = order[start : start + CHUNK_ROWS]
            X_chunk, y_chunk = X[rows], y[rows]
            seconds += seconds_of(model.partial_fit, X_chunk, y_chunk, classes=classes)
            bar.update(len(rows))
    return seconds


def learn_again(model, X, y):
    """Seconds for another epoch of GLNClassifier over rows that were learned before."""
    model.set_params(warm_start=True, max_iter=1, shuffle=False)
    return seconds_of(model.fit, X, y)


def score(model, X_test, y_test):
    """Test scores, and GLNClassifier's own progressive ones since its first row."""
    probabilities = model.predict_proba(X_test)
    predictions = model.classes_[probabilities.argmax(axis=1)]
    scores = {
        "test_accuracy": float(accuracy_score(y_test, predictions)),
        "test_log_loss": float(log_loss(y_test, probabilities, labels=model.classes_)),
    }
    if isinstance(model, GLNClassifier):
        scores["progressive_accuracy"] = float(model.progressive_accuracy_)
        scores["progressive_loss"] = float(model.progressive_loss_)
    return scores


def summarise(runs):
    """Mean, lowest and highest value over the seeds of each score after the last epoch."""
    summary = {}
    for name in runs[0]["epochs"][-1]:
        values = [run["epochs"][-1][name] for run in runs]
        summary[name] = {"mean": float(np.mean(values)), "min": min(values), "max": max(values)}
    return {"seeds": len(runs), **summary}


def print_scores(label, scores):
    print(
        f"{label}, epoch {scores['epoch']:.4g}: test accuracy {scores['test_accuracy']:.2%}, "
        f"test log-loss {scores['test_log_loss']:.4f}, "
        f"progressive accuracy {scores['progressive_accuracy']:.2%}, {scores['seconds']:.1f} s"
    )


def print_summary(summary, epochs):
    print(f"epochs: {epochs:g}; seeds: {summary['seeds']}; mean (range):")
    for label, name, form in (
        ("test accuracy", "test_accuracy", ".2%"),
        ("test log-loss", "test_log_loss", ".4f"),
        ("seconds", "seconds", ".1f"),
    ):
        mean, low, high = (format(summary[name][key], form) for key in ("mean", "min", "max"))
        print(f"  {label:14} {mean} ({low} to {high})")


if __name__ == "__main__":
    main()
