"""What the last errors say of the next one; hypotheses and their evidence are those of `_recent`.

For each output by itself, in the network's units, with e the target minus the mean that was predicted for it, and v the
variance, hypothesis 0 is that mean and variance are right. For each memory of h samples there are two more, that v is
off by a factor, and that the mean is off as well:

    offset 0,                                          factor (4 + sum of d e^2 / v) / (4 + sum of d)
    offset o = (sum of d e) / (2 + sum of d),          factor (4 + sum of d (e - o)^2 / v) / (4 + sum of d)

with d = 2^(-age / h), and o that of each sample's time. The likelihood is a Gaussian's, of which what it was for a
sample counts half after 50 samples. The answer has the mixture's mean and variance.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import softmax

from sklearn_gln._arrays import BY_OUTPUT, Array
from sklearn_gln._recent import discounted, evidence_after, kept, learn_known

MEMORIES = kept(4, 64)
OF_EVIDENCE = kept(50)
AS_PREDICTED = 4.0  # samples with errors as predicted
WITHOUT_OFFSET = 2.0  # samples with none on average
MAX_SQUARE = 1e6
UNCORRECTED = 0.0, 1.0, 0.0  # offset, factor, spread


@dataclass
class RecentErrors:
    errors: Array = field(metadata=BY_OUTPUT)  # (n_outputs, n_memories): discounted sums of e
    counts: Array = field(metadata=BY_OUTPUT)  # (n_outputs, n_memories): the same of 1
    squares: Array = field(metadata=BY_OUTPUT)  # (n_outputs, 2 n_memories): of e^2 / v, then of (e - o)^2 / v
    evidence: Array = field(metadata=BY_OUTPUT)  # (n_outputs, 1 + 2 n_memories): of each hypothesis
    stopped: bool  # nothing is corrected: the order of samples means nothing

    @classmethod
    def empty(cls, n_outputs: int, *, stopped: bool) -> "RecentErrors":
        n = len(MEMORIES)
        errors, counts, squares, evidence = (np.zeros((n_outputs, size)) for size in (n, n, 2 * n, 1 + 2 * n))
        return cls(errors, counts, squares, evidence, stopped)

    @property
    def correction(self) -> Array:
        """That of the next sample, as `corrected` takes it: (n_outputs, 3)."""
        return _mixture(_offsets(self.errors, self.counts), _factors(self.squares, self.counts), self.evidence)

    def learn(self, errors: Array, variances: Array, weights: Array) -> Array:
        """Take in e and v of samples in order, each of a weight up to 1, (n, n_outputs) each.

        Where e is NaN the sample has no target, and no memory takes notice of it. Returns the corrections before each
        sample and after the last: (n + 1, n_outputs, 3).
        """
        if self.stopped:
            return np.broadcast_to(self.correction, (len(errors) + 1, *self.correction.shape))
        return learn_known(self, (errors, variances, weights), ~np.isnan(errors))

    def learn_all(self, errors: Array, variances: Array, weights: Array) -> Array:
        errors, variances, weights = (array[..., np.newaxis] for array in (errors, variances, weights))
        sums = discounted(weights * errors, self.errors, MEMORIES)
        counts = discounted(weights, self.counts, MEMORIES)
        offsets = _offsets(sums, counts)
        z2 = np.minimum((errors - offsets[:-1]) ** 2 / variances, MAX_SQUARE)
        squares = discounted(weights * z2[..., 1:], self.squares, np.tile(MEMORIES, 2))
        factors = _factors(squares, counts)
        log_likelihood = -(np.log(factors[:-1]) + z2 / factors[:-1]) / 2
        evidence = evidence_after(log_likelihood, weights, self.evidence, OF_EVIDENCE)
        self.errors, self.counts, self.squares, self.evidence = sums[-1], counts[-1], squares[-1], evidence[-1]
        return _mixture(offsets, factors, evidence)

    def rescale(self, factor: Array) -> None:
        """Multiply the unit of each output's errors by a factor (n_outputs,)."""
        self.errors = self.errors * factor[:, np.newaxis]

    def restart(self) -> None:
        self.errors, self.counts, self.squares = 0 * self.errors, 0 * self.counts, 0 * self.squares
        self.evidence = 0 * self.evidence

    def stop(self) -> None:
        """Correct nothing from now on: the order of samples means nothing."""
        self.restart()
        self.stopped = True


def corrected(mean: Array, variance: Array, correction: Array) -> tuple[Array, Array]:
    """Means and variances (n, n_outputs), after corrections (n | 1, n_outputs, 3): offset, factor, spread."""
    offset, factor, spread = np.moveaxis(correction, -1, 0)
    return mean + offset, variance * factor + spread


def _offsets(errors: Array, counts: Array) -> Array:
    """Those of the hypotheses (..., 1 + 2 n_memories), of sums (..., n_memories)."""
    offsets = errors / (WITHOUT_OFFSET + counts)
    return np.concatenate([np.zeros((*offsets.shape[:-1], 1)), 0 * offsets, offsets], axis=-1)


def _factors(squares: Array, counts: Array) -> Array:
    """As `_offsets`."""
    factors = (AS_PREDICTED + squares) / (AS_PREDICTED + np.concatenate([counts, counts], axis=-1))
    return np.concatenate([np.ones((*factors.shape[:-1], 1)), factors], axis=-1)


def _mixture(offsets: Array, factors: Array, evidence: Array) -> Array:
    """Corrections (..., 3) of hypotheses (..., n)."""
    weights = softmax(evidence, axis=-1)
    offset = np.vecdot(weights, offsets)
    spread = np.vecdot(weights, (offsets - offset[..., np.newaxis]) ** 2)
    return np.stack([offset, np.vecdot(weights, factors), spread], axis=-1)
