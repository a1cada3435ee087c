"""Whether saved state fits together: compiled kernels read and write wherever its shapes and row numbers say."""

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklearn_gln._drift import DriftTest
from sklearn_gln._learning_rate import Preconditioner, group_shape, random_groups
from sklearn_gln._network import Layer, Network, Settings, n_inputs_by_layer
from sklearn_gln._online import OnlineNetwork
from sklearn_gln._regression_stack import RegressionStack
from sklearn_gln._stack import Stack

Array = NDArray[Any]
Shape = tuple[int, ...]

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def check_online(online: OnlineNetwork, n_features: int, outputs: Array, stack: Stack | RegressionStack | None) -> None:
    """Raise ValueError unless the state is one of n_features features, these outputs, and a stack like this one."""
    settings, predictor, network = online.settings, online.predictor, online.network
    n_given = online.n_columns - n_features
    _require(n_given > 0 if callable(predictor.kind) else n_given == 0, f"n_columns is {online.n_columns}")
    _require(np.array_equal(online.outputs, outputs), f"outputs are {online.outputs!r:.200}, and not {outputs!r:.200}")
    _require(min(settings.layer_sizes) > 0, f"layer_sizes are {settings.layer_sizes!r:.200}")
    _require(online.epoch > 0, f"epoch is {online.epoch}")
    _require(online.n_rows_seen >= (network is not None), f"n_rows_seen is {online.n_rows_seen}")
    _check_shapes(predictor.moments, weight=(n_features,), mean=(n_features,), squares=(n_features,))
    _check_alike("drift", online.drift, DriftTest() if settings.half_life == "auto" else None)
    _check_alike("stack", online.stack, stack)
    for X, y, sample_weight, first_visit in online.buffer:
        _require(X.shape == (len(X), online.n_columns), f"the buffer has rows of shape {X.shape}")
        columns = () if settings.likelihood == "bernoulli" and y.ndim == 1 else outputs.shape  # class numbers, or each
        _require(y.shape == (len(X), *columns), f"the buffer has targets of shape {y.shape}")
        _require(sample_weight.shape == first_visit.shape == (len(X),), "the buffer's weights are not one for each row")
    if online.stack is not None:
        _check_pending(online.stack, len(outputs))
    if network is not None:
        _check_shapes(predictor, mean=(n_features,), inverse_deviation=(n_features,))
        _check_network(network, settings.n_base(n_given or n_features), n_features, len(outputs), settings)


def _check_pending(stack: Stack | RegressionStack, n_outputs: int) -> None:
    for inputs, targets, sample_weight in stack.pending:
        shape = len(inputs), n_outputs, stack.weights.shape[-1]
        _require(inputs.shape == shape, f"the stack's rows are of shape {inputs.shape}, and not {shape}")
        _require(targets.shape in (shape[:1], shape[:2]), f"the stack's targets are of shape {targets.shape}")
        _require(sample_weight.shape == shape[:1], f"the stack's weights are of shape {sample_weight.shape}")


def _check_network(network: Network, n_base: int, n_side: int, n_outputs: int, settings: Settings) -> None:
    sizes, kind = settings.layer_sizes, settings.preconditioner
    n_sharing = 1 if settings.share_halfspaces else n_outputs
    halfspaces = n_sharing, sum(sizes), settings.context_dim
    limits = None if settings.likelihood == "bernoulli" else (n_outputs,)
    crossed = (n_outputs, n_base) if settings.solves_first else None
    _check_shapes(network, hyperplanes=(*halfspaces, n_side), offsets=halfspaces, limits=limits, cross_moment=crossed)
    _check_preconditioner(network.base_preconditioner, group_shape(n_base, kind) if kind else None, n_base)
    _require(len(network.layers) == len(sizes), f"there are {len(network.layers)} layers")
    n_inputs = n_inputs_by_layer(n_base, settings)
    for number, (layer, size, n_below) in enumerate(zip(network.layers, sizes, (0, *sizes[:-1]), strict=True)):
        _check_layer(layer, (n_outputs, size), n_inputs[number], n_sharing, 2**settings.context_dim)
        _check_preconditioner(layer.preconditioner, (n_outputs, n_below) if kind and n_below else None)
        has_spread = settings.likelihood == "squared" and number == len(sizes) - 1
        _require((layer.spread is not None) == has_spread, "the last layer, for squared errors, has the spread")


def _check_layer(layer: Layer, neurons: Shape, n_inputs: int, n_sharing: int, n_contexts: int) -> None:
    n_rows = n_contexts if layer.row_of is None else layer.weights.shape[2]
    rows = *neurons, n_rows
    _check_shapes(layer, weights=(*rows, n_inputs), energy=rows)
    if layer.spread is not None:
        _check_shapes(layer.spread, errors=rows, visits=rows, log_ratio=rows, mean_square=neurons[:1])
    _require((layer.row_of is None) == (layer.n_rows is None), "row_of and n_rows belong together")
    if layer.row_of is not None and layer.n_rows is not None:
        gating = n_sharing, neurons[1]
        _check_shapes(layer, (np.dtype(np.int32),), row_of=(*gating, n_contexts))
        _check_shapes(layer, (np.dtype(int),), n_rows=gating)
        _require(layer.row_of.flags.c_contiguous, "row_of is not in C order")  # it is written through a flat view
        _require(layer.row_of.min() >= 0 and (layer.row_of.max(axis=2) < layer.n_rows).all(), "row_of is out of range")
        _require(layer.n_rows.max() <= n_rows, "n_rows is out of range")


def _check_preconditioner(preconditioner: Preconditioner | None, shape: Shape | None, n_base: int = 0) -> None:
    """shape: how many matrices of which size; of base logits, n_base, they are those of groups."""
    _require((preconditioner is None) == (shape is None), "preconditioners are not those of the settings")
    if preconditioner is None or shape is None:
        return
    matrices = *shape, shape[1]
    _check_shapes(preconditioner, moment=matrices, matrix=None if preconditioner.matrix is None else matrices)
    groups = random_groups(n_base, *shape) if n_base and shape[0] > 1 else None
    _check_alike("groups", preconditioner.groups, groups)
    if preconditioner.groups is not None and groups is not None:
        _require(all(map(np.array_equal, preconditioner.groups, groups)), "groups are out of range")


def _check_alike(name: str, value: Any, model: Any) -> None:
    """Raise ValueError unless the value has the types and shapes of the model; rows that wait are others."""
    _require(
        isinstance(value, type(model)), f"{name} is of type {type(value).__name__}, and not {type(model).__name__}"
    )
    if is_dataclass(model):
        for item in fields(model):
            if item.name not in ("expected", "pending"):
                _check_alike(f"{name}.{item.name}", getattr(value, item.name), getattr(model, item.name))
    elif isinstance(model, list | tuple):
        _require(len(value) == len(model), f"{name} has {len(value)} items, and not {len(model)}")
        _require(
            all(item.ndim == part.ndim for item, part in zip(value, model, strict=True)), f"{name} has other items"
        )
    elif isinstance(model, np.ndarray):
        _require(value.shape == model.shape, f"{name} is of shape {value.shape}, and not {model.shape}")
        _require(value.dtype.kind == model.dtype.kind, f"{name} is of dtype {value.dtype}, and not {model.dtype}")


def _check_shapes(owner: Any, dtypes: tuple[np.dtype[Any], ...] = FLOATS, /, **shapes: Shape | None) -> None:
    for name, shape in shapes.items():
        array = getattr(owner, name)
        if array is None or shape is None:
            _require(
                array is shape, f"{type(owner).__name__}.{name} is {'missing' if array is None else 'one too many'}"
            )
            continue
        form = f"{type(owner).__name__}.{name} has shape {array.shape} and dtype {array.dtype}"
        _require(array.shape == shape, f"{form}, and not shape {shape}")
        _require(array.dtype in dtypes, f"{form}, and not {' or '.join(map(str, dtypes))}")


def _require(condition: Any, otherwise: str) -> None:
    if not condition:
        raise ValueError(f"The saved state does not fit together: {otherwise}.")
