"""The network as plain arrays, and pure functions over its layers: draw, learn, infer. Knows no scikit-learn."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from sklearn_gln._learning_rate import Preconditioner, normalized_rates, scheduled_rates, step_block

Array = np.ndarray

POOL_ROWS = 256  # the first rows, from which pair halfspaces are drawn
MIN_TASK_WORK = 2**14  # rows x neurons; smaller calls are not worth splitting
COINCIDENT = 1e-6  # two rows nearer than this fraction of their norms define no direction


@dataclass(frozen=True)
class Settings:
    """What a network is and how it learns: the estimator's parameters, checked and resolved."""

    layer_sizes: tuple[int, ...]  # the final single-neuron layer of aggregation="neuron" included
    context_dim: int
    halfspaces: str
    offset_scale: float
    share_halfspaces: bool
    bias: bool
    skip: bool
    learning_rate: str | Callable
    learning_rate_init: float
    preconditioned: bool
    initial_weights: str
    aggregation: str
    eps: float
    max_weight: float
    batch_size: int
    dtype: str

    @property
    def max_logit(self) -> float:
        return float(np.log((1 - self.eps) / self.eps))

    @property
    def normalized(self) -> bool:
        return self.learning_rate == "normalized"


@dataclass
class Layer:
    weights: Array  # (n_outputs, n_neurons, n_contexts, n_inputs)
    energy: Array  # (n_outputs, n_neurons, n_contexts): squared errors of each weight row, summed
    preconditioner: Preconditioner | None  # of the previous layer's logits


@dataclass
class Network:
    hyperplanes: Array  # (n_outputs | 1, neurons of all layers, context_dim, n_side)
    offsets: Array  # (n_outputs | 1, neurons of all layers, context_dim)
    layers: list[Layer]
    base_preconditioner: Preconditioner | None  # of the base logits and the constant


def draw_halfspaces(pool: Array, n_neurons: int, settings: Settings, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw the halfspaces of n_neurons from the side information of the first rows, pool (n, n_side).

    Returns normals (n_neurons, context_dim, n_side) and offsets (n_neurons, context_dim).
    """
    n_rows, n_side = pool.shape
    count = n_neurons * settings.context_dim
    if settings.halfspaces == "pairs":
        first = rng.integers(n_rows, size=count)
        second = (first + 1 + rng.integers(max(n_rows - 1, 1), size=count)) % n_rows
        noise = rng.standard_normal(count)
        normals = pool[first] - pool[second]
        norms = np.linalg.norm(pool, axis=1)
        coincident = np.linalg.norm(normals, axis=1) <= COINCIDENT * (norms[first] + norms[second])
        normals[coincident] = rng.standard_normal((np.count_nonzero(coincident), n_side))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        projections = pool @ normals.T
        offsets = np.median(projections, axis=0) + settings.offset_scale * projections.std(axis=0) * noise
    else:
        normals = rng.standard_normal((count, n_side))
        offsets = settings.offset_scale * rng.standard_normal(count)
        if settings.halfspaces == "gaussian":
            normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    shape = (n_neurons, settings.context_dim)
    return normals.reshape(*shape, n_side), offsets.reshape(shape)


def init_network(n_base: int, pool: Array, outputs: Sequence[int], settings: Settings, seed: int) -> Network:
    """A network that has learned nothing, for n_base base logits and the outputs of these numbers.

    Random numbers are spawned per (layer, output number): a subset of outputs draws the same halfspaces.
    """
    n_outputs, n_contexts = len(outputs), 2**settings.context_dim
    dtype = np.dtype(settings.dtype)
    drawn, layers, n_previous = [], [], 0
    for number, n_neurons in enumerate(settings.layer_sizes):
        sequences = [np.random.SeedSequence(seed, spawn_key=(number, output)) for output in outputs]
        if settings.share_halfspaces:
            sequences = [np.random.SeedSequence(seed, spawn_key=(number,))]
        drawn.append([draw_halfspaces(pool, n_neurons, settings, np.random.default_rng(s)) for s in sequences])

        n_inputs = n_previous + _base_width(number, n_base, settings)
        shape = (n_outputs, n_neurons, n_contexts)
        weights = np.zeros((*shape, n_inputs), dtype)
        if settings.initial_weights == "uniform":
            weights[...] = 1 / n_inputs
        elif settings.initial_weights == "mean" and n_previous:
            weights[..., :n_previous] = 1 / n_previous
        # Without a floor the early logits, all near 0, would blow up their preconditioner.
        preconditioner = Preconditioner.empty(n_outputs, n_previous, floor=1.0) if settings.preconditioned else None
        layers.append(Layer(weights, np.zeros(shape, dtype), preconditioner if n_previous else None))
        n_previous = n_neurons

    def stack(part: int) -> Array:  # (outputs, neurons of all layers, ...)
        return np.concatenate([np.stack([pair[part] for pair in layer]) for layer in drawn], axis=1).astype(dtype)

    base_preconditioner = Preconditioner.empty(1, n_base, floor=0.0) if settings.preconditioned else None
    return Network(stack(0), stack(1), layers, base_preconditioner)


def _base_width(layer_number: int, n_base: int, settings: Settings) -> int:
    """How many of a layer's inputs are base logits (or, without skip connections, the constant)."""
    return n_base if layer_number == 0 or settings.skip else int(settings.bias)


def learn(
    network: Network,
    kernels: ModuleType,
    base_logits: Array,
    side_info: Array,
    targets: Array,
    sample_weight: Array | None,
    row_numbers: Array,
    settings: Settings,
    executor: Executor | None = None,
) -> list[Array]:
    """Learn rows in order, in place; return each layer's logits (n, n_outputs, n_neurons) as they were before each row.

    No error flows back, so a layer needs only the logits that the layer below predicted: learning all rows in one
    layer before the next is the same as learning row by row.

    Shapes: base_logits (n, n_base), side_info (n, n_side), targets (n, n_outputs), sample_weight and row_numbers (n,).
    """
    dtype = np.dtype(settings.dtype)
    contexts = _contexts_by_layer(network, kernels, side_info, dtype)
    targets = kernels.asarray(targets.astype(dtype))
    visits = None if sample_weight is None else kernels.asarray(sample_weight[:, np.newaxis].astype(dtype))
    total_weight = float(len(targets) if sample_weight is None else sample_weight.sum())
    rate = settings.learning_rate_init
    if not settings.normalized:
        rates = scheduled_rates(settings.learning_rate, rate, row_numbers)
        rates = kernels.asarray(rates[:, np.newaxis].astype(dtype))

    base, constant = _base_and_constant(kernels, base_logits, settings)
    base_block = step_block(kernels, base, network.base_preconditioner, settings.normalized)
    constant_block = step_block(kernels, constant, None, settings.normalized)
    logits: list[Array] = []
    for layer in network.layers:
        blocks = [base_block if settings.skip or not logits else constant_block]
        if logits:
            blocks.insert(0, step_block(kernels, logits[-1], layer.preconditioner, settings.normalized))
        layer.weights, layer.energy, layer_logits = _learn_layer(
            kernels,
            layer,
            contexts[len(logits)],
            tuple(block.inputs for block in blocks),
            tuple(block.directions for block in blocks),
            targets,
            normalized_rates(blocks, rate) if settings.normalized else rates,
            visits,
            executor,
            damping=rate / layer.weights.shape[-1] if settings.normalized else 0.0,
            max_logit=settings.max_logit,
            max_weight=settings.max_weight,
            batch_size=settings.batch_size,
        )
        if layer.preconditioner is not None:
            layer.preconditioner.update(kernels.to_numpy(kernels.second_moment(logits[-1], visits)), total_weight)
        logits.append(layer_logits)
    if network.base_preconditioner is not None:
        network.base_preconditioner.update(kernels.to_numpy(kernels.second_moment(base, visits)), total_weight)
    return logits


def infer(
    network: Network,
    kernels: ModuleType,
    base_logits: Array,
    side_info: Array,
    settings: Settings,
    executor: Executor | None = None,
) -> list[Array]:
    """Each layer's logits (n, n_outputs, n_neurons) for base_logits (n, n_base) and side_info (n, n_side)."""
    # Gating in float64: in float32 a row near a hyperplane could change sides with the rows beside it in the product.
    contexts = _contexts_by_layer(network, kernels, side_info, np.dtype("float64"))
    base, constant = _base_and_constant(kernels, base_logits, settings)
    logits: list[Array] = []
    for layer in network.layers:
        inputs = (base if settings.skip or not logits else constant,)
        if logits:
            inputs = (logits[-1], *inputs)
        logits.append(_infer_layer(kernels, layer, contexts[len(logits)], inputs, executor, max_logit=settings.max_logit))
    return logits


def aggregate(logits: Sequence[Array], aggregation: str, kernels: ModuleType) -> Array:
    """The output logits (n, n_outputs), float64, of the layers' logits."""
    chosen = logits if aggregation == "layers" else logits[-1:]
    return np.mean([kernels.to_numpy(layer).mean(axis=2, dtype=float) for layer in chosen], axis=0)


def refresh_preconditioners(network: Network, dtype: np.dtype) -> None:
    if network.base_preconditioner is not None:
        network.base_preconditioner.refresh(dtype)
    for layer in network.layers:
        if layer.preconditioner is not None:
            layer.preconditioner.refresh(dtype)


def _contexts_by_layer(network: Network, kernels: ModuleType, side_info: Array, dtype: np.dtype) -> list[Array]:
    """Contexts (n, n_outputs | 1, n_neurons) of each layer: one gating product serves them all."""
    hyperplanes, offsets = (kernels.asarray(array.astype(dtype, copy=False)) for array in (network.hyperplanes, network.offsets))
    contexts = kernels.select_contexts(kernels.asarray(side_info.astype(dtype, copy=False)), hyperplanes, offsets)
    ends = np.cumsum([layer.energy.shape[1] for layer in network.layers])
    return [contexts[:, :, end - layer.energy.shape[1] : end] for layer, end in zip(network.layers, ends, strict=True)]


def _base_and_constant(kernels: ModuleType, base_logits: Array, settings: Settings) -> tuple[Array, Array]:
    """The base block (n, 1, n_base), and what stands for it above the first layer of a network without skip."""
    dtype = np.dtype(settings.dtype)
    constant = np.ones((len(base_logits), 1, int(settings.bias)), dtype)
    return kernels.asarray(base_logits[:, np.newaxis].astype(dtype, copy=False)), kernels.asarray(constant)


def _tasks(kernels: ModuleType, n_rows: int, weights: Array) -> list[tuple[slice, slice]]:
    """Cut a layer into (outputs, neurons) whose weights are contiguous: by shape alone, whatever the threads."""
    n_outputs, n_neurons = weights.shape[:2]
    size = kernels.TASK_SIZE
    if size is None or n_outputs * n_neurons <= size or n_rows * n_outputs * n_neurons <= MIN_TASK_WORK:
        return [(slice(0, n_outputs), slice(0, n_neurons))]
    outputs = _slices(n_outputs, max(1, size // n_neurons))
    neurons = _slices(n_neurons, size)
    return [(k, j) for k in outputs for j in neurons]


def _slices(length: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def _of_outputs(array: Array, outputs: slice) -> Array:
    return array if array.shape[1] == 1 else array[:, outputs]


def _map(executor: Executor | None, function: Callable, tasks: Sequence) -> Iterator:
    return map(function, tasks) if executor is None or len(tasks) == 1 else executor.map(function, tasks)


def _learn_layer(kernels, layer, contexts, inputs, directions, targets, rates, visits, executor, **constants):
    """`bernoulli_learn` for a layer, in tasks."""
    tasks = _tasks(kernels, len(targets), layer.weights)

    def learn_task(task: tuple[slice, slice]) -> tuple[Array, Array, Array]:
        k, j = task
        return kernels.bernoulli_learn(
            layer.weights[k, j],
            layer.energy[k, j],
            _of_outputs(contexts, k)[:, :, j],
            tuple(_of_outputs(block, k) for block in inputs),
            tuple(_of_outputs(block, k) for block in directions),
            targets[:, k],
            _of_outputs(rates, k),
            visits,
            **constants,
        )

    results = list(_map(executor, learn_task, tasks))
    if len(results) == 1:
        return results[0]
    return layer.weights, layer.energy, _join(tasks, [logits for _, _, logits in results])  # learned in place


def _infer_layer(kernels, layer, contexts, inputs, executor, **constants):
    """`bernoulli_infer` for a layer, in tasks."""
    tasks = _tasks(kernels, len(contexts), layer.weights)

    def infer_task(task: tuple[slice, slice]) -> Array:
        k, j = task
        return kernels.bernoulli_infer(
            layer.weights[k, j],
            _of_outputs(contexts, k)[:, :, j],
            tuple(_of_outputs(block, k) for block in inputs),
            **constants,
        )

    return _join(tasks, list(_map(executor, infer_task, tasks)))


def _join(tasks: list[tuple[slice, slice]], logits: list[Array]) -> Array:
    if len(tasks) == 1:
        return logits[0]
    n_outputs, n_neurons = tasks[-1][0].stop, tasks[-1][1].stop
    joined = np.empty((len(logits[0]), n_outputs, n_neurons), logits[0].dtype)
    for (k, j), part in zip(tasks, logits, strict=True):
        joined[:, k, j] = part
    return joined
