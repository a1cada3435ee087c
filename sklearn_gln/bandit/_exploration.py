"""Policies: from the expected rewards of actions, and how sure these are, to the probabilities of taking them.

All are arrays (n, n_actions).
"""

import numpy as np
from scipy.special import ndtr

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(32)  # for integrals over a standard normal
MAX_ROWS = 256  # whose integrals are in memory at once


def greedy(scores):
    """The highest score; those that tie are equally probable."""
    best = scores == scores.max(axis=1, keepdims=True)
    return best / best.sum(axis=1, keepdims=True)


def epsilon_greedy(expected, epsilon):
    """Any action with probability epsilon, else the best."""
    return (1 - epsilon) * greedy(expected) + epsilon / expected.shape[1]


def square_cb(expected, gamma):
    """1 / (n_actions + gamma * gap) where the expected reward is by a gap below the best, which has the rest.

    Inverse gap weighting, of Foster and Rakhlin (2020).
    """
    probabilities = 1 / (expected.shape[1] + gamma * (expected.max(axis=1, keepdims=True) - expected))
    best = expected.argmax(axis=1)[:, np.newaxis]
    np.put_along_axis(probabilities, best, 0, axis=1)
    np.put_along_axis(probabilities, best, 1 - probabilities.sum(axis=1, keepdims=True), axis=1)
    return probabilities


def thompson(expected, widths):
    """The probabilities of being the best, if rewards to be expected are normal about these, of these deviations.

    By quadrature: to draw an action with a known probability, there is no need to draw rewards.
    """
    widths = np.maximum(widths, np.finfo(float).tiny)
    parts = [np.zeros((0, expected.shape[1]))]
    for start in range(0, len(expected), MAX_ROWS):
        rows = slice(start, start + MAX_ROWS)
        parts.append(_best(expected[rows], widths[rows]))
    return np.concatenate(parts)


def _best(expected, widths):
    rewards = expected[..., np.newaxis] + widths[..., np.newaxis] * NODES  # (n, n_actions, nodes)
    others = expected[:, np.newaxis, np.newaxis], widths[:, np.newaxis, np.newaxis]
    are_below = ndtr((rewards[..., np.newaxis] - others[0]) / others[1])
    actions = np.arange(expected.shape[1])
    are_below[:, actions, :, actions] = 1
    probabilities = are_below.prod(axis=3) @ WEIGHTS
    return probabilities / probabilities.sum(axis=1, keepdims=True)
