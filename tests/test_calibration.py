"""Variances and quantiles: the fit against SciPy's optimiser, quantiles against scalar loops."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import ndtri

from sklearn_gln._calibration import (
    MAX_LOG,
    MAX_SCORES,
    PRECISION,
    Calibration,
    ErrorScores,
    calibrate,
)
from sklearn_gln._stack import FORGETTING
from tests import naive_regression

# Variances


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


@pytest.mark.parametrize("is_fitted", [True, False])
def test_each_output_is_calibrated_by_itself(is_fitted):
    calibration = Calibration.empty(2, is_fitted)
    coefficients, information = np.array([[0.0, 1.0]] * 2), np.zeros((2, 2, 2))
    for seed in range(3):
        of_outputs = [make_errors(seed, 60, 1, 0.5), make_errors(seed + 9, 60, -2, 1)]
        calibration.fit(*(np.stack(arrays, axis=1) for arrays in zip(*of_outputs, strict=True)))
        for k in range(2) if is_fitted else ():
            known = FORGETTING * information[k]
            coefficients[k], added = calibrate(*of_outputs[k], coefficients[k], known)
            information[k] = known + added
        assert_allclose(calibration.coefficients, coefficients)
        assert_allclose(calibration.information, information)
    log_variance = np.array([[0.3, -1.0], [-1e4, 1e4]])
    predicted = coefficients[:, 0] + coefficients[:, 1] * log_variance
    assert_allclose(calibration.variance(log_variance), np.exp(np.clip(predicted, -MAX_LOG, MAX_LOG)))
    calibration.restart()
    assert not calibration.information.any()
    assert_allclose(calibration.coefficients, coefficients)  # until others are fitted


# Quantiles

LEVELS = np.array([[0.001, 0.05, 0.25, 0.5], [0.75, 0.95, 0.999, 0.5]])


def draw_scores(seed=0):
    """Scores of three outputs: skewed ones, nine, and none."""
    drawn = np.random.default_rng(seed).exponential(size=(2, MAX_SCORES)) - 1
    return ErrorScores([drawn[0], drawn[1, :9], drawn[0, :0]])


def test_quantiles():
    scores = draw_scores()
    got = scores.quantiles(LEVELS)
    assert got.shape == (3, *LEVELS.shape)
    expected = [[naive_regression.quantile(of.tolist(), q) for q in LEVELS.flat] for of in scores.of_output[:2]]
    assert_allclose(got[:2].reshape(2, -1), expected, rtol=1e-9, atol=1e-9)
    assert_array_equal(scores.quantiles(np.array(0.05)), got[:, 0, 1])
    assert_array_equal(got[2], ndtri(LEVELS))  # nothing is known
    assert_allclose(got[0, 0, 1:], np.quantile(scores.of_output[0], LEVELS[0, 1:]), atol=0.05)


def test_quantiles_rise():
    levels = np.concatenate([[1e-300], np.linspace(0.0001, 0.9999, 9999), [1 - 1e-16, 1]])
    quantiles = draw_scores().quantiles(levels)
    assert np.isfinite(quantiles).all()
    rises = np.diff(quantiles, axis=1)
    assert rises.min() >= 0
    assert rises[:, 100:-100].min() > 0


def test_quantiles_of_errors_to_the_other_side():
    scores = draw_scores()
    mirrored = ErrorScores([-of for of in scores.of_output])
    assert_allclose(mirrored.quantiles(1 - LEVELS), -scores.quantiles(LEVELS), rtol=1e-9, atol=1e-9)


def test_the_latest_scores_of_outputs_that_count():
    scores, drawn = ErrorScores.empty(2), np.random.default_rng(0).random((2, 900, 2))
    counted = np.stack([np.ones((2, 900)), np.arange(1800).reshape(2, 900) % 3 == 0], axis=2) > 0
    scores.add(drawn[0], counted[0])
    scores.add(drawn[1], counted[1])
    for number in range(2):
        of_output = np.concatenate(drawn[..., number])[np.concatenate(counted[..., number])]
        assert_array_equal(scores.of_output[number], of_output[-MAX_SCORES:])
