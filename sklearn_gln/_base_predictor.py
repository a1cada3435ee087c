"""Features -> base logits (in regression: base means) and side information, with the statistics that this takes."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit

from sklearn_gln._arrays import Array
from sklearn_gln.kernels import Kernels

SCALINGS = ("standard", "global", "minmax", "identity")
MEAN_SCALINGS = ("standard", "global", "identity")  # in regression
CLIP = 4.0  # scaled features stay within +-CLIP deviations where they gate, or are read as logits
WIDE_CLIP = 10.0  # where they are means: a target follows a feature into its tails
NEGLIGIBLE = 1e-12  # of the mean's magnitude: a deviation below is rounding, which is up to 2e-13 in a block's mean
MAX_MEAN = 1e15  # of base means that are taken as they are: sums of their squares are numbers in float32 too

BaseKind = str | Callable[[Array], Array]


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

    def update(self, X: Array, sample_weight: Array, kernels: Kernels) -> None:
        """Take in rows X (n, n_features) of weight sample_weight (n,), arrays of the kernels."""
        weight, mean, squares = map(kernels.to_numpy, kernels.column_moments(X, sample_weight))
        total = self.weight + weight
        share = weight / np.where(total > 0, total, 1)
        shift = mean - self.mean
        self.mean = self.mean + shift * share
        self.squares = self.squares + squares + np.square(shift) * self.weight * share
        self.weight = total

    def forget(self, factor: float) -> None:
        self.weight = self.weight * factor
        self.squares = self.squares * factor


@dataclass
class BasePredictor:
    """The network's view of a sample: base logits or means x, side information z."""

    kind: BaseKind
    max_logit: float | None  # None: x are means, not the logits of probabilities
    moments: RunningMoments
    mean: Array = field(default_factory=lambda: np.zeros(0))  # (n_features,), those of the last refresh
    inverse_deviation: Array = field(default_factory=lambda: np.zeros(0))  # (n_features,), 0 for constant features

    @property
    def has_statistics(self) -> bool:
        return self.kind not in ("minmax", "identity")

    def update(self, rows: Array, sample_weight: Array, kernels: Kernels) -> None:
        """Take samples into the statistics; `refresh` brings them to bear."""
        if self.has_statistics:
            self.moments.update(rows[:, : len(self.moments.mean)], sample_weight, kernels)

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

    def transform(self, rows: Array, kernels: Kernels) -> tuple[Array, Array]:
        """Rows -> x (n, n_base), without the constant; z (n, n_side)."""
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
                return kernels.fill_missing(given), side_info
            return kernels.logit(given, max_logit=self.max_logit), side_info
        if self.kind == "minmax":
            return kernels.minmax_logit(X, max_logit=self.max_logit), side_info
        if self.max_logit is None:
            return kernels.standardize(X, *scaling, limit=WIDE_CLIP), side_info
        return side_info, side_info

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


def add_base_predictions(kind: BaseKind, X: Array, are_probabilities: bool = True) -> Array:
    """X (n, n_features), followed by the columns that a callable gives.

    Base predictions that are not probabilities, and base means that are too large, raise ValueError here, before
    anything is learned from them.
    """
    check = _check_probabilities if are_probabilities else _check_means
    if not callable(kind):
        return check(X, "The features (base_predictor='identity')") if kind == "identity" else X
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
