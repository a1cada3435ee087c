"""The network as plain arrays: halfspaces, initial weights, layers to answers, tasks."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_gln._base_predictor import Inputs
from sklearn_gln._halfspaces import Pool
from sklearn_gln._head import LayersHead, PlainHead
from sklearn_gln._network import (
    InputSizes,
    LayerOutputs,
    contexts_by_layer,
    estimate_memory,
    init_network,
    learn,
)
from sklearn_gln._samples import Samples
from sklearn_gln.kernels import get_kernels
from sklearn_gln.kernels._threads import layer_tasks
from tests.helpers import by_context, make_settings


def make_pool(n=40, n_side=5, seed=0):
    rng = np.random.default_rng(seed)
    side_info = rng.normal(size=(n, n_side)) * rng.uniform(0.1, 5.0, n_side) + rng.normal(size=n_side)
    return Pool.of(side_info, rng.integers(0, 3, n), np.ones(n), np.arange(3))


# A new network


def new_network(outputs=(0, 1, 2), seed=5, pool=None, **params):
    pool = make_pool() if pool is None else pool
    n_side = pool.side_info.shape[1]
    settings = make_settings(n_side, **{"layer_sizes": (4, 3), "context_dim": 2, "dtype": "float64", **params})
    return init_network(InputSizes(n_side + 1), pool, np.array(outputs), settings, seed)


@pytest.mark.parametrize("halfspaces", ["cuts", "gaussian", "raw_gaussian"])
@pytest.mark.parametrize("share", [True, False])
def test_a_seed_determines_the_network(halfspaces, share):
    params = {"halfspaces": halfspaces, "share_halfspaces": share, "offset_scale": 0.5}
    network, same, other = (new_network(seed=seed, **params) for seed in (5, 5, 6))
    assert network.hyperplanes.shape == (1 if share else 3, 7, 2, 5)
    assert network.offsets.shape == (1 if share else 3, 7, 2)
    for name in ("hyperplanes", "offsets"):
        array = getattr(network, name)
        assert_array_equal(getattr(same, name), array)
        assert np.mean(getattr(other, name) == array) < (0.8 if name == "hyperplanes" else 0.01)  # of many, one feature
    assert len(np.unique(network.offsets)) == network.offsets.size


@pytest.mark.parametrize("halfspaces", ["cuts", "gaussian"])
@pytest.mark.parametrize("outputs", [[0, 2], [2], [1, 0]])
def test_a_subset_of_outputs_draws_the_same_halfspaces(halfspaces, outputs):
    params = {"halfspaces": halfspaces, "offset_scale": 0.5}
    for name in ("hyperplanes", "offsets"):
        apart = getattr(new_network(share_halfspaces=False, **params), name)
        assert_array_equal(getattr(new_network(outputs, share_halfspaces=False, **params), name), apart[outputs])
        shared = getattr(new_network(**params), name)
        assert_array_equal(getattr(new_network(outputs, **params), name), shared)


def test_layers_do_not_depend_on_the_layers_after_them():
    first = new_network(layer_sizes=(4,)).hyperplanes
    assert_array_equal(new_network(layer_sizes=(4, 3)).hyperplanes[:, :4], first)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_initial_weights(skip, bias):
    layers = {
        kind: new_network(initial_weights=kind, skip=skip, bias=bias, aggregation="neuron").layers
        for kind in ("mean", "uniform", "zero")
    }
    beside = 6 if skip else int(bias)
    n_inputs, n_previous = [6, 4 + beside, 3 + beside], [0, 4, 3]
    for number, n_neurons in enumerate([4, 3, 1]):
        for kind in layers:
            layer = layers[kind][number]
            assert by_context(layer, layer.weights).shape == (3, n_neurons, 4, n_inputs[number])
            assert by_context(layer, layer.accumulator).shape == (3, n_neurons, 4)
            assert_array_equal(layer.accumulator, 0.0)
        assert_array_equal(layers["zero"][number].weights, 0.0)
        assert_allclose(layers["uniform"][number].weights, 1 / n_inputs[number])
        p, x = np.split(layers["mean"][number].weights, [n_previous[number]], axis=-1)
        assert_allclose(p, 1 / max(p.shape[-1], 1))
        assert_array_equal(x, 0.0)


@pytest.mark.parametrize("dtype", ["float32", "float64", np.float32])
def test_arrays_have_the_dtype_of_the_settings(dtype):
    network = new_network(dtype=dtype)
    for array in (network.hyperplanes, network.offsets, *(layer.weights for layer in network.layers)):
        assert array.dtype == dtype


@pytest.mark.parametrize("aggregation", ["stacked", "layers", "last_layer", "neuron"])
def test_heads_without_weights(aggregation):
    rng = np.random.default_rng(3)
    sizes = (7, 2, 1) if aggregation == "neuron" else (7, 2)
    logits = [rng.normal(size=(5, 3, size)).astype(np.float32) for size in sizes]
    means = [layer.astype(float).mean(axis=2) for layer in logits]
    expected = (means[0] + means[1]) / 2 if aggregation == "layers" else means[-1]
    if aggregation == "stacked":
        expected = np.stack(means, axis=2)
    head = LayersHead(2) if aggregation == "stacked" else PlainHead.empty(len(sizes), aggregation)
    got = head.predict(head.gather(LayerOutputs(logits, 0.0), get_kernels("numpy")))
    assert got.dtype == float
    assert_allclose(got, expected, rtol=1e-12)


def test_initial_weights_are_within_their_bound():
    for layer in new_network(layer_sizes=(2, 5), max_weight=0.3, aggregation="neuron").layers[1:]:
        assert layer.weights.max() == pytest.approx(min(0.3, 1 / (layer.weights.shape[3] - 6)))


# Regression


def regression_network(likelihood, **params):
    pool = make_pool()
    settings = make_settings(5, likelihood=likelihood, **{"layer_sizes": (4, 3), "context_dim": 2, **params})
    return init_network(InputSizes(settings.n_base(5)), pool, np.arange(2), settings, 5), settings


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("halfspaces", ["cuts", "gaussian"])
@pytest.mark.parametrize("likelihood", ["squared", "gaussian"])
def test_the_first_layer_is_one_neuron_of_one_context(likelihood, halfspaces, share):
    params = {"halfspaces": halfspaces, "offset_scale": 0.5, "share_halfspaces": share}
    network, settings = regression_network(likelihood, **params)
    assert settings.likelihood.has_linear_first
    assert settings.layer_sizes == (1, 4, 3)
    kernels, rows = get_kernels("numpy"), make_pool(300, seed=9).side_info
    first, *others = contexts_by_layer(network, kernels, rows.astype(np.float32), "float32")
    assert_array_equal(first, 0)
    assert all(np.all(np.ptp(contexts, axis=0) > 0) for contexts in others)
    classifier = make_settings(5, layer_sizes=(1, 4, 3), context_dim=2, **params)
    assert not classifier.likelihood.has_linear_first
    same = init_network(InputSizes(6), make_pool(), np.arange(2), classifier, 5)  # layers draw from seeds of their own
    for name in ("hyperplanes", "offsets"):
        drawn, of_classes = getattr(network, name)[:, 1:], getattr(same, name)[:, 1:]
        if share:
            assert_array_equal(drawn, of_classes)
        elif halfspaces == "gaussian":  # of targets those that each would have alone; of classes each its own
            assert_array_equal(drawn[1], drawn[0])
            assert not np.isclose(of_classes[1], of_classes[0]).any()


@pytest.mark.parametrize(
    ("params", "sizes"),
    [
        ({"layer_sizes": ()}, (1,)),
        ({"layer_sizes": (), "aggregation": "neuron"}, (1, 1)),
        ({"layer_sizes": (2,), "aggregation": "neuron"}, (1, 2, 1)),
    ],
)
def test_layers_of_regression(params, sizes):
    network, settings = regression_network("squared", **params)
    assert settings.layer_sizes == sizes == tuple(layer.accumulator.shape[1] for layer in network.layers)
    assert [layer.spread is None for layer in network.layers] == [True] * (len(sizes) - 1) + [False]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize(
    ("params", "n_given", "n_constants"),
    [
        ({"likelihood": "squared"}, 10, 1),
        ({"likelihood": "squared", "squares": False}, 5, 1),
        ({"likelihood": "squared", "base_predictor": "identity"}, 5, 1),
        ({"likelihood": "squared", "base_predictor": "identity", "squares": True}, 10, 1),
        ({"likelihood": "gaussian"}, 10, 2),
        ({"likelihood": "gaussian", "squares": True}, 10, 2),
    ],
)
def test_inputs_of_regression(params, n_given, n_constants, skip, bias):
    network, settings = regression_network(**params, skip=skip, bias=bias)
    n_base, constants = n_given + n_constants * bias, n_constants * bias
    assert settings.n_base(5) == n_base
    assert settings.n_constants == constants
    above = n_base if skip else constants
    expected = [n_base, 1 + above, 4 + above]
    assert InputSizes(n_base).by_layer(settings) == expected
    assert [layer.weights.shape[3] for layer in network.layers] == expected


def test_squares_are_auto_up_to_64_scaled_features():
    assert make_settings(64, likelihood="squared").squares
    assert not make_settings(65, likelihood="squared").squares
    assert make_settings(65, likelihood="squared", squares=True).squares
    assert not make_settings(4).squares


@pytest.mark.parametrize("kind", ["mean", "uniform", "zero"])
def test_initial_weights_of_gaussian_neurons(kind):
    first, *others = regression_network("gaussian", initial_weights=kind)[0].layers
    assert_allclose(first.weights, {"mean": 2 / 12, "uniform": 1 / 12, "zero": 0}[kind], rtol=1e-6)
    for layer, n_previous in zip(others, (1, 4), strict=True):
        below, base = np.split(layer.weights, [n_previous], axis=-1)
        expected = {"mean": (1 / n_previous, 0), "uniform": (1 / (n_previous + 12),) * 2, "zero": (0, 0)}[kind]
        assert_allclose(below, expected[0], rtol=1e-6)
        assert_allclose(base, expected[1], rtol=1e-6)


@pytest.mark.parametrize("likelihood", ["squared", "gaussian"])
@pytest.mark.parametrize("preconditioner", ["full", None])
def test_memory_of_regression(likelihood, preconditioner):
    """Every array of the network, with a slot for each context and one for all others."""
    network, settings = regression_network(likelihood, preconditioner=preconditioner, skip=False)
    network.expect_gaps(get_kernels("numpy"))
    n_bytes = network.hyperplanes.nbytes + network.offsets.nbytes
    for layer in network.layers:
        n_bytes += layer.weights.nbytes * 5 + layer.accumulator.nbytes * 5 + layer.slot_of.nbytes + layer.n_slots.nbytes
        if layer.spread is not None:
            n_bytes += sum(getattr(layer.spread, name).nbytes * 5 for name in layer.spread.by_slot)
    n_bytes += sum(item.moment.nbytes * 3 // 2 for item in network.preconditioners)  # with P in float32
    n_bytes += 0 if network.cross_moment is None else network.cross_moment.nbytes + network.gap_moment.nbytes
    assert estimate_memory(InputSizes(settings.n_base(5)), 5, 2, np.inf, settings) == n_bytes


# Learning


def learn_rows(network, backend, n=60, **params):
    rng = np.random.default_rng(4)
    rows = make_pool(n).side_info
    settings = make_settings(5, **{"layer_sizes": (4, 3), "context_dim": 2, "dtype": "float64", **params})
    targets = rng.integers(2, size=(n, 3)).astype(float)
    with backend.scope("cpu"):
        network.move_to(backend)
        samples = Samples(rows, targets, np.ones(n), np.arange(1, n + 1), np.ones(n, bool), epoch=1)
        rows = backend.asarray(rows)
        logits = learn(network, backend, Inputs(rows, (), rows), targets, samples, settings).layers
        return [backend.to_numpy(layer) for layer in logits]


@pytest.mark.parametrize("initial_weights", ["mean", "uniform", "zero"])
def test_contexts_that_no_row_visits_keep_their_initial_weights(backend, initial_weights):
    params = {"context_dim": 6, "initial_weights": initial_weights}
    network, untouched = new_network(**params), new_network(**params)
    learn_rows(network, backend, n=25, **params)
    for layer, initial in zip(network.layers, untouched.layers, strict=True):
        visited = by_context(layer, layer.accumulator) > 0
        assert 0.02 < visited.mean() < 0.4
        if layer.slot_of is not None:
            assert_array_equal(visited[0], layer.slot_of[0] > 0)
            assert_array_equal(layer.n_slots, 1 + visited[:1].sum(axis=2))  # memory follows the data
            assert layer.weights.shape[2] <= max(2 * layer.n_slots.max(), 2)
        weights, untouched_weights = by_context(layer, layer.weights), by_context(initial, initial.weights)
        assert_array_equal(weights[~visited], untouched_weights[~visited])
        assert np.all(np.any(weights[visited] != untouched_weights[visited], axis=-1))


def test_before_any_step_a_layer_passes_on_the_mean_of_the_layer_before(backend):
    network = new_network(layer_sizes=(3, 4, 2))
    rng = np.random.default_rng(5)
    network.layers[0].weights[:] = rng.normal(size=network.layers[0].weights.shape)
    logits = learn_rows(network, backend, n=1, layer_sizes=(3, 4, 2))
    assert np.ptp(logits[0], axis=2).min() > 0.01
    for layer in logits[1:]:
        assert_allclose(layer, np.broadcast_to(logits[0].mean(axis=2, keepdims=True), layer.shape), rtol=1e-12)


# Tasks


@pytest.mark.parametrize("n_rows", [1, 100, 5000])
@pytest.mark.parametrize("task_size", [1, 16, 100])
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (10, 50), (10, 1), (3, 16), (7, 13), (2, 101)])
@pytest.mark.parametrize("together", [0, 4, 16])
def test_tasks_cover_every_neuron_once(n_rows, task_size, shape, together):
    tasks = layer_tasks(n_rows, *shape, task_size, together)
    covered = np.zeros(shape, int)
    array = np.empty(shape)
    for task in tasks:
        covered[task] += 1
        assert array[task].size
        assert together or array[task].flags.c_contiguous
    assert_array_equal(covered, 1)
    n_outputs, n_neurons = shape
    if len(tasks) > 1:
        assert max(array[task].size for task in tasks) <= max(task_size, min(together, n_outputs))
        assert not together or len(array[tasks[0]]) == min(together, n_outputs)
    if n_rows == 5000 and np.prod(shape) > task_size and (n_neurons > 1 or together < n_outputs):
        assert len(tasks) > 1
    assert tasks == layer_tasks(n_rows, *shape, task_size, together)
