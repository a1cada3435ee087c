"""The oracle of categories: what was known of levels in dicts, forgotten at once, and their indicators."""

import math
from collections import defaultdict

from tests.naive import clip, logit

PRIOR = 10.0  # rows' worth of all rows' mean in that of a level


def level_of(value):
    return "missing" if math.isnan(value) else value


class NaiveCategories:
    """What is known of the levels of some columns, whose targets are classes or real numbers."""

    def __init__(self, columns, n_outputs, half_life, *, real):
        self.columns, self.n_outputs, self.real = list(columns), n_outputs, real
        half_lives = [None, 500.0] if half_life == "mixed" else [half_life]
        self.kept = [1.0 if h is None else 0.5 ** (256 / h) for h in half_lives]
        shape = self.columns, range(n_outputs), self.kept
        self.sums, self.weights = ({key: defaultdict(float) for key in keys_of(*shape)} for _ in range(2))
        self.all_sums, self.all_weights = [0.0] * n_outputs, [0.0] * n_outputs
        self.levels = {column: [] for column in self.columns}  # in the order in which they came
        self.indicated = []  # (column, level) of each indicator; level None: it waits for one

    def evidence(self, features):
        """Of each output the shifts of a row's levels, and how sure they are."""
        evidence = []
        for output in range(self.n_outputs):
            keys = keys_of(self.columns, [output], self.kept)
            shifts, sureness = zip(*(self.of_level(*key, level_of(features[key[0]])) for key in keys), strict=True)
            evidence.append((shifts, sureness))
        return evidence

    def of_level(self, column, output, memory, level):
        """The shift of a level's mean, and how sure it is."""
        total, weight = self.sums[column, output, memory][level], self.weights[column, output, memory][level]
        all_of, all_weight = self.all_sums[output], self.all_weights[output]
        if self.real:
            mean = all_of / all_weight if all_weight else 0.0
            shift = (total - weight * mean) / (weight + PRIOR)
        else:
            share = (all_of + 0.5) / (all_weight + 1.0)
            shift = logit((total + PRIOR * share) / (weight + PRIOR)) - logit(share)
        return shift, weight / (weight + PRIOR)

    def learn(self, features, targets, weight):
        for column in self.columns:
            level = level_of(features[column])
            if level not in self.levels[column]:
                self.levels[column].append(level)
        for output, target in enumerate(targets):
            if math.isnan(target):
                continue
            self.all_sums[output] += weight * target
            self.all_weights[output] += weight
            for key in keys_of(self.columns, [output], self.kept):
                self.sums[key][level_of(features[key[0]])] += weight * target
                self.weights[key][level_of(features[key[0]])] += weight

    def forget(self):
        for known in (self.sums, self.weights):
            for (_, _, memory), of_levels in known.items():
                for level in of_levels:
                    of_levels[level] *= self.kept[memory]
        for totals in (self.all_sums, self.all_weights):
            totals[:] = [self.kept[0] * total for total in totals]

    # Indicators

    def choose_indicators(self):
        """Of columns of up to 32 levels, and eight that wait for more."""
        self.indicated = []
        for column in self.columns:
            levels = self.levels[column]
            if len(levels) <= 32:
                self.indicated += [(column, level) for level in [*levels, *[None] * 8]]

    def indicate(self):
        """Levels that have come since get the indicators that wait."""
        for column in self.columns:
            places = [place for place, (of, _) in enumerate(self.indicated) if of == column]
            for place, level in zip(places, self.levels[column], strict=False):
                self.indicated[place] = column, level

    def expand(self, features):
        """The features that are numbers, then indicators."""
        numbers = [value for column, value in enumerate(features) if column not in self.columns]
        return numbers + [float(level_of(features[column]) == level) for column, level in self.indicated]

    def scaled(self, evidence, unit):
        """Evidence of an output, as its neurons take it."""
        shifts, sureness = evidence
        return [clip(shift / unit, -8.0, 8.0) for shift in shifts] + list(sureness)


def keys_of(columns, outputs, kept):
    return [(column, output, memory) for output in outputs for column in columns for memory in range(len(kept))]
