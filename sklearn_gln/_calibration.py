"""How far off predictions of a real target are: variances, and quantiles that a given share of targets lie below.

For each output by itself, in the network's units,

    ln variance = a + b ln(raw variance),  b >= 0;  raw variance: as the last layer knows it, see `Spread`

Before the target has varied there are no errors to fit this to, and yet it may vary from the next row on. By Laplace's
rule the chance of that is 1 / (1 + n) after n rows alike; the error would be of the size of the target, which is its
unit then. So the variance is 1 / (1 + n): a = -ln(1 + n), b = 0.

At each event a and b minimize the Gaussian log-loss of predictions made before samples were learned. What earlier
samples said counts half as much at each event, because the network that predicted them knew less. Quantiles follow the
errors of such samples, with their signs, in units of the deviations that were predicted for them.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtr, ndtri

from sklearn_gln._arrays import BY_OUTPUT, Array
from sklearn_gln._newton import minimize
from sklearn_gln._spread import SMALLEST
from sklearn_gln._stack import share_kept

PRECISION = np.array([1.0, 20.0])  # of a and b about their last values, besides what is known
MAX_LOG = 60.0  # of variances: nothing overflows
MAX_TOTAL = 1e6  # of weights: more would say no more, and leave nothing of the constant that holds (a, b)
MAX_SCORES = 1024
GAUSSIAN_SCORES = 20  # how many scores a Gaussian counts for: few, as it lies where skewed noise never is
LATTICE = np.linspace(-8, 8, 161)  # where the Gaussian's distribution function is read


@dataclass
class Calibration:
    coefficients: Array = field(metadata=BY_OUTPUT)  # (n_outputs, 2): a and b
    information: Array = field(metadata=BY_OUTPUT)  # (n_outputs, 2, 2): the log-loss's curvature in a and b
    is_fitted: bool  # whether a and b are, or the raw variance stays as it is

    @classmethod
    def empty(cls, n_outputs: int, is_fitted: bool) -> "Calibration":
        return cls(np.tile([0.0, 1.0], (n_outputs, 1)), np.zeros((n_outputs, 2, 2)), is_fitted)

    def variance(self, log_variance: Array) -> Array:
        """Calibrated variances (n, n_outputs) of the logarithms of raw ones."""
        calibrated = self.coefficients[:, 0] + self.coefficients[:, 1] * log_variance
        variance: Array = np.exp(np.clip(calibrated, -MAX_LOG, MAX_LOG))
        return variance

    def fit(self, log_variance: Array, squares: Array, weights: Array) -> None:
        """Fit a and b to squared errors, of samples of weights; (n, n_outputs) each."""
        if self.is_fitted:
            known = share_kept(weights)[:, np.newaxis, np.newaxis] * self.information
            fitted = map(calibrate, log_variance.T, squares.T, weights.T, self.coefficients, known)
            coefficients, information = zip(*fitted, strict=True)
            self.coefficients, self.information = np.stack(coefficients), known + np.stack(information)

    def follow(self, weight: Array, had_varied: Array, varied: Array) -> None:
        """Take in samples of weights (n_outputs,): of targets that have not varied yet, and that just have."""
        n_alike = np.exp(np.minimum(-self.coefficients[:, 0], MAX_LOG)) + weight
        alike = np.stack([-np.log(n_alike), 0 * n_alike], axis=1)
        begun = np.where((varied & ~had_varied)[:, np.newaxis], [0.0, 1.0], self.coefficients)
        self.coefficients = np.where(varied[:, np.newaxis], begun, alike)

    def restart(self) -> None:
        self.information = 0 * self.information


@dataclass
class ErrorScores:
    """(target - mean) / predicted deviation of the last samples, up to MAX_SCORES of each output."""

    of_output: list[Array] = field(metadata=BY_OUTPUT)

    @classmethod
    def empty(cls, n_outputs: int) -> "ErrorScores":
        return cls([np.zeros(0)] * n_outputs)

    def add(self, scores: Array, counted: Array) -> None:
        """Take in those scores (n, n_outputs) that are counted (n, n_outputs)."""
        self.of_output = [
            np.append(earlier, new[is_counted])[-MAX_SCORES:]
            for earlier, new, is_counted in zip(self.of_output, scores.T, counted.T, strict=True)
        ]

    def quantiles(self, levels: Array) -> Array:
        """The quantiles (n_outputs, ...) of these levels (...): those of the scores' mixture with a Gaussian.

        The i-th of n scores has the share i / (n + 1) below it: that of the next one's chances to lie there.
        """

        def of(scores: Array) -> Array:
            n_scores = len(scores)
            if not n_scores:
                return np.clip(ndtri(levels), *LATTICE[[0, -1]])  # levels near 1 may have been rounded to it
            values = np.sort(np.append(LATTICE, scores))
            ranks = np.arange(1, n_scores + 1) / (n_scores + 1)
            of_scores = np.interp(values, np.sort(scores), ranks, left=0, right=1)
            shares = (n_scores * of_scores + GAUSSIAN_SCORES * ndtr(values)) / (n_scores + GAUSSIAN_SCORES)
            return np.interp(levels, shares, values)

        return np.array(list(map(of, self.of_output)))


def calibrate(
    log_variance: Array, squares: Array, sample_weight: Array, centre: Array, known: Array
) -> tuple[Array, Array]:
    """The (a, b) of least Gaussian log-loss of squared errors with ln variance a + b ln(raw variance), and curvature.

    What is `known` (2, 2) and a small constant hold (a, b) to the last values, the centre; b is not negative.
    """
    inputs = np.stack([np.ones_like(log_variance), log_variance], axis=1)
    sample_weight = sample_weight / max(1.0, sample_weight.sum() / MAX_TOTAL)
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

    def step_of_both(_: Array, gradient: Array, curvature: Array) -> Array:
        step: Array = np.linalg.lstsq(curvature, -gradient)[0]  # it is singular if errors are out of all proportion
        return step

    def step_of_a(_: Array, gradient: Array, curvature: Array) -> Array:
        return np.append(-np.linalg.solve(curvature[:1, :1], gradient[:1]), 0.0)

    # Where errors are far above what was predicted, a first rises: the worst sample alone would make up the curvature.
    ratio = squares * np.exp(-np.clip(inputs @ centre, -MAX_LOG, MAX_LOG))
    surprise = sample_weight @ ratio / max(sample_weight.sum(), np.finfo(float).tiny)
    start = centre + np.array([np.log(max(surprise, 1.0)), 0.0])
    fitted, curvature = minimize(derivatives, start, step_of_both)
    if fitted[1] < 0:  # the loss is convex: the least one for b >= 0 lies at 0
        fitted, curvature = minimize(derivatives, np.array([fitted[0], 0.0]), step_of_a)
    return fitted, curvature - precision
