"""Wide rows: a linear model over all columns whose predictions neurons take, and a sketch by which they are gated.

Of each column, output and model are kept a weight w and a precision q, of each column the mean square m of its values.
A sample meets what they were just before it. With x its values, v the prior variance of the model's weights and s = 1 /
(m / v + q) theirs now, the shift z of the logit and its variance u are

    z = sum_j w_j x_j,   u = s_0 + sum_j s_j x_j^2,   evidence:  z  and  1 / sqrt(1 + u)

There is a constant besides, w_0 of the variance s_0. With the error e of z + w_0, the logistic curvature h there and a
bound b on it by which no step overshoots (Jaakkola and Jordan 2000, Statistics and Computing 10),

    w_j -= s_j x_j e / (1 + b u),   q_j += h x_j^2 / (1 + h (u - s_j x_j^2))

This is the extended Kalman filter of logistic regression with a diagonal covariance. In regression, by squared error,
b = h = 1. Nothing depends on a column's unit, and nothing is centred: what is absent is 0 and costs nothing. Models
differ in v and in how long they remember. Values further from 0 than 8 root mean squares of their column so far count
as if they were there, and errors and curvatures are those of logits within +-30.

Halfspaces cut a dense sketch of the row: columns summed up in N_SKETCHED places, by a hash of their numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from sklearn_gln._arrays import BY_SAMPLE_AND_OUTPUT, Array
from sklearn_gln._evidence import Evidence, scrambled
from sklearn_gln._likelihood import Likelihood
from sklearn_gln._settings import Settings
from sklearn_gln._sparse_rows import SparseRows
from sklearn_gln.kernels import Kernels, as_numpy
from sklearn_gln.kernels._columns_numpy import FAR

MAX_DENSE = 1024  # features of rows that are not wide
VARIANCES = (3.0, 0.3)  # v of the models: 10 and 1, 1 and 0.1, 3, 0.3 and 0.03 did as well on average
CONSTANT_PRECISION = {"log": 0.25, "squared": 1e-9}  # of the constant's weight, which has no model's variance
N_SKETCHED = 64
ABSENT = 1e-100  # values nearer to 0 count as 0: their squares would not be numbers
FIRST_SLOTS = 1024
PER_MODEL = 2  # inputs of a neuron


class Known(NamedTuple):
    """What is known of some columns, after the constant."""

    weights: Array  # (1 + n, n_outputs, n_models): w
    precision: Array  # (1 + n, n_outputs, n_models): q
    squares: Array  # (1 + n,): sums of weighted squares of values; m is their mean
    counts: Array  # (1 + n,): sums of the weights of samples that have a value


class Shares(NamedTuple):
    """What each value of some rows has in the shifts: a weight times the value itself."""

    values: Array  # (n_values,): those of the rows, within the bounds of their columns
    columns: Array  # (n_values,): where the column of each is among the weights
    weights: Array  # (n_columns, n_outputs, n_models)


def n_models(settings: Settings) -> int:
    """The models of an output."""
    return len(VARIANCES) * len(settings.half_lives_of_levels)


def estimate_memory(n_features: int, n_values: float, n_outputs: int, n_samples: float, settings: Settings) -> int:
    """Bytes of what is known of columns, at most, after so many values; and of what is kept of samples in a fit."""
    n_weights = n_outputs * n_models(settings)
    of_columns = min(n_features, n_values) * 2 * 8 * (2 * n_weights + 3)  # with room to grow
    of_samples = 0 if np.isinf(n_samples) else n_samples * 8 * n_weights * PER_MODEL
    return int(4 * n_features + of_columns + of_samples)


@dataclass
class WideRows(Evidence):
    """What is known of columns, in slots in the order in which they came; slot 0 is the constant's."""

    n_slots: int  # in use, the constant's included
    slot_of: Array  # (n_features,) int32; 0: the column has not come
    weights: Array = field(metadata=BY_SAMPLE_AND_OUTPUT)  # (room, n_outputs, n_models) float64
    precision: Array = field(metadata=BY_SAMPLE_AND_OUTPUT)  # (room, n_outputs, n_models) float64
    squares: Array  # (room,)
    counts: Array  # (room,)
    n_forgotten: Array  # (room,) int: how often what is in a slot has been made to count less
    n_times: int  # of forgetting
    share_kept: Array  # (n_memories,): by what the samples so far count less each time

    @classmethod
    def empty(cls, n_features: int, n_outputs: int, share_kept: Sequence[float]) -> "WideRows":
        weights, precision = np.zeros((2, FIRST_SLOTS, n_outputs, len(VARIANCES) * len(share_kept)))
        squares, counts = np.zeros((2, FIRST_SLOTS))
        slot_of = np.zeros(n_features, np.int32)
        kept = np.array(share_kept, float)
        return cls(1, slot_of, weights, precision, squares, counts, np.zeros(FIRST_SLOTS, int), 0, kept)

    @property
    def n_outputs(self) -> int:
        return self.weights.shape[1]

    @property
    def n_evidence(self) -> int:
        return self.weights.shape[2] * PER_MODEL

    def rows(self, X: Any, indices: Array) -> csr_array:
        rows = X.sparse(indices) if isinstance(X, SparseRows) else csr_array(as_numpy(X)[indices].astype(float))
        rows.data = np.where(np.abs(rows.data) > ABSENT, rows.data, 0)  # NaN, too, is absent
        rows.eliminate_zeros()
        return rows

    def compact(self, rows: csr_array) -> Array:
        """The sketch (n, N_SKETCHED), signed sums of values, large ones compressed; and what tells rows apart.

        Rows that differ, such as two words, may have the same sketch: they are not alike, and are not learned as one.
        """
        n_samples = rows.shape[0]
        hashes = scrambled(rows.indices.astype(np.uint64))
        places = (hashes % np.uint64(N_SKETCHED)).astype(int)
        values = np.where(hashes >> np.uint64(63), -1.0, 1.0) * np.arcsinh(rows.data)
        places += np.repeat(np.arange(n_samples) * N_SKETCHED, np.diff(rows.indptr))
        sketch = np.bincount(places, values, n_samples * N_SKETCHED).reshape(n_samples, N_SKETCHED)
        sums = np.append(np.uint64(0), np.cumsum(scrambled(hashes ^ rows.data.view(np.uint64)), dtype=np.uint64))
        return np.column_stack([sketch, (sums[rows.indptr[1:]] - sums[rows.indptr[:-1]]) >> np.uint64(11)])

    def expanded(self, X: Array) -> Array:
        return X[:, :N_SKETCHED]

    def meet(
        self, rows: csr_array, targets: Array, sample_weight: Array, likelihood: Likelihood, kernels: Kernels
    ) -> tuple[Array, Callable[[], None]]:
        columns, places, known = self._columns_of(rows)
        constants, loss = self._constants(likelihood), likelihood.loss_of_columns
        by_slot = rows.indptr.astype(int), 1 + places, rows.data
        sums = kernels.columns_learn(by_slot, known, targets.astype(float), sample_weight, **constants, loss=loss)

        of_samples = np.flatnonzero(np.repeat(sample_weight > 0, np.diff(rows.indptr)))[::-1]
        first = np.zeros(len(columns), int)
        first[places[of_samples]] = of_samples  # of several the last one written, which is the first, stays
        has_come = known.counts[1:] > 0
        is_new = has_come & (self.slot_of[columns] == 0)
        new = columns[is_new][np.argsort(first[is_new])]
        # All memory is taken here: where it does not suffice nothing has been learned.
        self._make_room(self.n_slots + len(new))
        come = np.append(0, 1 + np.flatnonzero(has_come))
        values = {name: array.take(come, axis=0) for name, array in known._asdict().items()}

        def learn() -> None:
            self.slot_of[new] = self.n_slots + np.arange(len(new))
            self.n_slots += len(new)
            at = np.append(0, self.slot_of[columns[has_come]])
            for name, array in values.items():
                getattr(self, name)[at] = array
            self.n_forgotten[at] = self.n_times

        return _evidence(*sums), learn

    def recall(self, rows: csr_array, likelihood: Likelihood, kernels: Kernels) -> Array:
        _, places, known = self._columns_of(rows)
        by_slot = rows.indptr.astype(int), 1 + places, rows.data
        sums = kernels.columns_infer(by_slot, known, **self._constants(likelihood))
        return _evidence(*sums)

    def shares(self, rows: csr_array) -> Shares:
        """How the shifts in `recall` come about."""
        _, places, known = self._columns_of(rows)
        has_come = known.counts > 0
        mean_square = np.divide(known.squares, known.counts, out=np.full(len(has_come), np.inf), where=has_come)
        bounds = FAR * np.sqrt(mean_square[1:])[places]
        return Shares(np.clip(rows.data, -bounds, bounds), places, known.weights[1:])

    def forget(self) -> None:
        self.n_times += 1

    def _constants(self, likelihood: Likelihood) -> dict[str, Any]:
        variances = np.repeat(VARIANCES, len(self.share_kept))
        return {"variances": variances, "constant_precision": CONSTANT_PRECISION[likelihood.loss_of_columns]}

    def _columns_of(self, rows: csr_array) -> tuple[Array, Array, Known]:
        """The columns (n,) of rows, which of them each value is in, and what is known of them."""
        columns, places = np.unique(rows.indices, return_inverse=True)
        return columns, places, self._known(self.slot_of[columns])

    def _known(self, slots: Array) -> Known:
        """Copies of what is known of columns in slots (n,), after the constant; nothing of those in slot 0."""
        at, missing = np.append(0, slots), 1 + np.flatnonzero(slots == 0)
        known = Known(*(getattr(self, name).take(at, axis=0) for name in Known._fields))
        for array in known:
            array[missing] = 0
        age = self.n_times - self.n_forgotten[at]
        if age.any():
            known.precision[:] *= np.tile(self.share_kept ** age[:, np.newaxis], len(VARIANCES))[:, np.newaxis]
        return known

    def _make_room(self, n_slots: int) -> None:
        room = len(self.counts)
        if n_slots > room:
            more = max(2 * room, n_slots) - room
            arrays = {name: getattr(self, name) for name in (*Known._fields, "n_forgotten")}
            wider = {name: np.pad(array, [(0, more), *[(0, 0)] * (array.ndim - 1)]) for name, array in arrays.items()}
            vars(self).update(wider)


def _evidence(shifts: Array, variances: Array) -> Array:
    """Of arrays (n, n_outputs, n_models) each."""
    return np.concatenate([shifts, (1 + variances) ** -0.5], axis=2)
