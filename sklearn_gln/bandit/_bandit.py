"""GLNBandit: contexts in, actions out; rewards of the actions taken in."""

import copy
from numbers import Integral, Real
from reprlib import repr as brief

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._metadata_requests import UNUSED
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sklearn_gln._classifier import GLNClassifier
from sklearn_gln._compat import Interval, StrOptions
from sklearn_gln.bandit._exploration import epsilon_greedy, greedy, square_cb, thompson
from sklearn_gln.bandit._input import columns_of, labels_of, read_probabilities, read_vector
from sklearn_gln.bandit._reward_model import OF_KIND, add_outputs, expectations, new_model, targets
from sklearn_gln.kernels import as_numpy

EXPLORATIONS = ("ucb", "thompson", "squarecb", "epsilon_greedy", "greedy")
NEW_ACTIONS = "use add_actions for new ones"
ROUNDING = 1e-12  # of sums of squares, relative


class GLNBandit(BaseEstimator):
    """Contextual bandit: chooses actions, learns from the rewards of those taken, and explores where it knows little.

    A Gated Linear Network has an output for each action, which learns what rewards follow from it, one round at a time;
    of the actions not taken a round teaches nothing. What a round's neurons have seen of an action is counted in the
    contexts that gate it, and tells how much there is to explore [1]_.

    The model depends on the rounds and their order alone: any cut of a log into `partial_fit` calls gives the same one.

    Parameters
    ----------
    actions : int or array-like of shape (n_actions,)
        The actions' labels, of one type, such as text. A number n stands for 0 to n - 1.

    reward_model : GLNClassifier, GLNRegressor or None, default=None
        What learns the rewards, with the parameters of this estimator, which is not changed itself. A GLNClassifier
        learns rewards of 0 and 1; a GLNRegressor, with `share_halfspaces=True`, real ones, and takes none of them for
        an error, however rare it is. None: ``GLNClassifier()``.

    exploration : {"ucb", "thompson", "squarecb", "epsilon_greedy", "greedy"}, default="ucb"
        How `sample_actions` chooses among the actions, of which action a has the expected reward m, the deviation s and
        the pseudo-count N at a row, after t rounds. "ucb": the largest m + alpha * s * sqrt(ln(1 + t) / (1 + N)), after
        [1]_. "thompson": a random one, with the probability of being the best if expected rewards were
        normal about m, with the deviation alpha * s / sqrt(1 + N). "squarecb": the more improbable the further its
        expected reward is below the largest [2]_. "epsilon_greedy": any action in a share `epsilon` of cases, else the
        largest m. "greedy": the largest m.

    alpha : float, default=0.25
        How much "ucb" and "thompson" explore.

    epsilon : float, default=0.05
        The share of "epsilon_greedy".

    gamma_scale : float, default=10.0
        How soon "squarecb" ceases to explore: the larger, the sooner.

    max_importance_weight : float or None, default=None
        Whether rounds whose `probabilities` are given are learned with the weights 1 / (n_actions * probability), and
        up to which. So actions that were improbable count as if all had been equally probable; a round that is weighted
        by much more than 1 is learned as if it had come several times. None: all rounds count alike.

    random_state : int, RandomState instance or None, default=None
        Draws the network's halfspaces, in place of the `random_state` of `reward_model`; None: that one does. Actions
        are drawn by the `random_state` of `sample_actions`.

    Attributes
    ----------
    actions_ : ndarray of shape (n_actions,)
        Labels of the actions that may be taken, in the order in which they were announced.

    action_counts_ : ndarray of shape (n_actions,)
        Rounds learned of each.

    reward_model_ : GLNClassifier or GLNRegressor
        The network, whose outputs are the actions that were ever announced, in their order, and a last one that stands
        for those to come. Learning it directly, or changing it, is not supported.

    n_samples_seen_ : int
        Rounds learned.

    n_features_in_ : int
        Number of features seen.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if all columns of X had strings as names.

    See Also
    --------
    evaluate_policy : What a policy would have earned, by a log of another.

    Notes
    -----
    The pseudo-count N of an action at a row is the mean, over all neurons, of the rounds in which it was taken in the
    context that now gates the row; with a half-life they fade as statistics do. The expected reward m and its deviation
    s, noise included, are the network's, joined with one round's worth of the mean and the deviation of all rewards. So
    an action of which nothing is known promises what all do on average, and one whose first rewards were alike is not
    taken for known. Of rewards of 0 and 1 the network's deviation is sqrt(m (1 - m)), and that of all 1/2.

    Given the halfspaces, which all rounds choose together, the network's layers learn each action by its own rounds
    alone. A GLNClassifier's stack has weights common to all actions.

    With this network as its reward model a doubly robust estimate of rewards teaches nothing else: of the actions not
    taken it is what the network says, and of the one taken, with the importance weight w, m + w (r - m), whose squared
    error has the gradient of a round of weight w. Policies are evaluated by it, in `evaluate_policy`.

    An action costs one output of the network, a retired one too. The network has one output more than there are
    actions, which learns nothing: an action to come is a copy of it.

    References
    ----------
    .. [1] Sezener et al., "Online Learning in Contextual Bandits using Gated Linear Networks", NeurIPS 2020
       (arXiv:2002.11611).
    .. [2] Foster & Rakhlin, "Beyond UCB: Optimal and Efficient Contextual Bandits with Regression Oracles", ICML 2020
       (arXiv:2002.04926).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_gln.bandit import GLNBandit
    >>> X, y = load_iris(return_X_y=True)
    >>> rng, total = np.random.RandomState(0), 0
    >>> bandit = GLNBandit(["setosa", "versicolor", "virginica"], random_state=0)
    >>> for row in rng.permutation(len(X)):
    ...     action = bandit.sample_actions(X[[row]], random_state=rng)
    ...     reward = int(action[0] == bandit.actions[y[row]])
    ...     bandit = bandit.partial_fit(X[[row]], action, [reward])
    ...     total += reward
    >>> total > 110
    True
    """

    _parameter_constraints: dict = {
        "actions": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "reward_model": "no_validation",  # new_model says what it may be
        "exploration": [StrOptions(set(EXPLORATIONS))],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "epsilon": [Interval(Real, 0, 1, closed="both")],
        "gamma_scale": [Interval(Real, 0, None, closed="left")],
        "max_importance_weight": [Interval(Real, 0, None, closed="neither"), None],
        "random_state": ["random_state"],
    }
    _LEARNED = ("actions_", "reward_model_", "_labels", "_columns", "_sums")

    # As in BaseGLN.
    __metadata_request__partial_fit = {"check_input": UNUSED}
    __metadata_request__predict = {"check_input": UNUSED}
    __metadata_request__predict_proba = {"check_input": UNUSED}
    __metadata_request__decision_function = {"return_bonus": UNUSED, "check_input": UNUSED}

    def __init__(
        self,
        actions,
        reward_model=None,
        *,
        exploration="ucb",
        alpha=0.25,
        epsilon=0.05,
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
        tags.input_tags.allow_nan = tags.input_tags.sparse = True
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "reward_model_")

    def __setstate__(self, state):
        super().__setstate__(state)
        if "reward_model_" in state:
            self._check_learned()

    def __copy__(self):
        duplicate = type(self).__new__(type(self))
        vars(duplicate).update(vars(self))
        if hasattr(self, "reward_model_"):
            duplicate.reward_model_ = copy.copy(self.reward_model_)  # learning works in place
        return duplicate

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

    # Learning

    def fit(self, X, actions, rewards, probabilities=None, sample_weight=None):
        """Learn a log from scratch: what `partial_fit` does, first forgetting all and every action added.

        Parameters
        ----------
        X, actions, rewards, probabilities, sample_weight
            As in `partial_fit`.

        Returns
        -------
        self : GLNBandit
        """
        fresh = type(self)(**self.get_params(deep=False))
        fresh.partial_fit(X, actions, rewards, probabilities, sample_weight)
        self.__dict__ = vars(fresh)
        return self

    def partial_fit(self, X, actions, rewards, probabilities=None, sample_weight=None, check_input=True):
        """Learn rounds, in their order: rows, the actions taken, and the rewards that came of it.

        Rewards may come late and in any order: a round is learned when its reward is known.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features, as the reward model takes them; NaN is a missing value.

        actions : array-like of shape (n_samples,)
            Labels of the actions taken, by this bandit or any other policy.

        rewards : array-like of shape (n_samples,)
            Rewards, the larger the better: 0 and 1, or with a GLNRegressor as reward model real numbers.

        probabilities : array-like of shape (n_samples,), default=None
            The probability with which each action was taken, when it was; see `max_importance_weight`.

        sample_weight : array-like of shape (n_samples,), default=None
            How often each round counts, fractions included; None: once. Rounds of weight 0 are left out.

        check_input : bool, default=True
            False skips the checks of X, in all calls but the first; X must then be a float32 or float64 array of the
            right width without infinities, and sample_weight a float64 array or None.

        Returns
        -------
        self : GLNBandit

        Raises
        ------
        ValueError
            If the input or a parameter is invalid, or an action is not one of the bandit's; it is left as it was.
        """
        self._validate_params()
        begun = hasattr(self, "reward_model_")
        model = self.reward_model_ if begun else new_model(self.reward_model, self.random_state)
        known = self._labels if begun else labels_of(self.actions)
        columns, rewards = columns_of(actions, known, NEW_ACTIONS), _read_rewards(rewards, model)
        check_consistent_length(X, columns, rewards, probabilities, sample_weight)
        Y, weights = targets(columns, rewards, len(known)), self._weights(probabilities, sample_weight, len(known))
        model.partial_fit(X, Y, sample_weight=weights, check_input=check_input or not begun)
        if not begun:
            self.reward_model_ = model
            self.actions_, self._labels, self._columns = known, known, np.arange(len(known))
            self._sums = np.zeros((3, len(known)))
        self._add_rewards(columns, rewards, weights)
        return self

    def estimate_memory(self, n_features, *, n_categorical=0, n_samples=None):
        """Return how much memory the network may take, before anything is learned.

        Parameters
        ----------
        n_features : int
            Features.

        n_categorical : int, default=0
            How many of them are categories.

        n_samples : int or None, default=None
            Rounds to be learned. None: enough to visit every context.

        Returns
        -------
        n_bytes : int
            Bytes of weights, counts of visits, halfspaces and preconditioners, at most.

        Examples
        --------
        >>> from sklearn_gln.bandit import GLNBandit
        >>> GLNBandit(10).estimate_memory(n_features=20) // 2**20
        170
        """
        model = new_model(self.reward_model, self.random_state)
        n_outputs = len(self._labels if hasattr(self, "_labels") else labels_of(self.actions)) + 1
        name = "n_labels" if isinstance(model, GLNClassifier) else "n_targets"
        return model.estimate_memory(n_features, **{name: n_outputs}, n_categorical=n_categorical, n_samples=n_samples)

    def _weights(self, probabilities, sample_weight, n_actions):
        """The weights (n,) with which rounds are learned, or None."""
        if probabilities is None:
            return sample_weight
        probabilities = read_probabilities(probabilities)
        if self.max_importance_weight is None:
            return sample_weight
        weights = np.minimum(1 / (n_actions * probabilities), self.max_importance_weight)
        if sample_weight is None:
            return weights
        return weights * read_vector(sample_weight, "sample_weight", "a weight of 0 leaves a round out")

    def _add_rewards(self, columns, rewards, weights):
        """Count rounds, and sum rewards and their squares, of each action."""
        if weights is not None:
            exists = np.asarray(as_numpy(weights)) > 0
            columns, rewards = columns[exists], rewards[exists]
        sums = self._sums.copy()
        for of_power, values in zip(sums, (np.ones_like(rewards), rewards, rewards**2), strict=True):
            np.add.at(of_power, columns, values)  # one after the other, so that it does not matter how a log is cut
        self._sums = sums

    def _check_learned(self):
        """Raise ValueError unless what was learned fits together: it may come from a file that was tampered with."""
        missing = [name for name in self._LEARNED if not hasattr(self, name)]
        if missing:
            raise ValueError(f"The saved GLNBandit lacks {', '.join(missing)}.")
        n_labels = len(self._labels)
        fits = (
            type(self.reward_model_) in OF_KIND
            and self.reward_model_._online.n_outputs == n_labels + 1
            and self.reward_model_._online.settings.counts_visits
            and self._sums.shape == (3, n_labels)
            and len(self._columns) == len(self.actions_)
            and np.isin(self._columns, np.arange(n_labels)).all()
        )
        if not fits:
            raise ValueError("The saved GLNBandit's actions and its reward model do not fit together.")

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
        added = labels_of(actions)
        if (added.dtype.kind in "OU") != (self._labels.dtype.kind in "OU"):
            raise ValueError(
                f"actions={brief(added.tolist())} are of another type than {brief(self._labels.tolist())}; give all "
                "labels one type, such as text."
            )
        there = added[np.isin(added, self.actions_)]
        if len(there):
            raise ValueError(f"actions={brief(there.tolist())} are among the bandit's actions; leave them out.")
        is_new = ~np.isin(added, self._labels)
        every = np.concatenate([self._labels, added[is_new]])
        columns = np.append(self._columns, columns_of(added, every, NEW_ACTIONS))
        if is_new.any():
            add_outputs(self.reward_model_, np.count_nonzero(is_new))
        sums = np.pad(self._sums, [(0, 0), (0, np.count_nonzero(is_new))])
        vars(self).update(_labels=every, _sums=sums, _columns=columns, actions_=every[columns])
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
        stays = np.ones(len(self.actions_), bool)
        stays[columns_of(actions, self.actions_, "only these can be retired")] = False
        if not stays.any():
            raise ValueError(f"actions={brief(actions)} are all there are; at least one must stay. Add another first.")
        vars(self).update(_columns=self._columns[stays], actions_=self.actions_[stays])
        return self

    # Decisions

    def predict(self, X, check_input=True):
        """Return the action of the highest expected reward for each row, without exploration.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value.

        check_input : bool, default=True
            False skips the checks of X, which must be a float32 or float64 array without infinities.

        Returns
        -------
        actions : ndarray of shape (n_samples,)
            Labels from `actions_`; of actions that tie the first.
        """
        best = self.decision_function(X, check_input=check_input).argmax(axis=1)
        return self.actions_[best]

    def decision_function(self, X, return_bonus=False, check_input=True):
        """Return the expected reward of each action.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value.

        return_bonus : bool, default=False
            Whether to return what "ucb" adds to the expected rewards too, whatever `exploration` is.

        check_input : bool, default=True
            False skips the checks of X, which must be a float32 or float64 array without infinities.

        Returns
        -------
        expected : ndarray of shape (n_samples, n_actions), float64
            In the order of `actions_`; probabilities where rewards are 0 and 1.

        bonus : ndarray of shape (n_samples, n_actions), float64
            Only if `return_bonus`.
        """
        check_is_fitted(self)
        means, widths = self._expectations(X, check_input)
        return (means, self._bonuses(widths)) if return_bonus else means

    def predict_proba(self, X, check_input=True):
        """Return the probability with which `sample_actions` takes each action.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value.

        check_input : bool, default=True
            False skips the checks of X, which must be a float32 or float64 array without infinities.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_actions), float64
            In the order of `actions_`. Before anything is learned all are equal.
        """
        self._validate_params()
        if not hasattr(self, "reward_model_"):
            n_actions = len(labels_of(self.actions))
            return np.full((len(X), n_actions), 1 / n_actions)
        means, widths = self._expectations(X, check_input)
        if self.exploration == "ucb":
            return greedy(means + self._bonuses(widths))
        if self.exploration == "thompson":
            return thompson(means, self.alpha * widths)
        if self.exploration == "squarecb":
            unit = 1.0 if isinstance(self.reward_model_, GLNClassifier) else self._moments_of_all()[1]
            return square_cb(means / unit, self.gamma_scale * np.sqrt(self.n_samples_seen_))
        return epsilon_greedy(means, self.epsilon if self.exploration == "epsilon_greedy" else 0.0)

    def sample_actions(self, X, random_state=None, return_proba=False, check_input=True):
        """Choose an action for each row, with exploration; nothing is learned, or remembered, of it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value. Before anything is learned actions are drawn evenly.

        random_state : int, RandomState instance or None, default=None
            Draws the actions. An int draws the same in each call: to have a whole run repeat itself, pass one
            RandomState instance to all its calls.

        return_proba : bool, default=False
            Whether to return the probability with which each action was drawn too, to be kept in a log.

        check_input : bool, default=True
            False skips the checks of X, which must be a float32 or float64 array without infinities.

        Returns
        -------
        actions : ndarray of shape (n_samples,)
            Labels from `actions_`.

        probabilities : ndarray of shape (n_samples,), float64
            Only if `return_proba`.
        """
        probabilities = self.predict_proba(X, check_input)
        cumulative = np.cumsum(probabilities, axis=1)
        drawn = check_random_state(random_state).uniform(size=(len(cumulative), 1)) * cumulative[:, -1:]
        places = (cumulative <= drawn).sum(axis=1)
        actions = (self.actions_ if hasattr(self, "actions_") else labels_of(self.actions))[places]
        return (actions, probabilities[np.arange(len(places)), places]) if return_proba else actions

    def _bonuses(self, widths):
        return self.alpha * widths * np.sqrt(np.log1p(self.n_samples_seen_))

    def _expectations(self, X, check_input):
        """Expected rewards (n, n_actions), and the deviations of rewards over the root of pseudo-counts."""
        means, deviations, counts = expectations(self.reward_model_, X, check_input)
        mean, deviation = self._moments_of_all()
        is_late = np.isinf(deviations)  # too few rewards came, and late, for the network to know their unit
        if is_late.any():
            n, total, _ = self._sums
            means, deviations = np.where(is_late, total / np.maximum(n, 1), means), np.where(is_late, 0, deviations)
        means = (counts * means + mean) / (counts + 1)
        widths = np.sqrt(counts * deviations**2 + deviation**2) / (counts + 1)
        return means[:, self._columns], widths[:, self._columns]

    def _moments_of_all(self):
        """The mean and the deviation of all rewards: of 0 and 1, with one of 1/2 more, 1/2."""
        n, total, squares = self._sums.sum(axis=1)
        if isinstance(self.reward_model_, GLNClassifier):
            return (total + 0.5) / (n + 1), 0.5
        mean = total / max(n, 1)
        variance = squares / max(n, 1) - mean**2
        return mean, np.sqrt(variance) if variance > ROUNDING * squares else 1.0


def _read_rewards(rewards, model):
    """Rewards (n,) float64."""
    rewards = read_vector(rewards, "rewards", "leave a round out until its reward is known")
    if isinstance(model, GLNClassifier) and not np.isin(rewards, (0, 1)).all():
        raise ValueError(
            f"rewards holds values from {rewards.min():.6g} to {rewards.max():.6g}, and the reward model is for 0 and "
            "1; for real rewards use reward_model=GLNRegressor(share_halfspaces=True)."
        )
    return rewards
