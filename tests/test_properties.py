"""Both estimators with random parameters, on random streams, through random calls.

In a test run a few examples, always the same. By hand thousands of others, and the number of each test's::

    python -m pytest tests/test_properties.py --hypothesis-profile=long --hypothesis-show-statistics

Streams also move to the frameworks that SKLEARN_GLN_BACKENDS names, as in ``SKLEARN_GLN_BACKENDS=numpy,numba,torch``.
"""

import copy
import pickle
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.base import BaseEstimator, clone, is_classifier

from sklearn_gln import GLNClassifier, GLNRegressor
from tests.helpers import FRAMEWORKS, INTERPRETED, NAMES, assert_same_object

pytestmark = pytest.mark.filterwarnings("ignore:sample_weight holds")

FAST = ["numpy"] if INTERPRETED or "numba" not in NAMES else ["numpy", "numba"]
BACKENDS = list(dict.fromkeys([*FAST, *NAMES]))


# Estimators


def squash(X):
    """Base probabilities, or base means, of the features and of their sum."""
    X = expit(np.nan_to_num(X))
    return np.column_stack([X, X.mean(axis=1)])


def decaying(t):
    return 0.01 / np.sqrt(t)


FUNCTIONS = [f"{__name__}.{function.__name__}" for function in (squash, decaying)]  # what `load` is to trust

COMMON = {
    "layer_sizes": st.lists(st.integers(1, 4), max_size=3).map(tuple) | st.just(np.array([3, 2])),
    "context_dim": st.integers(0, 4),
    "halfspaces": st.sampled_from(["cuts", "gaussian", "raw_gaussian"]),
    "offset_scale": st.none() | st.floats(0, 3),
    "share_halfspaces": st.booleans(),
    "categorical_features": st.sampled_from(["from_dtype", None]) | st.sets(st.integers(0, 4), max_size=3).map(sorted),
    "max_levels": st.sampled_from([1, 7, 2**20]),
    "max_dense": st.sampled_from([1024, 1024, 1]),
    "bias": st.booleans(),
    "skip": st.booleans(),
    "learning_rate": st.sampled_from(["normalized", "normalized", "constant", "inverse", "hyperbolic", decaying]),
    "learning_rate_init": st.none() | st.floats(1e-3, 4),
    "preconditioner": st.sampled_from(["auto", "full", "block", None]),
    "initial_weights": st.sampled_from(["mean", "uniform", "zero"]),
    "aggregation": st.sampled_from(["stacked", "layers", "last_layer", "neuron"]),
    "max_weight": st.none() | st.floats(0.01, 200),
    "batch_size": st.sampled_from([1, 1, 1, 2, 7, 1000]),
    "half_life": st.none() | st.just("mixed") | st.floats(1, 5000),
    "max_iter": st.integers(1, 4),
    "shuffle": st.booleans(),
    "warm_start": st.booleans(),
    "early_stopping": st.booleans(),
    "validation_fraction": st.floats(0.1, 0.5),
    "n_iter_no_change": st.integers(1, 3),
    "tol": st.floats(0, 0.1),
    "dtype": st.sampled_from(["float64", "float64", np.float64, "float32", np.float32]),
    "backend": st.sampled_from(FAST),
    "device": st.sampled_from([None, "cpu"]),
    "n_jobs": st.sampled_from([None, 1, 2]),
    "random_state": st.integers(0, 2**32 - 1) | st.builds(np.random.RandomState, st.integers(0, 9)),
    "verbose": st.booleans(),
}
PARAMETERS = {
    GLNClassifier: {
        **COMMON,
        "base_predictor": st.sampled_from(["standard", "standard", "global", "minmax", "identity", squash]),
        "n_bins": st.sampled_from(["auto", "auto", 0, 1, 3]),
        "label_smoothing": st.none() | st.floats(0, 0.4),
        "eps": st.sampled_from([1e-12, 1e-4, 0.01, 0.4]),
        "class_weight": st.sampled_from([None, None, "balanced", dict]),  # a dict of the labels that there are
        "new_classes": st.sampled_from(["error", "error", "add"]),
    },
    GLNRegressor: {
        **COMMON,
        "base_predictor": st.sampled_from(["standard", "standard", "global", "identity", squash]),
        "likelihood": st.sampled_from(["squared", "squared", "gaussian"]),
        "squares": st.sampled_from(["auto", True, False]),
    },
}
ESTIMATORS = list(PARAMETERS)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_parameter_is_drawn(estimator):
    assert PARAMETERS[estimator].keys() == estimator().get_params().keys()


def without_contradictions(params):
    """Parameters of which none is refused because of another."""
    params = dict(params)
    if params["learning_rate"] != "normalized":
        params["preconditioner"] = params["preconditioner"] and "auto"
    if params["learning_rate"] == "normalized" or params.get("likelihood") == "gaussian":
        params["batch_size"] = 1
    if params.get("n_bins") and params["base_predictor"] not in ("standard", "global"):
        params["n_bins"] = "auto"
    if params.get("new_classes") == "add":
        params["share_halfspaces"] = True
    return params


# Streams

COLUMNS = {
    "normal": lambda rng, n, scale: scale * rng.normal(size=n),
    "far off": lambda rng, n, scale: scale * (1e6 + rng.normal(size=n)),
    "constant": lambda rng, n, scale: np.full(n, scale),
    "integers": lambda rng, n, scale: scale * rng.integers(-3, 4, n),
    "all scales": lambda rng, n, scale: rng.choice([-1, 1], n) * 10 ** rng.uniform(-30, 30, n),
    "rare": lambda rng, n, scale: scale * rng.normal(size=n) * (rng.random(n) < 0.02),
    "levels": lambda rng, n, scale: np.where(rng.random(n) < 0.1, np.nan, scale * (rng.zipf(1.5, n) % 60)),
    "missing": lambda rng, n, scale: np.full(n, np.nan),
    "often missing": lambda rng, n, scale: np.where(rng.random(n) < 0.7, np.nan, scale * rng.normal(size=n)),
}
COPY = "copy"  # of the column before
SCALES = [1.0, -1.0, 0.0, 1e-30, 1e30, 1e-12, 3e7]
EXTREMES = np.array([0, np.nan, 1, -1, 1e30, -1e30, 1e-30])[:, np.newaxis]


BOUNDS = {
    "none": lambda X: np.clip(X, -1e30, 1e30),
    "probabilities": expit,
    "means": lambda X: np.clip(X, -1e15, 1e15),
}


@dataclass(frozen=True)
class Features:
    """Columns of which any number of rows can be drawn."""

    columns: list  # names and scales
    dtype: str
    bound: str = "none"  # what they are to be

    def draw(self, rng, n):
        drawn = []
        for name, scale in self.columns:
            drawn.append(drawn[-1] if name == COPY and drawn else COLUMNS.get(name, COLUMNS["normal"])(rng, n, scale))
        return self.cast(np.column_stack(drawn))

    def extremes(self):
        return self.cast(np.tile(EXTREMES, len(self.columns)))

    def cast(self, X):
        dtype = np.dtype(self.dtype)
        X = BOUNDS[self.bound](X)
        if dtype.kind == "f":
            return np.clip(X, np.finfo(dtype).min, np.finfo(dtype).max).astype(dtype)
        X = np.nan_to_num(X)
        return X > 0.5 if dtype.kind == "b" else np.clip(X, -(2.0**62), 2.0**62).astype(dtype)


LABELS = {
    "two": ["no", "yes"],
    "bools": [False, True],
    "strings": ["cat", "dog", "zebra", "", "ß"],
    "ints": [-7, 0, 3, 2**40],
    "floats": [-1.0, 0.0, 2.0, 1e15],
    "thirty": range(30),
}


@dataclass(frozen=True)
class Labels:
    """Classes, of which rows have some only, at times those that the first feature tells."""

    names: list
    are_announced: bool = True

    @property
    def first_call(self):
        return {"classes": self.names} if self.are_announced else {}

    def draw(self, rng, X):
        present = rng.permutation(len(self.names))[: rng.integers(1, len(self.names) + 1)]
        codes = present[rng.integers(len(present), size=len(X))]
        if rng.random() < 0.3:
            codes = present[(np.nan_to_num(X[:, 0].astype(float)) > 0) % len(present)]
        return np.array(self.names)[codes]

    def wrong(self, y):
        unheard_of = "unheard of" if self.are_announced else b"bytes"
        return np.where(np.arange(len(y)) == 0, unheard_of, y.astype(object).astype(str).astype(object))


@dataclass(frozen=True)
class Indicators:
    """Several labels a row."""

    n_labels: int
    first_call: dict = field(default_factory=dict)

    def draw(self, rng, X):
        return (rng.random((len(X), self.n_labels)) < rng.choice([0, 0.1, 0.5, 1], self.n_labels)).astype(int)

    def wrong(self, y):
        return y + 2


@dataclass(frozen=True)
class Targets:
    """Real targets, one or several a row, each constant for some rows and noisy, or a function of the features."""

    scales: list
    is_matrix: bool
    first_call: dict = field(default_factory=dict)

    def draw(self, rng, X):
        signal = np.tanh(np.nan_to_num(X.astype(float))).sum(axis=1)
        y = np.column_stack([self._column(rng, scale, signal) for scale in self.scales])
        return y if self.is_matrix else y[:, 0]

    def _column(self, rng, scale, signal):
        noise = rng.choice([0, 0.1, 10.0])
        return scale * (rng.choice([0, 1]) * signal + noise * rng.standard_t(2, len(signal)) + rng.choice([0, 5.0]))

    def wrong(self, y):
        return np.where(np.arange(y.size).reshape(y.shape) == 0, np.inf if self.is_matrix else np.nan, y)


LAYOUTS = {
    "plain": np.asarray,
    "Fortran": np.asfortranarray,
    "not contiguous": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "backwards": lambda array: np.ascontiguousarray(array[::-1])[::-1],
    "read-only": lambda array: read_only(array),
    "list": lambda array: array if array.dtype == np.float32 else array.tolist(),
    "pandas": lambda array: in_pandas(array),
}


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def in_pandas(array):
    """A series, or a frame, whose index counts backwards and has each number twice."""
    pandas = pytest.importorskip("pandas")
    return (pandas.Series if array.ndim == 1 else pandas.DataFrame)(array, index=np.arange(len(array))[::-1] // 2)


WEIGHTS = {
    "none": lambda rng, n: None,
    "fractions": lambda rng, n: rng.choice([0.0, 0.3, 1.0, 2.75], n),
    "counts": lambda rng, n: rng.integers(0, 4, n).astype(float),
    "tiny": lambda rng, n: 10 ** rng.uniform(-30, 0, n),
    "huge": lambda rng, n: np.where(
        np.arange(n) % 100 == n % 7, 1e30, 1.0
    ),  # of few rows: 1,000 visits take their time
    "zero": lambda rng, n: np.zeros(n),
}


@dataclass(frozen=True)
class Case:
    """An estimator and a stream for it."""

    estimator: BaseEstimator
    features: Features
    targets: Labels | Indicators | Targets

    def new(self):
        return clone(self.estimator)

    def draw(self, seed, n, weights):
        """Rows, their targets, and their weights or None."""
        rng = np.random.default_rng(seed)
        X = self.features.draw(rng, n)
        return X, self.targets.draw(rng, X), WEIGHTS[weights](rng, n)


@st.composite
def cases(draw, **fixed):
    kind = draw(st.sampled_from(ESTIMATORS))
    params = without_contradictions(draw(st.fixed_dictionaries(PARAMETERS[kind])) | fixed)
    if kind is GLNRegressor:
        scales = draw(st.lists(st.sampled_from([1.0, -1e-30, 1e30, 1e-3, 1e8]), min_size=1, max_size=3))
        targets = Targets(scales, is_matrix=len(scales) > 1 or draw(st.booleans()))
    elif draw(st.integers(0, 3)):
        targets = Labels(list(draw(st.sampled_from(list(LABELS.values())))), params["new_classes"] == "error")
        if params["class_weight"] is dict:
            names = [int(name) if name is True or name is False else name for name in targets.names]  # for `save`
            params["class_weight"] = dict(zip(names, [0.5, 2.0, *[1.0] * 30], strict=False))
    else:
        targets = Indicators(draw(st.integers(2, 4)))
        params |= {"class_weight": None, "new_classes": "error"}
    bound = "none"
    if params["base_predictor"] == "identity":
        bound = "probabilities" if kind is GLNClassifier else "means"
    columns = draw(
        st.lists(st.tuples(st.sampled_from([*COLUMNS, COPY]), st.sampled_from(SCALES)), min_size=1, max_size=5)
    )
    if isinstance(params["categorical_features"], list):
        params["categorical_features"] = [place for place in params["categorical_features"] if place < len(columns)]
    dtype = draw(st.sampled_from(["f8", "f8", "f4", "f2", "i8", "?"]))
    return Case(kind(**params), Features(columns, dtype, bound), targets)


SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 5) | st.integers(1, 60) | st.integers(200, 300) | st.sampled_from([64, 256, 512, 600])


# Laws

CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def read(model, X):
    """What tells most of a model: probabilities; or intervals, beside the largest number in them."""
    if is_classifier(model):
        return model.predict_proba(X)
    intervals = model.predict_interval(X)
    return intervals / np.abs(intervals).max(initial=1e-300)


def check_predictions(model, X):
    """Predictions of all kinds are finite, in their ranges and agree."""
    if not is_classifier(model):
        mean, deviation = model.predict(X, return_std=True)
        lower, upper = np.moveaxis(model.predict_interval(X), -1, 0)
        assert np.isfinite([mean, deviation, lower, upper]).all()
        assert np.all(deviation > 0)
        assert np.all(lower <= upper)
        assert np.isfinite(list(model.staged_predict(X))).all()
        return
    probabilities = model.predict_proba(X)
    check_probabilities(model, probabilities)
    for of_layer in model.staged_predict_proba(X):
        check_probabilities(model, of_layer)
    assert_array_equal(np.exp(model.predict_log_proba(X)), probabilities)
    assert np.isfinite(model.decision_function(X)).all()
    if not len(model.classes_):
        return
    labels = model.predict(X)
    assert np.isin(labels, (0, 1) if labels.ndim == 2 else model.classes_).all()


def check_probabilities(model, probabilities):
    assert np.all((probabilities >= 0) & (probabilities <= 1))  # so none is NaN
    if not model._multilabel:
        sums = probabilities.sum(axis=1)
        assert_allclose(sums[sums > 0] if model.new_classes == "add" else sums, 1)  # 0 before a class has come


def state(model):
    """All that a model holds, to compare; of two random states nothing says that they are the same."""
    return {**vars(model), "random_state": None}


def assert_refused(model, call, message):
    before = pickle.dumps(model)
    with pytest.raises((ValueError, TypeError), match=message):
        call(model)
    assert pickle.dumps(model) == before


def through_a_file(model):
    from sklearn_gln import io

    with tempfile.TemporaryDirectory() as folder:
        io.save(model, Path(folder, "model.skops"), trusted=FUNCTIONS)
        return io.load(Path(folder, "model.skops"), trusted=FUNCTIONS)


WAYS = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "file": through_a_file,
}
WRONG_FEATURES = {
    "infinity": lambda X: np.where(np.arange(X.size).reshape(X.shape) == 0, np.inf, X.astype(float)),
    "feature": lambda X: np.column_stack([X, X]),
    "2D": lambda X: X[:, 0],
    "could not convert": lambda X: np.full(X.shape, "a"),
}
WRONG_WEIGHTS = {
    "[Nn]egative": lambda n: np.full(n, -1.0),
    "NaN": lambda n: np.full(n, np.nan),
    "infinity": lambda n: np.full(n, np.inf),
    "sample_weight": lambda n: np.ones(n + 1),
}


class Stream(RuleBasedStateMachine):
    """A model that learns a stream piece by piece, while it is copied, sent, switched and called in wrong ways.

    In the end it is what one call with all rows makes of a new one.
    """

    @initialize(case=cases())
    def begin(self, case):
        self.case, self.model, self.pieces = case, case.new(), []

    def _draw(self, seed, n, weights="none"):
        X, y, sample_weight = self.case.draw(seed, n, weights)
        return X, y, {} if self.pieces else self.case.targets.first_call, sample_weight

    def _is_exact(self):
        """Whether rounding stays rounding: long plain steps make chaos of it, and normalised ones of inputs near 0."""
        params = self.case.estimator.get_params()
        is_plain = params["learning_rate"] in ("constant", "inverse", "hyperbolic")
        is_chaotic = (params["learning_rate_init"] or 0) > 0.3 if is_plain else not params["bias"]
        return np.dtype(params["dtype"]) == np.float64 and not is_chaotic

    def _n_categorical(self):
        columns = self.case.estimator.categorical_features
        return len(columns) if isinstance(columns, list) else 0

    @rule(
        seed=SEEDS,
        n=SIZES,
        weights=st.sampled_from(list(WEIGHTS)),
        layout=st.sampled_from(list(LAYOUTS)),
        way=st.sampled_from(["checked", "checked", "unchecked", "progressive"]),
    )
    def learn(self, seed, n, weights, layout, way):
        X, y, first_call, sample_weight = self._draw(seed, n, weights)
        into = LAYOUTS[layout]
        given_weight = sample_weight if sample_weight is None else into(sample_weight)
        if way == "progressive":
            self._learn_and_predict(into(X), into(y), first_call, given_weight)
        elif way == "unchecked" and self.pieces and X.dtype in (np.float32, np.float64) and not self._n_categorical():
            y = y.astype(bool) if isinstance(self.case.targets, Indicators) else y
            self.model.partial_fit(X, y, sample_weight=sample_weight, check_input=False)
        else:
            self.model.partial_fit(into(X), into(y), sample_weight=given_weight, **first_call)
        self.pieces.append((X, y, np.ones(n) if sample_weight is None else sample_weight))

    def _learn_and_predict(self, X, y, first_call, sample_weight):
        before = read(self.model, X[:1]) if self.pieces else None
        if is_classifier(self.model):
            predicted = self.model.progressive_predict_proba(X, y, sample_weight=sample_weight, **first_call)
            check_probabilities(self.model, predicted)
            if before is not None and self._is_exact():
                assert_allclose(predicted[:1], before, **CLOSE)
        else:
            mean, deviation = self.model.progressive_predict(X, y, sample_weight=sample_weight, return_std=True)
            assert np.isfinite(mean).all()
            assert np.all((deviation > 0) & (deviation < np.inf))

    @precondition(lambda self: self.pieces)
    @rule(seed=SEEDS, n=st.integers(0, 40), as_list=st.booleans())
    def learn_nothing(self, seed, n, as_list):
        before = pickle.dumps(self.model)
        X, y, _, sample_weight = self._draw(seed, max(n, 1), "zero")
        y = y[:n].tolist() if as_list else y[:n]
        self.model.partial_fit(X[:n], y, sample_weight=sample_weight[:n])
        assert pickle.dumps(self.model) == before

    @precondition(lambda self: self.pieces)
    @rule(way=st.sampled_from(list(WAYS)), seed=SEEDS, goes_on=st.booleans())
    def copy(self, way, seed, goes_on):
        duplicate = WAYS[way](self.model)
        assert_same_object(state(duplicate), state(self.model))
        X = self.case.features.extremes()
        assert_array_equal(read(duplicate, X), read(self.model, X))
        self.model, other = (duplicate, self.model) if goes_on else (self.model, duplicate)
        X, y, _, _ = self._draw(seed, 20)
        other.partial_fit(X, y)

    @rule(backend=st.sampled_from(BACKENDS), n_jobs=st.sampled_from([None, 1, 2, -1]))
    def switch(self, backend, n_jobs):
        self.model.set_params(backend=backend, n_jobs=n_jobs)

    @rule(seed=SEEDS, n=st.integers(1, 9), fault=st.sampled_from([*WRONG_FEATURES]))
    def refuse_features(self, seed, n, fault):
        X, y, first_call, _ = self._draw(seed, n)
        assume(self.pieces or fault != "feature")
        assume(self._n_categorical() < X.shape[1] or fault != "could not convert")  # text is then what it may be
        wrong = WRONG_FEATURES[fault](X)
        assert_refused(self.model, lambda model: model.partial_fit(wrong, y, **first_call), fault)
        if self.pieces:
            assert_refused(self.model, lambda model: model.predict(wrong), fault)

    @rule(seed=SEEDS, n=st.integers(1, 9), fault=st.sampled_from([*WRONG_WEIGHTS]))
    def refuse_weights(self, seed, n, fault):
        X, y, first_call, _ = self._draw(seed, n)
        sample_weight = WRONG_WEIGHTS[fault](n)
        call = {"sample_weight": sample_weight, **first_call}
        assert_refused(self.model, lambda model: model.partial_fit(X, y, **call), fault)

    @rule(seed=SEEDS, n=st.integers(1, 9), fault=st.sampled_from(["wrong", "short", "other form"]))
    def refuse_targets(self, seed, n, fault):
        X, y, first_call, _ = self._draw(seed, n)
        message = r"\by\b|[Ll]abel|inconsistent"
        if fault == "wrong":
            y = self.case.targets.wrong(y)
        elif fault == "short":
            y = np.concatenate([y, y])
        else:
            assume(self.pieces)
            y = y[:, :1].ravel() if y.ndim == 2 else np.column_stack([y, y])
        assert_refused(self.model, lambda model: model.partial_fit(X, y, **first_call), message)

    @invariant()
    def it_is_sane(self):
        if not getattr(self, "pieces", None):
            return
        assert self.model.n_samples_seen_ == sum(np.count_nonzero(sample_weight) for *_, sample_weight in self.pieces)
        assert self.model.n_features_in_ == len(self.case.features.columns)
        check_predictions(self.model, self.case.features.extremes())

    def teardown(self):
        if not getattr(self, "pieces", None) or not self._is_exact() or self.model.batch_size > 1:
            return
        X, y, sample_weight = map(np.concatenate, zip(*self.pieces, strict=True))
        expected = self.case.new().partial_fit(X, y, sample_weight=sample_weight, **self.case.targets.first_call)
        X = np.concatenate([X[:50], self.case.features.extremes()])
        assert_allclose(read(self.model, X), read(expected, X), **CLOSE)
        if is_classifier(expected):
            assert_array_equal(self.model.classes_, expected.classes_)


TestStream = Stream.TestCase
for name in set(BACKENDS) & set(FRAMEWORKS):
    TestStream = pytest.mark.backend(name)(TestStream)
    TestStream.settings = settings(max_examples=max(5, settings().max_examples // 3))  # which compile for each stream


# Fits


@pytest.mark.filterwarnings("ignore:The number of unique classes:UserWarning")  # scikit-learn's, of few rows
@given(cases(), SEEDS, SIZES, st.sampled_from(list(WEIGHTS)), st.sampled_from(list(LAYOUTS)))
def test_fit(case, seed, n, weights, layout):
    X, y, sample_weight = case.draw(seed, n, weights)
    into = LAYOUTS[layout]
    model = case.new()
    call = {} if sample_weight is None else {"sample_weight": into(sample_weight)}
    n_learned = n if sample_weight is None else np.count_nonzero(sample_weight)
    fault = None
    if isinstance(case.targets, Labels) and case.targets.are_announced and len(np.unique(y)) < 2:
        fault = "at least two classes"
    elif not n_learned:
        fault = "sample_weight is zero"
    elif model.early_stopping and np.ceil(n_learned * model.validation_fraction) >= n_learned:
        fault = "early_stopping"
    if fault is not None:
        assert_refused(model, lambda it: it.fit(into(X), into(y), **call), fault)
        return
    model.fit(into(X), into(y), **call)
    check_predictions(model, np.concatenate([X[:20], case.features.extremes()]))
    assert np.isfinite(model.validation_loss_curve_).all()
    assert 1 <= model.n_iter_ <= model.max_iter
    assert_array_equal(read(case.new().fit(X, y, sample_weight), X), read(model, X))
    assert_array_equal(read(pickle.loads(pickle.dumps(model)), X), read(model, X))


@pytest.mark.thorough
@pytest.mark.parametrize("backend", FAST)
def test_a_thousand_classes(backend):
    estimator = GLNClassifier((2,), 1, dtype="float64", backend=backend, random_state=0)
    case = Case(estimator, Features([("normal", 1.0), ("rare", 1e30)], "f8"), Labels(list(range(1000))))
    X, y, sample_weight = case.draw(0, 300, "fractions")
    whole, parts = (case.new().partial_fit(X[:0], y[:0], **case.targets.first_call) for _ in range(2))
    whole.partial_fit(X, y, sample_weight=sample_weight)
    for rows in np.split(np.arange(300), [1, 7, 257]):
        parts.partial_fit(X[rows], y[rows], sample_weight=sample_weight[rows])
    assert_allclose(read(parts, X), read(whole, X), **CLOSE)
    check_predictions(parts, case.features.extremes())


# Parameters of any value

VALUES = [
    *(None, True, False, -1, 0, 1, 2, 3, 10**30, -(10**30), np.int64(2), np.float32(0.3), np.array(2), 1j),
    *(0.5, 0.999, -0.5, 1e-9, 1e-300, 5e-324, 1e6, 1e30, 1e300, np.nan, np.inf, -np.inf),
    *("", "auto", "junk", b"auto", (), [], (3,), (0,), (2.5,), ("a",), np.array([[1, 2]]), {}, {0: 1e300}, {"a": 1}),
    *({0: -1.0}, {0: np.nan}, object(), len, np.zeros_like, np.ones_like, np.shape),
]
ROWS = np.random.default_rng(0).normal(size=(70, 3))


NAMED = [(kind, name) for kind in ESTIMATORS for name in PARAMETERS[kind]]


@given(
    st.sampled_from(NAMED),
    st.sampled_from(VALUES),
    st.sampled_from(["normalized", "constant", "inverse"]),
    st.sampled_from(["squared", "gaussian"]),
)
@example((GLNClassifier, "context_dim"), True, "normalized", "squared")
@example((GLNClassifier, "device"), np.array([[1, 2]]), "normalized", "squared")
@example((GLNClassifier, "max_weight"), 1e300, "normalized", "squared")
@example((GLNRegressor, "batch_size"), 10**30, "constant", "squared")
def test_a_value_serves_or_the_error_names_its_parameter(named, value, learning_rate, likelihood):
    kind, name = named
    params = {"layer_sizes": (3, 2), "context_dim": 2, "max_iter": 2, "random_state": 0, "learning_rate": learning_rate}
    if kind is GLNRegressor:
        params["likelihood"] = likelihood
    y = np.arange(70) % 3 if kind is GLNClassifier else np.linspace(1, 9, 70)
    for learn in ("fit", "partial_fit"):
        model = kind(**params | {name: value})
        classes = {"classes": [0, 1, 2]} if kind is GLNClassifier and learn == "partial_fit" else {}
        try:
            getattr(model, learn)(ROWS, y, **classes)
        except (ValueError, TypeError, MemoryError) as error:
            message = str(error)
        else:
            message = name
            check_predictions(model, ROWS)
        assert name in message
