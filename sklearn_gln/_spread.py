"""How far off the weight rows of the last layer have been: how noisy the target is where a row lies.

Each weight row sums the squared errors of the rows that it predicted before they were learned. At the clock's events
the means of these sums become, row by row,

    r = (squared errors + PRIOR v) / (visits + PRIOR),   v: the mean squared error of all

and a prediction's variance is the geometric mean of r over the neurons plus the variance of what they predict: where
they disagree, few rows have been seen.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklearn_gln.kernels import Kernels

Array = NDArray[Any]

PRIOR = 2.0  # visits
SMALLEST = 1e-12  # mean squared error, of a target with deviation 1


@dataclass
class Spread:
    errors: Array  # (n_outputs, n_neurons, n_rows) float64: squared errors, summed
    visits: Array  # (n_outputs, n_neurons, n_rows) float64: their weights, summed
    log_ratio: Array  # (n_outputs, n_neurons, n_rows): ln(r / v) of the last refresh
    mean_square: Array  # (n_outputs,): v of the last refresh

    def __post_init__(self) -> None:
        for name in ("errors", "visits"):  # which files of earlier versions have in the network's precision
            if isinstance(getattr(self, name), np.ndarray):
                setattr(self, name, getattr(self, name).astype(float, copy=False))

    @classmethod
    def empty(cls, energy: Array) -> "Spread":
        """A spread for the layer with these energies."""
        zeros = np.zeros_like(energy)
        return cls(zeros, zeros.copy(), zeros.copy(), np.ones(len(energy)))

    @property
    def by_row(self) -> list[str]:
        """The arrays that have an element for each weight row."""
        return ["errors", "visits", "log_ratio"]

    def variance(self, rows: Array, outputs: Array, kernels: Kernels) -> Array:
        """The variance (n, n_outputs) of the target where weight rows (n, n_outputs | 1, n_neurons) predict outputs."""
        log_ratio = kernels.to_numpy(kernels.neuron_mean(kernels.at_rows(self.log_ratio, rows)))
        disagreement = kernels.to_numpy(kernels.neuron_variance(outputs))
        variance: Array = self.mean_square * np.exp(log_ratio) + disagreement
        return variance

    def update(self, rows: Array, outputs: Array, targets: Array, sample_weight: Array, kernels: Kernels) -> None:
        """Take in outputs (n, n_outputs, n_neurons) made before targets (n, n_outputs) were known; weights (n, 1)."""
        errors = outputs - targets[..., np.newaxis]
        weights = sample_weight[..., np.newaxis] + 0 * errors
        self.errors = kernels.add_at_rows(self.errors, rows, weights * errors * errors)
        self.visits = kernels.add_at_rows(self.visits, rows, weights)

    def refresh(self, kernels: Kernels) -> None:
        errors, visits = kernels.to_numpy(self.errors), kernels.to_numpy(self.visits)
        total = visits.sum(axis=(1, 2))
        mean_square = errors.sum(axis=(1, 2)) / np.where(total > 0, total, 1)
        self.mean_square = np.where(total > 0, np.maximum(mean_square, SMALLEST), self.mean_square)
        scaled = errors / self.mean_square[:, np.newaxis, np.newaxis]
        self.log_ratio = kernels.asarray(np.log((scaled + PRIOR) / (visits + PRIOR)))

    def forget(self, factor: float) -> None:
        self.errors, self.visits = self.errors * factor, self.visits * factor
