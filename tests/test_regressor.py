"""GLNRegressor as its users see it: shapes, refusals, the laws of streams, honest spread, and scikit-learn's tools."""

from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import ndtri
from scipy.stats import norm
from sklearn import config_context
from sklearn.base import clone, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.ensemble import BaggingRegressor, StackingRegressor, VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score, learning_curve
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from sklearn_gln import GLNRegressor
from sklearn_gln._regressor import gaussian_losses
from tests.helpers import BACKEND, FORMS, INTERPRETED, assert_refused, assert_same_object, spare_compilers, thorough_but

LIKELIHOODS = ["squared", "gaussian"]
SMALL = {"layer_sizes": (5, 4), "context_dim": 2, "max_iter": 3, "backend": BACKEND, "random_state": 0}
EXACT = {"dtype": "float64"}
CLOSE = {"rtol": 1e-9, "atol": 1e-9}
FORMS_OF_Y = {"(n,)": (), "(n, 1)": (1,), "(n, 3)": (3,)}


def make_stream(seed, n, *, n_outputs=1, missing=0.03):
    """Rows X (n, 4) with missing values, noisy smooth targets Y (n, n_outputs), weights with 0 and fractions."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    slopes = np.random.default_rng(1).normal(size=(4, 3))[:, :n_outputs]
    Y = X @ slopes + 2 * np.sin(2 * X[:, :1]) + 0.3 * rng.normal(size=(n, n_outputs))
    X[rng.random(X.shape) < missing] = np.nan
    return X * [1, 10, 0.1, 1] + [0, 5, -1, 0], Y, rng.choice([0.0, 0.3, 1.0, 1.0, 2.75], size=n)


X, Y3, WEIGHTS = make_stream(0, 700, n_outputs=3)
Y = Y3[:, 0]
TRAIN, TEST = slice(0, 500), slice(500, 700)
EIGHTHS = np.clip(np.round(8 * np.nan_to_num(X)) / 8, -15, 15)  # as in test_common


def new(likelihood="squared", **params):
    return GLNRegressor(**{**SMALL, "likelihood": likelihood, **params})


@pytest.fixture(params=thorough_but(LIKELIHOODS, "squared"))
def likelihood(request):
    return request.param


def moments(model, rows=X):
    """Means and deviations."""
    return np.stack(model.predict(rows, return_std=True))


# Predictions


@pytest.mark.parametrize("shape", FORMS_OF_Y.values(), ids=FORMS_OF_Y)
@pytest.mark.parametrize("streamed", [True, False])
def test_shapes(likelihood, shape, streamed):
    y = Y3[:, : max(shape, default=1)].reshape(700, *shape)
    model = new(likelihood)
    if streamed:
        for result in model.progressive_predict(X, y, return_std=True):
            assert result.shape == y.shape
        assert model.progressive_predict(X[:1], y[:1]).shape == (1, *shape)
    else:
        model.fit(X, y)
    mean, deviation = model.predict(X, return_std=True)
    assert_array_equal(model.predict(X), mean)
    assert mean.shape == deviation.shape == y.shape
    assert mean.dtype == deviation.dtype == np.float64
    assert deviation.min() > 0
    quantiles = model.predict_quantiles(X, [0.05, 0.25, 0.75, 0.95])
    assert quantiles.shape == (*y.shape, 4)
    assert np.diff(quantiles, axis=-1).min() > 0
    assert_array_equal(model.predict_quantiles(X, 0.25), quantiles[..., 1])
    assert_array_equal(model.predict(X, quantiles=[0.95, 0.05]), quantiles[..., [3, 0]])
    intervals = model.predict_interval(X)
    assert intervals.shape == (*y.shape, 2)
    assert_allclose(intervals, quantiles[..., [0, 3]])
    several = model.predict_interval(X, coverage=[0.5, 0.9, 0.99])
    assert several.shape == (*y.shape, 2, 3)
    assert_array_equal(several[..., 1], intervals)
    assert_allclose(several[..., 0], quantiles[..., 1:3])
    assert model.n_outputs_ == max(shape, default=1)
    assert model.score(X, y) == pytest.approx(r2_score(y, mean))
    assert model.score(X, y) > 0.55
    for row in (0, 699):
        assert_allclose(model.predict_interval(X[row : row + 1])[0], intervals[row], rtol=1e-6)


def test_before_the_first_row(likelihood):
    model = new(likelihood).partial_fit(X[:3], Y[:3], sample_weight=np.zeros(3))
    assert_array_equal(moments(model), np.stack([np.zeros(700), np.ones(700)]))
    assert np.isnan(model.progressive_loss_)
    assert model.n_samples_seen_ == 0
    model.partial_fit(X, Y)
    assert_array_equal(moments(model), moments(new(likelihood).partial_fit(X, Y)))


def test_progressive_loss_leaves_the_first_16_rows_out(likelihood):
    model = new(likelihood)
    model.progressive_predict(X[:16], Y[:16])
    assert np.isnan(model.progressive_loss_)
    mean, deviation = new(likelihood).progressive_predict(X, Y, WEIGHTS, return_std=True)
    losses = np.log(2 * np.pi * deviation**2) / 2 + ((Y - mean) / deviation) ** 2 / 2
    counted = WEIGHTS * (np.cumsum(WEIGHTS > 0) > 16)
    model = new(likelihood).partial_fit(X[:9], Y[:9], WEIGHTS[:9]).partial_fit(X[9:], Y[9:], WEIGHTS[9:])
    assert model.progressive_loss_ == pytest.approx(np.average(losses, weights=counted))


@pytest.mark.parametrize("method", ["predict", "predict_interval", "predict_quantiles", "score"])
def test_predicting_changes_nothing_and_needs_a_fit(likelihood, method):
    data = {"score": (X, Y), "predict_quantiles": (X, 0.5)}.get(method, (X,))
    with pytest.raises(NotFittedError):
        getattr(new(likelihood), method)(*data)
    model = new(likelihood).fit(X, Y)
    before = deepcopy(model)
    getattr(model, method)(*data)
    assert_same_object(model, before)


def test_held_out_accuracy_of_the_defaults(likelihood):
    rows, y = load_diabetes(return_X_y=True)
    model = GLNRegressor(likelihood=likelihood, random_state=0, backend=BACKEND)
    if INTERPRETED:
        model.set_params(layer_sizes=(20, 20), max_iter=4)
    assert cross_val_score(model, rows, y, cv=4).mean() > 0.4


# What is refused

WITH_NAN, WITH_INF, HUGE = Y.copy(), X.copy(), Y.copy()
WITH_NAN[3], WITH_INF[7, 2], HUGE[5] = np.nan, np.inf, 1e150
WRONG_ROWS = {
    "strings": ((X, Y.astype(str).astype(object) + "a"), {}, "GLNClassifier|could not convert"),
    "NaN": ((X, WITH_NAN), {}, "y contains NaN"),
    "infinite": ((X, np.where(np.arange(700) == 5, -np.inf, Y)), {}, "y contains"),
    "huge": ((X, HUGE), {}, "y contains.*scale y"),
    "complex": ((X, Y + 1j), {}, "[Cc]omplex"),
    "infinite feature": ((WITH_INF, Y), {}, "infinity"),
    "too few targets": ((X, Y[1:]), {}, "inconsistent"),
    "three dimensions": ((X, Y[:, np.newaxis, np.newaxis]), {}, "dim|shape"),
    "negative weight": ((X, Y), {"sample_weight": WEIGHTS - 1}, "[Nn]egative"),
    "too few weights": ((X, Y), {"sample_weight": WEIGHTS[1:]}, "sample_weight"),
}
WRONG_IN_STREAM = {
    "too many features": ((np.hstack([X, X]), Y), {}, "8 features.*4 features"),
    "a matrix": ((X, Y3), {}, r"y has shape \(700, 3\).*one target for each row.*clone"),
    "a column": ((X, Y3[:, :1]), {}, r"y has shape \(700, 1\).*one target for each row"),
}


@pytest.mark.parametrize(("data", "options", "message"), WRONG_ROWS.values(), ids=WRONG_ROWS)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "progressive_predict"])
@pytest.mark.parametrize("fitted", thorough_but([True, False], True))
def test_wrong_rows(data, options, message, method, fitted):
    model = new().partial_fit(X, Y) if fitted else new()
    assert_refused(model, lambda it: getattr(it, method)(*data, **options), ValueError, message)


@pytest.mark.parametrize(("data", "options", "message"), WRONG_IN_STREAM.values(), ids=WRONG_IN_STREAM)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "progressive_predict"])
@pytest.mark.parametrize("n_seen", [40, 300])
def test_a_stream_and_a_warm_start_refuse_other_data(data, options, message, method, n_seen):
    model = new(warm_start=True).partial_fit(X[:n_seen], Y[:n_seen])
    assert_refused(model, lambda it: getattr(it, method)(*data, **options), ValueError, message)


def test_targets_of_a_matrix_keep_their_number():
    model = new().partial_fit(X, Y3)
    for y in (Y, Y3[:, :2], np.hstack([Y3, Y3])):
        assert_refused(model, lambda it, y=y: it.partial_fit(X, y), ValueError, "a matrix of 3 targets")


@pytest.mark.parametrize("fitted", [True, False])
def test_fit_refuses_nothing_to_learn_from(likelihood, fitted):
    model = new(likelihood).fit(X, Y3) if fitted else new(likelihood)
    assert_refused(model, lambda it: it.fit(X, Y, 0 * WEIGHTS), ValueError, "sample_weight is zero.*positive")
    assert_refused(model, lambda it: it.fit(X[:0], Y[:0]), ValueError, "0 sample")


WRONG_PARAMETERS = [
    ({"likelihood": "laplace"}, "likelihood.*'squared'"),
    ({"likelihood": None}, "likelihood"),
    ({"base_predictor": "minmax"}, "base_predictor.*'standard'"),
    ({"batch_size": 2, "learning_rate": "constant", "likelihood": "gaussian"}, "batch_size=2.*likelihood='gaussian'"),
    ({"squares": "always"}, "squares"),
    ({"layer_sizes": (0,)}, r"layer_sizes=\(0,\)"),
    ({"learning_rate_init": 0.0}, "learning_rate_init"),
    ({"preconditioner": "full", "learning_rate": "constant"}, "preconditioner='full'.*learning_rate='constant'"),
    ({"batch_size": 2}, "batch_size=2.*learning_rate='normalized'"),
    ({"max_weight": 0.0}, "max_weight"),
    ({"half_life": 0.5}, "half_life"),
    ({"max_iter": 0}, "max_iter"),
    ({"backend": "cupy"}, "backend"),
]


@pytest.mark.parametrize(("params", "message"), WRONG_PARAMETERS, ids=str)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "progressive_predict"])
def test_wrong_parameters(params, message, method):
    assert_refused(new(**params), lambda it: getattr(it, method)(X, Y), ValueError, message)


@pytest.mark.parametrize("coverage", [0, 1, -0.5, 90, np.nan])
def test_wrong_coverage(likelihood, coverage):
    model = new(likelihood).fit(X, Y)
    assert_refused(model, lambda it: it.predict_interval(X, coverage), ValueError, r"coverage=.*between 0 and 1")
    for method in (model.predict_quantiles, lambda rows, share: model.predict(rows, quantiles=share)):
        assert_refused(model, lambda _, method=method: method(X, coverage), ValueError, r"quantiles=.*between 0 and 1")


def test_deviations_do_not_belong_to_quantiles():
    model = new().fit(X, Y)
    assert_refused(model, lambda it: it.predict(X, True, [0.5]), ValueError, "return_std=True and quantiles exclude")


# Laws of streams

CUTS = [1, 2, 3, 60, 61, 62, 63, 64, 65, 255, 256, 257, 400, 511, 512, 513]


@pytest.mark.parametrize("params", [{}, {"half_life": 300}, {"half_life": "mixed"}], ids=str)
def test_any_split_of_a_stream_gives_the_same(likelihood, params):
    params = EXACT | params
    at_once, split, learned = (new(likelihood, **params) for _ in range(3))
    expected = np.stack(at_once.progressive_predict(X, Y3, WEIGHTS, return_std=True))
    parts = []
    for rows in np.split(np.arange(700), CUTS):
        before = np.stack(split.predict(X[rows[:1]], return_std=True)) if rows[0] else expected[:, :1]
        parts.append(np.stack(split.progressive_predict(X[rows], Y3[rows], WEIGHTS[rows], return_std=True)))
        assert_allclose(parts[-1][:, :1], before, **CLOSE)
        learned.partial_fit(X[rows], Y3[rows], WEIGHTS[rows])
    assert_allclose(np.concatenate(parts, axis=1), expected, **CLOSE)
    for model in (split, learned):
        assert_allclose(moments(model), moments(at_once), **CLOSE)
        assert_allclose(model.predict_interval(X), at_once.predict_interval(X), **CLOSE)
        assert model.progressive_loss_ == pytest.approx(at_once.progressive_loss_)


def test_later_targets_change_no_earlier_prediction(likelihood):
    first = np.stack(new(likelihood).progressive_predict(X, Y, return_std=True))
    for n in (1, 70, 256, 600):
        changed = np.where(np.arange(700) < n, Y, 50 * Y - 9)
        other = np.stack(new(likelihood).progressive_predict(X, changed, return_std=True))
        assert_array_equal(other[:, : n + 1], first[:, : n + 1])
        assert not np.allclose(other[:, n + 1 :], first[:, n + 1 :], atol=0.1)


@pytest.mark.parametrize(
    "params", [{}, {"halfspaces": "gaussian", "share_halfspaces": True}, {"learning_rate": "constant"}], ids=str
)
@pytest.mark.parametrize("method", thorough_but(["fit", "partial_fit"], "partial_fit"))
def test_each_target_is_learned_as_if_alone(likelihood, params, method):
    targets = Y3.copy()
    targets[:100, 1] = 2.0  # has no unit for long
    params = {"halfspaces": "cuts", **EXACT, **params, "max_iter": 2, "tol": 0.0}
    together = getattr(new(likelihood, **params), method)(X, targets, WEIGHTS)
    for k in range(3):
        alone = getattr(new(likelihood, **params), method)(X, targets[:, k], WEIGHTS)
        assert_allclose(moments(together)[..., k], moments(alone), rtol=1e-7, atol=1e-7)
        assert_allclose(together.predict_interval(X)[:, k], alone.predict_interval(X), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("a", thorough_but([1e-6, -1.0, 1e6], -1.0, 1e6))
@pytest.mark.parametrize("b", thorough_but([0.0, 3.0], 3.0))
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_units_of_the_target_do_not_matter(likelihood, a, b, method):
    b = b * abs(a)
    params = {**EXACT, "tol": 0.0}
    plain, scaled = (getattr(new(likelihood, **params), method)(X, y, WEIGHTS) for y in (Y, a * Y + b))
    mean, deviation = moments(plain)
    expected = np.stack([a * mean + b, abs(a) * deviation])
    assert_allclose(moments(scaled) / abs(a), expected / abs(a), rtol=1e-6, atol=1e-6)
    levels = np.array([0.05, 0.3, 0.95])
    quantiles = a * plain.predict_quantiles(X, levels if a > 0 else 1 - levels) + b
    assert_allclose(scaled.predict_quantiles(X, levels) / abs(a), quantiles / abs(a), rtol=1e-6, atol=1e-6)
    if method == "partial_fit":
        assert scaled.progressive_loss_ == pytest.approx(plain.progressive_loss_ + np.log(abs(a)), rel=1e-6)


def test_units_of_the_features_do_not_matter(likelihood):
    rows = X[:, [0, 3]]
    plain, scaled = (new(likelihood, **EXACT).fit(factor * rows, Y) for factor in (1, 1e7))
    assert_allclose(moments(scaled, 1e7 * rows), moments(plain, rows), rtol=1e-6, atol=1e-6)


# Rows and targets out of the ordinary


@pytest.mark.parametrize("value", [0.0, 0.1, -3e8])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_constant_target(likelihood, value, method):
    model = getattr(new(likelihood), method)(X, np.full(700, value))
    mean, deviation = moments(model)
    assert_allclose(mean, value, rtol=1e-6, atol=1e-6)
    assert np.all((deviation > 0) & (deviation < 0.1 * (abs(value) or 1)))
    model.partial_fit(X, Y + value)  # and then it varies
    assert np.isfinite(moments(model)).all()


ROWS = {"one": [0], "two": [0, 1], "two and one of them again": [0, 0, 1], "equal": [4, 4, 4, 4, 4]}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_few_rows(likelihood, rows, method):
    y = Y[: len(rows)]
    model = getattr(new(likelihood), method)(X[rows], y)
    assert np.isfinite(moments(model)).all()
    assert np.isfinite(model.predict_interval(X)).all()
    mean = model.predict(X[rows])
    assert np.all((y.min() - 1e-6 <= mean + 1) & (mean - 1 <= y.max() + 1e-6))
    if len(rows) == 1:
        assert_allclose(mean, y, rtol=1e-6)


@pytest.mark.parametrize("row", thorough_but([0, 20, 300], 20))
@pytest.mark.parametrize("size", [1e6, 1e99])
def test_a_huge_outlier_teaches_next_to_nothing(likelihood, row, size):
    y = Y.copy()
    y[row] = size
    params = {"halfspaces": "gaussian", "offset_scale": 1.0}  # cuts are chosen by the targets
    model = new(likelihood, **params)
    assert np.isfinite(model.progressive_predict(X, y, return_std=True)).all()
    for got, expected in (
        (moments(model), moments(new(likelihood, **params).partial_fit(X, Y))),
        (moments(model.fit(X, y)), moments(new(likelihood, **params).fit(X, Y))),
    ):
        assert np.sqrt(np.mean((got[0] - expected[0]) ** 2)) < 0.02 * Y.std()
        assert_allclose(got[1], expected[1], rtol=0.1)


@pytest.mark.filterwarnings("ignore:sample_weight holds")
@pytest.mark.parametrize("weight", [1e3, 1e8, 1e30])
def test_a_huge_weight_saturates(likelihood, weight):
    weights = np.where(np.arange(700) % 300 == 13, weight, 1.0)
    for method in ("fit", "partial_fit"):
        model, expected = (getattr(new(likelihood), method)(X, Y, q) for q in (weights, np.minimum(weights, 1e9)))
        assert_array_equal(moments(model), moments(expected))
        assert np.isfinite(moments(model)).all()
        assert weight > 1e3 or model.score(X, Y) > 0.3  # beyond, other rows hardly count


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_rows_of_weight_zero_are_no_rows(likelihood, method):
    seen = WEIGHTS > 0
    params = {**EXACT, "shuffle": False, "max_iter": 1}
    learned = getattr(new(likelihood, **params), method)(X, Y3, WEIGHTS)
    expected = getattr(new(likelihood, **params), method)(X[seen], Y3[seen], WEIGHTS[seen])
    assert_allclose(moments(learned), moments(expected), **CLOSE)
    assert learned.n_samples_seen_ == np.count_nonzero(seen)


def test_losses_are_gaussian():
    rng = np.random.default_rng(0)
    predictions, y = np.abs(rng.normal(size=(50, 2, 2))), rng.normal(size=(50, 2))
    each = -norm.logpdf(y, predictions[..., 0], np.sqrt(predictions[..., 1]))
    assert_allclose(gaussian_losses(predictions, y), each)


# Fit


@pytest.mark.parametrize("max_iter", [1, 4])
def test_of_several_passes_a_sixth_is_held_out_and_learned_once(likelihood, max_iter):
    model = new(likelihood, max_iter=max_iter, tol=0.0, n_iter_no_change=9).fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == max_iter
    held_out = 700 // 6 if max_iter > 1 else 0
    assert model.n_samples_seen_ == max_iter * (700 - held_out) + held_out
    n_scores = held_out or 640 - 2  # up to the last event, but rows 1 and 2
    assert len(model._online.head.scores.of_output[0]) == n_scores
    assert model.validation_loss_curve_ == []


def test_one_pass_is_a_stream(likelihood):
    model = new(likelihood, max_iter=1, shuffle=False).fit(X, Y3, WEIGHTS)
    assert_same_object(model._online, new(likelihood, max_iter=1).partial_fit(X, Y3, WEIGHTS)._online)


def test_more_passes_fit_better(likelihood):
    scores = [new(likelihood, max_iter=n).fit(X, Y).score(X, Y) for n in (1, 8)]
    assert scores[1] > scores[0]


@pytest.mark.parametrize("early_stopping", [True, False])
def test_validation_data(likelihood, early_stopping):
    model = new(likelihood, max_iter=6, early_stopping=early_stopping, tol=0.0)
    model.fit(X[TRAIN], Y[TRAIN], X_val=X[TEST], y_val=Y[TEST], sample_weight_val=WEIGHTS[TEST])
    assert len(model.validation_loss_curve_) == model.n_iter_ > 1
    assert np.isfinite(model.validation_loss_curve_).all()
    passes = int(np.argmin(model.validation_loss_curve_)) + 1 if early_stopping else model.n_iter_
    expected = new(likelihood, max_iter=max(passes, 2), tol=0.0)
    if passes > 1:
        assert_array_equal(moments(model), moments(expected.fit(X[TRAIN], Y[TRAIN])))
    wrong = {"X_val": X[TEST], "y_val": Y3[TEST]}
    assert_refused(model, lambda it: it.fit(X, Y, **wrong), ValueError, "one target for each row")


def test_early_stopping_holds_rows_out():
    model = new(early_stopping=True, validation_fraction=0.2, tol=10.0, max_iter=9, n_iter_no_change=2).fit(X, Y3)
    assert model.n_iter_ == len(model.validation_loss_curve_) == 3  # only the first pass brings an improvement of tol
    assert model.n_samples_seen_ == 560  # of the first pass and those held out from it


def test_warm_start_goes_on(likelihood):
    model = new(likelihood, warm_start=True, max_iter=2).fit(X[TRAIN], Y[TRAIN])
    before = model.n_samples_seen_
    score = model.score(X[TEST], Y[TEST])
    model.fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 4
    assert model.n_samples_seen_ == before + 2 * 700 - 700 // 6
    assert model.score(X[TEST], Y[TEST]) > score - 0.05


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_seed_determines_everything_and_threads_nothing(likelihood, method):
    def learn(seed, **params):
        return getattr(new(likelihood, random_state=seed, **params), method)(X, Y3)

    model = learn(4)
    assert_same_object(learn(4), model)
    assert_array_equal(moments(learn(4, n_jobs=2)), moments(model))
    assert_array_equal(moments(learn(np.random.RandomState(4))), moments(model))
    assert not np.allclose(moments(learn(5)), moments(model), atol=1e-3)


def test_dtypes_agree(likelihood):
    single, double = (new(likelihood, dtype=dtype, max_iter=1).fit(X, Y) for dtype in ("float32", np.float64))
    assert single._online.network.layers[0].weights.dtype == np.float32
    assert_allclose(moments(single), moments(double), rtol=1e-2, atol=1e-2)


# Honest spread


def make_heteroscedastic(seed, n, noise):
    """Rows (n, 3); a target whose noise, of deviation 1 where `noise` draws it, is far larger on one side."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform(-1, 1, (n, 3))
    scale = np.where(rows[:, 1] > 0, 1.0, 0.2)
    return rows, 2 * rows[:, 0] + np.sin(3 * rows[:, 2]) + scale * noise(rng, n), scale


def normal(rng, n):
    return rng.normal(size=n)


def heavy(rng, n):
    return rng.standard_t(3, size=n) / np.sqrt(3)


NOISES = {
    "normal": normal,
    "heavy": heavy,
    "exponential": lambda rng, n: rng.exponential(size=n) - 1,
    "lognormal": lambda rng, n: rng.lognormal(size=n),
}
QUANTILES = np.array([0.05, 0.25, 0.5, 0.75, 0.95])


def below(model, rows, y):
    """Which targets lie below the quantiles, and below a Gaussian's: (2, n, 5)."""
    mean, deviation = moments(model, rows)[..., np.newaxis]
    return y[:, np.newaxis] < np.stack([model.predict_quantiles(rows, QUANTILES), mean + deviation * ndtri(QUANTILES)])


def below_after_fit(model, seed, noise):
    rows, y, _ = make_heteroscedastic(seed, 6000, noise)
    fresh, of_fresh, _ = make_heteroscedastic(seed + 100, 8000, noise)
    return below(model.fit(rows, y), fresh, of_fresh)


def below_in_stream(model, seed, noise):
    """Of 100 rows in turn, before they are learned."""
    rows, y, _ = make_heteroscedastic(seed, 3000, noise)
    parts = []
    for part in np.split(np.arange(3000), 30):
        if part[0] >= 500:
            parts.append(below(model, rows[part], y[part]))
        model.partial_fit(rows[part], y[part])
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("measure", [below_after_fit, below_in_stream])
@pytest.mark.parametrize("noise", thorough_but(NOISES, "lognormal"))
def test_quantiles_are_honest(likelihood, noise, measure):
    """Means of four runs: the shares of one are off by a point and a half for chance alone."""
    params = {"layer_sizes": (20, 20), "context_dim": 4}
    runs = [measure(new(likelihood, **params), seed, NOISES[noise]) for seed in range(4)]
    off = np.mean(runs, axis=(0, 2)) - QUANTILES
    assert_allclose(off[0], 0, atol=0.02)
    if noise in ("exponential", "lognormal"):
        assert np.abs(off[1]).max() > 0.05


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_intervals_are_honest(likelihood, method):
    rows, y, _ = make_heteroscedastic(0, 3000, normal)
    model = getattr(new(likelihood, layer_sizes=(20, 20), context_dim=4), method)(rows, y)
    fresh, y, scale = make_heteroscedastic(1, 4000, normal)
    for coverage in (0.5, 0.8, 0.9):
        lower, upper = model.predict_interval(fresh, coverage).T
        assert np.mean((lower <= y) & (y <= upper)) == pytest.approx(coverage, abs=0.06)
    deviation = moments(model, fresh)[1]
    assert np.median(deviation[scale == 1]) > 1.5 * np.median(deviation[scale < 1])


# Change


@pytest.mark.parametrize("half_life", [200, "mixed"])
def test_a_change_is_followed(likelihood, half_life):
    rows, y, _ = make_stream(3, 3000, missing=0)
    y = y[:, 0]
    y[1500:] = 3 - 1.5 * y[1500:]
    errors = []
    for value in (None, half_life):
        mean = new(likelihood, half_life=value).progressive_predict(rows, y)
        errors.append(np.square(mean - y)[1500:].mean())
    assert errors[1] < 0.9 * errors[0]


# Among scikit-learn's tools


def test_tags():
    tags = get_tags(GLNRegressor())
    assert is_regressor(GLNRegressor())
    assert tags.input_tags.allow_nan
    assert tags.target_tags.multi_output
    assert tags.input_tags.sparse
    assert tags.target_tags.required


TOOLS = {
    "Pipeline": lambda model: make_pipeline(StandardScaler(), model),
    "GridSearchCV": lambda model: GridSearchCV(model, {"context_dim": [1, 2]}, cv=2, error_score="raise"),
    "TransformedTargetRegressor": lambda model: TransformedTargetRegressor(model, transformer=StandardScaler()),
    "BaggingRegressor": lambda model: BaggingRegressor(model, n_estimators=3, random_state=0),
    "StackingRegressor": lambda model: StackingRegressor([("gln", model)], final_estimator=RidgeCV(), cv=2),
    "VotingRegressor": lambda model: VotingRegressor([("gln", model), ("linear", LinearRegression())], weights=[4, 1]),
    "MultiOutputRegressor": lambda model: MultiOutputRegressor(model),
    "RegressorChain": lambda model: RegressorChain(model, random_state=0),
}


def test_quantiles_through_pipelines():
    def pipeline(model):
        return make_pipeline(StandardScaler(), model).fit(X, Y)

    expected = new().fit(StandardScaler().fit_transform(X), Y)
    expected = expected.predict_quantiles(StandardScaler().fit_transform(X), QUANTILES)
    assert_array_equal(pipeline(new()).predict(X, quantiles=QUANTILES), expected)
    with config_context(enable_metadata_routing=True):
        routed = pipeline(new().set_predict_request(quantiles=True))
        assert_array_equal(routed.predict(X, quantiles=QUANTILES), expected)


def test_quantiles_of_a_transformed_target():
    rows = np.nan_to_num(X)
    logarithms = TransformedTargetRegressor(new(), func=np.log, inverse_func=np.exp).fit(rows, np.exp(Y))
    expected = np.exp(new().fit(rows, Y).predict_quantiles(rows, QUANTILES))
    assert_allclose(logarithms.predict(rows, quantiles=QUANTILES), expected, rtol=1e-3)


@pytest.mark.parametrize("name", thorough_but(TOOLS, "Pipeline", "GridSearchCV", "MultiOutputRegressor"))
def test_meta_estimators_learn(likelihood, name):
    rows, y = np.nan_to_num(X), Y3 if name in ("MultiOutputRegressor", "RegressorChain") else Y
    model = TOOLS[name](new(likelihood)).fit(rows[TRAIN], y[TRAIN])
    assert model.score(rows[TEST], y[TEST]) > 0.5


def test_curves_importances_and_cross_validation():
    rows, y, _ = make_stream(3, 900, missing=0)
    rows, y = np.column_stack([rows, np.random.default_rng(0).normal(size=900)]), y[:, 0]
    model = new()
    sizes = {"train_sizes": [0.1, 1.0], "exploit_incremental_learning": True, "error_score": "raise"}
    _, _, scores = learning_curve(model, rows, y, cv=3, **sizes)
    assert scores[1].mean() > max(0.6, scores[0].mean())
    assert r2_score(y, cross_val_predict(model, rows, y, cv=3)) > 0.6
    assert cross_val_predict(model, rows, Y3[:, [0, 0]].repeat(2, axis=0)[:900], cv=3).shape == (900, 2)
    importances = permutation_importance(model.fit(rows, y), rows, y, n_repeats=3, random_state=0).importances_mean
    assert importances[4] < 0.05 < importances[0]


def test_river_learns_row_by_row_what_a_chunk_teaches(likelihood):
    compat = pytest.importorskip("river.compat")
    model = new(likelihood, **EXACT)
    expected = clone(model).progressive_predict(X[:100], Y[:100])
    model = compat.convert_sklearn_to_river(model)
    for row, target, mean in zip(X, Y, expected, strict=False):
        row = dict(enumerate(row))
        assert_allclose(model.predict_one(row), mean, **CLOSE)
        model.learn_one(row, target)


def test_river_learns_dictionaries_with_categories(likelihood):
    compat = pytest.importorskip("river.compat")
    rows = [{"x": x, "sign": "+" if sign > 0 else None if sign < -1 else "-"} for x, sign in X[:100, :2].tolist()]
    model = new(likelihood, **EXACT, categorical_features=[1])
    array = np.array([list(row.values()) for row in rows], dtype=object)
    expected = clone(model).progressive_predict(array, Y[:100])
    model = compat.convert_sklearn_to_river(model)
    for row, target, mean in zip(rows, Y, expected, strict=False):
        assert_allclose(model.predict_one(row), mean, **CLOSE)
        model.learn_one(row, target)


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_features(form):
    rows = FORMS[form](EIGHTHS)
    got, expected = (new(**{**EXACT, "max_iter": 1}).fit(given, Y) for given in (rows, EIGHTHS))
    assert_allclose(got.predict_interval(rows), expected.predict_interval(EIGHTHS), rtol=1e-6)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("streamed", [True, False])
def test_frames(library, streamed):
    frames = pytest.importorskip(library)
    frame = frames.DataFrame({name: X[:, i] for i, name in enumerate("abcd")})
    for y, given in ((Y, frames.Series(Y)), (Y3, frames.DataFrame({name: Y3[:, i] for i, name in enumerate("uvw")}))):
        learn = "partial_fit" if streamed else "fit"
        model = getattr(new(**EXACT), learn)(frame, given, frames.Series(WEIGHTS))
        assert_array_equal(model.feature_names_in_, list("abcd"))
        assert_allclose(model.predict(frame), getattr(new(**EXACT), learn)(X, y, WEIGHTS).predict(X), rtol=1e-6)


# Steps

STEEP = {"learning_rate": "constant", "learning_rate_init": 4.0}


@pytest.mark.parametrize("params", [STEEP, {**STEEP, "batch_size": 100}, {"learning_rate_init": 1e6}], ids=str)
@pytest.mark.parametrize("weight", [1.0, 900.0])
def test_no_step_is_so_long_that_errors_grow_without_end(params, weight):
    model = new(base_predictor="identity", **params)
    results = model.progressive_predict(1e3 * X, Y3, np.full(700, weight), return_std=True)
    assert np.isfinite(results).all()
    assert np.isfinite(moments(model)).all()


@pytest.mark.parametrize("base_predictor", ["identity", np.negative])
def test_inputs_too_large_are_refused(likelihood, base_predictor):
    model = new(likelihood, base_predictor=base_predictor).partial_fit(X[:9], Y[:9])
    rows = np.where(X > 0, 1e16, X)
    assert_refused(model, lambda it: it.partial_fit(rows, Y), ValueError, r"within \+-1e\+15.*1e\+16")
    assert_refused(model, lambda it: it.predict(rows), ValueError, "base_predictor")


# Backends


@pytest.mark.thorough
def test_backends_agree_and_go_on_for_each_other(likelihood, backend, backend_name):
    spare_compilers(backend, likelihood == "gaussian")
    params = {**EXACT, "max_iter": 1}
    expected = new(likelihood, **params, backend="numpy")
    results = np.stack(expected.progressive_predict(X, Y, WEIGHTS, return_std=True))
    model = new(likelihood, **params, backend=backend_name)
    first = np.stack(model.progressive_predict(X[:300], Y[:300], WEIGHTS[:300], return_std=True))
    assert_allclose(first, results[:, :300], rtol=1e-6, atol=1e-6)
    passed_on = deepcopy(model).set_params(backend="numpy").partial_fit(X[300:], Y[300:], WEIGHTS[300:])
    taken_over = new(likelihood, **params, backend="numpy").partial_fit(X[:300], Y[:300], WEIGHTS[:300])
    taken_over.set_params(backend=backend_name).partial_fit(X[300:], Y[300:], WEIGHTS[300:])
    model.partial_fit(X[300:], Y[300:], WEIGHTS[300:])
    for other in (model, passed_on, taken_over):
        assert_allclose(moments(other), moments(expected), rtol=1e-6, atol=1e-6)
        assert_allclose(other.predict_interval(X), expected.predict_interval(X), rtol=1e-6, atol=1e-6)
