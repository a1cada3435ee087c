"""The kernels of a backend with their calls cut into tasks that threads share: the same functions, the same results.

Calls are cut by shape alone, so that results do not depend, even in rounding, on the number of threads.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Groups = tuple[Array, Array]

ROWS_PER_TASK = 512  # of products whose samples are independent
MIN_TASK_WORK = 2**14  # samples x neurons; smaller layers are not worth cutting
TOGETHER, FEW_TOGETHER = 16, 4  # outputs; few where more would crowd the L2 cache with inputs of their own


class ThreadedKernels:
    """The contract of `sklearn_gln.kernels`, for a backend that works in place (one with a TASK_SIZE)."""

    def __init__(self, kernels: ModuleType, executor: Executor | None = None):
        self._kernels = kernels
        self._executor = executor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernels, name)  # what is not worth cutting

    def select_contexts(self, side_info: Array, hyperplanes: Array, offsets: Array, dtype: str) -> Array:
        hyperplanes, offsets = hyperplanes.astype(dtype, copy=False), offsets.astype(dtype, copy=False)

        def of_rows(rows: slice) -> Array:
            return self._kernels.select_contexts(side_info[rows], hyperplanes, offsets, dtype)

        return _concatenate(self._map(of_rows, _slices(len(side_info), ROWS_PER_TASK)))

    def add_second_moment(
        self, moment: Array, block: Array, sample_weight: Array | None = None, groups: Groups | None = None
    ) -> Array:
        def of_rows(rows: slice) -> Array:
            weights = None if sample_weight is None else sample_weight[rows]
            return self._kernels.add_second_moment(block.dtype.type(0), block[rows], weights, groups)

        return sum(self._map(of_rows, _slices(len(block), ROWS_PER_TASK)), start=moment)

    def precondition(self, block: Array, matrices: Array | None, groups: Groups | None = None) -> tuple[Array, Array]:
        if matrices is None:  # the directions are the block itself: nothing to share out, nothing to copy
            directions, squares = self._kernels.precondition(block, None)
            return directions, squares
        parts = self._map(
            lambda rows: self._kernels.precondition(block[rows], matrices, groups),
            _slices(len(block), ROWS_PER_TASK),
        )
        directions, squares = zip(*parts, strict=True)
        return _concatenate(directions), _concatenate(squares)

    def linear_infer(self, weights: Array, slots: Array, inputs: Sequence[Array], *, limit: float) -> Array:
        def infer(outputs: slice, neurons: slice) -> Array:
            logits: Array = self._kernels.linear_infer(
                weights[outputs, neurons],
                _of_outputs(slots, outputs)[:, :, neurons],
                tuple(_of_outputs(block, outputs) for block in inputs),
                limit=limit,
            )
            return logits

        return self._over_neurons(infer, slots, weights, inputs)

    def linear_learn(
        self,
        weights: Array,
        accumulator: Array,
        slots: Array,
        inputs: Sequence[Array],
        directions: Sequence[Array],
        targets: Array,
        rates: Array,
        repeats: Array | None = None,
        **constants: Any,
    ) -> tuple[Array, Array, Array]:
        def learn(outputs: slice, neurons: slice) -> Array:
            *_, logits = self._kernels.linear_learn(
                weights[outputs, neurons],
                accumulator[outputs, neurons],
                _of_outputs(slots, outputs)[:, :, neurons],
                tuple(_of_outputs(block, outputs) for block in inputs),
                tuple(_of_outputs(block, outputs) for block in directions),
                targets[:, outputs],
                _of_outputs(rates, outputs),
                None if repeats is None else _of_outputs(repeats, outputs),
                **constants,
            )
            return logits

        return weights, accumulator, self._over_neurons(learn, slots, weights, inputs)

    def gaussian_learn(
        self,
        weights: Array,
        accumulator: Array,
        slots: Array,
        inputs: Sequence[tuple[Array, Array]],
        targets: Array,
        rates: Array,
        repeats: Array | None = None,
        **constants: float,
    ) -> tuple[Array, Array, Array, Array]:
        def learn(outputs: slice, neurons: slice) -> Array:
            *_, means, variances = self._kernels.gaussian_learn(
                weights[outputs, neurons],
                accumulator[outputs, neurons],
                _of_outputs(slots, outputs)[:, :, neurons],
                tuple((_of_outputs(means, outputs), _of_outputs(variances, outputs)) for means, variances in inputs),
                targets[:, outputs],
                _of_outputs(rates, outputs),
                None if repeats is None else _of_outputs(repeats, outputs),
                **constants,
            )
            return np.stack([means, variances])

        means, variances = self._over_neurons(learn, slots, weights, [means for means, _ in inputs], (2,))
        return weights, accumulator, means, variances

    def _map(self, function: Callable[..., Any], *tasks: Sequence[Any]) -> Iterator[Any]:
        return map(function, *tasks) if self._executor is None else self._executor.map(function, *tasks)

    def _over_neurons(
        self,
        function: Callable[[slice, slice], Array],
        slots: Array,
        weights: Array,
        inputs: Sequence[Array],
        stacked: tuple[int, ...] = (),
    ) -> Array:
        """The results (*stacked, n, n_outputs, n_neurons) of a layer, from `function` of some outputs and neurons."""
        n_samples, (n_outputs, n_neurons) = len(slots), weights.shape[:2]
        together = 0
        if self._kernels.OUTPUTS_TOGETHER and slots.shape[1] < n_outputs:
            n_shared = sum(block.shape[2] for block in inputs if block.shape[1] == 1)
            together = TOGETHER if 2 * n_shared >= weights.shape[3] else FEW_TOGETHER
        tasks = layer_tasks(n_samples, n_outputs, n_neurons, self._kernels.TASK_SIZE, together)
        if len(tasks) == 1:
            return function(*tasks[0])
        results = np.empty((*stacked, n_samples, n_outputs, n_neurons), weights.dtype)
        for (outputs, neurons), part in zip(tasks, self._map(function, *zip(*tasks, strict=True)), strict=True):
            results[..., outputs, neurons] = part
        return results


def layer_tasks(
    n_samples: int, n_outputs: int, n_neurons: int, task_size: int, together: int = 0
) -> list[tuple[slice, slice]]:
    """Cut a layer into (outputs, neurons) of about task_size neurons, of so many outputs together; 0: contiguous."""
    if n_outputs * n_neurons <= task_size or n_samples * n_outputs * n_neurons <= MIN_TASK_WORK:
        return [(slice(0, n_outputs), slice(0, n_neurons))]
    outputs_per_task = min(together, n_outputs) or max(1, task_size // n_neurons)
    neurons_per_task = max(1, task_size // outputs_per_task) if together else task_size
    return [
        (outputs, neurons)
        for outputs in _slices(n_outputs, outputs_per_task)
        for neurons in _slices(n_neurons, neurons_per_task)
    ]


def _slices(length: int, step: int) -> list[slice]:
    """Cut range(length), at least one slice even of nothing."""
    return [slice(start, min(start + step, length)) for start in range(0, max(length, 1), step)]


def _of_outputs(array: Array, outputs: slice) -> Array:
    return array if array.shape[1] == 1 else array[:, outputs]


def _concatenate(parts: Iterable[Array]) -> Array:
    first, *others = parts
    return np.concatenate([first, *others]) if others else first
