"""What inspection says of sparse rows: narrow ones as of dense rows; of wide ones contributions that are sparse."""

import io
import tracemalloc
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.feature_selection import SelectFromModel

from sklearn_gln import GLNClassifier, GLNRegressor, _network, _online
from sklearn_gln._evidence import LIMIT
from sklearn_gln.inspection import (
    HalfspaceDisplay,
    ImportanceDisplay,
    LayerDisplay,
    ProgressiveLossDisplay,
    SaliencyDisplay,
    global_contributions,
    local_coefficients,
    neuron_predictions,
    summary,
)
from sklearn_gln.kernels import get_kernels
from tests.helpers import spare_compilers, thorough_but

EXACT = {"rtol": 1e-9, "atol": 1e-9}
SMALL = {"layer_sizes": (6, 5), "context_dim": 3, "dtype": "float64", "random_state": 0}
N_ROWS, N_FEATURES = 500, 60
WIDE, NARROW = {"max_dense": N_FEATURES - 1}, {"max_dense": N_FEATURES}
NEW, FAR = 7, 3  # features: one that no row has that is learned, one of large numbers


def make_rows(n_rows, seed=0):
    """Rows of a few numbers each, some of them missing; classes and targets."""
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(n_rows, N_FEATURES)) * (rng.random((n_rows, N_FEATURES)) < 0.1)
    dense[:, NEW] = 0
    target = dense[:, :3] @ [2.0, -1.0, 1.0] + 0.3 * (dense > 0).sum(axis=1)
    dense[:, FAR] *= 1000
    rows = csr_array(dense)
    rows.data[rng.random(rows.nnz) < 0.02] = np.nan
    return rows, np.digitize(target, [0.3, 1.2]), np.stack([target, 3 - 2 * target + rng.normal(size=n_rows)], axis=1)


X, CLASSES, TARGETS = make_rows(N_ROWS)
EMPTY = 11  # a row


def make_others():
    """Rows that were not learned."""
    rows = make_rows(40, seed=1)[0].toarray()
    rows[:5, NEW], rows[:3, FAR], rows[EMPTY] = 2.0, 50_000.0, 0
    return csr_array(rows)


OTHERS = make_others()
KINDS = {
    "two classes": (GLNClassifier, CLASSES > 0, {}),
    "three classes": (GLNClassifier, CLASSES, {}),
    "labels": (GLNClassifier, np.stack([CLASSES > 0, CLASSES > 1], axis=1).astype(int), {}),
    "halfspaces of each output": (GLNClassifier, CLASSES, {"share_halfspaces": False}),
    "no bias": (GLNClassifier, CLASSES, {"bias": False}),
    "clipped": (GLNClassifier, CLASSES, {"eps": 0.1}),
    "no layers": (GLNClassifier, CLASSES, {"layer_sizes": ()}),
    "squared": (GLNRegressor, TARGETS, {}),
    "one target": (GLNRegressor, TARGETS[:, 0], {}),
    "gaussian": (GLNRegressor, TARGETS, {"likelihood": "gaussian"}),
}


def learned(kind, rows=X, **params):
    """An estimator that has learned a stream, so that there are two memories."""
    make, y, given = KINDS[kind]
    options = {} if make is GLNRegressor else {"classes": [0, 1] if y.ndim == 2 else np.unique(y)}
    return make(**SMALL | WIDE | given | params).partial_fit(rows, y, **options)


def outputs_of(estimator, rows):
    """(n, n_outputs)"""
    given = estimator.predict(rows) if isinstance(estimator, GLNRegressor) else estimator.decision_function(rows)
    return given.reshape(rows.shape[0], -1)


def dense(contributions):
    """(n, n_outputs, n_features)"""
    return np.stack([of_output.toarray() for of_output in contributions], axis=1)


def assert_sums(estimator, rows, **tolerance):
    local, expected = local_coefficients(estimator, rows), outputs_of(estimator, rows)
    scale = np.abs(expected).max(axis=0)
    for contributions in (local.contributions, dense(local.feature_contributions)):
        assert_allclose((local.intercept + contributions.sum(axis=2)) / scale, expected / scale, **tolerance)
    return local


# Wide rows


@pytest.mark.parametrize(
    ("kind", "skip"),
    thorough_but(
        [(kind, skip) for kind in KINDS for skip in (True, False)],
        *((kind, True) for kind in ("two classes", "three classes", "no bias", "clipped", "squared", "gaussian")),
        ("three classes", False),
    ),
)
def test_contributions_sum_to_the_output(kind, skip):
    estimator = learned(kind, skip=skip)
    local = assert_sums(estimator, OTHERS, **EXACT)
    n_outputs, n_models = local.intercept.shape[1], estimator._online.settings.n_predictions
    assert local.coefficients.shape == local.base_logits.shape == (40, n_outputs, n_models)
    assert local.slopes is None
    assert len(local.feature_contributions) == n_outputs
    for contributions in local.feature_contributions:
        assert isinstance(contributions, csr_array)
        assert contributions.shape == OTHERS.shape
        assert contributions.has_sorted_indices
        assert (contributions.data != 0).all()
        assert not (contributions.astype(bool) > OTHERS.astype(bool)).nnz
        assert np.abs(contributions).max() > 0.01
    assert len({id(each.indices) for each in local.feature_contributions}) == n_outputs  # to be changed in place


@pytest.mark.parametrize("kind", thorough_but(["three classes", "squared", "gaussian"], "three classes"))
def test_in_single_precision(kind):
    assert_sums(learned(kind, dtype="float32"), OTHERS, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["three classes", "squared"])
def test_features_share_a_shift_by_weight_times_value(kind):
    estimator = learned(kind)
    local, wide = local_coefficients(estimator, OTHERS), estimator._online.wide
    parts = np.zeros((*OTHERS.shape, *local.base_logits.shape[1:]))
    n_bounded = 0
    for row, feature in np.ndindex(OTHERS.shape):
        slot, value = wide.slot_of[feature], OTHERS[row, feature]
        if slot and np.isfinite(value):
            bound = 8 * np.sqrt(wide.squares[slot] / wide.counts[slot])
            n_bounded += abs(value) > bound
            parts[row, feature] = wide.weights[slot] * np.clip(value, -bound, bound)
    assert n_bounded
    shares = parts / np.where(parts.any(axis=1), parts.sum(axis=1), 1)[:, np.newaxis]
    expected = (shares * (local.coefficients * local.base_logits)[:, np.newaxis]).sum(axis=3)
    assert_allclose(dense(local.feature_contributions), expected.swapaxes(1, 2), rtol=1e-7, atol=1e-9)
    assert not expected[:, NEW].any()


@pytest.mark.parametrize("kind", ["three classes", "squared", "gaussian"])
def test_coefficients_are_finite_differences_in_shifts(kind):
    estimator = learned(kind)
    local, online, kernels, step = local_coefficients(estimator, OTHERS), estimator._online, get_kernels("numpy"), 1e-5
    (_, inputs, before) = next(online.forward(estimator._check_X(OTHERS), kernels))
    for model in range(online.settings.n_predictions):
        evidence = inputs.evidence.copy()
        evidence[:, :, model] += step
        after = _network.infer(online.network, kernels, inputs._replace(evidence=evidence), online.settings)
        first, second = (online.head.predict(online.head.gather(each, kernels)) for each in (before, after))
        differences = ((second - first) / step).reshape(40, -1, *first.shape[2:])
        differences = differences[..., 0] if differences.ndim == 3 else differences
        held = np.abs(local.base_logits[:, :, model]) < LIMIT
        expected = local.coefficients[:, :, model]
        assert_allclose(differences[held], expected[held], atol=1e-5 * np.abs(expected).max())


def test_features_share_what_is_clipped():
    estimator = learned("two classes", eps=1e-9)  # no neuron is clipped
    wide = estimator._online.wide
    towards = 1000 * np.sign(wide.weights[wide.slot_of, 0, 0])  # all features say the same
    local = assert_sums(estimator, csr_array([towards, OTHERS[[EMPTY]].toarray()[0]]), **EXACT)
    is_at_limit = local.base_logits[:, 0] == LIMIT
    assert is_at_limit[0].any()
    assert local.coefficients[:, 0][is_at_limit].any()
    assert np.count_nonzero(local.feature_contributions[0].toarray()[0]) == np.count_nonzero(wide.slot_of)
    assert not local.is_clipped.any()


def test_rows_without_a_known_feature_have_no_contributions():
    estimator = learned("three classes")
    rows = csr_array((2, N_FEATURES)).tolil()
    rows[1, NEW] = 1.0
    local = assert_sums(estimator, csr_array(rows), **EXACT)
    assert [contributions.nnz for contributions in local.feature_contributions] == [0] * 3
    assert_array_equal(local.contributions, 0)


def test_classes_that_come():
    estimator = GLNClassifier(**SMALL, **WIDE, new_classes="add").partial_fit(X, CLASSES)
    assert len(assert_sums(estimator, OTHERS, **EXACT).feature_contributions) == 3


@pytest.mark.parametrize("kind", thorough_but(["three classes", "squared", "gaussian"], "three classes"))
def test_every_backend(backend, backend_name, kind):
    spare_compilers(backend, kind == "three classes")
    assert_sums(learned(kind, backend=backend_name), OTHERS, **EXACT)


def test_the_container_does_not_matter():
    estimator, rows = learned("three classes"), OTHERS.toarray()
    local, of_dense = (local_coefficients(estimator, each) for each in (OTHERS, rows))
    assert_array_equal(dense(of_dense.feature_contributions), dense(local.feature_contributions))
    assert_array_equal(of_dense.intercept, local.intercept)
    assert_array_equal(global_contributions(estimator, rows), global_contributions(estimator, OTHERS))
    at_once = [dense(local.feature_contributions), local.intercept, local.coefficients, local.is_clipped]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_online, "MAX_CHUNK", 7)
        local = local_coefficients(estimator, OTHERS)
    in_parts = [dense(local.feature_contributions), local.intercept, local.coefficients, local.is_clipped]
    for part, whole in zip(in_parts, at_once, strict=True):
        assert_allclose(part, whole, **EXACT)


def test_wide_rows_have_no_coefficients():
    local = local_coefficients(learned("three classes"), OTHERS)
    with pytest.raises(ValueError, match=r"Rows of 60 features are wide.*feature_contributions"):
        _ = local.feature_coefficients


def test_neurons_contexts_and_layers(pyplot):
    estimator = learned("three classes")
    predictions = neuron_predictions(estimator, OTHERS)
    assert [of_layer.shape for of_layer in predictions] == [(40, 3, 6), (40, 3, 5)]
    assert_array_equal(predictions[1], neuron_predictions(estimator, OTHERS.toarray())[1])
    counted = summary(estimator, OTHERS).neurons
    assert_array_equal(counted["n_inputs"][[0, -1]], [4 * 2 + 1, 4 * 2 + 1 + 6])
    assert (counted["n_occupied"] > 1).any()
    scores = LayerDisplay.from_estimator(estimator, X, CLASSES).scores
    assert scores[-1].accuracy == estimator.score(X, CLASSES)
    display = ProgressiveLossDisplay.from_estimator(estimator, X, CLASSES)
    assert_allclose(display.losses.mean(), estimator.progressive_loss_)


# Importances of wide rows


@pytest.mark.parametrize(
    ("kind", "shape"),
    thorough_but(
        [("two classes", (60,)), ("three classes", (3, 60)), ("squared", (2, 60))],
        ("two classes", (60,)),
        ("squared", (2, 60)),
    ),
)
def test_importances(kind, shape):
    estimator, weights = learned(kind), np.random.default_rng(0).integers(0, 3, 40)
    importances = global_contributions(estimator, OTHERS, sample_weight=weights)
    contributions = np.repeat(dense(local_coefficients(estimator, OTHERS).feature_contributions), weights, axis=0)
    assert importances.shape == shape
    assert_allclose(np.atleast_2d(importances), np.abs(contributions).mean(axis=0), **EXACT)
    assert_allclose(global_contributions(estimator, OTHERS), global_contributions(estimator, OTHERS.toarray()))
    with pytest.raises(ValueError, match=r"X is None.*wide \(of 60 features\); pass rows as X"):
        global_contributions(estimator)


def test_selection():
    estimator = GLNClassifier(**SMALL, **WIDE)
    selector = SelectFromModel(
        estimator, importance_getter=partial(global_contributions, X=X), max_features=5, threshold=-np.inf
    ).fit(X, CLASSES)
    importances = global_contributions(selector.estimator_, X).sum(axis=0)
    assert_array_equal(np.flatnonzero(selector.get_support()), np.sort(np.argsort(-importances)[:5]))
    assert selector.transform(OTHERS).shape == (40, 5)


# Narrow rows


@pytest.mark.parametrize("kind", thorough_but(["three classes", "squared"], "three classes"))
def test_narrow_rows_are_dense_ones(kind, pyplot):
    estimator, rows = learned(kind, **NARROW), OTHERS.toarray()
    of_sparse, of_dense = (local_coefficients(estimator, each) for each in (OTHERS, rows))
    for name in ("coefficients", "intercept", "base_logits", "slopes", "feature_contributions", "feature_coefficients"):
        assert_array_equal(getattr(of_sparse, name), getattr(of_dense, name))
    assert of_sparse.feature_contributions.shape == (40, *outputs_of(estimator, rows).shape[1:], N_FEATURES)
    assert_array_equal(global_contributions(estimator, OTHERS), global_contributions(estimator, rows))
    assert_array_equal(neuron_predictions(estimator, OTHERS)[0], neuron_predictions(estimator, rows)[0])
    assert str(summary(estimator, OTHERS)) == str(summary(estimator, rows))
    assert_array_equal(
        global_contributions(learned(kind, **NARROW)), global_contributions(learned(kind, X.toarray(), **NARROW))
    )
    for image_shape in (None, (6, 10)):
        shown = [
            SaliencyDisplay.from_estimator(estimator, each[:1], image_shape=image_shape) for each in (OTHERS, rows)
        ]
        assert_array_equal(shown[0].contributions, shown[1].contributions)
        assert_array_equal(shown[0].X, shown[1].X)
        assert shown[0].feature_names == shown[1].feature_names
    shown = [ImportanceDisplay.from_estimator(estimator, each) for each in (OTHERS, rows)]
    assert_array_equal(shown[0].importances, shown[1].importances)


def test_halfspaces_of_two_features(pyplot):
    rows = csr_array(np.nan_to_num(X[:, :2].toarray()))
    estimator = GLNClassifier(**SMALL).fit(rows, CLASSES)
    of_sparse, of_dense = (
        HalfspaceDisplay.from_estimator(estimator, each, grid_resolution=5) for each in (rows, rows.toarray())
    )
    assert_array_equal(of_sparse.contexts, of_dense.contexts)
    with pytest.raises(ValueError, match="2 features"):
        HalfspaceDisplay.from_estimator(estimator, X)
    wide = GLNClassifier(**SMALL, max_dense=1).fit(rows, CLASSES)
    with pytest.raises(ValueError, match="fitted with max_dense=1.*max_dense=2"):
        HalfspaceDisplay.from_estimator(wide, rows)


# Displays of wide rows


@pytest.fixture
def pyplot():
    module = pytest.importorskip("matplotlib.pyplot")
    with module.rc_context({"backend": "agg"}):
        yield module
    module.close("all")


def shown(display):
    """The texts of a display, once it is drawn."""
    display.figure_.savefig(io.BytesIO())
    return {text.get_text() for text in display.figure_.findobj(pytest.importorskip("matplotlib.text").Text)}


def test_bars_are_of_features_that_contribute(pyplot):
    estimator = learned("three classes")
    row = OTHERS[[0]]
    contributions = dense(local_coefficients(estimator, row).feature_contributions)[0]
    present = np.flatnonzero(contributions.any(axis=0))
    assert NEW in row.indices
    assert set(present) == set(row.indices[np.isfinite(row.data)]) - {NEW}
    display = SaliencyDisplay.from_estimator(estimator, row, outputs=[0, 2], n_features=3)
    assert_array_equal(display.contributions[0], contributions[[0, 2]][:, present])
    assert display.feature_names == [f"x{feature}" for feature in present]
    largest = present[np.argmax(np.abs(contributions[[0, 2]][:, present]).max(axis=0))]
    names, heights = display.bars(3)
    assert names[0] == f"x{largest} = {row[0, largest]:.4g}"
    assert names[-2:] == [f"{len(present) - 3} others", "intercept"]
    assert_allclose(heights.sum(axis=1), estimator.decision_function(row)[0, [0, 2]], **EXACT)
    assert set(names) <= shown(display)
    without = SaliencyDisplay.from_estimator(estimator, OTHERS[[EMPTY]])
    assert without.bars()[0] == ["intercept"]


def test_bars_of_importances(pyplot):
    estimator = learned("three classes")
    importances = global_contributions(estimator, OTHERS)
    display = ImportanceDisplay.from_estimator(estimator, OTHERS, n_features=4)
    present = np.flatnonzero(importances.any(axis=0))
    assert NEW not in present
    assert_array_equal(display.importances, importances[:, present])
    assert f"x{np.argmax(importances.sum(axis=0))}" in shown(display)
    assert display.bars(4)[0][-1] == f"sum of {len(present) - 4} others"


def test_images(pyplot):
    estimator = learned("three classes")
    display = SaliencyDisplay.from_estimator(estimator, OTHERS[:2], image_shape=(6, 10))
    assert_array_equal(display.contributions, dense(local_coefficients(estimator, OTHERS[:2]).feature_contributions))
    assert_array_equal(display.X, np.nan_to_num(OTHERS[:2].toarray()))
    shown(display)
    with pytest.raises(ValueError, match=r"image_shape=\(5, 10\) does not hold the 60 features"):
        SaliencyDisplay.from_estimator(estimator, OTHERS[:2], image_shape=(5, 10))
    with pytest.raises(ValueError, match="X has 2 rows"):
        SaliencyDisplay.from_estimator(estimator, OTHERS[:2])


def test_names_of_columns(pyplot):
    pandas = pytest.importorskip("pandas")
    rows = csr_array(np.nan_to_num(X.toarray()))
    frame = pandas.DataFrame.sparse.from_spmatrix(rows, columns=[f"word {number}" for number in range(N_FEATURES)])
    estimator = GLNClassifier(**SMALL, **WIDE, max_iter=1).fit(frame, CLASSES)
    assert_array_equal(global_contributions(estimator, frame), global_contributions(learned_as(estimator, rows), rows))
    name = SaliencyDisplay.from_estimator(estimator, frame[:1]).bars(1)[0][0]
    number = int(name.split()[1])
    assert name == f"word {number} = {rows[0, number]:.4g}"
    assert ImportanceDisplay.from_estimator(estimator, frame).feature_names[0].startswith("word ")


def learned_as(estimator, rows):
    return GLNClassifier(**estimator.get_params()).fit(rows, CLASSES)


# Memory


def test_a_million_columns(pyplot):
    n_rows, n_features, rng = 50, 2**20, np.random.default_rng(0)
    places = np.sort(rng.integers(0, n_features, (n_rows, 20)), axis=1)
    rows = csr_array(
        (rng.normal(size=places.size), places.ravel(), np.arange(0, places.size + 1, 20)), (n_rows, n_features)
    )
    estimator = GLNClassifier(**SMALL).partial_fit(rows, np.arange(n_rows) % 3, classes=[0, 1, 2])
    tracemalloc.start()
    try:
        local = assert_sparse_sums(estimator, rows)
        global_contributions(estimator, rows)
        ImportanceDisplay.from_estimator(estimator, rows)
        SaliencyDisplay.from_estimator(estimator, rows[[0]])
        neuron_predictions(estimator, rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100e6
    assert [contributions.nnz for contributions in local.feature_contributions] == [n_rows * 20] * 3


def assert_sparse_sums(estimator, rows):
    local = local_coefficients(estimator, rows)
    sums = np.stack([contributions.sum(axis=1) for contributions in local.feature_contributions], axis=1)
    assert_allclose(local.intercept + sums, estimator.decision_function(rows), **EXACT)
    return local
