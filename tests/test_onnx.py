"""Graphs of ONNX predict what the estimators do; onnxruntime runs them."""

import importlib
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln.kernels import get_kernels
from tests.helpers import make_stream, make_targets, thorough_but

onnx = pytest.importorskip("onnx", reason="graphs are ONNX's")
onnxruntime = pytest.importorskip("onnxruntime", reason="it runs the graphs")
skl2onnx = pytest.importorskip("skl2onnx", reason="it makes the graphs")

from sklearn_gln import onnx as gln_onnx  # noqa: E402
from sklearn_gln.onnx import OPSET, register, to_onnx  # noqa: E402

SMALL = {"layer_sizes": (6, 5), "context_dim": 3, "dtype": "float64", "random_state": 0}
STRUCTURES = [
    {},
    {"layer_sizes": ()},
    {"layer_sizes": (4, 3, 5)},
    {"context_dim": 0},
    {"share_halfspaces": False},
    {"share_halfspaces": False, "skip": False, "bias": False},
    {"skip": False},
    {"bias": False},
    {"halfspaces": "gaussian", "base_predictor": "global"},
    {"aggregation": "layers"},
    {"aggregation": "last_layer"},
    {"aggregation": "neuron"},
]
CLASSIFIERS = [
    *STRUCTURES,
    {"eps": 0.2},
    {"base_predictor": "minmax"},
    {"half_life": 200, "max_weight": 0.5},
    {"half_life": "mixed"},
]
REGRESSORS = [*STRUCTURES, {"squares": False}, {"base_predictor": "identity"}, {"half_life": "mixed"}]
X, Y, WEIGHTS = make_stream(0, 600)
X, X_TEST, Y, WEIGHTS = X[:400], X[400:], Y[:400], WEIGHTS[:400]
X_TEST[:20] *= 4  # far off, where features are clipped
TARGETS = make_targets(X)
LABELS = {
    "binary": Y > 0,
    "classes": Y,
    "strings": np.array(["down", "level", "up"])[Y],
    "labels": np.stack([Y == 0, Y != 1], axis=1).astype(int),
}


def run(graph, X):
    """What onnxruntime gives for rows X, after the checks of ONNX."""
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"X": X})


def assert_classifies_alike(model, X, atol, **options):
    labels, probabilities = run(to_onnx(model, **options), X)
    np.testing.assert_allclose(probabilities, model.predict_proba(X), rtol=0, atol=atol)
    np.testing.assert_array_equal(labels, model.predict(X))
    assert probabilities.dtype == X.dtype


def in_units(values, reference):
    """Values of a regressor and its reference in units of the targets."""
    deviation = TARGETS.std(axis=0)[: np.shape(values)[1]]
    return values / deviation, reference.reshape(values.shape) / deviation


@pytest.mark.parametrize("labels", thorough_but(LABELS, "strings"))
@pytest.mark.parametrize("params", CLASSIFIERS, ids=str)
def test_classifier(params, labels):
    model = GLNClassifier(**SMALL | params).fit(X, LABELS[labels], WEIGHTS)
    for optimize_for in ("latency", "throughput"):
        assert_classifies_alike(model, X_TEST, 1e-12, optimize_for=optimize_for)
        assert_classifies_alike(model, X_TEST.astype(np.float32), 1e-5, optimize_for=optimize_for, dtype="float32")


@pytest.mark.parametrize("n_targets", thorough_but([1, 3], 3))
@pytest.mark.parametrize("likelihood", ["squared", "gaussian"])
@pytest.mark.parametrize("params", thorough_but(REGRESSORS, {}, {"skip": False}, {"half_life": "mixed"}), ids=str)
def test_regressor(params, likelihood, n_targets):
    targets = TARGETS[:, 0] if n_targets == 1 else TARGETS
    model = GLNRegressor(likelihood=likelihood, max_iter=2, **SMALL | params).fit(X, targets, WEIGHTS)
    for (dtype, atol), optimize_for in product([("float64", 1e-12), ("float32", 1e-5)], ["latency", "throughput"]):
        rows = X_TEST.astype(dtype)
        graph = to_onnx(model, dtype=dtype, optimize_for=optimize_for, options={"return_std": True})
        for values, reference in zip(run(graph, rows), model.predict(rows, return_std=True), strict=True):
            assert values.shape == (len(rows), n_targets)
            np.testing.assert_allclose(*in_units(values, reference), rtol=0, atol=atol)
    (mean,) = run(to_onnx(model), X_TEST)
    np.testing.assert_allclose(*in_units(mean, model.predict(X_TEST)), rtol=0, atol=1e-12)


def test_probabilities_as_features():
    probabilities = 1 / (1 + np.exp(-X))
    probabilities[:5, 0], probabilities[5:9, 1] = 0, 1
    model = GLNClassifier(base_predictor="identity", **SMALL).fit(probabilities, Y)
    assert_classifies_alike(model, probabilities, 1e-12)


@pytest.mark.parametrize("base_predictor", ["standard", "minmax"])
def test_features_that_say_nothing(base_predictor):
    rows = np.column_stack([np.full(len(X), 3.0), X, np.full(len(X), np.nan)])
    model = GLNClassifier(base_predictor=base_predictor, halfspaces="gaussian", **SMALL).fit(rows, Y)
    rows[:3], rows[3:6] = np.nan, 1.5  # the first on all halfspaces, whose offsets are 0
    assert_classifies_alike(model, rows, 1e-12)


def test_single_rows_and_no_rows():
    model = GLNClassifier(**SMALL).fit(X, Y)
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
    by_row = np.concatenate([session.run(None, {"X": X_TEST[i : i + 1]})[1] for i in range(20)])
    np.testing.assert_allclose(by_row, model.predict_proba(X_TEST[:20]), rtol=0, atol=1e-12)
    labels, probabilities = session.run(None, {"X": X_TEST[:0]})
    assert labels.shape == (0,)
    assert probabilities.shape == (0, 3)


def test_contexts_that_no_row_visited():
    model = GLNClassifier(**SMALL | {"context_dim": 7}).fit(X, Y)
    kernels, predictor, network = get_kernels("numpy"), model._online.predictor, model._online.network
    side_info = predictor.transform(4 * X_TEST, kernels).side_info
    of_last = np.s_[:, -network.layers[-1].slot_of.shape[1] :]
    contexts = kernels.select_contexts(side_info, network.hyperplanes[of_last], network.offsets[of_last], "float64")
    assert (network.layers[-1].slots(contexts) == 0).mean() > 0.01
    for optimize_for in ("latency", "throughput"):
        assert_classifies_alike(model, 4 * X_TEST, 1e-12, optimize_for=optimize_for)


def test_model_of_float32():
    model = GLNClassifier(**SMALL | {"dtype": "float32"}).fit(X, Y)
    assert_classifies_alike(model, X_TEST, 1e-6)
    assert_classifies_alike(model, X_TEST.astype(np.float32), 1e-6, dtype="float32")
    sizes = [to_onnx(model, dtype=dtype).ByteSize() for dtype in ("float32", "float64")]
    assert sizes[1] < 1.1 * sizes[0]  # its weights stay float32


@pytest.mark.backend("torch")  # which has a slot for every context
@pytest.mark.parametrize("share_halfspaces", [True, False])
def test_weights_learned_on_a_device(share_halfspaces):
    params = SMALL | {"context_dim": 6, "share_halfspaces": share_halfspaces}
    model = GLNClassifier(**params | {"backend": "torch"}).fit(X, Y)
    assert model._online.network.layers[0].slot_of is None
    assert_classifies_alike(model, X_TEST, 1e-12)
    on_host = GLNClassifier(**params).fit(X, Y)
    assert to_onnx(model).ByteSize() < 1.01 * to_onnx(on_host).ByteSize()
    for learning_rate in ("normalized", np.zeros_like):  # with the latter visits leave no trace but in the spread
        regressor = GLNRegressor(learning_rate=learning_rate, max_iter=2, **params | {"backend": "torch"})
        regressor.fit(X, TARGETS)
        predicted = run(to_onnx(regressor, options={"return_std": True}), X_TEST)
        for values, reference in zip(predicted, regressor.predict(X_TEST, return_std=True), strict=True):
            np.testing.assert_allclose(*in_units(values, reference), rtol=0, atol=1e-12)


def test_rows_that_float32_moves_across_a_halfspace():
    model = GLNClassifier(**SMALL).fit(X, Y)
    predictor, network = model._online.predictor, model._online.network
    rows = np.nan_to_num(X_TEST)
    scaled = (rows[:50] - predictor.mean) * predictor.inverse_deviation
    normal, offset = network.hyperplanes[0, 0, 0], network.offsets[0, 0, 0]
    onto_halfspace = np.outer(offset - scaled @ normal, normal) / (normal @ normal)
    rows[:50] += onto_halfspace / predictor.inverse_deviation
    rounded = rows.astype(np.float32)
    labels, probabilities = run(to_onnx(model, dtype="float32"), rounded)
    np.testing.assert_allclose(probabilities, model.predict_proba(rounded), rtol=0, atol=1e-5)
    flipped = (contexts_of(model, rows) != contexts_of(model, rounded)).any(axis=1)
    assert 5 < np.count_nonzero(flipped) <= 50
    error = np.abs(probabilities - model.predict_proba(rows)).max(axis=1)
    assert error[~flipped].max() < 1e-5 < error[flipped].max()
    np.testing.assert_array_equal(labels[~flipped], model.predict(rows)[~flipped])


def contexts_of(model, X):
    kernels, online = get_kernels("numpy"), model._online
    side_info = online.predictor.transform(X, kernels).side_info
    contexts = kernels.select_contexts(side_info, online.network.hyperplanes, online.network.offsets, "float64")
    return contexts.reshape(len(X), -1)


# Categories

FEW, MANY = 1, 3


def with_levels(rows, seed):
    """Rows in which two features are categories, some of them missing."""
    rows, rng = rows.copy(), np.random.default_rng(seed)
    rows[:, FEW], rows[:, MANY] = rng.integers(-1, 3, len(rows)), rng.integers(0, 60, len(rows)) / 4
    rows[rng.random(rows.shape) < 0.05] = np.nan
    return rows


LEVELS, LEVELS_TEST = with_levels(X, 0), with_levels(X_TEST, 1)
LEVELS_TEST[:20, MANY], LEVELS_TEST[20:40, FEW], LEVELS_TEST[40:60, MANY] = 0.1, -7, 99  # which have not come


@pytest.mark.parametrize("params", thorough_but(CLASSIFIERS, *CLASSIFIERS[:5]), ids=str)
def test_categories_of_a_classifier(params):
    model = GLNClassifier(**SMALL | params, categorical_features=[FEW, MANY]).fit(LEVELS, Y, WEIGHTS)
    for optimize_for in ("latency", "throughput"):
        assert_classifies_alike(model, LEVELS_TEST, 1e-12, optimize_for=optimize_for)
    rounded = LEVELS_TEST.astype(np.float32)
    assert_classifies_alike(model, rounded, 1e-5, dtype="float32")


@pytest.mark.parametrize("likelihood", ["squared", "gaussian"])
@pytest.mark.parametrize("params", [{}, {"skip": False}, {"dtype": "float32"}], ids=str)
def test_categories_of_a_regressor(params, likelihood):
    model = GLNRegressor(likelihood=likelihood, **SMALL | params, categorical_features=[FEW, MANY])
    model.partial_fit(LEVELS, TARGETS)  # of a stream there are two memories
    graph = to_onnx(model, options={"return_std": True})
    for values, reference in zip(run(graph, LEVELS_TEST), model.predict(LEVELS_TEST, return_std=True), strict=True):
        tolerance = 1e-6 if params.get("dtype") else 1e-12
        np.testing.assert_allclose(*in_units(values, reference), rtol=tolerance, atol=tolerance)
    assert [len(values) for values in run(graph, LEVELS_TEST[:0])] == [0, 0]


@pytest.mark.parametrize("columns", [[FEW], [FEW, MANY], [MANY]])
def test_categories_alone(columns):
    rows, categories = LEVELS[:, columns], range(len(columns))
    model = GLNClassifier(**SMALL, categorical_features=list(categories)).fit(rows, Y)
    assert_classifies_alike(model, LEVELS_TEST[:, columns], 1e-12)


def test_levels_that_graphs_cannot_look_up():
    rows = LEVELS.astype(object)
    rows[:, FEW] = np.where(np.isnan(LEVELS[:, FEW]), None, "a")
    model = GLNClassifier(**SMALL, categorical_features=[FEW, MANY]).fit(rows, Y)
    for estimator in (model, make_pipeline("passthrough", model)):
        with pytest.raises(NotImplementedError, match=r"\[1\] have levels of text.*OrdinalEncoder"):
            to_onnx(estimator)
    register()
    with pytest.raises(NotImplementedError, match="levels of text"):
        skl2onnx.to_onnx(model, X[:1], target_opset=OPSET)
    model = GLNClassifier(**SMALL, categorical_features=[FEW, MANY], max_levels=7).fit(LEVELS, Y)
    with pytest.raises(NotImplementedError, match=r"\[3\] have max_levels=7 levels"):
        to_onnx(model)


# Within other estimators


def test_pipelines():
    classifier = make_pipeline(StandardScaler(), GLNClassifier(**SMALL)).fit(X, LABELS["strings"])
    filled = np.nan_to_num(X_TEST)
    assert_classifies_alike(classifier, filled, 1e-9)  # skl2onnx divides by deviations its own way
    nested = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), GLNRegressor(max_iter=1, **SMALL)))
    nested.fit(X, TARGETS)
    mean, deviation = run(to_onnx(nested, options={"return_std": True}), filled)
    np.testing.assert_allclose(*in_units(mean, nested.predict(filled)), rtol=0, atol=1e-9)
    assert deviation.shape == mean.shape


@pytest.mark.parametrize("labels", ["binary", "classes", "strings"])
def test_calibrated(labels):
    y = LABELS[labels]
    model = CalibratedClassifierCV(GLNClassifier(**SMALL), method="sigmoid", cv=2).fit(X, y)
    assert_classifies_alike(model, X_TEST, 1e-6)  # skl2onnx keeps the calibration in float32


@pytest.mark.parametrize("method", ["isotonic", "temperature"])
def test_calibrations_that_skl2onnx_has_not(method):
    model = CalibratedClassifierCV(GLNClassifier(**SMALL), cv=2).fit(X, Y)
    model.method = method  # "temperature" came with scikit-learn 1.8
    with pytest.raises(NotImplementedError, match=f"method='{method}'.*'sigmoid'"):
        to_onnx(model)


@pytest.mark.parametrize("labels", ["binary", "classes", "strings"])
def test_stacking(labels):
    members = [("gln", GLNClassifier(**SMALL)), ("plain", GLNClassifier(**SMALL | {"context_dim": 0}))]
    model = StackingClassifier(members, LogisticRegression(), cv=2).fit(X, LABELS[labels])
    assert_classifies_alike(model, X_TEST, 1e-6)  # LogisticRegression is float32 in ONNX


def test_stacking_regressor():
    model = StackingRegressor([("gln", GLNRegressor(max_iter=1, **SMALL))], LinearRegression(), cv=2)
    model.fit(X, TARGETS[:, 0])
    (mean,) = run(to_onnx(model), X_TEST)
    np.testing.assert_allclose(*in_units(mean, model.predict(X_TEST)), rtol=0, atol=1e-6)


def test_options_reach_networks_within_others():
    members = [("gln", GLNClassifier(**SMALL))]
    model = StackingClassifier(members, LogisticRegression(), cv=2).fit(X, Y)
    counts = {name: [node.op_type for node in to_onnx(model, optimize_for=name).graph.node].count("GatherElements")
              for name in ("latency", "throughput")}  # fmt: skip
    assert counts == {"latency": 0, "throughput": 2}


# Options


@pytest.mark.parametrize("labels", ["classes", "strings"])
def test_zipmap(labels):
    model = GLNClassifier(**SMALL).fit(X, LABELS[labels])
    rows = X_TEST.astype(np.float32)
    expected = model.predict_proba(rows)
    chosen, dicts = run(to_onnx(model, dtype="float32", options={"zipmap": True}), rows)
    np.testing.assert_array_equal(chosen, model.predict(rows))
    assert list(dicts[0]) == list(model.classes_)
    np.testing.assert_allclose([list(row.values()) for row in dicts], expected, rtol=0, atol=1e-5)
    _, *columns = run(to_onnx(model, options={"zipmap": "columns"}), X_TEST)
    np.testing.assert_allclose(np.stack(columns, axis=1), model.predict_proba(X_TEST), rtol=0, atol=1e-12)


def test_zipmap_that_onnx_cannot_do():
    model = GLNClassifier(**SMALL).fit(X, Y)
    with pytest.raises(ValueError, match="dtype='float32'"):
        to_onnx(model, options={"zipmap": True})
    multilabel = GLNClassifier(**SMALL).fit(X, LABELS["labels"])
    with pytest.raises(ValueError, match="not of labels"):
        to_onnx(multilabel, dtype="float32", options={"zipmap": True})


def test_numbers_in_place_of_string_labels():
    model = GLNClassifier(**SMALL).fit(X, LABELS["strings"])
    labels, _ = run(to_onnx(model, options={"nocl": True}), X_TEST)
    np.testing.assert_array_equal(model.classes_[labels], model.predict(X_TEST))


@pytest.mark.parametrize("labels", LABELS)
def test_raw_scores(labels):
    model = GLNClassifier(**SMALL).fit(X, LABELS[labels])
    chosen, scores = run(to_onnx(model, options={"raw_scores": True}), X_TEST)
    expected = model.decision_function(X_TEST)
    expected = np.stack([-expected, expected], axis=1) if labels == "binary" else expected
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(chosen, model.predict(X_TEST))


def test_class_labels_as_output():
    model = GLNClassifier(**SMALL).fit(X, LABELS["strings"])
    *_, classes = run(to_onnx(model, options={"output_class_labels": True}), X_TEST)
    np.testing.assert_array_equal(classes, model.classes_)


def test_options_of_one_step_by_id():
    classifier = GLNClassifier(**SMALL)
    model = make_pipeline(StandardScaler(), classifier).fit(X, Y)
    graph = to_onnx(
        model, options={id(classifier): {"raw_scores": True}, GLNClassifier: {"optimize_for": "throughput"}}
    )
    assert "GatherElements" in {node.op_type for node in graph.graph.node}
    _, scores = run(graph, np.nan_to_num(X_TEST))
    np.testing.assert_allclose(scores, model.decision_function(np.nan_to_num(X_TEST)), rtol=0, atol=1e-9)


def test_plain_skl2onnx_after_register():
    register()
    model = GLNClassifier(**SMALL).fit(X, Y)
    graph = skl2onnx.to_onnx(model, X[:1].astype(np.float32), target_opset=OPSET)
    _, dicts = run(graph, X_TEST.astype(np.float32))
    assert list(dicts[0]) == [0, 1, 2]


@pytest.mark.parametrize("labels", [np.array([False, True]), np.array([3.0, 7.0]), np.array([2, 9], np.uint8)])
def test_labels_of_other_types_become_integers(labels):
    model = GLNClassifier(**SMALL).fit(X, labels[(Y > 0).astype(int)])
    chosen, _ = run(to_onnx(model), X_TEST)
    assert chosen.dtype == np.int64
    np.testing.assert_array_equal(chosen, model.predict(X_TEST))


def test_opset():
    model = GLNClassifier(**SMALL).fit(X, Y)
    versions = {entry.domain: entry.version for entry in to_onnx(model).opset_import}
    assert versions[""] == OPSET == 18
    assert f"default={OPSET}" in to_onnx.__doc__
    newest = skl2onnx.__max_supported_opset__
    graph = to_onnx(model, target_opset=newest)
    assert {entry.domain: entry.version for entry in graph.opset_import}[""] == newest
    np.testing.assert_allclose(run(graph, X_TEST)[1], model.predict_proba(X_TEST), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="target_opset=17 is too low"):
        to_onnx(model, target_opset=17)


# What cannot be converted


def test_callable_base_predictor():
    def base_predictor(X):
        return 1 / (1 + np.exp(-X))

    model = GLNClassifier(base_predictor=base_predictor, **SMALL).fit(np.nan_to_num(X), Y)
    for estimator in (model, make_pipeline(StandardScaler().fit(np.nan_to_num(X)), model)):
        with pytest.raises(NotImplementedError, match="base_predictor.*Python"):
            to_onnx(estimator)


def test_not_fitted():
    with pytest.raises(NotFittedError):
        to_onnx(GLNClassifier())
    with pytest.raises(NotFittedError):
        to_onnx(make_pipeline(StandardScaler(), GLNRegressor()))
    empty = GLNClassifier(**SMALL).partial_fit(X[:0], Y[:0], classes=[0, 1, 2])
    with pytest.raises(NotFittedError, match="not learned any row"):
        to_onnx(empty)


def test_files_end_at_two_gibibytes(monkeypatch):
    model = GLNClassifier(**SMALL).fit(X, Y)
    monkeypatch.setattr(gln_onnx, "MAX_BYTES", to_onnx(model).ByteSize() // 2)
    with pytest.raises(ValueError, match="2 GiB.*context_dim"):
        to_onnx(model)


@pytest.mark.parametrize("wrong", [{"dtype": "float16"}, {"optimize_for": "speed"}])
def test_wrong_parameters(wrong):
    model = GLNClassifier(**SMALL).fit(X, Y)
    with pytest.raises(ValueError, match=rf"{next(iter(wrong))}='.*choose"):
        to_onnx(model, **wrong)


def test_the_model_stays_as_it_was():
    model = GLNClassifier(**SMALL).fit(X, Y)
    before = model.predict_proba(X_TEST)
    to_onnx(model)
    np.testing.assert_array_equal(model.predict_proba(X_TEST), before)
    model.partial_fit(X, Y)


@pytest.mark.thorough
def test_the_package_does_without():
    loaded = "{'onnx', 'skl2onnx', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"import sys, sklearn_gln; assert not {loaded}"], check=True)


def test_without_skl2onnx(monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    monkeypatch.delitem(sys.modules, "sklearn_gln.onnx")
    with pytest.raises(ImportError, match=r"sklearn_gln\[onnx\]"):
        importlib.import_module("sklearn_gln.onnx")
