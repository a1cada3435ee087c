"""Chunks without rows, or without weight."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.helpers import LABELS, N_SEEN, X, Y, assert_refused, assert_same_object, new, streamed, thorough_but


def no_rows(model, kind):
    model.partial_fit(X[:0], kind.y[:0], **kind.classes)


def an_empty_list_of_labels(model, kind):
    begun = model.__sklearn_is_fitted__()
    model.partial_fit(X[:0], [] if begun or kind.y.ndim == 1 else kind.y[:0], sample_weight=[], **kind.classes)


def an_empty_frame(model, kind):
    pandas = pytest.importorskip("pandas")
    model.partial_fit(pandas.DataFrame(X[:0]), pandas.DataFrame(kind.y[:0]).squeeze(axis=1), **kind.classes)


def no_weight(model, kind):
    model.partial_fit(X[5:9], kind.y[5:9], sample_weight=np.zeros(4), **kind.classes)


def unchecked(model, kind):
    model.partial_fit(X[:0], kind.y[:0], check_input=False)


NOTHING = [no_rows, an_empty_list_of_labels, an_empty_frame, no_weight]


@pytest.mark.parametrize("n", thorough_but(N_SEEN, 0, 100))
@pytest.mark.parametrize("nothing", [*NOTHING, unchecked])
def test_a_chunk_of_nothing_changes_nothing(kind, nothing, n):
    model = kind.streamed(n)
    before = copy.deepcopy(model)
    nothing(model, kind)
    assert_same_object(model, before)


@pytest.mark.parametrize("nothing", NOTHING)
def test_a_first_chunk_of_nothing(kind, nothing):
    model = kind.new()
    nothing(model, kind)
    assert model.n_samples_seen_ == 0
    assert model.n_features_in_ == 4
    assert_allclose(kind.predict(model, X[:5]).mean(axis=-1), 1 / 3 if kind.classes else 0, atol=1e-12)
    assert_same_object(model.partial_fit(X, kind.y), kind.streamed(1000))


@pytest.mark.parametrize("n", thorough_but(N_SEEN, 0, 100))
def test_predicting_a_chunk_of_nothing(kind, n):
    model, progressive = kind.streamed(n), kind.progressive
    plain = progressive.removeprefix("progressive_")
    assert getattr(model, progressive)(X[:0], kind.y[:0]).shape == getattr(model, plain)(X)[:0].shape
    assert_same_object(model, kind.streamed(n))
    predicted = getattr(model, progressive)(X[:9], kind.y[:9], sample_weight=np.zeros(9))
    assert_allclose(predicted, getattr(kind.streamed(n), plain)(X[:9]), rtol=1e-3, atol=1e-4)
    expected = kind.predict(kind.streamed(n).partial_fit(X[n:], kind.y[n:]))
    assert_array_equal(kind.predict(model.partial_fit(X[n:], kind.y[n:])), expected)


def test_an_empty_chunk_of_strings_and_of_labels():
    names = np.array(["a", "b", "c"])
    model = new().partial_fit(X[:0], [], names).partial_fit(X, names[Y]).partial_fit(X[:0], [])
    assert_array_equal(model.predict(X), names[streamed(1000).predict(X)])
    model = new().partial_fit(X[:0], LABELS[:0]).partial_fit(X, LABELS).partial_fit(X[:0], [])
    assert_array_equal(model.predict_proba(X), new().partial_fit(X, LABELS).predict_proba(X))


def test_an_empty_chunk_is_checked_all_the_same():
    model = streamed(100)
    assert_refused(model, lambda it: it.partial_fit(X[:0, :3], Y[:0]), ValueError, "3 features")
    assert_refused(model, lambda it: it.partial_fit(X[:0], Y[:1]), ValueError, "inconsistent")
    assert_refused(model, lambda it: it.partial_fit(X[:0], Y[:0], [0, 1]), ValueError, "classes")
    assert_refused(new(), lambda it: it.partial_fit(X[:0], Y[:0]), ValueError, "classes=None")
    assert_refused(new(), lambda it: it.fit(X[:0], Y[:0]), ValueError, "0 sample")
