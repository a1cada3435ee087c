"""Columns of categories: which they are, and their levels as numbers, the same in every process and on every platform.

A level is text, a number, a boolean, a date, or missing. Numbers stand for themselves, so that 1, 1.0 and True are one
level; large numbers, text and dates are hashed to numbers below -2^52, of which there are 2^52; '1' and 1 are two
levels, a day and its midnight are one. Missing ones stay NaN.
"""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from hashlib import blake2b
from numbers import Real
from reprlib import repr as brief
from typing import Any

import numpy as np

from sklearn_gln._arrays import Array

FROM_DTYPE = "from_dtype"
FIRST_HASH = 2**52  # of 2**52; all of them are numbers in float64
CATEGORICAL_DTYPES = (  # how tables' names of them begin
    "category", "categorical", "enum", "dictionary", "string", "large_string", "utf8",
)  # fmt: skip
FORMS = '"from_dtype", None, or an array of column names, of column numbers or a boolean mask'


def is_by_dtype(categorical_features: Any) -> bool:
    return isinstance(categorical_features, str) and categorical_features == FROM_DTYPE


def is_category(column: Any, values: Array) -> bool:
    """Whether a table's column, of these values, is one of categories: by its dtype, or because it holds text."""
    dtype = str(getattr(column, "dtype", getattr(column, "type", None))).lower()
    if dtype == "str" or dtype.startswith(CATEGORICAL_DTYPES):
        return True
    return values.dtype.kind in "US" or (
        values.dtype.kind == "O" and any(issubclass(kind, str) for kind in set(map(type, values.tolist())))
    )


def named_columns(categorical_features: Any, names: Sequence[Any] | None, n_features: int) -> Array:
    """The mask (n_features,) of columns that the parameter names, which "from_dtype" and None do not.

    The columns' names are None for an array. Raises ValueError where the parameter does not fit.
    """
    mask = np.zeros(n_features, bool)
    if categorical_features is None or is_by_dtype(categorical_features):
        return mask
    given = np.asarray(categorical_features)
    if given.shape == (0,):
        return mask
    if given.ndim != 1 or given.dtype.kind not in "biuUO":
        raise ValueError(f"categorical_features={brief(categorical_features)} is unknown; it must be {FORMS}.")
    if given.dtype.kind == "b":
        if given.shape != mask.shape:
            raise ValueError(
                f"categorical_features is a mask of {len(given)} columns, but X has {n_features} features; pass a "
                "value for each column of X."
            )
        return given.copy()
    if given.dtype.kind in "iu":
        if given.min() < 0 or given.max() >= n_features:
            raise ValueError(
                f"categorical_features={brief(given.tolist())} holds numbers that are no columns of X, which has "
                f"{n_features} features; columns are numbered from 0 to {n_features - 1}."
            )
        mask[given] = True
        return mask
    if names is None:
        raise ValueError(
            f"categorical_features={brief(given.tolist())} holds names, but X has no column names. Pass a table, or "
            "the columns' numbers."
        )
    unknown = [name for name in given.tolist() if name not in names]
    if unknown:
        raise ValueError(
            f"categorical_features names {brief(unknown)}, which X does not have; its columns are {brief(list(names))}."
        )
    mask[[list(names).index(name) for name in given.tolist()]] = True
    return mask


def codes(values: Array, place: str) -> Array:
    """Levels (n,) as float64 numbers, NaN where they are missing; `place` says in errors where they stand."""
    if values.dtype.kind in "biuf":
        numbers = values.astype(np.float64)
        if not (np.abs(numbers) >= FIRST_HASH).any():
            return numbers
    if values.dtype.kind in "mM":  # in other units Python has no objects for them
        values = values.astype(f"{values.dtype.kind}8[us]")
    flat = values.astype(object).tolist()
    try:
        known = {level: _code(level, place) for level in dict.fromkeys(flat)}
        return np.fromiter(map(known.__getitem__, flat), float, len(flat))
    except TypeError:  # some cannot be hashed: what is masked, or refused
        return np.fromiter((_code(level, place) for level in flat), float, len(flat))


def _code(level: Any, place: str) -> float:
    if isinstance(level, str):
        return _hashed("text", level)
    if level is None or level is np.ma.masked or type(level).__name__ in ("NAType", "NaTType", "NaT"):
        return np.nan
    is_number = isinstance(level, bool | np.bool_ | Real | Decimal)
    if is_number and not isinstance(level, np.timedelta64):  # which NumPy takes for integers
        if level != level or abs(level) < FIRST_HASH or abs(level) == np.inf:
            return float(level)
        return _hashed("number", str(int(level)))
    if isinstance(level, np.datetime64):
        level = level.astype("datetime64[us]").item()
        if level is None:
            return np.nan
    if isinstance(level, date):
        moment = level if isinstance(level, datetime) else datetime(level.year, level.month, level.day)
        return _hashed("date", moment.isoformat())
    raise ValueError(
        f"X holds {brief(level)}{place}, of type {type(level).__name__}, as a category; levels are text, numbers, "
        "booleans or dates. Make text of others: X[name].astype(str)."
    )


def _hashed(kind: str, level: str) -> float:
    digest = blake2b(f"{kind} {level}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return -float(FIRST_HASH + (int.from_bytes(digest, "little") >> 12))
