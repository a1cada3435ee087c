"""A network's outputs, which are independent of each other: some of them as a network of their own, and parts joined.

Which arrays are by output is said by the dataclasses' fields; see `_arrays`.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from sklearn_gln._arrays import Array

State = TypeVar("State")
Merge = Callable[[list[Any], int], Any]  # some states' arrays, or lists, as one; along this axis they have outputs


def take(state: State, places: slice | Array, *, shares_halfspaces: bool) -> State:
    """The state, in NumPy, of the outputs at these places; with a slice it shares memory with the whole."""

    def cut(states: list[Any], axis: int) -> Any:
        if isinstance(states[0], list):
            return [states[0][place] for place in np.arange(len(states[0]))[places]]
        return states[0][places] if axis == 0 else states[0][:, places]

    taken: State = _by_output(cut, [state], shares_halfspaces)
    return taken


def join(parts: Sequence[State], *, shares_halfspaces: bool) -> State:
    """The inverse of `take`, of states in NumPy."""

    def concatenate(states: list[Any], axis: int) -> Any:
        return list(chain(*states)) if isinstance(states[0], list) else np.concatenate(states, axis=axis)

    joined: State = _by_output(concatenate, list(parts), shares_halfspaces)
    return joined


def _by_output(merge: Merge, states: list[Any], shares_halfspaces: bool, axis: int | None = None) -> Any:
    """States that differ in their outputs alone as one: `merge` of what fields say are by output, else the first's."""
    first = states[0]
    if is_dataclass(first) and not isinstance(first, type):
        values = {}
        for item in fields(first):
            metadata = item.metadata
            of_field = metadata.get("output_axis", axis)
            if metadata.get("of_halfspaces") and shares_halfspaces:
                of_field = None
            values[item.name] = _by_output(
                merge, [getattr(state, item.name) for state in states], shares_halfspaces, of_field
            )
        return replace(first, **values)
    if isinstance(first, list) and axis is None:
        return [_by_output(merge, list(items), shares_halfspaces) for items in zip(*states, strict=True)]
    has_axis = isinstance(first, list) or (isinstance(first, np.ndarray) and axis is not None and first.ndim > axis)
    return merge(states, axis) if axis is not None and has_axis else first
