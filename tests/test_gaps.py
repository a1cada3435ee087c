"""Targets and labels with gaps: where a row has none, NaN, that output learns nothing of it."""

import copy

import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_friedman1
from sklearn.metrics import r2_score

from sklearn_gln import GLNClassifier, GLNRegressor, io
from sklearn_gln._regressor import gaussian_losses
from tests.helpers import BACKEND, INTERPRETED, NAMES, assert_refused, assert_same_object, make_stream, make_targets

TOLERANCE = {"rtol": 1e-7, "atol": 1e-9}
SMALL = {"layer_sizes": (5, 4), "context_dim": 3, "dtype": "float64", "backend": BACKEND, "random_state": 0}
X, _, WEIGHTS = make_stream(3, 700 if not INTERPRETED else 300)
Y = make_targets(X)
GAPS = np.random.default_rng(0).random(Y.shape) < [0.3, 0.5, 0.0]
HOLED = np.where(GAPS, np.nan, Y)
LABELS = (np.median(Y, axis=0) < Y).astype(float)
HOLED_LABELS = np.where(GAPS, np.nan, LABELS)


@pytest.fixture(params=["squared", "gaussian"])
def likelihood(request):
    return request.param


def new(likelihood="squared", **params):
    return GLNRegressor(**{"likelihood": likelihood} | SMALL | params)


def outputs(model, rows=X):
    return np.stack(model.predict(rows, return_std=True))


def test_outputs_do_not_know_of_each_others_gaps(likelihood):
    model, other = (new(likelihood, halfspaces="gaussian") for _ in range(2))
    model.partial_fit(X, HOLED, WEIGHTS)
    other.partial_fit(X, np.column_stack([HOLED[:, 0], Y[::-1, 1], np.where(GAPS[::-1, 1], np.nan, 7.0)]), WEIGHTS)
    assert_allclose(outputs(model)[..., 0], outputs(other)[..., 0], **TOLERANCE)
    full = new(likelihood, halfspaces="gaussian").partial_fit(X, Y, WEIGHTS)
    assert_allclose(outputs(model)[..., 2], outputs(full)[..., 2], **TOLERANCE)
    assert np.abs(outputs(model)[..., 0] - outputs(full)[..., 0]).max() > 0.01


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_row_without_any_target_is_left_out(likelihood, method):
    gone = np.arange(len(X)) % 5 == 0
    params = {"max_iter": 1, "shuffle": False}
    model, expected = new(likelihood, **params), new(likelihood, **params)
    getattr(model, method)(X, np.where(gone[:, np.newaxis], np.nan, HOLED), WEIGHTS)
    getattr(expected, method)(X, HOLED, np.where(gone, 0, WEIGHTS))
    assert_allclose(outputs(model), outputs(expected), **TOLERANCE)
    assert model.n_samples_seen_ == expected.n_samples_seen_
    assert model.progressive_loss_ == pytest.approx(expected.progressive_loss_)


def test_cuts_copies_and_files_change_nothing(likelihood, tmp_path):
    whole, model = new(likelihood), new(likelihood)
    expected = np.stack(whole.progressive_predict(X, HOLED, WEIGHTS, return_std=True))
    parts = []
    for rows in np.split(np.arange(len(X)), [1, 20, 150, 257, 290]):
        parts.append(np.stack(model.progressive_predict(X[rows], HOLED[rows], WEIGHTS[rows], return_std=True)))
        io.save(copy.deepcopy(model), tmp_path / "model.skops")
        model = io.load(tmp_path / "model.skops")
    assert_allclose(np.concatenate(parts, axis=1), expected, **TOLERANCE)
    assert model.progressive_loss_ == pytest.approx(whole.progressive_loss_)
    assert_allclose(model.predict_interval(X), whole.predict_interval(X), **TOLERANCE)


def test_backends_agree(backend_name):
    if backend_name == NAMES[0]:
        pytest.skip("the others are compared to it")
    model, expected = (new(backend=name).partial_fit(X, HOLED, WEIGHTS) for name in (backend_name, NAMES[0]))
    assert_allclose(outputs(model), outputs(expected), rtol=1e-6, atol=1e-8)


def test_processes_change_nothing():
    rows = np.tile(np.arange(len(X)), 3)
    late = np.where(np.arange(len(rows))[:, np.newaxis] < [[1100, 0, 0]], np.nan, HOLED[rows])
    model, expected = new(n_jobs=2), new()
    wanted = expected.progressive_predict(X[rows], late, return_std=True)
    with parallel_config("loky"):
        got = model.progressive_predict(X[rows], late, return_std=True)
    assert_allclose(np.stack(got), np.stack(wanted), **TOLERANCE)
    assert_allclose(outputs(model), outputs(expected), **TOLERANCE)


def test_half_the_targets_teach_what_a_model_of_their_own_learns(likelihood):
    X, y = make_friedman1(3000, n_features=5, noise=0.5, random_state=0)
    other = X[:, 3] * X[:, 4]
    known = np.random.default_rng(0).random(2000) < 0.5
    Y = np.column_stack([np.where(known, y[:2000], np.nan), np.where(known, np.nan, other[:2000])])
    params = {"layer_sizes": (20, 20), "share_halfspaces": False}
    together = new(likelihood, **params).fit(X[:2000], Y).predict(X[2000:])
    for column, (target, rows) in enumerate(((y, known), (other, ~known))):
        alone = new(likelihood, **params).fit(X[:2000][rows], target[:2000][rows]).predict(X[2000:])
        errors = [np.mean((each - target[2000:]) ** 2) for each in (together[:, column], alone)]
        assert errors[0] < 1.35 * errors[1] + 0.02 * target.var()


@pytest.mark.parametrize("start", [100, 290, 700])
def test_a_target_that_comes_late_is_learned_in_its_own_unit(likelihood, start):
    X, y = make_friedman1(2000, n_features=5, random_state=1)
    late = 1e6 + 1e5 * X @ [1, -2, 1, 0, 3]
    late[:start] = np.nan
    model = new(likelihood, layer_sizes=(20, 20))
    early = copy.deepcopy(model).partial_fit(X[:50], np.column_stack([y, late])[:50])
    assert_array_equal(early.predict_quantiles(X[:1], [0.1, 0.5, 0.9])[0, 1], [-np.inf, 0, np.inf])
    mean, deviation = model.progressive_predict(X, np.column_stack([y, late]), return_std=True)
    begun = start + 20 if start < 256 else start + 300  # the next event at the latest
    assert np.all(np.isinf(deviation[1:start, 1]))
    assert np.all(np.isfinite(deviation[begun + 256 :]))
    assert np.all(np.isfinite(deviation[:, 0]))
    assert r2_score(late[-500:], mean[-500:, 1]) > 0.7
    z = (late - mean[:, 1])[-500:] / deviation[-500:, 1]
    assert 0.5 < np.sqrt(np.mean(z**2)) < 2
    assert model.progressive_loss_ < 18  # about 2.2 of one and 13.3 of the other


def test_progressive_loss_is_summed_over_targets_after_16_of_each(likelihood):
    late = np.where(np.arange(len(X))[:, np.newaxis] < [[0, 40, 0]], np.nan, HOLED)
    model = new(likelihood)
    mean, deviation = model.progressive_predict(X, late, WEIGHTS, return_std=True)
    losses, expected = gaussian_losses(np.stack([mean, deviation**2], axis=2), late), 0.0
    for column in range(3):
        counted = np.flatnonzero((WEIGHTS > 0) & ~np.isnan(late[:, column]))[16:]
        counted = counted[np.isfinite(deviation[counted, column])]
        expected += np.average(losses[counted, column], weights=WEIGHTS[counted])
    assert model.progressive_loss_ == pytest.approx(expected)


FORMS = {
    "lists": lambda y: [[None if np.isnan(value) else value for value in row] for row in y.tolist()],
    "masked": lambda y: np.ma.masked_array(np.nan_to_num(y, nan=5e9), np.isnan(y)),
    "objects": lambda y: np.where(np.isnan(y), None, y),
    "pandas": lambda y: pytest.importorskip("pandas").DataFrame(y).convert_dtypes(),
    "polars": lambda y: pytest.importorskip("polars").DataFrame(y),
    "float32": np.float32,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_gaps_come_in_all_forms(form):
    got, expected = new().partial_fit(X, form(HOLED)), new().partial_fit(X, HOLED)
    assert_allclose(outputs(got), outputs(expected), rtol=1e-4)
    got.fit(X, form(HOLED), X_val=X, y_val=form(HOLED))
    assert np.isfinite(got.validation_loss_curve_).all()


def test_targets_that_must_not_lack_are_refused():
    model = new().partial_fit(X, HOLED)
    assert_refused(model, lambda it: it.fit(X, HOLED[:, 0]), ValueError, "y contains NaN or another missing value")
    assert_refused(model, lambda it: it.fit(X, HOLED[:, :1]), ValueError, "y contains NaN or another missing value")
    empty = np.column_stack([HOLED[:, :2], np.full(len(X), np.nan)])
    assert_refused(model, lambda it: it.fit(X, empty), ValueError, "y has no value in column 2.*partial_fit")
    infinite = np.where(GAPS, np.inf, Y)
    assert_refused(model, lambda it: it.partial_fit(X, infinite), ValueError, "infinity")
    unchecked = np.full(len(X), np.nan)
    one = new().partial_fit(X, Y[:, 0])
    assert_refused(one, lambda it: it.partial_fit(X, unchecked, check_input=False), ValueError, "NaN")


def test_no_gaps_cost_no_memory():
    assert new().partial_fit(X, Y)._online.network.gap_moment is None
    assert new().partial_fit(X, HOLED)._online.network.gap_moment.shape[0] == 3


def test_a_matrix_of_nothing_teaches_nothing():
    model = new().partial_fit(X, HOLED)
    before = copy.deepcopy(model)
    assert_same_object(model.partial_fit(X, np.full_like(Y, np.nan)), before)
    assert_array_equal(outputs(model), outputs(before))


# Labels


def new_classifier(**params):
    return GLNClassifier(**SMALL | params)


@pytest.mark.parametrize("aggregation", ["stacked", "layers"])
def test_labels_do_not_know_of_each_others_gaps(aggregation):
    params = {"halfspaces": "gaussian", "aggregation": aggregation}
    model, full = (new_classifier(**params).partial_fit(X, y, sample_weight=WEIGHTS) for y in (HOLED_LABELS, LABELS))
    layers, of_full = (list(each.staged_predict_proba(X)) for each in (model, full))
    for got, expected in zip(layers, of_full, strict=True):  # the stack is one for all labels
        assert_allclose(got[:, 2], expected[:, 2], **TOLERANCE)
        assert np.abs(got[:, 0] - expected[:, 0]).max() > 0.01
    if aggregation == "layers":
        assert_allclose(model.predict_proba(X)[:, 2], full.predict_proba(X)[:, 2], **TOLERANCE)


def test_unknown_labels_count_nowhere():
    model = new_classifier(half_life=None)
    probabilities = model.progressive_predict_proba(X, HOLED_LABELS, sample_weight=WEIGHTS)
    known = ~GAPS & (WEIGHTS > 0)[:, np.newaxis]
    n_of = np.array([[WEIGHTS[known[:, k] & (LABELS[:, k] == c)].sum() for c in (0, 1)] for k in range(3)])
    assert_allclose(model._online.head.class_weight, n_of)
    losses = -np.log(np.where(LABELS == 1, probabilities, 1 - probabilities))
    by_row = np.where(GAPS, 0, losses).sum(axis=1) / np.maximum((~GAPS).sum(axis=1), 1)
    assert model.progressive_loss_ == pytest.approx(np.average(by_row, weights=WEIGHTS))
    right = (((probabilities > 0.5) == (LABELS == 1)) | GAPS).all(axis=1)
    assert model.progressive_accuracy_ == pytest.approx(np.average(right, weights=WEIGHTS))
    assert model.score(X, HOLED_LABELS) > model.score(X, LABELS)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_row_without_any_label_is_left_out(method):
    gone, params = np.arange(len(X)) % 5 == 0, {"max_iter": 1, "shuffle": False}
    model, expected = new_classifier(**params), new_classifier(**params)
    getattr(model, method)(X, np.where(gone[:, np.newaxis], np.nan, HOLED_LABELS))
    getattr(expected, method)(X, HOLED_LABELS, sample_weight=np.where(gone, 0.0, 1.0))
    assert_allclose(model.predict_proba(X), expected.predict_proba(X), **TOLERANCE)
    assert model.progressive_loss_ == pytest.approx(expected.progressive_loss_)


def test_cuts_files_and_forms_of_labels_change_nothing(tmp_path):
    whole, model = new_classifier().partial_fit(X, HOLED_LABELS), new_classifier()
    forms = [np.asarray, FORMS["objects"], FORMS["masked"], FORMS["lists"]]
    for form, rows in zip(forms, np.split(np.arange(len(X)), [20, 150, 257]), strict=True):
        model.partial_fit(X[rows], form(HOLED_LABELS[rows]))
        io.save(model, tmp_path / "model.skops")
        model = io.load(tmp_path / "model.skops")
    assert_allclose(model.predict_proba(X), whole.predict_proba(X), **TOLERANCE)
    assert_refused(model, lambda it: it.partial_fit(X, 2 * HOLED_LABELS), ValueError, "other than 0 and 1")
    empty = np.column_stack([HOLED_LABELS[:, :2], np.full(len(X), np.nan)])
    assert_refused(model, lambda it: it.fit(X, empty), ValueError, "y has no value in column 2.*partial_fit")


def test_half_the_labels_teach_what_a_model_of_their_own_learns():
    X, y = make_friedman1(3000, n_features=5, random_state=0)
    labels = np.column_stack([y > np.median(y), X[:, 3] > X[:, 4]]).astype(float)
    known = np.random.default_rng(0).random(2000) < 0.5
    holed = np.where(np.column_stack([known, ~known]), labels[:2000], np.nan)
    together = new_classifier(layer_sizes=(20, 20)).fit(X[:2000], holed).predict(X[2000:])
    for column, rows in enumerate((known, ~known)):
        alone = new_classifier(layer_sizes=(20, 20)).fit(X[:2000][rows], labels[:2000, column][rows]).predict(X[2000:])
        wrong = [np.mean(each != labels[2000:, column]) for each in (together[:, column], alone)]
        assert wrong[0] < wrong[1] + 0.02
