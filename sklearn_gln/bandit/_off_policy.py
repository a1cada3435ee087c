"""What a policy would have earned, by a log of what another one did."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length

from sklearn_gln._input import real_numbers
from sklearn_gln.bandit._input import columns_of, labels_of, read_probabilities, read_vector
from sklearn_gln.kernels import as_numpy

ESTIMATORS = ("ips", "snips", "dr")
SUM = 1e-6  # by which probabilities may sum to more or less than 1


class PolicyValue(NamedTuple):
    """An estimate of the mean reward of a policy."""

    value: float
    standard_error: float
    low: float  # the interval's ends
    high: float
    effective_sample_size: float  # rounds of equal weight that would say as much: (sum of weights)^2 / sum of squares


def evaluate_policy(
    policy_proba,
    actions,
    rewards,
    probabilities,
    *,
    labels=None,
    expected_rewards=None,
    estimator="snips",
    max_weight=None,
    confidence_level=0.95,
    n_resamples=None,
    random_state=None,
):
    """Estimate the mean reward that a policy would have earned, from a log of another, randomised one.

    A round counts with the weight w = policy_proba of the action taken / its probability at the time.

    Parameters
    ----------
    policy_proba : array-like of shape (n_samples, n_actions)
        The probabilities with which the policy to be evaluated would take each action: of a bandit, `predict_proba`;
        of a policy that is not randomised, 1 and 0. It must not have learned from these rounds, or at each round from
        those before it alone.

    actions : array-like of shape (n_samples,)
        Labels of the actions taken.

    rewards : array-like of shape (n_samples,)
        Their rewards.

    probabilities : array-like of shape (n_samples,)
        The probabilities with which they were taken.

    labels : array-like of shape (n_actions,), default=None
        The labels of the columns, such as a bandit's `actions_`. None: 0, 1, ...

    expected_rewards : array-like of shape (n_samples, n_actions), default=None
        The rewards that a model expects of each action, such as a bandit's `decision_function`; for "dr". What was said
        of `policy_proba` holds for them too.

    estimator : {"ips", "snips", "dr"}, default="snips"
        "ips": inverse propensity score, the mean of w * reward; unbiased, and noisy. "snips": the same over the mean of
        w, which is less noisy, and does not depend on where rewards have their zero [1]_. "dr": doubly robust, the mean
        of what is expected of the policy plus w * (reward - what was expected of the action taken) [2]_; less noisy the
        better the model is, and unbiased whatever it is.

    max_weight : float or None, default=None
        The bound of w, which makes estimates less noisy, and biased. None: there is none.

    confidence_level : float, default=0.95
        That of the interval.

    n_resamples : int or None, default=None
        None: the interval is normal, of the standard error (of "snips" by the delta method). A number: it is that of so
        many bootstrap samples of the rounds, by percentiles, and the standard error is their deviation.

    random_state : int, RandomState instance or None, default=None
        Draws the bootstrap samples.

    Returns
    -------
    value : PolicyValue
        A named tuple of value, standard_error, low, high and effective_sample_size.

    Raises
    ------
    ValueError
        If the input is invalid, or no action that was taken is one that the policy takes.

    See Also
    --------
    GLNBandit : Learns from logs, and rounds that come.

    Notes
    -----
    Rounds are taken to be independent. A log says nothing of actions that its policy never took, and little of those
    that it took with tiny probabilities: the estimate is then far off, and its interval too narrow, as few rounds bear
    most of the weight. `effective_sample_size` tells. Of `GLNBandit`, "epsilon_greedy" and "squarecb" give each action
    some probability, and "ucb" and "greedy" do not.

    References
    ----------
    .. [1] Swaminathan & Joachims, "The Self-Normalized Estimator for Counterfactual Learning", NeurIPS 2015.
    .. [2] Dudík, Langford & Li, "Doubly Robust Policy Evaluation and Learning", ICML 2011 (arXiv:1103.4601).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_gln.bandit import evaluate_policy
    >>> rng = np.random.default_rng(0)
    >>> actions = rng.integers(2, size=1000)  # each with probability 1/2
    >>> rewards = rng.random(1000) < np.array([0.2, 0.6])[actions]
    >>> always_1 = np.tile([0.0, 1.0], (1000, 1))
    >>> estimate = evaluate_policy(always_1, actions, rewards, np.full(1000, 0.5))
    >>> bool(estimate.low < 0.6 < estimate.high)
    True
    """
    _check_options(estimator, max_weight, confidence_level, n_resamples)
    policy_proba = _matrix(policy_proba, "policy_proba")
    n_actions = policy_proba.shape[1]
    sums = policy_proba.sum(axis=1)
    if not np.all((policy_proba >= 0) & (np.abs(sums - 1) < SUM)[:, np.newaxis]):
        raise ValueError("policy_proba must hold probabilities >= 0, and each row must sum to 1.")
    known = np.arange(n_actions) if labels is None else labels_of(labels, "labels")
    if len(known) != n_actions:
        raise ValueError(f"labels are {len(known)}, and policy_proba has {n_actions} columns; give one for each.")
    columns = columns_of(actions, known, "pass rounds of these actions, or their labels as `labels`")
    rewards = read_vector(rewards, "rewards", "leave such rounds out")
    probabilities = read_probabilities(probabilities)
    if (expected_rewards is None) != (estimator != "dr"):
        raise ValueError(
            "estimator='dr' needs expected_rewards, such as a bandit's decision_function."
            if estimator == "dr"
            else f"expected_rewards has no meaning for estimator={estimator!r}; use 'dr', or leave it out."
        )
    expected = (
        np.zeros_like(policy_proba) if expected_rewards is None else _matrix(expected_rewards, "expected_rewards")
    )
    check_consistent_length(policy_proba, columns, rewards, probabilities, expected)
    if expected.shape != policy_proba.shape:
        raise ValueError(f"expected_rewards has shape {expected.shape}, and policy_proba {policy_proba.shape}.")

    rows = np.arange(len(columns))
    weights = policy_proba[rows, columns] / probabilities
    weights = weights if max_weight is None else np.minimum(weights, max_weight)
    if not weights.any():
        raise ValueError(
            "No action that was taken is one that the policy takes, so that the log says nothing of it. Log rounds of "
            "a policy that takes each action with some probability."
        )
    if estimator == "dr":
        terms = np.vecdot(policy_proba, expected) + weights * (rewards - expected[rows, columns])
    else:
        terms = weights * rewards
    return _summary(terms, weights, estimator == "snips", confidence_level, n_resamples, random_state)


def _summary(terms, weights, normalized, confidence_level, n_resamples, random_state):
    n = len(terms)
    value = terms.sum() / weights.sum() if normalized else terms.mean()
    tail = (1 - confidence_level) / 2
    if n_resamples is None:
        residuals = (terms - value * weights) / weights.mean() if normalized else terms - value
        error = np.sqrt((residuals**2).sum() / max(n - 1, 1) / n)
        low, high = value + ndtri(tail) * error, value - ndtri(tail) * error
    else:
        drawn = check_random_state(random_state)
        values = []
        for _ in range(n_resamples):
            counts = drawn.multinomial(n, np.full(n, 1 / n))
            over = counts @ weights if normalized else n
            values.append(counts @ terms / over if over else value)
        error = np.std(values, ddof=1)
        low, high = np.quantile(values, [tail, 1 - tail])
    effective = weights.sum() ** 2 / (weights**2).sum()
    return PolicyValue(*map(float, (value, error, low, high, effective)))


def _check_options(estimator, max_weight, confidence_level, n_resamples):
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator={estimator!r} is unknown; choose from {', '.join(map(repr, ESTIMATORS))}.")
    if max_weight is not None and not (isinstance(max_weight, Real) and max_weight > 0):
        raise ValueError(f"max_weight={max_weight!r} must be a number above 0, or None.")
    if not (isinstance(confidence_level, Real) and 0 < confidence_level < 1):
        raise ValueError(f"confidence_level={confidence_level!r} must be a number between 0 and 1, such as 0.95.")
    if n_resamples is not None and not (isinstance(n_resamples, Integral) and n_resamples > 1):
        raise ValueError(f"n_resamples={n_resamples!r} must be an integer of at least 2, such as 1000, or None.")


def _matrix(values, name):
    array = real_numbers(as_numpy(values), name, "leave such rounds out", "Pass numbers.")
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{name} has shape {array.shape}; it must be (n_samples, n_actions), with a round at least.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains infinity.")
    return array
