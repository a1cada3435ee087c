"""What outlives a call: saved state, epochs and their callbacks, interrupts, and what a failed call leaves behind."""

import copy
import doctest
import itertools
import pickle
import signal
import threading
from dataclasses import dataclass, fields, is_dataclass, replace

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV

import sklearn_gln
from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln.kernels import get_kernels
from tests.conftest import make_stream
from tests.test_classifier import assert_refused, assert_same_object
from tests.test_kernels import INTERPRETED
from tests.test_online import Ordered

BACKEND = "numpy" if INTERPRETED else "auto"
SMALL = {"layer_sizes": (5, 4), "context_dim": 2, "max_iter": 2, "backend": BACKEND, "random_state": 0}
CLASSES = [0, 1, 2]
X, Y, _ = make_stream(5, 1000)
X_VAL, Y_VAL, WEIGHTS_VAL = X[700:], Y[700:], make_stream(6, 300)[2]
LABELS = np.column_stack([Y == 0, Y == 1])
N_SEEN = [0, 1, 100, 256, 700]


def new(**params):
    return GLNClassifier(**{**SMALL, **params})


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


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def attributes(model):
    """A copy of all that a model holds, but callbacks."""
    return copy.deepcopy({name: value for name, value in vars(model).items() if name != "_skl_callbacks"})


# Saved state


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


@pytest.mark.parametrize("n", N_SEEN)
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


@pytest.mark.parametrize("n", [100, 700])
@pytest.mark.parametrize("backends", [("numba", "numpy"), ("numpy", "numba")])
def test_the_backend_may_change_while_learning(kind, backends, n):
    pytest.importorskip("numba")
    first, second = backends
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
    "regressor": lambda: KINDS["squared"].new(early_stopping=True, half_life="auto").fit(X, TARGETS),
}


@pytest.mark.parametrize("state", STATES)
def test_state_is_plain(state):
    for path, value in plain_leaves(STATES[state]().__getstate__()):
        assert type(value) in (str, int, float, bool, type(None), np.ndarray) or isinstance(value, np.generic), path
        assert not isinstance(value, np.ndarray) or value.dtype.kind != "O", path


@pytest.mark.parametrize("state", STATES)
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


# Callbacks


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


class Propagated(Recorder):
    max_propagation_depth = None


@pytest.fixture
def callbacks():
    return pytest.importorskip("sklearn.callback")


@pytest.mark.parametrize("n_callbacks", [1, 2])
def test_tasks_of_fit(callbacks, n_callbacks):
    recorders = [Recorder() for _ in range(n_callbacks)]
    new(shuffle=False).set_callbacks(*recorders).fit(X[:700], Y[:700])
    root = ("fit", 0)
    expected = [("setup", (root,)), ("begin", (root,))]
    for epoch, n_blocks in enumerate([11, 2]):  # up to rows 1, 2, 4, ..., 256, 512, 700; then to 1024, 1400
        path = (root, ("epoch", epoch))
        expected.append(("begin", path))
        for block in range(n_blocks):
            expected += [(event, (*path, ("rows", block))) for event in ("begin", "end")]
        expected.append(("end", path))
    expected += [("end", (root,)), ("teardown", (root,))]
    for recorder in recorders:
        assert recorder.events == expected


def test_listening_changes_nothing(callbacks, kind):
    model = kind.new().set_callbacks(Recorder()).fit(X, kind.y)
    assert_same_object(attributes(model), attributes(kind.new().fit(X, kind.y)))


def test_a_callback_stops_fit_after_an_epoch(callbacks):
    recorder = Recorder(lambda event, task, _: (event, task) == ("end", ("epoch", 1)))
    model = new(max_iter=9).set_callbacks(recorder).fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 2
    assert_array_equal(model.predict_proba(X), new(max_iter=2).fit(X, Y).predict_proba(X))
    assert [path for event, path in recorder.events if event == "end"][-1] == (("fit", 0),)


def test_a_callback_stops_an_epoch_after_some_rows(callbacks):
    recorder = Recorder(lambda event, task, _: (event, task) == ("end", ("rows", 0)))
    model = new(max_iter=3).set_callbacks(recorder).fit(X, Y)
    assert model.n_iter_ == 3
    assert model.n_samples_seen_ == 4  # up to rows 1, 2, 4
    assert model._class_counts.sum() == 4
    assert sorted(event for event, _ in recorder.events).count("begin") == 1 + 3 + 3
    assert sorted(event for event, _ in recorder.events).count("end") == 1 + 3 + 3


@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"warm_start": True}], ids=str)
def test_callbacks_get_an_estimator_of_their_own(callbacks, params):
    got, at_that_time = {}, {}

    def keep(event, task, estimator):
        if event == "end" and task[0] == "epoch":
            got[task[1]], at_that_time[task[1]] = estimator, estimator.predict_proba(X)

    model = new(max_iter=3, **params)
    if params.get("warm_start"):
        model.fit(X[::2], Y[::2])
    expected = [copy.deepcopy(model).set_params(max_iter=n, early_stopping=False) for n in (1, 2, 3)]
    model.set_callbacks(Recorder(keep)).fit(X, Y)
    assert list(got) == [0, 1, 2]
    for epoch, estimator in got.items():
        assert_array_equal(estimator.predict_proba(X), at_that_time[epoch])
        if "early_stopping" not in params:
            assert_array_equal(at_that_time[epoch], expected[epoch].fit(X, Y).predict_proba(X))
    before = model.predict_proba(X)
    got[2].partial_fit(X, Y)
    assert_array_equal(model.predict_proba(X), before)


def test_callbacks_stay_with_parameters_and_leave_saved_models(callbacks):
    model = new().set_callbacks(Recorder())
    (recorder,) = model._skl_callbacks
    assert clone(model)._skl_callbacks == [recorder]
    assert len(pickle.loads(pickle.dumps(model))._skl_callbacks) == 1
    model.fit(X, Y)
    assert recorder.events
    assert clone(model)._skl_callbacks == [recorder]
    assert "Recorder" not in str(pickle.dumps(model))
    assert_same_object(vars(pickle.loads(pickle.dumps(model))), attributes(model))


@pytest.mark.parametrize(
    "where",
    [
        ("setup", ("fit", 0)),
        *itertools.product(["begin", "end"], [("fit", 0), ("epoch", 1), ("rows", 1)]),
    ],
    ids=str,
)
@pytest.mark.parametrize("fitted", [True, False])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_callback_that_raises_leaves_the_estimator_as_it_was(callbacks, kind, where, fitted, error):
    def fail(event, task, _):
        if (event, task) == where:
            raise error

    model = kind.new(warm_start=True)
    if fitted:
        model.fit(X[:300], kind.y[:300])
    before, recorder = attributes(model), Recorder(fail)
    with pytest.raises(error):
        model.set_callbacks(recorder).fit(X, kind.y)
    assert_same_object(attributes(model), before)
    assert [event for event, _ in recorder.events].count("teardown") == 1
    assert recorder.events[-1][0] == "teardown"
    model.set_callbacks().fit(X, kind.y)


def test_scoring_monitor(callbacks):
    monitor = callbacks.ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    new(max_iter=3).set_callbacks(monitor).fit(X, Y)
    log = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert [row["task_id"] for row in log] == [0, 1, 2]
    for row in log:
        expected = new(max_iter=row["task_id"] + 1).fit(X, Y)
        assert row["accuracy"] == accuracy_score(Y, expected.predict(X))
        assert row["neg_log_loss"] == pytest.approx(-log_loss(Y, expected.predict_proba(X)))


def test_progress_bar(callbacks, capsys):
    pytest.importorskip("rich")
    model = new().set_callbacks(callbacks.ProgressBar()).fit(X, Y)
    assert "GLNClassifier" in capsys.readouterr().out
    assert_same_object(attributes(model), attributes(new().fit(X, Y)))


def test_callbacks_of_a_search(callbacks):
    recorder = Propagated()
    search = GridSearchCV(new(), {"context_dim": [1, 2]}, cv=2, n_jobs=1).set_callbacks(recorder).fit(X, Y)
    begun, ended = ({path for event, path in recorder.events if event == name} for name in ("begin", "end"))
    assert begun == ended
    assert len([path for path in begun if path[-1][0] == "epoch"]) == 2 * (2 * 2 + 1)
    assert {path[0] for path in begun} == {recorder.events[0][1][0]}  # one tree
    assert [event for event, _ in recorder.events].count("setup") == 1
    assert not hasattr(search.best_estimator_, "_skl_callbacks")


# Epochs


@pytest.mark.parametrize("early_stopping", [True, False])
def test_verbose_prints_a_line_for_each_epoch(early_stopping, capsys):
    model = new(verbose=True, max_iter=4, early_stopping=early_stopping).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == model.n_iter_ > 1
    for epoch, line in enumerate(lines):
        losses = [model.loss_curve_[epoch], *model.validation_loss_curve_[epoch : epoch + 1]]
        assert line.count("loss") == len(losses) == 1 + early_stopping
        assert all(f"{loss:.4f}" in line for loss in losses)
    model.set_params(verbose=False).fit(X, Y)
    assert capsys.readouterr().out == ""


def test_warm_start_goes_on():
    model = new(warm_start=True, shuffle=False)
    for n_fits in (1, 2):
        model.fit(X, Y)
        assert model.n_iter_ == len(model.loss_curve_) == 2 * n_fits
        assert model.n_samples_seen_ == 2000 * n_fits
    at_once = new(max_iter=4, shuffle=False).fit(X, Y)
    assert_array_equal(model.predict_proba(X), at_once.predict_proba(X))
    assert model.loss_curve_ == at_once.loss_curve_
    assert model.progressive_loss_ == model.loss_curve_[0]  # later passes saw these rows before


def test_steps_of_later_epochs_are_smaller():
    model = new(max_iter=3, shuffle=False, aggregation="layers").fit(X, Y)
    passes = new(aggregation="layers")
    probabilities = passes.progressive_predict_proba(X, Y, CLASSES)
    for rate in (2.0, 4 / 3):
        passes._online.settings = replace(passes._online.settings, learning_rate_init=rate)
        probabilities = passes.progressive_predict_proba(X, Y, CLASSES)
    assert_array_equal(model.predict_proba(X), passes.predict_proba(X))
    assert model.loss_curve_[2] == pytest.approx(log_loss(Y, probabilities))


def test_without_warm_start_fit_begins_anew():
    model = new().fit(X, Y).fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 2
    assert_same_object(model, new().fit(X, Y))


def test_warm_start_goes_on_after_partial_fit():
    params = {"shuffle": False, "max_iter": 1, "aggregation": "layers", "learning_rate": "constant"}
    model = streamed(400, warm_start=True, **params).fit(X[400:], Y[400:])
    assert model.n_iter_ == len(model.loss_curve_) == 1
    assert_array_equal(model.predict_proba(X), streamed(400, **params).partial_fit(X[400:], Y[400:]).predict_proba(X))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X, Y + 1), r"label\(s\) \[3\]"),
        ((X[:, :3], Y), "3 features"),
        ((X, LABELS), "one label for each row"),
    ],
    ids=["label", "features", "matrix"],
)
def test_warm_start_refuses_other_data(data, message):
    model = new(warm_start=True).fit(X, Y)
    assert_refused(model, lambda it: it.fit(*data), ValueError, message)


@pytest.mark.parametrize("early_stopping", [True, False])
def test_fit_stops_where_the_loss_no_longer_falls(early_stopping):
    def fit(**params):
        return new(max_iter=12, early_stopping=early_stopping, **params).fit(X, Y)

    def curve(model):
        return np.array(model.validation_loss_curve_ if early_stopping else model.loss_curve_)

    assert fit(tol=10.0).n_iter_ == 1 + 3  # only the first pass brings an improvement of tol
    assert fit(tol=10.0, n_iter_no_change=1).n_iter_ == 1 + 1
    full = curve(fit(n_iter_no_change=12, tol=0.0))
    assert len(full) == 12
    tol, best, waited, n_iter = 0.004, np.inf, 0, 0
    while n_iter < 12 and waited < 2:
        waited = 0 if full[n_iter] < best - tol else waited + 1
        best = full[n_iter] if waited == 0 else best
        n_iter += 1
    stopped = fit(n_iter_no_change=2, tol=tol)
    assert 2 < stopped.n_iter_ == n_iter < 12
    assert_array_equal(curve(stopped), full[:n_iter])


@pytest.mark.parametrize("validation_fraction", [0.1, 0.25])
def test_rows_held_out_are_never_learned(validation_fraction):
    model = Ordered(**{**SMALL, "max_iter": 6}, early_stopping=True, validation_fraction=validation_fraction, tol=0.0)
    model.fit(X, Y)
    learned = np.sort(model.orders[0])
    n_learned = round(1000 * (1 - validation_fraction))
    assert len(np.unique(learned)) == n_learned
    for order in model.orders:
        assert_array_equal(np.sort(order), learned)
    held_out = np.setdiff1d(np.arange(1000), learned)
    assert_allclose(np.bincount(Y[held_out]), validation_fraction * np.bincount(Y), atol=1)
    best = int(np.argmin(model.validation_loss_curve_))
    assert model.n_iter_ == len(model.validation_loss_curve_) == len(model.loss_curve_) == len(model.orders) > best
    assert model.n_samples_seen_ == n_learned * (best + 1)
    assert model._class_counts.sum() == n_learned * (best + 1)
    loss = log_loss(Y[held_out], model.predict_proba(X[held_out]))
    assert model.validation_loss_curve_[best] == pytest.approx(loss, rel=1e-6)


def test_rows_of_weight_zero_are_not_held_out():
    weights = (np.arange(1000) % 2).astype(float)
    model = new(early_stopping=True, validation_fraction=0.2, max_iter=1).fit(X, Y, weights)
    assert model.n_samples_seen_ == 400


@pytest.mark.parametrize("y", [np.r_[Y[:-1], 7], np.arange(1000) // 2], ids=["a class of one row", "500 classes"])
def test_early_stopping_without_strata(y):
    model = new(early_stopping=True, max_iter=1, layer_sizes=(), context_dim=0).fit(X, y)
    assert model.n_samples_seen_ == 900


def test_early_stopping_of_too_few_rows(kind):
    model = kind.new(early_stopping=True, validation_fraction=0.9)
    y = [0, 1] if kind.classes else kind.y[:2]
    assert_refused(model, lambda it: it.fit(X[:2], y), ValueError, "early_stopping")


def test_early_stopping_holds_out_rows_of_a_label_matrix():
    model = new(early_stopping=True, tol=0.0).fit(X, LABELS)
    best = int(np.argmin(model.validation_loss_curve_))
    assert model.n_samples_seen_ == 900 * (best + 1)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("began", ["unfitted", "fitted", "warm_start", "other features"])
def test_validation_data_choose_the_network(weighted, began):
    weights = WEIGHTS_VAL if weighted else None
    rng = np.random.default_rng(0)
    X_few, y_few = X[:100], np.where(rng.random(100) < 0.5, rng.integers(3, size=100), Y[:100])  # soon overfitted
    params = {"layer_sizes": (20, 20), "context_dim": 4, "aggregation": "layers", "tol": 0.0, "max_iter": 20}
    model = new(early_stopping=True, warm_start=began == "warm_start", **params)
    if began != "unfitted":
        features = slice(0, 2 if began == "other features" else None)
        model.set_params(early_stopping=False, max_iter=1).fit(X_few[:, features], y_few)
        model.set_params(early_stopping=True, max_iter=20)
    expected = copy.deepcopy(model).set_params(early_stopping=False)
    model.fit(X_few, y_few, X_val=X_VAL, y_val=Y_VAL, sample_weight_val=weights)
    curve = model.validation_loss_curve_
    best = int(np.argmin(curve))
    assert best < len(curve) - 1  # so that it is not simply the last network
    expected.set_params(max_iter=best + 1).fit(X_few, y_few)
    assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
    loss = log_loss(Y_VAL, model.predict_proba(X_VAL), sample_weight=weights)
    assert curve[best] == pytest.approx(loss, rel=1e-6)


def test_without_early_stopping_validation_data_are_watched_only():
    model = new(max_iter=3).fit(X[:700], Y[:700], X_val=X_VAL, y_val=Y_VAL, sample_weight_val=WEIGHTS_VAL)
    assert_array_equal(model.predict_proba(X), new(max_iter=3).fit(X[:700], Y[:700]).predict_proba(X))
    assert model.n_samples_seen_ == 2100
    for n_epochs, loss in enumerate(model.validation_loss_curve_, 1):
        probabilities = new(max_iter=n_epochs).fit(X[:700], Y[:700]).predict_proba(X_VAL)
        assert loss == pytest.approx(log_loss(Y_VAL, probabilities, sample_weight=WEIGHTS_VAL), rel=1e-6)
    assert len(model.validation_loss_curve_) == model.n_iter_ == 3


def test_validation_data_of_several_labels_in_a_frame():
    pandas = pytest.importorskip("pandas")
    frame, validation = (pandas.DataFrame(rows, columns=list("abcd")) for rows in (X[:700], X_VAL))
    model = new().fit(frame, LABELS[:700], X_val=validation, y_val=LABELS[700:])
    probabilities = model.predict_proba(validation)
    loss = -np.log(np.where(LABELS[700:], probabilities, 1 - probabilities)).mean()
    assert model.validation_loss_curve_[-1] == pytest.approx(loss, rel=1e-6)


WRONG_VALIDATION = {
    "X_val alone": ({"X_val": X_VAL}, "X_val given without y_val"),
    "y_val alone": ({"y_val": Y_VAL}, "y_val given without X_val"),
    "features": ({"X_val": X_VAL[:, :3], "y_val": Y_VAL}, "3 features"),
    "labels": ({"X_val": X_VAL, "y_val": Y_VAL + 1}, r"label\(s\) \[3\]"),
    "matrix": ({"X_val": X_VAL, "y_val": LABELS[700:]}, "one label for each row"),
    "length": ({"X_val": X_VAL, "y_val": Y_VAL[1:]}, "inconsistent"),
    "no row": ({"X_val": X_VAL[:0], "y_val": Y_VAL[:0]}, "0 sample"),
    "no weight": ({"X_val": X_VAL, "y_val": Y_VAL, "sample_weight_val": 0 * WEIGHTS_VAL}, "sample_weight_val"),
    "weights alone": ({"sample_weight_val": WEIGHTS_VAL}, "sample_weight_val"),
}


@pytest.mark.parametrize(("validation", "message"), WRONG_VALIDATION.values(), ids=WRONG_VALIDATION)
@pytest.mark.parametrize("fitted", [True, False])
@pytest.mark.parametrize("early_stopping", [True, False])
def test_wrong_validation_data(validation, message, fitted, early_stopping):
    model = new(early_stopping=early_stopping)
    if fitted:
        model.fit(X, Y)
    assert_refused(model, lambda it: it.fit(X[:700], Y[:700], **validation), ValueError, message)


# Ctrl-C


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
ROWS_LEARNED = {1: 1, 4: 2, 17: 16, 34: 256, 35: 512, 38: 1000}


@pytest.mark.parametrize(("call", "n"), ROWS_LEARNED.items())
@pytest.mark.parametrize("method", ["partial_fit", "progressive_predict_proba"])
def test_an_interrupted_stream_has_learned_whole_blocks_and_goes_on(method, call, n, press):
    press(call)
    model = new()
    with pytest.raises(KeyboardInterrupt):
        getattr(model, method)(X, Y, CLASSES)
    assert model.n_samples_seen_ == n
    assert_same_object(model, streamed(n))
    model.partial_fit(X[n:], Y[n:])
    assert_same_object(model, streamed(1000))


@pytest.mark.parametrize("call", [1, 20, 57, 76])
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


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"warm_start": True}], ids=str)
@pytest.mark.parametrize("fitted", [True, False])
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


# Chunks of nothing


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


@pytest.mark.parametrize("n", N_SEEN)
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


@pytest.mark.parametrize("n", N_SEEN)
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


# Rows that count much, and rows before the first


def test_a_weight_of_more_than_a_thousand_is_a_thousand(kind):
    weights = np.where(np.arange(300) % 100 == 50, 1e30, 1.0)
    for learn in ("fit", "partial_fit"):
        classes = kind.classes if learn == "partial_fit" else {}
        huge, large = (
            getattr(kind.new(class_weight=None) if kind.classes else kind.new(), learn)(
                X[:300], kind.y[:300], sample_weight=given, **classes
            )
            for given in (weights, np.minimum(weights, 1000.0))
        )
        assert_array_equal(kind.predict(huge), kind.predict(large))


def test_row_numbers_start_at_1(kind):
    numbers = []

    def rate(t):
        numbers.extend(t)
        return 1e-3 / t

    model = kind.new(learning_rate=rate)
    model.partial_fit(X[:9], kind.y[:9], sample_weight=np.arange(9) // 4, **kind.classes)
    assert min(numbers) == 1


# Without checks


CLASSIFIER_METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")
UNCHECKED = {
    "binary": (new, (Y > 0).astype(int), {"classes": [0, 1]}, "progressive_predict_proba", CLASSIFIER_METHODS),
    "classes": (new, Y, {"classes": CLASSES}, "progressive_predict_proba", CLASSIFIER_METHODS),
    "labels": (new, LABELS, {}, "progressive_predict_proba", CLASSIFIER_METHODS),
    "squared": (KINDS["squared"].new, TARGETS, {}, "progressive_predict", ("predict", "predict_interval")),
    "gaussian": (KINDS["gaussian"].new, TARGETS[:, 0], {}, "progressive_predict", ("predict", "predict_interval")),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("new", "y", "classes", "progressive", "methods"), UNCHECKED.values(), ids=UNCHECKED)
def test_unchecked_input_gives_the_same(new, y, classes, progressive, methods, dtype):
    rows = X.astype(dtype)
    checked, unchecked = new(), new()
    for chunk in np.split(np.arange(1000), [1, 2, 3, 60, 61, 255, 256, 257, 800]):
        options = {"sample_weight": None if len(chunk) % 2 else np.linspace(0, 2, len(chunk)), **classes}
        for method in ("partial_fit", progressive):
            expected = getattr(checked, method)(rows[chunk], y[chunk], **options)
            got = getattr(unchecked, method)(rows[chunk], y[chunk], **options, check_input=False)
            assert_same_object(unchecked, checked)
            if method == progressive:
                assert_array_equal(got, expected)
        for method in methods:
            for test in (rows[:1], rows):
                got, expected = (getattr(checked, method)(test, check_input=check) for check in (False, True))
                assert got.dtype == expected.dtype
                assert_array_equal(got, expected)


@pytest.mark.parametrize("n", [1, 300])
def test_unchecked_labels_are_still_compared_to_the_classes(n):
    model = streamed(n)
    for wrong in (3, -1):
        y = np.array([0, wrong])
        for method in ("partial_fit", "progressive_predict_proba"):
            assert_refused(
                model, lambda it, y=y, m=method: getattr(it, m)(X[:2], y, check_input=False), ValueError, "do not exist"
            )


# Memory


def n_bytes(part):
    """The bytes of all arrays in dataclasses and lists."""
    if is_dataclass(part):
        return sum(n_bytes(getattr(part, field.name)) for field in fields(part))
    if isinstance(part, list):
        return sum(map(n_bytes, part))
    return part.nbytes if isinstance(part, np.ndarray) else 0


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"layer_sizes": ()},
        {"layer_sizes": (7, 3, 2), "context_dim": 0},
        {"share_halfspaces": False, "context_dim": 4},
        {"aggregation": "neuron", "skip": False},
        {"bias": False, "skip": False},
        {"bias": False},
        {"dtype": "float64", "halfspaces": "gaussian"},
        {"preconditioner": None},
        {"preconditioner": "block"},
        {"learning_rate": "constant", "base_predictor": "minmax"},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_estimate_memory_is_what_the_network_takes(params, n_classes):
    model = new(**{"context_dim": 3, "offset_scale": 0.1} | params)
    estimate = model.estimate_memory(n_features=4, n_classes=n_classes)
    model.partial_fit(X, Y % n_classes, classes=range(n_classes))
    assert type(estimate) is int
    assert estimate * 0.8 <= n_bytes(model._online.network) <= estimate  # few contexts are not visited
    assert model.estimate_memory(4, n_classes, n_samples=2) <= estimate
    assert model.estimate_memory(4, n_classes, n_samples=1000) == estimate


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"layer_sizes": (7,)},
        {"share_halfspaces": False, "context_dim": 4},
        {"aggregation": "neuron", "skip": False},
        {"bias": False, "squares": False},
        {"dtype": "float64", "halfspaces": "gaussian"},
        {"preconditioner": None},
        {"learning_rate": "constant", "base_predictor": lambda rows: np.nan_to_num(rows[:, :1]) * [1, 2, 3, 4]},
    ],
    ids=str,
)
@pytest.mark.parametrize("likelihood", ["squared", "gaussian"])
@pytest.mark.parametrize("n_targets", [1, 2])
def test_estimate_memory_of_a_regressor(params, likelihood, n_targets):
    model = KINDS[likelihood].new(**{"context_dim": 3, "offset_scale": 0.1} | params)
    estimate = model.estimate_memory(4, n_targets)
    model.partial_fit(X, TARGETS[:, :n_targets])
    assert type(estimate) is int
    assert estimate * 0.75 <= n_bytes(model._online.network) <= estimate
    assert model.estimate_memory(4, n_targets, n_samples=2) <= estimate


@pytest.mark.parametrize("preconditioner", ["full", "block", None])
def test_estimate_memory_of_wide_inputs(preconditioner):
    model = new(layer_sizes=(2,), context_dim=1, preconditioner=preconditioner)
    model.partial_fit(np.random.default_rng(0).normal(size=(70, 300)), np.arange(70) % 2, classes=[0, 1])
    assert model.estimate_memory(n_features=300) == n_bytes(model._online.network)


@pytest.mark.parametrize("estimator", [GLNClassifier, GLNRegressor])
def test_example_of_estimate_memory(estimator):
    """pytest finds no examples of methods where the class names another module as its own."""
    (example,) = doctest.DocTestFinder().find(estimator.estimate_memory, module=False, globs={})
    assert doctest.DocTestRunner().run(example) == (0, 2)


def test_estimate_memory_for_labels():
    model = new(context_dim=1)
    assert model.estimate_memory(4, n_labels=2) > model.estimate_memory(4, n_classes=2)
    assert model.estimate_memory(4, n_labels=3) == model.estimate_memory(4, n_classes=3)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("fitted", [True, False])
def test_a_network_larger_than_the_machine_is_refused(kind, method, fitted):
    huge = {"layer_sizes": (10**6, 10**6), "context_dim": 20}
    if method == "partial_fit":
        assert_refused(
            kind.new(**huge),
            lambda it: it.partial_fit(X, kind.y, **kind.classes),
            MemoryError,
            r"layer_sizes=.*context_dim=20",
        )
        return
    model = kind.new()
    if fitted:
        model.fit(X, kind.y)
    model.set_params(**huge)
    assert_refused(model, lambda it: it.fit(X, kind.y), MemoryError, r"layer_sizes=.*context_dim=20")
