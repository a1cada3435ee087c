"""GLNBandit: contexts in, actions out; rewards of the actions taken in."""

import copy
from numbers import Integral, Real
from reprlib import repr as brief

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._metadata_requests import UNUSED
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sklearn_gln._base import BaseGLN
from sklearn_gln._classifier import GLNClassifier
from sklearn_gln._compat import Interval, StrOptions
from sklearn_gln._input import labels, real_numbers
from sklearn_gln.bandit import _exploration
from sklearn_gln.bandit._reward_model import add_action, expectations, new_model, targets
from sklearn_gln.kernels import as_numpy

EXPLORATIONS = ("thompson", "ucb", "squarecb", "epsilon_greedy", "greedy")


class GLNBandit(BaseEstimator):
    """Contextual bandit: learns from the rewards of the actions taken, and explores where it knows little.

    Parameters
    ----------
    actions : int or array-like of shape (n_actions,)
        The actions' labels, of one type, such as text; a number n stands for 0 to n - 1.
    """

    _parameter_constraints: dict = {
        "actions": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "reward_model": [BaseGLN, None],
        "exploration": [StrOptions(set(EXPLORATIONS))],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "epsilon": [Interval(Real, 0, 1, closed="both")],
        "gamma_scale": [Interval(Real, 0, None, closed="left")],
        "max_importance_weight": [Interval(Real, 0, None, closed="neither"), None],
        "random_state": ["random_state"],
    }

    # As in BaseGLN.
    __metadata_request__partial_fit = {"check_input": UNUSED}
    __metadata_request__predict = {"check_input": UNUSED}
    __metadata_request__predict_proba = {"check_input": UNUSED}
    __metadata_request__decision_function = {"check_input": UNUSED, "return_bonus": UNUSED}

    def __init__(
        self,
        actions,
        reward_model=None,
        *,
        exploration="thompson",
        alpha=1.0,
        epsilon=0.1,
        gamma_scale=10.0,
        max_importance_weight=None,
        random_state=None,
    ):
        self.actions = actions
        self.reward_model = reward_model
        self.exploration = exploration
        self.alpha = alpha
        self.epsilon = epsilon
        self.gamma_scale = gamma_scale
        self.max_importance_weight = max_importance_weight
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "reward_model_")

    def fit(self, X, actions, rewards, probabilities=None, sample_weight=None):
        """Learn a log from scratch."""
        fresh = type(self)(**self.get_params(deep=False))
        fresh.partial_fit(X, actions, rewards, probabilities, sample_weight)
        vars(self).update(vars(fresh))
        return self

    def partial_fit(self, X, actions, rewards, probabilities=None, sample_weight=None, check_input=True):
        """Learn the rewards of actions taken, in their order."""
        self._validate_params()
        begun = hasattr(self, "reward_model_")
        model = self.reward_model_ if begun else new_model(self.reward_model, self.random_state)
        known = self._labels if begun else _labels_of(self.actions)
        columns, rewards = _columns_of(actions, known), _read_rewards(rewards, model)
        check_consistent_length(X, columns, rewards, probabilities, sample_weight)
        Y, weights = targets(columns, rewards, len(known)), self._weights(probabilities, sample_weight, len(known))
        model.partial_fit(X, Y, sample_weight=weights, check_input=check_input or not begun)
        if not begun:
            self.reward_model_ = model
            self.actions_, self._labels, self._columns = known, known, np.arange(len(known))
            self._sums = np.zeros((3, len(known)))
        self._add_rewards(columns, rewards, weights)
        return self

    def _weights(self, probabilities, sample_weight, n_actions):
        """The weights (n,) with which rows are learned, or None."""
        if probabilities is None:
            return sample_weight
        probabilities = read_probabilities(probabilities)
        if self.max_importance_weight is None:
            return sample_weight
        weights = np.minimum(1 / (n_actions * probabilities), self.max_importance_weight)
        return weights if sample_weight is None else weights * _read_weights(sample_weight)

    def _add_rewards(self, columns, rewards, weights):
        if weights is not None:
            exists = np.asarray(as_numpy(weights)) > 0
            columns, rewards = columns[exists], rewards[exists]
        sums = self._sums.copy()
        for of_power, values in zip(sums, (np.ones_like(rewards), rewards, rewards**2), strict=True):
            np.add.at(of_power, columns, values)  # one after the other, so that it does not matter how a log is cut
        self._sums = sums

    # Actions that come and go

    def add_actions(self, actions):
        """Have further actions, or take retired ones back.

        The model is the same as if they had been announced at the start. An action that a log names without this raises
        ValueError: a typing error would become an action that is taken.

        Parameters
        ----------
        actions : array-like of shape (n_added,)
            Their labels, of the type of the others.

        Returns
        -------
        self : GLNBandit
        """
        check_is_fitted(self)
        added = _labels_of(actions)
        taken = [label for label in added.tolist() if label in self.actions_.tolist()]
        if taken:
            raise ValueError(f"actions={brief(taken)} are among the bandit's actions; leave them out.")
        if (added.dtype.kind in "OU") != (self._labels.dtype.kind in "OU"):
            raise ValueError(
                f"actions={brief(added.tolist())} are of another type than {brief(self._labels.tolist())}; give all "
                "labels one type, such as text."
            )
        model, known = copy.copy(self.reward_model_), self._labels.tolist()
        new = [label for label in added.tolist() if label not in known]
        for _ in new:
            add_action(model)
        every = np.concatenate([self._labels, np.array(new, added.dtype)]) if new else self._labels
        sums = np.concatenate([self._sums, np.zeros((3, len(new)))], axis=1)
        columns = np.append(self._columns, _columns_of(added, every))
        vars(self).update(
            reward_model_=model, _labels=every, _sums=sums, _columns=columns, actions_=every[columns]
        )
        return self

    def retire_actions(self, actions):
        """Have actions be taken no more.

        What was learned of them stays, and rewards that come late are learned; `add_actions` takes them back.

        Parameters
        ----------
        actions : array-like of shape (n_retired,)
            Their labels. At least one action must stay.

        Returns
        -------
        self : GLNBandit
        """
        check_is_fitted(self)
        stays = ~np.isin(self._columns, _columns_of(actions, self.actions_, self._columns))
        if not stays.any():
            raise ValueError(f"actions={brief(actions)} are all there are; at least one must stay. Add another first.")
        vars(self).update(_columns=self._columns[stays], actions_=self.actions_[stays])
        return self

    # Decisions

    def predict(self, X, check_input=True):
        check_is_fitted(self)
        means, _, _ = self._expectations(X, check_input)
        return self.actions_[means.argmax(axis=1)]

    def decision_function(self, X, return_bonus=False, check_input=True):
        check_is_fitted(self)
        means, deviations, counts = self._expectations(X, check_input)
        if not return_bonus:
            return means
        return means, _exploration.bonuses(deviations, counts, self.n_samples_seen_)

    def predict_proba(self, X, check_input=True):
        if not hasattr(self, "reward_model_"):
            n_actions = len(_labels_of(self.actions))
            return np.full((len(X), n_actions), 1 / n_actions)
        means, deviations, counts = self._expectations(X, check_input)
        n_samples = self.n_samples_seen_
        if self.exploration == "greedy":
            return _exploration.greedy(means)
        if self.exploration == "epsilon_greedy":
            return _exploration.epsilon_greedy(means, self.epsilon)
        if self.exploration == "squarecb":
            return _exploration.square_cb(means, self._unit(), n_samples, self.gamma_scale)
        if self.exploration == "ucb":
            return _exploration.greedy(means + self.alpha * _exploration.bonuses(deviations, counts, n_samples))
        return _exploration.thompson(means, self.alpha * deviations / np.sqrt(1 + counts))

    def sample_actions(self, X, random_state=None, return_proba=False, check_input=True):
        probabilities = self.predict_proba(X, check_input)
        labels = self.actions_ if hasattr(self, "actions_") else _labels_of(self.actions)
        drawn = check_random_state(random_state).uniform(size=(len(probabilities), 1))
        cumulative = np.cumsum(probabilities, axis=1)
        places = (cumulative < drawn * cumulative[:, -1:]).sum(axis=1)
        actions = labels[places]
        return (actions, probabilities[np.arange(len(places)), places]) if return_proba else actions

    def _unit(self):
        """The deviation of all rewards, 1 where they are 0 and 1 or all alike."""
        n, total, squares = self._sums.sum(axis=1)
        if isinstance(self.reward_model_, GLNClassifier) or not n:
            return 1.0
        variance = squares / n - (total / n) ** 2
        return np.sqrt(variance) if variance > 1e-12 * squares / n else 1.0

    def _expectations(self, X, check_input):
        """Means, deviations and pseudo-counts (n, n_actions) of the actions that may be taken."""
        means, deviations, counts = expectations(self.reward_model_, X, check_input)
        n, totals, _ = self._sums
        late = np.isinf(deviations)
        if late.any():  # too few rewards for a unit
            prior = totals.sum() / max(n.sum(), 1)
            means = np.where(late, (totals + prior) / (n + 1), means)
            deviations = np.where(late, self._unit(), deviations)
        return means[:, self._columns], deviations[:, self._columns], counts[:, self._columns]

    @property
    def n_samples_seen_(self):
        return self.reward_model_.n_samples_seen_

    @property
    def n_features_in_(self):
        return self.reward_model_.n_features_in_

    @property
    def feature_names_in_(self):
        return self.reward_model_.feature_names_in_

    @property
    def action_counts_(self):
        return self._sums[0, self._columns].astype(int)


def _labels_of(actions):
    """The labels (n_actions,) that actions, a number or labels, stand for."""
    if isinstance(actions, Integral):
        return np.arange(actions)
    array = labels(as_numpy(actions), "actions")
    if array.ndim != 1 or not len(array) or len(set(array.tolist())) < len(array):
        raise ValueError(
            f"actions={brief(actions)} must be a number of actions, or their labels, each once: shape (n_actions,)."
        )
    return array


def _columns_of(actions, known, columns=None):
    """The columns (n,) of actions taken; labels that are not known raise ValueError."""
    array = labels(as_numpy(actions), "actions")
    if array.ndim != 1:
        raise ValueError(f"actions has shape {array.shape}; pass one label for each row.")
    numbers = {label: number for number, label in enumerate(known.tolist())}
    unique, inverse = np.unique(array, return_inverse=True)
    unknown = [label for label in unique.tolist() if label not in numbers]
    if unknown:
        raise ValueError(
            f"actions holds {brief(unknown)}, and the bandit's actions are {brief(known.tolist())}; use add_actions "
            "for new ones."
        )
    places = np.array([numbers[label] for label in unique.tolist()], int)[inverse]
    return places if columns is None else columns[places]


def _read_rewards(rewards, model):
    """Rewards (n,) float64."""
    rewards = _vector(rewards, "rewards", "leave a row out until its reward is known")
    if isinstance(model, GLNClassifier) and not np.isin(rewards, (0, 1)).all():
        raise ValueError(
            f"rewards holds values from {rewards.min():.6g} to {rewards.max():.6g}, and the reward model is for 0 and "
            "1; for real rewards use reward_model=GLNRegressor(share_halfspaces=True)."
        )
    if not np.isfinite(rewards).all():
        raise ValueError("rewards contains infinity; leave such rows out, or clip rewards.")
    return rewards


def _read_weights(sample_weight):
    return _vector(sample_weight, "sample_weight", "a weight of 0 leaves a row out")


def read_probabilities(probabilities):
    """Probabilities (n,) float64 of the actions taken, at the time."""
    array = _vector(probabilities, "probabilities", "leave such rows out, or all probabilities")
    if not np.all((array > 0) & (array <= 1)):
        raise ValueError(
            f"probabilities holds values from {array.min():.6g} to {array.max():.6g}; those of actions that were taken "
            "are above 0 and at most 1."
        )
    return array


def _vector(values, name, advice):
    array = real_numbers(as_numpy(values), name, advice, "Pass numbers.")
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; pass one number for each row.")
    return array
