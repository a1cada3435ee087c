"""What all GLN estimators share: parameters, checked input, and the one way in which rows are learned."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from numbers import Integral, Real

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data
from threadpoolctl import ThreadpoolController

from sklearn_gln._base_predictor import SCALINGS, make_rows
from sklearn_gln._compat import Interval, Options, StrOptions, check_sample_weight
from sklearn_gln._learning_rate import DEFAULT_RATES, MAX_FULL_PRECONDITIONER, SMOOTHING
from sklearn_gln._network import Settings
from sklearn_gln._online import OnlineNetwork
from sklearn_gln.kernels import BACKENDS, Kernels, get_kernels, in_tasks

MIN_ROWS_FOR_THREADS = 64  # below, starting threads costs more than they save
DEFAULT_OFFSET_SCALES = {"pairs": 1.5, "gaussian": 0.0, "raw_gaussian": 0.0}


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all loaded libraries, which takes milliseconds


class BaseGLN(BaseEstimator):
    """Parameters, validation and learning of a Gated Linear Network; subclasses encode targets and read logits."""

    _parameter_constraints: dict = {
        "layer_sizes": ["array-like"],
        "context_dim": [Interval(Integral, 0, 24, closed="both")],
        "halfspaces": [StrOptions(set(DEFAULT_OFFSET_SCALES))],
        "offset_scale": [Interval(Real, 0, None, closed="left"), None],
        "share_halfspaces": ["boolean"],
        "base_predictor": [StrOptions(set(SCALINGS)), callable],
        "bias": ["boolean"],
        "skip": ["boolean"],
        "learning_rate": [StrOptions(set(DEFAULT_RATES)), callable],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither"), None],
        "label_smoothing": [Interval(Real, 0, 0.5, closed="left"), None],
        "preconditioner": [StrOptions({"auto", "full"}), None],
        "initial_weights": [StrOptions({"mean", "uniform", "zero"})],
        "aggregation": [StrOptions({"layers", "last_layer", "neuron"})],
        "eps": [Interval(Real, 0, 0.5, closed="neither")],
        "max_weight": [Interval(Real, 0, None, closed="neither"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "dtype": [StrOptions({"float32", "float64"}), Options(type, {np.float32, np.float64})],
        "backend": [StrOptions({"auto", *BACKENDS})],
        "n_jobs": [Interval(Integral, None, -1, closed="right"), Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
    }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_online")

    @property
    def n_samples_seen_(self):
        return self._online.n_rows_seen

    @contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Attributes set inside are taken back if anything raises."""
        before = vars(self).copy()
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _check_X(self, X, *, reset=False):
        """The rows that `_online` takes."""
        X = validate_data(self, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan")
        return self._rows(X, reset)

    def _check_X_y(self, X, y, sample_weight, *, reset):
        """The rows that `_online` takes, y as given (n,), sample_weight (n,) float64."""
        X, y = validate_data(self, X, y, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan")
        return self._rows(X, reset), y, check_sample_weight(sample_weight, X)

    def _rows(self, X, reset):
        if reset:
            return make_rows(self.base_predictor, X)
        rows = make_rows(self._online.predictor.kind, X)
        if rows.shape[1] != self._online.n_columns:
            raise ValueError(
                f"The base_predictor returned {rows.shape[1] - X.shape[1]} base probabilities for each row, and "
                f"{self._online.n_columns - X.shape[1]} in the first call; their number must stay."
            )
        return rows

    def _settings(self, n_base: int) -> Settings:
        """The parameters, resolved: what is None or "auto" gets its value, and contradictions raise."""
        sizes = tuple(self.layer_sizes)
        if not all(isinstance(size, Integral) and size > 0 for size in sizes):
            raise ValueError(
                f"layer_sizes={self.layer_sizes!r} must hold positive integers, the neurons of each hidden layer; "
                "() is a network of one neuron per output."
            )
        if self.aggregation == "neuron" or not sizes:
            sizes = (*sizes, 1)
        normalized = self.learning_rate == "normalized"
        if normalized and self.batch_size > 1:
            raise ValueError(
                f"batch_size={self.batch_size} cannot be used with learning_rate='normalized': its steps are as large "
                "as one row allows, and the sum of several would overshoot. Use batch_size=1, or a plain learning "
                "rate such as 'constant'."
            )
        if self.preconditioner == "full" and not normalized:
            raise ValueError(
                f"preconditioner='full' belongs to learning_rate='normalized'; got learning_rate="
                f"{self.learning_rate!r}. Use preconditioner='auto' or None with a plain learning rate."
            )
        narrow = n_base <= MAX_FULL_PRECONDITIONER
        rate = DEFAULT_RATES.get(self.learning_rate if isinstance(self.learning_rate, str) else "", 1.0)
        return Settings(
            layer_sizes=sizes,
            context_dim=self.context_dim,
            halfspaces=self.halfspaces,
            offset_scale=DEFAULT_OFFSET_SCALES[self.halfspaces] if self.offset_scale is None else self.offset_scale,
            share_halfspaces=self.share_halfspaces,
            bias=self.bias,
            skip=self.skip,
            learning_rate=self.learning_rate,
            learning_rate_init=rate if self.learning_rate_init is None else self.learning_rate_init,
            label_smoothing=SMOOTHING * normalized if self.label_smoothing is None else self.label_smoothing,
            preconditioned=normalized and (self.preconditioner == "full" or (self.preconditioner == "auto" and narrow)),
            initial_weights=self.initial_weights,
            aggregation=self.aggregation,
            eps=self.eps,
            max_weight=np.inf if self.max_weight is None else self.max_weight,
            batch_size=self.batch_size,
            dtype=np.dtype(self.dtype).name,
        )

    def _new_online(self, rows, outputs, random_state) -> OnlineNetwork:
        """A network that has seen nothing, for rows like these and the outputs of these numbers."""
        get_kernels(self.backend)  # a missing package is found before anything is learned
        n_features = self.n_features_in_
        n_given = rows.shape[1] - n_features
        settings = self._settings(n_given or n_features)
        seed = random_state.randint(np.iinfo(np.int32).max)
        return OnlineNetwork.new(settings, self.base_predictor, n_features, outputs, seed, n_given)

    @contextmanager
    def _kernels(self, n_rows: int) -> Iterator[Kernels]:
        """The backend's kernels, on `n_jobs` threads."""
        kernels, n_jobs = get_kernels(self.backend), effective_n_jobs(self.n_jobs)
        if n_rows < MIN_ROWS_FOR_THREADS:
            yield in_tasks(kernels)
            return
        # BLAS threads wait actively for their next product and would take the cores from ours.
        with _thread_pools().limit(limits=1, user_api="blas"):
            if n_jobs == 1:
                yield in_tasks(kernels)
            else:
                with ThreadPoolExecutor(n_jobs) as executor:
                    yield in_tasks(kernels, executor)

    def _learn(self, online: OnlineNetwork, X, y, sample_weight, order=None):
        """Have `online` learn rows; yields the indices of a block's rows and the logits predicted before."""
        with self._kernels(len(X)) as kernels:
            yield from online.learn(X, y, sample_weight, kernels, order)

    def _logits(self, X):
        """Output logits (n, n_outputs)."""
        with self._kernels(len(X)) as kernels:
            return self._online.infer(X, kernels)

    def _epochs(self, rows, random_state) -> Iterator[np.ndarray]:
        """The order in which `fit` visits rows, for each pass."""
        for _ in range(self.max_iter):
            yield random_state.permutation(rows) if self.shuffle else rows
