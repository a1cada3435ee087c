"""The layers' weights: both fits against SciPy's optimiser, and how a stack holds to what it knows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from sklearn_gln._stack import (
    FORGETTING,
    PRECISION,
    RIDGE,
    LogitStack,
    MeanStack,
    fit_logit_weights,
    fit_mean_weights,
)
from tests.helpers import make_layer_logits

# Logits


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
    weights, information = fit_logit_weights(*arguments)
    expected = minimize(penalised_loss, centre, arguments, bounds=[(0, None)] * 4, options={"ftol": 1e-15})
    assert np.all(weights >= 0)
    assert penalised_loss(weights, *arguments) <= expected.fun * (1 + 1e-12) + 1e-12
    assert_allclose(weights, expected.x, atol=1e-3)
    p = softmax(inputs @ weights, axis=1)
    deviations = inputs - np.einsum("tc,tcl->tl", p, inputs)[:, np.newaxis]
    assert_allclose(information, np.einsum("t,tc,tcl,tcm->lm", sample_weight, p, deviations, deviations), atol=1e-8)


def test_a_fit_of_logits_holds_to_what_earlier_samples_said():
    stack, centre, information = LogitStack.empty(3), np.array([1 / 3, 1 / 3, 1 / 3, 0]), np.zeros((4, 4))
    assert_array_equal(stack.weights, centre)
    for seed in range(3):
        samples = make_layer_logits(seed, 50)
        stack.fit(*samples)
        information = FORGETTING * information
        centre, added = fit_logit_weights(*samples, centre, information + PRECISION * np.eye(4))
        information = information + added
        assert_array_equal(stack.weights, centre)
        assert_array_equal(stack.information, information)
    stack.forget(0.25)
    assert_array_equal(stack.weights, centre)
    assert_array_equal(stack.information, 0.25 * information)


# Means


@pytest.mark.parametrize("n", [1, 5, 400])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_weights_are_the_optimum_on_the_simplex(n, scale):
    residuals = np.random.default_rng(n).normal(size=(n, 4)) @ np.diag([1.0, 0.5, 3.0, 1.0]) + [0, 1, 0, 0]
    products = scale**2 * residuals.T @ residuals
    weights = fit_mean_weights(products, np.full(4, 0.25))
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
    assert_array_equal(fit_mean_weights(np.zeros((2, 2)), weights), weights)


@pytest.mark.parametrize("is_fitted", [True, False])
def test_a_fit_of_means_counts_earlier_samples_half_as_much(is_fitted):
    rng, products = np.random.default_rng(0), 0
    stack = MeanStack.empty(2, 3, 1, is_fitted)
    initial = [[0, 1 / 2, 1 / 2]] * 2
    assert_array_equal(stack.weights, initial)
    for _ in range(3):
        residuals, weights = rng.normal(size=(40, 2, 3)), rng.choice([0.0, 0.5, 2.0], size=(40, 2))
        stack.fit(residuals, weights)
        products = FORGETTING * products + np.einsum("nkl,nkm,nk->klm", residuals, residuals, weights)
        expected = [fit_mean_weights(of_output, np.zeros(3)) for of_output in products] if is_fitted else initial
        assert_allclose(stack.products, products, rtol=1e-12, atol=1e-12)
        assert_allclose(stack.weights, expected, rtol=1e-9, atol=1e-12)


def test_residuals_in_another_unit():
    rng = np.random.default_rng(0)
    residuals, weights, factor = rng.normal(size=(40, 2, 3)), np.ones((40, 2)), np.array([1e-3, 7.0])
    stack, expected = (MeanStack.empty(2, 3, 0, is_fitted=True) for _ in range(2))
    stack.fit(residuals, weights)
    stack.rescale(factor)
    expected.fit(residuals * factor[:, np.newaxis], weights)
    assert_allclose(stack.products, expected.products)
    assert_allclose(stack.weights, expected.weights)
    fitted = stack.weights
    stack.restart()
    assert not stack.products.any()
    assert_array_equal(stack.weights, fitted)  # until others are
