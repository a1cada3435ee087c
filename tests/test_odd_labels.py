"""Labels of any type: fit and partial_fit take the same, predict returns them, and missing ones are refused."""

import datetime
import decimal

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import cross_val_score

from sklearn_gln import GLNClassifier

pd = pytest.importorskip("pandas", reason="some labels of these tests are pandas'")

N = 60
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
CODES = (X[:, 0] > 0).astype(int)
MONDAY, TUESDAY = pd.Timestamp("2020-01-06"), pd.Timestamp("2020-01-07")


def new(**params):
    return GLNClassifier(layer_sizes=(4,), context_dim=2, max_iter=1, random_state=0, **params)


def objects(first, second):
    values = np.empty(N, dtype=object)
    values[:] = [second if code else first for code in CODES]
    return values


LABELS = {
    "int": lambda: CODES,
    "int objects": lambda: CODES.astype(object),
    "NumPy's int objects": lambda: objects(np.int8(3), np.int64(5)),
    "integers beyond 64 bits": lambda: objects(3, 10**30),
    "uint64": lambda: np.where(CODES, np.uint64(2**63 + 1), np.uint64(3)),
    "int8, big-endian": lambda: CODES.astype(">i2"),
    "bool": lambda: CODES > 0,
    "bool objects": lambda: (CODES > 0).astype(object),
    "float": lambda: CODES.astype(float),
    "minus zero": lambda: np.where(CODES, 1.0, -0.0),
    "float16": lambda: CODES.astype("f2"),
    "int and float objects": lambda: objects(1, 2.0),
    "text": lambda: np.where(CODES, "yes", "no"),
    "text objects": lambda: objects("no", "yes"),
    "empty text": lambda: np.where(CODES, "yes", ""),
    "the text nan": lambda: np.where(CODES, "yes", "nan"),
    "a list": lambda: ["yes" if code else "no" for code in CODES],
    "datetime64": lambda: np.where(CODES, np.datetime64("2020-01-07"), np.datetime64("2020-01-06")),
    "datetime64[ns]": lambda: np.where(CODES, TUESDAY.to_datetime64(), MONDAY.to_datetime64()).astype("M8[ns]"),
    "timedelta64": lambda: np.where(CODES, np.timedelta64(2, "D"), np.timedelta64(1, "D")),
    "Timestamp": lambda: objects(MONDAY, TUESDAY),
    "a list of Timestamp": lambda: objects(MONDAY, TUESDAY).tolist(),
    "dates in pandas": lambda: pd.Series(objects(MONDAY, TUESDAY)),
    "dates with a zone": lambda: pd.Series(objects(MONDAY.tz_localize("UTC"), TUESDAY.tz_localize("UTC"))),
    "date": lambda: objects(datetime.date(2020, 1, 6), datetime.date(2020, 1, 7)),
    "datetime": lambda: objects(datetime.datetime(2020, 1, 6), datetime.datetime(2020, 1, 7)),
    "Period": lambda: pd.Series(pd.PeriodIndex(np.where(CODES, "2020-02", "2020-01"), freq="M")),
    "Decimal": lambda: objects(decimal.Decimal("0.5"), decimal.Decimal("1.5")),
    "Int64": lambda: pd.Series(CODES, dtype="Int64"),
    "boolean": lambda: pd.Series(CODES > 0, dtype="boolean"),
    "string": lambda: pd.Series(np.where(CODES, "yes", "no"), dtype="string"),
    "categories, one unused": lambda: pd.Series(
        pd.Categorical(objects("no", "yes"), categories=["yes", "no", "maybe"])
    ),
    "masked, nothing hidden": lambda: np.ma.masked_array(CODES),
}


def assert_equal_labels(got, expected):
    assert len(got) == len(expected)
    assert all(a == b for a, b in zip(got, expected, strict=True))


@pytest.mark.filterwarnings("ignore:Parsing dates")
@pytest.mark.parametrize("form", LABELS.values(), ids=LABELS)
def test_fit_and_partial_fit_take_the_same_labels(form):
    y = form()
    expected = new().fit(X, CODES)
    model = new().fit(X, y)
    assert len(model.classes_) == 2
    low, high = (next(label for label, code in zip(y, CODES, strict=True) if code == which) for which in (0, 1))
    order = [0, 1] if low < high else [1, 0]
    assert_equal_labels(model.classes_, sorted([low, high]))
    if order == [0, 1]:
        assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
    known = {0: low, 1: high}
    assert_equal_labels(model.predict(X), [known[code] for code in expected.predict(X)])
    assert model.score(X, y) == expected.score(X, CODES)
    streamed = new().partial_fit(X[:30], y[:30], classes=[low, high]).partial_fit(X[30:], y[30:], classes=[high, low])
    assert_equal_labels(streamed.classes_, sorted([low, high]))
    assert all(any(label == known for known in model.classes_) for label in streamed.predict(X))
    at_once = new().partial_fit(X, y, classes=model.classes_)
    assert_allclose(streamed.predict_proba(X), at_once.predict_proba(X), rtol=1e-6)  # sums over rows are cut elsewhere
    model.partial_fit(X, y)  # after fit, without classes


@pytest.mark.parametrize("name", ["int objects", "Timestamp", "text objects", "datetime64"])
@pytest.mark.parametrize("class_weight", ["balanced", "by label"])
def test_class_weights_of_labels_of_any_type(name, class_weight):
    y = LABELS[name]()
    weight = "balanced" if class_weight == "balanced" else dict(zip(np.unique(y), (1, 2), strict=True))
    expected = new(class_weight="balanced" if class_weight == "balanced" else {0: 1, 1: 2}).fit(X, CODES)
    model = new(class_weight=weight).fit(X, y)
    flipped = name == "text objects"  # "no" comes first, as 0 does
    assert not flipped or model.classes_[0] == "no"
    assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
    model.partial_fit(X, y)


def test_early_stopping_and_cross_validation_of_objects():
    y = CODES.astype(object)
    model = new(early_stopping=True).fit(X, y)
    assert_array_equal(model.predict_proba(X), new(early_stopping=True).fit(X, CODES).predict_proba(X))
    assert cross_val_score(new(), X, LABELS["text objects"](), cv=3).mean() > 0.5


def test_dates_of_numpy_and_of_python_are_the_same_labels():
    model = new().partial_fit(X, LABELS["datetime64[ns]"](), classes=[MONDAY.to_datetime64(), TUESDAY.to_datetime64()])
    model.partial_fit(X, LABELS["Timestamp"]())
    model = new().partial_fit(X, LABELS["Timestamp"](), classes=[MONDAY, TUESDAY])
    model.partial_fit(X, LABELS["datetime64[ns]"]())
    assert model.n_samples_seen_ == 2 * N


def test_longer_text_later():
    model = new().partial_fit(X, np.where(CODES, "b", "a"), classes=["a", "b", "a long one"])
    y = np.where(CODES, "a long one", "a")
    model.partial_fit(X, y)
    with pytest.raises(ValueError, match="'a longer one'.* do not exist"):
        model.partial_fit(X, np.where(CODES, "a longer one", "a"))


MISSING = {
    "NaN": np.array([np.nan, 0.0] * (N // 2)),
    "None": np.array([None, "a", "b", "a"] * (N // 4), dtype=object),
    "NaN among text": np.array([np.nan, "a", "b", "a"] * (N // 4), dtype=object),
    "NaN in a list of text": [np.nan, "a", "b", "a"] * (N // 4),
    "None in a list": [None, "a", "b", "a"] * (N // 4),
    "NA": np.array([pd.NA, "a", "b", "a"] * (N // 4), dtype=object),
    "NaT": np.array([np.datetime64("NaT"), MONDAY.to_datetime64()] * (N // 2)),
    "NaT among Timestamps": np.array([pd.NaT, MONDAY] * (N // 2), dtype=object),
    "string": pd.Series([None, "a", "b", "a"] * (N // 4), dtype="string"),
    "categories": pd.Series(pd.Categorical([None, "a", "b", "a"] * (N // 4))),
    "Int64": pd.Series([None, 1, 2, 1] * (N // 4), dtype="Int64"),
    "boolean": pd.Series([None, True, False, True] * (N // 4), dtype="boolean"),
    "masked": np.ma.masked_array(CODES, np.arange(N) % 4 == 0),
}


@pytest.mark.parametrize("assume_finite", [False, True])
@pytest.mark.parametrize("y", MISSING.values(), ids=MISSING)
def test_missing_labels_are_refused(y, assume_finite):
    model = new()
    with sklearn.config_context(assume_finite=assume_finite):
        for call, options in (("fit", {}), ("partial_fit", {"classes": [0, 1]})):
            with pytest.raises(ValueError, match=r"^y contains NaN or another missing value.* in \d+ rows \(0, [24],"):
                getattr(model, call)(X, y, **options)
    assert not hasattr(model, "classes_")


def test_missing_labels_of_polars_are_refused():
    pl = pytest.importorskip("polars")
    for values, kind in (
        (["a", "b", "a"], None),
        ([1, 2, 1], None),
        ([True, False, True], None),
        (["a"] * 3, pl.Categorical),
    ):
        with pytest.raises(ValueError, match=r"^y contains NaN or another missing value.* in 15 rows \(0, 4,"):
            new().fit(X, pl.Series([None, *values] * (N // 4), dtype=kind))


WRONG = {
    "text and numbers": (np.array([1, "a"] * (N // 2), dtype=object), ValueError, "mixes labels .*int and str"),
    "text and numbers in a list": ([1, "a"] * (N // 2), ValueError, "mixes labels .*int and str"),
    "numbers and bool": (np.array([2, True] * (N // 2), dtype=object), ValueError, "mixes labels .*bool and int"),
    "dates and text": (np.array([MONDAY, "a"] * (N // 2), dtype=object), ValueError, "mixes labels .*and str"),
    "dates with and without a zone": (
        np.array([MONDAY, TUESDAY.tz_localize("UTC")] * (N // 2), dtype=object), ValueError, "cannot be sorted"
    ),
    "bytes": (np.array([b"a", b"b"] * (N // 2)), TypeError, "bytes.*decode"),
    "bytes objects": (np.array([b"a", b"b"] * (N // 2), dtype=object), TypeError, "bytes.*decode"),
    "complex": (CODES + 1j, ValueError, "y has dtype complex128"),
    "fractions": (X[:, 0], ValueError, "Unknown label type: continuous|do not exist"),
    "fractions as objects": (X[:, 0].astype(object), ValueError, "Unknown label type: continuous|do not exist"),
    "infinity": (np.where(CODES, np.inf, 0), ValueError, "y contains infinity"),
    "lists": (np.array([[1], [1, 2]] * (N // 2), dtype=object), ValueError, "MultiLabelBinarizer"),
    "text in a matrix": (np.full((N, 2), "a"), ValueError, "other than 0 and 1"),
    "3 dimensions": (CODES.reshape(-1, 1, 1), ValueError, "dim 3"),
}  # fmt: skip


@pytest.mark.parametrize(("y", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_labels(y, error, message):
    for call, options in (("fit", {}), ("partial_fit", {"classes": [0, 1]})):
        with pytest.raises(error, match=message):
            getattr(new(), call)(X, y, **options)
    model = new().fit(X, CODES)
    before = model.predict_proba(X)
    with pytest.raises(error):
        model.partial_fit(X, y)
    assert_array_equal(model.predict_proba(X), before)


@pytest.mark.parametrize(
    "classes", [[0, np.nan], [None, "a"], [1, "a"], [0.5, 1.5], [[0, 1]], np.ma.masked_array([0, 1], [0, 1])]
)
def test_wrong_classes(classes):
    with pytest.raises(ValueError, match="^classes=.* are not labels of classes: "):
        new().partial_fit(X, CODES, classes=classes)


def test_matrices_of_labels_in_other_forms():
    y = np.stack([CODES, 1 - CODES], axis=1)
    expected = new().fit(X, y).predict_proba(X)
    for form in (y.astype(object), y > 0, pd.DataFrame(y > 0), pd.DataFrame(y).astype("Int64"), y.tolist(),
                 pd.DataFrame({"a": y[:, 0] > 0, "b": y[:, 1]})):  # fmt: skip
        assert_array_equal(new().fit(X, form).predict_proba(X), expected)
    with pytest.raises(ValueError, match="y has shape"):
        new().fit(X, y).score(X, CODES)


def test_a_column_of_labels_of_any_type():
    for values in (CODES, LABELS["text objects"](), LABELS["Timestamp"]()):
        with pytest.warns(sklearn.exceptions.DataConversionWarning, match="column-vector"):
            model = new().fit(X, pd.DataFrame({"y": values}))
        assert model.score(X, pd.DataFrame({"y": values})) == model.score(X, values)
