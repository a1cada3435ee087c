"""Kernels in NumPy: exact online learning as matrix products and a short recursion on scalars.

While no weight of a neuron is clipped, its logits in a block of rows follow from its weights W at the block's start:
s_t = W[c_t] . u_t - sum over earlier rows r in the same context of g_r (v_r . u_t), where g_r v_r is the step of row r.
So a block costs one product for W . u, one Gram product for v . u, a recursion over its rows, and one product for the
summed steps. Neurons whose weights could reach their bound within the block are run row by row instead.

Inside, neurons that share their inputs form a group: all of them (one group) or those of each output. Arrays have axes
(rows, groups, neurons), W is (groups, neurons, contexts, inputs).
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.linalg.blas import get_blas_funcs

from sklearn_gln.kernels import as_numpy

Array = NDArray[Any]
Groups = tuple[Array, Array]

ON_DEVICE = False
ROW_COUNTS = None
TASK_SIZE = 512  # bounds the products of a block with all rows of W
BLOCK_ROWS = 64
CACHED_ROWS = 128  # rows of one pass through several operations
MAX_PROJECTIONS = 2**23  # elements of one gating product
MAX_DENSE_CONTEXTS = 64  # up to here a product with every row of W beats gathering the selected ones


def scope(device: Any) -> AbstractContextManager[None]:
    if not isinstance(device, str | None) or device not in (None, "cpu"):
        raise ValueError(
            f"device={device!r} is not one of this backend, which knows 'cpu' only; leave it None, or choose "
            "backend='torch', 'tensorflow' or 'jax'."
        )
    return nullcontext()


def asarray(x: Any) -> Array:
    return x if isinstance(x, np.ndarray) else as_numpy(x)


def to_numpy(x: Array) -> Array:
    return x


def owns(x: Any) -> bool:
    return isinstance(x, np.ndarray)


def take(x: Array, rows: Array) -> Array:
    return x[rows]


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
            odds /= np.fmax.reduce(rows, axis=1, keepdims=True) - rows
            np.log(odds, out=odds)
        np.clip(odds, -max_logit, max_logit, out=logits[start : start + CACHED_ROWS])
        _zero_missing(logits[start : start + CACHED_ROWS])
    return logits


def _zero_missing(x: Array) -> Array:
    x[np.isnan(x)] = 0
    return x


def column_moments(x: Array, sample_weight: Array) -> tuple[Array, Array, Array]:
    missing = np.isnan(x)
    if missing.any():
        seen = np.where(missing, 0.0, sample_weight[:, np.newaxis])  # (n, d)
        x = np.where(missing, 0, x)
        weight = seen.sum(axis=0)
        scale = 1 / np.where(weight > 0, weight, 1)
        mean = np.einsum("nd,nd->d", seen, x, dtype=float) * scale
        return weight, mean, np.einsum("nd,nd->d", seen, np.square(x - mean))
    total = sample_weight.sum()
    mean = sample_weight @ x / max(total, np.finfo(float).tiny)
    return np.full(x.shape[1], total), mean, sample_weight @ np.square(x - mean)


def base_block(x: Array, dtype: str, bias: bool, *, square_scale: float = 0.0, square_limit: float = np.inf) -> Array:
    n_rows, n_columns = x.shape
    n_given = n_columns * (2 if square_scale else 1)
    block = np.ones((n_rows, 1, n_given + bias), dtype)
    block[:, 0, :n_columns] = x
    if square_scale:
        block[:, 0, n_columns:n_given] = square_scale * np.square(np.clip(x, -square_limit, square_limit))
    return block


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


def clip(x: Array, limits: Array) -> Array:
    return np.clip(x, -limits[:, np.newaxis], limits[:, np.newaxis])


def neuron_mean(x: Array) -> Array:
    return x.mean(axis=2, dtype=float)


def neuron_variance(x: Array) -> Array:
    return x.var(axis=2, dtype=float)


def at_rows(table: Array, rows: Array) -> Array:
    return table.take(_chains(table, rows))


def add_at_rows(table: Array, rows: Array, values: Array) -> Array:
    flat = table.reshape(-1)
    np.add.at(flat, _chains(table, rows).ravel(), values.ravel().astype(table.dtype, copy=False))
    return flat.reshape(table.shape)


def _chains(table: Array, rows: Array) -> Array:
    """Where the flat table (k, j, r) has the rows (n, k|1, j): (n, k, j)."""
    return rows + np.arange(0, table.size, table.shape[2]).reshape(table.shape[:2])


def expand(array: Array, row_of: Array) -> Array:
    rows = np.broadcast_to(row_of, (*array.shape[:2], row_of.shape[2]))
    return np.take_along_axis(array, rows.reshape(rows.shape + (1,) * (array.ndim - 3)), axis=2)


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
    return moment + (targets * sample_weight).T @ block[:, 0]


def _split(block: Array, places: Array) -> Array:
    """Columns of a block (n, 1, d) in groups (n, g, b)."""
    filled = np.pad(block[:, 0], ((0, 0), (0, 1))) if places.size > block.shape[2] else block[:, 0]
    return np.take(filled, places, axis=1)


def damped_inverse(moment: Array, weight: float, floor: float, dtype: str, ridge: float = 1.0) -> Array:
    second_moment = moment / weight
    size = second_moment.shape[-1]
    mean_eigenvalue = np.maximum(np.trace(second_moment, axis1=1, axis2=2) / size, floor)
    mean_eigenvalue[mean_eigenvalue == 0] = 1
    damping = ridge * mean_eigenvalue[:, np.newaxis, np.newaxis] * np.eye(size)
    return np.linalg.inv(second_moment + damping).astype(dtype)  # condition number at most size / ridge + 1


def linear_infer(weights: Array, contexts: Array, inputs: Sequence[Array], *, limit: float) -> Array:
    # Gathered rows, one dot product each: a row's logits do not depend, even in rounding, on the rows beside it.
    logits = np.empty((len(contexts), *weights.shape[:2]), weights.dtype)
    contexts = np.broadcast_to(contexts, logits.shape)
    for start in range(0, len(contexts), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        logits[rows] = _gathered_dots(weights, contexts[rows], _features(inputs, rows, len(weights)))
    return np.clip(logits, -limit, limit, out=logits)


def linear_learn(
    weights: Array,
    energy: Array,
    contexts: Array,
    inputs: Sequence[Array],
    directions: Sequence[Array],
    targets: Array,
    rates: Array,
    sample_weight: Array | None = None,
    *,
    loss: str,
    damping: float,
    limit: float,
    max_weight: float,
    batch_size: int,
) -> tuple[Array, Array, Array]:
    n_rows, (n_outputs, n_neurons, n_contexts, n_inputs) = len(contexts), weights.shape
    n_groups = 1 if all(block.shape[1] == 1 for block in inputs) else n_outputs
    neurons = (n_groups, n_outputs * n_neurons // n_groups)

    def by_group(array: Array) -> Array:  # (n, k|1, j|1) -> (n, groups, neurons)
        return np.broadcast_to(array, (n_rows, n_outputs, n_neurons)).reshape(n_rows, *neurons)

    grouped_weights = weights.reshape(*neurons, n_contexts, n_inputs)  # views
    grouped_energy = energy.reshape(*neurons, n_contexts)
    contexts = by_group(contexts)
    targets, rates = by_group(targets[..., np.newaxis]), by_group(rates[..., np.newaxis])
    visits = None if sample_weight is None else by_group(sample_weight[..., np.newaxis])
    guard = _Guard(max_weight, _largest(grouped_weights)) if np.isfinite(max_weight) else None
    logits = np.empty((n_rows, *neurons), weights.dtype)
    block_rows = batch_size * max(1, BLOCK_ROWS // batch_size)
    for start in range(0, n_rows, block_rows):
        rows = slice(start, start + block_rows)
        block = _Block(
            contexts[rows],
            _features(inputs, rows, n_groups),
            _features(directions, rows, n_groups),
            targets[rows],
            rates[rows],
            None if visits is None else visits[rows],
            loss,
            damping,
            limit,
            batch_size,
        )
        logits[rows] = _learn_block(grouped_weights, grouped_energy, block, guard)
    np.clip(logits, -limit, limit, out=logits)
    return weights, energy, logits.reshape(n_rows, n_outputs, n_neurons)


class _Block(NamedTuple):
    """Rows to learn, whole batches of them."""

    contexts: Array  # (rows, groups, neurons)
    inputs: Array  # (groups, rows, i)
    directions: Array  # (groups, rows, i)
    targets: Array  # (rows, groups, neurons)
    rates: Array  # (rows, groups, neurons)
    visits: Array | None  # (rows, groups, neurons)
    loss: str
    damping: float
    limit: float
    batch_size: int

    def batches(self) -> Iterator[slice]:
        n_rows = len(self.contexts)
        return (slice(b, min(b + self.batch_size, n_rows)) for b in range(0, n_rows, self.batch_size))


class _Guard(NamedTuple):
    """Which neurons could be clipped: `largest` (groups, neurons) bounds their |weights| and is kept up to date."""

    max_weight: float
    largest: Array


def _features(blocks: Sequence[Array], rows: slice, n_groups: int) -> Array:
    """The blocks of each group side by side: (groups, rows, i)."""
    parts = [np.broadcast_to(block[rows], (len(block[rows]), n_groups, block.shape[2])) for block in blocks]
    features = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
    return np.ascontiguousarray(features.transpose(1, 0, 2))


@np.errstate(over="ignore", invalid="ignore")  # of steps that the clip would have stopped
def _learn_block(weights: Array, energy: Array, block: _Block, guard: _Guard | None) -> Array:
    """Learn a block in place and return its logits (rows, groups, neurons), not clipped yet."""
    dense = weights.shape[2] <= MAX_DENSE_CONTEXTS
    logits = (_dense_dots if dense else _gathered_dots)(weights, block.contexts, block.inputs)
    energy_after = energy if guard is None else energy.copy()
    steps = _recursion(logits, energy_after, block)
    if guard is not None:
        clipped = _could_be_clipped(weights, steps, block, guard)
        energy_after[clipped] = energy[clipped]
        steps[:, clipped] = 0
        energy[:] = energy_after
        for group in np.flatnonzero(clipped.any(axis=1)).tolist():
            _learn_by_row(weights[group], energy[group], block, group, clipped[group], guard.max_weight, logits)
    (_add_dense if dense else _add_gathered)(weights, block.contexts, steps, block.directions)
    return logits


def _recursion(logits: Array, energy: Array, block: _Block) -> Array:
    """Turn logits under the block's first weights into those before each row's step, in place; return the steps.

    `energy` (groups, neurons, c) is brought up to date.
    """
    n_rows = len(logits)
    steps, gains = np.empty_like(logits), np.empty_like(logits, energy.dtype)
    flat_energy, chains = energy.reshape(-1), _chains(energy, block.contexts)
    squares = np.vecdot(block.inputs, block.directions).T[..., np.newaxis]
    if block.batch_size < n_rows:  # [r, t]: v_r . u_t, (rows, rows, groups, 1)
        products = (block.directions @ block.inputs.transpose(0, 2, 1)).transpose(1, 2, 0)[..., np.newaxis]
    for batch in block.batches():
        before = flat_energy[chains[batch]].astype(logits.dtype, copy=False) if block.damping else None
        steps[batch], gains[batch] = _visit(logits[batch], squares[batch], before, block, batch)
        if block.damping:  # else nothing in the block depends on its own energy
            np.add.at(flat_energy, chains[batch], gains[batch])
        later = slice(batch.stop, n_rows)
        for r in range(batch.start, batch.stop) if batch.stop < n_rows else ():
            moved = steps[r] * products[r, later]
            moved *= block.contexts[later] == block.contexts[r]
            logits[later] -= moved
    if not block.damping:
        np.add.at(flat_energy, chains, gains)
    return steps


def _visit(
    logits: Array, squares: Array, energy: Array | None, block: _Block, rows: slice, neurons: Any = ...
) -> tuple[Array, Array]:
    """The summed step and energy of all visits of some rows; `energy` may be None where nothing is damped."""
    targets, rates = block.targets[rows][neurons], block.rates[rows][neurons]
    if block.visits is None:
        errors, gains = _error(logits, targets, block)
        steps = rates * errors
        return steps if energy is None else steps / (1 + block.damping * energy), gains
    visits = block.visits[rows][neurons]
    steps, summed = np.zeros_like(logits), np.zeros_like(logits)
    while (visits > 0).any():
        part = np.clip(visits, 0, 1)
        errors, gains = _error(logits - steps * squares, targets, block)
        damped = 1 if energy is None else 1 + block.damping * (energy + summed)
        steps += part * rates * errors / damped
        summed += part * gains
        visits = visits - 1
    return steps, summed


def _error(logits: Array, targets: Array, block: _Block) -> tuple[Array, Array]:
    """The derivative of the loss, and the energy of one visit."""
    if block.loss == "squared":
        return logits - targets, np.ones_like(logits)
    clipped = np.minimum(np.maximum(logits, -block.limit), block.limit)  # np.clip takes longer on a few numbers
    errors = special.expit(clipped) - targets
    return errors, errors * errors


def _dense_dots(weights: Array, contexts: Array, inputs: Array) -> Array:
    """weights[group, neuron, context] . inputs by multiplying all rows of W: (rows, groups, neurons)."""
    n_groups, n_neurons, n_contexts, n_inputs = weights.shape
    all_rows = weights.reshape(n_groups, n_neurons * n_contexts, n_inputs).transpose(0, 2, 1)
    chains = contexts + n_contexts * np.arange(n_neurons)
    dots = np.empty(contexts.shape, weights.dtype)
    for start in range(0, len(contexts), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        products = inputs[:, rows] @ all_rows
        dots[rows] = np.take_along_axis(products, chains[rows].transpose(1, 0, 2), axis=2).transpose(1, 0, 2)
    return dots


def _add_dense(weights: Array, contexts: Array, steps: Array, directions: Array) -> None:
    """weights[group, neuron, context] -= step * direction, summed over rows: the adjoint of `_dense_dots`."""
    n_groups, n_neurons, n_contexts, n_inputs = weights.shape
    gemm = get_blas_funcs("gemm", dtype=weights.dtype)
    chains = contexts + n_contexts * np.arange(n_neurons)
    for start in range(0, len(contexts), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        scattered = np.zeros((len(chains[rows]), n_groups, n_neurons * n_contexts), weights.dtype)
        np.put_along_axis(scattered, chains[rows], steps[rows], axis=2)
        for group in range(n_groups):
            transposed = weights[group].reshape(-1, n_inputs).T  # in Fortran's order, so that gemm adds in place
            gemm(-1, directions[group, rows].T, scattered[:, group].T, 1, transposed, trans_b=True, overwrite_c=True)


def _gathered_dots(weights: Array, contexts: Array, inputs: Array) -> Array:
    """As `_dense_dots`, gathering the selected rows of W; every dot product stands alone."""
    dots = np.empty(contexts.shape, weights.dtype)
    for group, neuron in np.ndindex(weights.shape[:2]):
        selected = weights[group, neuron, contexts[:, group, neuron]]
        dots[:, group, neuron] = np.vecdot(selected, inputs[min(group, len(inputs) - 1)])
    return dots


def _add_gathered(weights: Array, contexts: Array, steps: Array, directions: Array) -> None:
    """As `_add_dense`, touching the selected rows of W only."""
    for group, neuron in np.ndindex(weights.shape[:2]):
        order = np.argsort(contexts[:, group, neuron], kind="stable")
        met, first = np.unique(contexts[order, group, neuron], return_index=True)
        moves = steps[order, group, neuron, np.newaxis] * directions[group, order]
        weights[group, neuron, met] -= np.add.reduceat(moves, first, axis=0)


def _could_be_clipped(weights: Array, steps: Array, block: _Block, guard: _Guard) -> Array:
    """Whether a neuron's weights could reach the bound within the block: (groups, neurons)."""
    longest = np.abs(block.directions).max(axis=2, initial=0)
    growth = np.einsum("gr,rgn->gn", longest, np.abs(steps))
    doubtful = ~(guard.largest + growth <= guard.max_weight)  # NaN is: without the clip a recursion may overflow
    guard.largest[doubtful] = _largest(weights[doubtful])
    clipped: Array = ~(guard.largest + growth <= guard.max_weight)
    guard.largest[:] = np.where(clipped, guard.max_weight, guard.largest + growth)
    return clipped


def _largest(weights: Array) -> Array:
    """The largest |weight| of each neuron, without a copy of the weights."""
    return np.maximum(weights.max(axis=(-2, -1)), -weights.min(axis=(-2, -1)))


def _learn_by_row(
    weights: Array, energy: Array, block: _Block, group: int, chosen: Array, max_weight: float, logits: Array
) -> None:
    """Learn a block for the chosen neurons of a group one row after the other, with the clip of every step."""
    neurons = np.flatnonzero(chosen)
    for batch in block.batches():
        contexts = block.contexts[batch, group][:, neurons]
        inputs, directions = block.inputs[group, batch], block.directions[group, batch]
        dots = np.stack([np.vecdot(weights[neurons, c], u) for c, u in zip(contexts, inputs, strict=True)])
        squares = np.vecdot(inputs, directions)[:, np.newaxis]
        logits[batch, group, neurons] = dots
        of_group = (slice(None), group, neurons)
        before = energy[neurons, contexts].astype(dots.dtype, copy=False)
        steps, gains = _visit(dots, squares, before, block, batch, of_group)
        for context, step, gain, v in zip(contexts, steps, gains, directions, strict=True):
            weights[neurons, context] -= step[:, np.newaxis] * v
            energy[neurons, context] += gain
        for context in contexts:
            weights[neurons, context] = np.clip(weights[neurons, context], -max_weight, max_weight)


# Gaussian neurons: their steps are not linear in what they predict, so rows are learned one by one, all neurons at a
# time.


def gaussian_base(
    features: Array, dtype: str, *, scale: float, bias_means: tuple[float, ...], variance: float
) -> tuple[Array, Array]:
    n_rows, n_features = features.shape
    means = np.empty((n_rows, 1, 2 * n_features + len(bias_means)), dtype)
    means[:, 0, :n_features] = scale * features
    means[:, 0, n_features : 2 * n_features] = -means[:, 0, :n_features]
    means[:, 0, 2 * n_features :] = bias_means
    return means, np.full_like(means, variance)


def gaussian_infer(
    weights: Array,
    contexts: Array,
    inputs: Sequence[tuple[Array, Array]],
    *,
    min_variance: float,
    max_variance: float,
) -> tuple[Array, Array]:
    precisions, shifts = zip(*((1 / v, m / v) for m, v in inputs), strict=True)
    return _gaussian(
        linear_infer(weights, contexts, precisions, limit=np.inf),
        linear_infer(weights, contexts, shifts, limit=np.inf),
        min_variance,
        max_variance,
    )


def gaussian_learn(
    weights: Array,
    counts: Array,
    contexts: Array,
    inputs: Sequence[tuple[Array, Array]],
    targets: Array,
    rates: Array,
    sample_weight: Array | None = None,
    *,
    normalized: bool,
    damping: float,
    max_error: float,
    max_weight: float,
    min_variance: float,
    max_variance: float,
) -> tuple[Array, Array, Array, Array]:
    n_rows, (n_outputs, n_neurons) = len(contexts), weights.shape[:2]
    means, variances = (np.empty((n_rows, n_outputs, n_neurons), weights.dtype) for _ in range(2))
    contexts = np.broadcast_to(contexts, means.shape)
    outputs, neurons = np.ogrid[:n_outputs, :n_neurons]
    precisions, shifts = _natural_parameters(inputs)
    products = _natural_products(precisions, shifts)
    visits = np.ones((n_rows, 1), weights.dtype) if sample_weight is None else sample_weight
    for t in range(n_rows):
        at = outputs, neurons, contexts[t]
        a, h = precisions[t][:, np.newaxis], shifts[t][:, np.newaxis]
        aa, ah, hh, total = products[t].T[..., np.newaxis]
        w = weights[at]
        for visit in range(max(1, int(np.ceil(visits[t].max())))):
            m, v = _gaussian(np.vecdot(w, a), np.vecdot(w, h), min_variance, max_variance)
            if visit == 0:
                means[t], variances[t] = m, v
            part = np.clip(visits[t, :, np.newaxis] - visit, 0, 1)  # (k|1, 1), of this visit
            bound = max_error * np.sqrt(v)
            e = np.clip(targets[t, :, np.newaxis] - m, -bound, bound)
            rate = part * rates[t, :, np.newaxis] / (1 + damping * counts[at].astype(w.dtype, copy=False))
            if normalized:
                rate = rate / (v * (v * aa / 2 + np.maximum(hh - 2 * m * ah + m * m * aa, 0)))
            counts[at] += part
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
    return weights, counts, means, variances


def _natural_parameters(inputs: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Precisions 1 / v and shifts m / v of all inputs (n, k|1, i)."""
    n_outputs = max(means.shape[1] for means, _ in inputs)
    precisions = [np.broadcast_to(1 / v, (len(v), n_outputs, v.shape[2])) for _, v in inputs]
    shifts = [np.broadcast_to(m / v, (len(v), n_outputs, v.shape[2])) for m, v in inputs]
    return np.concatenate(precisions, axis=2), np.concatenate(shifts, axis=2)


def _natural_products(precisions: Array, shifts: Array) -> Array:
    """For each row (n, k|1, 4): a . a, a . h and h . h of its precisions a and shifts h, and the sum of a."""
    pairs = (precisions, precisions), (precisions, shifts), (shifts, shifts)
    return np.stack([*(np.vecdot(x, y) for x, y in pairs), precisions.sum(axis=2)], axis=2)


def _gaussian(precision: Array, shift: Array, min_variance: float, max_variance: float) -> tuple[Array, Array]:
    """Mean and variance of a weighted product of Gaussians, from the products of its weights with their parameters."""
    precision = np.maximum(precision, 1 / max_variance)
    return shift / precision, np.clip(1 / precision, min_variance, max_variance)
