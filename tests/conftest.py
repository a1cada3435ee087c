"""What several test files share."""

import itertools
import signal
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln.kernels import BACKENDS, as_numpy
from tests.test_kernels import backend  # noqa: F401  (the fixture: the kernels of each backend)

TESTS = itertools.count(1)

PATIENT = {"deadline": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("ci", max_examples=40, stateful_step_count=15, derandomize=True, **PATIENT)
settings.register_profile(
    "long", max_examples=4000, stateful_step_count=30, **PATIENT
)  # for test_properties.py, by hand
settings.load_profile("ci")


@pytest.fixture(autouse=True, scope="session")
def interruptible():
    """Have Ctrl-C interrupt, which shells turn off in what they run in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def few_compiled_functions():
    """Have JAX forget what it compiled now and then: each function takes memory maps, of which a process has few."""
    yield
    if next(TESTS) % 200 == 0 and "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture
def backend_name(backend):  # noqa: F811
    """The name by which users choose the backend."""
    return next(name for name, module in BACKENDS.items() if module == backend.__name__)


def make_settings(n_features=4, **params):
    """The resolved settings of a classifier with these parameters, or of a regressor if they name a likelihood."""
    estimator = GLNRegressor if "likelihood" in params else GLNClassifier
    return estimator(**{"aggregation": "layers"} | params)._settings(n_features)  # without the stack, or its fit


def by_context(layer, array):
    """A layer's weights or energies (n_outputs, n_neurons, n_contexts, ...), one entry for each context."""
    array = as_numpy(array)
    if layer.row_of is None:
        return array
    outputs, neurons, _ = np.ogrid[: len(array), : array.shape[1], :1]
    return array[outputs, neurons, layer.row_of]


def make_targets(X, seed=0):
    """Real targets (n, 3) of rows X, each in a unit of its own: bent planes and noise, some of it far off."""
    a, b, c, d = np.nan_to_num(X[:, :4]).T
    planes = np.stack([np.abs(a) + b, np.where(d > 0, c, -b), np.maximum(a, c - d)], axis=1)
    noise = np.random.default_rng(seed).standard_t(3, size=planes.shape)
    return np.array([5.0, -200.0, 0.1]) + np.array([1.0, 40.0, 0.5]) * (planes + 0.3 * noise)


def make_stream(seed, n, *, n_features=4, n_classes=3, missing=0.03, weighted=True):
    """Rows X with missing values, noisy classes y that no hyperplane separates, weights among them 0 and fractions."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n)
    centres = rng.normal(size=(2, n_classes, n_features))
    X = centres[rng.integers(2, size=n), y] + 0.7 * rng.normal(size=(n, n_features))
    X = X * rng.uniform(0.5, 2.0, n_features) + rng.normal(size=n_features)
    X[rng.random(X.shape) < missing] = np.nan
    weights = rng.choice([0.0, 0.3, 1.0, 1.0, 1.0, 2.0, 2.75], size=n) if weighted else np.ones(n)
    return X, y, weights
