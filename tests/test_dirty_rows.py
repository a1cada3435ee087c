"""Dirty rows: wild values among features and targets, columns that are mostly 0, and units that change."""

import os
import pickle
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import log_loss

from sklearn_gln import GLNClassifier, GLNRegressor
from tests.helpers import thorough_but

N, TRUSTED = 3000, slice(500, None)
SMALL = {"layer_sizes": (20, 10), "context_dim": 5, "random_state": 0}
PLACES = {
    "row 1": [0],
    "row 2": [1],
    "row 100": [99],
    "row 300": [299],
    "several": [5, 99, 100, 1000],
    "the first 20": range(20),
    "60 at an event": range(1980, 2040),
    "5 %": np.flatnonzero(np.random.default_rng(7).random(N) < 0.05),
}


def make_rows(n=N, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    signal = X[:, 0] + np.abs(X[:, 1]) - 0.8
    return X, (signal > 0).astype(int), signal + 0.2 * rng.normal(size=n)


def progress(kind, X, y, clean=None, params=None, sample_weight=None, part=TRUSTED):
    """Accuracy, or R2, of predictions made before rows were learned: of clean rows (n,) bool in a part."""
    params = SMALL | (params or {})
    clean = np.ones(len(X), bool) if clean is None else clean
    clean, truth = clean[part], y[part]
    if kind == "classifier":
        model = GLNClassifier(**params)
        p = model.progressive_predict_proba(X, y, classes=[0, 1], sample_weight=sample_weight)[part, 1]
        return np.mean((p > 0.5) == truth, where=clean)
    p = GLNRegressor(**params).progressive_predict(X, y, sample_weight=sample_weight)[part]
    return 1 - np.mean((p - truth) ** 2, where=clean) / truth[clean].var()


def with_wild(array, place, value, columns=slice(None)):
    """A copy with a wild value in some rows, and which rows are clean."""
    array, clean = array.copy(), np.ones(len(array), bool)
    clean[list(PLACES[place])] = False
    array[(~clean, columns) if array.ndim == 2 else ~clean] = value
    return array, clean


@pytest.fixture(scope="module")
def unspoilt():
    X, y, t = make_rows()
    return {"classifier": progress("classifier", X, y), "regressor": progress("regressor", X, t)}


# Features


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
@pytest.mark.parametrize("columns", [0, slice(None)], ids=["one column", "all"])
@pytest.mark.parametrize("place", thorough_but(PLACES, "row 2", "row 100", "5 %"))
def test_wild_features_cost_next_to_nothing(place, columns, kind, unspoilt):
    X, y, t = make_rows()
    X, clean = with_wild(X, place, 1e7, columns)
    assert progress(kind, X, y if kind == "classifier" else t, clean) > unspoilt[kind] - 0.05


@pytest.mark.parametrize("value", [-999, 1e30])
@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("classifier", {"half_life": 1000}),
        ("classifier", {"half_life": "mixed", "base_predictor": "global"}),
        ("regressor", {"half_life": 1000}),
        ("regressor", {"half_life": "mixed"}),
        ("regressor", {"likelihood": "gaussian"}),
    ],
)
def test_of_any_size_with_any_memory(kind, params, value):
    X, y, t = make_rows(2000)
    y = y if kind == "classifier" else t
    rng = np.random.default_rng(3)
    clean = rng.random(len(X)) > 0.02
    dirty = np.where(clean[:, np.newaxis], X, value).astype(np.float32)
    assert progress(kind, dirty, y, clean, params) > progress(kind, X, y, clean, params) - 0.05


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_fit_stands_one_percent_of_sentinels(kind):
    X, y, t = make_rows()
    y = y if kind == "classifier" else t
    learner = GLNClassifier if kind == "classifier" else GLNRegressor
    dirty = X.copy()
    dirty[::100, 0] = -9999
    got, expected = (
        learner(**SMALL, max_iter=2).fit(rows[:2000], y[:2000]).score(X[2000:], y[2000:]) for rows in (dirty, X)
    )
    assert got > expected - 0.03


def test_sentinels_count_as_their_weights_say():
    X, y, _ = make_rows()
    dirty, clean = with_wild(X, "5 %", 1e7)
    weight = np.where(clean, 1.0, 1e-3)
    assert progress("classifier", dirty, y, clean, sample_weight=weight) > progress("classifier", X, y, clean) - 0.02


@pytest.mark.parametrize("share", [0.5, 0.05, 0.005])
def test_columns_that_are_mostly_0_keep_a_scale(share):
    rng = np.random.default_rng(2)
    X = np.where(rng.random((4000, 10)) < share, rng.integers(1, 4, (4000, 10)), 0).astype(float)
    y = (X[:, :5].sum(axis=1) > X[:, 5:].sum(axis=1)).astype(int)
    p = GLNClassifier(**SMALL).progressive_predict_proba(X, y, classes=[0, 1])[2000:]
    prior = np.full(2000, y.mean())
    assert log_loss(y[2000:], p) < 0.4 * log_loss(y[2000:], prior)


@pytest.mark.parametrize("sigma", [1, 2, 4])
def test_heavy_tails_are_learned(sigma):
    X, y, _ = make_rows()
    assert progress("classifier", np.exp(sigma * X), y) > 0.9


@pytest.mark.parametrize("base_predictor", ["identity", "minmax", lambda X: np.clip(X, 0, 1)])
def test_features_that_are_not_scaled_are_left_alone(base_predictor):
    X, y, _ = make_rows(600)
    X = np.clip(np.abs(X), 0, 1)
    model = GLNClassifier(**SMALL, base_predictor=base_predictor)
    for rows in np.split(np.arange(len(X)), [300]):
        model.partial_fit(X[rows], y[rows], classes=[0, 1])
    assert np.isfinite(model.predict_proba(X)).all()


# Units


@pytest.mark.parametrize(
    ("kind", "columns"),
    thorough_but(product(["classifier", "regressor"], [(0,), (0, 1, 2, 3)]), ("classifier", (0,)), ("regressor", (0,))),
)
@pytest.mark.parametrize("scale", [lambda x: 1000 * x, lambda x: x / 1000, lambda x: x + 273.15])
def test_a_change_of_units_is_followed(scale, kind, columns):
    X, y, t = make_rows(10_000)
    y = y if kind == "classifier" else t
    changed = X.copy()
    changed[3000:, columns] = scale(X[3000:, columns])
    last = slice(8000, None)
    assert progress(kind, changed, y, part=last) > progress(kind, X, y, part=last) - 0.05


def test_units_are_followed_back_and_with_wild_rows_among_the_new():
    X, y, _ = make_rows(12_000)
    changed = X.copy()
    changed[2000:7000] *= 1000
    changed[::50] = 1e9
    clean = np.arange(len(X)) % 50 > 0
    for part in (slice(6000, 7000), slice(11_000, None)):
        expected = progress("classifier", X, y, clean, part=part)
        assert progress("classifier", changed, y, clean, part=part) > expected - 0.05


# Targets


@pytest.mark.parametrize("value", [1e7, -9999])
@pytest.mark.parametrize("place", thorough_but(PLACES, "row 2", "row 100", "5 %"))
def test_wild_targets_cost_next_to_nothing(place, value, unspoilt):
    X, _, t = make_rows()
    t, clean = with_wild(t, place, value)
    assert progress("regressor", X, t, clean) > unspoilt["regressor"] - 0.05


@pytest.mark.parametrize(
    "params", [{"half_life": 1000}, {"half_life": "mixed"}, {"likelihood": "gaussian"}, {"preconditioner": "block"}]
)
def test_wild_targets_with_any_memory_and_weights(params):
    X, _, t = make_rows()
    dirty, clean = with_wild(t, "5 %", 99999)
    weight = np.where(clean, 1.0, 3.0)
    expected = progress("regressor", X, t, clean, params)
    assert progress("regressor", X, dirty, clean, params, weight) > expected - 0.06


def test_a_rare_level_that_features_foretell_is_learned():
    X, _, t = make_rows()
    rare = np.random.default_rng(1).random(N) < 0.02
    X[:, 3], t = rare, t - 50 * rare
    error = GLNRegressor(**SMALL).progressive_predict(X, t) - t
    assert np.median(np.abs(error[1000:][rare[1000:]])) < 1


def test_a_wild_target_leaves_other_outputs_alone():
    X, _, t = make_rows(1000)
    both = np.column_stack([t, np.where(np.arange(1000) % 100 == 50, 1e9, t)])
    params = SMALL | {"halfspaces": "gaussian", "offset_scale": 1.0}  # cuts are chosen by all targets
    got = GLNRegressor(**params).progressive_predict(X, both)
    assert_allclose(got[:, 0], GLNRegressor(**params).progressive_predict(X, t), atol=1e-3)


def test_fit_stands_wild_targets():
    X, _, t = make_rows()
    dirty = t[:2000].copy()
    dirty[[3, 700]] = 1e7, -1e9
    got, expected = (
        GLNRegressor(**SMALL, max_iter=2).fit(X[:2000], y).score(X[2000:], t[2000:]) for y in (dirty, t[:2000])
    )
    assert got > expected - 0.03


def test_a_target_whose_level_changes_is_followed():
    X, _, t = make_rows()
    jumped = np.where(np.arange(N) < 1000, t, 1e4 + 100 * t)
    error = np.abs(GLNRegressor(**SMALL, half_life=300).progressive_predict(X, jumped) - jumped)
    assert np.median(error[2500:]) < 100  # a deviation


# Laws


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_any_split_of_a_dirty_stream_gives_the_same_model(kind):
    X, y, t = make_rows(5000)
    X[::37, 1] = -999
    X[2500:] *= 1000
    X[3] = np.nan
    t[::41] = 1e8
    weight = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    learner, y = (GLNClassifier, y) if kind == "classifier" else (GLNRegressor, t)
    params = SMALL | {"layer_sizes": (4,), "dtype": "float64"}
    more = {"classes": [0, 1]} if kind == "classifier" else {}
    whole = learner(**params).partial_fit(X, y, sample_weight=weight, **more)
    parts = learner(**params)
    for rows in np.split(np.arange(len(X)), [1, 2, 50, 255, 300, 301, 2047, 2048, 4095]):
        parts = pickle.loads(pickle.dumps(parts)).partial_fit(X[rows], y[rows], sample_weight=weight[rows], **more)
    assert_allclose(parts.predict(X), whole.predict(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("backend", os.environ.get("SKLEARN_GLN_BACKENDS", "numba,torch,tensorflow,jax").split(","))
def test_dirty_rows_are_the_same_on_every_backend(backend, dtype):
    pytest.importorskip(backend)
    X, y, _ = make_rows(600)
    X[::23, 0] = 1e30
    X[::29, 1] = np.nan
    X = X.astype(dtype)
    params = SMALL | {"layer_sizes": (3,), "context_dim": 2, "dtype": "float64", "half_life": 2000}
    got, expected = (
        GLNClassifier(**params, backend=name).progressive_predict_proba(X, y, classes=[0, 1])
        for name in (backend, "numpy")
    )
    assert_allclose(got, expected, atol=1e-6)
