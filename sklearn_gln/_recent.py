"""What the last errors say of the next one: several hypotheses, mixed by how well each foresaw the errors so far.

For each output by itself, in the network's units, with e the target minus the mean that was predicted for it, and v the
variance, hypothesis 0 is that mean and variance are right. For each memory of h samples there are two more, that v is
off by a factor, and that the mean is off as well:

    offset 0,                                          factor (4 + sum of d e^2 / v) / (4 + sum of d)
    offset o = (sum of d e) / (2 + sum of d),          factor (4 + sum of d (e - o)^2 / v) / (4 + sum of d)

with d = 2^(-age / h), and o that of each sample's time. Each hypothesis has the weight exp(evidence): what its Gaussian
likelihood was for a sample counts half after 50 samples, and at most 3 less than the likeliest one's, so that those
which were wrong for long are soon back. The answer has the mixture's mean and variance.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import softmax

from sklearn_gln import _outputs
from sklearn_gln._arrays import BY_OUTPUT, Array

MEMORIES = (4, 64)  # half-lives in samples
OF_EVIDENCE = 50  # half-life in samples
MAX_LOSS = 3.0  # of evidence by one sample
AS_PREDICTED = 4.0  # samples with errors as predicted
WITHOUT_OFFSET = 2.0  # samples with none on average
MAX_SQUARE = 1e6
UNCORRECTED = 0.0, 1.0, 0.0  # offset, factor, spread
FEW = 8  # samples that are taken in one by one


@dataclass
class RecentErrors:
    errors: Array = field(metadata=BY_OUTPUT)  # (n_outputs, n_memories): discounted sums of e
    counts: Array = field(metadata=BY_OUTPUT)  # (n_outputs, n_memories): the same of 1
    squares: Array = field(metadata=BY_OUTPUT)  # (n_outputs, 2 n_memories): of e^2 / v, then of (e - o)^2 / v
    evidence: Array = field(metadata=BY_OUTPUT)  # (n_outputs, 1 + 2 n_memories): of each hypothesis
    stopped: bool = False

    @classmethod
    def empty(cls, n_outputs: int, has_memories: bool) -> "RecentErrors":
        """Without memories there is nothing to correct."""
        n = len(MEMORIES) * has_memories
        errors, counts, squares, evidence = (np.zeros((n_outputs, size)) for size in (n, n, 2 * n, 1 + 2 * n))
        return cls(errors, counts, squares, evidence)

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
        gaps = np.isnan(errors)
        if gaps.any():
            return self._learn_with_gaps(errors, variances, weights, gaps)
        errors, variances, weights = (array[..., np.newaxis] for array in (errors, variances, weights))
        sums = _discounted(weights * errors, self.errors, MEMORIES)
        counts = _discounted(weights, self.counts, MEMORIES)
        offsets = _offsets(sums, counts)
        z2 = np.minimum((errors - offsets[:-1]) ** 2 / variances, MAX_SQUARE)
        squares = _discounted(weights * z2[..., 1:], self.squares, 2 * MEMORIES)
        factors = _factors(squares, counts)
        log_likelihood = -(np.log(factors[:-1]) + z2 / factors[:-1]) / 2
        loss = np.minimum(log_likelihood.max(axis=2, keepdims=True) - log_likelihood, MAX_LOSS)
        evidence = _discounted(-weights * loss, self.evidence, (OF_EVIDENCE,) * self.evidence.shape[1])
        self.errors, self.counts, self.squares, self.evidence = sums[-1], counts[-1], squares[-1], evidence[-1]
        return _mixture(offsets, factors, evidence)

    def _learn_with_gaps(self, errors: Array, variances: Array, weights: Array, gaps: Array) -> Array:
        corrections, parts = [], []
        for number in range(errors.shape[1]):
            output = slice(number, number + 1)
            part = _outputs.take(self, output, shares_halfspaces=False)
            known = ~gaps[:, number]
            learned = part.learn(errors[known, output], variances[known, output], weights[known, output])
            corrections.append(learned[np.cumsum([0, *known])])
            parts.append(part)
        vars(self).update(vars(_outputs.join(parts, shares_halfspaces=False)))
        return np.concatenate(corrections, axis=1)

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


def _discounted(values: Array, before: Array, half_lives: tuple[int, ...]) -> Array:
    """Sums of values (n, n_outputs, m | 1) before each sample and after the last: (n + 1, n_outputs, m)."""
    kept = 0.5 ** (1 / np.array(half_lives[: before.shape[1]]))
    sums = np.empty((len(values) + 1, *before.shape))
    sums[0] = before
    if len(values) <= FEW:  # a filter takes longer to start
        for number, value in enumerate(values):
            sums[number + 1] = value + kept * sums[number]
        return sums
    from scipy.signal import lfilter  # a tenth of the time that importing this package would take

    values = np.broadcast_to(values, sums[1:].shape)
    for number, factor in enumerate(kept.tolist()):
        carried = factor * before[np.newaxis, :, number]
        sums[1:, :, number], _ = lfilter([1.0], [1.0, -factor], values[..., number], axis=0, zi=carried)
    return sums
