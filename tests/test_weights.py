"""Weights are counts: a row of weight q does about what q rows spread among the others do, in any order."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import make_classification

from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln._samples import groups_of_alike
from tests.helpers import thorough_but

SMALL = {"layer_sizes": (8,), "context_dim": 3, "random_state": 0}
FULL = {"layer_sizes": (50, 50, 50), "context_dim": 4}
MODELS = [
    pytest.param(lambda **options: GLNClassifier(**SMALL | options), id="classifier"),
    pytest.param(lambda **options: GLNRegressor(**SMALL | options), id="squared"),
    pytest.param(lambda **options: GLNRegressor(likelihood="gaussian", **SMALL | options), id="gaussian"),
]
X, Y = make_classification(200, 4, random_state=0)
WEIGHT = np.random.default_rng(0).uniform(0.5, 1.5, 200)


def answers(model, X=X):
    return model.predict_proba(X)[:, 1] if isinstance(model, GLNClassifier) else model.predict(X)


def stream(model, X, y, sample_weight=None):
    classes = {"classes": [0, 1]} if isinstance(model, GLNClassifier) else {}
    return model.partial_fit(X, y, sample_weight=sample_weight, **classes)


def streamed(model, sample_weight):
    return answers(stream(model, X, Y, sample_weight))


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("total", [1.0, 1e-9, 150.0])
def test_a_survey_fits_as_if_its_weights_had_mean_1(make, total):
    of_mean_1, of_survey = (
        answers(make().fit(X, Y, sample_weight=weight * WEIGHT / WEIGHT.sum())) for weight in (200, total)
    )
    assert_allclose(of_survey, of_mean_1, atol=1e-4)


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize(("mean", "is_same"), [(1, True), (3, True), (0.3, False)])
def test_one_ordered_pass_of_fit_is_partial_fit_from_a_mean_of_1_on(make, mean, is_same):
    weight = mean * WEIGHT / WEIGHT.mean()
    fitted = answers(make(max_iter=1, shuffle=False).fit(X, Y, sample_weight=weight))
    assert np.allclose(fitted, streamed(make(), weight), atol=1e-6) == is_same


def test_class_weights_multiply_what_remains():
    halves, ones = (
        answers(GLNClassifier(**SMALL, class_weight={0: 1, 1: 3}).fit(X, Y, sample_weight=np.full(200, weight)))
        for weight in (0.5, 1.0)
    )
    assert_allclose(halves, ones, atol=1e-6)


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("learn", [lambda model, weight: model.fit(X, Y, sample_weight=weight), streamed])
def test_weights_that_are_cut_are_told(make, learn):
    weight = np.where(np.arange(200) == 7, 2e9, 1.0)
    with pytest.warns(UserWarning, match=r"sample_weight holds 2e\+09, .* more than 1e\+09 rows. Divide all weights"):
        learn(make(), weight)
    learn(make(), np.minimum(weight, 1e9))


# Counts


def click_rates(n_points):
    """Two rows for each point, one of either label, weighted by how often it was seen."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n_points, 3))
    total = rng.integers(2, 101, n_points)
    clicks = np.clip(rng.binomial(total, 1 / (1 + np.exp(-X @ [1.5, -1, 0.7]))), 1, 100)
    others = np.clip(total - clicks, 1, 100)
    table = np.vstack([X, X]), np.repeat([1, 0], n_points), np.append(clicks, others).astype(float)
    return *table, X, clicks / (clicks + others)


def orders(y):
    return [np.argsort(y, kind="stable"), np.argsort(-y, kind="stable"), np.random.default_rng(0).permutation(len(y))]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("unit", thorough_but([1.0, 50.0, 1e6], 1e6))
@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_one_cell_predicts_the_share_of_weight(make, unit, order):
    X, y, weight = np.zeros((2, 1)), np.array([0, 1])[order], unit * np.array([900.0, 100.0])[order]
    assert abs(answers(stream(make(**FULL), X, y, weight), X)[0] - 0.1) < 0.15
    assert abs(answers(make(**FULL).fit(X, y, sample_weight=weight), X)[0] - 0.1) < 0.08


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("n_points", [10, pytest.param(300, marks=pytest.mark.thorough)])
def test_a_table_of_click_rates_in_any_order(make, n_points):
    X, y, weight, points, truth = click_rates(n_points)
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(len(y)), weight.astype(int)))
    repeated = np.abs(answers(stream(make(**FULL), X[rows], y[rows]), points) - truth).mean()
    for order in orders(y):
        model = stream(make(**FULL), X[order], y[order], weight[order])
        assert np.abs(answers(model, points) - truth).mean() <= 2 * repeated + 0.02


@pytest.mark.parametrize(
    ("make", "n_points", "bound"),
    [
        pytest.param(MODELS[0].values[0], 300, 0.14, marks=pytest.mark.thorough),
        (MODELS[1].values[0], 100, 0.135),
    ],
)
def test_a_fit_knows_rates_that_have_nothing_to_do_with_features(make, n_points, bound):
    """In later passes rows come one by one: .17 and .148 if none learned those alike as one."""
    rng = np.random.default_rng(1)
    points, counts = rng.normal(size=(n_points, 3)), rng.integers(1, 101, (2, n_points)).astype(float)
    X, y, weight = np.vstack([points, points]), np.repeat([1, 0], n_points), counts.ravel()
    order = orders(y)[2]
    predicted = answers(make(**FULL).fit(X[order], y[order], sample_weight=weight[order]), points)
    assert np.abs(predicted - counts[0] / counts.sum(axis=0)).mean() < bound


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("sizes", [(1,) * 60, (7, 33, 20), (31, 29)])
def test_any_split_of_a_weighted_stream_gives_the_same_model(make, sizes):
    rng = np.random.default_rng(0)
    X, y = make_classification(60, 4, random_state=0)
    X[3:20:4] = X[1:18:4]
    weight = np.append(np.ones(20), rng.choice([0.0, 0.5, 1.0, 3.0, 70.0], 40))
    whole = answers(stream(make(), X, y, weight), X)
    model = make()
    for rows in np.split(np.arange(60), np.cumsum(sizes)[:-1]):
        stream(model, X[rows], y[rows], weight[rows])
    assert_allclose(answers(model, X), whole, atol=1e-5)


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("factor", [1e-9, 1e8])
def test_extreme_weights_are_numbers_like_any(make, factor):
    X, y = make_classification(40, 4, random_state=0)
    weight = factor * np.random.default_rng(0).uniform(0.5, 1.5, 40)
    model = stream(make(), X, y, weight)
    assert np.isfinite(answers(model, X)).all()
    assert np.isfinite(model.progressive_loss_)


@pytest.mark.parametrize("make", MODELS)
def test_one_enormous_weight_leaves_the_other_rows_their_say(make):
    X, y = make_classification(60, 4, class_sep=2, random_state=0)
    weight = np.append(1e4, np.ones(59))
    weighted = answers(make().fit(X, y, sample_weight=weight), X)
    assert ((weighted > 0.5) == y).mean() > 0.75


@pytest.mark.parametrize("make", MODELS)
def test_rows_after_the_last_rebuild_count_as_multiples_of_the_mean(make):
    X, y, weight, points, truth = click_rates(100)
    rows = np.concatenate([np.random.default_rng(seed).permutation(200) for seed in range(8)])
    model = stream(make(), X[rows], y[rows], weight[rows])
    assert np.abs(answers(model, points) - truth).mean() < 0.1


@pytest.mark.parametrize("make", MODELS)
def test_weights_of_rows_that_differ_are_not_counts_of_rows_alike(make):
    X, y = make_classification(63, 4, random_state=0)
    weight = np.where(y == 1, 40.0, 1.0)
    different = stream(make(), X, y, weight)
    alike = stream(make(), np.vstack([X, X[:1]]), np.append(y, 1 - y[0]), np.append(weight, 1.0))
    assert different._online.unit_weight == 1
    assert alike._online.unit_weight == pytest.approx(np.append(weight, 1.0).mean())


def test_samples_of_equal_features_are_alike():
    X = np.array([[1.0, 0.0], [2.0, np.nan], [1.0, -0.0], [3.0, 0.0], [2.0, np.nan]])
    first, group = groups_of_alike(X)
    assert first.tolist() == [0, 1, 3]
    assert group.tolist() == [0, 1, 0, 2, 1]
