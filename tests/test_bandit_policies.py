"""The policies of GLNBandit, and estimates of a policy's value from logs."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from sklearn_gln.bandit import GLNBandit, evaluate_policy
from sklearn_gln.bandit._exploration import epsilon_greedy, greedy, square_cb, thompson
from tests.helpers import new

RNG = np.random.default_rng(0)
EXPECTED, WIDTHS = RNG.random((7, 4)), RNG.uniform(0.01, 1, (7, 4))

# Policies


def test_greedy_shares_ties():
    assert_array_equal(greedy(np.array([[1.0, 2, 2], [3, 2, 1]])), [[0, 0.5, 0.5], [1, 0, 0]])
    assert_allclose(epsilon_greedy(np.array([[1.0, 2]]), 0.2), [[0.1, 0.9]])


def test_square_cb_is_inverse_in_the_gap():
    assert_allclose(square_cb(np.array([[0.5, 0.9, 0.8]]), 10.0), [[1 / 7, 1 - 1 / 7 - 1 / 4, 1 / 4]])
    assert_allclose(square_cb(EXPECTED, 0.0), np.full((7, 4), 0.25))
    assert_allclose(square_cb(EXPECTED, 1e12), greedy(EXPECTED), atol=1e-9)


def test_thompson_is_the_probability_of_being_the_best():
    drawn = EXPECTED + WIDTHS * np.random.default_rng(1).normal(size=(200_000, 7, 4))
    shares = (drawn == drawn.max(axis=2, keepdims=True)).mean(axis=0)
    assert_allclose(thompson(EXPECTED, WIDTHS), shares, atol=0.02)
    two = thompson(EXPECTED[:, :2], np.full((7, 2), 0.3))
    assert_allclose(two[:, 0], norm.cdf((EXPECTED[:, 0] - EXPECTED[:, 1]) / (0.3 * np.sqrt(2))), atol=1e-6)
    assert_allclose(thompson(EXPECTED, 0 * WIDTHS), greedy(EXPECTED))
    many = thompson(np.tile(EXPECTED, (100, 1)), np.tile(WIDTHS, (100, 1)))
    assert_array_equal(many, np.tile(thompson(EXPECTED, WIDTHS), (100, 1)))


X = RNG.normal(size=(300, 3))
ACTIONS = RNG.integers(3, size=300)
REWARDS = (RNG.random(300) < np.where((X[:, 0] > 0) == ACTIONS, 0.6, 0.4)).astype(float)
BANDIT = GLNBandit(3, new(), random_state=0).partial_fit(X, ACTIONS, REWARDS)


@pytest.mark.parametrize("exploration", ["ucb", "thompson", "squarecb", "epsilon_greedy", "greedy"])
def test_actions_are_drawn_with_the_probabilities_that_are_told(exploration):
    BANDIT.set_params(exploration=exploration, alpha=1.0, epsilon=0.3)
    probabilities = BANDIT.predict_proba(X)
    assert_allclose(probabilities.sum(axis=1), 1)
    rng = np.random.RandomState(0)
    drawn = BANDIT.sample_actions(np.tile(X[:20], (500, 1)), rng).reshape(500, 20, 1)
    shares = (drawn == np.arange(3)).mean(axis=0)
    assert_allclose(shares, probabilities[:20], atol=0.1)
    actions, taken = BANDIT.sample_actions(X, 3, return_proba=True)
    assert_array_equal(actions, BANDIT.sample_actions(X, 3))
    assert_array_equal(taken, probabilities[np.arange(300), actions])
    assert np.all(taken > 0)
    expected, bonus = BANDIT.decision_function(X, return_bonus=True)
    best = (expected + (bonus if exploration == "ucb" else 0)).argmax(axis=1)
    assert np.mean(probabilities.argmax(axis=1) == best) == (
        1 if exploration != "thompson" else pytest.approx(1, abs=0.1)
    )
    assert_array_equal(BANDIT.predict(X), expected.argmax(axis=1))


def test_alpha_and_gamma_scale_set_how_much_is_explored():
    def certainty(**params):
        return BANDIT.set_params(**params).predict_proba(X).max(axis=1).mean()

    assert certainty(exploration="thompson", alpha=0.1) > 1.05 * certainty(alpha=2.0)
    assert certainty(exploration="squarecb", gamma_scale=100.0) > 1.05 * certainty(gamma_scale=1.0)


# Values of policies


def make_log(n=4000, seed=0):
    """Rows, probabilities of two policies, and a log of the first; the second's mean reward."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    logging = np.stack([0.6 - 0.2 * np.tanh(x), 0.4 + 0.2 * np.tanh(x)], axis=1)
    target = np.stack([x < 0.5, x >= 0.5], axis=1) * 0.8 + 0.1
    expected = np.stack([1 + x, 2 - x], axis=1)
    actions = (rng.random(n) > logging[:, 0]).astype(int)
    rewards = expected[np.arange(n), actions] + 0.5 * rng.normal(size=n)
    log = {"actions": actions, "rewards": rewards, "probabilities": logging[np.arange(n), actions]}
    return target, expected, log


@pytest.mark.parametrize("n_resamples", [None, 200])
@pytest.mark.parametrize("estimator", ["ips", "snips", "dr"])
def test_intervals_hold_the_value(estimator, n_resamples):
    truth = np.vecdot(*make_log(10**6)[:2]).mean()
    held, errors, standard_errors = 0, [], []
    for seed in range(40):
        target, expected, log = make_log(400, seed)
        given = {"expected_rewards": expected + 0.5} if estimator == "dr" else {}
        got = evaluate_policy(
            target, **log, **given, estimator=estimator, n_resamples=n_resamples, confidence_level=0.8, random_state=0
        )
        held += got.low < truth < got.high
        errors.append(got.value - truth)
        standard_errors.append(got.standard_error)
        assert 1 < got.effective_sample_size < 400
    assert 24 <= held <= 39
    assert np.std(errors) == pytest.approx(np.mean(standard_errors), rel=0.35)


def test_estimators_by_hand():
    target, actions = np.array([[0.5, 0.5], [1, 0], [0, 1]]), ["a", "a", "b"]
    log = {"actions": actions, "rewards": [1.0, 2.0, 4.0], "probabilities": [0.25, 0.5, 0.5], "labels": ["a", "b"]}
    weights = np.array([2, 2, 2])
    assert evaluate_policy(target, **log, estimator="ips").value == pytest.approx((weights * [1, 2, 4]).mean())
    assert evaluate_policy(target, **log).value == pytest.approx(7 / 3)
    expected = np.array([[1.0, 2], [3, 0], [0, 3]])
    doubly_robust = np.mean([1.5 + 2 * 0, 3 + 2 * -1, 3 + 2 * 1])
    got = evaluate_policy(target, **log, expected_rewards=expected, estimator="dr")
    assert got.value == pytest.approx(doubly_robust)
    assert got.effective_sample_size == pytest.approx(3)
    clipped = evaluate_policy(target, **log, estimator="ips", max_weight=1.5)
    assert clipped.value == pytest.approx(1.5 * 7 / 3)


def test_a_good_model_makes_dr_less_noisy():
    target, expected, log = make_log()
    plain, robust = (
        evaluate_policy(target, **log, estimator="ips"),
        evaluate_policy(target, **log, expected_rewards=expected, estimator="dr"),
    )
    assert robust.standard_error < 0.8 * plain.standard_error
    shifted = log | {"rewards": log["rewards"] + 100}
    assert evaluate_policy(target, **shifted).value == pytest.approx(evaluate_policy(target, **log).value + 100)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"estimator": "dm"}, "estimator='dm' is unknown"),
        ({"estimator": "dr"}, "needs expected_rewards"),
        ({"expected_rewards": np.zeros((4000, 2))}, "expected_rewards has no meaning"),
        ({"expected_rewards": np.zeros((4000, 3)), "estimator": "dr"}, "expected_rewards has shape"),
        ({"policy_proba": np.ones((4000, 2))}, "sum to 1"),
        ({"policy_proba": np.zeros(4000)}, "policy_proba has shape"),
        ({"labels": ["a"]}, "labels are 1"),
        ({"labels": ["a", "b"]}, "not among"),
        ({"probabilities": np.zeros(4000)}, "above 0"),
        ({"rewards": np.full(4000, np.inf)}, "rewards contains infinity"),
        ({"rewards": np.zeros(3)}, "inconsistent numbers"),
        ({"max_weight": 0}, "max_weight=0"),
        ({"confidence_level": 95}, "confidence_level=95"),
        ({"n_resamples": 1}, "n_resamples=1"),
        ({"policy_proba": np.eye(2)[1 - make_log()[2]["actions"]]}, "No action that was taken"),
    ],
)
def test_bad_logs_are_refused(changed, message):
    target, _, log = make_log()
    with pytest.raises(ValueError, match=message):
        evaluate_policy(**{"policy_proba": target} | log | changed)
