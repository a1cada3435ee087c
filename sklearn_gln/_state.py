"""Learned state: its plain form, which any file format takes, and the checks of state that may come from a file.

Compiled kernels read and write wherever shapes and slots say: state that does not fit together must not reach them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass, replace
from numbers import Integral, Real
from reprlib import repr as brief
from types import UnionType
from typing import Any, get_args, get_origin

import numpy as np

from sklearn_gln._arrays import Array
from sklearn_gln._base_predictor import BasePredictor, Bins, RunningMoments
from sklearn_gln._calibration import Calibration, ErrorScores
from sklearn_gln._categories import Categories, Levels
from sklearn_gln._head import Head, LayersHead, PendingErrors, PendingLogits, PlainHead, StackedHead, TargetHead
from sklearn_gln._layer import Layer
from sklearn_gln._learning_rate import Preconditioner, group_shape, random_groups
from sklearn_gln._likelihood import BERNOULLI, TARGET_LIKELIHOODS
from sklearn_gln._network import OF_BASIS, InputSizes, Network
from sklearn_gln._online import OnlineNetwork
from sklearn_gln._recent_errors import RecentErrors
from sklearn_gln._recent_labels import RecentLabels
from sklearn_gln._samples import Samples
from sklearn_gln._settings import Settings
from sklearn_gln._spread import Spread
from sklearn_gln._stack import LogitStack, MeanStack
from sklearn_gln._target_scale import TargetScale
from sklearn_gln._wide_rows import N_SKETCHED, VARIANCES, WideRows
from sklearn_gln._window import Window
from sklearn_gln.kernels import as_numpy

Shape = tuple[int, ...]

MAX_HALF = float(np.finfo(np.float16).max)
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
TYPES = (
    OnlineNetwork, Settings, Samples, BasePredictor, Bins, RunningMoments, Window, Network, Layer, Preconditioner,
    Spread, Categories, Levels, WideRows, LayersHead, PlainHead, StackedHead, LogitStack, PendingLogits,
    TargetHead, TargetScale, MeanStack, Calibration, RecentErrors, RecentLabels, ErrorScores, PendingErrors,
)  # fmt: skip
WAITING = ("expected", "pending", "window")  # fields whose size follows the stream
_NDARRAY = get_origin(Array)  # np.ndarray, but an alias from NumPy 2.5 on
_halves = ContextVar("halves", default=False)


@contextmanager
def half_precision() -> Iterator[None]:
    """Have `to_plain` make state that only predicts, with weights in half precision."""
    token = _halves.set(True)
    try:
        yield
    finally:
        _halves.reset(token)


def to_plain(state: Any) -> Any:
    """Learned state as dicts, lists and tuples of NumPy arrays, numbers and strings."""
    if isinstance(state, Layer):
        state = state.trimmed()
        if _halves.get():
            state = replace(state, weights=_halved(as_numpy(state.weights)))
    if isinstance(state, OnlineNetwork) and _halves.get():
        state = replace(state, predicts_only=True)
    if is_dataclass(state):
        values = {item.name: to_plain(getattr(state, item.name)) for item in fields(state)}
        return {"type": type(state).__name__, **values}
    if isinstance(state, list | tuple):
        return type(state)(to_plain(item) for item in state)
    return as_numpy(state)


def from_plain(plain: Any) -> Any:
    """The inverse of `to_plain`; state of other fields or types than it makes raises ValueError."""
    if isinstance(plain, dict):
        kind = _types_by_name().get(plain.get("type", ""))
        if kind is None or plain.keys() != {"type", *(item.name for item in fields(kind))}:
            name, names = brief(plain.get("type")), brief(list(plain))
            raise ValueError(f"There is no learned state of type {name} with the fields {names}.")
        values = {item.name: from_plain(plain[item.name]) for item in fields(kind)}
        for item in fields(kind):
            if not _is_of_type(values[item.name], item.type):
                raise ValueError(
                    f"{kind.__name__}.{item.name} must be of type {item.type}; got {values[item.name]!r:.200}."
                )
        state = kind(**values)
        if isinstance(state, OnlineNetwork) and state.predicts_only and state.network is not None:
            for layer in state.network.layers:
                layer.weights = layer.weights.astype(state.settings.dtype)
        return state
    if isinstance(plain, list | tuple):
        return type(plain)(from_plain(item) for item in plain)
    return plain


def _halved(weights: Array) -> Array:
    largest = float(np.abs(weights).max(initial=0))
    if largest > MAX_HALF:
        raise ValueError(
            f"The largest weight is {largest:.6g}, and half precision has numbers up to {MAX_HALF:g}; "
            "save with half=False."
        )
    return weights.astype(np.float16)


def _types_by_name() -> dict[Any, Any]:
    likelihoods = map(type, (BERNOULLI, *TARGET_LIKELIHOODS.values()))
    return {kind.__name__: kind for kind in (*TYPES, *likelihoods)}


def _is_of_type(value: Any, annotation: Any) -> bool:
    """`isinstance` for the annotations of the dataclasses."""
    kind, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if kind is UnionType:
        return any(_is_of_type(value, argument) for argument in arguments)
    if kind is list:
        return isinstance(value, list) and all(_is_of_type(item, *arguments) for item in value)
    if kind is tuple:
        if arguments[-1] is ...:
            arguments = arguments[:1] * len(value) if isinstance(value, tuple) else ()
        matches = isinstance(value, tuple) and len(value) == len(arguments)
        return matches and all(map(_is_of_type, value, arguments))
    if kind is _NDARRAY:
        return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    return isinstance(value, {int: Integral, float: Real, bool: bool | np.bool_}.get(kind, kind))


def check_online(online: OnlineNetwork, is_categorical: Array, output_numbers: Array, head: Head) -> None:
    """Raise ValueError unless the state is one of features (n_features,), these outputs, and a head like this one.

    Of the features is said which are categories.
    """
    n_features = len(is_categorical)
    settings, predictor, network = online.settings, online.predictor, online.network
    n_given, n_outputs = online.n_columns - n_features, len(output_numbers)
    _require(n_given > 0 if callable(predictor.kind) else n_given == 0, f"n_columns is {online.n_columns}")
    _require(
        np.array_equal(online.output_numbers, output_numbers),
        f"outputs are {online.output_numbers!r:.200}, and not {output_numbers!r:.200}",
    )
    _require(min(settings.layer_sizes) > 0, f"layer_sizes are {settings.layer_sizes!r:.200}")
    _require(online.n_samples_seen >= (network is not None), f"n_samples_seen is {online.n_samples_seen}")
    _require(0 < online.unit_weight < np.inf, f"unit_weight is {online.unit_weight}")
    n_columns = online.n_columns
    categorical = np.flatnonzero(is_categorical)
    _require((online.categories is not None) == (len(categorical) > 0), "there are categories, or none")
    if online.categories is not None:
        _check_categories(online.categories, n_features, categorical, n_outputs, settings)
        n_features = online.categories.n_expanded
    _require((online.wide is None) == (settings.n_predictions == 0), "rows are wide, or not, against the settings")
    if online.wide is not None:
        _require(online.categories is None and predictor.has_statistics, "rows are wide, and others")
        _check_wide(online.wide, n_features, n_outputs, settings)
        n_features, n_columns = N_SKETCHED, N_SKETCHED + 1
    n_evidence = 0 if online.evidence is None else online.evidence.n_evidence
    of_feature = (n_features,)
    if network is not None:
        _check_shapes(predictor.moments, weight=of_feature, mean=of_feature, squares=of_feature)
    _check_alike("head", online.head, head)
    _require(online.head.has_sound_pending(n_outputs), "the head's pending samples are of other shapes")
    for samples in online.buffer:
        n = len(samples)
        _require(samples.X.shape == (n, n_columns), f"the buffer has samples of shape {samples.X.shape}")
        by_sample = samples.y, samples.weight, samples.number, samples.first_pass
        _require(head.takes(samples.y, n_outputs), f"the buffer has targets of shape {samples.y.shape}")
        _require(all(array.shape[:1] == (n,) for array in by_sample), "the buffer's arrays are of different lengths")
        _require(all(array.ndim == 1 for array in by_sample[1:]), "the buffer's weights are not one for each sample")
        _require(samples.epoch > 0, f"epoch is {samples.epoch}")
        _check_shapes(samples, FLOATS[1:], evidence=(n, n_outputs, n_evidence) if n_evidence else None)
    if network is not None:
        _check_shapes(predictor, bounds=(2, n_features), mean=of_feature, inverse_deviation=of_feature)
        sound = predictor.window.is_sound(n_features * predictor.has_statistics)
        _require(sound, "the window of features has another shape")
        _check_bins(predictor.bins, n_features, settings.n_bins)
        sizes = online.input_sizes(0 if online.wide is not None else n_given or n_features)
        _check_network(network, sizes, n_features, n_outputs, settings)


def _check_bins(bins: Bins | None, n_features: int, n_bins: int) -> None:
    _require((bins is not None) == (n_bins > 0), "there are bins, or none, against the settings")
    if bins is not None:
        of_piece = (len(bins.columns),)
        _check_shapes(bins, FLOATS[1:], middle=of_piece, inverse_width=of_piece)
        _check_shapes(bins, (np.dtype(int),), columns=of_piece)
        _require(np.isin(bins.columns, np.arange(n_features)).all(), "bins are of features that there are not")
        _require(0 <= bins.n_squared <= n_features, f"n_squared is {bins.n_squared}")


def _check_categories(
    categories: Categories, n_features: int, columns: Array, n_outputs: int, settings: Settings
) -> None:
    n_memories = len(settings.half_lives_of_levels)
    _require(categories.n_features == n_features, f"there are categories of {categories.n_features} features")
    _require(np.array_equal(categories.columns, columns), "categories are other features")
    _require(len(categories.levels) == len(columns), f"there are levels of {len(categories.levels)} features")
    _check_shapes(categories, FLOATS[1:], sums=(n_outputs,), weight=(n_outputs,), kept=(n_memories,))
    n_indicators = (len(categories.indicated_keys),)
    _check_shapes(categories, FLOATS[1:], indicated_keys=n_indicators)
    _check_shapes(categories, (np.dtype(int),), indicated_columns=n_indicators)
    in_range = np.isin(categories.indicated_columns, np.arange(len(columns))).all()
    _require(in_range, "indicators are of categories that there are not")
    _require(categories.met is None, "a fit has not ended")
    for levels in categories.levels:
        n_levels, n_slots = levels.n_levels, len(levels.keys)
        slots = n_outputs, n_memories, n_slots
        _require(levels.max_levels == settings.max_levels, f"max_levels is {levels.max_levels}")
        _require(0 <= n_levels <= min(levels.max_levels, n_slots - 1), f"there are {n_levels} levels")
        _check_shapes(levels, FLOATS[1:], keys=(n_slots,), sums=slots, weight=slots)
        _check_shapes(levels, (np.dtype(int),), n_forgotten=(n_slots,))
        in_table = np.sort(levels.table[levels.table > 0])
        is_table = levels.table.ndim == 1 and levels.table.dtype == np.int32 and levels.table.size.bit_count() == 1
        is_table = is_table and levels.table.min() >= 0 and levels.table.size >= 2 * n_levels
        _require(is_table and np.array_equal(in_table, np.arange(1, n_levels + 1)), "the table of levels is another")


def _check_wide(wide: WideRows, n_features: int, n_outputs: int, settings: Settings) -> None:
    n_memories = len(settings.half_lives_of_levels)
    of_slot = (len(wide.counts),)
    of_models = *of_slot, n_outputs, len(VARIANCES) * n_memories
    floats = FLOATS[1:]
    _check_shapes(wide, floats, weights=of_models, precision=of_models, squares=of_slot, counts=of_slot)
    _check_shapes(wide, floats, share_kept=(n_memories,))
    _check_shapes(wide, (np.dtype(int),), n_forgotten=of_slot)
    _check_shapes(wide, (np.dtype(np.int32),), slot_of=(n_features,))
    _require(0 < wide.n_slots <= len(wide.counts), f"n_slots is {wide.n_slots}")
    slots = np.sort(wide.slot_of[wide.slot_of != 0])
    _require(np.array_equal(slots, np.arange(1, wide.n_slots)), "columns have other slots")
    _require(wide.met is None, "a fit has not ended")


def _check_network(network: Network, sizes: InputSizes, n_side: int, n_outputs: int, settings: Settings) -> None:
    layer_sizes, kind = settings.layer_sizes, settings.preconditioner
    n_sharing = 1 if settings.share_halfspaces else n_outputs
    halfspaces = n_sharing, sum(layer_sizes), settings.context_dim
    limits = (n_outputs,) if settings.likelihood.has_limits else None
    n_first = sizes.evidence + sizes.base
    crossed = (n_outputs, n_first) if settings.solves_first else None
    joint = (n_outputs, n_first, n_first) if settings.solves_first and sizes.evidence else None
    _check_shapes(network, hyperplanes=(*halfspaces, n_side), offsets=halfspaces, limits=limits, cross_moment=crossed)
    _check_shapes(network, FLOATS[1:], joint_moment=joint)
    if network.gap_moment is not None:
        _require(crossed and joint is None, "there are moments of gaps, and no others")
        _check_shapes(network, FLOATS[1:], gap_moment=(n_outputs, sizes.base, sizes.base))
    of_base = group_shape(sizes.base, kind) if kind and sizes.base else None
    of_basis = group_shape(sizes.basis, OF_BASIS) if kind and sizes.basis else None
    _check_preconditioner(network.base_preconditioner, of_base, sizes.base)
    _check_preconditioner(network.basis_preconditioner, of_basis, sizes.basis)
    of_evidence = (n_outputs, sizes.evidence) if kind and sizes.evidence else None
    _check_preconditioner(network.evidence_preconditioner, of_evidence)
    _require(len(network.layers) == len(layer_sizes), f"there are {len(network.layers)} layers")
    n_inputs = sizes.by_layer(settings)
    for number, (layer, size, n_below) in enumerate(
        zip(network.layers, layer_sizes, (0, *layer_sizes[:-1]), strict=True)
    ):
        contexts = n_sharing, 2**settings.context_dim
        _check_layer(layer, (n_outputs, size), n_inputs[number], *contexts, settings.counts_visits)
        _check_preconditioner(layer.preconditioner, (n_outputs, n_below) if kind and n_below else None)
        has_spread = settings.likelihood.has_spread and number == len(layer_sizes) - 1
        _require((layer.spread is not None) == has_spread, "the last layer has the spread, or none")


def _check_layer(
    layer: Layer, neurons: Shape, n_inputs: int, n_sharing: int, n_contexts: int, counts_visits: bool
) -> None:
    n_slots = n_contexts if layer.slot_of is None else layer.weights.shape[2]
    slots = *neurons, n_slots
    _check_shapes(layer, weights=(*slots, n_inputs))
    _check_shapes(layer, FLOATS[1:], accumulator=slots, visits=slots if counts_visits else None)
    if layer.spread is not None:
        _check_shapes(layer.spread, FLOATS[1:], errors=slots, weight=slots)
        _check_shapes(layer.spread, log_ratio=slots, mean_square=neurons[:1])
    _require((layer.slot_of is None) == (layer.n_slots is None), "slot_of and n_slots belong together")
    if layer.slot_of is not None and layer.n_slots is not None:
        gating = n_sharing, neurons[1]
        _check_shapes(layer, (np.dtype(np.int32),), slot_of=(*gating, n_contexts))
        _check_shapes(layer, (np.dtype(int),), n_slots=gating)
        _require(layer.slot_of.flags.c_contiguous, "slot_of is not in C order")  # it is written through a flat view
        in_use = layer.slot_of.min() >= 0 and (layer.slot_of.max(axis=2) < layer.n_slots).all()
        _require(in_use, "slot_of is out of range")
        _require(layer.n_slots.max() <= n_slots, "n_slots is out of range")


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
    """Raise ValueError unless the value has the types and shapes of the model, but for what waits."""
    _require(
        isinstance(value, type(model)), f"{name} is of type {type(value).__name__}, and not {type(model).__name__}"
    )
    if is_dataclass(model):
        for item in fields(model):
            if item.name not in WAITING:
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
