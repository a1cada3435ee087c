"""Gaussian neurons (Budden et al. 2020): each predicts a Gaussian, the weighted product of those that it is given.

A weight says how much an input's density counts, so none is negative. What lies outside the hull of the inputs' means
no neuron can predict; hence the features come with both signs and stretched, and beside them constant Gaussians.
"""

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklearn_gln._learning_rate import scheduled_rates
from sklearn_gln._network import MAX_VISITS, Network, Settings, _contexts_by_layer
from sklearn_gln.kernels import Kernels

Array = NDArray[Any]
Gaussians = tuple[Array, Array]  # means and variances, (n, n_outputs | 1, size) each

# Targets are standardised, and features too: constants are in units of the target's deviation.
STRETCH = 1.5  # times sqrt(d): a mean of d features, which is what neurons take, is narrower than one by sqrt(d)
BASE_VARIANCE = 2.0  # of the base Gaussians: 4 and 0.5 were worse
BIAS_MEANS = (-4.0, 4.0)  # nearly all targets lie between
MIN_VARIANCE, MAX_VARIANCE = 1e-4, 10.0
MAX_ERROR = 3.0  # predicted deviations: a target further off counts as if it were this far
LEARNING_RATE = 1.0  # of normalised steps
DAMPING = 0.5  # of normalised steps, over the inputs, which is about how many visits a weight row needs
MAX_WEIGHT = 10.0  # anything from 1 on gave the same errors


def n_base_inputs(n_features: int, bias: bool) -> int:
    """The Gaussians that neurons of the first layer are given."""
    return 2 * n_features + bias * len(BIAS_MEANS)


def initial_weights(n_previous: int, n_base: int, kind: str) -> Array:
    """Weights (n_previous + n_base,) of neurons that have learned nothing.

    "mean": the first layer predicts about N(0, 1), others what the layer below predicts.
    """
    weights = np.zeros(n_previous + n_base)
    if kind == "uniform":
        weights[:] = 1 / len(weights)
    elif kind == "mean" and n_previous:
        weights[:n_previous] = 1 / n_previous
    elif kind == "mean":
        weights[:] = BASE_VARIANCE / n_base
    return weights


def learn(
    network: Network,
    kernels: Kernels,
    base_inputs: Array,
    side_info: Array,
    targets: Array,
    sample_weight: Array | None,
    row_numbers: Array,
    settings: Settings,
) -> list[Gaussians]:
    """As `_network.learn`, of targets (n, n_outputs) that are standardised; each layer's means and variances."""
    dtype, n_rows, n_filled = settings.dtype, len(row_numbers), base_inputs.shape[0]

    def given(array: Array) -> Array:
        """NumPy rows, filled up with zeros."""
        filled = np.zeros((n_filled, *array.shape[1:]), dtype)
        filled[:n_rows] = array
        return kernels.asarray(filled)

    contexts = _contexts_by_layer(network, kernels, side_info, dtype)
    filled_targets = given(targets)
    if sample_weight is None and n_filled > n_rows:
        sample_weight = np.ones(n_rows)
    visits = None if sample_weight is None else given(np.minimum(sample_weight, MAX_VISITS)[:, np.newaxis])
    exists = None if sample_weight is None else sample_weight > 0
    schedule = "constant" if settings.normalized else settings.learning_rate
    rates = given(scheduled_rates(schedule, settings.learning_rate_init, row_numbers)[:, np.newaxis])

    base, constant = _base_and_constant(kernels, base_inputs, settings)
    predicted: list[Gaussians] = []
    for layer, layer_contexts in zip(network.layers, contexts, strict=True):
        rows = layer.visit(layer_contexts, exists)
        layer.weights, layer.energy, means, variances = kernels.gaussian_learn(
            layer.weights,
            layer.energy,
            rows,
            (base,) if not predicted else (predicted[-1], base if settings.skip else constant),
            filled_targets,
            rates,
            visits,
            normalized=settings.normalized,
            damping=DAMPING / layer.weights.shape[-1] if settings.normalized else 0.0,
            max_error=MAX_ERROR,
            max_weight=settings.max_weight,
            min_variance=MIN_VARIANCE,
            max_variance=MAX_VARIANCE,
        )
        predicted.append((means, variances))
    return predicted


def infer(
    network: Network, kernels: Kernels, base_inputs: Array, side_info: Array, settings: Settings
) -> list[Gaussians]:
    """Each layer's means and variances (n, n_outputs, n_neurons) for base_inputs (n, d) and side_info (n, n_side)."""
    contexts = _contexts_by_layer(network, kernels, side_info, "float64")  # as in `_network.infer`
    base, constant = _base_and_constant(kernels, base_inputs, settings)
    predicted: list[Gaussians] = []
    for layer, layer_contexts in zip(network.layers, contexts, strict=True):
        predicted.append(
            kernels.gaussian_infer(
                layer.weights,
                layer.rows(layer_contexts),
                (base,) if not predicted else (predicted[-1], base if settings.skip else constant),
                min_variance=MIN_VARIANCE,
                max_variance=MAX_VARIANCE,
            )
        )
    return predicted


def mixture(gaussians: Gaussians, kernels: Kernels) -> tuple[Array, Array]:
    """Mean and variance (n, n_outputs), NumPy float64, of the equal mixture of a layer's Gaussians."""
    means, variances = (kernels.to_numpy(array).astype(float) for array in gaussians)
    return means.mean(axis=2), variances.mean(axis=2) + means.var(axis=2)


def _base_and_constant(kernels: Kernels, base_inputs: Array, settings: Settings) -> tuple[Gaussians, Gaussians]:
    """The base block, and what stands for it above the first layer of a network without skip."""
    n_features = base_inputs.shape[1]
    means, variances = kernels.gaussian_base(
        base_inputs,
        settings.dtype,
        scale=STRETCH * sqrt(n_features),
        bias_means=BIAS_MEANS if settings.bias else (),
        variance=BASE_VARIANCE,
    )
    return (means, variances), (means[:, :, 2 * n_features :], variances[:, :, 2 * n_features :])
