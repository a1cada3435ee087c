"""Kernels compiled by Numba: the textbook loops, ordered for the caches.

A neuron's slots are independent of one another, so the samples of each slot are run from the first to the last while
its weights stay in the L1 cache. Outputs that share halfspaces take each sample together, so that it is fetched once.
Threads are the caller's (``TASK_SIZE``): ``parallel=True`` would abort under two Python threads or after a fork.
"""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.lib.stride_tricks import as_strided

from sklearn_gln.kernels import _rows_numba
from sklearn_gln.kernels._columns_numba import columns_infer, columns_learn  # noqa: F401
from sklearn_gln.kernels._jit import inline, jit
from sklearn_gln.kernels._neuron_numba import dot, move, repeat, within
from sklearn_gln.kernels._numpy import (  # noqa: F401  (the rest of the contract)
    CHUNK_SIZES,
    MAX_PROJECTIONS,
    ON_DEVICE,
    Array,
    _natural_parameters,
    _natural_products,
    add_at_slots,
    add_cross_moment,
    add_second_moment,
    asarray,
    at_slots,
    clip,
    column_moments,
    damped_inverse,
    expand,
    extremes,
    fill_missing,
    gaussian_base,
    input_block,
    logit,
    minimum,
    minmax_logit,
    neuron_mean,
    neuron_moments,
    owns,
    precondition,
    scope,
    side_by_side,
    standardize,
    take,
    to_numpy,
)

TASK_SIZE = 32
OUTPUTS_TOGETHER = True
ROWS = _rows_numba
LOCKSTEP = 4  # neurons at most; fewer where their weights would crowd the L1 cache
LOCKSTEP_INPUTS = 1024


def select_contexts(side_info: Array, hyperplanes: Array, offsets: Array, dtype: str) -> Array:
    side_info, hyperplanes, offsets = (array.astype(dtype, copy=False) for array in (side_info, hyperplanes, offsets))
    n_outputs, n_neurons, context_dim, n_side = hyperplanes.shape
    normals = hyperplanes.reshape(-1, n_side).T
    thresholds = offsets.reshape(n_outputs * n_neurons, context_dim)
    contexts = np.empty((len(side_info), n_outputs, n_neurons), np.int32)
    rows_per_product = max(1, MAX_PROJECTIONS // max(1, normals.shape[1]))
    for start in range(0, len(side_info), rows_per_product):
        rows = slice(start, start + rows_per_product)
        _pack(side_info[rows] @ normals, thresholds, contexts[rows].reshape(-1, n_outputs * n_neurons))
    return contexts


@jit
def _pack(projections, thresholds, contexts):
    n_neurons, context_dim = thresholds.shape
    for t in range(len(projections)):
        q = 0
        for j in range(n_neurons):
            context = 0
            for bit in range(context_dim):
                context |= int(projections[t, q] > thresholds[j, bit]) << bit
                q += 1
            contexts[t, j] = context


def linear_infer(weights: Array, slots: Array, inputs: Sequence[Array], *, limit: float) -> Array:
    logits = np.empty((len(slots), *weights.shape[:2]), weights.dtype)
    addressed = _by_row(weights), *_addresses(weights, slots)
    _infer(*addressed, *_two_blocks(inputs), weights.dtype.type(limit), logits)
    return logits


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
    logits = np.empty((len(slots), *weights.shape[:2]), weights.dtype)
    if repeats is None:
        repeats = squares = np.empty((0, 1), weights.dtype)
    else:
        # Copies: a view that is read-only would be another type, for which all is compiled again.
        repeats = np.array(np.broadcast_to(repeats, (len(logits), len(weights))), order="C")
        squares = sum(np.vecdot(u, v) for u, v in zip(inputs, directions, strict=True))
        squares = np.array(np.broadcast_to(squares, repeats.shape), order="C")
    scalar = weights.dtype.type  # one float64 scalar would make the inner loops run in float64
    arguments = (
        _by_row(weights),
        _by_row(accumulator),
        *_addresses(weights, slots),
        *_two_blocks(inputs),
        *_two_blocks(directions),
        np.ascontiguousarray(targets),
        np.ascontiguousarray(rates),
        repeats,
        squares,
        loss == "squared",
        scalar(damping),
        scalar(limit),
        None if max_weight == np.inf else scalar(max_weight),  # None is a type: the loops without it have no bounds
    )
    if batch_size == 1:
        (_learn_together if slots.shape[1] < weights.shape[0] else _learn)(*arguments, logits)
    else:
        _learn_batches(*arguments, batch_size, logits)
    return weights, accumulator, logits


def _two_blocks(blocks: Sequence[Array]) -> tuple[Array, Array]:
    """The previous layer's block, empty if there is none, and the base block."""
    *previous, base = (np.ascontiguousarray(block) for block in blocks)
    return previous[0] if previous else np.empty((len(base), 1, 0), base.dtype), base


def _by_row(array: Array) -> Array:
    """An array (k, j, r, ...), maybe of some neurons of a larger one, as rows (n, ...): of one compiled type."""
    n_outputs, n_neurons, n_slots, *of_row = array.shape
    n_rows = (n_outputs - 1) * (array.strides[0] // array.strides[2]) + n_neurons * n_slots
    return as_strided(array, (n_rows, *of_row), array.strides[2:])


def _addresses(weights: Array, slots: Array) -> tuple[int, int, Array]:
    """The rows of one output, of one neuron, and the slots (k|1, j, n): row k * step + j * n_slots + slot."""
    step, n_slots = weights.strides[0] // weights.strides[2], weights.shape[2]
    return step, n_slots, np.ascontiguousarray(slots.transpose(1, 2, 0))


# A view that is given a name costs two atomic operations wherever it is made: below views are taken in the calls. Names
# are those of `_neuron_numba`.


@inline
def _step_and_dot(w, g, v, z, max_weight, p, x):
    """One sample's step and the next sample's dot product in one pass over the weights."""
    from_previous = from_base = w.dtype.type(0)
    for i in range(v.size):
        stepped = within(w[i] - g * v[i], max_weight)
        w[i] = stepped
        from_previous += stepped * p[i]
    n_previous = np.uint64(v.size)
    for i in range(z.size):
        at = n_previous + np.uint64(i)
        stepped = within(w[at] - g * z[i], max_weight)
        w[at] = stepped
        from_base += stepped * x[i]
    return from_previous + from_base


@inline
def _sort_by_slot(slots, n_slots, ends, order):
    """Fill `order` with the samples of slot 0 in time order, then those of slot 1, ...; `ends` with their ends."""
    ends[:] = 0
    for t in range(slots.size):
        ends[slots[t]] += 1
    start = 0
    for slot in range(n_slots):
        start, ends[slot] = start + ends[slot], start
    for t in range(slots.size):
        order[ends[slots[t]]] = t
        ends[slots[t]] += 1


@jit
def _infer(weights, step, n_slots, slots, previous, base, limit, logits):
    n_samples, n_outputs, n_neurons = logits.shape
    ends = np.empty(n_slots, np.int64)
    order = np.empty(n_samples, np.int64)
    for ks in range(len(slots)):
        first, last = _outputs_of(ks, slots, n_outputs)
        for j in range(n_neurons):
            _sort_by_slot(slots[ks, j], n_slots, ends, order)
            for r in range(n_samples):
                t = order[r]
                row = j * n_slots + slots[ks, j, t]
                for k in range(first, last):
                    kp, kb = min(k, previous.shape[1] - 1), min(k, base.shape[1] - 1)
                    s = dot(weights[k * step + row], previous[t, kp], base[t, kb])
                    logits[t, k, j] = min(max(s, -limit), limit)


@inline
def _outputs_of(ks, slots, n_outputs):
    """The outputs, first and last + 1, whose slots these are."""
    return (0, n_outputs) if len(slots) == 1 else (ks, ks + 1)


@jit
def _learn(
    weights, accumulator, step, n_slots, slots, previous, base, previous_directions, base_directions, targets, rates,
    repeats, squares, squared, damping, limit, max_weight, logits,
):  # fmt: skip
    """Batches of one sample. Some neurons take their samples in lockstep, so that their scalar work overlaps."""
    n_samples, n_outputs, n_neurons = logits.shape
    lockstep = min(LOCKSTEP, max(1, LOCKSTEP_INPUTS // max(1, weights.shape[1])))
    one = weights.dtype.type(1)
    times, square = one, one
    ends = np.empty(n_slots, np.int64)
    order = np.empty((LOCKSTEP, n_samples), np.int64)
    # Each neuron's next logit, then the size of its step: narrow layers take twice as long with two arrays.
    s = np.empty(LOCKSTEP, weights.dtype)
    for k in range(n_outputs):
        ks, kr = min(k, len(slots) - 1), min(k, rates.shape[1] - 1)
        kp, kb = min(k, previous.shape[1] - 1), min(k, base.shape[1] - 1)
        for first in range(0, n_neurons if n_samples else 0, lockstep):
            in_step = min(lockstep, n_neurons - first)
            row = k * step + first * n_slots
            for q in range(in_step):
                _sort_by_slot(slots[ks, first + q], n_slots, ends, order[q])
                t = order[q, 0]
                s[q] = dot(weights[row + q * n_slots + slots[ks, first + q, t]], previous[t, kp], base[t, kb])
            for r in range(n_samples):
                for q in range(in_step):
                    t, j = order[q, r], first + q
                    at = row + q * n_slots + slots[ks, j, t]
                    logits[t, k, j] = min(max(s[q], -limit), limit)
                    if repeats.size:
                        times, square = repeats[t, k], squares[t, k]
                    before = weights.dtype.type(accumulator[at])
                    s[q], gain = repeat(
                        s[q], targets[t, k], rates[t, kr], before, square, times, one, squared, damping, limit
                    )
                    accumulator[at] += gain
                for q in range(in_step):
                    t, j = order[q, r], first + q
                    slot = slots[ks, j, t]
                    after = order[q, min(r + 1, n_samples - 1)]
                    at = row + q * n_slots
                    if r + 1 < n_samples and slots[ks, j, after] == slot:
                        s[q] = _step_and_dot(
                            weights[at + slot], s[q], previous_directions[t, kp], base_directions[t, kb], max_weight,
                            previous[after, kp], base[after, kb],
                        )  # fmt: skip
                    else:
                        move(weights[at + slot], s[q], previous_directions[t, kp], base_directions[t, kb], max_weight)
                        s[q] = dot(weights[at + slots[ks, j, after]], previous[after, kp], base[after, kb])


@jit
def _learn_together(
    weights, accumulator, step, n_slots, slots, previous, base, previous_directions, base_directions, targets, rates,
    repeats, squares, squared, damping, limit, max_weight, logits,
):  # fmt: skip
    """As `_learn`, with all outputs of a neuron in lockstep, which share its slots."""
    n_samples, n_outputs, n_neurons = logits.shape
    one = weights.dtype.type(1)
    times, square = one, one
    ends = np.empty(n_slots, np.int64)
    order = np.empty(n_samples, np.int64)
    s = np.empty(n_outputs, weights.dtype)
    for j in range(n_neurons if n_samples else 0):
        _sort_by_slot(slots[0, j], n_slots, ends, order)
        t = order[0]
        row = j * n_slots + slots[0, j, t]
        for k in range(n_outputs):
            kp, kb = min(k, previous.shape[1] - 1), min(k, base.shape[1] - 1)
            s[k] = dot(weights[k * step + row], previous[t, kp], base[t, kb])
        for r in range(n_samples):
            t, after = order[r], order[min(r + 1, n_samples - 1)]
            row, then = j * n_slots + slots[0, j, t], j * n_slots + slots[0, j, after]
            for k in range(n_outputs):
                at = k * step + row
                logits[t, k, j] = min(max(s[k], -limit), limit)
                if repeats.size:
                    times, square = repeats[t, k], squares[t, k]
                before, rate = weights.dtype.type(accumulator[at]), rates[t, min(k, rates.shape[1] - 1)]
                s[k], gain = repeat(s[k], targets[t, k], rate, before, square, times, one, squared, damping, limit)
                accumulator[at] += gain
            if r + 1 < n_samples and then == row:
                for k in range(n_outputs):
                    kp, kb = min(k, previous.shape[1] - 1), min(k, base.shape[1] - 1)
                    s[k] = _step_and_dot(
                        weights[k * step + row], s[k], previous_directions[t, kp], base_directions[t, kb], max_weight,
                        previous[after, kp], base[after, kb],
                    )  # fmt: skip
                continue
            for k in range(n_outputs):
                kp, kb = min(k, previous.shape[1] - 1), min(k, base.shape[1] - 1)
                move(weights[k * step + row], s[k], previous_directions[t, kp], base_directions[t, kb], max_weight)
                s[k] = dot(weights[k * step + then], previous[after, kp], base[after, kb])


@jit
def _learn_batches(
    weights, accumulator, step, n_slots, slots, previous, base, previous_directions, base_directions, targets, rates,
    repeats, squares, squared, damping, limit, max_weight, batch_size, logits,
):  # fmt: skip
    """Batches of several: a slot's samples in one batch see the same weights, and their steps are clipped once."""
    n_samples, n_outputs, n_neurons = logits.shape
    one = weights.dtype.type(1)
    times, square = one, one
    ends = np.empty(n_slots, np.int64)
    order = np.empty(n_samples, np.int64)
    steps = np.empty(n_samples, weights.dtype)
    for ks in range(len(slots)):
        first_k, last_k = _outputs_of(ks, slots, n_outputs)
        for j in range(n_neurons):
            _sort_by_slot(slots[ks, j], n_slots, ends, order)
            first = 0
            while first < n_samples:
                slot, batch = slots[ks, j, order[first]], order[first] // batch_size
                last = first
                while last < ends[slot] and order[last] // batch_size == batch:
                    last += 1
                for k in range(first_k, last_k):
                    kp, kb, kr = min(k, previous.shape[1] - 1), min(k, base.shape[1] - 1), min(k, rates.shape[1] - 1)
                    at = k * step + j * n_slots + slot
                    summed, before = one - one, weights.dtype.type(accumulator[at])
                    for r in range(first, last):
                        t = order[r]
                        s = dot(weights[at], previous[t, kp], base[t, kb])
                        logits[t, k, j] = min(max(s, -limit), limit)
                        if repeats.size:
                            times, square = repeats[t, k], squares[t, k]
                        steps[r], gain = repeat(
                            s, targets[t, k], rates[t, kr], before, square, times, one, squared, damping, limit
                        )
                        summed += gain
                    accumulator[at] += summed
                    for r in range(first, last):
                        t = order[r]
                        move(weights[at], steps[r], previous_directions[t, kp], base_directions[t, kb], None)
                    if max_weight is not None:
                        for i in range(weights.shape[1]):
                            weights[at, i] = within(weights[at, i], max_weight)
                first = last


# Gaussian neurons: (a, h) are the precisions and shifts of one sample's inputs.


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
    means, variances = (np.empty((len(slots), *weights.shape[:2]), weights.dtype) for _ in range(2))
    repeats = np.ones((len(slots), 1), weights.dtype) if repeats is None else repeats
    precisions, shifts = _natural_parameters(inputs)
    constants = map(weights.dtype.type, (damping, max_error, max_weight, min_variance, max_variance))
    _learn_gaussian(
        _by_row(weights),
        _by_row(accumulator),
        *_addresses(weights, slots),
        precisions,
        shifts,
        _natural_products(precisions, shifts),
        np.ascontiguousarray(targets),
        np.ascontiguousarray(rates),
        np.ascontiguousarray(repeats),
        normalized,
        *constants,
        means,
        variances,
    )
    return weights, accumulator, means, variances


@inline
def _mix(w, a, h, min_variance, max_variance):
    """Mean and variance of the weighted product of Gaussians."""
    one = w.dtype.type(1)
    precision = shift = w.dtype.type(0)
    for i in range(w.size):
        precision += w[i] * a[i]
        shift += w[i] * h[i]
    precision = max(precision, one / max_variance)
    return shift / precision, min(max(one / precision, min_variance), max_variance)


@inline
def _step_gaussian(w, a, h, along_a, along_h, max_weight, total, min_variance, max_variance):
    zero, one = w.dtype.type(0), w.dtype.type(1)
    precision = zero
    for i in range(w.size):
        w[i] = min(max(w[i] - along_a * a[i] + along_h * h[i], zero), max_weight)
        precision += w[i] * a[i]
    within = min(max(precision, one / max_variance), one / min_variance)
    corner = zero if precision > within else max_weight
    if precision != within and corner * total != precision:
        share = min((within - precision) / (corner * total - precision), one)
        for i in range(w.size):
            w[i] += share * (corner - w[i])


@jit
def _learn_gaussian(
    weights, accumulator, step, n_slots, slots, precisions, shifts, products, targets, rates, repeats,
    normalized, damping, max_error, max_weight, min_variance, max_variance, means, variances,
):  # fmt: skip
    n_samples, n_outputs, n_neurons = means.shape
    zero, one, two = weights.dtype.type(0), weights.dtype.type(1), weights.dtype.type(2)
    ends = np.empty(n_slots, np.int64)
    order = np.empty(n_samples, np.int64)
    for ks in range(len(slots)):
        first_k, last_k = _outputs_of(ks, slots, n_outputs)
        for j in range(n_neurons):
            _sort_by_slot(slots[ks, j], n_slots, ends, order)
            for r in range(n_samples):
                t = order[r]
                row = j * n_slots + slots[ks, j, t]
                for k in range(first_k, last_k):
                    at, kp = k * step + row, min(k, precisions.shape[1] - 1)
                    m, v = _mix(weights[at], precisions[t, kp], shifts[t, kp], min_variance, max_variance)
                    means[t, k, j], variances[t, k, j] = m, v
                    left = repeats[t, min(k, repeats.shape[1] - 1)]
                    while left > 0:
                        part = min(left, one)
                        bound = max_error * sqrt(v)
                        e = min(max(targets[t, k] - m, -bound), bound)
                        rate = part * rates[t, min(k, rates.shape[1] - 1)]
                        rate /= one + damping * weights.dtype.type(accumulator[at])
                        if normalized:
                            aa, ah, hh = products[t, kp, 0], products[t, kp, 1], products[t, kp, 2]
                            rate /= v * (v * aa / two + max(hh - two * m * ah + m * m * aa, zero))
                        accumulator[at] += part
                        _step_gaussian(
                            weights[at], precisions[t, kp], shifts[t, kp],
                            rate * ((e * e - v) / two + e * m), rate * e,
                            max_weight, products[t, kp, 3], min_variance, max_variance,
                        )  # fmt: skip
                        left -= one
                        if left > 0:
                            m, v = _mix(weights[at], precisions[t, kp], shifts[t, kp], min_variance, max_variance)
