"""Policies: from what is expected of each action, and how sure that is, to the probability of taking it.

All functions take means, deviations and pseudo-counts (n, n_actions) of rewards, and the number of rows learned; they
return probabilities (n, n_actions).
"""

import numpy as np
from scipy.special import ndtr

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(32)  # for integrals over a standard normal
MAX_ROWS = 256  # whose integrals are in memory at once


def bonuses(deviations, counts, n_samples):
    """How far above the mean a reward may be expected: the pseudo-counts in place of counts in UCB1's bonus."""
    return deviations * np.sqrt(np.log1p(n_samples) / (1 + counts))


def greedy(scores):
    """The action of the highest score; those that tie are equally probable."""
    best = scores == scores.max(axis=1, keepdims=True)
    return best / best.sum(axis=1, keepdims=True)


def epsilon_greedy(means, epsilon):
    """Any action with probability epsilon, else the best (VW's --epsilon)."""
    return (1 - epsilon) * greedy(means) + epsilon / means.shape[1]


def square_cb(means, unit, n_samples, gamma_scale):
    """Probabilities in inverse proportion to how much worse than the best an action is, in units (Foster, Rakhlin 2020).

    The exponent is VW's default.
    """
    gaps = (means.max(axis=1, keepdims=True) - means) / unit
    probabilities = 1 / (means.shape[1] + gamma_scale * np.sqrt(n_samples) * gaps)
    best = means.argmax(axis=1)[:, np.newaxis]
    np.put_along_axis(probabilities, best, 0, axis=1)
    np.put_along_axis(probabilities, best, 1 - probabilities.sum(axis=1, keepdims=True), axis=1)
    return probabilities


def thompson(means, widths):
    """The probability that an action is the best, if expected rewards are normal about the means, of these deviations.

    By quadrature, so that it is known, and an action is drawn with exactly this probability.
    """
    parts = [np.zeros((0, means.shape[1]))]
    for start in range(0, len(means), MAX_ROWS):
        rows = slice(start, start + MAX_ROWS)
        parts.append(_probabilities_of_best(means[rows], np.maximum(widths[rows], np.finfo(float).tiny)))
    return np.concatenate(parts)


def _probabilities_of_best(means, widths):
    values = means[..., np.newaxis] + widths[..., np.newaxis] * NODES  # (n, action, node)
    z = (values[..., np.newaxis] - means[:, np.newaxis, np.newaxis]) / widths[:, np.newaxis, np.newaxis]
    below = ndtr(z)  # (n, action, node, other action)
    actions = np.arange(means.shape[1])
    below[:, actions, :, actions] = 1
    probabilities = below.prod(axis=3) @ WEIGHTS
    return probabilities / probabilities.sum(axis=1, keepdims=True)
