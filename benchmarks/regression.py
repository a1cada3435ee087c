"""How well a Gated Linear Network predicts numbers, and how well it knows their spread, compared with other regressors.

Tables, 5-fold cross-validated; the scores on each, and a run that goes on where it was stopped::

    python benchmarks/regression.py tables
    python benchmarks/regression.py tables --group all --verbose --jobs 2 --json

One pass over streams, each row predicted, then learned; needs river, as some of the tables do::

    python benchmarks/regression.py stream --group all --seeds 0 1 2 --json

Streams whose target changes in scale or level, or in its dependence on the features::

    python benchmarks/regression.py drift --seeds 0 1 2 --json

A picture of predicted intervals; all on a small scale; a part, with a parameter of GLNRegressor changed::

    python benchmarks/regression.py picture
    python benchmarks/regression.py tables --quick
    python benchmarks/regression.py stream --sets sines wave --models GLN KNN --param context_dim=4

The sets are described in `regression_sets.py`: choices were made on "development", none on "holdout".

Scores: the root mean squared error (RMSE) in deviations of the target; the Gaussian log-loss in the same unit, that is,
for the target over its deviation, where standard deviations below 0.001 count as that and a row's loss above 20 as 20,
so that a row does not decide a table; and the coverage of 90 % intervals, ranked by its distance from 90 %. Ranks (1 is
best) are means over sets, of scores that are means over seeds. Seconds are those of learning on one thread, in one
process.

Tables: models have their libraries' defaults, on scaled features where they need it; SGD and MLP get scaled targets
too. Models that give no standard deviation get the root mean square of the residuals of an inner 5-fold
cross-validation, whose seconds do not count. Intervals are GLNRegressor's own, for the others 1.645 standard deviations
to both sides. Folds are random for ordered tables, too.

Streams: ordered tables in their order, others in an order for each seed. Features and targets are scaled by running
moments for all models but GLN, ARF's features apart, and predictions kept near the targets seen
(`regression_peers.learn_in_turn`). Their standard deviation is the root mean square of their last 100 errors, with
which each has a lower mean log-loss on "development" than with that of all its errors; the interval is 1.645 of it to
both sides, as for GLN. The first two rows do not count. GLN gets all rows in one call, in which it learns row by row.

Changing streams: errors are relative to the target's deviation at the time; coverage is printed for the tenth of each
stream that has the worst as well.
"""

import json
import warnings
from functools import partial
from inspect import signature
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from common import (
    RESULTS,
    add_json_option,
    add_options,
    parser_of_commands,
    positive_int,
    run_tasks,
    seconds_of,
    show_frame,
)
from regression_peers import STREAM_PEERS, TABLE_PEERS, TREE_ENSEMBLES
from regression_sets import DRIFTS, TABLES, rows_of_table
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import Pipeline
from tables import seeded
from threadpoolctl import threadpool_limits

from sklearn_gln import GLNRegressor

N_FOLDS = 5
COVERAGE = 0.9
HALF_WIDTH = norm.ppf((1 + COVERAGE) / 2)  # of an interval, in standard deviations
SMALLEST_STD = 1e-3  # in deviations of the target
LARGEST_LOSS = 20.0
UNSCORED_ROWS = 2  # of a stream, of which nothing can be known
WARM_UP_ROWS = 300
DRIFT_ROWS = 8000
N_WINDOWS = 10
QUICK_ROWS = 200
SCORES = {"rmse": "RMSE", "log_loss": "log-loss", "coverage": "coverage"}

LIKELIHOODS = {"GLN": {}, "GLN-Gaussian": {"likelihood": "gaussian"}}
HALF_LIVES = {"GLN": {}, "GLN-none": {"half_life": None}, "GLN-2000": {"half_life": 2000}}


def main(arguments=None):
    """Run what the arguments ask for; returns the records."""
    options = build_parser().parse_args(arguments)
    return options.run(options)


def build_parser():
    parser, subparsers = parser_of_commands(__doc__)
    for name, run, models, sets, text in (
        ("tables", run_tables, [*LIKELIHOODS, *TABLE_PEERS], TABLES, "5-fold cross-validation"),
        ("stream", run_stream, [*LIKELIHOODS, *STREAM_PEERS], TABLES, "one pass, each row predicted, then learned"),
        ("drift", run_drift, [*HALF_LIVES, *STREAM_PEERS], DRIFTS, "the same of streams that change"),
    ):
        command = subparsers.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        if sets is TABLES:
            groups = ("development", "holdout", "all")
            command.add_argument("--group", choices=groups, default="development", help="of sets (%(default)s)")
        command.add_argument("--sets", nargs="+", choices=sets, metavar="NAME", help="only these sets, of any group")
        command.add_argument("--models", nargs="+", choices=models, default=models, metavar="NAME", help="all")
        rows = command.add_mutually_exclusive_group()
        rows.add_argument("--rows", type=positive_int, metavar="N", help="at most")
        rows.add_argument("--quick", action="store_const", dest="rows", const=QUICK_ROWS, help=f"--rows {QUICK_ROWS}")
        add_options(command, "--seeds", "--param", "--jobs")
        command.add_argument("--verbose", action="store_true", help="print the scores on every set as well")
        add_json_option(command, f"regression_{name}")
    command = subparsers.add_parser("picture", help="intervals of a function of one feature")
    command.set_defaults(run=draw_picture)
    command.add_argument(
        "--out", type=Path, default=RESULTS / "regression_picture.png", metavar="FILE", help="(%(default)s)"
    )
    command.add_argument("--seed", type=int, default=0, help="of rows and models (%(default)s)")
    add_options(command, "--param")
    return parser


def run_all(options, function, sets, gln_models):
    """Records of the function (DataFrame) for each set, seed and model."""
    params = json.loads(json.dumps(dict(options.param)))  # tuples would come back from the file as lists
    tasks = [
        {"data": name, "model": model, "seed": seed, "rows": options.rows}
        | ({"params": gln_models[model] | params} if model in gln_models else {})
        for name in options.sets or sets
        for seed in options.seeds
        for model in options.models
    ]
    return pd.DataFrame(run_tasks(function, tasks, options.json, n_jobs=options.jobs))


def in_group(group):
    return [name for name, table in TABLES.items() if group in (table.group, "all")]


def draw_picture(options):
    from regression_picture import draw

    draw(partial(make_gln, options.seed), dict(options.param), options.seed, options.out)


def make_gln(seed, params):
    return GLNRegressor(**{"random_state": seed, **params})


# Scores


def score(y, mean, std, interval=None):
    """Scores of means and standard deviations (n,), and of intervals (n, 2), if they are not Gaussian."""
    unit = y.std()
    if interval is None:
        interval = gaussian_interval(mean, std)
    return {
        "rmse": float(np.sqrt(np.mean(np.square((y - mean) / unit)))),
        "log_loss": gaussian_log_loss((y - mean) / unit, std / unit),
        "coverage": coverage(y, interval),
    }


def gaussian_interval(mean, std):
    return np.column_stack([mean - HALF_WIDTH * std, mean + HALF_WIDTH * std])


def gaussian_log_loss(errors, std):
    losses = -norm.logpdf(errors, scale=np.maximum(std, SMALLEST_STD))
    return float(np.minimum(losses, LARGEST_LOSS).mean())


def coverage(y, interval):
    return float(((interval[:, 0] <= y) & (y <= interval[:, 1])).mean())


# Tables


def run_tables(options):
    """Scores of each model on each table, printed; the records."""
    frame = run_all(options, cross_validate, in_group(options.group), LIKELIHOODS)
    print_groups(frame, options)
    return frame


def cross_validate(data, model, seed, rows, params=None):
    """Scores of all test folds' predictions together, and mean seconds of `fit`."""
    X, y = rows_of_table(data, seed, rows)
    estimator = seeded(TABLE_PEERS[model], seed) if params is None else make_gln(seed, params)
    mean, std, interval, seconds = np.zeros(len(y)), np.zeros(len(y)), np.zeros((len(y), 2)), []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # MLP's default is 200 epochs
        if params is not None:
            make_gln(seed, params).fit(X[:WARM_UP_ROWS], y[:WARM_UP_ROWS])  # compiles
        for train, test in folds(seed).split(X):
            seconds.append(seconds_of(estimator.fit, X[train], y[train]))
            mean[test], std[test], interval[test] = predict(estimator, X[train], y[train], X[test], seed)
    return {"n_rows": len(y), "n_features": X.shape[1], **score(y, mean, std, interval), "seconds": np.mean(seconds)}


def folds(seed):
    return KFold(N_FOLDS, shuffle=True, random_state=seed)


def predict(model, X, y, X_test, seed):
    """Means (n,), standard deviations (n,) and intervals (n, 2) for test rows, by a model that was fitted to X, y."""
    learner = model[-1] if isinstance(model, Pipeline) else model
    if "return_std" in signature(learner.predict).parameters:
        mean, std = model.predict(X_test, return_std=True)
    else:
        mean, residuals = model.predict(X_test), y - cross_val_predict(model, X, y, cv=folds(seed))
        std = np.full(len(mean), np.sqrt(np.mean(np.square(residuals))))
    if hasattr(model, "predict_interval"):
        return mean, std, model.predict_interval(X_test, coverage=COVERAGE)
    return mean, std, gaussian_interval(mean, std)


# Streams


def run_stream(options):
    """Scores of each model on each table as a stream, printed; the records."""
    frame = run_all(options, learn_stream, in_group(options.group), LIKELIHOODS)
    print_groups(frame, options)
    return frame


def learn_stream(data, model, seed, rows, params=None):
    """Scores of one pass, and its seconds."""
    X, y = rows_of_table(data, seed, rows)
    mean, std, seconds = learn_timed(X, y, model, seed, params)
    scored = slice(UNSCORED_ROWS, None)
    return {"n_rows": len(y), "n_features": X.shape[1], **score(y[scored], mean[scored], std[scored]), **seconds}


def learn_timed(X, y, model, seed, params):
    """Means and standard deviations, both (n,), of all rows before they were learned, and the seconds."""
    learn = STREAM_PEERS[model] if params is None else partial(learn_gln, params=params)
    with threadpool_limits(1):
        learn(X[:WARM_UP_ROWS], y[:WARM_UP_ROWS], seed)
        start = perf_counter()
        mean, std = learn(X, y, seed)
        seconds = perf_counter() - start
    return mean, std, {"seconds": seconds}


def learn_gln(X, y, seed, params):
    return make_gln(seed, params).progressive_predict(X, y, return_std=True)


def run_drift(options):
    """Scores of each model on each changing stream, printed; the records."""
    frame = run_all(options, learn_drift, DRIFTS, HALF_LIVES)
    print_drifts(frame, options)
    return frame


def learn_drift(data, model, seed, rows, params=None):
    """Scores of one pass, all in the scale of the time and over windows as well, and its seconds."""
    X, y, scale = DRIFTS[data](rows or DRIFT_ROWS, seed)
    mean, std, seconds = learn_timed(X, y, model, seed, params)
    errors, std = ((values / scale)[UNSCORED_ROWS:] for values in (y - mean, std))
    within = np.abs(errors) <= HALF_WIDTH * std
    return {
        "rmse": float(np.sqrt(np.mean(np.square(errors)))),
        "log_loss": gaussian_log_loss(errors, std),
        "coverage": float(within.mean()),
        "rmse_of_windows": [float(np.sqrt(np.mean(np.square(part)))) for part in np.array_split(errors, N_WINDOWS)],
        "coverage_of_windows": [float(part.mean()) for part in np.array_split(within, N_WINDOWS)],
        **seconds,
    }


# Printing


def by_set(frame, name):
    """One of the scores as a table of sets and models, means over seeds."""
    return frame.pivot_table(name, index="data", columns="model", sort=False)


def ranks(scores):
    """Mean rank of each model; scores are a table of sets and models, the lower the better, ties share a rank."""
    return scores.rank(axis=1).mean()


def losses(frame, name):
    """As `by_set`; lower is better."""
    scores = by_set(frame, name)
    return (scores - COVERAGE).abs() if name == "coverage" else scores


def print_groups(frame, options):
    groups = frame["data"].map(lambda name: TABLES[name].group)
    for group, of_group in frame.groupby(groups, sort=False):
        print_group(group, of_group, options)


def print_group(group, frame, options):
    """Averages over the sets of a group, ranks without tree ensembles if there are any, and the scores on each set."""
    scores = {name: by_set(frame, name) for name in SCORES}
    others = frame[~frame["model"].isin(TREE_ENSEMBLES)]
    columns = {f"rank: {text}": ranks(losses(frame, name)) for name, text in SCORES.items()}
    if len(others) < len(frame):
        columns |= {f"without trees: {text}": ranks(losses(others, name)) for name, text in SCORES.items()}
    columns |= {"median RMSE": scores["rmse"].median()}
    columns |= {f"mean {text}": scores[name].mean() for name, text in SCORES.items()}
    columns |= {"off 90 %": losses(frame, "coverage").mean(), "mean s": by_set(frame, "seconds").mean()}
    print(f"\n{group}, {frame['data'].nunique()} sets, seeds {', '.join(map(str, options.seeds))}")
    print(show_frame(pd.DataFrame(columns).sort_values("rank: RMSE").T))
    for name in SCORES if options.verbose else ():
        print(f"\n{group}, {SCORES[name]}\n{show_frame(scores[name])}")


def print_drifts(frame, options):
    """For each score a table of streams and models."""
    worst = frame["coverage_of_windows"].map(lambda windows: max(windows, key=lambda part: abs(part - COVERAGE)))
    frame = frame.assign(worst_coverage=worst)
    names = SCORES | {"worst_coverage": "coverage of the worst tenth", "seconds": "seconds"}
    for name, text in names.items():
        print(f"\n{text}, seeds {', '.join(map(str, options.seeds))}\n{show_frame(by_set(frame, name))}")
    for of_windows in ("rmse_of_windows", "coverage_of_windows") if options.verbose else ():
        for name, of_set in frame.groupby("data", sort=False):
            parts = of_set.groupby("model", sort=False)[of_windows].apply(lambda runs: np.mean(runs.tolist(), axis=0))
            print(f"\n{name}, {of_windows.replace('_', ' ')}\n{show_frame(pd.DataFrame(parts.to_dict()))}")


if __name__ == "__main__":
    main()
