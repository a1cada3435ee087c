"""The settings of a network: an estimator's parameters, checked and resolved."""

from collections.abc import Callable
from dataclasses import dataclass

from sklearn_gln._arrays import Array
from sklearn_gln._likelihood import Likelihood

MIXED = (None, 50.0, None, 1000.0, None, None)  # half-lives
OF_LEVELS = (None, 500.0)  # where neurons have several
OF_STATISTICS = 4000.0  # half-life, where neurons have several


@dataclass(frozen=True)
class Settings:
    likelihood: Likelihood
    layer_sizes: tuple[int, ...]  # a linear first neuron and aggregation="neuron"'s final one included
    context_dim: int
    halfspaces: str
    offset_scale: float
    share_halfspaces: bool
    bias: bool
    skip: bool
    learning_rate: str | Callable[[Array], Array]
    learning_rate_init: float
    label_smoothing: float  # s: neurons learn the targets s and 1 - s
    preconditioner: str | None  # "full" or "block", which is that of the base logits
    initial_weights: str
    aggregation: str
    eps: float
    max_weight: float
    batch_size: int
    dtype: str
    half_life: float | str | None = None  # samples; "mixed": neurons have several
    squares: bool = False  # whether neurons are given the squares of the base inputs too
    n_bins: int = 0  # of each feature, of which the first layer is given a basis; 0: none
    max_levels: int = 1  # of a category that are told apart
    counts_visits: bool = False  # whether layers count the samples that each slot has learned
    n_predictions: int = 0  # of linear models over wide rows, the first ones of the evidence; 0: rows are not wide

    @property
    def solves_first(self) -> bool:
        """Whether the linear first neuron is set to the ridge regression of all samples at the clock's events."""
        return self.likelihood.can_solve_first and self.preconditioner == "full"

    @property
    def is_mixed(self) -> bool:
        """Whether there are several half-lives."""
        return isinstance(self.half_life, str)

    @property
    def half_lives(self) -> tuple[float | None, ...]:
        """Those of the neurons of each layer, which take turns."""
        return MIXED if isinstance(self.half_life, str) else (self.half_life,)

    @property
    def half_life_of_statistics(self) -> float | None:
        """That of all that is not the neurons'."""
        return OF_STATISTICS if isinstance(self.half_life, str) else self.half_life

    @property
    def half_lives_of_levels(self) -> tuple[float | None, ...]:
        """Those of what is known of categories' levels."""
        return OF_LEVELS if isinstance(self.half_life, str) else (self.half_life,)

    @property
    def n_constants(self) -> int:
        """Constant inputs of a neuron."""
        return self.bias * self.likelihood.constants_per_bias

    def n_base(self, n_given: int) -> int:
        """Inputs of the first layer's neurons, of n_given scaled features or base predictions."""
        return n_given * (2 if self.squares else self.likelihood.inputs_per_base) + self.n_constants

    def max_basis(self, n_features: int) -> int:
        """Inputs that the first layer's neurons have besides, at most."""
        return n_features * (1 + self.n_bins) if self.n_bins else 0

    @property
    def limit(self) -> float:
        """The bound of neurons' outputs, as the kernels have it."""
        return self.likelihood.limit(self.eps)

    @property
    def normalized(self) -> bool:
        return self.learning_rate == "normalized"
