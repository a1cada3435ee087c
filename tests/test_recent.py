"""Recent errors: variances that follow them at once. That the factors are right, the oracle checks."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_gln import GLNRegressor
from sklearn_gln._recent import RecentErrors

PARAMS = {"layer_sizes": (8, 7), "context_dim": 3, "random_state": 0, "backend": "numpy"}


def make_squares(n, scale=1.0, n_outputs=2):
    return scale**2 * np.random.default_rng(1).chisquare(1, (n, n_outputs))


def test_any_split_gives_the_same_factors():
    squares = make_squares(500)
    weights = np.random.default_rng(2).random(squares.shape)
    whole, parts = RecentErrors.empty(2, True), RecentErrors.empty(2, True)
    factors = whole.learn(squares, weights)
    split = [parts.learn(squares[rows], weights[rows])[:-1] for rows in np.split(np.arange(500), [1, 7, 200])]
    assert_array_equal(np.concatenate(split), factors[:-1])
    assert_array_equal(parts.factor, factors[-1])
    assert_array_equal(whole.factor, factors[-1])


def test_outputs_are_independent():
    squares = make_squares(300, n_outputs=3)
    squares[:, 1] *= 50
    together = RecentErrors.empty(3, True).learn(squares, np.ones_like(squares))
    for output in range(3):
        alone = RecentErrors.empty(1, True).learn(squares[:, [output]], np.ones((300, 1)))
        assert_allclose(together[:, [output]], alone, rtol=1e-12)


def test_a_change_is_known_after_a_few_rows():
    """Larger errors at once, smaller ones with caution."""
    steady, ones = make_squares(2000), np.ones((2400, 2))
    rises, falls = (
        RecentErrors.empty(2, True).learn(np.concatenate([steady, make_squares(400, scale)]), ones)
        for scale in (10.0, 0.1)
    )
    assert_allclose(np.log(rises[500:2000]).mean(), 0, atol=0.2)
    assert_allclose(np.log(rises[2030:] / 100), 0, atol=np.log(8))
    assert (falls[2030:] < 0.5).all()
    assert (falls[2030:] > 0.01).all()


def test_without_memories_nothing_changes():
    recent = RecentErrors.empty(2, False)
    assert_array_equal(recent.learn(make_squares(5, 9.0), np.ones((5, 2))), np.ones((6, 2)))
    assert_array_equal(recent.factor, [1, 1])


@pytest.mark.parametrize("shuffle", [False, True])
def test_intervals_are_honest_after_a_change(shuffle):
    """Of fits, in those whose rows are in order."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(3000, 3))
    y = X[:, 0] + rng.normal(size=3000) * np.where(np.arange(3000) < 1500, 0.1, 1.5)
    mean, std = GLNRegressor(**PARAMS).progressive_predict(X, y, return_std=True)
    within = np.abs(y - mean) < 1.645 * std
    assert within[1500:1700].mean() > 0.82
    model = GLNRegressor(**PARAMS, shuffle=shuffle, max_iter=1).fit(X, y)
    assert bool(model._online.head.recent.squares.size) != shuffle
