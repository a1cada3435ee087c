"""What inspection says of a network, against the network itself: sums, finite differences, counts, data of pictures."""

import io
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit
from scipy.stats import entropy
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, log_loss

from sklearn_gln import GLNClassifier, GLNRegressor, _network, _online
from sklearn_gln._base_predictor import PIECE_LIMIT
from sklearn_gln.inspection import (
    HalfspaceDisplay,
    ImportanceDisplay,
    LayerDisplay,
    ProgressiveLossDisplay,
    SaliencyDisplay,
    local_coefficients,
    neuron_predictions,
    summary,
)
from sklearn_gln.kernels import as_numpy, get_kernels
from tests.helpers import make_stream, make_targets, spare_compilers, thorough_but

EXACT = {"rtol": 1e-9, "atol": 1e-9}
N_ROWS = 700
SMALL = {"layer_sizes": (6, 5), "context_dim": 3, "dtype": "float64", "random_state": 0, "max_iter": 2}
X, CLASSES, _ = make_stream(3, N_ROWS)
TARGETS = make_targets(X)
UNIT = expit(np.nan_to_num(X))  # features that are probabilities
LABELS = {"two": CLASSES > 0, "three": CLASSES, "labels": np.stack([CLASSES > 0, CLASSES > 1], axis=1).astype(int)}
CLASSIFIERS = {
    "default": {},
    "no skip": {"skip": False},
    "no bias": {"bias": False},
    "no skip, no bias": {"skip": False, "bias": False},
    "neuron": {"aggregation": "neuron"},
    "layers": {"aggregation": "layers"},
    "last layer": {"aggregation": "last_layer"},
    "no layers": {"layer_sizes": ()},
    "halfspaces of each output": {"share_halfspaces": False},
    "no halfspaces": {"context_dim": 0},
    "clipped": {"eps": 0.1},
    "minmax": {"base_predictor": "minmax"},
    "global": {"base_predictor": "global"},
    "half-life": {"half_life": 300.0},
    "constant": {"learning_rate": "constant", "learning_rate_init": 0.05},
}
REGRESSORS = {
    "default": {},
    "no squares": {"squares": False},
    "no skip, no bias": {"skip": False, "bias": False},
    "neuron": {"aggregation": "neuron"},
    "gaussian": {"likelihood": "gaussian"},
    "gaussian, no skip": {"likelihood": "gaussian", "skip": False},
    "gaussian, no bias": {"likelihood": "gaussian", "bias": False},
    "gaussian, no layers": {"likelihood": "gaussian", "layer_sizes": ()},
}


def outputs_of(estimator, rows):
    """What the estimator's outputs are: (n, n_outputs)."""
    given = estimator.predict(rows) if isinstance(estimator, GLNRegressor) else estimator.decision_function(rows)
    return given.reshape(len(rows), -1)


def fit_classifier(labels="three", rows=X, **params):
    return GLNClassifier(**{**SMALL, **params}).fit(rows, LABELS[labels])


def fit_regressor(rows=X, **params):
    return GLNRegressor(**{**SMALL, **params}).fit(rows, TARGETS)


def assert_sums(estimator, rows, **tolerance):
    local, expected = local_coefficients(estimator, rows), outputs_of(estimator, rows)
    scale = np.abs(expected).max(axis=0)
    assert_allclose((local.intercept + local.contributions.sum(axis=2)) / scale, expected / scale, **tolerance)
    return local


@pytest.mark.parametrize("params", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_contributions_sum_to_the_decision_function(params):
    local = assert_sums(fit_classifier(**params), X, **EXACT)
    has_bins = params.get("base_predictor") != "minmax" and "learning_rate" not in params
    assert local.coefficients.shape == (N_ROWS, 3, 4 * (1 + has_bins * (1 + 6)))  # with squares, and six bins of each
    assert np.abs(local.coefficients).max() > 0


@pytest.mark.parametrize("labels", LABELS)
def test_outputs_are_those_of_the_decision_function(labels):
    local = assert_sums(fit_classifier(labels), X[:50], **EXACT)
    assert local.coefficients.shape[1] == {"two": 1, "three": 3, "labels": 2}[labels]


@pytest.mark.parametrize("params", REGRESSORS.values(), ids=REGRESSORS)
def test_contributions_sum_to_the_mean_of_a_target(params):
    estimator = fit_regressor(**params)
    local = assert_sums(estimator, X, **EXACT)
    has_squares = params.get("squares", True) and params.get("likelihood") != "gaussian"
    assert local.coefficients.shape == (N_ROWS, 3, 8 if has_squares else 4)


@pytest.mark.parametrize("likelihood", ["bernoulli", "squared", "gaussian"])
def test_every_backend(backend, backend_name, likelihood):
    spare_compilers(backend, likelihood != "squared")
    rows, params = X[:300], {**SMALL, "backend": backend_name}
    if likelihood == "bernoulli":
        estimator = GLNClassifier(**params).partial_fit(rows, CLASSES[:300], classes=[0, 1, 2])
    else:
        estimator = GLNRegressor(**params, likelihood=likelihood).partial_fit(rows, TARGETS[:300])
    local = assert_sums(estimator, X[:40], **EXACT)
    on_numpy = local_coefficients(estimator.set_params(backend="numpy"), X[:40])
    assert_allclose(local.coefficients, on_numpy.coefficients, rtol=1e-9, atol=1e-9 * np.abs(local.coefficients).max())
    assert_array_equal(local.is_clipped, on_numpy.is_clipped)


@pytest.mark.parametrize(
    "make",
    thorough_but(
        [fit_classifier, fit_regressor, lambda **kw: fit_regressor(likelihood="gaussian", **kw)], fit_classifier
    ),
)
def test_in_single_precision(make):
    local = assert_sums(make(dtype="float32"), X, rtol=1e-5, atol=1e-5)
    assert local.coefficients.dtype == "float32"


def without_halfspaces_moving(estimator, base):
    """The outputs (n, n_outputs) with other base logits, and each neuron's context as it was for the rows X[:30]."""
    online, kernels = estimator._online, get_kernels("numpy")
    inputs = online.predictor.transform(X[:30], kernels)
    parts = np.split(base, np.cumsum([part.shape[1] for part in (inputs.base, *inputs.basis)])[:-1], axis=1)
    inputs = inputs._replace(base=parts[0], basis=tuple(parts[1:]))
    outputs = _network.infer(online.network, kernels, inputs, online.settings)
    outputs = online.head.predict(online.head.gather(outputs, kernels))
    return outputs[..., 0] if isinstance(estimator, GLNRegressor) else outputs


@pytest.mark.parametrize(
    ("make", "params"),
    [
        *((make, params) for make in (fit_classifier, fit_regressor) for params in ({}, {"skip": False})),
        *((make, {"aggregation": "neuron"}) for make in (fit_classifier, fit_regressor)),
        (fit_classifier, {"eps": 0.02}),
        (fit_regressor, {"likelihood": "gaussian"}),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_coefficients_are_finite_differences_in_base_logits(make, params):
    estimator = make(**({"squares": False} if make is fit_regressor else {}), **params)
    local = local_coefficients(estimator, X[:30])
    inputs = estimator._online.predictor.transform(X[:30], get_kernels("numpy"))
    base = np.hstack([inputs.base, *inputs.basis])
    before, step = without_halfspaces_moving(estimator, base), 1e-5
    for feature in range(base.shape[1]):
        moved = base.copy()
        moved[:, feature] += step
        after = without_halfspaces_moving(estimator, moved)
        coefficients = local.coefficients[..., feature]
        assert_allclose((after - before) / step, coefficients, atol=1e-5 * np.abs(coefficients).max())
    if "eps" in params:
        assert local.is_clipped.any()


FEATURES = {
    "standard": (fit_classifier, X, {}),
    "global": (fit_classifier, X, {"base_predictor": "global"}),
    "bins": (fit_classifier, X, {"n_bins": 3}),
    "global, bins": (fit_classifier, X, {"base_predictor": "global", "n_bins": 3}),
    "minmax": (fit_classifier, X, {"base_predictor": "minmax"}),
    "identity": (fit_classifier, UNIT, {"base_predictor": "identity"}),
    "squares": (fit_regressor, X, {}),
    "means": (fit_regressor, UNIT, {"base_predictor": "identity"}),
    "gaussian": (fit_regressor, X, {"likelihood": "gaussian"}),
}


@pytest.mark.parametrize("case", FEATURES)
def test_feature_coefficients_are_finite_differences(case):
    make, rows, params = FEATURES[case]
    estimator = make(rows=rows, **params)
    rows = rows[~np.isnan(rows).any(axis=1)][:60]
    coefficients = local_coefficients(estimator, rows).feature_coefficients
    before, step = outputs_of(estimator, rows), 1e-6
    contexts = contexts_of(estimator, rows)
    n_compared = 0
    for feature in range(rows.shape[1]):
        moved = rows.copy()
        moved[:, feature] += step
        compared = (contexts_of(estimator, moved) == contexts).all(axis=(1, 2))
        inside, moved_inside = (pieces_that_move(estimator, each) for each in (rows, moved))
        compared &= (inside == moved_inside).all(axis=1)
        if case == "minmax":  # the extremes of a row are held
            compared &= (rows[:, feature] > rows.min(axis=1)) & (rows[:, feature] < rows.max(axis=1))
        differences = (outputs_of(estimator, moved) - before) / step
        expected = coefficients[..., feature]
        assert_allclose(differences[compared], expected[compared], rtol=1e-4, atol=1e-4 * np.abs(coefficients).max())
        n_compared += compared.sum()
    assert n_compared > 60


def pieces_that_move(estimator, rows):
    """Which pieces (n, n_pieces) of bins move with their feature: those at the ends of theirs do not."""
    _, *pieces = estimator._online.predictor.transform(rows, get_kernels("numpy")).basis or (None,)
    return np.hstack([np.abs(of_bins) < PIECE_LIMIT for of_bins in pieces] or [np.ones((len(rows), 1), bool)])


def contexts_of(estimator, rows):
    """(n, n_outputs | 1, n_neurons) of all layers."""
    online, kernels = estimator._online, get_kernels("numpy")
    side_info = online.predictor.transform(rows, kernels).side_info
    return kernels.select_contexts(
        side_info, *map(as_numpy, (online.network.hyperplanes, online.network.offsets)), "float64"
    )


def test_clipped_neurons_are_told_and_their_constant_is_in_the_intercept():
    estimator = fit_classifier(eps=0.1, aggregation="neuron", layer_sizes=(4,))
    local = assert_sums(estimator, X, **EXACT)
    first, last = neuron_predictions(estimator, X)
    at_bound = (np.abs(logit(last)) >= logit(0.9) - 1e-12).all(axis=2)  # then nothing below matters
    assert 0 < at_bound.sum() < at_bound.size
    assert local.is_clipped[at_bound].all()
    assert not local.coefficients[at_bound].any()
    within = ~at_bound & (np.abs(logit(first)) < logit(0.9) - 1e-12).all(axis=2)
    assert within.any()
    assert not local.is_clipped[within].any()


def test_missing_features_contribute_nothing():
    estimator = fit_classifier()
    local, missing = local_coefficients(estimator, X), np.isnan(X)
    assert missing.any()
    for values in (local.feature_contributions, local.feature_coefficients):
        assert not values[np.broadcast_to(missing[:, np.newaxis], values.shape)].any()


def test_contributions_of_a_feature_are_those_of_its_square_too():
    local = local_coefficients(fit_regressor(), X)
    linear, squared = np.split(local.contributions, 2, axis=2)
    assert np.abs(squared).max() > 0
    assert_allclose(local.feature_contributions, linear + squared)


def test_base_logits_of_a_callable_have_no_features():
    estimator = fit_classifier(base_predictor=halves)
    local = assert_sums(estimator, X, **EXACT)
    assert local.coefficients.shape[2] == 2
    for name in ("feature_contributions", "feature_coefficients"):
        with pytest.raises(ValueError, match="base_predictor is a callable"):
            getattr(local, name)


def halves(rows):
    return expit(np.nan_to_num(rows)[:, :2])


def test_explained_in_parts(monkeypatch):
    estimator = fit_classifier()

    def explain():
        local, counted = local_coefficients(estimator, X[:100]), summary(estimator, X[:100]).neurons
        neurons = neuron_predictions(estimator, X[:100])
        return [local.coefficients, local.intercept, local.is_clipped, local.slopes, *counted.values(), *neurons]

    at_once = explain()
    monkeypatch.setattr(_online, "MAX_CHUNK", 7)
    for in_parts, whole in zip(explain(), at_once, strict=True):
        assert_allclose(in_parts, whole, **EXACT)


def test_before_the_first_row():
    estimator = GLNClassifier(**SMALL).partial_fit(X[:0], CLASSES[:0], classes=[0, 1, 2])
    assert [(p == 0.5).all() for p in neuron_predictions(estimator, X[:5])] == [True, True]
    assert [p.shape for p in estimator.staged_predict_proba(X[:5])] == [(5, 3)] * 2
    for explain in (local_coefficients, summary):
        with pytest.raises(ValueError, match="learned no row"):
            explain(estimator, X[:5])


@pytest.mark.parametrize("explain", [local_coefficients, neuron_predictions, summary])
def test_unfitted(explain):
    with pytest.raises(NotFittedError):
        explain(GLNClassifier(), X)


def test_wrong_number_of_features():
    with pytest.raises(ValueError, match="4 features"):
        local_coefficients(fit_classifier(), X[:, :3])


# Layers


@pytest.mark.parametrize("labels", LABELS)
def test_the_last_stage_is_the_last_layer(labels):
    estimator = fit_classifier(labels, aggregation="last_layer")
    *earlier, last = estimator.staged_predict_proba(X)
    assert_allclose(last, estimator.predict_proba(X), **EXACT)
    assert len(earlier) == 1
    assert np.abs(earlier[0] - last).max() > 0.01
    assert_array_equal(list(estimator.staged_predict(X))[-1], estimator.predict(X))


def test_stages_are_mean_neurons():
    estimator = fit_classifier()
    for probabilities, neurons in zip(estimator.staged_predict_proba(X), neuron_predictions(estimator, X), strict=True):
        odds = np.exp(logit(neurons).mean(axis=2))
        assert_allclose(probabilities, odds / odds.sum(axis=1, keepdims=True), **EXACT)


def test_the_stack_weighs_a_regressors_stages():
    estimator = fit_regressor()
    stages = np.stack(list(estimator.staged_predict(X)), axis=2)
    assert stages.shape == (N_ROWS, 3, 3)
    assert_allclose(np.vecdot(stages, estimator._online.head.stack.weights), estimator.predict(X), **EXACT)
    for number, neurons in enumerate(neuron_predictions(estimator, X)):
        assert_allclose(neurons.mean(axis=2), stages[:, :, number], **EXACT)
    one = GLNRegressor(**SMALL).fit(X, TARGETS[:, 0])
    assert [stage.shape for stage in one.staged_predict(X)] == [(N_ROWS,)] * 3


# Summary


def test_summary_counts_contexts(backend_name):
    estimator = GLNClassifier(**SMALL, backend=backend_name).partial_fit(X[:300], CLASSES[:300], classes=[0, 1, 2])
    columns = summary(estimator, X[300:]).neurons
    sizes = estimator.layer_sizes
    assert_array_equal(np.bincount(columns["layer"]), 3 * np.array(sizes))
    learned, met = (contexts_of(estimator, rows)[:, 0] for rows in (X[:300], X[300:]))
    first = np.cumsum([0, *sizes])
    for row in range(len(columns["layer"])):
        number = first[columns["layer"][row]] + columns["neuron"][row]
        seen, counts = np.unique(met[:, number], return_counts=True)
        # Scaling is that of row 256 for all rows: so were the contexts of all that the network learned last.
        visited = set(learned[:, number])
        assert columns["n_visited"][row] == len(visited)
        assert columns["n_occupied"][row] == len(seen)
        assert_allclose(columns["effective_contexts"][row], np.exp(entropy(counts)))
        assert_allclose(columns["unseen"][row], np.mean([context not in visited for context in met[:, number]]))
    assert columns["n_contexts"].tolist() == [8] * len(columns["layer"])


def test_summary_of_weights():
    estimator = fit_classifier(learning_rate="constant", learning_rate_init=0.5, max_weight=0.4, eps=0.05)
    result = summary(estimator, X)
    columns, layer = result.neurons, estimator._online.network.layers[1]
    used = layer.weights[2, 3][layer.accumulator[2, 3] > 0]
    row = np.flatnonzero((columns["layer"] == 1) & (columns["output"] == 2) & (columns["neuron"] == 3))[0]
    assert columns["n_visited"][row] == len(used)
    assert_allclose(columns["weight_mean"][row], used.mean())
    assert_allclose(columns["weight_std"][row], used.std())
    assert_allclose(columns["weight_max"][row], 0.4)
    assert_allclose(columns["at_max_weight"][row], (np.abs(used) == 0.4).mean())
    assert 0 < columns["at_max_weight"][row] < 1
    probabilities = neuron_predictions(estimator, X)[1][:, 2, 3]
    clipped = np.isclose(probabilities, 0.05) | np.isclose(probabilities, 0.95)
    assert_allclose(columns["clipped"][row], clipped.mean())
    assert 0 < clipped.mean() < 1
    assert result.n_weights == (columns["n_visited"] * columns["n_inputs"]).sum()
    assert result.n_samples_seen == estimator.n_samples_seen_


def test_summary_prints_a_line_for_each_layer():
    estimator = fit_regressor()
    head, *layers, last = str(summary(estimator, X)).splitlines()
    assert "clipped" in head
    assert [line.split()[:3] for line in layers] == [["0", "1", "9"], ["1", "6", "10"], ["2", "5", "15"]]
    assert layers[0].split()[4] == "1"  # contexts of the linear neuron
    assert "3 output(s)" in last
    assert "clipped" not in str(summary(estimator))
    assert_allclose(
        [float(line.split()[3]) for line in layers], estimator._online.head.stack.weights.mean(axis=0), atol=5e-4
    )


def test_data_frame_of_a_summary():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(summary(fit_classifier()).neurons)
    assert frame.shape == (33, 11)


# Displays


@pytest.fixture
def pyplot():
    module = pytest.importorskip("matplotlib.pyplot")
    with module.rc_context({"backend": "agg"}):
        yield module
    module.close("all")


def render(display):
    file = io.BytesIO()
    display.figure_.savefig(file, format="png")
    assert file.tell() > 1000
    return display


def test_bars_sum_to_the_output(pyplot):
    estimator = fit_classifier(rows=np.nan_to_num(X))
    display = render(SaliencyDisplay.from_estimator(estimator, X[:1], outputs=[0, 2]))
    assert display.output_names == ["0", "2"]
    names, heights = display.bars(2)
    assert_allclose(heights.sum(axis=1), estimator.decision_function(X[:1])[0, [0, 2]], **EXACT)
    assert len(names) == 4
    assert names[2:] == ["2 others", "intercept"]
    magnitudes = np.abs(display.contributions[0]).max(axis=0)
    largest = np.argsort(-magnitudes)[:2]
    assert names[:2] == [f"x{feature} = {X[0, feature]:.4g}" for feature in largest]
    default = SaliencyDisplay.from_estimator(estimator, X[:1])
    assert default.output_names == [str(estimator.predict(X[:1])[0])]


def test_images(pyplot):
    estimator = fit_classifier()
    display = render(SaliencyDisplay.from_estimator(estimator, X[:3], image_shape=(2, 2)))
    local = local_coefficients(estimator, X[:3])
    assert_allclose(display.contributions, local.feature_contributions)
    assert display.row_names == [f"says {label}" for label in estimator.predict(X[:3])]
    images = display.ax_.get_images()
    first = np.ma.filled(images[1].get_array(), np.nan)[:2, :2]
    assert_allclose(first, local.feature_contributions[0, 0].reshape(2, 2))
    below = np.ma.filled(images[1].get_array(), np.nan)[4:6, 8:10]
    assert_allclose(below, local.feature_contributions[1, 2].reshape(2, 2))


def test_saliency_of_a_regressor_and_of_two_classes(pyplot):
    display = render(SaliencyDisplay.from_estimator(fit_regressor(), X[:1]))
    assert display.output_names == ["0", "1", "2"]
    display = SaliencyDisplay.from_estimator(fit_classifier("two"), X[:1])
    assert display.output_names == ["True"]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (2, {}, "2 rows"),
        (1, {"image_shape": (3, 3)}, "does not hold the 4 features"),
        (1, {"outputs": [7]}, r"outputs=\[7\]"),
    ],
)
def test_saliency_errors(pyplot, rows, options, message):
    with pytest.raises(ValueError, match=message):
        SaliencyDisplay.from_estimator(fit_classifier(), X[:rows], **options)


def planar(**params):
    rows = np.nan_to_num(X[:, :2])
    return GLNClassifier(**{**SMALL, **params}).fit(rows, CLASSES), rows


@pytest.mark.parametrize("share", [True, False])
def test_halfspaces_are_those_of_the_network(pyplot, share):
    estimator, rows = planar(share_halfspaces=share)
    neurons = [(0, 1), (1, 4)]
    display = render(HalfspaceDisplay.from_estimator(estimator, rows, neurons=neurons, output=2, grid_resolution=20))
    grid = np.column_stack([display.boundary.xx0.ravel(), display.boundary.xx1.ravel()])
    contexts = contexts_of(estimator, grid)[:, 0 if share else 2]
    for shown, place in zip(display.contexts, (1, 6 + 4), strict=True):
        assert_array_equal(shown.ravel(), contexts[:, place])
        assert len(np.unique(shown)) > 1
    assert_allclose(display.boundary.response.reshape(400, 3), estimator.predict_proba(grid))


def test_what_one_neuron_predicts(pyplot):
    estimator, rows = planar()
    display = render(
        HalfspaceDisplay.from_estimator(
            estimator, rows, neurons=[(1, 2)], output=1, response="neuron", grid_resolution=9
        )
    )
    grid = np.column_stack([display.boundary.xx0.ravel(), display.boundary.xx1.ravel()])
    assert_allclose(display.boundary.response.ravel(), neuron_predictions(estimator, grid)[1][:, 1, 2])
    assert "neuron (1, 2)" in display.response_name


def test_halfspaces_of_a_regressor(pyplot):
    rows = np.nan_to_num(X[:, :2])
    estimator = GLNRegressor(**SMALL).fit(rows, TARGETS[:, 0])
    display = render(HalfspaceDisplay.from_estimator(estimator, rows, neurons=[(1, 0)], grid_resolution=9))
    grid = np.column_stack([display.boundary.xx0.ravel(), display.boundary.xx1.ravel()])
    assert_allclose(display.boundary.response.ravel(), estimator.predict(grid))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neurons": [(2, 0)]}, "names neuron 0 of layer 2"),
        ({"neurons": [(0, 6)]}, "names neuron 6 of layer 0"),
        ({"output": 3}, "output=3"),
        ({"response": "neuron", "neurons": [(0, 0), (0, 1)]}, "with 2 neurons"),
        ({"response": "other"}, "response='other'"),
    ],
)
def test_halfspace_errors(pyplot, options, message):
    estimator, rows = planar()
    with pytest.raises(ValueError, match=message):
        HalfspaceDisplay.from_estimator(estimator, rows, **options)


def test_halfspaces_of_more_features(pyplot):
    with pytest.raises(ValueError, match="4 features"):
        HalfspaceDisplay.from_estimator(fit_classifier(), X)


def test_progressive_curves(pyplot):
    estimator = GLNClassifier(**SMALL)
    display = render(ProgressiveLossDisplay.from_estimator(estimator, X, CLASSES))
    probabilities = GLNClassifier(**SMALL).progressive_predict_proba(X, CLASSES, classes=[0, 1, 2])
    losses = -np.log(probabilities[np.arange(N_ROWS), CLASSES])
    assert_allclose(display.losses, losses)
    assert not hasattr(estimator, "classes_")
    assert_allclose(
        display.curve("log_loss", 50)[[9, 49, 200]], [losses[:10].mean(), losses[:50].mean(), losses[151:201].mean()]
    )
    hits = probabilities.argmax(axis=1) == CLASSES
    window = slice(400 - 100 + 1, 401)
    expected = hits[window][CLASSES[window] == 2].mean()
    assert_allclose(display.curve("accuracy", 100, label=2)[400], expected)
    assert len(display.lines_) == 4
    assert_allclose(display.lines_[0].get_ydata(), display.curve())
    assert len(display.plot(by_class=False, metric="accuracy").lines_) == 1


@pytest.mark.parametrize(
    ("y", "probabilities", "options", "message"),
    [
        ([0, 1], np.full((2, 3), 1 / 3), {}, r"shape \(2, 3\)"),
        ([0, 5], np.full((2, 2), 1 / 2), {"classes": [0, 1]}, "labels"),
        ([0, 1], np.full((2, 2), 1 / 2), {"metric": "loss"}, "metric='loss'"),
    ],
)
def test_progressive_errors(pyplot, y, probabilities, options, message):
    with pytest.raises(ValueError, match=message):
        ProgressiveLossDisplay.from_predictions(y, probabilities, **options)


def test_a_window_without_the_class_has_no_mean(pyplot):
    display = ProgressiveLossDisplay.from_predictions([0, 0, 1, 0], np.full((4, 2), 1 / 2))
    assert_array_equal(np.isnan(display.curve(window=1, label=1)), [True, True, False, True])


def test_scores_of_layers(pyplot):
    estimator = fit_classifier()
    display = render(LayerDisplay.from_estimator(estimator, X, CLASSES, n_bins=5))
    stages = [*estimator.staged_predict_proba(X), estimator.predict_proba(X)]
    assert [scores.name for scores in display.scores] == ["layer 0", "layer 1", "output"]
    for scores, probabilities in zip(display.scores, stages, strict=True):
        predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
        assert_allclose(scores.accuracy, accuracy_score(CLASSES, predicted))
        assert_allclose(scores.log_loss, log_loss(CLASSES, probabilities))
        bins = np.array_split(np.argsort(confidence), 5)
        assert_allclose(scores.confidence, [confidence[rows].mean() for rows in bins], atol=0.01)
        gaps = [abs(confidence[rows].mean() - (predicted == CLASSES)[rows].mean()) for rows in bins]
        assert_allclose(scores.calibration_error, np.mean(gaps), atol=0.01)


def test_layers_of_a_regressor_have_no_accuracy(pyplot):
    with pytest.raises(ValueError, match="GLNRegressor"):
        LayerDisplay.from_estimator(fit_regressor(), X, CLASSES)


def test_displays_draw_where_they_are_told(pyplot):
    _, ax = pyplot.subplots()
    estimator, rows = planar()
    n_figures = len(pyplot.get_fignums())
    shown = [
        SaliencyDisplay.from_estimator(estimator, rows[:1], ax=ax),
        ImportanceDisplay.from_estimator(estimator, ax=ax),
        HalfspaceDisplay.from_estimator(estimator, rows, grid_resolution=5, ax=ax),
        ProgressiveLossDisplay.from_estimator(estimator, rows, CLASSES, ax=ax),
        LayerDisplay.from_estimator(estimator, rows, CLASSES, ax=ax),
    ]
    assert all(display.ax_ is ax and display.figure_ is ax.figure for display in shown)
    assert len(pyplot.get_fignums()) == n_figures


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    estimator, rows = planar()
    for draw in (
        lambda: SaliencyDisplay.from_estimator(estimator, rows[:1]),
        lambda: ImportanceDisplay.from_estimator(estimator),
        lambda: HalfspaceDisplay.from_estimator(estimator, rows),
        lambda: ProgressiveLossDisplay.from_estimator(estimator, rows, CLASSES),
        lambda: LayerDisplay.from_estimator(estimator, rows, CLASSES),
    ):
        with pytest.raises(ImportError, match="plotting"):
            draw()
