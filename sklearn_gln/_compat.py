"""The parts of scikit-learn that are private, or that only some versions have, in one place."""

import warnings
from inspect import signature

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import multiclass
from sklearn.utils._param_validation import Interval, Options, StrOptions, validate_parameter_constraints
from sklearn.utils.validation import _check_sample_weight

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # before scikit-learn 1.9

    class _NoCallbacks:
        """A callback context that nobody listens to."""

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
    "unique_labels",
    "validate_parameter_constraints",
]

# From 1.9 on scikit-learn refuses weights that are all zero unless told otherwise; estimators here decide themselves.
_ALLOW_ZERO = (
    {"allow_all_zero_weights": True} if "allow_all_zero_weights" in signature(_check_sample_weight).parameters else {}
)


def check_sample_weight(sample_weight, X):
    """Weights (n,) float64, all 1 for None; negative, missing or infinite ones raise ValueError."""
    return _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True, **_ALLOW_ZERO)


def unique_labels(classes):
    """The classes, sorted; in 1.7 scikit-learn's takes them for labels of rows, and warns that there are many."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        return multiclass.unique_labels(classes)
