"""Several targets in one GLNRegressor, against a GLNRegressor for each target.

All sets, numbers of targets and seeds, recorded as well; a part of it where all targets share halfspaces::

    python benchmarks/targets.py --seeds 0 1 2 --json
    python benchmarks/targets.py --sets energy --targets 2 --param share_halfspaces=True

Models for each target are those of `MultiOutputRegressor`. Two ways to learn: "fit" on two thirds of the rows, tested
on the rest; "stream", one pass over all rows, each predicted before it is learned. All sets are generated. "friedman":
each target is Friedman's first function, with noise, of five of ten features, drawn for each. "mixtures": linear
mixtures, with noise, of six smooth functions that all targets share. "energy": heating and cooling loads of buildings,
one for each month, of eight features of few values; without noise, in one unit.

Root mean squared errors (RMSE) are in deviations of the target. Ratios are those of the errors and times of one model
to those of a model for each target; of the errors the geometric mean, the lowest and the highest over targets and
seeds. Seconds are of processor time for each target, on one thread; a first fit, thrown away, pays for compilation.
"""

import argparse
import json
from time import process_time

import numpy as np
import pandas as pd
from common import add_json_option, add_options, positive_int, print_table, run_tasks
from regression import UNSCORED_ROWS, WARM_UP_ROWS, make_gln
from sklearn.base import clone
from sklearn.model_selection import train_test_split
from sklearn.multioutput import MultiOutputRegressor
from threadpoolctl import threadpool_limits

N_ROWS = 1500


def main(arguments=None):
    """Run what the arguments ask for; returns the records."""
    options = build_parser().parse_args(arguments)
    params = json.loads(json.dumps(dict(options.param)))  # tuples would come back from the file as lists
    tasks = [
        {"data": name, "way": way, "targets": n_targets, "seed": seed, "rows": options.rows, "params": params}
        for name in options.sets
        for way in WAYS
        for n_targets in options.targets
        for seed in options.seeds
    ]
    records = run_tasks(compare, tasks, options.json, n_jobs=options.jobs)
    print_ratios(pd.DataFrame(records))
    return records


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, metavar="NAME", help="all")
    parser.add_argument("--targets", type=positive_int, nargs="+", default=[2, 4, 10], metavar="N", help="%(default)s")
    add_options(parser, "--rows", "--seeds", "--param", "--jobs", rows=N_ROWS)
    add_json_option(parser, "targets")
    return parser


# Sets: functions of the number of rows, the number of targets and a random generator, which return features and targets


def friedman(n_rows, n_targets, rng):
    """X (n_rows, 10), Y (n_rows, n_targets)."""
    X = rng.uniform(size=(n_rows, 10))
    targets = []
    for _ in range(n_targets):
        a, b, c, d, e = X[:, rng.permutation(10)[:5]].T
        targets.append(10 * np.sin(np.pi * a * b) + 20 * np.square(c - 0.5) + 10 * d + 5 * e)
    return X, np.column_stack(targets) + rng.normal(size=(n_rows, n_targets))


def mixtures(n_rows, n_targets, rng):
    """X (n_rows, 12), Y (n_rows, n_targets)."""
    X = rng.normal(size=(n_rows, 12))
    hidden = np.tanh(X @ rng.normal(0, 0.5, (12, 6)) + rng.normal(size=6))
    return X, hidden @ rng.normal(size=(6, n_targets)) + 0.1 * rng.normal(size=(n_rows, n_targets))


def energy(n_rows, n_targets, rng):
    """X (n_rows, 8), Y (n_rows, n_targets): what leaves a building through its walls against what the sun brings in."""
    months = np.arange(n_targets) * 2 * np.pi / n_targets
    outdoors, sun = 10 - 12 * np.cos(months - np.pi / 6), 1 - 0.8 * np.cos(months)
    width, height = rng.choice([7, 9, 12, 15], n_rows), rng.choice([3.5, 7], n_rows)
    length, glazing = 1200 / (width * height), rng.choice([0, 0.1, 0.25, 0.4], n_rows)
    facing, shade = rng.integers(4, size=n_rows), rng.choice([0, 0.5, 0.9], n_rows)
    insulation, indoors = rng.choice([0.2, 0.5, 1.2], n_rows), rng.choice([18, 20, 22], n_rows)
    walls, roof = 2 * (width + length) * height, width * length
    windows = glazing * walls
    loss = insulation * (walls - windows + 0.7 * roof) + 2.5 * windows
    gain = windows * (1 - shade) * (1 + 0.6 * np.cos(facing * np.pi / 2))
    balance = loss[:, np.newaxis] * (indoors[:, np.newaxis] - outdoors) - 60 * gain[:, np.newaxis] * sun
    loads = np.maximum(balance, 0) + 1.5 * np.maximum(-balance - 500, 0)
    return np.column_stack([width, height, length, glazing, facing, shade, insulation, indoors]), loads


SETS = {"friedman": friedman, "mixtures": mixtures, "energy": energy}


# Ways to learn: functions of a regressor and the data, which return errors (n, n_targets) and seconds


def fit_seconds(regressor, X, Y):
    X_train, X_test, Y_train, Y_test = train_test_split(X, Y, test_size=1 / 3, random_state=0)
    start = process_time()
    regressor.fit(X_train, Y_train)
    seconds = process_time() - start
    return regressor.predict(X_test) - Y_test, seconds


def stream_seconds(regressor, X, Y):
    models, targets = [regressor], [Y]
    if isinstance(regressor, MultiOutputRegressor):  # which has no progressive_predict
        models, targets = [clone(regressor.estimator) for _ in Y.T], Y.T
    start = process_time()
    predictions = [model.progressive_predict(X, y) for model, y in zip(models, targets, strict=True)]
    seconds = process_time() - start
    return (np.column_stack(predictions) - Y)[UNSCORED_ROWS:], seconds


WAYS = {"fit": fit_seconds, "stream": stream_seconds}


def compare(data, way, targets, seed, rows, params):
    """RMSE of each target and seconds for each target, by one model and by a model for each."""
    X, Y = SETS[data](rows, targets, np.random.default_rng(seed))
    record = {}
    with threadpool_limits(1):
        make_gln(seed, params).fit(X[:WARM_UP_ROWS], Y[:WARM_UP_ROWS])  # compiles
        for name, regressor in (
            ("together", make_gln(seed, params)),
            ("apart", MultiOutputRegressor(make_gln(seed, params))),
        ):
            errors, seconds = WAYS[way](regressor, X, Y)
            rmse = np.sqrt(np.mean(np.square(errors / Y.std(axis=0)), axis=0))
            record |= {f"rmse_{name}": rmse.tolist(), f"seconds_{name}": seconds / targets}
    return record


def print_ratios(frame):
    """A row for each set, way and number of targets, over the seeds."""
    rows = []
    for (data, way, n_targets), runs in frame.groupby(["data", "way", "targets"], sort=False):
        together, apart = (np.concatenate(runs[f"rmse_{name}"].tolist()) for name in ("together", "apart"))
        ratios = together / apart
        rows.append(
            {
                "set": data,
                "way": way,
                "targets": n_targets,
                "RMSE": together.mean(),
                "ratio": float(np.exp(np.log(ratios).mean())),
                "lowest": ratios.min(),
                "highest": ratios.max(),
                "s a target": runs["seconds_together"].mean(),
                "time ratio": runs["seconds_together"].sum() / runs["seconds_apart"].sum(),
            }
        )
    print_table(rows, ".3f")


if __name__ == "__main__":
    main()
