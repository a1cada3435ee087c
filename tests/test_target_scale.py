"""Units of targets: there and back, what has no unit, and how far predictions may go."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_gln._target_scale import HEADROOM, MAX_DEVIATIONS, SMALLEST_LIMIT, TargetScale
from sklearn_gln.kernels import get_kernels

HOST = get_kernels("numpy")
Y = np.random.default_rng(0).normal(size=(200, 2)) * [1e-6, 40.0] + [0.0, 5.0]


def rescaled(scale, y, sample_weight=None):
    return scale.rescale(y, np.ones(len(y)) if sample_weight is None else sample_weight, HOST)


def test_targets_in_their_unit_and_back():
    scale = TargetScale.empty(2)
    sample_weight = np.random.default_rng(1).choice([0.5, 1.0, 3.0], size=len(Y))
    assert_array_equal(rescaled(scale, Y, sample_weight), [1, 1])  # there are no errors in units of before
    mean = np.average(Y, axis=0, weights=sample_weight)
    deviation = np.sqrt(np.average((Y - mean) ** 2, axis=0, weights=sample_weight))
    assert_allclose(scale.unit, deviation)
    standardized = scale.standardize(Y)
    assert_allclose(standardized, (Y - mean) / deviation, rtol=1e-9, atol=1e-9)
    assert_allclose(scale.restore(standardized), Y, rtol=1e-12, atol=1e-12)
    assert_array_equal(scale.standardize(np.array([[1e100, -1e100]])), [[MAX_DEVIATIONS, -MAX_DEVIATIONS]])
    assert_array_equal(scale.largest, np.abs(standardized).max(axis=0))


def test_errors_in_the_new_unit():
    scale = TargetScale.empty(2)
    rescaled(scale, Y)
    before = scale.unit
    assert_array_equal(rescaled(scale, 3 * Y), [1, 1])  # the targets were not yet known to vary
    rescaled(scale, Y)
    scale.update()
    assert scale.varied.all()
    factor = rescaled(scale, Y * [3.0, 0.1] + 1)
    assert_allclose(factor, [1 / 3, 10])
    assert_allclose(factor * scale.unit, before)


def test_limits_follow_the_largest_target():
    scale = TargetScale.empty(2)
    assert_array_equal(scale.limits, [HEADROOM * SMALLEST_LIMIT] * 2)
    rescaled(scale, Y)
    assert_allclose(scale.limits, HEADROOM * np.abs(scale.standardize(Y)).max(axis=0))
    scale.take_in(np.array([[0.0, -20.0], [1.0, 9.0]]))
    assert_allclose(scale.limits, [HEADROOM * np.abs(scale.standardize(Y))[:, 0].max(), HEADROOM * 20])


@pytest.mark.parametrize("value", [0.0, 0.1, -1e9, 1e-150])
def test_a_target_that_does_not_vary_has_its_size_for_unit(value):
    scale = TargetScale.empty(1)
    rescaled(scale, np.full((60, 1), value))
    assert_allclose(scale.unit, abs(value) if abs(value) > 1e-100 else 1)
    assert_allclose(scale.restore(np.zeros(1)), value)
    scale.update()
    assert not scale.varied.any()
    scale.take_in(np.array([[1.0]]))
    scale.update()
    assert scale.varied.all()
