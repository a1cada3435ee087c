"""Graphs of scikit-learn's estimators around ours: they predict what the estimators do, or are refused."""

import warnings

import numpy as np
import pytest
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    RandomTreesEmbedding,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    SplineTransformer,
    StandardScaler,
)

from sklearn_gln import GLNClassifier, GLNRegressor
from tests.helpers import thorough_but

onnxruntime = pytest.importorskip("onnxruntime", reason="it runs the graphs")
pytest.importorskip("skl2onnx", reason="it makes the graphs")

from sklearn_gln.onnx import to_onnx  # noqa: E402

SMALL = {"layer_sizes": (3,), "context_dim": 2, "dtype": "float64", "max_iter": 1, "random_state": 0}
X, CODES = make_classification(150, 5, n_informative=4, n_redundant=0, n_classes=3, flip_y=0.2, random_state=0)
TEXT = np.array(["a", "b", "c"])[CODES]
RARE = (CODES == 0).astype(int)
TARGETS = X @ np.arange(5) + np.sin(X[:, 0])
BINS = {"encode": "ordinal", "quantile_method": "averaged_inverted_cdf"}


def gln(**params):
    return GLNClassifier(**SMALL | params)


def scaled():
    return make_pipeline(StandardScaler(), gln())


def search():
    return GridSearchCV(scaled(), {"glnclassifier__context_dim": [2]}, cv=2)


def regressor(**params):
    return GLNRegressor(**SMALL | params)


def run(graph, *inputs):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {node.name: given for node, given in zip(session.get_inputs(), inputs, strict=True)})


def assert_predicts_alike(model, X, *given, inputs=None, atol=1e-9, **options):
    results, predicted = run(to_onnx(model, *given, **options), *([X] if inputs is None else inputs)), model.predict(X)
    if not is_classifier(model):
        np.testing.assert_allclose(
            results[0].reshape(predicted.shape), predicted, rtol=0, atol=atol * np.ptp(predicted)
        )
        return
    labels = results[0].reshape(predicted.shape)  # (n, 1) of OneVsOneClassifier
    np.testing.assert_array_equal(labels, predicted)
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(results[1], model.predict_proba(X), rtol=0, atol=atol)


CONVERTED = {
    "calibrated": lambda: CalibratedClassifierCV(gln(), cv=2),
    "calibrated pipeline": lambda: CalibratedClassifierCV(scaled(), cv=2),
    "calibrated search": lambda: CalibratedClassifierCV(search(), cv=2),
    "calibrated frozen": lambda: CalibratedClassifierCV(FrozenEstimator(gln().fit(X, CODES)), cv=2),
    "voting": lambda: VotingClassifier([("a", scaled()), ("l", LogisticRegression())], voting="soft", weights=[1, 3]),
    "majority": lambda: VotingClassifier([("a", gln()), ("d", "drop"), ("b", scaled())], weights=[0.4, 1, 0.7]),
    "stacking": lambda: StackingClassifier([("a", scaled()), ("b", gln())], LogisticRegression(), cv=2),
    "stacking with features": lambda: StackingClassifier([("a", gln())], scaled(), cv=2, passthrough=True),
    "one against rest": lambda: OneVsRestClassifier(scaled()),
    "one against one": lambda: OneVsOneClassifier(gln()),
    "bagging": lambda: BaggingClassifier(scaled(), 2, max_features=0.6, bootstrap_features=True, random_state=0),
    "search": lambda: search(),
    "random search": lambda: RandomizedSearchCV(gln(), {"context_dim": [2]}, n_iter=1, cv=2),
    "search in a pipeline": lambda: make_pipeline(MinMaxScaler(), GridSearchCV(gln(), {"context_dim": [2]}, cv=2)),
    "frozen": lambda: FrozenEstimator(gln().fit(X, CODES)),
    "passthrough": lambda: Pipeline([("a", "passthrough"), ("b", None), ("gln", gln())]),
    "union": lambda: make_pipeline(FeatureUnion([("d", "drop"), ("s", StandardScaler()), ("p", PCA(2))]), gln()),
    "columns": lambda: make_pipeline(
        ColumnTransformer([("a", PCA(2), [3, 1])], remainder="passthrough", transformer_weights={"a": 2.0}), gln()
    ),
    "selected": lambda: make_pipeline(SelectFromModel(LogisticRegression()), gln()),
    "eliminated": lambda: make_pipeline(RFE(LogisticRegression(), n_features_to_select=3), gln()),
    "one-hot first": lambda: make_pipeline(KBinsDiscretizer(3, **BINS), OneHotEncoder(sparse_output=False), gln()),
}  # fmt: skip


@pytest.mark.parametrize("name", thorough_but(CONVERTED, *list(CONVERTED)[:6]))
def test_classifiers_around_ours(name):
    model = CONVERTED[name]().fit(X, CODES)
    before = repr(model)
    assert_predicts_alike(model, X)
    assert repr(model) == before


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["calibrated pipeline", "voting", "stacking", "bagging", "search in a pipeline"])
@pytest.mark.parametrize("labels", [TEXT, RARE], ids=["text", "two"])
def test_labels(name, labels):
    assert_predicts_alike(CONVERTED[name]().fit(X, labels), X)


@pytest.mark.parametrize(
    ("model", "targets"),
    [
        (VotingRegressor([("a", regressor()), ("l", LinearRegression())], weights=[1, 3]), TARGETS),
        (StackingRegressor([("a", regressor())], LinearRegression(), cv=2, passthrough=True), TARGETS),
        (BaggingRegressor(regressor(), 2, random_state=0), TARGETS),
        (GridSearchCV(make_pipeline(StandardScaler(), regressor()), {"glnregressor__context_dim": [2]}, cv=2), TARGETS),
        (MultiOutputRegressor(regressor()), np.column_stack([TARGETS, -TARGETS])),
    ],
)
def test_regressors_around_ours(model, targets):
    assert_predicts_alike(model.fit(X, targets), X)


def test_several_outputs():
    y = np.column_stack([CODES, RARE])
    model = MultiOutputClassifier(gln()).fit(X, y)
    labels, probabilities = run(to_onnx(model), X)
    np.testing.assert_array_equal(labels, model.predict(X))
    for got, expected in zip(probabilities, model.predict_proba(X), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-9)


@pytest.mark.parametrize("labels", [CODES == 0, CODES + 0.0])
def test_labels_that_graphs_have_as_integers(labels):
    assert_predicts_alike(make_pipeline(StandardScaler(), gln()).fit(X, labels), X)
    assert_predicts_alike(CalibratedClassifierCV(gln(), cv=2).fit(X, labels), X)


# Refused


def tuned():
    return TunedThresholdClassifierCV(gln(), cv=2)


def fixed():
    return FixedThresholdClassifier(gln(), threshold=0.2)


def isotonic():
    return CalibratedClassifierCV(gln(), cv=2, method="isotonic")


REFUSED = {
    "tuned": (tuned, "decision threshold of TunedThresholdClassifierCV.*`estimator_`"),
    "fixed": (fixed, "decision threshold of FixedThresholdClassifier"),
    "tuned in a pipeline": (lambda: make_pipeline(StandardScaler(), tuned()), "decision threshold"),
    "fixed in a search": (lambda: GridSearchCV(fixed(), {"threshold": [0.2]}, cv=2), "decision threshold"),
    "fixed in a vote": (lambda: VotingClassifier([("f", fixed()), ("g", gln())]), "decision threshold"),
    "fixed in a stack": (lambda: StackingClassifier([("f", fixed())], cv=2), "decision threshold"),
    "fixed in bags": (lambda: BaggingClassifier(fixed(), 2), "decision threshold"),
    "isotonic": (isotonic, "method='isotonic'.*'sigmoid'"),
    "isotonic in a stack": (lambda: StackingClassifier([("i", isotonic())], cv=2), "method='isotonic'"),
    "isotonic in a pipeline": (lambda: make_pipeline(StandardScaler(), isotonic()), "method='isotonic'"),
    "fractions": (lambda: make_pipeline(OrdinalEncoder(), gln()), "OrdinalEncoder.*integer part"),
    "stack of labels": (lambda: StackingClassifier([("g", gln())], stack_method="predict", cv=2), "StackingClassifier"),
    "stack of scores": (
        lambda: StackingClassifier([("g", scaled())], stack_method="decision_function", cv=2),
        "StackingClassifier",
    ),
    "boosting": (lambda: AdaBoostClassifier(gln(), n_estimators=2, random_state=0), "dtype='float32'"),
    "codes": (lambda: OutputCodeClassifier(gln(), random_state=0), "cannot convert this OutputCodeClassifier"),
    "leaves": (lambda: make_pipeline(RandomTreesEmbedding(3, sparse_output=False, random_state=0), gln()), "Pipeline"),
    "function": (lambda: make_pipeline(FunctionTransformer(np.tanh), gln()), "FunctionTransformer"),
    "splines": (lambda: make_pipeline(SplineTransformer(), gln()), "Spline"),
    "imputer": (lambda: make_pipeline(SimpleImputer(), gln()), "dtype='float32'"),
    "powers": (lambda: make_pipeline(PolynomialFeatures(2), gln()), "dtype='float32'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_predict_something_else_is_refused(name):
    make, message = REFUSED[name]
    model = make().fit(X, RARE)
    with pytest.raises(NotImplementedError, match=f"(?s){message}"):
        to_onnx(model)


def test_more_that_is_refused():
    with pytest.raises(NotImplementedError, match="ClassifierChain"):
        to_onnx(ClassifierChain(gln()).fit(X, np.column_stack([RARE, CODES == 1])))
    with pytest.raises(NotImplementedError, match="TransformedTargetRegressor"):
        to_onnx(TransformedTargetRegressor(regressor(), transformer=StandardScaler()).fit(X, TARGETS))
    with pytest.raises(NotImplementedError, match="predicts something else.*100%"):
        to_onnx(BaggingRegressor(regressor(), 2, random_state=0).fit(X, np.column_stack([TARGETS, -TARGETS])))


def test_float32_where_onnx_has_no_other():
    model = make_pipeline(PolynomialFeatures(2), gln()).fit(X, RARE)
    assert_predicts_alike(model, X.astype(np.float32), dtype="float32", atol=1e-4)


# Inputs guessed from samples


@pytest.fixture
def frame():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    columns = {"mean radius": X[:, 0], "clinic": rng.choice(["north", "south"], len(X)), "size": X[:, 1]}
    return pd.DataFrame(columns | {"children": rng.integers(0, 4, len(X))})


def columns_of(frame):
    return [frame[name].to_numpy()[:, np.newaxis].astype(object if name == "clinic" else frame[name].dtype)
            for name in frame.columns]  # fmt: skip


@pytest.mark.parametrize("remainder", ["passthrough", "drop", StandardScaler()])
def test_a_data_frame_with_text(frame, remainder):
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer((encoder, make_column_selector(dtype_exclude="number")), remainder=remainder)
    model = make_pipeline(columns, gln()).fit(frame, CODES)
    assert_predicts_alike(model, frame, frame, inputs=columns_of(frame))
    unknown = frame.assign(clinic="west")
    assert_predicts_alike(model, unknown, frame[:1], inputs=columns_of(unknown))
    search = GridSearchCV(model, {"glnclassifier__context_dim": [2]}, cv=2).fit(frame, CODES)
    assert_predicts_alike(search, frame, frame, inputs=columns_of(frame))


def test_a_data_frame_with_gaps_and_integers(frame):
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    model = make_pipeline(make_column_transformer((encoder, ["clinic", "children"]), remainder="passthrough"), gln())
    frame.loc[::7, "size"] = np.nan
    model.fit(frame, CODES)
    assert_predicts_alike(model, frame, frame, inputs=columns_of(frame))


@pytest.mark.parametrize("dtype", thorough_but([np.float64, np.float32], np.float32))
def test_a_data_frame_with_categories_that_an_encoder_numbers(frame, dtype):
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, dtype=dtype)
    columns = make_column_transformer((encoder, ["clinic"]), remainder="passthrough")
    model = make_pipeline(columns, gln(categorical_features=[0, 3])).fit(frame, CODES)
    for rows in (frame, frame.assign(clinic="west")):
        assert_predicts_alike(model, rows, frame, inputs=columns_of(rows))


def test_a_data_frame_with_categories_that_are_numbers(frame):
    frame = frame.drop(columns="clinic").astype({"children": "category"})
    frame.loc[::7, "children"] = None
    model = gln().fit(frame, CODES)
    assert model.is_categorical_.tolist() == [False, False, True]
    assert_predicts_alike(model, frame, frame, inputs=[frame.to_numpy(dtype=float)])


def test_a_data_frame_with_categories_that_are_text(frame):
    model = gln().fit(frame, CODES)
    with pytest.raises(NotImplementedError, match=r"\['clinic'\] have levels of text"):
        to_onnx(model, frame)


def test_a_data_frame_of_numbers_is_one_matrix(frame):
    numbers = frame.drop(columns="clinic")
    for model in (gln(), scaled()):
        model.fit(numbers, CODES)
        assert_predicts_alike(model, numbers, numbers, inputs=[numbers.to_numpy(dtype=float)])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8])
def test_arrays(dtype):
    samples = np.abs(10 * X).astype(dtype)
    model = gln().fit(samples, CODES)
    inputs = [samples.astype(np.int64)] if samples.dtype.kind in "iu" else [samples]
    assert_predicts_alike(model, samples, samples, inputs=inputs, atol=1e-5 if dtype == np.float32 else 1e-9)
    (_, probabilities) = run(to_onnx(model, samples[:1]), *inputs)
    assert probabilities.dtype == (np.float32 if dtype == np.float32 else np.float64)


def test_an_array_of_text():
    text = np.random.default_rng(0).choice(["n", "s", "w"], (len(X), 2)).astype(object)
    model = make_pipeline(OneHotEncoder(sparse_output=False), gln()).fit(text, CODES)
    assert_predicts_alike(model, text, text)


def test_a_graph_that_predicts_something_else_for_the_samples_given():
    counts = np.abs(3 * X).astype(int).astype(float)
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore", sparse_output=False), gln()).fit(counts, RARE)
    assert_predicts_alike(model, counts, counts)
    with pytest.raises(NotImplementedError, match="predicts something else"):
        to_onnx(model, counts + 0.4)  # unknown to the encoder, whose graph rounds them down


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X": X[0]}, r"X has shape \(5,\)"),
        ({"X": X, "initial_types": []}, "pass one of them"),
        ({"X": X.astype("datetime64[s]")}, "no input"),
    ],
)
def test_wrong_samples(given, message):
    with pytest.raises(ValueError, match=message):
        to_onnx(gln().fit(X, CODES), **given)


def test_without_onnxruntime(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_onnx(scaled().fit(X, CODES))
    with pytest.raises(NotImplementedError, match="decision threshold"):
        to_onnx(tuned().fit(X, RARE))
