"""One row a call: the compiled way gives what the general one does, and is taken where it should be."""

from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_gln import GLNClassifier, GLNRegressor, _single_row
from sklearn_gln.kernels import get_kernels
from tests.helpers import thorough_but

pytestmark = pytest.mark.skipif(get_kernels().ROWS is None, reason="the kernels have no functions of a single row")

RNG = np.random.default_rng(0)
N, N_BEFORE, N_PREDICTED = 900, 300, 40
X = RNG.normal(size=(N, 6))
X[:, 3] = RNG.integers(0, 3, N)
Y = (X[:, 0] * X[:, 1] + X[:, 2] > 0).astype(int) + (X[:, 4] > 0.8)
TARGETS = np.stack([X[:, 0] + X[:, 1] ** 2, X[:, 2]], axis=1) + 0.1 * RNG.normal(size=(N, 2))
X[RNG.random(X.shape) < 0.02] = np.nan
X[N_BEFORE + 100, 1] = 1e6

CASES = {
    "classes": (GLNClassifier, Y, {}),
    "two classes": (GLNClassifier, Y > 0, {}),
    "labels": (GLNClassifier, np.stack([Y > 0, Y > 1], axis=1), {}),
    "new classes": (GLNClassifier, Y, {"new_classes": "add"}),
    "halfspaces of their own": (GLNClassifier, Y, {"share_halfspaces": False, "half_life": None}),
    "no skip": (GLNClassifier, Y, {"skip": False}),
    "nothing given but below": (GLNClassifier, Y, {"skip": False, "bias": False}),
    "no bins, no preconditioner": (GLNClassifier, Y, {"n_bins": 0, "preconditioner": None}),
    "one half-life": (GLNClassifier, Y, {"half_life": 200, "base_predictor": "global"}),
    "bounded": (GLNClassifier, Y, {"max_weight": 0.5, "aggregation": "neuron", "learning_rate_init": 2.0}),
    "gaussian halfspaces": (GLNClassifier, Y, {"halfspaces": "gaussian", "aggregation": "layers"}),
    "blocks": (GLNClassifier, Y, {"preconditioner": "block", "class_weight": None}),
    "deeper": (GLNClassifier, Y, {"context_dim": 6}),
    "target": (GLNRegressor, TARGETS[:, 0], {}),
    "targets": (GLNRegressor, TARGETS, {}),
    "targets, no squares": (GLNRegressor, TARGETS, {"squares": False, "bias": False, "aggregation": "last_layer"}),
}


def new(name, dtype="float64"):
    kind, y, params = CASES[name]
    return kind(**{"layer_sizes": (6, 5), "context_dim": 4, "random_state": 0, "dtype": dtype} | params), y


def begun(model, y):
    classes = {"classes": np.unique(y)} if isinstance(model, GLNClassifier) and y.ndim == 1 else {}
    return model.partial_fit(X[:N_BEFORE], y[:N_BEFORE], **classes)


def answers(model, rows):
    return model.predict_proba(rows) if isinstance(model, GLNClassifier) else np.stack(model.predict(rows, True))


def learned_by_row(model, y):
    """The model after all rows, and its answers to the last ones, each before it was learned and one a call."""
    begun(model, y)
    found = []
    for i in range(N_BEFORE, N):
        if i >= N - N_PREDICTED:
            found.append(answers(model, X[i : i + 1]))
        model.partial_fit(X[i : i + 1], y[i : i + 1])
    return model, np.stack(found)


@pytest.fixture
def general(monkeypatch):
    """A function by which rows go the general way from then on."""

    def turn():
        for name in ("serves", "serves_learning"):
            monkeypatch.setattr(_single_row, name, lambda *_: False)

    return turn


def arrays_of(value):
    """All arrays of learned state."""
    if isinstance(value, np.ndarray):
        return [value] if value.dtype.kind in "biuf" else []
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    if hasattr(value, "__dataclass_fields__"):
        values = vars(value).values()
    return [array for part in values for array in arrays_of(part)]


@pytest.mark.parametrize("name", thorough_but(CASES, "classes", "two classes", "no skip", "targets"))
def test_learns_and_predicts_what_the_general_way_does(name, general):
    by_row, found = learned_by_row(*new(name))
    general()
    otherwise, expected = learned_by_row(*new(name))
    assert_allclose(found, expected, rtol=0, atol=1e-9)
    for layer, other in zip(by_row._online.network.layers, otherwise._online.network.layers, strict=True):
        assert_array_equal(layer.slot_of, other.slot_of)
    for array, other in zip(arrays_of(by_row._online), arrays_of(otherwise._online), strict=True):
        assert_allclose(array, other, rtol=1e-9, atol=1e-9)
    for attribute in ("progressive_loss_", "progressive_accuracy_", "progressive_r2_"):
        if hasattr(otherwise, attribute):
            assert_allclose(getattr(by_row, attribute), getattr(otherwise, attribute), rtol=1e-9)


@pytest.mark.parametrize("name", ["classes", pytest.param("targets", marks=pytest.mark.thorough)])
def test_visits_the_same_contexts_in_float32(name, general):
    by_row, found = learned_by_row(*new(name, "float32"))
    general()
    otherwise, expected = learned_by_row(*new(name, "float32"))
    for layer, other in zip(by_row._online.network.layers, otherwise._online.network.layers, strict=True):
        assert_array_equal(layer.slot_of, other.slot_of)
    assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", thorough_but(CASES, "classes", "target"))
def test_is_the_way_of_rows_of_weight_1(name, monkeypatch):
    model, y = new(name)
    begun(model, y)
    calls = []
    for function in ("learn", "infer"):
        found = getattr(_single_row, function)
        monkeypatch.setattr(
            _single_row, function, lambda *args, _name=function, _found=found: calls.append(_name) or _found(*args)
        )
    row, label = X[N_BEFORE : N_BEFORE + 1], y[N_BEFORE : N_BEFORE + 1]
    model.partial_fit(row, label)
    model.partial_fit(row, label, sample_weight=[1.0])
    model.predict(row)
    assert calls == ["learn", "learn", "infer"]
    model.partial_fit(row, label, sample_weight=[2.0])
    model.partial_fit(row, label, sample_weight=[0.0])
    model.partial_fit(np.repeat(row, 2, axis=0), np.repeat(label, 2, axis=0))
    assert calls == ["learn", "learn", "infer"]


@pytest.mark.parametrize(
    "params",
    [
        {"learning_rate": "constant"},
        {"learning_rate": "constant", "batch_size": 4},
        {"base_predictor": "identity"},
        {"categorical_features": [3]},
        {"max_dense": 5},
        {"backend": "numpy"},
    ],
    ids=str,
)
def test_other_rows_are_learned_the_general_way(params, monkeypatch):
    model = GLNClassifier(layer_sizes=(4,), random_state=0, **params)
    rows = np.nan_to_num(np.clip(X, 0, 1)) if "base_predictor" in params else np.nan_to_num(X)
    rows = np.where(RNG.random(X.shape) < 0.7, 0, rows) if "max_dense" in params else rows
    model.partial_fit(rows[:N_BEFORE], Y[:N_BEFORE], classes=[0, 1, 2])
    monkeypatch.setattr(_single_row, "learn", None)
    model.partial_fit(rows[-1:], Y[-1:])
    assert model.n_samples_seen_ == N_BEFORE + 1


def test_makes_room_for_new_contexts(general):
    model, y = new("deeper")
    rooms = [begun(model, y)._online.network.layers[0].weights.shape[2]]
    for i in range(N_BEFORE, N):
        model.partial_fit(X[i : i + 1], y[i : i + 1])
        rooms.append(model._online.network.layers[0].weights.shape[2])
    assert rooms[0] < rooms[-1]
    general()
    otherwise, _ = learned_by_row(*new("deeper"))
    assert rooms[-1] == otherwise._online.network.layers[0].weights.shape[2]


def test_a_target_without_a_value_is_left_out_as_in_a_chunk():
    y = TARGETS.copy()
    y[N_BEFORE:, 1] = np.nan
    at_once, one_by_one = (begun(new("targets")[0], y) for _ in range(2))
    at_once.partial_fit(X[N_BEFORE : N_BEFORE + 9], y[N_BEFORE : N_BEFORE + 9])
    for i in range(N_BEFORE, N_BEFORE + 9):
        one_by_one.partial_fit(X[i : i + 1], y[i : i + 1])
    assert_allclose(at_once.predict(X[-9:]), one_by_one.predict(X[-9:]), rtol=1e-9)


@pytest.mark.parametrize("layout", ["F", "strided", "float32", "integers", "read-only", "list", "sparse"])
def test_takes_a_row_in_any_layout(layout):
    from scipy.sparse import csr_array

    rows = np.round(2 * np.nan_to_num(np.clip(X, -3, 3)))
    model = GLNClassifier(layer_sizes=(4,), random_state=0).partial_fit(rows[:N_BEFORE], Y[:N_BEFORE], [0, 1, 2])
    row = rows[-1:]
    expected = model.predict_proba(row)
    given = {
        "F": np.asfortranarray(rows)[-1:],
        "strided": np.repeat(rows, 2, axis=1)[-1:, ::2],
        "float32": row.astype(np.float32),
        "integers": row.astype(int),
        "read-only": np.frombuffer(row.tobytes()).reshape(row.shape),
        "list": row.tolist(),
        "sparse": csr_array(row),
    }[layout]
    assert_array_equal(model.predict_proba(given), expected)
    model.partial_fit(given, Y[-1:])
    assert model.n_samples_seen_ == N_BEFORE + 1


def test_predicts_from_files_that_are_mapped_and_learns_on(tmp_path):
    model, y = new("classes")
    begun(model, y)
    expected = model.predict_proba(X[-1:])
    joblib.dump(model, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    assert_allclose(mapped.predict_proba(X[-1:]), expected, rtol=1e-12)
    for estimator in (model, mapped):
        for i in range(N_BEFORE, N_BEFORE + 20):
            estimator.partial_fit(X[i : i + 1], y[i : i + 1])
    assert_allclose(mapped.predict_proba(X[-1:]), model.predict_proba(X[-1:]), rtol=1e-12)


def test_threads_predict_what_one_does():
    model, y = new("classes", "float32")
    begun(model, y)
    rows = [X[i : i + 1] for i in range(200)]
    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(model.predict_proba, rows))
    assert_array_equal(np.concatenate(found), np.concatenate(list(map(model.predict_proba, rows))))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (np.full((1, 6), np.inf), "infinity"),
        (np.full((1, 6), 1e33), "must lie within"),
        (np.zeros((1, 5)), "5 features"),
        (np.zeros(6), "2D array"),
        (np.zeros((1, 6), complex), "complex"),
        (np.zeros((0, 6)), "0 sample"),
    ],
)
def test_input_that_is_wrong_is_refused_as_in_a_chunk(row, message):
    model, y = new("classes")
    begun(model, y)
    with pytest.raises(ValueError, match=message):
        model.predict_proba(row)


@pytest.mark.parametrize("label", [np.array([np.nan]), np.array([np.inf]), np.array([0.5]), np.array([7])])
def test_labels_that_are_wrong_are_refused_as_in_a_chunk(label):
    model, y = new("classes")
    begun(model, y)
    with pytest.raises(ValueError, match=r"y |classes|label"):
        model.partial_fit(X[:1], label)
    assert model.n_samples_seen_ == N_BEFORE
