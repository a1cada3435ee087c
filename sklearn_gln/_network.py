"""The network as plain arrays, and pure functions over its layers: draw, learn, infer. Knows no scikit-learn."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sklearn_gln._arrays import BY_OUTPUT, OF_HALFSPACES, Array
from sklearn_gln._base_predictor import Inputs
from sklearn_gln._halfspaces import Pool, draw_halfspaces
from sklearn_gln._layer import Layer
from sklearn_gln._learning_rate import Preconditioner, group_shape, scheduled_rates
from sklearn_gln._likelihood import Lesson, Signal
from sklearn_gln._samples import Samples, padded
from sklearn_gln._settings import Settings
from sklearn_gln._spread import Spread
from sklearn_gln.kernels import Kernels

_moving = threading.Lock()

MAX_REPEATS = 1000  # of a sample, to bound the work: by then normalized steps leave an error near 1e-4
OF_BASIS = "block"  # the basis's preconditioner: as good as one of all its inputs, with those of the base or without
OF_EVIDENCE = 0.1  # the floor of its preconditioner: of ids that have not come again it is near 0; 1 was worse
LINEAR_RIDGE = 5.0  # samples' worth of a linear first neuron's pull to 0
CONSTANT_RIDGE = 1e-6  # of LINEAR_RIDGE, for its constant: enough to solve where all samples have weight 0
MAX_ACCUMULATED = 1 / 8  # over the rounding of weights, so that usual steps are well above it; 2**20 in float32


@dataclass
class Network:
    hyperplanes: Array = field(metadata=OF_HALFSPACES)  # (n_outputs | 1, neurons of all layers, context_dim, n_side)
    offsets: Array = field(metadata=OF_HALFSPACES)  # (n_outputs | 1, neurons of all layers, context_dim)
    layers: list[Layer]
    base_preconditioner: Preconditioner | None = None  # of the base logits and the constant, if there are any
    basis_preconditioner: Preconditioner | None = None  # of the basis, if there is one
    limits: Array | None = field(
        default=None, metadata=BY_OUTPUT
    )  # (n_outputs,): the bounds of neurons' outputs; None: settings.limit
    cross_moment: Array | None = field(
        default=None, metadata=BY_OUTPUT
    )  # (n_outputs, n_evidence + n_base): weighted sum of y u, to solve_first
    gap_moment: Array | None = field(
        default=None, metadata=BY_OUTPUT
    )  # (n_outputs, n_base, n_base): weighted sum of u u' of samples without a target; None: there were none
    evidence_preconditioner: Preconditioner | None = field(default=None, metadata=BY_OUTPUT)  # if there is evidence
    joint_moment: Array | None = field(
        default=None, metadata=BY_OUTPUT
    )  # (n_outputs, n_evidence + n_base, same): weighted sum of u u' of samples with a target, where there is evidence

    def move_to(self, kernels: Kernels) -> None:
        """Have the arrays be those of a backend, on the device of its scope, and such that learning can write them."""
        if not kernels.ON_DEVICE and kernels.owns(self.offsets) and all(layer.is_writable() for layer in self.layers):
            return
        with _moving:  # threads that predict may meet here
            self._move_to(kernels)

    def _move_to(self, kernels: Kernels) -> None:
        self.limits = None if self.limits is None else kernels.asarray(self.limits)
        self.cross_moment = None if self.cross_moment is None else kernels.asarray(self.cross_moment)
        self.gap_moment = None if self.gap_moment is None else kernels.asarray(self.gap_moment)
        self.joint_moment = None if self.joint_moment is None else kernels.asarray(self.joint_moment)
        for layer in self.layers:
            layer.move_to(kernels)
        for preconditioner in self.preconditioners:
            preconditioner.move_to(kernels)
        # Last, because they tell other threads that all is in place.
        self.hyperplanes, self.offsets = map(kernels.asarray, (self.hyperplanes, self.offsets))

    def solve_first(self, settings: Settings, kernels: Kernels) -> None:
        """Have the linear first neuron be the ridge regression of all samples so far, from which it then goes on."""
        if self.cross_moment is None:
            return
        cross = kernels.to_numpy(self.cross_moment)
        ridge = np.full(cross.shape[1], LINEAR_RIDGE)
        ridge[len(ridge) - settings.n_constants :] = LINEAR_RIDGE * CONSTANT_RIDGE
        if self.joint_moment is not None:
            moment = kernels.to_numpy(self.joint_moment)
        else:
            assert self.base_preconditioner is not None  # noqa: S101
            moment = kernels.to_numpy(self.base_preconditioner.moment[0])
            if self.gap_moment is not None:
                moment = moment - kernels.to_numpy(self.gap_moment)
        if moment.ndim == 2:  # common to all outputs
            solution = np.linalg.solve(moment + np.diag(ridge), cross.T).T
        else:
            solution = np.linalg.solve(moment + np.diag(ridge), cross[:, :, np.newaxis])[:, :, 0]
        weights = np.empty(tuple(self.layers[0].weights.shape), settings.dtype)
        weights[:] = np.clip(solution, -settings.max_weight, settings.max_weight)[:, np.newaxis, np.newaxis]
        self.layers[0].weights = kernels.asarray(weights)

    def expect_gaps(self, kernels: Kernels) -> None:
        """Have room for what samples without a target bring."""
        if self.cross_moment is not None and self.joint_moment is None and self.gap_moment is None:
            n_outputs, n_base = tuple(self.cross_moment.shape)
            self.gap_moment = kernels.asarray(np.zeros((n_outputs, n_base, n_base)))

    def bound_accumulators(self, dtype: str, kernels: Kernels) -> None:
        """Have steps stay as large as after a bounded number of samples.

        Where most are lost in the rounding of the weights, but not those of rare large errors, these move the weights.
        """
        for layer in self.layers:
            layer.accumulator = kernels.clip(layer.accumulator, 0.0, float(MAX_ACCUMULATED / np.finfo(dtype).eps))

    def forget(self, factor: float, of_neurons: Sequence[float], kernels: Kernels) -> None:
        """Have the samples so far count less: steps become as large again as if fewer had been learned.

        In step sizes they count by factors that the neurons of each layer take in turns.
        """
        for layer in self.layers:
            factors = np.resize(of_neurons, (layer.accumulator.shape[1], 1))
            layer.accumulator = layer.accumulator * kernels.asarray(factors)
            if layer.visits is not None:
                layer.visits = layer.visits * factor
            if layer.spread is not None:
                layer.spread.forget(factor)
            if layer.preconditioner is not None:
                layer.preconditioner.forget(factor)
        self.forget_base(factor)

    def forget_base(self, factor: float) -> None:
        """Have the base inputs so far count less in what is known of them: some were in another unit."""
        for preconditioner in self.base_preconditioners:
            if preconditioner is not None:
                preconditioner.forget(factor)
        for name in ("cross_moment", "gap_moment", "joint_moment"):
            moment = getattr(self, name)
            setattr(self, name, None if moment is None else moment * factor)

    def refresh_spread(self, kernels: Kernels) -> None:
        for layer in self.layers:
            if layer.spread is not None:
                layer.spread.refresh(kernels)

    @property
    def base_preconditioners(self) -> tuple[Preconditioner | None, ...]:
        """Those of the fields of BaseSignals, in their order."""
        return self.basis_preconditioner, self.evidence_preconditioner, self.base_preconditioner, None

    @property
    def preconditioners(self) -> list[Preconditioner]:
        of_layers = (layer.preconditioner for layer in self.layers)
        return [item for item in (*self.base_preconditioners, *of_layers) if item is not None]


class BaseSignals(NamedTuple):
    """What neurons are given besides the layer below: signals, or what `Likelihood.prepare` makes of them."""

    basis: Any  # for the first layer alone, or None
    evidence: Any  # or None
    base: Any
    constants: Any  # of the base, for layers that do not skip

    def of_first(self, join: Callable[[Sequence[Any]], Any]) -> tuple[Any, ...]:
        """The blocks of inputs of the first layer, two at most."""
        if self.evidence is None:
            return (self.base,) if self.basis is None else (self.basis, self.base)
        return self.evidence, self.base if self.basis is None else join([self.basis, self.base])

    def above(self, below: Any, join: Callable[[Sequence[Any]], Any], *, skip: bool) -> tuple[Any, Any]:
        """The blocks of inputs of a layer above another."""
        if not skip:
            return below, self.constants
        return below if self.evidence is None else join([below, self.evidence]), self.base


class LayerOutputs(NamedTuple):
    """The predictions of a network's layers for some samples."""

    layers: Sequence[Array]  # (n, n_outputs, n_neurons) each: logits or means
    within: Array | float  # (n, n_outputs) float64 of NumPy: the variance that the last layer's neurons predict
    contexts: Sequence[Array] = ()  # (n, n_outputs | 1, n_neurons) each, from `infer`
    signals: Sequence[Signal] = ()  # those of `infer`


class InputSizes(NamedTuple):
    """The numbers of inputs of neurons besides the layer below."""

    base: int
    basis: int = 0
    evidence: int = 0

    def by_layer(self, settings: Settings) -> list[int]:
        """The inputs of each layer's neurons.

        In the first evidence, basis and base; above the layer below, evidence and base, or below and constants alone.
        """
        above = self.evidence + self.base if settings.skip else settings.n_constants
        return [self.base + self.basis + self.evidence, *(n_below + above for n_below in settings.layer_sizes[:-1])]


def estimate_memory(sizes: InputSizes, n_side: int, n_outputs: int, n_samples: float, settings: Settings) -> int:
    """Bytes of a network's arrays after n_samples samples, at most: each may visit a context that no other did."""
    n_neurons, sharing = sum(settings.layer_sizes), 1 if settings.share_halfspaces else n_outputs
    n_contexts = 2**settings.context_dim
    inputs = zip(settings.layer_sizes, sizes.by_layer(settings), strict=True)
    slots = n_outputs * int(1 + min(n_contexts, n_samples))
    floats = slots * sum(size * n_inputs for size, n_inputs in inputs)
    floats += sharing * n_neurons * settings.context_dim * (n_side + 1)
    sums = slots * (
        n_neurons * (1 + settings.counts_visits) + 3 * settings.layer_sizes[-1] * settings.likelihood.has_spread
    )
    squares = 0
    if settings.preconditioner is not None:
        for size, kind in ((sizes.base, settings.preconditioner), (sizes.basis, OF_BASIS)):
            n_groups, group_size = group_shape(size, kind)
            squares += n_groups * group_size**2
        squares += n_outputs * sum(size**2 for size in (sizes.evidence, *settings.layer_sizes[:-1]))
    itemsize = np.dtype(settings.dtype).itemsize
    integers = sharing * n_neurons * (4 * n_contexts + 8)
    n_first = sizes.evidence + sizes.base
    crossed = n_outputs * n_first * (1 + n_first * (n_outputs > 1 or sizes.evidence > 0)) * settings.solves_first
    return floats * itemsize + sums * 8 + integers + squares * (8 + itemsize) + crossed * 8


def init_network(
    sizes: InputSizes,
    pool: Pool,
    output_numbers: Array,
    settings: Settings,
    seed: int,
    replaced: Network | None = None,
) -> Network:
    """A network that has learned nothing, for so many inputs and the outputs of these numbers.

    Random numbers are spawned per (layer, output number): a subset of outputs draws the same halfspaces. Those of real
    targets are spawned per layer: each is what it would be alone. Halfspaces that were drawn without a look at the data
    are those of the network that this one replaces, if it has as much side information.
    """
    dtype, n_outputs = np.dtype(settings.dtype), len(output_numbers)
    layers: list[Layer] = []
    n_below = 0
    for n_neurons, n_inputs in zip(settings.layer_sizes, sizes.by_layer(settings), strict=True):
        initial = initial_weights(n_below, n_inputs, settings).astype(dtype)
        accumulator = np.zeros((n_outputs, n_neurons, 1))
        weights = np.tile(initial, (*accumulator.shape, 1))
        n_slots = np.ones((1 if settings.share_halfspaces else n_outputs, n_neurons), int)
        slot_of = np.zeros((*n_slots.shape, 2**settings.context_dim), np.int32)
        preconditioner = None
        if settings.preconditioner and n_below:  # early logits, all near 0, would blow it up without a floor
            preconditioner = Preconditioner.empty(n_outputs, n_below, floor=1.0, ridge=settings.likelihood.ridge)
        visits = np.zeros_like(accumulator) if settings.counts_visits else None
        layers.append(Layer(weights, accumulator, slot_of, n_slots, preconditioner, visits=visits))
        n_below = n_neurons
    if settings.likelihood.has_spread:
        layers[-1].spread = Spread.empty(layers[-1].accumulator)

    n_side = pool.side_info.shape[1]  # which grows with new levels of categories
    if replaced is not None and settings.halfspaces != "cuts" and replaced.hyperplanes.shape[3] == n_side:
        hyperplanes, offsets = replaced.hyperplanes, replaced.offsets
    else:
        hyperplanes, offsets = (drawn.astype(dtype) for drawn in _draw_by_layer(pool, output_numbers, settings, seed))
    network = Network(hyperplanes, offsets, layers)
    if settings.preconditioner:
        ridge = settings.likelihood.ridge
        if sizes.base:
            network.base_preconditioner = Preconditioner.of_base(sizes.base, settings.preconditioner, ridge)
        if sizes.basis:
            network.basis_preconditioner = Preconditioner.of_base(sizes.basis, OF_BASIS, ridge)
        if sizes.evidence:
            network.evidence_preconditioner = Preconditioner.empty(n_outputs, sizes.evidence, OF_EVIDENCE, ridge)
    if settings.solves_first:
        n_first = sizes.evidence + sizes.base
        network.cross_moment = np.zeros((n_outputs, n_first))
        network.joint_moment = np.zeros((n_outputs, n_first, n_first)) if sizes.evidence else None
    return network


def initial_weights(n_below: int, n_inputs: int, settings: Settings) -> Array:
    """The weights (n_inputs,) of neurons that have learned nothing.

    The first ones are for the layer below, n_below of them, or in the first layer for predictions.
    """
    weights = np.zeros(n_inputs)
    if settings.initial_weights == "uniform":
        weights[:] = 1 / n_inputs
    elif settings.initial_weights == "mean" and n_below:
        weights[:n_below] = 1 / n_below
    elif settings.initial_weights == "mean":
        weights[:] = settings.likelihood.initial_base_weight(n_inputs)
        weights[: settings.n_predictions] = 1 / max(1, settings.n_predictions)
    # Within the bound, or a sample of weight 0, whose step is none, would still clip them.
    return np.minimum(weights, settings.max_weight)


def _draw_by_layer(pool: Pool, output_numbers: Array, settings: Settings, seed: int) -> tuple[Array, Array]:
    """Hyperplanes and offsets of a Network."""
    normals, offsets = [], []
    keys: list[tuple[int, ...]]
    for number, n_neurons in enumerate(settings.layer_sizes):
        pools = [pool] if settings.share_halfspaces else list(map(pool.of_output, output_numbers.tolist()))
        keys = [(number,)] * len(pools)
        if settings.likelihood.draws_by_output and not settings.share_halfspaces:
            keys = [(number, output) for output in output_numbers.tolist()]
        generators = [np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key)) for key in keys]
        drawn = [draw_halfspaces(part, n_neurons, settings, rng) for part, rng in zip(pools, generators, strict=True)]
        if settings.likelihood.has_linear_first and number == 0:  # no sample is on the positive side: one context
            drawn = [(0 * normal, 0 * offset) for normal, offset in drawn]
        normals.append([of_output[0] for of_output in drawn])
        offsets.append([of_output[1] for of_output in drawn])
    return np.concatenate(normals, axis=1), np.concatenate(offsets, axis=1)


def learn(
    network: Network,
    kernels: Kernels,
    inputs: Inputs,
    targets: Array,
    samples: Samples,
    settings: Settings,
    scatter: Array | None = None,
) -> LayerOutputs:
    """Learn samples in order, in place; return what was predicted just before each was learned.

    No error flows back, so a layer needs only what the layer below predicted: learning all samples in one layer before
    the next is the same as learning sample by sample.

    The inputs are arrays of the kernels, which may end in padding, as do the outputs; targets (n, n_outputs) are
    NumPy's, NaN where a sample has none and the output learns nothing of it. A sample that stands for several has a
    scatter (n, n_outputs): the sum of their targets' squared deviations from its own.
    """
    n_samples, size, likelihood = len(samples), inputs.base.shape[0], settings.likelihood
    pad = partial(padded, size=size, dtype=settings.dtype, kernels=kernels)
    weight = None if size == n_samples and np.all(samples.weight == 1) else samples.weight
    total_weight = float(samples.weight.sum())
    exists, column, repeats = None, None, None
    if weight is not None:
        exists, column = weight > 0, pad(weight[:, np.newaxis])
        repeats = pad(np.minimum(weight, MAX_REPEATS)[:, np.newaxis])
    of_targets, gaps = samples.weight[:, np.newaxis], np.isnan(targets)
    has_gaps = bool(gaps.any())
    if has_gaps:
        targets, of_targets = np.where(gaps, 0, targets), np.where(gaps, 0, of_targets)
        repeats = pad(np.minimum(of_targets, MAX_REPEATS))
    schedule = "constant" if settings.normalized else settings.learning_rate
    rates = scheduled_rates(schedule, settings.learning_rate_init, samples.number)
    smoothed = settings.label_smoothing + (1 - 2 * settings.label_smoothing) * targets
    lesson = Lesson(
        pad(smoothed),
        pad(rates[:, np.newaxis]),
        repeats,
        settings.learning_rate_init if settings.normalized else None,
        settings.limit,
        settings.max_weight,
        settings.batch_size,
    )

    base = base_signals(kernels, inputs, settings)
    prepare = partial(likelihood.prepare, kernels, normalized=settings.normalized)
    join = partial(likelihood.joined_prepared, kernels)
    of_base = network.base_preconditioners
    prepared = BaseSignals(*(None if part is None else prepare(part, of_base[i]) for i, part in enumerate(base)))
    contexts = contexts_by_layer(network, kernels, inputs.side_info, settings.dtype)
    signals: list[Signal] = []
    # All slots are assigned before any layer learns: where memory does not suffice nothing has been learned.
    slots = [layer.assign_slots(of_layer, exists) for layer, of_layer in zip(network.layers, contexts, strict=True)]
    for layer, of_layer in zip(network.layers, slots, strict=True):
        if scatter is not None and likelihood.sums_errors:
            of_neurons = np.repeat(scatter[:, :, np.newaxis], layer.accumulator.shape[1], axis=2)
            of_neurons = padded(of_neurons, size, "float64", kernels)
            layer.accumulator = kernels.add_at_slots(layer.accumulator, of_layer, of_neurons)
        if layer.visits is not None:
            shape = *targets.shape, layer.visits.shape[1]
            of_neurons = padded(np.broadcast_to(of_targets[..., np.newaxis], shape), size, "float64", kernels)
            layer.visits = kernels.add_at_slots(layer.visits, of_layer, of_neurons)
        if signals:
            blocks = prepared.above(prepare(signals[-1], layer.preconditioner), join, skip=settings.skip)
        else:
            blocks = prepared.of_first(join)
        signal = likelihood.learn_layer(kernels, layer, of_layer, blocks, lesson)
        if layer.preconditioner is not None:
            layer.preconditioner.update(kernels, signals[-1], column, total_weight)
        signals.append(_bounded(signal, network, kernels))
    last = network.layers[-1]
    within = likelihood.within(kernels, last, slots[-1], signals[-1])
    if last.spread is not None and samples.first_pass.any():
        counted = pad(samples.first_pass[:, np.newaxis] * of_targets)
        last.spread.update(slots[-1], signals[-1], lesson.targets, counted, kernels)
    for preconditioner, block in zip(of_base, base, strict=True):
        if preconditioner is not None:
            preconditioner.update(kernels, block, column, total_weight)
    if network.cross_moment is not None:
        block = base.base if base.evidence is None else likelihood.joined(kernels, [base.evidence, base.base])
        with_target = pad(of_targets)
        network.cross_moment = kernels.add_cross_moment(network.cross_moment, block, lesson.targets, with_target)
        if network.joint_moment is not None:
            network.joint_moment = kernels.add_second_moment(network.joint_moment, block, with_target)
        elif has_gaps:
            network.expect_gaps(kernels)
            assert network.gap_moment is not None  # noqa: S101
            without = pad(np.where(gaps, samples.weight[:, np.newaxis], 0))
            network.gap_moment = kernels.add_second_moment(network.gap_moment, block, without)
    return LayerOutputs(list(map(likelihood.outputs, signals)), within)


def infer(network: Network, kernels: Kernels, inputs: Inputs, settings: Settings) -> LayerOutputs:
    """The layers' predictions for these inputs."""
    likelihood = settings.likelihood
    # Gating in float64: in float32 a sample near a hyperplane could change sides with the samples next to it.
    contexts = contexts_by_layer(network, kernels, inputs.side_info, "float64")
    base, join = base_signals(kernels, inputs, settings), partial(likelihood.joined, kernels)
    slots = [layer.slots(of_layer) for layer, of_layer in zip(network.layers, contexts, strict=True)]
    signals: list[Signal] = []
    for layer, of_layer in zip(network.layers, slots, strict=True):
        blocks = base.above(signals[-1], join, skip=settings.skip) if signals else base.of_first(join)
        signals.append(
            _bounded(likelihood.infer_layer(kernels, layer, of_layer, blocks, settings.limit), network, kernels)
        )
    within = likelihood.within(kernels, network.layers[-1], slots[-1], signals[-1])
    return LayerOutputs(list(map(likelihood.outputs, signals)), within, contexts, signals)


def base_signals(kernels: Kernels, inputs: Inputs, settings: Settings) -> BaseSignals:
    base, constants = settings.likelihood.base(
        kernels, inputs.base, settings.dtype, bias=settings.bias, squares=settings.squares
    )
    basis = kernels.input_block(inputs.basis, settings.dtype, False) if inputs.basis else None
    evidence = None if inputs.evidence is None else settings.likelihood.evidence_signal(kernels, inputs.evidence)
    return BaseSignals(basis, evidence, base, constants)


def _bounded(signal: Signal, network: Network, kernels: Kernels) -> Signal:
    if network.limits is None:
        return signal
    return kernels.clip(signal, -network.limits[:, np.newaxis], network.limits[:, np.newaxis])


def contexts_by_layer(network: Network, kernels: Kernels, side_info: Array, dtype: str) -> list[Array]:
    """Contexts (n, n_outputs | 1, n_neurons) of each layer: one gating product serves them all."""
    contexts = kernels.select_contexts(side_info, network.hyperplanes, network.offsets, dtype)
    sizes = [layer.accumulator.shape[1] for layer in network.layers]
    ends = np.cumsum(sizes).tolist()
    return [contexts[:, :, end - size : end] for size, end in zip(sizes, ends, strict=True)]
