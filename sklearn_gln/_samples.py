"""Samples on their way into the network."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sklearn_gln._arrays import BY_SAMPLE_AND_OUTPUT, Array
from sklearn_gln.kernels import Kernels, as_numpy, get_kernels

BY_SAMPLE = "y", "weight", "number", "first_pass", "evidence"  # arrays of NumPy, besides X


@dataclass
class Samples:
    """Samples in the order in which they are learned."""

    X: Array  # (n, n_columns) of NumPy or a backend, which may have more: padding
    y: Array = field(metadata=BY_SAMPLE_AND_OUTPUT)  # (n,): class numbers; or (n, n_outputs): targets
    weight: Array  # (n,) float64; samples of weight 0 are predicted only
    number: Array  # (n,): of the sample in the stream; one of weight 0 has that of the sample before
    first_pass: Array  # (n,) bool: whether predictions of it are honest, and its errors count
    epoch: int  # in which they are learned
    evidence: Array | None = field(
        default=None, metadata=BY_SAMPLE_AND_OUTPUT
    )  # (n, n_outputs, n_evidence) of NumPy: what was known of their levels; None where no feature is a category

    def __len__(self) -> int:
        return len(self.number)

    @classmethod
    def concatenate(cls, parts: Sequence["Samples"]) -> "Samples":
        names = [name for name in ("X", *BY_SAMPLE) if getattr(parts[-1], name) is not None]
        joined: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return replace(parts[-1], **joined)

    def merged(self, targets: Array) -> tuple["Samples", Array, Array]:
        """Samples alike as one that weighs as much as they do together, in the order of the first of each.

        Returned with the means (n, n_outputs) of their targets (n, n_outputs), and the sums of the squared deviations.
        """
        first, group = groups_of_alike(np.hstack([self.X, np.isnan(targets)]))

        def summed(values: Array) -> Array:
            return np.stack([np.bincount(group, self.weight * column) for column in values.T], axis=1)

        weight = np.bincount(group, self.weight)
        means = summed(targets) / weight[:, np.newaxis]
        scatter = summed((targets - means[group]) ** 2)
        return replace(self.part(first, get_kernels("numpy")), weight=weight), means, scatter

    def part(self, places: slice | Array, kernels: Kernels) -> "Samples":
        """Those at some places, a slice or a mask; X as an array of the kernels, padded to a size they compile for."""
        arrays = {name: getattr(self, name) for name in BY_SAMPLE}
        taken: dict[str, Any] = {name: None if array is None else array[places] for name, array in arrays.items()}
        return replace(self, X=take_padded(self.X, np.arange(len(self))[places], kernels), **taken)


def groups_of_alike(X: Array) -> tuple[Array, Array]:
    """The samples of equal features: the first of each group, in their order, and the group of each sample (n,)."""
    rows = np.ascontiguousarray(X + 0.0)  # without -0
    _, first, group = np.unique(
        rows.view(np.dtype((np.void, rows.strides[0]))).ravel(), return_index=True, return_inverse=True
    )
    order = np.argsort(first)
    return first[order], np.argsort(order)[group]


def has_alike(X: Array) -> bool:
    """Whether samples have equal features."""
    return len(groups_of_alike(X)[0]) < len(X)


def take_padded(X: Array, indices: Array, kernels: Kernels) -> Array:
    """X[indices] as an array of the kernels, padded with copies of the first sample."""
    if kernels.CHUNK_SIZES is not None:
        size = next(size for size in kernels.CHUNK_SIZES if size >= len(indices))
        indices = np.pad(indices, (0, size - len(indices)))
    return kernels.take(X, indices) if kernels.owns(X) else kernels.asarray(as_numpy(X)[indices])


def padded(values: Array, size: int, dtype: str, kernels: Kernels) -> Array:
    """NumPy's values (n, ...) as an array (size, ...) of the kernels, padded with zeros."""
    array = np.zeros((size, *values.shape[1:]), dtype)
    array[: len(values)] = values
    return kernels.asarray(array)
