"""The memory that a network takes, and networks too large for the machine."""

from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from tests.helpers import KINDS, TARGETS, X, Y, assert_refused, new, thorough_but


def n_bytes(part):
    """The bytes of all arrays in dataclasses and lists."""
    if is_dataclass(part):
        return sum(n_bytes(getattr(part, field.name)) for field in fields(part))
    if isinstance(part, list):
        return sum(map(n_bytes, part))
    return part.nbytes if isinstance(part, np.ndarray) else 0


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"layer_sizes": ()},
        {"layer_sizes": (7, 3, 2), "context_dim": 0},
        {"share_halfspaces": False, "context_dim": 4},
        {"aggregation": "neuron", "skip": False},
        {"bias": False, "skip": False},
        {"bias": False},
        {"dtype": "float64", "halfspaces": "gaussian"},
        {"preconditioner": None},
        {"preconditioner": "block"},
        {"learning_rate": "constant", "base_predictor": "minmax"},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_estimate_memory_is_what_the_network_takes(params, n_classes):
    model = new(**{"context_dim": 3, "offset_scale": 0.1} | params)
    estimate = model.estimate_memory(n_features=4, n_classes=n_classes)
    model.partial_fit(X, Y % n_classes, classes=range(n_classes))
    assert type(estimate) is int
    assert estimate * 0.8 <= n_bytes(model._online.network) <= estimate  # few contexts are not visited
    assert model.estimate_memory(4, n_classes, n_samples=2) <= estimate
    assert model.estimate_memory(4, n_classes, n_samples=1000) == estimate


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"layer_sizes": (7,)},
        {"share_halfspaces": False, "context_dim": 4},
        {"aggregation": "neuron", "skip": False},
        {"bias": False, "squares": False},
        {"dtype": "float64", "halfspaces": "gaussian"},
        {"preconditioner": None},
        {"learning_rate": "constant", "base_predictor": lambda rows: np.nan_to_num(rows[:, :1]) * [1, 2, 3, 4]},
    ],
    ids=str,
)
@pytest.mark.parametrize("likelihood", ["squared", "gaussian"])
@pytest.mark.parametrize("n_targets", thorough_but([1, 2], 2))
def test_estimate_memory_of_a_regressor(params, likelihood, n_targets):
    model = KINDS[likelihood].new(**{"context_dim": 3, "offset_scale": 0.1} | params)
    estimate = model.estimate_memory(4, n_targets)
    model.partial_fit(X, TARGETS[:, :n_targets])
    assert type(estimate) is int
    assert estimate * 0.75 <= n_bytes(model._online.network) <= estimate
    assert model.estimate_memory(4, n_targets, n_samples=2) <= estimate


@pytest.mark.parametrize("preconditioner", ["full", "block", None])
def test_estimate_memory_of_wide_inputs(preconditioner):
    model = new(layer_sizes=(2,), context_dim=1, preconditioner=preconditioner)
    model.partial_fit(np.random.default_rng(0).normal(size=(70, 300)), np.arange(70) % 2, classes=[0, 1])
    assert model.estimate_memory(n_features=300) == n_bytes(model._online.network)


def test_estimate_memory_for_labels():
    model = new(context_dim=1)
    assert model.estimate_memory(4, n_labels=2) > model.estimate_memory(4, n_classes=2)
    assert model.estimate_memory(4, n_labels=3) == model.estimate_memory(4, n_classes=3)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("fitted", [True, False])
def test_a_network_larger_than_the_machine_is_refused(kind, method, fitted):
    huge = {"layer_sizes": (10**6, 10**6), "context_dim": 20}
    if method == "partial_fit":
        assert_refused(
            kind.new(**huge),
            lambda it: it.partial_fit(X, kind.y, **kind.classes),
            MemoryError,
            r"layer_sizes=.*context_dim=20",
        )
        return
    model = kind.new()
    if fitted:
        model.fit(X, kind.y)
    model.set_params(**huge)
    assert_refused(model, lambda it: it.fit(X, kind.y), MemoryError, r"layer_sizes=.*context_dim=20")
