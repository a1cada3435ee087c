"""A likelihood is one class: others than the package's, which a line each adds, do all that an estimator does."""

import ast
import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import sklearn_gln
from sklearn_gln import GLNRegressor, _shards
from sklearn_gln._likelihood import TARGET_LIKELIHOODS, Gaussian, Squared
from sklearn_gln.inspection import local_coefficients, summary
from tests.helpers import (
    assert_refused,
    assert_same_object,
    make_stream,
    make_targets,
    spare_compilers,
    thorough_but,
)

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
X, _, WEIGHTS = make_stream(3, 700)
TARGETS = make_targets(X)
SMALL = {"layer_sizes": (5, 4), "context_dim": 2, "max_iter": 2, "dtype": "float64", "random_state": 0}


class Cautious(Squared):
    """Smaller steps, and bounded weights."""

    name = "cautious"
    default_rate = 0.3
    largest_step = 0.7
    ridge = 2.0

    def default_max_weight(self, batch_size):
        return 0.8

    def damping(self, n_inputs, rate):
        return 1 / n_inputs


class Bare(Squared):
    """Without what is added to squared errors in the package."""

    name = "bare"
    is_preconditioned = False
    takes_squares = False
    has_linear_first = False
    can_solve_first = False
    has_limits = False


class Broad(Gaussian):
    """Gaussians that begin broader."""

    name = "broad"
    default_rate = 0.5

    def default_max_weight(self, batch_size):
        return 2.0

    def initial_base_weight(self, n_inputs):
        return 0.5 / n_inputs


PARENTS = {Cautious: "squared", Bare: "squared", Broad: "gaussian"}


@pytest.fixture(params=PARENTS, ids=lambda kind: kind.name)
def kind(request, monkeypatch):
    """A class that is registered, and nothing else."""
    monkeypatch.setitem(TARGET_LIKELIHOODS, request.param.name, request.param())
    return request.param


def new(kind, **params):
    return GLNRegressor(**SMALL | {"likelihood": kind.name} | params)


def predicted(model, rows=X):
    """Means, deviations and the ends of intervals."""
    return np.stack([*model.predict(rows, return_std=True), *np.moveaxis(model.predict_interval(rows), -1, 0)])


@pytest.mark.parametrize("n_targets", thorough_but([1, 3], 3))
def test_it_learns_its_own_way(kind, n_targets):
    y = TARGETS if n_targets > 1 else TARGETS[:, 0]
    model = new(kind).fit(X, y, WEIGHTS)
    assert type(model._online.settings.likelihood) is kind
    assert model.score(X, y) > 0.3
    mean, deviation, lower, upper = predicted(model)
    assert mean.shape == y.shape
    assert np.all(deviation > 0)
    assert np.all((lower < mean) & (mean < upper))
    assert 0.8 < np.mean((lower < y) & (y < upper)) < 0.99
    other = new(kind, likelihood=PARENTS[kind]).fit(X, y, WEIGHTS)
    assert np.abs(mean - other.predict(X)).max() > 0.01 * np.std(y)


def test_its_traits_reach_the_network(kind):
    online, likelihood = new(kind).fit(X, TARGETS)._online, kind()
    assert len(online.settings.layer_sizes) == 2 + kind.has_linear_first
    assert online.settings.learning_rate_init == kind.default_rate
    assert online.settings.max_weight == likelihood.default_max_weight(1)
    assert (online.network.limits is not None) == kind.has_limits
    assert (online.network.layers[-1].spread is not None) == kind.has_spread
    assert (online.network.cross_moment is not None) == kind.can_solve_first
    ridges = {preconditioner.ridge for preconditioner in online.network.preconditioners}
    assert ridges == ({kind.ridge} if kind.is_preconditioned else set())
    assert online.settings.squares == kind.takes_squares


@pytest.mark.thorough
def test_every_backend_learns_the_same(kind, backend, backend_name):
    spare_compilers(backend, kind.name == "broad")
    model, expected = (new(kind, backend=name).fit(X[:300], TARGETS[:300]) for name in (backend_name, "numpy"))
    assert_allclose(predicted(model), predicted(expected), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("half_life", thorough_but([None, 300, "mixed"], None))
def test_any_split_of_a_stream_gives_the_same_model(kind, half_life):
    whole, parts = (new(kind, half_life=half_life) for _ in range(2))
    expected = np.stack(whole.progressive_predict(X, TARGETS, WEIGHTS, return_std=True))
    got = [
        parts.progressive_predict(X[rows], TARGETS[rows], WEIGHTS[rows], return_std=True)
        for rows in np.split(np.arange(len(X)), [1, 2, 90, 300, 301, 512])
    ]
    assert_allclose(np.concatenate(got, axis=1), expected, **TOLERANCE)
    assert_allclose(predicted(parts), predicted(whole), **TOLERANCE)
    assert parts.progressive_loss_ == pytest.approx(whole.progressive_loss_)


def test_copies(kind, tmp_path):
    model = new(kind).fit(X, TARGETS)
    assert_same_object(clone(model).fit(X, TARGETS), model)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    io = pytest.importorskip("sklearn_gln.io")
    io.save(model, tmp_path / "model.skops")
    copies.append(io.load(tmp_path / "model.skops"))
    expected = copy.deepcopy(model).partial_fit(X[:100], TARGETS[:100])
    for duplicate in copies:
        assert_same_object(duplicate, model)
        assert_same_object(duplicate.partial_fit(X[:100], TARGETS[:100]), expected)


def test_it_is_explained(kind):
    model = new(kind).fit(X, TARGETS)
    local = local_coefficients(model, X)
    assert_allclose(local.intercept + local.contributions.sum(axis=2), model.predict(X), **TOLERANCE)
    stages = np.stack(list(model.staged_predict(X)), axis=2)
    assert_allclose(np.vecdot(stages, model._online.head.shares()), model.predict(X), **TOLERANCE)
    summarised = summary(model, X)
    n_layers = 2 + kind.has_linear_first
    assert np.unique(summarised.neurons["layer"]).tolist() == list(range(n_layers))
    assert summarised.neurons["weight_max"].max() <= model._online.settings.max_weight
    lines = str(summarised).splitlines()
    assert [line.split()[0] for line in lines[1 : n_layers + 1]] == list(map(str, range(n_layers)))


@pytest.mark.parametrize("optimize_for", thorough_but(["latency", "throughput"], "latency"))
def test_its_graph_predicts_the_same(kind, optimize_for):
    for name in ("onnx", "skl2onnx"):
        pytest.importorskip(name)
    from sklearn_gln.onnx import to_onnx

    runtime = pytest.importorskip("onnxruntime")
    model = new(kind).fit(X, TARGETS)
    graph = to_onnx(model, options={"return_std": True}, optimize_for=optimize_for)
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for got, expected in zip(session.run(None, {"X": X}), model.predict(X, return_std=True), strict=True):
        assert_allclose(got, expected, rtol=0, atol=1e-9)


def test_its_outputs_are_shared_out(kind):
    model = new(kind)
    for rows in (slice(0), slice(100), slice(100, 700)):
        model.partial_fit(X[rows], TARGETS[rows])
        whole = copy.deepcopy(model)
        parts = [_shards.part(whole._online, slice(a, b)) for a, b in [(0, 1), (1, 3)]]
        alone = [copy.deepcopy(part) for part in parts]
        whole._online = _shards.join(parts)
        assert_same_object(whole, model)
    for part, outputs in zip(alone, (slice(1), slice(1, 3)), strict=True):
        of_part = new(kind).partial_fit(X[:0], TARGETS[:0, outputs])
        of_part._online = part
        assert_allclose(of_part.predict(X), model.predict(X)[:, outputs], **TOLERANCE)


def test_once_it_is_gone_it_is_refused_by_name(kind, monkeypatch, tmp_path):
    model, io = new(kind).fit(X, TARGETS), pytest.importorskip("sklearn_gln.io")
    expected, pickled = predicted(model), pickle.dumps(model)
    io.save(model, tmp_path / "model.skops")
    monkeypatch.delitem(TARGET_LIKELIHOODS, kind.name)
    assert_refused(new(kind), lambda it: it.fit(X, TARGETS), ValueError, f"'likelihood' parameter.*{kind.name!r}")
    assert_refused(new(kind), lambda it: it.partial_fit(X, TARGETS), ValueError, f"Got {kind.name!r}")
    with pytest.raises(ValueError, match=f"learned state of type '{kind.__name__}'"):
        pickle.loads(pickled)
    with pytest.raises(ValueError, match=f"learned state of type '{kind.__name__}'"):
        io.load(tmp_path / "model.skops")
    assert_array_equal(predicted(model), expected)  # what is learned goes on


def test_a_parameter_that_is_changed_later_changes_nothing_that_is_learned(kind):
    model = new(kind).fit(X, TARGETS)
    expected = copy.deepcopy(model).partial_fit(X, TARGETS)
    for value in ("squared", "gaussian", "unknown"):
        changed = copy.deepcopy(model).set_params(likelihood=value)
        assert_array_equal(predicted(changed.partial_fit(X, TARGETS)), predicted(expected))


# Nothing else asks which likelihood or which head it is

PACKAGE = Path(sklearn_gln.__file__).parent
ASKED = re.compile(r"(.*\.)?_?(likelihood|head)(\.name)?|\w*Head")


def questions(source):
    """Where code compares a likelihood or a head with something, or asks of which class it is."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left=left, comparators=others):
                operands = [left, *others]
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass" | "type"), args=operands):
                pass
            case ast.Match(subject=subject):
                operands = [subject]
            case _:
                continue
        if any(map(ASKED.fullmatch, map(ast.unparse, operands))):
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    "source",
    [
        "likelihood == 'squared'",
        "self.likelihood != 'squared'",
        "settings.likelihood.name == 'squared'",
        "'squared' == settings.likelihood.name",
        "self.likelihood in ('squared', 'gaussian')",
        "self._likelihood is BERNOULLI",
        "isinstance(settings.likelihood, Squared)",
        "isinstance(head, TargetHead)",
        "isinstance(online.head, StackedHead)",
        "type(self.head) is StackedHead",
        "match settings.likelihood:\n    case Squared():\n        pass",
        "online.head is None",
        "head is not None",
    ],
)
def test_what_counts_as_a_question(source):
    assert questions(source)


def test_nothing_else_asks_which_likelihood_it_is():
    modules = [path for path in PACKAGE.rglob("*.py") if path.name != "_likelihood.py"]
    assert len(modules) > 30
    assert {path.name: found for path in modules if (found := questions(path.read_text()))} == {}
