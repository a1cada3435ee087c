"""The kernels of wide rows in NumPy, row by row: see the contract."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = tuple[Array, Array, Array]  # indptr, slots, values
Known = tuple[Array, Array, Array, Array]  # weights, precision, squares, counts

FAR = 8.0  # root mean squares of a column: values further off count as if they were there
LIMIT = 30.0  # of logits where errors are made of them


def columns_infer(rows: Rows, known: Known, *, variances: Array, constant_precision: float) -> tuple[Array, Array]:
    indptr, slots, values = rows
    shifts = np.empty((len(indptr) - 1, *known[0].shape[1:]))
    uncertainties = np.empty_like(shifts)
    for row, (start, stop) in enumerate(pairwise(indptr)):
        x, w, s = _of_row(slots[start:stop], values[start:stop], known, variances, constant_precision)
        shifts[row], uncertainties[row] = _sum(x * w), s[0] + _sum(x * x * s)
    return shifts, uncertainties


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
    indptr, slots, values = rows
    weights, precision, squares, counts = known
    shifts = np.empty((len(indptr) - 1, *weights.shape[1:]))
    uncertainties = np.empty_like(shifts)
    for row, (start, stop) in enumerate(pairwise(indptr)):
        of_row = slots[start:stop]
        x, w, s = _of_row(of_row, values[start:stop], known, variances, constant_precision)
        shifts[row], of_columns = _sum(x * w), _sum(x * x * s)
        uncertainties[row] = s[0] + of_columns
        repeats = np.where(np.isnan(targets[row]), 0, sample_weight[row])[:, np.newaxis]
        if not sample_weight[row]:
            continue
        z, y, u = shifts[row] + w[0], np.nan_to_num(targets[row])[:, np.newaxis], uncertainties[row]
        error, curvature, bound = (z - y, 1.0, 1.0) if loss == "squared" else _logistic(np.clip(z, -LIMIT, LIMIT), y)
        step = repeats * error / (1 + repeats * bound * u)
        curvature = repeats * curvature
        at = np.append(0, of_row)
        others = s[0] + np.maximum(of_columns - x * x * s, 0)
        others[0] = of_columns  # not u - s[0]: that of the constant may be so large that nothing else would be left
        weights[at] = w - s * x * step
        precision[at] += curvature * x * x / (1 + curvature * others)
        squares[of_row] += sample_weight[row] * x[1:, 0, 0] ** 2
        counts[of_row] += sample_weight[row]
    return shifts, uncertainties


def _sum(values: Array) -> Array:
    """Over columns, the constant left out; one after the other, in any number of outputs."""
    total: Array = values[1:].sum(axis=0)
    return total


def _logistic(z: Array, y: Array) -> tuple[Array, Array, Array]:
    """The error, the curvature, and the bound on it."""
    p = 1 / (1 + np.exp(-z))
    bound = np.where(np.abs(z) < 1e-6, 0.25, (p - 0.5) / np.where(z == 0, 1, z))
    return p - y, p * (1 - p), bound


def _of_row(
    slots: Array, values: Array, known: Known, variances: Array, constant_precision: float
) -> tuple[Array, Array, Array]:
    """The values x (n, 1, 1), the constant's first, with their weights and the variances of these."""
    weights, precision, squares, counts = known
    has_come = counts[slots] > 0
    mean_square = np.where(has_come, squares[slots] / np.where(has_come, counts[slots], 1), values * values)
    bound = np.where(has_come, FAR * np.sqrt(mean_square), np.inf)
    prior = np.full((1 + len(slots), 1, len(variances)), constant_precision)
    prior[1:, 0] = mean_square[:, np.newaxis] / variances
    at = np.append(0, slots)
    x = np.append(1.0, np.clip(values, -bound, bound))[:, np.newaxis, np.newaxis]
    return x, weights[at], 1 / (prior + precision[at])
