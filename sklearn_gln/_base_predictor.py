"""Features -> base logits (in regression: base means) and side information, with the statistics that this takes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from sklearn_gln._arrays import Array
from sklearn_gln._samples import Samples
from sklearn_gln._schedule import MAX_CHUNK
from sklearn_gln._sparse_rows import SparseRows
from sklearn_gln._window import Window
from sklearn_gln.kernels import Kernels, get_kernels

SCALED = ("standard", "global")  # by the features' statistics
SCALINGS = (*SCALED, "minmax", "identity")
MEAN_SCALINGS = ("standard", "global", "identity")  # in regression
CLIP = 4.0  # scaled features stay within +-CLIP deviations where they gate, or are read as logits
WIDE_CLIP = 10.0  # where they are means: a target follows a feature into its tails
NEGLIGIBLE = 1e-12  # of the mean's magnitude: a deviation below is rounding, which is up to 2e-13 in a block's mean
SAMPLED = 8  # every eighth sample is in the window, which so covers the last 2,048
ENOUGH = 8  # values in the window that differ from the median, to say that a feature's unit has changed
IN_NEW_UNIT = 64  # last values of the window, which are nearly all in it by then
JUMP = 8.0  # factor by which its deviation, or number of deviations by which its mean, has changed then
MAX_MEAN = 1e15  # of base means that are taken as they are: sums of their squares are numbers in float32 too
MIN_BINNED = 32  # samples: of fewer, quantiles say little
PIECE_LIMIT = 0.5  # of pieces: 0.25 and 1 did as well

BaseKind = str | Callable[[Array], Array]


class Inputs(NamedTuple):
    """The network's view of samples."""

    base: Array  # (n, n_given): scaled features, or base predictions as logits or means
    basis: tuple[Array, ...]  # (n, size) each: functions of the features, for the first layer alone
    side_info: Array  # (n, n_side)
    evidence: Array | None = None  # (n, n_outputs, n_evidence): what is known of the samples' levels


@dataclass
class RunningMoments:
    """Weighted mean and variance of each feature, missing values left out (Chan et al. 1983, pairwise update)."""

    weight: Array  # (n_features,)
    mean: Array  # (n_features,)
    squares: Array  # (n_features,): weighted sum of squared deviations from the mean

    @classmethod
    def empty(cls, n_features: int) -> "RunningMoments":
        return cls(*np.zeros((3, n_features)))

    @property
    def variance(self) -> Array:
        return self.squares / np.maximum(self.weight, np.finfo(float).tiny)

    def update(
        self, X: Array, sample_weight: Array, kernels: Kernels, bounds: tuple[Any, Any] = (-np.inf, np.inf)
    ) -> None:
        """Take in what lies within the bounds of rows X (n, n_features) of weight sample_weight (n,).

        All are arrays of the kernels.
        """
        weight, mean, squares = map(kernels.to_numpy, kernels.column_moments(X, sample_weight, *bounds))
        total = self.weight + weight
        share = weight / np.where(total > 0, total, 1)
        shift = mean - self.mean
        self.mean = self.mean + shift * share
        self.squares = self.squares + squares + np.square(shift) * self.weight * share
        self.weight = total

    def replaced(self, where: Array, others: "RunningMoments") -> "RunningMoments":
        """These moments, with others where (n_features,) a condition holds."""
        return RunningMoments(
            np.where(where, others.weight, self.weight),
            np.where(where, others.mean, self.mean),
            np.where(where, others.squares, self.squares),
        )

    def forget(self, factor: float) -> None:
        self.weight = self.weight * factor
        self.squares = self.squares * factor


@dataclass
class Bins:
    """Pieces of features between quantiles of the first samples: -0.5 at one end and below it, 0.5 at the other."""

    columns: Array  # (n_pieces,): of which feature
    middle: Array  # (n_pieces,), in the feature's unit
    inverse_width: Array  # (n_pieces,); 0: none
    n_squared: int  # of how many features, the first ones, there are squares too

    @classmethod
    def of(cls, values: Array, n_bins: int) -> "Bins":
        """At most n_bins of each column of values (n, n_squared); none of one that is constant or of two values."""
        pieces = [np.zeros((3, 0))]
        for column, of_column in enumerate(values.T if len(values) >= MIN_BINNED else ()):
            edges = np.unique(_quantiles(of_column, n_bins))
            if len(edges) > 2:
                pieces.append(np.stack([np.full(len(edges) - 1, column), *_pieces(edges)]))
        columns, middle, inverse_width = np.concatenate(pieces, axis=1)
        return cls(columns.astype(int), middle, inverse_width, values.shape[1])

    def moved(self, where: Array, values: Array) -> "Bins":
        """As many, by these values where (n_features,) a condition holds."""
        middle, inverse_width = self.middle.copy(), self.inverse_width.copy()
        for column in np.flatnonzero(where):
            places = np.flatnonzero(self.columns == column)
            if len(places):
                middle[places], inverse_width[places] = _pieces(_quantiles(values[:, column], len(places)))
        return replace(self, middle=middle, inverse_width=inverse_width)


def _quantiles(values: Array, n_bins: int) -> Array:
    """The ends of bins of as many values each, NaN left out."""
    values = values[~np.isnan(values)]
    return np.quantile(values, np.linspace(0, 1, n_bins + 1)) if len(values) else np.zeros(n_bins + 1)


def _pieces(edges: Array) -> tuple[Array, Array]:
    """Middles, and inverse widths, of the bins between edges."""
    widths = np.diff(edges)
    is_wide = widths > NEGLIGIBLE * np.abs(edges).max() + np.finfo(float).tiny
    return edges[:-1] + widths / 2, np.divide(1, widths, out=np.zeros_like(widths), where=is_wide)


@dataclass
class BasePredictor:
    """Makes base logits or means x, a basis and side information z of samples."""

    kind: BaseKind
    max_logit: float | None  # None: x are means, not the logits of probabilities
    moments: RunningMoments
    mean: Array = field(default_factory=lambda: np.zeros(0))  # (n_features,), those of the last refresh
    inverse_deviation: Array = field(default_factory=lambda: np.zeros(0))  # (n_features,), 0 for constant features
    window: Window = field(default_factory=lambda: Window.empty(0))  # of features, every eighth sample
    bounds: Array = field(default_factory=lambda: np.array([[-np.inf], [np.inf]]))  # (2, n_features | 1) of what counts
    bins: Bins | None = None  # None: there is no basis

    @property
    def n_basis(self) -> int:
        """The size of the basis."""
        return 0 if self.bins is None else self.bins.n_squared + len(self.bins.columns)

    @property
    def has_statistics(self) -> bool:
        return self.kind not in ("minmax", "identity")

    def restart(
        self, rows: Array, sample_weight: Array, n_features: int, n_bins: int = 0, n_indicators: int = 0
    ) -> None:
        """Scale by these samples alone, of NumPy and few enough for the window.

        There is no basis of indicators, which are the last of n_features features.
        """
        self.moments = RunningMoments.empty(n_features)
        self.mean, self.inverse_deviation = np.zeros((2, n_features))
        self.bounds = np.repeat([[-np.inf], [np.inf]], n_features, axis=1)
        if self.has_statistics:
            self.window = Window(rows[:, :n_features].astype(float), sample_weight)
        self.follow()
        self.refresh()
        if n_bins:
            numbers = np.clip(self.window.values, *self.bounds)[:, : n_features - n_indicators]
            self.bins = Bins.of(numbers, n_bins)

    def update(self, rows: Array, sample_weight: Array, kernels: Kernels) -> None:
        """Take samples into the statistics; `refresh` brings them to bear."""
        if self.has_statistics:
            lower, upper = map(kernels.asarray, self.bounds)
            self.moments.update(rows[:, : len(self.moments.mean)], sample_weight, kernels, (lower, upper))

    def observe(self, samples: Samples, kernels: Kernels) -> None:
        """Have some of the samples in the window, from which `follow` knows what is usual."""
        sampled = np.flatnonzero((samples.number % SAMPLED == 0) & (samples.weight > 0))
        if self.has_statistics and len(sampled):
            places = np.zeros(-(-samples.X.shape[0] // SAMPLED), int)  # as many for each number of rows, if compiled
            places[: len(sampled)] = sampled
            rows = kernels.to_numpy(kernels.take(samples.X, places))
            self.window.add(rows[: len(sampled), : len(self.moments.mean)], samples.weight[sampled])

    def follow(self) -> bool:
        """Have the bounds follow the last samples; where a feature's unit has changed, start again from them.

        Returns whether one has.
        """
        if not self.has_statistics:
            return False
        usual = self.window.usual()
        bounds = usual.median + np.stack([-usual.reach, usual.reach])
        self.bounds = np.where(usual.n_others > 0, bounds, self.bounds)
        recent = RunningMoments.empty(len(self.mean))
        recent.update(self.window.values, self.window.weight, get_kernels("numpy"), tuple(self.bounds))
        jumped = _differ(recent, self.moments.mean, np.sqrt(self.moments.variance))
        if self.kind != "global":  # nor may the scaling be another one, where it is kept
            varied = self.inverse_deviation > 0
            deviation = np.divide(1, self.inverse_deviation, out=np.zeros(len(self.mean)), where=varied)
            jumped |= varied & _differ(recent, self.mean, deviation)
        is_new = np.where(self.moments.weight > 0, jumped & (usual.n_others >= ENOUGH), True)
        self.moments = self.moments.replaced(is_new, recent)
        scaled = self.inverse_deviation > 0
        self.inverse_deviation = np.where(is_new, 0, self.inverse_deviation)
        if self.bins is not None:
            self.bins = self.bins.moved(is_new & scaled, np.clip(self.window.values[-IN_NEW_UNIT:], *self.bounds))
        return bool(np.any(is_new & scaled))

    def refresh(self, new_only: bool = False) -> None:
        """Scale by the statistics so far; with `new_only` only features that were constant until now."""
        variance = self.moments.variance
        if self.kind == "global":
            variance = np.full_like(variance, variance.mean())
        deviation = np.sqrt(variance)
        mean = self.moments.mean
        informative = deviation > NEGLIGIBLE * np.abs(mean)
        inverse_deviation = np.divide(1, deviation, out=np.zeros_like(deviation), where=informative)
        if new_only:
            scaled = self.inverse_deviation > 0
            mean = np.where(scaled, self.mean, mean)
            inverse_deviation = np.where(scaled, self.inverse_deviation, inverse_deviation)
        self.mean, self.inverse_deviation = mean, inverse_deviation

    def transform(self, rows: Array, kernels: Kernels) -> Inputs:
        """What the network sees of rows, without the constant."""
        n_features = len(self.moments.mean)
        X = rows[:, :n_features]
        if self.has_statistics:
            scaling = kernels.asarray(self.mean), kernels.asarray(self.inverse_deviation)
            side_info = kernels.standardize(X, *scaling, limit=CLIP)
        else:
            side_info = kernels.fill_missing(X)
        if callable(self.kind) or self.kind == "identity":
            given = rows[:, n_features:] if callable(self.kind) else X
            if self.max_logit is None:
                return Inputs(kernels.fill_missing(given), (), side_info)
            return Inputs(kernels.logit(given, max_logit=self.max_logit), (), side_info)
        if self.kind == "minmax":
            return Inputs(kernels.minmax_logit(X, max_logit=self.max_logit), (), side_info)
        if self.max_logit is None:
            return Inputs(kernels.standardize(X, *scaling, limit=WIDE_CLIP), (), side_info)
        return Inputs(side_info, self._basis(X, side_info, kernels), side_info)

    def _basis(self, X: Array, scaled: Array, kernels: Kernels) -> tuple[Array, ...]:
        if self.bins is None or not self.n_basis:
            return ()
        numbers = scaled[:, : self.bins.n_squared]
        squares = numbers * numbers
        if not len(self.bins.columns):
            return (squares,)
        scaling = kernels.asarray(self.bins.middle), kernels.asarray(self.bins.inverse_width)
        pieces = kernels.standardize(kernels.take(X, self.bins.columns, axis=1), *scaling, limit=PIECE_LIMIT)
        return squares, pieces

    def slopes(self, rows: Array, x: Array) -> Array:
        """How much each x that `transform` made of the same feature changes with it: (n, n_features), all of NumPy."""
        if self.kind in ("minmax", "identity") and self.max_logit is not None:
            bound = self.max_logit
            slopes = 1 / (expit(x) * expit(-x))
            if self.kind == "minmax":  # the least and the largest of a row, which are at the bound, held
                with np.errstate(divide="ignore"):
                    slopes /= (np.fmax.reduce(rows, axis=1) - np.fmin.reduce(rows, axis=1))[:, np.newaxis]
        elif self.has_statistics:
            bound = CLIP if self.max_logit is not None else WIDE_CLIP
            slopes = np.broadcast_to(self.inverse_deviation, x.shape)
        else:
            bound, slopes = np.inf, np.ones(x.shape)
        return np.where((np.abs(x) < bound) & ~np.isnan(rows), slopes, 0)

    def basis_slopes(self, rows: Array, x: Array, slopes: Array) -> list[Array]:
        """As `slopes`, which are those of x, of each part of the basis."""
        if self.bins is None:
            return []
        pieces = (rows[:, self.bins.columns] - self.bins.middle) * self.bins.inverse_width
        of_squares = (2 * x * slopes)[:, : self.bins.n_squared]
        return [of_squares, np.where(np.abs(pieces) < PIECE_LIMIT, self.bins.inverse_width, 0)]

    def features(self, squares: bool) -> Array:
        """The feature that each base input is of, with their squares or without, and then each of the basis."""
        every = np.arange(len(self.moments.mean))
        parts = [every, every] if squares else [every]
        if self.bins is not None:
            parts += [every[: self.bins.n_squared], self.bins.columns]
        return np.concatenate(parts)


def _differ(moments: RunningMoments, mean: Array, deviation: Array) -> Array:
    """Whether (n_features,) moments are so far from a mean and deviation that the unit must have changed."""
    smaller, larger = np.sort([np.sqrt(moments.variance), deviation], axis=0)
    differ: Array = (larger > JUMP * smaller) | (np.abs(moments.mean - mean) > JUMP * larger)
    return differ


def add_base_predictions(
    kind: BaseKind, X: Any, are_probabilities: bool = True, numbers: slice | Array = slice(None)
) -> Any:
    """X (n, n_features), followed by the columns that a callable gives; not all features may be numbers.

    Base predictions that are not probabilities, and base means that are too large, raise ValueError here, before
    anything is learned from them.
    """
    check = _check_probabilities if are_probabilities else _check_means
    if isinstance(X, SparseRows) and (callable(kind) or kind == "identity"):
        starts = range(0, max(len(X), 1), MAX_CHUNK)
        blocks = (add_base_predictions(kind, X[start : start + MAX_CHUNK], are_probabilities) for start in starts)
        columns = np.concatenate([block[:, X.shape[1] :] for block in blocks])
        return X.with_columns(columns) if callable(kind) else X
    if not callable(kind):
        if kind == "identity":
            check(X[:, numbers], "The features (base_predictor='identity')")
        return X
    base = np.asarray(kind(X))
    if base.ndim != 2 or len(base) != len(X):
        noun = "probabilities" if are_probabilities else "means"
        raise ValueError(
            f"The base_predictor returned an array of shape {base.shape} for {len(X)} rows; it must return one row of "
            f"base {noun} for each row, shape ({len(X)}, n_base)."
        )
    return np.hstack(
        [X, check(base, "The base_predictor's probabilities" if are_probabilities else "The base_predictor's means")]
    )


def _check_probabilities(base: Array, name: str) -> Array:
    if np.any((base < 0) | (base > 1)):  # NaN passes: a missing value
        raise ValueError(
            f"{name} must lie in [0, 1]; got values from {np.nanmin(base):.6g} to {np.nanmax(base):.6g}. Scale them "
            "first, or choose another base_predictor."
        )
    return base


def _check_means(base: Array, name: str) -> Array:
    if np.any(np.abs(base) > MAX_MEAN):  # NaN passes
        raise ValueError(
            f"{name} must lie within +-{MAX_MEAN:g}; got values from {np.nanmin(base):.6g} to {np.nanmax(base):.6g}. "
            "Scale or clip them, or choose another base_predictor."
        )
    return base
