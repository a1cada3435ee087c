"""Streams: what cannot work is found before anything is learned, and nothing is skipped or replaced without a word."""

import os
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_gln import GLNClassifier, GLNRegressor

pytest.importorskip("skops")

from sklearn_gln.io import fit_stream, load, save

SMALL = {"layer_sizes": (3,), "context_dim": 1, "random_state": 0, "dtype": "float64"}
CLASSES = [0, 1]


def new(**params):
    return GLNClassifier(**SMALL | params)


def day(seed, n_chunks=4):
    X = np.random.default_rng(seed).normal(size=(n_chunks, 30, 3))
    return [(rows, (rows[:, 0] > 0).astype(int)) for rows in X]


def learned(*days, model=None):
    model = new() if model is None else model
    for chunks in days:
        for X, y in chunks:
            model.partial_fit(X, y, CLASSES)
    return model


def assert_same(model, other):
    rows = day(99)[0][0]
    assert_array_equal(model.predict_proba(rows), other.predict_proba(rows))
    assert model.n_samples_seen_ == other.n_samples_seen_


class Untouched:
    """Chunks of which nobody may take one."""

    def __iter__(self):
        raise AssertionError("learned")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "stream.skops"


# Found before anything is learned


def test_a_missing_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="directory of checkpoint=.*does not exist"):
        fit_stream(new(), Untouched(), classes=CLASSES, checkpoint=tmp_path / "missing" / "stream.skops")
    assert not list(tmp_path.iterdir())


def test_a_directory_as_checkpoint(tmp_path):
    with pytest.raises(IsADirectoryError, match="checkpoint=.* is a directory"):
        fit_stream(new(), Untouched(), classes=CLASSES, checkpoint=tmp_path)


def test_a_directory_that_cannot_be_written(tmp_path, path):
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("may write everywhere")
        with pytest.raises(PermissionError, match="checkpoint cannot be written"):
            fit_stream(new(), Untouched(), classes=CLASSES, checkpoint=path)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no such file system")
def test_a_file_system_that_takes_no_files():
    with pytest.raises(OSError, match="checkpoint cannot be written"):
        fit_stream(new(), Untouched(), classes=CLASSES, checkpoint="/proc/stream.skops")


def test_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    fit_stream(new(), day(0), classes=CLASSES, checkpoint="~/stream.skops")
    assert load(tmp_path / "stream.skops").n_samples_seen_ == 120


@pytest.mark.parametrize("checkpoint", [5, ["a"], object()])
def test_a_checkpoint_that_is_not_a_path(checkpoint):
    with pytest.raises(TypeError, match="checkpoint=.* must be a str or path-like"):
        fit_stream(new(), Untouched(), classes=CLASSES, checkpoint=checkpoint)


@pytest.mark.parametrize("params", [{"base_predictor": print}, {"class_weight": {True: 1.0, False: 2.0}}])
def test_an_estimator_that_cannot_be_saved(params, path):
    with pytest.raises(ValueError, match=r"builtins\.print|True or False"):
        fit_stream(new(**params), Untouched(), classes=CLASSES, checkpoint=path)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (make_pipeline(StandardScaler(), new()), r"a Pipeline.*pipeline\[-1\]"),
        (GridSearchCV(new(), {"context_dim": [1]}), "a GridSearchCV.*found"),
        (GLNClassifier, "the class GLNClassifier.*an instance"),
        (LogisticRegression(), "LogisticRegression"),
        (None, "NoneType"),
    ],
)
def test_what_cannot_learn_in_chunks(estimator, message, path):
    with pytest.raises(TypeError, match=f"(?s)estimator is .*{message}"):
        fit_stream(estimator, Untouched(), classes=CLASSES, checkpoint=path)


@pytest.mark.parametrize(("options", "kind"), [({"every": -1}, ValueError), ({"every": "1"}, ValueError)])
def test_wrong_parameters(options, kind):
    with pytest.raises(kind, match="every="):
        fit_stream(new(), Untouched(), classes=CLASSES, **options)
    with pytest.raises(TypeError, match="chunks must be an iterable"):
        fit_stream(new(), 5, classes=CLASSES)


# Other streams


@pytest.mark.parametrize("n_chunks", [2, 4, 7])
def test_another_day_with_the_same_checkpoint_is_refused(n_chunks, path):
    fit_stream(new(), day(1), classes=CLASSES, checkpoint=path)
    before, model = path.read_bytes(), new()
    with pytest.raises(ValueError, match="of another stream.*fit_stream\\(load"):
        fit_stream(model, iter(day(2, n_chunks)), classes=CLASSES, checkpoint=path)
    assert path.read_bytes() == before
    assert not hasattr(model, "classes_")


def test_days_with_a_checkpoint_each(tmp_path):
    monday, tuesday = tmp_path / "monday.skops", tmp_path / "tuesday.skops"
    fit_stream(new(), day(1), classes=CLASSES, checkpoint=monday)

    def interrupted():
        yield from day(2)[:2]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        fit_stream(load(monday), interrupted(), classes=CLASSES, checkpoint=tuesday, every=0)
    model = fit_stream(load(monday), day(2), classes=CLASSES, checkpoint=tuesday)  # the same line again
    assert_same(model, learned(day(1), day(2)))


def test_a_stream_that_grew(path):
    fit_stream(new(), day(1), classes=CLASSES, checkpoint=path)
    model = fit_stream(new(), [*day(1), *day(2)], classes=CLASSES, checkpoint=path)
    assert_same(model, learned(day(1), day(2)))


@pytest.mark.parametrize("as_callable", [False, True])
def test_a_stream_that_was_learned_before_says_so(as_callable, path):
    chunks = (lambda start: day(1)[start:]) if as_callable else day(1)
    fit_stream(new(), chunks, classes=CLASSES, checkpoint=path)
    with pytest.warns(UserWarning, match="Nothing was learned.*all 4 chunks.*new stream"):
        model = fit_stream(new(), chunks, classes=CLASSES, checkpoint=path)
    assert_same(model, learned(day(1)))


def test_chunks_of_data_frames_and_strings(path):
    pd = pytest.importorskip("pandas")
    frames = [(pd.DataFrame(X, columns=list("abc")), np.array(["n", "y"], object)[y]) for X, y in day(1)]
    fit_stream(new(), frames[:2], classes=["n", "y"], checkpoint=path)
    model = fit_stream(new(), iter(frames), classes=["n", "y"], checkpoint=path)
    assert model.n_samples_seen_ == 120


def test_chunks_with_categories(path):
    pd = pytest.importorskip("pandas")
    towns = np.array(["north", "south", None], object)
    frames = [(pd.DataFrame({"size": X[:, 0], "town": towns[X.argmax(axis=1)]}), y) for X, y in day(1)]
    frames = [(X.assign(kind=pd.Categorical(X["town"])), y) for X, y in frames]
    fit_stream(new(), frames[:2], classes=CLASSES, checkpoint=path)
    model = fit_stream(new(), iter(frames), classes=CLASSES, checkpoint=path)
    assert model.is_categorical_.tolist() == [False, True, True]
    expected = learned(frames)
    for each in (model, load(path)):
        assert_array_equal(each.predict_proba(frames[0][0]), expected.predict_proba(frames[0][0]))


def test_empty_streams(path):
    model = fit_stream(new(), [], classes=CLASSES, checkpoint=path)
    assert not hasattr(model, "classes_")
    assert not path.exists()


# Fitted estimators


def test_a_fitted_estimator_is_not_replaced(path):
    fit_stream(new(), day(1), classes=CLASSES, checkpoint=path)
    model, before = learned(day(3)), path.read_bytes()
    with pytest.raises(ValueError, match=r"estimator is fitted.*would be lost.*clone\(estimator\)"):
        fit_stream(model, [*day(1), *day(2)], classes=CLASSES, checkpoint=path)
    assert_same(model, learned(day(3)))
    assert path.read_bytes() == before
    assert_same(fit_stream(clone(model), [*day(1), *day(2)], classes=CLASSES, checkpoint=path), learned(day(1), day(2)))


@pytest.mark.parametrize("make", [new, lambda: SGDClassifier(random_state=0)])
def test_the_estimator_of_the_checkpoint_goes_on(make, path):
    model = fit_stream(make(), day(1), classes=CLASSES, checkpoint=path)
    assert fit_stream(model, [*day(1), *day(2)], classes=CLASSES, checkpoint=path) is model
    rows = day(99)[0][0]
    assert_array_equal(model.decision_function(rows), learned(day(1), day(2), model=make()).decision_function(rows))


def test_a_fitted_estimator_goes_on_where_there_is_no_checkpoint(path):
    model = fit_stream(learned(day(1)), day(2), classes=CLASSES, checkpoint=path)
    assert_same(model, learned(day(1), day(2)))
    with pytest.warns(UserWarning, match="Nothing was learned"):
        assert_same(fit_stream(learned(day(1)), day(2), classes=CLASSES, checkpoint=path), model)


def test_a_regressor_with_a_generator_of_random_numbers(path):
    def make():
        return GLNRegressor(random_state=np.random.RandomState(3), layer_sizes=(3,), context_dim=1)

    model = fit_stream(make(), day(1)[:2], checkpoint=path)
    assert fit_stream(model, day(1), checkpoint=path).n_samples_seen_ == 120


def test_a_model_or_a_checkpoint_of_another_form(path):
    save(new(), path)
    with pytest.raises(ValueError, match="not a checkpoint; choose another file"):
        fit_stream(new(), day(1), classes=CLASSES, checkpoint=path)
    skops = pytest.importorskip("skops.io")
    for content in (
        {"n_chunks": 1},
        {"n_chunks": 1, "begun": 5, "last": ""},
        {"n_chunks": -1, "begun": "", "last": ""},
    ):
        skops.dump({"estimator": new()} | content, path)
        with pytest.raises(ValueError, match="cannot be loaded"):
            load(path)
