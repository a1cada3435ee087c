"""Classes that come later: the network is that to which all were named ahead, and the answer is of those that came."""

import copy
import datetime
import pickle
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import log_loss

from sklearn_gln import GLNClassifier, io
from sklearn_gln.inspection import (
    LayerDisplay,
    ProgressiveLossDisplay,
    global_contributions,
    local_coefficients,
    neuron_predictions,
    summary,
)
from sklearn_gln.io import fit_stream
from sklearn_gln.kernels import as_numpy
from tests.helpers import (
    BACKEND,
    INTERPRETED,
    assert_refused,
    assert_same_object,
    by_context,
    make_stream,
    thorough_but,
    with_categories,
)

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
SMALL = {"layer_sizes": (5, 4), "context_dim": 3, "dtype": "float64", "backend": BACKEND, "random_state": 0}
N_ROWS = 700 if not INTERPRETED else 300


def new(**params):
    return GLNClassifier(**{"new_classes": "add"} | SMALL | params)


def through_a_file(model):
    with TemporaryDirectory() as folder:
        io.save(model, Path(folder, "model.skops"))
        return io.load(Path(folder, "model.skops"))


COPIES = [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model)), through_a_file]


def make_arrivals(seed, n=N_ROWS, *, n_classes=5, starts=None):
    """A stream whose classes come at random places, in random order; rows of a class before its place are another's."""
    rng = np.random.default_rng(seed)
    X, y, weights = make_stream(seed, n, n_classes=n_classes)
    if starts is None:
        starts = rng.integers(n, size=n_classes)
    first = np.argmin(starts)
    y[np.arange(n) < np.asarray(starts)[y]] = first
    for label, start in enumerate(starts):
        y[start : start + 1] = label
    return X, y, weights


def cut(n, rng, n_cuts):
    return np.split(np.arange(n), np.sort(rng.integers(n, size=n_cuts)))


def learn_in_parts(model, parts, X, y, sample_weight=None, **first):
    predicted = []
    for rows in parts:
        weight = None if sample_weight is None else sample_weight[rows]
        predicted.append(model.progressive_predict_proba(X[rows], y[rows], sample_weight=weight, **first))
    return predicted


def assert_named_ahead(model, named, tolerance):
    """The networks are the same, but that one has an output for all that have not come."""
    online, expected = model._online, named._online
    assert_array_equal(as_numpy(online.network.hyperplanes), as_numpy(expected.network.hyperplanes))
    assert_array_equal(as_numpy(online.network.offsets), as_numpy(expected.network.offsets))
    come = list(map(named.classes_.tolist().index, model.classes_[model._has_come]))
    missing = np.setdiff1d(np.arange(len(named.classes_)), come)
    for layer, other in zip(online.network.layers, expected.network.layers, strict=True):
        for name in ("weights", "accumulator"):
            got, wanted = (by_context(of, getattr(of, name)) for of in (layer, other))
            if len(wanted) == 1:  # of two classes, that of the second
                assert_allclose(got[1:2], wanted, rtol=1e-12, atol=1e-12)
                continue
            assert_allclose(got[:-1], wanted[come], **tolerance)
            for number in missing:  # each is what the output that waits is
                assert_allclose(got[-1], wanted[number], **tolerance)


# The law


@pytest.mark.parametrize("n_classes", thorough_but([2, 3, 6], 2, 6))
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"half_life": 200.0},
        {"class_weight": {1: 2.0, 3: 0.5}},
        {"halfspaces": "gaussian", "aggregation": "layers"},
        {"learning_rate": "constant", "preconditioner": None, "initial_weights": "uniform"},
        {"categorical_features": [1, 3], "max_levels": 40},
        {"categorical_features": [1, 3], "halfspaces": "gaussian"},
        {"max_dense": 3, "half_life": "mixed"},
    ],
    ids=str,
)
def test_the_network_is_the_one_that_knew_all_classes(params, n_classes):
    X, y, weights = make_arrivals(n_classes, n_classes=n_classes)
    if "class_weight" in params:
        params = {
            "class_weight": {label: weight for label, weight in params["class_weight"].items() if label < n_classes}
        }
    if "categorical_features" in params:
        X = with_categories(X)
    arrivals = [np.flatnonzero((y == label) & (weights > 0))[:1] for label in range(n_classes)]
    parts = np.split(np.arange(len(X)), np.unique(np.concatenate(arrivals)))
    named = new(**params, new_classes="error")
    learn_in_parts(named, parts, X, y, weights, classes=np.arange(n_classes))
    # To rounding as always, and bit for bit where no product of matrices is cut elsewhere.
    for rows in (parts, cut(len(X), np.random.default_rng(0), 9), [np.arange(len(X))]):
        model = new(**params)
        learn_in_parts(model, rows, X, y, weights)
        assert_named_ahead(model, named, {"rtol": 0, "atol": 0} if rows is parts else TOLERANCE)


def test_the_law_holds_on_each_backend(backend, backend_name):
    starts = [300, 3, 0, 40, 270] if backend.CHUNK_SIZES is None else [270, 0, 1]  # else each arrival is compiled
    X, y, weights = make_arrivals(1, 400, n_classes=len(starts), starts=starts)
    model, named = new(backend=backend_name), new(backend=backend_name, new_classes="error")
    model.partial_fit(X, y, sample_weight=weights)
    named.partial_fit(X, y, np.arange(len(starts)), sample_weight=weights)
    assert_named_ahead(model, named, TOLERANCE)


@pytest.mark.thorough
@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), n_classes=st.integers(2, 50), half_life=st.sampled_from(["auto", None, 300.0]))
def test_the_law_holds_in_long_streams(seed, n_classes, half_life):
    rng = np.random.default_rng(seed)
    X, y, weights = make_arrivals(seed, 4200, n_classes=n_classes)
    model, named = new(half_life=half_life), new(half_life=half_life, new_classes="error")
    named.partial_fit(X, y, np.arange(n_classes), sample_weight=weights)
    for number, rows in enumerate(cut(len(X), rng, 12)):
        model.partial_fit(X[rows], y[rows], sample_weight=weights[rows])
        if number % 3 == 0:
            model = COPIES[rng.integers(len(COPIES))](model)
    assert_named_ahead(model, named, TOLERANCE)


def test_cuts_copies_files_and_names_change_nothing():
    X, y, weights = make_arrivals(2)
    whole = new(class_weight="balanced")
    expected = whole.progressive_predict_proba(X, y, sample_weight=weights)
    names = iter([[3], np.arange(5), [7], None, [1, 2]])  # some classes announced, and one that never comes
    model, predicted = new(class_weight="balanced"), []
    for rows in cut(len(X), np.random.default_rng(1), 4):
        got = model.progressive_predict_proba(X[rows], y[rows], classes=next(names), sample_weight=weights[rows])
        places = np.searchsorted(whole.classes_, np.intersect1d(model.classes_, whole.classes_))
        predicted.append(np.zeros((len(rows), len(whole.classes_))))
        predicted[-1][:, places] = got[:, np.isin(model.classes_, whole.classes_)]
        assert not got[:, model.classes_ == 7].any()
        model = through_a_file(model)
    assert_allclose(np.concatenate(predicted), expected, **TOLERANCE)
    assert_allclose(
        [model.progressive_loss_, model.progressive_accuracy_], [whole.progressive_loss_, whole.progressive_accuracy_]
    )
    assert_named_ahead(model, whole, TOLERANCE)


def test_processes_change_nothing():
    X, y, weights = make_arrivals(3, 1600, starts=[0, 1100, 1300, 5, 1301])
    model, expected = new(n_jobs=2), new()
    wanted = expected.progressive_predict_proba(X, y, sample_weight=weights)
    with parallel_config("loky"):
        got = model.progressive_predict_proba(X, y, sample_weight=weights)
    assert_allclose(got, wanted, **TOLERANCE)
    assert_named_ahead(model, expected, TOLERANCE)


# The answer


def test_before_a_second_class_the_first_is_certain_and_to_come_none_is():
    X, y, _ = make_arrivals(4, starts=[0, 300, 500, 700, 700])
    model = new()
    probabilities = model.progressive_predict_proba(X, y)
    assert_array_equal(model.classes_, [0, 1, 2])
    assert_array_equal(probabilities[0], [0, 0, 0])  # nothing is known yet
    assert_array_equal(probabilities[1:301], [[1, 0, 0]] * 300)
    assert np.all(probabilities[301:501, 2] == 0)
    assert_allclose(probabilities[1:].sum(axis=1), 1)
    assert np.all(probabilities[501:] > 0)
    one = new().partial_fit(X[:200], y[:200])
    assert_array_equal(one.predict(X), np.zeros(len(X)))
    assert_array_equal(one.predict_proba(X), np.ones((len(X), 1)))
    assert_array_equal(one.predict_log_proba(X), np.zeros((len(X), 1)))
    assert one.progressive_accuracy_ == 199 / 200


def test_the_rows_that_bring_classes_are_misses():
    X, y, _ = make_arrivals(5, 600, starts=[0, 300, 500, 600, 600])
    model = new(eps=0.01)
    probabilities = model.progressive_predict_proba(X, y)
    brings = np.array([0, 300, 500])
    losses, hits = -np.log(np.maximum(probabilities[np.arange(600), y], 1e-300)), probabilities.argmax(axis=1) == y
    losses[brings], hits[brings] = -np.log(0.01), False
    assert model.progressive_loss_ == pytest.approx(losses.mean())
    assert model.progressive_accuracy_ == pytest.approx(hits.mean())


@pytest.mark.parametrize("aggregation", ["stacked", "layers", "last_layer", "neuron"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_all_that_came_early_predict_as_if_named(aggregation, n_classes):
    X, y, _ = make_arrivals(6, n_classes=n_classes, starts=np.arange(n_classes))
    model, named = new(aggregation=aggregation), new(aggregation=aggregation, new_classes="error")
    model.partial_fit(X, y)
    named.partial_fit(X, y, np.arange(n_classes))
    far = {"atol": 0.02} if aggregation == "stacked" else TOLERANCE  # whose first rows were others
    for method in ("predict_proba", "decision_function", "staged_predict_proba"):
        got, expected = (getattr(each, method)(X) for each in (model, named))
        if method == "staged_predict_proba":
            assert_allclose(list(got), list(expected), **TOLERANCE)
        else:
            assert got.shape == expected.shape
            assert_allclose(got, expected, **(far if method == "predict_proba" else far | {"atol": 0.2}))


def test_a_third_class_leaves_the_scale_of_the_stack():
    # Two logits of opposite sign differ by twice as much as one does from 0.
    X, y, _ = make_arrivals(7, starts=[0, 1, 700, 700, 700])
    model = new().partial_fit(X[:-1], y[:-1])
    before = model.predict_proba(X)
    model.partial_fit(X[-1:], [2])
    after = model.predict_proba(X)
    assert_allclose(after[:, :2] / after[:, :2].sum(axis=1, keepdims=True), before, atol=0.05)


def test_a_class_is_learned_as_soon_as_it_comes():
    rng, angles = np.random.default_rng(0), np.arange(8) * np.pi / 4
    y = rng.integers(8, size=2000)
    y[np.arange(2000) < 200 * y] = 0
    centres = np.where(np.arange(8) > 0, [np.cos(angles), np.sin(angles)], 0).T
    X = centres[y] + np.where(y > 0, 0.1, 0.3)[:, np.newaxis] * rng.normal(size=(2000, 2))
    model = new(layer_sizes=(20, 20))
    hits = model.progressive_predict_proba(X, y).argmax(axis=1) == y
    for label in range(1, 8):
        of_class = np.flatnonzero(y == label)
        assert hits[of_class[5:40]].mean() > 0.9
    assert hits[1800:].mean() > 0.95


def test_balanced_weights_are_those_of_classes_seen():
    X, y, weights = make_arrivals(8, starts=[0, 200, 450, 0, 700])
    given, balanced = new(), new(class_weight="balanced")
    balanced.partial_fit(X, y, sample_weight=weights)
    counts, seen = np.zeros(5), weights.copy()
    for row in np.flatnonzero(weights):
        counts[y[row]] += 1
        n_classes = np.count_nonzero(counts)
        seen[row] *= min((counts.sum() + n_classes) / (n_classes * (counts[y[row]] + 1)), 10)
    given.partial_fit(X, y, sample_weight=seen)
    assert_allclose(balanced.predict_proba(X), given.predict_proba(X), **TOLERANCE)


def test_decision_function_has_an_infinite_logit_where_a_class_is_out_of_the_question():
    X, y, _ = make_arrivals(9, starts=[0, 5, 700, 700, 700])
    two, three = (new().partial_fit(X, y, classes=classes) for classes in ([0, 1], [0, 1, 2]))
    assert two.decision_function(X).shape == (len(X),)
    logits = three.decision_function(X)
    assert_allclose(logits[:, 1] - logits[:, 0], two.decision_function(X))
    assert np.all(logits[:, 2] == -np.inf)
    assert_allclose(three.predict_proba(X)[:, :2], two.predict_proba(X))
    one = new().partial_fit(X[:3], y[:3], classes=[0, 1])
    assert_array_equal(one.predict_proba(X)[:, 0], np.ones(len(X)))


# Labels


@pytest.mark.parametrize(
    ("first", "then", "classes"),
    [
        (["b", "b"], ["a", "longer"], ["a", "b", "longer"]),
        ([3, 3], [1.0, 2.0], [1, 2, 3]),
        ([True, True], [False, True], [False, True]),
        (np.array([2**63 + 2], np.uint64), np.array([-1]), [-1, 2**63 + 2]),
        (np.array(["2020-01-02"], "M8[D]"), [datetime.date(2020, 1, 1)], [datetime.date(2020, 1, d) for d in (1, 2)]),
        (np.array(["x"], object), np.array(["y"]), ["x", "y"]),
    ],
    ids=str,
)
def test_labels_of_one_kind_come_in_any_form(first, then, classes):
    rows = np.arange(6.0).reshape(3, 2)
    model = new().partial_fit(rows[: len(first)], first).partial_fit(rows[: len(then)], then)
    assert model.classes_.tolist() == classes
    assert set(model.predict(rows).tolist()) <= set(classes)


def test_labels_of_another_kind_are_refused():
    X, y, _ = make_arrivals(10)
    model = new().partial_fit(X, y)
    assert_refused(model, lambda each: each.partial_fit(X[:1], ["a"]), ValueError, "mixes labels|do not compare")
    assert_refused(model, lambda each: each.partial_fit(X[:1], [1.5]), ValueError, "Unknown label type")


def test_a_call_that_raises_brings_no_class(monkeypatch):
    X, y, _ = make_arrivals(11, starts=[0, 1, 2, 700, 700])
    model = new().partial_fit(X, y)
    bad = np.where(np.arange(len(X)) == 5, np.inf, np.nan_to_num(X[:, 0]))[:, np.newaxis] + np.nan_to_num(X)
    assert_refused(model, lambda each: each.partial_fit(bad, y + 10), ValueError, "infinity")
    monkeypatch.setattr("sklearn_gln._base.installed_memory", lambda: 1000)
    assert_refused(model, lambda each: each.partial_fit(X, y + 10), MemoryError, "outputs")
    model.partial_fit(X, y)


def test_rows_without_weight_bring_no_class():
    X, y, _ = make_arrivals(12)
    weights = np.where(y == 3, 0.0, 1.0)
    model = new()
    model.partial_fit(X, y, sample_weight=weights)
    assert 3 not in model.classes_
    without = new().partial_fit(X[y != 3], y[y != 3])
    assert_allclose(model.predict_proba(X), without.predict_proba(X), **TOLERANCE)
    weightless = new(class_weight={3: 0.0}).partial_fit(X, y)
    assert_allclose(weightless.predict_proba(X)[:, weightless.classes_ != 3], without.predict_proba(X), **TOLERANCE)


def test_no_rows_bring_no_class():
    X, y, _ = make_arrivals(13)
    model = new().partial_fit(X[:0], y[:0])
    assert model.classes_.size == 0
    assert model.predict_proba(X).shape == (len(X), 0)
    with pytest.raises(ValueError, match="No class has come yet"):
        model.predict(X)
    assert model.progressive_predict_proba(X, y, sample_weight=np.zeros(len(X))).shape == (len(X), 0)
    assert_array_equal(model.partial_fit(X, y).predict_proba(X), new().partial_fit(X, y).predict_proba(X))


def test_unchecked_rows_bring_classes_too():
    X, y, _ = make_arrivals(14)
    checked, unchecked = new().partial_fit(X[:1], y[:1]), new().partial_fit(X[:1], y[:1])
    for row in range(1, 60):
        checked.partial_fit(X[row : row + 1], y[row : row + 1])
        unchecked.partial_fit(X[row : row + 1], y[row : row + 1], check_input=False)
    assert_same_object(unchecked, checked)


@pytest.mark.parametrize(
    ("params", "y", "message"),
    [
        ({"share_halfspaces": False}, [0, 1], "exclude each other"),
        ({}, [[0, 1], [1, 0]], "matrix of labels"),
        ({"new_classes": "ignore"}, [0, 1], "new_classes"),
    ],
)
@pytest.mark.parametrize("learn", ["fit", "partial_fit"])
def test_what_new_classes_do_not_go_with_is_refused(learn, params, y, message):
    assert_refused(new(**params), lambda model: getattr(model, learn)(np.eye(2), y), ValueError, message)


def test_the_default_says_what_to_do():
    X, y, _ = make_arrivals(15)
    with pytest.raises(ValueError, match="new_classes='add'"):
        new(new_classes="error").partial_fit(X, y)
    model = new(new_classes="error").partial_fit(X, y % 2, classes=[0, 1])
    assert_refused(model, lambda each: each.partial_fit(X, y + 5), ValueError, "new_classes='add'")


# fit


def test_a_stream_goes_on_from_a_fit_with_new_classes():
    X, y, _ = make_arrivals(16, starts=[0, 0, 0, 400, 500])
    model = new().fit(X[:400], y[:400])
    assert_allclose(
        model.predict_proba(X), new(new_classes="error").fit(X[:400], y[:400]).predict_proba(X), **TOLERANCE
    )
    model.partial_fit(X[400:], y[400:])
    assert_array_equal(model.classes_, np.unique(y))
    assert model.score(X[500:], y[500:]) > 0.6


@pytest.mark.parametrize("early_stopping", [False, True])
def test_warm_starts_bring_classes(early_stopping):
    X, y, _ = make_arrivals(17, starts=[0, 0, 0, 400, 400])
    model = new(warm_start=True, early_stopping=early_stopping).fit(X[:400], y[:400]).fit(X, y)
    assert_array_equal(model.classes_, np.unique(y))
    assert model.score(X, y) > 0.6
    assert log_loss(y, model.predict_proba(X)) < 1.2


def test_a_fit_of_one_class_is_a_beginning():
    X, y, _ = make_arrivals(18, starts=[0, 200, 700, 700, 700])
    model = new().fit(X[:200], y[:200])
    assert model.loss_curve_[-1] == 0
    assert_array_equal(model.predict(X), np.zeros(len(X)))
    assert model.partial_fit(X[200:], y[200:]).score(X[200:], y[200:]) > 0.7


# All that takes an estimator


def test_it_is_inspected_as_one_that_knew_all_classes():
    X, y, _ = make_arrivals(19, n_classes=3, starts=[0, 1, 200])
    for n, label in ((150, [1]), (len(X), [0, 1, 2])):
        model = new().partial_fit(X[:n], y[:n])
        local = local_coefficients(model, X)
        logits = local.intercept + local.contributions.sum(axis=2)
        assert_allclose(logits, model.decision_function(X).reshape(len(X), -1), atol=1e-9)
        assert [layer.shape[1] for layer in neuron_predictions(model, X)] == [len(label)] * 2
        assert summary(model, X).neurons["output"].max() + 1 == len(label)
        assert np.atleast_2d(global_contributions(model)).shape == (len(label), X.shape[1])
    pytest.importorskip("matplotlib").use("Agg")
    assert LayerDisplay.from_estimator(model, X, y).scores[-1].accuracy > 0.6
    progress = ProgressiveLossDisplay.from_estimator(new(), X, y)
    assert progress.losses.mean() == pytest.approx(model.progressive_loss_)
    with pytest.raises(ValueError, match="nothing to tell apart"):
        local_coefficients(new().partial_fit(X[:5], [0] * 5), X)


def test_onnx_graphs_are_of_the_classes_that_came():
    pytest.importorskip("skl2onnx")
    runtime = pytest.importorskip("onnxruntime")
    from sklearn_gln.onnx import to_onnx

    X, y, _ = make_arrivals(20, n_classes=3, starts=[0, 1, 200])
    for n in (150, len(X)):
        model = new().partial_fit(X[:n], y[:n])
        session = runtime.InferenceSession(to_onnx(model, X[:1]).SerializeToString())
        label, probabilities = session.run(None, {session.get_inputs()[0].name: X})
        assert_array_equal(label, model.predict(X))
        assert_allclose(probabilities, model.predict_proba(X), atol=1e-6)
    with pytest.raises(ValueError, match="announced and have not come"):
        to_onnx(model.partial_fit(X[:0], y[:0], classes=[9]), X[:1])


def test_streams_need_no_classes(tmp_path):
    X, y, _ = make_arrivals(21)
    chunks = [(X[rows], y[rows]) for rows in np.split(np.arange(len(X)), 7)]
    model = fit_stream(new(), chunks, checkpoint=tmp_path / "model.skops")
    assert_allclose(model.predict_proba(X), new().partial_fit(X, y).predict_proba(X), **TOLERANCE)


def test_river_gets_labels_that_it_did_not_name():
    compat = pytest.importorskip("river.compat")
    X, y, _ = make_arrivals(22, 60, starts=[0, 0, 20, 40, 50])
    model, expected = compat.convert_sklearn_to_river(new(), classes=[0, 1]), new()
    for row, label in zip(X, y.tolist(), strict=True):
        x = dict(enumerate(row))
        model.learn_one(x, label)
        expected.partial_fit([row], [label], classes=[0, 1])
        model.classes = model.estimator.classes_.tolist()  # which river's wrapper reads the columns by
        assert_allclose(list(model.predict_proba_one(x).values()), expected.predict_proba([row])[0], **TOLERANCE)
    assert model.predict_one(x) in range(5)


def test_memory_counts_the_output_that_waits():
    few, many = new(), new(new_classes="error")
    assert few.estimate_memory(10, n_classes=4) == many.estimate_memory(10, n_classes=5)
    assert few.estimate_memory(10, n_classes=2) == many.estimate_memory(10, n_classes=3)


def test_class_weights_wait_for_their_classes():
    X, y, _ = make_arrivals(23)
    names = np.array(["e", "d", "c", "b", "a"], object)[y]
    model = new(class_weight={"a": 2.0, "never": 5.0}).partial_fit(X[:0], names[:0]).partial_fit(X, names)
    expected = new().partial_fit(X, names, sample_weight=np.where(names == "a", 2.0, 1.0))
    assert_allclose(model.predict_proba(X), expected.predict_proba(X), **TOLERANCE)
