"""From the layers' means to the mean and the variance of the target: a stack, fitted to predictions that were honest.

The network learns targets in units of their own: centred, and divided by their deviation, of the rows at the clock's
last rebuild. In these units, for each output by itself,

    mean         = sum_l w_l m_l,                    w >= 0, sum of w 1;  m_l: the mean of layer l
    ln variance  = a + b ln(raw variance),           raw variance: as the last layer knows it, see `Spread`

with b >= 0. At each event of the clock w minimises the squared error, and a and b the Gaussian log-loss, of what was
predicted for rows before they were learned; what earlier rows said counts half as much at each event, because the
network that predicted them knew less. Before the target has varied it has no unit, and predictions say nothing.
Intervals follow how large the errors of such rows were beside their predicted deviation.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import ndtri

from sklearn_gln._base_predictor import RunningMoments
from sklearn_gln._spread import SMALLEST
from sklearn_gln._stack import CONVERGED, MAX_HALVINGS, MAX_STEPS, ROUNDING
from sklearn_gln.kernels import Kernels

Array = NDArray[Any]
Derivatives = Callable[[Array], tuple[float, Array, Array]]

FORGETTING = 0.5  # of what is known of w, a and b, at each event
RIDGE = 0.05  # of the mean of the residuals' squares: pulls towards equal weights
PRECISION = np.array([1.0, 20.0])  # of a and b about their last values, beside what is known
MAX_LOG = 60.0  # of variances: nothing overflows
MAX_SCORES = 1024
GAUSSIAN_SCORES = 100  # how many scores the quantiles of a Gaussian count for
MAX_TARGET = 1e100  # its square and the square of its inverse are numbers
MAX_DEVIATIONS = 1e12  # of a target from the mean; its square is a number in float32 too
CONSTANT = 1e-13  # a deviation below this fraction of the mean's magnitude is none
FARTHEST = 16.0  # deviations: of 256 targets, up to the last rebuild, none is farther from their mean
SMALLEST_LIMIT = 1.5  # deviations of the target
HEADROOM = 3.0  # of what neurons may predict, over the largest target seen


@dataclass
class RegressionStack:
    weights: Array  # (n_outputs, n_layers): w
    is_fitted: bool  # whether w is, or stays as it is
    is_calibrated: bool  # whether a and b are, or the raw variance stays as it is
    moments: RunningMoments  # of the targets (n_outputs,) up to the last rebuild
    largest: Array  # (n_outputs,): of |target|, in the network's units
    varied: Array  # (n_outputs,) bool: whether the target had by the last event
    products: Array  # (n_outputs, n_layers, n_layers): sums of products of the layers' residuals
    calibration: Array  # (n_outputs, 2): a and b
    information: Array  # (n_outputs, 2, 2): the log-loss's curvature in a and b
    scores: list[Array]  # of each output, up to MAX_SCORES: |error| / predicted deviation of the last rows
    pending: list[tuple[Array, Array, Array]] = field(default_factory=list)  # rows since the last event

    @classmethod
    def empty(cls, n_outputs: int, n_layers: int, aggregation: str, is_calibrated: bool) -> "RegressionStack":
        first = 0 if aggregation in ("stacked", "layers") else n_layers - 1  # of the layers that count
        weights = np.zeros((n_outputs, n_layers))
        weights[:, first:] = 1 / (n_layers - first)
        return cls(
            weights,
            aggregation == "stacked",
            is_calibrated,
            RunningMoments.empty(n_outputs),
            np.zeros(n_outputs),
            np.zeros(n_outputs, bool),
            np.zeros((n_outputs, n_layers, n_layers)),
            np.tile([0.0, 1.0], (n_outputs, 1)),
            np.zeros((n_outputs, 2, 2)),
            [np.zeros(0)] * n_outputs,
        )

    @property
    def scale(self) -> Array:
        """The network's unit (n_outputs,): the targets' deviation, or their size where they are all the same."""
        deviation = np.sqrt(self.moments.variance)
        size = np.abs(self.moments.mean)
        constant = deviation <= np.maximum(CONSTANT * size, 1 / MAX_TARGET)
        return np.where(constant, np.where(size > 1 / MAX_TARGET, size, 1), deviation)

    @property
    def limits(self) -> Array:
        """What neurons may predict (n_outputs,), in the network's units."""
        return HEADROOM * np.maximum(SMALLEST_LIMIT, self.largest)

    def standardize(self, y: Array) -> Array:
        """Targets (n, n_outputs) in the network's units."""
        return np.clip((y - self.moments.mean) / self.scale, -MAX_DEVIATIONS, MAX_DEVIATIONS)

    def restore(self, means: Array) -> Array:
        """Targets (..., n_outputs) of means in the network's units."""
        return means * self.scale + self.moments.mean

    def rescale(self, y: Array, sample_weight: Array, kernels: Kernels) -> None:
        """Go over to the units of the targets y (n, n_outputs) of all rows so far."""
        before = self.scale
        self.moments = RunningMoments.empty(len(before))
        self.moments.update(y, sample_weight, kernels)
        self.largest = np.abs(self.standardize(y)).max(axis=0)
        factor = np.where(self.varied, before / self.scale, 1)
        self.products = self.products * (factor**2)[:, np.newaxis, np.newaxis]
        self.pending = [
            (residuals * factor[:, np.newaxis], log_variance + 2 * np.log(factor), sample_weight)
            for residuals, log_variance, sample_weight in self.pending
        ]

    def predict(self, outputs: Array) -> Array:
        """Means and variances (n, n_outputs, 2) of the target, of what `aggregate` gave for some rows."""
        mean, variance = np.vecdot(outputs[..., :-1], self.weights), self._variance(outputs[..., -1])
        return np.stack([self.restore(mean), variance * self.scale**2], axis=2)

    def output_weights(self) -> tuple[Array, Array]:
        """What `predict` multiplies the layers' means by (n_outputs, n_layers), and what it adds (n_outputs,)."""
        return self.weights * self.scale[:, np.newaxis], self.moments.mean

    def learn(self, outputs: Array, y: Array, sample_weight: Array) -> Array:
        """As `predict`, of rows between two events, whose targets y (n, n_outputs) become known."""
        exists = sample_weight > 0
        if exists.any():
            target = self.standardize(y[exists])
            residuals = outputs[exists, :, :-1] - target[..., np.newaxis]
            self.pending.append((residuals, outputs[exists, :, -1], sample_weight[exists]))
            self.largest = np.maximum(self.largest, np.abs(target).max(axis=0))
        return self.predict(outputs)

    def update(self) -> None:
        """Fit w, a and b to the rows since the last event."""
        if self.pending:
            rows = zip(*self.pending, strict=True)
            self.pending = []
            self._fit(*map(np.concatenate, rows))
        self.varied = self.largest > FARTHEST * CONSTANT

    def _fit(self, residuals: Array, log_variance: Array, sample_weight: Array) -> None:
        weights = np.outer(sample_weight, self.varied)
        self.products = FORGETTING * self.products + np.einsum(
            "nkl,nkm,nk->klm", residuals, residuals, weights, optimize=True
        )
        if self.is_fitted:
            self.weights = np.stack(list(map(fit_weights, self.products, self.weights)))
        squares = np.square(np.vecdot(residuals, self.weights))
        if self.is_calibrated:
            known = FORGETTING * self.information
            fitted = map(calibrate, log_variance.T, squares.T, weights.T, self.calibration, known)
            coefficients, information = zip(*fitted, strict=True)
            self.calibration, self.information = np.stack(coefficients), known + np.stack(information)
        scores = np.sqrt(squares / self._variance(log_variance)).T
        self.scores = [
            np.append(earlier, new)[-MAX_SCORES:] if varied else earlier
            for earlier, new, varied in zip(self.scores, scores, self.varied, strict=True)
        ]

    def restart(self) -> None:
        """Forget how good predictions were: those to come are another network's."""
        self.update()
        self.products, self.information = 0 * self.products, 0 * self.information
        self.scores = [np.zeros(0)] * len(self.scores)

    def forget(self, factor: float) -> None:
        """Nothing: what is known of w, a and b is forgotten at each event anyway."""

    def bounded_losses(self, predictions: Array, y: Array, bound: float) -> Array:
        """Log-losses (n,) in the network's units, means over outputs; no surprise counts more than the bound."""
        scale2, mean, variance = np.square(self.scale), predictions[..., 0], predictions[..., 1]
        surprise = np.minimum(np.square(y - mean) / variance / 2, bound)
        losses: Array = (np.log(variance / scale2) / 2 + surprise).mean(axis=1)
        return losses

    def quantile(self, coverage: float) -> Array:
        """How many predicted deviations about the mean hold this share of the targets: (n_outputs,)."""
        gaussian = ndtri((1 + coverage) / 2)

        def of(scores: Array) -> float:
            n_scores = len(scores)
            if not n_scores:
                return gaussian
            share = min(1, coverage * (n_scores + 1) / n_scores)  # as in conformal prediction
            return (n_scores * np.quantile(scores, share) + GAUSSIAN_SCORES * gaussian) / (n_scores + GAUSSIAN_SCORES)

        return np.array(list(map(of, self.scores)))

    def _variance(self, log_variance: Array) -> Array:
        """Calibrated variances (n, n_outputs), in the network's units."""
        calibrated = self.calibration[:, 0] + self.calibration[:, 1] * log_variance
        variance: Array = np.exp(np.clip(calibrated, -MAX_LOG, MAX_LOG))
        return variance


def gaussian_losses(predictions: Array, y: Array) -> Array:
    """The log-loss (n,) of targets y (n, n_outputs), summed over outputs; predictions are means and variances."""
    mean, variance = predictions[..., 0], predictions[..., 1]
    losses: Array = (np.log(2 * np.pi * variance) + np.square(y - mean) / variance).sum(axis=1) / 2
    return losses


def fit_weights(products: Array, weights: Array) -> Array:
    """The w on the simplex of least w' (C + ridge) w, from sums C of products of residuals; `weights` where C is 0."""
    total = np.trace(products)
    if total <= 0:
        return weights
    n_layers = len(products)
    scaled = products * (n_layers / total) + RIDGE * np.eye(n_layers)
    root = np.linalg.cholesky(scaled)
    direction, _ = nnls(root.T, np.linalg.solve(root, np.ones(n_layers)))
    fitted: Array = direction / direction.sum()
    return fitted


def calibrate(
    log_variance: Array, squares: Array, sample_weight: Array, centre: Array, known: Array
) -> tuple[Array, Array]:
    """The (a, b) of least Gaussian log-loss of squared errors with ln variance a + b ln(raw variance), and curvature.

    What is `known` (2, 2) and a small constant hold (a, b) to the last values, the centre; b is not negative.
    """
    inputs = np.stack([np.ones_like(log_variance), log_variance], axis=1)
    squares = np.maximum(squares, SMALLEST)  # of errors that are all 0 the likelihood has no maximum
    precision = known + np.diag(PRECISION)

    def derivatives(at: Array) -> tuple[float, Array, Array]:
        log_predicted = np.clip(inputs @ at, -MAX_LOG, MAX_LOG)
        ratio = squares * np.exp(-log_predicted)
        pull = precision @ (at - centre)
        loss = (sample_weight @ (log_predicted + ratio) + pull @ (at - centre)) / 2
        gradient = inputs.T @ (sample_weight * (1 - ratio)) / 2 + pull
        curvature = (inputs.T * (sample_weight * ratio)) @ inputs / 2 + precision
        return float(loss), gradient, curvature

    # Where errors are far above what was predicted, a first rises: the worst row alone would make up the curvature.
    ratio = squares * np.exp(-np.clip(inputs @ centre, -MAX_LOG, MAX_LOG))
    surprise = sample_weight @ ratio / max(sample_weight.sum(), np.finfo(float).tiny)
    fitted = minimize_convex(derivatives, centre + np.array([np.log(max(surprise, 1.0)), 0.0]))
    if fitted[1] < 0:  # the loss is convex: the least one for b >= 0 lies at 0
        fitted = minimize_convex(derivatives, np.array([fitted[0], 0.0]), slice(1))
    return fitted, derivatives(fitted)[2] - precision


def minimize_convex(derivatives: Derivatives, start: Array, free: slice = slice(None)) -> Array:
    """Newton's method over some of the elements, from what gives the loss, its gradient and its curvature."""
    fitted = start
    loss, gradient, curvature = derivatives(fitted)
    for _ in range(MAX_STEPS):
        step, old, old_loss = np.zeros_like(start), fitted, loss
        step[free] = -np.linalg.solve(curvature[free, free], gradient[free])
        for _ in range(MAX_HALVINGS):
            fitted = old + step
            loss, gradient, curvature = derivatives(fitted)
            if loss <= old_loss + ROUNDING * abs(old_loss):
                break
            step = step / 2
        if np.abs(fitted - old).max() < CONVERGED:
            break
    return fitted
