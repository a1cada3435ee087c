"""Faults that no input explains, memory or disk that runs out, threads and callables that fail; what errors show."""

import copy
import errno
import itertools
import os
import re
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import sklearn_gln._layer
from sklearn_gln import GLNClassifier, GLNRegressor, _runtime
from sklearn_gln._state import from_plain
from sklearn_gln.inspection import ProgressiveLossDisplay
from sklearn_gln.kernels import get_kernels
from tests.helpers import BACKEND, CLASSES, KINDS, Y, assert_same_object, attributes, blas_threads, new, thorough_but
from tests.helpers import X as X_MISSING

X = np.nan_to_num(X_MISSING)


def assert_whole(model):
    """Raise unless all that a model has learned fits together."""
    if hasattr(model, "_online"):
        model._check_learned()


# Memory


@pytest.mark.parametrize("allocation", thorough_but([0, 1, 3], 1))
@pytest.mark.parametrize("backend", ["numpy", BACKEND])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("params", thorough_but([{}, {"categorical_features": [1, 3]}, {"max_dense": 3}], {}), ids=str)
def test_without_memory_for_contexts_nothing_is_learned(params, name, backend, allocation, monkeypatch):
    kind = KINDS[name]
    model = kind.streamed(256, backend=backend, context_dim=6, **params)
    before, expected = copy.deepcopy(model), copy.deepcopy(model).partial_fit(X, kind.y)
    numbers, with_slots = itertools.count(), sklearn_gln._layer._with_slots

    def fail(*arguments):
        if next(numbers) == allocation:
            raise MemoryError
        return with_slots(*arguments)

    monkeypatch.setattr(sklearn_gln._layer, "_with_slots", fail)
    with pytest.raises(MemoryError):
        model.partial_fit(X, kind.y)
    assert_whole(model)
    n = model.n_samples_seen_ - 256
    assert_array_equal(kind.predict(model, X), kind.predict(before.partial_fit(X[:n], kind.y[:n]), X))
    monkeypatch.undo()
    assert_array_equal(kind.predict(model.partial_fit(X[n:], kind.y[n:]), X), kind.predict(expected, X))


# The disk


@pytest.mark.parametrize("call", ["fsync", "replace"])  # where a disk may be found full at last
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_stream_whose_checkpoint_cannot_be_written_goes_on_later(call, error, tmp_path, monkeypatch):
    io, path = pytest.importorskip("sklearn_gln.io"), tmp_path / "model.skops"
    chunks = [(X[rows], Y[rows]) for rows in (slice(0, 300), slice(300, 700), slice(700, 1000))]
    io.fit_stream(new(), chunks[:1], classes=CLASSES, checkpoint=path)
    earlier, model = path.read_bytes(), new()
    expected = new().partial_fit(*chunks[0], CLASSES).partial_fit(*chunks[1])  # now: Numba's files need the disk too

    def fail(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match=re.escape(os.strerror(error))):
        io.fit_stream(model, chunks, classes=CLASSES, checkpoint=path, every=0)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {path.name: earlier}
    monkeypatch.undo()
    assert_same_object(model, expected)
    assert_same_object(io.fit_stream(new(), chunks, classes=CLASSES, checkpoint=path), expected.partial_fit(*chunks[2]))


# Threads


@pytest.mark.parametrize("in_call", [1, 2])  # on the way in, on the way out
@pytest.mark.parametrize("late", [False, True])
def test_ctrl_c_while_blas_changes_its_threads(in_call, late, monkeypatch):
    before, numbers, set_threads = blas_threads(), itertools.count(1), _runtime._OneBlasThread._set

    def interrupted(self, wanted):
        interrupts = next(numbers) == in_call
        if late or not interrupts:
            set_threads(self, wanted)
        if interrupts:
            raise KeyboardInterrupt

    monkeypatch.setattr(_runtime._OneBlasThread, "_set", interrupted)
    with pytest.raises(KeyboardInterrupt), _runtime.one_blas_thread():
        assert set(blas_threads()) <= {1}
    assert blas_threads() == before
    assert not _runtime.one_blas_thread._inside


@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict_proba"])
@pytest.mark.parametrize("error", [ZeroDivisionError, MemoryError])
def test_a_thread_that_fails(method, error, threads_started, monkeypatch):
    """All but the main thread fail; the error reaches the caller when the others have ended."""
    model = new(layer_sizes=(40, 40), n_jobs=2).partial_fit(X, Y, CLASSES)
    before, blas_before = attributes(model), blas_threads()
    probabilities = model.predict_proba(X)
    kernels = get_kernels(BACKEND)
    name, main = "linear_infer" if method == "predict_proba" else "linear_learn", threading.current_thread()
    original, n_inside, failed = getattr(kernels, name), [0], []

    def fail(*arguments, **options):
        if threading.current_thread() is main:
            return original(*arguments, **options)
        n_inside[0] += 1
        try:
            if not failed:
                failed.append(True)
                raise error("in a thread")
            return original(*arguments, **options)
        finally:
            n_inside[0] -= 1

    monkeypatch.setattr(kernels, name, fail)
    with pytest.raises(error, match="in a thread"):
        getattr(model, method)(X, *([] if method == "predict_proba" else [Y]))
    assert n_inside == [0]
    assert threads_started
    assert not any(thread.is_alive() for thread in threads_started)
    monkeypatch.undo()
    assert blas_threads() == blas_before
    if method == "partial_fit":  # the block may have been learned in part
        assert_whole(model)
        assert model.n_samples_seen_ == model._class_counts.sum() == 1024  # the first block is too small to share
    else:
        assert_same_object(attributes(model), before)
        assert_array_equal(model.predict_proba(X), probabilities)
    n = model.n_samples_seen_ - 1000
    assert model.partial_fit(X[n:], Y[n:]).n_samples_seen_ == 2000
    assert np.isfinite(model.predict_proba(X)).all()


def test_threads_that_cannot_start(monkeypatch):
    model = new(layer_sizes=(40, 40), n_jobs=2).partial_fit(X, Y, CLASSES)
    before = blas_threads()

    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for call in (model.fit, model.partial_fit):
        with pytest.raises(RuntimeError, match="can't start"):
            call(X, Y)
    monkeypatch.undo()
    assert blas_threads() == before
    assert_same_object(model, new(layer_sizes=(40, 40), n_jobs=2).partial_fit(X, Y, CLASSES))


# Callables


class Base:
    """A base predictor that does something else in one of its calls."""

    def __init__(self, in_call, act):
        self.in_call, self.act, self.n_calls = in_call, act, 0

    def __deepcopy__(self, memo):
        return self

    def __call__(self, rows):
        self.n_calls += 1
        return (self.act if self.n_calls == self.in_call else Base.usual)(rows)

    @staticmethod
    def usual(rows):
        return 1 / (1 + np.exp(-rows[:, :3]))


def divide(_):
    raise ZeroDivisionError("a callable failed")


WRONG = {
    "raises": (divide, ZeroDivisionError, "a callable failed"),
    "a column": (lambda rows: rows[:, 0] ** 2, ValueError, r"shape \(\d+,\) for \d+ rows"),
    "fewer rows": (lambda rows: Base.usual(rows)[1:], ValueError, r"shape \(\d+, 3\) for \d+ rows"),
    "too large": (lambda rows: Base.usual(rows) + 1, ValueError, r"must lie in \[0, 1\]; got values from 1"),
    "infinite": (lambda rows: Base.usual(rows) / 0, ValueError, r"must lie in \[0, 1\]"),
    "text": (lambda rows: np.full((len(rows), 3), "a"), TypeError, "not supported|ufunc"),
}
LATER = {"more columns": (lambda rows: 1 / (1 + np.exp(-rows[:, :4])), ValueError, "returned 4 columns.*and 3 in")}


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("wrong", WRONG | LATER)
@pytest.mark.parametrize(
    "method",
    thorough_but(
        ["first", "partial_fit", "fit", "predict_proba", "progressive_predict_proba"],
        "partial_fit",
        "fit",
        "predict_proba",
    ),
)
def test_a_base_predictor_that_fails(method, wrong):
    if method in ("first", "fit") and wrong in LATER:
        pytest.skip("a new network takes any number of columns")
    act, error, message = (WRONG | LATER)[wrong]
    model = new(base_predictor=Base(1 if method == "first" else 2, act))
    call, arguments = (model.partial_fit, (X, Y, CLASSES)) if method == "first" else (getattr(model, method), (X, Y))
    if method != "first":
        model.partial_fit(X[:300], Y[:300], CLASSES)
    before = attributes(model)
    with pytest.raises(error, match=message):
        call(*arguments[:1] if method == "predict_proba" else arguments)
    assert_same_object(attributes(model), before)
    n = 0 if method == "first" else 300
    model.partial_fit(X[n:], Y[n:], CLASSES)
    twin = new(base_predictor=Base(0, act)).partial_fit(X[:n], Y[:n], CLASSES).partial_fit(X[n:], Y[n:])
    assert_array_equal(model.predict_proba(X), twin.predict_proba(X))


def test_a_base_predictor_may_leave_values_out():
    def with_gaps(rows):
        return np.where(rows[:, :3] > 1, np.nan, Base.usual(rows))

    model = new(base_predictor=with_gaps).partial_fit(X, Y, CLASSES)
    assert np.isfinite(model.predict_proba(X)).all()


@pytest.mark.parametrize("in_call", range(2, 14, 2))
def test_a_learning_rate_that_fails_later(in_call):
    """Asked for all rows of a call it answers; it fails at a block or a replay."""
    numbers = itertools.count(1)

    def rates(row_numbers):
        if next(numbers) == in_call:
            raise ZeroDivisionError
        return np.full(len(row_numbers), 1e-2)

    model = new(learning_rate=rates)
    with pytest.raises(ZeroDivisionError):
        model.partial_fit(X, Y, CLASSES)
    assert_whole(model)
    n = model.n_samples_seen_
    assert n < 256
    model.partial_fit(X[n:], Y[n:], CLASSES)
    twin = new(learning_rate=lambda row_numbers: np.full(len(row_numbers), 1e-2)).partial_fit(X, Y, CLASSES)
    assert model.n_samples_seen_ == 1000
    np.testing.assert_allclose(model.predict_proba(X), twin.predict_proba(X), atol=0.01)


# Messages


MANY = 100_000
NAMES = np.array([f"person{number:07}@example.org" for number in range(MANY)])
ROWS = np.random.default_rng(0).normal(size=(MANY, 2))
LONG = "very" * 100_000


def tiny(**params):
    return GLNClassifier(layer_sizes=(2,), context_dim=1, backend="numpy", **params)


def learned(**params):
    return tiny(**params).partial_fit(ROWS[:5], [0, 1, 0, 1, 0], classes=[0, 1])


def of_many():
    """A model of many classes that has seen nothing, which would take long."""
    model = tiny()
    model._set_classes(NAMES, multilabel=False)
    return model


REFUSALS = {
    "unknown labels": lambda: learned().partial_fit(ROWS, np.arange(MANY)),
    "unknown names": lambda: tiny().partial_fit(ROWS[:2], NAMES[:2], NAMES[:2]).partial_fit(ROWS, NAMES),
    "long names": lambda: tiny().partial_fit(ROWS[:2], ["a", "b"], ["a", "b"]).partial_fit(ROWS[:1], [LONG]),
    "one of many": lambda: of_many()._codes(np.array(["nobody"])),
    "other classes": lambda: of_many()._announce_classes(NAMES[1:], np.array(["a"]), begun=True),
    "one class": lambda: tiny().partial_fit(ROWS[:1], [LONG], classes=[LONG]),
    "columns": lambda: tiny().partial_fit(ROWS, np.eye(2)[np.zeros(MANY, int)], classes=NAMES),
    "real classes": lambda: tiny().partial_fit(ROWS, ROWS[:, 0], classes=ROWS[:, 0].tolist()),
    "real labels": lambda: tiny().fit(ROWS, ROWS[:, 0]),
    "mixed labels": lambda: learned().partial_fit(ROWS[:2], np.array([1, LONG], object)),
    "mixed classes": lambda: tiny().partial_fit(ROWS, NAMES, classes=[*NAMES, 1]),
    "class weights": lambda: tiny(class_weight=dict.fromkeys(NAMES, 1.0)).fit(ROWS[:9], np.eye(2)[np.ones(9, int)]),
    "targets": lambda: GLNRegressor().fit(ROWS, NAMES),
    "a target": lambda: GLNRegressor().fit(ROWS[:2], [LONG, "b"]),
    "targets that are missing": lambda: GLNRegressor().fit(ROWS, np.full(MANY, np.nan)),
    "matrix": lambda: tiny().fit(ROWS, ROWS),
    "infinite": lambda: tiny().fit(ROWS / np.zeros(1), NAMES),
    "text": lambda: tiny().fit(np.column_stack([NAMES, NAMES]), NAMES),
    "features": lambda: learned().predict(ROWS[:, :1]),
    "weights": lambda: learned().partial_fit(ROWS[:2], [0, 1], sample_weight=ROWS),
    "negative weights": lambda: learned().partial_fit(ROWS, np.zeros(MANY, int), sample_weight=ROWS[:, 0]),
    "probabilities": lambda: tiny(base_predictor="identity").fit(ROWS, ROWS[:, 0] > 0),
    "base predictor": lambda: tiny(base_predictor=lambda rows: rows[:, 0]).fit(ROWS, ROWS[:, 0] > 0),
    "learning rate": lambda: tiny(learning_rate=lambda t: -ROWS).fit(ROWS, ROWS[:, 0] > 0),
    "layers": lambda: tiny().set_params(layer_sizes=[0] * MANY).fit(ROWS, ROWS[:, 0] > 0),
    "state": lambda: from_plain({"type": LONG, **dict.fromkeys(NAMES)}),
    "progress": lambda: ProgressiveLossDisplay.from_predictions(NAMES, ROWS, classes=NAMES[:2]),
}


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value", "ignore:The number of unique")
@pytest.mark.parametrize("name", REFUSALS)
def test_messages_dump_no_data(name):
    with pytest.raises((ValueError, TypeError)) as refusal:
        REFUSALS[name]()
    message = str(refusal.value)
    assert len(message) < 1000
    assert len(re.findall(r"@example|-?\d+\.\d{4,}", message)) <= 20
    assert "very" * 100 not in message


def test_messages_of_files_dump_nothing(tmp_path):
    io, path = pytest.importorskip("sklearn_gln.io"), tmp_path / "model.skops"
    io.fit_stream(new(), [(X, Y)], classes=CLASSES, checkpoint=path)
    with pytest.raises(ValueError, match="other parameters: layer_sizes=") as refusal:
        io.fit_stream(new(layer_sizes=[5] * MANY), [(X, Y)], classes=CLASSES, checkpoint=path)
    assert len(str(refusal.value)) < 1000 + len(str(path))
    with pytest.raises(ValueError, match="estimator=") as refusal:
        io.save(ROWS.tolist(), path)
    assert len(str(refusal.value)) < 1000


# What a parameter names is looked up, never evaluated


@pytest.mark.parametrize(
    "parameter",
    [
        *("base_predictor", "learning_rate", "halfspaces", "preconditioner", "aggregation", "dtype", "backend"),
        pytest.param("device", marks=pytest.mark.backend("torch")),
    ],
)
def test_no_parameter_is_evaluated(parameter, tmp_path):
    sentinel = tmp_path / "sentinel"
    code = f"__import__('os').mkdir({str(sentinel)!r})"
    model = new(**{"backend": "torch"} if parameter == "device" else {}).set_params(**{parameter: code})
    with pytest.raises((ValueError, RuntimeError)):
        model.fit(X, Y)
    assert not sentinel.exists()


def test_what_is_exported_calls_nothing():
    """A graph of ONNX holds operators of the standard: no functions, no subgraphs, no file beside it."""
    onnx = pytest.importorskip("sklearn_gln.onnx", reason="needs skl2onnx")
    graph = onnx.to_onnx(new().fit(X, Y))
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx.ml"}
    assert not graph.functions
    assert not any(attribute.HasField("g") for node in graph.graph.node for attribute in node.attribute)
    assert not any(array.external_data for array in graph.graph.initializer)
