"""The textbook oracle: every formula of the network again, one scalar at a time, written for reading and not for speed.

The first part has the signatures of the kernel contract; ``NaiveGLN`` is the whole network with its clock, and
``naive_regression`` what regression does differently. Nothing here is shared with the package: what the two have in
common is the mathematics.
"""

import itertools
import math
from collections import defaultdict
from dataclasses import dataclass, field, replace

import numpy as np


def dot(a, b):
    return sum([x * y for x, y in zip(a, b, strict=True)])  # of a list: this is most of what the oracle does


def clip(value, low, high):
    return min(max(value, low), high)


def sigmoid(s):
    return 1.0 / (1.0 + math.exp(-s))


def logit(p):
    return math.log(p / (1.0 - p))


# One neuron


def find_context(z, normals, offsets):
    """Bit q of the context: does row z lie on the positive side of halfspace q?"""
    return sum(2**q for q, (h, o) in enumerate(zip(normals, offsets, strict=True)) if dot(h, z) > o)


def gain(rows, columns, weights, normal, offset):
    """By how much a cut lowers the variance of standardised columns of targets, summed over the columns."""
    sides = [dot(normal, z) > offset for z in rows]
    total, lowered = sum(weights), 0.0
    for column in columns:
        mean, variance = weighted_moments(column, weights)
        for side in (True, False):
            weight = sum(q for q, s in zip(weights, sides, strict=True) if s == side)
            if weight > 0.0:
                seen = zip(column, weights, sides, strict=True)
                of_side = sum(q * (value - mean) for value, q, s in seen if s == side) / weight
                lowered += weight / total * of_side**2 / variance
    return lowered


def repeat(s, motion, target, *, rate, repeats, accumulator, loss, damping, limit):
    """All repeats of one row: the factor g of their summed step -g v, and what they add to the accumulator.

    The row's own output s (not clipped) moves by -g times ``motion`` = v . u after each repeat. A repeat adds its e^2
    for the log loss, and 1 for the squared loss.
    """
    step = added = 0.0
    whole = math.floor(repeats)
    for part in [1.0] * whole + [repeats - whole]:
        error = (s if loss == "squared" else sigmoid(clip(s, -limit, limit))) - target
        g = part * rate / (1.0 + damping * (accumulator + added)) * error
        s -= g * motion
        step += g
        added += part * (1.0 if loss == "squared" else error**2)
    return step, added


# The kernel contract: arrays in, arrays out


def select_contexts(side_info, hyperplanes, offsets):
    n, (k, j) = len(side_info), offsets.shape[:2]
    contexts = np.zeros((n, k, j), dtype=np.int32)
    for t, output, neuron in np.ndindex(n, k, j):
        contexts[t, output, neuron] = find_context(
            side_info[t].tolist(), hyperplanes[output, neuron].tolist(), offsets[output, neuron].tolist()
        )
    return contexts


def seen_by(array, t, output):
    """Entry t of an (n, k|1, ...) array as this output sees it: outputs share an axis of length 1."""
    return array[t, output if array.shape[1] > 1 else 0].tolist()


def join(blocks, t, output):
    return [value for block in blocks for value in seen_by(block, t, output)]


def linear_infer(weights, slots, inputs, *, limit):
    n, (k, j) = len(slots), weights.shape[:2]
    logits = np.zeros((n, k, j))
    for t, output, neuron in np.ndindex(n, k, j):
        w = weights[output, neuron, seen_by(slots, t, output)[neuron]].tolist()
        logits[t, output, neuron] = clip(dot(w, join(inputs, t, output)), -limit, limit)
    return logits


def linear_learn(
    weights,
    accumulator,
    slots,
    inputs,
    directions,
    targets,
    rates,
    repeats=None,
    *,
    loss,
    damping,
    limit,
    max_weight,
    batch_size,
):
    n, (k, j) = len(slots), weights.shape[:2]
    weights, accumulator, logits = weights.astype(float), accumulator.astype(float), np.zeros((n, k, j))
    if repeats is None:
        repeats = np.ones((n, 1))
    for first in range(0, n, batch_size):
        steps, gains = defaultdict(float), defaultdict(float)
        for t in range(first, min(first + batch_size, n)):
            for output in range(k):
                u, v = join(inputs, t, output), join(directions, t, output)
                for neuron in range(j):
                    slot = output, neuron, seen_by(slots, t, output)[neuron]
                    s = dot(weights[slot].tolist(), u)
                    logits[t, output, neuron] = clip(s, -limit, limit)
                    g, added = repeat(
                        s,
                        dot(v, u),
                        float(targets[t, output]),
                        rate=seen_by(rates, t, output),
                        repeats=seen_by(repeats, t, output),
                        accumulator=float(accumulator[slot]),
                        loss=loss,
                        damping=damping,
                        limit=limit,
                    )
                    for i in range(len(v)):
                        steps[(*slot, i)] += g * v[i]
                    gains[slot] += added
        for entry, step in steps.items():
            weights[entry] = clip(float(weights[entry]) - step, -max_weight, max_weight)
        for slot, added in gains.items():
            accumulator[slot] += added
    return weights, accumulator, logits


def second_moment(block, sample_weight=None):
    n, k, b = block.shape
    moment = np.zeros((k, b, b))
    for t, output in np.ndindex(n, k):
        q = 1.0 if sample_weight is None else float(sample_weight[t, 0])
        u = block[t, output].tolist()
        moment[output] += [[q * left * right for right in u] for left in u]
    return moment


def precondition(block, matrices):
    n, b = len(block), block.shape[2]
    k = block.shape[1] if matrices is None else max(block.shape[1], len(matrices))
    directions, squares = np.zeros((n, k, b)), np.zeros((n, k))
    for t, output in np.ndindex(n, k):
        u = v = seen_by(block, t, output)
        if matrices is not None:
            matrix = matrices[output if len(matrices) > 1 else 0].tolist()
            v = [dot(u, column) for column in zip(*matrix, strict=True)]
        directions[t, output], squares[t, output] = v, dot(u, v)
    return directions, squares


# From features to base logits x and side information z: each function returns a scaler, row -> (x, z)


def zero_missing(row):
    return [0.0 if math.isnan(value) else value for value in row]


def base_logits(probabilities, eps):
    return [0.0 if math.isnan(p) else logit(clip(p, eps, 1.0 - eps)) for p in probabilities]


def weighted_moments(values, weights):
    """Mean and variance of the values that are not missing; zeros where all are."""
    seen = [(value, q) for value, q in zip(values, weights, strict=True) if not math.isnan(value)]
    total = sum(q for _, q in seen)
    if total == 0.0:
        return 0.0, 0.0
    mean = sum(q * value for value, q in seen) / total
    return mean, sum(q * (value - mean) ** 2 for value, q in seen) / total


def quantile(values, weights, share):
    """The last value of those, in their order, below which lies less than this share."""
    in_order = sorted(zip(values, weights, strict=True), key=lambda pair: pair[0])
    ends = list(itertools.accumulate(q for _, q in in_order))
    return [value for (value, q), end in zip(in_order, ends, strict=True) if end - q < share * ends[-1]][-1]


def interpolate(values, share):
    """The quantile of values in order, linear between two of them."""
    place = share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (place - low) * (values[high] - values[low])


def unique(values):
    return [value for value, last in zip(values, [None, *values], strict=False) if value != last]


@dataclass
class Usual:
    """What is usual among values, however wild a few of them are."""

    median: float = 0.0
    reach: float = 0.0  # the distance beyond which values are wild
    n_others: int = 0  # values that differ from the median


def usual(values, weights, *, of_targets=False):
    """What is usual among the values that are not missing."""
    seen = [(value, q) for value, q in zip(values, weights, strict=True) if not math.isnan(value)]
    if not seen:
        return Usual()
    median = quantile(*zip(*seen, strict=True), 0.5)
    others = [(abs(value - median), q) for value, q in seen if value != median]
    if not others:
        return Usual(median)
    usual_one = quantile(*zip(*others, strict=True), 0.8)
    if not of_targets:
        return Usual(median, reach(others, usual_one, 8.0), len(others))
    frequent = sorted(abs(value - median) for value, _ in seen)[max(len(seen) - 2, 1) - 1]
    far, near = reach(others, usual_one, 64.0), reach(others, max(usual_one, frequent), 8.0)
    return Usual(median, min(far, near), len(others))


def reach(others, last, gap):
    """The distance beyond which values are wild: up to the first gap after the last usual one."""
    for farther in sorted(d for d, _ in others if d > last):
        if farther > gap * last:
            break
        last = farther
    return gap * last


def have_different_units(moments, others):
    """Whether means and deviations can be those of one feature in one unit."""
    (mean, deviation), (other_mean, other_deviation) = moments, others
    smaller, larger = sorted([deviation, other_deviation])
    return larger > 8.0 * smaller or abs(mean - other_mean) > 8.0 * larger


def scalings(moments, *, common=False):
    """(mean, deviation) of each feature, or with one deviation that is common to all; None: it is constant."""
    means, variances = zip(*moments, strict=True)
    if common:
        variances = [sum(variances) / len(variances)] * len(variances)
    deviations = [math.sqrt(variance) for variance in variances]
    return [
        (mean, deviation) if deviation > 1e-12 * abs(mean) else None
        for mean, deviation in zip(means, deviations, strict=True)
    ]


def standardise(value, scaling, limit):
    if math.isnan(value) or scaling is None:
        return 0.0
    mean, deviation = scaling
    return clip((value - mean) / deviation, -limit, limit)


def minmax(row):
    """A row scaled to its own [0, 1]; a constant row is 1/2."""
    seen = [value for value in row if not math.isnan(value)]
    low, high = min(seen, default=0.0), max(seen, default=0.0)
    if high == low:
        return [math.nan if math.isnan(value) else 0.5 for value in row]
    return [(value - low) / (high - low) for value in row]


def fit_scaler(base_predictor, rows, weights, eps):
    """The scaler that knows these rows and no bounds."""
    moments = [weighted_moments(column, weights) for column in zip(*rows, strict=True)]
    return make_scaler(base_predictor, scalings(moments, common=base_predictor == "global") if rows else [], eps)


def has_statistics(base_predictor):
    return base_predictor not in ("minmax", "identity")


def make_scaler(base_predictor, scaling, eps):
    """Without eps x are means, not logits, and reach further than z."""

    def features(row, limit=4.0):
        return [standardise(value, of_feature, limit) for value, of_feature in zip(row, scaling, strict=True)]

    def given(values):
        return zero_missing(values) if eps is None else base_logits(values, eps)

    if base_predictor in ("standard", "global"):
        return lambda row: (features(row, 10.0 if eps is None else 4.0), features(row))
    if base_predictor == "minmax":
        return lambda row: (given(minmax(row)), zero_missing(row))
    if base_predictor == "identity":
        return lambda row: (given(row), zero_missing(row))
    return lambda row: (given(np.asarray(base_predictor(np.array([row])))[0].tolist()), features(row))


# The network


def is_event(t):
    """Rebuilds at 1, 2, 4, ..., 256, refreshes at 512, 1024, 2048, 4096, 6144, ..."""
    return t in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) or (t > 0 and t % 2048 == 0)


def is_merge_event(t):
    """Where rows alike are learned as one: each row up to 16, then eight times in each doubling."""
    return t <= 16 or t % (2 ** ((t - 1).bit_length() - 1) // 8) == 0


def is_short_event(t):
    """With a half-life: 512, 768, 1024, ..."""
    return t > 256 and t % 256 == 0


def regularised_inverse(vectors, weights, floor=0.0, ridge=1.0):
    """P = (M + ridge m I)^-1, M the weighted mean of u u^T, m the mean of its diagonal; None is the identity."""
    size, total = len(vectors[0]), sum(weights)
    mean = [
        [sum(q * u[row] * u[column] for u, q in zip(vectors, weights, strict=True)) / total for column in range(size)]
        for row in range(size)
    ]
    m = max(sum(mean[row][row] for row in range(size)) / size, floor)
    if m == 0.0:
        return None
    return np.linalg.inv(np.array(mean) + ridge * m * np.eye(size)).tolist()


def multiply(matrix, u):
    return u if matrix is None else [dot(row, u) for row in matrix]


@dataclass
class Row:
    """A row as it was given; its number counts from 1."""

    number: int
    features: list
    targets: list
    weight: float
    predicted: list  # what `aggregate` gave before it was learned
    epoch: int
    held_out: bool
    expanded: list  # its features, with indicators in place of categories
    evidence: list | None  # of each output, what was known of its levels when it came
    lesson: list | None = None  # in regression: what the targets counted as when it came
    correction: list | None = None  # and what the errors before said of it
    means: list | None = None  # of several rows alike: of what they teach, and their scatter about it
    scatter: list | None = None


@dataclass
class Layer:
    """One layer of one output. ``weights[j][c]`` is a list, ``below`` the inputs p of all rows learned."""

    normals: list
    offsets: list
    weights: list
    accumulator: list
    below: list
    matrix: list | None = None


@dataclass
class Trace:
    """What one layer of one output computed for a row; ``s`` is not clipped, ``logits`` are."""

    p: list
    contexts: list
    s: list
    logits: list
    evidence: list = field(default_factory=list)


class NaiveGLN:
    """A Gated Linear Network that learns row by row, with the clock, exactly as it is defined.

    ``draw(pool, layer, output, n_neurons) -> (normals, offsets)`` gives the halfspaces: the pool is the list of the
    side information of all rows so far, normals (n_neurons, context_dim, n_side), offsets (n_neurons, context_dim).
    ``shuffle(number, n)`` gives the order of n rows in a round of a replay of merged rows. ``learning_rate`` is
    "normalized" or a function of the row number, which counts from 1. ``categories`` is a ``NaiveCategories`` or,
    for wide rows, a ``NaiveWide``, or None.
    """

    loss = "log"
    linear_first = False  # whether the first layer has no halfspaces
    ridge = 1.0

    def __init__(
        self,
        n_outputs,
        draw,
        *,
        layer_sizes,
        context_dim=None,
        base_predictor="standard",
        bias=True,
        skip=True,
        learning_rate="normalized",
        learning_rate_init=8.0,
        label_smoothing=0.0,
        preconditioner="full",
        initial_weights="mean",
        aggregation="layers",
        eps=1e-4,
        max_weight=math.inf,
        batch_size=1,
        half_life=None,
        shuffle=None,
        n_bins=0,
        categories=None,
    ):
        self.categories = categories
        self.met = {}  # evidence of each visitor, as it met it first
        self.n_bins, self.edges = n_bins, None  # edges[feature] of its bins, [] where it has none
        self.half_life, self.shuffle = half_life, shuffle
        self.n_outputs, self.draw, self.context_dim = n_outputs, draw, context_dim
        self.layer_sizes = list(layer_sizes)
        if aggregation == "neuron" or not self.layer_sizes:
            self.layer_sizes.append(1)
        self.base_predictor, self.constants, self.skip = base_predictor, [1.0] * bias, skip
        self.learning_rate, self.learning_rate_init = learning_rate, learning_rate_init
        self.normalized = learning_rate == "normalized"
        self.smoothing = label_smoothing
        self.full = self.normalized and preconditioner == "full"
        self.initial_weights, self.aggregation = initial_weights, aggregation
        self.eps, self.max_logit = eps, math.log((1.0 - eps) / eps)
        self.max_weight, self.batch_size = max_weight, batch_size
        self.rows = []  # all rows learned, in order
        self.window = []  # of rows: up to row 256 all, then every eighth, and of these the last 256
        self.moment_bounds = None  # of each feature: what lies beyond counts in no moments
        self.counted = None  # of each feature: (value, weight, since when it counts) of what its moments are made of
        self.scaling = None  # of each feature: (mean, deviation) that it is scaled by, None while it is constant
        self.unit_changes = []  # numbers of rows after which a feature's unit was found to have changed
        self.base = []  # their base logits x, as each was scaled when it was learned
        self.learned = []  # (row, share of its weight): what the base logits are of
        self.unit_weight = 1.0  # that neurons learn once
        self.known = []  # what is predicted of all rows after a rebuild that merged some
        self.base_matrix = None  # P_x
        self.evidence, self.evidence_matrices = [], [None] * n_outputs  # of the rows learned, by output; and P of each
        self.outputs = None  # outputs[k][l] is a Layer; None before row 1

    @property
    def t(self):
        return len(self.rows)

    def logits(self, X):
        """The logits (n_outputs,) of each row, learning nothing."""
        return [self.predict(self.aggregate(self.forward(features))) for features in np.asarray(X, float).tolist()]

    def learn(self, X, targets, weights=None, *, epoch=1, held_out=False, visitors=None):
        """Learn rows in order; the logits (n_outputs,) of each row, made before it was learned.

        The epoch, and whether rows were held out from others, matter in regression. Visitors are known by their names:
        what was known of their levels at the first visit goes for all.
        """
        X, targets = np.asarray(X, dtype=float).tolist(), np.asarray(targets, dtype=float).tolist()
        weights = [1.0] * len(X) if weights is None else np.asarray(weights, dtype=float).tolist()
        logits, batch, visitors = [], [], [None] * len(X) if visitors is None else visitors
        for features, target, weight, visitor in zip(X, targets, weights, visitors, strict=True):
            evidence = self.met[visitor] if visitor in self.met else self.known_of_levels(features)
            computed = self.forward(features, evidence)
            aggregated = self.aggregate(computed)
            logits.append(self.predict(aggregated))
            if weight == 0.0:
                continue
            expanded = self.expand(features)
            row = Row(self.t + 1, features, target, weight, aggregated, epoch, held_out, expanded, evidence)
            self.rows.append(row)
            self.take_in(row)
            if self.categories is not None and visitor not in self.met:
                of_levels = [self.target_of_levels(row, output) for output in range(self.n_outputs)]
                self.categories.learn(features, of_levels, weight)
            if visitor is not None:
                self.met[visitor] = evidence
            batch.append((row, computed))
            at_event = self.is_event(self.t) or (is_merge_event(self.t) and self.merges())
            if len(batch) == self.batch_size or at_event:
                self.update(batch, 1.0 / self.unit_weight)
                batch = []
            if at_event:
                self.event()
        self.update(batch, 1.0 / self.unit_weight)
        return logits

    # Prediction

    def expand(self, features):
        return features if self.categories is None else self.categories.expand(features)

    def known_of_levels(self, features):
        return None if self.categories is None else self.categories.evidence(features)

    def evidence_inputs(self, output, evidence):
        return [] if evidence is None else self.categories.scaled(evidence[output], 1.0)

    def scale(self, features):
        """The base logits x, with the constant 1, and the side information z of a row."""
        x, z = self.base_inputs(features)
        return x + self.constants, z

    def base_inputs(self, features):
        """Scaled features, of wide rows none, and the side information."""
        x, z = self.scaler(self.expand(features))
        return [] if self.n_predictions else x, z

    def basis(self, features, z):
        """What the first layer sees besides: squares, and how far a feature has come through each of its bins."""
        if self.edges is None:
            return []
        pieces, n_numbers = [], len(z) - self.n_indicators
        for value, edges in zip(self.expand(features), self.edges, strict=True):
            for low, high in itertools.pairwise(edges):
                known = not math.isnan(value) and high > low
                pieces.append(clip((value - (low + high) / 2.0) / (high - low), -0.5, 0.5) if known else 0.0)
        return [value**2 for value in z[:n_numbers]] + pieces

    @property
    def n_indicators(self):
        return 0 if self.categories is None else len(self.categories.indicated)

    @property
    def n_predictions(self):
        """Of the evidence, those that predict the target by themselves; they come first."""
        return getattr(self.categories, "n_predictions", 0)

    def inputs(self, level, p, x, evidence):
        """What a layer sees: p, evidence and base logits; without skip, above the first layer p and the constant."""
        if level == 0:
            return evidence + p + x
        return p + evidence + x if self.skip else p + self.constants

    def output_of(self, w, u):
        return dot(w, u)

    def bound(self, output, s):
        return clip(s, -self.max_logit, self.max_logit)

    def forward(self, features, evidence=None):
        """The base logits of a row, and the Traces of all outputs and layers; None before row 1.

        Evidence is that of now if it is None.
        """
        if self.outputs is None:
            return None
        evidence = self.known_of_levels(features) if evidence is None else evidence
        x, z = self.scale(features)
        traces = []
        for output, layers in enumerate(self.outputs):
            traces.append([])
            p, e = self.basis(features, z), self.evidence_inputs(output, evidence)
            for level, layer in enumerate(layers):
                u = self.inputs(level, p, x, e)
                contexts = [
                    find_context(z, *halfspaces) for halfspaces in zip(layer.normals, layer.offsets, strict=True)
                ]
                s = [self.output_of(w[c], u) for w, c in zip(layer.weights, contexts, strict=True)]
                logits = [self.bound(output, value) for value in s]
                traces[-1].append(Trace(p, contexts, s, logits, e))
                p = logits
        return x, traces

    def aggregate(self, computed):
        if computed is None:
            return [0.0] * self.n_outputs
        means = [[sum(trace.logits) / len(trace.logits) for trace in layers] for layers in computed[1]]
        if self.aggregation == "layers":
            return [sum(layers) / len(layers) for layers in means]
        return [layers[-1] for layers in means]

    def predict(self, aggregated):
        return aggregated

    # Learning

    def target(self, row, output):
        return self.smoothing + (1.0 - 2.0 * self.smoothing) * row.targets[output]

    def target_of_levels(self, row, output):
        return row.targets[output]

    def damping(self, n_inputs):
        return 1.0 / math.sqrt(n_inputs)

    def lesson(self, row, output):
        return self.target(row, output) if row.means is None else row.means[output]

    def update(self, batch, share=1.0):
        """Learn rows that were all predicted from the same weights: steps that meet are summed, then clipped once.

        Of their weights this share counts.
        """
        if self.outputs is None:
            return
        steps, gains = {}, defaultdict(float)
        for row, (x, traces) in batch:
            self.base.append(x)
            self.evidence.append([layers[0].evidence for layers in traces])
            self.learned.append((row, share))
            for output, layers in enumerate(traces):
                for level, trace in enumerate(layers):
                    layer = self.outputs[output][level]
                    layer.below.append(trace.p)
                    if math.isnan(self.lesson(row, output)):
                        continue
                    u, v, rate, damping = self.step(row, level, layer, trace, x, self.evidence_matrices[output])
                    motion = dot(v, u)
                    for neuron, (c, s) in enumerate(zip(trace.contexts, trace.s, strict=True)):
                        g, added = repeat(
                            s,
                            motion,
                            self.lesson(row, output),
                            rate=rate,
                            repeats=share * row.weight,
                            accumulator=layer.accumulator[neuron][c],
                            loss=self.loss,
                            damping=damping,
                            limit=self.max_logit,
                        )
                        total = steps.setdefault((output, level, neuron, c), [0.0] * len(v))
                        total[:] = [step + g * value for step, value in zip(total, v, strict=True)]
                        gains[output, level, neuron, c] += added
        for (output, level, neuron, c), of_weights in steps.items():
            w = self.outputs[output][level].weights[neuron][c]
            for i, step in enumerate(of_weights):
                w[i] = clip(w[i] - step, -self.max_weight, self.max_weight)
        for (output, level, neuron, c), added in gains.items():
            self.outputs[output][level].accumulator[neuron][c] += added

    def step(self, row, level, layer, trace, x, evidence_matrix):
        """The inputs u of a layer, its direction v, rate and damping."""
        u = self.inputs(level, trace.p, x, trace.evidence)
        if not self.normalized:
            rate = self.learning_rate(row.number)
            return u, u, min(rate, 1.0 / dot(u, u)) if self.loss == "squared" and any(u) else rate, 0.0
        parts = (layer.matrix, trace.p), (self.base_matrix, x), (evidence_matrix, trace.evidence)
        v = self.inputs(level, *(multiply(*part) for part in parts))
        square = dot(u, v)
        rate = self.learning_rate_init / square if square > 0.0 else 0.0
        return u, v, rate, self.damping(len(u))

    # The clock

    def counts(self):
        """How much what was learned counts now: half as much for each half-life that it was forgotten by."""
        return [share * row.weight * self.share_kept(row.number) for row, share in self.learned]

    def share_kept(self, number):
        """Of what came with this row, or after it."""
        if self.half_life is None:
            return 1.0
        half_life = 4000.0 if self.half_life == "mixed" else self.half_life
        return 0.5 ** (256 * sum(self.forgets_at(t) for t in range(number, self.t)) / half_life)

    def base_counts(self):
        """As base inputs rows count a fiftieth from a change of a feature's unit on."""
        n_changes = [sum(row.number <= t for t in self.unit_changes) for row, _ in self.learned]
        return [q * 0.02**n for q, n in zip(self.counts(), n_changes, strict=True)]

    def is_event(self, t):
        return is_event(t) or (self.half_life is not None and is_short_event(t))

    def merges(self):
        """Where one of the first rows weighs more than 4, and rows are alike."""
        features = [tuple(row.features) for row in self.rows if row.epoch == 1 and not row.held_out]
        has_alike = len(set(map(repr, features))) < len(features)
        return self.t <= self.last_rebuild and has_alike and self.is_weighted

    @property
    def is_weighted(self):
        return any(row.weight > 4.0 for row in self.rows[:256])

    @property
    def last_rebuild(self):
        return 1024 if self.is_weighted else 256

    def forgets_at(self, t):
        """Not before the last rebuild, which would undo it."""
        return self.half_life is not None and is_short_event(t) and t >= self.last_rebuild

    def event(self):
        merges = is_merge_event(self.t) and self.merges()
        self.rebuild() if self.t <= 256 or merges else self.refresh()
        if merges:
            met = [row.evidence if self.n_predictions else None for row in self.rows]  # of levels that of now
            rows = zip(self.rows, met, strict=True)
            self.known = [self.aggregate(self.forward(row.features, evidence)) for row, evidence in rows]
        if merges and self.t == self.last_rebuild:  # from here on weights count as multiples of their mean
            self.learned = [(row, share / self.unit_weight) for row, share in self.learned]
            for layer in itertools.chain(*self.outputs):
                layer.accumulator = [[e2 / self.unit_weight for e2 in neuron] for neuron in layer.accumulator]
        if self.forgets_at(self.t):
            self.forget()

    def forget(self):
        """Energies and what is known of levels count less; `counts` has the rows' count less in all else."""
        if self.categories is not None:
            self.categories.forget()
        for layers in self.outputs:
            for layer in layers:
                of_neurons = [None, 50.0, None, 1000.0, None, None] if self.half_life == "mixed" else [self.half_life]
                layer.accumulator = [
                    [e2 if half_life is None else e2 * 0.5 ** (256 / half_life) for e2 in neuron]
                    for neuron, half_life in zip(layer.accumulator, itertools.cycle(of_neurons))
                ]

    def take_in(self, row):
        """What a row tells of features when it comes. Up to row 256 rebuilds see to that."""
        if row.number > 256 and has_statistics(self.base_predictor):
            for value, (low, high), counted in zip(row.expanded, self.moment_bounds, self.counted, strict=True):
                if low <= value <= high:
                    counted.append((value, row.weight, row.number))
            if row.number % 8 == 0:
                self.window = [*self.window, row][-256:]

    def moments(self, counted):
        """Mean and deviation of values, each of which counts since some row."""
        weights = [q * self.share_kept(since) for _, q, since in counted]
        return weighted_moments([value for value, _, _ in counted], weights)

    def restart_features(self):
        """All rows so far are the window, and nothing but the window counts."""
        for row in self.rows:
            row.expanded = self.expand(row.features)
        n = len(self.rows[0].expanded)
        self.window, self.scaling = list(self.rows), [None] * n
        self.moment_bounds, self.counted = [(-math.inf, math.inf)] * n, [[] for _ in range(n)]
        self.follow_features()
        if self.n_bins:
            n_numbers = n - self.n_indicators if self.t >= 32 else 0
            self.edges = [self.edges_of(i, self.n_bins, self.window) if i < n_numbers else [] for i in range(n)]
            self.edges = [edges if len(edges) > 2 else [] for edges in map(unique, self.edges)]

    def edges_of(self, i, n_bins, rows):
        """Quantiles of what is usual of a feature in some rows, the least and the largest included."""
        low, high = self.moment_bounds[i]
        values = sorted(clip(row.expanded[i], low, high) for row in rows if not math.isnan(row.expanded[i]))
        return [interpolate(values, share / n_bins) for share in range(n_bins + 1)] if values else []

    def follow_features(self):
        """Bounds from the window. A feature in another unit than before starts again from it, as one without values."""
        has_changed = False
        for i in range(len(self.scaling) if has_statistics(self.base_predictor) else 0):
            values = [row.expanded[i] for row in self.window]
            of_window = usual(values, [row.weight for row in self.window])
            if of_window.n_others > 0:
                self.moment_bounds[i] = of_window.median - of_window.reach, of_window.median + of_window.reach
            low, high = self.moment_bounds[i]
            recent = [(v, row.weight, self.t) for v, row in zip(values, self.window, strict=True) if low <= v <= high]
            (mean, variance), (last_mean, last_variance) = self.moments(recent), self.moments(self.counted[i])
            others = [(last_mean, math.sqrt(last_variance))]
            if self.scaling[i] is not None and self.base_predictor != "global":
                others.append(self.scaling[i])
            jumped = any(have_different_units((mean, math.sqrt(variance)), other) for other in others)
            if not self.counted[i] or (jumped and of_window.n_others >= 8):
                if self.scaling[i] is not None:
                    has_changed = True
                    if self.edges is not None and self.edges[i]:
                        self.edges[i] = self.edges_of(i, len(self.edges[i]) - 1, self.window[-64:])
                self.counted[i], self.scaling[i] = recent, None
        if has_changed:
            self.unit_changes.append(self.t)

    def fit_scaler(self, *, new_only=False):
        """Scale by what counts; with `new_only` only features that were constant until now, or whose unit changed."""
        if has_statistics(self.base_predictor):
            fitted = scalings(map(self.moments, self.counted), common=self.base_predictor == "global")
            pairs = zip(self.scaling, fitted, strict=True)
            self.scaling = [last if new_only and last is not None else new for last, new in pairs]
        self.scaler = make_scaler(self.base_predictor, self.scaling, self.eps)

    def set_base_matrix(self, base):
        if self.full and self.t >= 64 and base[0]:
            self.base_matrix = regularised_inverse(base, self.base_counts(), ridge=self.ridge)

    def set_basis_matrix(self, basis):
        """That of the first layers, which the other outputs share."""
        if self.full and self.t >= 64 and self.edges is not None:
            matrix = regularised_inverse(basis, self.base_counts())
            for layers in self.outputs:
                layers[0].matrix = matrix

    def set_evidence_matrices(self, evidence):
        if self.full and self.t >= 64 and self.categories is not None:
            by_output, counts = zip(*evidence, strict=True), self.base_counts()
            self.evidence_matrices = [
                regularised_inverse(of_output, counts, 0.1, self.ridge) for of_output in by_output
            ]

    def set_layer_matrices(self):
        self.set_evidence_matrices(self.evidence)
        self.set_basis_matrix(self.outputs[0][0].below)
        if self.full and self.t >= 64:
            for layers in self.outputs:
                for layer in layers[1:]:
                    layer.matrix = regularised_inverse(layer.below, self.counts(), 1.0, self.ridge)

    def rebuild(self):
        """A new network from all rows so far: its scaler, halfspaces and P_x first, then a replay, then P_p."""
        if self.t <= 256:
            if self.categories is not None:
                self.categories.choose_indicators()
            self.restart_features()
        self.fit_scaler()
        self.learned = [(row, 1.0) for row in self.rows]
        base, pool = map(list, zip(*(self.scale(row.features) for row in self.rows), strict=True))
        basis = [self.basis(row.features, z) for row, z in zip(self.rows, pool, strict=True)]
        evidence = [[self.evidence_inputs(k, row.evidence) for k in range(self.n_outputs)] for row in self.rows]
        self.set_base_matrix(base)
        sizes = len(base[0]), len(basis[0]), len(evidence[0][0])
        self.outputs = [
            [self.new_layer(pool, level, output, *sizes) for level in range(len(self.layer_sizes))]
            for output in range(self.n_outputs)
        ]
        self.set_evidence_matrices(evidence)
        self.set_basis_matrix(basis)
        self.base, self.evidence, self.learned = [], [], []
        self.replay_merged() if self.merges() else self.replay(self.rows)
        self.set_layer_matrices()

    def replay(self, rows, share=1.0):
        for first in range(0, len(rows), self.batch_size):
            batch = rows[first : first + self.batch_size]
            self.update([(row, self.forward(row.features, row.evidence)) for row in batch], share)

    def replay_merged(self):
        """Four rounds in random order, with rows alike as one; weights of a mean above 100 count in proportion."""
        rows = self.merged_rows()
        self.unit_weight = sum(row.weight for row in self.rows) / len(self.rows)
        unit = max(1.0, self.unit_weight / 100.0)
        if self.loss == "log":  # the energies of the single labels
            for row in rows:
                _, z = self.scale(row.features)
                for scatter, layers in zip(row.scatter, self.outputs, strict=True):
                    for layer in layers:
                        halfspaces = zip(layer.accumulator, layer.normals, layer.offsets, strict=True)
                        for accumulator, *of_neuron in halfspaces:
                            accumulator[find_context(z, *of_neuron)] += scatter / unit
        for number in range(4):
            self.replay([rows[place] for place in self.shuffle(number, len(rows))], 1.0 / (4.0 * unit))

    def merged_rows(self):
        """One for each row's features, of the weighted mean of its targets."""
        groups = defaultdict(list)
        for row in self.rows:
            groups[repr(row.features)].append(row)
        merged = []
        for rows in groups.values():
            total, means, scatter = sum(row.weight for row in rows), [], []
            for output in range(self.n_outputs):
                targets = [self.target(row, output) for row in rows]
                mean = sum(row.weight * target for row, target in zip(rows, targets, strict=True)) / total
                means.append(mean)
                raw = [row.targets[output] for row in rows]
                middle = sum(row.weight * target for row, target in zip(rows, raw, strict=True)) / total
                scatter.append(sum(row.weight * (y - middle) ** 2 for row, y in zip(rows, raw, strict=True)))
            merged.append(replace(rows[0], weight=total, means=means, scatter=scatter))
        return merged

    def refresh(self):
        """A new scaler, and at some events P_x and P_p; halfspaces and weights stay."""
        if self.t % 1024 == 0:
            self.follow_features()
        self.refresh_scaler()
        if is_event(self.t):
            self.set_base_matrix(self.base)
            self.set_layer_matrices()

    def refresh_scaler(self):
        """Only with a half-life does the scaling of a feature move after the last rebuild."""
        if self.t % 256 == 0:
            if self.categories is not None:
                self.categories.indicate()
            self.fit_scaler(new_only=self.half_life in (None, "mixed"))

    def new_layer(self, pool, level, output, n_base, n_basis, n_evidence):
        n_neurons = self.layer_sizes[level]
        normals, offsets = (np.asarray(array, dtype=float) for array in self.draw(pool, level, output, n_neurons))
        if self.linear_first and level == 0:  # no row is on the positive side
            normals, offsets = 0.0 * normals, 0.0 * offsets
        n_contexts = 2 ** offsets.shape[1]
        n_below = self.layer_sizes[level - 1] if level > 0 else 0
        p = [0.0] * (n_basis if level == 0 else 0)
        n_beside = len(self.inputs(level, p, [0.0] * n_base, [0.0] * n_evidence))
        w = self.initial(n_below, n_beside)
        if self.initial_weights == "mean" and level == 0:
            w[: self.n_predictions] = [1.0 / self.n_predictions] * self.n_predictions if self.n_predictions else []
        w = [min(value, self.max_weight) for value in w]
        return Layer(
            normals=normals.tolist(),
            offsets=offsets.tolist(),
            weights=[[list(w) for _ in range(n_contexts)] for _ in range(n_neurons)],
            accumulator=[[0.0] * n_contexts for _ in range(n_neurons)],
            below=[],
        )

    def initial(self, n_below, n_beside):
        """The weights that a neuron begins with, in all contexts."""
        if self.initial_weights == "mean":
            return [1.0 / max(n_below, 1)] * n_below + [0.0] * n_beside
        return [1.0 / (n_below + n_beside) if self.initial_weights == "uniform" else 0.0] * (n_below + n_beside)
