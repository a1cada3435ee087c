"""The last samples, by which wild values are known: as long as they are few they do not change what is usual."""

from dataclasses import dataclass

import numpy as np

from sklearn_gln._arrays import Array

SIZE = 256  # samples
BLOCK = 32  # columns that are sorted together, so that memory stays in the cache
SHARE = 0.8  # of the values other than the median lie within the usual distance from it


@dataclass
class Window:
    values: Array  # (n, n_columns) float64, n <= SIZE; NaN is missing
    weight: Array  # (n,)

    @classmethod
    def empty(cls, n_columns: int) -> "Window":
        return cls(np.zeros((0, n_columns)), np.zeros(0))

    def add(self, values: Array, weight: Array) -> None:
        """Take in samples (n, n_columns) of weights (n,), which are the last ones now."""
        self.values = np.concatenate([self.values, values])[-SIZE:]
        self.weight = np.concatenate([self.weight, weight])[-SIZE:]

    def usual(self) -> tuple[Array, Array, Array]:
        """The median of each column, the usual distance from it, and how many values differ from it: (n_columns,) each.

        Of columns that do not vary the distance is 0. Values at the median do not count in it: where most are 0, the
        others have a scale too.
        """
        blocks = [_usual(self.values[:, i : i + BLOCK].T, self.weight) for i in range(0, self.values.shape[1], BLOCK)]
        median, distance, n_others = np.concatenate(blocks, axis=1)
        return median, distance, n_others


def _usual(values: Array, weight: Array) -> Array:
    """As `Window.usual`, of values (n_columns, n)."""
    weights = np.where(np.isnan(values), 0, weight)
    median = _quantile(values, weights, 0.5)
    distances = np.abs(values - median[:, np.newaxis])
    differs = distances > 0
    n_others = np.count_nonzero(differs, axis=1)
    distance = np.where(n_others > 0, _quantile(distances, np.where(differs, weights, 0), SHARE), 0)
    return np.stack([np.nan_to_num(median), distance, n_others])


def _quantile(values: Array, weights: Array, share: float) -> Array:
    """The weighted quantile of each row, one of its values (n_rows, n); NaN must have weight 0."""
    if not values.size:
        return np.zeros(len(values))
    places = np.argsort(values, axis=1)
    weights = np.take_along_axis(weights, places, axis=1)
    middles = np.cumsum(weights, axis=1) - weights / 2
    n_below = np.count_nonzero(middles <= share * weights.sum(axis=1, keepdims=True), axis=1)
    rows = np.arange(len(values))
    quantile: Array = values[rows, places[rows, np.maximum(n_below - 1, 0)]]
    return quantile
