"""Kernels in JAX: the samples in order, all neurons at once, compiled as one loop.

A sample touches one slot of every neuron: these are gathered, multiplied with the sample's inputs, moved and written
back in place. On a CPU this is as fast as products over chunks of samples, or faster; it compiles sooner, and needs no
bound on the weights: a step is clipped when it is made.

Everything is jitted, and compiled once for each set of shapes. Inside, the weights are a table (k j r, i), in which
slots numbered through all neurons ("flat slots") are rows.
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
from sklearn_gln.kernels._host import columns_infer, columns_learn  # noqa: F401

try:
    from jax import enable_x64
except ImportError:  # older versions of JAX
    from jax.experimental import enable_x64  # type: ignore[attr-defined, no-redef]

Array = jax.Array
Groups = tuple[Array, Array]
State = tuple[Array, Array]  # the table, the flat accumulators
HostArray = np.ndarray[Any, np.dtype[Any]]
config: Any = jax.config
barrier: Any = lax.optimization_barrier

ON_DEVICE = True
TASK_SIZE = None
CHUNK_SIZES = (16, 128, 512, 2048)  # few: longer chunks cost less than more compilations
ROWS = None
INFER_ROWS = 8  # samples inferred at once: more would fall out of a CPU's caches, fewer would keep a GPU waiting
BATCH_ROWS = 16  # samples of a batch whose weights are gathered at once
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
        raise ValueError(f"device={device!r} is not available; JAX sees: {list(here)}.")
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


@partial(jax.jit, static_argnames="axis")
def take(x: Array, places: HostArray, axis: int = 0) -> Array:
    return jnp.take(x, places, axis, mode="clip")


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
    odds = (x - low) / jnp.abs(high - x)  # -0 - 0 is -0
    logits = jnp.clip(jnp.log(odds), -max_logit, max_logit)
    return jnp.where(missing | (low == high), 0, logits)  # in compiled code, clipping may lose a NaN


@jax.jit
def fill_missing(x: Array) -> Array:
    return jnp.where(jnp.isnan(x), 0, x)


@jax.jit
def column_moments(
    x: Array, sample_weight: Array, lower: Any = -np.inf, upper: Any = np.inf
) -> tuple[Array, Array, Array]:
    x = x.astype(jnp.float64)
    seen = (x >= lower) & (x <= upper)
    x = jnp.where(seen, x, 0)
    weights = jnp.where(seen, sample_weight.astype(jnp.float64)[:, jnp.newaxis], 0)
    weight = weights.sum(axis=0)
    mean = (weights * x).sum(axis=0) / jnp.where(weight > 0, weight, 1)
    return weight, mean, (weights * (x - mean) ** 2).sum(axis=0)


@partial(jax.jit, static_argnames=("dtype", "bias"))
def input_block(parts: Sequence[Array], dtype: Any, bias: bool) -> Array:
    block = jnp.concatenate([part.astype(dtype) for part in parts], axis=1)
    return jnp.pad(block, ((0, 0), (0, int(bias))), constant_values=1)[:, jnp.newaxis]


@jax.jit
def side_by_side(blocks: Sequence[Array]) -> Array:
    n_outputs = max(block.shape[1] for block in blocks)
    return jnp.concatenate([jnp.broadcast_to(x, (len(x), n_outputs, x.shape[2])) for x in blocks], axis=2)


@partial(jax.jit, static_argnames="dtype")
def select_contexts(side_info: Array, hyperplanes: Array, offsets: Array, dtype: str) -> Array:
    normals, offsets = hyperplanes.astype(dtype), offsets.astype(dtype)

    def of_row(z: Array) -> Array:
        positive = jnp.einsum("d,kjqd->kjq", z.astype(dtype), normals) > offsets
        bits = positive.astype(jnp.int32) << jnp.arange(offsets.shape[2], dtype=jnp.int32)
        return bits.sum(axis=2, dtype=jnp.int32)

    return lax.map(of_row, side_info, batch_size=max(1, MAX_PROJECTIONS // max(1, offsets.size)))


def linear_infer(weights: Array, slots: Array, inputs: Sequence[Array], *, limit: float) -> Array:
    return _infer(weights, slots, tuple(inputs), weights.dtype.type(limit))


@jax.jit
def _infer(weights: Array, slots: Array, inputs: tuple[Array, ...], limit: Array) -> Array:
    # Always chunks of the same size, and never a single one, for which the compiler would drop the loop: so a sample's
    # logits do not depend, even in rounding, on the number of samples.
    n_samples = len(slots)
    n_padded = max(2, -(-n_samples // INFER_ROWS)) * INFER_ROWS
    flat_slots = _flat_slots(weights, slots)
    table = lax.collapse(weights, 0, 3)
    logits = lax.map(partial(_dots, table), _pad((flat_slots, inputs), n_padded), batch_size=INFER_ROWS)
    return jnp.clip(logits[:n_samples], -limit, limit)


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
    scalar = weights.dtype.type  # Python's numbers would be compiled again, with another type
    constants = scalar(damping), scalar(limit), scalar(max_weight)
    samples = slots, tuple(inputs), tuple(directions), targets, rates, repeats
    batch_size = min(batch_size, max(1, len(slots)))
    bounded = bool(np.isfinite(max_weight))
    return _learn(weights, accumulator, samples, constants, loss=loss, batch_size=batch_size, bounded=bounded)


class _Samples(NamedTuple):
    """All that is to be learned from some samples, or from one."""

    flat_slots: Array  # (n, k, j)
    inputs: tuple[Array, ...]
    directions: tuple[Array, ...]
    targets: Array
    rates: Array
    repeats: Array | None = None
    motion: Any = None  # v . u, for samples with repeats


@partial(jax.jit, donate_argnums=(0, 1), static_argnames=("loss", "batch_size", "bounded"))
def _learn(
    weights: Array,
    accumulator: Array,
    samples: Any,
    constants: tuple[Array, Array, Array],
    *,
    loss: str,
    batch_size: int,
    bounded: bool,
) -> tuple[Array, Array, Array]:
    slots, inputs, directions, targets, rates, repeats = samples
    damping, limit, max_weight = constants
    repeat = partial(_repeat, loss=loss, damping=damping, limit=limit)
    n_samples = len(slots)
    n_batches = -(-n_samples // batch_size)
    if repeats is None and n_samples % batch_size:
        repeats = jnp.ones((n_samples, 1), weights.dtype)  # and 0 for the samples that pad the last batch
    samples = _Samples(_flat_slots(weights, slots), inputs, directions, targets, rates)
    if repeats is not None:
        motion = sum((u * v).sum(axis=2) for u, v in zip(inputs, directions, strict=True))
        samples = samples._replace(repeats=repeats, motion=motion)

    def bound(values: Array) -> Array:
        return jnp.clip(values, -max_weight, max_weight) if bounded else values

    def learn_sample(state: State, sample: _Samples) -> tuple[State, Array]:
        table, accumulators = state
        logits = _dots(table, (sample.flat_slots, sample.inputs))
        before = barrier(_at(accumulators, sample.flat_slots))  # else XLA copies all accumulators for every sample
        steps, gains = repeat(logits, before.astype(logits.dtype), sample)
        table = _put(table, sample.flat_slots, bound(_moved(table, sample, steps)))
        return (table, _put(accumulators, sample.flat_slots, before + gains)), logits

    def learn_batch(state: State, batch: _Samples) -> tuple[State, Array]:
        table, accumulators = state
        logits = lax.map(partial(_dots, table), (batch.flat_slots, batch.inputs), batch_size=BATCH_ROWS)
        steps, gains = jax.vmap(repeat)(logits, _at(accumulators, batch.flat_slots).astype(logits.dtype), batch)

        def add(state: State, move: tuple[_Samples, Array, Array]) -> tuple[State, None]:
            (table, accumulators), (sample, steps, gains) = state, move
            table = _put(table, sample.flat_slots, _moved(table, sample, steps))
            return (table, _put(accumulators, sample.flat_slots, _at(accumulators, sample.flat_slots) + gains)), None

        def clip_slots(table: Array, flat_slots: Array) -> tuple[Array, None]:
            return _put(table, flat_slots, bound(_at(table, flat_slots))), None

        table, accumulators = lax.scan(add, state, (batch, steps, gains))[0]
        if bounded:
            table = lax.scan(clip_slots, table, batch.flat_slots)[0]
        return (table, accumulators), logits

    if batch_size > 1:
        # Samples that pad the last batch meet the slots that its last sample met: no other weights may be clipped.
        more = ((0, n_batches * batch_size - n_samples), (0, 0), (0, 0))
        samples = samples._replace(flat_slots=jnp.pad(samples.flat_slots, more, mode="edge"))
        samples = _pad(samples, n_batches * batch_size)
        samples = jax.tree.map(lambda array: array.reshape(n_batches, batch_size, *array.shape[1:]), samples)
    state = lax.collapse(weights, 0, 3), lax.collapse(accumulator, 0, 3)
    (table, accumulators), logits = lax.scan(learn_sample if batch_size == 1 else learn_batch, state, samples)
    logits = logits.reshape(n_batches * batch_size, *weights.shape[:2])[:n_samples]
    return table.reshape(weights.shape), accumulators.reshape(accumulator.shape), jnp.clip(logits, -limit, limit)


def _repeat(
    logits: Array, accumulator: Array, sample: _Samples, *, loss: str, damping: Array, limit: Array
) -> tuple[Array, Array]:
    """Return the summed step and gain of all repeats of a sample."""
    targets, rates = sample.targets[:, jnp.newaxis], sample.rates[:, jnp.newaxis]

    def error(logits: Array) -> tuple[Array, Array]:
        """The derivative of the loss, and the gain of one repeat."""
        if loss == "squared":
            return logits - targets, jnp.ones_like(logits)
        errors = jax.nn.sigmoid(jnp.clip(logits, -limit, limit)) - targets
        return errors, errors * errors

    if sample.repeats is None:
        errors, gains = error(logits)
        return rates * errors / (1 + damping * accumulator), gains

    def once_more(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        repeats, steps, summed = state
        part = jnp.clip(repeats, 0, 1)
        errors, gains = error(logits - steps * sample.motion[:, jnp.newaxis])
        steps += part * rates * errors / (1 + damping * (accumulator + summed))
        return repeats - 1, steps, summed + part * gains

    first = sample.repeats[:, jnp.newaxis], jnp.zeros_like(logits), jnp.zeros_like(logits)
    _, steps, summed = lax.while_loop(lambda state: (state[0] > 0).any(), once_more, first)
    return steps, summed


def _dots(table: Array, sample: tuple[Array, tuple[Array, ...]]) -> Array:
    """The weights of the flat slots (k, j) times one sample of the inputs."""
    flat_slots, blocks = sample
    selected, inputs = _at(table, flat_slots), _features(blocks)
    if len(inputs) == 1:
        return jnp.einsum("kji,i->kj", selected, inputs[0])
    return jnp.einsum("kji,ki->kj", selected, inputs)


def _moved(table: Array, sample: _Samples, steps: Array) -> Array:
    return _at(table, sample.flat_slots) - steps[..., jnp.newaxis] * _features(sample.directions)[:, jnp.newaxis]


def _features(blocks: tuple[Array, ...]) -> Array:
    """One sample of the blocks (k|1, block_size) side by side."""
    n_groups = max(len(block) for block in blocks)
    return jnp.concatenate([jnp.broadcast_to(block, (n_groups, block.shape[1])) for block in blocks], axis=1)


def _flat_slots(table: Array, slots: Array) -> Array:
    """Slots (n, k|1, j) numbered through all neurons of a table (k, j, r, ...): (n, k, j)."""
    n_outputs, n_neurons, n_slots = table.shape[:3]
    first = n_slots * jnp.arange(n_outputs * n_neurons, dtype=jnp.uint32).reshape(n_outputs, n_neurons)
    return slots.astype(jnp.uint32) + first  # unsigned: no check for negative indices


def _at(table: Array, flat_slots: Array) -> Array:
    return table.at[flat_slots].get(mode="promise_in_bounds")


def _put(table: Array, flat_slots: Array, values: Array) -> Array:
    return table.at[flat_slots].set(values, mode="promise_in_bounds", unique_indices=True)


def _pad(arrays: Any, n_samples: int) -> Any:
    return jax.tree.map(lambda x: jnp.pad(x, ((0, n_samples - len(x)), *((0, 0),) * (x.ndim - 1))), arrays)


@jax.jit
def clip(x: Array, lower: Any, upper: Any) -> Array:
    return jnp.clip(x, jnp.asarray(lower, x.dtype), jnp.asarray(upper, x.dtype))


@jax.jit
def minimum(x: Array, y: Array) -> Array:
    return jnp.minimum(x, y)


@jax.jit
def neuron_mean(x: Array) -> Array:
    return x.mean(axis=2, dtype=jnp.float64)


@jax.jit
def neuron_moments(x: Array) -> tuple[Array, Array]:
    return neuron_mean(x), x.var(axis=2, dtype=jnp.float64)


@jax.jit
def at_slots(table: Array, slots: Array) -> Array:
    return _at(table.ravel(), _flat_slots(table, slots))


@partial(jax.jit, donate_argnums=0)
def add_at_slots(table: Array, slots: Array, values: Array) -> Array:
    def add(flat: Array, sample: tuple[Array, Array]) -> tuple[Array, None]:  # in order: a GPU would add in any order
        flat_slots, values = sample
        return _put(flat, flat_slots, _at(flat, flat_slots) + values), None

    return lax.scan(add, table.ravel(), (_flat_slots(table, slots), values))[0].reshape(table.shape)


@jax.jit
def expand(array: Array, slot_of: Array) -> Array:
    n_outputs, n_neurons, n_slots = array.shape[:3]
    first = jnp.arange(n_outputs * n_neurons).reshape(n_outputs, n_neurons, 1) * n_slots
    return _at(lax.collapse(array, 0, 3), slot_of + first)


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
    weighted = targets * sample_weight
    if block.shape[1] == 1:
        return moment + weighted.T @ block[:, 0]
    return moment + jnp.einsum("nk,nkb->kb", weighted, block)


def _split(block: Array, places: Array) -> Array:
    """Return the columns of a block (n, 1, d) in groups (n, g, b)."""
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
    scalar = weights.dtype.type
    constants = _Constants(*map(scalar, (damping, max_error, max_weight, min_variance, max_variance)))
    samples = slots, tuple(inputs), targets, rates, repeats
    return _learn_gaussian(weights, accumulator, samples, constants, normalized=normalized)


class _Constants(NamedTuple):
    damping: Array
    max_error: Array
    max_weight: Array
    min_variance: Array
    max_variance: Array

    @property
    def bounds(self) -> tuple[Array, Array]:
        return self.min_variance, self.max_variance


class _GaussianSample(NamedTuple):
    """All that is to be learned from one sample; with arrays (n, ...), from all."""

    flat_slots: Array  # (k, j)
    precisions: Array  # a, (k|1, i)
    shifts: Array  # h, (k|1, i)
    target: Array  # (k,)
    rate: Array  # (k|1,)
    repeats: Array | None

    def predict(self, w: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        products = w @ jnp.stack([self.precisions, self.shifts], axis=2)
        return _gaussian(products[..., 0], products[..., 1], bounds)


@partial(jax.jit, donate_argnums=(0, 1), static_argnames="normalized")
def _learn_gaussian(
    weights: Array, accumulator: Array, samples: Any, of: _Constants, *, normalized: bool
) -> tuple[Array, Array, Array, Array]:
    slots, inputs, targets, rates, repeats = samples
    precisions = _side_by_side([1 / v for _, v in inputs])
    shifts = _side_by_side([m / v for m, v in inputs])

    def learn_sample(state: State, sample: _GaussianSample) -> tuple[State, tuple[Array, Array]]:
        table, accumulators = state
        w, accumulated = _at(table, sample.flat_slots), barrier(_at(accumulators, sample.flat_slots))
        predicted = sample.predict(w, of.bounds)

        def repeat(state: Any) -> Any:
            left, w, accumulated, predicted = state
            part = jnp.clip(left, 0, 1)
            stepped = _step_gaussian(w, accumulated, predicted, sample, part, of, normalized)
            w = jnp.where(part[..., jnp.newaxis] > 0, stepped, w)
            return left - 1, w, accumulated + part, sample.predict(w, of.bounds)

        if sample.repeats is None:
            part = jnp.ones((), w.dtype)
            w, accumulated = _step_gaussian(w, accumulated, predicted, sample, part, of, normalized), accumulated + part
        else:
            first = sample.repeats[:, jnp.newaxis], w, accumulated, predicted
            _, w, accumulated, _ = lax.while_loop(lambda state: (state[0] > 0).any(), repeat, first)
        return (_put(table, sample.flat_slots, w), _put(accumulators, sample.flat_slots, accumulated)), predicted

    state = lax.collapse(weights, 0, 3), lax.collapse(accumulator, 0, 3)
    samples = _GaussianSample(_flat_slots(weights, slots), precisions, shifts, targets, rates, repeats)
    (table, accumulators), (means, variances) = lax.scan(learn_sample, state, samples)
    return table.reshape(weights.shape), accumulators.reshape(accumulator.shape), means, variances


def _step_gaussian(
    w: Array,
    accumulated: Array,
    predicted: tuple[Array, Array],
    sample: _GaussianSample,
    part: Array,
    of: _Constants,
    normalized: bool,
) -> Array:
    """Return the weights (k, j, i) after one repeat."""
    m, v = predicted
    a, h = sample.precisions[:, jnp.newaxis], sample.shifts[:, jnp.newaxis]
    bound = of.max_error * jnp.sqrt(v)
    e = jnp.clip(sample.target[:, jnp.newaxis] - m, -bound, bound)
    rate = part * sample.rate[:, jnp.newaxis] / (1 + of.damping * accumulated.astype(w.dtype))
    if normalized:
        aa, ah, hh = (a * a).sum(axis=2), (a * h).sum(axis=2), (h * h).sum(axis=2)
        rate /= v * (v * aa / 2 + jnp.maximum(hh - 2 * m * ah + m * m * aa, 0))
    along_a, along_h = rate * ((e * e - v) / 2 + e * m), rate * e
    w = jnp.clip(w - along_a[..., jnp.newaxis] * a + along_h[..., jnp.newaxis] * h, 0, of.max_weight)
    precision = (w @ sample.precisions[..., jnp.newaxis])[..., 0]
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
