"""half_life="auto": the test of whether a stream has changed, and what follows from it."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax
from sklearn.metrics import log_loss

from sklearn_gln import GLNClassifier
from sklearn_gln._drift import MAX_LOSS, RECENT, SIGNIFICANT, DriftTest, log_losses
from sklearn_gln._online import AFTER_CHANGE
from tests.helpers import make_stream, thorough_but

PARAMS = {"layer_sizes": (4, 3), "context_dim": 3, "dtype": "float64", "random_state": 3, "half_life": "auto"}


def changing_stream(n=2600, change=1500, n_classes=3):
    """Classes that change places."""
    X, y, weights = make_stream(1, n, n_classes=n_classes)
    y[change:] = (y[change:] + 1) % n_classes
    return X, y, weights


def learn_counting(X, y, weights, classes, cuts=(), **params):
    """The stream learned in pieces, its predictions, and the row numbers where it was found changed."""
    classifier = GLNClassifier(**PARAMS | params)
    parts, changes = [], []
    changed = DriftTest.changed

    def recording(self):
        found = changed(self)
        if found:
            changes.append(classifier._online.n_samples_seen)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DriftTest, "changed", recording)
        for rows in np.split(np.arange(len(X)), cuts):
            parts.append(classifier.progressive_predict_proba(X[rows], y[rows], classes, weights[rows]))
    return classifier, np.concatenate(parts), changes


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_log_losses(n_outputs):
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(20, n_outputs)), rng.integers(max(n_outputs, 2), size=20)
    p = softmax(logits, axis=1) if n_outputs > 1 else np.hstack([expit(-logits), expit(logits)])
    assert_allclose(log_losses(logits, y), -np.log(p[np.arange(20), y]))
    labels = rng.random((20, n_outputs)) < 0.5
    expected = [log_loss(labels.ravel()[i::n_outputs], expit(logits[:, i]), labels=[0, 1]) for i in range(n_outputs)]
    assert log_losses(logits, labels).mean() == pytest.approx(np.mean(expected))


def test_the_test_by_its_formula():
    rng = np.random.default_rng(1)
    test, mean, variance, found = DriftTest(), None, None, []
    for span in range(30):
        logits, y = rng.normal(size=(100, 1)) * (1 + 3 * (span >= 20)), rng.integers(2, size=100)
        weights = rng.choice([0.0, 0.5, 1.0, 3.0], size=100)
        loss = np.minimum(log_losses(logits, y), MAX_LOSS)
        for rows in np.split(np.arange(100), [10, 11, 60]):
            test.add(loss[rows], weights[rows])
        new_mean = np.average(loss, weights=weights)
        new_variance = np.average((loss - new_mean) ** 2, weights=weights)
        changed = False
        if mean is None:
            mean, variance = new_mean, new_variance
        else:
            n = weights.sum() ** 2 / np.square(weights).sum()
            error = np.sqrt((variance + new_variance) / 2 / n * (1 + (1 - RECENT) / (1 + RECENT)))
            changed = new_mean > mean + SIGNIFICANT * error
            share = 1 if changed else 1 - RECENT
            mean, variance = mean + share * (new_mean - mean), variance + share * (new_variance - variance)
        assert test.changed() == changed
        assert_allclose(test.expected, (mean, variance))
        found.append(changed)
    assert np.flatnonzero(found).tolist() == [20]
    assert not test.changed()  # no rows: nothing to say
    assert_allclose(test.expected, (mean, variance))


def test_chance_is_seldom_taken_for_change():
    rng = np.random.default_rng(2)
    test, alarms = DriftTest(), 0
    for _ in range(2000):
        test.add(log_losses(rng.normal(size=(256, 1)), rng.integers(2, size=256)), np.ones(256))
        alarms += test.changed()
    assert alarms < 10


@pytest.mark.parametrize("kind", thorough_but(["two classes", "three classes", "labels"], "three classes"))
def test_any_split_of_a_changing_stream_gives_the_same_model(kind):
    X, y, weights = changing_stream(n_classes=2 if kind == "two classes" else 3)
    classes = np.unique(y)
    if kind == "labels":
        y = y[:, np.newaxis] == classes
    whole, expected, changes = learn_counting(X, y, weights, classes)
    assert len(changes) == 1
    t = np.cumsum(weights > 0)[1500]
    assert changes[0] == (t // 256 + 1) * 256
    parts, got, same = learn_counting(X, y, weights, classes, cuts=[1, 2, 3, 255, 300, 301, 1600, 2100])
    assert same == changes
    assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    for left, right in zip(parts._online.network.layers, whole._online.network.layers, strict=True):
        assert_allclose(left.accumulator, right.accumulator, rtol=1e-9, atol=1e-9)
    assert_array_equal(pickle.loads(pickle.dumps(whole)).predict_proba(X), whole.predict_proba(X))


def test_a_change_is_forgotten_at_once():
    X, y, weights = changing_stream()
    _, _, (change,) = learn_counting(X, y, weights, [0, 1, 2])
    stop = np.searchsorted(np.cumsum(weights > 0), change) + 1
    rows = slice(0, stop)
    after, *_ = learn_counting(X[rows], y[rows], weights[rows], [0, 1, 2])
    before, *_ = learn_counting(X[rows], y[rows], weights[rows], [0, 1, 2], half_life=None)
    left, right = after._online, before._online
    for layer, other in zip(left.network.layers, right.network.layers, strict=True):
        assert 0 < layer.accumulator.sum() < 2 * AFTER_CHANGE * other.accumulator.sum()
    assert_allclose(left.predictor.moments.weight, AFTER_CHANGE * right.predictor.moments.weight)
    assert_allclose(left.head.class_weight, AFTER_CHANGE * right.head.class_weight)
    ratio = left.network.base_preconditioner.weight / right.network.base_preconditioner.weight
    assert ratio == pytest.approx(AFTER_CHANGE)


def test_a_changed_stream_is_learned_anew():
    X, y, weights = changing_stream(4500, 3500)
    relearned = {}
    for half_life in (None, "auto"):
        _, p, _ = learn_counting(X, y, weights, [0, 1, 2], half_life=half_life)
        relearned[half_life] = np.mean(p.argmax(axis=1)[3700:4100] == y[3700:4100])
    assert relearned["auto"] > relearned[None] + 0.03


def test_epochs_are_no_change():
    X, y, weights = make_stream(4, 900)
    fitted = GLNClassifier(**PARAMS, max_iter=3).fit(X, y, weights)
    assert fitted.n_samples_seen_ == 3 * np.count_nonzero(weights)
    assert fitted._online.head.class_weight.sum() == pytest.approx(weights.sum())
    assert fitted._online.predictor.moments.weight.max() > 2.5 * weights.sum()  # but for missing values
