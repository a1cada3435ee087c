"""Kernels in TensorFlow: exact online learning as batched matrix products over runs of samples that share a slot.

While none of a slot's weights W is clipped, the logits of a run of its samples follow from W at the run's start:
s_t = W . u_t - sum over earlier samples r of the run of g_r (v_r . u_t), where g_r v_r is the step of sample r. So a
run costs one product for W . u, one Gram product for v . u, a recursion over scalars and one product for the summed
steps. Runs of different slots are independent: the first runs of all slots are learned in a few large pieces, then the
second ones, and so on. With batches of several samples a run is the part of one batch that meets a slot, and needs no
recursion. Runs in which a weight could be clipped are learned sample by sample instead.

Inside, m runs of s samples each have axes (s, m, outputs), where outputs has length 1 unless all outputs share the
slots; the features of a block are (m, g, s, b), with g = 1 where these outputs share the block. Flat slots are numbered
through all neurons.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from sklearn_gln.kernels import as_numpy

Array = Any  # tf.Tensor; tf.Variable for weights and accumulators that have been learned
Groups = tuple[Array, Array]

ON_DEVICE = True
TASK_SIZE = None
CHUNK_SIZES = None
RUN_ROWS = 16
CHUNK_ROWS = 128
MAX_DENSE_SLOTS = 32
PIECE_SIZE = 2**22  # elements of a piece's arrays, so that they stay in the caches
INFER_SIZE = 2**20
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


def take(x: Array, rows: np.ndarray) -> Array:
    return tf.gather(x, rows)


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
    return fill_missing(tf.clip_by_value(tf.math.log((x - low) / (high - x)), -max_logit, max_logit))


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


def base_block(x: Array, dtype: str, bias: bool, *, square_scale: float = 0.0, square_limit: float = np.inf) -> Array:
    block = tf.cast(x, dtype)
    if square_scale:
        squares = square_scale * tf.square(tf.clip_by_value(block, -square_limit, square_limit))
        block = tf.concat([block, squares], axis=1)
    return (tf.pad(block, [[0, 0], [0, 1]], constant_values=1) if bias else block)[:, None]


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
    products = tf.linalg.matmul(targets * sample_weight, block[:, 0], transpose_a=True)
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


def linear_infer(weights: Array, slots: Array, inputs: Sequence[Array], *, limit: float) -> Array:
    weights = tf.convert_to_tensor(weights)
    if not slots.shape[0]:
        return tf.zeros((0, *weights.shape[:2]), weights.dtype)
    return _run(_infer, weights, slots, tuple(inputs), tf.constant(limit, weights.dtype))


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
    dtype, (n_outputs, n_neurons, n_slots, n_inputs) = weights.dtype, weights.shape
    gradient = all(u is v for u, v in zip(inputs, directions, strict=True))
    dense = batch_size <= CHUNK_ROWS and n_slots <= min(MAX_DENSE_SLOTS, slots.shape[0]) and n_inputs > 0
    n_flat_slots = n_outputs * n_neurons * n_slots
    with (
        _reshaped(weights, (n_flat_slots, n_inputs)) as table,
        _reshaped(accumulator, (n_flat_slots,)) as flat_accumulator,
    ):
        samples = _Samples(
            table.handle,
            flat_accumulator.handle,
            tf.constant(n_outputs, tf.int64),
            tf.constant(n_neurons, tf.int64),
            tf.constant(n_slots, tf.int64),
            slots,
            tuple(inputs),
            () if gradient else tuple(directions),
            targets,
            rates,
            () if repeats is None else (repeats,),
            tf.constant(damping, dtype),
            () if loss == "squared" else (tf.constant(limit, dtype),),
            (tf.constant(max_weight, dtype),) if np.isfinite(max_weight) else (),
            (tf.constant(batch_size, tf.int64),) if batch_size > 1 else (),
        )
        logits = _run(_learn_dense if dense else _learn_in_runs, samples)
    return weights, accumulator, tf.clip_by_value(tf.reshape(logits, (-1, n_outputs, n_neurons)), -limit, limit)


def _run(function: Callable[..., Array], *arguments: Any) -> Array:
    """Run a function as one graph, which serves arrays of all shapes."""
    specs = tf.nest.map_structure(lambda array: tf.TensorSpec([None] * array.shape.rank, array.dtype), arguments)
    return _graph(function, specs)(*arguments)


@cache
def _graph(function: Callable[..., Array], specs: Any) -> Callable[..., Array]:
    return tf.function(function, input_signature=specs, autograph=False)


def _in_place(array: Array) -> tf.Variable:
    """A variable, which can be written in place; a copy, for a tensor may share its memory."""
    return array if isinstance(array, tf.Variable) else tf.Variable(tf.raw_ops.DeepCopy(x=array))


@contextmanager
def _reshaped(variable: tf.Variable, shape: tuple[int, ...]) -> Iterator[tf.Variable]:
    """The memory of a variable, moved to one of another shape and back.

    Gathers and scatters along the first axis are the fast ones; unknown lengths keep functions from being prepared
    for every shape again.
    """
    other = tf.Variable(tf.reshape(_taken(variable), shape), shape=[None] * len(shape))
    try:
        yield other
    finally:
        back = tf.reshape(_taken(other), variable.shape)
        tf.raw_ops.AssignVariableOp(resource=variable.handle, value=back, validate_shape=False)


def _taken(variable: tf.Variable) -> Array:
    """Take the memory of a variable, which is empty then: memory with two owners would be copied by the next write."""
    tf.raw_ops.DisableCopyOnRead(resource=variable.handle)
    content = tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype)
    empty = tf.zeros([0] * content.shape.rank, content.dtype)
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=empty, validate_shape=False)
    return content


def _features(blocks: Sequence[Array]) -> Array:
    """Blocks (n, k|1, b) side by side."""
    if len(blocks) == 1:
        return blocks[0]
    width = tf.maximum(*(tf.shape(block)[1] for block in blocks))
    return tf.concat([tf.broadcast_to(b, (tf.shape(b)[0], width, tf.shape(b)[2])) for b in blocks], axis=2)


def _infer(weights: Array, slots: Array, inputs: tuple[Array, ...], limit: Array) -> Array:
    # One sum of products for each logit: it does not depend, even in rounding, on the samples next to it. A piece has
    # at least two samples, because a single sum would be cut among threads.
    shape = tf.shape(weights, tf.int64)
    n_samples = tf.shape(slots, tf.int64)[0]
    table = tf.reshape(weights, (shape[0] * shape[1] * shape[2], shape[3]))
    first_slot = shape[2] * tf.reshape(tf.range(shape[0] * shape[1]), (shape[0], shape[1]))
    piece_rows = tf.maximum(INFER_SIZE // tf.maximum(shape[0] * shape[1] * shape[3], 1), 2)

    def infer_piece(piece: Array, logits: Array) -> tuple[Array, Array]:
        start = piece * piece_rows
        stop = tf.minimum(start + piece_rows, tf.maximum(n_samples, start + 2))
        rows = tf.minimum(tf.range(start, stop), n_samples - 1)
        selected = tf.gather(table, tf.cast(tf.gather(slots, rows), tf.int64) + first_slot)
        features = _features([tf.gather(block, rows) for block in inputs])[:, :, None]
        return piece + 1, logits.write(tf.cast(piece, tf.int32), tf.reduce_sum(selected * features, axis=3))

    n_pieces = (n_samples + piece_rows - 1) // piece_rows
    pieces = tf.TensorArray(weights.dtype, tf.cast(n_pieces, tf.int32), infer_shape=False, element_shape=[None] * 3)
    start = (tf.constant(0, tf.int64), pieces)
    _, pieces = tf.while_loop(lambda piece, _: piece < n_pieces, infer_piece, start, parallel_iterations=1)
    return tf.clip_by_value(pieces.concat()[:n_samples], -limit, limit)


class _Samples(NamedTuple):
    """The arguments of one call; those that it does not use are empty, so that it has its own graph."""

    weights: Array  # resources: (k * j * r, i), (k * j * r,)
    accumulator: Array
    n_outputs: Array
    n_neurons: Array
    n_slots: Array
    slots: Array
    inputs: tuple[Array, ...]
    own_directions: tuple[Array, ...]  # empty if they are the inputs
    targets: Array
    rates: Array
    repeats: tuple[Array, ...]
    damping: Array
    limit: tuple[Array, ...]  # of the log loss; the squared loss has none
    max_weight: tuple[Array, ...]
    batch_size: tuple[Array, ...]

    @property
    def directions(self) -> tuple[Array, ...]:
        return self.own_directions or self.inputs

    def between(self, start: Array, stop: Array) -> "_Samples":
        of_samples = ("slots", "inputs", "own_directions", "targets", "rates", "repeats")
        parts: Any = {name: tf.nest.map_structure(lambda x: x[start:stop], getattr(self, name)) for name in of_samples}
        return self._replace(**parts)

    def longest(self) -> Array:
        """The largest |v|: (n, k|1)."""
        largest = [tf.reduce_max(tf.abs(tf.pad(v, [[0, 0], [0, 0], [0, 1]])), axis=2) for v in self.directions]
        return tf.maximum(largest[0], largest[-1])


def _learn_in_runs(samples: _Samples) -> Array:
    """Learn all samples; return their logits (n, k * j)."""
    # Each neuron's samples in the order of their slots, cut into runs
    slots = samples.slots
    n_samples = tf.shape(slots, tf.int64)[0]
    of_neuron = tf.reshape(tf.transpose(slots, (1, 2, 0)), (-1, n_samples))
    order = tf.argsort(of_neuron, axis=1, stable=True)
    places = tf.range(tf.size(order, tf.int64))
    slots = tf.cast(tf.reshape(tf.gather(of_neuron, order, batch_dims=1), (-1,)), tf.int64)
    order = tf.cast(tf.reshape(order, (-1,)), tf.int64)
    fresh = tf.concat([tf.ones_like(slots[:1]), slots[1:] - slots[:-1]], axis=0) != 0
    fresh |= places % tf.maximum(n_samples, 1) == 0
    if samples.batch_size:
        turns = order // samples.batch_size[0]
    else:
        since = places - tf.gather(tf.where(fresh)[:, 0], tf.cumsum(tf.cast(fresh, tf.int64)) - 1)
        turns = since // RUN_ROWS
    fresh |= tf.concat([turns[:1] > 0, turns[1:] != turns[:-1]], axis=0)
    first = tf.where(fresh)[:, 0]
    length = tf.concat([first[1:], tf.shape(places, tf.int64)], axis=0) - first
    turn = tf.gather(turns, first)
    by_turn = tf.argsort(turn * (n_samples + 1) + n_samples - length, stable=True)  # the longest runs of a turn first
    first, length, turn = (tf.gather(array, by_turn) for array in (first, length, turn))

    longest = samples.longest()

    def learn_piece(at: Array, logits: Array) -> tuple[Array, Array]:
        n_steps = length[at]
        size = n_steps * (n_steps + 2 * tf.add_n([tf.shape(u, tf.int64)[2] for u in samples.inputs]))
        stop = tf.searchsorted(turn, turn[at : at + 1], side="right", out_type=tf.int64)[0]
        stop = tf.minimum(stop, at + tf.maximum(PIECE_SIZE // tf.maximum(size, 1), 1))
        runs = _Runs.of(samples, first[at:stop], length[at:stop], slots, order, n_steps, n_samples)
        doubtful, logits = _learn_runs(samples, runs, longest, logits)
        if samples.max_weight and not samples.batch_size:
            logits = tf.cond(
                tf.reduce_any(doubtful),
                lambda: _learn_by_sample(samples, runs.chosen(doubtful), logits),
                lambda: logits,
            )
        return stop, logits

    n_runs = tf.size(first, tf.int64)
    logits = tf.zeros((n_samples + 1, samples.n_outputs * samples.n_neurons), samples.damping.dtype)
    start = (tf.constant(0, tf.int64), logits)
    return tf.while_loop(lambda at, _: at < n_runs, learn_piece, start, parallel_iterations=1)[1][:-1]


def _learn_dense(samples: _Samples) -> Array:
    """As `_learn_in_runs`, with products of all weights, which takes fewer steps where slots are few."""
    n_samples = tf.shape(samples.slots, tf.int64)[0]
    n_lanes = samples.n_outputs * samples.n_neurons
    chunk_rows = CHUNK_ROWS - CHUNK_ROWS % (samples.batch_size or (1,))[0]  # whole batches

    def learn_chunk(start: Array, logits: Array) -> tuple[Array, Array]:
        stop = tf.minimum(start + chunk_rows, n_samples)
        learned = _learn_chunk(samples.between(start, stop))
        return stop, tf.tensor_scatter_nd_update(logits, tf.range(start, stop)[:, None], learned)

    start = (tf.constant(0, tf.int64), tf.zeros((n_samples, n_lanes), samples.damping.dtype))
    return tf.while_loop(lambda start, _: start < n_samples, learn_chunk, start, parallel_iterations=1)[1]


def _learn_chunk(samples: _Samples) -> Array:
    u = tf.transpose(_features(samples.inputs), (1, 0, 2))
    v = tf.transpose(_features(samples.directions), (1, 0, 2))
    n_groups, n_samples, n_inputs = tf.unstack(tf.shape(u, tf.int64))
    n_lanes = samples.n_outputs * samples.n_neurons
    grouped = (n_samples, n_groups, n_lanes // n_groups)

    def lanes(table: Array) -> Array:  # (samples, k|1, j|1)
        return tf.reshape(tf.broadcast_to(table, (n_samples, samples.n_outputs, samples.n_neurons)), grouped)

    weights = tf.raw_ops.ReadVariableOp(resource=samples.weights, dtype=u.dtype)
    weights = tf.reshape(weights, (n_groups, grouped[2] * samples.n_slots, n_inputs))
    accumulator = tf.ensure_shape(tf.raw_ops.ReadVariableOp(resource=samples.accumulator, dtype=tf.float64), [None])
    met = lanes(samples.slots)
    products = tf.transpose(tf.matmul(u, weights, transpose_b=True), (1, 0, 2))
    logits = tf.gather(tf.reshape(products, (*grouped, samples.n_slots)), met, batch_dims=3)
    first_slot = tf.reshape(samples.n_slots * tf.range(n_lanes), grouped[1:])
    gram = tf.transpose(tf.matmul(v, u, transpose_b=True), (1, 2, 0))
    scalars = _Scalars(
        lanes(samples.targets[:, :, None]),
        lanes(samples.rates[:, :, None]),
        lanes(samples.repeats[0][:, :, None]) if samples.repeats else tf.ones_like(logits),
        tf.broadcast_to(tf.transpose(tf.linalg.diag_part(tf.transpose(gram, (2, 0, 1))))[..., None], grouped),
        samples.damping,
        samples.limit,
    )
    before = tf.cast(tf.gather(accumulator, tf.cast(met, tf.int64) + first_slot), u.dtype)
    batch_size = tf.cast((samples.batch_size or (1,))[0], tf.int32)
    several = bool(samples.repeats)
    logits, steps, gains = _recursion(logits, before, met, gram, scalars, batch_size, CHUNK_ROWS, several)
    logits = tf.reshape(logits, (n_samples, n_lanes))

    def step() -> Array:
        chosen = tf.one_hot(met, tf.cast(samples.n_slots, tf.int32), dtype=u.dtype)
        scattered = tf.reshape(chosen * steps[..., None], (n_samples, n_groups, grouped[2] * samples.n_slots))
        moved = tf.reshape(tf.matmul(tf.transpose(scattered, (1, 2, 0)), v), (-1, n_inputs))
        tf.raw_ops.AssignSubVariableOp(resource=samples.weights, value=moved)
        met_gains = tf.reshape(tf.reduce_sum(chosen * gains[..., None], axis=0), (-1,))
        tf.raw_ops.AssignAddVariableOp(resource=samples.accumulator, value=tf.cast(met_gains, tf.float64))
        return logits

    if not samples.max_weight:
        return step()
    largest = tf.reduce_max(tf.reshape(tf.reduce_max(tf.abs(weights), axis=2), (*grouped[1:], samples.n_slots)), axis=2)
    growth = tf.reduce_sum(tf.abs(steps) * lanes(samples.longest()[:, :, None]), axis=0)
    # NaN could be: without the clip a recursion may overflow.
    cannot_be_clipped = tf.reduce_all(largest + growth <= samples.max_weight[0])
    return tf.cond(cannot_be_clipped, step, lambda: _learn_in_runs(samples))


class _Runs(NamedTuple):
    """m runs of up to s samples each; shorter ones are padded."""

    rows: Array  # (m, s): numbers of samples
    present: Array  # (m, s): False where a run is padded
    outputs: Array  # (m, outputs): their numbers
    neurons: Array  # (m,)
    flat_slots: Array  # (m, outputs)

    @classmethod
    def of(
        cls,
        samples: _Samples,
        first: Array,
        length: Array,
        slots: Array,
        order: Array,
        n_steps: Array,
        n_samples: Array,
    ) -> "_Runs":
        step = tf.range(n_steps)
        neuron = first // n_samples
        sharing = samples.n_outputs // tf.shape(samples.slots, tf.int64)[1]
        outputs = (neuron // samples.n_neurons * sharing)[:, None] + tf.range(sharing)
        neurons = neuron % samples.n_neurons
        return cls(
            tf.gather(order, first[:, None] + tf.minimum(step, length[:, None] - 1)),
            step < length[:, None],
            outputs,
            neurons,
            (outputs * samples.n_neurons + neurons[:, None]) * samples.n_slots + tf.gather(slots, first)[:, None],
        )

    def chosen(self, mask: Array) -> "_Runs":
        return _Runs(*(tf.boolean_mask(array, mask) for array in self))

    def see(self, table: Array) -> Array:
        """Entries of a table (n, k|1): (s, m, outputs)."""
        width = tf.shape(table, tf.int64)[1]
        column = tf.minimum(self.outputs, width - 1)
        return tf.gather(tf.reshape(table, (-1,)), tf.transpose(self.rows)[:, :, None] * width + column)

    def features(self, block: Array) -> Array:
        """Features of a block (n, k|1, b): (m, g, s, b)."""
        _, width, size = tf.unstack(tf.shape(block, tf.int64))
        column = tf.minimum(self.outputs, width - 1)
        column = column[:, : tf.where(width > 1, tf.shape(column, tf.int64)[1], 1), None]
        return tf.gather(tf.reshape(block, (-1, size)), self.rows[:, None] * width + column)

    def scatter(self, samples: _Samples, logits: Array, table: Array) -> Array:
        """Logits (s, m, outputs) in their places of all (n + 1, k * j); the last row is for padding."""
        lane = tf.broadcast_to(self.outputs * samples.n_neurons + self.neurons[:, None], tf.shape(logits))
        row = tf.where(tf.transpose(self.present), tf.transpose(self.rows), tf.shape(table, tf.int64)[0] - 1)
        row = tf.broadcast_to(row[:, :, None], tf.shape(logits))
        return tf.tensor_scatter_nd_update(table, tf.stack([row, lane], axis=3), logits)


class _Scalars(NamedTuple):
    """The terms of steps besides logits and accumulators: arrays of samples and lanes, a lane per neuron or run."""

    targets: Array
    rates: Array
    repeats: Array
    squares: Array  # v . u
    damping: Array
    limit: tuple[Array, ...]

    def map(self, function: Callable[[Array], Array]) -> "_Scalars":
        arrays = map(function, (self.targets, self.rates, self.repeats, self.squares))
        return self._replace(**dict(zip(("targets", "rates", "repeats", "squares"), arrays, strict=True)))


def _repeat(logits: Array, accumulator: Array, of: _Scalars, several: bool) -> tuple[Array, Array]:
    """Return the summed steps and gains of all repeats; at most one unless there are several."""

    def once(repeats: Array, steps: Array, summed: Array) -> tuple[Array, Array, Array]:
        part = tf.minimum(repeats, 1) if several else repeats
        errors, gains = _error(logits - steps * of.squares if several else logits, of)
        steps += of.rates * part * errors / (1 + of.damping * (accumulator + summed))
        return tf.maximum(repeats - 1, 0), steps, summed + part * gains

    start = (of.repeats, tf.zeros_like(logits), tf.zeros_like(logits))
    if several:
        return tf.while_loop(lambda left, *_: tf.reduce_any(left > 0), once, start)[1:]
    return once(*start)[1:]


def _error(logits: Array, of: _Scalars) -> tuple[Array, Array]:
    """The derivative of the loss, and the gain of one repeat."""
    if not of.limit:
        return logits - of.targets, tf.ones_like(logits)
    errors = tf.sigmoid(tf.clip_by_value(logits, -of.limit[0], of.limit[0])) - of.targets
    return errors, errors * errors


@cache
def _compiled_recursion(several: bool) -> Callable[..., tuple[Array, Array, Array]]:
    def recursion(
        logits: Array, accumulator: Array, slots: Array, products: Array, scalars: _Scalars, batch_size: Array
    ) -> tuple[Array, Array, Array]:
        n_samples = tf.shape(logits)[0]
        numbers = tf.range(n_samples)[:, None, None]
        batches = numbers // batch_size

        def learn_sample(
            t: Array, logits: Array, accumulator: Array, steps: Array, gains: Array
        ) -> tuple[Array, Array, Array, Array, Array]:
            step, gain = _repeat(logits[t], accumulator[t], scalars.map(lambda array: array[t]), several)
            moved = (slots == slots[t]) & (batches > t // batch_size)
            logits -= tf.where(moved, step * products[t][..., None], 0)
            accumulator += tf.where(moved, gain, 0)
            steps, gains = tf.where(numbers == t, step, steps), tf.where(numbers == t, gain, gains)
            return t + 1, logits, accumulator, steps, gains

        start = (tf.constant(0), logits, accumulator, tf.zeros_like(logits), tf.zeros_like(logits))
        _, logits, _, steps, gains = tf.while_loop(lambda t, *_: t < n_samples, learn_sample, start)
        return logits, steps, gains

    return tf.function(recursion, jit_compile=True, autograph=False)


def _recursion(
    logits: Array,
    accumulator: Array,
    slots: Array,
    products: Array,
    scalars: _Scalars,
    batch_size: Array,
    n_padded: int,
    several: bool,
) -> tuple[Array, Array, Array]:
    """Logits (samples, groups, lanes) under the first weights to those before each sample's step; steps; gains.

    `products` [r, t] are v_r . u_t, (samples, samples, groups). All axes are padded so that few functions are compiled.
    """
    n_samples, n_groups, n_lanes = tf.unstack(tf.shape(logits))
    more = [n_padded - n_samples, _power(n_groups, 4) - n_groups, _power(n_lanes, 2) - n_lanes]

    def pad(array: Array) -> Array:
        return tf.pad(array, [[0, extra] for extra in more])

    products = tf.pad(products, [[0, more[0]], [0, more[0]], [0, more[1]]])
    padded = (pad(logits), pad(accumulator), pad(slots), products, scalars.map(pad))
    results = _compiled_recursion(several)(*padded, batch_size)
    return tuple(result[:n_samples, :n_groups, :n_lanes] for result in results)


def _power(number: Array, base: int) -> Array:
    """The smallest power of the base that is at least a number."""
    powers = tf.constant([base**exponent for exponent in range(30 // (base // 2))], tf.int32)
    return powers[tf.searchsorted(powers, [number])[0]]


def _scalars(samples: _Samples, runs: _Runs, inputs: list[Array], directions: list[Array]) -> _Scalars:
    """The scalars of runs, (s, m, outputs)."""
    targets = runs.see(samples.targets)
    repeats = tf.cast(tf.transpose(runs.present)[:, :, None], targets.dtype) + tf.zeros_like(targets)
    squares = repeats
    if samples.repeats:
        repeats *= runs.see(samples.repeats[0])
        squares = tf.add_n(
            [
                tf.transpose(tf.reduce_sum(u * v, axis=3), (2, 0, 1)) + tf.zeros_like(repeats)
                for u, v in zip(inputs, directions, strict=True)
            ]
        )
    return _Scalars(targets, runs.see(samples.rates), repeats, squares, samples.damping, samples.limit)


def _parts(samples: _Samples, runs: _Runs) -> tuple[list[Array], list[Array], list[Array]]:
    """Weights (m, g, outputs / g, b), inputs and directions of each block."""
    weights = _read(samples.weights, runs, samples.damping.dtype, 3)
    inputs = [runs.features(block) for block in samples.inputs]
    directions = [runs.features(block) for block in samples.own_directions] or inputs
    parts, start = [], tf.constant(0, tf.int64)
    for u in inputs:
        n_runs, n_groups, _, size = tf.unstack(tf.shape(u, tf.int64))
        part = weights[:, :, start : start + size] if len(inputs) > 1 else weights
        parts.append(tf.reshape(part, (n_runs, n_groups, tf.shape(runs.outputs, tf.int64)[1] // n_groups, size)))
        start += size
    return parts, inputs, directions


def _learn_runs(samples: _Samples, runs: _Runs, longest: Array, table: Array) -> tuple[Array, Array]:
    """Learn runs in which no weight is clipped; return which ones are left, because one could be, and the logits."""
    weights, inputs, directions = _parts(samples, runs)
    scalars = _scalars(samples, runs, inputs, directions)
    accumulator = _read(samples.accumulator, runs, tf.float64, 2)
    shape, dtype = tf.shape(scalars.targets), scalars.targets.dtype
    before = tf.cast(accumulator, dtype)
    logits = tf.zeros(shape, dtype)
    for w, u in zip(weights, inputs, strict=True):
        logits += tf.reshape(tf.transpose(tf.matmul(u, w, transpose_b=True), (2, 0, 1, 3)), shape)
    if samples.batch_size:
        steps, gains = _repeat(logits, before, scalars, bool(samples.repeats))
    else:
        products = tf.zeros([1] * 4, dtype)
        for u, v in zip(inputs, directions, strict=True):
            products += tf.transpose(tf.matmul(v, u, transpose_b=True), (2, 3, 0, 1))
        n_groups = tf.shape(products)[3]
        lanes = (shape[0], shape[1] * n_groups, shape[2] // n_groups)
        logits, steps, gains = _recursion(
            tf.reshape(logits, lanes),
            tf.broadcast_to(tf.reshape(before, (1, *lanes[1:])), lanes),
            tf.zeros(lanes, tf.int32),
            tf.reshape(products, (shape[0], shape[0], lanes[1])),
            scalars.map(lambda array: tf.reshape(array, lanes)),
            tf.constant(1),
            RUN_ROWS,
            bool(samples.repeats),
        )
        logits, steps, gains = (tf.reshape(array, shape) for array in (logits, steps, gains))
    accumulator += tf.cast(tf.reduce_sum(gains, axis=0), tf.float64)
    after = []
    for w, v in zip(weights, directions, strict=True):
        summed = tf.transpose(tf.reshape(steps, (shape[0], shape[1], tf.shape(w)[1], -1)), (1, 2, 3, 0))
        moved = w - tf.matmul(summed, v)
        after.append(tf.reshape(moved, (shape[1], shape[2], tf.shape(w)[3])))
    moved = tf.concat(after, axis=2)
    doubtful = tf.zeros([0], tf.bool)
    if samples.batch_size and samples.max_weight:
        moved = tf.clip_by_value(moved, -samples.max_weight[0], samples.max_weight[0])
    elif samples.max_weight:
        growth = tf.reduce_sum(tf.abs(steps) * runs.see(longest), axis=0)
        # From the weights after all steps: growth bounds what every one of them moved back or forth in between
        largest = tf.reduce_max(tf.abs(tf.pad(moved, [[0, 0], [0, 0], [0, 1]])), axis=2) + growth
        kept = tf.reduce_all(largest + growth <= samples.max_weight[0], axis=1)  # NaN is not
        doubtful = ~kept
        runs, moved, accumulator = runs.chosen(kept), tf.boolean_mask(moved, kept), tf.boolean_mask(accumulator, kept)
        logits = tf.boolean_mask(logits, kept, axis=1)
    _write(samples, runs, moved, accumulator)
    return doubtful, runs.scatter(samples, logits, table)


def _learn_by_sample(samples: _Samples, runs: _Runs, table: Array) -> Array:
    """Learn runs sample by sample, with the clip of every step."""
    weights, inputs, directions = _parts(samples, runs)
    scalars = _scalars(samples, runs, inputs, directions)
    accumulator = _read(samples.accumulator, runs, tf.float64, 2)
    shape, dtype = tf.shape(scalars.targets), scalars.targets.dtype

    def learn_sample(step: Array, weights: list[Array], accumulator: Array, logits: Array) -> tuple[Any, ...]:
        dots = [tf.linalg.matvec(w, u[:, :, step]) for w, u in zip(weights, inputs, strict=True)]
        before = tf.add_n([tf.reshape(part, shape[1:]) for part in dots])
        scalars_now = scalars.map(lambda array: array[step])
        moved, gains = _repeat(before, tf.cast(accumulator, dtype), scalars_now, bool(samples.repeats))
        present = runs.present[:, step, None, None, None]
        after = []
        for w, v in zip(weights, directions, strict=True):
            stepped = w - tf.reshape(moved, tf.shape(w)[:3])[..., None] * v[:, :, None, step]
            after.append(tf.where(present, tf.clip_by_value(stepped, -samples.max_weight[0], samples.max_weight[0]), w))
        return step + 1, after, accumulator + tf.cast(gains, tf.float64), logits.write(step, before)

    logits = tf.TensorArray(dtype, shape[0], element_shape=(None, None))
    start = (tf.constant(0), weights, accumulator, logits)
    _, weights, accumulator, logits = tf.while_loop(lambda step, *_: step < shape[0], learn_sample, start)
    weights = [tf.reshape(w, (shape[1], shape[2], tf.shape(w)[3])) for w in weights]
    _write(samples, runs, tf.concat(weights, axis=2), accumulator)
    return runs.scatter(samples, logits.stack(), table)


def _read(resource: Array, runs: _Runs, dtype: Any, rank: int) -> Array:
    array = tf.raw_ops.ResourceGather(resource=resource, indices=runs.flat_slots, dtype=dtype)
    return tf.ensure_shape(array, [None] * rank)


def _write(samples: _Samples, runs: _Runs, weights: Array, accumulator: Array) -> None:
    tf.raw_ops.ResourceScatterUpdate(resource=samples.weights, indices=runs.flat_slots, updates=weights)
    tf.raw_ops.ResourceScatterUpdate(resource=samples.accumulator, indices=runs.flat_slots, updates=accumulator)


# Gaussian neurons: their steps are not linear in their predictions, so samples are learned one by one.


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
    dtype, (n_outputs, n_neurons, n_slots, n_inputs) = weights.dtype, weights.shape
    if not slots.shape[0]:
        nothing = tf.zeros((0, n_outputs, n_neurons), dtype)
        return weights, accumulator, nothing, nothing
    precisions, shifts = _features([1 / v for _, v in inputs]), _features([m / v for m, v in inputs])
    n_flat_slots = n_outputs * n_neurons * n_slots
    with (
        _reshaped(weights, (n_flat_slots, n_inputs)) as table,
        _reshaped(accumulator, (n_flat_slots,)) as flat_accumulator,
    ):
        constants = (damping, max_error, max_weight, min_variance, max_variance)
        samples = _GaussianSamples(
            table.handle,
            flat_accumulator.handle,
            _flat_slots(weights, slots),
            tf.stack([precisions, shifts], axis=3),
            targets,
            rates,
            () if repeats is None else (repeats,),
            _GaussianConstants(*(tf.constant(value, dtype) for value in constants)),
        )
        means, variances = _run(_learn_gaussian_normalized if normalized else _learn_gaussian, samples)
    return weights, accumulator, means, variances


class _GaussianConstants(NamedTuple):
    damping: Array
    max_error: Array
    max_weight: Array
    min_variance: Array
    max_variance: Array


class _GaussianSamples(NamedTuple):
    """The arguments of one call; those that it does not use are empty, so that it has its own graph."""

    weights: Array  # resources: (k * j * r, i), (k * j * r,)
    accumulator: Array
    flat_slots: Array  # (n, k, j)
    inputs: Array  # (n, k|1, i, 2): precisions and shifts
    targets: Array
    rates: Array
    repeats: tuple[Array, ...]
    constants: _GaussianConstants


def _learn_gaussian_normalized(samples: _GaussianSamples) -> tuple[Array, Array]:
    return _learn_gaussian(samples, normalized=True)


def _learn_gaussian(samples: _GaussianSamples, normalized: bool = False) -> tuple[Array, Array]:
    """Learn all samples; return their means and variances (n, k, j)."""
    dtype, of = samples.inputs.dtype, samples.constants
    squares = tf.matmul(samples.inputs, samples.inputs, transpose_a=True)
    totals = tf.reduce_sum(samples.inputs[..., 0], axis=2)
    n_samples = tf.shape(samples.flat_slots)[0]

    def learn_sample(t: Array, means: Array, variances: Array) -> tuple[Array, Array, Array]:
        flat_slots = samples.flat_slots[t]
        w = tf.raw_ops.ResourceGather(resource=samples.weights, indices=flat_slots, dtype=dtype)
        accumulated = tf.raw_ops.ResourceGather(resource=samples.accumulator, indices=flat_slots, dtype=tf.float64)
        w, accumulated = tf.ensure_shape(w, [None] * 3), tf.ensure_shape(accumulated, [None] * 2)
        inputs, target, rate = samples.inputs[t], samples.targets[t][:, None], samples.rates[t][:, None]
        a, h = inputs[:, None, :, 0], inputs[:, None, :, 1]
        aa, ah, hh = squares[t, :, 0, :1], squares[t, :, 0, 1:], squares[t, :, 1, 1:]

        def predict(w: Array) -> tuple[Array, Array]:
            precision, shift = tf.unstack(tf.matmul(w, inputs), num=2, axis=2)
            return _gaussian(precision, shift, of.min_variance, of.max_variance)

        def repeat(left: Array, w: Array, accumulated: Array, m: Array, v: Array) -> tuple[Array, ...]:
            part = tf.clip_by_value(left, 0, 1)
            bound = of.max_error * tf.sqrt(v)
            e = tf.clip_by_value(target - m, -bound, bound)
            length = part * rate / (1 + of.damping * tf.cast(accumulated, dtype))
            if normalized:
                length /= v * (v * aa / 2 + tf.maximum(hh - 2 * m * ah + m * m * aa, 0))
            along_a, along_h = length * ((e * e - v) / 2 + e * m), length * e
            stepped = tf.clip_by_value(w - along_a[..., None] * a + along_h[..., None] * h, 0, of.max_weight)
            precision = tf.matmul(stepped, inputs[..., :1])[..., 0]
            within = tf.clip_by_value(precision, 1 / of.max_variance, 1 / of.min_variance)
            corner = tf.where(precision > within, tf.zeros_like(precision), of.max_weight)
            share = tf.minimum(tf.math.divide_no_nan(within - precision, corner * totals[t][:, None] - precision), 1)
            stepped += share[..., None] * (corner[..., None] - stepped)
            w = tf.where(part[..., None] > 0, stepped, w)
            return left - 1, w, accumulated + tf.cast(part, tf.float64), *predict(w)

        m, v = predict(w)
        if samples.repeats:
            first = (samples.repeats[0][t][:, None], w, accumulated, m, v)
            _, w, accumulated, *_ = tf.while_loop(lambda left, *_: tf.reduce_any(left > 0), repeat, first)
        else:
            _, w, accumulated, *_ = repeat(tf.ones((1, 1), dtype), w, accumulated, m, v)
        tf.raw_ops.ResourceScatterUpdate(resource=samples.weights, indices=flat_slots, updates=w)
        tf.raw_ops.ResourceScatterUpdate(resource=samples.accumulator, indices=flat_slots, updates=accumulated)
        return t + 1, means.write(t, m), variances.write(t, v)

    tables = (tf.TensorArray(dtype, n_samples, infer_shape=False, element_shape=(None, None)) for _ in range(2))
    start = (tf.constant(0), *tables)
    _, means, variances = tf.while_loop(lambda t, *_: t < n_samples, learn_sample, start, parallel_iterations=1)
    return means.stack(), variances.stack()


def _gaussian(precision: Array, shift: Array, min_variance: Any, max_variance: Any) -> tuple[Array, Array]:
    """Mean and variance of a weighted product of Gaussians, from the products of its weights with their parameters."""
    precision = tf.maximum(precision, 1 / max_variance)
    return shift / precision, tf.clip_by_value(1 / precision, min_variance, max_variance)
