"""Kernels in TensorFlow: the samples in order, all neurons at once, compiled by XLA as one loop.

A sample touches one slot of every neuron: these are gathered, multiplied with the sample's inputs, moved and written
back in place. Weights and accumulators that have been learned are variables, whose memory a compiled function may
write.

What learns and predicts is compiled once for each set of shapes. Inside, the weights are a table (k j r, i), in which
slots numbered through all neurons ("flat slots") are rows.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from sklearn_gln.kernels import as_numpy
from sklearn_gln.kernels._host import columns_infer, columns_learn  # noqa: F401

Array = Any  # tf.Tensor; tf.Variable for weights and accumulators that have been learned
Groups = tuple[Array, Array]
State = tuple[Array, Array]  # the table, the flat accumulators

ON_DEVICE = True
TASK_SIZE = None
CHUNK_SIZES = (16, 128, 512, 2048)  # few: longer chunks cost less than more compilations
ROWS = None
INFER_ROWS = 8  # samples inferred at once: more would fall out of a CPU's caches, fewer would keep a GPU waiting
MAX_PROJECTIONS = 2**23  # elements of one gating product


def scope(device: Any) -> AbstractContextManager[Any]:
    if device is None:
        return tf.device(None)
    here = [f"{found.device_type}:{number}".lower() for found, number in _devices()]
    name = str(getattr(device, "name", device)).lower().replace("physical_device:", "").replace("cuda", "gpu")
    name = name.rpartition("/device:")[2].strip("/")
    if (name if ":" in name else f"{name}:0") not in here:
        raise ValueError(f"device={device!r} is not available; TensorFlow sees: {here}.")
    return tf.device(name)


def _devices() -> Iterator[tuple[Any, int]]:
    devices = tf.config.list_logical_devices()
    kinds = [device.device_type for device in devices]
    return ((device, kinds[:at].count(device.device_type)) for at, device in enumerate(devices))


def asarray(x: Array) -> Array:
    if not owns(x):
        return tf.convert_to_tensor(np.array(as_numpy(x)))  # TensorFlow may share the memory of what it is given
    return x if x.device == tf.zeros(()).device else tf.identity(x)


def to_numpy(x: Array) -> np.ndarray:
    return x.numpy()


def owns(x: object) -> bool:
    return isinstance(x, tf.Tensor | tf.Variable)


def take(x: Array, places: np.ndarray, axis: int = 0) -> Array:
    return tf.gather(x, places, axis=axis)


def extremes(x: Array) -> tuple[float, float]:
    if not tf.size(x):
        return 0.0, 0.0
    missing = tf.math.is_nan(x)
    lowest = float(tf.reduce_min(tf.where(missing, tf.constant(np.inf, x.dtype), x)))
    largest = float(tf.reduce_max(tf.where(missing, tf.constant(-np.inf, x.dtype), x)))
    return (lowest, largest) if lowest <= largest else (0.0, 0.0)


def standardize(x: Array, mean: Array, inverse_deviation: Array, *, limit: float) -> Array:
    scaled = (tf.cast(x, mean.dtype) - mean) * inverse_deviation
    return tf.where(tf.math.is_nan(x), tf.zeros_like(scaled), tf.clip_by_value(scaled, -limit, limit))


def logit(probabilities: Array, *, max_logit: float) -> Array:
    logits = tf.clip_by_value(tf.math.log(probabilities) - tf.math.log1p(-probabilities), -max_logit, max_logit)
    return tf.where(tf.math.is_nan(probabilities), tf.zeros_like(logits), logits)


def minmax_logit(x: Array, *, max_logit: float) -> Array:
    missing = tf.math.is_nan(x)
    low = tf.reduce_min(tf.where(missing, tf.constant(np.inf, x.dtype), x), axis=1, keepdims=True)
    high = tf.reduce_max(tf.where(missing, tf.constant(-np.inf, x.dtype), x), axis=1, keepdims=True)
    odds = (x - low) / tf.abs(high - x)  # -0 - 0 is -0
    return fill_missing(tf.clip_by_value(tf.math.log(odds), -max_logit, max_logit))


def fill_missing(x: Array) -> Array:
    return tf.where(tf.math.is_nan(x), tf.zeros_like(x), x)


def column_moments(
    x: Array, sample_weight: Array, lower: Any = -np.inf, upper: Any = np.inf
) -> tuple[Array, Array, Array]:
    x = tf.cast(x, tf.float64)
    seen = (x >= lower) & (x <= upper)
    counts = tf.where(seen, tf.cast(sample_weight, tf.float64)[:, None], tf.zeros_like(x))
    x = tf.where(seen, x, tf.zeros_like(x))
    weight = tf.reduce_sum(counts, axis=0)
    mean = tf.math.divide_no_nan(tf.reduce_sum(counts * x, axis=0), weight)
    return weight, mean, tf.reduce_sum(counts * (x - mean) ** 2, axis=0)


def input_block(parts: Sequence[Array], dtype: str, bias: bool) -> Array:
    block = tf.concat([tf.cast(part, dtype) for part in parts], axis=1)
    return (tf.pad(block, [[0, 0], [0, 1]], constant_values=1) if bias else block)[:, None]


def side_by_side(blocks: Sequence[Array]) -> Array:
    n_outputs = max(block.shape[1] for block in blocks)
    return tf.concat([tf.broadcast_to(x, (x.shape[0], n_outputs, x.shape[2])) for x in blocks], axis=2)


def select_contexts(side_info: Array, hyperplanes: Array, offsets: Array, dtype: str) -> Array:
    side_info, hyperplanes, offsets = (tf.cast(array, dtype) for array in (side_info, hyperplanes, offsets))
    n_outputs, n_neurons, context_dim, n_side = hyperplanes.shape
    normals = tf.reshape(hyperplanes, (n_outputs * n_neurons * context_dim, n_side))
    bits = tf.constant([2**bit for bit in range(context_dim)], tf.int32)
    rows_per_product = max(1, MAX_PROJECTIONS // max(1, normals.shape[0]))
    contexts = [tf.zeros((0, n_outputs, n_neurons), tf.int32)]
    for start in range(0, side_info.shape[0], rows_per_product):
        projections = tf.matmul(side_info[start : start + rows_per_product], normals, transpose_b=True)
        positive = tf.reshape(projections, (projections.shape[0], *offsets.shape)) > offsets
        contexts.append(tf.reduce_sum(tf.where(positive, bits, 0), axis=3))
    return tf.concat(contexts, axis=0)


def clip(x: Array, lower: Any, upper: Any) -> Array:
    if owns(lower):
        lower, upper = tf.cast(lower, x.dtype), tf.cast(upper, x.dtype)
    return tf.clip_by_value(x, lower, upper)


def minimum(x: Array, y: Array) -> Array:
    return tf.minimum(x, y)


def neuron_mean(x: Array) -> Array:
    return tf.reduce_mean(tf.cast(x, tf.float64), axis=2)


def neuron_moments(x: Array) -> tuple[Array, Array]:
    return neuron_mean(x), tf.math.reduce_variance(tf.cast(x, tf.float64), axis=2)


def at_slots(table: Array, slots: Array) -> Array:
    return tf.gather(tf.reshape(table, (-1,)), _flat_slots(table, slots))


def add_at_slots(table: Array, slots: Array, values: Array) -> Array:
    values = tf.cast(values, table.dtype)
    flat = tf.tensor_scatter_nd_add(tf.reshape(table, (-1,)), _flat_slots(table, slots)[..., None], values)
    return tf.reshape(flat, table.shape)


def _flat_slots(table: Array, slots: Array) -> Array:
    """Slots (n, k|1, j) numbered through all neurons of a table (k, j, r, ...): (n, k, j)."""
    n_outputs, n_neurons, n_slots = table.shape[:3]
    first = n_slots * tf.range(n_outputs * n_neurons, dtype=tf.int64)
    return tf.cast(slots, tf.int64) + tf.reshape(first, (n_outputs, n_neurons))


def expand(array: Array, slot_of: Array) -> Array:
    array = tf.convert_to_tensor(array)
    return tf.gather(array, tf.broadcast_to(slot_of, (*array.shape[:2], slot_of.shape[2])), batch_dims=2)


def precondition(block: Array, matrices: Array | None, groups: Groups | None = None) -> tuple[Array, Array]:
    directions = block
    if matrices is not None:
        grouped = block if groups is None else _split(block, groups[0])
        directions = tf.transpose(tf.matmul(tf.transpose(grouped, (1, 0, 2)), matrices), (1, 0, 2))
        if groups is not None:
            directions = tf.gather(tf.reshape(directions, (block.shape[0], 1, -1)), groups[1], axis=2)
    return directions, tf.reduce_sum(block * directions, axis=2)


def add_second_moment(
    moment: Array, block: Array, sample_weight: Array | None = None, groups: Groups | None = None
) -> Array:
    block = block if groups is None else _split(block, groups[0])
    weighted = block if sample_weight is None else block * sample_weight[:, :, None]
    product = tf.matmul(tf.transpose(block, (1, 2, 0)), tf.transpose(weighted, (1, 0, 2)))
    return moment + tf.cast(product, tf.float64)


def add_cross_moment(moment: Array, block: Array, targets: Array, sample_weight: Array) -> Array:
    weighted = targets * sample_weight
    if block.shape[1] == 1:
        products = tf.linalg.matmul(weighted, block[:, 0], transpose_a=True)
    else:
        products = tf.reduce_sum(weighted[:, :, None] * block, axis=0)
    return tf.cast(moment, tf.float64) + tf.cast(products, tf.float64)


def _split(block: Array, places: Array) -> Array:
    """Return the columns of a block (n, 1, d) in groups (n, g, b)."""
    return tf.gather(tf.pad(block[:, 0], [[0, 0], [0, 1]]), places, axis=1)


def damped_inverse(moment: Array, weight: float, floor: float, dtype: str, ridge: float = 1.0) -> Array:
    moment = tf.cast(moment, tf.float64) / weight
    damping = tf.maximum(tf.reduce_mean(tf.linalg.diag_part(moment), axis=1), floor)
    damping = ridge * tf.where(damping == 0, tf.ones_like(damping), damping)
    eye = tf.eye(moment.shape[-1], batch_shape=moment.shape[:1], dtype=tf.float64)
    return tf.cast(tf.linalg.inv(moment + damping[:, None, None] * eye), dtype)


# Linear neurons


def linear_infer(weights: Array, slots: Array, inputs: Sequence[Array], *, limit: float) -> Array:
    if not slots.shape[0]:
        return tf.zeros((0, *weights.shape[:2]), weights.dtype)
    return _compiled(_infer, weights, slots, tuple(inputs), tf.constant(limit, weights.dtype))


def _infer(weights: Array, slots: Array, inputs: tuple[Array, ...], limit: Array) -> Array:
    # Always pieces of the same size, and never a single one, for which the compiler would drop the loop: so a sample's
    # logits do not depend, even in rounding, on the number of samples.
    n_samples = slots.shape[0]
    n_pieces = max(2, -(-n_samples // INFER_ROWS))
    table, samples = _as_table(weights), (_flat_slots(weights, slots), *inputs)

    def infer_piece(state: tuple[()], piece: Any) -> tuple[tuple[()], tuple[Array]]:
        flat_slots, *blocks = piece
        return state, (_dots(tf.gather(table, flat_slots), _features(blocks)),)

    outputs = weights.dtype, (INFER_ROWS, *weights.shape[:2])
    _, (logits,) = _scan(infer_piece, (), _in_batches(samples, n_pieces, INFER_ROWS), [outputs])
    return tf.clip_by_value(tf.reshape(logits, (-1, *weights.shape[:2]))[:n_samples], -limit, limit)


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
    weights, accumulator = _in_place(weights), _in_place(accumulator)
    if not slots.shape[0]:
        return weights, accumulator, tf.zeros((0, *weights.shape[:2]), weights.dtype)
    samples = _Samples(slots, tuple(inputs), tuple(directions), targets, rates, () if repeats is None else (repeats,))
    constants = _Constants(*(tf.constant(value, weights.dtype) for value in (damping, limit, max_weight)))
    rule = _Rule(loss == "squared", bool(np.isfinite(max_weight)), min(batch_size, slots.shape[0]))
    return weights, accumulator, _compiled(_learn, weights, accumulator, samples, constants, rule)


class _Rule(NamedTuple):
    """What else a function is compiled for."""

    squared: bool
    bounded: bool
    batch_size: int


class _Constants(NamedTuple):
    damping: Array
    limit: Array
    max_weight: Array


class _Samples(NamedTuple):
    """All that is to be learned from some samples, or from one."""

    slots: Array  # (n, k|1, j); flat ones are (n, k, j)
    inputs: tuple[Array, ...]
    directions: tuple[Array, ...]
    targets: Array
    rates: Array
    repeats: tuple[Array, ...]  # perhaps empty; else the repeats, and once flat v . u


def _learn(weights: Array, accumulator: Array, samples: _Samples, of: _Constants, rule: _Rule) -> Array:
    """Learn all samples; return their logits (n, k, j)."""
    n_samples, outputs = samples.slots.shape[0], (weights.dtype, tuple(weights.shape[:2]))
    n_batches = -(-n_samples // rule.batch_size)
    repeats = samples.repeats
    if not repeats and n_samples % rule.batch_size:
        repeats = (tf.ones((n_samples, 1), weights.dtype),)  # and 0 for the samples that pad the last batch
    if repeats:
        products = [tf.reduce_sum(u * v, axis=2) for u, v in zip(samples.inputs, samples.directions, strict=True)]
        repeats = (*repeats, tf.add(*products) if len(products) > 1 else products[0])
    samples = samples._replace(slots=_flat_slots(weights, samples.slots), repeats=repeats)

    def bound(values: Array) -> Array:
        return tf.clip_by_value(values, -of.max_weight, of.max_weight) if rule.bounded else values

    def moved(selected: Array, sample: _Samples, steps: Array) -> Array:
        return selected - steps[..., tf.newaxis] * _features(sample.directions)[:, tf.newaxis]

    def learn_sample(state: State, sample: _Samples) -> tuple[State, tuple[Array]]:
        table, accumulators = state
        selected, before = tf.gather(table, sample.slots), tf.gather(accumulators, sample.slots)
        logits = _dots(selected, _features(sample.inputs))
        steps, gains = _repeat(logits, tf.cast(before, logits.dtype), sample, of, rule)
        table = _put(table, sample.slots, bound(moved(selected, sample, steps)))
        return (table, _put(accumulators, sample.slots, before + tf.cast(gains, before.dtype))), (logits,)

    def learn_batch(state: State, batch: _Samples) -> tuple[State, tuple[Array]]:
        table, accumulators = state

        def infer_sample(nothing: tuple[()], sample: _Samples) -> tuple[tuple[()], tuple[Array]]:
            return nothing, (_dots(tf.gather(table, sample.slots), _features(sample.inputs)),)

        def add(state: State, move: tuple[_Samples, Array, Array]) -> tuple[State, tuple[()]]:
            (table, accumulators), (sample, steps, gains) = state, move
            table = _put(table, sample.slots, moved(tf.gather(table, sample.slots), sample, steps))
            return (table, _put(accumulators, sample.slots, tf.gather(accumulators, sample.slots) + gains)), ()

        def clip_slots(state: tuple[Array], sample: _Samples) -> tuple[tuple[Array], tuple[()]]:
            return (_put(*state, sample.slots, bound(tf.gather(*state, sample.slots))),), ()

        _, (logits,) = _scan(infer_sample, (), batch, [outputs])
        before = tf.cast(tf.gather(accumulators, batch.slots), logits.dtype)
        steps, gains = _repeat(logits, before, batch, of, rule)
        (table, accumulators), _ = _scan(add, state, (batch, steps, tf.cast(gains, accumulators.dtype)))
        if rule.bounded:
            (table,), _ = _scan(clip_slots, (table,), batch)
        return (table, accumulators), (logits,)

    learn: Callable[..., Any] = learn_sample
    shape = outputs[1]
    if rule.batch_size > 1:
        # Samples that pad the last batch meet the slots that its last sample met: no other weights may be clipped.
        last = tf.repeat(samples.slots[-1:], n_batches * rule.batch_size - n_samples, axis=0)
        slots = _in_batches(tf.concat([samples.slots, last], axis=0), n_batches, rule.batch_size)
        samples = _in_batches(samples, n_batches, rule.batch_size)._replace(slots=slots)
        learn, shape = learn_batch, (rule.batch_size, *shape)
    state = _as_table(weights), tf.reshape(accumulator, (-1,))
    (table, accumulators), (logits,) = _scan(learn, state, samples, [(weights.dtype, shape)])
    weights.assign(tf.reshape(table, weights.shape))
    accumulator.assign(tf.reshape(accumulators, accumulator.shape))
    return tf.clip_by_value(tf.reshape(logits, (-1, *outputs[1]))[:n_samples], -of.limit, of.limit)


def _repeat(logits: Array, accumulator: Array, sample: _Samples, of: _Constants, rule: _Rule) -> tuple[Array, Array]:
    """The summed step and gain of all repeats of a sample, or of each in a batch."""
    targets, rates = sample.targets[..., tf.newaxis], sample.rates[..., tf.newaxis]

    def error(logits: Array) -> tuple[Array, Array]:
        """The derivative of the loss, and the gain of one repeat."""
        if rule.squared:
            return logits - targets, tf.ones_like(logits)
        errors = tf.sigmoid(tf.clip_by_value(logits, -of.limit, of.limit)) - targets
        return errors, errors * errors

    if not sample.repeats:
        errors, gains = error(logits)
        return rates * errors / (1 + of.damping * accumulator), gains
    repeats, motion = (array[..., tf.newaxis] for array in sample.repeats)

    def once_more(left: Array, steps: Array, summed: Array) -> tuple[Array, Array, Array]:
        part = tf.clip_by_value(left, 0, 1)
        errors, gains = error(logits - steps * motion)
        steps += part * rates * errors / (1 + of.damping * (accumulator + summed))
        return left - 1, steps, summed + part * gains

    first = repeats, tf.zeros_like(logits), tf.zeros_like(logits)
    _, steps, summed = tf.while_loop(lambda left, *_: tf.reduce_any(left > 0), once_more, first)
    return steps, summed


# Loops and tables


def _compiled(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function, which is compiled once for each set of shapes."""
    return _compile(function, tf.nest.map_structure(_spec, arguments))(*arguments)


def _spec(argument: Any) -> Any:
    return (tuple(argument.shape), argument.dtype) if owns(argument) else argument


@cache
def _compile(function: Callable[..., Any], specs: Any) -> Callable[..., Any]:  # noqa: ARG001
    return tf.function(function, jit_compile=True, autograph=False)


def _scan(
    step: Callable[..., Any], state: Any, samples: Any, outputs: Sequence[tuple[Any, tuple[int, ...]]] = ()
) -> tuple[Any, list[Array]]:
    """Go through samples in order; return the last state, and the outputs of all steps.

    step(state, sample) returns the next state and the outputs, which have these types and shapes.
    """
    n_samples = tf.nest.flatten(samples)[0].shape[0]

    def go_on(t: Array, state: Any, tables: list[Array]) -> tuple[Array, Any, list[Array]]:
        state, of_sample = step(state, tf.nest.map_structure(lambda array: tf.gather(array, t), samples))
        return t + 1, state, [table.write(t, output) for table, output in zip(tables, of_sample, strict=True)]

    tables = [tf.TensorArray(dtype, n_samples, element_shape=shape) for dtype, shape in outputs]
    _, state, tables = tf.while_loop(lambda t, *_: t < n_samples, go_on, (tf.constant(0), state, tables))
    return state, [table.stack() for table in tables]


def _in_place(array: Array) -> tf.Variable:
    """A variable, which can be written in place; a copy, for a tensor may share its memory."""
    return array if isinstance(array, tf.Variable) else tf.Variable(tf.raw_ops.DeepCopy(x=array))


def _as_table(weights: Array) -> Array:
    return tf.reshape(weights, (-1, weights.shape[3]))


def _put(table: Array, flat_slots: Array, values: Array) -> Array:
    return tf.tensor_scatter_nd_update(table, flat_slots[..., tf.newaxis], values)


def _dots(selected: Array, features: Array) -> Array:
    """Weights (..., k, j, i) times the inputs (..., k|1, i) of a sample, or of each of several."""
    if features.shape[-2] == 1:
        return tf.einsum("...kji,...i->...kj", selected, features[..., 0, :])
    return tf.einsum("...kji,...ki->...kj", selected, features)


def _features(blocks: Sequence[Array]) -> Array:
    """Blocks (..., k|1, b) side by side."""
    if len(blocks) == 1:
        return blocks[0]
    width = max(block.shape[-2] for block in blocks)
    return tf.concat([tf.broadcast_to(block, (*block.shape[:-2], width, block.shape[-1])) for block in blocks], axis=-1)


def _in_batches(arrays: Any, n_batches: int, size: int) -> Any:
    """Arrays (n, ...) padded with zeros and cut into batches: (n_batches, size, ...)."""

    def cut(array: Array) -> Array:
        more = [[0, n_batches * size - array.shape[0]], *([[0, 0]] * (array.shape.rank - 1))]
        return tf.reshape(tf.pad(array, more), (n_batches, size, *array.shape[1:]))

    return tf.nest.map_structure(cut, arrays)


# Gaussian neurons


def gaussian_base(
    features: Array, dtype: str, *, scale: float, bias_means: tuple[float, ...], variance: float
) -> tuple[Array, Array]:
    scaled = tf.cast(scale * features, dtype)
    constants = tf.broadcast_to(tf.constant(bias_means, dtype), (features.shape[0], len(bias_means)))
    means = tf.concat([scaled, -scaled, constants], axis=1)[:, None]
    return means, tf.fill(means.shape, tf.constant(variance, dtype))


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
    weights, accumulator = _in_place(weights), _in_place(accumulator)
    if not slots.shape[0]:
        nothing = tf.zeros((0, *weights.shape[:2]), weights.dtype)
        return weights, accumulator, nothing, nothing
    samples = _GaussianSamples(
        slots,
        _features([1 / v for _, v in inputs]),
        _features([m / v for m, v in inputs]),
        targets,
        rates,
        () if repeats is None else (repeats,),
    )
    constants = damping, max_error, max_weight, min_variance, max_variance
    of = _GaussianConstants(*(tf.constant(value, weights.dtype) for value in constants))
    means, variances = _compiled(_learn_gaussian, weights, accumulator, samples, of, normalized)
    return weights, accumulator, means, variances


class _GaussianConstants(NamedTuple):
    damping: Array
    max_error: Array
    max_weight: Array
    min_variance: Array
    max_variance: Array


class _GaussianSamples(NamedTuple):
    """All that is to be learned from some samples, or from one."""

    slots: Array  # (n, k|1, j); flat ones are (n, k, j)
    precisions: Array  # a, (n, k|1, i)
    shifts: Array  # h, (n, k|1, i)
    targets: Array
    rates: Array
    repeats: tuple[Array, ...]  # perhaps empty

    def predict(self, w: Array, of: _GaussianConstants) -> tuple[Array, Array]:
        precision = tf.maximum(_dots(w, self.precisions), 1 / of.max_variance)
        return _dots(w, self.shifts) / precision, tf.clip_by_value(1 / precision, of.min_variance, of.max_variance)


def _learn_gaussian(
    weights: Array, accumulator: Array, samples: _GaussianSamples, of: _GaussianConstants, normalized: bool
) -> tuple[Array, Array]:
    """Learn all samples; return their means and variances (n, k, j)."""
    outputs = weights.dtype, tuple(weights.shape[:2])

    def learn_sample(state: State, sample: _GaussianSamples) -> tuple[State, tuple[Array, Array]]:
        table, accumulators = state
        w, accumulated = tf.gather(table, sample.slots), tf.gather(accumulators, sample.slots)
        predicted = sample.predict(w, of)

        def repeat(left: Array, w: Array, accumulated: Array, predicted: Any) -> tuple[Array, Array, Array, Any]:
            part = tf.clip_by_value(left, 0, 1)
            stepped = _step_gaussian(w, accumulated, predicted, sample, part, of, normalized)
            w = tf.where(part[..., tf.newaxis] > 0, stepped, w)
            return left - 1, w, accumulated + tf.cast(part, accumulated.dtype), sample.predict(w, of)

        if sample.repeats:
            first = sample.repeats[0][:, tf.newaxis], w, accumulated, predicted
            _, w, accumulated, _ = tf.while_loop(lambda left, *_: tf.reduce_any(left > 0), repeat, first)
        else:
            part = tf.ones((), w.dtype)
            w, accumulated = _step_gaussian(w, accumulated, predicted, sample, part, of, normalized), accumulated + 1
        return (_put(table, sample.slots, w), _put(accumulators, sample.slots, accumulated)), predicted

    state = _as_table(weights), tf.reshape(accumulator, (-1,))
    samples = samples._replace(slots=_flat_slots(weights, samples.slots))
    (table, accumulators), (means, variances) = _scan(learn_sample, state, samples, [outputs, outputs])
    weights.assign(tf.reshape(table, weights.shape))
    accumulator.assign(tf.reshape(accumulators, accumulator.shape))
    return means, variances


def _step_gaussian(
    w: Array,
    accumulated: Array,
    predicted: tuple[Array, Array],
    sample: _GaussianSamples,
    part: Array,
    of: _GaussianConstants,
    normalized: bool,
) -> Array:
    """The weights (k, j, i) after one repeat."""
    m, v = predicted
    a, h = sample.precisions[:, tf.newaxis], sample.shifts[:, tf.newaxis]
    bound = of.max_error * tf.sqrt(v)
    e = tf.clip_by_value(sample.targets[:, tf.newaxis] - m, -bound, bound)
    rate = part * sample.rates[:, tf.newaxis] / (1 + of.damping * tf.cast(accumulated, w.dtype))
    if normalized:
        aa, ah, hh = (tf.reduce_sum(product, axis=2) for product in (a * a, a * h, h * h))
        rate /= v * (v * aa / 2 + tf.maximum(hh - 2 * m * ah + m * m * aa, 0))
    along_a, along_h = rate * ((e * e - v) / 2 + e * m), rate * e
    w = tf.clip_by_value(w - along_a[..., tf.newaxis] * a + along_h[..., tf.newaxis] * h, 0, of.max_weight)
    precision = _dots(w, sample.precisions)
    within = tf.clip_by_value(precision, 1 / of.max_variance, 1 / of.min_variance)
    corner = tf.where(precision > within, tf.zeros_like(precision), of.max_weight)
    way = corner * tf.reduce_sum(a, axis=2) - precision
    share = tf.minimum((within - precision) / tf.where(way == 0, tf.ones_like(way), way), 1)[..., tf.newaxis]
    return w + share * (corner[..., tf.newaxis] - w)
