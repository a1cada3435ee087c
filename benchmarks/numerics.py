"""Whether the numbers hold: precision, offsets that dwarf what varies, redundant features, and years of stream.

Float32 and float64 of each backend against the scalar oracle of the tests, over a million updates of neurons (rows
times neurons, all of one output)::

    python benchmarks/numerics.py precision

The same stream with and without large offsets, of features and of targets::

    python benchmarks/numerics.py cancellation

Preconditioners where features are collinear, constant, or more than the rows, and the same rows without what is
redundant::

    python benchmarks/numerics.py preconditioner

A hundred million rows through two neurons: what becomes of weights, counts and losses (about half an hour)::

    python benchmarks/numerics.py years

With --quick each takes a minute or less, apart from recorded results. Streams are synthetic and noisy, learned row by
row; losses and scores (accuracy, or R2) are progressive: of predictions made before a row was learned.

In ``precision`` *largest* and *median* are differences from the oracle, of probabilities or of means, and *other
context* is the share of rows that some neuron sees in another one. In ``cancellation`` the stream without the offset is
the difference, which floating point gives exactly: both hold the same information, and *digits* says how much of it, in
decimal digits of a deviation above the spacing of numbers at the offset; errors of running moments are those against
exact fractions, in deviations. In ``years`` *excess* is the loss of a decade of rows, less that of a model that knows
how they were drawn; *largest* is that of the weights, *moved* how far one went a row, over the last rows of the decade;
*moments*, *accumulator* and *weight* are what sums hold, over the rows; *sd* is the deviation predicted where all
features are 0 (0.3 is true). Runs that were recorded are not repeated.
"""

import argparse
import importlib.util
import sys
import warnings
from fractions import Fraction
from pathlib import Path
from time import perf_counter

import numpy as np
from common import RESULTS, add_command, add_options, print_table, run_tasks, seconds_of
from internals import (
    contexts_of,
    gaussian_losses,
    halfspaces_drawn_by,
    layers_of,
    preconditioners_of,
    scaling_of,
    settings_of,
)
from scipy.special import expit
from sklearn.base import clone
from sklearn.metrics import accuracy_score, log_loss, r2_score
from threadpoolctl import threadpool_limits

from sklearn_gln import GLNClassifier, GLNRegressor

ESTIMATORS = {"classifier": GLNClassifier, "regressor": GLNRegressor}
QUICK = {
    "precision": {"rows": 1500, "backends": ["numpy", "numba"]},
    "cancellation": {"rows": 3000},
    "preconditioner": {"rows": 2000},
    "years": {"rows": 300_000},
}
DTYPES = ("float32", "float64")
NOISE = 0.3  # deviation of targets about what the features say
UNSCORED = 16  # first rows, of which a regressor knows nothing


def main(arguments=None):
    options = build_parser().parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK[options.command], out=RESULTS / "quick")
    with threadpool_limits(1):
        return options.run(options)


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for run, rows, text in (
        (precision, 84_000, "float32, float64 and the oracle"),
        (cancellation, 20_000, "offsets that dwarf what varies"),
        (preconditioner, 20_000, "redundant features"),
        (years, 100_000_000, "a long stream through a tiny network"),
    ):
        command = add_command(commands, run, text)
        add_options(command, "--rows", "--out", rows=rows)
        command.add_argument("--quick", action="store_true", help="fewer rows, recorded apart")
        if run is precision:
            command.add_argument("--backends", nargs="+", default=["numpy", "numba", "torch", "jax"], metavar="NAME")
    return parser


def run_and_record(options, function, tasks):
    return run_tasks(function, tasks, options.out / f"numerics_{options.command}.jsonl")


# Streams


def make_targets(rng, signal, kind):
    """Targets (n,): classes 0 and 1 whose log-odds are twice the signal, or the signal and noise."""
    if kind == "classifier":
        return (rng.random(len(signal)) < expit(2 * signal)).astype(int)
    return signal + NOISE * rng.standard_normal(len(signal))


def make_stream(kind, n_rows, n_features=2, seed=0):
    """Rows X (n, n_features) and targets (n,), whose signal is a plane that changes its side at a bend."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, n_features))
    return X, make_targets(rng, X[:, 0] * np.sign(X[:, 1]), kind)


def least_loss(signal, y, kind):
    """The mean loss of a model that knows the signal."""
    if kind == "classifier":
        return float(-np.log(expit(2 * np.where(y, signal, -signal))).mean())
    moments = np.stack([signal, np.full_like(signal, NOISE**2)], axis=1)
    return float(gaussian_losses(moments[:, np.newaxis], y[:, np.newaxis]).mean())


def progressive(model, X, y):
    """Probabilities of class 1, or means and deviations, of rows before each was learned: (n, 1) or (n, 2)."""
    if isinstance(model, GLNClassifier):
        return model.progressive_predict_proba(X, y, classes=[0, 1])[:, 1:]
    return np.stack(model.progressive_predict(X, y, return_std=True), axis=1)


def figures(predicted, y):
    """Loss and score of predictions that `progressive` gives."""
    predicted, y = predicted[UNSCORED:], y[UNSCORED:]
    if predicted.shape[1] == 1:
        return {"loss": log_loss(y, predicted[:, 0]), "score": accuracy_score(y, predicted[:, 0] > 0.5)}
    moments = predicted[:, np.newaxis] ** (1, 2)
    return {"loss": float(gaussian_losses(moments, y[:, np.newaxis]).mean()), "score": r2_score(y, predicted[:, 0])}


# A million updates

PLAIN = {"learning_rate": "constant", "learning_rate_init": 0.01, "max_weight": 5.0}
NETWORKS = {  # with how many times the rows
    "default": ({"layer_sizes": (8, 4)}, 1),
    "plain": ({"layer_sizes": (8, 4), **PLAIN}, 1),
    "plain, two neurons": ({"layer_sizes": (2,), "base_predictor": "identity", **PLAIN}, 6),
}
GATED_ROWS = 10_000  # whose contexts are compared


def precision(options):
    backends = [name for name in options.backends if importlib.util.find_spec(name)]
    tasks = [
        {"kind": kind, "network": network, "rows": n_times * options.rows, "backends": backends}
        for kind in ESTIMATORS
        for network, (_, n_times) in NETWORKS.items()
        if (kind, n_times) in (("classifier", n_times), ("regressor", 1))  # the oracle would take hours
    ]
    records = run_and_record(options, compare_with_oracle, tasks)
    print_table(
        (
            {"kind": record["kind"], "network": record["network"], "updates": record["updates"], **run}
            for record in records
            for run in record["runs"]
        ),
        ".3g",
    )
    return records


def compare_with_oracle(kind, network, rows, backends):
    """Differences of what backends predicted in either precision, in probabilities or means, from the oracle."""
    X, y = make_stream(kind, rows)
    params = {"context_dim": 2, "aggregation": "layers", "random_state": 0, **NETWORKS[network][0]}
    if params.get("base_predictor") == "identity":
        X = expit(X)
    runs, predicted = {}, {}
    for backend in backends:
        for dtype in DTYPES:
            model = ESTIMATORS[kind](**params, backend=backend, dtype=dtype)
            start = perf_counter()
            predicted[f"{backend} {dtype}"] = progressive(model, X, y), contexts_of(model, X[:GATED_ROWS])
            runs[f"{backend} {dtype}"] = {"seconds": perf_counter() - start}
    oracle, start = make_oracle(kind, model, y), perf_counter()
    before = np.asarray(oracle.learn(X, y[:, np.newaxis]))[:, 0]
    expected = expit(before)[:, np.newaxis] if kind == "classifier" else before ** (1, 0.5)
    computed = [oracle.forward(row)[1][0] for row in X[:GATED_ROWS].tolist()]
    contexts = [[context for trace in layers for context in trace.contexts] for layers in computed]
    predicted["oracle"] = expected, np.array(contexts)
    runs["oracle"] = {"seconds": perf_counter() - start}
    for name, (got, of_rows) in predicted.items():
        differences = np.abs(got - expected)[UNSCORED:, 0]
        runs[name] |= {
            "largest": float(differences.max()),
            "median": float(np.median(differences)),
            "other context": float((of_rows != contexts).any(axis=1).mean()),
            **{figure: round(value, 6) for figure, value in figures(got, y).items()},
        }
    n_neurons = sum(settings_of(model).layer_sizes)
    return {"updates": rows * n_neurons, "runs": [{"of": name, **run} for name, run in runs.items()]}


def make_oracle(kind, model, y):
    """The tests' network of scalars, with the halfspaces of the model."""
    sys.path.append(str(Path(__file__).parent.parent))  # of the repository
    from tests.naive import NaiveGLN
    from tests.naive_regression import NaiveRegressor

    settings = settings_of(model)
    rate = settings.learning_rate_init
    own = "half_life", *(("label_smoothing", "eps", "n_bins") if kind == "classifier" else ("squares",))
    return {"classifier": NaiveGLN, "regressor": NaiveRegressor}[kind](
        1,
        halfspaces_drawn_by(model, y if kind == "classifier" else y[:, np.newaxis]),
        layer_sizes=model.layer_sizes,
        learning_rate="normalized" if settings.normalized else lambda t: rate,  # noqa: ARG005
        learning_rate_init=rate,
        base_predictor=model.base_predictor,
        aggregation=model.aggregation,
        max_weight=settings.max_weight,
        **{name: getattr(settings, name) for name in own},
    )


# Offsets

OFFSETS, SPREADS = (0.0, 1e4, 1e8, 1e10, 1e12), (1.0, 1e-3, 1e-6)


def cancellation(options):
    streams = [(offset, spread) for offset in OFFSETS for spread in SPREADS if spacing(offset) < spread / 10]
    tasks = [
        {
            "of": of,
            "kind": kind,
            "offset": offset,
            "spread": spread,
            "rows": options.rows,
            "dtype": dtype,
            "input": given,
        }
        for of, kind, given in (
            ("features", "classifier", "float64"),
            ("features", "regressor", "float64"),
            ("targets", "regressor", "float64"),
            ("features", "classifier", "float32"),
        )
        for offset, spread in streams
        for dtype in DTYPES
    ]
    records = run_and_record(options, learn_with_offset, tasks)
    print_table(({name: value for name, value in record.items() if name != "rows"} for record in records), ".3g")
    return records


def spacing(offset, dtype="float64"):
    return float(np.spacing(np.dtype(dtype).type(offset)))


def learn_with_offset(of, kind, offset, spread, rows, dtype, input):
    X, y = make_stream(kind, rows)
    varied = (X if of == "features" else y) * spread
    given = (offset + varied).astype(input)
    without = given.astype(float) - offset
    scores = {}
    for name, values in (("with", given), ("without", without)):
        model = ESTIMATORS[kind]((8, 4), 2, half_life=None, dtype=dtype, random_state=0)
        stream = (values, y) if of == "features" else (X, values)
        predicted = progressive(model, *stream)
        if of == "targets":  # in units that both share
            predicted = predicted - [offset if name == "with" else 0.0, 0.0]
            predicted, stream = predicted / spread, (X, without / spread)
        scores |= {f"{figure} {name}": value for figure, value in figures(predicted, stream[1]).items()}
        if name == "with":
            *scaling, weight = scaling_of(model, of)  # of rows of weight 1
            errors = scaling_errors(*scaling, values[: int(weight)].reshape(int(weight), -1))
    return {"digits": float(np.log10(max(spread / spacing(offset, input), 1))), **scores, **errors}


def scaling_errors(means, deviations, X):
    """The largest error of means, in deviations, and relative error of deviations, against exact fractions."""
    of_mean, of_deviation = [], []
    for mean, deviation, column in zip(means, deviations, X.T, strict=True):
        values = list(map(Fraction, column.tolist()))
        exact = sum(values) / len(values)
        exact_deviation = float(sum((value - exact) ** 2 for value in values) / len(values)) ** 0.5
        if exact_deviation > 0:
            of_mean.append(abs(float(Fraction(float(mean)) - exact)) / exact_deviation)
            of_deviation.append(abs(float(deviation) / exact_deviation - 1))
    return {"mean error": max(of_mean, default=None), "deviation error": max(of_deviation, default=None)}


# Redundant features


def preconditioner(options):
    tasks = [
        {"features": name, "kind": kind, "rows": options.rows, "dtype": dtype}
        for name in REDUNDANT
        for kind in ESTIMATORS
        for dtype in DTYPES
    ]
    records = run_and_record(options, learn_redundant, tasks)
    print_table(records, ".3g")
    return records


REDUNDANT = {  # of X (n, 4): columns next to those of X, or others in their place
    "copies": lambda X: np.hstack([X, X, X]),
    "linear combinations": lambda X: np.hstack([X, X @ noise(4, 8)]),
    "almost copies (1e-8)": lambda X: np.hstack([X, X + 1e-8 * noise(*X.shape)]),
    "constants": lambda X: np.hstack([X, np.full((len(X), 3), [0.1, -1e12, 1.0])]),
    "zeros": lambda X: np.hstack([X, np.zeros((len(X), 3))]),
    "one-hot": lambda X: np.hstack([X, np.eye(4)[np.searchsorted([-0.7, 0.0, 0.7], X[:, 0])]]),
    "more features than rows": lambda X: np.hstack([X[:150], noise(150, 300)]),
    "one row repeated": lambda X: np.repeat(X[:1], 5 * len(X), axis=0),
}


def noise(*shape):
    return np.random.default_rng(1).standard_normal(shape)


def learn_redundant(features, kind, rows, dtype):
    """Progressive figures with and without redundant features, and the largest condition number of P."""
    X, y = make_stream(kind, rows, n_features=4)
    given = REDUNDANT[features](X)
    y = np.resize(y[:rows], len(given))
    X = X[: len(given)] if given.shape[1] > 4 else given
    scores = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name, columns in (("with", given), ("without", X)):
            model = ESTIMATORS[kind]((8, 4), 2, dtype=dtype, random_state=0)
            scores |= {
                f"{figure} {name}": value for figure, value in figures(progressive(model, columns, y), y).items()
            }
            if name == "with":
                matrices = preconditioners_of(model)
                weights = [layer.weights for layer in layers_of(model)]
    return {
        "finite": all(np.isfinite(array).all() for array in (*matrices, *weights)),
        "asymmetry": max(float(np.abs(matrix - matrix.T).max() / np.abs(matrix).max()) for matrix in matrices),
        "least eigenvalue": min(float(np.linalg.eigvalsh((matrix + matrix.T) / 2).min()) for matrix in matrices),
        "condition": max(float(np.linalg.cond(matrix)) for matrix in matrices),
        "largest weight": max(float(np.abs(array).max()) for array in weights),
        **scores,
        "warnings": len(caught),
    }


# Years of stream

CHUNK = 200_000
SIGNAL = np.array([1.0, -0.5])  # linear: the network can learn it, and whatever is amiss shows in the excess
TINY = {"layer_sizes": (2,), "context_dim": 1, "half_life": None, "backend": "numba", "random_state": 0}
YEARS = (  # kind, dtype, parameters, and what share of the rows
    ("classifier", "float32", {}, 1),
    ("classifier", "float64", {}, 1),
    ("classifier", "float32", {"half_life": 10_000}, 0.1),
    ("regressor", "float64", {}, 0.1),
    ("regressor", "float32", {"half_life": 10_000}, 0.1),
    ("regressor", "float32", {"likelihood": "gaussian"}, 0.1),
    ("regressor", "float64", {"likelihood": "gaussian"}, 0.1),
    ("regressor", "float32", {}, 1),
)


def years(options):
    tasks = [
        {"kind": kind, "dtype": dtype, "params": params, "rows": int(share * options.rows)}
        for kind, dtype, params, share in YEARS
    ]
    records = run_and_record(options, learn_for_years, tasks)
    for record in records:
        print(f"{record['kind']}, {record['dtype']}, {record['params']}: {record['us_per_row']:.2f} us a row")
        print_table(record["decades"], ".6g")
    return records


def learn_for_years(kind, dtype, params, rows):
    rng = np.random.default_rng(0)
    model = ESTIMATORS[kind](**TINY | params, dtype=dtype)
    given = {"classes": [0, 1]} if kind == "classifier" else {}
    clone(model).partial_fit(*make_stream(kind, 1000), **given)  # compiles
    ends = [10**exponent for exponent in range(3, 12) if 10**exponent < rows] + [rows]
    decades, seconds, least = [], 0.0, 0.0
    seen = losses = counted_from = 0
    for end in ends:
        while seen < end:
            n_rows = min(CHUNK, end - seen)
            X = rng.standard_normal((n_rows, 2))
            signal = X @ SIGNAL
            y = make_targets(rng, signal, kind)
            before = [layer.weights.copy() for layer in layers_of(model)] if seen else []
            seconds += seconds_of(model.partial_fit, X, y, **given)
            seen += n_rows
            least += n_rows * least_loss(signal, y, kind)
        layers = layers_of(model)
        scored = seen - (UNSCORED if kind == "regressor" else 0)
        total = model.progressive_loss_ * scored
        decades.append(
            {
                "rows": seen,
                "excess": (total - losses) / (scored - counted_from) - least / (scored - counted_from),
                "largest": max(float(np.abs(layer.weights).max()) for layer in layers),
                "moved": max((largest_move(*pair) for pair in zip(before, layers, strict=False)), default=0.0) / n_rows,
                **counts_of(model, seen),
            }
        )
        losses, counted_from, least = total, scored, 0.0
    return {"us_per_row": 1e6 * seconds / rows, "decades": decades}


def largest_move(before, layer):
    n_rows = before.shape[2]
    return float(np.abs(layer.weights[:, :, :n_rows].astype(float) - before).max())


def counts_of(model, n_rows):
    """Sums over the rows seen; of a regressor also the mean square and a deviation that it predicts."""
    layer = layers_of(model)[-1]
    accumulated = layer.accumulator.sum(axis=(1, 2), dtype=float)[0] / layer.accumulator.shape[1]
    counts = {
        "moments": scaling_of(model, "features")[2] / n_rows,
        "accumulator": float(accumulated / n_rows),
    }
    if layer.spread is not None:
        weight = layer.spread.weight.sum(dtype=float) / layer.spread.weight.shape[1]
        deviation = float(model.predict(np.zeros((1, 2)), return_std=True)[1][0])
        counts |= {"weight": float(weight / n_rows), "mean square": float(layer.spread.mean_square[0]), "sd": deviation}
    return counts


if __name__ == "__main__":
    main()
