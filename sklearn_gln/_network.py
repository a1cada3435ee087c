"""The network as plain arrays, and pure functions over its layers: draw, learn, infer. Knows no scikit-learn."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sklearn_gln._learning_rate import (
    Block,
    Preconditioner,
    group_shape,
    normalized_rates,
    scheduled_rates,
    step_block,
)
from sklearn_gln._spread import Spread
from sklearn_gln.kernels import Kernels

Array = NDArray[Any]

_placing = threading.Lock()

POOL_ROWS = 256  # the first rows, from which pair halfspaces are drawn
MAX_VISITS = (
    1000  # of a row, to bound the work: by then normalised steps leave an error near 1e-4, small plain ones more
)
OWN_TARGET = 1.0  # over u . P u: the largest step of a squared error, which brings a row to its own target
BASE_VARIANCE = 2.0  # of the base Gaussians of likelihood="gaussian"; 4 and 0.5 were worse
OFF_THE_ROWS = 1e-5  # of the projections: a median is a row's own projection, and rounding must not decide its side
GROWTH = 4  # of the room for weight rows: what is outgrown takes memory while it is copied
LINEAR_RIDGE = 5.0  # rows' worth of a linear first neuron's pull to 0
SQUARE_SCALE = 0.2  # of squared inputs beside the inputs themselves, which come first where they do as well
SQUARE_LIMIT = 4.0  # deviations
CONSTANT_RIDGE = 1e-6  # of LINEAR_RIDGE, for its constant: enough to solve where all rows have weight 0
MAX_ENERGY = 1 / 8  # over the rounding of weights, so that usual steps are well above it; 2**20 in float32
COINCIDENT = 1e-6  # two rows nearer than this fraction of their norms define no direction


@dataclass(frozen=True)
class Settings:
    """What a network is and how it learns: the estimator's parameters, checked and resolved."""

    likelihood: str  # of the targets: "bernoulli"; "squared" or "gaussian", which is regression
    layer_sizes: tuple[int, ...]  # a first neuron without halfspaces and aggregation="neuron"'s final one included
    context_dim: int
    halfspaces: str
    offset_scale: float
    share_halfspaces: bool
    bias: bool
    skip: bool
    learning_rate: str | Callable[[Array], Array]
    learning_rate_init: float
    label_smoothing: float  # s: neurons learn the targets s and 1 - s
    preconditioner: str | None  # "full" or "block", which is that of the base logits
    initial_weights: str
    aggregation: str
    eps: float
    max_weight: float
    batch_size: int
    dtype: str
    half_life: float | str | None = None  # rows
    squares: bool = False  # whether neurons are given the squares of the base inputs too

    @property
    def linear_first(self) -> bool:
        """Whether the first layer is one neuron without halfspaces: a linear model, on which the others build."""
        return self.likelihood != "bernoulli"

    @property
    def solves_first(self) -> bool:
        """Whether that neuron is set to the ridge regression of all rows where preconditioners are refreshed."""
        return self.likelihood == "squared" and self.preconditioner == "full"

    @property
    def n_constants(self) -> int:
        """Constant inputs; of Gaussian neurons one on either side of the target."""
        return self.bias * (2 if self.likelihood == "gaussian" else 1)

    def n_base(self, n_given: int) -> int:
        """Inputs of the first layer's neurons, of so many scaled features or base predictions."""
        return n_given * (2 if self.squares or self.likelihood == "gaussian" else 1) + self.n_constants

    @property
    def limit(self) -> float:
        """The bound of neurons' outputs, as the kernels have it."""
        return float(np.log((1 - self.eps) / self.eps)) if self.likelihood == "bernoulli" else np.inf

    @property
    def ridge(self) -> float:
        """That of preconditioners; errors of real targets say more than those of labels, so theirs may be bolder."""
        return 1.0 if self.likelihood == "bernoulli" else 0.3

    def damping(self, n_inputs: int) -> float:
        """How fast the steps of a neuron's weight row become smaller."""
        if not self.normalized:
            return 0.0
        return n_inputs**-0.5 if self.likelihood == "bernoulli" else self.learning_rate_init / n_inputs

    @property
    def normalized(self) -> bool:
        return self.learning_rate == "normalized"


@dataclass
class Layer:
    """Weight rows are made for the contexts that have been visited, so that memory follows the data.

    Row 0 of each neuron keeps the initial weights and stands for all other contexts. On a device, where looking for
    new contexts would stop the stream of work, every context has a row of its number from the start.
    """

    weights: Array  # (n_outputs, n_neurons, n_rows, n_inputs); rows of no context yet are 0
    energy: Array  # (n_outputs, n_neurons, n_rows) float64: squared errors of each weight row, summed; or its visits
    row_of: Array | None  # (n_outputs | 1, n_neurons, n_contexts) int32: the weight row of each context, or None
    n_rows: Array | None  # (n_outputs | 1, n_neurons): rows in use, or None
    preconditioner: Preconditioner | None  # of the previous layer's outputs
    spread: Spread | None = None  # of the last layer, for likelihood="squared"

    def __post_init__(self) -> None:
        if isinstance(self.energy, np.ndarray):  # which files of earlier versions have in the network's precision
            self.energy = self.energy.astype(float, copy=False)

    def rows(self, contexts: Array) -> Array:
        """The weight rows (n, n_outputs | 1, n_neurons) of contexts, shaped alike."""
        return contexts if self.row_of is None else self.row_of.reshape(-1).take(self._keys(contexts))

    def visit(self, contexts: Array, exists: Array | None) -> Array:
        """As `rows`, and weight rows are made for new contexts, numbered in the order of their first visits.

        Of the samples, those that do not exist (n,) visit nothing. Where memory does not suffice nothing changes.
        """
        rows = self.rows(contexts)
        if self.row_of is None or self.n_rows is None:
            return rows
        is_new = rows == 0 if exists is None else (rows == 0) & exists[:, np.newaxis, np.newaxis]
        if not is_new.any():
            return rows
        n_contexts = self.row_of.shape[2]
        keys, first = np.unique(self._keys(contexts)[is_new], return_index=True)
        keys = keys[np.lexsort((first, keys // n_contexts))]  # neuron by neuron, in the order of time
        chains = keys // n_contexts
        made = self.n_rows.ravel()[chains] + np.arange(len(keys)) - np.searchsorted(chains, chains)
        n_used = self.n_rows + np.bincount(chains, minlength=self.n_rows.size).reshape(self.n_rows.shape)
        n_rows = self.weights.shape[2]
        if n_used.max() > n_rows:
            capacity = max(GROWTH * n_rows, int(n_used.max()))
            capacity = n_contexts + 1 if 2 * capacity > n_contexts else capacity
            self._map_rows(lambda array: _with_rows(array, capacity))
        outputs, neurons = np.unravel_index(chains, self.n_rows.shape)
        if len(self.n_rows) == 1:
            for weights, energy in zip(self.weights, self.energy, strict=True):
                weights[neurons, made], energy[neurons, made] = weights[neurons, 0], 0
        else:
            self.weights[outputs, neurons, made] = self.weights[outputs, neurons, 0]
            self.energy[outputs, neurons, made] = 0
        self.row_of.reshape(-1)[keys] = made
        self.n_rows = n_used
        return self.rows(contexts)

    def is_writable(self) -> bool:
        """Whether learning can write the arrays, which memory-mapped files may forbid; of NumPy arrays only."""
        arrays = [self.weights, self.energy, self.row_of, self.n_rows]
        arrays += [] if self.spread is None else [getattr(self.spread, name) for name in self.spread.by_row]
        return all(array is None or array.flags.writeable for array in arrays)

    def place(self, kernels: Kernels) -> None:
        self._map_rows(kernels.asarray)
        if kernels.ON_DEVICE:
            if self.row_of is not None:
                row_of = kernels.asarray(self.row_of)
                self._map_rows(lambda array: kernels.expand(array, row_of), row_of=None, n_rows=None)
        elif not self.is_writable():
            self._map_rows(np.copy)
            if self.row_of is not None and self.n_rows is not None:
                self.row_of, self.n_rows = self.row_of.copy(), self.n_rows.copy()

    def _map_rows(self, function: Callable[[Array], Array], **others: None) -> None:
        """Replace the arrays that have an element for each weight row, and others: all at once, or none if it fails."""
        replaced: dict[str, Any] = {"weights": function(self.weights), "energy": function(self.energy), **others}
        if self.spread is not None:
            by_row = {name: function(getattr(self.spread, name)) for name in self.spread.by_row}
            replaced["spread"] = replace(self.spread, **by_row)
        vars(self).update(replaced)

    def _keys(self, contexts: Array) -> Array:
        """Where the flat `row_of` has these contexts."""
        assert self.row_of is not None  # noqa: S101
        n_outputs, n_neurons, n_contexts = self.row_of.shape
        return np.arange(0, self.row_of.size, n_contexts).reshape(n_outputs, n_neurons) + contexts


def share_rows(layers: Sequence[Layer]) -> None:
    """Have layers room for the same number of weight rows, so that their arrays can be joined."""
    n_rows = max(layer.weights.shape[2] for layer in layers)
    for layer in layers:
        if layer.weights.shape[2] < n_rows:
            layer._map_rows(lambda array: _with_rows(array, n_rows))


def _with_rows(array: Array, n_rows: int) -> Array:
    """A copy with room for n_rows weight rows; memory that is not written yet costs nothing."""
    wider = np.zeros((*array.shape[:2], n_rows, *array.shape[3:]), array.dtype)
    wider[:, :, : array.shape[2]] = array
    return wider


@dataclass
class Network:
    hyperplanes: Array  # (n_outputs | 1, neurons of all layers, context_dim, n_side)
    offsets: Array  # (n_outputs | 1, neurons of all layers, context_dim)
    layers: list[Layer]
    base_preconditioner: Preconditioner | None  # of the base logits and the constant
    limits: Array | None = None  # (n_outputs,): what neurons' outputs are kept within, in regression
    cross_moment: Array | None = None  # (n_outputs, n_base): weighted sum of y u, where the first neuron is solved for

    def place(self, kernels: Kernels) -> None:
        """Have the arrays be those of a backend, on the device of its scope, and such that learning can write them."""
        if not kernels.ON_DEVICE and kernels.owns(self.offsets) and all(layer.is_writable() for layer in self.layers):
            return
        with _placing:  # threads that predict may meet here
            self._place(kernels)

    def _place(self, kernels: Kernels) -> None:
        self.limits = None if self.limits is None else kernels.asarray(self.limits)
        self.cross_moment = None if self.cross_moment is None else kernels.asarray(self.cross_moment)
        for layer in self.layers:
            layer.place(kernels)
        for preconditioner in self.preconditioners:
            preconditioner.place(kernels)
        # Last, because they tell other threads that all is in place.
        self.hyperplanes, self.offsets = map(kernels.asarray, (self.hyperplanes, self.offsets))

    def solve_first(self, settings: Settings, kernels: Kernels) -> None:
        """Have the linear first neuron be the ridge regression of all rows so far, from which it then goes on."""
        if self.cross_moment is None or self.base_preconditioner is None:
            return
        moment, cross = map(kernels.to_numpy, (self.base_preconditioner.moment[0], self.cross_moment))
        ridge = np.full(len(moment), LINEAR_RIDGE)
        ridge[len(ridge) - settings.n_constants :] = LINEAR_RIDGE * CONSTANT_RIDGE
        solution = np.linalg.solve(moment + np.diag(ridge), cross.T).T
        weights = np.empty(tuple(self.layers[0].weights.shape), settings.dtype)
        weights[:] = np.clip(solution, -settings.max_weight, settings.max_weight)[:, np.newaxis, np.newaxis]
        self.layers[0].weights = kernels.asarray(weights)

    def bound_energy(self, dtype: str, kernels: Kernels) -> None:
        """Have steps stay as large as after so many rows.

        Where most are lost in the rounding of the weights, but not those of rare large errors, these move the weights.
        """
        for layer in self.layers:
            limits = np.full(layer.energy.shape[1], MAX_ENERGY / np.finfo(dtype).eps)
            layer.energy = kernels.clip(layer.energy, kernels.asarray(limits))

    def refresh_spread(self, kernels: Kernels) -> None:
        for layer in self.layers:
            if layer.spread is not None:
                layer.spread.refresh(kernels)

    @property
    def preconditioners(self) -> list[Preconditioner]:
        of_layers = (layer.preconditioner for layer in self.layers)
        return [item for item in (self.base_preconditioner, *of_layers) if item is not None]


class Outputs(NamedTuple):
    """What the layers of a network predict for some rows: logits, or in regression means."""

    layers: Sequence[Array]  # (n, n_outputs, n_neurons) each
    variance: Array | None = None  # (n, n_outputs) of NumPy: that of the target, as far as the last layer knows
    contexts: Sequence[Array] = ()  # (n, n_outputs | 1, n_neurons) each, of what `infer` gives
    variances: Sequence[Array] = ()  # of Gaussian neurons, shaped as the layers


def draw_halfspaces(pool: Array, n_neurons: int, settings: Settings, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw the halfspaces of n_neurons from the side information of the first rows, pool (n, n_side).

    Returns normals (n_neurons, context_dim, n_side) and offsets (n_neurons, context_dim).
    """
    n_rows, n_side = pool.shape
    pool = pool.astype(float, copy=False)
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
        offsets += OFF_THE_ROWS * np.abs(projections).max(axis=0)
    else:
        normals = rng.standard_normal((count, n_side))
        offsets = settings.offset_scale * rng.standard_normal(count)
        if settings.halfspaces == "gaussian":
            normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    shape = (n_neurons, settings.context_dim)
    return normals.reshape(*shape, n_side), offsets.reshape(shape)


def n_inputs_by_layer(n_base: int, settings: Settings) -> list[int]:
    """The inputs of each layer's neurons: the layer below, then the n_base base logits or what stands for them."""
    below = (0, *settings.layer_sizes[:-1])
    return [n + (n_base if n == 0 or settings.skip else settings.n_constants) for n in below]


def estimate_memory(n_base: int, n_side: int, n_outputs: int, n_rows: float, settings: Settings) -> int:
    """Bytes of a network's arrays after n_rows rows, at most: each may visit a context that no other did."""
    n_neurons, sharing = sum(settings.layer_sizes), 1 if settings.share_halfspaces else n_outputs
    n_contexts = 2**settings.context_dim
    inputs = zip(settings.layer_sizes, n_inputs_by_layer(n_base, settings), strict=True)
    weight_rows = n_outputs * int(1 + min(n_contexts, n_rows))
    floats = weight_rows * sum(size * n_inputs for size, n_inputs in inputs)
    floats += sharing * n_neurons * settings.context_dim * (n_side + 1)
    sums = weight_rows * (n_neurons + 3 * settings.layer_sizes[-1] * (settings.likelihood == "squared"))  # the spread
    squares = 0
    if settings.preconditioner is not None:
        n_groups, group_size = group_shape(n_base, settings.preconditioner)
        squares = n_groups * group_size**2 + n_outputs * sum(size**2 for size in settings.layer_sizes[:-1])
    itemsize = np.dtype(settings.dtype).itemsize
    integers = sharing * n_neurons * (4 * n_contexts + 8)
    crossed = n_outputs * n_base * settings.solves_first
    return floats * itemsize + sums * 8 + integers + squares * (8 + itemsize) + crossed * 8


def init_network(
    n_base: int, pool: Array, outputs: Array, settings: Settings, seed: int, replaced: Network | None = None
) -> Network:
    """A network that has learned nothing, for n_base base logits and the outputs of these numbers.

    Random numbers are spawned per (layer, output number): a subset of outputs draws the same halfspaces. Halfspaces
    that were drawn without a look at the data are those of the network that this one replaces.
    """
    dtype = np.dtype(settings.dtype)
    layers: list[Layer] = []
    n_previous = 0
    for n_neurons, n_inputs in zip(settings.layer_sizes, n_inputs_by_layer(n_base, settings), strict=True):
        initial = initial_weights(n_previous, n_inputs, settings).astype(dtype)
        energy = np.zeros((len(outputs), n_neurons, 1))
        weights = np.tile(initial, (*energy.shape, 1))
        n_rows = np.ones((1 if settings.share_halfspaces else len(outputs), n_neurons), int)
        row_of = np.zeros((*n_rows.shape, 2**settings.context_dim), np.int32)
        preconditioner = None
        if settings.preconditioner and n_previous:  # early logits, all near 0, would blow it up without a floor
            preconditioner = Preconditioner.empty(len(outputs), n_previous, floor=1.0, ridge=settings.ridge)
        layers.append(Layer(weights, energy, row_of, n_rows, preconditioner))
        n_previous = n_neurons
    if settings.likelihood == "squared":
        layers[-1].spread = Spread.empty(layers[-1].energy)

    if replaced is not None and settings.halfspaces != "pairs":
        hyperplanes, offsets = replaced.hyperplanes, replaced.offsets
    else:
        hyperplanes, offsets = (drawn.astype(dtype) for drawn in _draw_by_layer(pool, outputs, settings, seed))
    base_preconditioner = None
    if settings.preconditioner:
        base_preconditioner = Preconditioner.of_base(n_base, settings.preconditioner, settings.ridge)
    network = Network(hyperplanes, offsets, layers, base_preconditioner)
    if settings.solves_first:
        network.cross_moment = np.zeros((len(outputs), n_base))
    return network


def initial_weights(n_previous: int, n_inputs: int, settings: Settings) -> Array:
    """The weights (n_inputs,) of neurons that have learned nothing, n_previous of them for the layer below."""
    weights = np.zeros(n_inputs)
    if settings.initial_weights == "uniform":
        weights[:] = 1 / n_inputs
    elif settings.initial_weights == "mean" and n_previous:
        weights[:n_previous] = 1 / n_previous
    elif settings.initial_weights == "mean" and settings.likelihood == "gaussian":
        weights[:] = BASE_VARIANCE / n_inputs  # about N(0, 1)
    return np.minimum(weights, settings.max_weight)  # or a row of weight 0, whose step is none, would still clip them


def _draw_by_layer(pool: Array, outputs: Array, settings: Settings, seed: int) -> tuple[Array, Array]:
    """Hyperplanes and offsets of a Network."""
    normals, offsets = [], []
    for number, n_neurons in enumerate(settings.layer_sizes):
        keys = [(number,)] if settings.share_halfspaces else [(number, int(output)) for output in outputs]
        generators = [np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key)) for key in keys]
        drawn = [draw_halfspaces(pool, n_neurons, settings, rng) for rng in generators]
        if settings.linear_first and number == 0:  # no row is on the positive side: one context
            drawn = [(0 * normal, 0 * offset) for normal, offset in drawn]
        normals.append([of_output[0] for of_output in drawn])
        offsets.append([of_output[1] for of_output in drawn])
    return np.concatenate(normals, axis=1), np.concatenate(offsets, axis=1)


def learn(
    network: Network,
    kernels: Kernels,
    base_logits: Array,
    side_info: Array,
    targets: Array,
    sample_weight: Array | None,
    row_numbers: Array,
    settings: Settings,
    first_visit: Array,
) -> Outputs:
    """Learn rows in order, in place; return what was predicted just before each row was learned.

    No error flows back, so a layer needs only the logits that the layer below predicted: learning all rows in one
    layer before the next is the same as learning row by row.

    Shapes: base_logits (n, n_base) and side_info (n, n_side), arrays of the kernels; targets (n, n_outputs),
    sample_weight, row_numbers and first_visit (n,) of NumPy, which may end before rows that are there to fill up. The
    spread counts errors on rows at their first visit.
    """
    dtype, n_rows, n_filled = settings.dtype, len(row_numbers), base_logits.shape[0]
    given = partial(filled_up, n_rows=n_filled, dtype=dtype, kernels=kernels)
    contexts = contexts_by_layer(network, kernels, side_info, dtype)
    smoothing = settings.label_smoothing
    filled_targets = given(smoothing + (1 - 2 * smoothing) * targets)
    visits = moment_weight = None
    total_weight = float(n_rows)
    if sample_weight is None and n_filled > n_rows:
        sample_weight = np.ones(n_rows)
    if sample_weight is not None:
        visits = given(np.minimum(sample_weight, MAX_VISITS)[:, np.newaxis])
        moment_weight = given(sample_weight[:, np.newaxis])
        total_weight = float(sample_weight.sum())
    rate, bounded = settings.learning_rate_init, settings.likelihood == "squared"  # errors that grow never end
    measured = settings.normalized or bounded
    if settings.normalized:
        rate = min(rate, OWN_TARGET) if bounded else rate
    else:
        scheduled = scheduled_rates(settings.learning_rate, rate, row_numbers)[:, np.newaxis]

    def rates(blocks: Sequence[Block]) -> Array:
        if settings.normalized:
            return normalized_rates(blocks, rate)
        if not bounded:
            return given(scheduled)
        return given(np.minimum(scheduled, kernels.to_numpy(normalized_rates(blocks, OWN_TARGET))[:n_rows]))

    base, constant = base_and_constant(kernels, base_logits, settings)
    base_block = step_block(kernels, base, network.base_preconditioner, measured)
    constant_block = step_block(kernels, constant, None, measured)
    layers: list[Array] = []
    variance = None
    exists = None if sample_weight is None else sample_weight > 0
    for layer, rows in zip(network.layers, visit(network, contexts, exists), strict=True):
        blocks = [base_block if settings.skip or not layers else constant_block]
        if layers:
            blocks.insert(0, step_block(kernels, layers[-1], layer.preconditioner, measured))
        layer.weights, layer.energy, outputs = kernels.linear_learn(
            layer.weights,
            layer.energy,
            rows,
            tuple(block.inputs for block in blocks),
            tuple(block.directions for block in blocks),
            filled_targets,
            rates(blocks),
            visits,
            loss="log" if settings.likelihood == "bernoulli" else "squared",
            damping=settings.damping(layer.weights.shape[-1]),
            limit=settings.limit,
            max_weight=settings.max_weight,
            batch_size=settings.batch_size,
        )
        if network.limits is not None:
            outputs = kernels.clip(outputs, network.limits)
        if layer.preconditioner is not None:
            layer.preconditioner.update(kernels, layers[-1], moment_weight, total_weight)
        if layer.spread is not None:
            variance = layer.spread.variance(rows, outputs, kernels)
            if first_visit.any():
                counted = first_visit if sample_weight is None else first_visit * sample_weight
                layer.spread.update(rows, outputs, filled_targets, given(counted[:, np.newaxis]), kernels)
        layers.append(outputs)
    if network.base_preconditioner is not None:
        network.base_preconditioner.update(kernels, base, moment_weight, total_weight)
    if network.cross_moment is not None:
        weights = given(np.ones((n_rows, 1))) if moment_weight is None else moment_weight
        network.cross_moment = kernels.add_cross_moment(network.cross_moment, base, filled_targets, weights)
    return Outputs(layers, variance)


def infer(network: Network, kernels: Kernels, base_logits: Array, side_info: Array, settings: Settings) -> Outputs:
    """What the layers predict for base_logits (n, n_base) and side_info (n, n_side)."""
    # Gating in float64: in float32 a row near a hyperplane could change sides with the rows beside it in the product.
    contexts = contexts_by_layer(network, kernels, side_info, "float64")
    base, constant = base_and_constant(kernels, base_logits, settings)
    layers: list[Array] = []
    variance = None
    for layer, layer_contexts in zip(network.layers, contexts, strict=True):
        rows = layer.rows(layer_contexts)
        inputs = [base if settings.skip or not layers else constant]
        if layers:
            inputs.insert(0, layers[-1])
        outputs = kernels.linear_infer(layer.weights, rows, tuple(inputs), limit=settings.limit)
        if network.limits is not None:
            outputs = kernels.clip(outputs, network.limits)
        if layer.spread is not None:
            variance = layer.spread.variance(rows, outputs, kernels)
        layers.append(outputs)
    return Outputs(layers, variance, contexts)


def aggregate(outputs: Outputs, aggregation: str, kernels: Kernels) -> Array:
    """What a stack takes, or the output logits (n, n_outputs), NumPy float64.

    With "stacked" the layers' mean logits (n, n_outputs, n_layers); in regression always the layers' means and the
    logarithm of the variance (n, n_outputs, n_layers + 1).
    """
    stacked = aggregation == "stacked" or outputs.variance is not None
    chosen = outputs.layers if stacked or aggregation == "layers" else outputs.layers[-1:]
    means = np.stack([kernels.to_numpy(kernels.neuron_mean(layer)) for layer in chosen], axis=2)
    if outputs.variance is not None:
        return np.concatenate([means, np.log(outputs.variance)[..., np.newaxis]], axis=2)
    return means if stacked else means.mean(axis=2)


def filled_up(array: Array, n_rows: int, dtype: str, kernels: Kernels) -> Array:
    """NumPy rows as an array of the kernels, filled up with zeros to n_rows."""
    filled = np.zeros((n_rows, *array.shape[1:]), dtype)
    filled[: len(array)] = array
    return kernels.asarray(filled)


def contexts_by_layer(network: Network, kernels: Kernels, side_info: Array, dtype: str) -> list[Array]:
    """Contexts (n, n_outputs | 1, n_neurons) of each layer: one gating product serves them all."""
    contexts = kernels.select_contexts(side_info, network.hyperplanes, network.offsets, dtype)
    ends = np.cumsum([layer.energy.shape[1] for layer in network.layers]).tolist()
    return [contexts[:, :, end - layer.energy.shape[1] : end] for layer, end in zip(network.layers, ends, strict=True)]


def visit(network: Network, contexts: Sequence[Array], exists: Array | None) -> list[Array]:
    """The weight rows of each layer's contexts, as `Layer.visit` has them: before any layer learns.

    This is where memory grows, and where it does not suffice nothing has been learned.
    """
    return [layer.visit(of_layer, exists) for layer, of_layer in zip(network.layers, contexts, strict=True)]


def base_and_constant(kernels: Kernels, base_logits: Array, settings: Settings) -> tuple[Array, Array]:
    """The base block (n, 1, n_base), and what stands for it above the first layer of a network without skip."""
    squares = {"square_scale": SQUARE_SCALE, "square_limit": SQUARE_LIMIT} if settings.squares else {}
    base = kernels.base_block(base_logits, settings.dtype, settings.bias, **squares)
    return base, base[:, :, base.shape[2] - settings.n_constants :]
