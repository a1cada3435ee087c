"""Data sets for regression: tables to cross-validate on or to read as streams, and streams whose target changes.

All come with scikit-learn, river or matplotlib, or are generated. On the group "development" choices were made, on
"holdout", most of it measured in the world, none. Rows of tables that are `ordered` stand in the order of time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import islice

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.utils import check_random_state


@dataclass(frozen=True)
class Table:
    group: str
    ordered: bool
    make: Callable  # () -> X (n, n_features), y (n,)


TABLES = {}  # {name: Table}
DRIFTS = {}  # {name: function of n_rows and a seed -> X (n, n_features), y (n,), scale (n,) of y about its level}


def table(group, *, ordered=False):
    """Decorator: the function makes a table of its name."""

    def add(make):
        TABLES[make.__name__] = Table(group, ordered, make)
        return make

    return add


def drift(make):
    """Decorator: the function makes a stream of its name."""
    DRIFTS[make.__name__] = make
    return make


@cache
def load_table(name):
    """X (n, n_features), y (n,), both float64."""
    X, y = TABLES[name].make()
    return np.asarray(X, float), np.asarray(y, float)


def rows_of_table(name, seed, n_rows=None):
    """At most so many rows X, y of a table: an ordered one's first, others in the seed's order."""
    X, y = load_table(name)
    order = np.arange(len(X)) if TABLES[name].ordered else np.random.default_rng(seed).permutation(len(X))
    return X[order[:n_rows]], y[order[:n_rows]]


# For development: scikit-learn's generators


@table("development")
def friedman1():
    """A product's sine, a square and two lines; half of the features mean nothing."""
    return datasets.make_friedman1(1000, noise=1.0, random_state=0)


@table("development")
def friedman1_clean():
    """The same without noise."""
    return datasets.make_friedman1(1000, noise=0.0, random_state=1)


@table("development")
def friedman2():
    """An impedance, of features with four units."""
    return datasets.make_friedman2(1000, noise=50.0, random_state=0)


@table("development")
def friedman3():
    """The phase to it: an arc tangent."""
    return datasets.make_friedman3(1000, noise=0.1, random_state=0)


@table("development")
def linear():
    """Eight of twenty features count."""
    return datasets.make_regression(500, 20, n_informative=8, noise=20.0, random_state=0)


@table("development")
def linear_wide():
    """Ten of a hundred features count, of which there are 200 rows."""
    return datasets.make_regression(200, 100, n_informative=10, noise=10.0, random_state=1)


@table("development")
def sparse_uncorrelated():
    """Four of ten features count, with as much noise as one of them."""
    return datasets.make_sparse_uncorrelated(600, 10, random_state=0)


@table("development")
def swiss_roll():
    """Where along a rolled sheet a point lies."""
    return datasets.make_swiss_roll(1000, noise=0.3, random_state=0)


@table("development")
def s_curve():
    """Where along a sheet bent to an S a point lies."""
    return datasets.make_s_curve(600, noise=0.1, random_state=0)


# For development: other functions and noises


@table("development")
def lognormal():
    """Features whose logarithms are normal, some of which the target knows as logarithms."""
    rng = check_random_state(0)
    X = np.exp(1.5 * rng.normal(size=(1000, 6)))
    return X, X[:, 0] + 2 * np.log(X[:, 1]) + X[:, 2] / 2 + rng.normal(size=1000)


@table("development")
def heavy_tails():
    """Features of Student's t with 1.5 degrees of freedom, which has no variance; the target grows slower than they."""
    rng = check_random_state(9)
    X = rng.standard_t(1.5, size=(1000, 6))
    curves = np.tanh(X[:, 0]) + np.clip(X[:, 1], -20, 20) / 5 + np.sqrt(np.abs(X[:, 2]))
    return X, curves + 0.3 * rng.normal(size=1000)


@table("development")
def sines():
    """A wave in two dimensions."""
    rng = check_random_state(1)
    X = rng.uniform(-3, 3, (1000, 2))
    return X, np.sin(2 * X[:, 0]) * np.cos(X[:, 1]) + 0.1 * rng.normal(size=1000)


@table("development")
def wave():
    """One feature."""
    rng = check_random_state(3)
    x = rng.uniform(-4, 4, 300)
    return x[:, np.newaxis], x * np.sin(x) + 0.3 * rng.normal(size=300)


@table("development")
def uneven_noise():
    """Noise that grows with one feature, about a parabola of another."""
    rng = check_random_state(2)
    X = rng.uniform(-2, 2, (800, 3))
    return X, X[:, 0] ** 2 + np.exp(X[:, 1] / 2) / 2 * rng.normal(size=800)


@table("development")
def steps():
    """Boxes, as trees like them."""
    rng = check_random_state(5)
    X = rng.uniform(size=(1000, 5))
    boxes = 2.0 * (X[:, 0] > 0.5) + 3.0 * ((X[:, 1] > 0.3) & (X[:, 2] > 0.6))
    return X, boxes + 0.2 * rng.normal(size=1000)


@table("development")
def ramps():
    """Planes that meet in creases."""
    rng = check_random_state(6)
    X = rng.normal(size=(800, 6))
    return X, np.maximum(X[:, 0], X[:, 1]) - np.abs(X[:, 2] - 0.5) + 0.2 * rng.normal(size=800)


# Measured, for development


@table("development")
def diabetes():
    """Progression of the disease within a year."""
    return datasets.load_diabetes(return_X_y=True)


@table("development")
def wine_alcohol():
    """Alcohol in wine, from its other contents and colours."""
    return column_of(datasets.load_wine(as_frame=True).data, "alcohol")


@table("development")
def iris_petal_width():
    """Width of the petals, from their length and the sepals."""
    return column_of(datasets.load_iris(as_frame=True).data, "petal width (cm)")


@table("development")
def cancer_area():
    """Mean area of cell nuclei, from what says nothing of their size."""
    frame = datasets.load_breast_cancer(as_frame=True).data
    of_size = [name for name in frame if any(size in name for size in ("radius", "perimeter", "area"))]
    return column_of(frame, "mean area", without=of_size)


@table("development")
def digit_values():
    """Which digit an image shows, as a number."""
    return datasets.load_digits(return_X_y=True)


@table("development")
def digit_halves():
    """How dark the lower half of a digit is, from the pixels of the upper."""
    X, _ = datasets.load_digits(return_X_y=True)
    return X[:, :32], X[:, 32:].mean(axis=1)


@table("development", ordered=True)
def trump_approval():
    """A president's approval, from five polls and the date."""
    return river_rows("TrumpApproval")


@table("development", ordered=True)
def chick_weights():
    """Weight of chicks, from age, diet and which chick it is; all of an age, then all two days older."""
    X, y = river_rows("ChickWeights")
    return pd.get_dummies(X, columns=["chick", "diet"]), y


@table("development")
def image_segments():
    """Saturation of a piece of a photograph, from its other colours, textures and place."""
    X, _ = river_rows("ImageSegments")
    return some_rows(*column_of(X, "saturation-mean"))


@table("development")
def yeast():
    """One measurement of a gene's expression, from 102 others."""
    X, _ = river_rows("Yeast")
    return some_rows(*column_of(X, "Att1"))


# Held out


@table("holdout", ordered=True)
def water_flow():
    """Water in a pipe, from hour, day of the week and the flow one, two, 24 and 168 hours before."""
    X, y = river_rows("WaterFlow")
    times = [(time.hour, time.weekday()) for time in X["Time"]]
    before = [pd.Series(y).shift(hours) for hours in (1, 2, 24, 168)]
    return np.column_stack([times, *before])[168:], y[168:]


@table("holdout", ordered=True)
def stock_returns():
    """Tomorrow's mean return of ten stocks, from today's ten: nearly nothing can be known."""
    return river_rows("SP500Stocks")


@table("holdout", ordered=True)
def traded_volume():
    """Shares traded in a day, from the volumes of the five days before and the prices of the last."""
    days = pd.DataFrame(matplotlib_sample("goog.npz")["price_data"]).drop(columns="date").astype(float)
    before = pd.concat([days.shift(1), *(days["volume"].shift(lag) for lag in range(2, 6))], axis=1)
    return before[5:], days["volume"][5:]


@table("holdout")
def elevation():
    """Height of hills and a valley at a fault, from longitude and latitude."""
    return some_rows(*height_of(matplotlib_sample("jacksboro_fault_dem.npz")["elevation"]))


@table("holdout")
def sea_floor():
    """Height of land and sea floor at a coast, from longitude and latitude."""
    return some_rows(*height_of(matplotlib_sample("topobathy.npz")["topo"]))


@table("holdout")
def pixels():
    """A pixel of a photograph, from seven neighbours to the left of it and above."""
    image = datasets.load_sample_image("flower.jpg").mean(axis=2)
    windows = np.lib.stride_tricks.sliding_window_view(image, (2, 5)).reshape(-1, 10)
    return some_rows(windows[:, :7], windows[:, 7])


@table("holdout")
def shuttle():
    """One reading in a space shuttle, from others; those that are differences with it are left out."""
    X, _ = river_rows("Shuttle")
    return some_rows(*column_of(X, "f5", without=["f7", "f8", "f9"]))


@table("holdout")
def solar_flares():
    """Number of common flares in a day, mostly none, from classes of the sunspots."""
    X, y = river_rows("SolarFlare")
    return some_rows(pd.get_dummies(X), [counts["c-class-flares"] for counts in y])


@table("holdout")
def mv():
    """An artificial table of numbers and categories that depend on each other."""
    from river.datasets.synth import Mv

    rows, y = zip(*islice(Mv(seed=0), 1000), strict=True)
    return pd.get_dummies(pd.DataFrame(rows)), y


@table("holdout")
def planes():
    """Two planes in ten dimensions, one feature says which."""
    from river.datasets.synth import Planes2D

    rows, y = zip(*islice(Planes2D(seed=0), 1000), strict=True)
    return pd.DataFrame(rows), y


# Where they come from


def column_of(frame, target, without=()):
    """X, y: the other columns of a DataFrame, but for those that are left out, and this one."""
    return frame.drop(columns={target, *without}), frame[target]


def some_rows(X, y, n_rows=1000):
    """At most so many random rows."""
    kept = check_random_state(0).permutation(len(X))[:n_rows]
    return np.asarray(X)[kept], np.asarray(y)[kept]


def river_rows(name):
    """X (DataFrame) and y of one of river's data sets, in its order."""
    try:
        from river import datasets as river_datasets
    except ImportError as error:
        raise SystemExit(f"{name} comes from river ({error}); install it with `pip install river`.") from error
    rows, y = zip(*getattr(river_datasets, name)(), strict=True)
    return pd.DataFrame(rows), y


def matplotlib_sample(name):
    from matplotlib.cbook import get_sample_data

    return get_sample_data(name)


def height_of(heights):
    """X, y: the place, and what is there, of each point of a grid (n, m)."""
    return np.argwhere(np.isfinite(heights)), heights.ravel()


# Streams that change


def steady_target(n_rows, seed):
    """X (n_rows, 10), y (n_rows,) with mean 0 and deviation 1: Friedman's first function, with noise."""
    X, y = datasets.make_friedman1(n_rows, noise=1.0, random_state=seed)
    return X, (y - y.mean()) / y.std()


def changed(n_rows, seed, *, scale=1.0, level=0.0):
    """The steady target, scaled, then shifted by a level, which both may be (n_rows,)."""
    X, y = steady_target(n_rows, seed)
    scale = np.broadcast_to(scale, n_rows)
    return X, level + scale * y, scale


@drift
def steady(n_rows, seed):
    """No change."""
    return changed(n_rows, seed)


@drift
def scale_grows(n_rows, seed):
    """A hundredfold, evenly."""
    return changed(n_rows, seed, scale=100 ** np.linspace(0, 1, n_rows))


@drift
def scale_rises(n_rows, seed):
    """To thirty times in the middle, at once."""
    return changed(n_rows, seed, scale=np.where(np.arange(n_rows) < n_rows // 2, 1.0, 30.0))


@drift
def scale_falls(n_rows, seed):
    """To a thirtieth in the middle, at once."""
    return changed(n_rows, seed, scale=np.where(np.arange(n_rows) < n_rows // 2, 30.0, 1.0))


@drift
def level_jumps(n_rows, seed):
    """Four times, by some ten deviations."""
    jumps = check_random_state(seed).normal(scale=10, size=5)
    return changed(n_rows, seed, level=jumps[np.arange(n_rows) * 5 // n_rows])


@drift
def level_walks(n_rows, seed):
    """A random walk, with steps of a tenth of the deviation."""
    return changed(n_rows, seed, level=np.cumsum(check_random_state(seed).normal(scale=0.1, size=n_rows)))


@drift
def slopes_jump(n_rows, seed):
    """Others in the middle."""
    return plane(n_rows, seed, angle=np.where(np.arange(n_rows) < n_rows // 2, 0, np.pi / 2))


@drift
def slopes_turn(n_rows, seed):
    """One turn of the slopes' vector along the stream."""
    return plane(n_rows, seed, angle=np.linspace(0, 2 * np.pi, n_rows))


def plane(n_rows, seed, *, angle):
    """A linear target, a tenth of its variance noise; its slopes turn by the angles (n_rows,) in a plane."""
    rng = check_random_state(seed)
    first, second = np.linalg.qr(rng.normal(size=(10, 2)))[0].T
    X = rng.normal(size=(n_rows, 10))
    y = np.cos(angle) * (X @ first) + np.sin(angle) * (X @ second)
    return X, (3 * y + rng.normal(size=n_rows)) / np.sqrt(10), np.ones(n_rows)
