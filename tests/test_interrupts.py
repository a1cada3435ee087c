"""Ctrl-C during a call: what has been learned by then, and whose handler it meets."""

import itertools
import signal
import threading

import pytest

from sklearn_gln.kernels import get_kernels
from tests.helpers import BACKEND, CLASSES, KINDS, X, Y, assert_same_object, attributes, new, streamed, thorough_but


@pytest.fixture
def press(monkeypatch):
    """Press Ctrl-C while a layer learns, in the call of this number."""
    kernels = get_kernels(BACKEND)

    def press(in_call, act=lambda: signal.raise_signal(signal.SIGINT)):
        calls = itertools.count(1)

        def pressing(learn):
            def learn_and_press(*args, **options):
                if next(calls) == in_call:
                    act()
                return learn(*args, **options)

            return learn_and_press

        for name in ("linear_learn", "gaussian_learn"):
            monkeypatch.setattr(kernels, name, pressing(getattr(kernels, name)))

    return press


# Two layers: two calls at row 1, four up to each of rows 2, 4, ..., 256 (which are learned and replayed), two after.
ROWS_LEARNED = {1: 1, 4: 2, 17: 16, 34: 256, 35: 512, 40: 1000}


@pytest.mark.parametrize(("call", "n"), thorough_but(ROWS_LEARNED.items(), (1, 1), (34, 256), (40, 1000)))
@pytest.mark.parametrize("method", ["partial_fit", "progressive_predict_proba"])
@pytest.mark.parametrize("params", [{}, {"categorical_features": [1, 3]}, {"max_dense": 3}], ids=str)
def test_an_interrupted_stream_has_learned_whole_blocks_and_goes_on(params, method, call, n, press):
    press(call)
    model = new(**params)
    with pytest.raises(KeyboardInterrupt):
        getattr(model, method)(X, Y, CLASSES)
    assert model.n_samples_seen_ == n
    assert_same_object(model, streamed(n, **params))
    model.partial_fit(X[n:], Y[n:])
    assert_same_object(model, streamed(1000, **params))


@pytest.mark.parametrize("call", thorough_but([1, 20, 57, 76], 20, 76))
@pytest.mark.parametrize("method", ["partial_fit", "progressive_predict"])
@pytest.mark.parametrize("likelihood", ["squared", "gaussian"])
def test_an_interrupted_stream_of_targets_goes_on(likelihood, method, call, press):
    kind = KINDS[likelihood]
    press(call)
    model = kind.new()
    with pytest.raises(KeyboardInterrupt):
        getattr(model, method)(X, kind.y)
    n = model.n_samples_seen_
    assert 0 < n < 1000
    assert_same_object(model, kind.streamed(n))
    model.partial_fit(X[n:], kind.y[n:])
    assert_same_object(model, kind.streamed(1000))


@pytest.mark.parametrize("epoch", thorough_but([0, 1], 1))
@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"warm_start": True}, {"max_dense": 3}], ids=str)
@pytest.mark.parametrize("fitted", thorough_but([True, False], True))
def test_an_interrupted_fit_leaves_the_estimator_as_it_was(kind, fitted, params, epoch, press):
    call = 3 + 2 * epoch if fitted and "warm_start" in params else 20 + 20 * epoch
    model = kind.new(**params)
    if fitted:
        model.fit(X[:, ::-1], 2 - kind.y)
    before = attributes(model)
    press(call)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, kind.y)
    assert_same_object(attributes(model), before)
    assert hasattr(model, "n_features_in_") == fitted
    twin = kind.new(**params)
    if fitted:
        twin.fit(X[:, ::-1], 2 - kind.y)
    assert_same_object(model.fit(X, kind.y), twin.fit(X, kind.y))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("outcome", ["success", "error", "interrupt"])
def test_the_handler_of_ctrl_c_is_put_back(method, outcome, press):
    handler = signal.getsignal(signal.SIGINT)
    arguments = (X, Y) if method == "fit" else (X, Y, CLASSES)

    def fail():
        raise ZeroDivisionError

    if outcome == "success":
        getattr(new(), method)(*arguments)
    else:
        press(20, *([fail] if outcome == "error" else []))
        with pytest.raises(ZeroDivisionError if outcome == "error" else KeyboardInterrupt):
            getattr(new(), method)(*arguments)
    assert signal.getsignal(signal.SIGINT) is handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.fixture
def handler_of_sigint():
    """Sets a handler for the time of the test."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


def test_another_handler_is_called_between_blocks(press, handler_of_sigint):
    model, seen = new(), []

    def handler(number, frame):
        assert number == signal.SIGINT
        seen.append(model.n_samples_seen_)
        model.predict_proba(X)  # a whole network is there

    handler_of_sigint(handler)
    press(17)
    model.partial_fit(X, Y, CLASSES)
    assert seen == [16]
    assert signal.getsignal(signal.SIGINT) is handler
    assert_same_object(model, streamed(1000))


def test_ctrl_c_that_is_ignored_stays_ignored(press, handler_of_sigint):
    handler_of_sigint(signal.SIG_IGN)
    press(17)
    assert_same_object(new().partial_fit(X, Y, CLASSES), streamed(1000))
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_learning_in_another_thread():
    handler, model = signal.getsignal(signal.SIGINT), new()
    thread = threading.Thread(target=lambda: model.fit(X, Y).partial_fit(X, Y))
    thread.start()
    thread.join()
    assert_same_object(model, new().fit(X, Y).partial_fit(X, Y))
    assert signal.getsignal(signal.SIGINT) is handler
