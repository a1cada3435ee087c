"""From features to base logits and side information: running moments, scaling, base predictions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

from sklearn_gln import GLNClassifier
from sklearn_gln._base_predictor import MIN_BINNED, BasePredictor, Bins, RunningMoments, add_base_predictions
from sklearn_gln.kernels import get_kernels
from tests import naive
from tests.helpers import make_stream

HOST = get_kernels("numpy")
CHUNKS = [[], [1], [1, 2, 3], [50], [7, 8, 90, 91, 150]]


def moments_of(X, weights=None, cuts=()):
    moments = RunningMoments.empty(X.shape[1])
    for rows in np.split(np.arange(len(X)), cuts):
        moments.update(X[rows], np.ones(len(rows)) if weights is None else weights[rows], HOST)
    return moments


def predictor_of(kind, X, weights=None, *, eps=1e-4, cuts=()):
    """A base predictor that has seen rows X."""
    predictor = BasePredictor(kind, np.log((1 - eps) / eps), RunningMoments.empty(X.shape[1]))
    for rows in np.split(np.arange(len(X)), cuts):
        predictor.update(X[rows], np.ones(len(rows)) if weights is None else weights[rows], HOST)
    predictor.refresh()
    return predictor


def with_base_predictions(kind, X, categorical=()):
    return add_base_predictions(kind, X, True, ~np.isin(np.arange(X.shape[1]), categorical))


def transform(predictor, rows, bias=True):
    """Base logits (n, n_base), and side information."""
    inputs = predictor.transform(rows, HOST)
    return HOST.input_block([inputs.base], inputs.base.dtype.name, bias)[:, 0], inputs.side_info


# Running moments


@pytest.mark.parametrize("cuts", CHUNKS)
def test_moments_are_those_of_numpy(cuts):
    X = make_stream(0, 200, missing=0.0)[0]
    moments = moments_of(X, cuts=cuts)
    assert_allclose(moments.mean, X.mean(axis=0), rtol=1e-12)
    assert_allclose(moments.variance, X.var(axis=0), rtol=1e-12)
    assert_array_equal(moments.weight, 200.0)


@pytest.mark.parametrize("cuts", CHUNKS)
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_moments_are_those_of_the_standard_scaler(cuts, missing):
    X, _, weights = make_stream(1, 200, missing=missing)
    moments = moments_of(X, weights, cuts)
    scaler = StandardScaler().fit(X, sample_weight=weights)
    assert_allclose(moments.mean, scaler.mean_, rtol=1e-10)
    assert_allclose(moments.variance, scaler.var_, rtol=1e-10)
    seen = np.where(np.isnan(X), 0.0, weights[:, np.newaxis])
    assert_allclose(moments.weight, seen.sum(axis=0))


def test_missing_values_are_left_out_of_their_feature():
    X, _, weights = make_stream(2, 200, missing=0.3)
    moments = moments_of(X, weights, [3, 77])
    for feature, column in enumerate(X.T):
        seen = ~np.isnan(column)
        mean = np.average(column[seen], weights=weights[seen])
        assert_allclose(moments.mean[feature], mean, rtol=1e-10)
        assert_allclose(moments.variance[feature], np.average((column[seen] - mean) ** 2, weights=weights[seen]))


def test_a_feature_that_is_always_missing_has_no_moments():
    X = np.column_stack([np.full(20, np.nan), np.arange(20.0)])
    moments = moments_of(X, cuts=[1, 9])
    assert_array_equal(moments.weight, [0.0, 20.0])
    assert_array_equal(moments.mean, [0.0, 9.5])
    assert_allclose(moments.variance, [0.0, np.arange(20.0).var()])


def test_rows_of_weight_zero_count_for_nothing():
    X, _, weights = make_stream(3, 100, missing=0.1)
    X[weights == 0] *= 1e6
    seen = weights > 0
    some, all_rows = moments_of(X[seen], weights[seen]), moments_of(X, weights, [10])
    assert_allclose(all_rows.mean, some.mean, rtol=1e-10)
    assert_allclose(all_rows.variance, some.variance, rtol=1e-10)
    nothing = moments_of(X, np.zeros(100), [10])
    assert_array_equal([nothing.weight, nothing.mean, nothing.variance], np.zeros((3, 4)))


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("cuts", [[], [1, 500], list(range(1, 1000))])
def test_moments_are_stable(missing, cuts):
    rng = np.random.default_rng(4)
    X = 1e8 + 1e-3 * rng.normal(size=(1000, 2))
    deviations = X - 1e8  # exact
    if missing:
        X[rng.random(X.shape) < 0.1] = np.nan
        deviations[np.isnan(X)] = np.nan
    moments = moments_of(X, cuts=cuts)
    assert_allclose(moments.mean - 1e8, np.nanmean(deviations, axis=0), atol=5e-7)
    assert_allclose(moments.variance, np.nanvar(deviations, axis=0), rtol=1e-3)


# Scaling


@pytest.mark.parametrize("kind", ["standard", "global"])
@pytest.mark.parametrize("cuts", [[], [1, 60]])
def test_scaled_features(kind, cuts):
    X, _, weights = make_stream(5, 150, missing=0.1)
    predictor = predictor_of(kind, X, weights, cuts=cuts)
    x, z = transform(predictor, X)
    assert_array_equal(x, np.column_stack([z, np.ones(150)]))
    moments = moments_of(X, weights)
    deviation = np.sqrt(moments.variance if kind == "standard" else moments.variance.mean())
    expected = np.clip((X - moments.mean) / deviation, -4.0, 4.0)
    expected[np.isnan(X)] = 0.0
    assert_allclose(z, expected, rtol=1e-9, atol=1e-12)
    assert np.isnan(X).any()


@pytest.mark.parametrize("kind", ["standard", "global", "minmax", "identity", expit])
def test_base_logits_and_side_information_equal_the_oracle(kind):
    X, _, weights = make_stream(6, 120, missing=0.1)
    if kind == "identity":
        X = expit(X)
    X[3] = np.nan
    X[4] = 0.25
    x, z = transform(predictor_of(kind, X, weights, eps=0.01), with_base_predictions(kind, X))
    scale = naive.fit_scaler(kind, X.tolist(), weights.tolist(), 0.01)
    expected = [scale(row) for row in X.tolist()]
    assert_allclose(x, [[*row, 1.0] for row, _ in expected], rtol=1e-9, atol=1e-9)
    assert_allclose(z, [row for _, row in expected], rtol=1e-9, atol=1e-9)
    assert np.isfinite(x).all()


@pytest.mark.parametrize("kind", ["standard", "global", "minmax", "identity", expit])
def test_without_bias_there_is_no_constant(kind):
    X = expit(make_stream(6, 20)[0])
    with_bias, z = transform(predictor_of(kind, X), X)
    without, same = transform(predictor_of(kind, X), X, bias=False)
    assert_array_equal(with_bias[:, :-1], without)
    assert_array_equal(with_bias[:, -1], 1.0)
    assert_array_equal(z, same)


@pytest.mark.parametrize("kind", ["standard", "global"])
def test_values_far_away_are_clipped(kind):
    X = make_stream(7, 100, missing=0.0)[0]
    predictor = predictor_of(kind, X)
    _, z = transform(predictor, np.array([[1e9, -1e9, 0.0, 0.0]]))
    assert_array_equal(z[0, :2], [4.0, -4.0])
    assert np.abs(z[0, 2:]).max() < 4.0


@pytest.mark.parametrize("kind", ["standard", "global"])
@pytest.mark.parametrize("unit", [1e-7, 1e7, 1e-30, 1e30])
def test_units_do_not_matter(kind, unit):
    X, _, weights = make_stream(8, 150, missing=0.1)
    _, z = transform(predictor_of(kind, X, weights), X)
    _, other = transform(predictor_of(kind, unit * X, weights), unit * X)
    assert_allclose(other, z, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("base_predictor", ["standard", "global", "minmax"])
@pytest.mark.parametrize("unit", [1e-7, 1e7])
def test_units_do_not_matter_to_predictions(base_predictor, unit):
    X, y = load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], y[order]
    params = {"layer_sizes": (6, 4), "context_dim": 2, "max_iter": 2, "dtype": "float64", "random_state": 0}
    classifier = GLNClassifier(**params, base_predictor=base_predictor, backend="numpy")
    if base_predictor == "minmax":
        X = X + np.linspace(0, 40, 13)
        classifier.set_params(halfspaces="gaussian")
    expected = classifier.fit(X, y).predict_proba(X)
    got = clone(classifier).fit(unit * X, y).predict_proba(unit * X)
    assert np.ptp(expected, axis=0).min() > 0.1
    assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["standard", "global"])
@pytest.mark.parametrize("constant", [0.0, 0.1, -1e12, 1e-12, 1 / 3])
def test_a_constant_column_scales_to_zero(kind, constant):
    X, _, weights = make_stream(9, 150, missing=0.1)
    X[:, 1] = constant
    if kind == "global":
        X = np.full_like(X, constant)
    predictor = predictor_of(kind, X, weights, cuts=[1, 2, 50])
    _, z = transform(predictor, X)
    assert_allclose(z[:, 1], 0.0, atol=1e-9)
    if kind == "standard":
        assert predictor.inverse_deviation[1] == 0.0
        assert np.count_nonzero(z) > 300


def test_a_deviation_negligible_beside_the_mean_scales_to_zero():
    rng = np.random.default_rng(10)
    noise = rng.normal(size=(200, 1))
    X = np.hstack([1e6 + 1e-7 * noise, 1e6 + 1e-5 * noise, 1e-7 * noise])
    _, z = transform(predictor_of("standard", X), X)
    assert_array_equal(z[:, 0], 0.0)
    assert_allclose(z[:, 1:].std(axis=0), 1.0, rtol=1e-2)


def test_a_feature_that_was_never_seen_scales_to_zero():
    X = np.column_stack([np.full(20, np.nan), np.arange(20.0)])
    predictor = predictor_of("standard", X)
    x, z = transform(predictor, np.array([[5.0, 9.5]]))
    assert_array_equal(z, [[0.0, 0.0]])
    assert_array_equal(x, [[0.0, 0.0, 1.0]])


@pytest.mark.parametrize("kind", ["standard", "global", "minmax", "identity", expit])
def test_missing_values_are_no_evidence(kind):
    X = expit(make_stream(11, 50, missing=0.2)[0])
    x, z = transform(predictor_of(kind, X), with_base_predictions(kind, X))
    missing = np.isnan(X)
    assert missing.any()
    assert_array_equal(x[:, :-1][missing], 0.0)
    assert_array_equal(z[missing], 0.0)
    assert np.isfinite(x).all()


def test_statistics_come_to_bear_at_a_refresh_only():
    X = make_stream(12, 100, missing=0.0)[0]
    predictor = predictor_of("standard", X[:50])
    before = transform(predictor, X)[1]
    predictor.update(X[50:], np.ones(len(X) - 50), HOST)
    assert_array_equal(transform(predictor, X)[1], before)
    predictor.refresh()
    assert_allclose(transform(predictor, X)[1], transform(predictor_of("standard", X), X)[1], rtol=1e-9, atol=1e-12)


def test_input_is_left_as_it_was():
    X = expit(make_stream(13, 50, missing=0.2)[0])
    X[5] = 0.5
    copy = X.copy()
    for kind in ("standard", "global", "minmax", "identity", expit):
        transform(predictor_of(kind, X), with_base_predictions(kind, X))
        assert_array_equal(X, copy)


# Base probabilities


def test_a_feature_that_was_constant_is_scaled_later():
    predictor = predictor_of("standard", np.array([[1.0, 5.0], [3.0, 5.0]]))
    mean, inverse_deviation = predictor.mean, predictor.inverse_deviation
    assert_array_equal(inverse_deviation, [1, 0])
    more = np.array([[9.0, 5.0], [9.0, 9.0]])
    predictor.update(more, np.ones(2), HOST)
    predictor.refresh(new_only=True)
    assert predictor.mean[0] == mean[0]
    assert predictor.inverse_deviation[0] == inverse_deviation[0]
    assert_allclose([predictor.mean[1], predictor.inverse_deviation[1]], [6, 1 / np.sqrt(3)])
    predictor.refresh()
    assert_allclose(predictor.mean, [5.5, 6])


def test_minmax_scales_each_row_to_its_own_unit_interval():
    X = np.array([[2.0, 3.0, 6.0, 4.0], [7.0, 7.0, 7.0, 7.0], [0.0, np.nan, 1.0, 0.5], [np.nan] * 4, [np.nan, 3, 3, 3]])
    x, z = transform(predictor_of("minmax", X, eps=0.1), X, bias=False)
    high = logit(0.9)
    assert_allclose(
        x,
        [[-high, logit(0.25), high, 0.0], [0.0] * 4, [-high, 0.0, high, 0.0], [0.0] * 4, [0.0] * 4],
        rtol=1e-12,
        atol=1e-12,
    )
    assert_array_equal(z, np.nan_to_num(X))


def test_minmax_of_a_row_stands_alone():
    X = make_stream(14, 300, missing=0.1)[0]
    x, _ = transform(predictor_of("minmax", X), X)
    for rows in (slice(0, 1), slice(127, 130), slice(299, 300)):
        assert_array_equal(transform(predictor_of("minmax", X[:1]), X[rows])[0], x[rows])


def test_identity_reads_features_as_probabilities():
    X = np.array([[0.0, 1.0, 0.5, 0.25], [np.nan, 1e-9, 0.99, 0.6]])
    x, z = transform(predictor_of("identity", X, eps=0.01), X, bias=False)
    assert_allclose(x, [[-logit(0.99), logit(0.99), 0.0, logit(0.25)], [0.0, -logit(0.99), logit(0.99), logit(0.6)]])
    assert_array_equal(z, np.nan_to_num(X))


@pytest.mark.parametrize("value", [-1e-3, 1.001, 255.0])
def test_identity_refuses_what_is_no_probability(value):
    X = np.full((5, 3), 0.5)
    X[3, 1] = value
    X[2, 2] = np.nan
    with pytest.raises(ValueError, match=rf"base_predictor='identity'.* \[0, 1\]; got values .*{value:.6g}"):
        with_base_predictions("identity", X)
    assert with_base_predictions("identity", X, categorical=[1]) is X


def test_callables_give_base_probabilities():
    X = make_stream(15, 60, missing=0.1)[0]
    rows = with_base_predictions(lambda rows: expit(rows[:, :2]), X)
    x, z = transform(predictor_of(expit, X, eps=0.01), rows)
    expected = np.nan_to_num(np.clip(X[:, :2], -logit(0.99), logit(0.99)))
    assert_allclose(x, np.column_stack([expected, np.ones(60)]), rtol=1e-9)
    assert_array_equal(z, transform(predictor_of("standard", X), X)[1])


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (lambda rows: np.full(len(rows), 0.5), r"returned an array of shape \(5,\) for 5 rows.*shape \(5, n_base\)"),
        (lambda rows: np.full((len(rows) + 1, 2), 0.5), r"returned an array of shape \(6, 2\) for 5 rows"),
        (lambda rows: np.full((2, len(rows)), 0.5), r"returned an array of shape \(2, 5\) for 5 rows"),
        (lambda rows: np.full((len(rows), 2), 1.5), r"base_predictor.*\[0, 1\]; got values from 1.5 to 1.5"),
        (lambda rows: np.full((len(rows), 2), -0.5), r"base_predictor.*\[0, 1\]; got values from -0.5 to -0.5"),
    ],
)
def test_callables_that_return_something_else(predict, message):
    X = make_stream(16, 5)[0]
    with pytest.raises(ValueError, match=message):
        with_base_predictions(predict, X)


def test_callables_may_return_lists_and_integers():
    X = make_stream(17, 5)[0]
    rows = with_base_predictions(lambda rows: [[0, 1]] * len(rows), X)
    x, _ = transform(predictor_of(expit, X, eps=0.01), rows, bias=False)
    assert_allclose(x, [[-logit(0.99), logit(0.99)]] * 5)


# Precision


@pytest.mark.parametrize("kind", ["standard", "global"])
def test_float32_features_have_float64_moments(kind):
    rng = np.random.default_rng(18)
    X = (1e4 + rng.normal(size=(3000, 3))).astype(np.float32)
    predictor = predictor_of(kind, X, cuts=range(100, 3000, 100))
    assert predictor.moments.mean.dtype == predictor.moments.squares.dtype == np.float64
    assert_allclose(predictor.moments.mean, X.astype(float).mean(axis=0), rtol=1e-12)
    assert_allclose(predictor.moments.variance, X.astype(float).var(axis=0), rtol=1e-9)
    _, z = transform(predictor, X)
    assert_allclose(z, transform(predictor_of(kind, X.astype(float)), X.astype(float))[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["minmax", "identity", expit])
def test_float32_probabilities(kind):
    X = expit(make_stream(19, 100)[0]).astype(np.float32)
    x, z = transform(predictor_of(kind, X), with_base_predictions(kind, X))
    expected = transform(predictor_of(kind, X.astype(float)), with_base_predictions(kind, X.astype(float)))
    assert_allclose(x, expected[0], rtol=1e-3, atol=1e-4)
    assert_allclose(z, expected[1], rtol=1e-6, atol=1e-6)


# Bins


def test_pieces_go_through_their_bins():
    values = np.column_stack([np.arange(61.0), np.r_[np.zeros(40), np.ones(21)], np.full(61, 3.0), np.arange(61.0)])
    values[:7, 3] = np.nan
    bins = Bins.of(values, 6)
    assert_array_equal(bins.columns, np.repeat([0, 3], 6))  # none of a feature of two values, or of one
    predictor = BasePredictor("standard", 9.0, RunningMoments.empty(4), bins=bins)
    predictor.refresh()
    x = np.array([[0.0], [3.0], [10.0], [12.5], [60.0], [99.0], [-99.0], [np.nan]])
    squares, pieces = predictor.transform(np.repeat(x, 4, axis=1), HOST).basis
    assert squares.shape == (8, 4)
    expected = np.clip((x - np.arange(0, 60, 10)) / 10, 0, 1) - 0.5
    expected[-1] = 0  # missing
    assert_allclose(pieces[:, :6], expected, atol=1e-12)
    assert_array_equal(predictor.features(squares=False), [*range(4), *range(4), *bins.columns])


@pytest.mark.parametrize("n", [MIN_BINNED - 1, MIN_BINNED])
def test_few_rows_have_no_bins(n):
    assert len(Bins.of(np.arange(float(n))[:, np.newaxis], 6).columns) == (6 if n == MIN_BINNED else 0)


@pytest.mark.parametrize("values", [[0.0, 1e-320, 2e-320], [1.0, 1.0 + 2e-16, 2.0], [0.0, 5e-324, 1.0]])
def test_bins_that_are_too_narrow_do_nothing(values):
    bins = Bins.of(np.repeat(values, 20)[:, np.newaxis], 6)
    assert np.isfinite(bins.inverse_width).all()


def test_bins_stay_until_the_unit_changes():
    rng = np.random.default_rng(3)
    X = np.stack([rng.lognormal(size=8000), rng.normal(size=8000)], axis=1)
    X[4000:, 1] *= 1000
    y = rng.integers(2, size=8000)
    model = GLNClassifier(layer_sizes=(4,), random_state=0, backend="numpy").partial_fit(X[:256], y[:256], [0, 1])
    at_first = model._online.predictor.bins
    model.partial_fit(X[256:4000], y[256:4000])
    for name, array in vars(model._online.predictor.bins).items():
        assert_array_equal(array, getattr(at_first, name))
    model.partial_fit(X[4000:], y[4000:])
    bins = model._online.predictor.bins
    assert_array_equal(bins.columns, at_first.columns)
    changed = bins.columns == 1
    assert_array_equal(bins.middle[~changed], at_first.middle[~changed])
    ratio = 1000 * bins.inverse_width[changed] / at_first.inverse_width[changed]
    assert_allclose(np.log(ratio), 0, atol=np.log(3))  # the first window that shows the change has old values too


@pytest.mark.parametrize(
    ("params", "n_bins"),
    [
        ({}, 6),
        ({"base_predictor": "global"}, 6),
        ({"n_bins": 3}, 3),
        ({"n_bins": 0}, 0),
        ({"base_predictor": "minmax"}, 0),
        ({"base_predictor": "minmax", "n_bins": 0}, 0),
        ({"base_predictor": np.tanh}, 0),
        ({"learning_rate": "constant"}, 0),
        ({"learning_rate": "constant", "n_bins": 4}, 4),
    ],
)
def test_who_has_bins(params, n_bins):
    assert GLNClassifier(**params)._settings(5).n_bins == n_bins


@pytest.mark.parametrize("base_predictor", ["minmax", "identity", np.tanh])
def test_bins_are_those_of_scaled_features(base_predictor):
    with pytest.raises(ValueError, match=r"n_bins=3 cannot be used with base_predictor=.*Use n_bins='auto' or 0"):
        GLNClassifier(base_predictor=base_predictor, n_bins=3).fit(np.eye(4), [0, 0, 1, 1])
