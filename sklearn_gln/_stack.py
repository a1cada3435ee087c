"""From the layers' logits to class probabilities: a stack, fitted to predictions that were honest.

Every layer predicts, and how far each is to be trusted shows in what it predicted for rows before it learned them:

    logit of class k = sum_l w_l (mean logit of layer l for class k) + w_prior ln(frequency of class k so far),  w >= 0

A few weights common to all classes: they choose among the layers, and their size is a temperature. Where several labels
may apply to a row, each is a classification in two classes, and all share the weights. The stack starts as the mean of
the layers. At each event of the clock, w is fitted by log-loss to the rows since the last event, held to its last value
by what the rows before said of it (their information counts half as much at each event, because the network that made
these predictions knew less) and by a small constant. So the stack is a function of the rows in order, with a state of
fixed size.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import log_softmax

Array = NDArray[Any]

MIN_ROWS = 16  # of a fit: one confident error among the first few would silence every layer
FORGETTING = 0.5  # of what is known of w, at each event
PRECISION = 1.0  # of w beside what is known: events early in a stream have few rows
MAX_STEPS = 50  # of Newton's method, which needs about 6
MAX_HALVINGS = 40  # of a step
CONVERGED = 1e-11
ROUNDING = 1e-10  # of a loss: near the optimum it must not stop the last steps, which make splits agree


@dataclass
class Stack:
    weights: Array  # (n_layers + 1,): w
    information: Array  # (n_layers + 1, n_layers + 1): the log-loss's curvature in w, of rows so far
    class_weight: Array  # (n_classes,) or (n_labels, 2): sum of the weights of each class's rows so far
    pending: list[tuple[Array, Array, Array]] = field(default_factory=list)  # rows since the last event

    @classmethod
    def empty(cls, n_layers: int, *shape: int) -> "Stack":
        """A stack for n_classes classes, or for labels: n_labels, 2."""
        weights = np.append(np.full(n_layers, 1 / n_layers), 0.0)
        return cls(weights, np.zeros((len(weights), len(weights))), np.zeros(shape))

    def predict(self, layer_logits: Array) -> Array:
        """Output logits (n, n_outputs) of the layers' mean logits (n, n_outputs, n_layers)."""
        return self._inputs(layer_logits, self.class_weight) @ self.weights

    def output_weights(self) -> tuple[Array, Array]:
        """What `predict` multiplies the layers of each output by (n_layers,), and what it adds (n_outputs,)."""
        return self.weights[:-1], self.weights[-1] * np.ravel(_prior_logit(self.class_weight))

    def learn(self, layer_logits: Array, y: Array, sample_weight: Array) -> Array:
        """The logits of rows between two events, each as it was before the row's classes were known.

        y holds class numbers (n,), or says which labels apply (n, n_labels).
        """
        codes = y.astype(int)
        seen = np.zeros((len(codes) + 1, *self.class_weight.shape))
        seen[0] = self.class_weight
        weights = np.broadcast_to(sample_weight.reshape((-1,) + (1,) * codes.ndim), (*codes.shape, 1))
        np.put_along_axis(seen[1:], codes[..., np.newaxis], weights, axis=-1)
        seen = np.cumsum(seen, axis=0)
        inputs = self._inputs(layer_logits, seen[:-1])
        self.class_weight = seen[-1]
        exists = sample_weight > 0
        if exists.any():
            self.pending.append((inputs[exists], codes[exists], sample_weight[exists]))
        return inputs @ self.weights

    def update(self) -> None:
        """Fit the weights to the rows since the last fit; too few of them wait for more."""
        if sum(len(codes) for _, codes, _ in self.pending) < MIN_ROWS:
            return
        inputs, codes, sample_weight = (np.concatenate(parts) for parts in zip(*self.pending, strict=True))
        self.pending = []
        if codes.ndim == 2:
            inputs = inputs.reshape(-1, 1, inputs.shape[2])
            codes, sample_weight = codes.ravel(), np.repeat(sample_weight, codes.size // len(codes))
        if inputs.shape[1] == 1:  # two classes: the logit of the first is 0
            inputs = np.concatenate([np.zeros_like(inputs), inputs], axis=1)
        known = FORGETTING * self.information
        precision = known + PRECISION * np.eye(len(self.weights))
        self.weights, information = fit_weights(inputs, codes, sample_weight, self.weights, precision)
        self.information = known + information

    def forget(self, factor: float) -> None:
        self.class_weight = self.class_weight * factor
        self.information = self.information * factor

    def _inputs(self, layer_logits: Array, class_weight: Array) -> Array:
        """What w weighs: (n, n_outputs, n_layers + 1)."""
        prior = _prior_logit(class_weight).reshape(-1, layer_logits.shape[1])
        prior = np.broadcast_to(prior, layer_logits.shape[:2])
        return np.concatenate([layer_logits, prior[..., np.newaxis]], axis=2)


def _prior_logit(class_weight: Array) -> Array:
    """Of each class (..., n_classes), or of the second of two (...)."""
    prior: Array = np.log(class_weight + 1)
    return prior[..., 1] - prior[..., 0] if class_weight.shape[-1] == 2 else prior


def fit_weights(
    inputs: Array, codes: Array, sample_weight: Array, centre: Array, precision: Array
) -> tuple[Array, Array]:
    """The w >= 0 of least log-loss of inputs (n, n_classes, n_weights) @ w plus d' precision d / 2, d = w - centre.

    Newton's method: each step goes towards the least value, over w >= 0, of the quadratic model at the last w.
    Returns w, and the log-loss's curvature there.
    """
    weights = centre
    loss, gradient, curvature = _derivatives(inputs, codes, sample_weight, weights, centre, precision)
    for _ in range(MAX_STEPS):
        root = np.linalg.cholesky(curvature)
        best, _ = nnls(root.T, root.T @ weights - np.linalg.solve(root, gradient))
        step, old_weights, old_loss = best - weights, weights, loss
        for _ in range(MAX_HALVINGS):
            weights = old_weights + step
            loss, gradient, curvature = _derivatives(inputs, codes, sample_weight, weights, centre, precision)
            if loss <= old_loss + ROUNDING * abs(old_loss):
                break
            step = step / 2
        if np.abs(weights - old_weights).max() < CONVERGED:
            break
    return weights, curvature - precision


def _derivatives(
    inputs: Array, codes: Array, sample_weight: Array, weights: Array, centre: Array, precision: Array
) -> tuple[float, Array, Array]:
    """The penalised loss at w, its gradient and its curvature."""
    log_p = log_softmax(inputs @ weights, axis=1)
    p = np.exp(log_p) * sample_weight[:, np.newaxis]
    rows = np.arange(len(codes))
    mean = np.vecdot(np.exp(log_p)[:, np.newaxis], inputs.transpose(0, 2, 1))
    pull = precision @ (weights - centre)
    loss = pull @ (weights - centre) / 2 - sample_weight @ log_p[rows, codes]
    gradient = pull + sample_weight @ (mean - inputs[rows, codes])
    flat = inputs.reshape(-1, inputs.shape[2])
    curvature = precision + (flat * p.reshape(-1, 1)).T @ flat - (mean * sample_weight[:, np.newaxis]).T @ mean
    return float(loss), gradient, curvature
