"""How much each layer counts in the answer: weights fitted to predictions that were made before samples were learned.

In classification, where m_l is the mean logit of layer l for a class,

    logit of the class = sum_l w_l m_l + w_prior ln(frequency of the class so far),  w >= 0

A few weights common to all classes: they choose among the layers, and their size is a temperature. Where several labels
may apply to a sample, each is a classification in two classes, and all share the weights. At each event w is fitted by
log-loss to the samples since the last one, held to its last value by what the samples before said of it and by a small
constant. In regression, for each output by itself, where m_l is the mean of layer l,

    mean = sum_l w_l m_l,  w >= 0, sum of w 1

and w minimizes the squared error. What is known of w counts half as much at each event, because the network that made
the earlier predictions knew less. So a stack is a function of the samples in order, with a state of fixed size.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import nnls
from scipy.special import log_softmax

from sklearn_gln._arrays import BY_OUTPUT, Array
from sklearn_gln._newton import minimize

FORGETTING = 0.5  # of what is known of w, at each event
PRECISION = 1.0  # of w, besides what is known: events early in a stream have few samples
WITH_HALF_LIFE = 30.0  # the same where all events to come have few
RIDGE = 0.05  # of the mean of the residuals' squares: pulls towards equal weights


@dataclass
class LogitStack:
    weights: Array  # (n_layers + 1,): w
    information: Array  # (n_layers + 1, n_layers + 1): the log-loss's curvature in w, of samples so far
    precision: float = PRECISION

    @classmethod
    def empty(cls, n_layers: int, precision: float = PRECISION) -> "LogitStack":
        """The mean of the layers."""
        weights = np.append(np.full(n_layers, 1 / n_layers), 0.0)
        return cls(weights, np.zeros((len(weights), len(weights))), precision)

    def fit(self, inputs: Array, codes: Array, sample_weight: Array) -> None:
        """Fit w to inputs (n, n_outputs, n_layers + 1) of class numbers (n,), or of labels (n, n_outputs).

        Weights are shaped as these.
        """
        if codes.ndim == 2:
            inputs, codes, sample_weight = inputs.reshape(-1, 1, inputs.shape[2]), codes.ravel(), sample_weight.ravel()
        if inputs.shape[1] == 1:  # two classes: the logit of the first is 0
            inputs = np.concatenate([np.zeros_like(inputs), inputs], axis=1)
        known = FORGETTING * self.information
        precision = known + self.precision * np.eye(len(self.weights))
        self.weights, information = fit_logit_weights(inputs, codes, sample_weight, self.weights, precision)
        self.information = known + information

    def forget(self, factor: float) -> None:
        self.information = self.information * factor

    def scaled(self, factor: float) -> "LogitStack":
        """The stack of logits that are larger by 1 / factor; frequencies stay as they are."""
        factors = np.append(np.full(len(self.weights) - 1, factor), 1.0)
        return LogitStack(self.weights * factors, self.information / np.outer(factors, factors), self.precision)


@dataclass
class MeanStack:
    weights: Array = field(metadata=BY_OUTPUT)  # (n_outputs, n_layers): w
    products: Array = field(
        metadata=BY_OUTPUT
    )  # (n_outputs, n_layers, n_layers): sums of products of the layers' residuals
    is_fitted: bool  # whether w is, or stays as it is

    @classmethod
    def empty(cls, n_outputs: int, n_layers: int, first: int, is_fitted: bool) -> "MeanStack":
        """The mean of the layers from the `first` one on."""
        weights = np.zeros((n_outputs, n_layers))
        weights[:, first:] = 1 / (n_layers - first)
        return cls(weights, np.zeros((n_outputs, n_layers, n_layers)), is_fitted)

    def fit(self, residuals: Array, weights: Array) -> None:
        """Fit w to residuals (n, n_outputs, n_layers) of samples of weights (n, n_outputs)."""
        products = np.einsum("nkl,nkm,nk->klm", residuals, residuals, weights, optimize=True)
        self.products = share_kept(weights)[:, np.newaxis, np.newaxis] * self.products + products
        if self.is_fitted:
            self.weights = np.stack(list(map(fit_mean_weights, self.products, self.weights)))

    def rescale(self, factor: Array) -> None:
        """Multiply the unit of each output's residuals by a factor (n_outputs,)."""
        self.products = self.products * (factor**2)[:, np.newaxis, np.newaxis]

    def restart(self) -> None:
        self.products = 0 * self.products


def share_kept(weights: Array) -> Array:
    """How much what is known of outputs counts from now on, (n_outputs,), after samples of weights (n, n_outputs)."""
    return np.where(weights.any(axis=0), FORGETTING, 1.0)


def fit_logit_weights(
    inputs: Array, codes: Array, sample_weight: Array, centre: Array, precision: Array
) -> tuple[Array, Array]:
    """The w >= 0 of least log-loss of inputs (n, n_classes, n_weights) @ w plus d' precision d / 2, d = w - centre.

    Each step of Newton's method goes towards the least value, over w >= 0, of the quadratic model at the last w.
    Returns w, and the log-loss's curvature there.
    """

    def derivatives(weights: Array) -> tuple[float, Array, Array]:
        log_p = log_softmax(inputs @ weights, axis=1)
        p = np.exp(log_p) * sample_weight[:, np.newaxis]
        samples = np.arange(len(codes))
        mean = np.vecdot(np.exp(log_p)[:, np.newaxis], inputs.transpose(0, 2, 1))
        pull = precision @ (weights - centre)
        loss = pull @ (weights - centre) / 2 - sample_weight @ log_p[samples, codes]
        gradient = pull + sample_weight @ (mean - inputs[samples, codes])
        flat = inputs.reshape(-1, inputs.shape[2])
        curvature = precision + (flat * p.reshape(-1, 1)).T @ flat - (mean * sample_weight[:, np.newaxis]).T @ mean
        return float(loss), gradient, curvature

    def step_of(weights: Array, gradient: Array, curvature: Array) -> Array:
        root = np.linalg.cholesky(curvature)
        best, _ = nnls(root.T, root.T @ weights - np.linalg.solve(root, gradient))
        return best - weights

    weights, curvature = minimize(derivatives, centre, step_of)
    return weights, curvature - precision


def fit_mean_weights(products: Array, weights: Array) -> Array:
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
