"""Samples in, in order: the network with its statistics, its head and its clock."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np

from sklearn_gln import _network, _outputs, _single_row
from sklearn_gln._arrays import BY_OUTPUT, Array
from sklearn_gln._base_predictor import BaseKind, BasePredictor, Inputs, RunningMoments
from sklearn_gln._categories import Categories
from sklearn_gln._evidence import Evidence, make_writable
from sklearn_gln._halfspaces import Pool
from sklearn_gln._head import Again, Head, layer_means, renumbered, with_another
from sklearn_gln._learning_rate import scheduled_rates
from sklearn_gln._network import InputSizes, LayerOutputs, Network, base_signals, init_network
from sklearn_gln._samples import Samples, groups_of_alike, has_alike, padded, take_padded
from sklearn_gln._schedule import (
    FEW,
    LAST_MERGE,
    LAST_REBUILD,
    MAX_CHUNK,
    SHORT_PERIOD,
    UNIT_PERIOD,
    Chunk,
    Event,
    Schedule,
)
from sklearn_gln._settings import Settings
from sklearn_gln._wide_rows import N_SKETCHED, WideRows
from sklearn_gln.kernels import Kernels, as_numpy, get_kernels

AFTER_CHANGE = 0.02  # of the samples before count on, where a feature's unit has changed
FIRST_PRECONDITIONED = 64  # samples; fewer say too little about second moments
MAX_MEAN = 100  # of weights there: more would say no more, and take longer
ROUNDS = 4  # in which samples alike are learned as one: in one alone the last would count most


@dataclass
class OnlineNetwork:
    """All that learning needs to go on, and prediction to start."""

    settings: Settings
    predictor: BasePredictor
    n_columns: int  # of rows
    output_numbers: Array = field(
        metadata=BY_OUTPUT
    )  # (n_outputs,): the class that each tells from the others, or the target
    seed: int
    head: Head
    n_samples_seen: int = 0  # of positive weight
    network: Network | None = None  # from sample 1 on
    buffer: list[Samples] = field(default_factory=list)  # to replay
    unit_weight: float = 1.0  # for which neurons learn a sample once
    categories: Categories | None = None  # None: no feature is a category
    wide: WideRows | None = None  # None: rows are not wide
    predicts_only: bool = False  # its weights have been rounded to half precision

    @classmethod
    def new(
        cls,
        settings: Settings,
        base_predictor: BaseKind,
        n_features: int,
        output_numbers: Array,
        seed: int,
        head: Head,
        n_given: int = 0,
        categorical: Sequence[int] = (),
    ) -> "OnlineNetwork":
        """A network that has seen nothing, for samples of n_features features and n_given base predictions.

        Of the features some may be `categorical`.
        """
        limit = settings.limit if settings.likelihood.reads_probabilities else None
        n_scaled = N_SKETCHED if settings.n_predictions else n_features
        predictor = BasePredictor(base_predictor, limit, RunningMoments.empty(n_scaled))
        online = cls(settings, predictor, n_features + n_given, output_numbers, seed, head)
        kept, n_outputs = list(map(online._share_kept, settings.half_lives_of_levels)), len(output_numbers)
        if settings.n_predictions:
            online.wide = WideRows.empty(n_features, n_outputs, kept)
        elif len(categorical):
            columns = np.array(categorical)
            online.categories = Categories.empty(n_features, columns, n_outputs, kept, settings.max_levels)
        return online

    def __sizeof__(self) -> int:
        """Bytes of the largest arrays: by them engines such as Dask decide how an object travels."""
        arrays = []
        if self.network is not None:
            arrays += [layer.weights for layer in self.network.layers]
            arrays += [preconditioner.moment for preconditioner in self.network.preconditioners]
        return object.__sizeof__(self) + sum(getattr(array, "nbytes", 0) for array in arrays)

    @property
    def schedule(self) -> Schedule:
        return self.settings.likelihood.schedule(forgets=self.settings.half_life is not None)

    @property
    def has_merged(self) -> bool:
        """Whether weights are counts, and samples alike were learned as one."""
        return self.unit_weight != 1

    @property
    def n_outputs(self) -> int:
        return len(self.output_numbers)

    @property
    def evidence(self) -> Evidence | None:
        """What is known of single columns."""
        return self.categories if self.wide is None else self.wide

    def with_class(self, number: int) -> "OnlineNetwork":
        """This network with one class more, which has not come yet and has this number from now on.

        The last output, which has learned that no sample is of its class, is what the new one would be: it is copied.
        """
        grown = self.of_outputs(with_another(self.n_outputs, number), self.head.with_class(number))
        return replace(grown, buffer=[replace(part, y=renumbered(part.y, number)) for part in grown.buffer])

    def of_outputs(self, places: Array, head: Head) -> "OnlineNetwork":
        """The network, in NumPy, of the outputs at these places, which share halfspaces, with a head for them."""
        network = self.network
        if network is not None:
            network.move_to(get_kernels("numpy"))
            layers = [layer.of_outputs(places) for layer in network.layers]
            network = replace(_outputs.take(replace(network, layers=[]), places, shares_halfspaces=True), layers=layers)
        return replace(
            self,
            output_numbers=np.arange(len(places)),
            head=head,
            network=network,
            buffer=_outputs.take(self.buffer, places, shares_halfspaces=True),
            categories=_outputs.take(self.categories, places, shares_halfspaces=True),
            wide=_outputs.take(self.wide, places, shares_halfspaces=True),
        )

    def closed(self) -> "OnlineNetwork":
        """The network, in NumPy, of the outputs in the answer alone; it shares memory with this one."""
        places = self.head.answering(self.n_outputs)
        return replace(_outputs.take(self, places, shares_halfspaces=True), head=self.head.closed())

    # Learning

    def learn(
        self,
        X: Array,
        y: Array,
        sample_weight: Array,
        kernels: Kernels,
        order: Array | None = None,
        epoch: int = 1,
        *,
        held_out: bool = False,
    ) -> Iterator[tuple[Array, Array]]:
        """Learn samples X (n, n_columns) of class numbers y (n,), visited in `order`, a chunk at a time.

        X may be NumPy's or an array of the kernels. To be called, and each chunk to be asked for, in their scope.
        y (n, n_outputs) are the outputs' targets themselves: of bool, or real numbers in regression. Yields the indices
        of each chunk's samples and what `infer` would have given just before they were learned. A sample of weight 0 is
        predicted only. Samples that come again, in a later epoch, take smaller steps if the targets are classes, and
        predictions of them, which are no longer honest, teach the head nothing. Samples `held_out` from all epochs of a
        regression teach it afresh.
        """
        order = np.arange(len(X)) if order is None else order
        numbers = self.sample_numbers(sample_weight[order])
        is_first_pass = epoch == 1 and not held_out
        self._begin_pass(epoch)
        if self.evidence is not None:
            make_writable(self.evidence)
            X = as_numpy(X)  # all at once, and not again for each chunk
        if held_out:
            self.head.restart()
        for indices, chunk in self.chunks(order, X, sample_weight, first_pass=is_first_pass):
            first_pass = np.full(len(indices), is_first_pass)
            rows, kept = self._rows(X, indices, kernels)
            samples = Samples(kept, y[indices], sample_weight[indices], numbers[chunk.place], first_pass, epoch)
            gathered = self._learn_chunk(rows, samples, indices, kernels)
            predictions = self._learn_head(gathered, samples.y, samples.weight, epoch)
            if chunk.event is not None:
                self._happen(chunk.event, epoch, kernels, held_out=held_out)
            yield indices, predictions
        if held_out:
            self.head.update()

    def learn_row(self, x: Array, y: Array, kernels: Kernels) -> Array:
        """As `learn`, of one row x (n_columns,) that `_single_row` serves; y (1,) or (1, n_outputs).

        Returns what `infer` would have given before.
        """
        event = self.schedule.event_after(self.n_samples_seen)
        targets = self.head.targets(y, self.output_numbers)[0]
        predictions = self.head.learn(_single_row.learn(self, x, targets, kernels), y, np.ones(1), kernels.ROWS)
        if self.n_samples_seen == event.number:
            self._happen(event, 1, kernels)
        return predictions

    def _happen(self, event: Event, epoch: int, kernels: Kernels, *, held_out: bool = False) -> None:
        again = None
        if event.rebuild:
            again = self._rebuild(kernels)
        else:
            self._refresh(event, kernels)
        if not held_out:
            self.head.update(again)
        if self.n_samples_seen >= self._last_rebuild(self._is_weighted()):
            self.buffer.clear()
        if event.forget and not self.buffer:  # a rebuild would undo it
            self._forget(epoch, kernels)

    def sample_numbers(self, sample_weight: Array) -> Array:
        """The numbers (n,) that samples to come will have; one of weight 0 has that of the sample before."""
        return self.n_samples_seen + np.cumsum(sample_weight > 0)

    def chunks(self, order: Array, X: Array, sample_weight: Array, *, first_pass: bool) -> list[tuple[Array, Chunk]]:
        """The indices of samples to come, chunk by chunk."""
        weight = sample_weight[order]
        numbers = self.sample_numbers(weight)
        is_weighted = np.logical_or.accumulate((weight > FEW) & (numbers <= LAST_REBUILD)) | self._is_weighted()
        is_kept = numbers <= self._last_rebuild(is_weighted=True)
        may_merge = is_weighted & is_kept
        if may_merge.any():
            counted = is_kept & (weight > 0) & first_pass
            _, kept = self._rows(X, order[counted], get_kernels("numpy"))
            may_merge &= self._have_alike(kept, counted)
        return [(order[chunk.place], chunk) for chunk in self.schedule.chunks(self.n_samples_seen, numbers, may_merge)]

    def _have_alike(self, X: Array, counted: Array) -> Array:
        """Whether, at each sample to come (n,), two so far are alike; X are those that are `counted` (n,)."""
        X = np.concatenate([*(part.X[part.first_pass] for part in self.buffer), X])
        first, _ = groups_of_alike(X)
        is_repeated = np.ones(len(X), bool)
        is_repeated[first] = False
        n_before = len(X) - np.count_nonzero(counted)
        found = np.zeros(len(counted), bool)
        found[counted] = is_repeated[n_before:]
        return np.logical_or.accumulate(found) | is_repeated[:n_before].any()

    def _is_weighted(self) -> bool:
        """Whether weights of samples in the buffer are counts."""
        return any((part.weight > FEW).any() for part in self.buffer)

    def _last_rebuild(self, is_weighted: bool) -> int:
        """The number of the last sample in the buffer."""
        return LAST_MERGE if is_weighted else LAST_REBUILD

    def check_rates(self, sample_weight: Array) -> None:
        """Have a learning_rate callable that fails for samples to come fail now, before anything is learned."""
        if callable(self.settings.learning_rate):
            numbers = np.maximum(self.sample_numbers(sample_weight), 1)
            scheduled_rates(self.settings.learning_rate, self.settings.learning_rate_init, numbers)

    def learn_head(
        self,
        chunks: list[tuple[Array, Chunk]],
        gathered: list[Array],
        y: Array,
        sample_weight: Array,
        epoch: int,
    ) -> Iterator[tuple[Array, Array]]:
        """The rest of `learn`, after the rebuilds, where the layers have learned and gave this for each chunk."""
        self._begin_pass(epoch)
        for (indices, chunk), of_chunk in zip(chunks, gathered, strict=True):
            predictions = self._learn_head(of_chunk, y[indices], sample_weight[indices], epoch)
            if chunk.event is not None:
                self.head.update()
                if chunk.event.forget and epoch == 1:
                    self.head.forget(self._share_kept(self.settings.half_life_of_statistics))
            yield indices, predictions

    def _begin_pass(self, epoch: int) -> None:
        if epoch > 1:
            self.head.update()

    def _learn_head(self, gathered: Array, y: Array, sample_weight: Array, epoch: int) -> Array:
        """The answer before the head sees y."""
        return self.head.learn(gathered, y, sample_weight) if epoch == 1 else self.head.predict(gathered)

    def _rows(self, X: Any, indices: Array, kernels: Kernels) -> tuple[Any, Array]:
        """Rows at the indices as evidence is found for them, and what samples keep of them."""
        if self.evidence is None:
            kept = take_padded(X, indices, kernels)
            return kept, kept
        rows = self.evidence.rows(X, indices)
        return rows, self.evidence.compact(rows)

    def _learn_chunk(self, rows: Any, samples: Samples, indices: Array, kernels: Kernels) -> Array:
        """Learn samples between two events; return what the head gathers of predictions made before.

        They are of these rows; in the arrays of the call they are at the indices.
        """
        gathered = self.head.untrained(len(samples), self.n_outputs)
        network = self.ensure_network(kernels)
        samples, learn_evidence = self._meet(rows, samples, indices, kernels)
        seen = self._expanded(samples, kernels)
        if network is not None:
            scaled = replace(seen, weight=samples.weight / self.unit_weight)
            targets = self.head.targets(samples.y, self.output_numbers)
            gathered = self._learn_network(network, scaled, targets, kernels)
        learn_evidence()
        if self.n_samples_seen < LAST_REBUILD or self.buffer:
            self.buffer.append(samples.part(samples.weight > 0, get_kernels("numpy")))
        if self.n_samples_seen >= LAST_REBUILD:
            weight = np.zeros(seen.X.shape[0])
            weight[: len(samples)] = samples.weight
            self.predictor.update(seen.X, kernels.asarray(weight), kernels)
            self.predictor.observe(seen, kernels)
        self.n_samples_seen = int(samples.number[-1])
        return gathered

    def _meet(
        self, rows: Any, samples: Samples, indices: Array, kernels: Kernels
    ) -> tuple[Samples, Callable[[], None]]:
        """Samples with their evidence, and what has their targets be known once they have been learned.

        In a fit samples meet what they met at their first visit.
        """
        source = self.evidence
        if source is None:
            return samples, _nothing
        met = source.met_before(indices)
        if met is not None:
            return replace(samples, evidence=met), _nothing
        targets = self.head.targets_of_columns(samples.y, self.output_numbers)
        evidence, learn = source.meet(rows, targets, samples.weight, self.settings.likelihood, kernels)

        def learn_evidence() -> None:
            learn()
            source.keep(indices, evidence)

        return replace(samples, evidence=evidence), learn_evidence

    def _expanded(self, samples: Samples, kernels: Kernels) -> Samples:
        """Samples as the base predictor takes them: X an array of the kernels in which all features are numbers."""
        if self.evidence is None:
            return samples
        return replace(samples, X=self.evidence.expanded(samples.X)).part(slice(None), kernels)

    def _inputs(self, X: Array, evidence: Array | None, kernels: Kernels) -> Inputs:
        """What the network sees of samples, whose X `_expanded` made."""
        inputs = self.predictor.transform(X, kernels)
        if self.evidence is None or evidence is None:
            return inputs
        scaled = self.evidence.scaled(evidence, self.head.unit)
        if self.wide is not None:
            inputs = inputs._replace(base=inputs.base[:, :0])
        return inputs._replace(evidence=padded(scaled, X.shape[0], self.settings.dtype, kernels))

    def _learn_network(
        self,
        network: Network,
        samples: Samples,
        targets: Array,
        kernels: Kernels,
        scatter: Array | None = None,
    ) -> Array:
        """As `_learn_chunk`, of samples whose X is an array of the kernels; scatter as in `_network.learn`."""
        settings, parts = self.settings, [slice(None)]
        if settings.normalized:
            rate = settings.likelihood.rate_in_epoch(settings.learning_rate_init, samples.epoch)
            settings = replace(settings, learning_rate_init=rate)
        exists = samples.weight > 0
        if settings.batch_size > 1 and not exists.all():  # batch by batch: samples of weight 0 take no place in one
            batches = (np.cumsum(exists) - exists) // settings.batch_size
            ends = [*np.flatnonzero(np.diff(batches)) + 1, len(samples)]
            settings, parts = replace(settings, batch_size=MAX_CHUNK), [slice(*ab) for ab in pairwise([0, *ends])]
        gathered = []
        for place in parts:
            part = samples if len(parts) == 1 else samples.part(place, kernels)
            inputs = self._inputs(part.X, part.evidence, kernels)
            known = None if scatter is None else scatter[place]
            outputs = _network.learn(network, kernels, inputs, targets[place], part, settings, known)
            gathered.append(self.head.gather(outputs, kernels)[: len(part)])
        return np.concatenate(gathered)

    # The clock's events

    def ensure_network(self, kernels: Kernels) -> Network | None:
        """The network that predicts the next sample, None before sample 1, where the kernels need it.

        One that an interrupt left half built is built.
        """
        if self.network is None and self.n_samples_seen:
            self._rebuild(kernels)
        if self.network is not None:
            self.network.move_to(kernels)
        return self.network

    def _rebuild(self, kernels: Kernels) -> Again | None:
        """Build the network from the buffer; where samples alike are one, return what it then predicts of them."""
        samples = Samples.concatenate(self.buffer)
        host = get_kernels("numpy")  # where scaling and halfspaces are made: the same for all backends
        is_early, n_features, n_indicators = len(samples) <= LAST_REBUILD, len(self.predictor.moments.mean), 0
        if self.categories is not None:
            if is_early:
                self.categories.choose_indicators()
            n_features, n_indicators = self.categories.n_expanded, self.categories.n_indicators
        seen = self._expanded(samples, host)
        if is_early:
            self.predictor.restart(seen.X, samples.weight, n_features, self.settings.n_bins, n_indicators)
        else:
            self.predictor.refresh()
        self.head.rebuild(samples.y, samples.weight, host)
        inputs = self._inputs(seen.X, samples.evidence, host)
        sizes = self.input_sizes(inputs.base.shape[1])
        replaced, self.network = self.network, None
        pool = Pool.of(inputs.side_info, samples.y, samples.weight, self.output_numbers)
        network = init_network(sizes, pool, self.output_numbers, self.settings, self.seed, replaced)
        del replaced  # the replay fills the new network's memory
        self._set_limits(network)
        network.move_to(kernels)
        preconditioned = len(samples) >= FIRST_PRECONDITIONED
        if preconditioned:
            self._precondition(network, inputs, samples.weight, kernels)
        merges = self._is_weighted() and has_alike(samples.X[samples.first_pass])
        targets = self.head.targets(samples.y, self.output_numbers)
        if merges:
            unit = max(1.0, float(samples.weight.mean()) / MAX_MEAN)
            self._learn_merged(network, samples, targets, unit, kernels)
        else:
            self._learn_network(network, seen.part(slice(None), kernels), targets, kernels)
        if preconditioned:
            self._refresh_preconditioners(network, kernels)
        network.refresh_spread(kernels)
        if merges:
            self.unit_weight = float(samples.weight.mean())
            if self.n_samples_seen >= self._last_rebuild(is_weighted=True):
                network.forget(1 / self.unit_weight, [1 / self.unit_weight], kernels)
        self.network = network
        self.buffer = [samples]
        return Again(self._gathered_again(samples, kernels), samples.y, samples.weight) if merges else None

    def input_sizes(self, n_given: int) -> InputSizes:
        """The inputs of neurons, n_given of them scaled features or base predictions."""
        n_evidence = 0 if self.evidence is None else self.evidence.n_evidence
        return InputSizes(self.settings.n_base(n_given), self.predictor.n_basis, n_evidence)

    def _precondition(self, network: Network, inputs: Inputs, weight: Array, kernels: Kernels) -> None:
        """Have P of base inputs be known before the replay, which counts these samples for later refreshes."""
        host = get_kernels("numpy")
        base = base_signals(host, inputs, replace(self.settings, dtype="float64"))
        for preconditioner, block in zip(network.base_preconditioners, base, strict=True):
            if preconditioner is not None:
                groups = None if preconditioner.groups is None else tuple(map(as_numpy, preconditioner.groups))
                moment = np.zeros(tuple(preconditioner.moment.shape))
                so_far = replace(preconditioner, moment=moment, weight=0.0, groups=groups)
                so_far.update(host, block, weight[:, np.newaxis], weight.sum())
                so_far.refresh(host, self.settings.dtype)
                preconditioner.matrix = kernels.asarray(so_far.matrix)

    def learn_alike(self, X: Array, y: Array, sample_weight: Array, indices: Array, kernels: Kernels) -> None:
        """Learn samples that have come several times once more, those alike as one.

        One by one, the last of those alike would count most. In the arrays of the fit they were at the indices.
        """
        n = np.full(len(y), self.n_samples_seen)
        _, kept = self._rows(X, np.arange(len(y)), get_kernels("numpy"))
        evidence = None if self.evidence is None else self.evidence.met_before(indices)
        samples = Samples(kept, y, sample_weight, n, np.zeros(len(y), bool), epoch=1, evidence=evidence)
        network = self.ensure_network(kernels)
        assert network is not None  # noqa: S101
        targets = self.head.targets(y, self.output_numbers)
        self._learn_merged(network, samples, targets, self.unit_weight, kernels)

    def _learn_merged(self, network: Network, samples: Samples, targets: Array, unit: float, kernels: Kernels) -> None:
        """Learn samples alike as one, in rounds of random order; a weight is a number of units."""
        merged, targets, scatter = samples.merged(targets)
        merged = self._expanded(merged, get_kernels("numpy"))
        share, scatter = replace(merged, weight=merged.weight / unit / ROUNDS), scatter / unit
        for number in range(ROUNDS):
            order = np.random.default_rng((self.seed, number)).permutation(len(merged))
            for start in range(0, len(order), MAX_CHUNK):
                places = order[start : start + MAX_CHUNK]
                known = scatter[places] if number == 0 else None
                self._learn_network(network, share.part(places, kernels), targets[places], kernels, known)

    def _refresh(self, event: Event, kernels: Kernels) -> None:
        unit_changed = event.number % UNIT_PERIOD == 0 and self.predictor.follow()
        if event.rescale:
            # But for a half-life, features keep their scaling: what weights and cuts mean depends on it.
            self.predictor.refresh(new_only=not isinstance(self.settings.half_life, Real))
            if self.categories is not None:
                self.categories.indicate()
        if self.network is None:
            return
        if unit_changed:
            self.network.forget_base(AFTER_CHANGE)
        self.head.follow()
        self._set_limits(self.network)
        self.network.move_to(kernels)
        self.network.refresh_spread(kernels)
        if event.bound:
            self.network.bound_accumulators(self.settings.dtype, kernels)
        if event.recondition:
            self._refresh_preconditioners(self.network, kernels)

    def _set_limits(self, network: Network) -> None:
        if self.settings.likelihood.has_limits and self.head.limits is not None:
            network.limits = self.head.limits.astype(self.settings.dtype)

    def _refresh_preconditioners(self, network: Network, kernels: Kernels) -> None:
        for preconditioner in network.preconditioners:
            preconditioner.refresh(kernels, self.settings.dtype)
        network.solve_first(self.settings, kernels)

    def _share_kept(self, half_life: float | None) -> float:
        """How much less the samples so far are to count from this event on."""
        return 1.0 if half_life is None else 0.5 ** (SHORT_PERIOD / half_life)

    def _forget(self, epoch: int, kernels: Kernels) -> None:
        """Have the samples so far count less in all statistics; those of the head count the first epoch only."""
        if self.settings.half_life is None:
            return
        factor = self._share_kept(self.settings.half_life_of_statistics)
        self.predictor.moments.forget(factor)
        if self.evidence is not None:
            self.evidence.forget()
        if self.network is not None:
            self.network.forget(factor, list(map(self._share_kept, self.settings.half_lives)), kernels)
        if epoch == 1:
            self.head.forget(factor)

    # Prediction

    def infer(self, X: Array, kernels: Kernels) -> Array:
        """Output logits (n, n_outputs), or means and variances (n, n_outputs, 2), for samples X (n, n_columns)."""
        return self.head.predict(self._gathered(X, kernels))

    def before_sample_1(self, n_samples: int) -> Array:
        """The result of `infer` before anything is learned."""
        return self.head.predict(self.head.untrained(n_samples, self.n_outputs))

    def _gathered_again(self, samples: Samples, kernels: Kernels) -> Array:
        """What the head gathers of predictions for samples that have been learned."""
        return self._gathered(samples.X, kernels, None if self.wide is None else samples.evidence)

    def _gathered(self, X: Any, kernels: Kernels, met: Array | None = None) -> Array:
        """What the head gathers of predictions for samples X, as in `forward`."""
        parts = [self.head.untrained(0, self.n_outputs)]
        for indices, _, outputs in self.forward(X, kernels, met):
            if outputs is None:
                parts.append(self.head.untrained(len(indices), self.n_outputs))
            else:
                parts.append(self.head.gather(outputs, kernels)[: len(indices)])
        return np.concatenate(parts)

    def layer_means(self, X: Array, kernels: Kernels) -> Array:
        """The mean logit, or mean, of each layer's neurons: (n, n_outputs, n_layers), of the outputs in the answer."""
        shape = self.n_outputs, len(self.settings.layer_sizes)
        parts = [np.zeros((0, *shape))]
        for indices, _, outputs in self.forward(X, kernels):
            untrained = np.zeros((len(indices), *shape))
            parts.append(untrained if outputs is None else layer_means(outputs.layers, kernels)[: len(indices)])
        return np.concatenate(parts)[:, self.head.answering(self.n_outputs)]

    def forward(
        self, X: Any, kernels: Kernels, met: Array | None = None
    ) -> Iterator[tuple[Array, Inputs | None, LayerOutputs | None]]:
        """Chunk by chunk of X: the samples' indices, their inputs, and what the layers make of them.

        Arrays of the kernels may be padded; before sample 1 they are None. With evidence that samples have met X is
        what they kept.
        """
        network = self.ensure_network(kernels)
        if self.evidence is not None:
            X = as_numpy(X)
        for start in range(0, len(X), MAX_CHUNK):
            indices = np.arange(start, min(start + MAX_CHUNK, len(X)))
            if network is None:
                yield indices, None, None
            else:
                if met is not None:
                    kept, evidence = X[indices], met[indices]
                else:
                    rows, kept = self._rows(X, indices, kernels)
                    evidence = None
                    if self.evidence is not None:
                        evidence = self.evidence.recall(rows, self.settings.likelihood, kernels)
                if self.evidence is not None:
                    kept = take_padded(self.evidence.expanded(kept), np.arange(len(indices)), kernels)
                inputs = self._inputs(kept, evidence, kernels)
                yield indices, inputs, _network.infer(network, kernels, inputs, self.settings)

    def output_weights(self) -> tuple[Array, Array]:
        """The output as a sum of the layers' means: their weights (n_outputs, n_layers), a constant (n_outputs,)."""
        shape = self.n_outputs, len(self.settings.layer_sizes)
        weights = self.head.shares() * self.head.unit[:, np.newaxis]
        return np.broadcast_to(weights, shape), np.broadcast_to(self.head.origin, shape[:1])


def _nothing() -> None:
    pass
