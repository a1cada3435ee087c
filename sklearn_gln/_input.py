"""Input in the forms in which users have it, made into arrays that scikit-learn's checks take for what it says.

NumPy reads a date as a count of nanoseconds, NaT as a large negative number, and the values under a mask as if there
were no mask. Here dates are refused, and missing values are NaN in X and refused elsewhere. Missing are NaN, None, NaT,
pandas' NA, null in tables of other libraries, and masked elements.
"""

from collections.abc import Iterable
from datetime import date, time, timedelta
from itertools import islice
from numbers import Integral, Number, Real
from reprlib import repr as brief
from typing import Any

import numpy as np
from scipy.sparse import issparse

from sklearn_gln._arrays import Array
from sklearn_gln._levels import codes, is_by_dtype, is_category, named_columns

DATES = (date, time, timedelta, np.datetime64, np.timedelta64)  # pandas' Timestamp and Timedelta are among them
SOMETIMES_MISSING = ("NoneType", "NAType", "NaTType", "MaskedConstant", "datetime64", "timedelta64", "Decimal")
ENCODE_DATES = (
    "Turn dates and durations into numbers first, such as days since a date: "
    "(dates - pd.Timestamp('2020-01-01')) / pd.Timedelta(days=1)."
)
ENCODE_TEXT = "Name columns of categories in categorical_features, from the first call on."
COMPLEX = "Complex data not supported. Pass real and imaginary parts, or magnitudes and angles, as columns."


# Features


def features(X: Any, categorical_features: Any = None) -> tuple[Any, Array]:
    """X, with missing values as NaN and numbers for categories' levels, and the mask (n_features,) of categories.

    A table stays a table, and keeps its columns' names. Which features are categories is said as by the parameter of
    estimators. Dates among the other features raise ValueError.
    """
    if X is None:
        raise ValueError("X is None; pass the features, an array or a table of shape (n_samples, n_features).")
    if issparse(X) or is_sparse_table(X):
        return _checked_sparse(X, categorical_features)
    columns = _columns(X)
    if columns is not None:
        return _checked_table(X, *columns, categorical_features)
    nothing = np.zeros(0, bool)
    if isinstance(X, np.matrix):
        return X, nothing  # refused by scikit-learn
    if getattr(X, "ndim", 2) != 2 and hasattr(X, "iloc"):
        return X, nothing  # a Series, refused too
    if isinstance(X, list | tuple) and any(isinstance(row, np.ma.MaskedArray) for row in X):
        X = np.ma.array(X)
    if isinstance(X, np.ma.MaskedArray):
        X = _unmasked(X)
    if not isinstance(X, np.ndarray):
        X = _from_sequence(X)
    if X.dtype.names is not None:
        raise ValueError(
            f"X is a structured array with the fields {brief(list(X.dtype.names))}; pass "
            "numpy.lib.recfunctions.structured_to_unstructured(X), or pandas.DataFrame(X) to keep the names."
        )
    if X.dtype.kind == "c":
        raise ValueError(f"X holds complex numbers: {COMPLEX}")
    if X.ndim != 2:
        return _float64(X) if X.dtype == np.longdouble else X, nothing
    mask = named_columns(categorical_features, None, X.shape[1])
    if mask.any():
        return _encoded_array(X, mask), mask
    if X.dtype.kind in "biuf":
        return _float64(X) if X.dtype == np.longdouble else X, mask
    return _numbers(X, "X"), mask


def is_sparse_table(X: Any) -> bool:
    """Whether X is a table of pandas whose columns are all sparse numbers, 0 where nothing is stored."""
    is_table = hasattr(X, "iloc") and X.ndim == 2 and X.shape[1] > 0
    return is_table and all(getattr(dtype, "fill_value", None) == 0 and dtype.kind in "biuf" for dtype in X.dtypes)


def _checked_sparse(X: Any, categorical_features: Any) -> tuple[Any, Array]:
    mask = named_columns(categorical_features, getattr(X, "columns", None), X.shape[-1])
    if mask.any():
        raise ValueError(
            f"categorical_features={brief(categorical_features)} names columns of a sparse X. Encode their levels as "
            "columns of 0 and 1, such as by OneHotEncoder or FeatureHasher, or pass a dense array or table."
        )
    return X, mask


def _encoded_array(X: Array, mask: Array) -> Array:
    """An array (n, n_features) as float64, with numbers for the levels of the features in the mask."""
    encoded = np.empty(X.shape)
    if not mask.all():
        encoded[:, ~mask] = X[:, ~mask] if X.dtype.kind in "biuf" else _numbers(X[:, ~mask], "X")
    for column in np.flatnonzero(mask):
        encoded[:, column] = codes(X[:, column], f" in column {column}")
    return encoded


def _columns(X: Any) -> tuple[list[Any], Iterable[Any]] | None:
    """The names of a table's columns and the columns; None if X is not a table."""
    if getattr(X, "ndim", 2) != 2:
        return None
    if hasattr(X, "iloc") and hasattr(X, "dtypes"):  # pandas and its likes
        return list(X.columns), (X.iloc[:, place] for place in range(X.shape[1]))
    if hasattr(X, "get_columns"):  # Polars
        return list(X.columns), X.get_columns()
    if hasattr(X, "itercolumns") and hasattr(X, "column_names"):  # PyArrow
        return list(X.column_names), X.itercolumns()
    return None


def _checked_table(X: Any, names: list[Any], columns: Iterable[Any], categorical_features: Any) -> tuple[Any, Array]:
    repeated = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if any(isinstance(name, str) for name in repeated):
        raise ValueError(
            f"X has several columns of the same name: {brief(sorted(map(str, repeated)))}. Rename them, so that "
            "columns can be told apart by name."
        )
    by_dtype, mask = is_by_dtype(categorical_features), named_columns(categorical_features, names, len(names))
    dates, objects, numbers = [], {}, {}
    for place, column in enumerate(columns):
        kind = getattr(getattr(column, "dtype", None), "kind", None)
        if kind == "c":
            raise ValueError(f"X holds complex numbers in {_named(names[place : place + 1])}: {COMPLEX}")
        is_sparse = hasattr(getattr(column, "dtype", None), "fill_value")
        if kind in ("b", "i", "u", "f") and not mask[place]:
            if is_sparse:  # one among others, or with another value where nothing is stored
                numbers[place] = np.asarray(column)
            continue
        if str(getattr(column, "type", "")).startswith("dictionary"):  # NumPy would have another level for null
            column = column.cast(column.type.value_type)
        values = np.asarray(column)
        mask[place] |= by_dtype and is_category(column, values)
        if mask[place]:
            numbers[place] = codes(values, f" in column {names[place]!r}")
        elif _are_dates(values):
            dates.append(names[place])
        elif values.dtype.kind in "OUS":
            objects[place] = values
    if dates:
        raise ValueError(f"X holds dates or durations in {_named(dates)}. {ENCODE_DATES}")
    numbers |= {place: _numbers(values, "X", names[place : place + 1]) for place, values in objects.items()}
    return _with_columns(X, numbers), mask


def _with_columns(X: Any, numbers: dict[int, Array]) -> Any:
    """A table with these numbers in the places of some columns."""
    if numbers and hasattr(X, "isetitem"):  # pandas
        X = X.copy(deep=False)
        for place, values in numbers.items():
            X.isetitem(place, values)
    elif numbers and hasattr(X, "with_columns"):  # Polars
        columns = X.get_columns()
        X = X.with_columns([type(columns[place])(columns[place].name, values) for place, values in numbers.items()])
    elif numbers and hasattr(X, "set_column"):  # PyArrow
        for place, values in numbers.items():
            X = X.set_column(place, X.column_names[place], [values])
    return X


def _unmasked(X: np.ma.MaskedArray) -> Array:
    """NaN in place of what is masked."""
    if X.dtype.kind in "mM" or X.dtype.names is not None:
        return np.asarray(X)  # refused, masked or not
    mask, values = np.ma.getmaskarray(X), np.asarray(X)
    if not mask.any():
        return values
    if values.dtype.kind in "biu":
        values = values.astype(float)
    elif values.dtype.kind in "US":
        values = values.astype(object)
    return np.where(mask, values.dtype.type(np.nan) if values.dtype.kind in "fc" else np.nan, values)


def _from_sequence(X: Any) -> Array:
    try:
        array = np.asarray(X)
        if isinstance(X, list | tuple) and array.dtype.kind in "US":  # NumPy makes text of numbers among text
            return np.array(X, dtype=object)
        return array
    except ValueError as error:
        lengths = {len(row) for row in X if hasattr(row, "__len__")} if isinstance(X, list | tuple) else set()
        if len(lengths) > 1:
            raise ValueError(
                f"X has rows of different lengths: {brief(sorted(lengths))}; each row needs one value for each feature."
            ) from error
        raise


# Real numbers: targets and weights


def real_numbers(values: Any, name: str, advice: str, otherwise: str) -> Array:
    """Values of any shape as float64; missing ones, dates and what is not a number raise, saying where they are.

    The advice is for those who have missing values, the other one for those who have text.
    """
    return _real_numbers(_complete(values, name, advice), name, otherwise)


def real_targets(values: Any, name: str = "y") -> Array:
    """Real targets (n,), or a matrix (n, n_targets), in which NaN is no target; what else is wrong raises."""
    advice, otherwise = "leave such rows out", "For labels use GLNClassifier."
    array, gone = _with_gaps(values, name)
    if gone.any() and _is_matrix(array):
        return _matrix_with_gaps(array, gone, name, otherwise)
    _refuse_gaps(gone, name, advice)
    return _real_numbers(array, name, otherwise)


def check_columns(y: Array, sample_weight: Array) -> None:
    """Raise ValueError if a column of y (n, n_outputs) has no value in rows of positive weight."""
    without = np.flatnonzero(np.isnan(y[sample_weight > 0]).all(axis=0))
    if sample_weight.any() and len(without):
        raise ValueError(
            f"y has no value in {_named(without.tolist())}; leave out what has none, or learn with partial_fit, where "
            "values may come later."
        )


def _is_matrix(array: Array) -> bool:
    return array.ndim == 2 and array.shape[1] > 1


def _matrix_with_gaps(array: Array, gone: Array, name: str, otherwise: str) -> Array:
    """The array as float64, NaN where values are missing; until then one of those that are there stands for them."""
    filled = np.where(gone, 0.0 if gone.all() else array[~gone][0], array)
    return np.where(gone, np.nan, _real_numbers(filled, name, otherwise))


def rows_with_values(y: Array, sample_weight: Array) -> Array:
    """The weights of rows (n,): 0 for those of a matrix y (n, n_outputs) that have no value."""
    return sample_weight * ~np.isnan(y).all(axis=1)


def _real_numbers(array: Array, name: str, otherwise: str) -> Array:
    if array.dtype.kind in "cV":
        what = "complex numbers" if array.dtype.kind == "c" else f"values of dtype {array.dtype}"
        raise ValueError(f"{name} holds {what}; it must hold real numbers.")
    return _float64(array) if array.dtype.kind in "biuf" else _numbers(array, name, otherwise=otherwise)


def _complete(values: Any, name: str, advice: str) -> Array:
    """Values as an array; missing ones and a sparse matrix raise ValueError."""
    array, gone = _with_gaps(values, name)
    _refuse_gaps(gone, name, advice)
    return array


def _refuse_gaps(gone: Array, name: str, advice: str) -> None:
    if gone.any():
        rows = np.flatnonzero(gone.reshape(len(gone), -1).any(axis=1)) if gone.ndim else np.arange(1)
        raise ValueError(
            f"{name} contains NaN or another missing value (None, NaT, NA, null, masked) in {_counted(rows)}; {advice}."
        )


def _with_gaps(values: Any, name: str) -> tuple[Array, Array]:
    """Values as an array, and which are missing; a sparse matrix raises ValueError."""
    if issparse(values):
        raise ValueError(f"{name} is a sparse matrix; pass {name}.toarray().")
    if isinstance(values, np.ma.MaskedArray):
        gone, array = np.ma.getmaskarray(values), np.asarray(values)
    else:
        _check_mixture(values, name)
        array = np.asarray(values)
        gone = np.zeros(array.shape, bool)
    return array, gone | missing(array)


def _check_mixture(values: Any, name: str) -> None:
    """Refuse a table with dates among other columns, which Polars would make days of."""
    columns = None if hasattr(values, "iloc") else _columns(values)
    kinds = set() if columns is None else {np.asarray(column).dtype.kind for column in columns[1]}
    if len(kinds) > 1 and kinds & {"m", "M"}:
        raise ValueError(f"{name} holds dates or durations among other columns. {ENCODE_DATES}")


def missing(values: Array) -> Array:
    """Which elements are missing: bool, shaped as values."""
    if values.dtype.kind in "fc":
        return np.isnan(values)
    if values.dtype.kind in "mM":
        return np.isnat(values)
    if values.dtype.kind != "O":
        return np.zeros(values.shape, bool)
    flat = values.ravel().tolist()
    types = set(map(type, flat))
    if not any(issubclass(kind, float | np.floating) or kind.__name__ in SOMETIMES_MISSING for kind in types):
        return np.zeros(values.shape, bool)
    return np.fromiter(map(_is_missing, flat), bool, len(flat)).reshape(values.shape)


def _is_missing(value: Any) -> bool:
    if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, Number | np.datetime64 | np.timedelta64) and bool(value != value)  # NaN, NaT


def _float64(array: Array) -> Array:
    with np.errstate(over="ignore"):  # of longdouble: infinite numbers are found later
        return array.astype(np.float64, copy=False)


def _numbers(values: Array, name: str, columns: list[Any] | None = None, otherwise: str = ENCODE_TEXT) -> Array:
    """Objects, or text that stands for numbers, as float64; missing ones are NaN."""
    if values.dtype.kind in "mM":
        raise ValueError(f"{name} holds dates or durations. {ENCODE_DATES}")
    gone = missing(values)
    if values.dtype.kind == "O" and _are_dates(values):
        dated = np.fromiter((isinstance(value, DATES) for value in values.ravel().tolist()), bool, values.size)
        where = np.argwhere(dated.reshape(values.shape) & ~gone)
        place = f" in {_named(np.unique(where[:, 1]).tolist())}" if values.ndim == 2 else ""
        raise ValueError(f"{name} holds dates or durations{place}. {ENCODE_DATES}")
    if gone.any():
        values = np.where(gone, np.nan, values)
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        for index in np.ndindex(values.shape):
            _refuse(values[index], name, index, columns, otherwise)
        raise


def _refuse(value: Any, name: str, index: tuple[int, ...], columns: list[Any] | None, otherwise: str) -> None:
    """Raise an error that says where the value is, unless it is a number."""
    value = value.item() if isinstance(value, np.generic) else value
    place = f" in row {index[0]}" if index else ""
    if columns is not None or len(index) == 2:
        place += f" of column {columns[0]!r}" if columns is not None else f" of column {index[1]}"
    try:
        float(value)
    except OverflowError as error:
        raise ValueError(f"{name} holds a number that is too large, {value!s:.20}...{place}.") from error
    except ValueError as error:
        raise ValueError(f"{name} holds text, {brief(value)}{place} ({error!s:.100}). {otherwise}") from error
    except TypeError as error:
        raise TypeError(
            f"{name} holds {brief(value)}{place}, of type {type(value).__name__}, which is not a real number: "
            f"{error!s:.100}."
        ) from error


def _are_dates(values: Array) -> bool:
    """Whether there are dates or durations among the values, NaT apart if it stands among numbers."""
    if values.dtype.kind != "O":
        return values.dtype.kind in "mM"
    flat = values.ravel().tolist()
    kinds = {kind for kind in set(map(type, flat)) if issubclass(kind, DATES) or kind.__name__ == "Period"}
    certain = {kind for kind in kinds if kind.__name__ not in SOMETIMES_MISSING}
    return bool(certain) or any(type(value) in kinds and not _is_missing(value) for value in (flat if kinds else ()))


# Labels


def labels(y: Any, name: str = "y") -> Array:
    """Labels (n,) or a matrix of them, all of one type that has an order: numbers, bool, text, dates, other objects.

    Objects that are all bool or all numbers become an array of these, so that they meet their equals of any dtype;
    other objects stay as they are. Missing labels raise ValueError, but in a matrix, where they are NaN among numbers.
    """
    if issparse(y):
        y = y.toarray()
    if isinstance(y, list | tuple) and np.asarray(y).dtype.kind in "US":  # NumPy makes text of numbers among text
        y = np.array(y, dtype=object)
    y, gone = _with_gaps(y, name)
    if gone.any() and _is_matrix(y):
        return _matrix_with_gaps(y, gone, name, "Such a matrix holds 0, 1 and NaN.")
    _refuse_gaps(gone, name, "leave such rows out, or give what is missing a label, such as 'unknown'")
    if y.dtype.kind == "O":
        y = _of_one_type(y, name)
    if y.dtype.kind == "S":
        raise TypeError(f"{name} holds labels of type bytes; turn them into text: numpy.char.decode({name}).")
    if y.dtype.kind not in "biufUOmM":
        raise ValueError(f"{name} has dtype {y.dtype}; labels may be numbers, bool, text or dates.")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError(f"{name} contains infinity, which is not a label; leave such rows out.")
    return y


def _of_one_type(y: Array, name: str) -> Array:
    flat = y.ravel().tolist()
    types = set(map(type, flat))
    groups = {_group(kind) for kind in types}
    if len(groups) > 1 and not (y.ndim == 2 and groups <= {bool, Real}):  # a matrix of 0 and 1 may have both
        names = " and ".join(sorted({kind.__name__ for kind in types}))
        raise ValueError(f"{name} mixes labels of the types {names}; give all labels one type, such as text.")
    if bytes in groups:
        return y.astype("S")
    if groups & {bool, Real}:
        array = np.array(flat) if groups == {Real} else y.astype(bool if groups == {bool} else float).ravel()
        if array.dtype.kind == "f" and all(issubclass(kind, Integral) for kind in types):  # beyond 64 bits
            return y
        return y if array.dtype.kind == "O" else array.reshape(y.shape)
    if any(issubclass(kind, list | tuple | set | dict | np.ndarray) for kind in types):
        raise ValueError(
            f"{name} holds a {types.pop().__name__} for each row, {brief(flat[0])} for the first; pass one label for "
            "each row, or for several labels a row a matrix of 0 and 1, as sklearn.preprocessing.MultiLabelBinarizer "
            "makes it."
        )
    try:
        sorted(islice(dict.fromkeys(flat), 1000))
    except TypeError as error:
        raise ValueError(
            f"{name} holds labels that cannot be sorted ({error!s:.100}), such as {brief(flat[0])}; give all labels "
            "one type, such as text."
        ) from error
    return y


def _group(kind: type) -> type:
    """The type that stands for all whose labels may be mixed."""
    for group in (str, bytes, DATES):
        if issubclass(kind, group):
            return group if isinstance(group, type) else date
    if issubclass(kind, bool | np.bool_):
        return bool
    return Real if issubclass(kind, int | float | np.integer | np.floating) else kind


# Words


def _named(columns: list[Any]) -> str:
    return f"column{'s' * (len(columns) > 1)} {', '.join(map(repr, columns[:6]))}{', ...' * (len(columns) > 6)}"


def _counted(rows: Array) -> str:
    if len(rows) == 1:
        return f"row {rows[0]}"
    first = ", ".join(map(str, rows[:5].tolist()))
    return f"{len(rows)} rows ({first}{', ...' * (len(rows) > 5)})"
