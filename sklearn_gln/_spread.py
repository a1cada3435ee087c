"""How far off the slots of the last layer have been: how noisy the target is where a sample lies.

Each slot sums the squared errors of the samples that it predicted before they were learned. At the clock's events these
sums become, slot by slot,

    r = (squared errors + PRIOR v) / (weight + PRIOR),   v: the mean squared error of all

and the variance of a target is the geometric mean of r over the neurons, plus the variance of their predictions: where
they disagree, few samples have been seen.
"""

from dataclasses import dataclass

import numpy as np

from sklearn_gln._arrays import Array
from sklearn_gln.kernels import Kernels

PRIOR = 2.0  # samples
SMALLEST = 1e-12  # mean squared error, of a target with deviation 1


@dataclass
class Spread:
    errors: Array  # (n_outputs, n_neurons, n_slots) float64: squared errors, summed
    weight: Array  # (n_outputs, n_neurons, n_slots) float64: of these samples, summed
    log_ratio: Array  # (n_outputs, n_neurons, n_slots): ln(r / v) of the last refresh
    mean_square: Array  # (n_outputs,): v of the last refresh

    @classmethod
    def empty(cls, accumulator: Array) -> "Spread":
        """A spread for the layer with this accumulator."""
        zeros = np.zeros_like(accumulator)
        return cls(zeros, zeros.copy(), zeros.copy(), np.ones(len(accumulator)))

    @property
    def by_slot(self) -> list[str]:
        """The names of arrays that have an element for each slot."""
        return ["errors", "weight", "log_ratio"]

    def variance(self, slots: Array, kernels: Kernels) -> Array:
        """The part of the target's variance (n, n_outputs) that the slots (n, n_outputs | 1, n_neurons) tell."""
        log_ratio = kernels.to_numpy(kernels.neuron_mean(kernels.at_slots(self.log_ratio, slots)))
        variance: Array = self.mean_square * np.exp(log_ratio)
        return variance

    def update(self, slots: Array, outputs: Array, targets: Array, sample_weight: Array, kernels: Kernels) -> None:
        """Take in outputs (n, n_outputs, n_neurons) made before targets (n, n_outputs) were known; weights (n, 1)."""
        errors = outputs - targets[..., np.newaxis]
        weights = sample_weight[..., np.newaxis] + 0 * errors
        self.errors = kernels.add_at_slots(self.errors, slots, weights * errors * errors)
        self.weight = kernels.add_at_slots(self.weight, slots, weights)

    def refresh(self, kernels: Kernels) -> None:
        errors, weight = kernels.to_numpy(self.errors), kernels.to_numpy(self.weight)
        total = weight.sum(axis=(1, 2))
        mean_square = errors.sum(axis=(1, 2)) / np.where(total > 0, total, 1)
        self.mean_square = np.where(total > 0, np.maximum(mean_square, SMALLEST), self.mean_square)
        scaled = errors / self.mean_square[:, np.newaxis, np.newaxis]
        self.log_ratio = kernels.asarray(np.log((scaled + PRIOR) / (weight + PRIOR)))

    def forget(self, factor: float) -> None:
        self.errors, self.weight = self.errors * factor, self.weight * factor
