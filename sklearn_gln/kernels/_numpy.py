"""Kernels in NumPy: exact online learning as matrix products and a short recursion on scalars.

While no weight of a neuron is clipped, its logits in a chunk of samples follow from its weights W at the chunk's start:
s_t = W[c_t] . u_t - sum over earlier samples r with the same slot c_t of g_r (v_r . u_t), where g_r v_r is the step of
sample r. So a chunk costs one product for W . u, one Gram product for v . u, a recursion over its samples, and one
product for the summed steps. Neurons whose weights could reach their bound within the chunk are run sample by sample
instead.

Inside, neurons that share their inputs form a group: all of them (one group) or those of each output. Arrays have axes
(samples, groups, neurons), W is (groups, neurons, slots, inputs).
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.linalg.blas import get_blas_funcs

from sklearn_gln.kernels import as_numpy
from sklearn_gln.kernels._columns_numpy import columns_infer, columns_learn  # noqa: F401

Array = NDArray[Any]
Groups = tuple[Array, Array]

ON_DEVICE = False
CHUNK_SIZES = None
ROWS = None
TASK_SIZE = 512  # bounds the products of a chunk with all slots of W
OUTPUTS_TOGETHER = False
CHUNK_ROWS = 64
CACHED_ROWS = 128  # samples of one pass through several operations
MAX_PROJECTIONS = 2**23  # elements of one gating product
MAX_DENSE_SLOTS = 64  # up to here a product with every slot of W beats gathering the selected ones


def scope(device: Any) -> AbstractContextManager[None]:
    if not isinstance(device, str | None) or device not in (None, "cpu"):
        raise ValueError(
            f"device={device!r} is not available; NumPy and Numba see: ['cpu']. Leave it None, or choose "
            "backend='torch', 'tensorflow' or 'jax'."
        )
    return nullcontext()


def asarray(x: Any) -> Array:
    return x if isinstance(x, np.ndarray) else as_numpy(x)


def to_numpy(x: Array) -> Array:
    return x


def owns(x: Any) -> bool:
    return isinstance(x, np.ndarray)


def take(x: Array, places: Array, axis: int = 0) -> Array:
    return x.take(places, axis)


def extremes(x: Array) -> tuple[float, float]:
    if not x.size:
        return 0.0, 0.0
    return float(np.fmin.reduce(x, axis=None)), float(np.fmax.reduce(x, axis=None))


def fill_missing(x: Array) -> Array:
    missing = np.isnan(x)
    return np.where(missing, x.dtype.type(0), x) if missing.any() else x


def standardize(x: Array, mean: Array, inverse_deviation: Array, *, limit: float) -> Array:
    return _zero_missing(np.clip((x - mean) * inverse_deviation, -limit, limit))


def logit(probabilities: Array, *, max_logit: float) -> Array:
    return _zero_missing(np.clip(special.logit(probabilities), -max_logit, max_logit))


def minmax_logit(x: Array, *, max_logit: float) -> Array:
    logits = np.empty_like(x)
    for start in range(0, len(x), CACHED_ROWS):
        rows = x[start : start + CACHED_ROWS]
        odds = rows - np.fmin.reduce(rows, axis=1, keepdims=True)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            odds /= np.abs(np.fmax.reduce(rows, axis=1, keepdims=True) - rows)  # -0 - 0 is -0
            np.log(odds, out=odds)
        np.clip(odds, -max_logit, max_logit, out=logits[start : start + CACHED_ROWS])
        _zero_missing(logits[start : start + CACHED_ROWS])
    return logits


def _zero_missing(x: Array) -> Array:
    x[np.isnan(x)] = 0
    return x


def column_moments(
    x: Array, sample_weight: Array, lower: Any = -np.inf, upper: Any = np.inf
) -> tuple[Array, Array, Array]:
    counts = (x >= lower) & (x <= upper)
    if not counts.all():
        seen = np.where(counts, sample_weight[:, np.newaxis], 0.0)  # (n, d)
        x = np.where(counts, x, 0)
        weight = seen.sum(axis=0)
        scale = 1 / np.where(weight > 0, weight, 1)
        mean = np.einsum("nd,nd->d", seen, x, dtype=float) * scale
        return weight, mean, np.einsum("nd,nd->d", seen, np.square(x - mean))
    total = sample_weight.sum()
    mean = sample_weight @ x / max(total, np.finfo(float).tiny)
    return np.full(x.shape[1], total), mean, sample_weight @ np.square(x - mean)


def input_block(parts: Sequence[Array], dtype: str, bias: bool) -> Array:
    ends = np.cumsum([0, *(part.shape[1] for part in parts)])
    block = np.ones((len(parts[0]), 1, ends[-1] + bias), dtype)
    for part, start, end in zip(parts, ends[:-1], ends[1:], strict=True):
        block[:, 0, start:end] = part
    return block


def side_by_side(blocks: Sequence[Array]) -> Array:
    n_outputs = max(block.shape[1] for block in blocks)
    return np.concatenate([np.broadcast_to(x, (len(x), n_outputs, x.shape[2])) for x in blocks], axis=2)


def select_contexts(side_info: Array, hyperplanes: Array, offsets: Array, dtype: str) -> Array:
    side_info, hyperplanes, offsets = (array.astype(dtype, copy=False) for array in (side_info, hyperplanes, offsets))
    n_outputs, n_neurons, context_dim, n_side = hyperplanes.shape
    normals = hyperplanes.reshape(-1, n_side).T
    contexts = np.zeros((len(side_info), n_outputs, n_neurons), np.int32)
    rows_per_product = max(1, MAX_PROJECTIONS // max(1, normals.shape[1]))
    for start in range(0, len(side_info), rows_per_product):
        rows = slice(start, start + rows_per_product)
        projections = side_info[rows] @ normals
        positive = projections.reshape(len(projections), *offsets.shape) > offsets
        for bit in range(context_dim):
            contexts[rows] |= positive[..., bit].astype(np.int32) << bit
    return contexts


def clip(x: Array, lower: Any, upper: Any) -> Array:
    return np.clip(x, np.asarray(lower, x.dtype), np.asarray(upper, x.dtype))


def minimum(x: Array, y: Array) -> Array:
    return np.minimum(x, y)


def neuron_mean(x: Array) -> Array:
    return x.mean(axis=2, dtype=float)


def neuron_moments(x: Array) -> tuple[Array, Array]:
    mean = neuron_mean(x)
    return mean, np.var(x, axis=2, dtype=float, mean=mean[..., np.newaxis])


def at_slots(table: Array, slots: Array) -> Array:
    return table.take(_flat_slots(table, slots))


def add_at_slots(table: Array, slots: Array, values: Array) -> Array:
    flat = table.reshape(-1)
    np.add.at(flat, _flat_slots(table, slots).ravel(), values.ravel().astype(table.dtype, copy=False))
    return flat.reshape(table.shape)


def _flat_slots(table: Array, slots: Array) -> Array:
    """Slots (n, k|1, j) numbered through all neurons of a table (k, j, r), as in the flat table: (n, k, j)."""
    return slots + np.arange(0, table.size, table.shape[2]).reshape(table.shape[:2])


def expand(array: Array, slot_of: Array) -> Array:
    slots = np.broadcast_to(slot_of, (*array.shape[:2], slot_of.shape[2]))
    return np.take_along_axis(array, slots.reshape(slots.shape + (1,) * (array.ndim - 3)), axis=2)


def precondition(block: Array, matrices: Array | None, groups: Groups | None = None) -> tuple[Array, Array]:
    directions = block
    if matrices is not None:
        grouped = block if groups is None else _split(block, groups[0])
        directions = np.ascontiguousarray((grouped.transpose(1, 0, 2) @ matrices).transpose(1, 0, 2))
        if groups is not None:
            directions = directions.reshape(len(block), 1, -1)[:, :, groups[1]]
    return directions, np.vecdot(block, directions)


def add_second_moment(
    moment: Array, block: Array, sample_weight: Array | None = None, groups: Groups | None = None
) -> Array:
    block = block if groups is None else _split(block, groups[0])
    weighted = block if sample_weight is None else block * sample_weight[:, :, np.newaxis]
    return moment + block.transpose(1, 2, 0) @ weighted.transpose(1, 0, 2)


def add_cross_moment(moment: Array, block: Array, targets: Array, sample_weight: Array) -> Array:
    weighted = targets * sample_weight
    if block.shape[1] == 1:
        return moment + weighted.T @ block[:, 0]
    return moment + (weighted.T[:, np.newaxis] @ block.swapaxes(0, 1))[:, 0]


def _split(block: Array, places: Array) -> Array:
    """Return the columns of a block (n, 1, d) in groups (n, g, b)."""
    padded = np.pad(block[:, 0], ((0, 0), (0, 1))) if places.size > block.shape[2] else block[:, 0]
    return np.take(padded, places, axis=1)


def damped_inverse(moment: Array, weight: float, floor: float, dtype: str, ridge: float = 1.0) -> Array:
    second_moment = moment / weight
    size = second_moment.shape[-1]
    mean_eigenvalue = np.maximum(np.trace(second_moment, axis1=1, axis2=2) / size, floor)
    mean_eigenvalue[mean_eigenvalue == 0] = 1
    damping = ridge * mean_eigenvalue[:, np.newaxis, np.newaxis] * np.eye(size)
    return np.linalg.inv(second_moment + damping).astype(dtype)  # condition number at most size / ridge + 1


def linear_infer(weights: Array, slots: Array, inputs: Sequence[Array], *, limit: float) -> Array:
    # Gathered slots, one dot product each: a sample's logits do not depend, even in rounding, on those next to it.
    logits = np.empty((len(slots), *weights.shape[:2]), weights.dtype)
    slots = np.broadcast_to(slots, logits.shape)
    for start in range(0, len(slots), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        logits[rows] = _gathered_dots(weights, slots[rows], _features(inputs, rows, len(weights)))
    return np.clip(logits, -limit, limit, out=logits)


def linear_learn(
    weights: Array,
    accumulator: Array,
    slots: Array,
    inputs: Sequence[Array],
    directions: Sequence[Array],
    targets: Array,
    rates: Array,
    repeats: Array | None = None,
    *,
    loss: str,
    damping: float,
    limit: float,
    max_weight: float,
    batch_size: int,
) -> tuple[Array, Array, Array]:
    n_samples, (n_outputs, n_neurons, n_slots, n_inputs) = len(slots), weights.shape
    n_groups = 1 if all(block.shape[1] == 1 for block in inputs) else n_outputs
    neurons = (n_groups, n_outputs * n_neurons // n_groups)

    def by_group(array: Array) -> Array:  # (n, k|1, j|1) -> (n, groups, neurons)
        return np.broadcast_to(array, (n_samples, n_outputs, n_neurons)).reshape(n_samples, *neurons)

    grouped_weights = weights.reshape(*neurons, n_slots, n_inputs)  # views
    grouped_accumulator = accumulator.reshape(*neurons, n_slots)
    slots = by_group(slots)
    targets, rates = by_group(targets[..., np.newaxis]), by_group(rates[..., np.newaxis])
    repeats = None if repeats is None else by_group(repeats[..., np.newaxis])
    guard = _Guard(max_weight, _largest(grouped_weights)) if np.isfinite(max_weight) else None
    logits = np.empty((n_samples, *neurons), weights.dtype)
    chunk_rows = batch_size * max(1, CHUNK_ROWS // batch_size)
    for start in range(0, n_samples, chunk_rows):
        rows = slice(start, start + chunk_rows)
        chunk = _Chunk(
            slots[rows],
            _features(inputs, rows, n_groups),
            _features(directions, rows, n_groups),
            targets[rows],
            rates[rows],
            None if repeats is None else repeats[rows],
            loss,
            damping,
            limit,
            batch_size,
        )
        logits[rows] = _learn_chunk(grouped_weights, grouped_accumulator, chunk, guard)
    np.clip(logits, -limit, limit, out=logits)
    return weights, accumulator, logits.reshape(n_samples, n_outputs, n_neurons)


class _Chunk(NamedTuple):
    """Samples to learn, whole batches of them."""

    slots: Array  # (samples, groups, neurons)
    inputs: Array  # (groups, samples, i)
    directions: Array  # (groups, samples, i)
    targets: Array  # (samples, groups, neurons)
    rates: Array  # (samples, groups, neurons)
    repeats: Array | None  # (samples, groups, neurons)
    loss: str
    damping: float
    limit: float
    batch_size: int

    def batches(self) -> Iterator[slice]:
        n_samples = len(self.slots)
        return (slice(b, min(b + self.batch_size, n_samples)) for b in range(0, n_samples, self.batch_size))


class _Guard(NamedTuple):
    """The bound of weights, and `largest` (groups, neurons), at least each neuron's |weights| and kept up to date."""

    max_weight: float
    largest: Array


def _features(blocks: Sequence[Array], rows: slice, n_groups: int) -> Array:
    """The blocks of each group side by side: (groups, samples, i)."""
    parts = [np.broadcast_to(block[rows], (len(block[rows]), n_groups, block.shape[2])) for block in blocks]
    features = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
    return np.ascontiguousarray(features.transpose(1, 0, 2))


@np.errstate(over="ignore", invalid="ignore")  # of steps that the clip would have stopped
def _learn_chunk(weights: Array, accumulator: Array, chunk: _Chunk, guard: _Guard | None) -> Array:
    """Learn a chunk in place and return its logits (samples, groups, neurons), not clipped yet."""
    dense = weights.shape[2] <= MAX_DENSE_SLOTS
    logits = (_dense_dots if dense else _gathered_dots)(weights, chunk.slots, chunk.inputs)
    accumulator_after = accumulator if guard is None else accumulator.copy()
    steps = _recursion(logits, accumulator_after, chunk)
    if guard is not None:
        clipped = _could_be_clipped(weights, steps, chunk, guard)
        accumulator_after[clipped] = accumulator[clipped]
        steps[:, clipped] = 0
        accumulator[:] = accumulator_after
        for group in np.flatnonzero(clipped.any(axis=1)).tolist():
            _learn_by_sample(weights[group], accumulator[group], chunk, group, clipped[group], guard.max_weight, logits)
    (_add_dense if dense else _add_gathered)(weights, chunk.slots, steps, chunk.directions)
    return logits


def _recursion(logits: Array, accumulator: Array, chunk: _Chunk) -> Array:
    """Turn logits under the chunk's first weights into those before each sample's step, in place; return the steps.

    `accumulator` (groups, neurons, r) is brought up to date.
    """
    n_samples = len(logits)
    steps, gains = np.empty_like(logits), np.empty_like(logits, accumulator.dtype)
    flat_accumulator, flat_slots = accumulator.reshape(-1), _flat_slots(accumulator, chunk.slots)
    squares = np.vecdot(chunk.inputs, chunk.directions).T[..., np.newaxis]
    if chunk.batch_size < n_samples:  # [r, t]: v_r . u_t, (samples, samples, groups, 1)
        products = (chunk.directions @ chunk.inputs.transpose(0, 2, 1)).transpose(1, 2, 0)[..., np.newaxis]
    for batch in chunk.batches():
        before = flat_accumulator[flat_slots[batch]].astype(logits.dtype, copy=False) if chunk.damping else None
        steps[batch], gains[batch] = _repeat(logits[batch], squares[batch], before, chunk, batch)
        if chunk.damping:  # else nothing in the chunk depends on its own accumulator
            np.add.at(flat_accumulator, flat_slots[batch], gains[batch])
        later = slice(batch.stop, n_samples)
        for r in range(batch.start, batch.stop) if batch.stop < n_samples else ():
            moved = steps[r] * products[r, later]
            moved *= chunk.slots[later] == chunk.slots[r]
            logits[later] -= moved
    if not chunk.damping:
        np.add.at(flat_accumulator, flat_slots, gains)
    return steps


def _repeat(
    logits: Array, squares: Array, accumulator: Array | None, chunk: _Chunk, rows: slice, neurons: Any = ...
) -> tuple[Array, Array]:
    """Return the summed steps and gains of all repeats of some samples; no accumulator is needed without damping."""
    targets, rates = chunk.targets[rows][neurons], chunk.rates[rows][neurons]
    if chunk.repeats is None:
        errors, gains = _error(logits, targets, chunk)
        steps = rates * errors
        return steps if accumulator is None else steps / (1 + chunk.damping * accumulator), gains
    repeats = chunk.repeats[rows][neurons]
    steps, summed = np.zeros_like(logits), np.zeros_like(logits)
    while (repeats > 0).any():
        part = np.clip(repeats, 0, 1)
        errors, gains = _error(logits - steps * squares, targets, chunk)
        damped = 1 if accumulator is None else 1 + chunk.damping * (accumulator + summed)
        steps += part * rates * errors / damped
        summed += part * gains
        repeats = repeats - 1
    return steps, summed


def _error(logits: Array, targets: Array, chunk: _Chunk) -> tuple[Array, Array]:
    """The derivative of the loss, and the gain of one repeat."""
    if chunk.loss == "squared":
        return logits - targets, np.ones_like(logits)
    clipped = np.minimum(np.maximum(logits, -chunk.limit), chunk.limit)  # np.clip takes longer on a few numbers
    errors = special.expit(clipped) - targets
    return errors, errors * errors


def _dense_dots(weights: Array, slots: Array, inputs: Array) -> Array:
    """weights[group, neuron, slot] . inputs by multiplying all slots of W: (samples, groups, neurons)."""
    n_groups, n_neurons, n_slots, n_inputs = weights.shape
    all_slots = weights.reshape(n_groups, n_neurons * n_slots, n_inputs).transpose(0, 2, 1)
    flat_slots = slots + n_slots * np.arange(n_neurons)
    dots = np.empty(slots.shape, weights.dtype)
    for start in range(0, len(slots), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        products = inputs[:, rows] @ all_slots
        dots[rows] = np.take_along_axis(products, flat_slots[rows].transpose(1, 0, 2), axis=2).transpose(1, 0, 2)
    return dots


def _add_dense(weights: Array, slots: Array, steps: Array, directions: Array) -> None:
    """weights[group, neuron, slot] -= step * direction, summed over samples: the adjoint of `_dense_dots`."""
    n_groups, n_neurons, n_slots, n_inputs = weights.shape
    gemm = get_blas_funcs("gemm", dtype=weights.dtype)
    flat_slots = slots + n_slots * np.arange(n_neurons)
    for start in range(0, len(slots), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        scattered = np.zeros((len(flat_slots[rows]), n_groups, n_neurons * n_slots), weights.dtype)
        np.put_along_axis(scattered, flat_slots[rows], steps[rows], axis=2)
        for group in range(n_groups):
            transposed = weights[group].reshape(-1, n_inputs).T  # in Fortran's order, so that gemm adds in place
            gemm(-1, directions[group, rows].T, scattered[:, group].T, 1, transposed, trans_b=True, overwrite_c=True)


def _gathered_dots(weights: Array, slots: Array, inputs: Array) -> Array:
    """As `_dense_dots`, gathering the selected slots of W; every dot product stands alone."""
    dots = np.empty(slots.shape, weights.dtype)
    for group, neuron in np.ndindex(weights.shape[:2]):
        selected = weights[group, neuron, slots[:, group, neuron]]
        dots[:, group, neuron] = np.vecdot(selected, inputs[min(group, len(inputs) - 1)])
    return dots


def _add_gathered(weights: Array, slots: Array, steps: Array, directions: Array) -> None:
    """As `_add_dense`, touching the selected slots of W only."""
    for group, neuron in np.ndindex(weights.shape[:2]):
        order = np.argsort(slots[:, group, neuron], kind="stable")
        met, first = np.unique(slots[order, group, neuron], return_index=True)
        moves = steps[order, group, neuron, np.newaxis] * directions[group, order]
        weights[group, neuron, met] -= np.add.reduceat(moves, first, axis=0)


def _could_be_clipped(weights: Array, steps: Array, chunk: _Chunk, guard: _Guard) -> Array:
    """Return whether a neuron's weights could reach the bound within the chunk: (groups, neurons)."""
    longest = np.abs(chunk.directions).max(axis=2, initial=0)
    growth = np.einsum("gr,rgn->gn", longest, np.abs(steps))
    doubtful = ~(guard.largest + growth <= guard.max_weight)  # NaN is: without the clip a recursion may overflow
    guard.largest[doubtful] = _largest(weights[doubtful])
    clipped: Array = ~(guard.largest + growth <= guard.max_weight)
    guard.largest[:] = np.where(clipped, guard.max_weight, guard.largest + growth)
    return clipped


def _largest(weights: Array) -> Array:
    """The largest |weight| of each neuron, without a copy of the weights."""
    return np.maximum(weights.max(axis=(-2, -1)), -weights.min(axis=(-2, -1)))


def _learn_by_sample(
    weights: Array, accumulator: Array, chunk: _Chunk, group: int, chosen: Array, max_weight: float, logits: Array
) -> None:
    """Learn a chunk for the chosen neurons of a group sample by sample, with the clip of every step."""
    neurons = np.flatnonzero(chosen)
    for batch in chunk.batches():
        slots = chunk.slots[batch, group][:, neurons]
        inputs, directions = chunk.inputs[group, batch], chunk.directions[group, batch]
        dots = np.stack([np.vecdot(weights[neurons, c], u) for c, u in zip(slots, inputs, strict=True)])
        squares = np.vecdot(inputs, directions)[:, np.newaxis]
        logits[batch, group, neurons] = dots
        of_group = (slice(None), group, neurons)
        before = accumulator[neurons, slots].astype(dots.dtype, copy=False)
        steps, gains = _repeat(dots, squares, before, chunk, batch, of_group)
        for met, step, gain, v in zip(slots, steps, gains, directions, strict=True):
            weights[neurons, met] -= step[:, np.newaxis] * v
            accumulator[neurons, met] += gain
        for met in slots:
            weights[neurons, met] = np.clip(weights[neurons, met], -max_weight, max_weight)


# Gaussian neurons: their steps are not linear in their predictions, so samples are learned one by one, all neurons at
# a time.


def gaussian_base(
    features: Array, dtype: str, *, scale: float, bias_means: tuple[float, ...], variance: float
) -> tuple[Array, Array]:
    n_samples, n_features = features.shape
    means = np.empty((n_samples, 1, 2 * n_features + len(bias_means)), dtype)
    means[:, 0, :n_features] = scale * features
    means[:, 0, n_features : 2 * n_features] = -means[:, 0, :n_features]
    means[:, 0, 2 * n_features :] = bias_means
    return means, np.full_like(means, variance)


def gaussian_learn(
    weights: Array,
    accumulator: Array,
    slots: Array,
    inputs: Sequence[tuple[Array, Array]],
    targets: Array,
    rates: Array,
    repeats: Array | None = None,
    *,
    normalized: bool,
    damping: float,
    max_error: float,
    max_weight: float,
    min_variance: float,
    max_variance: float,
) -> tuple[Array, Array, Array, Array]:
    n_samples, (n_outputs, n_neurons) = len(slots), weights.shape[:2]
    means, variances = (np.empty((n_samples, n_outputs, n_neurons), weights.dtype) for _ in range(2))
    slots = np.broadcast_to(slots, means.shape)
    outputs, neurons = np.ogrid[:n_outputs, :n_neurons]
    precisions, shifts = _natural_parameters(inputs)
    products = _natural_products(precisions, shifts)
    repeats = np.ones((n_samples, 1), weights.dtype) if repeats is None else repeats
    for t in range(n_samples):
        at = outputs, neurons, slots[t]
        a, h = precisions[t][:, np.newaxis], shifts[t][:, np.newaxis]
        aa, ah, hh, total = products[t].T[..., np.newaxis]
        w = weights[at]
        for repeat in range(max(1, int(np.ceil(repeats[t].max())))):
            m, v = _gaussian(np.vecdot(w, a), np.vecdot(w, h), min_variance, max_variance)
            if repeat == 0:
                means[t], variances[t] = m, v
            part = np.clip(repeats[t, :, np.newaxis] - repeat, 0, 1)  # (k|1, 1), of this repeat
            bound = max_error * np.sqrt(v)
            e = np.clip(targets[t, :, np.newaxis] - m, -bound, bound)
            rate = part * rates[t, :, np.newaxis] / (1 + damping * accumulator[at].astype(w.dtype, copy=False))
            if normalized:
                rate = rate / (v * (v * aa / 2 + np.maximum(hh - 2 * m * ah + m * m * aa, 0)))
            accumulator[at] += part
            along_a, along_h = rate * ((e * e - v) / 2 + e * m), rate * e
            stepped = w - along_a[..., np.newaxis] * a + along_h[..., np.newaxis] * h
            np.clip(stepped, 0, max_weight, out=stepped)
            precision = np.vecdot(stepped, a)
            within = np.clip(precision, 1 / max_variance, 1 / min_variance)
            corner = np.where(precision > within, 0, max_weight).astype(w.dtype, copy=False)
            way = corner * total - precision
            share = np.minimum((within - precision) / np.where(way == 0, 1, way), 1)[..., np.newaxis]
            stepped += share * (corner[..., np.newaxis] - stepped)
            w = np.where(part[..., np.newaxis] > 0, stepped, w)
        weights[at] = w
    return weights, accumulator, means, variances


def _natural_parameters(inputs: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Precisions 1 / v and shifts m / v of all inputs (n, k|1, i)."""
    n_outputs = max(means.shape[1] for means, _ in inputs)
    precisions = [np.broadcast_to(1 / v, (len(v), n_outputs, v.shape[2])) for _, v in inputs]
    shifts = [np.broadcast_to(m / v, (len(v), n_outputs, v.shape[2])) for m, v in inputs]
    return np.concatenate(precisions, axis=2), np.concatenate(shifts, axis=2)


def _natural_products(precisions: Array, shifts: Array) -> Array:
    """For each sample (n, k|1, 4): a . a, a . h and h . h of its precisions a and shifts h, and the sum of a."""
    pairs = (precisions, precisions), (precisions, shifts), (shifts, shifts)
    return np.stack([*(np.vecdot(x, y) for x, y in pairs), precisions.sum(axis=2)], axis=2)


def _gaussian(precision: Array, shift: Array, min_variance: float, max_variance: float) -> tuple[Array, Array]:
    """Mean and variance of a weighted product of Gaussians, from the products of its weights with their parameters."""
    precision = np.maximum(precision, 1 / max_variance)
    return shift / precision, np.clip(1 / precision, min_variance, max_variance)
