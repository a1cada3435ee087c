"""Kernels that work on NumPy's arrays, for backends with arrays of their own: compiled where Numba is installed.

They are imported when they are called, so that a framework does not bring Numba along.
"""

from sklearn_gln.kernels import get_kernels
from sklearn_gln.kernels._columns_numpy import Array, Known, Rows


def columns_infer(rows: Rows, known: Known, *, variances: Array, constant_precision: float) -> tuple[Array, Array]:
    constants = {"variances": variances, "constant_precision": constant_precision}
    results: tuple[Array, Array] = get_kernels().columns_infer(rows, known, **constants)
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
    constants = {"variances": variances, "constant_precision": constant_precision, "loss": loss}
    results: tuple[Array, Array] = get_kernels().columns_learn(rows, known, targets, sample_weight, **constants)
    return results
