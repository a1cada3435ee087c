"""Categories in the forms in which users have them: which columns they are, what their levels are, what is refused."""

import datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_gln import GLNClassifier, GLNRegressor
from sklearn_gln._input import features
from sklearn_gln._levels import FIRST_HASH, codes
from tests.helpers import BACKEND, assert_refused

pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))

N = 120
TEXT = np.array(["red", "green", None], object)[np.random.default_rng(0).integers(3, size=N)]
NUMBERS = np.random.default_rng(1).normal(size=N)
Y = np.where(TEXT == "red", 1, 0)
DAY = datetime.date(2020, 1, 1)
SMALL = {"layer_sizes": (4,), "context_dim": 2, "backend": BACKEND, "random_state": 0}


def new(estimator=GLNClassifier, **params):
    return estimator(**SMALL | params)


def encoded(X, categorical_features="from_dtype"):
    """What `features` makes of X, as an array, and the places of categories."""
    X, mask = features(X, categorical_features)
    return np.asarray(X.astype(float) if hasattr(X, "iloc") else X, dtype=float), np.flatnonzero(mask).tolist()


# Tables

EXPECTED = np.column_stack([NUMBERS, codes(TEXT, "")])
TABLES = {
    "pandas object": lambda: pd.DataFrame({"u": NUMBERS, "v": pd.Series(TEXT, dtype=object)}),
    "pandas str": lambda: pd.DataFrame({"u": NUMBERS, "v": pd.Series(TEXT, dtype="str")}),
    "pandas string": lambda: pd.DataFrame({"u": NUMBERS, "v": pd.array(TEXT, dtype="string")}),
    "pandas string of Arrow": lambda: pd.DataFrame({"u": NUMBERS, "v": pd.array(TEXT, dtype="string[pyarrow]")}),
    "pandas Arrow": lambda: pd.DataFrame({"u": NUMBERS, "v": pd.array(TEXT, dtype=pd.ArrowDtype(pa.string()))}),
    "pandas category": lambda: pd.DataFrame({"u": NUMBERS, "v": pd.Series(TEXT, dtype="category")}),
    "pandas ordered category": lambda: pd.DataFrame({"u": NUMBERS, "v": pd.Categorical(TEXT, ["red", "green"], True)}),
    "pandas nullable numbers": lambda: pd.DataFrame(
        {"u": NUMBERS, "v": pd.Series(TEXT, dtype=object)}
    ).convert_dtypes(),
    "polars String": lambda: pl.DataFrame({"u": NUMBERS, "v": TEXT.tolist()}),
    "polars Categorical": lambda: pl.DataFrame({"u": NUMBERS, "v": pl.Series(TEXT.tolist(), dtype=pl.Categorical)}),
    "polars Enum": lambda: pl.DataFrame({"u": NUMBERS, "v": pl.Series(TEXT.tolist(), dtype=pl.Enum(["green", "red"]))}),
    "polars Object": lambda: pl.DataFrame({"u": NUMBERS, "v": pl.Series(TEXT.tolist(), dtype=pl.Object)}),
    "Arrow string": lambda: pa.table({"u": NUMBERS, "v": pa.array(TEXT)}),
    "Arrow large string": lambda: pa.table({"u": NUMBERS, "v": pa.array(TEXT, pa.large_string())}),
    "Arrow string view": lambda: pa.table({"u": NUMBERS, "v": pa.array(TEXT, pa.string_view())}),
    "Arrow dictionary": lambda: pa.table({"u": NUMBERS, "v": pa.array(TEXT).dictionary_encode()}),
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_text_in_tables_is_a_category_by_its_dtype(make):
    X = make()
    got, places = encoded(X)
    assert places == [1]
    assert_array_equal(got, EXPECTED)
    assert len(np.unique(EXPECTED[:, 1])) == 3  # NaN is missing
    model, expected = new().fit(X, Y), new(categorical_features=[1]).fit(EXPECTED, Y)
    assert_array_equal(model.predict_proba(X), expected.predict_proba(EXPECTED))
    assert_array_equal(model.feature_names_in_, ["u", "v"])
    assert_array_equal(model.is_categorical_, [False, True])
    assert np.mean(model.predict(X) == Y) > 0.95


NAMED = {
    "pandas bool": (pd.Series([True, False, True]), [1, 0, 1]),
    "pandas boolean": (pd.Series([True, None, False], dtype="boolean"), [1, np.nan, 0]),
    "pandas Int64": (pd.Series([3, None, 1], dtype="Int64"), [3, np.nan, 1]),
    "pandas objects": (pd.Series([True, None, False], dtype=object), [1, np.nan, 0]),
    "polars Boolean": (pl.Series([True, None, False]), [1, np.nan, 0]),
    "polars Int64": (pl.Series([3, None, 1]), [3, np.nan, 1]),
    "polars Null": (pl.Series([None, None, None]), [np.nan] * 3),
    "Arrow bool": (pa.array([True, None, False]), [1, np.nan, 0]),
    "Arrow null": (pa.nulls(3), [np.nan] * 3),
}


@pytest.mark.parametrize("name", NAMED)
def test_booleans_and_numbers_in_tables_are_categories_by_name(name):
    column, expected = NAMED[name]
    table = {"p": pd.DataFrame, "po": pl.DataFrame, "A": pa.table}[name[0] if name[:2] != "po" else "po"]
    X = table({"u": column, "v": column})
    got, places = encoded(X)
    assert places == []
    assert_array_equal(got, np.column_stack([expected, expected]))
    got, places = encoded(X, ["v"])
    assert places == [1]
    assert_array_equal(got, np.column_stack([expected, expected]))


# The forms of the parameter


@pytest.mark.parametrize(
    "form", [["v"], np.array(["v"]), np.array(["v"], object), [1], (1,), np.array([1]), [False, True]]
)
def test_forms_of_the_parameter(form):
    X = TABLES["pandas object"]()
    assert encoded(X, form)[1] == [1]
    model = new(categorical_features=form).fit(X, Y)
    assert_array_equal(model.predict_proba(X), new().fit(X, Y).predict_proba(X))


@pytest.mark.parametrize("form", [None, [], np.zeros(0, int), [False, False]])
def test_without_categories_text_is_refused(form):
    X = TABLES["pandas object"]()
    if form is None or len(form) == 0 or not any(form):
        with pytest.raises(ValueError, match=r"text, '(red|green)' in row \d+ of column 'v'.*categorical_features"):
            new(categorical_features=form).fit(X, Y)
    assert encoded(NUMBERS[:, np.newaxis].repeat(2, axis=1), form)[1] == []


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("all", "categorical_features"),
        ([[0]], r"categorical_features=\[\[0\]\] is unknown; it must be \"from_dtype\", None"),
        ([0.5], r"categorical_features=\[0.5\] is unknown"),
        ([2], r"numbers that are no columns of X, which has 2 features; columns are numbered from 0 to 1"),
        ([-1], "numbers that are no columns"),
        ([True], "mask of 1 columns, but X has 2 features"),
        (["w"], r"names \['w'\], which X does not have; its columns are \['u', 'v'\]"),
        (3, "categorical_features"),
        ({"v"}, "categorical_features"),
    ],
)
def test_wrong_forms_of_the_parameter_are_refused(form, message):
    with pytest.raises(ValueError, match=message):
        new(categorical_features=form).fit(TABLES["pandas object"](), Y)
    if form == ["w"]:
        with pytest.raises(ValueError, match="holds names, but X has no column names"):
            new(categorical_features=form).fit(EXPECTED, Y)


@pytest.mark.parametrize("max_levels", [0, 1.5, 2**31, None])
def test_wrong_numbers_of_levels_are_refused(max_levels):
    with pytest.raises(ValueError, match="max_levels"):
        new(max_levels=max_levels).fit(TABLES["pandas object"](), Y)


# Arrays and lists


def test_an_array_of_objects_needs_the_parameter():
    X = np.column_stack([NUMBERS, TEXT])
    assert X.dtype == object
    with pytest.raises(ValueError, match=r"in row \d of column 1.*Name columns of categories in categorical_features"):
        new().fit(X, Y)
    got, places = encoded(X, [1])
    assert places == [1]
    assert_array_equal(got, EXPECTED)
    forms = [X, X.tolist(), list(map(tuple, X.tolist())), tuple(X.tolist()), np.ma.masked_array(X, X == None)]  # noqa: E711
    for form in forms:
        assert_array_equal(encoded(form, [1])[0], EXPECTED)


def test_text_arrays_and_what_is_masked_in_them():
    X = np.array([["1", "a"], ["2.5", "b"], ["3", "a"]])
    assert_array_equal(encoded(X, [1])[0], np.column_stack([[1, 2.5, 3], codes(X[:, 1], "")]))
    holed = np.ma.masked_array(X, [[False, True]] + 2 * [[False, False]])
    assert_array_equal(np.isnan(encoded(holed, [1])[0]), [[False, True], [False, False], [False, False]])


def test_numbers_among_text_in_a_list_stay_numbers():
    rows = [[1.5, 3], [2, "3"], [True, "x"]]
    numbers, levels = encoded(rows, [1])[0].T
    assert_array_equal(numbers, [1.5, 2, 1])
    assert levels[0] == encoded([[1.5, 3.0]], [1])[0][0, 1] == 3
    assert levels[1] == encoded([[1.5, "3"]], [1])[0][0, 1] == codes(np.array(["3"]), "")[0]
    model = new(categorical_features=[1]).fit([[0.1, "a"], [0.1, 7]] * 20, [0, 1] * 20)
    assert_array_equal(model.predict([[0.1, "a"], [0.1, 7.0]]), [0, 1])


# Levels

ONE_LEVEL = {
    "one": [1, 1.0, True, np.True_, np.int8(1), np.float32(1), Decimal(1), Fraction(1)],
    "text": ["a", np.str_("a")],
    "1 as text": ["1"],
    "large": [2**60, float(2**60), np.uint64(2**60), Decimal(2**60)],
    "next to it": [2**60 + 1],
    "larger than integers of machines": [10**30],
    "negative": [-(2**60)],
    "day": [
        DAY,
        datetime.datetime(2020, 1, 1),
        np.datetime64("2020-01-01"),
        np.datetime64("2020-01-01T00:00:00.000000000"),
        pd.Timestamp("2020-01-01"),
    ],
    "day as text": ["2020-01-01"],
    "later": [datetime.datetime(2020, 1, 1, 5), np.datetime64("2020-01-01T05")],
    "empty text": [""],
    "nan as text": ["nan"],
    "half": [0.5, Fraction(1, 2), Decimal("0.5")],
    "odd text": ["\ud800"],
}
MISSING = [None, np.nan, float("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), np.ma.masked, Decimal("nan")]


def code_of(level):
    array = np.empty(1, object)
    array[0] = level
    return codes(array, "")[0]


def test_which_levels_are_one():
    found = {name: {code_of(level) for level in levels} for name, levels in ONE_LEVEL.items()}
    assert {name: len(of_name) for name, of_name in found.items()} == dict.fromkeys(ONE_LEVEL, 1)
    assert len(set.union(*found.values())) == len(ONE_LEVEL)
    assert all(np.isnan(code_of(level)) for level in MISSING)


@pytest.mark.parametrize("dtype", ["i1", "u8", "i8", "f2", "f4", "f8", "?", "O"])
def test_dtypes_of_numbers_do_not_matter(dtype):
    assert_array_equal(codes(np.array([0, 1, 1]).astype(dtype), ""), [0, 1, 1])


def test_dtypes_of_dates_do_not_matter():
    days = np.array(["2020-01-01", "2021-05-05", "NaT"], "M8[D]")
    expected = codes(days, "")
    forms = [days.astype("M8[ns]"), days.astype("M8[s]"), days.astype(object), np.asarray(pl.Series(days))]
    for form in forms:
        assert_array_equal(codes(form, ""), expected)
    for X in (pd.DataFrame({"v": days.astype("M8[ns]")}), pl.DataFrame({"v": days}), pa.table({"v": pa.array(days)})):
        assert_array_equal(encoded(X, ["v"])[0][:, 0], expected)


PINNED = {
    "a": -4827952000996173,
    "": -8762341309007011,
    "ä€😀": -5517754869923473,
    2**53 + 1: -4546893968513132,
    -(2**70): -8952064369870255,
    DAY: -5528192536475011,
    7: 7,
}


def test_hashes_never_change():
    """Models are kept in files: a level must be the same number for ever."""
    assert {level: code_of(level) for level in PINNED} == PINNED


def test_hashes_spread():
    found = codes(np.array([f"id{number}" for number in range(100_000)]), "")
    assert len(np.unique(found)) == 100_000
    assert -(2.0**53) < found.min() < -1.99 * FIRST_HASH
    assert -1.01 * FIRST_HASH < found.max() <= -FIRST_HASH


# What is refused


@pytest.mark.parametrize(
    "level", [b"a", [1], {}, (1, 2), 1j, object(), datetime.timedelta(1), np.timedelta64(1, "D"), datetime.time(1)]
)
def test_other_levels_are_refused(level):
    column = np.empty(3, object)
    column[:] = ["a", level, None]
    message = r"in column 'v', of type \w+, as a category; levels are text, numbers, booleans or dates"
    with pytest.raises(ValueError, match=message):
        new(categorical_features=["v"]).fit(pd.DataFrame({"u": [0.0, 1, 2], "v": column}), [0, 1, 0])
    with pytest.raises(ValueError, match=message.replace("'v'", "1")):
        new(categorical_features=[1]).fit(np.column_stack([np.arange(3), column]), [0, 1, 0])


def test_durations_in_any_unit_are_refused():
    for unit in ("ns", "s", "D"):
        column = np.array([1, 2, 3], f"m8[{unit}]")
        with pytest.raises(ValueError, match="of type timedelta, as a category"):
            codes(column, " in column 'v'")


def test_infinite_levels_are_refused():
    with pytest.raises(ValueError, match="infinity"):
        new(categorical_features=[1]).fit([[0.0, np.inf], [1.0, 2.0]], [0, 1])


@pytest.mark.parametrize(
    "make",
    [
        lambda days: pd.DataFrame({"u": [1.0, 2], "when": pd.to_datetime(days)}),
        lambda days: pd.DataFrame({"u": [1.0, 2], "when": days}),
        lambda days: pl.DataFrame({"u": [1.0, 2], "when": days}),
        lambda days: pa.table({"u": [1.0, 2], "when": pa.array(days)}),
    ],
    ids=["pandas", "pandas object", "polars", "Arrow"],
)
def test_dates_are_categories_by_name_alone(make):
    X = make([DAY, DAY + datetime.timedelta(1)])
    with pytest.raises(ValueError, match="dates or durations in column 'when'. Turn dates and durations into numbers"):
        new().fit(X, [0, 1])
    model = new(categorical_features=["when"]).fit(X, [0, 1])
    assert_array_equal(model.is_categorical_, [False, True])


# Later calls


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_columns_are_checked_by_name():
    X = TABLES["pandas object"]()
    model = new().partial_fit(X, Y, classes=[0, 1])
    other = X.rename(columns={"v": "w"})
    assert_refused(model, lambda it: it.partial_fit(other, Y), ValueError, "feature names")
    assert_refused(model, lambda it: it.predict(X[["v", "u"]]), ValueError, "feature names")
    assert_refused(model, lambda it: it.predict(X[["v"]]), ValueError, "feature names")
    assert_refused(model, lambda it: it.predict(X.assign(more=1.0)), ValueError, "feature names")
    nameless = new(categorical_features=[1]).fit(EXPECTED, Y)
    assert_refused(nameless, lambda it: it.predict(EXPECTED[:, :1]), ValueError, "1 features, but GLN.* expecting 2")


def test_later_calls_take_other_forms():
    model = new().fit(TABLES["pandas category"](), Y)
    expected = model.predict_proba(TABLES["pandas category"]())
    for make in TABLES.values():
        assert_array_equal(model.predict_proba(make()), expected)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        assert_array_equal(model.predict_proba(np.column_stack([NUMBERS, TEXT])), expected)


def test_categories_of_the_first_call_stay_categories():
    """Whatever the column of a later call holds: numbers, nothing, or other text."""
    X = TABLES["pandas object"]()
    model = new().partial_fit(X, Y, classes=[0, 1])
    for column in ([1.0] * 3, [None] * 3, ["blue"] * 3, [True] * 3):
        model.partial_fit(pd.DataFrame({"u": [0.0, 1, 2], "v": column}), [0, 1, 0])
    assert_array_equal(model.is_categorical_, [False, True])
    assert model._online.categories.levels[0].n_levels == 5  # red, green, missing, 1 and blue


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_a_column_that_is_text_only_later_is_refused():
    X = TABLES["pandas object"]()
    first = pd.DataFrame({"u": NUMBERS, "v": [None] * N})
    model = new().partial_fit(first, Y, classes=[0, 1])
    message = "text, '(red|green)' in row .* of column 'v'.*categorical_features, from the first call on"
    assert_refused(model, lambda it: it.partial_fit(X, Y), ValueError, message)
    named = new(categorical_features=["v"]).partial_fit(first, Y, classes=[0, 1]).partial_fit(X, Y)
    assert named._online.categories.levels[0].n_levels == 3


@pytest.mark.parametrize("name", TABLES)
def test_a_first_call_without_rows(name):
    X = TABLES[name]()
    params = {} if "bject" not in name else {"categorical_features": ["v"]}  # which tell by what they hold
    model = new(**params).partial_fit(X[:0], Y[:0], classes=[0, 1]).partial_fit(X, Y)
    expected = new(**params).partial_fit(X, Y, classes=[0, 1])
    assert_array_equal(model.predict_proba(X), expected.predict_proba(X))


def test_single_precision_beside_categories():
    X = pd.DataFrame({"u": NUMBERS.astype(np.float32), "v": TEXT})
    model = new(GLNRegressor).fit(X, NUMBERS + Y)
    twin = new(GLNRegressor).fit(X.astype({"u": float}), NUMBERS + Y)
    assert_allclose(model.predict(X), twin.predict(X.astype({"u": float})))
    assert np.mean((model.predict(X) - NUMBERS - Y) ** 2) < 0.2


def test_the_table_is_left_as_it_was():
    for name in ("pandas object", "pandas category", "polars String", "Arrow dictionary"):
        X, same = TABLES[name](), TABLES[name]()
        new().fit(X, Y).predict(X)
        assert X.equals(same)
