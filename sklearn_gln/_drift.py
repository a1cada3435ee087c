"""Whether a stream has changed: its rows were predicted worse than those before, by more than chance explains."""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import log_expit, log_softmax

from sklearn_gln._arrays import Array

MAX_LOSS = 4.0  # of a sample, as far as its target could be foreseen: a few confident errors are not a change
RECENT = 0.8  # share of what was expected that stays at each test: about the last five spans of rows
SIGNIFICANT = 3.0  # standard errors


@dataclass
class DriftTest:
    """Compares the mean loss of the rows between two tests with the one expected from the rows before."""

    sums: Array = field(default_factory=lambda: np.zeros(4))  # since the last test, of: w, w^2, w loss, w loss^2
    expected: tuple[float, float] | None = None  # mean and variance of the loss

    def add(self, losses: Array, sample_weight: Array) -> None:
        """Take in the losses (n,) of predictions made before the rows' targets were known."""
        powers = np.stack([np.ones(len(losses)), sample_weight, losses, np.square(losses)])
        self.sums = self.sums + powers @ sample_weight

    def changed(self) -> bool:
        weight, squared_weight, loss, squared_loss = self.sums.tolist()
        self.sums = np.zeros(4)
        if weight == 0:
            return False
        mean = loss / weight
        variance = max(squared_loss / weight - mean**2, 0.0)
        if self.expected is None:
            self.expected = mean, variance
            return False
        old_mean, old_variance = self.expected
        spread = squared_weight / weight**2 * (1 + (1 - RECENT) / (1 + RECENT))  # of the two means
        if mean - old_mean > SIGNIFICANT * np.sqrt((variance + old_variance) / 2 * spread):
            self.expected = mean, variance
            return True
        self.expected = RECENT * old_mean + (1 - RECENT) * mean, RECENT * old_variance + (1 - RECENT) * variance
        return False


def log_losses(logits: Array, y: Array) -> Array:
    """The log-loss of each row (n,); where several labels may apply, its mean over them."""
    if y.ndim == 1 and logits.shape[1] > 1:
        return -np.take_along_axis(log_softmax(logits, axis=1), y[:, np.newaxis], axis=1)[:, 0]
    applies = y.reshape(logits.shape).astype(bool)
    return -log_expit(np.where(applies, logits, -logits)).mean(axis=1)
