"""Columns of categories: what the earlier samples of a level were, as inputs of neurons; indicators of few levels.

Of each level, output and memory are kept the weight W of the samples so far and the sum S of their targets. A sample
meets what they were just before it; with the same of all samples, w and s, it has the evidence

    logit r - logit p,   r = (S + A p) / (W + A),   p = (s + 1/2) / (w + 1)     where targets are classes
    (S - W m) / (W + A),                            m = s / w                   where they are real
    W / (W + A)                                                                 in both cases

This is the ordered target statistic of CatBoost (Prokhorenkova et al. 2018, section 3.2) in the order of the stream: it
is causal, as wide for a million levels as for two, and 0 for a level that has not come. One memory forgets as the
network does; in a stream there is a short one too. Levels of columns that have few get indicators as well, by which
halfspaces may cut.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from sklearn_gln._arrays import BY_OUTPUT, Array
from sklearn_gln._evidence import Evidence, scrambled
from sklearn_gln._likelihood import Likelihood
from sklearn_gln._settings import Settings
from sklearn_gln.kernels import Kernels, as_numpy

MISSING = np.inf  # the key of missing levels: it sorts
PER_MEMORY = 2  # inputs of a column
MAX_INDICATED = 32  # levels that a column with indicators has among the first samples
ROOM = 8  # more levels of such columns that may come: a stream may begin on one day of the week
MAX_INDICATORS = MAX_INDICATED + ROOM  # of a column
FEW = 32  # samples of a level that are summed together with those of other levels, rank by rank
FIRST_SLOTS = 16


class Met(NamedTuple):
    """Sums as samples met them, just before each was learned."""

    sums: Array  # (n_outputs, n_memories, n): S
    weight: Array  # (n_outputs, n_memories, n): W


@dataclass
class Levels:
    """The levels of a column, in slots, in the order in which they came; slot 0 stands for those that have not.

    Once there are max_levels, others share slots with them.
    """

    max_levels: int
    n_levels: int
    keys: Array  # (n_slots,) float64: of the level in each slot
    table: Array  # (2**b,) int32: a hash table of slots, with open addressing; 0: none
    sums: Array = field(metadata=BY_OUTPUT)  # (n_outputs, n_memories, n_slots): S
    weight: Array = field(metadata=BY_OUTPUT)  # (n_outputs, n_memories, n_slots): W
    n_forgotten: Array  # (n_slots,) int: how often what is in a slot has been made to count less

    @classmethod
    def empty(cls, n_outputs: int, n_memories: int, max_levels: int) -> "Levels":
        sums, weight = np.zeros((2, n_outputs, n_memories, FIRST_SLOTS))
        keys, n_forgotten = np.zeros(FIRST_SLOTS), np.zeros(FIRST_SLOTS, int)
        return cls(max_levels, 0, keys, np.zeros(2 * FIRST_SLOTS, np.int32), sums, weight, n_forgotten)

    def find(self, keys: Array) -> Array:
        """The slots (n,) of keys."""
        slots, _ = self._look_up(keys)
        return slots if self.n_levels < self.max_levels else self._with_shared(slots, keys)

    def assign(self, keys: Array, exists: Array) -> tuple[Array, Array]:
        """As `find`, if new levels of samples that exist (n,) had slots; and these levels, in their order."""
        slots, _ = self._look_up(keys)
        unknown, n_free = np.flatnonzero(slots == 0), self.max_levels - self.n_levels
        of_samples = unknown[exists[unknown]]
        new, first = np.unique(keys[of_samples], return_index=True)
        come = np.argsort(first)[:n_free]
        if len(new):
            made = np.zeros(len(new), int)
            made[come] = self.n_levels + 1 + np.arange(len(come))
            places = np.minimum(np.searchsorted(new, keys[unknown]), len(new) - 1)
            slots[unknown] = np.where(new[places] == keys[unknown], made[places], 0)
        if len(come) == n_free:  # it is full, from the sample on after that of the last new level
            start = of_samples[first[come[-1]]] + 1 if n_free else 0
            slots[start:] = self._with_shared(slots[start:], keys[start:])
        return slots, new[come]

    def _with_shared(self, slots: Array, keys: Array) -> Array:
        shared = 1 + _hashes(keys) % np.uint64(self.max_levels)
        return np.where(slots > 0, slots, shared.astype(int))

    def _look_up(self, keys: Array) -> tuple[Array, Array]:
        """The slots (n,) of keys, 0 for those that have none, and where in the table these are or would be."""
        last = len(self.table) - 1
        places = (_hashes(keys) & np.uint64(last)).astype(int)
        slots = self.table[places].astype(int)
        others = np.flatnonzero((slots > 0) & (self.keys[slots] != keys))
        while len(others):
            places[others] = (places[others] + 1) & last
            slots[others] = self.table[places[others]]
            others = others[(slots[others] > 0) & (self.keys[slots[others]] != keys[others])]
        return slots, places

    def add(self, keys: Array) -> None:
        """Give keys, which have none, slots in their order."""
        start, self.n_levels = self.n_levels + 1, self.n_levels + len(keys)
        n_slots = len(self.keys)
        if self.n_levels >= n_slots:
            more = max(self.n_levels + 1, 2 * n_slots) - n_slots
            self.sums, self.weight, self.keys, self.n_forgotten = (
                np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, more)])
                for array in (self.sums, self.weight, self.keys, self.n_forgotten)
            )
        self.keys[start : self.n_levels + 1] = keys
        if 2 * self.n_levels > len(self.table):
            start, self.table = 1, np.zeros(2 << self.n_levels.bit_length(), np.int32)
        slots = np.arange(start, self.n_levels + 1)
        while len(slots):
            _, places = self._look_up(self.keys[slots])
            taken, first = np.unique(places, return_index=True)
            self.table[taken] = slots[first]
            slots = np.delete(slots, first)

    def recall(self, slots: Array, kept: Array, n_forgotten: int) -> Met:
        """What is known of slots (n,); each time of forgetting less counts, by factors kept (n_memories,)."""
        slots = np.where(slots > self.n_levels, 0, slots)
        factors = kept[:, np.newaxis] ** (n_forgotten - self.n_forgotten[slots])
        return Met(self.sums[:, :, slots] * factors, self.weight[:, :, slots] * factors)

    def meet(
        self, keys: Array, exists: Array, targets: Array, weight: Array, kept: Array, n_forgotten: int
    ) -> tuple[Met, Callable[[], None]]:
        """As `recall`, of keys (n,), sample by sample as they are learned, and what has them be learned.

        targets and weight are (n_outputs, n).
        """
        slots, new = self.assign(keys, exists)
        in_order = np.argsort(slots, kind="stable")
        ordered = slots[in_order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        touched = ordered[starts]
        before = self.recall(touched, kept, n_forgotten)
        group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(slots)))
        met, after = [], []
        for of_slots, added in zip(before, (targets * weight, weight), strict=True):
            sorted_, of_samples = added[:, in_order], np.empty((*of_slots.shape[:2], len(slots)))
            of_samples[:, :, in_order] = of_slots[:, :, group] + _sums_before(sorted_, starts)[:, np.newaxis]
            met.append(of_samples)
            after.append(of_slots + np.add.reduceat(sorted_, starts, axis=1)[:, np.newaxis])
        is_slot = touched > 0

        def learn() -> None:
            self.add(new)
            self.sums[:, :, touched[is_slot]], self.weight[:, :, touched[is_slot]] = (a[:, :, is_slot] for a in after)
            self.n_forgotten[touched[is_slot]] = n_forgotten

        return Met(*met), learn


def _sums_before(values: Array, starts: Array) -> Array:
    """Of values (k, n), in groups that begin at starts, the sums of those before each in its group.

    Differences of running sums would round by other groups, by what comes later, and by the value itself.
    """
    sizes = np.diff(starts, append=values.shape[1])
    sums = np.zeros_like(values)
    for start, size in zip(starts[sizes > FEW], sizes[sizes > FEW], strict=True):
        np.cumsum(values[:, start : start + size - 1], axis=1, out=sums[:, start + 1 : start + size])
    for rank in range(1, min(sizes.max(initial=0), FEW)):
        places = starts[(sizes > rank) & (sizes <= FEW)] + rank
        sums[:, places] = sums[:, places - 1] + values[:, places - 1]
    return sums


def _hashes(keys: Array) -> Array:
    return scrambled(keys.view(np.uint64))


def estimate_memory(n_categorical: int, n_outputs: int, n_samples: float, settings: Settings) -> int:
    """Bytes of what is known of categories' levels, at most, and of what is kept of each sample in a fit."""
    n_memories = len(settings.half_lives_of_levels)
    n_slots = 2 * min(n_samples, settings.max_levels)  # with room to grow
    of_levels = n_slots * 8 * (2 * n_outputs * n_memories + 3)
    of_samples = 0 if np.isinf(n_samples) else n_samples * 8 * n_outputs * n_memories * PER_MEMORY
    return int(n_categorical * (of_levels + of_samples))


@dataclass
class Categories(Evidence):
    n_features: int  # of samples X (n, n_columns), which may have other columns after them
    columns: Array  # (n_categorical,) int: features that are categories
    levels: list[Levels]  # of each of them
    kept: Array  # (n_memories,): by what the samples so far count less each time they are made to
    sums: Array = field(metadata=BY_OUTPUT)  # (n_outputs,): s
    weight: Array = field(metadata=BY_OUTPUT)  # (n_outputs,): w
    indicated_columns: Array  # (n_indicators,) int: which of the columns
    indicated_keys: Array  # (n_indicators,): which of its levels; NaN: none yet
    n_forgotten: int = 0

    @classmethod
    def empty(
        cls, n_features: int, columns: Array, n_outputs: int, kept: Sequence[float], max_levels: int
    ) -> "Categories":
        levels = [Levels.empty(n_outputs, len(kept), max_levels) for _ in columns]
        none = np.zeros(0)
        sums, weight = np.zeros((2, n_outputs))
        return cls(n_features, columns, levels, np.array(kept, float), sums, weight, none.astype(int), none)

    @property
    def n_outputs(self) -> int:
        return len(self.sums)

    @property
    def n_evidence(self) -> int:
        return len(self.columns) * len(self.kept) * PER_MEMORY

    @property
    def n_indicators(self) -> int:
        return len(self.indicated_keys)

    @property
    def n_expanded(self) -> int:
        """Features in `expanded`."""
        return self.n_features - len(self.columns) + self.n_indicators

    @property
    def numbers(self) -> Array:
        """The features that are numbers."""
        return np.delete(np.arange(self.n_features), self.columns)

    @property
    def sources(self) -> Array:
        """The features that the columns of `expanded` are of, but for those after the features."""
        return np.concatenate([self.numbers, self.columns[self.indicated_columns]])

    @property
    def evidence_sources(self) -> Array:
        """The features that inputs of evidence are of."""
        return np.tile(np.repeat(self.columns, len(self.kept)), PER_MEMORY)

    def rows(self, X: Any, indices: Array) -> Array:
        rows: Array = as_numpy(X)[indices]
        return rows

    def compact(self, rows: Array) -> Array:
        return rows

    def expanded(self, X: Array) -> Array:
        """Samples with the features that are numbers, indicators of levels, and the columns after the features."""
        indicators = self._keys(X)[:, self.indicated_columns] == self.indicated_keys
        return np.hstack([X[:, self.numbers], indicators, X[:, self.n_features :]])

    def _keys(self, X: Array) -> Array:
        values = X[:, self.columns].astype(float)
        return np.where(np.isnan(values), MISSING, values + 0.0)  # without -0

    def choose_indicators(self) -> None:
        """Have indicators of the levels so far, and of some to come, where they are few."""
        columns, keys = [np.zeros(0, int)], [np.zeros(0)]
        for column, levels in enumerate(self.levels):
            if levels.n_levels <= MAX_INDICATED:
                keys += [levels.keys[1 : levels.n_levels + 1], np.full(ROOM, np.nan)]
                columns.append(np.full(levels.n_levels + ROOM, column))
        if len(columns) == 1 and not len(self.numbers):  # without a feature there is nothing to cut
            keys, columns = [self.levels[0].keys[1:2]], [np.zeros(1, int)]
        self.indicated_columns, self.indicated_keys = np.concatenate(columns), np.concatenate(keys)

    def indicate(self) -> None:
        """Have levels that have come since get the indicators that wait for them."""
        for column in np.unique(self.indicated_columns):
            levels, places = self.levels[column], np.flatnonzero(self.indicated_columns == column)
            n_come = min(levels.n_levels, len(places))
            self.indicated_keys[places[:n_come]] = levels.keys[1 : n_come + 1]

    def meet(
        self,
        rows: Array,
        targets: Array,
        sample_weight: Array,
        likelihood: Likelihood,
        kernels: Kernels,  # noqa: ARG002
    ) -> tuple[Array, Callable[[], None]]:
        weight = np.where(np.isnan(targets), 0, sample_weight[:, np.newaxis]).T
        targets = np.nan_to_num(targets).T
        all_weight, all_sums = (_sums_before(added, np.zeros(1, int)) for added in (weight, targets * weight))
        all_weight += self.weight[:, np.newaxis]
        all_sums += self.sums[:, np.newaxis]
        exists, parts, commits = sample_weight > 0, [], []
        for levels, keys in zip(self.levels, self._keys(rows).T, strict=True):
            met, commit = levels.meet(keys, exists, targets, weight, self.kept, self.n_forgotten)
            parts.append(likelihood.evidence(*met, all_sums[:, np.newaxis], all_weight[:, np.newaxis]))
            commits.append(commit)

        def learn() -> None:
            for commit in commits:
                commit()
            self.weight, self.sums = self.weight + weight.sum(axis=1), self.sums + (targets * weight).sum(axis=1)

        return self._evidence(parts), learn

    def recall(self, rows: Array, likelihood: Likelihood, kernels: Kernels) -> Array:  # noqa: ARG002
        keys = self._keys(rows).T
        parts = [self.known(of, levels.find(keys[of]), likelihood) for of, levels in enumerate(self.levels)]
        return self._evidence(parts)

    def known(self, column: int, slots: Array, likelihood: Likelihood) -> Array:
        """The evidence (PER_MEMORY, n_outputs, n_memories, n) of a column's slots (n,)."""
        met = self.levels[column].recall(slots, self.kept, self.n_forgotten)
        totals = self.sums[:, np.newaxis, np.newaxis], self.weight[:, np.newaxis, np.newaxis]
        return likelihood.evidence(*met, *totals)

    def _evidence(self, parts: list[Array]) -> Array:
        """Of columns (PER_MEMORY, n_outputs, n_memories, n) each: shifts first, then how sure they are."""
        stacked = np.stack(parts, axis=1).transpose(4, 2, 0, 1, 3)  # from (PER_MEMORY, columns, outputs, memories, n)
        return stacked.reshape(*stacked.shape[:2], self.n_evidence)

    def forget(self) -> None:
        self.n_forgotten += 1
        self.sums, self.weight = self.sums * self.kept[0], self.weight * self.kept[0]
