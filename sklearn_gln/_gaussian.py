"""Gaussian neurons (Budden et al. 2020): each predicts a Gaussian, the weighted product of those that it is given.

A weight says how much an input's density counts, so none is negative. What lies outside the hull of the inputs' means
no neuron can predict; hence the features come with both signs and stretched, and beside them constant Gaussians.
"""

from collections.abc import Sequence
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklearn_gln._learning_rate import scheduled_rates
from sklearn_gln._network import (
    BASE_VARIANCE,
    MAX_VISITS,
    Network,
    Outputs,
    Settings,
    contexts_by_layer,
    filled_up,
    visit,
)
from sklearn_gln.kernels import Kernels

Array = NDArray[Any]
Gaussians = tuple[Array, Array]  # means and variances, (n, n_outputs | 1, size) each

# Targets are standardised, and features too: constants are in units of the target's deviation.
STRETCH = 1.5  # times sqrt(d): a mean of d features, which is what neurons take, is narrower than one by sqrt(d)
BIAS_MEANS = (-4.0, 4.0)  # nearly all targets lie between
MIN_VARIANCE, MAX_VARIANCE = 1e-4, 10.0
MAX_ERROR = 3.0  # predicted deviations: a target further off counts as if it were this far
DAMPING = 0.5  # of normalised steps, over the inputs, which is about how many visits a weight row needs


def learn(
    network: Network,
    kernels: Kernels,
    base_inputs: Array,
    side_info: Array,
    targets: Array,
    sample_weight: Array | None,
    row_numbers: Array,
    settings: Settings,
    first_visit: Array,  # noqa: ARG001  (of no use to Gaussian neurons, whose variances are their own)
) -> Outputs:
    """As `_network.learn`, of targets (n, n_outputs) that are standardised."""
    dtype, n_rows, n_filled = settings.dtype, len(row_numbers), base_inputs.shape[0]
    given = partial(filled_up, n_rows=n_filled, dtype=dtype, kernels=kernels)
    contexts = contexts_by_layer(network, kernels, side_info, dtype)
    filled_targets = given(targets)
    if sample_weight is None and n_filled > n_rows:
        sample_weight = np.ones(n_rows)
    visits = None if sample_weight is None else given(np.minimum(sample_weight, MAX_VISITS)[:, np.newaxis])
    exists = None if sample_weight is None else sample_weight > 0
    schedule = "constant" if settings.normalized else settings.learning_rate
    rates = given(scheduled_rates(schedule, settings.learning_rate_init, row_numbers)[:, np.newaxis])

    base, constant = base_and_constant(kernels, base_inputs, settings)
    predicted: list[Gaussians] = []
    for layer, rows in zip(network.layers, visit(network, contexts, exists), strict=True):
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
    return _outputs(predicted, kernels)


def infer(network: Network, kernels: Kernels, base_inputs: Array, side_info: Array, settings: Settings) -> Outputs:
    """As `_network.infer`, for base_inputs (n, d) and side_info (n, n_side)."""
    contexts = contexts_by_layer(network, kernels, side_info, "float64")  # as in `_network.infer`
    base, constant = base_and_constant(kernels, base_inputs, settings)
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
    return _outputs(predicted, kernels, contexts)


def _outputs(layers: list[Gaussians], kernels: Kernels, contexts: Sequence[Array] = ()) -> Outputs:
    """The layers' means and variances, and the variance of the last layer's equal mixture."""
    means, variances = zip(*layers, strict=True)
    within, between = kernels.neuron_mean(variances[-1]), kernels.neuron_variance(means[-1])
    variance = kernels.to_numpy(within) + kernels.to_numpy(between)
    return Outputs(means, variance, contexts, variances)


def stretch(n_features: int) -> float:
    return STRETCH * sqrt(n_features)


def base_and_constant(kernels: Kernels, base_inputs: Array, settings: Settings) -> tuple[Gaussians, Gaussians]:
    """The base block, and what stands for it above the first layer of a network without skip."""
    n_features = base_inputs.shape[1]
    means, variances = kernels.gaussian_base(
        base_inputs,
        settings.dtype,
        scale=stretch(n_features),
        bias_means=BIAS_MEANS if settings.bias else (),
        variance=BASE_VARIANCE,
    )
    return (means, variances), (means[:, :, 2 * n_features :], variances[:, :, 2 * n_features :])
