"""Names that scikit-learn keeps private or has in some versions only, in one place."""

from inspect import signature
from numbers import Number

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, Options, StrOptions, validate_parameter_constraints
from sklearn.utils.validation import _check_sample_weight

from sklearn_gln._input import real_numbers

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # before scikit-learn 1.9

    class _NoCallbacks:
        """A callback context without callbacks."""

        def subcontext(self, **_):
            return self

        def call_on_fit_task_begin(self, **_):
            return self

        def call_on_fit_task_end(self, **_):
            return False

    class CallbackSupportMixin:
        def _init_callback_context(self, **_):
            return _NoCallbacks()


__all__ = [
    "CallbackSupportMixin",
    "Interval",
    "Options",
    "StrOptions",
    "_fit_context",
    "check_sample_weight",
    "validate_parameter_constraints",
]

# From 1.9 on scikit-learn refuses weights that are all zero unless told otherwise; estimators here decide themselves.
_ALLOW_ZERO = (
    {"allow_all_zero_weights": True} if "allow_all_zero_weights" in signature(_check_sample_weight).parameters else {}
)


def check_sample_weight(sample_weight, X):
    """Weights (n,) float64, one for each row of X; negative, missing or infinite ones raise ValueError."""
    if not isinstance(sample_weight, Number):
        sample_weight = real_numbers(
            sample_weight, "sample_weight", "a weight of 0 leaves a row out", "Weights say how often rows count."
        )
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True, **_ALLOW_ZERO)
    if not np.isfinite(weights).all():  # scikit-learn looks neither at a single number nor with assume_finite=True
        raise ValueError(
            "sample_weight contains NaN or infinity; a weight says how often a row counts, and 0 leaves it out."
        )
    return weights
