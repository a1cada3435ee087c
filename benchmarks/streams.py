"""How well a Gated Linear Network learns streams, beside other online learners: each row is predicted, then learned.

All streams and models; needs river, and Vowpal Wabbit if it shall take part (`pip install river vowpalwabbit`)::

    python benchmarks/streams.py --json streams.json

Two models on two streams that change in the middle, 10,000 rows, three seeds::

    python benchmarks/streams.py --streams led-swap sea-abrupt --models GLN ARF --rows 10000 --seeds 0 1 2

One parameter of GLNClassifier changed::

    python benchmarks/streams.py --models GLN --param context_dim=6

The table gives average ranks (1 is best) over the stationary and over the drifting streams, in log-loss (probabilities
clipped to [1e-6, 1 - 1e-6], 0 for classes not seen yet), accuracy, accuracy on the last quarter, and, where a stream
changes at known rows, accuracy on the tenth of the stream after each change. Models run with their libraries' defaults,
one row at a time, on features scaled by running moments where they need it. Real streams are shorter than --rows
where they have fewer.
"""

import argparse
import importlib.util
import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter

import numpy as np
from common import PACKAGES, add_param_option, environment, installed_version, positive_int
from river import compose, datasets, forest, linear_model, multiclass, naive_bayes, preprocessing, tree
from river.datasets import synth
from scipy.stats import rankdata
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_classification
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPClassifier

from sklearn_gln import GLNClassifier

MIN_PROBABILITY = 1e-6
CURVE_POINTS = 40  # parts of a stream whose accuracy is recorded
SCORES = ("log_loss", "accuracy", "last_quarter", "after_change")


@dataclass
class Stream:
    """Rows in order; `changes` are the rows where the concept changes at once, `drifting` says whether it changes."""

    X: np.ndarray  # (n, n_features)
    y: np.ndarray  # (n,): class numbers
    n_classes: int
    drifting: bool = False
    changes: tuple[int, ...] = ()


def main(arguments=None):
    options = build_parser().parse_args(arguments)
    models = {name: make for name, make in MODELS.items() if name in options.models}
    warm_up(options.param)
    runs = []
    for name in options.streams:
        for seed in options.seeds:
            stream = STREAMS[name](options.rows, seed)
            for model, learn in models.items():
                params = dict(options.param) if model == "GLN" else {}
                runs.append({"stream": name, "model": model, "seed": seed, **run_once(stream, learn, seed, params)})
        print_stream(name, [run for run in runs if run["stream"] == name])
    ranks = {kind: average_ranks(runs, drifting) for kind, drifting in (("stationary", False), ("drifting", True))}
    print_ranks(ranks)
    results = {
        "rows": options.rows,
        "seeds": options.seeds,
        "params": dict(options.param),
        "runs": runs,
        "ranks": ranks,
        "environment": {**environment(), "packages": versions()},
    }
    if options.json:
        options.json.write_text(json.dumps(results, indent=1, default=str) + "\n")
    return results


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    available = [name for name in MODELS if name != "VW" or importlib.util.find_spec("vowpalwabbit")]
    parser.add_argument("--streams", nargs="+", choices=STREAMS, default=list(STREAMS), metavar="NAME", help="all")
    parser.add_argument("--models", nargs="+", choices=available, default=available, metavar="NAME", help="all")
    parser.add_argument("--rows", type=positive_int, default=5000, metavar="N", help="of each stream (%(default)s)")
    parser.add_argument("--seeds", "--seed", type=int, nargs="+", default=[0], metavar="SEED", help="one run each (0)")
    add_param_option(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results, versions and cores to FILE")
    return parser


def versions():
    return {name: found for name in (*PACKAGES, "river", "vowpalwabbit") if (found := installed_version(name))}


def warm_up(param):
    """Have kernels compiled before anything is timed."""
    rng = np.random.default_rng(0)
    for n_classes in (2, 3):
        learn_gln(Stream(rng.normal(size=(300, 5)), np.arange(300) % n_classes, n_classes), 0, **dict(param))


# Models: each gives the probabilities (n, n_classes) of all rows, each made before the row was learned.


def learn_gln(stream, seed, **params):
    model = GLNClassifier(**{"random_state": seed, **params})
    return model.progressive_predict_proba(stream.X, stream.y, np.arange(stream.n_classes))


def river_learner(make_model):
    def learn(stream, seed):
        model = make_model(seed, stream.n_classes)
        probabilities = np.zeros((len(stream.X), stream.n_classes))
        for i, (row, label) in enumerate(zip(stream.X.tolist(), stream.y.tolist(), strict=True)):
            features = dict(enumerate(row))
            for code, p in model.predict_proba_one(features).items():
                probabilities[i, int(code)] = p
            model.learn_one(features, label if stream.n_classes > 2 else bool(label))
        return normalised(probabilities)

    return learn


def make_logistic(_seed, n_classes):
    model = linear_model.LogisticRegression()
    return compose.Pipeline(
        preprocessing.StandardScaler(), multiclass.OneVsRestClassifier(model) if n_classes > 2 else model
    )


def make_hat(seed, _n_classes):
    return tree.HoeffdingAdaptiveTreeClassifier(seed=seed)


def make_arf(seed, _n_classes):
    return forest.ARFClassifier(n_models=10, seed=seed)


def sklearn_learner(make_model):
    def learn(stream, seed):
        model, classes = make_model(seed), np.arange(stream.n_classes)
        X = scale_online(stream.X)
        probabilities = np.zeros((len(X), stream.n_classes))
        for i, row in enumerate(X[:, np.newaxis]):
            if i:
                probabilities[i] = model.predict_proba(row)[0]
            model.partial_fit(row, stream.y[i : i + 1], classes=classes)
        return normalised(probabilities)

    return learn


def learn_vw(stream, seed):
    from vowpalwabbit import Workspace

    k = stream.n_classes
    model = Workspace(f"--oaa {k} --probabilities --loss_function logistic --random_seed {seed} --quiet")
    probabilities = np.zeros((len(stream.X), k))
    for i, (row, label) in enumerate(zip(scale_online(stream.X).tolist(), stream.y.tolist(), strict=True)):
        text = "| " + " ".join(f"{j}:{value:.6g}" for j, value in enumerate(row))
        probabilities[i] = model.predict(text)
        model.learn(f"{label + 1} {text}")
    model.finish()
    return normalised(probabilities)


def scale_online(X):
    """Each row scaled by the mean and deviation of the rows up to it."""
    counts = np.arange(1, len(X) + 1)[:, np.newaxis]
    shifted = X - X[0]
    mean = np.cumsum(shifted, axis=0) / counts
    variance = np.maximum(np.cumsum(np.square(shifted), axis=0) / counts - np.square(mean), 0)
    return (shifted - mean) / np.where(variance > 1e-12, np.sqrt(variance), 1)


def normalised(probabilities):
    """Rows that sum to 1; those of a model that says nothing yet are uniform."""
    sums = probabilities.sum(axis=1, keepdims=True)
    return np.where(sums > 0, probabilities / np.where(sums > 0, sums, 1), 1 / probabilities.shape[1])


MODELS = {
    "GLN": learn_gln,
    "Logistic": river_learner(make_logistic),
    "HAT": river_learner(make_hat),
    "ARF": river_learner(make_arf),
    "VW": learn_vw,
    "SGD": sklearn_learner(lambda seed: SGDClassifier(loss="log_loss", random_state=seed)),
    "MLP": sklearn_learner(lambda seed: MLPClassifier(batch_size=1, random_state=seed)),
    "GaussianNB": river_learner(lambda *_: naive_bayes.GaussianNB()),
}


# Streams: functions of the number of rows and the seed


def take(dataset, n_rows):
    """X and y of the first rows of one of river's data sets."""
    rows, labels = zip(*islice(dataset, n_rows), strict=True)
    X = np.array([[float(value) for value in row.values()] for row in rows])
    classes, y = np.unique(np.array(labels), return_inverse=True)
    return X, y, len(classes)


def shuffled(load):
    """One of scikit-learn's data sets, in random order."""

    def make(n_rows, seed):
        X, y = load(return_X_y=True)
        order = np.random.default_rng(seed).permutation(len(X))[:n_rows]
        return Stream(X[order], y[order], len(np.unique(y)))

    return make


def from_file(dataset):
    return lambda n_rows, _: Stream(*take(dataset(), n_rows))


def classification(**options):
    def make(n_rows, seed):
        X, y = make_classification(n_rows, random_state=seed, **options)
        return Stream(X, y, options["n_classes"])

    return make


def generated(make_dataset, drifting=False):
    return lambda n_rows, seed: Stream(*take(make_dataset(seed), n_rows), drifting)


def changing(*make_datasets):
    """Streams of river's, one after the other, each for as many rows."""

    def make(n_rows, seed):
        bounds = np.linspace(0, n_rows, len(make_datasets) + 1).astype(int)
        parts = [take(make(seed), n) for make, n in zip(make_datasets, np.diff(bounds), strict=True)]
        X, y, n_classes = zip(*parts, strict=True)
        return Stream(np.concatenate(X), np.concatenate(y), max(n_classes), True, tuple(bounds[1:-1].tolist()))

    return make


def swapped(make):
    """In the middle the classes change places, each becoming the next."""

    def make_swapped(n_rows, seed):
        stream = make(n_rows, seed)
        half = len(stream.X) // 2
        stream.y = np.concatenate([stream.y[:half], (stream.y[half:] + 1) % stream.n_classes])
        stream.drifting, stream.changes = True, (half,)
        return stream

    return make_swapped


def rescaled(make):
    """In the middle every feature gets another unit and another zero."""

    def make_rescaled(n_rows, seed):
        stream = make(n_rows, seed)
        half, rng = len(stream.X) // 2, np.random.default_rng(seed)
        deviations = stream.X.std(axis=0)
        factors = np.exp2(rng.uniform(-2, 2, len(deviations)))
        stream.X[half:] = stream.X[half:] * factors + 3 * deviations * rng.normal(size=len(deviations))
        stream.drifting, stream.changes = True, (half,)
        return stream

    return make_rescaled


def gradual_agrawal(seed):
    return synth.ConceptDriftStream(agrawal(0)(seed), agrawal(4)(seed), seed=seed, position=2500, width=1000)


def agrawal(function):
    return lambda seed: synth.Agrawal(classification_function=function, perturbation=0.05, seed=seed)


def sea(variant):
    return lambda seed: synth.SEA(variant=variant, noise=0.1, seed=seed)


def led(seed):
    return synth.LED(seed=seed, noise_percentage=0.1, irrelevant_features=True)


def led_drift(seed):
    return synth.LEDDrift(seed=seed, noise_percentage=0.1, irrelevant_features=True, n_drift_features=5)


def rbf(seed):
    return synth.RandomRBF(seed_model=seed, seed_sample=seed, n_classes=4, n_features=10, n_centroids=30)


def other_rbf(seed):
    return synth.RandomRBF(seed_model=seed + 1000, seed_sample=seed, n_classes=4, n_features=10, n_centroids=30)


def rbf_drift(speed):
    return lambda seed: synth.RandomRBFDrift(
        seed_model=seed, seed_sample=seed, n_classes=4, n_features=10, n_centroids=30, change_speed=speed,
        n_drift_centroids=30,
    )  # fmt: skip


def random_tree(seed):
    return synth.RandomTree(seed_tree=seed, seed_sample=seed, n_classes=2, n_num_features=10, n_cat_features=0)


def hyperplane(change):
    return lambda seed: synth.Hyperplane(
        seed=seed, n_features=10, n_drift_features=5, mag_change=change, noise_percentage=0.05
    )


STREAMS = {
    "phishing": from_file(datasets.Phishing),
    "bananas": from_file(datasets.Bananas),
    "image-segments": from_file(datasets.ImageSegments),
    "shuttle": from_file(datasets.Shuttle),
    "digits": shuffled(load_digits),
    "breast-cancer": shuffled(load_breast_cancer),
    "wine": shuffled(load_wine),
    "two-classes": classification(n_classes=2, n_informative=10, n_clusters_per_class=4, flip_y=0.05),
    "ten-classes": classification(n_classes=10, n_informative=12, n_clusters_per_class=2, flip_y=0.02),
    "rare-class": classification(n_classes=2, n_informative=6, weights=[0.95], flip_y=0.02),
    "mostly-noise": classification(n_classes=3, n_features=60, n_informative=4, flip_y=0.2),
    "rbf": generated(rbf),
    "led": generated(led),
    "waveform": generated(lambda seed: synth.Waveform(seed=seed, has_noise=True)),
    "agrawal-1": generated(agrawal(0)),
    "agrawal-7": generated(agrawal(6)),
    "random-tree": generated(random_tree),
    "sine": generated(lambda seed: synth.Sine(classification_function=2, seed=seed)),
    "sea-abrupt": changing(sea(0), sea(3)),
    "sea-recurring": changing(sea(2), sea(3), sea(2), sea(3)),
    "agrawal-abrupt": changing(agrawal(0), agrawal(4)),
    "agrawal-gradual": generated(gradual_agrawal, drifting=True),
    "sine-reversed": changing(*(lambda seed, f=f: synth.Sine(classification_function=f, seed=seed) for f in (2, 3))),
    "rbf-abrupt": changing(rbf, other_rbf),
    "rbf-slow": generated(rbf_drift(0.0005), drifting=True),
    "rbf-fast": generated(rbf_drift(0.005), drifting=True),
    "hyperplane-slow": generated(hyperplane(0.001), drifting=True),
    "hyperplane-fast": generated(hyperplane(0.02), drifting=True),
    "led-abrupt": changing(led, led_drift),
    "led-swap": swapped(generated(led)),
    "two-classes-swap": swapped(classification(n_classes=2, n_informative=10, n_clusters_per_class=4, flip_y=0.05)),
    "ten-classes-rescaled": rescaled(classification(n_classes=10, n_informative=12, flip_y=0.02)),
}


# Scores


def run_once(stream, learn, seed, params):
    start = perf_counter()
    probabilities = learn(stream, seed, **params)
    seconds = perf_counter() - start
    return {
        "drifting": stream.drifting,
        "changes": stream.changes,
        "rows": len(stream.X),
        **score(stream, probabilities),
        "seconds_per_1000": 1000 * seconds / len(stream.X),
    }


def score(stream, probabilities):
    n = len(stream.y)
    p = np.clip(probabilities[np.arange(n), stream.y], MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    hits = probabilities.argmax(axis=1) == stream.y
    after = [hits[row : row + n // 10] for row in stream.changes]
    return {
        "log_loss": float(-np.log(p).mean()),
        "accuracy": float(hits.mean()),
        "last_quarter": float(hits[-(n // 4) :].mean()),
        "after_change": float(np.concatenate(after).mean()) if after else None,
        "accuracy_curve": [float(part.mean()) for part in np.array_split(hits, CURVE_POINTS)],
        "log_loss_curve": [float(-np.log(part).mean()) for part in np.array_split(p, CURVE_POINTS)],
    }


def mean_score(runs, model, name):
    return float(np.mean([run[name] for run in runs if run["model"] == model]))


def average_ranks(runs, drifting):
    """For each model the average rank in each score over the streams of one kind, and its seconds."""
    runs = [run for run in runs if run["drifting"] == drifting]
    models, ranks = list(dict.fromkeys(run["model"] for run in runs)), {name: [] for name in SCORES}
    for stream in dict.fromkeys(run["stream"] for run in runs):
        of_stream = [run for run in runs if run["stream"] == stream]
        for name in SCORES:
            if of_stream[0][name] is not None:
                values = [mean_score(of_stream, model, name) for model in models]
                ranks[name].append(rankdata(np.multiply(values, 1 if name == "log_loss" else -1)))
    averages = {name: np.mean(of_score, axis=0) for name, of_score in ranks.items() if of_score}
    return {
        model: {name: float(average[i]) for name, average in averages.items()}
        | {"mean_log_loss": mean_score(runs, model, "log_loss"), "mean_accuracy": mean_score(runs, model, "accuracy")}
        | {"seconds_per_1000": mean_score(runs, model, "seconds_per_1000")}
        for i, model in enumerate(models)
    }


def print_stream(name, runs):
    print(f"{name}: {runs[0]['rows']} rows" + ("" if not runs[0]["drifting"] else ", drifting"))
    for model in dict.fromkeys(run["model"] for run in runs):
        scores = {score: mean_score(runs, model, score) for score in SCORES if runs[0][score] is not None}
        line = "  ".join(f"{score} {value:.4f}" for score, value in scores.items())
        print(f"  {model:12}{line}  {mean_score(runs, model, 'seconds_per_1000'):8.3f} s/1000", flush=True)


def print_ranks(ranks):
    for kind, of_models in ranks.items():
        if of_models:
            columns = list(next(iter(of_models.values())))
            print(f"\n{kind} streams: average ranks, means\n{'':12}" + "".join(f"{name:>18}" for name in columns))
            for model, values in sorted(of_models.items(), key=lambda item: item[1]["log_loss"]):
                print(f"{model:12}" + "".join(f"{values[name]:18.3f}" for name in columns))


if __name__ == "__main__":
    main()
