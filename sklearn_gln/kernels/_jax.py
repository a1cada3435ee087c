"""Kernels in JAX: the rows in order, all neurons at once, compiled as one loop.

A row touches one weight row of every neuron: they are gathered, multiplied with the row's inputs, moved and written
back in place. On a CPU this is as fast as products over blocks of rows, or faster; it compiles sooner, and needs no
bound on the weights: a step is clipped when it is made.

Everything is jitted, and compiled once for each set of shapes. Inside, the weights are a table of rows (k j c, i).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sklearn_gln.kernels import as_numpy

try:
    from jax import enable_x64
except ImportError:  # older versions of JAX
    from jax.experimental import enable_x64  # type: ignore[attr-defined, no-redef]

Array = jax.Array
Groups = tuple[Array, Array]
State = tuple[Array, Array]  # the table, the energies
HostArray = np.ndarray[Any, np.dtype[Any]]
config: Any = jax.config
barrier: Any = lax.optimization_barrier

ON_DEVICE = True
TASK_SIZE = None
ROW_COUNTS = (16, 128, 512, 2048)  # few: more rows cost less than more compilations
INFER_ROWS = 8  # rows inferred at once: more would fall out of a CPU's caches, fewer would keep a GPU waiting
BATCH_ROWS = 16  # rows of a batch whose weights are gathered at once
MAX_PROJECTIONS = 2**23  # elements of one gating product


@contextmanager
def scope(device: Any) -> Iterator[None]:
    # float64 where it is asked for, and float32 products that are float32 on every device
    with enable_x64(True), jax.default_device(_find(device)), jax.default_matmul_precision("highest"):
        yield


def _find(device: Any) -> Any:
    if device is None:
        return config.jax_default_device
    here = {_name(each.platform, each.id): each for each in (*_local_devices("cpu"), *_local_devices(None))}
    if isinstance(device, jax.Device) and device in here.values():
        return device
    kind, _, number = str(device).partition(":")
    if _name(kind, number or 0) not in here:
        raise ValueError(f"device={device!r} is not here; JAX sees: {', '.join(map(repr, here))}.")
    return here[_name(kind, number or 0)]


def _name(platform: str, number: int | str) -> str:
    return f"{'gpu' if platform in ('cuda', 'rocm') else platform}:{number}"


def _local_devices(platform: str | None) -> list[Any]:
    try:
        return jax.local_devices(backend=platform)
    except RuntimeError:  # the user has JAX ignore this platform
        return []


def asarray(x: Any) -> Array:
    # The copy is for CPUs, where JAX would go on reading NumPy's memory.
    return jax.device_put(x if owns(x) else np.array(as_numpy(x)), config.jax_default_device)


def to_numpy(x: Array) -> HostArray:
    return np.asarray(x)


def owns(x: Any) -> bool:
    return isinstance(x, jax.Array)


def take(x: Array, rows: HostArray) -> Array:
    return _take(x, np.where(rows < 0, rows + len(x), rows))


@jax.jit
def _take(x: Array, rows: Array) -> Array:
    return x.at[rows].get(mode="promise_in_bounds")


def extremes(x: Array) -> tuple[float, float]:
    lowest, highest = map(float, _extremes(x))
    return (lowest, highest) if lowest <= highest else (0.0, 0.0)


@jax.jit
def _extremes(x: Array) -> tuple[Array, Array]:
    missing = jnp.isnan(x)
    return jnp.where(missing, jnp.inf, x).min(initial=jnp.inf), jnp.where(missing, -jnp.inf, x).max(initial=-jnp.inf)


@jax.jit
def standardize(x: Array, mean: Array, inverse_deviation: Array, *, limit: float) -> Array:
    scaled = jnp.clip((x - mean) * inverse_deviation, -limit, limit)
    return jnp.where(jnp.isnan(x), 0, scaled)


@jax.jit
def logit(probabilities: Array, *, max_logit: float) -> Array:
    p = jnp.clip(probabilities, 0, 1)
    return jnp.where(jnp.isnan(p), 0, jnp.clip(jnp.log(p) - jnp.log1p(-p), -max_logit, max_logit))


@jax.jit
def minmax_logit(x: Array, *, max_logit: float) -> Array:
    missing = jnp.isnan(x)
    low = jnp.where(missing, jnp.inf, x).min(axis=1, keepdims=True, initial=jnp.inf)
    high = jnp.where(missing, -jnp.inf, x).max(axis=1, keepdims=True, initial=-jnp.inf)
    logits = jnp.clip(jnp.log((x - low) / (high - x)), -max_logit, max_logit)
    return jnp.where(missing | (low == high), 0, logits)  # in compiled code, clipping may lose a NaN


@jax.jit
def fill_missing(x: Array) -> Array:
    return jnp.where(jnp.isnan(x), 0, x)


@jax.jit
def column_moments(x: Array, sample_weight: Array) -> tuple[Array, Array, Array]:
    seen = ~jnp.isnan(x)
    x = jnp.where(seen, x, 0).astype(jnp.float64)
    weights = jnp.where(seen, sample_weight.astype(jnp.float64)[:, jnp.newaxis], 0)
    weight = weights.sum(axis=0)
    mean = (weights * x).sum(axis=0) / jnp.where(weight > 0, weight, 1)
    return weight, mean, (weights * (x - mean) ** 2).sum(axis=0)


@partial(jax.jit, static_argnames=("dtype", "bias", "square_scale", "square_limit"))
def base_block(x: Array, dtype: Any, bias: bool, *, square_scale: float = 0.0, square_limit: float = np.inf) -> Array:
    block = x.astype(dtype)
    if square_scale:
        squares = square_scale * jnp.clip(block, -square_limit, square_limit) ** 2
        block = jnp.concatenate([block, squares], axis=1)
    return jnp.pad(block, ((0, 0), (0, int(bias))), constant_values=1)[:, jnp.newaxis]


@partial(jax.jit, static_argnames="dtype")
def select_contexts(side_info: Array, hyperplanes: Array, offsets: Array, dtype: str) -> Array:
    normals, offsets = hyperplanes.astype(dtype), offsets.astype(dtype)

    def of_row(z: Array) -> Array:
        positive = jnp.einsum("d,kjqd->kjq", z.astype(dtype), normals) > offsets
        bits = positive.astype(jnp.int32) << jnp.arange(offsets.shape[2], dtype=jnp.int32)
        return bits.sum(axis=2, dtype=jnp.int32)

    return lax.map(of_row, side_info, batch_size=max(1, MAX_PROJECTIONS // max(1, offsets.size)))


def linear_infer(weights: Array, contexts: Array, inputs: Sequence[Array], *, limit: float) -> Array:
    return _infer(weights, contexts, tuple(inputs), weights.dtype.type(limit))


@jax.jit
def _infer(weights: Array, contexts: Array, inputs: tuple[Array, ...], limit: Array) -> Array:
    # Always blocks of the same number of rows, and never a single one, for which the compiler would drop the loop: so
    # a row's logits do not depend, even in rounding, on the number of rows.
    n_rows = len(contexts)
    n_filled = max(2, -(-n_rows // INFER_ROWS)) * INFER_ROWS
    places = _places(weights, contexts)
    table = lax.collapse(weights, 0, 3)
    logits = lax.map(partial(_dots, table), _fill_up((places, inputs), n_filled), batch_size=INFER_ROWS)
    return jnp.clip(logits[:n_rows], -limit, limit)


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
    scalar = weights.dtype.type  # Python's numbers would be compiled anew, with another type
    constants = scalar(damping), scalar(limit), scalar(max_weight)
    rows = contexts, tuple(inputs), tuple(directions), targets, rates, sample_weight
    batch_size = min(batch_size, max(1, len(contexts)))
    bounded = bool(np.isfinite(max_weight))
    return _learn(weights, energy, rows, constants, loss=loss, batch_size=batch_size, bounded=bounded)


class _Rows(NamedTuple):
    """What is to be learned from some rows, or from one."""

    chosen: Array  # (n, k, j): the rows of the table
    inputs: tuple[Array, ...]
    directions: tuple[Array, ...]
    targets: Array
    rates: Array
    visits: Array | None = None
    motion: Any = None  # v . u, for rows with visits


@partial(jax.jit, donate_argnums=(0, 1), static_argnames=("loss", "batch_size", "bounded"))
def _learn(
    weights: Array,
    energy: Array,
    rows: Any,
    constants: tuple[Array, Array, Array],
    *,
    loss: str,
    batch_size: int,
    bounded: bool,
) -> tuple[Array, Array, Array]:
    contexts, inputs, directions, targets, rates, visits = rows
    damping, limit, max_weight = constants
    visit = partial(_visit, loss=loss, damping=damping, limit=limit)
    n_rows = len(contexts)
    n_batches = -(-n_rows // batch_size)
    if visits is None and n_rows % batch_size:
        visits = jnp.ones((n_rows, 1), weights.dtype)  # and 0 for the rows that fill up the last batch
    rows = _Rows(_places(weights, contexts), inputs, directions, targets, rates)
    if visits is not None:
        motion = sum((u * v).sum(axis=2) for u, v in zip(inputs, directions, strict=True))
        rows = rows._replace(visits=visits, motion=motion)

    def bound(values: Array) -> Array:
        return jnp.clip(values, -max_weight, max_weight) if bounded else values

    def learn_row(state: State, row: _Rows) -> tuple[State, Array]:
        table, energies = state
        logits = _dots(table, (row.chosen, row.inputs))
        before = barrier(_at(energies, row.chosen))  # else XLA copies all energies for every row
        steps, gains = visit(logits, before.astype(logits.dtype), row)
        table = _put(table, row.chosen, bound(_moved(table, row, steps)))
        return (table, _put(energies, row.chosen, before + gains)), logits

    def learn_batch(state: State, batch: _Rows) -> tuple[State, Array]:
        table, energies = state
        logits = lax.map(partial(_dots, table), (batch.chosen, batch.inputs), batch_size=BATCH_ROWS)
        steps, gains = jax.vmap(visit)(logits, _at(energies, batch.chosen).astype(logits.dtype), batch)

        def add(state: State, move: tuple[_Rows, Array, Array]) -> tuple[State, None]:
            (table, energies), (row, steps, gains) = state, move
            table = _put(table, row.chosen, _moved(table, row, steps))
            return (table, _put(energies, row.chosen, _at(energies, row.chosen) + gains)), None

        def clip_row(table: Array, chosen: Array) -> tuple[Array, None]:
            return _put(table, chosen, bound(_at(table, chosen))), None

        table, energies = lax.scan(add, state, (batch, steps, gains))[0]
        if bounded:
            table = lax.scan(clip_row, table, batch.chosen)[0]
        return (table, energies), logits

    if batch_size > 1:
        # Rows that fill up the last batch choose what its last row chose: no other weights may be clipped.
        more = ((0, n_batches * batch_size - n_rows), (0, 0), (0, 0))
        rows = _fill_up(rows._replace(chosen=jnp.pad(rows.chosen, more, mode="edge")), n_batches * batch_size)
        rows = jax.tree.map(lambda array: array.reshape(n_batches, batch_size, *array.shape[1:]), rows)
    state = lax.collapse(weights, 0, 3), lax.collapse(energy, 0, 3)
    (table, energies), logits = lax.scan(learn_row if batch_size == 1 else learn_batch, state, rows)
    logits = logits.reshape(n_batches * batch_size, *weights.shape[:2])[:n_rows]
    return table.reshape(weights.shape), energies.reshape(energy.shape), jnp.clip(logits, -limit, limit)


def _visit(logits: Array, energy: Array, row: _Rows, *, loss: str, damping: Array, limit: Array) -> tuple[Array, Array]:
    """The summed step and energy of all visits of a row."""
    targets, rates = row.targets[:, jnp.newaxis], row.rates[:, jnp.newaxis]

    def error(logits: Array) -> tuple[Array, Array]:
        """The derivative of the loss, and the energy of one visit."""
        if loss == "squared":
            return logits - targets, jnp.ones_like(logits)
        errors = jax.nn.sigmoid(jnp.clip(logits, -limit, limit)) - targets
        return errors, errors * errors

    if row.visits is None:
        errors, gains = error(logits)
        return rates * errors / (1 + damping * energy), gains

    def once_more(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        visits, steps, summed = state
        part = jnp.clip(visits, 0, 1)
        errors, gains = error(logits - steps * row.motion[:, jnp.newaxis])
        steps += part * rates * errors / (1 + damping * (energy + summed))
        return visits - 1, steps, summed + part * gains

    first = row.visits[:, jnp.newaxis], jnp.zeros_like(logits), jnp.zeros_like(logits)
    _, steps, summed = lax.while_loop(lambda state: (state[0] > 0).any(), once_more, first)
    return steps, summed


def _dots(table: Array, row: tuple[Array, tuple[Array, ...]]) -> Array:
    """The chosen weight rows (k, j) times one row of the inputs."""
    chosen, blocks = row
    selected, inputs = _at(table, chosen), _features(blocks)
    if len(inputs) == 1:
        return jnp.einsum("kji,i->kj", selected, inputs[0])
    return jnp.einsum("kji,ki->kj", selected, inputs)


def _moved(table: Array, row: _Rows, steps: Array) -> Array:
    return _at(table, row.chosen) - steps[..., jnp.newaxis] * _features(row.directions)[:, jnp.newaxis]


def _features(blocks: tuple[Array, ...]) -> Array:
    """One row of the blocks (k|1, block_size) side by side."""
    n_groups = max(len(block) for block in blocks)
    return jnp.concatenate([jnp.broadcast_to(block, (n_groups, block.shape[1])) for block in blocks], axis=1)


def _places(weights: Array, contexts: Array) -> Array:
    """Contexts (n, k|1, j) as numbers of rows in the table of all weight rows: (n, k, j)."""
    n_outputs, n_neurons, n_contexts = weights.shape[:3]
    first = n_contexts * jnp.arange(n_outputs * n_neurons, dtype=jnp.uint32).reshape(n_outputs, n_neurons)
    return contexts.astype(jnp.uint32) + first  # unsigned: no check for negative indices


def _at(table: Array, rows: Array) -> Array:
    return table.at[rows].get(mode="promise_in_bounds")


def _put(table: Array, rows: Array, values: Array) -> Array:
    return table.at[rows].set(values, mode="promise_in_bounds", unique_indices=True)


def _fill_up(arrays: Any, n_rows: int) -> Any:
    return jax.tree.map(lambda x: jnp.pad(x, ((0, n_rows - len(x)), *((0, 0),) * (x.ndim - 1))), arrays)


@jax.jit
def clip(x: Array, limits: Array) -> Array:
    return jnp.clip(x, -limits[:, jnp.newaxis], limits[:, jnp.newaxis])


@jax.jit
def neuron_mean(x: Array) -> Array:
    return x.mean(axis=2, dtype=jnp.float64)


@jax.jit
def neuron_variance(x: Array) -> Array:
    return x.var(axis=2, dtype=jnp.float64)


@jax.jit
def at_rows(table: Array, rows: Array) -> Array:
    return _at(table.ravel(), _places(table, rows))


@partial(jax.jit, donate_argnums=0)
def add_at_rows(table: Array, rows: Array, values: Array) -> Array:
    def add(flat: Array, row: tuple[Array, Array]) -> tuple[Array, None]:  # in order: a GPU would add in any order
        places, values = row
        return _put(flat, places, _at(flat, places) + values), None

    return lax.scan(add, table.ravel(), (_places(table, rows), values))[0].reshape(table.shape)


@jax.jit
def expand(array: Array, row_of: Array) -> Array:
    n_outputs, n_neurons, n_rows = array.shape[:3]
    first = jnp.arange(n_outputs * n_neurons).reshape(n_outputs, n_neurons, 1) * n_rows
    return _at(lax.collapse(array, 0, 3), row_of + first)


def precondition(block: Array, matrices: Array | None, groups: Groups | None = None) -> tuple[Array, Array]:
    return (block, _squares(block)) if matrices is None else _precondition(block, matrices, groups)


@jax.jit
def _squares(block: Array) -> Array:
    return (block * block).sum(axis=2)


@jax.jit
def _precondition(block: Array, matrices: Array, groups: Groups | None) -> tuple[Array, Array]:
    grouped = block if groups is None else _split(block, groups[0])
    n_groups = max(grouped.shape[1], len(matrices))
    grouped = jnp.broadcast_to(grouped, (len(block), n_groups, grouped.shape[2]))
    matrices = jnp.broadcast_to(matrices, (n_groups, *matrices.shape[1:]))
    directions = jnp.einsum("nkb,kbc->nkc", grouped, matrices)
    if groups is not None:
        directions = lax.collapse(directions, 1, 3)[:, jnp.newaxis, groups[1]]
    return directions, (block * directions).sum(axis=2)


@jax.jit
def add_second_moment(
    moment: Array, block: Array, sample_weight: Array | None = None, groups: Groups | None = None
) -> Array:
    block = block if groups is None else _split(block, groups[0])
    weighted = block if sample_weight is None else block * sample_weight[:, :, jnp.newaxis]
    return moment + jnp.einsum("nkb,nkc->kbc", weighted, block)


@jax.jit
def add_cross_moment(moment: Array, block: Array, targets: Array, sample_weight: Array) -> Array:
    return moment + (targets * sample_weight).T @ block[:, 0]


def _split(block: Array, places: Array) -> Array:
    """Columns of a block (n, 1, d) in groups (n, g, b)."""
    return jnp.pad(block[:, 0], ((0, 0), (0, 1)))[:, places]


@partial(jax.jit, static_argnames="dtype")
def damped_inverse(moment: Array, weight: float, floor: float, dtype: Any, ridge: float = 1.0) -> Array:
    size = moment.shape[1]
    mean = moment / weight
    damping = jnp.maximum(jnp.trace(mean, axis1=1, axis2=2) / max(1, size), floor)
    damping = ridge * jnp.where(damping > 0, damping, 1)
    return jnp.linalg.inv(mean + damping[:, jnp.newaxis, jnp.newaxis] * jnp.eye(size)).astype(dtype)


# Gaussian neurons


@partial(jax.jit, static_argnames=("dtype", "bias_means"))
def gaussian_base(
    features: Array, dtype: Any, *, scale: float, bias_means: tuple[float, ...], variance: float
) -> tuple[Array, Array]:
    scaled = scale * features
    constants = jnp.broadcast_to(jnp.array(bias_means, features.dtype), (len(features), len(bias_means)))
    means = jnp.concatenate([scaled, -scaled, constants], axis=1).astype(dtype)[:, jnp.newaxis]
    return means, jnp.full_like(means, variance)


def gaussian_infer(
    weights: Array,
    contexts: Array,
    inputs: Sequence[tuple[Array, Array]],
    *,
    min_variance: float,
    max_variance: float,
) -> tuple[Array, Array]:
    scalar = weights.dtype.type
    return _infer_gaussian(weights, contexts, tuple(inputs), (scalar(min_variance), scalar(max_variance)))


@jax.jit
def _infer_gaussian(weights: Array, contexts: Array, inputs: Any, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
    precisions, shifts = zip(*((1 / v, m / v) for m, v in inputs), strict=True)
    unbounded = jnp.array(jnp.inf, weights.dtype)
    precision, shift = (_infer(weights, contexts, blocks, unbounded) for blocks in (precisions, shifts))
    return _gaussian(precision, shift, bounds)


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
    scalar = weights.dtype.type
    constants = _Constants(*map(scalar, (damping, max_error, max_weight, min_variance, max_variance)))
    rows = contexts, tuple(inputs), targets, rates, sample_weight
    return _learn_gaussian(weights, counts, rows, constants, normalized=normalized)


class _Constants(NamedTuple):
    damping: Array
    max_error: Array
    max_weight: Array
    min_variance: Array
    max_variance: Array

    @property
    def bounds(self) -> tuple[Array, Array]:
        return self.min_variance, self.max_variance


class _GaussianRow(NamedTuple):
    """What is to be learned from one row; of arrays (n, ...), from all."""

    chosen: Array  # (k, j): the rows of the table
    precisions: Array  # a, (k|1, i)
    shifts: Array  # h, (k|1, i)
    target: Array  # (k,)
    rate: Array  # (k|1,)
    visits: Array | None

    def predict(self, w: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        products = w @ jnp.stack([self.precisions, self.shifts], axis=2)
        return _gaussian(products[..., 0], products[..., 1], bounds)


@partial(jax.jit, donate_argnums=(0, 1), static_argnames="normalized")
def _learn_gaussian(
    weights: Array, counts: Array, rows: Any, of: _Constants, *, normalized: bool
) -> tuple[Array, Array, Array, Array]:
    contexts, inputs, targets, rates, visits = rows
    precisions = _side_by_side([1 / v for _, v in inputs])
    shifts = _side_by_side([m / v for m, v in inputs])

    def learn_row(state: State, row: _GaussianRow) -> tuple[State, tuple[Array, Array]]:
        table, all_counts = state
        w, count = _at(table, row.chosen), barrier(_at(all_counts, row.chosen))
        predicted = row.predict(w, of.bounds)

        def visit(state: Any) -> Any:
            left, w, count, predicted = state
            part = jnp.clip(left, 0, 1)
            w = jnp.where(part[..., jnp.newaxis] > 0, _step_gaussian(w, count, predicted, row, part, of, normalized), w)
            return left - 1, w, count + part, row.predict(w, of.bounds)

        if row.visits is None:
            part = jnp.ones((), w.dtype)
            w, count = _step_gaussian(w, count, predicted, row, part, of, normalized), count + part
        else:
            first = row.visits[:, jnp.newaxis], w, count, predicted
            _, w, count, _ = lax.while_loop(lambda state: (state[0] > 0).any(), visit, first)
        return (_put(table, row.chosen, w), _put(all_counts, row.chosen, count)), predicted

    state = lax.collapse(weights, 0, 3), lax.collapse(counts, 0, 3)
    row = _GaussianRow(_places(weights, contexts), precisions, shifts, targets, rates, visits)
    (table, all_counts), (means, variances) = lax.scan(learn_row, state, row)
    return table.reshape(weights.shape), all_counts.reshape(counts.shape), means, variances


def _step_gaussian(
    w: Array,
    count: Array,
    predicted: tuple[Array, Array],
    row: _GaussianRow,
    part: Array,
    of: _Constants,
    normalized: bool,
) -> Array:
    """The weights (k, j, i) after one visit."""
    m, v = predicted
    a, h = row.precisions[:, jnp.newaxis], row.shifts[:, jnp.newaxis]
    bound = of.max_error * jnp.sqrt(v)
    e = jnp.clip(row.target[:, jnp.newaxis] - m, -bound, bound)
    rate = part * row.rate[:, jnp.newaxis] / (1 + of.damping * count.astype(w.dtype))
    if normalized:
        aa, ah, hh = (a * a).sum(axis=2), (a * h).sum(axis=2), (h * h).sum(axis=2)
        rate /= v * (v * aa / 2 + jnp.maximum(hh - 2 * m * ah + m * m * aa, 0))
    along_a, along_h = rate * ((e * e - v) / 2 + e * m), rate * e
    w = jnp.clip(w - along_a[..., jnp.newaxis] * a + along_h[..., jnp.newaxis] * h, 0, of.max_weight)
    precision = (w @ row.precisions[..., jnp.newaxis])[..., 0]
    within = jnp.clip(precision, 1 / of.max_variance, 1 / of.min_variance)
    corner = jnp.where(precision > within, 0, of.max_weight)
    way = corner * a.sum(axis=2) - precision
    share = jnp.minimum((within - precision) / jnp.where(way == 0, 1, way), 1)[..., jnp.newaxis]
    return w + share * (corner[..., jnp.newaxis] - w)


def _gaussian(precision: Array, shift: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
    """Mean and variance of a weighted product of Gaussians, from the products of its weights with their parameters."""
    precision = jnp.maximum(precision, 1 / bounds[1])
    return shift / precision, jnp.clip(1 / precision, *bounds)


def _side_by_side(blocks: Sequence[Array]) -> Array:
    return jax.vmap(_features)(tuple(blocks))
