"""What the last errors and labels say of the next ones. That errors are right, the oracle of regression checks."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax
from sklearn.metrics import log_loss

from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln._recent_errors import RecentErrors, corrected
from sklearn_gln._recent_labels import RecentLabels
from sklearn_gln._recent_labels import corrected as corrected_logits
from sklearn_gln.inspection import local_coefficients
from tests.helpers import BACKEND, assert_same_object, make_stream

PARAMS = {"layer_sizes": (8, 7), "context_dim": 3, "random_state": 0, "backend": BACKEND}


# Errors


def make_errors(n, n_outputs=2, seed=1):
    """Of deviation 1, and the variances that were predicted: a quarter."""
    return np.random.default_rng(seed).standard_normal((n, n_outputs)), np.full((n, n_outputs), 0.25)


def new(n_outputs=2):
    return RecentErrors.empty(n_outputs, stopped=False)


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
    recent = RecentErrors.empty(2, stopped=True)
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
    assert model._online.head.recent.stopped == shuffle


# Labels


class NaiveLabels:
    """Classes in plain Python; a hypothesis is an exponent and the half-life of a memory."""

    hypotheses = ((1.0, None), (0.25, None), (0.5, None), (0.75, None), (1.5, None), (1.0, 4), (1.0, 32))

    def __init__(self, n_classes):
        self.evidence = [0.0] * len(self.hypotheses)
        self.happened, self.predicted = ([[0.0] * n_classes for _ in self.hypotheses] for _ in range(2))

    def ratios(self, number):
        prior = 0.5 / len(self.happened[number])
        return [(prior + a) / (prior + b) for a, b in zip(self.happened[number], self.predicted[number], strict=True)]

    def answer(self, p):
        scores = [1.0] * len(p)
        shares = [math.exp(value) * (9 if number == 0 else 1) for number, value in enumerate(self.evidence)]
        for number, (exponent, _) in enumerate(self.hypotheses):
            for k, ratio in enumerate(self.ratios(number)):
                scores[k] *= (p[k] ** exponent * ratio) ** (shares[number] / sum(shares))
        return [score / sum(scores) for score in scores]

    def learn(self, p, code, weight):
        likelihoods = []
        for number, (exponent, _) in enumerate(self.hypotheses):
            scores = [p_k**exponent * ratio for p_k, ratio in zip(p, self.ratios(number), strict=True)]
            likelihoods.append(math.log(scores[code] / sum(scores)))
        for number, (_, half_life) in enumerate(self.hypotheses):
            loss = weight * min(max(likelihoods) - likelihoods[number], 3)
            self.evidence[number] = 0.5 ** (1 / 100) * self.evidence[number] - loss
            if half_life is not None:
                kept = 0.5 ** (1 / half_life)
                for k, p_k in enumerate(p):
                    self.happened[number][k] = kept * self.happened[number][k] + weight * (k == code)
                    self.predicted[number][k] = kept * self.predicted[number][k] + weight * p_k


def make_codes(n, n_classes, seed=1):
    """Logits, class numbers in blocks of 20, weights of which the first is the largest."""
    rng = np.random.default_rng(seed)
    n_logits = 1 if n_classes == 2 else n_classes
    codes = rng.integers(n_classes, size=n // 20 + 1).repeat(20)[:n, np.newaxis]
    return 2 * rng.normal(size=(n, n_logits)), codes, np.append(1.0, rng.random(n - 1))[:, np.newaxis]


def probabilities(logits):
    return softmax(np.hstack([-logits / 2, logits / 2]) if logits.shape[1] == 1 else logits, axis=1)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_labels_are_mixed_as_in_plain_python(n_classes):
    logits, codes, weights = make_codes(150, n_classes)
    recent, naive = RecentLabels.empty(1, n_classes, stopped=False), NaiveLabels(n_classes)
    got = probabilities(corrected_logits(logits, recent.learn(logits, codes, 4 * weights)[:-1]))
    for answer, p, code, weight in zip(got, probabilities(logits), codes[:, 0], weights[:, 0], strict=True):
        assert_allclose(answer, naive.answer(p), rtol=1e-9)
        naive.learn(p, code, weight)
    after = probabilities(corrected_logits(logits[:1], recent.correction))
    assert_allclose(after[0], naive.answer(probabilities(logits[:1])[0]), rtol=1e-9)
    assert_allclose(recent.factor, recent.correction[:1, 0])


@pytest.mark.parametrize("n_classes", [1, 2, 4])
def test_any_split_gives_the_same_corrections_of_labels(n_classes):
    logits, codes, weights = make_codes(300, n_classes)
    weights[::7] = 0
    weights[200] = 3
    whole, parts = (RecentLabels.empty(1, n_classes, stopped=False) for _ in range(2))
    corrections = whole.learn(logits, codes, weights)
    split = [
        parts.learn(logits[rows], codes[rows], weights[rows])[:-1] for rows in np.split(np.arange(300), [1, 7, 200])
    ]
    assert_array_equal(np.concatenate(split), corrections[:-1])
    assert_same_object(parts, whole)


def test_labels_that_are_not_known_change_nothing():
    logits, codes, weights = (np.hstack([make_codes(200, 2, seed)[i] for seed in (1, 2, 3)]) for i in range(3))
    weights[np.random.default_rng(4).random(weights.shape) < 0.3] = 0
    together = RecentLabels.empty(3, 2, stopped=False)
    corrections = together.learn(logits, codes, weights)
    for label in range(3):
        known, alone = weights[:, label] > 0, RecentLabels.empty(1, 2, stopped=False)
        expected = alone.learn(*(array[known][:, [label]] for array in (logits, codes, weights)))
        assert_allclose(corrections[:-1][known, label], expected[:-1, 0], rtol=1e-12)
        assert_allclose(together.correction[label], expected[-1, 0], rtol=1e-12)


def test_a_class_that_has_not_come_leaves_the_others_alone():
    logits, codes, weights = make_codes(100, 3)
    recent = RecentLabels.empty(1, 3, stopped=False)
    recent.learn(logits, codes, weights)
    before, added = recent.correction, recent.with_class(1)
    after = added.correction
    assert_array_equal(after[:, 0], before[0, 0])
    assert after[1, 1] == 0
    assert np.all(np.diff(after[[0, 2, 3], 1][np.argsort(before[:, 1])]) >= 0)
    added.learn(np.insert(logits, 1, -3.0, axis=1), codes + (codes >= 1), weights)
    assert np.isfinite(added.correction).all()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_run_of_one_class_is_known_after_a_few_rows(stopped):
    logits, codes, weights = np.zeros((40, 4)), np.zeros((40, 1), int), np.ones((40, 1))
    recent = RecentLabels.empty(1, 4, stopped=stopped)
    p = probabilities(corrected_logits(logits, recent.learn(logits, codes, weights)[:-1]))[:, 0]
    assert_allclose(p[0], 0.25, rtol=1e-12)
    if stopped:
        assert_allclose(p, 0.25)
    else:
        assert np.all(np.diff(p) > 0)
        assert p[5] > 0.5
        assert p[-1] > 0.9


def sorted_stream():
    X, y, _ = make_stream(1, 1500, n_classes=3)
    order = np.argsort(y, kind="stable")
    return np.nan_to_num(X[order]), y[order]


def test_a_stream_sorted_by_class_is_foreseen():
    X, y = sorted_stream()
    losses = {
        half_life: log_loss(y, GLNClassifier(**PARAMS, half_life=half_life).progressive_predict_proba(X, y, [0, 1, 2]))
        for half_life in ("auto", None)
    }
    assert losses["auto"] < 0.7 * losses[None]


@pytest.mark.parametrize("labels", ["two", "three", "of two"])
def test_inspection_follows_the_last_labels(labels):
    X, y = sorted_stream()
    X, y = X[::2], y[::2]
    y = {"two": y > 1, "three": y, "of two": np.stack([y > 0, y > 1], axis=1)}[labels]
    model = GLNClassifier(**PARAMS)
    model.partial_fit(X, y, classes=np.unique(y))
    assert np.all(model._online.head.recent.correction[:, 1] != 0)
    local = local_coefficients(model, X[::50])
    p, stages = model.predict_proba(X[::50]), local.intercept + local.contributions.sum(axis=2)
    if labels == "three":
        assert_allclose(softmax(stages, axis=1), p, rtol=1e-5)
    else:
        assert_allclose(expit(stages), p if labels == "of two" else p[:, 1:], rtol=1e-5)


def test_the_scale_of_weights_does_not_matter_to_recent_labels():
    logits, codes, weights = make_codes(100, 3)
    one, other = (RecentLabels.empty(1, 3, stopped=False) for _ in range(2))
    assert_allclose(one.learn(logits, codes, weights), other.learn(logits, codes, 1000 * weights), rtol=1e-12)


@pytest.mark.parametrize("shuffle", [False, True])
def test_only_rows_in_order_have_recent_labels(shuffle):
    X, y = sorted_stream()
    model = GLNClassifier(**PARAMS, shuffle=shuffle, max_iter=1).fit(X, y)
    assert model._online.head.recent.stopped == shuffle


def test_balanced_weights_are_not_undone():
    """A rare class that weighs more is still foreseen as if it were not rare."""
    X, y, _ = make_stream(3, 3000, n_classes=2)
    X, rare = np.nan_to_num(X), y == 1
    keep = ~rare | (np.random.default_rng(0).random(3000) < 0.1)
    X, y = X[keep], y[keep]
    p = {
        half_life: GLNClassifier(**PARAMS, class_weight="balanced", half_life=half_life).progressive_predict_proba(
            X, y, [0, 1]
        )[500:, 1]
        for half_life in ("auto", None)
    }
    assert p["auto"].mean() == pytest.approx(p[None].mean(), abs=0.05)
