"""Numbers hold: sums that go on counting, offsets that dwarf what varies, redundant features, values and weights that
are huge."""

from dataclasses import fields, is_dataclass
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import log_loss

from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln._base import MAX_FEATURE
from sklearn_gln._base_predictor import MAX_MEAN, BasePredictor, RunningMoments
from sklearn_gln._schedule import BOUND_PERIOD
from sklearn_gln.kernels import get_kernels
from tests.helpers import call, thorough_but

HOST = get_kernels("numpy")
FULL = 2.0**24  # where float32 stops counting
SUMS = (
    "accumulator", "errors", "weight", "moment", "cross_moment", "mean", "squares", "class_weight", "information",
    "products", "largest", "sums",
)  # fmt: skip
TINY = {"layer_sizes": (3,), "context_dim": 1, "random_state": 0}


def add_base_predictions(n, n_features=2, seed=0):
    """Rows, and noisy classes and targets of planes that bend where the second feature is 0."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_features))
    signal = X[:, 0] + np.abs(X[:, 1]) - 0.8
    noise = rng.normal(size=n)
    return X, (signal + 0.5 * noise > 0).astype(int), signal + 0.3 * noise


def stream(kind, **params):
    """An estimator, and what it predicts of rows just before it learns them: (n,)."""
    if kind == "classifier":
        model = GLNClassifier(**TINY | params)
        return model, lambda X, y, **more: model.progressive_predict_proba(X, y, classes=[0, 1], **more)[:, 1]
    model = GLNRegressor(**TINY | params)
    return model, model.progressive_predict


# Sums that go on counting


@pytest.mark.parametrize(("loss", "batch_size"), [("log", 1), ("squared", 1), ("log", 3)])
@pytest.mark.parametrize("weighted", [False, True])
def test_energies_count_beyond_2_24(backend, loss, batch_size, weighted):
    n, single = 8, np.float32
    u = np.random.default_rng(0).normal(size=(n, 1, 2)).astype(single)
    targets = np.full((n, 1), 0.5, single)
    options = {"loss": loss, "damping": 0.5, "limit": 9.0, "max_weight": np.inf, "batch_size": batch_size}
    weights, accumulator, logits = call(
        backend,
        "linear_learn",
        np.full((1, 1, 1, 2), 2.0, single),
        np.full((1, 1, 1), FULL),
        np.zeros((n, 1, 1), np.int32),
        [u],
        [u],
        targets,
        np.ones((n, 1), single),
        np.full((n, 1), 0.5, single) if weighted else None,
        **options,
    )
    assert weights.dtype == logits.dtype == single
    errors = 1 / (1 + np.exp(-logits[:, 0, 0].astype(float))) - 0.5
    gained = n if loss == "squared" else np.square(errors).sum()
    assert_allclose(accumulator - FULL, gained / (2 if weighted else 1), rtol=1e-4)


def test_repeats_of_gaussian_neurons_count_beyond_2_24(backend):
    n, single = 8, np.float32
    m, v = np.random.default_rng(0).normal(size=(2, n, 1, 2)).astype(single)
    _, counts, *_ = call(
        backend,
        "gaussian_learn",
        np.ones((1, 1, 1, 2), single),
        np.full((1, 1, 1), FULL),
        np.zeros((n, 1, 1), np.int32),
        [(m, np.exp(v))],
        np.ones((n, 1), single),
        np.ones((n, 1), single),
        normalized=True,
        damping=0.1,
        max_error=3.0,
        max_weight=10.0,
        min_variance=1e-4,
        max_variance=10.0,
    )
    assert_array_equal(counts, FULL + n)


def test_sums_at_slots_count_beyond_2_24(backend):
    rows = np.zeros((9, 1, 1), np.int32)
    table = call(backend, "add_at_slots", np.full((1, 1, 2), FULL), rows, np.ones((9, 1, 1), np.float32))
    assert_array_equal(table, [[[FULL + 9, FULL]]])


def sums_of(state):
    """All arrays that sums are kept in, by name."""
    if is_dataclass(state):
        for item in fields(state):
            value = getattr(state, item.name)
            if item.name in SUMS and isinstance(value, np.ndarray):
                yield item.name, value
            yield from sums_of(value)
    elif isinstance(state, list | tuple):
        for item in state:
            yield from sums_of(item)


@pytest.mark.parametrize("likelihood", [None, "squared", "gaussian"])
def test_all_sums_are_of_float64(likelihood):
    X, y, t = add_base_predictions(300)
    if likelihood is None:
        model = GLNClassifier((3, 2), 1, half_life="mixed", backend="numpy", dtype="float32").partial_fit(X, y, [0, 1])
    else:
        model = GLNRegressor((3, 2), 1, likelihood=likelihood, backend="numpy", dtype="float32").partial_fit(X, t)
    sums = list(sums_of(model._online))
    assert len(sums) > 5
    assert {name: array.dtype for name, array in sums} == {name: np.float64 for name, _ in sums}
    assert model._online.network.layers[0].weights.dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_stay_above_the_rounding_of_weights(dtype):
    X, y, _ = add_base_predictions(300)
    model, predict = stream("classifier", dtype=dtype)
    predict(X, y)
    online = model._online
    for layer in online.network.layers:
        layer.accumulator[:] = 1e9
    online.n_samples_seen = BOUND_PERIOD - 100
    predict(X[:99], y[:99])
    assert all(layer.accumulator.min() >= 1e9 for layer in online.network.layers)
    predict(X[99:150], y[99:150])
    bound = 2**20 if dtype == "float32" else 1e9
    for layer in online.network.layers:
        assert bound <= layer.accumulator.max() < bound + 150


def test_the_spread_stays_true_after_years():
    X, _, t = add_base_predictions(6000)
    model = GLNRegressor(**TINY, half_life=None, dtype="float32").partial_fit(X[:2000], t[:2000])
    spread = model._online.network.layers[-1].spread
    before, noise = spread.weight.sum(), spread.errors.sum() / spread.weight.sum()
    years = 2 * FULL / spread.weight.max()
    spread.weight, spread.errors = years * spread.weight, years * spread.errors
    model.partial_fit(X[2000:], t[2000:])
    assert_allclose(spread.weight.sum() - years * before, 3 * 4000, rtol=1e-6)
    assert_allclose(spread.mean_square, noise, rtol=1e-3)


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_precisions_agree(kind):
    X, y, t = add_base_predictions(20_000)
    y = y if kind == "classifier" else t
    single, double = (stream(kind, layer_sizes=(8, 4), dtype=dtype)[1](X, y) for dtype in ("float32", "float64"))
    differences = np.abs(single - double)
    assert np.median(differences) < 1e-5
    assert differences.max() < 0.05  # a context may flip
    if kind == "classifier":
        assert abs(log_loss(y, single) - log_loss(y, double)) < 1e-5


# Offsets that dwarf what varies


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8, -1e12])
@pytest.mark.parametrize("digits", [4, 12])
def test_moments_against_exact_fractions(offset, digits):
    spread = max(np.spacing(abs(offset)) * 10**digits, 1e-6)
    X = offset + spread * np.random.default_rng(0).normal(size=(3000, 1))
    moments = RunningMoments.empty(1)
    for rows in np.array_split(X, [1, 2, 500, 2548]):
        moments.update(rows, np.ones(len(rows)), HOST)
    values = list(map(Fraction, X[:, 0].tolist()))
    mean = sum(values) / len(values)
    deviation = float(sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
    assert abs(float(Fraction(moments.mean[0]) - mean)) < 1e-3 * deviation
    assert_allclose(np.sqrt(moments.variance), deviation, rtol=1e-6)


def scaled(X, backend, kind):
    """The base logits of rows, scaled by their own moments, which the backend takes in two parts."""
    predictor = BasePredictor(kind, 9.0, RunningMoments.empty(X.shape[1]))
    with backend.scope("cpu"):
        for rows in np.split(X, [100]):
            predictor.update(backend.asarray(rows), backend.asarray(np.ones(len(rows))), backend)
        predictor.refresh()
        assert all(np.isfinite(array).all() for _, array in sums_of(predictor))
        return backend.to_numpy(predictor.transform(backend.asarray(X), backend).base)


@pytest.mark.parametrize("kind", ["standard", "global"])
def test_an_offset_is_taken_away_before_any_cast(backend, kind):
    X = 1e8 + 1e-3 * add_base_predictions(600)[0]
    got, expected = (scaled(rows, backend, kind) for rows in (X, X - 1e8))  # the difference is exact
    assert_allclose(got, expected, rtol=0, atol=2e-4)
    assert got.std() > 0.9


@pytest.mark.parametrize("base_predictor", ["standard", "global"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_offset_of_features_changes_nothing(base_predictor, dtype):
    X, y, _ = add_base_predictions(600)
    X = 1e8 + 1e-3 * X
    params = {"base_predictor": base_predictor, "dtype": dtype}
    got, expected = (stream("classifier", **params)[1](rows, y) for rows in (X, X - 1e8))
    assert np.mean((expected > 0.5) == y) > 0.75
    assert np.median(np.abs(got - expected)) < 1e-4
    assert np.mean(np.abs(got - expected) > 0.01) < 0.02


def test_an_offset_of_targets_changes_nothing():
    X, _, t = add_base_predictions(1000)
    shifted = 1e8 + 1e-3 * t
    model, predict = stream("regressor")
    got = predict(X, shifted) - 1e8
    expected = stream("regressor")[1](X, shifted - 1e8)
    assert_allclose(got[1:], expected[1:], rtol=0, atol=1e-6)  # a thousandth of the deviation; before row 1 it is 0
    assert model.score(X, shifted) > 0.4


@pytest.mark.parametrize("spread", [0.8e-3, 1e-3, 1.2e-3])
def test_targets_that_hardly_vary_are_not_predicted_too_surely(spread):
    X, _, t = add_base_predictions(300)
    t = 1e10 + spread * t  # their deviation is about the least that counts
    mean, deviation = GLNRegressor(**TINY).progressive_predict(X, t, return_std=True)
    assert (np.abs(mean - t) / deviation)[16:].max() < 50


def test_float32_rows_at_an_offset_carry_nothing():
    X, y, _ = add_base_predictions(300)
    X = (1e8 + 1e-3 * X).astype(np.float32)  # whose neighbours are 8 apart
    model, predict = stream("classifier")
    assert len(np.unique(predict(X, y)[256:])) <= 300 - 256 + 1  # all alike but for the frequency of classes
    assert_array_equal(model._online.predictor.inverse_deviation, 0)


def test_a_constant_stays_one_for_years():
    predictor = BasePredictor("standard", 9.0, RunningMoments.empty(4))
    rng = np.random.default_rng(0)
    rows = np.broadcast_to([0.1, -1e8 / 3, 1e12, 1e-30], (2048, 4)).copy()
    for _ in range(100):
        predictor.update(rows, rng.uniform(0, 3, 2048), HOST)
        predictor.refresh()
        assert_array_equal(predictor.inverse_deviation, 0)


# Redundant features


REDUNDANT = {  # rows (n, 4) -> what is learned
    "copies": lambda X: np.hstack([X, X, X]),
    "linear combinations": lambda X: np.hstack([X, X @ np.random.default_rng(1).normal(size=(4, 6))]),
    "almost copies": lambda X: np.hstack([X, X + 1e-8 * np.random.default_rng(1).normal(size=X.shape)]),
    "constants": lambda X: np.hstack([X, np.full((len(X), 2), [0.1, -1e12])]),
    "zeros": lambda X: np.hstack([X, np.zeros((len(X), 3))]),
    "one-hot": lambda X: np.hstack([X, np.eye(4)[np.searchsorted([-0.7, 0.0, 0.7], X[:, 0])]]),
    "more features than rows": lambda X: np.hstack([X[:80], np.random.default_rng(1).normal(size=(80, 120))]),
    "one row again and again": lambda X: np.repeat(X[:1], len(X), axis=0),
}


@pytest.mark.parametrize("features", REDUNDANT)
@pytest.mark.parametrize(
    ("kind", "dtype"), thorough_but([("classifier", "float32"), ("regressor", "float64")], ("classifier", "float32"))
)
def test_redundant_features_do_no_harm(features, kind, dtype):
    X, y, t = add_base_predictions(700, n_features=4)
    X_redundant = REDUNDANT[features](X)
    y = (y if kind == "classifier" else t)[: len(X_redundant)]
    model, predict = stream(kind, dtype=dtype)
    predicted = predict(X_redundant, y)
    assert np.isfinite(predicted).all()
    for preconditioner in model._online.network.preconditioners:
        for matrix in preconditioner.matrix.astype(float):
            eigenvalues = np.linalg.eigvalsh(matrix)
            assert_allclose(matrix, matrix.T, atol=1e-6 * np.abs(matrix).max())
            assert eigenvalues.min() > 0
            assert eigenvalues.max() < (len(matrix) / preconditioner.ridge + 1.01) * eigenvalues.min()
    if features not in ("more features than rows", "one row again and again"):
        expected = stream(kind, dtype=dtype)[1](X, y)
        assert np.square(predicted - y)[100:].mean() < 1.1 * np.square(expected - y)[100:].mean()


# Huge values


def make_huge():
    X, y, _ = add_base_predictions(600, n_features=3)
    X[[0, 90, 400], 2] = MAX_FEATURE, -MAX_FEATURE, MAX_FEATURE
    return X, y


@pytest.mark.parametrize("kind", ["standard", "global"])
def test_huge_features_overflow_nothing(backend, kind):
    X, _ = make_huge()
    x = scaled(X, backend, kind)
    assert np.isfinite(x).all()
    assert_array_equal(np.sign(x[[0, 90, 400], 2]), [1, -1, 1])
    if kind == "standard":  # the other features are none the worse
        assert_allclose(x[:, :2], scaled(X[:, :2], backend, kind), rtol=1e-12)


def test_beside_a_huge_feature_the_others_are_learned():
    X, y = make_huge()
    predicted = stream("classifier")[1](X, y)
    assert np.mean((predicted > 0.5) == y) > 0.75


def test_huge_means_are_refused_before_anything_is_learned():
    X, _, t = add_base_predictions(300)
    model, predict = stream("regressor", base_predictor="identity")
    predict(X, t)
    before = model.predict(X)
    with pytest.raises(ValueError, match="must lie within"):
        model.partial_fit(np.full((1, 2), 2 * MAX_MEAN), [0.0])
    assert_array_equal(model.predict(X), before)
    model.partial_fit(np.full((1, 2), MAX_MEAN), [0.0])
    assert np.isfinite(model.predict(X)).all()
