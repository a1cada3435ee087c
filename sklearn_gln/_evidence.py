"""What earlier samples say of single columns, as inputs of neurons."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sklearn_gln._arrays import BY_SAMPLE_AND_OUTPUT, Array
from sklearn_gln._likelihood import Likelihood
from sklearn_gln.kernels import Kernels

LIMIT = 8.0  # of shifts, logits or deviations of the target


@dataclass
class Evidence(ABC):
    """Evidence is met by samples just before they are learned, as (n, n_outputs, n_evidence): it is causal.

    Its first half are shifts of the prediction, in the target's unit, and its second half says how sure they are.
    """

    met: Array | None = field(default=None, kw_only=True, metadata=BY_SAMPLE_AND_OUTPUT)
    # (n, n_outputs, n_evidence): in a fit, of each sample at its first visit; NaN before it

    @property
    @abstractmethod
    def n_outputs(self) -> int: ...

    @property
    @abstractmethod
    def n_evidence(self) -> int:
        """Inputs of a neuron."""

    @abstractmethod
    def rows(self, X: Any, indices: Array) -> Any:
        """Samples in the form that `meet` and `recall` take."""

    @abstractmethod
    def compact(self, rows: Any) -> Array:
        """What samples (n, n_columns) keep of rows."""

    @abstractmethod
    def expanded(self, X: Array) -> Array:
        """Samples, of which `compact` is X, as the base predictor takes them: all columns are numbers."""

    @abstractmethod
    def meet(
        self, rows: Any, targets: Array, sample_weight: Array, likelihood: Likelihood, kernels: Kernels
    ) -> tuple[Array, Callable[[], None]]:
        """The evidence that samples meet just before they are learned, in their order.

        And what has their targets (n, n_outputs), NaN where there is none, be learned.
        """

    @abstractmethod
    def recall(self, rows: Any, likelihood: Likelihood, kernels: Kernels) -> Array:
        """The evidence of samples that are predicted only."""

    @abstractmethod
    def forget(self) -> None:
        """Have the samples so far count less."""

    def scaled(self, evidence: Array, unit: Array) -> Array:
        """Evidence as neurons take it; the unit (n_outputs | 1,) is that of targets."""
        shifts, sureness = np.split(evidence, 2, axis=2)
        return np.concatenate([np.clip(shifts / unit[:, np.newaxis], -LIMIT, LIMIT), sureness], axis=2)

    def begin_fit(self, n_samples: int) -> None:
        """Keep what samples meet, each at its index: in later epochs they would meet their own targets."""
        self.met = np.full((n_samples, self.n_outputs, self.n_evidence), np.nan)

    def keep(self, indices: Array, evidence: Array) -> None:
        if self.met is not None:
            self.met[indices] = evidence

    def met_before(self, indices: Array) -> Array | None:
        """What samples met before in this fit; None if they come for the first time."""
        if self.met is None or np.isnan(self.met[indices[0], 0, 0]):
            return None
        return self.met[indices]

    def end_fit(self) -> None:
        self.met = None


def make_writable(state: Any) -> None:
    """Have the arrays of evidence be such that learning can write them: those of a file that was mapped are not."""
    for name, value in vars(state).items():
        if isinstance(value, list):
            for part in value:
                make_writable(part)
        elif isinstance(value, np.ndarray) and not value.flags.writeable:
            setattr(state, name, np.array(value))


def scrambled(numbers: Array) -> Array:
    """Numbers (n,) of uint64 so that any of their bits are as good as random: the finalizer of MurmurHash3."""
    x = (numbers ^ (numbers >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return x ^ (x >> np.uint64(33))
