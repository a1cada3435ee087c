"""A layer of neurons as plain arrays: weight vectors in slots, which contexts select."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sklearn_gln import _outputs
from sklearn_gln._arrays import BY_OUTPUT, OF_HALFSPACES, Array
from sklearn_gln._learning_rate import Preconditioner
from sklearn_gln._spread import Spread
from sklearn_gln.kernels import Kernels

GROWTH = 4  # of the room for slots: what is outgrown takes memory while it is copied


@dataclass
class Layer:
    """Weight vectors, in slots, are made for the contexts that have been visited, so that memory follows the data.

    Slot 0 of each neuron keeps the initial weights and stands for all other contexts. On a device, where looking for
    new contexts would stop the stream of work, every context has a slot of its number from the start.
    """

    weights: Array = field(
        metadata=BY_OUTPUT
    )  # (n_outputs, n_neurons, n_slots, n_inputs); slots of no context yet are 0
    accumulator: Array = field(
        metadata=BY_OUTPUT
    )  # (n_outputs, n_neurons, n_slots) float64: what damps the steps of each slot
    slot_of: Array | None = field(metadata=OF_HALFSPACES)  # (n_outputs | 1, n_neurons, n_contexts) int32, or None
    n_slots: Array | None = field(metadata=OF_HALFSPACES)  # (n_outputs | 1, n_neurons): slots in use, or None
    preconditioner: Preconditioner | None = field(metadata=BY_OUTPUT)  # of the layer below's outputs
    spread: Spread | None = field(default=None, metadata=BY_OUTPUT)  # of the last layer
    visits: Array | None = field(
        default=None, metadata=BY_OUTPUT
    )  # (n_outputs, n_neurons, n_slots) float64: weights of the samples that each slot has learned, summed

    @property
    def n_used(self) -> int:
        """The slots in use, of the neuron that uses most."""
        return self.weights.shape[2] if self.n_slots is None else int(self.n_slots.max())

    def slots(self, contexts: Array) -> Array:
        """The slots (n, n_outputs | 1, n_neurons) of contexts, shaped alike."""
        return contexts if self.slot_of is None else self.slot_of.reshape(-1).take(self._keys(contexts))

    def assign_slots(self, contexts: Array, exists: Array | None) -> Array:
        """As `slots`, and new contexts get slots, in the order of their first visits.

        Of the samples, those that do not exist (n,) visit nothing. Where memory does not suffice nothing changes.
        """
        slots = self.slots(contexts)
        if self.slot_of is None or self.n_slots is None:
            return slots
        is_new = slots == 0 if exists is None else (slots == 0) & exists[:, np.newaxis, np.newaxis]
        if not is_new.any():
            return slots
        n_contexts = self.slot_of.shape[2]
        keys, first = np.unique(self._keys(contexts)[is_new], return_index=True)
        keys = keys[np.lexsort((first, keys // n_contexts))]  # neuron by neuron, in the order of time
        chains = keys // n_contexts
        made = self.n_slots.ravel()[chains] + np.arange(len(keys)) - np.searchsorted(chains, chains)
        n_used = self.n_slots + np.bincount(chains, minlength=self.n_slots.size).reshape(self.n_slots.shape)
        n_slots = self.weights.shape[2]
        if n_used.max() > n_slots:
            capacity = max(GROWTH * n_slots, int(n_used.max()))
            capacity = n_contexts + 1 if 2 * capacity > n_contexts else capacity
            self._map_slots(lambda array: _with_slots(array, capacity))
        outputs, neurons = np.unravel_index(chains, self.n_slots.shape)
        if len(self.n_slots) == 1:
            for weights, accumulator in zip(self.weights, self.accumulator, strict=True):
                weights[neurons, made], accumulator[neurons, made] = weights[neurons, 0], 0
        else:
            self.weights[outputs, neurons, made] = self.weights[outputs, neurons, 0]
            self.accumulator[outputs, neurons, made] = 0
        self.slot_of.reshape(-1)[keys] = made
        self.n_slots = n_used
        return self.slots(contexts)

    def is_writable(self) -> bool:
        """Whether learning can write the arrays, which memory-mapped files may forbid; of NumPy arrays only."""
        arrays = [self.weights, self.accumulator, self.slot_of, self.n_slots, self.visits]
        arrays += [] if self.spread is None else [getattr(self.spread, name) for name in self.spread.by_slot]
        return all(array is None or array.flags.writeable for array in arrays)

    def move_to(self, kernels: Kernels) -> None:
        self._map_slots(kernels.asarray)
        if kernels.ON_DEVICE:
            if self.slot_of is not None:
                slot_of = kernels.asarray(self.slot_of)
                self._map_slots(lambda array: kernels.expand(array, slot_of), slot_of=None, n_slots=None)
        elif not self.is_writable():
            self._map_slots(np.copy)
            if self.slot_of is not None and self.n_slots is not None:
                self.slot_of, self.n_slots = self.slot_of.copy(), self.n_slots.copy()

    def of_outputs(self, places: Array) -> "Layer":
        """The layer, in NumPy, of the outputs at these places, which share halfspaces; with as much room for slots."""
        n_used = self.n_used

        def take(array: Array) -> Array:
            taken = np.zeros((len(places), *array.shape[1:]), array.dtype)  # what is not written costs nothing
            for output, place in zip(taken, places, strict=True):
                output[:, :n_used] = array[place, :, :n_used]
            return taken

        by_slot = {"weights": self.weights, "accumulator": self.accumulator}
        by_slot |= {} if self.visits is None else {"visits": self.visits}
        taken = copy(self)
        vars(taken).update({name: array[:, :, :0] for name, array in by_slot.items()})
        taken = _outputs.take(taken, places, shares_halfspaces=True)
        vars(taken).update({name: take(array) for name, array in by_slot.items()})
        return taken

    def trimmed(self) -> "Layer":
        """The layer without room for slots to come."""
        n_used = self.n_used
        if n_used == self.weights.shape[2]:
            return self
        trimmed = copy(self)
        trimmed._map_slots(lambda array: np.ascontiguousarray(array[:, :, :n_used]))
        return trimmed

    def make_room(self, n_slots: int) -> None:
        """Have room for n_slots slots."""
        if self.weights.shape[2] < n_slots:
            self._map_slots(lambda array: _with_slots(array, n_slots))

    def _map_slots(self, function: Callable[[Array], Array], **others: None) -> None:
        """Replace the arrays that have an element for each slot, and others: all at once, or none if it fails."""
        replaced: dict[str, Any] = {
            "weights": function(self.weights),
            "accumulator": function(self.accumulator),
            "visits": None if self.visits is None else function(self.visits),
            **others,
        }
        if self.spread is not None:
            by_slot = {name: function(getattr(self.spread, name)) for name in self.spread.by_slot}
            replaced["spread"] = replace(self.spread, **by_slot)
        vars(self).update(replaced)

    def _keys(self, contexts: Array) -> Array:
        """Where the flat `slot_of` has these contexts."""
        assert self.slot_of is not None  # noqa: S101
        n_outputs, n_neurons, n_contexts = self.slot_of.shape
        return np.arange(0, self.slot_of.size, n_contexts).reshape(n_outputs, n_neurons) + contexts


def _with_slots(array: Array, n_slots: int) -> Array:
    """A copy with room for n_slots slots; memory that is not written yet costs nothing."""
    wider = np.zeros((*array.shape[:2], n_slots, *array.shape[3:]), array.dtype)
    wider[:, :, : array.shape[2]] = array
    return wider
