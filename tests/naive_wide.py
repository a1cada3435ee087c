"""The oracle of wide rows: linear models over columns, which are kept in dicts, and the sketch that gates."""

import math
from collections import defaultdict

from tests.naive import clip, sigmoid
from tests.naive_categories import NaiveCategories

VARIANCES = 3.0, 0.3  # of weights whose column has a mean square of 1
CONSTANT = "constant"  # the place of its weight among those of columns
FAR = 8.0  # root mean squares of a column: a value further off counts as if it were there
N_SKETCHED = 64
MASK = 2**64 - 1


def is_there(value):
    return not math.isnan(value) and abs(value) > 1e-100


class NaiveWide:
    """What is known of columns, to predict targets that are classes or real numbers, in `NaiveGLN` as categories are.

    A row is a list of all values, in which 0 and NaN are absent, or a dict of those that are there.
    """

    indicated = ()

    def __init__(self, n_outputs, half_life, *, real):
        self.n_outputs, self.real = n_outputs, real
        half_lives = [None, 500.0] if half_life == "mixed" else [half_life]
        self.kept = [1.0 if h is None else 0.5 ** (256 / h) for h in half_lives]
        self.models = [(v, memory) for v in VARIANCES for memory in range(len(self.kept))]
        self.weights, self.precision = (  # of each output and model: w and q by column
            [[defaultdict(float) for _ in self.models] for _ in range(n_outputs)] for _ in range(2)
        )
        self.squares, self.counts = defaultdict(float), defaultdict(float)  # of each column that has come

    @property
    def n_predictions(self):
        return len(self.models)

    def values_of(self, row):
        """What the models take of a row, the constant included: values that are far out are drawn in."""
        items = row.items() if isinstance(row, dict) else enumerate(row)
        values = {CONSTANT: 1.0}
        for column, value in items:
            if is_there(value):
                reach = FAR * math.sqrt(self.mean_square(column, value))
                values[column] = clip(value, -reach, reach)
        return values

    def mean_square(self, column, value):
        """Of the values before, or of the first one if there are none."""
        return self.squares[column] / self.counts[column] if self.counts[column] else value**2

    def variances_of(self, output, model, row, values):
        """The variance s of each weight that the row meets."""
        variances, prior = {}, self.models[model][0]
        for column in values:
            if column == CONSTANT:
                precision = 1e-9 if self.real else 0.25
            else:
                precision = self.mean_square(column, row[column]) / prior
            variances[column] = 1.0 / (precision + self.precision[output][model][column])
        return variances

    def sums(self, output, model, row):
        """The shift z, without the constant's, and its variance u."""
        values, weights = self.values_of(row), self.weights[output][model]
        variances = self.variances_of(output, model, row, values)
        shift = sum(weights[column] * x for column, x in values.items() if column != CONSTANT)
        return shift, sum(variances[column] * x**2 for column, x in values.items())

    def evidence(self, row):
        """Of each output the shifts of the models, and how sure they are."""
        evidence = []
        for output in range(self.n_outputs):
            shifts, sureness = [], []
            for model in range(len(self.models)):
                z, u = self.sums(output, model, row)
                shifts.append(z)
                sureness.append(1.0 / math.sqrt(1.0 + u))
            evidence.append((shifts, sureness))
        return evidence

    def learn(self, row, targets, weight):
        if weight == 0.0:
            return
        values = self.values_of(row)
        for output, target in enumerate(targets):
            for model in range(len(self.models)):
                if not math.isnan(target):
                    self.learn_one(output, model, row, values, target, weight)
        for column, x in values.items():
            if column != CONSTANT:
                self.squares[column] += weight * x**2
                self.counts[column] += weight

    def learn_one(self, output, model, row, values, target, weight):
        """One step of an extended Kalman filter whose covariance is kept diagonal."""
        weights, precision = self.weights[output][model], self.precision[output][model]
        variances = self.variances_of(output, model, row, values)
        z = sum(weights[column] * x for column, x in values.items())
        u = sum(variances[column] * x**2 for column, x in values.items())
        curvature = bound = 1.0
        error = z - target
        if not self.real:
            z = clip(z, -30.0, 30.0)
            p = sigmoid(z)
            error, curvature = p - target, p * (1.0 - p)
            bound = math.tanh(z / 2.0) / (2.0 * z) if abs(z) > 1e-9 else 0.25
        for column, x in values.items():
            others = sum(variances[other] * value**2 for other, value in values.items() if other != column)
            weights[column] -= variances[column] * x * weight * error / (1.0 + weight * bound * u)
            precision[column] += weight * curvature * x**2 / (1.0 + weight * curvature * others)

    def forget(self):
        """All rows so far tell less of weights, which stay."""
        for of_output in self.precision:
            for (_, memory), precision in zip(self.models, of_output, strict=True):
                for column in precision:
                    precision[column] *= self.kept[memory]

    # The sketch

    def expand(self, row):
        """Signed sums of compressed values, in places by columns' hashes."""
        sketch = [0.0] * N_SKETCHED
        for column, value in row.items() if isinstance(row, dict) else enumerate(row):
            if is_there(value):
                hashed = hash_of(column)
                sketch[hashed % N_SKETCHED] += math.asinh(value) * (-1.0 if hashed >> 63 else 1.0)
        return sketch

    def choose_indicators(self):
        pass

    indicate = choose_indicators
    scaled = NaiveCategories.scaled


def hash_of(number):
    """The finalizer of MurmurHash3, of 64 bits."""
    number = ((number ^ (number >> 33)) * 0xFF51AFD7ED558CCD) & MASK
    number = ((number ^ (number >> 33)) * 0xC4CEB9FE1A85EC53) & MASK
    return number ^ (number >> 33)
