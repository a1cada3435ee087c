"""Callbacks of fit: the tasks that they hear of, what they may stop, and what they are given."""

import copy
import itertools
import pickle

import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV

from tests.helpers import Recorder, X, Y, assert_same_object, attributes, new, thorough_but


class Propagated(Recorder):
    max_propagation_depth = None


@pytest.mark.parametrize("n_callbacks", [1, 2])
def test_tasks_of_fit(callbacks, n_callbacks):
    recorders = [Recorder() for _ in range(n_callbacks)]
    new(shuffle=False, half_life=None).set_callbacks(*recorders).fit(X[:700], Y[:700])
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
@pytest.mark.parametrize("fitted", thorough_but([True, False], True))
@pytest.mark.parametrize("error", thorough_but([ZeroDivisionError, KeyboardInterrupt], ZeroDivisionError))
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
