"""Kernels in NumPy: exact online learning as matrix products and a short recursion on scalars.

While no weight of a neuron is clipped, its logits in a block of rows follow from its weights W at the block's start:
s_t = W[c_t] . u_t - sum over earlier rows r in the same context of g_r (v_r . u_t), where g_r v_r is the step of row r.
So a block costs one product for W . u, one Gram product for v . u, a recursion over its rows, and one product for the
summed steps. Neurons whose weights could reach their bound within the block are run row by row instead.

Inside, the neurons of all outputs are one axis, and W is (neurons, contexts, inputs).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import get_blas_funcs
from scipy.special import expit

Array = NDArray[Any]

TASK_SIZE = 512  # bounds the (rows, rows, neurons) coupling of a block
BLOCK_ROWS = 64
MAX_PROJECTIONS = 2**23  # elements of one gating product
ALL = slice(None)
MAX_DENSE_CONTEXTS = 64  # up to here a product with every row of W beats gathering the selected ones


def asarray(x: Array) -> Array:
    return np.asarray(x)


def to_numpy(x: Array) -> Array:
    return x


def select_contexts(side_info: Array, hyperplanes: Array, offsets: Array) -> Array:
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


def second_moment(block: Array, sample_weight: Array | None = None) -> Array:
    weighted = block if sample_weight is None else block * sample_weight[:, :, np.newaxis]
    moment: Array = block.transpose(1, 2, 0) @ weighted.transpose(1, 0, 2)
    return moment


def precondition(block: Array, matrices: Array | None) -> tuple[Array, Array]:
    directions = block
    if matrices is not None:
        directions = np.ascontiguousarray((block.transpose(1, 0, 2) @ matrices).transpose(1, 0, 2))
    return directions, np.vecdot(block, directions)


def bernoulli_infer(weights: Array, contexts: Array, inputs: Sequence[Array], *, max_logit: float) -> Array:
    # Gathered rows, one dot product each: a row's logits do not depend, even in rounding, on the rows beside it.
    n_outputs, n_neurons = weights.shape[:2]
    logits = np.empty((len(contexts), n_outputs, n_neurons), weights.dtype)
    for start in range(0, len(contexts), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        for k in range(n_outputs):
            selected = contexts[rows, min(k, contexts.shape[1] - 1)]
            logits[rows, k] = _gathered_dots(weights[k], selected, _features(inputs, rows, k))
    return np.clip(logits, -max_logit, max_logit, out=logits)


def bernoulli_learn(
    weights: Array,
    energy: Array,
    contexts: Array,
    inputs: Sequence[Array],
    directions: Sequence[Array],
    targets: Array,
    rates: Array,
    sample_weight: Array | None = None,
    *,
    damping: float,
    max_logit: float,
    max_weight: float,
    batch_size: int,
) -> tuple[Array, Array, Array]:
    n_rows, n_outputs, n_neurons = len(contexts), *weights.shape[:2]
    n_contexts = weights.shape[2]

    def by_neuron(array: Array) -> Array:  # (n, k|1, j|1) -> (n, k * j)
        return np.broadcast_to(array, (n_rows, n_outputs, n_neurons)).reshape(n_rows, n_outputs * n_neurons)

    flat_weights, flat_energy = weights.reshape(-1, *weights.shape[2:]), energy.reshape(-1, n_contexts)  # views
    selected = by_neuron(contexts)
    targets, rates = by_neuron(targets[..., np.newaxis]), by_neuron(rates[..., np.newaxis])
    visits = None if sample_weight is None else by_neuron(sample_weight[..., np.newaxis])
    guard = _Guard(max_weight, _largest(flat_weights)) if np.isfinite(max_weight) else None
    logits = np.empty((n_rows, n_outputs * n_neurons), weights.dtype)
    block_rows = batch_size * max(1, BLOCK_ROWS // batch_size)
    for start in range(0, n_rows, block_rows):
        rows = slice(start, start + block_rows)
        block = _Block(
            selected[rows],
            _groups(inputs, directions, rows, n_outputs, n_neurons),
            targets[rows],
            rates[rows],
            None if visits is None else visits[rows],
            damping,
            max_logit,
            batch_size,
        )
        logits[rows] = _learn_block(flat_weights, flat_energy, block, guard)
    np.clip(logits, -max_logit, max_logit, out=logits)
    return weights, energy, logits.reshape(n_rows, n_outputs, n_neurons)


class _Group(NamedTuple):
    """Neurons that share their inputs."""

    neurons: slice
    inputs: Array  # (rows, i)
    directions: Array  # (rows, i)


class _Block(NamedTuple):
    """Rows to learn, whole batches of them."""

    contexts: Array  # (rows, neurons)
    groups: list[_Group]
    targets: Array  # (rows, neurons)
    rates: Array  # (rows, neurons)
    visits: Array | None  # (rows, neurons)
    damping: float
    max_logit: float
    batch_size: int

    def batches(self) -> Iterator[slice]:
        return (slice(b, b + self.batch_size) for b in range(0, len(self.contexts), self.batch_size))


class _Guard(NamedTuple):
    """Which neurons could be clipped: `largest` (neurons,) bounds their |weights| and is kept up to date."""

    max_weight: float
    largest: Array


def _features(blocks: Sequence[Array], rows: slice, k: int) -> Array:
    """The blocks of output k side by side: (rows, i)."""
    parts = [block[rows, min(k, block.shape[1] - 1)] for block in blocks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _groups(
    inputs: Sequence[Array], directions: Sequence[Array], rows: slice, n_outputs: int, n_neurons: int
) -> list[_Group]:
    shared = all(block.shape[1] == 1 for block in inputs)
    width = n_outputs * n_neurons if shared else n_neurons
    return [
        _Group(slice(k * width, (k + 1) * width), _features(inputs, rows, k), _features(directions, rows, k))
        for k in range(1 if shared else n_outputs)
    ]


def _learn_block(weights: Array, energy: Array, block: _Block, guard: _Guard | None) -> Array:
    """Learn a block in place and return its logits (rows, neurons), not clipped yet."""
    logits, squares = np.empty(block.contexts.shape, weights.dtype), np.empty(block.contexts.shape, weights.dtype)
    for neurons, inputs, directions in block.groups:
        dots = _gathered_dots if weights.shape[1] > MAX_DENSE_CONTEXTS else _dense_dots
        logits[:, neurons] = dots(weights[neurons], block.contexts[:, neurons], inputs)
        squares[:, neurons] = np.vecdot(inputs, directions)[:, np.newaxis]
    energy_after = energy if guard is None else energy.copy()
    steps = _recursion(logits, squares, _coupling(block), energy_after, block)
    if guard is not None:
        clipped = _could_be_clipped(weights, steps, block, guard)
        energy_after[clipped] = energy[clipped]
        steps[:, clipped] = 0
        energy[:] = energy_after
        _learn_by_row(weights, energy, block, np.flatnonzero(clipped), guard.max_weight, logits)
    for neurons, _, directions in block.groups:
        add = _add_gathered if weights.shape[1] > MAX_DENSE_CONTEXTS else _add_dense
        add(weights[neurons], block.contexts[:, neurons], steps[:, neurons], directions)
    return logits


def _coupling(block: _Block) -> Array | None:
    """[r, t]: how a unit step of row r moves the logit of row t, 0 where they do not meet: (rows, rows, neurons)."""
    if block.batch_size >= len(block.contexts):  # one batch: its rows do not see each other
        return None
    meet = block.contexts[:, np.newaxis] == block.contexts
    coupling = np.empty(meet.shape, block.rates.dtype)
    for neurons, inputs, directions in block.groups:
        products = (directions @ inputs.T)[:, :, np.newaxis]
        np.multiply(meet[:, :, neurons], products, out=coupling[:, :, neurons])
    return coupling


def _recursion(logits: Array, squares: Array, coupling: Array | None, energy: Array, block: _Block) -> Array:
    """Turn logits under the block's first weights into those before each row's step, in place; return the steps.

    `energy` (neurons, c) is brought up to date.
    """
    steps, errors = np.empty_like(logits), np.empty_like(logits)
    chains = block.contexts + energy.shape[1] * np.arange(len(energy))
    flat_energy = energy.reshape(-1)
    for batch in block.batches():
        before = flat_energy[chains[batch]] if block.damping else None
        steps[batch], errors[batch] = _visit(logits[batch], squares[batch], before, block, batch)
        if block.damping:  # else nothing in the block depends on its own errors
            np.add.at(flat_energy, chains[batch], errors[batch])
        if coupling is not None:
            for r in range(batch.start, min(batch.stop, len(logits))):
                logits[batch.stop :] -= coupling[r, batch.stop :] * steps[r]
    if not block.damping:
        np.add.at(flat_energy, chains, errors)
    return steps


def _visit(
    logits: Array, squares: Array, energy: Array | None, block: _Block, rows: slice, neurons: slice | Array = ALL
) -> tuple[Array, Array]:
    """The summed step and squared error of all visits of some rows; energy may be None where nothing is damped."""
    targets, rates = block.targets[rows, neurons], block.rates[rows, neurons]
    if block.visits is None:
        errors = _probability(logits, block.max_logit) - targets
        steps = rates * errors
        return steps if energy is None else steps / (1 + block.damping * energy), errors * errors
    visits = block.visits[rows, neurons]
    steps, squared_errors = np.zeros_like(logits), np.zeros_like(logits)
    while (visits > 0).any():
        part = np.clip(visits, 0, 1)
        errors = _probability(logits - steps * squares, block.max_logit) - targets
        damped = 1 if energy is None else 1 + block.damping * (energy + squared_errors)
        steps += part * rates * errors / damped
        squared_errors += part * errors * errors
        visits = visits - 1
    return steps, squared_errors


def _probability(logits: Array, max_logit: float) -> Array:
    clipped = np.minimum(np.maximum(logits, -max_logit), max_logit)  # np.clip takes longer on a few numbers
    return expit(clipped)


def _dense_dots(weights: Array, contexts: Array, inputs: Array) -> Array:
    """weights[neuron, context] . inputs for every row and neuron, by multiplying all rows of W: (rows, neurons)."""
    n_neurons, n_contexts, n_inputs = weights.shape
    dots = np.empty(contexts.shape, weights.dtype)
    for start in range(0, len(inputs), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        products = inputs[rows] @ weights.reshape(-1, n_inputs).T
        chains = contexts[rows] + n_contexts * np.arange(n_neurons)
        dots[rows] = np.take_along_axis(products, chains, axis=1)
    return dots


def _add_dense(weights: Array, contexts: Array, steps: Array, directions: Array) -> None:
    """weights[neuron, context] -= step * direction, summed over rows: the adjoint of `_dense_dots`."""
    n_neurons, n_contexts, n_inputs = weights.shape
    gemm = get_blas_funcs("gemm", dtype=weights.dtype)
    chains = contexts + n_contexts * np.arange(n_neurons)
    for start in range(0, len(directions), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        scattered = np.zeros((len(chains[rows]), n_neurons * n_contexts), weights.dtype)
        np.put_along_axis(scattered, chains[rows], steps[rows], axis=1)
        transposed = weights.reshape(-1, n_inputs).T  # in Fortran's order, so that gemm adds in place
        gemm(-1, directions[rows].T, scattered.T, 1, transposed, trans_b=True, overwrite_c=True)


def _gathered_dots(weights: Array, contexts: Array, inputs: Array) -> Array:
    """As `_dense_dots`, gathering the selected rows of W; every dot product stands alone."""
    dots = np.empty(contexts.shape, weights.dtype)
    for j, weights_of_neuron in enumerate(weights):
        dots[:, j] = np.vecdot(weights_of_neuron[contexts[:, j]], inputs)
    return dots


def _add_gathered(weights: Array, contexts: Array, steps: Array, directions: Array) -> None:
    """As `_add_dense`, touching the selected rows of W only."""
    for j, weights_of_neuron in enumerate(weights):
        order = np.argsort(contexts[:, j], kind="stable")
        met, first = np.unique(contexts[order, j], return_index=True)
        weights_of_neuron[met] -= np.add.reduceat(steps[order, j, np.newaxis] * directions[order], first, axis=0)


def _could_be_clipped(weights: Array, steps: Array, block: _Block, guard: _Guard) -> Array:
    """Whether a neuron's weights could reach the bound within the block: (neurons,)."""
    growth = np.empty(len(weights), weights.dtype)
    for neurons, _, directions in block.groups:
        growth[neurons] = np.abs(directions).max(axis=1, initial=0) @ np.abs(steps[:, neurons])
    doubtful = guard.largest + growth > guard.max_weight
    guard.largest[doubtful] = _largest(weights[doubtful])
    clipped: Array = guard.largest + growth > guard.max_weight
    guard.largest[:] = np.where(clipped, guard.max_weight, guard.largest + growth)
    return clipped


def _largest(weights: Array) -> Array:
    """The largest |weight| of each neuron, without a copy of the weights: (neurons,)."""
    return np.maximum(weights.max(axis=(1, 2)), -weights.min(axis=(1, 2)))


def _learn_by_row(
    weights: Array, energy: Array, block: _Block, neurons: Array, max_weight: float, logits: Array
) -> None:
    """Learn a block for some neurons (their numbers) one row after the other, with the clip of every step."""
    for group in block.groups:
        numbers = neurons[(group.neurons.start <= neurons) & (neurons < group.neurons.stop)]
        for batch in block.batches() if numbers.size else ():
            rows = list(zip(block.contexts[batch, numbers], group.inputs[batch], group.directions[batch], strict=True))
            dots = np.stack([np.vecdot(weights[numbers, context], u) for context, u, _ in rows])
            squares = np.array([[u @ v] for _, u, v in rows])
            before = energy[numbers, block.contexts[batch, numbers]]
            logits[batch, numbers] = dots
            steps, errors = _visit(dots, squares, before, block, batch, numbers)
            for (context, _, v), step, error in zip(rows, steps, errors, strict=True):
                weights[numbers, context] -= step[:, np.newaxis] * v
                energy[numbers, context] += error
            for context, *_ in rows:
                weights[numbers, context] = np.clip(weights[numbers, context], -max_weight, max_weight)
