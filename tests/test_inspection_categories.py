"""What inspection says of estimators with categories: sums, a level's share, displays."""

import io

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_gln import GLNClassifier, GLNRegressor
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
from tests.helpers import spare_compilers

EXACT = {"rtol": 1e-9, "atol": 1e-9}
SMALL = {"layer_sizes": (6, 5), "context_dim": 3, "dtype": "float64", "random_state": 0}
FEW, MANY = 1, 3  # features that are categories, with indicators and without
CATEGORIES = [FEW, MANY]


def make_table(n_rows):
    """Rows of numbers, some missing, in which two features are categories; classes and targets."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n_rows, 4))
    rows[:, FEW], rows[:, MANY] = rng.integers(0, 4, n_rows), rng.integers(0, 60, n_rows)
    effects = rng.normal(size=60)[rows[:, MANY].astype(int)]
    target = rows[:, 0] + np.where(rows[:, FEW] > 1, 1, -1) * rows[:, 2] + 2 * effects
    rows[rng.random(rows.shape) < 0.05] = np.nan
    return rows, np.digitize(target, [-1, 1]), np.stack([target, 3 - 2 * target + rng.normal(size=n_rows)], axis=1)


X, CLASSES, TARGETS = make_table(500)
KINDS = {
    "two classes": (GLNClassifier, CLASSES > 0, {}),
    "three classes": (GLNClassifier, CLASSES, {}),
    "no basis": (GLNClassifier, CLASSES, {"n_bins": 0}),
    "minmax": (GLNClassifier, CLASSES, {"base_predictor": "minmax"}),
    "halfspaces of each output": (GLNClassifier, CLASSES, {"share_halfspaces": False}),
    "squared": (GLNRegressor, TARGETS, {}),
    "one target": (GLNRegressor, TARGETS[:, 0], {}),
    "gaussian": (GLNRegressor, TARGETS, {"likelihood": "gaussian"}),
}


def learned(kind, **params):
    """An estimator that has learned a stream, so that there are two memories."""
    make, y, given = KINDS[kind]
    estimator = make(**SMALL | given | params, categorical_features=CATEGORIES)
    return estimator.partial_fit(X, y, **({"classes": np.unique(y)} if make is GLNClassifier else {}))


def outputs_of(estimator, rows):
    """(n, n_outputs)"""
    given = estimator.predict(rows) if isinstance(estimator, GLNRegressor) else estimator.decision_function(rows)
    return given.reshape(len(rows), -1)


def assert_sums(estimator, rows):
    local, expected = local_coefficients(estimator, rows), outputs_of(estimator, rows)
    for contributions in (local.contributions, local.feature_contributions):
        assert_allclose(local.intercept + contributions.sum(axis=2), expected, **EXACT)
    assert local.feature_contributions.shape == (*expected.shape, rows.shape[1])
    return local


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_contributions_sum_to_the_output(kind, skip):
    local = assert_sums(learned(kind, skip=skip), X)
    assert local.base_logits.shape == local.coefficients.shape
    assert np.abs(local.feature_contributions[:, :, CATEGORIES]).max() > 0.1


@pytest.mark.parametrize("likelihood", ["bernoulli", "squared", "gaussian"])
def test_every_backend(backend, backend_name, likelihood):
    spare_compilers(backend, False)  # levels are NumPy's everywhere, and test_inspection.py has the rest
    kind = {"bernoulli": "three classes"}.get(likelihood, likelihood)
    assert_sums(learned(kind, backend=backend_name), X[:50])


def test_classes_that_come():
    estimator = GLNClassifier(**SMALL, categorical_features=CATEGORIES, new_classes="add").partial_fit(X, CLASSES)
    assert assert_sums(estimator, X).coefficients.shape[1] == 3


def test_a_category_contributes_by_its_level_compared_to_a_new_one():
    estimator = learned("two classes", context_dim=0)  # else levels choose the contexts of other features
    rows = np.repeat(X[:1], 4, axis=0)
    rows[:, MANY] = [5, 7, 5, -1]  # the last has never come
    local = assert_sums(estimator, rows)
    contributions = local.feature_contributions[:, 0]
    assert contributions[0, MANY] == contributions[2, MANY] != contributions[1, MANY]
    assert contributions[3, MANY] == 0
    outputs = outputs_of(estimator, rows)[:, 0]
    assert_allclose(contributions[:, MANY], outputs - outputs[3], **EXACT)
    others = np.delete(contributions, MANY, axis=1)
    assert_array_equal(others, np.broadcast_to(others[:1], others.shape))


@pytest.mark.parametrize("kind", ["three classes", "squared"])
def test_slopes_are_those_of_numbers(kind):
    local = local_coefficients(learned(kind), X)
    assert local.slopes.shape == local.base_logits.shape[::2]
    coefficients = local.feature_coefficients
    assert not coefficients[:, :, CATEGORIES].any()
    assert np.abs(coefficients[:, :, [0, 2]]).max() > 0


def test_neurons_and_contexts():
    estimator = learned("three classes")
    predictions = neuron_predictions(estimator, X)
    assert [of_layer.shape for of_layer in predictions] == [(len(X), 3, 6), (len(X), 3, 5)]
    counted = summary(estimator, X).neurons
    assert_array_equal(counted["n_inputs"], [w.shape[3] for w in weights_by_neuron(estimator)])
    assert (counted["n_occupied"] > 1).any()


def weights_by_neuron(estimator):
    layers = estimator._online.network.layers
    return [layer.weights for layer in layers for _ in range(layer.weights.shape[0] * layer.weights.shape[1])]


def test_importances_of_categories():
    estimator = learned("squared")
    importances = global_contributions(estimator, X)
    local = local_coefficients(estimator, X)
    centred = local.coefficients * (local.base_logits - local.base_logits.mean(axis=0))
    expected = np.abs(centred[:, :, local._features == MANY].sum(axis=2)).mean(axis=0)
    assert_allclose(importances[:, MANY], expected, **EXACT)
    with pytest.raises(ValueError, match=r"X is None.*categories \(\['x1', 'x3'\]\)"):
        global_contributions(estimator)


# Displays


@pytest.fixture
def pyplot():
    module = pytest.importorskip("matplotlib.pyplot")
    with module.rc_context({"backend": "agg"}):
        yield module
    module.close("all")


@pytest.fixture
def frame():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"size": np.nan_to_num(X[:, 0]), "city": np.array(list("abcd"))[np.isnan(X).sum(axis=1)]})
    frame["id"] = pandas.Categorical(1_000_000 + np.nan_to_num(X[:, MANY]).astype(int))
    frame.loc[0, "city"] = None
    return frame


def shown(display):
    """The texts of a display, once it is drawn."""
    display.figure_.savefig(io.BytesIO())
    return {text.get_text() for text in display.figure_.findobj(pytest.importorskip("matplotlib.text").Text)}


def test_displays_name_levels_as_they_are(pyplot, frame):
    estimator = GLNClassifier(**SMALL, max_iter=1).fit(frame, CLASSES)
    id_ = frame["id"].iloc[0]
    assert {"city = missing", f"id = {id_}"} <= shown(SaliencyDisplay.from_estimator(estimator, frame[:1]))
    assert f"city = {frame['city'].iloc[1]}" in shown(SaliencyDisplay.from_estimator(estimator, frame[1:2]))
    assert set(frame.columns) <= shown(ImportanceDisplay.from_estimator(estimator, frame))
    shown(LayerDisplay.from_estimator(estimator, frame, CLASSES))
    shown(ProgressiveLossDisplay.from_estimator(estimator, frame, CLASSES))


def test_categories_are_no_pixels_and_no_axes(pyplot, frame):
    frame = frame[["size", "city"]]
    estimator = GLNClassifier(**SMALL, max_iter=1).fit(frame, CLASSES)
    with pytest.raises(ValueError, match=r"image_shape=\(1, 2\).*\['city'\] are categories"):
        SaliencyDisplay.from_estimator(estimator, frame[:1], image_shape=(1, 2))
    with pytest.raises(ValueError, match=r"\['city'\]"):
        HalfspaceDisplay.from_estimator(estimator, frame)
