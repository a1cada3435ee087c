"""Actions, and numbers one a round, in the forms in which users have them."""

from numbers import Integral
from reprlib import repr as brief

import numpy as np

from sklearn_gln._input import labels, real_numbers
from sklearn_gln.kernels import as_numpy


def labels_of(actions, name="actions"):
    """The labels (n_actions,) that actions, a number or labels, stand for."""
    if isinstance(actions, Integral):
        return np.arange(actions)
    array = labels(as_numpy(actions), name)
    if array.ndim != 1 or not len(array) or len(set(array.tolist())) < len(array):
        raise ValueError(f"{name}={brief(actions)} must be labels of actions, each once: shape (n_actions,).")
    return array


def columns_of(actions, known, advice):
    """The places (n,) among known labels of actions; others raise ValueError."""
    array = labels(as_numpy(actions), "actions")
    if array.ndim != 1:
        raise ValueError(f"actions has shape {array.shape}; pass one label for each round.")
    numbers = {label: number for number, label in enumerate(known.tolist())}
    unique, inverse = np.unique(array, return_inverse=True)
    unknown = [label for label in unique.tolist() if label not in numbers]
    if unknown:
        raise ValueError(f"actions holds {brief(unknown)}, which is not among {brief(known.tolist())}; {advice}.")
    return np.array([numbers[label] for label in unique.tolist()], int)[inverse]


def read_probabilities(probabilities):
    """Probabilities (n,) float64 of the actions taken."""
    array = read_vector(probabilities, "probabilities", "leave such rounds out, or all probabilities")
    if not np.all((array > 0) & (array <= 1)):
        raise ValueError(
            f"probabilities holds values from {array.min():.6g} to {array.max():.6g}; those of actions that were taken "
            "are above 0 and at most 1."
        )
    return array


def read_vector(values, name, advice):
    """Finite numbers (n,) float64."""
    array = real_numbers(as_numpy(values), name, advice, "Pass numbers.")
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; pass one number for each round.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains infinity; {advice}.")
    return array
