"""Look inside: why the network said what it said, what one update changed, where halfspaces cut, how layers compare.

python benchmarks/inspection.py why --mnist FOLDER      # MNIST, one pass: explanations, figures, a picture
python benchmarks/inspection.py halfspaces              # two features: a picture
python benchmarks/inspection.py stream                  # scikit-learn's digits: loss by class, layers, a picture
python benchmarks/inspection.py importance              # importances of features, next to permutation importance
"""

import argparse
from copy import deepcopy
from functools import partial

import numpy as np
from common import (
    ONE_PASS,
    add_options,
    append_lines,
    describe_machine,
    load_mnist,
    print_table,
    seconds_of,
    time_in_turn,
)
from internals import layers_of
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_wine,
    make_classification,
    make_friedman1,
    make_moons,
    make_regression,
)
from sklearn.inspection import permutation_importance
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln.inspection import (
    HalfspaceDisplay,
    LayerDisplay,
    ProgressiveLossDisplay,
    SaliencyDisplay,
    global_contributions,
    local_coefficients,
    summary,
)

SHAPE = (28, 28)
SAID = 3  # the answer that is asked about
CHUNK_ROWS = 1000  # explained at once
N_ROWS, N_SEEDS = 1500, 5  # of sets with irrelevant features; three quarters of the rows are learned


def why(mnist, seed, n_test):
    """One pass over MNIST; why it calls images a 3, and what learning one mistake changes."""
    X, X_test, y, y_test = load_mnist(mnist)
    X_test, y_test = X_test[:n_test], y_test[:n_test]
    model = GLNClassifier(**ONE_PASS, max_iter=1, random_state=seed).fit(X, y)
    record = measure_explanations(model, X_test)

    said = model.predict(X_test)
    right = np.flatnonzero((said == SAID) & (y_test == SAID))[0]
    wrong = np.flatnonzero((said == SAID) & (y_test != SAID))[0]
    after = deepcopy(model).partial_fit(X_test[[wrong]], y_test[[wrong]])
    record["update"] = compare_update(model, after, X_test, y_test, wrong)

    before = SaliencyDisplay.from_estimator(model, X_test[[right, wrong]], image_shape=SHAPE, ax=scratch_axes())
    later = SaliencyDisplay.from_estimator(after, X_test[[wrong]], image_shape=SHAPE, ax=scratch_axes())
    display = SaliencyDisplay(
        np.concatenate([before.contributions, later.contributions]),
        np.concatenate([before.intercept, later.intercept]),
        np.concatenate([before.X, later.X]),
        output_names=before.output_names,
        feature_names=before.feature_names,
        image_shape=SHAPE,
        row_names=[f"a {SAID}, called {SAID}", f"a {y_test[wrong]}, called {SAID}", "the same, learned once"],
    )
    figure = Figure(figsize=(10, 2.5), layout="constrained")
    display.plot(ax=figure.subplots())
    return record, figure


def measure_explanations(model, X):
    """How exact explanations are, how many rows have no clipped neuron, and what they cost."""
    errors, is_clipped = [], []
    for start in range(0, len(X), CHUNK_ROWS):
        rows = X[start : start + CHUNK_ROWS]
        local = local_coefficients(model, rows)
        logits = local.intercept + local.contributions.sum(axis=2)
        errors.append(np.abs(logits - model.decision_function(rows)).max())
        is_clipped.append(local.is_clipped.any(axis=1))
    rows = X[:CHUNK_ROWS]
    model.decision_function(rows)
    seconds = time_in_turn(
        {
            "predicting": partial(seconds_of, model.decision_function, rows),
            "explaining": partial(seconds_of, local_coefficients, model, rows),
        },
        repeats=5,
    )
    explaining = seconds["explaining"]["min"]
    return {
        "rows": len(X),
        "largest_error": float(max(errors)),
        "largest_logit": float(np.abs(model.decision_function(rows)).max()),
        "unclipped_rows": float(1 - np.concatenate(is_clipped).mean()),
        "explained_rows_per_second": len(rows) / explaining,
        "explaining_over_predicting": explaining / seconds["predicting"]["min"],
        "summary": str(summary(model, X)),
    }


def compare_update(before, after, X, y, learned):
    """Changes by learning row `learned` of X once more: for itself, for the other rows, in the weights."""
    rows = np.arange(len(X))
    probabilities = [model.predict_proba(X) for model in (before, after)]
    labels = [model.classes_[each.argmax(axis=1)] for model, each in zip((before, after), probabilities, strict=True)]
    losses = [-np.log(each[rows, y]) for each in probabilities]  # classes are 0 to 9
    others = rows != learned
    moved = [
        (np.asarray(new.weights) != np.asarray(old.weights)).sum()
        for new, old in zip(layers_of(after), layers_of(before), strict=True)
    ]
    return {
        "row": int(learned),
        "label": int(y[learned]),
        "said": [int(each[learned]) for each in labels],
        "probability_of_label": [float(each[learned, y[learned]]) for each in probabilities],
        "others_with_another_answer": int((labels[0] != labels[1])[others].sum()),
        "accuracy_of_others": [float((each == y)[others].mean()) for each in labels],
        "log_loss_of_others": [float(each[others].mean()) for each in losses],
        "weights_moved": int(sum(moved)),
        "weights_learned": summary(before).n_weights,
    }


def halfspaces(seed):
    """Two moons: halfspaces of two neurons above the model's probabilities, and one neuron's own."""
    X, y = make_moons(500, noise=0.2, random_state=seed)
    model = GLNClassifier(context_dim=4, random_state=seed).fit(X, y)
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    HalfspaceDisplay.from_estimator(model, X, neurons=[(0, 0), (2, 1)], ax=left)
    HalfspaceDisplay.from_estimator(model, X, neurons=[(0, 0)], response="neuron", ax=right)
    for ax, title in ((left, "the model, and halfspaces of two neurons"), (right, "what one neuron predicts")):
        for label, marker in ((0, "o"), (1, "^")):
            rows = y == label
            ax.scatter(*X[rows].T, s=9, marker=marker, color="0.15", linewidth=0, label=f"class {label}")
        ax.set(title=title, xlabel="feature 0", ylabel="feature 1")
        ax.legend(loc="upper right", fontsize="x-small")
        ax.label_outer()
    return figure


def stream(seed):
    """scikit-learn's digits in one pass: loss and accuracy by class; layers on rows not learned, of noisy classes."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(X))
    X, y = X[order], y[order]
    figure = Figure(figsize=(12.6, 3.9), layout="constrained")
    loss, accuracy, layers = figure.subplots(1, 3)
    display = ProgressiveLossDisplay.from_estimator(GLNClassifier(random_state=seed), X, y, ax=loss)
    display.plot(ax=accuracy, metric="accuracy")
    accuracy.get_legend().remove()
    X, y = make_classification(
        9000, 20, n_informative=10, n_classes=4, n_clusters_per_class=3, flip_y=0.1, random_state=seed
    )
    model = GLNClassifier(random_state=seed).fit(X[:3000], y[:3000])
    LayerDisplay.from_estimator(model, X[3000:], y[3000:], ax=layers)
    for ax, title in ((loss, "digits: log-loss"), (accuracy, "digits: accuracy"), (layers, "layers, of noisy classes")):
        ax.set_title(title)
    return figure


def importance_sets(seed):
    """Name: (X, y, number of features that matter), and these come first; in tables all but columns of noise may."""
    random = np.random.default_rng(seed)
    options = {"shuffle": False, "random_state": seed}
    made = {"n_features": 12, "n_informative": 6, **options}
    normal = random.normal(size=(N_ROWS, 6))
    side = np.where(normal[:, 0] > 0, 2, -2)
    tables = {"diabetes": load_diabetes, "wine": load_wine, "breast cancer": load_breast_cancer}
    return {
        "two classes": (*make_classification(N_ROWS, n_redundant=0, **made), 6),
        "four classes": (*make_classification(N_ROWS, n_redundant=0, n_classes=4, **made), 6),
        "ring": (normal, (np.square(normal[:, :2]).sum(axis=1) > 1.4).astype(int), 2),
        "xor": (normal, (normal[:, 0] * normal[:, 1] > 0).astype(int), 2),
        "linear": (*make_regression(N_ROWS, noise=10, **made), 6),
        "friedman": (*make_friedman1(N_ROWS, 12, noise=1, random_state=seed), 5),
        "sign of x0, times x1": (normal, side * normal[:, 1] + 0.1 * random.normal(size=N_ROWS), 2),
        **{name: with_noise(*load(return_X_y=True), random) for name, load in tables.items()},
    }


def with_noise(X, y, random):
    return np.hstack([X, random.normal(size=(len(X), 5))]), y, X.shape[1]


def measure_importances(X, y, n_relevant, seed):
    """How far relevant features are told from others, and agreement with permutation importance, on rows not learned.

    The area under the ROC curve is 1 if all relevant features come before all others.
    """
    X, X_test, y, y_test = train_test_split(X, y, random_state=seed)
    classifies = y.dtype.kind == "i"
    model = (GLNClassifier if classifies else GLNRegressor)(random_state=seed).fit(X, y)
    scoring = {"scoring": "neg_log_loss" if classifies else "r2", "random_state": seed}
    permute = partial(permutation_importance, model, X_test, y_test, **scoring)
    contribute = partial(global_contributions, model, X_test)
    permuted = permute().importances_mean
    given, kept = (np.atleast_2d(each).sum(axis=0) for each in (contribute(), global_contributions(model)))
    is_relevant = np.arange(X.shape[1]) < n_relevant
    seconds = time_in_turn({"given": partial(seconds_of, contribute), "permuted": partial(seconds_of, permute)}, 3)
    return {
        "auc": roc_auc_score(is_relevant, given),
        "auc, kept rows": roc_auc_score(is_relevant, kept),
        "auc, permutation": roc_auc_score(is_relevant, permuted),
        "rank correlation": float(spearmanr(given, permuted).statistic),
        "the same, kept rows": float(spearmanr(kept, permuted).statistic),
        "permutation takes, times": seconds["permuted"]["min"] / seconds["given"]["min"],
    }


def importance(seed):
    """A record for each set: means over seeds."""
    for name in importance_sets(seed):
        runs = [measure_importances(*importance_sets(each)[name], each) for each in range(seed, seed + N_SEEDS)]
        yield {"set": name, **{key: float(np.mean([run[key] for run in runs])) for key in runs[0]}}


def scratch_axes():
    return Figure().subplots()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("why", "halfspaces", "stream", "importance"))
    add_options(parser, "--mnist", "--out")
    parser.add_argument("--test-rows", type=int, default=10_000, help="test images to explain; default: all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    facts = {"seed": options.seed, "environment": describe_machine()}
    if options.what == "importance":
        records = list(importance(options.seed))
        append_lines(options.out / "inspection_importance.jsonl", [{"run": facts}, *records])
        print_table(records)
        return
    if options.what == "why":
        record, figure = why(options.mnist, options.seed, options.test_rows)
        append_lines(options.out / "inspection_why.jsonl", [{"run": facts}, record])
        print(record["summary"])
        print_table([{key: value for key, value in record.items() if isinstance(value, float | int)}], ".4g")
        for key, value in record["update"].items():
            print(f"{key}: {value}")
    else:
        figure = {"halfspaces": halfspaces, "stream": stream}[options.what](options.seed)
    figure.savefig(options.out / f"inspection_{options.what}.png", dpi=92)


if __name__ == "__main__":
    main()
