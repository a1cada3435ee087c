"""The few private helpers of scikit-learn in use, in one place."""

from inspect import signature

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight

__all__ = ["Interval", "Options", "StrOptions", "_fit_context", "check_sample_weight"]

# From 1.9 on scikit-learn refuses weights that are all zero unless told otherwise; estimators here decide themselves.
_ALLOW_ZERO = (
    {"allow_all_zero_weights": True} if "allow_all_zero_weights" in signature(_check_sample_weight).parameters else {}
)


def check_sample_weight(sample_weight, X):
    """Weights (n,) float64, all 1 for None; negative, missing or infinite ones raise ValueError."""
    return _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True, **_ALLOW_ZERO)
