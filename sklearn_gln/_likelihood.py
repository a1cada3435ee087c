"""The likelihoods of the target: what neurons predict and how they learn it, a class for each, and a table of them.

Whatever depends on the likelihood stands here; nothing else asks for its name. A signal is what a layer hands on to the
next: an array (n, n_outputs | 1, size), or in a network of Gaussians a pair of them, means and variances.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Any, ClassVar, NamedTuple

import numpy as np
from scipy.special import expit, logit

from sklearn_gln._arrays import Array
from sklearn_gln._layer import Layer
from sklearn_gln._learning_rate import (
    DEFAULT_RATES,
    Preconditioner,
    StepInputs,
    joined_inputs,
    normalized_rates,
    step_inputs,
)
from sklearn_gln._schedule import EARLY_PERIOD, SHORT_PERIOD, Schedule
from sklearn_gln.kernels import Kernels

Signal = Any

MAX_WEIGHT_OF_BATCHES = 1e6  # whose summed steps may overshoot, and a squared error then grows without end

SMALLEST_SHARE = 1e-12  # of samples in a class
LEVEL_PRIOR = 10.0  # samples' worth of all samples' mean in that of a level; 3 and 30 were worse

# Inputs of neurons that predict by squared error
SQUARE_SCALE = 0.2  # of squared inputs alongside the inputs themselves, which come first where they do as well
SQUARE_LIMIT = 4.0  # deviations

# Gaussian neurons. Targets are standardized, and features too: constants are in units of the target's deviation.
BASE_VARIANCE = 2.0  # of the base Gaussians; 4 and 0.5 were worse
STRETCH = 1.5  # times sqrt(d): a mean of d features, which is what neurons take, is narrower than one by sqrt(d)
BIAS_MEANS = (-4.0, 4.0)  # nearly all targets lie between
MIN_VARIANCE, MAX_VARIANCE = 1e-4, 10.0
MAX_ERROR = 3.0  # predicted deviations: a target further off counts as if it were this far
DAMPING = 0.5  # of normalized steps, over the inputs, which is about how many samples a slot needs


class Lesson(NamedTuple):
    """The same for every layer: targets and steps of some samples, in arrays of the kernels that are padded alike."""

    targets: Array  # (n, n_outputs)
    rates: Array  # (n, 1): the schedule's
    repeats: Array | None  # (n, 1); None: each sample is learned once
    normalized_rate: float | None  # the initial rate of normalized steps; None: steps are plain
    limit: float  # of outputs
    max_weight: float
    batch_size: int


@dataclass(frozen=True)
class Likelihood(ABC):
    """Facts, as class variables, and the functions in which networks differ."""

    name: ClassVar[str]

    # Parameters: the defaults, and which have a meaning
    default_rate: ClassVar[float]  # of normalized steps
    learns_batches: ClassVar[bool] = True
    is_preconditioned: ClassVar[bool] = True
    takes_squares: ClassVar[bool] = False
    takes_bins: ClassVar[bool] = False

    # The network
    reads_probabilities: ClassVar[bool] = False  # whether base predictions are probabilities; else they are means
    draws_by_output: ClassVar[bool] = False  # whether outputs that share no halfspaces draw each its own
    has_linear_first: ClassVar[bool] = True  # whether the first layer is one neuron without halfspaces
    can_solve_first: ClassVar[bool] = False  # whether least squares give the weights of that neuron
    constants_per_bias: ClassVar[int] = 1
    inputs_per_base: ClassVar[int] = 1
    has_limits: ClassVar[bool] = False  # whether outputs are bounded by the targets seen
    has_spread: ClassVar[bool] = False  # whether the last layer's errors tell the variance
    mixes_densities: ClassVar[bool] = False  # whether signals have variances too
    sums_errors: ClassVar[bool] = False  # whether accumulators sum squared errors; else they count
    ridge: ClassVar[float] = 0.3  # of preconditioners
    learns_single_rows: ClassVar[bool] = False  # whether `_single_row` has these neurons
    loss_of_columns: ClassVar[str] = "squared"  # by which the models of wide rows learn

    def default_max_weight(self, batch_size: int) -> float:
        return inf

    def limit(self, eps: float) -> float:
        """The bound of neurons' outputs that the parameter eps stands for."""
        return inf

    def schedule(self, *, forgets: bool) -> Schedule:
        """The clock."""
        return Schedule(EARLY_PERIOD, SHORT_PERIOD)

    def rate_in_epoch(self, rate: float, epoch: int) -> float:
        """The initial rate of normalized steps in a pass over samples."""
        return rate

    @abstractmethod
    def damping(self, n_inputs: int, rate: float) -> float:
        """How fast the normalized steps of a slot become smaller."""

    def _damping(self, layer: Layer, lesson: Lesson) -> float:
        return 0.0 if lesson.normalized_rate is None else self.damping(layer.weights.shape[-1], lesson.normalized_rate)

    def initial_base_weight(self, n_inputs: int) -> float:
        """The weight of base inputs in the first layer with initial_weights="mean"."""
        return 0.0

    def mean(self, outputs: Array) -> Array:
        """The mean of the target, in the network's units, of neurons' outputs."""
        return outputs

    def evidence(self, sums: Array, weight: Array, all_sums: Array, all_weight: Array) -> Array:
        """What samples of a level say of the next, from sums of their targets and weights, as in `_categories`.

        The shift of the mean, then how sure it is: (2, ...).
        """
        mean = all_sums / np.maximum(all_weight, np.finfo(float).tiny)
        return np.stack([sums - weight * mean, weight]) / (weight + LEVEL_PRIOR)

    # Layers

    @abstractmethod
    def base(
        self, kernels: Kernels, base_inputs: Array, dtype: str, *, bias: bool, squares: bool
    ) -> tuple[Signal, Signal]:
        """Base inputs (n, n_given) as a signal, and its constants."""

    def evidence_signal(self, kernels: Kernels, evidence: Array) -> Signal:
        """Evidence (n, n_outputs, n_evidence) as a signal."""
        return evidence

    @abstractmethod
    def joined(self, kernels: Kernels, signals: Sequence[Signal]) -> Signal:
        """Signals side by side as one."""

    def prepare(self, kernels: Kernels, signal: Signal, preconditioner: Preconditioner | None, normalized: bool) -> Any:
        """A signal as `learn_layer` takes it."""
        return signal

    def joined_prepared(self, kernels: Kernels, blocks: Sequence[Any]) -> Any:
        """The same of what `prepare` gives."""
        return self.joined(kernels, blocks)

    @abstractmethod
    def learn_layer(
        self,
        kernels: Kernels,
        layer: Layer,
        slots: Array,
        inputs: Sequence[Any],
        lesson: Lesson,
    ) -> Signal:
        """Learn samples in one layer, in place; return what was predicted just before each was learned.

        The inputs: what the layer below predicted, if there is one, and the base, as `prepare` gives them.
        """

    @abstractmethod
    def infer_layer(
        self, kernels: Kernels, layer: Layer, slots: Array, inputs: Sequence[Signal], limit: float
    ) -> Signal:
        """The layer's predictions."""

    def outputs(self, signal: Signal) -> Array:
        """The outputs of neurons (n, n_outputs, n_neurons) in a layer's signal."""
        return signal

    def within(self, kernels: Kernels, layer: Layer, slots: Array, signal: Signal) -> Array | float:
        """The variance (n, n_outputs) that the last layer's neurons predict, on average; NumPy float64."""
        return 0.0

    # Explanations: how a layer's outputs depend on its inputs, where contexts are held

    def gains(
        self,
        kernels: Kernels,
        layer: Layer,
        slots: Array,
        inputs: Sequence[Signal],
    ) -> Array | float:
        """By what (n, n_outputs, n_neurons) a neuron's weighted sum of inputs is multiplied to give its output."""
        return 1.0

    def scales(self, signal: Signal) -> Array | float:
        """By what (n, n_outputs | 1, size) the outputs in a signal are multiplied where neurons take them."""
        return 1.0

    def by_base_input(self, coefficients: Array) -> Array:
        """Sums (..., n_base inputs) of the coefficients (..., size) of a base signal, without its constants."""
        return coefficients

    def base_values(self, base: Array, base_inputs: Array) -> Array:
        """The values (n, ...) that belong to the coefficients of `by_base_input`."""
        return base


class _Linear(Likelihood):
    """Neurons whose output is w . u of their inputs u."""

    loss: ClassVar[str]  # the kernels'
    largest_step: ClassVar[float] = inf  # over u . P u
    learns_single_rows = True

    def base(
        self, kernels: Kernels, base_inputs: Array, dtype: str, *, bias: bool, squares: bool
    ) -> tuple[Array, Array]:
        parts = [base_inputs]
        if squares:
            bounded = kernels.clip(base_inputs, -SQUARE_LIMIT, SQUARE_LIMIT)
            parts.append(SQUARE_SCALE * bounded * bounded)
        base = kernels.input_block(parts, dtype, bias)
        return base, base[:, :, base.shape[2] - bias :]

    def joined(self, kernels: Kernels, signals: Sequence[Array]) -> Array:
        joined: Array = kernels.side_by_side(signals)
        return joined

    def prepare(
        self, kernels: Kernels, signal: Array, preconditioner: Preconditioner | None, normalized: bool
    ) -> StepInputs:
        return step_inputs(kernels, signal, preconditioner, normalized or self.largest_step < inf)

    def joined_prepared(self, kernels: Kernels, blocks: Sequence[StepInputs]) -> StepInputs:
        return joined_inputs(kernels, blocks)

    def learn_layer(
        self,
        kernels: Kernels,
        layer: Layer,
        slots: Array,
        inputs: Sequence[StepInputs],
        lesson: Lesson,
    ) -> Array:
        layer.weights, layer.accumulator, outputs = kernels.linear_learn(
            layer.weights,
            layer.accumulator,
            slots,
            tuple(block.inputs for block in inputs),
            tuple(block.directions for block in inputs),
            lesson.targets,
            self._step_sizes(kernels, inputs, lesson),
            lesson.repeats,
            loss=self.loss,
            damping=self._damping(layer, lesson),
            limit=lesson.limit,
            max_weight=lesson.max_weight,
            batch_size=lesson.batch_size,
        )
        return outputs

    def _step_sizes(self, kernels: Kernels, inputs: Sequence[StepInputs], lesson: Lesson) -> Array:
        if lesson.normalized_rate is not None:
            return normalized_rates(inputs, min(lesson.normalized_rate, self.largest_step))
        if self.largest_step == inf:
            return lesson.rates
        return kernels.minimum(lesson.rates, normalized_rates(inputs, self.largest_step))

    def infer_layer(self, kernels: Kernels, layer: Layer, slots: Array, inputs: Sequence[Array], limit: float) -> Array:
        return kernels.linear_infer(layer.weights, slots, tuple(inputs), limit=limit)


class Bernoulli(_Linear):
    """Logits of classes, each against all others, by log-loss."""

    name = "bernoulli"
    loss = "log"
    default_rate = DEFAULT_RATES["normalized"]
    takes_bins = True
    reads_probabilities = True
    draws_by_output = True
    has_linear_first = False
    sums_errors = True
    ridge = 1.0  # errors of real targets say more than those of labels, so theirs may be bolder
    loss_of_columns = "log"

    def limit(self, eps: float) -> float:
        return float(np.log((1 - eps) / eps))

    def schedule(self, *, forgets: bool) -> Schedule:
        return Schedule(SHORT_PERIOD, SHORT_PERIOD) if forgets else Schedule()

    def rate_in_epoch(self, rate: float, epoch: int) -> float:
        return rate / epoch

    def damping(self, n_inputs: int, rate: float) -> float:
        return n_inputs**-0.5

    def mean(self, outputs: Array) -> Array:
        return expit(outputs)

    def evidence(self, sums: Array, weight: Array, all_sums: Array, all_weight: Array) -> Array:
        bounds = SMALLEST_SHARE, 1 - SMALLEST_SHARE
        share = np.clip((all_sums + 0.5) / (all_weight + 1), *bounds)
        rate = share + (sums - weight * share) / (weight + LEVEL_PRIOR)  # exactly the share where there was no sample
        return np.stack([logit(np.clip(rate, *bounds)) - logit(share), weight / (weight + LEVEL_PRIOR)])


class Squared(_Linear):
    """Means by squared error; the last layer's errors tell the variance."""

    name = "squared"
    loss = "squared"
    # The curvature of (s - y)^2 / 2 is 1: a step of 1 goes to the sample's own target, noise and all; 1/2 half the way.
    default_rate = 0.5
    largest_step = 1.0
    takes_squares = True
    can_solve_first = True
    has_limits = True
    has_spread = True

    def default_max_weight(self, batch_size: int) -> float:
        return MAX_WEIGHT_OF_BATCHES if batch_size > 1 else inf

    def damping(self, n_inputs: int, rate: float) -> float:
        return rate / n_inputs

    def within(self, kernels: Kernels, layer: Layer, slots: Array, signal: Array) -> Array | float:
        return 0.0 if layer.spread is None else layer.spread.variance(slots, kernels)


class Gaussian(Likelihood):
    """Means and variances: a neuron predicts the weighted product of the Gaussians that it is given.

    A weight says how much an input's density counts, so none is negative. What lies outside the hull of the inputs'
    means no neuron can predict; hence features come with both signs and stretched, with constant Gaussians alongside
    (Budden et al. 2020).
    """

    name = "gaussian"
    default_rate = 1.0  # a step of 1 is divided by the neuron's Fisher information
    learns_batches = False
    is_preconditioned = False
    constants_per_bias = len(BIAS_MEANS)  # on either side of the target
    inputs_per_base = 2
    mixes_densities = True

    def default_max_weight(self, batch_size: int) -> float:
        return 10.0  # above 1 all gave the same errors

    def damping(self, n_inputs: int, rate: float) -> float:
        return DAMPING / n_inputs

    def initial_base_weight(self, n_inputs: int) -> float:
        return BASE_VARIANCE / n_inputs  # about N(0, 1)

    def base(
        self, kernels: Kernels, base_inputs: Array, dtype: str, *, bias: bool, squares: bool
    ) -> tuple[Signal, Signal]:
        n_given = base_inputs.shape[1]
        means, variances = kernels.gaussian_base(
            base_inputs,
            dtype,
            scale=stretch(n_given),
            bias_means=BIAS_MEANS if bias else (),
            variance=BASE_VARIANCE,
        )
        return (means, variances), (means[:, :, 2 * n_given :], variances[:, :, 2 * n_given :])

    def evidence_signal(self, kernels: Kernels, evidence: Array) -> Signal:
        return evidence, 0 * evidence + BASE_VARIANCE

    def joined(self, kernels: Kernels, signals: Sequence[Signal]) -> Signal:
        means, variances = zip(*signals, strict=True)
        return kernels.side_by_side(means), kernels.side_by_side(variances)

    def learn_layer(
        self,
        kernels: Kernels,
        layer: Layer,
        slots: Array,
        inputs: Sequence[Any],
        lesson: Lesson,
    ) -> Signal:
        layer.weights, layer.accumulator, means, variances = kernels.gaussian_learn(
            layer.weights,
            layer.accumulator,
            slots,
            tuple(inputs),
            lesson.targets,
            lesson.rates,
            lesson.repeats,
            normalized=lesson.normalized_rate is not None,
            damping=self._damping(layer, lesson),
            max_error=MAX_ERROR,
            max_weight=lesson.max_weight,
            min_variance=MIN_VARIANCE,
            max_variance=MAX_VARIANCE,
        )
        return means, variances

    def infer_layer(
        self,
        kernels: Kernels,
        layer: Layer,
        slots: Array,
        inputs: Sequence[Signal],
        limit: float,
    ) -> Signal:
        precision = self._precision(kernels, layer, slots, inputs)
        shifts = tuple(means / variances for means, variances in inputs)
        shift = kernels.linear_infer(layer.weights, slots, shifts, limit=inf)
        return shift / precision, kernels.clip(1 / precision, MIN_VARIANCE, MAX_VARIANCE)

    def _precision(self, kernels: Kernels, layer: Layer, slots: Array, inputs: Sequence[Signal]) -> Array:
        precisions = tuple(1 / variances for _, variances in inputs)
        return kernels.clip(kernels.linear_infer(layer.weights, slots, precisions, limit=inf), 1 / MAX_VARIANCE, inf)

    def outputs(self, signal: Signal) -> Array:
        return signal[0]

    def within(self, kernels: Kernels, layer: Layer, slots: Array, signal: Signal) -> Array:
        variance: Array = kernels.to_numpy(kernels.neuron_mean(signal[1]))
        return variance

    def gains(self, kernels: Kernels, layer: Layer, slots: Array, inputs: Sequence[Signal]) -> Array:
        # A mean is the inputs' means, each times weight and precision, summed, over the neuron's own precision.
        return 1 / self._precision(kernels, layer, slots, inputs)

    def scales(self, signal: Signal) -> Array:
        return 1 / signal[1]

    def by_base_input(self, coefficients: Array) -> Array:
        positive, negative = np.split(coefficients, 2, axis=-1)
        return stretch(positive.shape[-1]) * (positive - negative)

    def base_values(self, base: Array, base_inputs: Array) -> Array:
        return base_inputs.astype(base.dtype)


def stretch(n_given: int) -> float:
    """The factor that makes base inputs the means of Gaussians."""
    return STRETCH * sqrt(n_given)


BERNOULLI = Bernoulli()
TARGET_LIKELIHOODS: dict[str, Likelihood] = {likelihood.name: likelihood for likelihood in (Squared(), Gaussian())}
