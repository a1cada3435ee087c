"""The last samples, by which wild values are known: as long as they are few they do not change what is usual."""

from dataclasses import dataclass

import numpy as np

from sklearn_gln._arrays import Array

SIZE = 256  # samples
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
        if not len(self.values):
            return tuple(np.zeros((3, self.values.shape[1])))
        weight = np.where(np.isnan(self.values), 0, self.weight[:, np.newaxis])
        median = _quantile(self.values, weight, 0.5)
        distances = np.abs(self.values - median)
        differs = distances > 0
        distance = _quantile(distances, np.where(differs, weight, 0), SHARE)
        n_others = np.count_nonzero(differs, axis=0)
        return np.nan_to_num(median), np.where(n_others > 0, distance, 0), n_others


def _quantile(values: Array, weight: Array, share: float) -> Array:
    """The weighted quantile of each column, one of its values (n, n_columns); NaN must have weight 0."""
    order = np.argsort(values, axis=0)
    weight = np.take_along_axis(weight, order, axis=0)
    middle = np.cumsum(weight, axis=0) - weight / 2
    n_below = np.count_nonzero(middle <= share * weight.sum(axis=0), axis=0)
    place = np.take_along_axis(order, np.maximum(n_below - 1, 0)[np.newaxis], axis=0)
    quantile: Array = np.take_along_axis(values, place, axis=0)[0]
    return quantile
