"""Gaussian neurons: every backend against the scalar oracle, the laws of the kernel contract, and the network."""

import inspect
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_gln import _likelihood
from sklearn_gln import kernels as registry
from sklearn_gln._base_predictor import Inputs
from sklearn_gln._halfspaces import Pool
from sklearn_gln._likelihood import Gaussian
from sklearn_gln._network import InputSizes, infer, init_network, learn
from sklearn_gln._samples import Samples
from tests import naive_gaussian as naive
from tests.helpers import TOLERANCE, by_context, call, make_settings, on_examples, thorough_but

NAMES = ("weights", "accumulator", "means", "variances")


def infer_neurons(backend, weights, slots, inputs, *, min_variance, max_variance):
    """What `Gaussian.infer_layer` makes of the kernels, within these bounds; NumPy in and out."""
    bounds = {"MIN_VARIANCE": min_variance, "MAX_VARIANCE": max_variance}
    with patch.multiple(_likelihood, **bounds), backend.scope("cpu"):
        layer = SimpleNamespace(weights=backend.asarray(weights))
        signals = [tuple(map(backend.asarray, signal)) for signal in inputs]
        predicted = Gaussian().infer_layer(backend, layer, backend.asarray(slots), signals, None)
        return tuple(map(backend.to_numpy, predicted))


@dataclass(repr=False)
class Case:
    """The arguments of one call of ``gaussian_learn``."""

    weights: np.ndarray
    accumulator: np.ndarray
    slots: np.ndarray
    inputs: list
    targets: np.ndarray
    rates: np.ndarray
    repeats: np.ndarray | None
    options: dict
    description: str = "Case()"

    def __repr__(self):
        return self.description

    @property
    def bounds(self):
        return {name: self.options[name] for name in ("min_variance", "max_variance")}

    def learn(self, backend, **changed):
        arrays = (self.weights, self.accumulator, self.slots, self.inputs, self.targets, self.rates, self.repeats)
        options = self.options | changed
        if backend is naive:
            return naive.gaussian_learn(*arrays, **options)
        return call(backend, "gaussian_learn", *arrays, **options)

    def infer(self, backend):
        arrays = self.weights, self.slots, self.inputs
        if backend is naive:
            return naive.gaussian_infer(*arrays, **self.bounds)
        return infer_neurons(backend, *arrays, **self.bounds)

    def rows(self, rows):
        """The same weights, and a slice (or the numbers) of the rows."""
        return replace(
            self,
            slots=self.slots[rows],
            inputs=[(m[rows], v[rows]) for m, v in self.inputs],
            targets=self.targets[rows],
            rates=self.rates[rows],
            repeats=None if self.repeats is None else self.repeats[rows],
        )

    def output(self, k):
        def cut(array):
            return array if array is None or array.shape[1] == 1 else np.ascontiguousarray(array[:, k : k + 1])

        return replace(
            self,
            weights=self.weights[k : k + 1],
            accumulator=self.accumulator[k : k + 1],
            slots=cut(self.slots),
            inputs=[(cut(m), cut(v)) for m, v in self.inputs],
            targets=cut(self.targets),
            rates=cut(self.rates),
            repeats=cut(self.repeats),
        )

    def astype(self, dtype):
        return replace(
            self,
            weights=self.weights.astype(dtype),
            accumulator=self.accumulator,
            inputs=[(m.astype(dtype), v.astype(dtype)) for m, v in self.inputs],
            targets=self.targets.astype(dtype),
            rates=self.rates.astype(dtype),
            repeats=None if self.repeats is None else self.repeats.astype(dtype),
        )


def make_case(
    seed,
    *,
    n=30,
    k=2,
    j=3,
    n_slots=4,
    sizes=(3, 2),
    shared=("slots", "base", "rates", "repeats"),
    weighted=False,
    normalized=True,
    rate=1.0,
    damping=0.2,
    max_error=3.0,
    max_weight=10.0,
    min_variance=1e-4,
    max_variance=10.0,
    spread=1.0,
):
    rng = np.random.default_rng(seed)

    def width(name):
        return 1 if name in shared else k

    def block(size, outputs):
        variances = np.exp(
            rng.uniform(np.log(max(0.05, min_variance)), np.log(min(4.0, max_variance)), size=(n, outputs, size))
        )
        return spread * rng.normal(size=(n, outputs, size)), variances

    inputs = [block(size, k) for size in sizes[:-1]] + [block(sizes[-1], width("base"))]
    shape = (k, j, n_slots)
    weights = min(max_weight, 2 / sum(sizes)) * rng.random((*shape, sum(sizes))) * (rng.random((*shape, 1)) > 0.1)
    return Case(
        weights=weights,
        accumulator=rng.integers(3, size=shape).astype(float),
        slots=rng.integers(n_slots, size=(n, width("slots"), j)).astype(np.int32),
        inputs=inputs,
        targets=np.where(rng.random((n, k)) < 0.05, 30.0, 1.5) * rng.normal(size=(n, k)),
        rates=rate * rng.uniform(0.5, 1.0, size=(n, width("rates"))),
        repeats=rng.choice([0.0, 0.3, 1.0, 1.0, 2.0, 2.75], size=(n, width("repeats"))) if weighted else None,
        options={
            "normalized": normalized,
            "damping": damping,
            "max_error": max_error,
            "max_weight": max_weight,
            "min_variance": min_variance,
            "max_variance": max_variance,
        },
    )


@st.composite
def cases(draw, *, rows=(1, 24), outputs=(1, 3), neurons=(1, 3)):
    seed = draw(st.integers(0, 2**32 - 1))
    normalized = draw(st.booleans())
    options = {
        "n": draw(st.integers(*rows)),
        "k": draw(st.integers(*outputs)),
        "j": draw(st.integers(*neurons)),
        "n_slots": draw(st.sampled_from([1, 2, 16, 65])),
        "sizes": draw(st.lists(st.integers(1, 4), min_size=1, max_size=2)),
        "shared": draw(st.sets(st.sampled_from(["slots", "base", "rates", "repeats"]))),
        "weighted": draw(st.booleans()),
        "normalized": normalized,
        "rate": draw(st.sampled_from([1.0, 2.0] if normalized else [0.01, 0.1])),
        "damping": draw(st.sampled_from([0.0, 0.5])),
        "max_error": draw(st.sampled_from([np.inf, 3.0])),
        "max_weight": draw(st.sampled_from([10.0, 0.6, 0.05])),
        "min_variance": draw(st.sampled_from([1e-4, 0.3])),
        "max_variance": draw(st.sampled_from([10.0, 1.0])),
    }
    arguments = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return replace(make_case(seed, **options), description=f"make_case({seed}, {arguments})")


def assert_all_close(got, wanted, **tolerance):
    for name, left, right in zip(NAMES, got, wanted, strict=True):
        assert_allclose(left, right, err_msg=name, **(tolerance or TOLERANCE))


# The oracle


def random_gaussians(rng, n):
    return list(zip(rng.normal(size=n).tolist(), rng.uniform(0.2, 3.0, n).tolist(), strict=True))


def test_oracle_gradient_is_that_of_the_loss():
    rng = np.random.default_rng(0)
    gaussians, w, y, h = random_gaussians(rng, 4), rng.uniform(0.2, 1.0, 4).tolist(), 0.7, 1e-6
    numerical = []
    for i in range(4):
        up, down = ([weight + sign * h * (n == i) for n, weight in enumerate(w)] for sign in (1, -1))
        numerical.append((naive.loss(up, gaussians, y) - naive.loss(down, gaussians, y)) / (2 * h))
    assert_allclose(naive.gradient(*naive.mix(w, gaussians), y, gaussians), numerical, rtol=1e-7, atol=1e-8)


def test_oracle_curvature_is_the_expected_square_of_the_gradient():
    rng = np.random.default_rng(1)
    gaussians, w = random_gaussians(rng, 3), rng.uniform(0.2, 1.0, 3).tolist()
    m, v = naive.mix(w, gaussians)
    nodes, quadrature = np.polynomial.hermite_e.hermegauss(9)  # exact for the polynomial of degree 4
    squares = [
        sum(slope**2 for slope in naive.gradient(m, v, m + math.sqrt(v) * node, gaussians)) for node in nodes.tolist()
    ]
    expected = float(np.dot(quadrature, squares) / quadrature.sum())
    assert naive.curvature(m, v, gaussians) == pytest.approx(expected, rel=1e-12)


# Kernels against the oracle


@on_examples(300, case=cases())
def test_learn_equals_naive(backend, case):
    assert_all_close(case.learn(backend), case.learn(naive))


@on_examples(60, case=cases())
def test_infer_equals_naive(backend, case):
    for got, wanted in zip(case.infer(backend), case.infer(naive), strict=True):
        assert_allclose(got, wanted, **TOLERANCE)


@pytest.mark.parametrize("normalized", thorough_but([True, False], True))
@pytest.mark.parametrize(
    "bounds",
    [{}, {"min_variance": 0.5}, {"max_variance": 0.3}, {"max_weight": 0.3}],
    ids=["loose", "min_variance", "max_variance", "max_weight"],
)
def test_learn_equals_naive_where_weights_are_projected(backend, normalized, bounds):
    case = make_case(7, n=300, weighted=True, normalized=normalized, rate=1.0 if normalized else 0.02, **bounds)
    expected = case.learn(naive)
    assert_all_close(case.learn(backend), expected)
    loose = {"min_variance": 1e-9, "max_variance": 1e9, "max_weight": 1e3}
    assert not np.array_equal(expected[0], case.learn(naive, **loose)[0])  # the projection is met


@on_examples(40, case=cases())
def test_predictions_and_weights_are_within_their_bounds(backend, case):
    weights, _, means, variances = case.learn(backend)
    low, high = case.bounds.values()
    assert np.all(np.isfinite(means))
    assert np.all((variances >= low * (1 - 1e-12)) & (variances <= high * (1 + 1e-12)))
    assert np.all((weights >= 0) & (weights <= case.options["max_weight"]))


@pytest.mark.parametrize(("deviation", "bound"), [(0.1, 0.5), (9.0, 1.0)])
def test_after_a_step_the_variance_of_its_row_is_in_range(deviation, bound):
    """The weights themselves are projected, not only the predictions clipped."""
    kernels = registry.get_kernels("numpy")
    case = make_case(3, n=100, k=1, j=1, n_slots=1, spread=0.1, min_variance=0.5, max_variance=1.0)
    case.targets[:] = deviation * np.random.default_rng(0).normal(size=(100, 1))
    weights, accumulator, variances = case.weights, case.accumulator, []
    for t in range(100):
        row = replace(case.rows(slice(t, t + 1)), weights=weights, accumulator=accumulator)
        weights, accumulator, *_ = row.learn(kernels)
        variances += infer_neurons(kernels, weights, row.slots, row.inputs, min_variance=1e-9, max_variance=1e9)[
            1
        ].tolist()
    assert np.all(np.abs(np.ravel(variances) - 0.75) <= 0.25 * (1 + 1e-12))
    assert np.any(np.abs(np.ravel(variances) - bound) < 1e-12)


# Laws


@on_examples(40, case=cases(rows=(2, 60)), data=st.data())
def test_any_split_of_the_rows_learns_the_same(backend, case, data):
    n = len(case.targets)
    cuts = sorted(data.draw(st.sets(st.integers(1, n - 1), max_size=3)))
    weights, accumulator, predicted = case.weights, case.accumulator, []
    for first, last in pairwise([0, *cuts, n]):
        part = replace(case.rows(slice(first, last)), weights=weights, accumulator=accumulator)
        weights, accumulator, *before = part.learn(backend)
        predicted.append(before)
    means, variances = map(np.concatenate, zip(*predicted, strict=True))
    assert_all_close((weights, accumulator, means, variances), case.learn(backend))


@on_examples(30, case=cases(rows=(1, 12)), q=st.integers(2, 4))
def test_a_row_of_weight_q_is_the_row_q_times(backend, case, q):
    n = len(case.targets)
    weighted = replace(case, repeats=np.full((n, 1), float(q)))
    each = replace(case.rows(np.repeat(np.arange(n), q)), repeats=None)
    weights, accumulator, means, variances = each.learn(backend)
    assert_all_close(weighted.learn(backend), (weights, accumulator, means[::q], variances[::q]))


@on_examples(30, case=cases(outputs=(2, 3)))
def test_outputs_are_independent(backend, case):
    learned = case.learn(backend)
    for k in range(len(case.weights)):
        of_output = *(array[k : k + 1] for array in learned[:2]), *(array[:, k : k + 1] for array in learned[2:])
        assert_all_close(of_output, case.output(k).learn(backend))


@on_examples(30, case=cases(), weight=st.sampled_from([0.0, 1.0]))
def test_learning_nothing_is_inference(backend, case, weight):
    """With rate 0 the projection alone remains; with weight 0 not even that."""
    n = len(case.targets)
    loose = {"min_variance": 1e-9, "max_variance": 1e9, "max_weight": 1e3} if weight else {}
    still = replace(
        case,
        rates=np.zeros((n, 1)),
        repeats=np.full((n, 1), weight),
        weights=case.weights + 1e-3,
        options=case.options | loose,
    )
    weights, accumulator, *predicted = still.learn(backend)
    assert_allclose(weights, still.weights, rtol=1e-12)
    if not weight:
        assert_array_equal(accumulator, case.accumulator)
    for got, wanted in zip(predicted, still.infer(backend), strict=True):
        assert_allclose(got, wanted, **TOLERANCE)


@on_examples(20, case=cases(rows=(1, 150)), data=st.data())
def test_infer_of_some_rows_is_bitwise_that_part_of_all(backend, case, data):
    rows = data.draw(st.lists(st.integers(0, len(case.targets) - 1), max_size=12))
    for got, wanted in zip(case.rows(rows).infer(backend), case.infer(backend), strict=True):
        assert_array_equal(got, wanted[rows])


def test_float32_stays_float32_and_close(backend):
    case = make_case(5, n=200, weighted=True)
    single = case.astype(np.float32)
    learned = single.learn(backend)
    assert [array.dtype for array in learned] == [np.float32, np.float64, np.float32, np.float32]
    assert [array.dtype for array in single.infer(backend)] == [np.float32] * 2
    assert_all_close(learned, case.learn(backend), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("weighted", [True, False])
def test_no_rows_change_nothing(backend, weighted):
    case = make_case(2, n=0, weighted=weighted)
    weights, accumulator, means, variances = case.learn(backend)
    assert_array_equal(weights, case.weights)
    assert_array_equal(accumulator, case.accumulator)
    assert means.shape == variances.shape == (0, 2, 3)
    assert [array.shape for array in case.infer(backend)] == [(0, 2, 3)] * 2


def test_base_gaussians(backend):
    features = np.random.default_rng(0).normal(size=(5, 3))
    means, variances = call(
        backend, "gaussian_base", features, "float32", scale=2.0, bias_means=(-4.0, 4.0), variance=0.5
    )
    assert means.dtype == variances.dtype == np.float32
    assert_allclose(
        means[:, 0], np.column_stack([2 * features, -2 * features, np.tile([-4.0, 4.0], (5, 1))]), rtol=1e-6
    )
    assert_array_equal(variances, np.full((5, 1, 8), np.float32(0.5)))
    means, _ = call(backend, "gaussian_base", features, "float64", scale=1.0, bias_means=(), variance=0.5)
    assert_array_equal(means[:, 0], np.column_stack([features, -features]))


def test_signature_of_the_oracle():
    parameters = inspect.signature(registry.get_kernels("numpy").gaussian_learn).parameters
    assert list(inspect.signature(naive.gaussian_learn).parameters) == list(parameters)


@pytest.mark.parametrize("weighted", [True, False])
def test_tasks_give_the_same_results_in_threads(backend, weighted):
    if backend.TASK_SIZE is None:
        pytest.skip("a call of this backend is never split")
    case = make_case(4, n=500, k=3, j=17, weighted=weighted, shared=())
    with ThreadPoolExecutor(2) as executor:
        in_tasks = registry.in_tasks(backend, executor)
        for got, wanted in zip(case.learn(in_tasks), case.learn(backend), strict=True):
            assert_array_equal(got, wanted)
        for got, wanted in zip(case.infer(in_tasks), case.infer(backend), strict=True):
            assert_array_equal(got, wanted)


# The network


def settings_with(**params):
    return make_settings(3, **{"likelihood": "gaussian", "layer_sizes": (5, 4), "context_dim": 2} | params)


def make_network(features, n_outputs, settings):
    """As it is built before it has learned anything, on features (n, d) that are scaled already."""
    pool = Pool.of(features[:256], np.zeros(len(features[:256]), int), np.ones(len(features[:256])), np.arange(1))
    return init_network(InputSizes(settings.n_base(features.shape[1])), pool, np.arange(n_outputs), settings, 0)


def add_base_predictions(seed, n, n_outputs=1):
    """Features and targets of deviation about 1."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 3))
    signal = np.where(features[:, :1] > 0, features[:, 1:2], -features[:, 1:2]) + 0.5 * features[:, 2:]
    return features, signal[:, :1] * np.linspace(1.0, 0.5, n_outputs) + 0.1 * rng.normal(size=(n, n_outputs))


def make_samples(features, targets, repeats=None):
    n = len(targets)
    weight = np.ones(n) if repeats is None else repeats
    return Samples(features, targets, weight, np.arange(1, n + 1), np.ones(n, bool), epoch=1)


def variance_of(outputs, kernels):
    """The mixture's variance (n, n_outputs)."""
    return outputs.within + kernels.to_numpy(kernels.neuron_moments(outputs.layers[-1])[1])


def run(network, kernels, rows, settings, *, features, targets, repeats=None, padding=0):
    """The layers' means and the mixture's variance, without the rows of padding."""
    with kernels.scope("cpu"):
        network.move_to(kernels)
        samples = make_samples(features, targets, repeats).part(rows, registry.get_kernels("numpy"))
        x = kernels.asarray(np.concatenate([samples.X, features[:padding]]))
        outputs = learn(network, kernels, Inputs(x, (), x), samples.y, samples, settings)
        n = len(samples)
        return [kernels.to_numpy(layer)[:n] for layer in outputs.layers], variance_of(outputs, kernels)[:n]


def naive_network(network, settings, features, targets, repeats, rates):
    """All rows through all layers, one after the other: the weights, the layers' means, and the mixture's variance."""
    d = features.shape[1]
    stretch = 1.5 * math.sqrt(d)
    weights = [by_context(layer, layer.weights).astype(float) for layer in network.layers]
    accumulator = [np.zeros(w.shape[:3]) for w in weights]
    contexts = call(
        registry.get_kernels("numpy"), "select_contexts", features, network.hyperplanes, network.offsets, "float64"
    )
    predicted, mixtures = [[] for _ in weights], []
    for t, x in enumerate(features):
        bias = [-4.0, 4.0] if settings.bias else []
        base = np.array([*(stretch * x), *(-stretch * x), *bias])[np.newaxis, np.newaxis]
        below, first = None, 0
        for number, w in enumerate(weights):
            block = base if below is None or settings.skip else base[:, :, 2 * d :]
            inputs = [(block, np.full_like(block, 2.0))]
            if below is not None:
                inputs.insert(0, below)
            last = first + w.shape[1]
            weights[number], accumulator[number], means, variances = naive.gaussian_learn(
                w,
                accumulator[number],
                contexts[t : t + 1, :, first:last],
                inputs,
                targets[t : t + 1],
                np.full((1, 1), rates[t]),
                np.full((1, 1), repeats[t]),
                normalized=settings.normalized,
                damping=0.5 / w.shape[3] if settings.normalized else 0.0,
                max_error=3.0,
                max_weight=settings.max_weight,
                min_variance=1e-4,
                max_variance=10.0,
            )
            below, first = (means, variances), last
            predicted[number].append(means)
        mixtures.append(variances.mean(axis=2) + means.var(axis=2))
    return weights, (list(map(np.concatenate, predicted)), np.concatenate(mixtures))


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"skip": False},
        {"skip": False, "bias": False},
        {"learning_rate": "constant", "learning_rate_init": 0.01},
        {"initial_weights": "uniform"},
        {"initial_weights": "zero"},
    ],
    ids=str,
)
def test_network_equals_naive(params):
    settings = settings_with(dtype="float64", **params)
    features, targets = add_base_predictions(0, 150, n_outputs=2)
    repeats = np.random.default_rng(1).choice([0.0, 0.4, 1.0, 2.0], size=150)
    network = make_network(features, 2, settings)
    rates = np.full(150, settings.learning_rate_init)
    expected, wanted = naive_network(network, settings, features, targets, repeats, rates)
    kernels = registry.get_kernels()
    given = {"features": features, "targets": targets, "repeats": repeats}
    predicted = run(network, kernels, slice(None), settings, **given)
    for layer, weights in zip(network.layers, expected, strict=True):
        assert_allclose(by_context(layer, layer.weights), weights, **TOLERANCE)
    for got, right in zip(predicted[0], wanted[0], strict=True):
        assert_allclose(got, right, **TOLERANCE)
    assert_allclose(predicted[1], wanted[1], **TOLERANCE)


def test_row_by_row_equals_a_chunk_on_all_backends(backend):
    settings = settings_with(dtype="float64", layer_sizes=(3, 2))
    features, targets = add_base_predictions(1, 40)
    given = {"features": features, "targets": targets}
    whole, pieces = make_network(features, 1, settings), make_network(features, 1, settings)
    at_once = run(whole, backend, slice(None), settings, **given)
    parts = [run(pieces, backend, slice(t, t + 1), settings, **given) for t in range(40)]
    for number, got in enumerate(at_once[0]):
        assert_allclose(got, np.concatenate([means[number] for means, _ in parts]), **TOLERANCE)
    assert_allclose(at_once[1], np.concatenate([variance for _, variance in parts]), **TOLERANCE)
    reference = make_network(features, 1, settings)
    run(reference, registry.get_kernels("numpy"), slice(None), settings, **given)
    for layer, other, same in zip(whole.layers, pieces.layers, reference.layers, strict=True):
        assert_allclose(by_context(layer, layer.weights), by_context(other, other.weights), **TOLERANCE)
        assert_allclose(by_context(layer, layer.weights), by_context(same, same.weights), **TOLERANCE)


def test_padding_changes_nothing(backend):
    if not backend.ON_DEVICE:
        pytest.skip("calls of this backend are never padded")
    settings = settings_with(layer_sizes=(3, 2))
    features, targets = add_base_predictions(2, 30)
    network, of_padded = make_network(features, 1, settings), make_network(features, 1, settings)
    given = {"features": features, "targets": targets}
    expected, expected_variance = run(network, backend, slice(None), settings, **given)
    means, variance = run(of_padded, backend, slice(None), settings, **given, padding=5)
    for got, wanted in zip(means, expected, strict=True):
        assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    assert_allclose(variance, expected_variance, rtol=1e-5)
    for layer, other in zip(network.layers, of_padded.layers, strict=True):
        assert_allclose(by_context(layer, layer.weights), by_context(other, other.weights), rtol=1e-5, atol=1e-6)


def test_untrained_network_predicts_about_a_standard_normal():
    settings, kernels = settings_with(layer_sizes=(5, 5, 5)), registry.get_kernels("numpy")
    features, _ = add_base_predictions(3, 100)
    network = make_network(features, 1, settings)
    outputs = infer(network, kernels, Inputs(features, (), features), settings)
    for of_layer in outputs.layers:
        assert_allclose(of_layer, 0, atol=1e-5)
    assert_allclose(variance_of(outputs, kernels), 1, rtol=1e-5)


def test_learns_a_gated_linear_function():
    settings, kernels = settings_with(layer_sizes=(20, 20, 20), context_dim=4), registry.get_kernels()
    features, targets = add_base_predictions(4, 3000)
    network = make_network(features, 1, settings)
    kept = {"features": features, "targets": targets}
    progressive, _ = run(network, kernels, slice(0, 2000), settings, **kept)
    outputs = infer(network, kernels, Inputs(features[2000:], (), features[2000:]), settings)
    mean, variance = outputs.layers[-1].mean(axis=2), variance_of(outputs, kernels)
    residuals = (mean - targets[2000:]) / targets.std()
    assert np.sqrt(np.mean(residuals**2)) < 0.4  # a linear function: 0.9
    assert np.mean(((mean - targets[2000:]) ** 2 / variance) < 1.645**2) == pytest.approx(0.9, abs=0.08)
    first, last = (
        np.mean((progressive[-1][rows] - targets[rows][..., np.newaxis]) ** 2)
        for rows in (slice(100), slice(1900, 2000))
    )
    assert last < first / 2
