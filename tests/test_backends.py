"""The same estimator on every backend and device: equal models, data that stay where they are, no traces."""

import gc
import importlib
import pickle
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from itertools import product
from unittest.mock import patch

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_gln import GLNClassifier, _base, _online, kernels
from sklearn_gln._network import Network
from tests.helpers import FRAMEWORKS, HOSTS, INTERPRETED, assert_refused, forget_backend, make_stream

DEVICES = ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)]
PAIRS = list(product([*HOSTS, *FRAMEWORKS], repeat=2))
SMALL = {"layer_sizes": (5, 6), "context_dim": 3, "dtype": "float64", "random_state": 0}  # sizes unlike other lengths
CLASSES = [0, 1, 2]
X, Y, WEIGHTS = make_stream(11, 2300)
X = np.column_stack([X[:, 0], np.round(X[:, 1]), X[:, 2], np.round(30 * X[:, 3])])  # of which two may be categories
REFERENCE = "numba" if "numba" in HOSTS and not INTERPRETED else "numpy"
CONVERSIONS = {
    "torch": ("torch", "Tensor", ("numpy", "__array__")),
    "tensorflow": ("tensorflow.python.framework.ops", "EagerTensor", ("numpy", "__array__")),
    "jax": ("jax._src.array", "ArrayImpl", ("__array__",)),
}


def new(backend, **params):
    return GLNClassifier(**SMALL | {"backend": backend} | params)


@pytest.fixture(params=DEVICES)
def device(request, backend):
    """A device that the backend has."""
    try:
        with backend.scope(request.param):
            return request.param
    except ValueError:
        return pytest.skip(f"{backend.__name__} has no device {request.param!r} here")


LEARNERS = {
    "default": {},
    "plain": {
        "learning_rate": "constant",
        "learning_rate_init": 0.02,
        "base_predictor": "minmax",
        "share_halfspaces": False,
        "aggregation": "neuron",
        "skip": False,
        "max_weight": 0.3,
        "halfspaces": "gaussian",
    },
    "half-life": {"half_life": 300, "base_predictor": "global"},
    "categories": {"categorical_features": [1, 3], "half_life": "mixed"},
    "wide": {"max_dense": 3, "half_life": "mixed"},
    "wide, no constant": {"max_dense": 3, "bias": False, "skip": False},
}


# The same model


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_backend_learns_the_same_model(backend_name, device, learner):
    params = LEARNERS[learner]
    expected, got = new(REFERENCE, **params), new(backend_name, device=device, **params)
    before = [model.progressive_predict_proba(X, Y, CLASSES, WEIGHTS) for model in (expected, got)]
    assert_allclose(before[1], before[0], rtol=1e-8, atol=1e-9)
    assert_allclose(got.predict_proba(X[:700]), expected.predict_proba(X[:700]), rtol=1e-8, atol=1e-9)
    assert got.progressive_accuracy_ == expected.progressive_accuracy_


def test_single_precision_agrees_to_its_rounding(backend_name, device):
    models = [new(name, device=on, dtype="float32") for name, on in ((REFERENCE, None), (backend_name, device))]
    before = [model.progressive_predict_proba(X, Y, CLASSES, WEIGHTS) for model in models]
    differences = np.abs(before[1] - before[0]).max(axis=1)
    assert np.quantile(differences, 0.99) < 1e-3  # a row that changes sides of a hyperplane may move more
    assert abs(models[0].progressive_loss_ - models[1].progressive_loss_) < 1e-3


def test_several_epochs_on_weighted_rows(backend_name):
    models = [new(name, max_iter=3, early_stopping=True).fit(X[:600], Y[:600]) for name in (REFERENCE, backend_name)]
    assert_allclose(models[1].loss_curve_, models[0].loss_curve_, rtol=1e-8)
    assert_allclose(models[1].validation_loss_curve_, models[0].validation_loss_curve_, rtol=1e-8)


def test_the_same_initial_network_on_every_backend(backend_name):
    networks = [new(name).partial_fit(X[:30], Y[:30], CLASSES)._online.network for name in ("numpy", backend_name)]
    for name in ("hyperplanes", "offsets"):
        assert_array_equal(kernels.as_numpy(getattr(networks[1], name)), getattr(networks[0], name))


@pytest.mark.parametrize("preconditioner", ["full", "block"])
def test_wide_inputs(backend_name, preconditioner):
    rng = np.random.default_rng(0)
    rows, y = rng.normal(size=(300, 140)), rng.integers(2, size=300)
    models = [new(name, preconditioner=preconditioner, layer_sizes=(2,)) for name in (REFERENCE, backend_name)]
    before = [model.progressive_predict_proba(rows, y, [0, 1]) for model in models]
    assert_allclose(before[1], before[0], rtol=1e-7, atol=1e-9)


# From one backend to another


@pytest.mark.parametrize(("backend_name", "other"), PAIRS)
def test_a_model_moves_between_backends(backend_name, other):
    halves = slice(0, 600), slice(600, 1100)
    alone = new(other)
    moved = new(backend_name).partial_fit(X[halves[0]], Y[halves[0]], CLASSES)
    assert not any(foreign(leaf) for leaf in leaves(moved.__getstate__()))
    moved = pickle.loads(pickle.dumps(moved)).set_params(backend=other)
    alone.partial_fit(X[halves[0]], Y[halves[0]], CLASSES)
    for model in (moved, alone):
        model.partial_fit(X[halves[1]], Y[halves[1]])
    assert_allclose(moved.predict_proba(X[1100:]), alone.predict_proba(X[1100:]), rtol=1e-8, atol=1e-9)
    moved.set_params(backend=backend_name)  # in memory, without a file
    assert_allclose(moved.predict_proba(X[1100:]), alone.predict_proba(X[1100:]), rtol=1e-8, atol=1e-9)


def leaves(state):
    if isinstance(state, dict):
        state = list(state.values())
    if isinstance(state, list | tuple):
        return [leaf for item in state for leaf in leaves(item)]
    return [state]


def foreign(leaf):
    return type(leaf).__module__.partition(".")[0] in ("torch", "tensorflow", "jax", "jaxlib")


@pytest.mark.parametrize("backend_name", ["numba", *FRAMEWORKS])
def test_a_model_outlives_its_framework(backend_name, monkeypatch):
    model = new(backend_name).partial_fit(X[:300], Y[:300], CLASSES)
    expected, file = model.predict_proba(X[300:]), pickle.dumps(model)
    forget_backend(monkeypatch, backend_name)
    loaded = pickle.loads(file)
    package = "numba" if backend_name == "numba" else rf'"sklearn_gln\[{backend_name}\]"'
    with pytest.raises(ImportError, match=rf"backend='{backend_name}' needs a package.*`pip install {package}`"):
        loaded.predict(X)
    assert_refused(new(backend_name), lambda it: it.fit(X, Y), ImportError, f"backend='{backend_name}'")
    loaded.set_params(backend="numpy")
    assert_allclose(loaded.predict_proba(X[300:]), expected, rtol=1e-8, atol=1e-9)
    loaded.partial_fit(X[300:], Y[300:])


@pytest.mark.parametrize("names", kernels.OTHER_NAMES.items(), ids="-".join)
def test_names_that_others_use(names):
    name, right = names
    assert_refused(new(name), lambda it: it.fit(X, Y), ValueError, f"backend='{name}' is unknown.*'{right}'")


@pytest.mark.parametrize("missing", ["cuda:77", "gpu:77", "nonsense", 3.5])
def test_a_missing_device(backend_name, missing):
    expected = rf"device={missing!r}.*'cpu"
    assert_refused(new(backend_name, device=missing), lambda it: it.fit(X, Y), ValueError, expected)
    model = new(backend_name).partial_fit(X[:20], Y[:20], CLASSES).set_params(device=missing)
    for method in (lambda: model.partial_fit(X, Y), lambda: model.predict(X)):
        with pytest.raises(ValueError, match=expected):
            method()
    assert model.set_params(device=None).n_samples_seen_ == 20


@pytest.mark.parametrize("backend_name", FRAMEWORKS)
def test_devices_by_the_frameworks_own_objects(backend_name):
    if backend_name == "torch":
        device = pytest.importorskip("torch").device("cpu")
    elif backend_name == "jax":
        device = pytest.importorskip("jax").devices("cpu")[0]
    else:
        device = pytest.importorskip("tensorflow").config.list_logical_devices("CPU")[0]
    got = new(backend_name, device=device).partial_fit(X[:300], Y[:300], CLASSES)
    expected = new(backend_name, device="cpu").partial_fit(X[:300], Y[:300], CLASSES)
    assert_array_equal(got.predict_proba(X), expected.predict_proba(X))


# Data stay on the device


@contextmanager
def conversions_of(backend_name, seen):
    """Arrays of the framework become NumPy's through `to_numpy` and `as_numpy` alone, which record their shapes."""
    backend = kernels.get_kernels(backend_name)
    module, name, methods = CONVERSIONS[backend_name]
    tensor = getattr(importlib.import_module(module), name)
    allowed = []

    def refusing(method):
        def convert(self, *args, **options):
            assert allowed, f"{tuple(self.shape)} passes through NumPy"
            return method(self, *args, **options)

        return convert

    def recording(convert):
        def record(x):
            if not foreign(x):
                return convert(x)
            seen.append(tuple(x.shape))
            allowed.append(True)
            try:
                return convert(x)
            finally:
                allowed.pop()

        return record

    with ExitStack() as stack:
        for method in methods:
            stack.enter_context(patch.object(tensor, method, refusing(getattr(tensor, method))))
        stack.enter_context(patch.object(backend, "to_numpy", recording(backend.to_numpy)))
        for user in (_base, _online, backend):
            if hasattr(user, "as_numpy"):
                stack.enter_context(patch.object(user, "as_numpy", recording(kernels.as_numpy)))
        yield


@pytest.mark.parametrize("learner", ["default", "half-life", "plain"])  # columns are NumPy's
@pytest.mark.parametrize("backend_name", FRAMEWORKS)
@pytest.mark.parametrize("given", ["NumPy", "tensor"])
def test_between_rows_in_and_logits_out_nothing_passes_through_numpy(backend_name, learner, given):
    model = new(backend_name, **LEARNERS[learner]).partial_fit(X[:300], Y[:300], CLASSES)
    backend = kernels.get_kernels(backend_name)
    rows = X[300:]
    if given == "tensor":
        with backend.scope("cpu"):
            rows = backend.asarray(rows)
    seen = []
    n_features = X.shape[1]
    with conversions_of(backend_name, seen):
        before = model.progressive_predict_proba(rows, Y[300:], sample_weight=WEIGHTS[300:])
        learned = set(seen)
        n_sampled = sum(shape[0] for shape in seen if shape[1:] == (n_features,))
        seen.clear()
        after = model.predict_proba(rows)
        predicted = set(seen)
    assert before.shape == after.shape == (len(rows), 3)
    # Of a chunk's rows every eighth, by which wild values are known; where chunks are filled up, every eighth of that.
    assert n_sampled <= len(rows) / (7 if backend.CHUNK_SIZES is None else 2)
    learned = {shape for shape in learned if shape[1:] != (n_features,)}
    for shapes, allowed in ((learned, {(n_features,)}), (predicted, set())):
        # Sums over rows, for the scaling; mean logits of outputs; and the type of no rows at all.
        neuron_mean = {shape for shape in shapes if len(shape) == 2 and shape[1] == 3}
        assert neuron_mean
        assert shapes - neuron_mean <= allowed | {(0, n_features)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("backend", FRAMEWORKS, indirect=True)
def test_features_of_the_framework_are_learned_as_those_of_numpy(backend, backend_name, device, dtype, method):
    rows = X[:700].astype(dtype)
    params = {"early_stopping": True, "max_iter": 2, "device": device}
    with backend.scope(device):
        tensor = backend.asarray(rows)
    models = [new(backend_name, **params) for _ in range(2)]
    classes = {} if method == "fit" else {"classes": CLASSES}
    for model, features in zip(models, (rows, tensor), strict=True):
        getattr(model, method)(features, Y[:700], sample_weight=WEIGHTS[:700], **classes)
    assert_allclose(models[1].predict_proba(tensor), models[0].predict_proba(rows), rtol=1e-12)
    assert_array_equal(models[1].predict(tensor), models[0].predict(rows))
    for checked in (True, False):
        assert_allclose(models[1].predict_proba(tensor, check_input=checked), models[0].predict_proba(rows), rtol=1e-12)


@pytest.mark.parametrize("backend_name", FRAMEWORKS)
def test_wide_rows_of_the_framework_are_read_once_a_call(backend_name):
    backend, seen = kernels.get_kernels(backend_name), []
    rows, y = np.tile(X, (2, 1)), np.tile(Y, 2)  # more than one chunk
    with backend.scope("cpu"):
        tensor = backend.asarray(rows)
    models = [new(backend_name, max_dense=3) for _ in range(2)]
    for model, features in zip(models, (rows, tensor), strict=True):
        with conversions_of(backend_name, seen):
            model.partial_fit(features, y, CLASSES)
            predicted = model.predict_proba(features, check_input=False)
        assert seen.count(rows.shape) == (0 if features is rows else 2)
    assert_allclose(predicted, models[0].predict_proba(rows), rtol=1e-12)


@pytest.mark.parametrize("backend_name", FRAMEWORKS)
def test_wrong_features_of_the_framework_are_refused(backend_name):
    backend = kernels.get_kernels(backend_name)

    def tensor(rows):
        with backend.scope("cpu"):
            return backend.asarray(np.array(rows))

    infinite = X[:50].copy()
    infinite[7, 2] = np.inf
    model = new(backend_name)
    for rows, message in [(infinite, "infinity"), (X[:49], "inconsistent"), (X[:50, 0], "2D"), (X[:0], "0 sample")]:
        assert_refused(model, lambda it, rows=rows: it.fit(tensor(rows), Y[:50]), ValueError, message)
    model.fit(tensor(X[:50]), Y[:50])
    for rows, message in [(infinite, "infinity"), (X[:50, :3], "3 features.*4 features")]:
        assert_refused(model, lambda it, rows=rows: it.predict(tensor(rows)), ValueError, message)
    integers = tensor(np.arange(40).reshape(10, 4))
    assert_allclose(model.predict_proba(integers), model.predict_proba(np.arange(40.0).reshape(10, 4)))


# No traces


@pytest.mark.thorough
@pytest.mark.parametrize("backend_name", FRAMEWORKS)
def test_a_backend_imports_its_own_framework_only_and_changes_no_setting(backend_name):
    script = f"""
import sys
import numpy as np
import sklearn_gln
from sklearn_gln import GLNClassifier
frameworks = {{"torch", "tensorflow", "jax", "numba"}}
assert not frameworks & set(sys.modules), frameworks & set(sys.modules)
import {backend_name}
own = frameworks & set(sys.modules)  # TensorFlow brings others itself
sklearn_gln.kernels.get_kernels({backend_name!r})
assert frameworks & set(sys.modules) == own, frameworks & set(sys.modules)

def settings():
    if {backend_name!r} == "torch":
        import torch
        return (torch.get_num_threads(), torch.get_num_interop_threads(), torch.get_default_dtype(),
                torch.is_grad_enabled(), torch.get_default_device(), torch.are_deterministic_algorithms_enabled(),
                torch.initial_seed(), torch.is_inference_mode_enabled())
    if {backend_name!r} == "jax":
        import jax
        import jax.numpy as jnp
        return jax.config.values.copy(), jnp.ones(2).dtype, jnp.ones(2).device
    import tensorflow as tf
    return (tf.executing_eagerly(), tf.config.threading.get_inter_op_parallelism_threads(),
            tf.config.threading.get_intra_op_parallelism_threads(), tf.config.get_soft_device_placement(),
            tf.config.functions_run_eagerly(), tf.config.optimizer.get_jit(), hasattr(tf.ones(1), "astype"))

before = settings()
rng = np.random.default_rng(0)
X, y = rng.normal(size=(300, 4)), rng.integers(2, size=300)
model = GLNClassifier((3,), 2, backend={backend_name!r}, dtype="float64", random_state=0)
seen = []

for block, logits in GLNClassifier._learn(
    model, model.partial_fit(X[:2], y[:2], [0, 1])._online, X, y, np.ones(300)
):
    assert settings() == before  # others' code runs between two blocks
    seen.extend(block)
assert len(seen) == 300
model.predict_proba(X)
assert settings() == before
assert frameworks & set(sys.modules) == own, frameworks & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("backend_name", FRAMEWORKS)
def test_streams_of_odd_sized_chunks_are_not_compiled_anew(backend_name):
    sizes = [1, 2, 3, 5, 17, 31, 64, 100, 257, 333, 511]
    stream = np.resize(np.arange(len(X)), 6000)
    model = new(backend_name)
    start = 0
    for size in [2100, *sizes]:  # past all events but the periodic ones
        rows = stream[start : start + size]
        model.partial_fit(X[rows], Y[rows], CLASSES)
        model.predict_proba(X[rows])
        start += size
    with compilations(backend_name) as count:
        for size in [size + 1 for size in sizes] + [7, 9, 11, 13]:
            rows = stream[start : start + size]
            model.partial_fit(X[rows], Y[rows])
            model.predict_proba(X[rows])
            start += size
    assert count() == 0


@contextmanager
def compilations(backend_name):
    """A function that says how often the framework has compiled or traced since."""
    if backend_name == "jax":
        monitoring = pytest.importorskip("jax").monitoring
        events, listening = [], [True]

        def listen(name, *_, **__):
            if listening:
                events.append(name)

        monitoring.register_event_duration_secs_listener(listen)  # for good: only all at once can be taken off
        yield lambda: sum("backend_compile" in name for name in events)
        listening.clear()
    elif backend_name == "tensorflow":

        def traces():
            gc.unfreeze()  # conftest.py
            functions = [item for item in gc.get_objects() if type(item).__name__ == "Function"]
            functions = [item for item in functions if hasattr(item, "function_spec")]
            return {id(item): (item, item.experimental_get_tracing_count()) for item in functions}

        before = traces()  # which holds them: none vanishes, no other takes its number
        assert before
        yield lambda: sum(count - before.get(number, (None, 0))[1] for number, (_, count) in traces().items())
    else:
        yield lambda: 0


# Every array on the device


@pytest.mark.parametrize("backend_name", FRAMEWORKS)
def test_a_network_is_placed_whole(backend_name):
    backend = kernels.get_kernels(backend_name)
    network: Network = new(backend_name).partial_fit(X[:600], Y[:600], CLASSES)._online.network
    arrays = [network.hyperplanes, network.offsets]
    for layer in network.layers:
        assert layer.slot_of is None
        assert tuple(layer.weights.shape[:3]) == tuple(layer.accumulator.shape) == (3, layer.weights.shape[1], 8)
        arrays += [layer.weights, layer.accumulator]
    arrays += [array for item in network.preconditioners for array in (item.moment, item.matrix)]
    assert all(backend.owns(array) for array in arrays)
    assert {kernels.as_numpy(item.moment).dtype for item in network.preconditioners} == {np.dtype(float)}
