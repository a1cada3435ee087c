"""One row a call: learning and predicting it in few compiled calls, to the results of `_online` and `_network`.

Most of what a chunk of one row costs is the making of small arrays, layer by layer; here few are made. What is rare is
left to the general way: rows before the last rebuild, weights, gaps, categories, wide rows, Gaussian neurons, plain
steps, batches.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sklearn_gln._arrays import Array
from sklearn_gln._base_predictor import CLIP, PIECE_LIMIT, SAMPLED, SCALED, WIDE_CLIP, RunningMoments
from sklearn_gln._learning_rate import Preconditioner
from sklearn_gln._likelihood import SQUARE_LIMIT, SQUARE_SCALE
from sklearn_gln._network import LayerOutputs, Network
from sklearn_gln.kernels import Kernels

if TYPE_CHECKING:
    from sklearn_gln._online import OnlineNetwork

NONE = {dtype: np.empty((1, 0), dtype) for dtype in ("float32", "float64")}
NO_PLACES = np.empty((0, 0), int)


class Inputs(NamedTuple):
    """As `_base_predictor.Inputs`, of one row."""

    side_info: Array  # (n_side,)
    first: Array  # (1, n_basis + n_base): of the first layer
    base: Array  # (1, n_base): the end of `first`
    above: Array  # (1, n_base | n_constants): of layers above, besides the layer below: the base or its end


def serves(online: "OnlineNetwork", kernels: Kernels) -> bool:
    """Whether rows of such a network may come this way."""
    settings = online.settings
    return (
        kernels.SINGLE_ROWS
        and settings.likelihood.learns_single_rows
        and online.evidence is None
        and online.predictor.kind in SCALED
        and online.network is not None
        and all(layer.is_writable() for layer in online.network.layers)  # else arrays are of other compiled types
    )


def serves_learning(online: "OnlineNetwork", kernels: Kernels) -> bool:
    """Whether a row of weight 1 without gaps may be learned this way."""
    settings = online.settings
    return (
        serves(online, kernels)
        and settings.normalized
        and settings.batch_size == 1
        and not settings.counts_visits
        and not online.buffer
        and not online.has_merged
    )


def infer(online: "OnlineNetwork", x: Array, kernels: Kernels) -> Array:
    """As `OnlineNetwork.infer`, of a row x (n_columns,)."""
    network, settings = _network(online), online.settings
    inputs = _inputs(online, x, kernels)
    contexts = kernels.row_contexts(inputs.side_info, network.hyperplanes, network.offsets)
    limit, below = inputs.base.dtype.type(settings.limit), NONE[settings.dtype]
    layers, place = [], 0
    for layer in network.layers:
        logits = np.empty(layer.weights.shape[:2], settings.dtype)
        of_base = inputs.above if layers else inputs.first
        kernels.row_infer(layer.weights, layer.slot_of, contexts, place, below, of_base[0], limit, logits)
        below = _bounded(logits, network)
        layers.append(below[np.newaxis])
        place += logits.shape[1]
    within = 0.0
    spread = network.layers[-1].spread
    if spread is not None:
        slots = network.layers[-1].slots(contexts[np.newaxis, :, place - below.shape[1] :])[0]
        within = _within(network, slots, below, below[:, 0], kernels, learns=False)
    return online.head.predict(online.head.gather(LayerOutputs(layers, within), kernels))


def learn(online: "OnlineNetwork", x: Array, targets: Array, kernels: Kernels) -> Array:
    """As `OnlineNetwork._learn_chunk`, of a row x (n_columns,) and the targets of neurons (n_outputs,)."""
    network, settings, likelihood = _network(online), online.settings, online.settings.likelihood
    inputs = _inputs(online, x, kernels)
    side_info = inputs.side_info[np.newaxis]
    contexts = kernels.select_contexts(side_info, network.hyperplanes, network.offsets, settings.dtype)
    slots, place = [], 0
    for layer in network.layers:  # before any layer learns: where memory does not suffice nothing has been learned
        size = layer.weights.shape[1]
        slots.append(layer.assign_slots(contexts[:, :, place : place + size], None)[0])
        place += size

    number = inputs.base.dtype.type
    smoothing, rate = settings.label_smoothing, settings.learning_rate_init
    targets = (smoothing + (1 - 2 * smoothing) * targets).astype(settings.dtype)
    n_base = inputs.base.shape[1]
    directions = np.empty_like(inputs.first)
    base_square = _directions(inputs.base, network.base_preconditioner, directions[:, -n_base:], kernels)[0]
    first_square = base_square
    if inputs.first.shape[1] > n_base:
        basis, of_basis = inputs.first[:, :-n_base], directions[:, :-n_base]
        first_square = first_square + _directions(basis, network.basis_preconditioner, of_basis, kernels)[0]
    constants = likelihood.largest_step, number(settings.limit)
    max_weight = None if settings.max_weight == np.inf else number(settings.max_weight)
    below = of_below = NONE[settings.dtype]
    below_squares = np.zeros(1, settings.dtype)
    of_base, base_directions, square = inputs.first, directions, first_square
    layers: list[Array] = []
    for layer, of_layer in zip(network.layers, slots, strict=True):
        if layers:
            of_below = np.empty_like(below)
            below_squares = _directions(below, layer.preconditioner, of_below, kernels)
            of_base, base_directions, square = inputs.above, directions[:, -inputs.above.shape[1] :], base_square
            if not settings.skip:
                base_directions, square = inputs.above, number(inputs.above.shape[1])
        logits = np.empty(layer.weights.shape[:2], settings.dtype)
        kernels.row_learn(
            layer.weights,
            layer.accumulator,
            of_layer,
            below,
            of_base[0],
            of_below,
            base_directions[0],
            below_squares,
            square,
            targets,
            number(min(rate, constants[0])),
            likelihood.loss == "squared",
            number(likelihood.damping(layer.weights.shape[3], rate)),
            constants[1],
            max_weight,
            logits,
        )
        below = _bounded(logits, network)
        layers.append(below[np.newaxis])
    within = 0.0
    if network.layers[-1].spread is not None:
        within = _within(network, slots[-1], below, targets, kernels, learns=True)
    if network.cross_moment is not None:
        network.cross_moment = network.cross_moment + targets[:, np.newaxis] * inputs.base
    gathered = online.head.gather(LayerOutputs(layers, within), kernels)
    _update(online, x, kernels)
    return gathered


def _network(online: "OnlineNetwork") -> Network:
    assert online.network is not None  # noqa: S101
    return online.network


def _inputs(online: "OnlineNetwork", x: Array, kernels: Kernels) -> Inputs:
    predictor, settings = online.predictor, online.settings
    n_features, bins = len(predictor.mean), predictor.bins
    n_basis, n_base = predictor.n_basis, settings.n_base(n_features)
    first = np.ones((1, n_basis + n_base), settings.dtype)
    side_info, base = np.empty(n_features), first[:, n_basis:]
    if bins is not None:
        squares, bounds = first[0, : bins.n_squared], (CLIP, 1.0)
    else:
        squares, bounds = base[0, n_features : n_features + settings.squares * n_features], (SQUARE_LIMIT, SQUARE_SCALE)
    limit = CLIP if predictor.max_logit is not None else WIDE_CLIP
    scaling = predictor.mean, predictor.inverse_deviation
    kernels.row_inputs(x, *scaling, CLIP, limit, side_info, base[0], *bounds, squares)
    if bins is not None and len(bins.columns):
        pieces = first[0, bins.n_squared : n_basis]
        kernels.row_pieces(x, bins.columns, bins.middle, bins.inverse_width, PIECE_LIMIT, pieces)
    above = base if settings.skip else base[:, n_base - settings.n_constants :]
    return Inputs(side_info, first, base, above)


def _directions(u: Array, preconditioner: Preconditioner | None, v: Array, kernels: Kernels) -> Array:
    """Fill v with the directions of u, of which the preconditioner learns; return u . v (k|1,)."""
    if preconditioner is None:
        none = np.empty((0, 0, 0), u.dtype)
        return kernels.row_directions(u, none, NO_PLACES, none.astype(float), v)
    if not preconditioner.moment.flags.writeable:
        preconditioner.moment = preconditioner.moment.copy()
    places = NO_PLACES if preconditioner.groups is None else preconditioner.groups[0]
    squares: Array = kernels.row_directions(u, preconditioner.matrix, places, preconditioner.moment, v)
    preconditioner.weight += 1
    return squares


def _bounded(logits: Array, network: Network) -> Array:
    if network.limits is None:
        return logits
    limits = network.limits[:, np.newaxis]
    return np.clip(logits, -limits, limits)


def _within(network: Network, slots: Array, outputs: Array, targets: Array, kernels: Kernels, *, learns: bool) -> Array:
    """The variance (1, n_outputs) that the last layer's neurons predict, as `Spread` has it."""
    spread = network.layers[-1].spread
    assert spread is not None  # noqa: S101
    means = kernels.row_spread(spread.errors, spread.weight, spread.log_ratio, slots, outputs, targets, learns)
    variance: Array = spread.mean_square * np.exp(means)
    return variance[np.newaxis]


def _update(online: "OnlineNetwork", x: Array, kernels: Kernels) -> None:
    """Take the row into the statistics of features."""
    predictor, moments = online.predictor, online.predictor.moments
    online.n_samples_seen += 1
    of_row = kernels.row_moments(x, *predictor.bounds, moments.weight, moments.mean, moments.squares)
    predictor.moments = RunningMoments(*of_row)
    if online.n_samples_seen % SAMPLED == 0:
        predictor.window.add(x[np.newaxis, : len(moments.mean)], np.ones(1))
