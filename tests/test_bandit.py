"""GLNBandit: what it learns of rounds, however they are cut, and of actions that come and go; forms, files, errors."""

import copy
import pickle

import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression

from sklearn_gln import GLNClassifier, GLNRegressor, io
from sklearn_gln.bandit import GLNBandit
from sklearn_gln.kernels import get_kernels
from tests.helpers import BACKEND, INTERPRETED, NAMES, make_stream
from tests.test_memory import n_bytes

TOLERANCE = {"rtol": 1e-7, "atol": 1e-9}
SMALL = {"layer_sizes": (5, 4), "context_dim": 3, "dtype": "float64", "backend": BACKEND}
N = 400 if not INTERPRETED else 300
X, CLASSES, WEIGHTS = make_stream(3, N)
RNG = np.random.default_rng(0)
ACTIONS = RNG.integers(3, size=N)
PROBABILITIES = RNG.uniform(0.1, 1, N)
REWARDS = {
    "classifier": (ACTIONS == CLASSES).astype(float),
    "regressor": 3.0 * ACTIONS + np.where(ACTIONS == 1, X[:, 0], np.abs(X[:, 1])) + RNG.normal(0, 0.2, N),
}
REWARDS["regressor"][np.isnan(REWARDS["regressor"])] = 0
MODELS = {
    "classifier": lambda **params: GLNClassifier(**SMALL | params),
    "regressor": lambda **params: GLNRegressor(share_halfspaces=True, **SMALL | params),
}


@pytest.fixture(params=MODELS)
def kind(request):
    return request.param


def new(kind="classifier", actions=3, model=None, **params):
    return GLNBandit(actions, MODELS[kind](**model or {}), **{"random_state": 0} | params)


def learned(kind="classifier", n=N, **params):
    return new(kind, **params).partial_fit(X[:n], ACTIONS[:n], REWARDS[kind][:n])


def known(bandit, rows=X):
    """All that a bandit says of rows: (2, n, n_actions)."""
    return np.stack(bandit.decision_function(rows, return_bonus=True))


# Laws


@pytest.mark.parametrize("weighted", [False, True])
def test_cuts_copies_and_files_change_nothing(kind, weighted, tmp_path):
    weights = WEIGHTS if weighted else None
    whole = new(kind, max_importance_weight=3).partial_fit(X, ACTIONS, REWARDS[kind], PROBABILITIES, weights)
    bandit = new(kind, max_importance_weight=3)
    for rows in np.split(np.arange(N), [1, 20, 257, 290]):
        of_rows = weights if weights is None else weights[rows]
        bandit.partial_fit(X[rows], ACTIONS[rows], REWARDS[kind][rows], PROBABILITIES[rows], of_rows)
        bandit = pickle.loads(pickle.dumps(copy.copy(bandit)))
        io.save(bandit, tmp_path / "bandit.skops")
        bandit = io.load(tmp_path / "bandit.skops")
    assert_allclose(known(bandit), known(whole), **TOLERANCE)
    assert_array_equal(bandit._sums, whole._sums)


def test_actions_do_not_know_of_each_other(kind):
    """Given the halfspaces, and but for the mean of all rewards, with which those of few visits are joined."""
    bandit, other = (new(kind, model={"halfspaces": "gaussian", "aggregation": "layers"}) for _ in range(2))
    bandit.partial_fit(X, ACTIONS, REWARDS[kind])
    changed = np.where(ACTIONS == 0, REWARDS[kind], 1 - REWARDS[kind])
    other.partial_fit(X, np.where(ACTIONS == 1, 2, ACTIONS), changed)
    method = "predict_proba" if kind == "classifier" else "predict"
    got, expected = (getattr(each.reward_model_, method)(X) for each in (other, bandit))
    assert_allclose(got[:, 0], expected[:, 0], **TOLERANCE)
    assert np.abs(got[:, 2] - expected[:, 2]).max() > 0.01


def test_decisions_know_nothing_of_other_rows_and_leave_no_trace(kind):
    bandit = learned(kind, exploration="thompson")
    before = pickle.dumps(bandit)
    alone = np.concatenate([bandit.predict_proba(X[[row]]) for row in range(20)])
    assert_allclose(alone, bandit.predict_proba(X)[:20], **TOLERANCE)
    bandit.predict(X)
    bandit.sample_actions(X, random_state=0)
    assert pickle.dumps(bandit) == before


def test_rewards_that_come_late_are_learned_when_they_come(kind):
    order = np.random.default_rng(1).permutation(N)
    late = new(kind).partial_fit(X[order], ACTIONS[order], REWARDS[kind][order])
    assert_allclose(late.action_counts_, learned(kind).action_counts_)
    assert np.mean(late.predict(X) == learned(kind).predict(X)) > 0.8


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("n", [0, 1, 100, 300])
def test_an_action_added_is_what_it_would_be_had_it_been_announced(kind, n, stacked):
    model = {"aggregation": "stacked" if stacked else "layers"}
    first = np.minimum(ACTIONS[:n], 1)
    announced = new(kind, model=model).partial_fit(X[:n], first, REWARDS[kind][:n])
    added = new(kind, 1 if n < 2 else 2, model=model).partial_fit(X[:n], first * (n > 1), REWARDS[kind][:n])
    if n == 1:
        announced = new(kind, model=model).partial_fit(X[:n], first * 0, REWARDS[kind][:n])
    added.add_actions([1, 2] if n < 2 else [2])
    assert_allclose(known(added), known(announced), **TOLERANCE)
    for bandit in (added, announced):
        bandit.partial_fit(X[n:], ACTIONS[n:], REWARDS[kind][n:])
    assert_allclose(known(added), known(announced), **TOLERANCE)
    assert_array_equal(added.actions_, announced.actions_)


def test_categories_of_actions_that_come(kind):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd")).assign(city=np.array(["x", "y", "z"])[CLASSES])
    model = {"categorical_features": ["city"]}
    announced, added = new(kind, model=model), new(kind, 2, model=model)
    for rows, actions in ((slice(0, 300), np.minimum(ACTIONS, 1)), (slice(300, N), ACTIONS)):
        for bandit in (announced, added):
            if bandit is added and rows.start:
                bandit.add_actions([2])
            bandit.partial_fit(frame[rows], actions[rows], REWARDS[kind][rows])
    assert_allclose(known(added, frame), known(announced, frame), **TOLERANCE)
    assert np.abs(known(added, frame) - known(added, frame.assign(city="x"))).max() > 0.01


# What is counted


def test_what_is_expected_is_counted_by_visits_of_contexts(kind):
    bandit, rewards = learned(kind, model={"half_life": None}, alpha=1.0), REWARDS[kind]
    model = bandit.reward_model_
    counts = np.zeros((3, N))
    ((_, _, outputs),) = model._online.forward(X, get_kernels("numpy"))
    for contexts in outputs.contexts[kind == "regressor" :]:  # not of the linear first neuron
        for action, of_action in enumerate(counts):
            of_action += (contexts[:, np.newaxis, 0] == contexts[action == ACTIONS, 0]).sum(axis=(1, 2))
    counts = counts.T / sum(SMALL["layer_sizes"])
    if kind == "classifier":
        means, overall, unit = model.predict_proba(X)[:, :3], (rewards.sum() + 0.5) / (N + 1), 0.5
        variances = means * (1 - means)
    else:
        means, variances = (each[:, :3] for each in model.predict(X, return_std=True))
        variances, overall, unit = variances**2, rewards.mean(), rewards.std()
    expected, bonus = known(bandit)
    assert_allclose(expected, (counts * means + overall) / (counts + 1))
    assert_allclose(bonus, np.sqrt(counts * variances + unit**2) / (1 + counts) * np.sqrt(np.log(1 + N)))


def test_bonuses_fade_with_evidence_and_return_with_half_life(kind):
    few, many = learned(kind, 100), learned(kind)
    assert np.median(known(many)[1]) < 0.7 * np.median(known(few)[1])
    forgets, keeps = (new(kind, model={"half_life": half_life}) for half_life in (50.0, None))
    for bandit in (forgets, keeps):
        for _ in range(3):
            bandit.partial_fit(X, ACTIONS, REWARDS[kind])
    assert np.median(known(forgets)[1]) > 1.3 * np.median(known(keeps)[1])


def test_backends_agree(kind, backend_name):
    if backend_name == NAMES[0]:
        pytest.skip("the others are compared to it")
    bandit, expected = (learned(kind, model={"backend": name}) for name in (backend_name, NAMES[0]))
    assert_allclose(known(bandit), known(expected), rtol=1e-6, atol=1e-8)
    bandit.add_actions([7])
    expected.add_actions([7])
    assert_allclose(known(bandit), known(expected), rtol=1e-6, atol=1e-8)


@pytest.mark.thorough
def test_processes_change_nothing(kind):
    rows = np.tile(np.arange(N), 4)  # the first 1,024 are learned in one process
    bandit, expected = (new(kind, model={"n_jobs": n_jobs}) for n_jobs in (2, None))
    expected.partial_fit(X[rows], ACTIONS[rows], REWARDS[kind][rows])
    with parallel_config("loky"):
        bandit.partial_fit(X[rows], ACTIONS[rows], REWARDS[kind][rows])
    assert_allclose(known(bandit), known(expected), **TOLERANCE)


def test_estimate_memory_counts_visits(kind):
    bandit = new(kind, model={"layer_sizes": (30, 20), "offset_scale": 0.1})
    estimate = bandit.estimate_memory(4)
    assert estimate > bandit.reward_model.estimate_memory(4, **{"n_labels" if kind == "classifier" else "n_targets": 4})
    bandit.partial_fit(X, ACTIONS, REWARDS[kind])
    assert estimate * 0.75 <= n_bytes(bandit.reward_model_._online.network) <= estimate


def test_labels_of_the_actions_chosen_do_not_correct_the_next():
    bandit, model = learned(), MODELS["classifier"]().partial_fit(X, CLASSES == 0, classes=[False, True])
    assert bandit.reward_model_._online.head.recent.stopped
    assert not model._online.head.recent.stopped


def test_estimators_count_nothing():
    model = GLNClassifier(**SMALL).partial_fit(X, CLASSES, classes=[0, 1, 2])
    assert all(layer.visits is None for layer in model._online.network.layers)


# What it learns


def test_learns_whichever_action_is_right():
    right = np.where(np.nan_to_num(X[:, 0]) > np.nanmedian(X[:, 0]), 1, 2)
    bandit, rng, earned = new(), np.random.RandomState(0), []
    for row in range(150):
        action = bandit.sample_actions(X[[row]], rng)
        earned.append(action[0] == right[row])
        bandit.partial_fit(X[[row]], action, [float(earned[-1])])
    assert np.mean(earned[75:]) > 0.8
    assert np.mean(bandit.predict(X) == right) > 0.8


def test_one_rare_reward_is_no_error():
    rewards = np.where((ACTIONS == 1) & (np.arange(N) % 40 == 1), 50.0, 1.0 + 0.01 * np.nan_to_num(X[:, 0]))
    bandit = new("regressor").partial_fit(X, ACTIONS, rewards)
    plain = GLNRegressor(random_state=0, **SMALL).partial_fit(X[ACTIONS == 1], rewards[ACTIONS == 1])
    mean = rewards[ACTIONS == 1].mean()
    assert mean > 1.5
    assert 0.5 * mean < bandit.decision_function(X)[:, 1].mean() < 2 * mean
    assert plain.predict(X).mean() < 1.2


def test_an_action_of_few_late_rewards_has_their_mean():
    actions, rewards = np.where(np.arange(N) < 290, 0, ACTIONS)[:295], REWARDS["regressor"][:295]
    bandit = new("regressor").partial_fit(X[:295], actions, rewards)
    expected, bonus = known(bandit)
    for action in (1, 2):
        of_action = rewards[actions == action]
        assert 0 < len(of_action) < 5
        ends = np.sort([of_action.mean(), rewards.mean()])
        assert np.all((ends[0] - 1e-9 <= expected[:, action]) & (expected[:, action] <= ends[1] + 1e-9))
    assert np.all(np.isfinite(bonus))


def test_importance_weights_are_sample_weights(kind):
    weighted = new(kind, max_importance_weight=2).partial_fit(X, ACTIONS, REWARDS[kind], PROBABILITIES, WEIGHTS)
    weights = WEIGHTS * np.minimum(1 / (3 * PROBABILITIES), 2)
    assert_allclose(known(weighted), known(new(kind).partial_fit(X, ACTIONS, REWARDS[kind], sample_weight=weights)))
    ignored = new(kind).partial_fit(X, ACTIONS, REWARDS[kind], PROBABILITIES)
    assert_allclose(known(ignored), known(learned(kind)))


@pytest.mark.parametrize("n_actions", [1, 2])
def test_few_actions_and_logs_of_one_alone(kind, n_actions):
    bandit = new(kind, n_actions).partial_fit(X, 0 * ACTIONS, REWARDS[kind])
    expected, bonus = known(bandit)
    assert expected.shape == bonus.shape == (N, n_actions)
    assert np.isfinite(expected).all()
    assert np.all(bonus[:, 1:] > bonus[:, :1])
    assert_array_equal(bandit.action_counts_, [N, 0][:n_actions])


# Actions that come and go


def test_retired_actions_are_not_taken_and_still_learned():
    bandit, expected = named(), named()
    bandit.retire_actions(["b"])
    assert_array_equal(bandit.actions_, ["a", "c"])
    assert "b" not in bandit.sample_actions(X, 0)
    assert bandit.predict_proba(X).shape == (N, 2)
    assert_allclose(known(bandit), known(expected)[:, :, [0, 2]])
    for each in (bandit, expected):
        each.partial_fit(X[:50], ["b"] * 50, np.ones(50))
    bandit.add_actions(["b"])
    assert_array_equal(bandit.actions_, ["a", "c", "b"])
    assert_allclose(known(bandit), known(expected)[:, :, [0, 2, 1]])


def named(n=N):
    names = np.array(["a", "b", "c"])
    return new(actions=names).partial_fit(X[:n], names[ACTIONS[:n]], REWARDS["classifier"][:n])


def test_names_of_other_lengths():
    bandit = named(50).add_actions(["a longer name"])
    assert_array_equal(bandit.actions_, ["a", "b", "c", "a longer name"])
    bandit.partial_fit(X[:5], ["a longer name"] * 5, np.ones(5))
    assert_array_equal(bandit.action_counts_[3], 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda it: it.add_actions(["d", "d"]), "each once"),
        (lambda it: it.add_actions(["a"]), "among the bandit's actions"),
        (lambda it: it.add_actions([3]), "another type"),
        (lambda it: it.retire_actions(["d"]), "'d'.*only these"),
        (lambda it: it.retire_actions(["a", "b", "c"]), "at least one must stay"),
        (lambda it: it.partial_fit(X[:1], ["d"], [1]), "'d'.*add_actions"),
        (lambda it: it.partial_fit(X[:1], [["a"]], [1]), "actions has shape"),
        (lambda it: it.partial_fit(X[:2], ["a"], [1]), "inconsistent numbers of samples"),
        (lambda it: it.partial_fit(X[:1], ["a"], [0.5]), "rewards holds values.*GLNRegressor"),
        (lambda it: it.partial_fit(X[:1], ["a"], [np.nan]), "rewards contains NaN.*until its reward is known"),
        (lambda it: it.partial_fit(X[:1], ["a"], ["good"]), "rewards holds text"),
        (lambda it: it.partial_fit(X[:1], ["a"], [1], [0.0]), "probabilities holds values"),
        (lambda it: it.partial_fit(X[:1], ["a"], [1], [1.1]), "probabilities holds values"),
        (lambda it: it.partial_fit(X[:1], ["a"], [1], sample_weight=[-1.0]), "sample_weight"),
        (lambda it: it.partial_fit(X[:1, :2], ["a"], [1]), "features"),
        (lambda it: it.predict(X[:, :2]), "features"),
    ],
)
def test_bad_input_is_refused(call, message):
    bandit = named(60)
    before = pickle.dumps(bandit)
    with pytest.raises(ValueError, match=message):
        call(bandit)
    assert pickle.dumps(bandit) == before


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"actions": 0}, ValueError, "'actions' parameter"),
        ({"actions": []}, ValueError, "actions="),
        ({"actions": ["a", "a"]}, ValueError, "each once"),
        ({"reward_model": LinearRegression()}, TypeError, "reward_model must be"),
        ({"reward_model": GLNRegressor()}, ValueError, "share_halfspaces=True"),
        ({"exploration": "curious"}, ValueError, "'exploration' parameter"),
        ({"epsilon": 2}, ValueError, "'epsilon' parameter"),
        ({"max_importance_weight": 0}, ValueError, "'max_importance_weight' parameter"),
    ],
)
def test_bad_parameters_are_refused(params, error, message):
    bandit = GLNBandit(**{"actions": 3} | params)
    with pytest.raises(error, match=message):
        bandit.partial_fit(X[:1], [0], [1])
    assert not hasattr(bandit, "reward_model_")


# scikit-learn's conventions


def test_before_anything_is_learned_all_actions_are_alike():
    bandit = GLNBandit(["a", "b"])
    assert_array_equal(bandit.predict_proba(X), np.full((N, 2), 0.5))
    assert set(bandit.sample_actions(X, 0)) == {"a", "b"}
    for method in (bandit.predict, bandit.decision_function):
        with pytest.raises(NotFittedError):
            method(X)
    with pytest.raises(NotFittedError):
        bandit.add_actions(["c"])


def test_a_first_call_without_rounds_is_no_harm(kind):
    bandit = new(kind).partial_fit(X[:0], [], [])
    assert_allclose(bandit.predict_proba(X[:2]), 1 / 3)
    bandit.partial_fit(X[:3], ACTIONS[:3], REWARDS[kind][:3], sample_weight=np.zeros(3))
    assert_array_equal(bandit.action_counts_, 0)
    assert_allclose(known(bandit.partial_fit(X, ACTIONS, REWARDS[kind])), known(learned(kind)), **TOLERANCE)


def test_parameters_and_clone():
    bandit = new(exploration="thompson", alpha=2.0)
    assert clone(bandit).get_params()["alpha"] == 2.0
    bandit.set_params(reward_model__context_dim=1, epsilon=0.3)
    bandit.partial_fit(X, ACTIONS, REWARDS["classifier"])
    assert bandit.reward_model_.context_dim == 1
    assert not hasattr(bandit.reward_model, "classes_")
    assert not hasattr(clone(bandit), "reward_model_")
    assert GLNBandit(2).get_params()["reward_model"] is None


def test_fit_starts_from_scratch(kind):
    bandit = learned(kind, 100).add_actions([5]).fit(X, ACTIONS, REWARDS[kind])
    assert_allclose(known(bandit), known(learned(kind)), **TOLERANCE)


def test_names_of_features_are_kept():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    bandit = new().partial_fit(frame, ACTIONS, REWARDS["classifier"])
    assert_array_equal(bandit.feature_names_in_, list("abcd"))
    assert bandit.n_features_in_ == 4
    assert_allclose(known(bandit, frame), known(learned()), **TOLERANCE)
    with pytest.raises(ValueError, match="feature names"):
        bandit.predict(frame[list("abdc")])


def test_unchecked_input_gives_the_same(kind):
    bandit = new(kind)
    for rows in np.split(np.arange(N), [1, 2, 60, 257]):
        bandit.partial_fit(X[rows], ACTIONS[rows], REWARDS[kind][rows], check_input=False)
    assert_allclose(known(bandit), known(learned(kind)), **TOLERANCE)
    assert_array_equal(bandit.predict(X, check_input=False), bandit.predict(X))
    assert_array_equal(bandit.sample_actions(X, 0, check_input=False), bandit.sample_actions(X, 0))


@pytest.mark.parametrize(
    "damage",
    [
        {"_sums": np.zeros((3, 2))},
        {"_columns": np.array([0, 1, 3])},
        {"reward_model_": GLNClassifier()},
        {"_labels": None},
    ],
    ids=str,
)
def test_files_that_do_not_fit_together_are_refused(damage, tmp_path):
    bandit = learned(n=20)
    vars(bandit).update(damage)
    io.save(bandit, tmp_path / "bandit.skops")
    with pytest.raises(ValueError, match="cannot be loaded"):
        io.load(tmp_path / "bandit.skops")
