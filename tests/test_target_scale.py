"""Units of targets: there and back, what has no unit, and how far predictions may go."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_gln._target_scale import HEADROOM, LARGEST_FACTOR, SMALLEST_LIMIT, TargetScale
from sklearn_gln._window import FAR_GAP, GAP, N_RARE
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
    assert_array_equal(scale.largest, np.abs(standardized).max(axis=0))


def test_errors_in_the_new_unit():
    scale = TargetScale.empty(2)
    rescaled(scale, Y)
    before = scale.unit
    assert_array_equal(rescaled(scale, 3 * Y), [1, 1])  # the targets were not yet known to vary
    rescaled(scale, Y)
    scale.update()
    assert scale.varied.all()
    factor = rescaled(scale, Y * [3.0, 0.2] + 1)
    assert_allclose(factor, [1 / 3, 5])
    assert_allclose(factor * scale.unit, before)
    rescaled(scale, Y)
    assert_allclose(rescaled(scale, Y * [1 / 7, 0.01]), [7, LARGEST_FACTOR])  # a wild target had made up the unit


def test_wild_targets_have_no_part_in_the_unit():
    Y_wild, unspoilt, scale = Y.copy(), TargetScale.empty(2), TargetScale.empty(2)
    Y_wild[[3, 70], 1] = 1e9, -1e12
    rescaled(scale, Y_wild)
    others = np.delete(Y, [3, 70], axis=0)
    rescaled(unspoilt, others)
    assert_allclose(scale.unit, [Y[:, 0].std(), unspoilt.unit[1]])
    assert_allclose(scale.origin, [Y[:, 0].mean(), unspoilt.origin[1]])
    assert_allclose(scale.limits[1], unspoilt.limits[1])


def test_beyond_the_reach_a_target_counts_the_less_the_further_off_it_is():
    scale = TargetScale.empty(2)
    assert np.isnan(scale.standardize(np.array([[1e100, -1e100]]))).all()  # which has no unit yet
    rescaled(scale, Y)
    distances = np.abs(Y - np.median(Y, axis=0)).max(axis=0)
    assert_allclose(scale.reach, GAP * distances / scale.unit, rtol=0.05)  # the mean is not the median
    for share, counts in ((-0.999, -0.999), (1.0, 1.0), (2.0, 1 / 4), (-10.0, -1 / 100), (1e100, 0.0)):
        y = scale.origin + share * scale.reach * scale.unit
        assert_allclose(scale.standardize(y[np.newaxis])[0], counts * scale.reach, rtol=1e-9, atol=1e-9)


def test_the_reach_follows_the_last_targets():
    """A level that is new is wild as long as it is rare; once there are others like it, it is within reach."""
    scale = TargetScale.empty(1)
    y = np.random.default_rng(2).normal(size=(400, 1))
    rescaled(scale, y[:256])
    unit, reach = scale.unit, scale.reach
    far = 1000 + y[256:]
    for n in range(len(far)):
        scale.take_in(far[n : n + 1], scale.standardize(far[n : n + 1]), np.ones(1))
        if n < 45:  # not yet one of five
            scale.follow()
            usual = reach if n < N_RARE else FAR_GAP / GAP * reach
            assert_allclose(scale.reach, usual, rtol=0.2)  # they are no part of what is usual
    scale.follow()  # 144 of 256: the median is theirs
    assert scale.reach > 999
    standardized = (far - scale.origin) / unit
    assert_allclose(scale.standardize(far), standardized)
    assert_allclose(scale.limits, HEADROOM * standardized.max(axis=0))
    assert_array_equal(scale.unit, unit)  # it goes with the weights of the network


def test_targets_like_those_of_the_unit_stay_within_reach():
    """Of a level that made up the unit, even where the last targets have none."""
    scale = TargetScale.empty(1)
    y = np.random.default_rng(3).normal(size=(600, 1))
    y[:256:4] += 1000
    rescaled(scale, y[:256])
    scale.take_in(y[256:], scale.standardize(y[256:]), np.ones(344))
    scale.follow()
    assert_allclose(scale.standardize(y[:1]), (y[:1] - scale.origin) / scale.unit)


def test_limits_follow_the_largest_target():
    scale = TargetScale.empty(2)
    assert_array_equal(scale.limits, [HEADROOM * SMALLEST_LIMIT] * 2)
    rescaled(scale, Y)
    assert_allclose(scale.limits, HEADROOM * np.abs(scale.standardize(Y)).max(axis=0))
    standardized = np.array([[0.0, -20.0], [1.0, 9.0]])
    scale.take_in(scale.restore(standardized), standardized, np.ones(2))
    assert_allclose(scale.limits, [HEADROOM * np.abs(scale.standardize(Y))[:, 0].max(), HEADROOM * 20])


@pytest.mark.parametrize("value", [0.0, 0.1, -1e9, 1e-150])
def test_a_target_that_does_not_vary_has_its_size_for_unit(value):
    scale = TargetScale.empty(1)
    rescaled(scale, np.full((60, 1), value))
    assert_allclose(scale.unit, abs(value) if abs(value) > 1e-100 else 1)
    assert_allclose(scale.restore(np.zeros(1)), value)
    scale.update()
    assert not scale.varied.any()
    scale.take_in(scale.restore(np.ones((1, 1))), np.ones((1, 1)), np.ones(1))
    scale.update()
    assert scale.varied.all()
