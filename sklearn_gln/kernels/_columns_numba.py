"""The kernels of wide rows, compiled by Numba: see the contract.

Outputs and models are one axis, so that a column's weights are a vector.
"""

from math import exp, sqrt
from typing import Any

import numpy as np

from sklearn_gln.kernels._columns_numpy import FAR, LIMIT, Array, Known, Rows
from sklearn_gln.kernels._jit import inline, jit


def columns_infer(rows: Rows, known: Known, *, variances: Array, constant_precision: float) -> tuple[Array, Array]:
    flat, results, room = _prepared(rows, known, variances)
    _infer(rows, flat, constant_precision, results, room)
    return _by_output(results, known)


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
    flat, results, room = _prepared(rows, known, variances)
    of_models = np.repeat(targets, len(variances), axis=1)
    _learn(rows, flat, of_models, sample_weight, constant_precision, loss == "log", results, room)
    return _by_output(results, known)


def _prepared(rows: Rows, known: Known, variances: Array) -> tuple[Any, Any, Any]:
    """What is known, in vectors, and room for results, and for the values of a row and the variances of weights."""
    weights, precision, squares, counts = known
    n_outputs, size = weights.shape[1], weights[0].size
    flat = weights.reshape(-1, size), precision.reshape(-1, size), squares, counts, np.tile(1 / variances, n_outputs)
    n_samples, n_values = len(rows[0]) - 1, 1 + int(np.diff(rows[0]).max(initial=0))
    shifts, uncertainties = np.empty((2, n_samples, size))
    return flat, (shifts, uncertainties), (np.empty(n_values), np.empty((n_values, size)))


def _by_output(results: tuple[Array, Array], known: Known) -> tuple[Array, Array]:
    shifts, uncertainties = (array.reshape(-1, *known[0].shape[1:]) for array in results)
    return shifts, uncertainties


@inline
def _predict(t, rows, flat, constant_precision, results, room):
    """The shifts, and their variances without the constant's: so large at first that rounding would leave no other."""
    indptr, slots, values = rows
    weights, precision, squares, counts, inverse_variances = flat
    x, s = room
    z, u = results[0][t], results[1][t]
    of_constant = s[0]
    for q in range(len(z)):
        of_constant[q] = 1 / (constant_precision + precision[0, q])
        z[q] = u[q] = 0.0
    for i in range(indptr[t], indptr[t + 1]):
        j, value, at = slots[i], values[i], i - indptr[t] + 1
        mean_square = value * value
        if counts[j] > 0:
            mean_square = squares[j] / counts[j]
            bound = FAR * sqrt(mean_square)
            value = min(max(value, -bound), bound)
        x[at] = value
        square = value * value
        of_column, w, known = s[at], weights[j], precision[j]
        for q in range(len(z)):
            variance = 1 / (mean_square * inverse_variances[q] + known[q])
            of_column[q] = variance
            z[q] += value * w[q]
            u[q] += square * variance


@jit
def _infer(rows, flat, constant_precision, results, room):
    for t in range(len(rows[0]) - 1):
        _predict(t, rows, flat, constant_precision, results, room)
        results[1][t] += room[1][0]


@jit
def _learn(rows, flat, targets, sample_weight, constant_precision, is_log, results, room):
    indptr, slots, _ = rows
    weights, precision, squares, counts, _ = flat
    x, s = room
    size = weights.shape[1]
    steps, curvatures = np.empty(size), np.empty(size)
    for t in range(len(indptr) - 1):
        _predict(t, rows, flat, constant_precision, results, room)
        repeats = sample_weight[t]
        z, u, constant = results[0][t], results[1][t], s[0]
        if repeats > 0:
            for q in range(size):
                y = targets[t, q]
                prediction, variance = z[q] + weights[0, q], u[q] + constant[q]
                if np.isnan(y):
                    steps[q] = curvatures[q] = 0.0
                elif is_log:
                    prediction = min(max(prediction, -LIMIT), LIMIT)
                    p = 1 / (1 + exp(-prediction))
                    bound = 0.25 if abs(prediction) < 1e-6 else (p - 0.5) / prediction
                    steps[q] = repeats * (p - y) / (1 + repeats * bound * variance)
                    curvatures[q] = repeats * p * (1 - p)
                else:
                    steps[q] = repeats * (prediction - y) / (1 + repeats * variance)
                    curvatures[q] = repeats
            for q in range(size):
                weights[0, q] -= constant[q] * steps[q]
                precision[0, q] += curvatures[q] / (1 + curvatures[q] * u[q])
            for i in range(indptr[t], indptr[t + 1]):
                j, at = slots[i], i - indptr[t] + 1
                value = x[at]
                square = value * value
                squares[j] += repeats * square
                counts[j] += repeats
                of_column, w, known = s[at], weights[j], precision[j]
                for q in range(size):
                    others = constant[q] + max(u[q] - square * of_column[q], 0.0)
                    w[q] -= of_column[q] * value * steps[q]
                    known[q] += curvatures[q] * square / (1 + curvatures[q] * others)
        for q in range(size):
            u[q] += constant[q]
