"""Kernels compiled by Numba: the textbook loops, ordered for the caches.

A neuron's contexts are independent chains (no weight row is shared between them), so each chain is run from its first
row to its last while its weight row stays in the L1 cache. Threads are the caller's (``TASK_SIZE``): ``parallel=True``
would abort under two Python threads or after a fork.
"""

from math import exp

import numba
import numpy as np

from sklearn_gln.kernels._numpy import asarray, precondition, second_moment, to_numpy

__all__ = [
    "TASK_SIZE",
    "asarray",
    "bernoulli_infer",
    "bernoulli_learn",
    "precondition",
    "second_moment",
    "select_contexts",
    "to_numpy",
]

TASK_SIZE = 16
MAX_PROJECTIONS = 2**23  # elements of one gating product

# Reductions may be reordered and multiply-adds fused, so that loops vectorise; NaN and infinities keep their meaning.
jit = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})


def select_contexts(side_info, hyperplanes, offsets):
    n_outputs, n_neurons, context_dim, n_side = hyperplanes.shape
    normals = np.ascontiguousarray(hyperplanes.reshape(-1, n_side).T)
    thresholds = offsets.reshape(-1, context_dim)
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
                context |= np.int32(projections[t, q] > thresholds[j, bit]) << bit
                q += 1
            contexts[t, j] = context


def bernoulli_infer(weights, contexts, inputs, *, max_logit):
    logits = np.empty((len(contexts), *weights.shape[:2]), weights.dtype)
    previous, base = _two_blocks(inputs)
    _infer(weights, _neuron_major(contexts), previous, base, weights.dtype.type(max_logit), logits)
    return logits


def bernoulli_learn(
    weights,
    energy,
    contexts,
    inputs,
    directions,
    targets,
    rates,
    sample_weight=None,
    *,
    damping,
    max_logit,
    max_weight,
    batch_size,
):
    logits = np.empty((len(contexts), *weights.shape[:2]), weights.dtype)
    if sample_weight is None:
        sample_weight = np.empty((0, 1), weights.dtype)
    scalar = weights.dtype.type  # one float64 scalar would make the inner loops run in float64
    _learn(
        weights,
        energy,
        _neuron_major(contexts),
        *_two_blocks(inputs),
        *_two_blocks(directions),
        np.ascontiguousarray(targets),
        np.ascontiguousarray(rates),
        np.ascontiguousarray(sample_weight),
        scalar(damping),
        scalar(max_logit),
        scalar(max_weight),
        batch_size,
        logits,
    )
    return weights, energy, logits


def _two_blocks(blocks):
    """The previous layer's block, empty if there is none, and the base block."""
    *previous, base = (np.ascontiguousarray(block) for block in blocks)
    return previous[0] if previous else np.empty((len(base), 1, 0), base.dtype), base


def _neuron_major(contexts):
    return np.ascontiguousarray(contexts.transpose(1, 2, 0))


@jit
def _dot(w, u):
    total = w.dtype.type(0)
    for i in range(w.size):
        total += w[i] * u[i]
    return total


@jit
def _step(w, g, v, max_weight):
    for i in range(w.size):
        w[i] = min(max(w[i] - g * v[i], -max_weight), max_weight)


@jit
def _sort_by_context(contexts, n_contexts, ends, order):
    """Fill `order` with the rows of context 0 in time order, then those of context 1, ...; `ends` with their ends."""
    ends[:] = 0
    for context in contexts:
        ends[context] += 1
    start = 0
    for c in range(n_contexts):
        start, ends[c] = start + ends[c], start
    for t in range(contexts.size):
        order[ends[contexts[t]]] = t
        ends[contexts[t]] += 1


@jit
def _infer(weights, contexts, previous, base, max_logit, logits):
    n_outputs, n_neurons, n_contexts, _ = weights.shape
    n_previous = previous.shape[2]
    ends = np.empty(n_contexts, np.int64)
    order = np.empty(len(logits), np.int64)
    for k in range(n_outputs):
        kc, kp, kb = min(k, len(contexts) - 1), min(k, previous.shape[1] - 1), min(k, base.shape[1] - 1)
        for j in range(n_neurons):
            _sort_by_context(contexts[kc, j], n_contexts, ends, order)
            for t in order:
                w = weights[k, j, contexts[kc, j, t]]
                s = _dot(w[:n_previous], previous[t, kp]) + _dot(w[n_previous:], base[t, kb])
                logits[t, k, j] = min(max(s, -max_logit), max_logit)


@jit
def _visit(s, target, rate, energy, square, visits, one, damping, max_logit):
    """All visits of one row, on scalars: the size of their summed step, and their summed squared error."""
    step = errors = one - one
    while visits > 0:
        part = min(visits, one)
        e = one / (one + exp(-min(max(s, -max_logit), max_logit))) - target
        g = part * rate * e / (one + damping * (energy + errors))
        s -= g * square
        step += g
        errors += part * e * e
        visits -= one
    return step, errors


@jit
def _learn(
    weights,
    energy,
    contexts,
    previous,
    base,
    previous_directions,
    base_directions,
    targets,
    rates,
    sample_weight,
    damping,
    max_logit,
    max_weight,
    batch_size,
    logits,
):
    n_outputs, n_neurons, n_contexts, _ = weights.shape
    n_rows, n_previous = len(logits), previous.shape[2]
    one = weights.dtype.type(1)
    ends = np.empty(n_contexts, np.int64)
    order = np.empty(n_rows, np.int64)
    steps = np.empty(n_rows, weights.dtype)
    for k in range(n_outputs):
        kc, kr, kq = min(k, len(contexts) - 1), min(k, rates.shape[1] - 1), min(k, sample_weight.shape[1] - 1)
        kp, kb = min(k, previous.shape[1] - 1), min(k, base.shape[1] - 1)
        for j in range(n_neurons):
            _sort_by_context(contexts[kc, j], n_contexts, ends, order)
            first = 0
            for c in range(n_contexts):
                wp, wb = weights[k, j, c, :n_previous], weights[k, j, c, n_previous:]
                while first < ends[c]:
                    last = first  # of this chain's rows in one batch
                    if batch_size > 1:
                        batch = order[first] // batch_size
                        while last + 1 < ends[c] and order[last + 1] // batch_size == batch:
                            last += 1
                    batch_errors = one - one
                    for r in range(first, last + 1):
                        t = order[r]
                        s = _dot(wp, previous[t, kp]) + _dot(wb, base[t, kb])
                        logits[t, k, j] = min(max(s, -max_logit), max_logit)
                        visits, square = one, one
                        if sample_weight.size:
                            visits = sample_weight[t, kq]
                            square = _dot(previous[t, kp], previous_directions[t, kp])
                            square += _dot(base[t, kb], base_directions[t, kb])
                        steps[r], errors = _visit(
                            s, targets[t, k], rates[t, kr], energy[k, j, c], square, visits, one, damping, max_logit
                        )
                        batch_errors += errors
                    energy[k, j, c] += batch_errors
                    for r in range(first, last + 1):
                        t = order[r]
                        bound = max_weight if r == last else np.inf * one
                        _step(wp, steps[r], previous_directions[t, kp], bound)
                        _step(wb, steps[r], base_directions[t, kb], bound)
                    first = last + 1
