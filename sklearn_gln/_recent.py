"""Whether errors have lately been larger or smaller than was predicted: memories of several lengths, mixed.

For each output by itself, with z the error of a sample in predicted deviations, hypothesis 0 is that predicted
variances are right, and there is one for each memory h, that they are off by the factor

    f_h = (4 + sum of z^2 2^(-age / h)) / (4 + sum of 2^(-age / h)),  h = 4, 16, 64, 256 samples

Each has the weight exp(evidence), where what its Gaussian likelihood was for a sample counts half after 50 samples, and
at most 3 less than the likeliest hypothesis had: so the mixture is back soon when a memory has been wrong for long. The
factor is the mean of the f_h.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.signal import lfilter
from scipy.special import softmax

from sklearn_gln._arrays import BY_OUTPUT, Array

MEMORIES = (4, 16, 64, 256)  # half-lives in samples
PRIOR = 4.0  # samples with errors as predicted
OF_EVIDENCE = 50  # half-life in samples
MAX_LOSS = 3.0  # of evidence by one sample
MAX_SQUARE = 1e6


@dataclass
class RecentErrors:
    squares: Array = field(metadata=BY_OUTPUT)  # (n_outputs, n_memories): discounted sums of z^2
    counts: Array = field(metadata=BY_OUTPUT)  # (n_outputs, n_memories): the same of 1
    evidence: Array = field(metadata=BY_OUTPUT)  # (n_outputs, 1 + n_memories): of each hypothesis

    @classmethod
    def empty(cls, n_outputs: int, has_memories: bool) -> "RecentErrors":
        """Without memories the factor is 1."""
        n_memories = len(MEMORIES) if has_memories else 0
        return cls(*(np.zeros((n_outputs, n)) for n in (n_memories, n_memories, 1 + n_memories)))

    @property
    def factor(self) -> Array:
        """That of the next sample's variance: (n_outputs,)."""
        return _mixture(self.squares, self.counts, self.evidence)

    def learn(self, squares: Array, weights: Array) -> Array:
        """Take in squares z^2 (n, n_outputs) of samples in order, each of a weight up to 1, of the same shape.

        Returns the factors before each and after the last: (n + 1, n_outputs).
        """
        if not self.squares.shape[1]:
            return np.ones((len(squares) + 1, squares.shape[1]))
        squares = np.minimum(squares, MAX_SQUARE)[..., np.newaxis]
        weights = weights[..., np.newaxis]
        sums = _discounted(weights * squares, self.squares, MEMORIES)
        counts = _discounted(weights, self.counts, MEMORIES)
        variances = _hypotheses(sums[:-1], counts[:-1])
        log_likelihood = -(np.log(variances) + squares / variances) / 2
        loss = np.minimum(log_likelihood.max(axis=2, keepdims=True) - log_likelihood, MAX_LOSS)
        evidence = _discounted(-weights * loss, self.evidence, (OF_EVIDENCE,) * loss.shape[2])
        self.squares, self.counts, self.evidence = sums[-1], counts[-1], evidence[-1]
        return _mixture(sums, counts, evidence)

    def restart(self) -> None:
        self.squares, self.counts, self.evidence = 0 * self.squares, 0 * self.counts, 0 * self.evidence


def _mixture(squares: Array, counts: Array, evidence: Array) -> Array:
    mean: Array = np.vecdot(softmax(evidence, axis=-1), _hypotheses(squares, counts))
    return mean


def _hypotheses(squares: Array, counts: Array) -> Array:
    """The factor of each: (..., 1 + n_memories)."""
    factors = (PRIOR + squares) / (PRIOR + counts)
    return np.concatenate([np.ones((*factors.shape[:-1], 1)), factors], axis=-1)


def _discounted(values: Array, before: Array, half_lives: tuple[int, ...]) -> Array:
    """Sums of values (n, n_outputs, m | 1) before each sample and after the last: (n + 1, n_outputs, m)."""
    sums = np.empty((len(values) + 1, *before.shape))
    sums[0] = before
    values = np.broadcast_to(values, sums[1:].shape)
    for number, half_life in enumerate(half_lives):
        kept = 0.5 ** (1 / half_life)
        carried = kept * before[np.newaxis, :, number]
        sums[1:, :, number], _ = lfilter([1.0], [1.0, -kept], values[..., number], axis=0, zi=carried)
    return sums
