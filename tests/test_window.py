"""What is usual among the last samples: against the scalar oracle, and by hand."""

import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_gln._window import BLOCK, GAP, SIZE, Window
from tests import naive


def test_what_is_usual_by_hand():
    values = np.array([[0.0, math.nan, 7.0], [1, math.nan, 7], [2, 3, 7], [3, 4, 7], [4, 5, 7], [99, math.nan, 7]])
    usual = Window(values, np.ones(6)).usual()
    assert_array_equal(usual.median, [2, 4, 7])
    assert_array_equal(usual.reach, [2 * GAP, GAP, 0])  # of the distances 1, 1, 2, 2 and 97 the last is wild
    assert_array_equal(usual.n_others, [5, 2, 0])
    usual = Window(values, np.array([9.0, 1.0, 1.0, 1.0, 1.0, 9.0])).usual()
    assert_array_equal(usual.median, [2, 4, 7])
    assert_array_equal(usual.reach, [97 * GAP, GAP, 0])  # it weighs too much to be wild
    assert_array_equal(Window(values[:5], np.array([9.0, 1.0, 1.0, 1.0, 1.0])).usual().median, [0, 4, 7])


@pytest.mark.parametrize("n", [1, 2, 3, 10, 100, SIZE])
@pytest.mark.parametrize("of_targets", [False, True])
def test_what_is_usual_equals_the_oracle(n, of_targets):
    rng = np.random.default_rng(n)
    values = rng.standard_t(1, size=(n, 2 * BLOCK + 3))
    values[:, ::3] = values[:, ::3].round()  # equal values
    values[:, ::5] *= rng.random((n, 1)) < 0.2  # mostly 0
    values[rng.random(values.shape) < 0.1] = math.nan
    values[:, 1] = math.nan
    values[:, 2] = 3.0
    weight = rng.choice([0.3, 1.0, 2.75], size=n)
    usual = Window(values, weight).usual(of_targets)
    for i, column in enumerate(values.T):
        expected = naive.usual(column.tolist(), weight.tolist(), of_targets=of_targets)
        assert [field[i] for field in usual] == list(vars(expected).values())


def test_an_empty_window():
    assert_array_equal(Window.empty(3).usual(), np.zeros((3, 3)))


def test_the_last_samples_stay():
    window, values = Window.empty(2), np.random.default_rng(0).random((SIZE + 70, 2))
    for first in range(0, len(values), 13):
        window.add(values[first : first + 13], np.arange(len(values))[first : first + 13])
        assert window.is_sound(2)
    assert_array_equal(window.values, values[70:])
    assert_array_equal(window.weight, np.arange(70, SIZE + 70))
    assert not window.is_sound(3)
    assert not Window(values, np.ones(len(values))).is_sound(2)
    assert not Window(values[:3], np.ones(2)).is_sound(2)
