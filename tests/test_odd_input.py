"""Features, targets and weights in unusual forms: read as what they say, or refused with an error that helps."""

import datetime
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array

from sklearn_gln import GLNClassifier, GLNRegressor

pd = pytest.importorskip("pandas", reason="the tables of these tests are pandas'")

N = 40
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
LABELS = RNG.integers(2, size=N)
TARGETS = X[:, 0] + 0.1 * RNG.normal(size=N)
GONE = np.zeros((N, 3), bool)
GONE[3, 1] = GONE[5, 0] = True
WITH_GAPS = np.where(GONE, np.nan, X)
DAYS = pd.date_range("2020-01-01", periods=N)
NOT_A_TIME = np.where(np.arange(N) == 2, np.datetime64("NaT"), DAYS.to_numpy())
HOLED = [None, *TARGETS[1:].tolist()]
MODELS = [(GLNClassifier, LABELS), (GLNRegressor, TARGETS)]


def new(kind):
    return kind(layer_sizes=(4,), context_dim=2, max_iter=1, random_state=0)


@cache
def fitted(kind):
    """A model that has learned, for calls that change nothing."""
    return new(kind).fit(X, LABELS if kind is GLNClassifier else TARGETS)


def first_call(kind):
    return {"classes": [0, 1]} if kind is GLNClassifier else {}


def predict(model, rows):
    return model.predict_proba(rows) if isinstance(model, GLNClassifier) else model.predict(rows)


def frame(values):
    return pd.DataFrame(values, columns=list("abc"))


def with_objects(missing):
    values = X.astype(object)
    for place in np.argwhere(GONE):
        values[tuple(place)] = missing
    return values


# The same numbers in other forms

SAME = {
    "list": X.tolist,
    "Fortran order": lambda: np.asfortranarray(X),
    "strided": lambda: np.repeat(X, 2, axis=1)[:, ::2],
    "big-endian": lambda: X.astype(">f8"),
    "longdouble": lambda: X.astype(np.longdouble),
    "objects": lambda: X.astype(object),
    "fractions": lambda: np.array([[Fraction(value) for value in row] for row in X], dtype=object),
    "text": lambda: X.astype(str),
    "masked, nothing hidden": lambda: np.ma.masked_array(X),
    "pandas": lambda: frame(X),
    "pandas, Float64": lambda: frame(X).astype("Float64"),
    "pandas, objects": lambda: frame(X.astype(object)),
    "pandas, numbers as names": lambda: pd.DataFrame(X),
}


@pytest.mark.parametrize("form", SAME.values(), ids=SAME)
@pytest.mark.parametrize(("kind", "y"), MODELS)
def test_the_same_numbers_in_another_form(kind, y, form):
    expected = new(kind).fit(X, y)
    assert_array_equal(predict(new(kind).fit(form(), y), form()), predict(expected, X))
    model = new(kind).partial_fit(form(), y, **first_call(kind))
    assert_array_equal(predict(model, form()), predict(new(kind).partial_fit(X, y, **first_call(kind)), X))


def test_arrays_that_cannot_be_written_or_lie_in_a_file(tmp_path):
    np.save(tmp_path / "X.npy", X)
    frozen = X.copy()
    frozen.flags.writeable = False
    expected = new(GLNRegressor).fit(X, TARGETS).predict(X)
    for rows in (frozen, np.load(tmp_path / "X.npy", mmap_mode="r")):
        assert_array_equal(new(GLNRegressor).fit(rows, TARGETS).predict(rows), expected)


def test_other_dtypes_from_call_to_call():
    model = new(GLNRegressor)
    for rows in (X[:10].astype("f4"), X[10:20].astype("f2"), X[20:30].round().astype(int), X[30:] > 0):
        model.partial_fit(rows, TARGETS[: len(rows)])
    assert model.n_samples_seen_ == N


# Missing values in X

MISSING = {
    "None": lambda: with_objects(None),
    "NaT": lambda: with_objects(pd.NaT),
    "NumPy's NaT": lambda: with_objects(np.datetime64("NaT")),
    "NA": lambda: with_objects(pd.NA),
    "a list": lambda: with_objects(None).tolist(),
    "masked": lambda: np.ma.masked_array(X, GONE),
    "masked rows": lambda: list(np.ma.masked_array(X, GONE)),
    "masked NaN": lambda: np.ma.masked_array(WITH_GAPS, GONE),
    "pandas, None": lambda: frame(with_objects(None)),
    "pandas, NA": lambda: frame(with_objects(pd.NA)),
    "pandas, NaT": lambda: frame(with_objects(pd.NaT)),
    "pandas, Float64": lambda: frame(WITH_GAPS).convert_dtypes(),
}


@pytest.mark.parametrize("form", MISSING.values(), ids=MISSING)
@pytest.mark.parametrize(("kind", "y"), MODELS)
def test_missing_values_are_no_evidence(kind, y, form):
    expected = new(kind).fit(WITH_GAPS, y)
    model = new(kind).fit(form(), y)
    assert_array_equal(predict(model, form()), predict(expected, WITH_GAPS))
    assert hasattr(model, "feature_names_in_") == isinstance(form(), pd.DataFrame)
    model.partial_fit(form(), y)
    assert_array_equal(predict(model, X if not hasattr(model, "feature_names_in_") else frame(X)),
                       predict(expected.partial_fit(WITH_GAPS, y), X))  # fmt: skip


@pytest.mark.parametrize("dtype", [int, np.float32, bool])
def test_masks_of_any_dtype(dtype):
    values = (10 * X).astype(dtype)
    gaps = np.where(GONE, np.nan, values).astype(np.float32 if dtype == np.float32 else float)
    expected = new(GLNRegressor).fit(gaps, TARGETS).predict(gaps)
    masked = np.ma.masked_array(values, GONE)
    assert_array_equal(new(GLNRegressor).fit(masked, TARGETS).predict(masked), expected)


def test_the_users_table_is_left_alone():
    table = frame(with_objects(pd.NA))
    before = table.copy(deep=True)
    new(GLNRegressor).fit(table, TARGETS)
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize("values", [[*range(N)], TARGETS.tolist(), [True, False] * (N // 2)])
def test_nulls_of_polars_are_missing(values):
    pl = pytest.importorskip("polars")
    holed = [None, *values[1:]]
    table = pl.DataFrame({"a": holed, "b": X[:, 1], "c": X[:, 2]})
    gaps = np.column_stack([np.array(holed, dtype=float), X[:, 1:]])
    expected = new(GLNRegressor).fit(gaps, TARGETS).predict(gaps)
    assert_array_equal(new(GLNRegressor).fit(table, TARGETS).predict(table), expected)


# What is refused in X


def dated(column):
    return frame(X).assign(c=column)


DATES = {
    "datetime64": lambda: np.stack([DAYS.to_numpy()] * 3, axis=1),
    "NaT": lambda: np.stack([NOT_A_TIME] * 3, axis=1),
    "timedelta64": lambda: np.stack([DAYS.to_numpy() - DAYS.to_numpy()[0]] * 3, axis=1),
    "masked": lambda: np.ma.masked_array(np.stack([DAYS.to_numpy()] * 3, axis=1), GONE),
    "a list": lambda: np.stack([DAYS.to_numpy()] * 3, axis=1).tolist(),
    "datetime": lambda: np.array([[1.0, 2.0, datetime.datetime(2020, 1, 1)]] * N, dtype=object),
    "date": lambda: np.array([[1.0, 2.0, datetime.date(2020, 1, 1)]] * N, dtype=object),
    "time": lambda: np.array([[1.0, 2.0, datetime.time(12)]] * N, dtype=object),
    "datetime64 among numbers": lambda: np.array([[1.0, 2.0, np.datetime64("2020-01-01")]] * N, dtype=object),
    "timedelta64 among numbers": lambda: np.array([[1.0, 2.0, np.timedelta64(1, "D")]] * N, dtype=object),
    "a column of dates": lambda: dated(DAYS),
    "a column with NaT": lambda: dated(NOT_A_TIME),
    "a column of durations": lambda: dated(DAYS - DAYS[0]),
    "a column with a time zone": lambda: dated(DAYS.tz_localize("UTC")),
    "a column of periods": lambda: dated(DAYS.to_period("D")),
    "a column of Python's dates": lambda: dated(DAYS.date),
    "dates alone": lambda: pd.DataFrame(dict.fromkeys("abc", DAYS)),
}


@pytest.mark.parametrize("form", DATES.values(), ids=DATES)
@pytest.mark.parametrize(("kind", "y"), MODELS)
def test_dates_are_refused_in_X(kind, y, form):
    place = "column.* 'c'" if isinstance(form(), pd.DataFrame) else "X holds dates"
    for call in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match="(?s)X holds dates or durations.*numbers.*days since") as refusal:
            getattr(new(kind), call)(form(), y)
        assert refusal.match(place)
    with pytest.raises(ValueError, match="X holds dates"):
        predict(fitted(kind), form())


def test_dates_of_polars_are_refused():
    pl = pytest.importorskip("polars")
    table = pl.DataFrame({"a": X[:, 0], "day": DAYS.date.tolist()})
    with pytest.raises(ValueError, match="dates or durations in column 'day'"):
        new(GLNRegressor).fit(table, TARGETS)
    with pytest.raises(ValueError, match="y holds dates"):
        new(GLNRegressor).fit(X, table)


WRONG = {
    "None": (None, ValueError, "X is None"),
    "3 dimensions": (X[:, :, np.newaxis], ValueError, "dim 3"),
    "1 dimension": (X[:, 0], ValueError, "2D"),
    "a Series": (pd.Series(X[:, 0]), ValueError, "2-dimensional|2D"),
    "no columns": (X[:, :0], ValueError, "0 feature"),
    "ragged": ([[1, 2, 3], [1, 2]] * (N // 2), ValueError, r"different lengths: \[2, 3\]"),
    "text": (np.full((N, 3), "red"), ValueError, "X holds text, 'red' in row 0 of column 0.*categorical_features"),
    "complex": (X + 1j, ValueError, "^X holds complex numbers"),
    "a complex column": (frame(X).assign(b=X[:, 0] + 1j), ValueError, "complex numbers in column 'b'"),
    "a complex object": ((X + 1j).astype(object), TypeError, "row 0 of column 0.*complex"),
    "a dict": (np.array([[1.0, 2.0, {}]] * N, dtype=object), TypeError, "row 0 of column 2, of type dict"),
    "a huge integer": (np.array([[1, 10**400, 2]] * N, dtype=object), ValueError, "too large, 1000.*column 1"),
    "infinity": (np.where(GONE, np.inf, X), ValueError, "infinity|to inf; features"),
    "one name twice": (pd.DataFrame(X, columns=["a", "a", "b"]), ValueError, r"same name: \['a'\]. Rename"),
    "structured": (frame(X).to_records(index=False), ValueError, "structured array.*'a', 'b', 'c'.*DataFrame"),
}


@pytest.mark.parametrize(("rows", "error", "message"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize(("kind", "y"), MODELS)
@pytest.mark.parametrize("assume_finite", [False, True])
def test_wrong_features(kind, y, rows, error, message, assume_finite):
    with sklearn.config_context(assume_finite=assume_finite):
        with pytest.raises(error, match=message.replace("^X holds", "X holds")):
            new(kind).fit(rows, y)
        model = fitted(kind)
        before = predict(model, X)
        for call in (lambda: predict(model, rows), lambda: model.partial_fit(rows, y)):
            with pytest.raises((ValueError, TypeError)):
                call()
        assert_array_equal(predict(model, X), before)


def test_columns_in_another_order():
    model = new(GLNRegressor).fit(frame(X), TARGETS)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame(X)[["c", "b", "a"]])


@pytest.mark.parametrize(("kind", "y"), MODELS)
def test_no_rows(kind, y):
    model = new(kind).partial_fit(X[:0], y[:0], **first_call(kind))
    assert model.n_samples_seen_ == 0
    with pytest.raises(ValueError, match="0 sample"):
        predict(model, X[:0])


# Targets

SAME_TARGETS = {
    "objects": lambda: TARGETS.astype(object),
    "text": lambda: TARGETS.astype(str),
    "Float64": lambda: pd.Series(TARGETS, dtype="Float64"),
    "masked, nothing hidden": lambda: np.ma.masked_array(TARGETS),
    "big-endian": lambda: TARGETS.astype(">f8"),
}


@pytest.mark.parametrize("form", SAME_TARGETS.values(), ids=SAME_TARGETS)
def test_the_same_targets_in_another_form(form):
    assert_array_equal(new(GLNRegressor).fit(X, form()).predict(X), new(GLNRegressor).fit(X, TARGETS).predict(X))


def test_a_column_is_a_matrix_of_one_target():
    expected = new(GLNRegressor).fit(X, TARGETS).predict(X)[:, np.newaxis]
    for column in (TARGETS[:, np.newaxis], pd.DataFrame({"y": TARGETS})):
        assert_array_equal(new(GLNRegressor).fit(X, column).predict(X), expected)


MISSING_TARGETS = {
    "NaN": lambda: np.array(HOLED, dtype=float),
    "None": lambda: np.array(HOLED, dtype=object),
    "NA": lambda: np.array([pd.NA, *TARGETS[1:]], dtype=object),
    "NaT": lambda: np.array([pd.NaT, *TARGETS[1:]], dtype=object),
    "masked": lambda: np.ma.masked_array(TARGETS, np.arange(N) == 0),
    "Float64": lambda: pd.Series(HOLED, dtype="Float64"),
    "a list": lambda: HOLED,
    "a column": lambda: pd.DataFrame({"y": HOLED}),
    "dates": lambda: np.where(np.arange(N) == 0, np.datetime64("NaT"), DAYS.to_numpy()),
}


@pytest.mark.parametrize("assume_finite", [False, True])
@pytest.mark.parametrize("form", MISSING_TARGETS.values(), ids=MISSING_TARGETS)
def test_missing_targets_and_weights_are_refused(form, assume_finite):
    values = form()
    with sklearn.config_context(assume_finite=assume_finite):
        for call in ("fit", "partial_fit"):
            with pytest.raises(ValueError, match="^y contains NaN or another missing value.* in row 0; leave"):
                getattr(new(GLNRegressor), call)(X, values)
        for kind, y in MODELS if np.ndim(values) == 1 else ():
            for call, options in (("fit", {}), ("partial_fit", first_call(kind))):
                with pytest.raises(
                    ValueError, match="^sample_weight contains NaN or another missing.* row 0; a weight"
                ):
                    getattr(new(kind), call)(X, y, sample_weight=values, **options)


def test_missing_targets_are_counted():
    with pytest.raises(ValueError, match=r"in 10 rows \(0, 4, 8, 12, 16, \.\.\.\)"):
        new(GLNRegressor).fit(X, np.where(np.arange(N) % 4, TARGETS, np.nan))


WRONG_TARGETS = {
    "dates": (DAYS.to_numpy(), ValueError, "y holds dates"),
    "dates with a zone": (pd.Series(DAYS.tz_localize("UTC")), ValueError, "y holds dates"),
    "durations": (pd.Series(DAYS - DAYS[0]), ValueError, "y holds dates or durations"),
    "dates in a table": (pd.DataFrame({"y": TARGETS, "day": DAYS}), ValueError, "y holds dates.*column 1"),
    "Python's dates": (DAYS.date, ValueError, "y holds dates"),
    "text": (np.full(N, "red"), ValueError, "y holds text, 'red' in row 0.*GLNClassifier"),
    "complex": (TARGETS + 1j, ValueError, "y holds complex numbers"),
    "a huge integer": (np.array([10**400, *TARGETS[1:]], dtype=object), ValueError, "too large"),
    "a large number": (TARGETS * 1e200, ValueError, "scale y"),
    "sparse": (csr_array(TARGETS[:, np.newaxis]), ValueError, r"y is a sparse matrix; pass y\.toarray\(\)"),
    "3 dimensions": (TARGETS[:, np.newaxis, np.newaxis], ValueError, "dim 3"),
    "None": (None, ValueError, "y is None|requires y"),
}


@pytest.mark.parametrize(("y", "error", "message"), WRONG_TARGETS.values(), ids=WRONG_TARGETS)
def test_wrong_targets(y, error, message):
    for call in ("fit", "partial_fit", "progressive_predict"):
        with pytest.raises(error, match=message):
            getattr(new(GLNRegressor), call)(X, y)


# Weights

WRONG_WEIGHTS = {
    "NaN": (np.full(N, np.nan), "NaN"),
    "one NaN for all": (np.nan, "NaN"),
    "infinity": (np.where(np.arange(N) == 2, np.inf, 1), "infinity"),
    "infinity for all": (np.inf, "infinity"),
    "negative": (-np.ones(N), "[Nn]egative"),
    "negative for all": (-1, "[Nn]egative"),
    "text": (np.full(N, "a"), "sample_weight holds text"),
    "a word": ("balanced", "sample_weight holds text, 'balanced'"),
    "dates": (DAYS.to_numpy(), "sample_weight holds dates"),
    "complex": (np.ones(N) + 1j, "sample_weight holds complex"),
    "a column": (np.ones((N, 1)), "1D"),
    "too few": (np.ones(N - 1), "sample_weight"),
}


@pytest.mark.parametrize("assume_finite", [False, True])
@pytest.mark.parametrize(("weights", "message"), WRONG_WEIGHTS.values(), ids=WRONG_WEIGHTS)
@pytest.mark.parametrize(("kind", "y"), MODELS)
def test_wrong_weights(kind, y, weights, message, assume_finite):
    with sklearn.config_context(assume_finite=assume_finite):
        with pytest.raises(ValueError, match=message):
            new(kind).fit(X, y, sample_weight=weights)
        with pytest.raises(ValueError, match=message):
            new(kind).partial_fit(X, y, sample_weight=weights, **first_call(kind))
        with pytest.raises(ValueError, match=message):
            new(kind).fit(X, y, X_val=X, y_val=y, sample_weight_val=weights)


# Shares of targets


@pytest.mark.parametrize(
    "share",
    [[], (), [0.5, 1], [0, 0.9], [[0.5, 0.9]], [[0.5], [0.5, 0.9]], ["0.9"], {0.5, 0.9}, "0.9", np.nan, 0, 1, True,
     False, [True], None, 1.5, 90, 1j, pd.NA, {}],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize(("method", "name"), [("predict_interval", "coverage"), ("predict_quantiles", "quantiles")])
def test_wrong_shares(method, name, share):
    model = fitted(GLNRegressor)
    with pytest.raises(ValueError, match=rf"^{name}=.* must be numbers between 0 and 1, such as 0\..*, or \[0"):
        getattr(model, method)(X, share)


@pytest.mark.parametrize(
    "share",
    [Fraction(1, 2), np.float32(0.5), np.array(0.5), 1e-300, 1 - 1e-16, (0.5,), pd.Series([0.5, 0.9], index=[3, 4])],
    ids=repr,
)
def test_odd_shares(share):
    model = new(GLNRegressor).fit(X, TARGETS)
    lower, upper = np.moveaxis(model.predict_interval(X, share), 1, 0)
    assert lower.shape == upper.shape == model.predict_quantiles(X, share).shape == (len(X), *np.shape(share))
    assert np.isfinite([lower, upper]).all()
    assert np.all(lower <= upper)


# Targets that have not varied yet


@pytest.mark.parametrize("likelihood", ["squared", "gaussian"])
@pytest.mark.parametrize("constant", [0.0, 5.0, -300.0])
@pytest.mark.parametrize("n_alike", [200, 300, 1000])
def test_a_target_that_varies_late_costs_a_bounded_loss(likelihood, constant, n_alike):
    rng = np.random.default_rng(1)
    y = np.concatenate([np.full(n_alike, constant), constant + max(abs(constant), 1) * rng.normal(size=400)])
    rows = rng.normal(size=(len(y), 2))
    model = GLNRegressor(layer_sizes=(10,), likelihood=likelihood, random_state=0)
    mean, deviation = model.progressive_predict(rows, y, return_std=True)
    errors = np.square(y - mean) / deviation**2
    assert errors[1:].max() < 20 * n_alike  # (1 + n) / 2 for an error of the target's size
    before = slice(256, n_alike)
    assert np.abs(mean[before] - constant).max(initial=0) <= 1e-6 * abs(constant) + 1e-6
    if n_alike == 1000:  # the last event was at row 768
        assert deviation[n_alike - 1] == pytest.approx((abs(constant) or 1) / np.sqrt(1 + 960), rel=1e-12)
    assert model.progressive_loss_ < np.log(max(abs(constant), 1)) + 25


@pytest.mark.parametrize("constant", [0.0, 5.0])
def test_one_of_several_targets_is_constant(constant):
    y = np.stack([TARGETS, np.full(N, constant)], axis=1)
    model = new(GLNRegressor).fit(X, y)
    mean, deviation = model.predict(X, return_std=True)
    assert_array_equal(mean[:, 1], np.full(N, constant))
    assert deviation[0, 1] == pytest.approx((constant or 1) / np.sqrt(1 + 32), rel=1e-12)  # the last event's
    alone = new(GLNRegressor).fit(X, TARGETS).predict(X, return_std=True)
    assert np.allclose([mean[:, 0], deviation[:, 0]], alone, rtol=1e-4, atol=1e-5)
    lower, upper = model.predict_interval(X)[:, 1].T
    assert np.all((lower < constant) & (constant < upper))


def test_a_constant_target_in_a_graph():
    runtime, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("sklearn_gln.onnx", exc_type=ImportError)
    y = np.stack([TARGETS, np.full(N, 5.0)], axis=1)
    model = new(GLNRegressor).fit(X, y)
    graph = onnx.to_onnx(model, options={"return_std": True}).SerializeToString()
    mean, deviation = runtime.InferenceSession(graph).run(None, {"X": X})
    for got, expected in zip((mean, deviation), model.predict(X, return_std=True), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
