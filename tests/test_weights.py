"""Weights are counts: a row of weight q does about what q rows spread among the others do, in any order."""

import numpy as np
import pytest
from sklearn.datasets import make_classification

from sklearn_gln import GLNClassifier, GLNRegressor

MODELS = [
    pytest.param(lambda **options: GLNClassifier(random_state=0, **options), id="classifier"),
    pytest.param(lambda **options: GLNRegressor(random_state=0, **options), id="squared"),
]
ORDERS = [[0, 1], [1, 0]]


def stream(model, X, y, sample_weight=None):
    classes = {"classes": [0, 1]} if isinstance(model, GLNClassifier) else {}
    return model.partial_fit(X, y, sample_weight=sample_weight, **classes)


def rates(model, X):
    return model.predict_proba(X)[:, 1] if isinstance(model, GLNClassifier) else model.predict(X)


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
@pytest.mark.parametrize("unit", [1.0, 50.0, 1e6])
@pytest.mark.parametrize("order", ORDERS)
def test_one_cell_predicts_the_share_of_weight(make, unit, order):
    X, y, weight = np.zeros((2, 1)), np.array([0, 1])[order], unit * np.array([900.0, 100.0])[order]
    assert abs(rates(stream(make(), X, y, weight), X)[0] - 0.1) < 0.15
    assert abs(rates(make().fit(X, y, sample_weight=weight), X)[0] - 0.1) < 0.08


@pytest.mark.parametrize("make", MODELS)
def test_a_small_table_of_click_rates_in_any_order(make):
    X, y, weight, points, truth = click_rates(10)
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(20), weight.astype(int)))
    repeated = np.abs(rates(stream(make(), X[rows], y[rows]), points) - truth).mean()
    for order in orders(y):
        model = stream(make(), X[order], y[order], weight[order])
        assert np.abs(rates(model, points) - truth).mean() <= 2 * repeated + 0.02


@pytest.mark.thorough
@pytest.mark.parametrize("make", MODELS)
def test_a_table_of_600_click_rates_in_any_order(make):
    X, y, weight, points, truth = click_rates(300)
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(600), weight.astype(int)))
    repeated = np.abs(rates(stream(make(), X[rows], y[rows]), points) - truth).mean()
    for order in orders(y):
        model = stream(make(), X[order], y[order], weight[order])
        assert np.abs(rates(model, points) - truth).mean() <= 2 * repeated + 0.02


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("sizes", [(1,) * 60, (7, 33, 20), (31, 29)])
def test_any_split_of_a_weighted_stream_gives_the_same_model(make, sizes):
    rng = np.random.default_rng(0)
    X, y = make_classification(60, 4, random_state=0)
    weight = rng.choice([0.0, 0.5, 1.0, 3.0, 70.0], 60)
    options = {"layer_sizes": (8, 8), "context_dim": 3}
    whole = rates(stream(make(**options), X, y, weight), X)
    model = make(**options)
    for rows in np.split(np.arange(60), np.cumsum(sizes)[:-1]):
        stream(model, X[rows], y[rows], weight[rows])
    np.testing.assert_allclose(rates(model, X), whole, atol=1e-5)


@pytest.mark.parametrize("make", MODELS)
def test_a_survey_fits_as_if_its_weights_had_mean_1(make):
    X, y = make_classification(200, 4, random_state=0)
    weight = np.random.default_rng(0).uniform(0.5, 1.5, 200)
    fits = [
        rates(make(layer_sizes=(8,), context_dim=3).fit(X, y, sample_weight=w), X)
        for w in (weight / weight.mean(), weight / weight.sum())
    ]
    np.testing.assert_allclose(*fits, atol=1e-3)


@pytest.mark.parametrize("make", MODELS)
def test_one_ordered_pass_of_fit_is_partial_fit_for_weights_of_a_mean_of_1_and_more(make):
    X, y = make_classification(50, 4, random_state=0)
    weight = np.random.default_rng(0).uniform(0.5, 9, 50)
    options = {"layer_sizes": (8,), "context_dim": 3}
    fitted = make(**options, max_iter=1, shuffle=False).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(rates(fitted, X), rates(stream(make(**options), X, y, weight), X), atol=1e-5)


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_extreme_weights_are_numbers_like_any(make, factor):
    X, y = make_classification(40, 4, random_state=0)
    weight = factor * np.random.default_rng(0).uniform(0.5, 1.5, 40)
    model = stream(make(layer_sizes=(8,), context_dim=3), X, y, weight)
    assert np.isfinite(rates(model, X)).all()
    assert np.isfinite(model.progressive_loss_)


@pytest.mark.parametrize("make", MODELS)
def test_one_enormous_weight_leaves_the_other_rows_their_say(make):
    X, y = make_classification(60, 4, class_sep=2, random_state=0)
    weight = np.append(1e9, np.ones(59))
    weighted = rates(make(layer_sizes=(8,), context_dim=3).fit(X, y, sample_weight=weight), X)
    assert ((weighted > 0.5) == y).mean() > 0.8
