"""The stack: its fit against SciPy's optimiser, and what it promises along a stream."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax
from sklearn.metrics import log_loss

from sklearn_gln import GLNClassifier
from sklearn_gln._stack import FORGETTING, PRECISION, Stack, fit_weights
from tests.helpers import make_stream


def make_layer_logits(seed, n, *, n_outputs=3, scales=(3.0, 1.0, 0.0, -1.0)):
    """Logits (n, n_outputs, n_layers) of layers that are overconfident, noisy, useless and misled; class numbers."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, n_outputs))
    p = softmax(1.5 * truth, axis=1) if n_outputs > 1 else np.hstack([expit(-truth), expit(truth)])
    codes = (rng.random((n, 1)) > np.cumsum(p, axis=1)[:, :-1]).sum(axis=1)
    noise = rng.normal(size=(n, n_outputs, len(scales)))
    return truth[:, :, np.newaxis] * scales + noise, codes, rng.choice([0.0, 0.5, 1.0, 3.0], size=n)


def penalised_loss(weights, inputs, codes, sample_weight, centre, precision):
    log_p = log_softmax(inputs @ weights, axis=1)[np.arange(len(codes)), codes]
    return -sample_weight @ log_p + (weights - centre) @ precision @ (weights - centre) / 2


@pytest.mark.parametrize("n", [1, 5, 400])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_fit_is_the_optimum(n, scale):
    inputs, codes, sample_weight = make_layer_logits(n, n)
    inputs = scale * inputs
    root = np.random.default_rng(n).normal(size=(4, 4))
    centre, precision = np.array([0.5, 0.0, 1.0, 0.2]), root @ root.T + 0.1 * np.eye(4)
    arguments = (inputs, codes, sample_weight, centre, precision)
    weights, information = fit_weights(*arguments)
    expected = minimize(penalised_loss, centre, arguments, bounds=[(0, None)] * 4, options={"ftol": 1e-15})
    assert np.all(weights >= 0)
    assert penalised_loss(weights, *arguments) <= expected.fun * (1 + 1e-12) + 1e-12
    assert_allclose(weights, expected.x, atol=1e-3)
    p = softmax(inputs @ weights, axis=1)
    deviations = inputs - np.einsum("tc,tcl->tl", p, inputs)[:, np.newaxis]
    assert_allclose(information, np.einsum("t,tc,tcl,tcm->lm", sample_weight, p, deviations, deviations), atol=1e-8)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_the_stack_calibrates_and_chooses(n_outputs):
    logits, codes, sample_weight = make_layer_logits(1, 3000, n_outputs=n_outputs)
    stack = Stack.empty(4, max(n_outputs, 2))
    stack.learn(logits[:2000], codes[:2000], sample_weight[:2000])
    stack.update()
    assert_allclose(stack.weights[3], 0, atol=1e-12)

    def loss(weights):
        output = logits[2000:] @ weights
        p = softmax(output, axis=1) if n_outputs > 1 else np.hstack([expit(-output), expit(output)])
        return log_loss(codes[2000:], p)

    assert loss(stack.weights[:4]) < min(loss(one) for one in np.eye(4))


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_the_prior_is_the_frequency_of_classes_so_far(n_outputs):
    n_classes = max(n_outputs, 2)
    stack = Stack.empty(2, n_classes)
    stack.weights = np.array([0.0, 0.0, 1.0])
    codes, sample_weight = np.array([1, 1, 0, 1]), np.array([1.0, 2.0, 0.0, 0.5])
    layer_logits = np.zeros((4, n_outputs, 2))
    output = stack.learn(layer_logits, codes, sample_weight)
    counts = np.ones((5, n_classes))
    counts[1:, 1] += [1, 3, 3, 3.5]
    expected = np.log(counts) if n_outputs > 1 else np.log(counts[:, 1:] / counts[:, :1])
    assert_allclose(output, expected[:4])
    assert_allclose(stack.predict(layer_logits), np.tile(expected[4], (4, 1)))


def test_an_update_holds_to_what_earlier_rows_said():
    stack, centre, information = Stack.empty(4, 3), None, np.zeros((5, 5))
    for seed in range(3):
        logits, codes, sample_weight = make_layer_logits(seed, 50)
        before = stack.class_weight.copy()
        stack.learn(logits[:20], codes[:20], sample_weight[:20])
        stack.learn(logits[20:], codes[20:], sample_weight[20:])
        centre, information = stack.weights, FORGETTING * information
        stack.update()
        counts = np.vstack([before, before + np.cumsum(np.eye(3)[codes] * sample_weight[:, np.newaxis], axis=0)])
        inputs = np.concatenate([logits, np.log(counts[:-1] + 1)[:, :, np.newaxis]], axis=2)
        expected, added = fit_weights(inputs, codes, sample_weight, centre, information + PRECISION * np.eye(5))
        information = information + added
        assert_allclose(stack.weights, expected, atol=1e-9)
        assert_allclose(stack.information, information, rtol=1e-7, atol=1e-7)
    stack.update()  # no rows: nothing happens
    assert_allclose(stack.weights, expected, atol=1e-9)


def test_forgetting_leaves_the_weights():
    stack = Stack.empty(4, 3)
    stack.learn(*make_layer_logits(8, 50))
    stack.update()
    before = stack.weights, stack.information, stack.class_weight
    stack.forget(0.25)
    for got, earlier, factor in zip(
        (stack.weights, stack.information, stack.class_weight), before, (1, 0.25, 0.25), strict=True
    ):
        assert_allclose(got, factor * earlier)


def test_a_few_rows_wait():
    stack = Stack.empty(4, 3)
    logits, codes, _ = make_layer_logits(6, 16)
    for rows in (slice(0, 3), slice(3, 15)):
        stack.learn(logits[rows], codes[rows], np.ones(16)[rows])
        stack.update()
        assert_array_equal(stack.weights, Stack.empty(4, 3).weights)
    stack.learn(logits[15:], codes[15:], np.ones(1))
    stack.update()
    assert np.any(stack.weights != Stack.empty(4, 3).weights)
    X = np.array([[0.0], [1.0], [2.0], [3.0]])
    assert GLNClassifier(random_state=0).fit(X, [0, 0, 1, 1]).score(X, [0, 0, 1, 1]) == 1


def test_a_label_is_a_classification_in_two_classes():
    logits, codes, sample_weight = make_layer_logits(7, 100, n_outputs=1)
    two_classes, one_label, two_labels = Stack.empty(4, 2), Stack.empty(4, 1, 2), Stack.empty(4, 2, 2)
    for _ in range(2):
        expected = two_classes.learn(logits, codes, sample_weight)
        assert_allclose(one_label.learn(logits, codes[:, np.newaxis] == 1, sample_weight), expected)
        labels = np.column_stack([codes, 1 - codes]) == 1
        got = two_labels.learn(np.concatenate([logits, -logits], axis=1), labels, sample_weight / 2)
        assert_allclose(got[:, 1], -got[:, 0])
        for stack in (two_classes, one_label, two_labels):
            stack.update()
        assert_allclose(one_label.weights, two_classes.weights, atol=1e-9)
        assert_allclose(one_label.predict(logits), two_classes.predict(logits), atol=1e-9)
        assert_allclose(two_labels.class_weight, one_label.class_weight[:, [[0, 1], [1, 0]]][0] / 2)


# Within the estimator

STREAM = {"layer_sizes": (4, 3), "context_dim": 3, "dtype": "float64", "random_state": 3}


@pytest.mark.parametrize("half_life", [None, 400])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_any_split_of_a_stream_gives_the_same_stack(n_classes, half_life):
    X, y, weights = make_stream(1, 2300, n_classes=n_classes)
    whole, parts = (GLNClassifier(**STREAM, half_life=half_life) for _ in range(2))
    probabilities = whole.progressive_predict_proba(X, y, np.arange(n_classes), weights)
    cuts = [1, 2, 3, 90, 91, 700, 2048, 2100]
    chunks = np.split(np.arange(len(X)), cuts)
    got = [parts.progressive_predict_proba(X[rows], y[rows], np.arange(n_classes), weights[rows]) for rows in chunks]
    assert_allclose(np.concatenate(got), probabilities, rtol=1e-9, atol=1e-9)
    for name in ("weights", "information", "class_weight"):
        assert_allclose(getattr(parts._online.stack, name), getattr(whole._online.stack, name), rtol=1e-8, atol=1e-8)
    assert_array_equal(pickle.loads(pickle.dumps(whole)).predict_proba(X), whole.predict_proba(X))


def test_a_stream_is_better_calibrated_than_by_the_mean_of_layers():
    X, y, _ = make_stream(2, 3000)
    losses = {}
    for aggregation in ("stacked", "layers"):
        stream = GLNClassifier(random_state=0, aggregation=aggregation).partial_fit(X, y, np.arange(3))
        losses[aggregation] = stream.progressive_loss_
    assert losses["stacked"] < losses["layers"]


@pytest.mark.parametrize("half_life", [None, 100])
def test_later_epochs_do_not_move_the_stack(half_life):
    X, y, weights = make_stream(3, 300)
    params = {**STREAM, "half_life": half_life}
    stacks = [GLNClassifier(**params, max_iter=n).fit(X, y, weights)._online.stack for n in (2, 5)]
    assert_array_equal(stacks[0].weights, stacks[1].weights)
    assert_array_equal(stacks[0].class_weight, stacks[1].class_weight)
    assert stacks[0].pending == stacks[1].pending == []


def test_a_half_life_forgets_the_frequency_of_classes():
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(1300, 3)), rng.integers(3, size=1300)
    stream = GLNClassifier(**STREAM, half_life=200).partial_fit(X, y, np.arange(3))
    kept = 0.5 ** (256 / 200)
    forgotten = np.maximum(0, 1300 // 256 - np.maximum(np.arange(1300) // 256, 1))  # how often, by 512, 768, ...
    assert_allclose(stream._online.stack.class_weight, np.bincount(y, kept**forgotten))


def test_classes_without_signal_get_their_frequency():
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(600, 5)), rng.choice(3, p=[0.7, 0.2, 0.1], size=600)
    p = GLNClassifier(random_state=0).fit(X, y).predict_proba(rng.normal(size=(500, 5)))
    assert_allclose(p.mean(axis=0), [0.7, 0.2, 0.1], atol=0.06)
    assert p.std(axis=0).max() < 0.1
