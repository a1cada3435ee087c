"""The last samples, by which wild values are known: as long as they are few they do not change what is usual."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sklearn_gln._arrays import Array

SIZE = 256  # samples
BLOCK = 32  # columns that are sorted together, so that memory stays in the cache
GAP = 8.0  # a value this many times as far from the median as the next nearer one is wild; tails have smaller gaps
FAR_GAP = 64.0  # the same for targets, as features may foretell a level that few have; GAP for
N_RARE = 2  # of them, the farthest
SHARE = 0.8  # of the values other than the median, the nearest to it, are never wild


class Usual(NamedTuple):
    """Of each column, (n_columns,) each. Where most values are 0, the others have a reach too."""

    median: Array
    reach: Array  # the distance from the median beyond which values are wild
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

    def usual(self, of_targets: bool = False) -> Usual:
        if not len(self.weight):
            return Usual(*np.zeros((3, self.values.shape[1])))
        columns = np.ascontiguousarray(self.values.T)
        blocks = [_usual(columns[i : i + BLOCK], self.weight, of_targets) for i in range(0, len(columns), BLOCK)]
        return Usual(*np.concatenate(blocks, axis=1))


def _usual(values: Array, weight: Array, of_targets: bool) -> Array:
    """The fields of Usual, of values (n_columns, n)."""
    weights = np.where(np.isnan(values), 0, weight)
    median, _ = _quantile(values, weights, 0.5)
    distances = np.abs(values - median)
    differs = distances > 0
    distance, in_order = _quantile(distances, np.where(differs, weights, 0), SHARE)
    reach = _reach(in_order, distance, FAR_GAP if of_targets else GAP)
    if of_targets:
        n_seen = np.count_nonzero(~np.isnan(values), axis=1, keepdims=True)
        frequent = np.take_along_axis(in_order, np.maximum(n_seen - N_RARE, 1) - 1, axis=1)
        reach = np.minimum(reach, _reach(in_order, np.maximum(distance, frequent), GAP))
    n_others = np.count_nonzero(differs, axis=1)
    usual = np.stack([median[:, 0], reach, n_others])
    usual[np.isnan(usual)] = 0
    return usual


def _reach(distances: Array, usual: Array, gap: float) -> Array:
    """The distance (n_rows,) beyond which values are wild, from distances in order (n_rows, n) and a usual one each."""
    tail = np.maximum(distances, usual)
    is_last = np.ones(tail.shape, bool)  # before the first gap, or what is missing
    is_last[:, :-1] = ~(tail[:, 1:] <= gap * tail[:, :-1])
    last: Array = tail[np.arange(len(tail)), is_last.argmax(axis=1)]
    return gap * last


def _quantile(values: Array, weights: Array, share: float) -> tuple[Array, Array]:
    """The weighted quantile (n_rows, 1) of each row, one of its values (n_rows, n), and these in order.

    NaN must have weight 0.
    """
    rows = np.arange(len(values))[:, np.newaxis]
    places = np.argsort(values, axis=1) + rows * values.shape[1]
    in_order, weights = values.take(places), weights.take(places)
    ends = np.cumsum(weights, axis=1)
    n_until = np.count_nonzero(ends - weights < share * ends[:, -1:], axis=1, keepdims=True)
    return in_order[rows, np.maximum(n_until - 1, 0)], in_order
