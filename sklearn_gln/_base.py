"""The base of all GLN estimators: parameters, checked input, and the one way in which rows are learned."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import replace
from math import ceil
from numbers import Integral, Real
from reprlib import repr as brief

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils import check_random_state
from sklearn.utils._metadata_requests import UNUSED
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

import sklearn_gln
from sklearn_gln import _categories, _shards, _single_row, _wide_rows
from sklearn_gln._base_predictor import SCALED, SCALINGS, add_base_predictions
from sklearn_gln._compat import (
    CallbackSupportMixin,
    Interval,
    Options,
    StrOptions,
    check_sample_weight,
    validate_parameter_constraints,
)
from sklearn_gln._input import features
from sklearn_gln._learning_rate import DEFAULT_RATES, MAX_FULL_PRECONDITIONER, MAX_RATE, default_rate
from sklearn_gln._levels import FROM_DTYPE
from sklearn_gln._likelihood import BERNOULLI, Likelihood
from sklearn_gln._network import InputSizes, estimate_memory
from sklearn_gln._online import OnlineNetwork
from sklearn_gln._runtime import entered, installed_memory, interrupts_held, n_processes, n_threads, one_blas_thread
from sklearn_gln._schedule import LAST_MERGE
from sklearn_gln._settings import Settings
from sklearn_gln._sparse_rows import SparseRows, rows_of, stored_values
from sklearn_gln._state import check_online, from_plain, to_plain
from sklearn_gln._wide_rows import n_models
from sklearn_gln.kernels import Kernels, as_numpy, get_kernels, in_tasks

MIN_SAMPLES_FOR_THREADS = 64  # below, starting threads costs more than they save
X_CHECKS = {  # scikit-learn's
    "accept_sparse": "csr",
    "dtype": [np.float64, np.float32],
    "ensure_all_finite": "allow-nan",
}
MAX_WEIGHT = 1e9  # of a row: beside it one of weight 1 is still more than rounding
MAX_FEATURE = 1e32  # its square is a number, and in float32 its projection on any halfspace
STAY_ON_DEVICE = ("standard", "global", "minmax")  # base predictors that need no look at the features' values
DEFAULT_OFFSET_SCALES = {"cuts": 1.5, "gaussian": 0.0, "raw_gaussian": 0.0}


def _check_size(extremes: tuple[float, float]) -> None:
    if max(np.abs(extremes)) > MAX_FEATURE:
        raise ValueError(
            f"X holds values from {extremes[0]:.6g} to {extremes[1]:.6g}; features must lie within +-{MAX_FEATURE:g}. "
            "Scale them, and where such a number stands for a missing value, put NaN in its place."
        )


def _check_weights(sample_weight):
    if sample_weight.max(initial=0) > MAX_WEIGHT:
        warnings.warn(
            f"sample_weight holds {sample_weight.max():.6g}, but no row counts as more than {MAX_WEIGHT:g} rows. "
            "Divide all weights by the same number, so that none is larger.",
            stacklevel=2,
        )


def _of_mean_1(sample_weight):
    """Weights of a table whose mean is below 1, such as shares, as multiples of it; others as they are."""
    mean = sample_weight[sample_weight > 0].mean() if sample_weight.any() else 1.0
    return sample_weight / mean if mean < 1 else sample_weight


def _major(version: str) -> int:
    number = version.partition(".")[0]
    return int(number) if number.isdecimal() else 0


class BaseGLN(CallbackSupportMixin, BaseEstimator, ABC):
    """Parameters, validation and learning of a Gated Linear Network; subclasses encode targets and read outputs."""

    _likelihood: Likelihood = BERNOULLI
    _is_of_bandit: bool = False  # whether rewards of actions are learned
    _LEARNED: tuple = (
        "n_features_in_", "is_categorical_", "n_iter_", "loss_curve_", "validation_loss_curve_", "_progress",
    )  # fmt: skip

    # Not routed by meta-estimators, which know nothing of it. Only of methods that are routed: before scikit-learn 1.9
    # a request of any other leaves the estimator without all of its set_..._request.
    __metadata_request__partial_fit = {"check_input": UNUSED}
    __metadata_request__predict = {"check_input": UNUSED}

    _parameter_constraints: dict = {
        "layer_sizes": ["array-like"],
        "context_dim": [Interval(Integral, 0, 24, closed="both")],
        "halfspaces": [StrOptions(set(DEFAULT_OFFSET_SCALES))],
        "offset_scale": [Interval(Real, 0, 1e3, closed="both"), None],
        "share_halfspaces": ["boolean"],
        "base_predictor": [StrOptions(set(SCALINGS)), callable],
        "categorical_features": ["array-like", StrOptions({FROM_DTYPE}), None],
        "max_levels": [Interval(Integral, 1, 2**31 - 1, closed="both")],
        "max_dense": [Interval(Integral, 1, None, closed="left")],
        "bias": ["boolean"],
        "skip": ["boolean"],
        "learning_rate": [StrOptions(set(DEFAULT_RATES)), callable],
        "learning_rate_init": [Interval(Real, 0, MAX_RATE, closed="right"), None],
        "preconditioner": [StrOptions({"auto", "full", "block"}), None],
        "initial_weights": [StrOptions({"mean", "uniform", "zero"})],
        "aggregation": [StrOptions({"stacked", "layers", "last_layer", "neuron"})],
        "max_weight": [Interval(Real, 0, 1e30, closed="right"), None],  # a number in float32 too
        "batch_size": [Interval(Integral, 1, 2**31 - 1, closed="both")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "warm_start": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "half_life": [Interval(Real, 1, None, closed="left"), StrOptions({"auto", "mixed"}), None],
        "dtype": [StrOptions({"float32", "float64"}), Options(type, {np.float32, np.float64})],
        "backend": [str],  # get_kernels knows them
        "device": "no_validation",  # frameworks have their own objects
        "n_jobs": [Interval(Integral, None, -1, closed="right"), Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_online")

    def __getstate__(self):
        state = super().__getstate__().copy()
        state["_sklearn_gln_version"] = sklearn_gln.__version__
        if "_online" in state:
            state["_online"] = to_plain(state["_online"])
            state.pop("_skl_callbacks", None)  # those of this process: a saved model stands alone
        return state

    def __setstate__(self, state):
        state = state.copy()
        version = state.pop("_sklearn_gln_version", "unknown")
        if _major(version) > _major(sklearn_gln.__version__):
            raise ValueError(
                f"This {type(self).__name__} was saved by sklearn_gln {version}, and {sklearn_gln.__version__} is "
                "installed, which does not know its format; install that version or a later one."
            )
        if version != sklearn_gln.__version__:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=type(self).__name__,
                    current_sklearn_version=f"{sklearn_gln.__version__} of sklearn_gln",
                    original_sklearn_version=f"{version} of sklearn_gln",
                ),
                stacklevel=2,
            )
        if "_online" in state:
            state["_online"] = from_plain(state["_online"])
        super().__setstate__(state)
        if "_online" in state:
            self._check_learned()

    def __copy__(self):
        duplicate = type(self).__new__(type(self))
        vars(duplicate).update(vars(self))
        if "_online" in vars(self):
            duplicate._online = deepcopy(self._online)  # learning works in place
        return duplicate

    @property
    def n_samples_seen_(self):
        return self._online.n_samples_seen

    def _check_learned(self):
        """Raise ValueError unless what was learned fits together: it may come from a file that was tampered with."""
        missing = [name for name in self._LEARNED if not hasattr(self, name)]
        if missing:
            raise ValueError(f"The saved {type(self).__name__} lacks {', '.join(missing)}.")
        settings, kind = self._online.settings, self._online.predictor.kind
        resolved = {**vars(settings), "base_predictor": kind, "likelihood": settings.likelihood.name}
        del resolved["max_weight"]  # any number will do, inf among them
        constraints = {"likelihood": [StrOptions({BERNOULLI.name})], **self._parameter_constraints}
        validate_parameter_constraints(constraints, resolved, f"The saved {type(self).__name__}")
        is_categorical = self.is_categorical_
        is_mask = isinstance(is_categorical, np.ndarray) and is_categorical.dtype == bool
        if not is_mask or is_categorical.shape != (self.n_features_in_,):
            raise ValueError(f"The saved state does not fit together: is_categorical_ is {is_categorical!r:.200}.")
        check_online(self._online, is_categorical, self._output_numbers(), self._new_head(settings))

    def _label_smoothing(self, normalized, is_wide):  # noqa: ARG002
        return 0.0

    @contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Attributes set inside, and random numbers drawn, are taken back if anything raises."""
        before = vars(self).copy()
        generator = self.random_state if isinstance(self.random_state, np.random.RandomState) else None
        drawn = None if generator is None else generator.get_state()
        try:
            yield
        except BaseException:
            self.__dict__ = before  # at once: another Ctrl-C finds all or nothing done
            if generator is not None:
                generator.set_state(drawn)
            raise

    @entered()
    def _fit(self, X, y, sample_weight, given):
        """Learn from nothing, or go on with `warm_start`; `given` are X_val, y_val and sample_weight_val."""
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        hook_data = {"X": X, "y": y, "metadata": metadata}
        context = self._init_callback_context(max_subtasks=self.max_iter)
        with self._unchanged_on_error():
            begun = self.warm_start and hasattr(self, "_online")
            self._check_learns(self._online if begun else None)
            X, y, sample_weight = self._check_X_y(X, y, sample_weight, self._online if begun else None)
            targets, weights = self._encode_all(y, _of_mean_1(sample_weight), begun)
            rows = np.flatnonzero(weights)
            if not rows.size:
                raise ValueError(
                    "sample_weight is zero for every row: there is nothing to learn from. Give at least one row a "
                    "positive weight."
                )
            random_state = check_random_state(self.random_state)
            data = X, targets, weights, sample_weight
            online = self._resume() if begun else self._begin(X, random_state, in_order=not self.shuffle)
            validation, rows = self._validation(online, data, rows, given, random_state)
            rows, held_out = self._hold_out(rows, weights, random_state)
            context.call_on_fit_task_begin(estimator=self, **hook_data)
            if online.evidence is not None:
                online.evidence.begin_fit(len(X))
            online, counts = self._run_epochs(online, data, rows, validation, random_state, context, hook_data)
            for chunk, _ in self._learn(online, X, targets, weights, held_out, held_out=True) if held_out.size else ():
                counts = counts + self._count(targets[chunk])
            if self.n_iter_ > 1 and online.has_merged:
                with self._kernels(len(rows)) as kernels, kernels.scope(self.device):
                    weights = np.minimum(weights[rows], MAX_WEIGHT)
                    online.learn_alike(self._rows(X, rows), targets[rows], weights, rows, kernels)
            if online.evidence is not None:
                online.evidence.end_fit()
            self._online = online
            self._add_counts(counts)
            context.call_on_fit_task_end(estimator=self, reconstruction_attributes=dict, **hook_data)

    @entered()
    def _learn_stream(self, X, y, sample_weight, check_input, encode, read=None):
        """Learn rows in their order; `encode` makes targets of y. Returns `read` of what was predicted before."""
        with self._unchanged_on_error():
            online = getattr(self, "_online", None)
            begun = online is not None
            self._check_learns(online)
            if not begun:
                self._validate_params()
            X, y, sample_weight = self._check_X_y(
                X, y, sample_weight, online, check_input=check_input, allow_empty=True
            )
            targets = encode(y, sample_weight, begun)
            if not begun:
                self._online = self._begin(X, check_random_state(self.random_state), in_order=True)
            weights = self._weights_in_stream(targets, sample_weight)
            order = np.flatnonzero(weights) if read is None else np.arange(len(X))
            self._online.check_rates(weights[order])
            self._check_growth(targets, weights)
        counted = np.where(weights > 0, sample_weight, 0)
        counted = self._counted(self._online, order, targets, weights, counted)
        parts = []
        for chunk, predictions in self._learn_in_order(X, targets, weights, order):
            self._set_progress(self._progress + self._scores(predictions, targets[chunk], counted[chunk]))
            self._add_counts(self._count(targets[chunk[weights[chunk] > 0]]))
            if read is not None:
                parts.append(predictions)
        if read is None:
            return None
        return read(np.concatenate([self._arranged(self._online.before_sample_1(0)), *parts]))

    def _check_learns(self, online):
        """Raise ValueError if the network that was learned cannot go on."""
        if online is not None and online.predicts_only:
            raise ValueError(
                f"This {type(self).__name__} comes from a file saved with half=True and only predicts: its weights are "
                "rounded. Go on with the model that was saved, or with a file saved with half=False; `fit` without "
                "warm_start starts anew."
            )

    @abstractmethod
    def _read_targets(self, y):
        """A target y as the user has it as an array of numbers or labels, without missing values."""

    @abstractmethod
    def _encode_all(self, y, sample_weight, begun):
        """Targets of all rows of a fit, as the network takes them, and the weights to learn them with."""

    @abstractmethod
    def _encode(self, y):
        """Targets of a target y like those of the first call."""

    @abstractmethod
    def _begin(self, X, random_state, *, in_order):
        """A network that has seen nothing, for rows as they came or shuffled, and the attributes that go with it."""

    @abstractmethod
    def _output_numbers(self):
        """The numbers (n_outputs,) of the outputs that the network has."""

    @abstractmethod
    def _new_head(self, settings):
        """A head that has seen nothing."""

    @abstractmethod
    def _scores(self, outputs, targets, sample_weight):
        """Sums over rows: weight, weighted log-loss, and what else progress is measured by."""

    @abstractmethod
    def _set_progress(self, sums):
        """Set the attributes that report progress from sums of `_scores`."""

    # Defaults that subclasses may override

    def _resume(self):
        """The network for another fit to go on with."""
        return deepcopy(self._online)

    def _learn_in_order(self, X, targets, sample_weight, order):
        """Have `_online` learn a stream; yield as `_learn` does."""
        yield from self._learn(self._online, X, targets, sample_weight, order)

    def _check_growth(self, targets, sample_weight):
        """Raise MemoryError if the network would outgrow this machine's memory with new outputs."""

    def _closed(self):
        """The network with the outputs that the user sees alone, to be looked into."""
        return self._online

    def _arranged(self, outputs):
        """What the network gives, (n, n_outputs, ...), with all the outputs that the user sees."""
        return outputs

    def _weights_in_stream(self, targets, sample_weight):  # noqa: ARG002
        """The weights (n,) with which rows are learned."""
        return sample_weight

    def _count(self, targets):  # noqa: ARG002
        """Counts over rows learned, which `_add_counts` takes."""
        return 0

    def _add_counts(self, counts):
        pass

    def _hold_out(self, rows, weights, random_state):  # noqa: ARG002
        """The rows to learn in all epochs, and those to learn after them, once."""
        return rows, rows[:0]

    def _stratify(self, targets, test_size):  # noqa: ARG002
        """Classes (n,) whose shares a split for validation keeps, or None."""
        return

    def _counted(self, online, order, targets, weights, counted):  # noqa: ARG002
        """The weights of rows (n,), or of their targets, in losses of their first pass in this order."""
        return counted

    def _mean_loss(self, sums):
        """The mean log-loss, of sums of `_scores`."""
        return float(sums[1] / sums[0]) if sums[0] else np.nan

    def _validation(self, online, data, rows, given, random_state):
        """Data to validate on, in the form of `data`, or None; and the rows that are left to learn from."""
        X_val, y_val, weights = given.values()
        if X_val is not None and y_val is not None:
            X_val, y_val, weights = self._check_X_y(X_val, y_val, weights, online)
            if not weights.any():
                raise ValueError("sample_weight_val is zero for every row; give at least one row a positive weight.")
            return (X_val, self._encode(y_val), weights, weights), rows
        if any(array is not None for array in given.values()):
            missing = ", ".join(name for name in ("X_val", "y_val") if given[name] is None)
            present = ", ".join(name for name, array in given.items() if array is not None)
            raise ValueError(f"{present} given without {missing}; pass both X_val and y_val, or neither.")
        if not self.early_stopping:
            return None, rows
        from sklearn.model_selection import train_test_split  # longer to import than all of this package

        test_size = self.validation_fraction
        if ceil(test_size * len(rows)) >= len(rows):
            raise ValueError(
                f"early_stopping=True with validation_fraction={test_size} leaves none of n_samples={len(rows)} rows "
                "to learn from; pass more rows, or X_val and y_val."
            )
        stratify = self._stratify(data[1][rows], test_size)
        rows, held_out = train_test_split(rows, test_size=test_size, stratify=stratify, random_state=random_state)
        return tuple(self._rows(array, held_out) for array in data), np.sort(rows)

    def _check_X(self, X, check_input=True):
        """The rows that `_online` takes."""
        if not check_input:
            X = rows_of(self._with_codes(X))
        elif not self._is_plain(X, self._online):
            X, seen, _ = self._features(X, self._online.predictor.kind, self._known_categories(X))
            seen = rows_of(validate_data(self, seen, reset=False, **X_CHECKS))
            _check_size(get_kernels("numpy").extremes(stored_values(seen)))
            X = seen if X is None else X
        return self._with_base_predictions(X, self._online)

    def _check_X_y(self, X, y, sample_weight, online=None, *, check_input=True, allow_empty=False):
        """The rows that `online` takes, or a new network; y (n,) or (n, n_targets), checked; sample_weight (n,)."""
        reset = online is None
        if not (check_input or reset):
            X = rows_of(self._with_codes(X))
        elif not (sample_weight is None and self._is_plain(X, online) and self._is_plain_target(y, len(X))):
            if reset:
                X, seen, self.is_categorical_ = self._features(X, self.base_predictor, self.categorical_features)
            else:
                X, seen, _ = self._features(X, online.predictor.kind, self._known_categories(X))
            y = None if y is None else self._read_targets(as_numpy(y))  # of None scikit-learn says that it is required
            if allow_empty and np.shape(seen)[:1] == (0,):  # scikit-learn takes no targets without a row
                check_consistent_length(seen, y, sample_weight)
                seen = validate_data(self, seen, reset=reset, ensure_min_samples=0, **X_CHECKS)
                sample_weight = np.ones(0)
            else:
                complete = np.nan_to_num(y) if y is not None and y.dtype.kind == "f" else y  # gaps have been looked at
                seen, checked = validate_data(self, seen, complete, reset=reset, multi_output=True, **X_CHECKS)
                y = checked if complete is y else y
                if sample_weight is not None:
                    sample_weight = check_sample_weight(as_numpy(sample_weight), seen)
                    _check_weights(sample_weight)
            seen = rows_of(seen)
            if reset:
                self._check_width(seen)
            _check_size(get_kernels("numpy").extremes(stored_values(seen)))
            X = seen if X is None else X
        else:
            y = self._read_targets(y)
        if sample_weight is None:
            sample_weight = np.ones(len(X))
        return self._with_base_predictions(X, online), y, sample_weight

    def _is_plain(self, X, online):
        """Whether X is an array that the checks, which take longer than a row, would find right and leave as it is."""
        if type(X) is not np.ndarray or online is None or online.categories is not None:
            return False
        is_alike = X.ndim == 2 and len(X) and X.shape[1] == self.n_features_in_ and X.dtype in X_CHECKS["dtype"]
        if not is_alike or hasattr(self, "feature_names_in_"):
            return False
        lowest, highest = get_kernels("numpy").extremes(X)
        return max(-lowest, highest) <= MAX_FEATURE

    def _is_plain_target(self, y, n_samples):
        """Whether y is an array likewise."""
        if type(y) is not np.ndarray or y.shape[:1] != (n_samples,) or not 1 <= y.ndim <= 2 or not y.size:
            return False
        return y.dtype.kind in "biuU" or (y.dtype.kind == "f" and bool(np.isfinite(y).all()))

    def _with_base_predictions(self, X, online=None):
        kind = self.base_predictor if online is None else online.predictor.kind
        likelihood = self._likelihood if online is None else online.settings.likelihood
        if kind in STAY_ON_DEVICE:
            return X
        columns = add_base_predictions(kind, X, likelihood.reads_probabilities, ~self.is_categorical_)
        if online is not None and columns.shape[1] != online.n_columns:
            raise ValueError(
                f"The base_predictor returned {columns.shape[1] - X.shape[1]} columns for each row, and "
                f"{online.n_columns - X.shape[1]} in the first call; their number must not change."
            )
        return columns

    def _features(self, X, kind, categorical_features):
        """X if it can stay on the device where it is, else None; what scikit-learn is to check in its place; a mask.

        What is checked has X's columns, their names, and NaN where values are missing. The mask is that of categories.
        """
        kernels = get_kernels(self.backend)
        stays = kernels.ON_DEVICE and kernels.owns(X) and len(X.shape) == 2 and kind in STAY_ON_DEVICE
        none, mask = features(as_numpy(X[:0]), categorical_features) if stays else (None, None)
        if not stays or none.dtype not in X_CHECKS["dtype"] or mask.any():
            return None, *features(as_numpy(X), categorical_features)
        dtype = none.dtype
        with kernels.scope(self.device):
            X = kernels.asarray(X)
            extremes = kernels.extremes(X)
            if not np.isfinite(extremes).all():
                raise ValueError(
                    f"Input X contains infinity or a value too large for {dtype!r}. Remove or clip such values; NaN "
                    "stands for a missing one."
                )
            _check_size(extremes)
        return X, np.broadcast_to(dtype.type(0), tuple(X.shape)), mask

    def _with_codes(self, X):
        """X, unchecked, with numbers for levels of categories."""
        return np.asarray(features(X, self.is_categorical_)[0], float) if self.is_categorical_.any() else X

    def _known_categories(self, X):
        """What says which features of X are categories; where X has other columns scikit-learn will refuse it."""
        names, known = getattr(X, "columns", getattr(X, "column_names", None)), getattr(self, "feature_names_in_", None)
        is_other = names is not None and known is not None and list(names) != list(known)
        is_other |= getattr(X, "shape", (0, self.n_features_in_))[1:] != self.is_categorical_.shape
        return FROM_DTYPE if is_other else self.is_categorical_

    def _rows(self, X, rows):
        """X[rows], of NumPy or of the backend's framework."""
        if isinstance(X, SparseRows):
            return X.part(rows)
        if isinstance(X, np.ndarray):
            return X[rows]
        kernels = get_kernels(self.backend)
        with kernels.scope(self.device):
            return kernels.take(X, rows)

    def _settings(
        self, n_features: int, n_given: int = 0, n_categorical: int = 0, *, in_order: bool = True
    ) -> Settings:
        """The parameters, resolved: None and "auto" become values, and contradictions raise.

        For n_features features, of which some are categories, and n_given base predictions.
        """
        is_wide = self._is_wide(n_features, n_categorical)
        n_base = 0 if is_wide else n_given or n_features
        is_flat = getattr(self.layer_sizes, "ndim", 1) == 1
        if not is_flat or not all(isinstance(size, Integral) and size > 0 for size in self.layer_sizes):
            raise ValueError(
                f"layer_sizes={brief(self.layer_sizes)} must hold positive integers, the neurons of each hidden layer; "
                "() is a network of one neuron per output."
            )
        sizes, likelihood = tuple(map(int, self.layer_sizes)), self._likelihood
        if self.aggregation == "neuron" or not (sizes or likelihood.has_linear_first):
            sizes = (*sizes, 1)
        normalized = self.learning_rate == "normalized"
        if normalized and self.batch_size > 1:
            raise ValueError(
                f"batch_size={self.batch_size} cannot be used with learning_rate='normalized': its steps are as large "
                "as one row allows, and the sum of several would overshoot. Use batch_size=1, or a plain learning "
                "rate such as 'constant'."
            )
        if not likelihood.learns_batches and self.batch_size > 1:
            raise ValueError(
                f"batch_size={self.batch_size} cannot be used with likelihood={likelihood.name!r}, whose neurons learn "
                "row by row. Use batch_size=1, or another likelihood."
            )
        if self.preconditioner in ("full", "block") and not normalized:
            raise ValueError(
                f"preconditioner={self.preconditioner!r} belongs to learning_rate='normalized'; got learning_rate="
                f"{self.learning_rate!r}. Use preconditioner='auto' or None with a plain learning rate."
            )
        squares = likelihood.takes_squares and self._squares(n_base) and n_base > 0
        n_bins = self._n_bins() if likelihood.takes_bins and n_base else 0
        preconditioner = self.preconditioner if normalized and likelihood.is_preconditioned else None
        if preconditioner == "auto":
            preconditioner = "full" if n_base * (1 + squares) <= MAX_FULL_PRECONDITIONER else "block"
        if likelihood.has_linear_first:
            sizes = (1, *sizes)
        half_life = self.half_life
        if half_life == "auto":  # shuffled rows know no change, and plain steps no memory
            half_life = "mixed" if in_order and normalized else None
        rate = default_rate(self.learning_rate, likelihood.default_rate)
        max_weight = likelihood.default_max_weight(self.batch_size)
        settings = Settings(
            likelihood=likelihood,
            layer_sizes=sizes,
            context_dim=int(self.context_dim),
            halfspaces=self.halfspaces,
            offset_scale=DEFAULT_OFFSET_SCALES[self.halfspaces] if self.offset_scale is None else self.offset_scale,
            share_halfspaces=self.share_halfspaces,
            bias=self.bias,
            skip=self.skip,
            learning_rate=self.learning_rate,
            learning_rate_init=rate if self.learning_rate_init is None else self.learning_rate_init,
            label_smoothing=self._label_smoothing(normalized, is_wide),
            preconditioner=preconditioner,
            initial_weights=self.initial_weights,
            aggregation=self.aggregation,
            eps=getattr(self, "eps", 0.0),
            max_weight=max_weight if self.max_weight is None else self.max_weight,
            batch_size=self.batch_size,
            dtype=np.dtype(self.dtype).name,
            half_life=half_life,
            squares=squares,
            n_bins=n_bins,
            max_levels=int(self.max_levels),
            counts_visits=self._is_of_bandit,
        )
        return replace(settings, n_predictions=n_models(settings)) if is_wide else settings

    def _new_online(self, X, random_state, *, in_order: bool) -> OnlineNetwork:
        """A network that has seen nothing, for samples like these."""
        with get_kernels(self.backend).scope(self.device):  # a missing device is found before anything is learned
            pass
        n_features = self.n_features_in_
        n_given = X.shape[1] - n_features
        categorical = np.flatnonzero(self.is_categorical_)
        settings = self._settings(n_features, n_given, len(categorical), in_order=in_order)
        output_numbers = self._output_numbers()
        if len(output_numbers) == 1:
            settings = replace(settings, share_halfspaces=True)
        n_values = len(X.stored) if isinstance(X, SparseRows) else np.inf
        sizes = n_given, n_features, len(categorical), len(output_numbers), len(X)
        needed = self._estimate_memory(*sizes, settings, n_values)
        self._check_memory(needed)
        seed, head = random_state.randint(np.iinfo(np.int32).max), self._new_head(settings)
        return OnlineNetwork.new(
            settings, self.base_predictor, n_features, output_numbers, seed, head, n_given, categorical
        )

    def _is_wide(self, n_features: int, n_categorical: int) -> bool:
        """Whether neurons see no more of rows than what linear models over all columns say."""
        return n_features > self.max_dense and self.base_predictor in SCALED and not n_categorical

    def _check_width(self, X) -> None:
        """Raise ValueError for sparse rows that are too wide to be made dense; warn of dense ones that are wide."""
        n_features, is_wide = X.shape[1], self._is_wide(X.shape[1], np.count_nonzero(self.is_categorical_))
        if is_wide and np.count_nonzero(stored_values(X)) > X.shape[0] * n_features / 2:
            warnings.warn(
                f"X has {n_features} features, and most of its values are not 0. Rows of more than max_dense="
                f"{self.max_dense} features are learned as sparse ones are; max_dense={n_features} is usually more "
                "accurate for dense ones, and takes longer.",
                stacklevel=2,
            )
        if isinstance(X, SparseRows) and n_features > self.max_dense and not is_wide:
            raise ValueError(
                f"X is sparse and has {n_features} features; with base_predictor={brief(self.base_predictor)} rows are "
                f"made dense, up to max_dense={self.max_dense} features. Use base_predictor='standard', or raise "
                "max_dense."
            )

    def _estimate_memory(
        self, n_given, n_features, n_categorical, n_outputs, n_samples, settings, n_values=np.inf
    ) -> int:
        """Of a network of n_given base predictions (0: the features are the base), after so many sparse values."""
        n_visits = np.inf if get_kernels(self.backend).ON_DEVICE else n_samples  # all contexts have weights at once
        if settings.n_predictions:
            sizes = InputSizes(settings.n_base(0), evidence=settings.n_predictions * _wide_rows.PER_MODEL)
            of_network = estimate_memory(sizes, _wide_rows.N_SKETCHED, n_outputs, n_visits, settings)
            return of_network + _wide_rows.estimate_memory(n_features, n_values, n_outputs, n_samples, settings)
        n_numbers = n_features - n_categorical
        n_side = n_numbers + n_categorical * _categories.MAX_INDICATORS
        n_evidence = n_categorical * _categories.PER_MEMORY * len(settings.half_lives_of_levels)
        sizes = InputSizes(settings.n_base(n_given or n_side), settings.max_basis(n_numbers), n_evidence)
        of_network = estimate_memory(sizes, n_side, n_outputs, n_visits, settings)
        return of_network + _categories.estimate_memory(n_categorical, n_outputs, n_samples, settings)

    def _check_memory(self, needed: int) -> None:
        installed = installed_memory()
        if installed is not None and needed > installed:
            raise MemoryError(
                f"A network of layer_sizes={brief(self.layer_sizes)} and context_dim={self.context_dim} may take "
                f"{needed / 2**30:,.1f} GiB for these rows, features and outputs; this machine has "
                f"{installed / 2**30:,.1f} GiB. Lower context_dim, each step of which may double the weights, or "
                "layer_sizes; estimate_memory computes this before fitting."
            )

    @contextmanager
    def _kernels(self, n_samples: int) -> Iterator[Kernels]:
        """The backend's kernels, on `n_jobs` threads."""
        kernels = get_kernels(self.backend)
        n_jobs = n_threads(self.n_jobs) if n_samples >= MIN_SAMPLES_FOR_THREADS else 1
        with one_blas_thread():
            if n_jobs == 1:
                yield in_tasks(kernels)
            else:
                with ThreadPoolExecutor(n_jobs) as executor:
                    yield in_tasks(kernels, executor)

    def _n_workers(self, online: OnlineNetwork, n_samples: int) -> int:
        """Processes that learn a part of the outputs each."""
        return 1 if n_samples < MIN_SAMPLES_FOR_THREADS else min(n_processes(self.n_jobs), online.n_outputs)

    def _learn(self, online: OnlineNetwork, X, y, sample_weight, order=None, epoch=1, *, held_out=False):
        """Have `online` learn samples; yield the indices of a chunk's samples and the outputs predicted before."""
        sample_weight = np.minimum(sample_weight, MAX_WEIGHT)
        order = np.arange(len(X)) if order is None else order
        if len(order) == 1 and epoch == 1 and not held_out:
            kernels, row = get_kernels(self.backend), order[0]
            has_gaps = y.dtype.kind == "f" and np.isnan(y[row]).any()
            if sample_weight[row] == 1 and not has_gaps and _single_row.serves_learning(online, kernels):
                with interrupts_held():
                    yield order, self._arranged(online.learn_row(X[order][0], y[order], kernels))
                return
        n_workers = self._n_workers(online, len(order))
        if n_workers == 1:
            with closing(self._learn_alone(online, X, y, sample_weight, order, epoch, held_out)) as learned:
                for chunk, outputs in learned:
                    yield chunk, self._arranged(outputs)
            return
        n_alone = np.count_nonzero(online.sample_numbers(sample_weight[order]) <= LAST_MERGE)
        if epoch > 1 or held_out:  # which cannot be parted
            n_alone = len(order) if n_alone else 0
        joined, learned, rest = online, [], order[n_alone:]
        if n_alone:  # cuts are chosen by the targets of all outputs
            joined = deepcopy(online)
            learned = list(self._learn_alone(joined, X, y, sample_weight, order[:n_alone], epoch, held_out))
        if len(rest):
            alone = type(self)(**self.get_params() | {"n_jobs": 1})
            joined, more = _shards.learn(alone, joined, X, y, sample_weight, rest, n_workers, epoch, held_out)
            learned += more
        with interrupts_held():
            vars(online).update(vars(joined))
            for chunk, outputs in learned:
                yield chunk, self._arranged(outputs)

    def _learn_alone(self, online: OnlineNetwork, X, y, sample_weight, order, epoch, held_out):
        """`_learn`, in this process."""
        with self._kernels(len(order)) as kernels, interrupts_held() as release_interrupts:
            learned = online.learn(X, y, sample_weight, kernels, order, epoch, held_out=held_out)
            while True:
                with kernels.scope(self.device):  # left while others' code runs
                    chunk = next(learned, None)
                if chunk is None:
                    break
                yield chunk
                release_interrupts()

    def _run_epochs(self, online, data, rows, validation, random_state, context, hook_data):
        """Have `online` learn `rows` of `data` in up to `max_iter` epochs; return the network to keep and its counts.

        `data` and `validation` (or None) are X, y, sample weights, and the weights that count in losses. Epochs are
        added to `n_iter_` and to the loss curves.
        """
        X, y, sample_weight, counted = data
        kept, counts, best, waited = (online, 0), 0, np.inf, 0
        before = max(self.n_iter_, 1) if online.n_samples_seen else 0  # epochs
        for epoch in range(before + 1, before + self.max_iter + 1):
            order = random_state.permutation(rows) if self.shuffle else rows
            n_chunks = len(online.chunks(order, X, sample_weight, first_pass=epoch == 1))
            task = context.subcontext(task_name="epoch", max_subtasks=n_chunks)
            task.call_on_fit_task_begin(estimator=self, **hook_data)
            sums, scored = 0.0, counted
            if epoch == 1:
                scored = self._counted(online, order, y, sample_weight, counted)
            with closing(self._learn(online, X, y, sample_weight, order, epoch)) as learned:
                for _ in range(n_chunks):
                    step = task.subcontext(task_name="rows").call_on_fit_task_begin(estimator=self)
                    chunk, predictions = next(learned)
                    sums = sums + self._scores(predictions, y[chunk], scored[chunk])
                    counts = counts + self._count(y[chunk])
                    if step.call_on_fit_task_end(estimator=self):
                        break
            if epoch == 1:
                self._set_progress(sums)
            self.n_iter_ += 1
            loss = self._mean_loss(sums)
            self.loss_curve_ = [*self.loss_curve_, loss]
            report = f"Epoch {epoch} of {before + self.max_iter}: loss {loss:.4f}"
            if validation is not None:
                X_val, y_val, *_, counted_val = validation
                sums = self._scores(self._predictions(X_val, online), y_val, counted_val)
                validation_loss = self._mean_loss(sums)
                self.validation_loss_curve_ = [*self.validation_loss_curve_, validation_loss]
                report += f", validation loss {validation_loss:.4f}"
                loss = validation_loss if self.early_stopping else loss
            if self.verbose:
                print(report)  # noqa: T201
            stop = task.call_on_fit_task_end(
                estimator=self, reconstruction_attributes=lambda: {"_online": deepcopy(online)}, **hook_data
            )
            improved = loss < best - self.tol
            best, waited = (loss, 0) if improved else (best, waited + 1)
            if not self.early_stopping:
                kept = online, counts
            elif improved:
                kept = deepcopy(online), counts
            if stop or waited >= self.n_iter_no_change:
                break
        return kept

    # Prediction: what the network gives, as `read` makes it the user's, so that all of it is surrounded by `entered`.

    @entered()
    def _answer(self, X, check_input, read):
        if not self.__sklearn_is_fitted__():
            check_is_fitted(self)
        return read(self._predictions(self._check_X(X, check_input)))

    @entered()
    def _answers_by_layer(self, X, check_input, read):
        """The answers of each layer alone, from its neurons' mean logits, or means, (n, n_outputs)."""
        check_is_fitted(self)
        X = self._check_X(X, check_input)
        with self._kernels(len(X)) as kernels, kernels.scope(self.device):
            means = self._online.layer_means(X, kernels)
        return [read(self._arranged(of_layer)) for of_layer in np.moveaxis(means, 2, 0)]

    def _predictions(self, X, online=None):
        """Output logits (n, n_outputs), or means and variances (n, n_outputs, 2)."""
        online, kernels = self._online if online is None else online, get_kernels(self.backend)
        if len(X) == 1 and _single_row.serves(online, kernels):
            return self._arranged(_single_row.infer(online, X[:1][0], kernels))
        with self._kernels(len(X)) as kernels, kernels.scope(self.device):
            return self._arranged(online.infer(X, kernels))
