"""The textbook oracle of regression: what it does that `NaiveGLN` does not, again in scalars.

Neurons learn targets in units of their own; what is predicted for rows is kept in those of the targets throughout.
"""

import itertools
import math
from statistics import NormalDist

import numpy as np

from tests import naive_gaussian
from tests.naive import NaiveGLN, clip, dot, is_event, usual, weighted_moments


class NaiveRegressor(NaiveGLN):
    """Squared error. Predictions are (mean, variance) of each output, and `aggregate` gives (layers' means, variance).

    ``squares`` says whether neurons are given the squares of the inputs too.
    """

    loss = "squared"
    linear_first = True
    ridge = 0.3
    min_mean_square = 1e-12

    def __init__(self, n_outputs, draw, *, layer_sizes, squares=False, aggregation="stacked", **options):
        super().__init__(n_outputs, draw, layer_sizes=[1, *layer_sizes], aggregation=aggregation, **options)
        self.squares, self.eps, self.max_logit = squares, None, math.inf
        self.units = [(0.0, 1.0)] * n_outputs  # what is 0 and what is 1 to the neurons
        self.has_unit = [False] * n_outputs  # whether these are of targets
        self.limits = None  # of neurons' outputs
        self.reach = [1e12] * n_outputs  # of targets, in these units: one further off counts the less the further
        self.largest = [0.0] * n_outputs  # of targets, likewise
        self.last_targets = []  # (targets, weight) of up to 256 rows
        self.surplus = [1.0] * n_outputs  # of errors since the last fit, over what they count
        self.seen = None  # seen[output]: contexts, outputs and target of the last layer, for all rows learned
        self.mean_square, self.log_ratio = None, None  # [output] and [output][neuron][context]
        n_layers = len(self.layer_sizes)
        counted = [aggregation in ("stacked", "layers") or level == n_layers - 1 for level in range(n_layers)]
        self.stack = [[float(counts) / sum(counted) for counts in counted] for _ in range(n_outputs)]
        self.products = [np.zeros((n_layers, n_layers)) for _ in range(n_outputs)]
        self.calibrated = True
        self.calibration = [np.array([0.0, 1.0]) for _ in range(n_outputs)]
        self.information = [np.zeros((2, 2)) for _ in range(n_outputs)]
        self.scores = [[] for _ in range(n_outputs)]
        self.recent = [Recent() for _ in range(n_outputs)]
        self.fitted = 0  # rows that the stack knows
        self.varied = [False] * n_outputs  # whether the target had by the last event

    # Prediction

    def scale(self, features):
        x, z = self.base_inputs(features)
        return x + [0.2 * clip(value, -4.0, 4.0) ** 2 for value in x] * self.squares + self.constants, z

    def evidence_inputs(self, output, evidence):
        return [] if evidence is None else self.categories.scaled(evidence[output], self.units[output][1])

    def bound(self, output, s):
        return clip(s, -self.limits[output], self.limits[output])

    def aggregate(self, computed):
        """As (means of the layers, variance) of each output, in the units of the targets."""
        aggregated = []
        for output, (centre, unit) in enumerate(self.units):
            means, variance = [0.0] * len(self.layer_sizes), 1.0
            if computed is not None:
                layers = computed[1][output]
                means, variance = [self.layer_mean(trace) for trace in layers], self.variance(output, layers[-1])
            aggregated.append(([centre + unit * mean for mean in means], unit**2 * variance))
        return aggregated

    def layer_mean(self, trace):
        return sum(trace.logits) / len(trace.logits)

    def variance(self, output, trace):
        mean, n = self.layer_mean(trace), len(trace.logits)
        noise = sum(ratios[c] for ratios, c in zip(self.log_ratio[output], trace.contexts, strict=True)) / n
        disagreement = sum((value - mean) ** 2 for value in trace.logits) / n
        return self.mean_square[output] * math.exp(noise) + disagreement

    def predict(self, aggregated):
        """The stack of the layers, and the variance calibrated."""
        predictions = []
        for output, (means, variance) in enumerate(aggregated):
            unit, calibrated = self.units[output][1], math.exp(self.log_variance(output, variance))
            offset, factor, spread = self.recent[output].correction() if self.half_life == "mixed" else UNCORRECTED
            mean = dot(self.stack[output], means) + unit * offset
            is_late = self.last_targets and not self.has_unit[output]
            predictions.append((mean, math.inf if is_late else unit**2 * (factor * calibrated + spread)))
        return predictions

    def log_variance(self, output, variance):
        """The calibrated ln variance, in the network's unit, of a variance in the target's."""
        return self.calibration[output] @ [1.0, math.log(variance / self.units[output][1] ** 2)]

    # Learning

    def learn(self, X, targets, weights=None, *, epoch=1, held_out=False, visitors=None):
        """Rows held out from all epochs are the last, and teach the stack afresh, all at once."""
        if epoch > 1 or held_out:
            self.fit_stacks()
        if held_out:
            for output in range(self.n_outputs):
                self.products[output] = 0.0 * self.products[output]
                self.information[output] = 0.0 * self.information[output]
                self.scores[output] = []
                self.recent[output] = Recent()
        predictions = super().learn(X, targets, weights, epoch=epoch, held_out=held_out, visitors=visitors)
        if held_out:
            self.fit_stacks()
        return predictions

    def target(self, row, output):
        return self.standardise(row.targets[output], output)

    def standardise(self, target, output):
        if not self.has_unit[output]:
            return math.nan
        centre, unit = self.units[output]
        standardised = clip((target - centre) / unit, -1e12, 1e12)
        return standardised / max(abs(standardised) / self.reach[output], 1.0) ** 3

    def target_of_levels(self, row, output):
        return row.lesson[output] if self.has_unit[output] else row.targets[output]

    def take_in(self, row):
        """In later epochs targets tell nothing new."""
        super().take_in(row)
        row.lesson = []
        for output, (centre, unit) in enumerate(self.units):
            standardised = self.target(row, output)
            row.lesson.append(centre + unit * standardised)
            if row.epoch == 1 and not math.isnan(standardised):
                self.largest[output] = max(self.largest[output], abs(standardised))
        if row.epoch == 1:
            row.correction = [UNCORRECTED] * self.n_outputs
            if self.half_life == "mixed":
                row.correction = [recent.correction() for recent in self.recent]
                self.remember(row)
            row.correction = [
                (unit * offset, factor, unit**2 * spread)  # in the target's unit, which stays
                for (offset, factor, spread), (_, unit) in zip(row.correction, self.units, strict=True)
            ]
            self.last_targets = [*self.last_targets, (row.targets, row.weight)][-256:]

    def remember(self, row):
        for output, (means, variance) in enumerate(row.predicted):
            error = (row.lesson[output] - dot(self.stack[output], means)) / self.units[output][1]
            v = math.exp(self.log_variance(output, variance))
            if math.isnan(error):
                continue
            self.recent[output].learn(error, v, min(row.weight, 1.0) * self.varied[output])

    def follow_targets(self):
        """The reach of targets, from the last ones, and with it the limits of what is predicted."""
        weights = [q for _, q in self.last_targets]
        for output, (centre, unit) in enumerate(self.units):
            values = [targets[output] for targets, _ in self.last_targets]
            of_window = usual(values, weights, of_targets=True)
            if of_window.n_others > 0:
                reach = (abs(of_window.median - centre) + of_window.reach) / unit
                if self.varied[output]:
                    reach = max(reach, self.reach[output] / 2)
                self.reach[output] = clip(reach, 16.0, 1e12)
            for value in values:
                standardised = self.standardise(value, output)
                if not math.isnan(standardised):
                    self.largest[output] = max(self.largest[output], abs(standardised))
        self.limits = [3.0 * max(1.5, value) for value in self.largest]

    def damping(self, n_inputs):
        return self.learning_rate_init / n_inputs

    def update(self, batch, share=1.0):
        super().update(batch, share)
        for row, computed in batch if self.outputs is not None else []:
            for output, layers in enumerate(computed[1]):
                self.seen[output].append((row, layers[-1].contexts, layers[-1].logits, self.lesson(row, output)))

    # The clock

    def is_event(self, t):
        """From 256 to 1024 every 64 rows, then every 256."""
        return is_event(t) or (t > 256 and t % (64 if t <= 1024 else 256) == 0)

    def event(self):
        super().event()
        if self.rows[-1].held_out:
            self.known = []
        else:
            self.fit_stacks()

    def rebuild(self):
        self.last_targets = [(row.targets, row.weight) for row in self.rows]
        for output in range(self.n_outputs):
            self.set_unit(output)
        self.largest = [0.0] * self.n_outputs
        self.reach = [16.0 if varied else 1e12 for varied in self.varied]
        self.follow_targets()
        self.last_targets = self.last_targets[-256:]
        self.seen = [[] for _ in range(self.n_outputs)]
        self.mean_square, self.log_ratio = [None] * self.n_outputs, [None] * self.n_outputs
        super().rebuild()
        self.refresh_spread()

    def set_unit(self, output):
        """Mean and deviation of the targets that are not wild."""
        values = [row.targets[output] for row in self.rows]
        self.has_unit[output] = not all(map(math.isnan, values))
        of_all = usual(values, [row.weight for row in self.rows], of_targets=True)
        farthest = of_all.reach if of_all.n_others > 0 else math.inf
        counted = [row for row in self.rows if abs(row.targets[output] - of_all.median) <= farthest]
        mean, variance = weighted_moments([row.targets[output] for row in counted], [row.weight for row in counted])
        unit = math.sqrt(variance)
        if unit <= 1e-15 * abs(mean):  # all the same
            unit = abs(mean) or 1.0
        before, surplus = self.units[output][1], 1.0
        if self.varied[output] and before > 8.0 * unit:  # a wild target made up the unit: errors are no larger for that
            surplus = before / (8.0 * unit)
            self.products[output] = self.products[output] / surplus**2
            self.surplus[output] *= surplus
        self.units[output] = mean, unit
        in_new_unit = before / unit / surplus
        self.recent[output].errors = [in_new_unit * error for error in self.recent[output].errors]

    def refresh(self):
        self.follow_targets()
        super().refresh()
        self.refresh_spread()

    def set_layer_matrices(self):
        """With them the first neuron becomes the ridge regression of all rows so far."""
        super().set_layer_matrices()
        if self.full and self.t >= 64:
            q = np.array(self.base_counts())
            for output, layers in enumerate(self.outputs):
                u = np.array([e[output] + x for e, x in zip(self.evidence, self.base, strict=True)])
                pull = [5.0] * (u.shape[1] - len(self.constants)) + [5e-6] * len(self.constants)
                y = np.array([target for *_, target in self.seen[output]])
                known = np.flatnonzero(~np.isnan(y))
                products = u[known].T * q[known]
                solution = np.linalg.solve(products @ u[known] + np.diag(pull), products @ y[known])
                solution = np.clip(solution, -self.max_weight, self.max_weight)
                layers[0].weights = [[solution.tolist() for _ in neuron] for neuron in layers[0].weights]

    def refresh_spread(self):
        """How far off each slot of the last layer was: r / v, with two samples that were off as all were."""
        counts = self.counts()
        for output, layers in enumerate(self.outputs):
            errors, weight = ([[0.0] * len(neuron) for neuron in layers[-1].weights] for _ in range(2))
            for (row, contexts, predicted, target), q in zip(self.seen[output], counts, strict=True):
                if row.epoch > 1 or row.held_out:  # of a network that may have seen the row, or too good to be compared
                    continue
                if math.isnan(target):
                    continue
                for neuron, (c, value) in enumerate(zip(contexts, predicted, strict=True)):
                    errors[neuron][c] += q * (value - target) ** 2
                    weight[neuron][c] += q
            total = sum(map(sum, weight))
            v = max(sum(map(sum, errors)) / total, self.min_mean_square) if total else 1.0
            self.mean_square[output] = v
            self.log_ratio[output] = [
                [math.log((e + 2.0 * v) / (n + 2.0) / v) for e, n in zip(*neuron, strict=True)]
                for neuron in zip(errors, weight, strict=True)
            ]

    def fit_stacks(self):
        """From the rows since the last fit that had not been learned before they were predicted.

        Where rows are merged, what weights are in excess of 1 counts for what is predicted afterwards, from all rows.
        """
        rows, self.fitted = [row for row in self.rows[self.fitted :] if row.epoch == 1], self.t
        known, self.known = self.known, []
        for output in range(self.n_outputs):
            had_varied = self.varied[output]
            surplus, most = self.surplus[output], 1.0 if known else math.inf
            lessons = []  # weight, residuals of the layers, variance, correction
            for row in rows:
                if math.isnan(row.lesson[output]):
                    continue
                means, variance = row.predicted[output]
                residuals = [(mean - row.lesson[output]) / surplus for mean in means]
                offset, factor, spread = row.correction[output]
                correction = offset / surplus, factor, spread / surplus**2
                lessons.append((min(row.weight, most), residuals, variance / surplus**2, correction))
            if known:
                self.recent[output] = NoRecent()
                self.products[output], self.information[output] = 0.0 * self.products[output], np.zeros((2, 2))
                for place, row in enumerate(self.rows):
                    if row.weight > 1.0 and not math.isnan(row.targets[output]):
                        lessons.append((row.weight - 1.0, *self.errors(row, output, known[place]), UNCORRECTED))
            if lessons and had_varied:
                self.fit_stack(output, lessons)
            targets = [row.targets[output] for row in self.rows if not math.isnan(row.targets[output])]
            self.varied[output] = any(target != targets[0] for target in targets)
            if rows and not self.varied[output]:  # another value is expected with a chance of 1 / (1 + n)
                n_alike = sum(row.weight for row in self.rows if row.epoch == 1 and not math.isnan(row.targets[output]))
                self.calibration[output] = np.array([-math.log(1.0 + n_alike), 0.0])
            elif self.varied[output] and not had_varied:
                self.calibration[output] = np.array([0.0, 1.0])
            self.surplus[output] = 1.0

    def errors(self, row, output, predicted):
        """Residuals of the layers, and variance."""
        centre, unit = self.units[output]
        means, variance = predicted[output]
        return [mean - centre - unit * self.target(row, output) for mean in means], variance

    def fit_stack(self, output, lessons):
        """What earlier rows said counts half as much."""
        unit = self.units[output][1]
        weights, residuals, variances, corrections = zip(*lessons, strict=True)
        products = self.products[output] / 2.0
        for q, r in zip(weights, residuals, strict=True):
            products += [[q * left * right for right in r] for left in r]
        self.products[output] = products
        if self.aggregation == "stacked":
            self.stack[output] = least_on_simplex(products, self.stack[output])
        errors = [(dot(self.stack[output], r) / unit) ** 2 for r in residuals]
        logs = [math.log(variance / unit**2) for variance in variances]
        if self.calibrated:
            known = self.information[output] / 2.0
            fitted, information = calibrate(logs, errors, weights, self.calibration[output], known)
            self.calibration[output], self.information[output] = fitted, known + information
        for r, variance, (offset, factor, spread) in zip(residuals, variances, corrections, strict=True):
            v = math.exp(self.log_variance(output, variance)) * factor + spread / unit**2
            self.scores[output].append(-(dot(self.stack[output], r) + offset) / unit / math.sqrt(v))
        self.scores[output] = self.scores[output][-1024:]


def quantile(scores, level):
    """Of the scores' mixture with a Gaussian that counts for twenty, linear between scores and multiples of 0.1."""
    n, gaussian, last = len(scores), NormalDist(), None
    if not scores:
        return gaussian.inv_cdf(level)
    for value in sorted([*scores, *(step / 10 for step in range(-80, 81))]):
        share = (n * share_below(value, scores) + 20.0 * gaussian.cdf(value)) / (n + 20.0)
        if level <= share:
            return value if last is None else last[0] + (value - last[0]) * (level - last[1]) / (share - last[1])
        last = value, share
    return last[0]


def share_below(value, scores):
    """i / (n + 1) at the i-th of n scores, linear between them, 0 and 1 beyond them."""
    scores, n = sorted(scores), len(scores)
    if value < scores[0]:
        return 0.0
    if value > scores[-1]:
        return 1.0
    i = max(i for i in range(n) if scores[i] <= value)
    beyond = (value - scores[i]) / (scores[i + 1] - scores[i]) if value > scores[i] else 0.0
    return (i + 1.0 + beyond) / (n + 1.0)


UNCORRECTED = 0.0, 1.0, 0.0


class Recent:
    """What the last errors say of the next one, by hypotheses: (memory, whether the mean is off too)."""

    hypotheses = ((None, False), (4.0, False), (64.0, False), (4.0, True), (64.0, True))

    def __init__(self):
        self.errors, self.counts, self.squares, self.evidence = ([0.0] * len(self.hypotheses) for _ in range(4))

    def guesses(self):
        """The offset and the factor of each."""
        sums = zip(self.hypotheses, self.errors, self.counts, self.squares, strict=True)
        return [
            (e / (2.0 + n) if is_off else 0.0, 1.0 if h is None else (4.0 + square) / (4.0 + n))
            for (h, is_off), e, n, square in sums
        ]

    def correction(self):
        shares = [math.exp(value - max(self.evidence)) for value in self.evidence]
        offsets, factors = zip(*self.guesses(), strict=True)
        offset = dot(shares, offsets) / sum(shares)
        spread = dot(shares, [(o - offset) ** 2 for o in offsets]) / sum(shares)
        return offset, dot(shares, factors) / sum(shares), spread

    def learn(self, error, v, q):
        guesses = self.guesses()
        squares = [min((error - offset) ** 2 / v, 1e6) for offset, _ in guesses]
        losses = [(math.log(f) + z2 / f) / 2.0 for z2, (_, f) in zip(squares, guesses, strict=True)]
        for i, (h, _) in enumerate(self.hypotheses):
            self.evidence[i] = self.evidence[i] * 0.5 ** (1 / 50) - q * min(losses[i] - min(losses), 3.0)
            if h is not None:
                kept = 0.5 ** (1 / h)
                self.errors[i] = kept * self.errors[i] + q * error
                self.counts[i] = kept * self.counts[i] + q
                self.squares[i] = kept * self.squares[i] + q * squares[i]


class NoRecent:
    """Where samples alike are learned as one their order means nothing."""

    errors = ()

    def correction(self):
        return UNCORRECTED

    def learn(self, error, v, q):
        pass


def least_on_simplex(products, before):
    """The w >= 0 of sum 1 with the least w' C w, where C are the products and a ridge of 0.05 of their mean square.

    Of each subset of weights that the others leave above 0 the least is known; the least of all is the solution.
    """
    n = len(products)
    mean_square = float(np.trace(products)) / n
    if mean_square == 0.0:
        return before
    matrix = products / mean_square + 0.05 * np.eye(n)
    candidates = []
    for size in range(1, n + 1):
        for chosen in map(list, itertools.combinations(range(n), size)):
            inner = np.linalg.solve(matrix[np.ix_(chosen, chosen)], np.ones(size))
            if inner.min() > 0.0:
                w = np.zeros(n)
                w[chosen] = inner / inner.sum()
                candidates.append((float(w @ matrix @ w), w.tolist()))
    return min(candidates)[1]


def calibrate(logs, errors, weights, centre, known):
    """(a, b) of least sum of q (l + e / exp(l)) / 2 with l = a + b log, by Newton's method, and the sum's curvature.

    What is known, and a small constant, hold (a, b) to the centre; b is not negative.
    """
    precision = known + np.diag([1.0, 20.0])

    def derivatives(at):
        pull = at - centre
        loss, gradient, curvature = pull @ precision @ pull / 2.0, precision @ pull, np.zeros((2, 2))
        for log, e, q in zip(logs, errors, weights, strict=True):
            u, value = np.array([1.0, log]), at[0] + at[1] * log
            ratio = e / math.exp(value)
            loss += q * (value + ratio) / 2.0
            gradient = gradient + q * (1.0 - ratio) / 2.0 * u
            curvature += q * ratio / 2.0 * np.outer(u, u)
        return loss, gradient, curvature

    at, free = centre, [0, 1]
    for _ in range(200):
        loss, gradient, curvature = derivatives(at)
        step = np.zeros(2)
        step[free] = -np.linalg.solve((curvature + precision)[np.ix_(free, free)], gradient[free])
        while derivatives(at + step)[0] > loss + 1e-12 * abs(loss):  # within rounding
            step = step / 2.0
        at = at + step
        if np.abs(step).max() < 1e-13:
            if at[1] >= 0.0:
                break
            at, free = np.array([at[0], 0.0]), [0]
    return at, derivatives(at)[2]


class NaiveGaussianRegressor(NaiveRegressor):
    """Gaussian neurons: inputs and outputs are pairs (mean, variance), accumulators count repeats."""

    bounds = {"min_variance": 1e-4, "max_variance": 10.0}

    def __init__(self, n_outputs, draw, *, bias=True, max_weight=10.0, **options):
        super().__init__(n_outputs, draw, max_weight=max_weight, **options)
        self.full, self.calibrated = False, self.aggregation == "stacked"
        self.constants = [(-4.0, 2.0), (4.0, 2.0)] * bias

    def scale(self, features):
        x, z = self.base_inputs(features)
        stretch = 1.5 * math.sqrt(len(x))
        return [(sign * stretch * value, 2.0) for sign in (1.0, -1.0) for value in x] + self.constants, z

    def evidence_inputs(self, output, evidence):
        return [(value, 2.0) for value in super().evidence_inputs(output, evidence)]

    def output_of(self, w, u):
        return naive_gaussian.predict(w, u, **self.bounds)

    def bound(self, output, s):
        return s

    def layer_mean(self, trace):
        return sum(m for m, _ in trace.logits) / len(trace.logits)

    def variance(self, output, trace):
        """That of the neurons' equal mixture."""
        mean = self.layer_mean(trace)
        return sum(v + (m - mean) ** 2 for m, v in trace.logits) / len(trace.logits)

    def initial(self, n_below, n_beside):
        if self.initial_weights == "mean" and not n_below:
            return [2.0 / n_beside] * n_beside
        return super().initial(n_below, n_beside)

    def update(self, batch, share=1.0):
        for row, (x, traces) in batch if self.outputs is not None else []:
            for output, layers in enumerate(traces):
                if math.isnan(self.lesson(row, output)):
                    continue
                for level, trace in enumerate(layers):
                    layer, u = self.outputs[output][level], self.inputs(level, trace.p, x, trace.evidence)
                    for neuron, c in enumerate(trace.contexts):
                        layer.weights[neuron][c] = naive_gaussian.repeat(
                            layer.weights[neuron][c],
                            u,
                            self.lesson(row, output),
                            rate=self.learning_rate_init if self.normalized else self.learning_rate(row.number),
                            repeats=share * row.weight,
                            count=layer.accumulator[neuron][c],
                            normalized=self.normalized,
                            damping=0.5 / len(u) if self.normalized else 0.0,
                            max_error=3.0,
                            max_weight=self.max_weight,
                            **self.bounds,
                        )
                        layer.accumulator[neuron][c] += share * row.weight

    def refresh_spread(self):
        pass  # neurons know their variances
