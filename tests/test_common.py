"""scikit-learn's contract of both estimators, and GLNClassifier inside the tools and with the inputs of its users."""

import doctest
import os
import subprocess
import sys
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array, csr_matrix
from scipy.special import expit
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.datasets import make_blobs
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.exceptions import DataConversionWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import DecisionBoundaryDisplay, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    learning_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils import get_tags
from sklearn.utils._metadata_requests import SIMPLE_METHODS
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_n_features_in_after_fitting,
    check_param_validation,
    parametrize_with_checks,
)
from sklearn.utils.validation import _get_feature_names

import sklearn_gln
from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln.bandit import GLNBandit
from sklearn_gln.kernels import get_kernels
from tests.helpers import BACKEND, FORMS, INTERPRETED, NAMES, assert_refused, spare_compilers, thorough_but

SMALL = {"layer_sizes": (8, 4), "context_dim": 3, "max_iter": 3, "backend": BACKEND, "random_state": 0}


def new(**params):
    return GLNClassifier(**{**SMALL, **params})


def make_data(n=400, n_features=4):
    """Rows of three classes, each of two clouds."""
    rows, cloud = make_blobs(n, n_features, centers=6, cluster_std=1.5, random_state=0)
    return rows, cloud % 3


X, Y = make_data()
TRAIN, TEST = slice(0, 300), slice(300, 400)
BINARY = (Y == 0).astype(int)
# Values that every floating type holds exactly, bfloat16 too.
EIGHTHS = np.clip(np.round(8 * X / 10) / 8, -15, 15)
LABEL_MATRIX = np.column_stack([Y == 0, X[:, 0] > np.median(X[:, 0]), Y != 1]).astype(int)


# scikit-learn's checks

# An online learner: what it learns depends on the order of the rows, as scikit-learn says of its SGDClassifier.
BY_ORDER = "the result depends on the order of the rows"
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": BY_ORDER,
    "check_sample_weight_equivalence_on_sparse_data": BY_ORDER,
}
FEW_CHECKS = ("check_estimators_dtypes", "check_estimators_pickle", "check_methods_subset_invariance")
SLOW_VISITS = ("numpy", "torch", "tensorflow", "jax")
THOUSAND_VISITS = "check_class_weight_classifiers"  # of every row, for its class weight of 1,000
STRICT = {"xfail_strict": True} if "xfail_strict" in signature(parametrize_with_checks).parameters else {}
PLAIN = {
    "layer_sizes": (8,),
    "halfspaces": "gaussian",
    "learning_rate": "constant",
    "learning_rate_init": 0.05,
    "aggregation": "neuron",
    "skip": False,
    "max_iter": 10,
    "tol": 0.0,
}
CHECKED = [
    *([] if INTERPRETED else [GLNClassifier()]),
    GLNClassifier(layer_sizes=(8, 4), early_stopping=True, backend=BACKEND),
    GLNClassifier(layer_sizes=(8, 4), class_weight="balanced", backend=BACKEND),
    GLNClassifier(layer_sizes=(8, 4), new_classes="add", backend=BACKEND),
    GLNClassifier(**PLAIN, backend=BACKEND),
    *(
        GLNClassifier(layer_sizes=(4,), context_dim=2, max_iter=2, tol=0.05, backend=backend)
        for backend in NAMES
        if backend != "numba"
    ),
    *([] if INTERPRETED else [GLNRegressor(), GLNRegressor(likelihood="gaussian")]),
    GLNRegressor(layer_sizes=(8, 4), early_stopping=True, half_life="mixed", backend=BACKEND),
    *(
        GLNRegressor(**PLAIN | {"learning_rate_init": 0.01}, likelihood=likelihood, backend=BACKEND)
        for likelihood in ("squared", "gaussian")
    ),
    *(
        GLNRegressor(layer_sizes=(4,), context_dim=2, max_iter=2, tol=0.05, backend=backend, likelihood=likelihood)
        for backend in NAMES
        for likelihood in (["squared", "gaussian"] if backend == "numpy" else ["squared"])
        if backend != "numba"
    ),
]


CHECKS = parametrize_with_checks(CHECKED, expected_failed_checks=lambda estimator: EXPECTED_FAILURES, **STRICT)
NAMES_OF_ARGUMENTS, ARGUMENTS = CHECKS.args


def thorough_unless_default(argument):
    """An estimator and a check, perhaps as a parameter of pytest, which is thorough but for the defaults."""
    values, marks = (argument.values, argument.marks) if hasattr(argument, "marks") else (argument, ())
    is_brief = str(values[0]) in ("GLNClassifier()", "GLNRegressor()") and values[1].func.__name__ != THOUSAND_VISITS
    return pytest.param(*values, marks=marks if is_brief else [*marks, pytest.mark.thorough])


@pytest.mark.parametrize(NAMES_OF_ARGUMENTS, list(map(thorough_unless_default, ARGUMENTS)), **CHECKS.kwargs)
def test_scikit_learn_checks(estimator, check):
    if estimator.backend in SLOW_VISITS and check.func.__name__ == THOUSAND_VISITS:
        pytest.skip("a thousand visits of every row are slow in this backend")
    if check.func.__name__ not in FEW_CHECKS:
        spare_compilers(get_kernels(estimator.backend), False)
    check(estimator)


@pytest.mark.parametrize(
    "check", [check_param_validation, check_dataframe_column_names_consistency, check_n_features_in_after_fitting]
)
@pytest.mark.parametrize("estimator", [new(), GLNRegressor(**SMALL)], ids=["classifier", "regressor"])
def test_checks_that_scikit_learn_keeps_for_its_own_estimators(estimator, check):
    if check is check_dataframe_column_names_consistency:
        pytest.importorskip("pandas")
    check(type(estimator).__name__, clone(estimator))


@pytest.mark.parametrize("backend", thorough_but(NAMES, NAMES[-1]))
@pytest.mark.parametrize("dtype", thorough_but(["float32", "float64"], "float32"))
def test_probabilities_do_not_depend_on_the_rows_beside(backend, dtype):
    """scikit-learn's checks of subset and order invariance, past the blocks in which rows are predicted."""
    spare_compilers(get_kernels(backend), dtype == "float32")
    rows, y = make_data(3100)
    classifier = new(layer_sizes=(20, 8), backend=backend, dtype=dtype, max_iter=1).fit(rows[:600], y[:600])
    expected = classifier.predict_proba(rows)
    tolerance = {"rtol": 1e-7, "atol": 1e-9}
    order = np.random.default_rng(0).permutation(len(rows))
    assert_allclose(classifier.predict_proba(rows[order]), expected[order], **tolerance)
    chunks = np.split(rows, np.cumsum([1, 2, 3, 63, 64, 65, 511, 513, 1023]))
    assert_allclose(np.vstack([classifier.predict_proba(chunk) for chunk in chunks]), expected, **tolerance)
    step = 50 if get_kernels(backend).ON_DEVICE else 5  # a framework's calls for a single row take milliseconds
    one_by_one = [classifier.predict_proba(row[np.newaxis], check_input=False) for row in rows[::step]]
    assert_allclose(np.vstack(one_by_one), expected[::step], **tolerance)


def test_tags():
    tags = get_tags(GLNClassifier())
    assert tags.estimator_type == "classifier"
    assert tags.classifier_tags.multi_class
    assert tags.classifier_tags.multi_label
    assert tags.input_tags.allow_nan
    assert tags.input_tags.sparse
    assert not tags.array_api_support  # arrays of any framework are taken; NumPy comes out
    assert tags.target_tags.required
    assert not tags.non_deterministic


def test_html_repr():
    classifier = new(layer_sizes=(7, 3))
    unfitted = classifier._repr_html_()
    fitted = classifier.fit(X, Y)._repr_html_()
    for page in (unfitted, fitted):
        assert "GLNClassifier" in page
        assert "(7, 3)" in page
    assert "Not fitted" in unfitted
    assert "Not fitted" not in fitted
    assert "Fitted" in fitted


def test_score_weights_rows():
    classifier = new().fit(X[TRAIN], Y[TRAIN])
    weights = np.random.default_rng(0).uniform(size=100)
    y = np.where(np.arange(100) % 5 == 0, (Y[TEST] + 1) % 3, Y[TEST])  # every fifth label is wrong
    hits = classifier.predict(X[TEST]) == y
    assert 0.5 < hits.mean() < 0.9
    assert classifier.score(X[TEST], y, sample_weight=weights) == pytest.approx(np.average(hits, weights=weights))


# Meta-estimators


METHODS_OF_CALIBRATION = CalibratedClassifierCV._parameter_constraints["method"][0].options


def calibrated(method):
    return lambda: CalibratedClassifierCV(new(), method=method, cv=3)


META_ESTIMATORS = {
    "Pipeline": lambda: make_pipeline(StandardScaler(), new()),
    "GridSearchCV": lambda: GridSearchCV(
        make_pipeline(StandardScaler(), new()), {"glnclassifier__context_dim": [2, 4]}, cv=3, error_score="raise"
    ),
    "HalvingGridSearchCV": lambda: HalvingGridSearchCV(
        new(), {"context_dim": [2, 4]}, resource="max_iter", min_resources=1, max_resources=4, factor=2, cv=3
    ),
    "AdaBoostClassifier": lambda: AdaBoostClassifier(new(max_iter=1), n_estimators=5, random_state=0),
    "BaggingClassifier": lambda: BaggingClassifier(new(), n_estimators=5, random_state=0),
    "VotingClassifier": lambda: VotingClassifier(
        [("gln", new()), ("linear", LogisticRegression())], voting="soft", weights=[4, 1]
    ),
    "StackingClassifier": lambda: StackingClassifier([("gln", new()), ("small", new(layer_sizes=()))], cv=3),
    "CalibratedClassifierCV sigmoid": calibrated("sigmoid"),
    "CalibratedClassifierCV isotonic": calibrated("isotonic"),
    "CalibratedClassifierCV temperature": calibrated("temperature"),
    "OneVsRestClassifier": lambda: OneVsRestClassifier(new()),
    "SelfTrainingClassifier": lambda: SelfTrainingClassifier(new()),
}


@pytest.mark.parametrize("name", META_ESTIMATORS)
def test_meta_estimators_learn(name):
    if name.endswith("temperature") and "temperature" not in METHODS_OF_CALIBRATION:
        pytest.skip("this scikit-learn has no temperature scaling")
    y = Y[TRAIN].copy()
    if name == "SelfTrainingClassifier":
        y[60:] = -1
    model = META_ESTIMATORS[name]().fit(X[TRAIN], y)
    assert model.score(X[TEST], Y[TEST]) > 0.85
    probabilities = model.predict_proba(X[TEST])
    assert_allclose(probabilities.sum(axis=1), 1.0)
    assert model.n_features_in_ == 4


def test_a_frozen_classifier_is_calibrated_without_learning():
    classifier = new().fit(X[:200], Y[:200])
    before = classifier.predict_proba(X)
    model = CalibratedClassifierCV(FrozenEstimator(classifier), method="sigmoid").fit(X[200:300], Y[200:300])
    assert model.score(X[TEST], Y[TEST]) > 0.85
    assert_array_equal(classifier.predict_proba(X), before)


def test_threshold_tuning():
    y = (Y == 0) & (np.arange(400) % 3 == 0)  # a tenth of the rows, and never the more probable class
    tuned = TunedThresholdClassifierCV(new(), scoring="balanced_accuracy", cv=3, random_state=0).fit(X[TRAIN], y[TRAIN])
    plain = new().fit(X[TRAIN], y[TRAIN])
    scores = [balanced_accuracy_score(y[TEST], model.predict(X[TEST])) for model in (tuned, plain)]
    assert scores[0] > 0.75
    assert scores[0] > scores[1]


def test_one_vs_rest_in_a_stream():
    model = OneVsRestClassifier(new())
    for rows in np.array_split(np.arange(300), 3):
        model.partial_fit(X[rows], Y[rows], classes=[0, 1, 2])
    assert model.score(X[TEST], Y[TEST]) > 0.85


@pytest.mark.parametrize("streamed", [True, False])
def test_several_targets_of_several_classes(streamed):
    targets = np.column_stack([Y, X[:, 0] > np.median(X[:, 0])]).astype(int)
    model = MultiOutputClassifier(new())
    if streamed:
        for rows in np.array_split(np.arange(300), 3):
            model.partial_fit(X[rows], targets[rows], classes=[[0, 1, 2], [0, 1]])
    else:
        model.fit(X[TRAIN], targets[TRAIN])
    assert np.mean(model.predict(X[TEST]) == targets[TEST]) > 0.9


def test_classifier_chain():
    chain = ClassifierChain(new(), random_state=0).fit(X[TRAIN], LABEL_MATRIX[TRAIN])
    assert np.mean(chain.predict(X[TEST]) == LABEL_MATRIX[TEST]) > 0.9


def test_sample_weights_are_routed_through_a_search():
    y = np.where(np.arange(400) % 2, Y, (Y + 1) % 3)  # every second label is wrong
    right = (np.arange(400) % 2).astype(float)
    with config_context(enable_metadata_routing=True):
        classifier = new().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(classifier, {"context_dim": [2, 3]}, cv=3)
        search.fit(X[TRAIN], y[TRAIN], sample_weight=right[TRAIN])
    assert search.best_score_ > 0.85  # on rows of weight 1
    assert accuracy_score(Y[TEST], search.predict(X[TEST])) > 0.85
    misled = new().fit(X[TRAIN], y[TRAIN])
    assert accuracy_score(Y[TEST], misled.predict(X[TEST])) < 0.85


@pytest.mark.parametrize("estimator", [GLNClassifier, GLNRegressor])
def test_requests_are_of_routed_methods(estimator):
    names = [name for base in estimator.__mro__ for name in vars(base) if "__metadata_request__" in name]
    assert {name.partition("__metadata_request__")[2] for name in names} <= set(SIMPLE_METHODS)


def test_permutation_importance_finds_the_features_that_matter():
    rows = np.column_stack([X, np.random.default_rng(0).normal(size=400)])
    classifier = new().fit(rows[TRAIN], Y[TRAIN])
    importances = permutation_importance(classifier, rows[TEST], Y[TEST], n_repeats=3, random_state=0).importances_mean
    assert importances[4] < 0.05 < importances[:4].max()


def test_learning_curve_of_a_stream():
    sizes, _, scores = learning_curve(
        new(), X, Y, train_sizes=[0.1, 0.3, 1.0], cv=3, exploit_incremental_learning=True, error_score="raise"
    )
    assert sizes[-1] == 266
    assert scores[-1].mean() > max(0.85, scores[0].mean())


def test_cross_validated_probabilities():
    probabilities = cross_val_predict(new(), X, Y, cv=3, method="predict_proba")
    assert np.mean(probabilities.argmax(axis=1) == Y) > 0.85
    assert_allclose(probabilities.sum(axis=1), 1.0)


def test_displays():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    classifier = new().fit(X[:, :2], BINARY)
    boundary = DecisionBoundaryDisplay.from_estimator(
        classifier, X[:, :2], response_method="predict_proba", grid_resolution=10
    )
    assert np.ptp(boundary.response) > 0.5
    calibration = CalibrationDisplay.from_estimator(classifier, X[:, :2], BINARY)
    assert_array_equal(calibration.y_prob, classifier.predict_proba(X[:, :2])[:, 1])
    pyplot.close("all")


def test_river_learns_row_by_row_what_a_chunk_teaches():
    compat = pytest.importorskip("river.compat")
    classifier = new(dtype="float64")
    expected = clone(classifier).progressive_predict_proba(X[:100], Y[:100], classes=[0, 1, 2])
    model = compat.convert_sklearn_to_river(classifier, classes=[0, 1, 2])
    for row, label, probabilities in zip(X, Y, expected, strict=False):
        row = dict(enumerate(row))
        assert_allclose(list(model.predict_proba_one(row).values()), probabilities, rtol=1e-7, atol=1e-9)
        model.learn_one(row, label)
    assert np.mean([model.predict_one(dict(enumerate(row))) == label for row, label in zip(X, Y, strict=True)]) > 0.75


def make_mixed(n):
    """Dictionaries of numbers and text, some of them missing, and the rows' labels."""
    rng = np.random.default_rng(0)
    towns, kinds = rng.choice(["north", "south", None], n).tolist(), rng.choice(["old", "new"], n).tolist()
    ids = rng.integers(9, size=n).tolist()
    columns = rng.normal(size=n).tolist(), towns, kinds, ids
    rows = [dict(zip(("size", "town", "kind", "id"), row, strict=True)) for row in zip(*columns, strict=True)]
    return rows, ["yes" if row["town"] == "north" and row["size"] > 0 else "no" for row in rows]


def test_river_learns_dictionaries_with_categories():
    compat = pytest.importorskip("river.compat")
    rows, y = make_mixed(100)
    classifier = new(dtype="float64", categorical_features=[1, 2, 3])
    array = np.array([list(row.values()) for row in rows], dtype=object)
    expected = clone(classifier).progressive_predict_proba(array, y, classes=["no", "yes"])
    model = compat.convert_sklearn_to_river(classifier, classes=["no", "yes"])
    for row, label, probabilities in zip(rows, y, expected, strict=True):
        assert_allclose(list(model.predict_proba_one(row).values()), probabilities, rtol=1e-7, atol=1e-9)
        model.learn_one(row, label)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_river_learns_frames_with_categories(library):
    compat, frames = pytest.importorskip("river.compat"), pytest.importorskip(library)
    rows, y = make_mixed(100)
    frame, labels = frames.DataFrame(rows), frames.Series(y)
    model = compat.convert_sklearn_to_river(new(dtype="float64"), classes=["no", "yes"])
    for start in range(0, 100, 20):
        model.learn_many(frame[start : start + 20], labels[start : start + 20])
    assert model.estimator.is_categorical_.tolist() == [False, True, True, False]
    expected = new(dtype="float64").partial_fit(frame, y, classes=["no", "yes"])
    assert_allclose(np.asarray(model.predict_proba_many(frame)), expected.predict_proba(frame), rtol=1e-7, atol=1e-9)


# Features in all forms

RESULTS = ("predict", "predict_proba", "predict_log_proba", "decision_function")
EXACT = {"layer_sizes": (5,), "dtype": "float64", "max_iter": 1, "shuffle": False}


def assert_predict_the_same(got, expected, rows, expected_rows):
    for method in RESULTS:
        result = getattr(got, method)(rows)
        assert type(result) is np.ndarray
        assert_allclose(result, getattr(expected, method)(expected_rows), rtol=1e-6, atol=1e-9, err_msg=method)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("streamed", [True, False])
def test_forms_of_features(form, streamed):
    rows = FORMS[form](EIGHTHS)
    if streamed:
        got = new(**EXACT).partial_fit(FORMS[form](EIGHTHS[:7]), Y[:7], [0, 1, 2])
        probabilities = got.progressive_predict_proba(FORMS[form](EIGHTHS[7:]), Y[7:])
        assert type(probabilities) is np.ndarray
    else:
        got = new(**EXACT).fit(rows, Y)
    expected = new(**EXACT).fit(EIGHTHS, Y)
    assert_predict_the_same(got, expected, rows, EIGHTHS)
    assert got.score(rows, Y) == expected.score(EIGHTHS, Y)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, np.float32])
def test_types_of_features(dtype):
    rows = (X.mean(axis=0) < X).astype(dtype) if dtype is bool else np.abs(X).round().astype(dtype)
    got, expected = new(**EXACT).fit(rows, Y), new(**EXACT).fit(rows.astype(float), Y)
    assert_predict_the_same(got, expected, rows, rows.astype(float))


def torch_targets(data):
    return pytest.importorskip("torch").tensor(data)


TARGETS = {
    "list": list,
    "pandas": lambda data: pytest.importorskip("pandas").Series(data, index=np.arange(len(data))[::-1]),
    "polars": lambda data: pytest.importorskip("polars").Series(data),
    "torch": torch_targets,
    "float": lambda data: np.asarray(data, dtype=float),
}


@pytest.mark.parametrize("form", TARGETS)
def test_forms_of_targets_and_weights(form):
    weights = np.random.default_rng(0).choice([0.0, 0.5, 1.0, 2.0], 400)
    y, given = TARGETS[form](Y), TARGETS[form](weights)
    expected = new(**EXACT).fit(X, Y, weights)
    assert_predict_the_same(new(**EXACT).fit(X, y, given), expected, X, X)
    streamed = new(**EXACT).partial_fit(X, y, classes=TARGETS[form]([0, 1, 2]), sample_weight=given)
    assert_predict_the_same(streamed, expected, X, X)


@pytest.mark.parametrize("streamed", [True, False])
def test_column_vectors_are_flattened_with_a_warning(streamed):
    def learn(y):
        return new(**EXACT).partial_fit(X, y, [0, 1, 2]) if streamed else new(**EXACT).fit(X, y)

    with pytest.warns(DataConversionWarning, match="column-vector"):
        got = learn(Y[:, np.newaxis])
    assert_predict_the_same(got, learn(Y), X, X)
    assert got.predict(X).shape == (400,)


@pytest.mark.thorough
@pytest.mark.backend("torch")
def test_tensors_with_array_api_dispatch():
    """SCIPY_ARRAY_API must be set before SciPy is imported."""
    code = """
import numpy as np, torch
from sklearn import config_context
from tests.test_common import EIGHTHS, EXACT, Y, assert_predict_the_same, new
with config_context(array_api_dispatch=True):
    tensors = torch.tensor(EIGHTHS, requires_grad=True), torch.tensor(Y), torch.ones(len(Y))
    expected = new(**EXACT, backend="numpy").fit(EIGHTHS, Y)
    got = new(**EXACT, backend="numpy").fit(*tensors)
    streamed = new(**EXACT, backend="numpy").partial_fit(tensors[0], tensors[1], torch.arange(3), tensors[2])
    for rows in (EIGHTHS, tensors[0], tensors[0].bfloat16()):
        assert_predict_the_same(got, expected, rows, EIGHTHS)
        assert_predict_the_same(streamed, expected, rows, EIGHTHS)
print("done")
"""
    root = Path(sklearn_gln.__file__).parents[1]
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    command = [sys.executable, "-W", "error", "-c", code]
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert run.stdout == "done\n", run.stderr


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_column_names(library):
    frames = pytest.importorskip(library)
    frame = frames.DataFrame({name: X[:, i] for i, name in enumerate("abcd")})
    if _get_feature_names(frame) is None:
        pytest.skip(f"this scikit-learn cannot read the column names of this {library}")
    classifier = new().partial_fit(frame, Y, classes=[0, 1, 2])
    assert_array_equal(classifier.feature_names_in_, list("abcd"))
    renamed = frames.DataFrame({name: X[:, i] for i, name in enumerate("abce")})
    before = classifier.predict_proba(frame)
    for wrong in (frame[list("bacd")], renamed):
        with pytest.raises(ValueError, match="feature names"):
            classifier.predict(wrong)
        with pytest.raises(ValueError, match="feature names"):
            classifier.partial_fit(wrong, Y)
    assert_array_equal(classifier.predict_proba(frame), before)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        classifier.predict(X)


@pytest.mark.parametrize("missing", [np.nan, None])
def test_missing_values_are_taken_and_infinite_ones_refused(missing):
    rows = X.astype(object)
    rows[::3, 1] = missing
    rows[5] = missing
    classifier = new().fit(rows, Y)
    assert classifier.score(rows, Y) > 0.85
    assert np.isfinite(classifier.predict_proba(rows)).all()
    rows[4, 1] = -np.inf
    for call in (lambda it: it.predict_proba(rows), lambda it: it.partial_fit(rows, Y)):
        assert_refused(classifier, call, ValueError, "infinity")


# Several labels a row

MULTILABEL = {**EXACT, "max_iter": 2, "share_halfspaces": True}


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("n_labels", [2, 3])
def test_several_labels(streamed, n_labels):
    labels = LABEL_MATRIX[:, :n_labels]
    classifier = new()
    classifier = (
        classifier.partial_fit(X[TRAIN], labels[TRAIN]) if streamed else classifier.fit(X[TRAIN], labels[TRAIN])
    )
    assert_array_equal(classifier.classes_, np.arange(n_labels))
    predicted, probabilities = classifier.predict(X[TEST]), classifier.predict_proba(X[TEST])
    decisions, log_probabilities = classifier.decision_function(X[TEST]), classifier.predict_log_proba(X[TEST])
    for result in (predicted, probabilities, decisions, log_probabilities):
        assert type(result) is np.ndarray
        assert result.shape == (100, n_labels)
    assert predicted.dtype.kind == "i"
    assert set(np.unique(predicted)) == {0, 1}
    assert_array_equal(predicted, probabilities > 0.5)
    assert_allclose(probabilities, expit(decisions), rtol=1e-12)
    assert_allclose(log_probabilities, np.log(probabilities), rtol=1e-9)
    accuracy = classifier.score(X[TEST], labels[TEST])
    assert accuracy == np.mean((predicted == labels[TEST]).all(axis=1)) > 0.8
    assert 0 < classifier.progressive_accuracy_ < 1
    assert 0 < classifier.progressive_loss_ < 0.6


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("learner", ["normalized", "constant"])
def test_a_label_is_learned_as_if_it_were_alone(streamed, learner):
    # (the default aggregation has weights that are common to all labels)
    params = {**MULTILABEL, "shuffle": True, "learning_rate": learner, "layer_sizes": (8, 4), "aggregation": "layers"}
    params["halfspaces"] = "gaussian"  # cuts are chosen by all labels

    def learn(y):
        return new(**params).partial_fit(X, y, range(3 if y.ndim == 2 else 2)) if streamed else new(**params).fit(X, y)

    probabilities = learn(LABEL_MATRIX).predict_proba(X)
    for label in range(3):
        alone = learn(LABEL_MATRIX[:, label]).predict_proba(X)[:, 1]
        assert_allclose(probabilities[:, label], alone, rtol=1e-9, atol=1e-9)


def test_progressive_probabilities_of_several_labels():
    classifier = new(**MULTILABEL)
    progressive = clone(classifier).progressive_predict_proba(X, LABEL_MATRIX)
    assert_allclose(progressive[0], 0.5)
    for start, stop in ((0, 1), (1, 3), (3, 100), (100, 256), (256, 400)):
        if start:
            assert_allclose(classifier.predict_proba(X[start : start + 1])[0], progressive[start], rtol=1e-9)
        classifier.partial_fit(X[start:stop], LABEL_MATRIX[start:stop])
    truth = np.where(LABEL_MATRIX, progressive, 1 - progressive)
    assert classifier.progressive_loss_ == pytest.approx(-np.log(truth).mean())
    hits = ((progressive > 0.5) == LABEL_MATRIX).all(axis=1)
    assert classifier.progressive_accuracy_ == pytest.approx(hits.mean())


@pytest.mark.parametrize(
    "form",
    [
        csr_matrix,
        csr_array,
        pytest.param(np.ndarray.tolist, id="lists"),
        pytest.param(lambda y: y.astype(bool), id="bool"),
        pytest.param(lambda y: y.astype(float), id="float"),
        pytest.param(torch_targets, id="torch", marks=pytest.mark.backend("torch")),
    ],
)
def test_forms_of_a_label_matrix(form):
    expected = new(**MULTILABEL).fit(X, LABEL_MATRIX)
    assert_predict_the_same(new(**MULTILABEL).fit(X, form(LABEL_MATRIX)), expected, X, X)
    streamed = new(**MULTILABEL).partial_fit(X, form(LABEL_MATRIX))
    assert_predict_the_same(streamed, new(**MULTILABEL).partial_fit(X, LABEL_MATRIX), X, X)


def test_rows_without_a_label_and_labels_without_a_row():
    labels = np.zeros((400, 3), int)
    labels[:, 2] = 1
    probabilities = new().fit(X, labels).predict_proba(X)
    assert probabilities[:, :2].max() < 0.05 < 0.95 < probabilities[:, 2].min()


WRONG_LABELS = {
    "not 0 or 1": (LABEL_MATRIX + 1, "other than 0 and 1"),
    "negative": (-LABEL_MATRIX, "other than 0 and 1"),
    "fewer labels": (LABEL_MATRIX[:, :2], "shape.*3 labels"),
    "more labels": (np.hstack([LABEL_MATRIX, LABEL_MATRIX]), "shape.*3 labels"),
    "one label a row": (BINARY, "shape.*3 labels"),
}


@pytest.mark.parametrize(("y", "message"), WRONG_LABELS.values(), ids=WRONG_LABELS)
def test_a_stream_of_label_matrices_refuses(y, message):
    classifier = new().partial_fit(X[:50], LABEL_MATRIX[:50])
    assert_refused(classifier, lambda it: it.partial_fit(X, y), ValueError, message)
    assert_refused(classifier, lambda it: it.progressive_predict_proba(X, y), ValueError, message)


def test_a_matrix_after_single_labels_is_refused():
    classifier = new().partial_fit(X, Y, [0, 1, 2])
    assert_refused(classifier, lambda it: it.partial_fit(X, LABEL_MATRIX), ValueError, "one label for each row")


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 2.0, 2: 1.0}])
def test_class_weights_of_a_label_matrix_are_refused(class_weight):
    classifier = new(class_weight=class_weight)
    assert_refused(classifier, lambda it: it.fit(X, LABEL_MATRIX), ValueError, "class_weight")
    assert_refused(classifier, lambda it: it.partial_fit(X, LABEL_MATRIX), ValueError, "class_weight")


def test_classes_of_a_label_matrix():
    named = new(**MULTILABEL).partial_fit(X, LABEL_MATRIX, classes=["a", "b", "c"])
    assert_array_equal(named.classes_, ["a", "b", "c"])
    assert_predict_the_same(named, new(**MULTILABEL).partial_fit(X, LABEL_MATRIX), X, X)
    assert_refused(new(), lambda it: it.partial_fit(X, LABEL_MATRIX, classes=[0, 1]), ValueError, "classes")


@pytest.mark.skipif(INTERPRETED, reason="one learns 30,000 rows")
@pytest.mark.parametrize(
    "method",
    [
        GLNClassifier.estimate_memory,
        GLNRegressor.estimate_memory,
        GLNRegressor.predict_quantiles,
        GLNBandit.estimate_memory,
    ],
)
def test_examples_of_methods(method):
    """pytest finds no examples of methods where the class names another module as its own."""
    (example,) = doctest.DocTestFinder().find(method, module=False, globs={})
    failed, attempted = doctest.DocTestRunner().run(example)
    assert failed == 0 < attempted
