"""Half-lives: neurons of several memories, and what follows from them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import log_loss

from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln._settings import MIXED
from tests.helpers import BACKEND, make_stream

PARAMS = {"layer_sizes": (8, 7), "context_dim": 3, "dtype": "float64", "random_state": 3, "backend": BACKEND}


def changing_stream(n=4500, change=3500, n_classes=3):
    """Classes that change places."""
    X, y, weights = make_stream(1, n, n_classes=n_classes)
    y[change:] = (y[change:] + 1) % n_classes
    return X, y, weights


@pytest.mark.parametrize(
    ("half_life", "factors"),
    [(None, [1.0]), (512.0, [0.5**0.5]), ("mixed", [1.0, 0.5**5.12, 1.0, 0.5**0.256, 1.0, 1.0])],
)
def test_neurons_take_turns(half_life, factors):
    X, y, _ = make_stream(2, 520, n_classes=2)
    before, after = (
        GLNClassifier(**PARAMS, half_life=half_life).partial_fit(X[:n], y[:n], classes=[0, 1]) for n in (511, 512)
    )
    for layer, later in zip(before._online.network.layers, after._online.network.layers, strict=True):
        share = later.accumulator[0].sum(axis=1) / layer.accumulator[0].sum(axis=1)  # row 512 adds little
        assert_allclose(share, np.resize(factors, len(share)), rtol=0.05)


def test_a_changed_stream_is_learned_anew():
    X, y, weights = changing_stream()
    relearned = {}
    for half_life in (None, "mixed"):
        p = GLNClassifier(**PARAMS, half_life=half_life).progressive_predict_proba(X, y, [0, 1, 2], weights)
        relearned[half_life] = np.mean(p.argmax(axis=1)[3600:4100] == y[3600:4100])
    assert relearned["mixed"] > relearned[None] + 0.05


@pytest.mark.thorough
def test_it_costs_little_where_nothing_changes():
    X, y, weights = make_stream(5, 4000, n_classes=3)
    losses = {}
    for half_life in (None, "mixed", 50):
        p = GLNClassifier(**PARAMS, half_life=half_life).progressive_predict_proba(X, y, [0, 1, 2], weights)
        losses[half_life] = log_loss(y[500:], p[500:])
    assert losses["mixed"] < losses[None] + 0.02 < losses[50]


def test_scaling_stays():
    X, y, _ = make_stream(6, 1500)
    target = X[:, 0] + 0.1 * y
    for half_life, stays in ((None, True), ("mixed", True), (300, False)):
        model = GLNRegressor(**PARAMS, half_life=half_life).partial_fit(
            np.nan_to_num(X[:600]), np.nan_to_num(target[:600])
        )
        before = model._online.predictor.mean
        model.partial_fit(np.nan_to_num(X[600:]) + 0.3, np.nan_to_num(target[600:]))
        assert np.array_equal(model._online.predictor.mean, before) == stays


def test_a_layer_of_one_neuron_forgets_nothing():
    assert MIXED[0] is None
