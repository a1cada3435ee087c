"""Heads: what they keep of the samples since an event, what they then fit, and what they promise along a stream."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax
from sklearn.metrics import log_loss

from sklearn_gln import GLNClassifier
from sklearn_gln._calibration import MAX_SCORES, calibrate
from sklearn_gln._head import LayersHead, PlainHead, StackedHead, TargetHead, layer_means
from sklearn_gln._network import LayerOutputs
from sklearn_gln._stack import FORGETTING, PRECISION, fit_logit_weights, fit_mean_weights
from sklearn_gln._target_scale import HEADROOM, SMALLEST_LIMIT
from sklearn_gln.kernels import get_kernels
from tests.helpers import assert_same_object, make_layer_logits, make_stream

HOST = get_kernels("numpy")

# What layers predict


def make_layers(backend, seed=0, n=40, n_outputs=2):
    """Outputs (n, n_outputs, n_neurons) of three layers: of NumPy, and of the backend."""
    rng = np.random.default_rng(seed)
    layers = [rng.normal(size=(n, n_outputs, n_neurons)) for n_neurons in (1, 5, 3)]
    return layers, list(map(backend.asarray, layers))


def test_layers_are_gathered_as_their_mean_neurons(backend):
    with backend.scope("cpu"):
        layers, given = make_layers(backend)
        means = np.stack([layer.mean(axis=2) for layer in layers], axis=2)
        assert_allclose(layer_means(given, backend), means)
        heads = LayersHead(3), PlainHead.empty(3, "layers"), PlainHead.empty(3, "last_layer"), StackedHead.empty(3, 2)
        for head, first in zip(heads, (0, 0, 2, 0), strict=True):
            gathered = head.gather(LayerOutputs(given, 0.0), backend)
            assert_allclose(gathered, means[:, :, first:])
            assert head.untrained(40, 2).shape == gathered.shape
            assert not head.untrained(40, 2).any()


def test_a_target_is_as_variable_as_slots_tell_and_neurons_disagree(backend):
    head, within = TargetHead.empty(2, 3, "stacked", True), np.random.default_rng(1).random((40, 2))
    with backend.scope("cpu"):
        layers, given = make_layers(backend)
        gathered = head.gather(LayerOutputs(given, within), backend)
    assert_allclose(gathered[..., :-1], np.stack([layer.mean(axis=2) for layer in layers], axis=2))
    assert_allclose(gathered[..., -1], np.log(within + layers[-1].var(axis=2)))
    assert head.untrained(40, 2).shape == gathered.shape
    assert_array_equal(head.predict(head.untrained(40, 2)), [[[0, 1]] * 2] * 40)


@pytest.mark.parametrize(("aggregation", "shares"), [("layers", [1 / 3] * 3), ("last_layer", [0, 0, 1])])
def test_a_plain_head_has_shares_that_stay(aggregation, shares):
    head, rng = PlainHead.empty(3, aggregation), np.random.default_rng(0)
    gathered, codes = rng.normal(size=(30, 2, np.count_nonzero(shares))), rng.integers(2, size=30)
    before = deepcopy(head)
    assert_array_equal(head.learn(gathered, codes, np.ones(30)), gathered.mean(axis=2))
    head.update()
    assert_same_object(head, before)
    assert_array_equal(head.shares(), [shares])
    assert_array_equal(head.unit, 1)
    assert_array_equal(head.origin, 0)


# Classes


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_the_stack_calibrates_and_chooses(n_outputs):
    logits, codes, sample_weight = make_layer_logits(1, 3000, n_outputs=n_outputs)
    head = StackedHead.empty(4, max(n_outputs, 2))
    head.learn(logits[:2000], codes[:2000], sample_weight[:2000])
    head.update()
    weights = head.stack.weights
    assert_allclose(weights[3], 0, atol=1e-12)
    assert_array_equal(head.shares(), [weights[:4]])

    def loss(weights):
        output = logits[2000:] @ weights
        p = softmax(output, axis=1) if n_outputs > 1 else np.hstack([expit(-output), expit(output)])
        return log_loss(codes[2000:], p)

    assert loss(weights[:4]) < min(loss(one) for one in np.eye(4))


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_the_prior_is_the_frequency_of_classes_so_far(n_outputs):
    n_classes = max(n_outputs, 2)
    head = StackedHead.empty(2, n_classes)
    head.stack.weights = np.array([0.0, 0.0, 1.0])
    codes, sample_weight = np.array([1, 1, 0, 1]), np.array([1.0, 2.0, 0.0, 0.5])
    layer_logits = np.zeros((4, n_outputs, 2))
    output = head.learn(layer_logits, codes, sample_weight)
    counts = np.ones((5, n_classes))
    counts[1:, 1] += [1, 3, 3, 3.5]
    expected = np.log(counts) if n_outputs > 1 else np.log(counts[:, 1:] / counts[:, :1])
    assert_allclose(output, expected[:4])
    assert_allclose(head.predict(layer_logits), np.tile(expected[4], (4, 1)))
    assert_allclose(head.origin, expected[4])


def test_an_update_holds_to_what_earlier_rows_said():
    head, centre, information = StackedHead.empty(4, 3), None, np.zeros((5, 5))
    for seed in range(3):
        logits, codes, sample_weight = make_layer_logits(seed, 50)
        before = head.class_weight.copy()
        head.learn(logits[:20], codes[:20], sample_weight[:20])
        head.learn(logits[20:], codes[20:], sample_weight[20:])
        centre, information = head.stack.weights, FORGETTING * information
        head.update()
        counts = np.vstack([before, before + np.cumsum(np.eye(3)[codes] * sample_weight[:, np.newaxis], axis=0)])
        inputs = np.concatenate([logits, np.log(counts[:-1] + 1)[:, :, np.newaxis]], axis=2)
        expected, added = fit_logit_weights(inputs, codes, sample_weight, centre, information + PRECISION * np.eye(5))
        information = information + added
        assert_allclose(head.stack.weights, expected, atol=1e-9)
        assert_allclose(head.stack.information, information, rtol=1e-7, atol=1e-7)
    head.update()  # no rows: nothing happens
    assert_allclose(head.stack.weights, expected, atol=1e-9)


def test_forgetting_leaves_the_weights():
    head = StackedHead.empty(4, 3)
    head.learn(*make_layer_logits(8, 50))
    head.update()
    before = head.stack.weights, head.stack.information, head.class_weight
    head.forget(0.25)
    after = head.stack.weights, head.stack.information, head.class_weight
    for got, earlier, factor in zip(after, before, (1, 0.25, 0.25), strict=True):
        assert_allclose(got, factor * earlier)


def test_a_few_rows_wait():
    head, initial = StackedHead.empty(4, 3), StackedHead.empty(4, 3).stack.weights
    logits, codes, _ = make_layer_logits(6, 16)
    for rows in (slice(0, 3), slice(3, 15)):
        head.learn(logits[rows], codes[rows], np.ones(16)[rows])
        head.update()
        assert_array_equal(head.stack.weights, initial)
    head.learn(logits[15:], codes[15:], np.ones(1))
    head.update()
    assert np.any(head.stack.weights != initial)
    X = np.array([[0.0], [1.0], [2.0], [3.0]])
    assert GLNClassifier(random_state=0).fit(X, [0, 0, 1, 1]).score(X, [0, 0, 1, 1]) == 1


def test_a_label_is_a_classification_in_two_classes():
    logits, codes, sample_weight = make_layer_logits(7, 100, n_outputs=1)
    two_classes, one_label, two_labels = (StackedHead.empty(4, *shape) for shape in ((2,), (1, 2), (2, 2)))
    for _ in range(2):
        expected = two_classes.learn(logits, codes, sample_weight)
        assert_allclose(one_label.learn(logits, codes[:, np.newaxis] == 1, sample_weight), expected)
        labels = np.column_stack([codes, 1 - codes]) == 1
        got = two_labels.learn(np.concatenate([logits, -logits], axis=1), labels, sample_weight / 2)
        assert_allclose(got[:, 1], -got[:, 0])
        for head in (two_classes, one_label, two_labels):
            head.update()
        assert_allclose(one_label.stack.weights, two_classes.stack.weights, atol=1e-9)
        assert_allclose(one_label.predict(logits), two_classes.predict(logits), atol=1e-9)
        assert_allclose(two_labels.class_weight, one_label.class_weight[:, [[0, 1], [1, 0]]][0] / 2)


# Targets


def make_head(y, *, n_layers=3, aggregation="stacked", is_calibrated=True):
    """A head in the units of targets y (n, n_outputs), which have varied."""
    head = TargetHead.empty(y.shape[1], n_layers, aggregation, is_calibrated)
    head.rebuild(y, np.ones(len(y)), HOST)
    head.scale.update()
    return head


def make_gathered(seed, n, n_outputs=2):
    """What a head gathers of three layers, the second of which is best, in units of targets; these; weights."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, n_outputs))
    means = y[..., np.newaxis] + rng.normal(size=(n, n_outputs, 3)) * [1.0, 0.3, 2.0]
    log_variance = rng.normal(size=(n, n_outputs, 1))
    return np.concatenate([means, log_variance], axis=2), y, rng.choice([0.0, 0.5, 1.0, 3.0], size=n)


def test_an_update_of_targets_holds_to_what_earlier_rows_said():
    head = make_head(make_gathered(9, 50)[1])
    products, information, coefficients, scores = 0, np.zeros((2, 2, 2)), head.calibration.coefficients, [[], []]
    for seed in range(3):
        gathered, y, sample_weight = make_gathered(seed, 60)
        predicted = head.predict(gathered)
        for rows in (slice(0, 20), slice(20, 60)):  # as in two calls
            assert_array_equal(head.learn(gathered[rows], y[rows], sample_weight[rows]), predicted[rows])
        head.update()
        exists = sample_weight > 0
        residuals = (gathered[..., :-1] - head.scale.standardize(y)[..., np.newaxis])[exists]
        sample_weight, log_variance = sample_weight[exists], gathered[exists, :, -1]
        products = FORGETTING * products + np.einsum("nkl,nkm,n->klm", residuals, residuals, sample_weight)
        for k in range(2):
            weights = fit_mean_weights(products[k], np.full(3, 1 / 3))
            errors, known = residuals[:, k] @ weights, FORGETTING * information[k]
            expected, added = calibrate(log_variance[:, k], errors**2, sample_weight, coefficients[k], known)
            information[k] = known + added
            assert_allclose(head.stack.weights[k], weights, atol=1e-9)
            assert_allclose(head.calibration.coefficients[k], expected, atol=1e-6)
            calibrated = head.calibration.coefficients[k] @ [np.ones(len(errors)), log_variance[:, k]]
            scores[k] = [*scores[k], *(-errors / np.exp(calibrated / 2))]
            assert_allclose(head.scores.of_output[k], scores[k])
        coefficients = head.calibration.coefficients
        assert_allclose(head.calibration.information, information, rtol=1e-6)
    before = deepcopy(head)
    head.update()  # no rows: nothing happens
    assert_same_object(head, before)
    assert np.all(head.stack.weights.argmax(axis=1) == 1)
    assert_array_equal(head.shares(), head.stack.weights)


@pytest.mark.parametrize("aggregation", ["layers", "last_layer", "neuron"])
@pytest.mark.parametrize("is_calibrated", [True, False])
def test_what_is_not_fitted_stays(aggregation, is_calibrated):
    gathered, y, sample_weight = make_gathered(0, 300)
    head = make_head(y, aggregation=aggregation, is_calibrated=is_calibrated)
    head.learn(gathered, y, sample_weight)
    head.update()
    assert_array_equal(head.stack.weights, [[1 / 3] * 3 if aggregation == "layers" else [0, 0, 1]] * 2)
    assert np.array_equal(head.calibration.coefficients, [[0, 1]] * 2) != is_calibrated
    assert len(head.scores.of_output[0]) == np.count_nonzero(sample_weight)


@pytest.mark.parametrize(("factor", "shift"), [(1e-6, 0), (1e6, 5), (-1, 3)])
def test_units_of_the_target(factor, shift):
    """Rows before and after a change of units, which the targets' own factor and shift do not change."""
    gathered, y, sample_weight = make_gathered(0, 400)
    heads = []
    for targets in (y, abs(factor) * y + shift):
        head = make_head(targets[:10])
        head.learn(gathered[:200], targets[:200], sample_weight[:200])
        head.rebuild(targets[:200], np.ones(200), HOST)
        head.update()
        heads.append(head)
    mean, variance = np.moveaxis(heads[0].predict(gathered), 2, 0)
    expected = np.stack([abs(factor) * mean + shift, factor**2 * variance], axis=2)
    assert_allclose(heads[1].predict(gathered), expected, rtol=1e-6, atol=1e-6 * abs(factor))
    assert_allclose(heads[1].unit, abs(factor) * y[:200].std(axis=0))
    assert_allclose(heads[1].origin, abs(factor) * y[:200].mean(axis=0) + shift)
    assert_allclose(heads[1].limits, HEADROOM * np.maximum(SMALLEST_LIMIT, heads[0].scale.largest), rtol=1e-6)


def test_a_rebuild_keeps_what_is_known():
    """Residuals and variances in new units are those of predictions that were made in the old ones."""
    gathered, y, sample_weight = make_gathered(0, 200)
    head, rescaled = make_head(y[:100]), make_head(y[:100])
    for it in (head, rescaled):
        it.learn(gathered, y, sample_weight)
        it.update()
        it.learn(gathered, y, sample_weight)  # these wait
    rescaled.rebuild(3 * y + 1, np.ones(200), HOST)
    factor = head.unit / rescaled.unit
    assert_allclose(rescaled.stack.products, head.stack.products * factor[:, np.newaxis, np.newaxis] ** 2)
    assert_array_equal(rescaled.stack.weights, head.stack.weights)
    (got,), (waiting,) = rescaled.pending, head.pending
    assert_allclose(got.residuals, waiting.residuals * factor[:, np.newaxis])
    assert_allclose(got.log_variance, waiting.log_variance + 2 * np.log(factor))
    assert_array_equal(got.weight, waiting.weight)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e9, 1e-150])
def test_a_target_that_has_not_varied_teaches_nothing(value):
    gathered, y, _ = make_gathered(0, 60, n_outputs=1)
    constant = np.full((60, 1), value)
    head = make_head(constant)
    assert_allclose(head.unit, abs(value) if abs(value) > 1e-100 else 1)
    head.learn(gathered, constant, np.ones(60))
    head.update()
    assert_allclose(head.calibration.coefficients, [[-np.log(61), 0]])  # of 60 rows alike
    assert_array_equal(head.stack.weights, [[1 / 3] * 3])
    assert len(head.scores.of_output[0]) == 0
    head.learn(gathered, constant + (abs(value) + 1) * y, np.ones(60))  # it varies, but was not yet expected to
    head.update()
    assert_array_equal(head.calibration.coefficients, [[0, 1]])
    assert len(head.scores.of_output[0]) == 0
    head.learn(gathered, constant + (abs(value) + 1) * y, np.ones(60))
    head.update()
    assert len(head.scores.of_output[0]) == 60


def test_of_a_wild_target_errors_count_no_more_than_it_does():
    gathered, y, _ = make_gathered(0, 200)
    head = make_head(y)
    wild = y[:2].copy()
    wild[0, 0] = 1e9
    head.learn(gathered[:2], wild, np.ones(2))
    (waiting,) = head.pending
    target = head.scale.standardize(wild)
    assert np.abs(target).max() < 4  # by its deviations it would be 1e9
    assert_allclose(waiting.residuals, gathered[:2, :, :-1] - target[..., np.newaxis])
    assert_array_equal(head.targets(wild, np.arange(2)), target)
    limits = head.limits
    head.follow()
    assert_allclose(head.limits, limits)


def test_restart():
    gathered, y, sample_weight = make_gathered(0, 300)
    head = make_head(y)
    head.learn(gathered, y, sample_weight)
    head.restart()
    assert head.pending == []
    assert not head.stack.products.any()
    assert not head.calibration.information.any()
    assert [len(scores) for scores in head.scores.of_output] == [0, 0]
    assert np.all(head.stack.weights.argmax(axis=1) == 1)  # what they were fitted to


def test_scores_are_those_of_the_latest_rows():
    gathered, y, _ = make_gathered(0, 700)
    head = make_head(y)
    for _ in range(3):
        head.learn(gathered, y, np.ones(700))
        head.update()
    latest = (y - head.predict(gathered)[..., 0]) / np.sqrt(head.predict(gathered)[..., 1])
    assert [len(scores) for scores in head.scores.of_output] == [MAX_SCORES] * 2
    assert_allclose(np.stack(head.scores.of_output)[:, -700:], latest.T)


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
    got, expected = parts._online.head, whole._online.head
    for name in ("weights", "information"):
        assert_allclose(getattr(got.stack, name), getattr(expected.stack, name), rtol=1e-8, atol=1e-8)
    assert_allclose(got.class_weight, expected.class_weight, rtol=1e-8, atol=1e-8)
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
    heads = [GLNClassifier(**params, max_iter=n).fit(X, y, weights)._online.head for n in (2, 5)]
    assert_array_equal(heads[0].stack.weights, heads[1].stack.weights)
    assert_array_equal(heads[0].class_weight, heads[1].class_weight)
    assert heads[0].pending == heads[1].pending == []


def test_a_half_life_forgets_the_frequency_of_classes():
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(1300, 3)), rng.integers(3, size=1300)
    stream = GLNClassifier(**STREAM, half_life=200).partial_fit(X, y, np.arange(3))
    kept = 0.5 ** (256 / 200)
    forgotten = np.maximum(0, 1300 // 256 - np.maximum(np.arange(1300) // 256, 1))  # how often, by 512, 768, ...
    assert_allclose(stream._online.head.class_weight, np.bincount(y, kept**forgotten))


def test_classes_without_signal_get_their_frequency():
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(600, 5)), rng.choice(3, p=[0.7, 0.2, 0.1], size=600)
    p = GLNClassifier(random_state=0).fit(X, y).predict_proba(rng.normal(size=(500, 5)))
    assert_allclose(p.mean(axis=0), [0.7, 0.2, 0.1], atol=0.06)
    assert p.std(axis=0).max() < 0.1
