"""GLNClassifier as its users see it."""

import importlib.util
import pickle
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

import sklearn_gln
from sklearn_gln import GLNClassifier
from sklearn_gln.kernels import as_numpy
from tests.helpers import (
    BACKEND,
    INTERPRETED,
    NAMES,
    assert_refused,
    assert_same_object,
    forget_backend,
    make_stream,
    spare_compilers,
    thorough_but,
)

SMALL = {"layer_sizes": (5, 4), "context_dim": 2, "max_iter": 2, "backend": BACKEND, "random_state": 0}
PYGLN = {
    "layer_sizes": (16, 16),
    "context_dim": 4,
    "aggregation": "neuron",
    "skip": False,
    "base_predictor": "minmax",
    "halfspaces": "raw_gaussian",
    "share_halfspaces": False,
    "learning_rate": "constant",
    "learning_rate_init": 1e-3,
    "eps": 1e-3,
    "max_weight": 5.0,
    "initial_weights": "uniform",
}
DEEPMIND = {
    "layer_sizes": (20, 20),
    "context_dim": 1,
    "aggregation": "neuron",
    "skip": False,
    "halfspaces": "gaussian",
    "offset_scale": 0.05,
    "share_halfspaces": False,
    "learning_rate": "hyperbolic",
    "eps": 1e-2,
    "max_weight": 200.0,
    "initial_weights": "zero",
}
X, Y, WEIGHTS = make_stream(0, 150)
BINARY = (Y > 0).astype(int)


def new(**params):
    return GLNClassifier(**{**SMALL, **params})


# Predictions

LABELS = {
    "ints": [0, 1, 2],
    "other ints": [-7, 3, 40],
    "strings": ["cat", "dog", "zebra"],
    "objects": np.array(["a", "bb", "ccc"], dtype=object),
    "floats": [1.0, 2.0, 5.0],
    "bools": [False, True],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("streamed", thorough_but([True, False], True))
def test_labels_and_shapes(labels, n_classes, streamed):
    labels = np.array(labels)[:n_classes]
    codes = np.minimum(Y, len(labels) - 1)
    y = labels[codes]
    classifier = new(max_iter=1, shuffle=False)
    classifier = classifier.partial_fit(X, y, classes=labels[::-1]) if streamed else classifier.fit(X, y)
    assert_array_equal(classifier.classes_, labels)
    assert classifier.classes_.dtype.kind in {labels.dtype.kind, "U" if streamed else "O"}
    n_columns = len(labels)
    predicted, probabilities = classifier.predict(X), classifier.predict_proba(X)
    decisions, log_probabilities = classifier.decision_function(X), classifier.predict_log_proba(X)
    assert predicted.shape == (150,)
    assert predicted.dtype == classifier.classes_.dtype
    assert probabilities.shape == log_probabilities.shape == (150, n_columns)
    assert decisions.shape == ((150,) if n_columns == 2 else (150, 3))
    assert probabilities.dtype == log_probabilities.dtype == decisions.dtype == np.float64
    assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    assert_allclose(log_probabilities, np.log(probabilities), rtol=1e-12)
    assert_array_equal(predicted, labels[probabilities.argmax(axis=1)])
    if n_columns == 2:
        assert_array_equal(predicted == labels[1], decisions > 0)
        assert_allclose(probabilities[:, 1], expit(decisions), rtol=1e-12)
    else:
        assert_allclose(probabilities, softmax(decisions, axis=1), rtol=1e-12)
    assert classifier.score(X, y) == np.mean(predicted == y) > 0.5
    numbers = new(max_iter=1, shuffle=False).fit(X, codes)
    assert_array_equal(numbers.predict_proba(X), probabilities)


def test_probabilities_stay_inside_the_bounds_of_eps():
    classifier = new(eps=0.05, layer_sizes=(), max_iter=20, aggregation="layers").fit(X, BINARY)
    probabilities = classifier.predict_proba(1e3 * X)
    assert_allclose([probabilities.min(), probabilities.max()], [0.05, 0.95], rtol=1e-6)


def test_before_the_first_row_all_classes_are_alike():
    classifier = new().partial_fit(X[:3], Y[:3], classes=[0, 1, 2], sample_weight=np.zeros(3))
    assert_allclose(classifier.predict_proba(X), 1 / 3)
    assert not hasattr(classifier, "progressive_loss_")
    assert_array_equal(new().progressive_predict_proba(X[:1], BINARY[:1], classes=[0, 1]), [[0.5, 0.5]])


def test_a_row_is_predicted_as_among_others(backend_name):
    classifier = new(backend=backend_name).fit(X, Y)
    probabilities = classifier.predict_proba(X)
    for rows in ([3], [149, 3, 3], slice(10, 80)):
        assert_array_equal(classifier.predict_proba(X[rows]), probabilities[rows])


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function"])
def test_predicting_changes_nothing(method):
    classifier = new().fit(X, Y)
    before = deepcopy(classifier)
    getattr(classifier, method)(X)
    assert_same_object(classifier, before)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function"])
def test_predicting_before_fitting(method):
    with pytest.raises(NotFittedError):
        getattr(new(), method)(X)


# Accuracy

DATASETS = {
    "digits": (load_digits, 0.95),
    "breast_cancer": (load_breast_cancer, 0.94),
    "iris": (load_iris, 0.9),
    "wine": (load_wine, 0.93),
}


@pytest.mark.parametrize("dataset", DATASETS)
def test_held_out_accuracy_of_the_defaults(dataset):
    load, floor = DATASETS[dataset]
    train, test, y_train, y_test = train_test_split(*load(return_X_y=True), random_state=0, test_size=0.3)
    classifier = GLNClassifier(random_state=0, max_iter=2 if dataset == "digits" else 5)
    if INTERPRETED:
        classifier.set_params(backend="numpy", layer_sizes=(20, 20), max_iter=2)
    classifier.fit(train, y_train)
    assert classifier.score(test, y_test) > floor
    assert log_loss(y_test, classifier.predict_proba(test)) < 0.6


def test_one_pass_learns_what_no_linear_classifier_can(backend, backend_name):
    spare_compilers(backend, False)  # test_backends.py: they learn the same model
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(1500, 2))
    y = rows[:, 0] * rows[:, 1] > 0
    classifier = new(backend=backend_name, layer_sizes=(10, 10), context_dim=3).partial_fit(
        rows[:1000], y[:1000], [0, 1]
    )
    assert classifier.score(rows[1000:], y[1000:]) > 0.9
    assert 0.8 < classifier.progressive_accuracy_ < classifier.score(rows[1000:], y[1000:])
    assert classifier.progressive_loss_ < 0.4


@pytest.mark.parametrize(
    "params", [pytest.param(PYGLN, marks=pytest.mark.thorough), DEEPMIND], ids=["PyGLN", "DeepMind"]
)
def test_the_learners_of_other_implementations(params):
    rows, y = load_digits(return_X_y=True)
    rows, y = rows[y < 4], y[y < 4]
    train, test, y_train, y_test = train_test_split(rows, y, random_state=0, test_size=0.3)
    classifier = GLNClassifier(**params, max_iter=20, random_state=0, backend="numpy" if INTERPRETED else "auto")
    assert classifier.fit(train, y_train).score(test, y_test) > 0.9
    assert classifier.progressive_accuracy_ < classifier.score(test, y_test)


# Among scikit-learn's tools


def test_it_is_a_classifier():
    assert is_classifier(GLNClassifier())
    assert GLNClassifier().__sklearn_tags__().input_tags.allow_nan


def test_pipelines_and_searches():
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), new())
    assert cross_val_score(pipeline, X, Y, cv=3).mean() > 0.5
    grid = {"glnclassifier__context_dim": [1, 2], "glnclassifier__layer_sizes": [(), (4,)]}
    search = GridSearchCV(pipeline, grid, cv=3, scoring="neg_log_loss").fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(np.unique(search.cv_results_["mean_test_score"])) == 4
    assert search.predict_proba(X).shape == (150, 3)


def test_parameters_are_stored_as_given():
    params = {
        "layer_sizes": [7],
        "context_dim": 3,
        "halfspaces": "gaussian",
        "offset_scale": 0.25,
        "share_halfspaces": False,
        "base_predictor": expit,
        "categorical_features": [0],
        "max_levels": 5,
        "max_dense": 100,
        "n_bins": 0,
        "bias": False,
        "skip": False,
        "learning_rate": "constant",
        "learning_rate_init": 0.5,
        "label_smoothing": 0.1,
        "preconditioner": None,
        "initial_weights": "zero",
        "aggregation": "neuron",
        "eps": 0.01,
        "max_weight": 3,
        "batch_size": 2,
        "half_life": 90.5,
        "max_iter": 7,
        "shuffle": False,
        "warm_start": True,
        "early_stopping": True,
        "validation_fraction": 0.2,
        "n_iter_no_change": 4,
        "tol": 1e-3,
        "class_weight": {0: 2.0},
        "new_classes": "add",
        "dtype": "float64",
        "backend": "numpy",
        "device": "cpu",
        "n_jobs": 2,
        "random_state": 5,
        "verbose": True,
    }
    classifier = GLNClassifier(**params)
    assert classifier.get_params() == params
    assert all(getattr(classifier, name) is value for name, value in params.items())
    assert all(params[name] != value for name, value in GLNClassifier().get_params().items())
    assert GLNClassifier().set_params(**params).get_params() == clone(classifier).get_params() == params


def test_a_clone_has_learned_nothing_and_learns_the_same():
    classifier = new().fit(X, Y)
    copy = clone(classifier)
    assert vars(copy) == copy.get_params()
    assert_same_object(copy.fit(X, Y), classifier)


def test_a_pickle_goes_on_as_the_original():
    classifier = new(class_weight="balanced").partial_fit(X[:90], Y[:90], classes=[0, 1, 2])
    copy = pickle.loads(pickle.dumps(classifier))
    assert_same_object(copy, classifier)
    for model in (copy, classifier):
        model.partial_fit(X[90:], Y[90:])
    assert_same_object(copy, classifier)


def test_feature_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    classifier = new().fit(frame, Y)
    assert_array_equal(classifier.feature_names_in_, list("abcd"))
    assert_allclose(classifier.predict_proba(frame), new().fit(X, Y).predict_proba(X), rtol=1e-4)
    with pytest.raises(ValueError, match="feature names"):
        classifier.partial_fit(frame[list("abdc")], Y)
    assert not hasattr(classifier.fit(X, Y), "feature_names_in_")


# Learning


@pytest.mark.parametrize("streamed", [True, False])
def test_a_seed_determines_everything(streamed):
    def learn(seed):
        classifier = new(random_state=seed)
        return classifier.partial_fit(X, Y, classes=[0, 1, 2]) if streamed else classifier.fit(X, Y)

    assert_same_object(learn(4), learn(4))
    assert not np.allclose(learn(4).predict_proba(X), learn(5).predict_proba(X), atol=1e-3)
    generators = [learn(np.random.RandomState(4)) for _ in range(2)]
    assert_array_equal(generators[0].predict_proba(X), generators[1].predict_proba(X))
    assert_array_equal(generators[0].predict_proba(X), learn(4).predict_proba(X))


def test_without_a_seed_networks_differ():
    learned = [new(random_state=None).fit(X, Y).predict_proba(X) for _ in range(2)]
    assert not np.allclose(*learned, atol=1e-3)


def test_a_call_that_is_refused_draws_no_random_numbers():
    generator = np.random.RandomState(0)
    classifier = new(random_state=generator, early_stopping=True)
    with pytest.raises(ValueError, match="early_stopping"):
        classifier.fit(X[:2], [0, 1], sample_weight=[0, 1])
    assert generator.randint(2**31) == np.random.RandomState(0).randint(2**31)


def test_fit_starts_from_nothing():
    classifier = new(class_weight="balanced").fit(1e3 * X[:, :3] + 5, BINARY).partial_fit(X[:, :3], BINARY)
    assert_same_object(classifier.fit(X, Y), new(class_weight="balanced").fit(X, Y))


def test_partial_fit_goes_on_after_fit():
    classifier = new().fit(X[:100], Y[:100])
    assert classifier.n_iter_ == 2
    fitted = classifier.predict_proba(X)
    streamed = deepcopy(classifier).partial_fit(X[100:], Y[100:])
    assert not np.allclose(streamed.predict_proba(X), fitted, atol=1e-3)
    assert streamed._online.n_samples_seen == 250


def test_progressive_predict_proba_learns_as_partial_fit_does():
    streamed = new().partial_fit(X, Y, [0, 1, 2], WEIGHTS)
    progressive = new()
    probabilities = progressive.progressive_predict_proba(X, Y, [0, 1, 2], WEIGHTS)
    assert probabilities.shape == (150, 3)
    assert_allclose(probabilities.sum(axis=1), 1.0)
    assert_allclose(progressive.predict_proba(X), streamed.predict_proba(X), rtol=1e-3, atol=1e-4)


def test_more_epochs_fit_the_rows_better():
    # (a stack is fitted in the first alone)
    fitted = [new(max_iter=max_iter, aggregation="layers").fit(X, Y) for max_iter in (1, 4, 16)]
    losses = [log_loss(Y, classifier.predict_proba(X)) for classifier in fitted]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("dtype", thorough_but(["float32", np.float32, "float64", np.float64], "float32", np.float64))
def test_dtypes_agree(dtype, backend_name):
    classifier = new(dtype=dtype, backend=backend_name).fit(X, Y)
    assert {as_numpy(layer.weights).dtype for layer in classifier._online.network.layers} == {np.dtype(dtype)}
    expected = new(dtype="float64").fit(X, Y)
    assert_allclose(classifier.predict_proba(X), expected.predict_proba(X), atol=1e-3)
    assert classifier.predict_proba(X).dtype == np.float64


def test_float32_features_are_learned_as_they_are():
    rows = X.astype(np.float32)
    assert_allclose(new().fit(rows, Y).predict_proba(rows), new().fit(rows.astype(float), Y).predict_proba(rows))


@pytest.mark.parametrize("rows", [X.tolist(), np.asfortranarray(X), X[::-1][::-1], np.repeat(X, 2, axis=1)[:, ::2]])
def test_layouts_of_the_features(rows):
    assert_allclose(new().fit(rows, Y.tolist()).predict_proba(rows), new().fit(X, Y).predict_proba(X), rtol=1e-4)


@pytest.mark.parametrize(
    "base_predictor", ["standard", "global", "minmax", "identity", lambda rows: expit(rows[:, :2])]
)
@pytest.mark.parametrize("halfspaces", ["cuts", "gaussian", "raw_gaussian"])
def test_base_predictors_and_halfspaces_learn(base_predictor, halfspaces):
    params = {"base_predictor": base_predictor, "halfspaces": halfspaces, "layer_sizes": (10, 5)}
    assert new(**params).fit(expit(X), Y).score(expit(X), Y) > 0.55  # of three noisy classes


@pytest.mark.parametrize("name", ["layer_sizes", "context_dim", "offset_scale", "learning_rate_init", "eps", "skip"])
def test_parameters_reach_the_network(name):
    value = {
        "layer_sizes": (5,),
        "context_dim": 3,
        "offset_scale": 0.1,
        "learning_rate_init": 1.0,
        "eps": 0.1,
        "skip": False,
    }
    changed = new(**{name: value[name]}).fit(X, Y).predict_proba(X)
    assert not np.allclose(changed, new().fit(X, Y).predict_proba(X), atol=1e-3)


# Weights of samples and classes


@pytest.mark.parametrize("streamed", [True, False])
def test_a_class_weight_is_a_sample_weight(streamed):
    class_weight = {0: 0.5, 2: 3.0}
    of_rows = np.array([0.5, 1.0, 3.0])[Y]

    def learn(sample_weight, class_weight=None):
        classifier = new(class_weight=class_weight)
        if streamed:
            return classifier.partial_fit(X, Y, [0, 1, 2], sample_weight)
        return classifier.fit(X, Y, sample_weight)

    by_class, by_row, both, product = (
        learn(None, class_weight),
        learn(of_rows),
        learn(WEIGHTS, class_weight),
        learn(WEIGHTS * of_rows),
    )
    assert_array_equal(by_class.predict_proba(X), by_row.predict_proba(X))
    assert_array_equal(both.predict_proba(X), product.predict_proba(X))
    assert not np.allclose(by_class.predict_proba(X), learn(None).predict_proba(X), atol=1e-3)
    assert by_class.progressive_loss_ != by_row.progressive_loss_  # scores count rows, not classes


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_balanced_weights_in_fit_are_those_of_scikit_learn(weights):
    rare = np.flatnonzero((Y != 1) | (np.arange(150) % 4 == 0))
    weights = None if weights is None else weights[rare]
    balanced = new(class_weight="balanced").fit(X[rare], Y[rare], weights)
    class_weight = compute_class_weight("balanced", classes=np.arange(3), y=Y[rare])
    assert class_weight.max() > 2 * class_weight.min()
    given = new(class_weight=dict(enumerate(class_weight))).fit(X[rare], Y[rare], weights)
    assert_array_equal(balanced.predict_proba(X), given.predict_proba(X))


@pytest.mark.parametrize("cuts", [[], [1, 2, 3, 50], [75]])
def test_balanced_weights_in_a_stream(cuts):
    y = np.where(np.arange(150) < 100, 2 * (Y > 0), Y)  # class 1 comes late
    counts, expected = np.zeros(3), np.zeros(150)
    for t in range(150):
        counts[y[t]] += WEIGHTS[t] > 0
        expected[t] = min((counts.sum() + 3) / (3 * (counts[y[t]] + 1)), 10.0)
    assert expected.max() == 10.0
    given = new().partial_fit(X, y, [0, 1, 2], WEIGHTS * expected)
    balanced = new(class_weight="balanced", dtype="float64")
    given.set_params(dtype="float64")
    given = clone(given).partial_fit(X, y, [0, 1, 2], WEIGHTS * expected)
    for rows in np.split(np.arange(150), cuts):
        balanced.partial_fit(X[rows], y[rows], [0, 1, 2], WEIGHTS[rows])
    assert_allclose(balanced.predict_proba(X), given.predict_proba(X), rtol=1e-9)


def test_balanced_weights_go_on_after_fit():
    classifier = new(class_weight="balanced", dtype="float64", max_iter=3).fit(X[:100], Y[:100], WEIGHTS[:100])
    other = deepcopy(classifier).set_params(class_weight=None)
    counts, expected = 3.0 * np.bincount(Y[:100], WEIGHTS[:100] > 0), np.zeros(50)
    for t in range(50):
        counts[Y[100 + t]] += WEIGHTS[100 + t] > 0
        expected[t] = min((counts.sum() + 3) / (3 * (counts[Y[100 + t]] + 1)), 10.0)
    classifier.partial_fit(X[100:], Y[100:], sample_weight=WEIGHTS[100:])
    other.partial_fit(X[100:], Y[100:], sample_weight=WEIGHTS[100:] * expected)
    assert_allclose(classifier.predict_proba(X), other.predict_proba(X), rtol=1e-9)


def test_rows_of_weight_zero_are_no_rows():
    seen = WEIGHTS > 0
    params = {"shuffle": False, "dtype": "float64"}
    learned = new(**params).fit(X, Y, WEIGHTS)
    assert_array_equal(learned.predict_proba(X), new(**params).fit(X[seen], Y[seen], WEIGHTS[seen]).predict_proba(X))
    assert learned._online.n_samples_seen == 2 * seen.sum()


def test_large_weights_do_not_overshoot(backend_name):
    weights = np.where(np.arange(150) % 7 == 0, 50.0, 1.0)
    classifier = new(backend=backend_name).fit(X, Y, weights)
    assert log_loss(Y, classifier.predict_proba(X)) < log_loss(Y, np.full((150, 3), 1 / 3))


def test_weights_of_zero_change_nothing():
    classifier = new().fit(X, Y)
    before = deepcopy(classifier)
    classifier.partial_fit(X, Y, sample_weight=np.zeros(150))
    assert_same_object(classifier, before)
    assert_allclose(
        classifier.progressive_predict_proba(X, Y, sample_weight=np.zeros(150)), before.predict_proba(X), rtol=1e-4
    )
    assert_array_equal(classifier.predict_proba(X), before.predict_proba(X))
    assert classifier.progressive_loss_ == before.progressive_loss_


# What is refused

WRONG_PARAMETERS = [
    ({"layer_sizes": (0,)}, r"layer_sizes=\(0,\)"),
    ({"new_classes": "ignore"}, "new_classes"),
    ({"layer_sizes": (5, -1)}, r"layer_sizes=\(5, -1\)"),
    ({"layer_sizes": (2.5,)}, r"layer_sizes=\(2.5,\)"),
    ({"layer_sizes": 5}, "layer_sizes"),
    ({"layer_sizes": np.array(5)}, "layer_sizes"),
    ({"layer_sizes": "5"}, "layer_sizes"),
    ({"layer_sizes": None}, "layer_sizes"),
    ({"context_dim": -1}, "context_dim"),
    ({"context_dim": 1.5}, "context_dim"),
    ({"context_dim": 25}, "context_dim"),
    ({"halfspaces": "pair"}, "halfspaces"),
    ({"offset_scale": -0.1}, "offset_scale"),
    ({"offset_scale": 1e4}, "offset_scale"),
    ({"share_halfspaces": "no"}, "share_halfspaces"),
    ({"base_predictor": "robust"}, "base_predictor"),
    ({"base_predictor": None}, "base_predictor"),
    ({"categorical_features": "all"}, "categorical_features"),
    ({"categorical_features": [4]}, r"categorical_features=\[4\].* 0 to 3"),
    ({"categorical_features": [True]}, "categorical_features is a mask of 1 columns"),
    ({"categorical_features": ["a"]}, "categorical_features.*no column names"),
    ({"max_levels": 0}, "max_levels"),
    ({"max_levels": 2.0}, "max_levels"),
    ({"max_dense": 0}, "max_dense"),
    ({"n_bins": -1}, "n_bins"),
    ({"n_bins": None}, "n_bins"),
    ({"bias": None}, "bias"),
    ({"skip": "yes"}, "skip"),
    ({"learning_rate": "adaptive"}, "learning_rate"),
    ({"learning_rate": 0.1}, "learning_rate"),
    ({"learning_rate_init": 0.0}, "learning_rate_init"),
    ({"learning_rate_init": -1.0}, "learning_rate_init"),
    ({"learning_rate_init": 1e7}, "learning_rate_init"),
    ({"label_smoothing": 0.5}, "label_smoothing"),
    ({"preconditioner": "diagonal"}, "preconditioner"),
    ({"preconditioner": "full", "learning_rate": "constant"}, r"preconditioner='full'.*learning_rate='constant'"),
    ({"preconditioner": "block", "learning_rate": "constant"}, r"preconditioner='block'.*learning_rate='constant'"),
    ({"initial_weights": "random"}, "initial_weights"),
    ({"aggregation": "mean"}, "aggregation"),
    ({"eps": 0.0}, "eps"),
    ({"eps": 0.5}, "eps"),
    ({"max_weight": 0.0}, "max_weight"),
    ({"max_weight": 1e31}, "max_weight"),
    ({"batch_size": 0}, "batch_size"),
    ({"batch_size": 2**31, "learning_rate": "constant"}, "batch_size"),
    ({"half_life": 0.5}, "half_life"),
    ({"half_life": "long"}, "half_life"),
    ({"batch_size": 2}, r"batch_size=2.*learning_rate='normalized'"),
    ({"max_iter": 0}, "max_iter"),
    ({"shuffle": 2}, "shuffle"),
    ({"warm_start": "yes"}, "warm_start"),
    ({"early_stopping": "auto"}, "early_stopping"),
    ({"validation_fraction": 1.0}, "validation_fraction"),
    ({"n_iter_no_change": 0}, "n_iter_no_change"),
    ({"tol": -1e-3}, "tol"),
    ({"class_weight": "equal"}, "class_weight"),
    ({"class_weight": {0: -1.0}}, "class_weight"),
    ({"class_weight": {0: np.nan}}, "class_weight"),
    ({"dtype": "float16"}, "dtype"),
    ({"dtype": int}, "dtype"),
    ({"backend": "cupy"}, "backend"),
    ({"device": "mars"}, "device"),
    ({"n_jobs": 1.5}, "n_jobs"),
    ({"n_jobs": 0}, "n_jobs"),
    ({"random_state": "seed"}, "random_state"),
    ({"verbose": "loud"}, "verbose"),
]


@pytest.mark.parametrize(("params", "message"), WRONG_PARAMETERS, ids=str)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "progressive_predict_proba"])
def test_wrong_parameters(params, message, method):
    classes = {} if method == "fit" else {"classes": [0, 1, 2]}
    assert_refused(new(**params), lambda classifier: getattr(classifier, method)(X, Y, **classes), ValueError, message)


def test_all_parameters_are_checked():
    assert {name for params, _ in WRONG_PARAMETERS for name in params} == set(GLNClassifier().get_params())


WITH_INF = X.copy()
WITH_INF[7, 2] = np.inf
WRONG_ROWS = {
    "too few labels": ((X, Y[:-1]), {}, "inconsistent numbers of samples"),
    "infinite feature": ((WITH_INF, Y), {}, "infinity"),
    "huge feature": ((np.where(np.isinf(WITH_INF), -1e33, X), Y), {}, r"-1e\+33.*1e\+32"),
    "text": ((np.full(X.shape, "a"), Y), {}, "could not convert"),
    "one dimension": ((X[:, 0], Y), {}, "2D"),
    "continuous labels": ((X, X[:, 0] / 3), {}, "NaN|continuous|do not exist"),
    "two labels a row": ((X, np.column_stack([Y, Y])), {}, "other than 0 and 1"),
    "negative weight": ((X, Y), {"sample_weight": np.where(WEIGHTS == 0, -1.0, 1.0)}, "[Nn]egative"),
    "missing weight": ((X, Y), {"sample_weight": np.where(WEIGHTS == 0, np.nan, 1.0)}, "NaN"),
    "too few weights": ((X, Y), {"sample_weight": WEIGHTS[:-1]}, "sample_weight"),
}
WRONG_IN_STREAM = {
    "unknown class": ((X, Y + 1), {}, r"label\(s\) \[3\] in y do not exist.*classes \[0, 1, 2\]"),
    "too many features": ((np.hstack([X, X]), Y), {}, "8 features.*4 features"),
    "too few features": ((X[:, :3], Y), {}, "3 features.*4 features"),
    "other classes": (
        (X, Y),
        {"classes": [0, 1, 2, 3]},
        r"classes=\[0, 1, 2, 3\] is not the same as on last call to partial_fit, was: \[0, 1, 2\]",
    ),
    "fewer classes": ((X, Y), {"classes": [0, 1]}, r"classes=\[0, 1\] is not the same as on last call"),
    "one class": ((X, Y), {"classes": [1]}, r"classes=\[1\] is not the same as on last call"),
}
WRONG_AT_FIRST = {
    "no classes": ((X, Y), {}, "classes=None in the first call"),
    "one class": ((X, 0 * Y), {"classes": [0]}, "at least two classes; got 1 class"),
    "no class": ((X, Y), {"classes": []}, "class"),
    "unknown class": ((X, Y), {"classes": [0, 1]}, r"label\(s\) \[2\] in y do not exist.*classes \[0, 1\]"),
    "mixed classes": ((X, Y), {"classes": [0, "1"]}, "[Mm]ix"),
}
STREAM_METHODS = ["partial_fit", "progressive_predict_proba"]


@pytest.mark.parametrize(("data", "options", "message"), WRONG_ROWS.values(), ids=WRONG_ROWS.keys())
@pytest.mark.parametrize("fitted", [True, False])
def test_fit_refuses(data, options, message, fitted):
    classifier = new().fit(X[:, :2], BINARY) if fitted else new()
    assert_refused(classifier, lambda classifier: classifier.fit(*data, **options), ValueError, message)


@pytest.mark.parametrize("fitted", [True, False])
def test_fit_refuses_one_class_and_no_weight(fitted):
    classifier = new().fit(X[:, :2], BINARY) if fitted else new()
    assert_refused(classifier, lambda it: it.fit(X, 0 * Y), ValueError, "at least two classes; got 1 class")
    assert_refused(classifier, lambda it: it.fit(X, Y, 0 * WEIGHTS), ValueError, "sample_weight is zero")
    assert_refused(classifier, lambda it: it.fit(X[:0], Y[:0]), ValueError, "0 sample")
    classifier.set_params(class_weight={0: 0.0, 1: 0.0, 2: 0.0})
    assert_refused(classifier, lambda it: it.fit(X, Y), ValueError, "zero")


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [*WRONG_ROWS.values(), *WRONG_IN_STREAM.values()],
    ids=[*WRONG_ROWS, *WRONG_IN_STREAM],
)
@pytest.mark.parametrize("method", STREAM_METHODS)
@pytest.mark.parametrize("n_seen", thorough_but([40, 140], 40))
def test_a_stream_refuses(data, options, message, method, n_seen):
    classifier = new().partial_fit(X[:n_seen], Y[:n_seen], classes=[0, 1, 2])
    assert_refused(classifier, lambda it: getattr(it, method)(*data, **options), ValueError, message)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        *((data, {"classes": [0, 1, 2], **options}, message) for data, options, message in WRONG_ROWS.values()),
        *WRONG_AT_FIRST.values(),
    ],
    ids=[*WRONG_ROWS, *WRONG_AT_FIRST],
)
@pytest.mark.parametrize("method", thorough_but(STREAM_METHODS, "partial_fit"))
def test_the_first_call_of_a_stream_refuses(data, options, message, method):
    classifier = new()
    assert_refused(classifier, lambda it: getattr(it, method)(*data, **options), ValueError, message)
    classifier.partial_fit(X, Y, [0, 1, 2])
    assert_same_object(classifier, new().partial_fit(X, Y, [0, 1, 2]))


def test_a_stream_of_more_classes_than_rows():
    labels = np.arange(1000)
    classifier = new(layer_sizes=(2,)).partial_fit(X[:30], labels[:30], classes=labels)
    assert classifier.predict_proba(X).shape == (150, 1000)
    with pytest.raises(ValueError, match="do not exist"):
        classifier.partial_fit(X[:30], labels[:30] + 0.5)


def test_a_stream_may_bring_some_classes_only():
    classifier = new().partial_fit(X[Y > 0], Y[Y > 0], classes=[0, 1, 2])
    assert classifier.predict_proba(X)[:, 0].max() < 0.5
    assert 0 not in classifier.predict(X)
    classifier.partial_fit(X[:1], Y[:1], classes=[2, 1, 0])


OUTSIDE = np.where(np.arange(150)[:, np.newaxis] == 133, 1.5, expit(X))


def changes_its_mind(rows):
    """A base predictor that fails on one of the rows."""
    return expit(rows)[:, : 2 if np.any(rows == OUTSIDE[133]) else 1].reshape(-1, 1)


@pytest.mark.parametrize(
    ("base_predictor", "message"), [("identity", "identity"), (changes_its_mind, "base_predictor")]
)
@pytest.mark.parametrize("method", STREAM_METHODS)
@pytest.mark.parametrize("n_seen", thorough_but([0, 1, 40, 132], 0, 40))
def test_a_stream_refuses_base_probabilities_that_are_none(base_predictor, message, method, n_seen):
    classifier, good = new(base_predictor=base_predictor), expit(X)
    if n_seen:
        classifier.partial_fit(good[:n_seen], Y[:n_seen], [0, 1, 2])
    rows = OUTSIDE[n_seen:], Y[n_seen:], [0, 1, 2]
    assert_refused(classifier, lambda it: getattr(it, method)(*rows), ValueError, message)
    classifier.partial_fit(good[n_seen:], Y[n_seen:], [0, 1, 2])
    expected = new(base_predictor=base_predictor).partial_fit(good, Y, [0, 1, 2])
    assert_allclose(classifier.predict_proba(good), expected.predict_proba(good), rtol=1e-3, atol=1e-3)


# Imports


def run(code):
    """Run code in a new interpreter and return what it printed."""
    root = Path(sklearn_gln.__file__).parents[1]
    return subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.mark.thorough
def test_importing_loads_no_framework():
    code = "import sys, sklearn_gln; print(*sys.modules)"
    modules = set(run(code).split())
    assert "sklearn.model_selection" not in modules  # longer to import than all of this package
    loaded = {name.split(".")[0] for name in modules}
    assert {"numpy", "sklearn", "sklearn_gln"} <= loaded
    assert not loaded & {"numba", "torch", "tensorflow", "jax", "matplotlib", "keras", "onnx"}


def test_auto_is_numpy_without_numba(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *args: None if name == "numba" else find_spec(name, *args)
    )
    forget_backend(monkeypatch, "numba")
    classifier = new(backend="auto").fit(X, Y)
    assert_array_equal(classifier.predict_proba(X), new(backend="numpy").fit(X, Y).predict_proba(X))
    assert "sklearn_gln.kernels._numba" not in sys.modules
    message = "backend='numba'.*pip install"
    assert_refused(new(backend="numba"), lambda it: it.fit(X, Y), ImportError, message)
    assert_refused(new(backend="numba"), lambda it: it.partial_fit(X, Y, [0, 1, 2]), ImportError, message)


@pytest.mark.thorough
@pytest.mark.skipif("numba" not in NAMES, reason="without Numba nothing is cached")
def test_kernels_compile_where_no_folder_can_be_written():
    code = """
        import tempfile

        def refuse(*args, **kwargs):
            raise PermissionError(13, "Permission denied")

        tempfile.TemporaryFile = refuse  # by which Numba finds out
        import numpy as np
        from sklearn_gln.kernels import get_kernels

        planes, offsets = np.eye(3)[np.newaxis, np.newaxis], np.zeros((1, 1, 3))
        print(get_kernels().select_contexts(np.array([[1.0, -1.0, 1.0]]), planes, offsets, "float64").item())
    """
    assert run(dedent(code)) == "5\n"


# Weights and rates out of the ordinary


@pytest.mark.filterwarnings("ignore:sample_weight holds")
@pytest.mark.parametrize("weight", [1e3, 1e8, 1e30])
def test_a_huge_weight_saturates(weight):
    sample_weight = np.ones(50)
    sample_weight[3] = weight
    rows, labels = X[:50], Y[:50]
    probabilities = new(max_iter=1, dtype="float64").fit(rows, labels, sample_weight).predict_proba(rows)
    assert np.isfinite(probabilities).all()
    assert_allclose(probabilities.sum(axis=1), 1.0)


@pytest.mark.parametrize(
    "learning_rate",
    [
        lambda t: np.full(t.shape, np.nan),
        lambda t: np.full(t.shape, -1.0),
        lambda t: 1e7,
        lambda t: np.ones(len(t) + 1),
    ],
)
def test_a_callable_that_gives_no_rates_is_refused(learning_rate):
    def late(t):
        return learning_rate(t) if np.any(t > 100) else np.full(t.shape, 1e-3)

    assert_refused(new(learning_rate=learning_rate), lambda it: it.partial_fit(X, Y, [0, 1, 2]), ValueError, "rate")
    classifier = new(learning_rate=late).partial_fit(X[:50], Y[:50], [0, 1, 2])
    assert_refused(classifier, lambda it: it.partial_fit(X[50:], Y[50:]), ValueError, "learning_rate")


def test_rows_without_class_weight_do_not_count():
    weights = {0: 0.0, 1: 1.0, 2: 1.0}
    streamed = new(class_weight=weights).partial_fit(X, Y, [0, 1, 2])
    predicted = new(class_weight=weights)
    predicted.progressive_predict_proba(X, Y, [0, 1, 2])
    assert streamed.progressive_accuracy_ == predicted.progressive_accuracy_
    assert streamed.progressive_loss_ == pytest.approx(predicted.progressive_loss_)
