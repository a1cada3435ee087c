"""What the last errors say: means and variances that follow them at once. That they are right, the oracle checks."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_gln import GLNRegressor
from sklearn_gln._recent import RecentErrors, corrected
from tests.helpers import BACKEND

PARAMS = {"layer_sizes": (8, 7), "context_dim": 3, "random_state": 0, "backend": BACKEND}


def make_errors(n, n_outputs=2, seed=1):
    """Of deviation 1, and the variances that were predicted: a quarter."""
    return np.random.default_rng(seed).standard_normal((n, n_outputs)), np.full((n, n_outputs), 0.25)


def new(n_outputs=2):
    return RecentErrors.empty(n_outputs, has_memories=True)


def test_any_split_gives_the_same_corrections():
    errors, variances = make_errors(500)
    weights = np.random.default_rng(2).random(errors.shape)
    whole, parts = new(), new()
    corrections = whole.learn(errors, variances, weights)
    split = [
        parts.learn(errors[rows], variances[rows], weights[rows])[:-1] for rows in np.split(np.arange(500), [1, 7, 200])
    ]
    assert_array_equal(np.concatenate(split), corrections[:-1])
    assert_array_equal(parts.correction, corrections[-1])
    assert_array_equal(whole.correction, corrections[-1])


def test_outputs_are_independent():
    errors, variances = make_errors(300, 3)
    errors[:, 1] *= 7
    together = new(3).learn(errors, variances, np.ones_like(errors))
    for output in range(3):
        alone = new(1).learn(errors[:, [output]], variances[:, [output]], np.ones((300, 1)))
        assert_allclose(together[:, [output]], alone, rtol=1e-12)


@pytest.mark.parametrize("unit", [1e-3, 1e4])
def test_units_of_errors_do_not_matter(unit):
    errors, variances = make_errors(300)
    ones = np.ones_like(errors)
    one, other = new(), new()
    one.learn(errors, variances, ones)
    other.learn(errors * unit, variances * unit**2, ones)
    one.rescale(np.full(2, unit))
    assert_allclose(one.correction, other.correction, rtol=1e-9)


@pytest.mark.parametrize(("scale", "level"), [(1.0, 0.0), (10.0, 0.0), (0.1, 0.0), (1.0, 10.0)])
def test_a_change_is_known_after_a_few_rows(scale, level):
    """Of a variance that was right, or four times too small; larger errors at once, smaller ones with caution."""
    errors, variances = make_errors(2400)
    errors[:2000] /= 2
    errors[2000:] = level + scale * errors[2000:]
    corrections = new().learn(errors, variances, np.ones_like(errors))
    mean, variance = corrected(0.0, variances, corrections[:-1])
    assert np.abs(mean[500:2000]).mean() < 0.1
    assert_allclose(np.log(variance[500:2000] / 0.25).mean(), 0, atol=0.2)
    assert_allclose(mean[2030:].mean(), level, atol=0.1 * scale + 0.2 * level)
    ratio = (np.square(errors - mean) / variance)[2030:].mean()
    assert 0.02 < ratio < 1.5
    assert ratio > 0.6 or scale < 1


def test_without_memories_nothing_is_corrected():
    recent = RecentErrors.empty(2, has_memories=False)
    assert_array_equal(recent.learn(*make_errors(5), np.ones((5, 2))), np.tile([0.0, 1.0, 0.0], (6, 2, 1)))
    assert_array_equal(recent.correction, [[0, 1, 0], [0, 1, 0]])


def test_intervals_are_honest_after_a_change():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(3000, 3))
    y = X[:, 0] + rng.normal(size=3000) * np.where(np.arange(3000) < 1500, 0.1, 1.5)
    mean, std = GLNRegressor(**PARAMS).progressive_predict(X, y, return_std=True)
    within = np.abs(y - mean) < 1.645 * std
    assert within[1500:1700].mean() > 0.75


def test_a_level_that_jumps_is_followed():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(2000, 3))
    y = X[:, 0] + 0.1 * rng.normal(size=2000) + np.where(np.arange(2000) < 1100, 0.0, 5.0)
    errors = [
        np.abs(GLNRegressor(**PARAMS, half_life=half_life).progressive_predict(X, y) - y)[1120:1280].mean()
        for half_life in ("auto", None)
    ]
    assert errors[0] < errors[1] / 2


@pytest.mark.parametrize("shuffle", [False, True])
def test_only_rows_in_order_have_recent_errors(shuffle):
    X = np.random.default_rng(3).normal(size=(100, 2))
    model = GLNRegressor(**PARAMS, shuffle=shuffle, max_iter=1).fit(X, X[:, 0])
    assert bool(model._online.head.recent.errors.size) != shuffle
