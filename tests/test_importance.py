"""Importances of features: by the definition, by permutation_importance, and in scikit-learn's feature selection."""

import pickle
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.datasets import make_classification, make_friedman1
from sklearn.feature_selection import RFE, RFECV, SelectFromModel
from sklearn.inspection import permutation_importance
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln.inspection import ImportanceDisplay, global_contributions, local_coefficients
from tests.helpers import make_stream, make_targets, thorough_but

EXACT = {"rtol": 1e-9, "atol": 1e-9}
SMALL = {"layer_sizes": (6, 5), "context_dim": 3, "dtype": "float64", "random_state": 0, "max_iter": 1}
LINEAR = {"layer_sizes": (), "context_dim": 0, "dtype": "float64", "random_state": 0}
X, CLASSES, _ = make_stream(3, 400)
TARGETS = make_targets(X)
WEIGHTS = np.random.default_rng(0).integers(0, 3, 400)
OUTPUTS = {
    "two classes": (GLNClassifier, CLASSES > 0, (4,)),
    "three classes": (GLNClassifier, CLASSES, (3, 4)),
    "labels": (GLNClassifier, np.stack([CLASSES > 0, CLASSES > 1], axis=1).astype(int), (2, 4)),
    "one target": (GLNRegressor, TARGETS[:, 0], (4,)),
    "a column": (GLNRegressor, TARGETS[:, :1], (4,)),
    "three targets": (GLNRegressor, TARGETS, (3, 4)),
}


def fit_classifier(**params):
    return GLNClassifier(**{**SMALL, **params}).fit(X, CLASSES)


@pytest.mark.parametrize("case", OUTPUTS)
def test_definition(case):
    kind, y, shape = OUTPUTS[case]
    estimator = kind(**SMALL).fit(X, y)
    importances = global_contributions(estimator, X)
    local = local_coefficients(estimator, X)
    contributions = local.coefficients * (local.base_logits - local.base_logits.mean(axis=0))[:, np.newaxis]
    of_feature = contributions.reshape(len(X), -1, local.base_logits.shape[1])[..., local._features == 2].sum(axis=2)
    assert importances.shape == shape
    assert importances.dtype == float
    assert_allclose(importances[..., 2].ravel(), np.abs(of_feature).mean(axis=0), **EXACT)


def test_a_linear_model_adds_up():
    """With one feature that varies, the importance is the output's mean absolute deviation, and those of others are 0.

    Weights count as repeated rows do.
    """
    rows, weights = np.nan_to_num(X), WEIGHTS
    estimator = GLNRegressor(**LINEAR, squares=False).fit(rows, rows @ [1.0, 2.0, -3.0, 0.5])
    rows[:, [0, 1, 3]] = [7.0, 0.1, -2.0]
    outputs = np.repeat(estimator.predict(rows), weights)
    importances = global_contributions(estimator, rows, sample_weight=weights)
    assert_allclose(importances, [0, 0, np.abs(outputs - outputs.mean()).mean(), 0], **EXACT)
    assert importances[2] > 1


@pytest.mark.parametrize("base_predictor", ["standard", "global", "identity"])
def test_a_constant_feature_contributes_nothing(base_predictor):
    rows = expit(np.nan_to_num(X))
    rows[:, 1] = 0.97
    importances = global_contributions(GLNClassifier(**SMALL, base_predictor=base_predictor).fit(rows, CLASSES), rows)
    assert_allclose(importances[:, 1], 0, atol=1e-12)
    assert importances[:, [0, 2, 3]].min() > 0.01


def test_weights_count_as_repeated_rows():
    estimator = fit_classifier()
    weighted = global_contributions(estimator, X, sample_weight=WEIGHTS)
    assert_allclose(weighted, global_contributions(estimator, np.repeat(X, WEIGHTS, axis=0)), **EXACT)
    assert np.abs(weighted - global_contributions(estimator, X)).max() > 0.01


def test_rows_that_the_estimator_kept(backend_name):
    rows = X[:256]
    estimator = GLNClassifier(**SMALL, backend=backend_name)
    estimator.partial_fit(rows, CLASSES[:256], classes=[0, 1, 2], sample_weight=1.0 + WEIGHTS[:256])
    expected = global_contributions(estimator, rows, sample_weight=1 + WEIGHTS[:256])
    assert_allclose(global_contributions(estimator), expected, **EXACT)
    assert_allclose(global_contributions(pickle.loads(pickle.dumps(estimator))), expected, **EXACT)


# Against permutation importance, with features that are known to be irrelevant


def made_up(kind, seed):
    """X, y and the number of features that matter, which come first."""
    if kind == "friedman":
        return *make_friedman1(900, 10, noise=1, random_state=seed), 5
    n_classes = {"two": 2, "four": 4}[kind]
    options = {"n_informative": 5, "n_redundant": 0, "n_classes": n_classes, "shuffle": False, "random_state": seed}
    return *make_classification(900, 10, **options), 5


@pytest.mark.parametrize(
    ("kind", "seed"),
    thorough_but(
        [(kind, seed) for kind in ("friedman", "two", "four") for seed in range(4)], ("friedman", 0), ("four", 0)
    ),
)
def test_as_permutation_importance(kind, seed):
    rows, y, n_relevant = made_up(kind, seed)
    learned_rows, rows, learned_y, y = train_test_split(rows, y, test_size=1 / 3, random_state=seed)
    estimator = (GLNRegressor if kind == "friedman" else GLNClassifier)(random_state=0).fit(learned_rows, learned_y)
    scoring = "r2" if kind == "friedman" else "neg_log_loss"
    permuted = permutation_importance(estimator, rows, y, n_repeats=5, random_state=0, scoring=scoring).importances_mean
    for importances in (global_contributions(estimator, rows), global_contributions(estimator)):
        importances = np.atleast_2d(importances).sum(axis=0)
        assert importances[:n_relevant].min() > importances[n_relevant:].max()
        assert spearmanr(importances, permuted).statistic > 0.6


# Feature selection


@pytest.mark.parametrize("estimator", [GLNClassifier(**SMALL), GLNRegressor(**SMALL)], ids=["classifier", "regressor"])
@pytest.mark.parametrize(
    "make",
    [
        partial(SelectFromModel, max_features=2, threshold=-np.inf),
        partial(RFE, n_features_to_select=2),
        partial(RFECV, cv=2, min_features_to_select=2),
    ],
    ids=["SelectFromModel", "RFE", "RFECV"],
)
def test_selection(make, estimator):
    rows = np.column_stack([np.random.default_rng(0).normal(size=(400, 2)), X[:, 0], np.nan_to_num(X[:, 0])])
    y = (np.nan_to_num(X[:, 0]) > 0).astype(int)
    selector = clone(make(estimator, importance_getter=global_contributions)).fit(rows, y)
    assert_array_equal(selector.get_support(), [False, False, True, True])
    assert_array_equal(pickle.loads(pickle.dumps(selector)).get_support(), selector.get_support())


def test_selection_of_classes_by_rows_that_are_given():
    selector = SelectFromModel(GLNClassifier(**SMALL), importance_getter=partial(global_contributions, X=X))
    selector = clone(selector).fit(X, CLASSES)
    importances = global_contributions(selector.estimator_, X).sum(axis=0)
    assert_allclose(selector.threshold_, importances.mean())
    assert_array_equal(selector.get_support(), importances >= importances.mean())


def test_selection_of_columns_of_a_table():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    selector = SelectFromModel(GLNClassifier(**SMALL), importance_getter=global_contributions).fit(frame, CLASSES)
    assert set(selector.get_feature_names_out()) < set("abcd")


def test_selection_around_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), GLNClassifier(**SMALL))
    selector = RFE(pipeline, n_features_to_select=2, importance_getter=lambda fitted: global_contributions(fitted[-1]))
    expected = RFE(GLNClassifier(**SMALL), n_features_to_select=2, importance_getter=global_contributions)
    assert_array_equal(selector.fit(X, CLASSES).ranking_, expected.fit(X, CLASSES).ranking_)


# Errors


@pytest.mark.parametrize(
    ("params", "given", "message"),
    [
        ({}, {"X": X[:, :3]}, "expecting 4 features"),
        ({}, {"X": X[:0]}, "0 sample"),
        ({}, {"sample_weight": WEIGHTS}, "X is None; pass these rows"),
        ({}, {"X": X, "sample_weight": WEIGHTS[:3]}, "sample_weight"),
        ({}, {"X": X, "sample_weight": -1.0 - WEIGHTS}, "sample_weight"),
        ({}, {"X": X, "sample_weight": 0 * WEIGHTS}, "zero for every row"),
        ({"base_predictor": "minmax"}, {}, "base_predictor='minmax' keeps none.*partial"),
        ({"base_predictor": lambda rows: expit(np.nan_to_num(rows))}, {"X": X}, "base_predictor is a callable"),
        ({"base_predictor": lambda rows: expit(np.nan_to_num(rows))}, {}, "base_predictor is a callable"),
    ],
)
def test_errors(params, given, message):
    with pytest.raises(ValueError, match=message):
        global_contributions(fit_classifier(**params), **given)


def test_before_the_first_row():
    estimator = GLNClassifier(**SMALL).partial_fit(X[:0], CLASSES[:0], classes=[0, 1, 2])
    for given in ((), (X,)):
        with pytest.raises(ValueError, match="learned no row"):
            global_contributions(estimator, *given)


# Display


@pytest.fixture
def pyplot():
    module = pytest.importorskip("matplotlib.pyplot")
    with module.rc_context({"backend": "agg"}):
        yield module
    module.close("all")


def test_bars(pyplot):
    estimator = fit_classifier()
    display = ImportanceDisplay.from_estimator(estimator, X, sample_weight=WEIGHTS, n_features=2)
    importances = global_contributions(estimator, X, sample_weight=WEIGHTS)
    assert_allclose(display.importances, importances)
    assert display.output_names == ["0", "1", "2"]
    names, lengths = display.bars(2)
    order = np.argsort(-importances.sum(axis=0))
    assert names == [f"x{order[0]}", f"x{order[1]}", "sum of 2 others"]
    assert_allclose(lengths, np.column_stack([importances[:, order[:2]], importances[:, order[2:]].sum(axis=1)]))
    drawn = np.array([bar.get_width() for bar in display.ax_.patches]).reshape(3, 3)
    assert_allclose(drawn, lengths)
    ends = [bar.get_x() + bar.get_width() for bar in display.ax_.patches[-3:]]
    assert_allclose(ends, lengths.sum(axis=0))
    assert len(display.bars()[0]) == 4
    assert display.ax_.get_legend() is not None


def test_bars_of_one_output(pyplot):
    estimator = GLNRegressor(**SMALL).fit(X, TARGETS[:, 0])
    display = ImportanceDisplay.from_estimator(estimator)
    assert_allclose(display.importances, [global_contributions(estimator)])
    assert display.ax_.get_legend() is None
