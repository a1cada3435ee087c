"""One row a call: learning and predicting it in few compiled calls, to the results of `_online` and `_network`.

Most of what a chunk of one row costs is the making of small arrays, layer by layer; here few are made. What is rare is
left to the general way: rows before the last rebuild, weights, gaps, categories, wide rows, Gaussian neurons, plain
steps, batches.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sklearn_gln._arrays import Array
from sklearn_gln._base_predictor import CLIP, PIECE_LIMIT, SAMPLED, SCALED, WIDE_CLIP, RunningMoments
from sklearn_gln._learning_rate import TINY, Preconditioner
from sklearn_gln._likelihood import SQUARE_LIMIT, SQUARE_SCALE
from sklearn_gln._network import Network
from sklearn_gln.kernels import Kernels

if TYPE_CHECKING:
    from sklearn_gln._online import OnlineNetwork

NO_LIMITS = {dtype: np.empty(0, dtype) for dtype in ("float32", "float64")}
NO_PLACES = np.empty((0, 0), int)
NO_VARIANCE = np.empty(0)  # of heads that ask for none


class Inputs(NamedTuple):
    """As `_base_predictor.Inputs`, of one row."""

    side_info: Array  # (n_side,)
    basis: Array  # (1, n_basis)
    base: Array  # (1, n_base)
    above: Array  # (1, n_base | n_constants): the end of the base that layers above the first are given


def serves(online: "OnlineNetwork", kernels: Kernels) -> bool:
    """Whether rows of such a network may come this way."""
    settings = online.settings
    return (
        kernels.ROWS is not None
        and settings.likelihood.learns_single_rows
        and online.evidence is None
        and online.predictor.kind in SCALED
        and online.network is not None
        and online.network.layers[-1].weights.flags.writeable  # arrays that are not are of other compiled types
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
        and all(layer.is_writable() for layer in _network(online).layers)
    )


def infer(online: "OnlineNetwork", x: Array, kernels: Kernels) -> Array:
    """As `OnlineNetwork.infer`, of a row x (n_columns,)."""
    network, settings, rows = _network(online), online.settings, kernels.ROWS
    inputs = _inputs(online, np.array(x, float), rows)
    contexts = rows.contexts(inputs.side_info, network.hyperplanes, network.offsets)
    number, below, limits = inputs.base.dtype.type, inputs.basis, _limits(online)
    means, limit, place = np.empty((1, online.n_outputs, len(network.layers))), number(settings.limit), 0
    of_base = inputs.base
    for i, layer in enumerate(network.layers):
        logits = np.empty(layer.weights.shape[:2], settings.dtype)
        addressed = layer.weights, layer.slot_of, contexts, place
        rows.infer(*addressed, below, of_base[0], limit, limits, logits, i, means[0])
        below, of_base, place = logits, inputs.above, place + logits.shape[1]
    variance, spread = NO_VARIANCE, layer.spread
    if spread is not None:
        slots = rows.slots(layer.slot_of, contexts, place - logits.shape[1])
        variance = rows.variance(spread.mean_square, spread.log_ratio, slots, logits, means[0])
    return online.head.predict(online.head.gathered(means, variance[np.newaxis]))


def learn(online: "OnlineNetwork", x: Array, targets: Array, kernels: Kernels) -> Array:
    """As `OnlineNetwork._learn_chunk`, of a row x (n_columns,) and the targets of neurons (n_outputs,)."""
    network, settings, rows = _network(online), online.settings, kernels.ROWS
    x = np.array(x, float)
    likelihood, inputs = settings.likelihood, _inputs(online, x, rows)
    side_info = inputs.side_info[np.newaxis]
    contexts = kernels.select_contexts(side_info, network.hyperplanes, network.offsets, settings.dtype)
    slots, place = [], 0
    for layer in network.layers:  # before any layer learns: where memory does not suffice nothing has been learned
        end = place + layer.weights.shape[1]
        arrays = layer.weights, layer.accumulator, layer.slot_of, layer.n_slots
        of_layer, is_done = rows.assign_slots(*arrays, contexts[0], place)
        if not is_done:
            of_layer = layer.assign_slots(contexts[:, :, place:end], None)[0]
        slots.append(of_layer)
        place = end

    number = inputs.base.dtype.type
    smoothing, rate = settings.label_smoothing, settings.learning_rate_init
    targets = (smoothing + (1 - 2 * smoothing) * targets).astype(settings.dtype)
    of_base, base_squares = _directions(inputs.base, network.base_preconditioner, rows)
    n_above = inputs.above.shape[1]
    v_above, squares_above = (of_base, base_squares) if settings.skip else (inputs.above, number(n_above)[np.newaxis])
    squared, limit, limits = likelihood.loss == "squared", number(settings.limit), _limits(online)
    max_weight = None if settings.max_weight == np.inf else number(settings.max_weight)
    step = number(min(rate, likelihood.largest_step))
    means = np.empty((1, online.n_outputs, len(network.layers)))
    below, base, preconditioner = inputs.basis, inputs.base, network.basis_preconditioner
    for i, (layer, of_layer) in enumerate(zip(network.layers, slots, strict=True)):
        if i:
            base, of_base, base_squares, preconditioner = inputs.above, v_above, squares_above, layer.preconditioner
        of_below, below_squares = _directions(below, preconditioner, rows)
        logits = np.empty(layer.weights.shape[:2], settings.dtype)
        damping = number(likelihood.damping(layer.weights.shape[3], rate))
        rows.learn(
            layer.weights, layer.accumulator, of_layer, below, base[0], of_below, of_base[0], below_squares,
            base_squares[0] + TINY, targets, step, squared, damping, limit, max_weight, limits, logits, i, means[0],
        )  # fmt: skip
        below = logits
    variance, spread = NO_VARIANCE, layer.spread
    if spread is not None:
        variance = rows.variance(spread.mean_square, spread.log_ratio, slots[-1], logits, means[0])
        rows.spread(spread.errors, spread.weight, slots[-1], logits, targets)
    if network.cross_moment is not None:
        network.cross_moment = network.cross_moment + targets[:, np.newaxis] * inputs.base
    _update(online, x, rows)
    return online.head.gathered(means, variance[np.newaxis])


def _network(online: "OnlineNetwork") -> Network:
    assert online.network is not None  # noqa: S101
    return online.network


def _inputs(online: "OnlineNetwork", x: Array, rows: Any) -> Inputs:
    """What the network sees of a row x (n_columns,) in float64, an array of its own: of one compiled type."""
    predictor, settings = online.predictor, online.settings
    n_features, bins = len(predictor.mean), predictor.bins
    n_basis, n_base = predictor.n_basis, settings.n_base(n_features)
    side_info, basis = np.empty(n_features), np.empty((1, n_basis), settings.dtype)
    base = np.ones((1, n_base), settings.dtype)
    if bins is not None:
        squares, bounds = basis[0, : bins.n_squared], (CLIP, 1.0)
    else:
        squares, bounds = base[0, n_features : n_features + settings.squares * n_features], (SQUARE_LIMIT, SQUARE_SCALE)
    limit = CLIP if predictor.max_logit is not None else WIDE_CLIP
    scaling = predictor.mean, predictor.inverse_deviation
    rows.inputs(x, *scaling, CLIP, limit, side_info, base[0], *bounds, squares)
    if bins is not None:
        rows.pieces(x, bins.columns, bins.middle, bins.inverse_width, PIECE_LIMIT, basis[0, bins.n_squared :])
    return Inputs(side_info, basis, base, base if settings.skip else base[:, n_base - settings.n_constants :])


def _directions(u: Array, preconditioner: Preconditioner | None, rows: Any) -> tuple[Array, Array]:
    """The directions v of u, of which the preconditioner learns, and u . v (k|1,)."""
    v = np.empty_like(u)
    if preconditioner is None:
        none = np.empty((0, 0, 0), u.dtype)
        return v, rows.directions(u, none, NO_PLACES, none.astype(float), v)
    if not preconditioner.moment.flags.writeable:
        preconditioner.moment = preconditioner.moment.copy()
    places = NO_PLACES if preconditioner.groups is None else preconditioner.groups[0]
    preconditioner.weight += 1
    return v, rows.directions(u, preconditioner.matrix, places, preconditioner.moment, v)


def _limits(online: "OnlineNetwork") -> Array:
    limits = _network(online).limits
    return NO_LIMITS[online.settings.dtype] if limits is None else limits


def _update(online: "OnlineNetwork", x: Array, rows: Any) -> None:
    """Take the row into the statistics of features."""
    predictor, moments = online.predictor, online.predictor.moments
    online.n_samples_seen += 1
    of_row = rows.moments(x, *predictor.bounds, moments.weight, moments.mean, moments.squares)
    predictor.moments = RunningMoments(*of_row)
    if online.n_samples_seen % SAMPLED == 0:
        predictor.window.add(x[np.newaxis, : len(moments.mean)], np.ones(1))
