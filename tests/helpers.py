"""What several test modules share: the chosen backends, streams, estimators, comparisons."""

import copy
import importlib.util
import os
import sys
from dataclasses import dataclass, is_dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_array_equal
from scipy.special import expit, softmax
from sklearn.base import is_classifier

from sklearn_gln import GLNClassifier, GLNRegressor, _base, _runtime
from sklearn_gln._layer import Layer
from sklearn_gln.kernels import BACKENDS, as_numpy
from tests import naive

# Which backends, and how much of them

FRAMEWORKS = [name for name in BACKENDS if name not in ("numpy", "numba")]
HOSTS = [name for name in BACKENDS if name not in FRAMEWORKS and importlib.util.find_spec(name) is not None]
NAMES = [name for name in os.environ.get("SKLEARN_GLN_BACKENDS", "").split(",") if name] or HOSTS
INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")  # some backends are then as slow as the oracle
BACKEND = "numpy" if INTERPRETED else "auto"
IS_THOROUGH = False  # conftest.py says when
BRIEF, FULL = 5, 40  # hypothesis' examples in the default profile and in the thorough one


def thorough_but(parameters, *brief):
    """Parameters (tuples of several names' values), all of them thorough but those that are named after them."""
    parameters = list(parameters)
    assert all(parameter in parameters for parameter in brief)
    marks = [() if parameter in brief else pytest.mark.thorough for parameter in parameters]
    values = [parameter if isinstance(parameter, tuple) else (parameter,) for parameter in parameters]
    return [pytest.param(*each, marks=mark) for each, mark in zip(values, marks, strict=True)]


def on_examples(n, /, **strategies):
    """Run a test of a backend on n random examples of the thorough profile.

    On fewer in the default profile, and where each is interpreted or its shapes are compiled.
    """

    def decorate(test):
        def run(backend):
            compiled = backend.CHUNK_SIZES is not None
            share = min(1, settings().max_examples / FULL) / (20 if compiled else 8 if INTERPRETED else 1)

            @settings(max_examples=max(5, int(n * share)))
            @given(**strategies)
            def check(**drawn):
                test(backend, **drawn)

            check()

        run.__name__ = run.__qualname__ = test.__name__
        return pytest.mark.larger(run)

    return decorate


def spare_compilers(backend, is_kept):
    """Hold the frameworks that compile for each case, which takes seconds, to some of the cases."""
    if backend.CHUNK_SIZES is not None and not is_kept:
        pytest.skip("frameworks that compile are held to this in other cases")


# Kernels

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}


def call(backend, function, *args, **options):
    """A kernel on copies of NumPy arrays, sequences of them, and whatever else; NumPy out."""

    def convert(value):
        if isinstance(value, list | tuple):
            return type(value)(convert(block) for block in value)
        return backend.asarray(value.copy()) if isinstance(value, np.ndarray) else value

    with backend.scope("cpu"):
        result = getattr(backend, function)(*map(convert, args), **options)
    return tuple(map(backend.to_numpy, result)) if isinstance(result, tuple) else backend.to_numpy(result)


@dataclass(repr=False)
class Case:
    """The arguments of one call of ``linear_learn``."""

    weights: np.ndarray
    accumulator: np.ndarray
    slots: np.ndarray
    inputs: list
    directions: list
    targets: np.ndarray
    rates: np.ndarray
    repeats: np.ndarray | None
    options: dict
    description: str = "Case()"

    def __repr__(self):
        return self.description

    def learn(self, backend):
        arrays = (self.weights, self.accumulator, self.slots, self.inputs, self.directions, self.targets, self.rates)
        if backend is naive:
            return naive.linear_learn(*arrays, self.repeats, **self.options)
        return call(backend, "linear_learn", *arrays, self.repeats, **self.options)

    def infer(self, backend):
        limit = self.options["limit"]
        if backend is naive:
            return naive.linear_infer(self.weights, self.slots, self.inputs, limit=limit)
        return call(backend, "linear_infer", self.weights, self.slots, self.inputs, limit=limit)

    def rows(self, rows):
        """The same weights, and a slice (or the numbers) of the rows."""
        return replace(
            self,
            slots=self.slots[rows],
            inputs=[block[rows] for block in self.inputs],
            directions=[block[rows] for block in self.directions],
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
            inputs=[cut(block) for block in self.inputs],
            directions=[cut(block) for block in self.directions],
            targets=cut(self.targets),
            rates=cut(self.rates),
            repeats=cut(self.repeats),
        )

    def astype(self, dtype):
        def cast(array):
            return None if array is None else array.astype(dtype)

        return replace(
            self,
            weights=cast(self.weights),
            inputs=[cast(block) for block in self.inputs],
            directions=[cast(block) for block in self.directions],
            targets=cast(self.targets),
            rates=cast(self.rates),
            repeats=cast(self.repeats),
        )


def make_case(
    seed,
    *,
    n,
    k=1,
    j=1,
    n_slots=4,
    sizes=(3,),
    shared=(),
    occupied=None,
    step="gradient",
    scale=1.0,
    loss="log",
    damping=0.0,
    weighted=None,
    limit=9.0,
    max_weight=np.inf,
    batch_size=1,
):
    """Random rows, some of them zero; ``shared`` names arrays that outputs share, ``occupied`` slots occur.

    A batch's steps stay below the stability limit, rate * (v . u) < 8 for the log loss and 2 for the squared one, where
    rounding errors would grow. Some targets of the squared loss are large.
    """

    rng = np.random.default_rng(seed)

    def width(name):
        return 1 if name in shared else k

    occurring = rng.choice(n_slots, size=min(occupied or n_slots, n_slots), replace=False)
    widths = [k] * (len(sizes) - 1) + [width("base")]
    inputs = [scale * rng.normal(size=(n, axis, size)) for axis, size in zip(widths, sizes, strict=True)]
    for block in inputs:
        block[rng.random(n) < 0.1] = 0.0
    directions = inputs
    if step == "preconditioned":
        roots = [rng.normal(size=(axis, size, size)) / size for axis, size in zip(widths, sizes, strict=True)]
        directions = [
            block if not block.size else np.einsum("nki,kia,kja->nkj", block, root, root) + 0.1 * block
            for block, root in zip(inputs, roots, strict=True)
        ]
    elif step == "any":
        directions = [0.05 * rng.normal(size=block.shape) for block in inputs]
    motion = sum(np.abs(u * v).sum(axis=2) for u, v in zip(inputs, directions, strict=True))
    squared = loss == "squared"
    if step == "any":
        largest = (0.1 if squared else 1.0) / np.maximum(motion, 1.0)
    else:
        largest = (1.5 if squared else 6.0) / np.maximum(motion, 0.1)
    rates = rng.uniform(0.0, 1.0, size=(n, k)) * largest / max(min(batch_size, n), 1)
    if "rates" in shared:
        rates = rates.min(axis=1, keepdims=True)
    if n:
        rates[rng.integers(n)] = 0.0  # no step, but the accumulator counts
    repeats = None
    if weighted == "few":
        repeats = rng.choice([0.0, 0.3, 1.0, 2.0, 2.75], size=(n, width("repeats")))
    elif weighted == "many":
        repeats = rng.choice([0.0, 1.0, 17.5], size=(n, width("repeats")), p=[0.2, 0.6, 0.2])
    targets = rng.integers(2, size=(n, k)).astype(float)
    if squared:
        targets = rng.normal(size=(n, k)) * np.where(rng.random((n, 1)) < 0.05, 1000.0, 1.0)
    bound = 1.0 if weighted is None else min(max_weight, 1.0)  # initial weights may lie outside of the clip
    return Case(
        weights=rng.uniform(-bound, bound, size=(k, j, n_slots, sum(sizes))),
        accumulator=rng.choice([0.0, 0.4, 3.0], size=(k, j, n_slots)),
        slots=rng.choice(occurring, size=(n, width("slots"), j)).astype(np.int32),
        inputs=inputs,
        directions=inputs if step == "gradient" else directions,
        targets=targets,
        rates=rates,
        repeats=repeats,
        options={
            "loss": loss,
            "damping": damping,
            "limit": limit,
            "max_weight": max_weight,
            "batch_size": batch_size,
        },
    )


# Streams


def forget_backend(monkeypatch, name):
    """Have the package of a backend be missing, as in a new process."""
    monkeypatch.setitem(sys.modules, name, None)
    modules = [BACKENDS[name]]
    if name == "numba":
        names = "_columns_numba", "_jit", "_neuron_numba", "_rows_numba"
        modules += [f"sklearn_gln.kernels.{module}" for module in names]
    for module in modules:
        monkeypatch.delitem(sys.modules, module, raising=False)


def make_settings(n_features=4, **params):
    """The resolved settings of a classifier with these parameters, or of a regressor if they name a likelihood."""
    estimator = GLNRegressor if "likelihood" in params else GLNClassifier
    return estimator(**{"aggregation": "layers"} | params)._settings(n_features)  # without the stack, or its fit


def by_context(layer, array):
    """A layer's weights or accumulators (n_outputs, n_neurons, n_contexts, ...), one entry for each context."""
    array = as_numpy(array)
    if layer.slot_of is None:
        return array
    outputs, neurons, _ = np.ogrid[: len(array), : array.shape[1], :1]
    return array[outputs, neurons, layer.slot_of]


def make_targets(X, seed=0):
    """Real targets (n, 3) of rows X, each in a unit of its own: bent planes and noise, some of it far off."""
    a, b, c, d = np.nan_to_num(X[:, :4]).T
    planes = np.stack([np.abs(a) + b, np.where(d > 0, c, -b), np.maximum(a, c - d)], axis=1)
    noise = np.random.default_rng(seed).standard_t(3, size=planes.shape)
    return np.array([5.0, -200.0, 0.1]) + np.array([1.0, 40.0, 0.5]) * (planes + 0.3 * noise)


def make_layer_logits(seed, n, *, n_outputs=3, scales=(3.0, 1.0, 0.0, -1.0)):
    """Logits (n, n_outputs, n_layers) of layers that are overconfident, noisy, useless and misled; class numbers."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, n_outputs))
    p = softmax(1.5 * truth, axis=1) if n_outputs > 1 else np.hstack([expit(-truth), expit(truth)])
    codes = (rng.random((n, 1)) > np.cumsum(p, axis=1)[:, :-1]).sum(axis=1)
    noise = rng.normal(size=(n, n_outputs, len(scales)))
    return truth[:, :, np.newaxis] * scales + noise, codes, rng.choice([0.0, 0.5, 1.0, 3.0], size=n)


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


def with_categories(X):
    """The rows with categories in columns 1 and 3: few levels, of which some come after row 280, and many levels."""
    few, many = np.round(X[:, 1]), np.round(30 * X[:, 3])
    few[:280] = np.clip(few[:280], -1, 1)
    return np.column_stack([X[:, 0], few, X[:, 2], many, X[:, 4:]])


def as_wide(X):
    """The rows in six columns for each of theirs, of which one has the value; in units far apart, and some empty.

    Some columns come after row 280 only, and there are wild values.
    """
    n, n_features = X.shape
    places = np.clip(np.floor(np.nan_to_num(X)) + 3, 0, 5).astype(int)
    places[:280] = np.minimum(places[:280], 4)
    wide = np.zeros((n, n_features, 6))
    np.put_along_axis(wide, places[:, :, np.newaxis], X[:, :, np.newaxis], axis=2)
    wide = wide.reshape(n, -1) * 10.0 ** np.linspace(-4, 4, 6 * n_features)
    wide[3::41] = 0.0
    wide[5::97, 1] = np.resize([1e9, -1e25, 1e-99], len(wide[5::97]))
    return wide


# Features in all forms

FORMS = {
    "list": lambda rows: rows.tolist(),
    "Fortran": np.asfortranarray,
    "not contiguous": lambda rows: np.repeat(rows, 3, axis=1)[::-1, ::3][::-1],
    "read-only": lambda rows: np.frombuffer(rows.tobytes()).reshape(rows.shape),
    "big-endian": lambda rows: rows.astype(">f8"),
    "float32": np.float32,
    "float16": np.float16,
    "objects": lambda rows: rows.astype(object),
    "pandas": lambda rows: pytest.importorskip("pandas").DataFrame(rows),
    "pandas nullable": lambda rows: pytest.importorskip("pandas").DataFrame(rows).convert_dtypes(),
    "polars": lambda rows: pytest.importorskip("polars").DataFrame(rows),
    "torch": lambda rows: pytest.importorskip("torch").tensor(rows),
    "torch requires_grad": lambda rows: pytest.importorskip("torch").tensor(rows, requires_grad=True),
    "torch float16": lambda rows: pytest.importorskip("torch").tensor(rows).half(),
    "torch bfloat16": lambda rows: pytest.importorskip("torch").tensor(rows).bfloat16().requires_grad_(),
}


# Small estimators on a small stream

SMALL = {"layer_sizes": (5, 4), "context_dim": 2, "max_iter": 2, "backend": BACKEND, "random_state": 0}
CLASSES = [0, 1, 2]
X, Y, _ = make_stream(5, 1000)
LABELS = np.column_stack([Y == 0, Y == 1])
N_SEEN = [0, 1, 100, 256, 700]


def new(**params):
    return GLNClassifier(**SMALL | params)


def streamed(n, **params):
    """A model that has seen n rows."""
    return new(**params).partial_fit(X[:n], Y[:n], classes=CLASSES)


@dataclass(frozen=True)
class Kind:
    """An estimator as the tests of what both have in common take it."""

    estimator: type
    params: dict
    y: np.ndarray
    classes: dict  # what the first call of a stream is given besides
    outputs: str  # the method that tells most
    progressive: str

    def new(self, **params):
        return self.estimator(**SMALL | self.params | params)

    def streamed(self, n, **params):
        """A model that has seen n rows."""
        return self.new(**params).partial_fit(X[:n], self.y[:n], **self.classes)

    def predict(self, model, rows=X):
        return getattr(model, self.outputs)(rows)


TARGETS = np.column_stack([np.nan_to_num(X) @ [1, -1, 0.5, 0] + Y, np.sin(Y + np.nan_to_num(X[:, 0]))])
KINDS = {
    "classifier": Kind(
        GLNClassifier,
        {"class_weight": "balanced"},
        Y,
        {"classes": CLASSES},
        "predict_proba",
        "progressive_predict_proba",
    ),
    **{
        likelihood: Kind(GLNRegressor, {"likelihood": likelihood}, y, {}, "predict_interval", "progressive_predict")
        for likelihood, y in (("squared", TARGETS), ("gaussian", TARGETS[:, 0]))
    },
}


class Ordering:
    """Remembers the order in which each epoch visited the rows, and what was predicted for each before."""

    orders, predicted = (), ()

    def _learn(self, online, X, y, sample_weight, order=None, epoch=1, **options):
        self.orders = (*self.orders, order)
        for rows, outputs in super()._learn(online, X, y, sample_weight, order, epoch, **options):
            self.predicted = (*self.predicted, *outputs)
            yield rows, outputs


class Ordered(Ordering, GLNClassifier):
    pass


class OrderedRegressor(Ordering, GLNRegressor):
    pass


def path_of(context):
    """The names and numbers of a task and the tasks around it, from the outermost."""
    return (*([] if context.parent is None else path_of(context.parent)), (context.task_name, context.task_id))


class Recorder:
    """Notes all calls, and may do something at some of them."""

    def __init__(self, act=None):
        self.events, self.act = [], act

    def note(self, event, context, fitted_estimator=None):
        self.events.append((event, path_of(context)))
        return self.act and self.act(event, path_of(context)[-1], fitted_estimator)

    def setup(self, estimator, context):
        self.note("setup", context)

    def on_fit_task_begin(self, estimator, context):
        self.note("begin", context)

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        return self.note("end", context, fitted_estimator)

    def teardown(self, estimator, context):
        self.events.append(("teardown", path_of(context)))


# Comparisons


def assert_same_object(got, expected, path="estimator"):
    """Deep equality, of arrays too; those of frameworks are compared as NumPy's, and room for slots does not count."""
    got, expected = as_numpy(got), as_numpy(expected)
    if isinstance(got, Layer) and isinstance(expected, Layer):
        got, expected = got.trimmed(), expected.trimmed()
    assert type(got) is type(expected), path
    if isinstance(expected, np.ndarray):
        assert got.dtype == expected.dtype, path
        assert_array_equal(got, expected, err_msg=path)
    elif isinstance(expected, dict):
        assert got.keys() == expected.keys(), path
        for key in expected:
            assert_same_object(got[key], expected[key], f"{path}[{key!r}]")
    elif isinstance(expected, (list, tuple)):
        assert len(got) == len(expected), path
        for number, pair in enumerate(zip(got, expected, strict=True)):
            assert_same_object(*pair, f"{path}[{number}]")
    elif is_dataclass(expected) or isinstance(expected, _base.BaseGLN):
        assert_same_object(vars(got), vars(expected), path)
    else:
        assert got == expected or (got != got and expected != expected), path  # both may be NaN


def assert_refused(estimator, call, error, message):
    """The call raises, and leaves the estimator as it was."""
    before = copy.deepcopy(estimator)
    with pytest.raises(error, match=message):
        call(estimator)
    assert_same_object(estimator, before)
    if hasattr(before, "n_features_in_"):
        rows = expit(X[:, : before.n_features_in_])
        method = "predict_proba" if is_classifier(before) else "predict_interval"
        assert_array_equal(getattr(estimator, method)(rows), getattr(before, method)(rows))


def attributes(model):
    """A copy of all that a model holds, but callbacks."""
    return copy.deepcopy({name: value for name, value in vars(model).items() if name != "_skl_callbacks"})


def blas_threads():
    """The numbers of threads of the BLAS libraries that estimators take care of, whatever was loaded since."""
    return [library.num_threads for library in _runtime._blas_libraries()]
