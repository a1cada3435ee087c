"""What the last samples say of the next one: hypotheses are mixed by how well each foresaw the samples so far.

Each has the weight exp(evidence): by its likelihood of a sample a hypothesis loses at most 3 against the likeliest one,
so that those which were wrong for long are soon back, and what it lost counts half after some samples.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from sklearn_gln import _outputs
from sklearn_gln._arrays import Array

MAX_LOSS = 3.0  # of evidence by one sample
FEW = 8  # samples that are taken in one by one


class Recent(Protocol):
    """State whose arrays are by output, that is by target or by label."""

    def learn_all(self, first: Array, second: Array, weights: Array, /) -> Array:
        """As `learn_known`, of samples of which all is known."""


def kept(*half_lives: float) -> Array:
    """The shares of sums that are left after one more sample, for half-lives in samples."""
    return 0.5 ** (1 / np.array(half_lives))


def discounted(values: Array, before: Array, shares: Array) -> Array:
    """Sums of values (n, n_outputs, m | 1, ...) before each sample and after the last: (n + 1, n_outputs, m, ...).

    With the shares of m half-lives, as `kept` gives them, and the sums before the first, (n_outputs, m, ...).
    """
    sums = np.empty((len(values) + 1, *before.shape))
    sums[0] = before
    if len(values) <= FEW:  # a filter takes longer to start
        factors = shares.reshape(-1, *[1] * (before.ndim - 2))
        for number, value in enumerate(values):
            sums[number + 1] = value + factors * sums[number]
        return sums
    from scipy.signal import lfilter  # a tenth of the time that importing this package would take

    values = np.broadcast_to(values, sums[1:].shape)
    for number, share in enumerate(shares.tolist()):
        carried = share * before[np.newaxis, :, number]
        sums[1:, :, number], _ = lfilter([1.0], [1.0, -share], values[:, :, number], axis=0, zi=carried)
    return sums


def evidence_after(log_likelihood: Array, weights: Array, before: Array, share: Array) -> Array:
    """The evidence before each sample and after the last: (n + 1, n_outputs, n_hypotheses).

    Of samples' log-likelihoods (n, n_outputs, n_hypotheses) and weights (n, n_outputs, 1), and the evidence before.
    """
    losses = np.minimum(log_likelihood.max(axis=2, keepdims=True) - log_likelihood, MAX_LOSS)
    return discounted((-weights * losses)[:, :, np.newaxis], before[:, np.newaxis], share)[:, :, 0]


def learn_known(recent: Recent, columns: Sequence[Array], known: Array) -> Array:
    """Take in columns (n, n_outputs, ...) of samples in order; no memory takes notice of what is not `known` of them.

    That is (n, n_outputs). Returns the corrections before each sample and after the last: (n + 1, n_outputs, ...).
    """
    if known.all():
        return recent.learn_all(*columns)
    corrections, parts = [], []
    for number in range(known.shape[1]):
        output, seen = slice(number, number + 1), known[:, number]
        part = _outputs.take(recent, output, shares_halfspaces=False)
        learned = part.learn_all(*(column[seen, output] for column in columns))
        corrections.append(learned[np.cumsum([0, *seen])])
        parts.append(part)
    vars(recent).update(vars(_outputs.join(parts, shares_halfspaces=False)))
    return np.concatenate(corrections, axis=1)
