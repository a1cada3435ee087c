"""Contextual bandits: choosing actions by what is known of a round, and learning from the rewards of those taken.

====================  ==================================================================================
`GLNBandit`           an estimator that chooses, explores and learns
`evaluate_policy`     what a policy would have earned, by a log of another
====================  ==================================================================================

A log of rounds is four arrays, under the same names everywhere: rows `X`, the `actions` taken, their `rewards`, and the
`probabilities` with which they were taken.
"""

from sklearn_gln.bandit._bandit import GLNBandit
from sklearn_gln.bandit._off_policy import PolicyValue, evaluate_policy

__all__ = ["GLNBandit", "PolicyValue", "evaluate_policy"]

GLNBandit.__module__ = PolicyValue.__module__ = __name__  # what saved models keep, wherever the code moves
