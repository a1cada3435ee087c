"""Kernels compiled by Numba: the textbook loops, ordered for the caches.

A neuron's contexts are independent chains (no weight row is shared between them), so each chain is run from its first
row to its last while its weight row stays in the L1 cache. Threads are the caller's (``TASK_SIZE``): ``parallel=True``
would abort under two Python threads or after a fork.
"""

from collections.abc import Sequence
from math import exp, sqrt
from typing import Any

import numba
import numpy as np

from sklearn_gln.kernels._numpy import (  # noqa: F401  (the rest of the contract)
    ON_DEVICE,
    ROW_COUNTS,
    Array,
    _gaussian,
    _natural_parameters,
    _natural_products,
    add_at_rows,
    add_cross_moment,
    add_second_moment,
    asarray,
    at_rows,
    base_block,
    clip,
    column_moments,
    damped_inverse,
    expand,
    extremes,
    fill_missing,
    gaussian_base,
    logit,
    minmax_logit,
    neuron_mean,
    neuron_variance,
    owns,
    precondition,
    scope,
    standardize,
    take,
    to_numpy,
)

TASK_SIZE = 16
LOCKSTEP = 4  # neurons at most; fewer where their rows would crowd the L1 cache
LOCKSTEP_INPUTS = 1024
MAX_PROJECTIONS = 2**23  # elements of one gating product

# Reductions may be reordered and multiply-adds fused, so that loops vectorise; NaN and infinities keep their meaning.
options: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
}


def _finds_a_cache() -> bool:
    """Whether Numba finds a folder for compiled code that can be written; without one each process compiles."""
    try:
        numba.njit(_finds_a_cache, cache=True)  # not compiled yet
    except RuntimeError:
        return False
    return True


options["cache"] = _finds_a_cache()
jit = numba.njit(**options)
inline = numba.njit(inline="always", **options)


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


def linear_infer(weights: Array, contexts: Array, inputs: Sequence[Array], *, limit: float) -> Array:
    logits = np.empty((len(contexts), *weights.shape[:2]), weights.dtype)
    previous, base = _two_blocks(inputs)
    _infer(weights, _neuron_major(contexts), previous, base, weights.dtype.type(limit), logits)
    return logits


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
    logits = np.empty((len(contexts), *weights.shape[:2]), weights.dtype)
    if sample_weight is None:
        visits = squares = np.empty((0, 1), weights.dtype)
    else:
        visits = np.ascontiguousarray(np.broadcast_to(sample_weight, (len(logits), len(weights))))
        squares = sum(np.vecdot(u, v) for u, v in zip(inputs, directions, strict=True))
        squares = np.ascontiguousarray(np.broadcast_to(squares, visits.shape))
    scalar = weights.dtype.type  # one float64 scalar would make the inner loops run in float64
    arguments = (
        weights,
        energy,
        _neuron_major(contexts),
        *_two_blocks(inputs),
        *_two_blocks(directions),
        np.ascontiguousarray(targets),
        np.ascontiguousarray(rates),
        visits,
        squares,
        loss == "squared",
        scalar(damping),
        scalar(limit),
        scalar(max_weight),
    )
    if batch_size == 1:
        _learn(*arguments, logits)
    else:
        _learn_batches(*arguments, batch_size, logits)
    return weights, energy, logits


def _two_blocks(blocks: Sequence[Array]) -> tuple[Array, Array]:
    """The previous layer's block, empty if there is none, and the base block."""
    *previous, base = (np.ascontiguousarray(block) for block in blocks)
    return previous[0] if previous else np.empty((len(base), 1, 0), base.dtype), base


def _neuron_major(contexts: Array) -> Array:
    return np.ascontiguousarray(contexts.transpose(1, 2, 0))


# Below, (p, x) is one row of the two blocks and (v, z) of their directions; w is one row of the weights. A view that
# is given a name costs two atomic operations wherever it is made: rows are taken out in the calls.


@inline
def _dot(w, p, x):
    from_previous = from_base = w.dtype.type(0)
    for i in range(p.size):
        from_previous += w[i] * p[i]
    n_previous = np.uint64(p.size)  # unsigned: no check for negative indices
    for i in range(x.size):
        from_base += w[n_previous + np.uint64(i)] * x[i]
    return from_previous + from_base


@inline
def _step(w, g, v, z, max_weight):
    for i in range(v.size):
        w[i] = min(max(w[i] - g * v[i], -max_weight), max_weight)
    n_previous = np.uint64(v.size)
    for i in range(z.size):
        at = n_previous + np.uint64(i)
        w[at] = min(max(w[at] - g * z[i], -max_weight), max_weight)


@inline
def _step_and_dot(w, g, v, z, max_weight, p, x):
    """One row's step and the next row's dot product in one pass over the weights."""
    from_previous = from_base = w.dtype.type(0)
    for i in range(v.size):
        stepped = min(max(w[i] - g * v[i], -max_weight), max_weight)
        w[i] = stepped
        from_previous += stepped * p[i]
    n_previous = np.uint64(v.size)
    for i in range(z.size):
        at = n_previous + np.uint64(i)
        stepped = min(max(w[at] - g * z[i], -max_weight), max_weight)
        w[at] = stepped
        from_base += stepped * x[i]
    return from_previous + from_base


@inline
def _sort_by_context(contexts, n_contexts, ends, order):
    """Fill `order` with the rows of context 0 in time order, then those of context 1, ...; `ends` with their ends."""
    ends[:] = 0
    for t in range(contexts.size):
        ends[contexts[t]] += 1
    start = 0
    for c in range(n_contexts):
        start, ends[c] = start + ends[c], start
    for t in range(contexts.size):
        order[ends[contexts[t]]] = t
        ends[contexts[t]] += 1


@jit
def _infer(weights, contexts, previous, base, limit, logits):
    n_outputs, n_neurons, n_contexts, _ = weights.shape
    ends = np.empty(n_contexts, np.int64)
    order = np.empty(len(logits), np.int64)
    for k in range(n_outputs):
        kc, kp, kb = min(k, len(contexts) - 1), min(k, previous.shape[1] - 1), min(k, base.shape[1] - 1)
        for j in range(n_neurons):
            _sort_by_context(contexts[kc, j], n_contexts, ends, order)
            for r in range(order.size):
                t = order[r]
                s = _dot(weights[k, j, contexts[kc, j, t]], previous[t, kp], base[t, kb])
                logits[t, k, j] = min(max(s, -limit), limit)


@jit
def _visit(s, target, rate, energy, square, visits, one, squared, damping, limit):
    """All visits of one row, on scalars: the size of their summed step, and their summed energy."""
    step = gain = one - one
    while visits > 0:
        part = min(visits, one)
        if squared:
            e, counted = s - target, one
        else:
            e = one / (one + exp(-min(max(s, -limit), limit))) - target
            counted = e * e
        g = part * rate * e / (one + damping * (energy + gain))
        s -= g * square
        step += g
        gain += part * counted
        visits -= one
    return step, gain


@jit
def _learn(
    weights, energy, contexts, previous, base, previous_directions, base_directions, targets, rates, visits, squares,
    squared, damping, limit, max_weight, logits,
):  # fmt: skip
    """Batches of one row. Some neurons take their rows in lockstep, so that their scalar work overlaps."""
    n_outputs, n_neurons, n_contexts, n_inputs = weights.shape
    n_rows = len(logits)
    lockstep = min(LOCKSTEP, max(1, LOCKSTEP_INPUTS // max(1, n_inputs)))
    one = weights.dtype.type(1)
    visit, square = one, one
    ends = np.empty(n_contexts, np.int64)
    order = np.empty((LOCKSTEP, n_rows), np.int64)
    # Each neuron's logit for its next row, then the size of its step: narrow layers take twice as long with two arrays.
    s = np.empty(LOCKSTEP, weights.dtype)
    for k in range(n_outputs):
        kc, kr = min(k, len(contexts) - 1), min(k, rates.shape[1] - 1)
        kp, kb = min(k, previous.shape[1] - 1), min(k, base.shape[1] - 1)
        for first in range(0, n_neurons if n_rows else 0, lockstep):
            in_step = min(lockstep, n_neurons - first)
            for q in range(in_step):
                _sort_by_context(contexts[kc, first + q], n_contexts, ends, order[q])
                t = order[q, 0]
                s[q] = _dot(weights[k, first + q, contexts[kc, first + q, t]], previous[t, kp], base[t, kb])
            for r in range(n_rows):
                for q in range(in_step):
                    t, j = order[q, r], first + q
                    c = contexts[kc, j, t]
                    logits[t, k, j] = min(max(s[q], -limit), limit)
                    if visits.size:
                        visit, square = visits[t, k], squares[t, k]
                    before = weights.dtype.type(energy[k, j, c])
                    s[q], gain = _visit(
                        s[q], targets[t, k], rates[t, kr], before, square, visit, one, squared, damping, limit
                    )
                    energy[k, j, c] += gain
                for q in range(in_step):
                    t, j = order[q, r], first + q
                    c = contexts[kc, j, t]
                    after = order[q, min(r + 1, n_rows - 1)]
                    if r + 1 < n_rows and contexts[kc, j, after] == c:
                        s[q] = _step_and_dot(
                            weights[k, j, c], s[q], previous_directions[t, kp], base_directions[t, kb], max_weight,
                            previous[after, kp], base[after, kb],
                        )  # fmt: skip
                    else:
                        _step(weights[k, j, c], s[q], previous_directions[t, kp], base_directions[t, kb], max_weight)
                        s[q] = _dot(weights[k, j, contexts[kc, j, after]], previous[after, kp], base[after, kb])


@jit
def _learn_batches(
    weights, energy, contexts, previous, base, previous_directions, base_directions, targets, rates, visits, squares,
    squared, damping, limit, max_weight, batch_size, logits,
):  # fmt: skip
    """Batches of several rows: a chain's rows in one batch see the same weights, and their steps are clipped once."""
    n_outputs, n_neurons, n_contexts, _ = weights.shape
    one = weights.dtype.type(1)
    visit, square = one, one
    ends = np.empty(n_contexts, np.int64)
    order = np.empty(len(logits), np.int64)
    steps = np.empty(len(logits), weights.dtype)
    for k in range(n_outputs):
        kc, kr = min(k, len(contexts) - 1), min(k, rates.shape[1] - 1)
        kp, kb = min(k, previous.shape[1] - 1), min(k, base.shape[1] - 1)
        for j in range(n_neurons):
            _sort_by_context(contexts[kc, j], n_contexts, ends, order)
            first = 0
            while first < order.size:
                c, batch = contexts[kc, j, order[first]], order[first] // batch_size
                summed, before = one - one, weights.dtype.type(energy[k, j, c])
                last = first
                while last < ends[c] and order[last] // batch_size == batch:
                    t = order[last]
                    s = _dot(weights[k, j, c], previous[t, kp], base[t, kb])
                    logits[t, k, j] = min(max(s, -limit), limit)
                    if visits.size:
                        visit, square = visits[t, k], squares[t, k]
                    steps[last], gain = _visit(
                        s, targets[t, k], rates[t, kr], before, square, visit, one, squared, damping, limit
                    )
                    summed += gain
                    last += 1
                energy[k, j, c] += summed
                for r in range(first, last):
                    t = order[r]
                    bound = max_weight if r == last - 1 else one * np.inf
                    _step(weights[k, j, c], steps[r], previous_directions[t, kp], base_directions[t, kb], bound)
                first = last


# Gaussian neurons: (a, h) are the precisions and shifts of one row's inputs.


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
    means, variances = (np.empty((len(contexts), *weights.shape[:2]), weights.dtype) for _ in range(2))
    visits = np.ones((len(contexts), 1), weights.dtype) if sample_weight is None else sample_weight
    precisions, shifts = _natural_parameters(inputs)
    constants = map(weights.dtype.type, (damping, max_error, max_weight, min_variance, max_variance))
    _learn_gaussian(
        weights,
        counts,
        _neuron_major(contexts),
        precisions,
        shifts,
        _natural_products(precisions, shifts),
        np.ascontiguousarray(targets),
        np.ascontiguousarray(rates),
        np.ascontiguousarray(visits),
        normalized,
        *constants,
        means,
        variances,
    )
    return weights, counts, means, variances


@inline
def _mix(w, a, h, min_variance, max_variance):
    """Mean and variance of the product of Gaussians."""
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
    weights, counts, contexts, precisions, shifts, products, targets, rates, visits,
    normalized, damping, max_error, max_weight, min_variance, max_variance, means, variances,
):  # fmt: skip
    n_outputs, n_neurons, n_contexts, _ = weights.shape
    zero, one, two = weights.dtype.type(0), weights.dtype.type(1), weights.dtype.type(2)
    ends = np.empty(n_contexts, np.int64)
    order = np.empty(len(means), np.int64)
    for k in range(n_outputs):
        kc, kp = min(k, len(contexts) - 1), min(k, precisions.shape[1] - 1)
        kr, kv = min(k, rates.shape[1] - 1), min(k, visits.shape[1] - 1)
        for j in range(n_neurons):
            _sort_by_context(contexts[kc, j], n_contexts, ends, order)
            for r in range(order.size):
                t = order[r]
                c = contexts[kc, j, t]
                m, v = _mix(weights[k, j, c], precisions[t, kp], shifts[t, kp], min_variance, max_variance)
                means[t, k, j], variances[t, k, j] = m, v
                left = visits[t, kv]
                while left > 0:
                    part = min(left, one)
                    bound = max_error * sqrt(v)
                    e = min(max(targets[t, k] - m, -bound), bound)
                    rate = part * rates[t, kr] / (one + damping * weights.dtype.type(counts[k, j, c]))
                    if normalized:
                        aa, ah, hh = products[t, kp, 0], products[t, kp, 1], products[t, kp, 2]
                        rate /= v * (v * aa / two + max(hh - two * m * ah + m * m * aa, zero))
                    counts[k, j, c] += part
                    _step_gaussian(
                        weights[k, j, c], precisions[t, kp], shifts[t, kp],
                        rate * ((e * e - v) / two + e * m), rate * e,
                        max_weight, products[t, kp, 3], min_variance, max_variance,
                    )  # fmt: skip
                    left -= one
                    if left > 0:
                        m, v = _mix(weights[k, j, c], precisions[t, kp], shifts[t, kp], min_variance, max_variance)
