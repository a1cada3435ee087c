"""Epochs of fit: warm starts, early stopping, validation data."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import log_loss

from tests.helpers import (
    CLASSES,
    LABELS,
    SMALL,
    Ordered,
    X,
    Y,
    assert_refused,
    assert_same_object,
    make_stream,
    new,
    streamed,
    thorough_but,
)

X_VAL, Y_VAL, WEIGHTS_VAL = X[700:], Y[700:], make_stream(6, 300)[2]


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
@pytest.mark.parametrize("fitted", thorough_but([True, False], True))
@pytest.mark.parametrize("early_stopping", [True, False])
def test_wrong_validation_data(validation, message, fitted, early_stopping):
    model = new(early_stopping=early_stopping)
    if fitted:
        model.fit(X, Y)
    assert_refused(model, lambda it: it.fit(X[:700], Y[:700], **validation), ValueError, message)
