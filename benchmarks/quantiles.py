"""How honest predicted quantiles are, beside gradient boosting that is fitted once for each of them.

Development tables, 3-fold cross-validated, and targets with noise of known kinds; each record kept::

    python benchmarks/quantiles.py tables --json
    python benchmarks/quantiles.py noise --json

GLNRegressor over a stream, asked before every 64 rows for what it then learns::

    python benchmarks/quantiles.py stream --seeds 0 1 2 --json

On a small scale; a part of it::

    python benchmarks/quantiles.py tables --quick
    python benchmarks/quantiles.py noise --sets lognormal_noise --models GLN Gaussian

Tables are those of `regression_sets.py`, by default of the group on which choices were made; noise is added to one
smooth function, on one half of the rows with a deviation of its own. All models have their libraries' defaults and one
thread. "Gaussian" is what GLNRegressor's means and deviations would give if noise were normal. Scores, of all test
folds' predictions together: the mean pinball loss of five quantiles in units of the target's deviation, the shares of
targets below each, how far these are off for the four outer quantiles, and the share of rows whose quantiles are out of
order. Seconds are those of fitting all that five quantiles need.
"""

import argparse
from time import perf_counter

import numpy as np
import pandas as pd
from common import add_json_option, add_options, positive_int, run_tasks, show_frame
from regression_sets import TABLES, rows_of_table
from scipy.special import ndtri
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from sklearn_gln import GLNRegressor

QUANTILES = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
OUTER = QUANTILES != 0.5
N_FOLDS = 3
NOISE_ROWS = 9000
CHUNK = 64
WARM_UP_ROWS = 300
UNSCORED_ROWS = 256  # of a stream: the network is built again so far
NOISES = {  # of deviation 1, from a generator and a number of rows
    "normal_noise": lambda rng, n: rng.normal(size=n),
    "exponential_noise": lambda rng, n: rng.exponential(size=n) - 1,
    "lognormal_noise": lambda rng, n: (rng.lognormal(size=n) - np.exp(0.5)) / np.sqrt(np.e * (np.e - 1)),
    "heavy_noise": lambda rng, n: rng.standard_t(3, size=n) / np.sqrt(3),
}


def main(arguments=None):
    """Run what the arguments ask for; returns the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, sets, models, text in (
        ("tables", TABLES, MODELS, "3-fold cross-validation on tables"),
        ("noise", NOISES, MODELS, "the same on targets with noise of known kinds"),
        ("stream", TABLES | NOISES, READINGS, "one pass, each chunk predicted, then learned"),
    ):
        command = subparsers.add_parser(name, help=text, description=text)
        command.set_defaults(function=learn_stream if name == "stream" else cross_validate)
        in_group = [data for data in sets if data in NOISES or TABLES[data].group == "development"]
        command.add_argument("--sets", nargs="+", choices=sets, default=in_group, metavar="NAME", help="(development)")
        command.add_argument("--models", nargs="+", choices=models, default=list(models), metavar="NAME", help="all")
        rows = command.add_mutually_exclusive_group()
        rows.add_argument("--rows", type=positive_int, metavar="N", help="at most")
        rows.add_argument("--quick", action="store_const", dest="rows", const=200, help="--rows 200")
        add_options(command, "--seeds", "--jobs")
        add_json_option(command, f"quantiles_{name}")
    return run(parser.parse_args(arguments))


def run(options):
    tasks = [
        {"data": data, "model": model, "seed": seed, "rows": options.rows}
        for data in options.sets
        for seed in options.seeds
        for model in options.models
    ]
    frame = pd.DataFrame(run_tasks(options.function, tasks, options.json, n_jobs=options.jobs))
    noisy = frame["data"].isin(NOISES)
    print_scores("tables", frame[~noisy])
    for data, of_noise in frame[noisy].groupby("data", sort=False):
        print_scores(data, of_noise)
    return frame


# Data


def rows_of(data, seed, n_rows):
    """X (n, n_features), y (n,) of a table, or of a noise with a smooth function."""
    if data in TABLES:
        return rows_of_table(data, seed, n_rows)
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n_rows or NOISE_ROWS, 5))
    return X, 2 * X[:, 0] + np.sin(3 * X[:, 1]) + np.where(X[:, 2] > 0, 1, 0.3) * NOISES[data](rng, len(X))


# Quantiles (n, n_quantiles) by a GLNRegressor


def honest_quantiles(model, X):
    return model.predict_quantiles(X, QUANTILES)


def gaussian_quantiles(model, X):
    mean, deviation = model.predict(X, return_std=True)
    return mean[:, np.newaxis] + deviation[:, np.newaxis] * ndtri(QUANTILES)


READINGS = {"GLN": honest_quantiles, "Gaussian": gaussian_quantiles}


# Models: functions of X, y, X_test and a seed that return quantiles (n_test, n_quantiles) and seconds of fitting


def gln(read):
    def predict(X, y, X_test, seed):
        model, seconds = fitted(GLNRegressor(random_state=seed), X, y)
        return read(model, X_test), seconds

    return predict


def one_for_each(make):
    """`make` makes a model for a quantile from it and a seed."""

    def predict(X, y, X_test, seed):
        models, seconds = zip(*(fitted(make(float(q), seed), X, y) for q in QUANTILES), strict=True)
        return np.stack([model.predict(X_test) for model in models], axis=1), sum(seconds)

    return predict


def make_hist_gradient_boosting(quantile, seed):
    return HistGradientBoostingRegressor(loss="quantile", quantile=quantile, random_state=seed)


def make_lightgbm(quantile, seed):
    try:
        from lightgbm import LGBMRegressor
    except ImportError as error:
        raise SystemExit(f"LightGBM is not there ({error}); install it with `pip install lightgbm`.") from error
    return LGBMRegressor(objective="quantile", alpha=quantile, random_state=seed, verbose=-1, n_jobs=1)


MODELS = {
    **{name: gln(read) for name, read in READINGS.items()},
    "HistGradientBoosting": one_for_each(make_hist_gradient_boosting),
    "LightGBM": one_for_each(make_lightgbm),
}


def fitted(model, X, y):
    start = perf_counter()
    model.fit(X, y)
    return model, perf_counter() - start


# Runs


def cross_validate(data, model, seed, rows):
    """Scores of all test folds' predictions together, and mean seconds of fitting."""
    X, y = rows_of(data, seed, rows)
    values, seconds = np.zeros((len(y), len(QUANTILES))), []
    with threadpool_limits(1):
        MODELS[model](X[:WARM_UP_ROWS], y[:WARM_UP_ROWS], X[:1], seed)  # compiles
        for train, test in KFold(N_FOLDS, shuffle=True, random_state=seed).split(X):
            values[test], taken = MODELS[model](X[train], y[train], X[test], seed)
            seconds.append(taken)
    return {"n_rows": len(y), **score(y, values), "seconds": float(np.mean(seconds))}


def learn_stream(data, model, seed, rows):
    """Scores of one pass, the first rows left out."""
    X, y = rows_of(data, seed, rows)
    values = np.zeros((len(y), len(QUANTILES)))
    with threadpool_limits(1):
        stream = GLNRegressor(random_state=seed).partial_fit(X[:CHUNK], y[:CHUNK])
        for start in range(CHUNK, len(y), CHUNK):
            chunk = slice(start, start + CHUNK)
            values[chunk] = READINGS[model](stream, X[chunk])
            stream.partial_fit(X[chunk], y[chunk])
    scored = slice(min(UNSCORED_ROWS, len(y) // 2), None)
    return {"n_rows": len(y), **score(y[scored], values[scored])}


def score(y, values):
    """Scores of quantiles (n, n_quantiles)."""
    shares = np.mean(y[:, np.newaxis] < values, axis=0)
    return {
        "pinball": pinball_loss((y[:, np.newaxis] - values) / y.std()),
        "shares": shares.tolist(),
        "off": float(np.abs(shares - QUANTILES)[OUTER].mean()),
        "crossed": float(np.mean(np.any(np.diff(values, axis=1) < 0, axis=1))),
    }


def pinball_loss(errors):
    """The mean loss of targets less their quantiles (n, n_quantiles)."""
    return float(np.maximum(QUANTILES * errors, (QUANTILES - 1) * errors).mean())


def print_scores(name, frame):
    """Means over sets and seeds, and how far from its quantile the mean share over seeds is in the worst set."""
    if not len(frame):
        return
    shares = pd.DataFrame(frame["shares"].tolist(), frame.index, [f"below {q}" for q in QUANTILES])
    of_sets = pd.concat([frame[["data", "model"]], shares], axis=1).groupby(["data", "model"], sort=False).mean()
    worst = (of_sets - QUANTILES).abs().loc[:, OUTER].max(axis=1).groupby("model").max()
    columns = [column for column in ("pinball", "off", "crossed", "seconds") if column in frame]
    means = pd.concat([frame[["model", *columns]], shares], axis=1).groupby("model", sort=False).mean()
    print(f"\n{name}, {frame['data'].nunique()} sets\n{show_frame(means.assign(worst=worst).T)}")


if __name__ == "__main__":
    main()
