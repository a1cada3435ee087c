"""Sparse rows: the model depends on the data and not on the container, up to `max_dense` columns and above."""

import copy
import pickle
import re
import tracemalloc
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sklearn_gln import GLNClassifier, GLNRegressor, _network, io
from sklearn_gln._wide_rows import MAX_DENSE
from sklearn_gln.bandit import GLNBandit
from sklearn_gln.kernels import get_kernels
from tests.helpers import (
    BACKEND,
    as_wide,
    assert_refused,
    assert_same_object,
    attributes,
    make_stream,
    make_targets,
    thorough_but,
)

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
SMALL = {"layer_sizes": (4, 3), "context_dim": 2, "dtype": "float64", "backend": BACKEND, "random_state": 0}
SMALL |= {"max_iter": 1}
CLASSES = [0, 1, 2]
DENSE, Y, WEIGHTS = make_stream(8, 600)
TARGETS = make_targets(DENSE)
GAPS = np.where(np.random.default_rng(0).random((600, 2)) < 0.3, np.nan, TARGETS[:, :2])
LABELS = np.stack([Y == 0, Y != 2], axis=1).astype(int)
X = as_wide(DENSE)
ROWS = sp.csr_array(X)
WIDTH = X.shape[1]
WIDTHS = [WIDTH - 1, WIDTH, WIDTH + 1]  # max_dense: rows are wide, and just not
NAMES = [f"c{number}" for number in range(WIDTH)]


def new(max_dense=WIDTH - 1, **params):
    return GLNClassifier(**SMALL | {"max_dense": max_dense} | params)


def regressor(max_dense=WIDTH - 1, **params):
    return GLNRegressor(**SMALL | {"max_dense": max_dense} | params)


def learned(rows, **params):
    """What is predicted before rows are learned, and afterwards."""
    model = new(**params)
    before = model.progressive_predict_proba(rows, Y[: rows.shape[0]], CLASSES, WEIGHTS[: rows.shape[0]])
    return np.concatenate([before, model.predict_proba(rows)])


# Containers


def in_any_order(rows):
    """Indices that are not sorted, and values in two parts."""
    rng, matrix = np.random.default_rng(1), sp.csr_array(rows)
    parts, indices, indptr = [], [], [0]
    for start, stop in pairwise(matrix.indptr):
        order = rng.permutation(2 * (stop - start))
        values = matrix.data[start:stop]
        parts.append(np.concatenate([0.25 * values, 0.75 * values])[order])
        indices.append(np.tile(matrix.indices[start:stop], 2)[order])
        indptr.append(indptr[-1] + len(order))
    return sp.csr_array((np.concatenate(parts), np.concatenate(indices), indptr), shape=rows.shape)


def with_zeros(rows):
    """All values are stored."""
    stored = sp.csr_array(np.ones(rows.shape))
    stored.data = rows.ravel().copy()
    return stored


def of_long_indices(rows):
    matrix = sp.csr_array(rows)
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    return matrix


def as_frame(rows):
    return pd.DataFrame.sparse.from_spmatrix(sp.csr_array(rows))


CONTAINERS = {
    **{f"{form}_{kind}": getattr(sp, f"{form}_{kind}") for form in ("csr", "csc", "coo", "lil", "dok", "bsr") for kind
       in ("matrix", "array")},
    "dia_array": sp.dia_array,
    "explicit zeros": with_zeros,
    "64-bit indices": of_long_indices,
    "pandas": as_frame,
    "pandas, filled with NaN": lambda rows: pd.DataFrame(rows).astype(pd.SparseDtype(float, np.nan)),
    "pandas, filled with 1": lambda rows: pd.DataFrame(rows).astype(pd.SparseDtype(float, 1.0)),
    "pandas, sparse and dense": lambda rows: pd.DataFrame(rows).astype({1: pd.SparseDtype(float, 0.0)}),
    "list": np.ndarray.tolist,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Constructing a DIA matrix")
@pytest.mark.parametrize(
    ("max_dense", "container"),
    thorough_but(
        [(max_dense, container) for max_dense in WIDTHS for container in CONTAINERS],
        *((WIDTH - 1, container) for container in CONTAINERS if container[3:] != "_matrix" or "csr" in container),
        *((WIDTH, container) for container in ("csr_matrix", "coo_array", "pandas", "pandas, sparse and dense")),
        (WIDTH + 1, "csr_array"),
    ),
)
def test_the_model_depends_on_the_data_and_not_on_the_container(max_dense, container):
    rows = X[:300] * (np.abs(X[:300]) < 1e6) if "pandas" in container else X[:300]
    made = CONTAINERS[container](rows)
    before = learned(rows, max_dense=max_dense)
    assert_array_equal(learned(made if container != "list" else np.array(made), max_dense=max_dense), before)
    model, same = (new(max_dense).fit(of, Y[:300]) for of in (made, rows))
    assert_array_equal(model.predict_proba(made), same.predict_proba(rows))
    assert (model._online.wide is not None) == (max_dense < WIDTH)


@pytest.mark.parametrize("max_dense", WIDTHS)
def test_duplicates_are_summed_and_the_callers_matrix_stays(max_dense):
    rows = np.nan_to_num(X[:200])
    matrix = in_any_order(rows)
    before = {name: copy.deepcopy(value) for name, value in vars(matrix).items()}
    arrays = matrix.data, matrix.indices, matrix.indptr
    got, expected = learned(matrix, max_dense=max_dense), learned(matrix.toarray(), max_dense=max_dense)
    assert_allclose(got, expected, **TOLERANCE)
    model = new(max_dense).fit(matrix, Y[:200])
    model.predict(matrix, check_input=False)
    assert all(now is array for now, array in zip((matrix.data, matrix.indices, matrix.indptr), arrays, strict=True))
    assert_same_object(vars(matrix), before)
    for array in arrays:  # a map of a file, or of another process's memory
        array.flags.writeable = False
    assert_allclose(learned(matrix, max_dense=max_dense), expected, **TOLERANCE)


@pytest.mark.parametrize("max_dense", thorough_but(WIDTHS, WIDTH - 1))
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, np.float32, np.longdouble])
def test_values_of_all_types(dtype, max_dense):
    rows = np.nan_to_num(X[:200] * 100)
    rows = (rows > 0) if dtype is bool else np.clip(rows, 0, 100).astype(dtype)
    sparse = sp.csr_array(rows)
    expected = learned(rows, max_dense=max_dense)
    assert_array_equal(learned(sparse, max_dense=max_dense), expected)
    model = new(max_dense).partial_fit(sparse, Y[:200], CLASSES).partial_fit(sparse, Y[:200], check_input=False)
    twice = new(max_dense).partial_fit(rows, Y[:200], CLASSES).partial_fit(rows, Y[:200])
    assert_allclose(model.predict_proba(sparse, check_input=False), twice.predict_proba(rows), **TOLERANCE)


def test_arrays_wider_than_max_dense_take_the_path_of_wide_rows():
    with pytest.warns(
        UserWarning, match="X has 6 features, and most.* not 0.*max_dense=5 .*max_dense=6 is usually more"
    ):
        model = new(5).partial_fit(DENSE[:, [0, 1, 2, 3, 0, 1]], Y, CLASSES)
    assert model._online.wide is not None
    model.partial_fit(DENSE[:, [0, 1, 2, 3, 0, 1]], Y)  # once is enough
    assert new(6).partial_fit(DENSE[:, [0, 1, 2, 3, 0, 1]], Y, CLASSES)._online.wide is None
    assert GLNClassifier().max_dense == GLNRegressor().max_dense == MAX_DENSE > 784


@pytest.mark.parametrize("n_columns", [MAX_DENSE, MAX_DENSE + 1])
def test_the_width_by_default(n_columns):
    rows = sp.random(60, n_columns, 0.02, format="csr", random_state=0)
    params = {"layer_sizes": (2,), "context_dim": 1, "dtype": "float64", "random_state": 0, "preconditioner": "block"}
    models = [GLNClassifier(**params).partial_fit(of, Y[:60], CLASSES) for of in (rows, rows.toarray())]
    assert_array_equal(models[0].predict_proba(rows), models[1].predict_proba(rows.toarray()))
    assert (models[0]._online.wide is not None) == (n_columns > MAX_DENSE)


@pytest.mark.parametrize("max_dense", WIDTHS)
def test_rows_without_a_value(max_dense):
    none = sp.csr_array((50, WIDTH))
    model = new(max_dense).partial_fit(ROWS, Y, CLASSES)
    predicted = model.predict_proba(none)
    assert_allclose(predicted, np.repeat(predicted[:1], 50, axis=0), rtol=1e-12)
    assert_allclose(predicted, model.predict_proba(np.zeros((50, WIDTH))), rtol=1e-12)
    before = pickle.dumps(model)
    model.partial_fit(sp.csr_array((0, WIDTH)), [])  # no row at all
    assert pickle.dumps(model) == before
    again = model.progressive_predict_proba(none, np.zeros(50), None, np.zeros(50))  # of weight 0
    assert_allclose(again, predicted, rtol=1e-12)
    assert pickle.dumps(model) == before
    first = new(max_dense).partial_fit(none, Y[:50], CLASSES)  # nor one in the first calls
    shares = first.predict_proba(none)[0]
    assert np.all(shares > 0.1)
    assert first.partial_fit(ROWS, Y).progressive_accuracy_ > 0.4


def test_columns_that_never_come_change_nothing():
    far = sp.hstack([ROWS, sp.csr_array((600, 10_000))], format="csr")
    assert_array_equal(learned(far), learned(ROWS))


@pytest.mark.parametrize("max_dense", WIDTHS)
def test_missing_values(max_dense):
    """They are as NaN in arrays, and above max_dense as absent ones."""
    model = new(max_dense).partial_fit(ROWS, Y, CLASSES)
    rows = X[:50].copy()
    rows[:, 3] = np.nan
    predicted = model.predict_proba(sp.csr_array(rows))
    assert_array_equal(predicted, model.predict_proba(rows))
    rows[:, 3] = 0.0
    assert np.array_equal(predicted, model.predict_proba(rows)) == (max_dense < WIDTH)


# Refused


def with_value(value):
    rows = sp.csr_array(np.nan_to_num(X[:100]))
    rows.data[7] = value
    return rows


WRONG = {
    "infinity": (lambda: with_value(np.inf), "infinity"),
    "minus infinity": (lambda: with_value(-np.inf), "infinity"),
    "too large": (lambda: with_value(-2e32), "features must lie within"),
    "too large together": (lambda: in_any_order(np.where(X[:100] == 0, 0, 1.2e32)), "features must lie within"),
    "complex": (lambda: sp.csr_array(np.nan_to_num(X[:100])).astype(complex), "[Cc]omplex"),
    "one column less": (lambda: ROWS[:100, :-1], f"{WIDTH - 1} features"),
    "one axis": (lambda: sp.coo_array(X[0]), "2D"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("max_dense", thorough_but(WIDTHS, WIDTH - 1, WIDTH))
def test_wrong_rows_are_refused_and_leave_the_estimator_as_it_was(max_dense, wrong):
    make, message = WRONG[wrong]
    model, rows = new(max_dense).partial_fit(ROWS, Y, CLASSES), make()
    before = attributes(model)
    y = Y[: rows.shape[0]]
    for call in (model.predict_proba, lambda of: model.partial_fit(of, y), lambda of: list(model.staged_predict(of))):
        with pytest.raises(ValueError, match=message):
            call(rows)
        assert_same_object(attributes(model), before)
    if wrong != "one column less":
        fresh = new(max_dense)
        with pytest.raises(ValueError, match=message):
            fresh.fit(rows, y)
        assert not hasattr(fresh, "n_features_in_")


@pytest.mark.parametrize("max_dense", WIDTHS)
def test_names_of_columns(max_dense):
    frame = pd.DataFrame.sparse.from_spmatrix(sp.csr_array(np.nan_to_num(X)), columns=NAMES)
    model = new(max_dense).fit(frame, Y)
    assert model.feature_names_in_.tolist() == NAMES
    for wrong in (frame[NAMES[::-1]], frame[NAMES[:-1]], frame.rename(columns={"c3": "d3"})):
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(wrong)
        with pytest.raises(ValueError, match="feature names should match"):
            model.partial_fit(wrong, Y)
    mixed = frame.assign(c2=frame["c2"].sparse.to_dense())
    assert_array_equal(model.predict_proba(mixed), model.predict_proba(frame))


@pytest.mark.parametrize("categorical", [[3], ["c3"], np.arange(WIDTH) == 3])
@pytest.mark.parametrize("max_dense", WIDTHS)
def test_categories_of_sparse_rows_are_refused(max_dense, categorical):
    frame = pd.DataFrame.sparse.from_spmatrix(sp.csr_array(np.nan_to_num(X)), columns=NAMES)
    rows = frame if isinstance(categorical[0], str) else ROWS
    with pytest.raises(ValueError, match="categorical_features=.* names columns of a sparse X.*OneHotEncoder"):
        new(max_dense, categorical_features=categorical).fit(rows, Y)
    model = new(max_dense, categorical_features=[3]).fit(np.nan_to_num(X), Y)
    with pytest.raises(ValueError, match="names columns of a sparse X"):
        model.predict(ROWS)
    assert new(max_dense, categorical_features=[]).fit(ROWS, Y).n_samples_seen_ == 600


def halves(rows):
    """Base probabilities of each row alone."""
    assert isinstance(rows, np.ndarray)
    return np.stack([np.nan_to_num(rows[:, 8:11]).clip(0, 1).mean(axis=1), (rows > 0).mean(axis=1)], axis=1)


@pytest.mark.parametrize("base_predictor", ["minmax", "identity", halves])
def test_other_base_predictors(base_predictor):
    """Rows are made dense for them, up to max_dense columns."""
    rows = np.abs(np.nan_to_num(X)).clip(0, 1)
    with pytest.raises(ValueError, match=f"X is sparse and has {WIDTH} features.*max_dense={WIDTH - 1} features"):
        new(base_predictor=base_predictor).fit(sp.csr_array(rows), Y)
    sparse, dense = (learned(of, max_dense=WIDTH, base_predictor=base_predictor) for of in (sp.csr_array(rows), rows))
    assert_array_equal(sparse, dense)
    assert_array_equal(learned(rows, base_predictor=base_predictor), dense)  # an array may be wider
    if base_predictor == "identity":
        with pytest.raises(ValueError, match=re.escape("must lie in [0, 1]; got values from 0 to 2")):
            new(WIDTH, base_predictor="identity").fit(sp.csr_array(2 * rows), Y)


def test_a_callable_sees_blocks_of_rows():
    rows, sizes = sp.csr_array((5000, WIDTH)), []

    def sees(block):
        sizes.append(len(block))
        return np.full((len(block), 2), 0.3)

    new(WIDTH, base_predictor=sees, layer_sizes=(1,)).partial_fit(rows, np.arange(5000) % 3, CLASSES)
    assert sum(sizes) == 5000
    assert max(sizes) <= 2048


def test_onnx_refuses_wide_rows():
    onnx = pytest.importorskip("sklearn_gln.onnx")
    with pytest.raises(NotImplementedError, match=f"{WIDTH} features are more than max_dense={WIDTH - 1}"):
        onnx.online_network(new().fit(ROWS, Y))


# Methods


METHODS = {
    "classifier": (
        lambda **params: new(**params),
        Y,
        {"classes": CLASSES},
        (
            "predict",
            "predict_proba",
            "predict_log_proba",
            "decision_function",
            "staged_predict",
            "staged_predict_proba",
        ),
        "progressive_predict_proba",
    ),
    "labels": (
        lambda **params: new(**params),
        LABELS,
        {},
        ("predict", "predict_proba", "decision_function"),
        "progressive_predict_proba",
    ),
    "regressor": (
        lambda **params: regressor(**params),
        TARGETS[:, 0],
        {},
        ("predict", "predict_interval", "staged_predict"),
        "progressive_predict",
    ),
    "gaussian": (
        lambda **params: regressor(likelihood="gaussian", **params),
        TARGETS[:, 0],
        {},
        ("predict", "predict_interval"),
        "progressive_predict",
    ),
    "targets with gaps": (
        lambda **params: regressor(**params),
        GAPS,
        {},
        ("predict", "predict_interval"),
        "progressive_predict",
    ),
}


def assert_alike(sparse, dense, methods, rows=slice(None)):
    for method in methods:
        got, expected = getattr(sparse, method)(ROWS[rows]), getattr(dense, method)(X[rows])
        assert_array_equal(list(got), list(expected), err_msg=method)
    for name in ("progressive_loss_", "loss_curve_", "validation_loss_curve_", "n_samples_seen_"):
        assert_array_equal(getattr(sparse, name), getattr(dense, name), err_msg=name)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("max_dense", thorough_but(WIDTHS, WIDTH - 1, WIDTH))
def test_streams_of_sparse_rows(max_dense, name):
    make, y, first_call, methods, progressive = METHODS[name]
    sparse, dense = make(max_dense=max_dense), make(max_dense=max_dense)
    for rows in (slice(0, 1), slice(1, 250), slice(250, 400)):
        for model, of in ((sparse, ROWS), (dense, X)):
            model.partial_fit(of[rows], y[rows], sample_weight=WEIGHTS[rows], **first_call)
    assert_alike(sparse, dense, methods, slice(300, 600))
    rows = slice(400, 600)
    got = getattr(sparse, progressive)(ROWS[rows], y[rows], sample_weight=WEIGHTS[rows], check_input=False)
    assert_array_equal(got, getattr(dense, progressive)(X[rows], y[rows], sample_weight=WEIGHTS[rows]))
    assert_alike(sparse, dense, methods)


FITS = {
    "epochs": {"max_iter": 3},
    "early stopping": {"max_iter": 4, "early_stopping": True, "n_iter_no_change": 1},
    "given validation": {"max_iter": 2},
    "no shuffle": {"max_iter": 2, "shuffle": False, "half_life": 200},
    "warm start": {"max_iter": 2, "warm_start": True},
    "heavy": {"max_iter": 2},
}


@pytest.mark.parametrize(
    ("name", "form"),
    thorough_but(
        [(name, form) for name in METHODS for form in FITS],
        *(("classifier", form) for form in FITS),
        ("regressor", "heavy"),
        ("regressor", "early stopping"),
        ("targets with gaps", "epochs"),
        ("labels", "given validation"),
    ),
)
@pytest.mark.parametrize("max_dense", thorough_but(WIDTHS, WIDTH - 1))
def test_fits_of_sparse_rows(max_dense, name, form):
    make, y, _, methods, _ = METHODS[name]
    models, weights = [make(max_dense=max_dense, **FITS[form]) for _ in range(2)], WEIGHTS[:450]
    places = np.arange(450)
    if form == "heavy":  # rows alike are learned as one
        weights, places = 4 * weights, np.tile(np.arange(150), 3)
    for model, of in zip(models, (ROWS, X), strict=True):
        given = {"X_val": of[450:], "y_val": y[450:]} if form == "given validation" else {}
        model.fit(of[places], y[places], weights, **given)
        if form == "warm start":
            model.fit(of[300:], y[300:])
        assert model._online.has_merged == (form == "heavy")
    assert_alike(*models, methods)


# Laws


def random_cuts(rng, n):
    return [0, *sorted({1, 2, 3, *rng.integers(n, size=6).tolist()}), n]


@pytest.mark.parametrize("half_life", thorough_but(["auto", None, 300.0], "auto"))
@pytest.mark.parametrize("name", thorough_but(METHODS, "classifier", "targets with gaps"))
def test_any_split_of_a_stream_is_the_same_stream(name, half_life):
    make, y, first_call, methods, progressive = METHODS[name]
    whole, parts = make(half_life=half_life), make(half_life=half_life)
    before = getattr(whole, progressive)(ROWS, y, sample_weight=WEIGHTS, **first_call)
    cuts, predicted = random_cuts(np.random.default_rng(3), 600), []
    for first, last in pairwise(cuts):
        rows = slice(first, last)
        just_before = copy.deepcopy(parts)
        got = getattr(parts, progressive)(ROWS[rows], y[rows], sample_weight=WEIGHTS[rows], **first_call)
        if first:
            expected = just_before.predict_proba if "predict_proba" in methods else just_before.predict
            assert_allclose(got[0], expected(ROWS[[first]])[0], **TOLERANCE)
        predicted.append(got)
    assert_allclose(np.concatenate(predicted), before, **TOLERANCE)
    for method in methods[:2]:
        assert_allclose(getattr(parts, method)(ROWS), getattr(whole, method)(ROWS), **TOLERANCE)
    assert parts._online.wide.n_slots == whole._online.wide.n_slots


def test_rows_of_weight_zero_do_not_exist():
    exist = WEIGHTS > 0
    models = [new().partial_fit(ROWS[of], Y[of], CLASSES, WEIGHTS[of]) for of in (exist, slice(None))]
    assert_allclose(models[0].predict_proba(ROWS), models[1].predict_proba(ROWS), **TOLERANCE)
    assert_array_equal(models[0]._online.wide.slot_of, models[1]._online.wide.slot_of)


def test_the_order_of_labels_changes_nothing():
    """Given the halfspaces, which are chosen by all classes at once."""
    other = np.array([2, 0, 1])
    models = [new(halfspaces="gaussian").partial_fit(ROWS, y, CLASSES, WEIGHTS) for y in (Y, other[Y])]
    assert_allclose(models[1].predict_proba(ROWS)[:, other], models[0].predict_proba(ROWS), **TOLERANCE)


def test_targets_are_learned_alone():
    """Given the halfspaces."""
    params = {"halfspaces": "gaussian", "share_halfspaces": False}
    together = regressor(**params).partial_fit(ROWS, TARGETS, WEIGHTS)
    for output in range(3):
        alone = regressor(**params).partial_fit(ROWS, TARGETS[:, output], WEIGHTS)
        assert_allclose(together.predict(ROWS)[:, output], alone.predict(ROWS), rtol=1e-7)


@pytest.mark.parametrize("half_life", [None, "mixed"])
def test_classes_that_come_later(half_life):
    y = np.where(np.arange(600) < 300, np.minimum(Y, 1), Y)
    later = new(new_classes="add", half_life=half_life)
    named = new(new_classes="add", half_life=half_life)
    for rows in (slice(0, 300), slice(300, 320), slice(320, 600)):
        got = later.progressive_predict_proba(ROWS[rows], y[rows])
        expected = named.progressive_predict_proba(ROWS[rows], y[rows], CLASSES)
    assert later.classes_.tolist() == CLASSES
    assert_allclose(got, expected, **TOLERANCE)
    assert_allclose(later.predict_proba(ROWS), named.predict_proba(ROWS), **TOLERANCE)


@pytest.mark.thorough
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("max_dense", [WIDTH - 1, WIDTH])
def test_processes_learn_what_one_does(max_dense, name):
    make, y, first_call, methods, _ = METHODS[name]
    models = [make(max_dense=max_dense, n_jobs=n_jobs).partial_fit(ROWS, y, **first_call) for n_jobs in (1, 2)]
    for method in methods[:2]:
        assert_allclose(getattr(models[1], method)(ROWS), getattr(models[0], method)(ROWS), **TOLERANCE)
    models = [make(max_dense=max_dense, n_jobs=n_jobs, max_iter=2).fit(ROWS, y) for n_jobs in (1, 2)]
    for method in methods[:2]:
        assert_allclose(getattr(models[1], method)(ROWS), getattr(models[0], method)(ROWS), **TOLERANCE)


def saved_and_loaded(model, folder):
    io.save(model, folder / "model.skops")
    return io.load(folder / "model.skops")


COPIES = {
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "copy": lambda model, _: copy.copy(model),
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "file": saved_and_loaded,
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("n", thorough_but([1, 300], 300))
@pytest.mark.parametrize("name", ["classifier", "targets with gaps"])
def test_copies_go_on_as_the_original(name, n, way, tmp_path):
    make, y, first_call, *_ = METHODS[name]
    original = make().partial_fit(ROWS[:n], y[:n], **first_call)
    duplicate, other = COPIES[way](original, tmp_path), copy.deepcopy(original)
    duplicate.partial_fit(ROWS[n:], y[n:])
    assert_same_object(attributes(original), attributes(other))
    original.partial_fit(ROWS[n:], y[n:])
    assert_same_object(attributes(duplicate), attributes(original))


@pytest.mark.parametrize(
    "form", ["csr_array", "csr_matrix", "coo_array", "csc_array", "lil_array", "dok_array", "pandas"]
)
def test_a_stream_of_sparse_chunks_goes_on_from_its_checkpoint(form, tmp_path):
    def chunks(stop=600):
        for start in range(0, stop, 150):
            yield CONTAINERS[form](X[start : start + 150]), Y[start : start + 150]

    checkpoint = tmp_path / "stream.skops"
    io.fit_stream(new(), chunks(300), classes=CLASSES, checkpoint=checkpoint)
    saved = checkpoint.read_bytes()
    went_on = io.fit_stream(new(), chunks(), classes=CLASSES, checkpoint=checkpoint)
    expected = new()
    for rows, y in chunks():
        expected.partial_fit(rows, y, CLASSES)
    assert_array_equal(went_on.predict_proba(ROWS), expected.predict_proba(ROWS))
    checkpoint.write_bytes(saved)
    with pytest.raises(ValueError, match="of another stream"):
        io.fit_stream(new(), ((3.0 * rows, y) for rows, y in chunks()), classes=CLASSES, checkpoint=checkpoint)


def test_words_that_share_a_place_are_not_learned_as_one():
    """Rows of one word each, with counts of how often they came."""
    words = sp.csr_array(np.eye(300))
    y, counts = np.arange(300) % 2, np.random.default_rng(0).integers(1, 40, 300).astype(float)
    model = new(100).partial_fit(words, y, sample_weight=counts, classes=[0, 1])
    assert not model._online.has_merged  # of rows alike there are none
    twice = sp.vstack([words, words]), np.tile(y, 2), np.tile(counts, 2)
    model = new(100, max_iter=2).fit(*twice)
    assert model._online.has_merged
    assert model.score(words, y) == 1.0


# Faults


@pytest.mark.parametrize("name", ["classifier", "regressor", "gaussian"])
@pytest.mark.parametrize("number", [0, 1])  # of the layer
def test_an_error_in_a_layer_leaves_columns_as_they_were(name, number, monkeypatch):
    make, y, first_call, *_ = METHODS[name]
    model = make().partial_fit(ROWS[:300], y[:300], **first_call)
    before, expected = copy.deepcopy(model), copy.deepcopy(model).partial_fit(ROWS[300:], y[300:])
    kernels, calls = get_kernels(BACKEND), iter(range(1000))
    kernel = "gaussian_learn" if name == "gaussian" else "linear_learn"
    learn = getattr(kernels, kernel)

    def fail(*args, **options):
        if next(calls) == number:
            raise ZeroDivisionError
        return learn(*args, **options)

    monkeypatch.setattr(kernels, kernel, fail)
    with pytest.raises(ZeroDivisionError):
        model.partial_fit(ROWS[300:], y[300:])
    assert_same_object(model._online.wide, before._online.wide)
    assert model.n_samples_seen_ == 300
    calls = iter(range(1000))
    with pytest.raises(ZeroDivisionError):
        model.fit(ROWS, y)
    assert_same_object(model._online.wide, before._online.wide)
    monkeypatch.undo()
    if number == 0:  # later layers would have learned twice
        assert_same_object(attributes(model.partial_fit(ROWS[300:], y[300:])), attributes(expected))


@pytest.mark.parametrize("name", ["columns_learn", "columns_infer"])
def test_an_error_in_columns_leaves_all_as_it_was(name, monkeypatch):
    model = new().partial_fit(ROWS[:300], Y[:300], CLASSES)
    before = attributes(model)

    def fail(*args, **options):
        raise MemoryError

    monkeypatch.setattr(get_kernels(BACKEND), name, fail)
    with pytest.raises(MemoryError):
        model.partial_fit(ROWS[300:], Y[300:]) if name == "columns_learn" else model.predict(ROWS)
    assert_same_object(attributes(model), before)


def alter(**changes):
    def change(wide):
        for name, value in changes.items():
            setattr(wide, name, value(getattr(wide, name)))

    return change


def with_last(value):
    def change(array):
        array = array.copy()
        array.flat[-1] = value
        return array

    return change


OUT_OF_RANGE = {
    "a slot too large": alter(slot_of=with_last(10**6)),
    "a slot below 0": alter(slot_of=with_last(-1)),
    "a slot twice": alter(slot_of=with_last(1)),
    "slots of other columns": alter(slot_of=lambda slots: slots[:-1]),
    "slots of another type": alter(slot_of=lambda slots: slots.astype(np.int64)),
    "more slots than there are": alter(n_slots=lambda n: n + 10**5),
    "one slot less": alter(n_slots=lambda n: n - 1),
    "no slot": alter(n_slots=lambda n: 0),
    "weights of fewer slots": alter(weights=lambda array: array[:1]),
    "weights in single precision": alter(weights=lambda array: array.astype(np.float32)),
    "weights of fewer models": alter(weights=lambda array: array[:, :, :1], precision=lambda array: array[:, :, :1]),
    "weights of fewer outputs": alter(weights=lambda array: array[:, :1], precision=lambda array: array[:, :1]),
    "fewer counts": alter(counts=lambda array: array[:2]),
    "fewer squares": alter(squares=lambda array: array[:2]),
    "fewer times": alter(n_forgotten=lambda array: array[:2]),
    "fewer memories": alter(share_kept=lambda array: array[:0]),
}


@pytest.mark.parametrize("change", OUT_OF_RANGE)
def test_state_that_does_not_fit_together_is_refused(change, tmp_path):
    model = new().partial_fit(ROWS, Y, CLASSES)
    io.save(model, tmp_path / "model.skops")
    io.load(tmp_path / "model.skops")
    OUT_OF_RANGE[change](model._online.wide)
    io.save(model, tmp_path / "model.skops")
    with pytest.raises(ValueError, match="does not fit together"):
        io.load(tmp_path / "model.skops")


def test_max_dense_of_a_model_that_has_begun_is_its_own():
    """As all that is said of features in the first call."""
    for max_dense in (WIDTH - 1, WIDTH):
        model, other = new(max_dense), new(max_dense)
        for one, changed in ((model, max_dense), (other, 2 * WIDTH - 1 - max_dense)):
            one.partial_fit(ROWS[:300], Y[:300], CLASSES).set_params(max_dense=changed)
            one.partial_fit(ROWS[300:], Y[300:])
        assert_array_equal(model.predict_proba(ROWS), other.predict_proba(ROWS))
        assert_array_equal(pickle.loads(pickle.dumps(other)).predict_proba(ROWS), model.predict_proba(ROWS))


# Memory


def n_bytes_of(array):
    return array.nbytes if isinstance(array, np.ndarray) else 0


@pytest.mark.parametrize(("n_samples", "n_columns"), thorough_but([(500, 2**18), (10_000, 2**20)], (500, 2**18)))
@pytest.mark.parametrize("fits", [False, True])
def test_nothing_of_rows_times_columns_is_made(n_samples, n_columns, fits):
    rng = np.random.default_rng(0)
    indices = np.sort(rng.integers(n_columns, size=(n_samples, 30)), axis=1).ravel()
    rows = sp.csr_array((np.ones(30 * n_samples), indices, np.arange(n_samples + 1) * 30), shape=(n_samples, n_columns))
    y = (indices.reshape(n_samples, 30)[:, 0] % 2 == 0).astype(int)
    model = GLNClassifier(layer_sizes=(4, 2), context_dim=2, random_state=0, max_iter=2)
    model.fit(rows[:64], y[:64])  # compiled
    estimate = model.estimate_memory(n_columns, n_samples=n_samples)
    tracemalloc.start()
    try:
        model = clone(model).fit(rows, y) if fits else clone(model).partial_fit(rows, y, [0, 1])
        model.predict_proba(rows)
        taken, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    given = rows.data.nbytes + rows.indices.nbytes + rows.indptr.nbytes
    assert taken < estimate
    assert peak < estimate + 4 * given + 20e6
    assert peak < n_samples * n_columns  # a byte for each value
    wide = model._online.wide
    assert sum(map(n_bytes_of, vars(wide).values())) < estimate
    assert wide.n_slots == 1 + len(np.unique(indices))


def test_estimate_memory_grows_with_columns_as_they_do():
    for make in (new, regressor):
        bound, wider = (make().estimate_memory(n_columns) for n_columns in (2**19, 2**20))
        assert 1.9 < wider / bound < 2.1
        assert wider < 2**30


def test_memory_is_asked_for_the_columns_that_come(monkeypatch):
    monkeypatch.setattr("sklearn_gln._base.installed_memory", lambda: 2**27)
    hashed = sp.hstack([ROWS, sp.csr_array((600, 2**20))], format="csr")
    assert new().estimate_memory(hashed.shape[1], n_classes=3) > 2**27
    new().partial_fit(hashed, Y, CLASSES)
    monkeypatch.setattr("sklearn_gln._base.installed_memory", lambda: 2**22)  # what `slot_of` alone takes
    assert_refused(new(), lambda it: it.partial_fit(hashed, Y, CLASSES), MemoryError, "GiB")


def test_columns_without_memory_for_them_change_nothing(monkeypatch):
    n_words = 2000
    words = sp.csr_array((np.ones(n_words), np.arange(n_words), np.linspace(0, n_words, 21).astype(int)))
    y = np.arange(20) % 3
    model = new().partial_fit(words[:4], y[:4], CLASSES)
    pad = np.pad

    def limited(array, *args, **kwargs):
        if array.ndim == 1:  # the last arrays to grow
            raise MemoryError
        return pad(array, *args, **kwargs)

    monkeypatch.setattr("sklearn_gln._wide_rows.np.pad", limited)
    with pytest.raises(MemoryError):
        model.partial_fit(words, y)
    monkeypatch.undo()
    n_learned = model.n_samples_seen_ - 4  # whole blocks
    assert n_learned < 20
    whole = new().partial_fit(words[:4], y[:4], CLASSES).partial_fit(words[:n_learned], y[:n_learned])
    assert_same_object(attributes(model), attributes(whole))
    model.partial_fit(words[n_learned:], y[n_learned:])


def test_the_time_and_memory_of_a_row_do_not_depend_on_columns_that_do_not_come():
    """`slot_of` alone is as wide as a row."""
    model = new().partial_fit(sp.hstack([ROWS, sp.csr_array((600, 2**20))], format="csr"), Y, CLASSES)
    narrow = new().partial_fit(ROWS, Y, CLASSES)
    sizes = [sum(map(n_bytes_of, vars(of._online.wide).values())) for of in (model, narrow)]
    assert sizes[0] - sizes[1] == 4 * 2**20
    assert_array_equal(model._online.wide.weights, narrow._online.wide.weights)


def test_neurons_of_wide_rows_see_evidence_and_a_sketch_alone(monkeypatch):
    counted, learn = [], _network.learn

    def counting(*args, **options):
        counted.append(args[2].base.shape)
        return learn(*args, **options)

    monkeypatch.setattr(_network, "learn", counting)
    model = new().partial_fit(ROWS, Y, CLASSES)
    assert {shape[1] for shape in counted} == {0}
    assert model._online.network.hyperplanes.shape[3] == 64


# Around the estimators

TEXTS = ["red apple pie", "green pear", "red pear tart", "green apple", "red red wine", "", "green tea with lemon"] * 30
RED = np.array(["red" in text for text in TEXTS]).astype(int)
SALES = {"fruit": "abcab" * 42, "town": [f"t{number % 11}" for number in range(210)]}
DICTS = [{f"word={word}": 1 for word in text.split()} | {"length": len(text)} for text in TEXTS]
VECTORIZERS = {
    "hashed": (HashingVectorizer(n_features=2**12), TEXTS),
    "hashed, counts": (HashingVectorizer(n_features=2**20, alternate_sign=False, norm=None, dtype=np.float32), TEXTS),
    "features": (FeatureHasher(2**14), DICTS),
    "counts": (CountVectorizer(), TEXTS),
    "tf-idf": (TfidfVectorizer(ngram_range=(1, 2)), TEXTS),
    "dicts": (DictVectorizer(sparse=True), DICTS),
}


@pytest.mark.parametrize("max_dense", thorough_but([3, 1024], 1024))
@pytest.mark.parametrize("name", VECTORIZERS)
def test_pipelines(name, max_dense):
    vectorizer, data = VECTORIZERS[name]
    rows = clone(vectorizer).fit_transform(data)
    assert sp.issparse(rows)
    pipeline = make_pipeline(vectorizer, new(max_dense, max_iter=5)).fit(data, RED)
    assert pipeline.score(data, RED) > 0.95
    if rows.shape[1] < 2**10:
        dense = new(max_dense, max_iter=5).fit(rows.toarray(), RED)
        assert_allclose(pipeline.predict_proba(data), dense.predict_proba(rows.toarray()), **TOLERANCE)
    real = make_pipeline(vectorizer, regressor(max_dense, max_iter=5)).fit(data, 3.0 * RED)
    assert np.abs(real.predict(data) - 3.0 * RED).mean() < 0.5


@pytest.mark.parametrize("max_dense", [3, 1024])
def test_one_hot_columns(max_dense):
    frame, y = pd.DataFrame({name: list(values) for name, values in SALES.items()}), np.arange(210) % 5 == 0
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["fruit", "town"]), sparse_threshold=1)
    pipeline = make_pipeline(encoder, new(max_dense, max_iter=3)).fit(frame, y)
    assert pipeline.score(frame, y) > 0.75
    unknown = pd.DataFrame({"fruit": ["z"], "town": ["elsewhere"]})
    assert np.all(pipeline.predict_proba(unknown) > 0.01)


def test_searches_and_wrappers():
    pipeline = make_pipeline(HashingVectorizer(n_features=2**12), new(100))
    search = GridSearchCV(pipeline, {"glnclassifier__context_dim": [0, 1]}, cv=2).fit(TEXTS, RED)
    assert search.best_score_ > 0.9
    rows = HashingVectorizer(n_features=2**12).transform(TEXTS)
    assert (cross_val_predict(new(100), rows, RED, cv=3) == RED).mean() > 0.9
    assert CalibratedClassifierCV(new(100), cv=2).fit(rows, RED).score(rows, RED) > 0.9
    one_vs_rest = OneVsRestClassifier(new(10)).fit(ROWS, Y)
    assert_allclose(one_vs_rest.predict_proba(ROWS), OneVsRestClassifier(new(10)).fit(X, Y).predict_proba(X))


def test_a_stream_of_texts():
    vectorizer, model, n_right = HashingVectorizer(n_features=2**20), GLNClassifier(**SMALL), 0
    for start in range(0, 210, 7):
        rows = vectorizer.transform(TEXTS[start : start + 7])
        if start:
            n_right += (model.predict(rows) == RED[start : start + 7]).sum()
        model.partial_fit(rows, RED[start : start + 7], [0, 1])
    assert n_right > 170
    assert model.n_features_in_ == 2**20


@pytest.mark.parametrize("max_dense", [WIDTH - 1, WIDTH])
@pytest.mark.parametrize("reward_model", [new, lambda max_dense: regressor(max_dense, share_halfspaces=True)])
def test_bandits(reward_model, max_dense):
    actions, rewards = np.array(["a", "b", "c"])[np.arange(600) % 3], (np.arange(600) % 3 == Y).astype(float)
    sparse, dense = (GLNBandit(["a", "b", "c"], reward_model(max_dense), random_state=0) for _ in range(2))
    for bandit, rows in ((sparse, ROWS), (dense, X)):
        for part in (slice(0, 100), slice(100, 350)):
            bandit.partial_fit(rows[part], actions[part], rewards[part])
        bandit.add_actions(["d"])
        bandit.partial_fit(rows[350:], np.where(Y[350:] == 2, "d", actions[350:]), rewards[350:])
    assert_array_equal(sparse.decision_function(ROWS), dense.decision_function(X))
    assert_array_equal(sparse.sample_actions(ROWS, random_state=1), dense.sample_actions(X, random_state=1))
    assert sparse.__sklearn_tags__().input_tags.sparse
