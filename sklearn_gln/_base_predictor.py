"""Features -> base logits and side information, with the running statistics that this takes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

SCALINGS = ("standard", "global", "minmax", "identity")
CLIP = 4.0  # scaled features stay within +-CLIP deviations
CACHED_ROWS = 128  # rows of one pass through several operations
NEGLIGIBLE = 1e-9  # a deviation below this fraction of the mean's magnitude is rounding, not information

Array = NDArray[Any]
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

    def update(self, X: Array, sample_weight: Array | None) -> None:
        """Take in rows X (n, n_features) of weight sample_weight (n,)."""
        weights = np.ones(len(X)) if sample_weight is None else sample_weight.astype(float)
        missing = np.isnan(X)
        if missing.any():
            seen = np.where(missing, 0.0, weights[:, np.newaxis])  # (n, n_features)
            X = np.where(missing, self.mean, X)  # any finite value: its weight is 0
            weight = seen.sum(axis=0)
            scale = 1 / np.where(weight > 0, weight, 1)
            mean = np.einsum("nd,nd->d", seen, X, dtype=float) * scale
            squares = np.einsum("nd,nd->d", seen, np.square(X - mean))
        else:
            weight = np.full(X.shape[1], weights.sum())
            mean = weights @ X / max(weight[0], np.finfo(float).tiny) if weight.size else self.mean
            squares = weights @ np.square(X - mean)
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
    """What the network sees of a row, as `make_rows` gives it: base logits x and side information z."""

    kind: BaseKind
    eps: float
    bias: bool
    moments: RunningMoments
    mean: Array = field(default_factory=lambda: np.zeros(0))  # (n_features,), those of the last refresh
    inverse_deviation: Array = field(default_factory=lambda: np.zeros(0))  # (n_features,), 0 for constant features

    @property
    def has_statistics(self) -> bool:
        return self.kind not in ("minmax", "identity")

    def update(self, rows: Array, sample_weight: Array | None) -> None:
        """Take rows into the statistics; `refresh` brings them to bear."""
        if self.has_statistics:
            self.moments.update(rows[:, : len(self.moments.mean)], sample_weight)

    def refresh(self) -> None:
        variance = self.moments.variance
        if self.kind == "global":
            variance = np.full_like(variance, variance.mean())
        deviation = np.sqrt(variance)
        self.mean = self.moments.mean
        informative = deviation > NEGLIGIBLE * np.abs(self.mean)
        self.inverse_deviation = np.divide(1, deviation, out=np.zeros_like(deviation), where=informative)

    def transform(self, rows: Array) -> tuple[Array, Array]:
        """Rows -> base logits (n, n_base), the constant 1 last if `bias`; side information (n, n_side)."""
        max_logit = np.log((1 - self.eps) / self.eps)
        n_features = len(self.moments.mean)
        X, given = rows[:, :n_features], rows[:, n_features:]
        if self.has_statistics:
            side_info = _fill_missing(np.clip((X - self.mean) * self.inverse_deviation, -CLIP, CLIP))
        else:
            missing = np.isnan(X)
            side_info = np.where(missing, 0, X) if missing.any() else X
        if callable(self.kind):
            logits = _logit(given, max_logit)
        elif self.kind == "minmax":
            logits = _minmax_logit(X, max_logit)
        elif self.kind == "identity":
            logits = _logit(X, max_logit)
        else:
            logits = side_info
        if self.bias:
            logits = np.concatenate([logits, np.ones((len(X), 1), logits.dtype)], axis=1)
        return logits, side_info


def _fill_missing(logits: Array) -> Array:
    """Write 0, no evidence, where a value is missing."""
    logits[np.isnan(logits)] = 0
    return logits


def _logit(probabilities: Array, max_logit: float) -> Array:
    return _fill_missing(np.clip(logit(probabilities), -max_logit, max_logit))


def _minmax_logit(X: Array, max_logit: float) -> Array:
    """Logits of each row scaled to its own [0, 1]; those of a constant row are 0."""
    logits = np.empty_like(X)
    for start in range(0, len(X), CACHED_ROWS):
        rows = X[start : start + CACHED_ROWS]
        odds = rows - np.fmin.reduce(rows, axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            odds /= np.fmax.reduce(rows, axis=1, keepdims=True) - rows
            np.log(odds, out=odds)
        np.clip(odds, -max_logit, max_logit, out=logits[start : start + CACHED_ROWS])
        _fill_missing(logits[start : start + CACHED_ROWS])
    return logits


def make_rows(kind: BaseKind, X: Array) -> Array:
    """Rows that the network can take: X (n, n_features), and beside it the probabilities that a callable gives.

    Base probabilities that are none raise ValueError here, before anything is learned from them.
    """
    if not callable(kind):
        return _check_probabilities(X, "The features (base_predictor='identity')") if kind == "identity" else X
    probabilities = np.asarray(kind(X))
    if probabilities.ndim != 2 or len(probabilities) != len(X):
        raise ValueError(
            f"The base_predictor returned an array of shape {probabilities.shape} for {len(X)} rows; it must return "
            f"one row of base probabilities for each row, shape ({len(X)}, n_base)."
        )
    return np.hstack([X, _check_probabilities(probabilities, "The base_predictor's probabilities")])


def _check_probabilities(probabilities: Array, name: str) -> Array:
    if np.any((probabilities < 0) | (probabilities > 1)):  # NaN passes: a missing value
        raise ValueError(
            f"{name} must lie in [0, 1]; got values from {np.nanmin(probabilities):.6g} to "
            f"{np.nanmax(probabilities):.6g}. Scale them first, or choose another base_predictor."
        )
    return probabilities
