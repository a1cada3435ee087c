"""Kernels in PyTorch: the chunks of `_numpy`, with sparse products for the slots that a chunk selects.

All slots of a layer are one matrix (k j r, i), in which slots numbered through all neurons ("flat slots") are rows. A
sparse matrix (flat slots, samples) says which samples of a chunk meet which slots, so that the logits W . u of these
meetings are a sampled product, and the summed steps are a product with the directions that is added to W in place.

Inside, outputs that share their inputs form one group, else each is its own: features are (groups, samples, i).
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch

from sklearn_gln.kernels import as_numpy
from sklearn_gln.kernels._host import columns_infer, columns_learn  # noqa: F401

Array = torch.Tensor
Groups = tuple[Array, Array]

ON_DEVICE = True
TASK_SIZE = None
CHUNK_SIZES = None
ROWS = None
CHUNK_ROWS = 64
MANY_SLOTS = 64  # above, most slots wait in memory for more than one sample,
WIDE_CHUNK_ROWS = 256  # and reading them less often is worth longer corrections
SLAB_ROWS = 16  # of a chunk's masked products at a time: they stay in the cache, and what is before a slab is left out
INFER_ROWS = 512
CACHED_WEIGHTS = 2**23  # up to here prediction need not sort its samples by slot
MAX_PROJECTIONS = 2**23  # elements of one gating product
SPARSENESS = 32  # slots for each meeting of a slot and a sample; above, slots that meet none would cost too much

_device: ContextVar[torch.device | None] = ContextVar("_device", default=None)

with warnings.catch_warnings():  # the first CSR matrix of a process warns that the layout is in beta
    warnings.simplefilter("ignore")
    _zero = torch.zeros(1, dtype=torch.int32, device="cpu")
    torch.sparse_csr_tensor(_zero, _zero[:0], _zero[:0], size=(0, 0), check_invariants=False)


@contextmanager
def scope(device: Any = None) -> Iterator[None]:
    token = _device.set(_find(device))
    try:
        with torch.no_grad():
            yield
    finally:
        _device.reset(token)


def _find(device: Any) -> torch.device:
    """Return the device as tensors name theirs; ValueError if it is not available."""
    present = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    try:
        if device is None:
            found = torch.get_default_device()
        else:
            found = torch.device(device.replace("gpu", "cuda") if isinstance(device, str) else device)
        name = "cpu" if found.type == "cpu" else f"{found.type}:{found.index or 0}"
        if found.type == "cuda" and found.index is None and len(present) > 1:
            name = f"cuda:{torch.cuda.current_device()}"
    except (RuntimeError, TypeError):
        name = ""
    if name not in present:
        raise ValueError(f"device={device!r} is not available; PyTorch sees: {present}.")
    return torch.device(name)


def asarray(x: Any) -> Array:
    device = _device.get() or _find(None)
    if isinstance(x, torch.Tensor):
        return x.detach().to(device)
    array = np.asarray(as_numpy(x))
    native = np.asarray(array, array.dtype.newbyteorder("="), order="C")
    return torch.tensor(native, device=device)  # a copy: kernels write into their arrays


def to_numpy(x: Array) -> np.ndarray[Any, Any]:
    return x.detach().to("cpu", copy=True).numpy()  # a copy here too


def owns(x: Any) -> bool:
    return isinstance(x, torch.Tensor)


def take(x: Array, places: Any, axis: int = 0) -> Array:
    return x.index_select(axis, torch.tensor(places, dtype=torch.int64, device=x.device))


def extremes(x: Array) -> tuple[float, float]:
    if not x.numel():
        return 0.0, 0.0
    missing = x.isnan()
    low, high = torch.stack([x.where(~missing, np.inf).amin(), x.where(~missing, -np.inf).amax()]).tolist()
    return (low, high) if low <= high else (0.0, 0.0)


def standardize(x: Array, mean: Array, inverse_deviation: Array, *, limit: float) -> Array:
    return ((x - mean) * inverse_deviation).clamp_(-limit, limit).nan_to_num_(nan=0.0)


def logit(probabilities: Array, *, max_logit: float) -> Array:
    return probabilities.logit().clamp_(-max_logit, max_logit).nan_to_num_(nan=0.0)


def minmax_logit(x: Array, *, max_logit: float) -> Array:
    missing = x.isnan()
    low = x.where(~missing, np.inf).amin(1, keepdim=True)
    high = x.where(~missing, -np.inf).amax(1, keepdim=True)
    odds = (x - low) / (high - x).abs()  # -0 - 0 is -0
    return odds.log_().clamp_(-max_logit, max_logit).nan_to_num_(nan=0.0)


def fill_missing(x: Array) -> Array:
    return x.masked_fill(x.isnan(), 0)


def column_moments(
    x: Array, sample_weight: Array, lower: Any = -np.inf, upper: Any = np.inf
) -> tuple[Array, Array, Array]:
    values = x.double()
    left_out = ~((values >= lower) & (values <= upper))
    values = values.masked_fill(left_out, 0)
    weights = sample_weight.double().unsqueeze(1).expand_as(values).masked_fill(left_out, 0)
    weight = weights.sum(0)
    mean = (weights * values).sum(0) / weight.where(weight > 0, 1)
    return weight, mean, (weights * (values - mean).square_()).sum(0)


def input_block(parts: Sequence[Array], dtype: Any, bias: bool) -> Array:
    columns = [part.to(_dtype(dtype)) for part in parts]
    if bias:
        columns.append(columns[0].new_ones(len(columns[0]), 1))
    return torch.cat(columns, dim=1).unsqueeze(1)


def side_by_side(blocks: Sequence[Array]) -> Array:
    n_outputs = max(block.shape[1] for block in blocks)
    return torch.cat([block.expand(-1, n_outputs, -1) for block in blocks], dim=2)


def _dtype(name: Any) -> torch.dtype:
    return {"float32": torch.float32, "float64": torch.float64}[np.dtype(name).name]


def select_contexts(side_info: Array, hyperplanes: Array, offsets: Array, dtype: Any) -> Array:
    n_outputs, n_neurons, context_dim = offsets.shape
    side_info, normals, thresholds = (array.to(_dtype(dtype)) for array in (side_info, hyperplanes, offsets))
    normals = normals.flatten(0, 2).T
    powers = 2 ** torch.arange(context_dim, dtype=normals.dtype, device=normals.device)  # their sums are exact
    contexts = torch.empty(len(side_info), n_outputs, n_neurons, dtype=torch.int32, device=side_info.device)
    for rows in _slices(len(side_info), max(1, MAX_PROJECTIONS // max(1, normals.shape[1]))):
        projections = (side_info[rows] @ normals).view(*contexts[rows].shape, context_dim)
        contexts[rows] = projections.gt_(thresholds) @ powers
    return contexts


def clip(x: Array, lower: Any, upper: Any) -> Array:
    return x.clamp(lower.to(x.dtype), upper.to(x.dtype)) if owns(lower) else x.clamp(lower, upper)


def minimum(x: Array, y: Array) -> Array:
    return torch.minimum(x, y)


def neuron_mean(x: Array) -> Array:
    return x.mean(2, dtype=torch.float64)


def neuron_moments(x: Array) -> tuple[Array, Array]:
    return neuron_mean(x), x.double().var(2, correction=0)


def at_slots(table: Array, slots: Array) -> Array:
    return table.take(_flat_slots(table, slots))


def add_at_slots(table: Array, slots: Array, values: Array) -> Array:
    # In float64: numbers of fewer bits are added by several threads of a CPU, in any order.
    flat = table.double().flatten()
    flat.index_put_((_flat_slots(table, slots),), values.double(), accumulate=True)
    return flat.view(table.shape).to(table.dtype)


def _flat_slots(table: Array, slots: Array) -> Array:
    """Slots (n, k|1, j) numbered through all neurons of a table (k, j, r, ...): (n, k, j)."""
    n_outputs, n_neurons, n_slots = table.shape[:3]
    first = torch.arange(0, n_outputs * n_neurons * n_slots, n_slots, device=table.device)
    return slots + first.view(n_outputs, n_neurons)


def expand(array: Array, slot_of: Array) -> Array:
    n_outputs, n_neurons = array.shape[:2]
    outputs = torch.arange(n_outputs, device=array.device)[:, None, None]
    neurons = torch.arange(n_neurons, device=array.device)[:, None]
    return array[outputs, neurons, slot_of.long()]


def precondition(block: Array, matrices: Array | None, groups: Groups | None = None) -> tuple[Array, Array]:
    directions = block
    if matrices is not None:
        grouped = block if groups is None else _split(block, groups[0])
        directions = (grouped.transpose(0, 1) @ matrices).transpose(0, 1).contiguous()
        if groups is not None:
            directions = directions.reshape(len(block), 1, groups[0].numel())[:, :, groups[1]]
    return directions, torch.linalg.vecdot(block, directions)


def add_second_moment(
    moment: Array, block: Array, sample_weight: Array | None = None, groups: Groups | None = None
) -> Array:
    block = block if groups is None else _split(block, groups[0])
    weighted = block if sample_weight is None else block * sample_weight.unsqueeze(2)
    return moment + block.permute(1, 2, 0) @ weighted.transpose(0, 1)


def add_cross_moment(moment: Array, block: Array, targets: Array, sample_weight: Array) -> Array:
    weighted = targets * sample_weight
    if block.shape[1] == 1:
        return moment + weighted.T @ block[:, 0]
    return moment + (weighted.T[:, None] @ block.transpose(0, 1))[:, 0]


def _split(block: Array, places: Array) -> Array:
    """Return the columns of a block (n, 1, d) in groups (n, g, b)."""
    return torch.nn.functional.pad(block[:, 0], (0, 1))[:, places]


def damped_inverse(moment: Array, weight: float, floor: float, dtype: Any, ridge: float = 1.0) -> Array:
    mean = moment / weight
    damping = (mean.diagonal(dim1=1, dim2=2).sum(1) / max(1, mean.shape[1])).clamp_(min=floor)
    damping = ridge * damping.where(damping != 0, 1)  # a block that is always 0 never steps
    mean.diagonal(dim1=1, dim2=2).add_(damping.unsqueeze(1))
    root, _ = torch.linalg.cholesky_ex(mean)
    return torch.cholesky_inverse(root).to(_dtype(dtype))


def linear_infer(weights: Array, slots: Array, inputs: Sequence[Array], *, limit: float) -> Array:
    # Every dot product stands alone: a sample's logits do not depend, even in rounding, on those next to it.
    logits = weights.new_empty(len(slots), *weights.shape[:2])
    n_groups = _n_groups(inputs)
    for rows in _slices(len(slots), INFER_ROWS):
        kind = _BySample if weights.numel() <= CACHED_WEIGHTS else _kind_of_meetings(slots[rows], weights)
        meetings = kind(slots[rows], weights, n_groups)
        logits[rows] = meetings.dots(weights, _features(inputs, rows, n_groups))
    return logits.clamp_(-limit, limit)


def linear_learn(
    weights: Array,
    accumulator: Array,
    slots: Array,
    inputs: Sequence[Array],
    directions: Sequence[Array],
    targets: Array,
    rates: Array,
    repeats: Array | None = None,
    *,
    loss: str,
    damping: float,
    limit: float,
    max_weight: float,
    batch_size: int,
) -> tuple[Array, Array, Array]:
    weights, accumulator = weights.contiguous(), accumulator.contiguous()
    logits = weights.new_empty(len(slots), *weights.shape[:2])
    n_groups = _n_groups(inputs)
    is_gradient = all(u is v for u, v in zip(inputs, directions, strict=True))
    times = None if repeats is None else repeats.amax(1).ceil().int().tolist()
    guard = _Guard(max_weight) if max_weight < np.inf else None
    recursion = None
    chunk_rows = WIDE_CHUNK_ROWS if weights.shape[2] > MANY_SLOTS else CHUNK_ROWS
    for rows in _slices(len(slots), batch_size * max(1, chunk_rows // batch_size)):
        features = _features(inputs, rows, n_groups)
        chunk = _Chunk(
            slots[rows],
            features,
            features if is_gradient else _features(directions, rows, n_groups),
            targets[rows].unsqueeze(2),
            rates[rows].unsqueeze(2),
            [(v[rows], u[rows]) for v, u in zip(directions, inputs, strict=True)],
            None if repeats is None else repeats[rows].unsqueeze(2),
            None if times is None else times[rows],
            loss,
            damping,
            limit,
            batch_size,
        )
        if recursion is None or len(recursion.logits) != len(chunk.slots):
            recursion = _Recursion(weights, accumulator.dtype, chunk)
        _learn_chunk(weights, accumulator, chunk, recursion, guard)
        logits[rows] = recursion.logits
    return weights, accumulator, logits.clamp_(-limit, limit)


class _Chunk(NamedTuple):
    """Samples to learn, whole batches of them."""

    slots: Array  # (samples, k|1, j)
    inputs: Array  # (groups, samples, i)
    directions: Array  # (groups, samples, i)
    targets: Array  # (samples, k, 1)
    rates: Array  # (samples, k|1, 1)
    parts: list[tuple[Array, Array]]  # the directions and inputs once more, (samples, k|1, size of a part) each
    repeats: Any  # (samples, k|1, 1); None: one each
    times: Any  # list[int]: the repeats of each sample, rounded up
    loss: str
    damping: float
    limit: float
    batch_size: int

    def motion(self) -> Array:
        """The drop of a sample's own logit after its step, per unit of error and without damping: (samples, k|1, 1)."""
        return self.rates * torch.linalg.vecdot(self.inputs, self.directions).T.unsqueeze(2)


def _slices(length: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def _n_groups(blocks: Sequence[Array]) -> int:
    return max(block.shape[1] for block in blocks)


def _features(blocks: Sequence[Array], rows: slice, n_groups: int) -> Array:
    """The blocks of each group side by side: (groups, samples, i)."""
    return torch.cat([block[rows].transpose(0, 1).expand(n_groups, -1, -1) for block in blocks], dim=2)


class _BySlot:
    """The meetings of slots and samples of a chunk, as a sparse matrix (flat slots, groups * samples).

    Each slot is read and written once for all samples of the chunk that meet it.
    """

    of_all = True  # neurons' largest weights are those of all their slots

    def __init__(self, slots: Array, weights: Array, n_groups: int) -> None:
        n_samples, n_outputs = len(slots), len(weights)
        n_flat_slots, device = prod(weights.shape[:3]), weights.device
        neuron_major = slots.permute(1, 2, 0).contiguous()
        self.order = neuron_major.sort(stable=True).indices.expand(n_outputs, -1, -1)  # samples by slot, then by time
        columns = self.order + torch.arange(0, n_groups * n_samples, n_samples, device=device).view(-1, 1, 1)
        after = _flat_slots(weights, slots).flatten() + 1
        one = torch.ones(1, dtype=torch.int32, device=device)
        self.ends = torch.zeros(n_flat_slots + 1, dtype=torch.int32, device=device)
        self.ends.index_add_(0, after, one.expand_as(after)).cumsum_(0)
        self.columns = columns.int().flatten()
        self.shape = (n_flat_slots, n_groups * n_samples)

    def _matrix(self, values: Array) -> Array:
        return torch.sparse_csr_tensor(self.ends, self.columns, values, self.shape, check_invariants=False)

    def dots(self, weights: Array, inputs: Array) -> Array:
        """The products of inputs (groups, samples, i) with the slots that they meet: (samples, k, j)."""
        matrix = self._matrix(weights.new_zeros(len(self.columns)))
        torch.sparse.sampled_addmm(matrix, weights.flatten(0, 2), inputs.flatten(0, 1).T, beta=0.0, out=matrix)
        values = matrix.values().view(self.order.shape)
        return torch.empty_like(values).scatter_(2, self.order, values).permute(2, 0, 1)

    def add(self, weights: Array, steps: Array, directions: Array) -> None:
        """Subtract from each slot the sum of step * direction over the samples that meet it: the adjoint of `dots`."""
        matrix = self._matrix(steps.permute(1, 2, 0).gather(2, self.order).flatten())
        weights.flatten(0, 2).addmm_(matrix, directions.flatten(0, 1), alpha=-1)

    def largest(self, weights: Array) -> Array:
        """A bound on each neuron's |weights| in these slots: (k, j)."""
        return torch.maximum(weights.amax((2, 3)), -weights.amin((2, 3)))  # no copy of the weights


class _BySample:
    """As `_BySlot`, transposed: of many slots few are met, and nothing counts the others."""

    of_all = False

    def __init__(self, slots: Array, weights: Array, n_groups: int) -> None:
        met = _flat_slots(weights, slots)
        self.met = met.view(len(met), n_groups, -1).transpose(0, 1).contiguous()  # (groups, samples, neurons)
        self.shape = met.shape

    def dots(self, weights: Array, inputs: Array) -> Array:
        columns, n_neurons = self.met.flatten(), self.met.shape[2]
        matrix = torch.sparse_csr_tensor(
            torch.arange(0, len(columns) + 1, n_neurons, device=columns.device),
            columns,
            weights.new_zeros(len(columns)),
            (len(columns) // n_neurons, prod(weights.shape[:3])),
            check_invariants=False,
        )
        torch.sparse.sampled_addmm(matrix, inputs.flatten(0, 1), weights.flatten(0, 2).T, beta=0.0, out=matrix)
        return matrix.values().view(self.met.shape).transpose(0, 1).reshape(self.shape)

    def add(self, weights: Array, steps: Array, directions: Array) -> None:
        moves = steps.reshape(len(steps), len(directions), -1).transpose(0, 1).unsqueeze(3) * directions.unsqueeze(2)
        weights.flatten(0, 2).index_add_(0, self.met.flatten(), moves.flatten(0, 2), alpha=-1)

    def largest(self, weights: Array) -> Array:
        return weights.flatten(0, 2)[self.met].abs_().amax((1, 3)).view(weights.shape[:2])


_Meetings = _BySlot | _BySample


def _kind_of_meetings(slots: Array, weights: Array) -> type[_Meetings]:
    n_flat_slots, n_meetings = prod(weights.shape[:3]), len(slots) * prod(weights.shape[:2])
    return _BySlot if n_flat_slots <= SPARSENESS * n_meetings else _BySample


def _learn_chunk(
    weights: Array, accumulator: Array, chunk: _Chunk, recursion: "_Recursion", guard: "_Guard | None"
) -> None:
    """Learn a chunk in place; the recursion has its logits then, not clipped yet."""
    meetings = _kind_of_meetings(chunk.slots, weights)(chunk.slots, weights, len(chunk.inputs))
    flat_slots = _flat_slots(weights, chunk.slots)
    recursion.logits.copy_(meetings.dots(weights, chunk.inputs))
    accumulator = accumulator.view(-1)
    accumulator_before = accumulator.take(flat_slots)
    recursion.run(chunk, accumulator, flat_slots)
    if guard is not None:
        neurons = guard.clipped(weights, meetings, recursion.steps, chunk.directions)
        if neurons is not None:
            met = flat_slots.flatten(1)[:, neurons]
            accumulator[met] = accumulator_before.flatten(1)[:, neurons]
            recursion.steps.flatten(1)[:, neurons] = 0
            recursion.logits.flatten(1)[:, neurons] = _learn_by_sample(
                weights, accumulator, chunk, met, neurons, guard.max_weight
            )
    meetings.add(weights, recursion.steps, chunk.directions)


class _Recursion:
    """From logits under the chunk's first weights to those before each sample's step, and the steps.

    Made once for chunks of one shape, with its buffers and all views of them: in the loop over samples each operation
    takes about as long as making a view.
    """

    def __init__(self, weights: Array, of_accumulator: torch.dtype, chunk: _Chunk) -> None:
        n_samples, width, n_neurons = chunk.slots.shape
        n_outputs, size = len(weights), chunk.batch_size
        self.logits, self.steps = weights.new_empty(2, n_samples, n_outputs, n_neurons)
        self.gains = torch.empty_like(self.logits, dtype=of_accumulator)
        self.targets = weights.new_empty(n_samples, n_outputs, 1)
        self.met = torch.empty_like(self.logits, dtype=torch.int64)
        arrays = (self.logits, self.gains, self.steps, self.targets, self.met)
        self.batches = list(zip(*(array.split(size) for array in arrays), strict=True))
        n_slab = min(SLAB_ROWS, n_samples) if size < n_samples else 0
        self.meets = weights.new_empty(n_slab, n_samples, width, n_neurons)
        width = max(width, len(chunk.inputs), chunk.rates.shape[1])
        self.moves = weights.new_empty(n_slab, n_samples, width, n_neurons)
        self.later = [
            [(self.logits[stop:], self.moves[r % n_slab, stop:], self.steps[r]) for r in range(stop - size, stop)]
            for stop in range(size, n_samples, size)
        ]

    def run(self, chunk: _Chunk, accumulator: Array, flat_slots: Array) -> None:
        """Bring `accumulator` (flat slots,) up to date, too."""
        damping, size = chunk.damping, chunk.batch_size
        self.targets.copy_(chunk.targets)
        self.met.copy_(flat_slots)
        if self.later:  # [r, t]: rate_r v_r . u_t, (samples, samples, k|1, 1); few groups share a part
            first, *others = (v.transpose(0, 1) @ u.permute(1, 2, 0) for v, u in chunk.parts)
            products = sum(others, start=first).permute(1, 2, 0).unsqueeze(3) * chunk.rates.unsqueeze(1)
        motion = None if chunk.repeats is None else chunk.motion()
        sample = 0
        for b, (s, gains, g, target, met) in enumerate(self.batches):  # g: the steps over the rates, until the end
            if motion is None:
                _error(s, target, chunk, out=g)
                if damping:
                    _gain(g, chunk, out=gains)
                    g.div_(accumulator.take(met).mul_(damping).add_(1))
            else:
                rows = slice(b * size, (b + 1) * size)
                _repeat(s, gains, g, motion[rows], accumulator.take(met), chunk, rows)
            if damping:
                accumulator.index_add_(0, met.view(-1), gains.view(-1))
            if b < len(self.later):
                for later, moves, step in self.later[b]:
                    if sample % SLAB_ROWS == 0:
                        self._start_slab(chunk.slots, products, sample)
                    later.addcmul_(moves, step, value=-1)
                    sample += 1
        if not damping:  # then nothing in the chunk depends on its own accumulator
            if motion is None:
                _gain(self.steps, chunk, out=self.gains)
            accumulator.index_add_(0, flat_slots.view(-1), self.gains.view(-1))
        self.steps.mul_(chunk.rates)

    def _start_slab(self, slots: Array, products: Array, start: int) -> None:
        """moves[r, t] = rate_r v_r . u_t where samples r and t are in one slot, else 0; r from `start` on."""
        slab, later = slice(start, start + SLAB_ROWS), slice(start, None)
        n_slab = len(slots[slab])
        meets = torch.eq(slots[slab, None], slots[later], out=self.meets[:n_slab, later])
        torch.mul(meets, products[slab, later], out=self.moves[:n_slab, later])


def _repeat(
    s: Array, gains: Array, steps: Array, motion: Array, accumulator: Array, chunk: _Chunk, rows: slice
) -> None:
    """Write the summed steps over the rates, and the gains, of all repeats of a batch with logits s."""
    gains.zero_()
    steps.zero_()
    for repeat in range(max(chunk.times[rows])):
        part = (chunk.repeats[rows] - repeat).clamp_(0, 1)
        e = s - steps * motion
        _error(e, chunk.targets[rows], chunk, out=e)
        steps += part * e / (1 + chunk.damping * (accumulator + gains))
        gains += part * _gain(e, chunk, out=e)


def _error(s: Array, targets: Array, chunk: _Chunk, out: Array) -> Array:
    """The derivative of the loss."""
    if chunk.loss == "squared":
        return torch.sub(s, targets, out=out)
    return torch.clamp(s, -chunk.limit, chunk.limit, out=out).sigmoid_().sub_(targets)


def _gain(errors: Array, chunk: _Chunk, out: Array) -> Array:
    """The gain of one repeat."""
    return out.fill_(1) if chunk.loss == "squared" else torch.mul(errors, errors, out=out)


class _Guard:
    """A guard against weights that grow beyond their bound: `largest` (k, j) is at least each neuron's |weights|."""

    def __init__(self, max_weight: float) -> None:
        self.max_weight = max_weight
        self.largest: Array | None = None

    def clipped(self, weights: Array, meetings: _Meetings, steps: Array, directions: Array) -> Array | None:
        """Return the neurons (of k * j) whose weights could reach the bound within the chunk; None for none."""
        longest = directions.abs().amax(2).T.unsqueeze(2)  # (samples, groups, 1)
        growth = (steps.abs() * longest).sum(0)
        largest = (meetings.largest(weights) if self.largest is None else self.largest) + growth
        clipped = None
        if not bool((largest <= self.max_weight).all()):  # NaN is not: without the clip a recursion may overflow
            largest = meetings.largest(weights) + growth
            clipped = (~(largest <= self.max_weight)).flatten().nonzero().flatten()
        self.largest = largest if meetings.of_all else None
        return clipped


def _learn_by_sample(
    weights: Array, accumulator: Array, chunk: _Chunk, flat_slots: Array, neurons: Array, max_weight: float
) -> Array:
    """Learn a chunk for some neurons sample by sample, with the clip of every step; return their logits.

    `flat_slots` (samples, chosen neurons) are theirs.
    """
    n_samples, (n_outputs, n_neurons) = len(flat_slots), weights.shape[:2]
    weights = weights.flatten(0, 2)
    group = neurons // (n_outputs * n_neurons // len(chunk.inputs))

    def choose(array: Array) -> Array:  # as if each neuron were an output: (samples, k|1, 1) -> (samples, chosen, 1)
        return array.expand(n_samples, n_outputs, n_neurons).flatten(1)[:, neurons].unsqueeze(2)

    motion = choose(chunk.motion())
    chunk = chunk._replace(
        targets=choose(chunk.targets),
        rates=choose(chunk.rates),
        repeats=choose(torch.ones_like(chunk.rates) if chunk.repeats is None else chunk.repeats),
        times=chunk.times or [1] * n_samples,
    )
    logits = weights.new_empty(n_samples, len(neurons), 1)
    gains, steps = torch.empty_like(logits, dtype=accumulator.dtype), torch.empty_like(logits)
    for rows in _slices(n_samples, chunk.batch_size):
        batch = range(n_samples)[rows]
        for t in batch:
            torch.linalg.vecdot(weights[flat_slots[t]], chunk.inputs[group, t], out=logits[t, :, 0])
        met = flat_slots[rows].flatten()
        _repeat(
            logits[rows], gains[rows], steps[rows], motion[rows], accumulator[met].view_as(logits[rows]), chunk, rows
        )
        accumulator.index_add_(0, met, gains[rows].flatten())
        steps[rows] *= chunk.rates[rows]
        for t in batch:
            weights.index_add_(0, flat_slots[t], steps[t] * chunk.directions[group, t], alpha=-1)
        for t in batch:
            weights[flat_slots[t]] = weights[flat_slots[t]].clamp_(-max_weight, max_weight)
    return logits.squeeze(2)


# Gaussian neurons: their steps are not linear in their predictions, so samples are learned one by one.


def gaussian_base(
    features: Array, dtype: Any, *, scale: float, bias_means: tuple[float, ...], variance: float
) -> tuple[Array, Array]:
    scaled = scale * features
    constants = scaled.new_tensor(bias_means).expand(len(features), -1)
    means = torch.cat([scaled, -scaled, constants], dim=1).to(_dtype(dtype)).unsqueeze(1)
    return means, torch.full_like(means, variance)


def gaussian_learn(
    weights: Array,
    accumulator: Array,
    slots: Array,
    inputs: Sequence[tuple[Array, Array]],
    targets: Array,
    rates: Array,
    repeats: Array | None = None,
    *,
    normalized: bool,
    damping: float,
    max_error: float,
    max_weight: float,
    min_variance: float,
    max_variance: float,
) -> tuple[Array, Array, Array, Array]:
    weights, accumulator = weights.contiguous(), accumulator.contiguous()
    table, flat_accumulator = weights.flatten(0, 2), accumulator.view(-1)  # (k j r, i), (k j r,)
    means, variances = weights.new_empty(2, len(slots), *weights.shape[:2])
    n_groups = _n_groups([m for m, _ in inputs])
    precisions = _features([1 / v for _, v in inputs], slice(None), n_groups).transpose(0, 1)
    shifts = _features([m / v for m, v in inputs], slice(None), n_groups).transpose(0, 1)
    pairs = torch.stack([precisions, shifts], dim=3)  # (n, groups, i, 2)
    squares = pairs.mT @ pairs
    totals = precisions.sum(2, keepdim=True)
    all_flat_slots = _flat_slots(weights, slots).expand(-1, len(weights), -1)
    targets, rates = targets.unsqueeze(2), rates.unsqueeze(2)
    parts = torch.ones_like(rates) if repeats is None else repeats.unsqueeze(2)
    times = [1] * len(slots) if repeats is None else repeats.amax(1).ceil().int().tolist()
    for t, flat_slots in enumerate(all_flat_slots):
        a, h = precisions[t].unsqueeze(1), shifts[t].unsqueeze(1)
        aa, ah, hh = squares[t, :, 0, :1], squares[t, :, 0, 1:], squares[t, :, 1, 1:]
        w, accumulated = table[flat_slots], flat_accumulator[flat_slots]
        for repeat in range(max(1, times[t])):
            precision, shift = (w @ pairs[t]).unbind(2)
            m, v = _gaussian(precision, shift, min_variance, max_variance)
            if repeat == 0:
                means[t], variances[t] = m, v
            part = (parts[t] - repeat).clamp(0, 1)
            bound = max_error * v.sqrt()
            e = (targets[t] - m).clamp(-bound, bound)
            rate = part * rates[t] / (1 + damping * accumulated.to(w.dtype))
            if normalized:
                rate = rate / (v * (v * aa / 2 + (hh - 2 * m * ah + m * m * aa).clamp(min=0)))
            accumulated = accumulated + part
            along_a, along_h = rate * ((e * e - v) / 2 + e * m), rate * e
            stepped = (w - along_a.unsqueeze(2) * a + along_h.unsqueeze(2) * h).clamp_(0, max_weight)
            precision = (stepped @ pairs[t, :, :, :1]).squeeze(2)
            within = precision.clamp(1 / max_variance, 1 / min_variance)
            corner = torch.where(precision > within, torch.zeros_like(v), max_weight)
            way = corner * totals[t] - precision
            share = ((within - precision) / way.where(way != 0, 1)).clamp(max=1)
            stepped.lerp_(corner.unsqueeze(2).expand_as(stepped), share.unsqueeze(2))
            w = stepped if repeats is None else stepped.where(part.unsqueeze(2) > 0, w)
        table[flat_slots], flat_accumulator[flat_slots] = w, accumulated
    return weights, accumulator, means, variances


def _gaussian(precision: Array, shift: Array, min_variance: float, max_variance: float) -> tuple[Array, Array]:
    """Mean and variance of a weighted product of Gaussians, from the products of its weights with their parameters."""
    precision = precision.clamp(min=1 / max_variance)
    return shift / precision, (1 / precision).clamp(min_variance, max_variance)
