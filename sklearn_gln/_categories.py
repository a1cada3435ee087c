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
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from sklearn_gln._arrays import BY_OUTPUT, BY_SAMPLE_AND_OUTPUT, Array
from sklearn_gln._likelihood import Likelihood
from sklearn_gln._settings import Settings

MISSING = np.inf  # the key of missing levels: it sorts
PER_MEMORY = 2  # inputs of a column
LIMIT = 8.0  # of shifts, logits or deviations of the target
MAX_INDICATED = 32  # levels that a column with indicators has among the first samples
ROOM = 0.5  # of these levels: more that may come
MAX_INDICATORS = int((1 + ROOM) * MAX_INDICATED)  # of a column
FEW = 32  # samples of a level that are summed together with those of other levels, rank by rank
SPREAD = np.uint64(0x9E3779B97F4A7C15)  # of keys, by multiplication (Knuth, The Art of Computer Programming, 6.4)


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
    keys: Array  # (n_levels,) float64, increasing
    slots: Array  # (n_levels,) int: of the keys
    sums: Array = field(metadata=BY_OUTPUT)  # (n_outputs, n_memories, n_slots): S
    weight: Array = field(metadata=BY_OUTPUT)  # (n_outputs, n_memories, n_slots): W
    n_forgotten: Array  # (n_slots,) int: how often what is in a slot has been made to count less

    @classmethod
    def empty(cls, n_outputs: int, n_memories: int, max_levels: int) -> "Levels":
        sums, weight = np.zeros((2, n_outputs, n_memories, 1))
        return cls(max_levels, np.zeros(0), np.zeros(0, int), sums, weight, np.zeros(1, int))

    def __len__(self) -> int:
        return len(self.keys)

    def in_order(self) -> Array:
        """The keys in the order in which they came."""
        return self.keys[np.argsort(self.slots)]

    def find(self, keys: Array) -> Array:
        """The slots (n,) of keys."""
        slots, is_known = self._known(keys)
        return slots if len(self) < self.max_levels else np.where(is_known, slots, self._shared(keys))

    def _known(self, keys: Array) -> tuple[Array, Array]:
        """The slots (n,) of keys, 0 for those that have none, and which have one."""
        if not len(self):
            return np.zeros(len(keys), int), np.zeros(len(keys), bool)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self) - 1)
        is_known = self.keys[places] == keys
        return np.where(is_known, self.slots[places], 0), is_known

    def _shared(self, keys: Array) -> Array:
        spread = (keys.view(np.uint64) * SPREAD) >> np.uint64(32)
        return 1 + (spread % np.uint64(self.max_levels)).astype(int)

    def assign(self, keys: Array, exists: Array) -> Array:
        """As `find`, and levels of samples that exist (n,) get slots where they are new."""
        is_new = (self.find(keys) == 0) & exists
        if is_new.any():
            new, first = np.unique(keys[is_new], return_index=True)
            come = np.argsort(first)[: self.max_levels - len(self)]
            full_from = np.flatnonzero(is_new)[first[come[-1]]] + 1  # if it is full thereafter
            made = np.zeros(len(new), int)
            made[come] = len(self) + 1 + np.arange(len(come))
            new, made = new[made > 0], made[made > 0]
            places = np.searchsorted(self.keys, new)
            self.keys, self.slots = np.insert(self.keys, places, new), np.insert(self.slots, places, made)
            self._make_room()
            slots, _ = self._known(keys)
            if len(self) == self.max_levels:
                slots[full_from:] = self.find(keys[full_from:])
            return slots
        return self.find(keys)

    def _make_room(self) -> None:
        n_slots = len(self.n_forgotten)
        if len(self) >= n_slots:
            more = max(len(self) + 1, 2 * n_slots) - n_slots
            self.sums, self.weight = (np.pad(a, ((0, 0), (0, 0), (0, more))) for a in (self.sums, self.weight))
            self.n_forgotten = np.pad(self.n_forgotten, (0, more))

    def recall(self, slots: Array, kept: Array, n_forgotten: int) -> Met:
        """What is known of slots (n,); each time of forgetting less counts, by factors kept (n_memories,)."""
        factors = kept[:, np.newaxis] ** (n_forgotten - self.n_forgotten[slots])
        return Met(self.sums[:, :, slots] * factors, self.weight[:, :, slots] * factors)

    def meet(
        self, slots: Array, targets: Array, weight: Array, kept: Array, n_forgotten: int
    ) -> tuple[Met, Callable[[], None]]:
        """As `recall`, sample by sample as they are learned, and what has them be learned.

        targets and weight are (n_outputs, n).
        """
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


def estimate_memory(n_categorical: int, n_outputs: int, n_samples: float, settings: Settings) -> int:
    """Bytes of what is known of categories' levels, at most, and of what is kept of each sample in a fit."""
    n_memories = len(settings.half_lives_of_levels)
    n_slots = 2 * min(n_samples, settings.max_levels)  # with room to grow
    of_levels = n_slots * 8 * (2 * n_outputs * n_memories + 3)
    of_samples = 0 if np.isinf(n_samples) else n_samples * 8 * n_outputs * n_memories * PER_MEMORY
    return int(n_categorical * (of_levels + of_samples))


@dataclass
class Categories:
    n_features: int  # of samples X (n, n_columns), which may have other columns after them
    columns: Array  # (n_categorical,) int: features that are categories
    levels: list[Levels]  # of each of them
    kept: Array  # (n_memories,): by what the samples so far count less each time they are made to
    sums: Array = field(metadata=BY_OUTPUT)  # (n_outputs,): s
    weight: Array = field(metadata=BY_OUTPUT)  # (n_outputs,): w
    indicated_columns: Array  # (n_indicators,) int: which of the columns
    indicated_keys: Array  # (n_indicators,): which of its levels; NaN: none yet
    n_forgotten: int = 0
    met: Array | None = field(default=None, metadata=BY_SAMPLE_AND_OUTPUT)
    # (n, n_outputs, n_evidence): in a fit, of each sample at its first visit; NaN before it

    @classmethod
    def empty(
        cls, n_features: int, columns: Array, n_outputs: int, kept: Sequence[float], max_levels: int
    ) -> "Categories":
        levels = [Levels.empty(n_outputs, len(kept), max_levels) for _ in columns]
        none = np.zeros(0)
        sums, weight = np.zeros((2, n_outputs))
        return cls(n_features, columns, levels, np.array(kept, float), sums, weight, none.astype(int), none)

    @property
    def n_evidence(self) -> int:
        """Inputs of a neuron."""
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
        return np.setdiff1d(np.arange(self.n_features), self.columns)

    @property
    def sources(self) -> Array:
        """The features that the columns of `expanded` are of, but for those after the features."""
        return np.concatenate([self.numbers, self.columns[self.indicated_columns]])

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
            if len(levels) <= MAX_INDICATED:
                n_more = max(2, int(ROOM * len(levels)))
                keys += [levels.in_order(), np.full(n_more, np.nan)]
                columns.append(np.full(len(levels) + n_more, column))
        if len(columns) == 1 and not len(self.numbers):  # without a feature there is nothing to cut
            keys, columns = [self.levels[0].in_order()[:1]], [np.zeros(1, int)]
        self.indicated_columns, self.indicated_keys = np.concatenate(columns), np.concatenate(keys)

    def indicate(self) -> None:
        """Have levels that have come since get the indicators that wait for them."""
        for column in np.unique(self.indicated_columns):
            of_column = np.flatnonzero(self.indicated_columns == column)
            come = self.levels[column].in_order()[: len(of_column)]
            self.indicated_keys[of_column[: len(come)]] = come

    def meet(
        self, X: Array, targets: Array, sample_weight: Array, likelihood: Likelihood
    ) -> tuple[Array, Callable[[], None]]:
        """The evidence (n, n_outputs, n_evidence) that samples meet just before they are learned, in their order.

        And what has their targets (n, n_outputs), NaN where there is none, be learned.
        """
        weight = np.where(np.isnan(targets), 0, sample_weight[:, np.newaxis]).T
        targets = np.nan_to_num(targets).T
        all_weight, all_sums = (_sums_before(added, np.zeros(1, int)) for added in (weight, targets * weight))
        all_weight += self.weight[:, np.newaxis]
        all_sums += self.sums[:, np.newaxis]
        exists, parts, commits = sample_weight > 0, [], []
        after = [replace(levels) for levels in self.levels]  # with slots of new levels
        for levels, keys in zip(after, self._keys(X).T, strict=True):
            met, commit = levels.meet(levels.assign(keys, exists), targets, weight, self.kept, self.n_forgotten)
            parts.append(likelihood.evidence(*met, all_sums[:, np.newaxis], all_weight[:, np.newaxis]))
            commits.append(commit)

        def learn() -> None:
            self.levels = after
            for commit in commits:
                commit()
            self.weight, self.sums = self.weight + weight.sum(axis=1), self.sums + (targets * weight).sum(axis=1)

        return self._evidence(parts), learn

    def recall(self, X: Array, likelihood: Likelihood) -> Array:
        """The evidence (n, n_outputs, n_evidence) of samples that are predicted only."""
        totals = self.sums[:, np.newaxis, np.newaxis], self.weight[:, np.newaxis, np.newaxis]
        parts = []
        for levels, keys in zip(self.levels, self._keys(X).T, strict=True):
            met = levels.recall(levels.find(keys), self.kept, self.n_forgotten)
            parts.append(likelihood.evidence(*met, *totals))
        return self._evidence(parts)

    def _evidence(self, parts: list[Array]) -> Array:
        """Of columns (PER_MEMORY, n_outputs, n_memories, n) each: shifts first, then how sure they are."""
        stacked = np.stack(parts, axis=1).transpose(4, 2, 0, 1, 3)  # from (PER_MEMORY, columns, outputs, memories, n)
        return stacked.reshape(*stacked.shape[:2], self.n_evidence)

    def scaled(self, evidence: Array, unit: Array) -> Array:
        """Evidence as neurons take it; the unit (n_outputs | 1,) is that of targets."""
        shifts, sureness = np.split(evidence, 2, axis=2)
        return np.concatenate([np.clip(shifts / unit[:, np.newaxis], -LIMIT, LIMIT), sureness], axis=2)

    def begin_fit(self, n_samples: int) -> None:
        """Keep what samples meet, each at its index, for later epochs."""
        self.met = np.full((n_samples, len(self.sums), self.n_evidence), np.nan)

    def keep(self, indices: Array, evidence: Array) -> None:
        if self.met is not None:
            self.met[indices] = evidence

    def met_before(self, indices: Array) -> Array | None:
        """What samples met before in this fit; None if they come for the first time."""
        is_new = self.met is None or np.isnan(self.met[indices[0], 0, 0])
        return None if self.met is None or is_new else self.met[indices]

    def end_fit(self) -> None:
        self.met = None

    def forget(self) -> None:
        self.n_forgotten += 1
        self.sums, self.weight = self.sums * self.kept[0], self.weight * self.kept[0]
