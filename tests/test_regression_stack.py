"""Regression's stack against SciPy's optimiser, and the spread against sums over rows, row by row."""

from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import ndtri
from scipy.stats import norm

from sklearn_gln._regression_stack import (
    FORGETTING,
    GAUSSIAN_SCORES,
    HEADROOM,
    MAX_SCORES,
    PRECISION,
    RIDGE,
    SMALLEST_LIMIT,
    RegressionStack,
    calibrate,
    fit_weights,
    gaussian_losses,
)
from sklearn_gln._spread import PRIOR, SMALLEST, Spread
from sklearn_gln.kernels import get_kernels

HOST = get_kernels("numpy")


def make_stack(y, *, n_layers=3, aggregation="stacked", is_calibrated=True):
    """A stack in the units of targets y (n, n_outputs), which have varied."""
    stack = RegressionStack.empty(y.shape[1], n_layers, aggregation, is_calibrated)
    stack.rescale(y, np.ones(len(y)), HOST)
    stack.update()
    return stack


def add_base_predictions(seed, n, n_outputs=2):
    """What `aggregate` gives of three layers, the second of which is best, in units of targets; these; weights."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, n_outputs))
    means = y[..., np.newaxis] + rng.normal(size=(n, n_outputs, 3)) * [1.0, 0.3, 2.0]
    log_variance = rng.normal(size=(n, n_outputs, 1))
    return np.concatenate([means, log_variance], axis=2), y, rng.choice([0.0, 0.5, 1.0, 3.0], size=n)


# The fits


@pytest.mark.parametrize("n", [1, 5, 400])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_weights_are_the_optimum_on_the_simplex(n, scale):
    residuals = np.random.default_rng(n).normal(size=(n, 4)) @ np.diag([1.0, 0.5, 3.0, 1.0]) + [0, 1, 0, 0]
    products = scale**2 * residuals.T @ residuals
    weights = fit_weights(products, np.full(4, 0.25))
    ridged = products + RIDGE * np.trace(products) / 4 * np.eye(4)
    expected = minimize(
        lambda w: w @ ridged @ w / np.trace(ridged),
        np.full(4, 0.25),
        bounds=[(0, None)] * 4,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14},
    ).x
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    assert_allclose(weights, expected, atol=1e-5)


def test_without_residuals_weights_stay():
    weights = np.array([0.2, 0.8])
    assert_array_equal(fit_weights(np.zeros((2, 2)), weights), weights)


def penalised_loss(at, log_variance, squares, sample_weight, centre, known):
    log_predicted = at[0] + at[1] * log_variance
    pull = at - centre
    return (
        sample_weight @ (log_predicted + squares * np.exp(-log_predicted)) + pull @ (known + np.diag(PRECISION)) @ pull
    ) / 2


def make_errors(seed, n, a, b):
    """Logarithms of raw variances, squared errors of variance exp(a + b ln raw), and weights: (n,) each."""
    rng = np.random.default_rng(seed)
    log_variance = rng.normal(size=n)
    squares = np.exp(a + b * log_variance) * rng.normal(size=n) ** 2
    return log_variance, squares, rng.choice([0.5, 1.0, 3.0], size=n)


@pytest.mark.parametrize("n", [1, 5, 400])
@pytest.mark.parametrize(("a", "b"), [(0, 1), (-3, 0.5), (8, 2), (0, -1)])
def test_calibration_is_the_optimum(n, a, b):
    data, known = make_errors(n, n, a, b), np.array([[3.0, 1.0], [1.0, 2.0]])
    centre = np.array([0.3, 0.7])
    fitted, information = calibrate(*data, centre, known)
    bounds = [(None, None), (0, None)]
    expected = minimize(penalised_loss, centre, (*data, centre, known), bounds=bounds, options={"ftol": 1e-15})
    assert penalised_loss(fitted, *data, centre, known) <= expected.fun + 1e-9 * abs(expected.fun)
    assert_allclose(fitted, expected.x, atol=1e-3)
    inputs = np.stack([np.ones(n), data[0]], axis=1)
    ratio = data[2] * data[1] * np.exp(-inputs @ fitted)
    assert_allclose(information, (inputs.T * ratio) @ inputs / 2, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("a", "b"), [(0, 1), (-3, 0.5), (5, 2)])
def test_calibration_finds_what_made_the_errors(a, b):
    fitted, _ = calibrate(*make_errors(0, 20_000, a, b), np.array([0.0, 1.0]), np.zeros((2, 2)))
    assert_allclose(fitted, [a, b], atol=0.05)


@pytest.mark.parametrize("squares", [0.0, 1e-300, 1e12, 1e25])
@pytest.mark.parametrize("log_variance", [-28.0, 0.0, 30.0])
@pytest.mark.parametrize("n", [1, 300])
def test_calibration_of_errors_out_of_the_ordinary(squares, log_variance, n):
    """A few errors far from the others, and from what was predicted."""
    data = np.linspace(log_variance, 1, n), np.where(np.arange(n) % 299 == 0, squares, 1.0), np.ones(n)
    fitted, information = calibrate(*data, np.array([0.0, 1.0]), np.zeros((2, 2)))
    assert np.isfinite(fitted).all()
    assert np.isfinite(information).all()
    assert fitted[1] >= 0


def test_calibration_without_weight_stays():
    centre = np.array([0.5, 2.0])
    fitted, information = calibrate(np.ones(3), np.ones(3), np.zeros(3), centre, np.eye(2))
    assert_array_equal(fitted, centre)
    assert_array_equal(information, 0)


# The stack


def test_an_update_holds_to_what_earlier_rows_said():
    stack = make_stack(add_base_predictions(9, 50)[1])
    products, information, calibration, scores = 0, np.zeros((2, 2, 2)), stack.calibration, [[], []]
    for seed in range(3):
        outputs, y, sample_weight = add_base_predictions(seed, 60)
        predicted = stack.predict(outputs)
        for rows in (slice(0, 20), slice(20, 60)):  # as in two calls
            assert_array_equal(stack.learn(outputs[rows], y[rows], sample_weight[rows]), predicted[rows])
        stack.update()
        exists = sample_weight > 0
        residuals = (outputs[..., :-1] - stack.standardize(y)[..., np.newaxis])[exists]
        sample_weight, log_variance = sample_weight[exists], outputs[exists, :, -1]
        products = FORGETTING * products + np.einsum("nkl,nkm,n->klm", residuals, residuals, sample_weight)
        for k in range(2):
            weights = fit_weights(products[k], np.full(3, 1 / 3))
            squares, known = (residuals[:, k] @ weights) ** 2, FORGETTING * information[k]
            expected, added = calibrate(log_variance[:, k], squares, sample_weight, calibration[k], known)
            information[k] = known + added
            assert_allclose(stack.weights[k], weights, atol=1e-9)
            assert_allclose(stack.calibration[k], expected, atol=1e-6)
            deviation = np.exp((stack.calibration[k] @ [np.ones(len(squares)), log_variance[:, k]]) / 2)
            scores[k] = [*scores[k], *(np.sqrt(squares) / deviation)]
            assert_allclose(stack.scores[k], scores[k])
        calibration = stack.calibration
        assert_allclose(stack.information, information, rtol=1e-6)
    before = deepcopy(stack)
    stack.update()  # no rows: nothing happens
    assert vars(stack).keys() == vars(before).keys()
    assert_array_equal(stack.calibration, before.calibration)
    assert np.all(stack.weights.argmax(axis=1) == 1)


@pytest.mark.parametrize("aggregation", ["layers", "last_layer", "neuron"])
@pytest.mark.parametrize("is_calibrated", [True, False])
def test_what_is_not_fitted_stays(aggregation, is_calibrated):
    outputs, y, sample_weight = add_base_predictions(0, 300)
    stack = make_stack(y, aggregation=aggregation, is_calibrated=is_calibrated)
    stack.learn(outputs, y, sample_weight)
    stack.update()
    assert_array_equal(stack.weights, [[1 / 3] * 3 if aggregation == "layers" else [0, 0, 1]] * 2)
    assert np.array_equal(stack.calibration, [[0, 1]] * 2) != is_calibrated
    assert len(stack.scores[0]) == np.count_nonzero(sample_weight)


@pytest.mark.parametrize(("factor", "shift"), [(1e-6, 0), (1e6, 5), (-1, 3)])
def test_units_of_the_target(factor, shift):
    """Rows before and after a change of units, which the targets' own factor and shift do not change."""
    outputs, y, sample_weight = add_base_predictions(0, 400)
    stacks = []
    for targets in (y, abs(factor) * y + shift):
        stack = make_stack(targets[:10])
        stack.learn(outputs[:200], targets[:200], sample_weight[:200])
        stack.rescale(targets[:200], np.ones(200), HOST)
        stack.update()
        stacks.append(stack)
    mean, variance = np.moveaxis(stacks[0].predict(outputs), 2, 0)
    expected = np.stack([abs(factor) * mean + shift, factor**2 * variance], axis=2)
    assert_allclose(stacks[1].predict(outputs), expected, rtol=1e-6, atol=1e-6 * abs(factor))
    assert_allclose(stacks[1].scale, abs(factor) * y[:200].std(axis=0))
    assert_allclose(stacks[1].limits, HEADROOM * np.maximum(SMALLEST_LIMIT, stacks[0].largest), rtol=1e-6)


def test_rescaling_keeps_what_is_known():
    """Residuals and variances in new units are those of predictions that were made in the old ones."""
    outputs, y, sample_weight = add_base_predictions(0, 200)
    stack, rescaled = make_stack(y[:100]), make_stack(y[:100])
    for it in (stack, rescaled):
        it.learn(outputs, y, sample_weight)
        it.update()
    rescaled.rescale(3 * y + 1, np.ones(200), HOST)
    factor = stack.scale / rescaled.scale
    assert_allclose(rescaled.products, stack.products * factor[:, np.newaxis, np.newaxis] ** 2)
    assert_array_equal(rescaled.weights, stack.weights)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e9, 1e-150])
def test_a_target_that_has_not_varied_teaches_nothing(value):
    outputs, y, _ = add_base_predictions(0, 60, n_outputs=1)
    constant = np.full((60, 1), value)
    stack = make_stack(constant)
    assert_allclose(stack.scale, abs(value) if abs(value) > 1e-100 else 1)
    stack.learn(outputs, constant, np.ones(60))
    stack.update()
    assert_array_equal(stack.calibration, [[0, 1]])
    assert_array_equal(stack.weights, [[1 / 3] * 3])
    assert len(stack.scores[0]) == 0
    stack.learn(outputs, constant + (abs(value) + 1) * y, np.ones(60))  # it varies, but was not yet expected to
    stack.update()
    assert len(stack.scores[0]) == 0
    stack.learn(outputs, constant + (abs(value) + 1) * y, np.ones(60))
    stack.update()
    assert len(stack.scores[0]) == 60


def test_restart():
    outputs, y, sample_weight = add_base_predictions(0, 300)
    stack = make_stack(y)
    stack.learn(outputs, y, sample_weight)
    stack.restart()
    assert stack.pending == []
    assert not stack.products.any()
    assert not stack.information.any()
    assert [len(scores) for scores in stack.scores] == [0, 0]
    assert np.all(stack.weights.argmax(axis=1) == 1)  # what they were fitted to


@pytest.mark.parametrize("coverage", [0.01, 0.5, 0.9, 0.999])
def test_quantiles(coverage):
    stack, gaussian = make_stack(np.arange(4.0).reshape(2, 2)), ndtri((1 + coverage) / 2)
    assert_allclose(stack.quantile(coverage), [gaussian] * 2)
    scores = np.abs(np.random.default_rng(0).standard_t(3, size=(2, MAX_SCORES)))
    stack.scores = [scores[0], scores[1, :9]]
    for got, known in zip(stack.quantile(coverage), stack.scores, strict=True):
        share = min(1, coverage * (len(known) + 1) / len(known))
        expected = len(known) * np.quantile(known, share) + GAUSSIAN_SCORES * gaussian
        assert got == pytest.approx(expected / (len(known) + GAUSSIAN_SCORES))


def test_scores_are_those_of_the_latest_rows():
    outputs, y, _ = add_base_predictions(0, 700)
    stack = make_stack(y)
    for _ in range(3):
        stack.learn(outputs, y, np.ones(700))
        stack.update()
    latest = np.abs(y - stack.predict(outputs)[..., 0]) / np.sqrt(stack.predict(outputs)[..., 1])
    assert [len(scores) for scores in stack.scores] == [MAX_SCORES] * 2
    assert_allclose(np.stack(stack.scores)[:, -700:], latest.T)


def test_losses():
    rng = np.random.default_rng(0)
    predictions, y = np.abs(rng.normal(size=(50, 2, 2))), rng.normal(size=(50, 2))
    each = -norm.logpdf(y, predictions[..., 0], np.sqrt(predictions[..., 1]))
    assert_allclose(gaussian_losses(predictions, y), each.sum(axis=1))
    stack = make_stack(5 * y)
    unbounded = stack.bounded_losses(predictions, y, np.inf)
    assert_allclose(unbounded, (each - np.log(np.sqrt(2 * np.pi) * stack.scale)).mean(axis=1))
    bounded = stack.bounded_losses(predictions, y, 0.5)
    assert np.all(bounded <= unbounded)
    assert np.any(bounded < unbounded)


# The spread


def test_the_spread_as_sums_over_rows(backend):
    rng = np.random.default_rng(0)
    n, n_outputs, n_neurons, n_rows = 40, 2, 3, 5
    rows = rng.integers(1, n_rows, size=(n, 1, n_neurons))  # shared by outputs; row 0 stands for unseen contexts
    outputs = rng.normal(size=(n, n_outputs, n_neurons))
    targets, sample_weight = rng.normal(size=(n, n_outputs)), rng.choice([0.0, 0.5, 2.0], size=n)
    with backend.scope("cpu"):
        given = [backend.asarray(array) for array in (rows, outputs, targets, sample_weight[:, np.newaxis])]
        spread = Spread.empty(np.zeros((n_outputs, n_neurons, n_rows)))
        for name in spread.by_row:
            setattr(spread, name, backend.asarray(getattr(spread, name)))
        disagreement = outputs.var(axis=2)
        assert_allclose(spread.variance(*given[:2], backend), 1 + disagreement)  # before anything is known
        spread.update(*given, backend)
        spread.refresh(backend)
        got = spread.variance(*given[:2], backend)

    errors, visits = np.zeros((2, n_outputs, n_neurons, n_rows))
    for t, k, j in np.ndindex(n, n_outputs, n_neurons):
        errors[k, j, rows[t, 0, j]] += sample_weight[t] * (outputs[t, k, j] - targets[t, k]) ** 2
        visits[k, j, rows[t, 0, j]] += sample_weight[t]
    mean_square = errors.sum(axis=(1, 2)) / visits.sum(axis=(1, 2))
    expected = np.empty((n, n_outputs))
    for t, k in np.ndindex(n, n_outputs):
        own = [(k, j, rows[t, 0, j]) for j in range(n_neurons)]
        means = [(errors[at] + PRIOR * mean_square[k]) / (visits[at] + PRIOR) for at in own]
        expected[t, k] = np.exp(np.mean(np.log(means))) + disagreement[t, k]
    assert_allclose(spread.mean_square, mean_square)
    assert_allclose(got, expected)


def test_the_spread_of_no_errors_and_of_no_rows():
    spread = Spread.empty(np.zeros((2, 1, 3)))
    spread.refresh(HOST)
    assert_array_equal(spread.mean_square, 1)  # nothing is known
    rows, outputs = np.ones((4, 2, 1), int), np.zeros((4, 2, 1))
    spread.update(rows, outputs, np.array([[0.0, 2.0]] * 4), np.ones((4, 1)), HOST)
    spread.refresh(HOST)
    assert_allclose(spread.mean_square, [SMALLEST, 4])
    before = spread.variance(rows, outputs, HOST)
    assert_allclose(before[:, 1], 4)
    assert np.all(before[:, 0] > 0)


def test_the_spread_forgets_how_much_it_has_seen():
    spread = Spread.empty(np.zeros((1, 1, 3)))
    rows, outputs = np.ones((4, 1, 1), int), np.zeros((4, 1, 1))
    spread.update(rows, outputs, np.full((4, 1), 2.0), np.ones((4, 1)), HOST)
    spread.forget(0.25)
    assert_array_equal(spread.errors[0, 0], [0, 4, 0])
    assert_array_equal(spread.visits[0, 0], [0, 1, 0])
