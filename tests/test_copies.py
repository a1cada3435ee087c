"""Copies, pickles, skops: they go on as the original does, and hold plain state."""

import copy
import pickle

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import InconsistentVersionWarning

import sklearn_gln
from tests.helpers import KINDS, LABELS, N_SEEN, TARGETS, X, Y, assert_same_object, new, streamed, thorough_but


def through_joblib(model, folder, mmap_mode=None):
    joblib.dump(model, folder / "model.joblib")
    return joblib.load(folder / "model.joblib", mmap_mode=mmap_mode)


def through_skops(model, folder):
    sio = pytest.importorskip("skops.io")
    data = sio.dumps(model)
    trusted = [f"sklearn_gln.{type(model).__name__}"]
    assert sio.get_untrusted_types(data=data) == trusted
    return sio.loads(data, trusted=trusted)


WAYS = {
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "joblib": through_joblib,
    "mapped": lambda model, folder: through_joblib(model, folder, mmap_mode="r"),
    "skops": through_skops,
    "copy": lambda model, _: copy.copy(model),
    "deepcopy": lambda model, _: copy.deepcopy(model),
}


@pytest.mark.parametrize("n", thorough_but(N_SEEN, 100))
@pytest.mark.parametrize("way", WAYS)
def test_a_copy_goes_on_as_the_original_and_neither_touches_the_other(kind, way, n, tmp_path):
    original, other = kind.streamed(n), kind.streamed(n)
    duplicate = WAYS[way](original, tmp_path)
    saved = {path: path.read_bytes() for path in tmp_path.iterdir()}
    if way != "mapped":
        assert_same_object(duplicate, original)
    assert_array_equal(kind.predict(duplicate), kind.predict(other))

    for rows in (slice(n, n + 1), slice(n + 1, 1000)):
        duplicate.partial_fit(X[rows], kind.y[rows])
    assert_same_object(original, other)
    learned = kind.predict(duplicate)
    assert not np.allclose(learned, kind.predict(other), atol=1e-3)

    for rows in (slice(n, n + 1), slice(n + 1, 1000)):
        original.partial_fit(X[rows], kind.y[rows])
    assert_array_equal(kind.predict(duplicate), learned)
    assert_array_equal(kind.predict(original), learned)
    assert duplicate.progressive_loss_ == original.progressive_loss_
    assert duplicate.n_samples_seen_ == original.n_samples_seen_ == 1000
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == saved


@pytest.mark.parametrize("params", [{"categorical_features": [1, 3]}, {"max_dense": 3}], ids=str)
@pytest.mark.parametrize("n", [100, 700])
def test_what_is_known_of_columns_goes_on_from_a_mapped_file(params, n, tmp_path):
    original = streamed(n, **params)
    mapped = WAYS["mapped"](original, tmp_path)
    for model in (mapped, original):
        model.partial_fit(X[n:], Y[n:])
    assert_array_equal(mapped.predict_proba(X), original.predict_proba(X))


@pytest.mark.parametrize("n", thorough_but([100, 700], 100))
@pytest.mark.parametrize(("first", "second"), [("numba", "numpy"), ("numpy", "numba")])
def test_the_backend_may_change_while_learning(kind, first, second, n):
    model = kind.streamed(n, backend=first, dtype="float64").set_params(backend=second)
    model.partial_fit(X[n:], kind.y[n:])
    assert_allclose(kind.predict(model), kind.predict(kind.streamed(1000, dtype="float64")), rtol=1e-6, atol=1e-6)


def plain_leaves(value, path="state"):
    """The path and value of everything inside dicts, lists and tuples."""
    if type(value) is dict:
        for key, item in value.items():
            assert type(key) is str, path
            yield from plain_leaves(item, f"{path}[{key!r}]")
    elif type(value) in (list, tuple):
        for number, item in enumerate(value):
            yield from plain_leaves(item, f"{path}[{number}]")
    else:
        yield path, value


STATES = {
    "unfitted": new,
    **{f"{n} rows": lambda n=n: streamed(n) for n in N_SEEN},
    "fitted": lambda: new(learning_rate="constant", share_halfspaces=False, aggregation="neuron").fit(X, Y),
    "early stopping": lambda: new(early_stopping=True, class_weight="balanced").fit(X, Y),
    "labels": lambda: new().fit(X, LABELS),
    "strings": lambda: new().fit(X, np.array(["a", "b", "c"])[Y]),
    **{f"{name}, {n} rows": lambda name=name, n=n: KINDS[name].streamed(n) for name in KINDS for n in (0, 100, 700)},
    "wide": lambda: streamed(700, max_dense=3),
    "wide, fitted": lambda: KINDS["squared"].new(max_dense=3, early_stopping=True).fit(X, TARGETS),
    "regressor": lambda: KINDS["squared"].new(early_stopping=True, half_life="mixed").fit(X, TARGETS),
}


@pytest.mark.parametrize("state", STATES)
def test_state_is_plain(state):
    for path, value in plain_leaves(STATES[state]().__getstate__()):
        assert type(value) in (str, int, float, bool, type(None), np.ndarray) or isinstance(value, np.generic), path
        assert not isinstance(value, np.ndarray) or value.dtype.kind != "O", path


@pytest.mark.parametrize("state", thorough_but(STATES, "unfitted", "100 rows", "labels", "regressor", "wide"))
def test_skops_needs_to_trust_one_type_only(state, tmp_path):
    model = STATES[state]()
    assert_same_object(through_skops(model, tmp_path), model)


@pytest.mark.parametrize("state", ["unfitted", "fitted"])
def test_state_of_another_version_warns(state, monkeypatch):
    data = pickle.dumps(STATES[state]())
    current = sklearn_gln.__version__
    monkeypatch.setattr(sklearn_gln, "__version__", "99.5")
    with pytest.warns(InconsistentVersionWarning, match=rf"(?s)GLNClassifier.*{current}.*99\.5"):
        model = pickle.loads(data)
    assert pickle.loads(pickle.dumps(model)).get_params() == model.get_params()  # it is now state of this version
