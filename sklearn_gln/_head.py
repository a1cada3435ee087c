"""The head: what turns the layers' predictions into the answer.

==============  =======================================================================================================
PlainHead       the mean logit of the layers, or of the last one
StackedHead     the layers' mean logits, weighed by how well each predicted so far, and the class frequencies
TargetHead      in regression: the layers' means, weighed likewise, in the target's unit; variances; quantiles
LayersHead      nothing: the layers' mean logits as they are, where the head that needs all outputs is elsewhere
==============  =======================================================================================================

A head answers before it learns, so what it is fitted to are predictions made before samples were learned. It waits with
fitting for an event of the clock.

An open head is of the classes that have come so far, and of one output more, the last, which stands for all that have
not: no sample has been of its class.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import NamedTuple, Self

import numpy as np

from sklearn_gln import _outputs, _recent_errors, _recent_labels
from sklearn_gln._arrays import BY_SAMPLE_AND_OUTPUT, Array
from sklearn_gln._calibration import Calibration, ErrorScores
from sklearn_gln._network import LayerOutputs
from sklearn_gln._recent_errors import RecentErrors
from sklearn_gln._recent_labels import RecentLabels
from sklearn_gln._stack import PRECISION, LogitStack, MeanStack
from sklearn_gln._target_scale import TargetScale
from sklearn_gln.kernels import Kernels

MIN_SAMPLES = 16  # of a fit of a LogitStack: one confident error among the first few would silence every layer


class Again(NamedTuple):
    """What is predicted of all samples so far, now that they have been learned again."""

    gathered: Array  # (n, n_outputs, ...): as from `Head.gather`
    y: Array
    weight: Array  # (n,)

    def rest(self) -> "Again":
        """Those of samples that weigh more than 1, with what they weigh above it."""
        heavy = self.weight > 1
        return Again(self.gathered[heavy], self.y[heavy], self.weight[heavy] - 1)


class Head(ABC):
    """The interface between an OnlineNetwork and its head; `gathered` is the result of `gather` for some samples."""

    @property
    def is_by_output(self) -> bool:
        """Whether the answers of outputs are independent of each other."""
        return True

    @abstractmethod
    def gather(self, outputs: LayerOutputs, kernels: Kernels) -> Array:
        """The part of the layers' predictions that the head needs: (n, n_outputs, ...) float64 of NumPy."""

    @abstractmethod
    def gathered(self, means: Array, variance: Array) -> Array:
        """The same of the layers' means (n, n_outputs, n_layers) and the raw variance (n, n_outputs).

        The variance is that of the equal mixture of what the last layer's neurons predict.
        """

    @abstractmethod
    def untrained(self, n_samples: int, n_outputs: int) -> Array:
        """As `gather`, of a network that has seen nothing."""

    @abstractmethod
    def targets(self, y: Array, output_numbers: Array) -> Array:
        """The targets of neurons (n, n_outputs), of class numbers (n,) or of targets (n, n_outputs)."""

    def targets_of_columns(self, y: Array, output_numbers: Array) -> Array:
        """Targets likewise, but real ones in their own units: of those that evidence is made of."""
        return self.targets(y, output_numbers)

    @abstractmethod
    def predict(self, gathered: Array) -> Array:
        """The answer: logits (n, n_outputs), or means and variances (n, n_outputs, 2)."""

    @abstractmethod
    def shares(self) -> Array:
        """The layers' weights in the answer: (n_outputs | 1, n_layers)."""

    @abstractmethod
    def takes(self, y: Array, n_outputs: int) -> bool:
        """Whether y has the shape of `targets`' argument."""

    def answering(self, n_outputs: int) -> slice:
        """The outputs in the answer."""
        return slice(n_outputs)

    def with_class(self, number: int) -> Self:
        """An open head of one class more, which has not come yet and has this number from now on."""
        return self

    def closed(self) -> Self:
        """The head of the outputs in the answer alone."""
        return self

    def of_outputs(self, places: Array) -> Self:
        """The head of the outputs at these places, each a target or a label."""
        return _outputs.take(self, places, shares_halfspaces=True)

    @property
    def unit(self) -> Array:
        """The unit (n_outputs | 1,) of the network's targets."""
        return np.ones(1)

    @property
    def origin(self) -> Array:
        """The answer (n_outputs | 1,) where all layers predict 0."""
        return np.zeros(1)

    @property
    def limits(self) -> Array | None:
        """The bounds (n_outputs,) of neurons' predictions, in the network's units; None: they have their own."""
        return None

    def restore(self, means: Array) -> Array:
        """Neurons' means (..., n_outputs) in the target's units."""
        return means

    def learn(self, gathered: Array, y: Array, sample_weight: Array, rows: ModuleType | None = None) -> Array:
        """As `predict`, of samples between two events, whose y become known.

        With kernels' functions of a single row it is one of weight 1, without gaps.
        """
        return self.predict(gathered)

    def rebuild(self, y: Array, sample_weight: Array, kernels: Kernels) -> None:
        """Have units follow y of all samples so far."""

    def follow(self) -> None:
        """Have what counts of targets follow the last ones."""

    def update(self, again: Again | None = None) -> None:
        """Fit to the samples since the last event.

        What a sample weighs above 1 counts for what is predicted of it `again`, as of its repetitions.
        """

    def forget(self, factor: float) -> None:
        """Have the samples so far count less."""

    def restart(self) -> None:
        """Forget how good predictions were: those to come are another network's."""

    def has_sound_pending(self, n_outputs: int) -> bool:
        """Whether the samples since the last event are of shapes that fit: they may come from a file."""
        return True


@dataclass
class LayersHead(Head):
    n_layers: int
    first: int = 0  # of the layers that count
    is_open: bool = False

    @property
    def is_by_output(self) -> bool:
        return not self.is_open

    def answering(self, n_outputs: int) -> slice:
        if not self.is_open:
            return super().answering(n_outputs)
        return slice(1, 2) if n_outputs == 3 else slice(n_outputs - 1)  # of two classes the second's

    def closed(self) -> Self:
        return replace(self, is_open=False)

    def gather(self, outputs: LayerOutputs, kernels: Kernels) -> Array:
        return layer_means(outputs.layers[self.first :], kernels)

    def gathered(self, means: Array, variance: Array) -> Array:
        return means[:, :, self.first :]

    def untrained(self, n_samples: int, n_outputs: int) -> Array:
        return np.zeros((n_samples, n_outputs, self.n_layers - self.first))

    def targets(self, y: Array, output_numbers: Array) -> Array:
        return y if y.ndim == 2 else y[:, np.newaxis] == output_numbers

    def predict(self, gathered: Array) -> Array:
        return gathered

    def shares(self) -> Array:
        shares = np.zeros((1, self.n_layers))
        shares[:, self.first :] = 1 / (self.n_layers - self.first)
        return shares

    def takes(self, y: Array, n_outputs: int) -> bool:
        return y.shape[1:] in ((), (n_outputs,))


@dataclass
class PlainHead(LayersHead):
    @classmethod
    def empty(cls, n_layers: int, aggregation: str, *, is_open: bool = False) -> "PlainHead":
        return cls(n_layers, first_that_counts(n_layers, aggregation), is_open)

    def predict(self, gathered: Array) -> Array:
        return gathered[:, self.answering(gathered.shape[1])].mean(axis=2)


@dataclass
class PendingLogits:
    """Samples since the last event, of positive weight."""

    inputs: Array  # (n, n_outputs, n_layers + 1)
    codes: Array  # (n,) class numbers, or (n, n_outputs): which labels apply
    weight: Array  # (n,), or (n, n_outputs): 0 where that is not known


@dataclass
class StackedHead(LayersHead):
    stack: LogitStack = field(kw_only=True)
    class_weight: Array = field(
        kw_only=True
    )  # (n_classes,), of an open head (n_classes + 1,), or (n_labels, 2): sums of weights of each class's samples
    recent: RecentLabels = field(kw_only=True)
    pending: list[PendingLogits] = field(default_factory=list)

    @classmethod
    def empty(
        cls,
        n_layers: int,
        *shape: int,
        precision: float = PRECISION,
        is_open: bool = False,
        has_memories: bool = False,
    ) -> "StackedHead":
        """A head for n_classes classes, or for labels: n_labels, 2."""
        stack, class_weight = LogitStack.empty(n_layers, precision), np.zeros(shape)
        n_labels, n_classes = (1, *shape)[-2:]
        recent = RecentLabels.empty(n_labels, n_classes - is_open, stopped=not has_memories)
        return cls(n_layers, is_open=is_open, stack=stack, class_weight=class_weight, recent=recent)

    @property
    def is_by_output(self) -> bool:
        return False

    def predict(self, gathered: Array) -> Array:
        logits = self._stacked(self._inputs(gathered, self.class_weight))
        return _recent_labels.corrected(logits, self.recent.correction)

    def learn(self, gathered: Array, y: Array, sample_weight: Array, rows: ModuleType | None = None) -> Array:
        seen = np.zeros((len(y) + 1, *self.class_weight.shape))
        seen[0] = self.class_weight
        if y.ndim == 1:
            codes, weights = y, sample_weight
            seen[np.arange(1, len(seen)), codes] = weights
        else:
            codes, weights = np.nan_to_num(y).astype(int), of_targets(sample_weight, y)
            np.put_along_axis(seen[1:], codes[..., np.newaxis], weights[..., np.newaxis], axis=-1)
        seen = np.cumsum(seen, axis=0)
        inputs = self._inputs(gathered, seen[:-1])
        self.class_weight = seen[-1]
        logits, exists = self._stacked(inputs), sample_weight > 0
        if not exists.any():
            return _recent_labels.corrected(logits, self.recent.correction)
        inputs, codes, weights = inputs[exists], codes[exists], weights[exists]
        self.pending.append(PendingLogits(inputs, codes, weights))
        by_label = len(codes), -1
        correction = self.recent.learn(logits[exists], codes.reshape(by_label), weights.reshape(by_label), rows)
        return _recent_labels.corrected(logits, correction[_numbers_before(exists)])

    def update(self, again: Again | None = None) -> None:
        """Fit the stack; too few samples wait for more."""
        parts = self.pending
        if again is not None:
            rest = again.rest()
            prior = np.broadcast_to(self.class_weight, (len(rest.weight), *self.class_weight.shape))
            once = [replace(part, weight=np.minimum(part.weight, 1)) for part in parts]
            codes, weight = np.nan_to_num(rest.y).astype(int), rest.weight
            weight = weight if codes.ndim == 1 else of_targets(weight, rest.y)
            parts = [*once, PendingLogits(self._inputs(rest.gathered, prior), codes, weight)]
        if sum(len(part.codes) for part in parts) < MIN_SAMPLES:
            return
        if again is not None:
            self.stack.forget(0)  # the rest of all samples so far counts again
            self.recent.stop()
        inputs, codes, weight = _concatenate(parts, "inputs", "codes", "weight")
        self.pending = []
        if not self.is_open or len(self.class_weight) > 2:  # else there is no other class
            self.stack.fit(self._of_answering(inputs), codes, weight)

    def forget(self, factor: float) -> None:
        self.class_weight = self.class_weight * factor
        self.stack.forget(factor)

    def shares(self) -> Array:
        return self.recent.factor[:, np.newaxis] * self.stack.weights[:-1]

    def with_class(self, number: int) -> Self:
        n_classes = len(self.class_weight) - 1
        places = with_another(n_classes + 1, number)
        return replace(
            self,
            # Where two classes have a logit each, these are of opposite sign, and their difference is twice as large.
            stack=self.stack.scaled(0.5) if n_classes == 2 else self.stack,
            class_weight=np.insert(self.class_weight, number, 0.0),
            recent=self.recent.with_class(number),
            pending=[
                replace(part, inputs=part.inputs[:, places], codes=renumbered(part.codes, number))
                for part in self.pending
            ],
        )

    def closed(self) -> Self:
        return replace(self, is_open=False, class_weight=self.class_weight[:-1], pending=[])

    def of_outputs(self, places: Array) -> Self:
        pending = [
            replace(part, inputs=part.inputs[:, places], codes=part.codes[:, places], weight=part.weight[:, places])
            for part in self.pending
        ]
        recent = _outputs.take(self.recent, places, shares_halfspaces=True)
        return replace(self, class_weight=self.class_weight[places], recent=recent, pending=pending)

    @property
    def origin(self) -> Array:
        logits = self.stack.weights[-1] * np.ravel(_prior_logit(self.class_weight))
        return _recent_labels.corrected(logits, self.recent.correction)

    def has_sound_pending(self, n_outputs: int) -> bool:
        return all(
            part.inputs.shape == (len(part.codes), n_outputs, self.n_layers + 1)
            and self.takes(part.codes, n_outputs)
            and part.weight.shape == part.codes.shape
            for part in self.pending
        )

    def _inputs(self, layer_logits: Array, class_weight: Array) -> Array:
        """The inputs of the stack, and of an open head's last output: (n, n_outputs, n_layers + 1)."""
        prior = np.log(class_weight + 1) if self.is_open else _prior_logit(class_weight)
        n, n_outputs, n_layers = layer_logits.shape
        inputs = np.empty((n, n_outputs, n_layers + 1))
        inputs[..., :-1], inputs[..., -1] = layer_logits, prior.reshape(-1, n_outputs)
        return inputs

    def _of_answering(self, inputs: Array) -> Array:
        """The inputs of the stack (n, n_outputs, n_layers + 1), of the outputs in the answer."""
        n_outputs = inputs.shape[1]
        answering = inputs[:, self.answering(n_outputs)]
        if self.is_open and n_outputs == 3:
            prior = answering[..., -1:] - inputs[:, :1, -1:]
            answering = np.concatenate([answering[..., :-1], prior], axis=2)
        return answering

    def _stacked(self, inputs: Array) -> Array:
        """Logits before correction."""
        logits: Array = self._of_answering(inputs) @ self.stack.weights
        return logits


@dataclass
class PendingErrors:
    """Samples since the last event, of positive weight."""

    residuals: Array = field(metadata=BY_SAMPLE_AND_OUTPUT)  # (n, n_outputs, n_layers)
    log_variance: Array = field(metadata=BY_SAMPLE_AND_OUTPUT)  # (n, n_outputs): raw
    correction: Array = field(metadata=BY_SAMPLE_AND_OUTPUT)  # (n, n_outputs, 3)
    weight: Array = field(metadata=BY_SAMPLE_AND_OUTPUT)  # (n, n_outputs): 0 where there is no target


@dataclass
class TargetHead(Head):
    scale: TargetScale
    stack: MeanStack
    calibration: Calibration
    recent: RecentErrors
    scores: ErrorScores
    pending: list[PendingErrors] = field(default_factory=list)

    @classmethod
    def empty(
        cls,
        n_outputs: int,
        n_layers: int,
        aggregation: str,
        is_calibrated: bool,
        has_memories: bool = False,
        knows_wild: bool = True,
    ) -> "TargetHead":
        return cls(
            TargetScale.empty(n_outputs, knows_wild),
            MeanStack.empty(n_outputs, n_layers, first_that_counts(n_layers, aggregation), aggregation == "stacked"),
            Calibration.empty(n_outputs, is_calibrated),
            RecentErrors.empty(n_outputs, stopped=not has_memories),
            ErrorScores.empty(n_outputs),
        )

    def gather(self, outputs: LayerOutputs, kernels: Kernels) -> Array:
        mean, disagreement = map(kernels.to_numpy, kernels.neuron_moments(outputs.layers[-1]))
        below = (layer_means([layer], kernels) for layer in outputs.layers[:-1])
        return self.gathered(np.concatenate([*below, mean[..., np.newaxis]], axis=2), outputs.within + disagreement)

    def gathered(self, means: Array, variance: Array) -> Array:
        """The layers' means and the logarithm of the raw variance: (n, n_outputs, n_layers + 1)."""
        return np.concatenate([means, np.log(variance)[..., np.newaxis]], axis=2)

    def untrained(self, n_samples: int, n_outputs: int) -> Array:
        return np.zeros((n_samples, n_outputs, self.stack.weights.shape[1] + 1))

    def targets(self, y: Array, output_numbers: Array) -> Array:
        return self.scale.standardize(y)

    def targets_of_columns(self, y: Array, output_numbers: Array) -> Array:
        return np.where(self.scale.is_known, self.restore(self.targets(y, output_numbers)), y)

    def predict(self, gathered: Array) -> Array:
        return self._answer(*self._moments(gathered), self.recent.correction)

    def _moments(self, gathered: Array) -> tuple[Array, Array]:
        """Means and variances (n, n_outputs) before correction."""
        return np.vecdot(gathered[..., :-1], self.stack.weights), self.calibration.variance(gathered[..., -1])

    def _answer(self, mean: Array, variance: Array, correction: Array) -> Array:
        mean, variance = _recent_errors.corrected(mean, variance, correction)
        return np.stack([self.restore(mean), np.where(self.scale.is_late, np.inf, variance * self.unit**2)], axis=2)

    def learn(self, gathered: Array, y: Array, sample_weight: Array, rows: ModuleType | None = None) -> Array:
        exists = sample_weight > 0
        if not exists.any():
            return self.predict(gathered)
        target = self.scale.standardize(y[exists])
        weight = of_targets(sample_weight[exists], y[exists])
        mean, variance = self._moments(gathered)
        counted = np.minimum(weight, 1) * self.scale.varied
        correction = self.recent.learn(target - mean[exists], variance[exists], counted)
        predictions = self._answer(mean, variance, correction[_numbers_before(exists)])
        residuals = np.nan_to_num(gathered[exists, :, :-1] - target[..., np.newaxis])
        self.pending.append(PendingErrors(residuals, gathered[exists, :, -1], correction[:-1], weight))
        self.scale.take_in(y[exists], target, sample_weight[exists])
        return predictions

    def rebuild(self, y: Array, sample_weight: Array, kernels: Kernels) -> None:
        factor = self.scale.rescale(y, sample_weight, kernels)
        self.stack.rescale(factor)
        self.recent.rescale(factor)
        in_new_unit = np.stack([factor, np.ones_like(factor), factor**2], axis=1)
        self.pending = [
            replace(
                part,
                residuals=part.residuals * factor[:, np.newaxis],
                log_variance=part.log_variance + 2 * np.log(factor),
                correction=part.correction * in_new_unit,
            )
            for part in self.pending
        ]

    def follow(self) -> None:
        self.scale.follow()

    def update(self, again: Again | None = None) -> None:
        had_varied, parts = self.scale.varied, self.pending
        total_weight = sum((part.weight.sum(axis=0) for part in parts), np.zeros(len(had_varied)))
        if again is not None:
            rest = again.rest()
            target = self.scale.standardize(rest.y)
            residuals = np.nan_to_num(rest.gathered[..., :-1] - target[..., np.newaxis])
            once = [replace(part, weight=np.minimum(part.weight, 1)) for part in parts]
            log_variance = rest.gathered[..., -1]
            none = np.broadcast_to(_recent_errors.UNCORRECTED, (*log_variance.shape, 3))
            parts = [*once, PendingErrors(residuals, log_variance, none, of_targets(rest.weight, rest.y))]
            self.stack.restart()  # the rest of all samples so far counts again
            self.calibration.restart()
            self.recent.stop()
        if parts:
            residuals, log_variance, correction, weight = _concatenate(
                parts, "residuals", "log_variance", "correction", "weight"
            )
            self.pending = []
            self._fit(residuals, log_variance, correction, weight * had_varied)
        self.scale.update()
        self.calibration.follow(total_weight, had_varied, self.scale.varied)

    def _fit(self, residuals: Array, log_variance: Array, correction: Array, weights: Array) -> None:
        self.stack.fit(residuals, weights)
        errors = np.vecdot(residuals, self.stack.weights)
        self.calibration.fit(log_variance, np.square(errors), weights)
        errors, variance = _recent_errors.corrected(errors, self.calibration.variance(log_variance), correction)
        self.scores.add(-errors / np.sqrt(variance), weights > 0)

    def restart(self) -> None:
        self.update()
        self.stack.restart()
        self.calibration.restart()
        self.recent.restart()
        self.scores = ErrorScores.empty(len(self.scores.of_output))

    def shares(self) -> Array:
        return self.stack.weights

    @property
    def unit(self) -> Array:
        return self.scale.unit

    @property
    def origin(self) -> Array:
        return self.scale.restore(self.recent.correction[:, 0])

    @property
    def limits(self) -> Array:
        return self.scale.limits

    def restore(self, means: Array) -> Array:
        return self.scale.restore(means)

    def takes(self, y: Array, n_outputs: int) -> bool:
        return y.shape[1:] == (n_outputs,)

    def has_sound_pending(self, n_outputs: int) -> bool:
        return self.scale.window.is_sound(n_outputs) and all(
            part.residuals.shape == (len(part.weight), *self.stack.weights.shape)
            and part.log_variance.shape == part.weight.shape == (len(part.weight), n_outputs)
            and part.correction.shape == (len(part.weight), n_outputs, 3)
            for part in self.pending
        )


def with_another(n_outputs: int, number: int) -> Array:
    """Where the outputs of an open head and one more, of the class that then has this number, are to be found."""
    return np.insert(np.arange(n_outputs), number, n_outputs - 1)


def renumbered(codes: Array, number: int) -> Array:
    """Class numbers, after one more class has got this number."""
    return codes + (codes >= number)


def of_targets(sample_weight: Array, targets: Array) -> Array:
    """The weights of targets (n, n_outputs): 0 for NaN, which is none."""
    return np.where(np.isnan(targets), 0, sample_weight[:, np.newaxis])


def first_that_counts(n_layers: int, aggregation: str) -> int:
    """The first layer that has a share in the answer."""
    return 0 if aggregation in ("stacked", "layers") else n_layers - 1


def layer_means(layers: Sequence[Array], kernels: Kernels) -> Array:
    """The mean prediction of each layer's neurons: (n, n_outputs, n_layers) float64 of NumPy."""
    return np.stack([kernels.to_numpy(kernels.neuron_mean(layer)) for layer in layers], axis=2)


def _numbers_before(exists: Array) -> Array | slice:
    """How many of the samples that exist come before each sample."""
    return slice(-1) if exists.all() else np.cumsum(exists) - exists


def _prior_logit(class_weight: Array) -> Array:
    """The log frequency of each class (..., n_classes), or of the second of two the logit (...)."""
    prior: Array = np.log(class_weight + 1)
    return prior[..., 1] - prior[..., 0] if class_weight.shape[-1] == 2 else prior


def _concatenate(parts: Sequence[PendingLogits] | Sequence[PendingErrors], *names: str) -> list[Array]:
    return [np.concatenate([getattr(part, name) for part in parts]) for name in names]
