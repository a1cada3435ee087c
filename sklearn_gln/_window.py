"""The last samples, by which wild values are known: as long as they are few they do not change what is usual."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sklearn_gln._arrays import Array

SIZE = 256  # samples
BLOCK = 32  # columns that are sorted together, so that memory stays in the cache
GAP = 5.0  # times the distance of the next value nearer to the median; heavy tails have smaller gaps
SHARE = 0.8  # of the values other than the median lie within the usual distance from it


class Usual(NamedTuple):
    """Of each column: (n_columns,) each. Where most values are 0, the others have a scale too."""

    median: Array
    distance: Array  # from the median, of the values that differ from it: most are within
    largest: Array  # distance, up to the first gap that parts wild values from the others
    n_others: Array  # values that differ from the median


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

    def is_sound(self, n_columns: int) -> bool:
        """Whether the arrays, which may come from a file, fit together."""
        n = min(len(self.weight), SIZE)
        return self.values.shape == (n, n_columns) and self.weight.shape == (n,)

    def usual(self) -> Usual:
        if not len(self.weight):
            return Usual(*np.zeros((4, self.values.shape[1])))
        blocks = [_usual(self.values[:, i : i + BLOCK].T, self.weight) for i in range(0, self.values.shape[1], BLOCK)]
        return Usual(*np.concatenate(blocks, axis=1))


def _usual(values: Array, weight: Array) -> Array:
    """The fields of Usual, of values (n_columns, n)."""
    weights = np.where(np.isnan(values), 0, weight)
    median = _quantile(values, weights, 0.5)
    distances = np.abs(values - median[:, np.newaxis])
    differs = distances > 0
    n_others = np.count_nonzero(differs, axis=1)
    distance = np.where(n_others > 0, _quantile(distances, np.where(differs, weights, 0), SHARE), 0)
    tail = np.sort(np.fmax(distances, distance[:, np.newaxis]), axis=1)
    is_last = np.ones(tail.shape, bool)
    is_last[:, :-1] = tail[:, 1:] > GAP * tail[:, :-1]
    largest = tail[np.arange(len(tail)), is_last.argmax(axis=1)]
    return np.stack([np.nan_to_num(median), distance, largest, n_others])


def _quantile(values: Array, weights: Array, share: float) -> Array:
    """The weighted quantile of each row, one of its values (n_rows, n); NaN must have weight 0."""
    places = np.argsort(values, axis=1, kind="stable")  # else weights of equal values could change places
    weights = np.take_along_axis(weights, places, axis=1)
    ends = np.cumsum(weights, axis=1)
    n_below = np.count_nonzero(ends - weights / 2 <= share * ends[:, -1:], axis=1)
    rows = np.arange(len(values))
    quantile: Array = values[rows, places[rows, np.maximum(n_below - 1, 0)]]
    return quantile
