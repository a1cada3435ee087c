"""The size and direction of a learning step: plain schedules, and the normalized, preconditioned step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np

from sklearn_gln._arrays import Array
from sklearn_gln.kernels import Kernels

# Rates of the plain step by sample number t = 1, 2, ... and the initial rate a.
SCHEDULES: dict[str, Callable[[Array, float], Array]] = {
    "constant": lambda t, a: np.full(t.shape, a),
    "inverse": lambda t, a: np.minimum(100 / t, a),  # Veness et al. 2021
    "hyperbolic": lambda t, a: np.minimum(a, 1 / (1 + 0.1 * t)),  # DeepMind's code
}

# Logistic curvature is at most 1/4, so a normalized step of 4 = 1/L goes to the minimum of the quadratic bound; 8 = 2/L
# is the limit, and better only where classes barely overlap (MNIST).
DEFAULT_RATES = {"normalized": 4.0, "constant": 1e-3, "inverse": 1e-2, "hyperbolic": 3e-3}

# Normalized steps aim at s and 1 - s: with 0 and 1 the logits of a neuron grow without end where it is right.
SMOOTHING = 0.02
SMOOTHING_OF_WIDE = 0.005  # of which a linear model says more, and classes are often many

MAX_RATE = 1e6  # any sample's step is then a number in float32 too
TINY = 1e-30  # where u is 0 so is v: the rate only has to be finite

MAX_FULL_PRECONDITIONER = 1500  # base logits; above, "auto" is "block": the cost of "full" grows with their square
MAX_GROUP = 128  # base logits in a group of "block"; groups of 512 took longer and were mostly less accurate


def default_rate(learning_rate: str | Callable[[Array], Array], of_normalized: float) -> float:
    """The rate that learning_rate_init=None stands for."""
    if callable(learning_rate):
        return 1.0
    return of_normalized if learning_rate == "normalized" else DEFAULT_RATES[learning_rate]


def scheduled_rates(learning_rate: str | Callable[[Array], Array], initial_rate: float, sample_numbers: Array) -> Array:
    """The plain step's rate at each sample: (n,)."""
    if callable(learning_rate):
        rates = np.asarray(learning_rate(sample_numbers), dtype=float)
        if rates.shape not in ((), sample_numbers.shape) or not np.all((rates >= 0) & (rates <= MAX_RATE)):
            raise ValueError(
                f"The learning_rate callable returned {rates!r:.200} for the row numbers {sample_numbers!r:.200}; it "
                f"must return one rate from 0 to {MAX_RATE:g} for each, shape {sample_numbers.shape}."
            )
        return np.broadcast_to(rates, sample_numbers.shape)
    return SCHEDULES[learning_rate](sample_numbers, initial_rate)


@dataclass
class Preconditioner:
    """P = (M + r m I)^-1 of one block of inputs: M its running second moment, m the mean eigenvalue of M, r the ridge.

    Base logits may be in groups of random columns, each with its own M, m and P.
    """

    moment: Array  # (n_outputs | n_groups, b, b): weighted sum of u u^T
    floor: float  # of m
    ridge: float = 1.0
    weight: float = 0.0
    matrix: Array | None = None  # (n_outputs | n_groups, b, b): P of the last refresh; None stands for the identity
    groups: tuple[Array, Array] | None = None  # as in the kernel contract

    @classmethod
    def empty(cls, n_outputs: int, size: int, floor: float, ridge: float = 1.0) -> "Preconditioner":
        return cls(np.zeros((n_outputs, size, size)), floor, ridge)

    @classmethod
    def of_base(cls, n_base: int, kind: str, ridge: float = 1.0) -> "Preconditioner":
        n_groups, size = group_shape(n_base, kind)
        preconditioner = cls.empty(n_groups, size, floor=0.0, ridge=ridge)
        if n_groups > 1:
            preconditioner.groups = random_groups(n_base, n_groups, size)
        return preconditioner

    def move_to(self, kernels: Kernels) -> None:
        self.moment = kernels.asarray(self.moment)
        self.matrix = None if self.matrix is None else kernels.asarray(self.matrix)
        if self.groups is not None:
            places, columns = self.groups
            self.groups = kernels.asarray(places), kernels.asarray(columns)

    def update(self, kernels: Kernels, block: Array, sample_weight: Array | None, total_weight: float) -> None:
        self.moment = kernels.add_second_moment(self.moment, block, sample_weight, self.groups)
        self.weight += total_weight

    def forget(self, factor: float) -> None:
        self.moment = self.moment * factor
        self.weight *= factor

    def refresh(self, kernels: Kernels, dtype: str) -> None:
        self.matrix = kernels.damped_inverse(self.moment, self.weight, self.floor, dtype, self.ridge)


def group_shape(n_base: int, kind: str) -> tuple[int, int]:
    """How many groups of how many base logits a preconditioner "full" or "block" has."""
    n_groups = 1 if kind == "full" else max(1, ceil(n_base / MAX_GROUP))
    return n_groups, ceil(n_base / n_groups)


def random_groups(n_columns: int, n_groups: int, size: int) -> tuple[Array, Array]:
    """Columns in groups, always the same: the columns of each group (n_groups, size), and where each column is (n,).

    Neighbours are often near copies of one another: a group of them would shrink what they share, and leave the steps
    to their noise.
    """
    order = np.arange(n_groups * size)
    np.random.RandomState(0).shuffle(order[:n_columns])  # the legacy generator: the same in all versions of NumPy
    places = np.ascontiguousarray(np.minimum(order, n_columns).reshape(size, n_groups).T)
    return places, np.argsort(places, axis=None, kind="stable")[:n_columns]


class StepInputs(NamedTuple):
    """One block of a layer's inputs u, and the direction v = P u in which its weights step."""

    inputs: Array  # (n, n_outputs | 1, b)
    directions: Array  # (n, n_outputs | 1, b)
    squares: Array | None  # (n, n_outputs | 1): u . v, for the normalized step


def step_inputs(kernels: Kernels, inputs: Array, preconditioner: Preconditioner | None, measured: bool) -> StepInputs:
    """The inputs with their directions, and if they are `measured` u . v."""
    if not measured:
        return StepInputs(inputs, inputs, None)
    matrix = None if preconditioner is None else preconditioner.matrix
    groups = None if preconditioner is None else preconditioner.groups
    return StepInputs(inputs, *kernels.precondition(inputs, matrix, groups))


def joined_inputs(kernels: Kernels, blocks: Sequence[StepInputs]) -> StepInputs:
    """Blocks side by side as one."""
    inputs, directions, squares = zip(*blocks, strict=True)
    total = None if squares[0] is None else sum(squares[1:], start=squares[0])
    return StepInputs(kernels.side_by_side(inputs), kernels.side_by_side(directions), total)


def normalized_rates(blocks: Sequence[StepInputs], initial_rate: float) -> Array:
    """a / (u . P u) for each sample: (n, n_outputs | 1)."""
    first, *others = (block.squares for block in blocks if block.squares is not None)
    return initial_rate / (sum(others, start=first) + TINY)
