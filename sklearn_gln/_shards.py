"""Outputs shared out over processes: each worker learns all rows of a call, for its part of the outputs alone.

Outputs are independent of each other, so that workers need no word of one another while they learn::

    parent   part of the network, rows  ->  workers: learn  ->  part of the network, what it predicted  ->  joined

The stack of classes, which weighs what all outputs say, stays with the parent and learns from what comes back. In
regression each output has a stack of its own, which goes with it. Nothing changes before all workers have succeeded.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import is_dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from sklearn_gln._network import share_rows
from sklearn_gln._online import OnlineNetwork, from_plain, to_plain
from sklearn_gln._regression_stack import RegressionStack
from sklearn_gln.kernels import as_numpy

Array = NDArray[Any]
Merge = Callable[[list[Any], int], Any]  # some states' arrays, or lists, as one; along this axis they have outputs

COMMON = {"settings", "predictor", "base_preconditioner"}  # to all outputs
HALFSPACES = {"hyperplanes", "offsets", "row_of", "n_rows"}  # common as well, if they are shared
WAITING = {"buffer": (1,), "pending": (0, 1)}  # rows: which of their arrays have outputs, on axis 1


def learn(
    model: Any, online: OnlineNetwork, X: Array, y: Array, sample_weight: Array, order: Array | None, n_workers: int,
    epoch: int, held_out: bool,
) -> tuple[OnlineNetwork, list[tuple[Array, Array]]]:  # fmt: skip
    """What `online`, which is left as it is, becomes by learning; and all that `OnlineNetwork.learn` would yield.

    The workers call `_learn` of `model`, an estimator that need not be fitted.
    """
    order = np.arange(len(X)) if order is None else order
    whole, rows = from_plain(to_plain(online)), as_numpy(X)
    bounds = np.linspace(0, len(online.outputs), n_workers + 1).astype(int)
    tasks = (
        delayed(_learn_part)(
            model, part(whole, outputs), rows, y[:, outputs] if y.ndim == 2 else y, sample_weight, order, epoch,
            held_out,
        )
        for outputs in map(slice, bounds[:-1], bounds[1:])
    )  # fmt: skip
    parts, predicted = zip(*Parallel(n_workers, batch_size=1)(tasks), strict=True)
    joined = join(parts)
    steps = online.steps(order, online.n_rows_seen + np.cumsum(sample_weight[order] > 0))
    predictions = [np.concatenate(of_block, axis=1) for of_block in zip(*predicted, strict=True)]
    if joined.stack is not None:
        return joined, [(rows, of_rows) for (rows, *_), of_rows in zip(steps, predictions, strict=True)]
    joined.stack = deepcopy(online.stack)
    return joined, list(joined.learn_stack(steps, predictions, y, sample_weight, epoch))


def _learn_part(
    model: Any, online: OnlineNetwork, X: Array, y: Array, sample_weight: Array, order: Array, epoch: int,
    held_out: bool,
) -> tuple[OnlineNetwork, list[Array]]:  # fmt: skip
    """What a worker does: the part of the network after learning, and what it predicted in each block."""
    online = deepcopy(online)  # engines may hand over memory that is the parent's, or cannot be written
    learned = model._learn(online, X, y, sample_weight, order, epoch, held_out=held_out)
    predicted = [predictions for _, predictions in learned]
    return from_plain(to_plain(online)), predicted


def part(online: OnlineNetwork, outputs: slice) -> OnlineNetwork:
    """The network, in NumPy, of some outputs; without the stack of classes. It shares memory with the whole."""

    def cut(states: list[Any], axis: int) -> Any:
        return states[0][outputs] if axis == 0 else states[0][:, outputs]

    stack = online.stack if isinstance(online.stack, RegressionStack) else None
    return _by_output(cut, [replace(online, stack=stack)], _common(online))


def join(parts: Sequence[OnlineNetwork]) -> OnlineNetwork:
    """The inverse of `part`."""

    def concatenate(states: list[Any], axis: int) -> Any:
        return list(chain(*states)) if isinstance(states[0], list) else np.concatenate(states, axis=axis)

    for layers in zip(*(part.network.layers for part in parts if part.network), strict=True):
        share_rows(layers)
    return _by_output(concatenate, list(parts), _common(parts[0]))


def _common(online: OnlineNetwork) -> set[str]:
    return COMMON | HALFSPACES if online.settings.share_halfspaces else COMMON


def _by_output(merge: Merge, states: list[Any], common: set[str], name: str = "") -> Any:
    """States that differ in their outputs alone as one: `merge` of all that these have, of the rest the first's."""
    first = states[0]
    if name in common:
        return first
    if isinstance(first, np.ndarray) or name == "scores":
        return merge(states, 0)
    if name in WAITING:
        return [
            tuple(
                merge(list(arrays), 1) if number in WAITING[name] and arrays[0].ndim > 1 else arrays[0]
                for number, arrays in enumerate(zip(*rows, strict=True))
            )
            for rows in zip(*states, strict=True)
        ]
    if isinstance(first, list):
        return [_by_output(merge, list(items), common) for items in zip(*states, strict=True)]
    if is_dataclass(first) and not isinstance(first, type):
        values = {key: [vars(state)[key] for state in states] for key in vars(first)}
        return replace(first, **{key: _by_output(merge, of_key, common, key) for key, of_key in values.items()})
    return first
