"""Sparse matrices as arrays of rows, which learning takes a chunk at a time."""

from typing import Any

from scipy.sparse import csr_array, hstack, issparse

from sklearn_gln._arrays import Array


class SparseRows:
    """A SciPy matrix or array (n, n_columns), of which `rows[places]` are dense."""

    def __init__(self, matrix: Any):
        self._matrix = csr_array(matrix)
        if not self._matrix.has_canonical_format:
            self._matrix = self._matrix.copy()  # the caller's stays as it is
            self._matrix.sum_duplicates()
        self.shape: tuple[int, int] = self._matrix.shape
        self.dtype = self._matrix.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, places: Any) -> Array:
        dense: Array = self._matrix[places].toarray()
        return dense

    def sparse(self, places: Any) -> csr_array:
        """Some rows, in float64."""
        return self._matrix[places].astype(float)

    def part(self, places: Any) -> "SparseRows":
        return SparseRows(self._matrix[places])

    def with_columns(self, columns: Array) -> "SparseRows":
        """The rows, followed by dense columns (n, size)."""
        return SparseRows(hstack([self._matrix, csr_array(columns)], format="csr"))

    @property
    def stored(self) -> Array:
        """The values that are stored."""
        values: Array = self._matrix.data
        return values


def rows_of(X: Any) -> Any:
    """X, as SparseRows if it is sparse."""
    return SparseRows(X) if issparse(X) else X


def stored_values(X: Any) -> Any:
    """X itself, or the values that SparseRows store."""
    return X.stored if isinstance(X, SparseRows) else X
