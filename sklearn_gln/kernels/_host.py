"""Kernels that work on NumPy's arrays, for backends with arrays of their own: compiled where Numba is installed."""

try:
    from sklearn_gln.kernels._columns_numba import columns_infer, columns_learn
except ImportError:
    from sklearn_gln.kernels._columns_numpy import columns_infer, columns_learn

__all__ = ["columns_infer", "columns_learn"]
