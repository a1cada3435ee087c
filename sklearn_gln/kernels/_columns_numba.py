"""The kernels of wide rows, compiled by Numba: see the contract."""

from math import exp, sqrt

import numpy as np

from sklearn_gln.kernels._columns_numpy import FAR, LIMIT, Array, Known, Rows
from sklearn_gln.kernels._jit import inline, jit


def columns_infer(rows: Rows, known: Known, *, variances: Array, constant_precision: float) -> tuple[Array, Array]:
    results, room = _room(rows, known)
    _infer(rows, tuple(known), variances, constant_precision, results, room)
    return results


def columns_learn(
    rows: Rows,
    known: Known,
    targets: Array,
    sample_weight: Array,
    *,
    variances: Array,
    constant_precision: float,
    loss: str,
) -> tuple[Array, Array]:
    results, room = _room(rows, known)
    _learn(rows, tuple(known), targets, sample_weight, variances, constant_precision, loss == "log", results, room)
    return results


def _room(rows: Rows, known: Known) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """For shifts and uncertainties, and for the values of a row and the variances of their weights."""
    indptr, shape = rows[0], known[0].shape[1:]
    n_values = 1 + int(np.diff(indptr).max(initial=0))
    shifts = np.empty((len(indptr) - 1, *shape))
    return (shifts, np.empty_like(shifts)), (np.empty(n_values), np.empty((n_values, *shape)))


@inline
def _predict(t, rows, known, variances, constant_precision, results, room):
    indptr, slots, values = rows
    weights, precision, squares, counts = known
    shifts, uncertainties = results
    x, s = room
    _, n_outputs, n_models = weights.shape
    for k in range(n_outputs):
        for m in range(n_models):
            s[0, k, m] = 1 / (constant_precision + precision[0, k, m])
            shifts[t, k, m] = uncertainties[t, k, m] = 0.0
    for i in range(indptr[t], indptr[t + 1]):
        j, value, at = slots[i], values[i], i - indptr[t] + 1
        mean_square = value * value
        if counts[j] > 0:
            mean_square = squares[j] / counts[j]
            bound = FAR * sqrt(mean_square)
            value = min(max(value, -bound), bound)
        x[at] = value
        for k in range(n_outputs):
            for m in range(n_models):
                s[at, k, m] = 1 / (mean_square / variances[m] + precision[j, k, m])
                shifts[t, k, m] += value * weights[j, k, m]
                uncertainties[t, k, m] += value * value * s[at, k, m]


@inline
def _add_constant(t, uncertainties, s):
    """The constant's variance, to that of the columns: so large at first that rounding would leave nothing of them."""
    for k in range(s.shape[1]):
        for m in range(s.shape[2]):
            uncertainties[t, k, m] += s[0, k, m]


@jit
def _infer(rows, known, variances, constant_precision, results, room):
    for t in range(len(rows[0]) - 1):
        _predict(t, rows, known, variances, constant_precision, results, room)
        _add_constant(t, results[1], room[1])


@jit
def _learn(rows, known, targets, sample_weight, variances, constant_precision, is_log, results, room):
    indptr, slots, _ = rows
    weights, precision, squares, counts = known
    shifts, uncertainties = results
    x, s = room
    _, n_outputs, n_models = weights.shape
    steps, curvatures = np.empty((n_outputs, n_models)), np.empty((n_outputs, n_models))
    x[0] = 1.0
    for t in range(len(indptr) - 1):
        _predict(t, rows, known, variances, constant_precision, results, room)
        repeats = sample_weight[t]
        if repeats == 0:
            _add_constant(t, uncertainties, s)
            continue
        for k in range(n_outputs):
            y = targets[t, k]
            for m in range(n_models):
                z, u = shifts[t, k, m] + weights[0, k, m], uncertainties[t, k, m] + s[0, k, m]
                if np.isnan(y):
                    steps[k, m] = curvatures[k, m] = 0.0
                elif is_log:
                    z = min(max(z, -LIMIT), LIMIT)
                    p = 1 / (1 + exp(-z))
                    bound = 0.25 if abs(z) < 1e-6 else (p - 0.5) / z
                    steps[k, m] = repeats * (p - y) / (1 + repeats * bound * u)
                    curvatures[k, m] = repeats * p * (1 - p)
                else:
                    steps[k, m] = repeats * (z - y) / (1 + repeats * u)
                    curvatures[k, m] = repeats
        before = indptr[t] - 1  # the constant's place
        for at in range(indptr[t + 1] - before):
            j = slots[before + at] if at else 0
            square = x[at] * x[at]
            if at:
                squares[j] += repeats * square
                counts[j] += repeats
            for k in range(n_outputs):
                for m in range(n_models):
                    others = uncertainties[t, k, m]
                    if at:
                        others = s[0, k, m] + max(others - square * s[at, k, m], 0.0)
                    weights[j, k, m] -= s[at, k, m] * x[at] * steps[k, m]
                    precision[j, k, m] += curvatures[k, m] * square / (1 + curvatures[k, m] * others)
        _add_constant(t, uncertainties, s)
