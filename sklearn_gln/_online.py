"""Rows in, in order: the clock that builds the network anew, refreshes its statistics, and has it learn.

Everything is tied to row numbers, never to calls, so that any split of a stream gives the same model:

=============================  =======================================================================================
after row                      what happens
=============================  =======================================================================================
1, 2, 4, ..., 256              the network is built anew from all rows so far, which it then replays
512, 1024, 2048, 4096, 6144..  scaling and preconditioners are refreshed from all rows so far
512, 768, 1024, 1280, ...      with a half-life: scaling is refreshed, then all statistics count less ("auto": only
                               where rows since the last event were predicted worse than those before)
each of these                  the stack is fitted to the rows since the last event
multiples of 2**20             energies are kept from making steps smaller than the rounding of weights
=============================  =======================================================================================

In regression scaling stays, but with a half-life in rows, and there are more events, at which variances and limits are
refreshed: 320, 384, ..., 1024, 1280, ..., every 64 rows with half_life="auto".
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from itertools import pairwise
from numbers import Integral, Real
from reprlib import repr as brief
from types import UnionType
from typing import Any, get_args, get_origin

import numpy as np
from numpy.typing import NDArray

from sklearn_gln import _gaussian, _network
from sklearn_gln._base_predictor import BaseKind, BasePredictor, RunningMoments
from sklearn_gln._drift import MAX_LOSS, DriftTest, log_losses
from sklearn_gln._learning_rate import Preconditioner, scheduled_rates
from sklearn_gln._network import Layer, Network, Outputs, Settings, aggregate, base_and_constant, init_network
from sklearn_gln._regression_stack import RegressionStack
from sklearn_gln._spread import Spread
from sklearn_gln._stack import Stack
from sklearn_gln.kernels import Kernels, as_numpy, get_kernels

Array = NDArray[Any]
Step = tuple[Array, Array, int | None]

LAST_REBUILD = 256
REFRESH_PERIOD = 2048
SHORT_PERIOD = LAST_REBUILD  # with a half-life, and in regression
EARLY_PERIOD, LATE = 64, 1024  # in regression, and from which row on it is the short one
AFTER_CHANGE = 0.02  # of the rows before count on, where a change shows
FIRST_PRECONDITIONED = 64  # rows; fewer say too little about second moments
MAX_BLOCK_ROWS = 2048
BOUND_PERIOD = 2**20


def next_event(n_rows_seen: int, periods: tuple[int, ...] = (REFRESH_PERIOD,)) -> int:
    """The row number of the first event after n_rows_seen rows; the last of `periods` is that from LATE on."""
    period = periods[0] if n_rows_seen < LATE else periods[-1]
    if n_rows_seen < max(period, LAST_REBUILD):
        return 1 << n_rows_seen.bit_length()
    return (n_rows_seen // period + 1) * period


def blocks(n_rows_seen: int, row_numbers: Array, periods: tuple[int, ...] = (REFRESH_PERIOD,)) -> list[slice]:
    """Cut rows of these numbers, which follow n_rows_seen others, where events come or a block is full."""
    cuts, start = [], 0
    while start < len(row_numbers):
        stop = min(start + MAX_BLOCK_ROWS, int(np.searchsorted(row_numbers, next_event(n_rows_seen, periods))) + 1)
        cuts.append(slice(start, min(stop, len(row_numbers))))
        start, n_rows_seen = cuts[-1].stop, int(row_numbers[cuts[-1].stop - 1])
    return cuts


@dataclass
class OnlineNetwork:
    """A network with its statistics and its clock: all that learning needs to go on, and prediction to start."""

    settings: Settings
    predictor: BasePredictor
    n_columns: int  # of rows
    outputs: Array  # (n_outputs,): the class that each output tells from the others, or the target's number
    seed: int
    stack: Stack | RegressionStack | None = None  # of the layers; of logits with aggregation="stacked" only
    drift: DriftTest | None = None  # with half_life="auto"
    n_rows_seen: int = 0  # of positive weight
    epoch: int = 1  # of the rows that are being learned
    held_out: bool = False  # whether these are
    network: Network | None = None  # from row 1 on
    buffer: list[tuple[Array, ...]] = field(default_factory=list)  # rows to replay: X, y, sample_weight, if honest

    @classmethod
    def new(
        cls, settings: Settings, base_predictor: BaseKind, n_features: int, outputs: Array, seed: int, n_given: int = 0
    ) -> "OnlineNetwork":
        """A network that has seen nothing, for rows of n_features features and n_given base probabilities."""
        limit = settings.limit if settings.likelihood == "bernoulli" else None
        predictor = BasePredictor(base_predictor, limit, RunningMoments.empty(n_features))
        drift = DriftTest() if settings.half_life == "auto" else None
        return cls(settings, predictor, n_features + n_given, outputs, seed, drift=drift)

    def __sizeof__(self) -> int:
        """Bytes of the largest arrays: by them engines such as Dask decide how an object travels."""
        arrays = []
        if self.network is not None:
            arrays += [layer.weights for layer in self.network.layers]
            arrays += [preconditioner.moment for preconditioner in self.network.preconditioners]
        return object.__sizeof__(self) + sum(getattr(array, "nbytes", 0) for array in arrays)

    @property
    def periods(self) -> tuple[int, ...]:
        """Rows between events, as `next_event` takes them."""
        if self.settings.likelihood != "bernoulli":
            return EARLY_PERIOD, self.forget_period
        return (REFRESH_PERIOD if self.settings.half_life is None else SHORT_PERIOD,)

    @property
    def forget_period(self) -> int:
        """Rows between the events at which rows so far may come to count less."""
        regression = self.settings.likelihood != "bernoulli"
        return EARLY_PERIOD if regression and self.settings.half_life == "auto" else SHORT_PERIOD

    def learn(
        self,
        X: Array,
        y: Array,
        sample_weight: Array,
        kernels: Kernels,
        order: Array | None = None,
        epoch: int = 1,
        *,
        held_out: bool = False,
    ) -> Iterator[tuple[Array, Array]]:
        """Learn rows X (n, n_columns) of class numbers y (n,), visited in `order`, a block at a time.

        X may be NumPy's or an array of the kernels. To be called, and each block to be asked for, in their scope.
        y (n, n_outputs) are the outputs' targets themselves: of bool, or real numbers in regression. Yields the indices
        of each block's rows and what `infer` would have given just before they were learned. A row of weight 0 is
        predicted only. Rows that come again, in a later epoch, take smaller steps if the targets are classes, and
        predictions of them, no longer honest, teach the stack nothing. Rows `held_out` from all epochs of a regression
        teach it afresh.
        """
        order = np.arange(len(X)) if order is None else order
        row_numbers = self.row_numbers(sample_weight[order])
        self._begin_pass(epoch)
        if held_out and isinstance(self.stack, RegressionStack):
            self.stack.restart()
        for rows, numbers, event in self.steps(order, row_numbers):
            self.epoch, self.held_out = epoch, held_out
            honest = epoch == 1
            outputs = self._learn_block(X, rows, y[rows], sample_weight[rows], numbers, kernels)
            predictions = self._learn_stack(outputs, y[rows], sample_weight[rows], honest)
            if event is not None:
                self._rebuild(kernels) if event <= LAST_REBUILD else self._refresh(kernels)
                if self.stack is not None and not held_out:
                    self.stack.update()
            if self.drift is not None and honest and self.n_rows_seen > LAST_REBUILD:
                self.drift.add(self._losses(predictions, y[rows]), sample_weight[rows])
            if self._may_forget(event):
                self._forget(self._share_kept(), honest)
            yield rows, predictions
        if held_out and self.stack is not None:
            self.stack.update()

    def row_numbers(self, sample_weight: Array) -> Array:
        """The numbers (n,) that rows to come will have; one of weight 0 has that of the row before."""
        return self.n_rows_seen + np.cumsum(sample_weight > 0)

    def check_rates(self, sample_weight: Array) -> None:
        """Have a learning_rate callable that fails for rows to come fail now, before anything is learned."""
        if callable(self.settings.learning_rate):
            numbers = np.maximum(self.row_numbers(sample_weight), 1)
            scheduled_rates(self.settings.learning_rate, self.settings.learning_rate_init, numbers)

    def learn_stack(
        self, steps: list[Step], outputs: list[Array], y: Array, sample_weight: Array, epoch: int
    ) -> Iterator[tuple[Array, Array]]:
        """What is left of `learn` where the layers have learned already, and predicted these outputs at each step."""
        self._begin_pass(epoch)
        honest = epoch == 1
        for (rows, _, event), layer_logits in zip(steps, outputs, strict=True):
            predictions = self._learn_stack(layer_logits, y[rows], sample_weight[rows], honest)
            if self.stack is not None and event is not None:
                self.stack.update()
                if honest and self._may_forget(event):
                    self.stack.forget(self._share_kept())
            yield rows, predictions

    def steps(self, order: Array, row_numbers: Array) -> list[Step]:
        """Rows to learn, by block: these, their numbers, and the event after them if there is one."""
        steps, n_rows_seen = [], self.n_rows_seen
        for block in blocks(n_rows_seen, row_numbers, self.periods):
            event, n_rows_seen = next_event(n_rows_seen, self.periods), int(row_numbers[block][-1])
            steps.append((order[block], row_numbers[block], event if n_rows_seen == event else None))
        return steps

    def _begin_pass(self, epoch: int) -> None:
        if epoch > 1 and self.stack is not None:
            self.stack.update()

    def _learn_stack(self, outputs: Array, y: Array, sample_weight: Array, honest: bool) -> Array:
        """What the stack makes of the layers' outputs before it sees y."""
        if self.stack is None:
            return outputs
        return self.stack.learn(outputs, y, sample_weight) if honest else self.stack.predict(outputs)

    def _may_forget(self, event: int | None) -> bool:
        return event is not None and event > LAST_REBUILD and event % self.forget_period == 0

    def infer(self, X: Array, kernels: Kernels) -> Array:
        """Output logits (n, n_outputs), or means and variances (n, n_outputs, 2), for rows X (n, n_columns)."""
        parts = [self.before_row_1(0)]
        for rows, _, predicted in self.forward(X, kernels):
            outputs = self._no_outputs(len(rows))
            if predicted is not None:
                outputs = aggregate(predicted, self.settings.aggregation, kernels)[: len(rows)]
            parts.append(outputs if self.stack is None else self.stack.predict(outputs))
        return np.concatenate(parts)

    def layer_means(self, X: Array, kernels: Kernels) -> Array:
        """The mean logit, or mean, of each layer's neurons: (n, n_outputs, n_layers)."""
        shape = len(self.outputs), len(self.settings.layer_sizes)
        parts = [np.zeros((0, *shape))]
        for rows, _, predicted in self.forward(X, kernels):
            means = np.zeros((len(rows), *shape))
            if predicted is not None:
                means = aggregate(predicted, "stacked", kernels)[: len(rows), :, : shape[1]]
            parts.append(means)
        return np.concatenate(parts)

    def forward(self, X: Array, kernels: Kernels) -> Iterator[tuple[Array, Array | None, Outputs | None]]:
        """Block by block of X: the rows' indices, their base logits or means, and what the layers make of them.

        What is a backend's own has its number of rows, which may be more; before row 1 it is None.
        """
        network = self.in_force(kernels)
        for start in range(0, len(X), MAX_BLOCK_ROWS):
            rows = np.arange(start, min(start + MAX_BLOCK_ROWS, len(X)))
            if network is None:
                yield rows, None, None
            else:
                base, side_info = self.predictor.transform(_take(X, rows, kernels), kernels)
                yield rows, base, self._layers.infer(network, kernels, base, side_info, self.settings)

    def output_weights(self) -> tuple[Array, Array]:
        """The output as a sum of the layers' means: their weights (n_outputs, n_layers), a constant (n_outputs,)."""
        n_outputs, n_layers = len(self.outputs), len(self.settings.layer_sizes)
        weights, constant = np.eye(n_layers)[-1], np.zeros(n_outputs)
        if self.stack is not None:
            weights, constant = self.stack.output_weights()
        elif self.settings.aggregation == "layers":
            weights = np.full(n_layers, 1 / n_layers)
        return np.broadcast_to(weights, (n_outputs, n_layers)), constant

    def before_row_1(self, n_rows: int) -> Array:
        """What `infer` gives before anything is learned."""
        outputs = self._no_outputs(n_rows)
        return outputs if self.stack is None else self.stack.predict(outputs)

    def _no_outputs(self, n_rows: int) -> Array:
        """What `aggregate` gives for a network that has seen nothing."""
        n_layers = len(self.settings.layer_sizes)
        if isinstance(self.stack, RegressionStack):
            return np.zeros((n_rows, len(self.outputs), n_layers + 1))
        layers = (n_layers,) if self.settings.aggregation == "stacked" else ()
        return np.zeros((n_rows, len(self.outputs), *layers))

    def _losses(self, predictions: Array, y: Array) -> Array:
        """What the drift test is to know of rows (n,), whose predictions were made before their y was known."""
        if isinstance(self.stack, RegressionStack):
            return self.stack.bounded_losses(predictions, y, MAX_LOSS)
        return np.minimum(log_losses(predictions, y), MAX_LOSS)

    def in_force(self, kernels: Kernels) -> Network | None:
        """The network that predicts the next row, None before row 1; one that an interrupt left half built is built."""
        if self.network is None and self.n_rows_seen:
            self._rebuild(kernels)
        if self.network is not None:
            self.network.place(kernels)
        return self.network

    def _learn_block(
        self, X: Array, rows: Array, y: Array, sample_weight: Array, row_numbers: Array, kernels: Kernels
    ) -> Array:
        """Learn rows of X between two events; returns what `aggregate` gave for them before they were learned."""
        outputs = self._no_outputs(len(rows))
        network = self.in_force(kernels)
        taken, first_visit = _take(X, rows, kernels), np.full(len(rows), self.epoch == 1 and not self.held_out)
        if network is not None:
            outputs = self._learn_network(network, taken, y, sample_weight, row_numbers, first_visit, kernels)
        if self.n_rows_seen < LAST_REBUILD:
            exists = sample_weight > 0
            replayed = as_numpy(taken)[: len(rows)], y, sample_weight, first_visit
            self.buffer.append(tuple(array[exists] for array in replayed))
        else:
            weights = np.zeros(taken.shape[0])
            weights[: len(rows)] = sample_weight
            self.predictor.update(taken, kernels.asarray(weights), kernels)
        self.n_rows_seen = int(row_numbers[-1])
        return outputs

    def _learn_network(
        self,
        network: Network,
        X: Array,
        y: Array,
        sample_weight: Array,
        row_numbers: Array,
        first_visit: Array,
        kernels: Kernels,
    ) -> Array:
        """As `_learn_block`, of rows X that `_take` gave; first_visit (n,) says for which rows the spread counts."""
        targets = y if y.ndim == 2 else y[:, np.newaxis] == self.outputs
        if isinstance(self.stack, RegressionStack):
            targets = self.stack.standardize(y)
        visits = None if np.all(sample_weight == 1) else sample_weight
        settings, parts = self.settings, [slice(None)]
        if settings.normalized and self.epoch > 1 and settings.likelihood == "bernoulli":
            settings = replace(settings, learning_rate_init=settings.learning_rate_init / self.epoch)
        exists = sample_weight > 0
        if settings.batch_size > 1 and not exists.all():  # batch by batch: rows of weight 0 take no place in one
            batches = (np.cumsum(exists) - exists) // settings.batch_size
            ends = [*np.flatnonzero(np.diff(batches)) + 1, len(y)]
            settings, parts = replace(settings, batch_size=MAX_BLOCK_ROWS), [slice(*ab) for ab in pairwise([0, *ends])]
        outputs = []
        for rows in parts:
            taken = X if len(parts) == 1 else _take(X, np.arange(len(y))[rows], kernels)
            inputs = *self.predictor.transform(taken, kernels), targets[rows], None if visits is None else visits[rows]
            visited = row_numbers[rows], settings, first_visit[rows]
            predicted = self._layers.learn(network, kernels, *inputs, *visited)
            outputs.append(aggregate(predicted, settings.aggregation, kernels)[: len(row_numbers[rows])])
        return np.concatenate(outputs)

    def _rebuild(self, kernels: Kernels) -> None:
        X, y, sample_weight, first_visit = (np.concatenate(parts) for parts in zip(*self.buffer, strict=True))
        host = get_kernels("numpy")  # where scaling and halfspaces are made: the same for all backends
        self.predictor.moments = RunningMoments.empty(len(self.predictor.moments.mean))
        self.predictor.update(X, sample_weight, host)
        self.predictor.refresh()
        if isinstance(self.stack, RegressionStack):
            self.stack.rescale(y, sample_weight, host)
        base_logits, side_info = self.predictor.transform(X, host)
        n_base = self.settings.n_base(base_logits.shape[1])
        replaced, self.network = self.network, None
        network = init_network(n_base, side_info, self.outputs, self.settings, self.seed, replaced)
        del replaced  # the replay fills the new network's memory
        self._set_limits(network)
        network.place(kernels)
        taken = _take(X, np.arange(len(X)), kernels)
        preconditioned = len(X) >= FIRST_PRECONDITIONED
        if preconditioned and self.settings.preconditioner and network.base_preconditioner is not None:
            # P_x is known before the replay, but it is the replay that counts these rows for later refreshes.
            so_far = Preconditioner.of_base(n_base, self.settings.preconditioner, self.settings.ridge)
            base, _ = base_and_constant(host, base_logits, replace(self.settings, dtype="float64"))
            so_far.update(host, base, sample_weight[:, np.newaxis], sample_weight.sum())
            so_far.refresh(host, self.settings.dtype)
            network.base_preconditioner.matrix = kernels.asarray(so_far.matrix)
        self._learn_network(network, taken, y, sample_weight, np.arange(1, len(X) + 1), first_visit, kernels)
        if preconditioned:
            self._refresh_preconditioners(network, kernels)
        network.refresh_spread(kernels)
        self.network = network
        if self.n_rows_seen == LAST_REBUILD:
            self.buffer.clear()

    def _refresh(self, kernels: Kernels) -> None:
        # Learned weights are in units of the scaling: where it moves, what they predict for real targets jumps.
        new_only = self.settings.likelihood != "bernoulli" and not isinstance(self.settings.half_life, Real)
        if new_only or self.n_rows_seen % SHORT_PERIOD == 0:
            self.predictor.refresh(new_only)
        if self.network is not None:
            self._set_limits(self.network)
            self.network.place(kernels)
            self.network.refresh_spread(kernels)
            if self.n_rows_seen % BOUND_PERIOD == 0:
                self.network.bound_energy(self.settings.dtype, kernels)
        # More often than without a half-life would not pay: inverting large matrices takes longer than learning.
        if self.network is not None and self.n_rows_seen == next_event(self.n_rows_seen - 1):
            self._refresh_preconditioners(self.network, kernels)

    @property
    def _layers(self) -> Any:
        """The module that learns layers and infers from them."""
        return _gaussian if self.settings.likelihood == "gaussian" else _network

    def _set_limits(self, network: Network) -> None:
        if isinstance(self.stack, RegressionStack):
            network.limits = self.stack.limits.astype(self.settings.dtype)

    def _refresh_preconditioners(self, network: Network, kernels: Kernels) -> None:
        for preconditioner in network.preconditioners:
            preconditioner.refresh(kernels, self.settings.dtype)
        network.solve_first(self.settings, kernels)

    def _share_kept(self) -> float:
        """How much less the rows so far are to count from this event on."""
        if self.drift is not None:
            return AFTER_CHANGE if self.drift.changed() else 1.0
        half_life = self.settings.half_life
        return 1.0 if half_life is None else 0.5 ** (SHORT_PERIOD / float(half_life))

    def _forget(self, factor: float, honest: bool) -> None:
        """Have the rows so far count less by this factor in all statistics; those of the stack count honest rows only.

        The energies among them: steps become as large again as if fewer rows had been learned.
        """
        if factor == 1:
            return
        self.predictor.moments.forget(factor)
        if self.network is not None:
            for layer in self.network.layers:
                layer.energy = layer.energy * factor
                if layer.spread is not None:
                    layer.spread.forget(factor)
            for preconditioner in self.network.preconditioners:
                preconditioner.forget(factor)
            if self.network.cross_moment is not None:
                self.network.cross_moment = self.network.cross_moment * factor
        if self.stack is not None and honest:
            self.stack.forget(factor)


def _take(X: Array, rows: Array, kernels: Kernels) -> Array:
    """Some rows of X as an array of the kernels, filled up with others to a number that these are compiled for."""
    if kernels.ROW_COUNTS is not None:
        n_rows = next(n for n in kernels.ROW_COUNTS if n >= len(rows))
        rows = np.pad(rows, (0, n_rows - len(rows)))
    return kernels.take(X, rows) if kernels.owns(X) else kernels.asarray(X[rows])


_TYPES = (
    OnlineNetwork, Settings, BasePredictor, RunningMoments, Network, Layer, Preconditioner, Spread, Stack,
    RegressionStack, DriftTest,
)  # fmt: skip
_TYPES_BY_NAME = {kind.__name__: kind for kind in _TYPES}
_NDARRAY = get_origin(NDArray[Any])  # np.ndarray, but an alias from NumPy 2.5 on


def to_plain(state: Any) -> Any:
    """Learned state as dicts, lists and tuples of NumPy arrays, numbers and strings: what any file format takes."""
    if is_dataclass(state):
        values = {item.name: to_plain(getattr(state, item.name)) for item in fields(state)}
        return {"type": type(state).__name__, **values}
    if isinstance(state, list | tuple):
        return type(state)(to_plain(item) for item in state)
    return as_numpy(state)


def from_plain(plain: Any) -> Any:
    """The inverse of `to_plain`; state of other fields or types than it makes raises ValueError."""
    if isinstance(plain, dict):
        kind = _TYPES_BY_NAME.get(plain.get("type", ""))
        if kind is None or plain.keys() != {"type", *(item.name for item in fields(kind))}:
            name, names = brief(plain.get("type")), brief(list(plain))
            raise ValueError(f"There is no learned state of type {name} with the fields {names}.")
        values = {item.name: from_plain(plain[item.name]) for item in fields(kind)}
        for item in fields(kind):
            if not _is_of_type(values[item.name], item.type):
                raise ValueError(
                    f"{kind.__name__}.{item.name} must be of type {item.type}; got {values[item.name]!r:.200}."
                )
        return kind(**values)
    if isinstance(plain, list | tuple):
        return type(plain)(from_plain(item) for item in plain)
    return plain


def _is_of_type(value: Any, annotation: Any) -> bool:
    """`isinstance` for the annotations of the dataclasses above."""
    kind, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if kind is UnionType:
        return any(_is_of_type(value, argument) for argument in arguments)
    if kind is list:
        return isinstance(value, list) and all(_is_of_type(item, *arguments) for item in value)
    if kind is tuple:
        if arguments[-1] is ...:
            arguments = arguments[:1] * len(value) if isinstance(value, tuple) else ()
        matches = isinstance(value, tuple) and len(value) == len(arguments)
        return matches and all(map(_is_of_type, value, arguments))
    if kind is _NDARRAY:
        return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    return isinstance(value, {int: Integral, float: Real, bool: bool | np.bool_}.get(kind, kind))
