"""How far off slots have been, against sums over samples, one by one."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_gln._spread import PRIOR, SMALLEST, Spread
from sklearn_gln.kernels import get_kernels

HOST = get_kernels("numpy")


def test_the_spread_as_sums_over_samples(backend):
    rng = np.random.default_rng(0)
    n, n_outputs, n_neurons, n_slots = 40, 2, 3, 5
    slots = rng.integers(1, n_slots, size=(n, 1, n_neurons))  # shared by outputs; slot 0 stands for unseen contexts
    outputs = rng.normal(size=(n, n_outputs, n_neurons))
    targets, sample_weight = rng.normal(size=(n, n_outputs)), rng.choice([0.0, 0.5, 2.0], size=n)
    with backend.scope("cpu"):
        given = [backend.asarray(array) for array in (slots, outputs, targets, sample_weight[:, np.newaxis])]
        spread = Spread.empty(np.zeros((n_outputs, n_neurons, n_slots)))
        for name in spread.by_slot:
            setattr(spread, name, backend.asarray(getattr(spread, name)))
        assert_allclose(spread.variance(given[0], backend), np.ones((n, n_outputs)))  # before anything is known
        spread.update(*given, backend)
        spread.refresh(backend)
        got = spread.variance(given[0], backend)

    errors, weight = np.zeros((2, n_outputs, n_neurons, n_slots))
    for t, k, j in np.ndindex(n, n_outputs, n_neurons):
        errors[k, j, slots[t, 0, j]] += sample_weight[t] * (outputs[t, k, j] - targets[t, k]) ** 2
        weight[k, j, slots[t, 0, j]] += sample_weight[t]
    mean_square = errors.sum(axis=(1, 2)) / weight.sum(axis=(1, 2))
    expected = np.empty((n, n_outputs))
    for t, k in np.ndindex(n, n_outputs):
        own = [(k, j, slots[t, 0, j]) for j in range(n_neurons)]
        means = [(errors[at] + PRIOR * mean_square[k]) / (weight[at] + PRIOR) for at in own]
        expected[t, k] = np.exp(np.mean(np.log(means)))
    assert_allclose(spread.mean_square, mean_square)
    assert_allclose(got, expected)


def test_the_spread_of_no_errors_and_of_no_samples():
    spread = Spread.empty(np.zeros((2, 1, 3)))
    spread.refresh(HOST)
    assert_array_equal(spread.mean_square, 1)  # nothing is known
    slots, outputs = np.ones((4, 2, 1), int), np.zeros((4, 2, 1))
    spread.update(slots, outputs, np.array([[0.0, 2.0]] * 4), np.ones((4, 1)), HOST)
    spread.refresh(HOST)
    assert_allclose(spread.mean_square, [SMALLEST, 4])
    variance = spread.variance(slots, HOST)
    assert_allclose(variance[:, 1], 4)
    assert np.all(variance[:, 0] > 0)


def test_the_spread_forgets_how_much_it_has_seen():
    spread = Spread.empty(np.zeros((1, 1, 3)))
    slots, outputs = np.ones((4, 1, 1), int), np.zeros((4, 1, 1))
    spread.update(slots, outputs, np.full((4, 1), 2.0), np.ones((4, 1)), HOST)
    spread.forget(0.25)
    assert_array_equal(spread.errors[0, 0], [0, 4, 0])
    assert_array_equal(spread.weight[0, 0], [0, 1, 0])
