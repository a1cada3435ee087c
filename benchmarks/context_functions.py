"""Context functions other than halfspaces: the context of a row is the number of the nearest of 2**context_dim points.

The package has no hook for this; the classifiers here replace its draw and its gating. `tables.py --ablation` and
`accuracy.py evaluate --context-function` compare them with halfspaces.
"""

from contextlib import contextmanager
from unittest.mock import patch

import numpy as np

from sklearn_gln import GLNClassifier, _network

NOISE = 0.1  # deviations, so that points at the same row or at like rows differ
MAX_PROJECTIONS = 2**23  # elements of one gating product


class NearestPoint(GLNClassifier):
    """GLNClassifier whose neurons have points in place of halfspaces; on NumPy's or Numba's kernels."""

    @staticmethod
    def place_points(pool, count, rng):
        """Points (count, n_side), given the side information of the first rows, pool (n, n_side)."""
        raise NotImplementedError

    @contextmanager
    def _kernels(self, n_rows):
        with super()._kernels(n_rows) as kernels, patch.object(_network, "draw_halfspaces", self._draw_points):
            yield NearestPointGating(kernels)

    def _draw_points(self, pool, n_neurons, settings, rng):
        """Points (n_neurons, n_points, n_side) for normals; for offsets half their squared norms."""
        n_points = 2**settings.context_dim
        points = self.place_points(pool.side_info, n_neurons * n_points, rng).reshape(n_neurons, n_points, -1)
        return points, np.vecdot(points, points) / 2


class NearestRow(NearestPoint):
    """Points at random rows."""

    @staticmethod
    def place_points(pool, count, rng):
        noise = NOISE * pool.std(axis=0) * rng.standard_normal((count, pool.shape[1]))
        return pool[rng.integers(len(pool), size=count)] + noise


class NearestBetween(NearestPoint):
    """Points anywhere between two random rows."""

    @staticmethod
    def place_points(pool, count, rng):
        first, second = pool[rng.integers(len(pool), size=(2, count))]
        return first + rng.uniform(size=(count, 1)) * (second - first)


class NearestPointGating:
    """Kernels with another `select_contexts`."""

    def __init__(self, kernels):
        self.kernels = kernels

    def __getattr__(self, name):
        return getattr(self.kernels, name)

    @staticmethod
    def select_contexts(side_info, points, half_squares, dtype):
        """Of |z - p|^2 / 2 = |z|^2 / 2 - (z . p - |p|^2 / 2) the bracket alone tells the points apart."""
        side_info, points, half_squares = (
            array.astype(dtype, copy=False) for array in (side_info, points, half_squares)
        )
        normals = points.reshape(-1, points.shape[-1]).T
        contexts = np.empty((len(side_info), *half_squares.shape[:2]), np.int32)
        rows_per_product = max(1, MAX_PROJECTIONS // half_squares.size)
        for start in range(0, len(side_info), rows_per_product):
            rows = slice(start, start + rows_per_product)
            projections = (side_info[rows] @ normals).reshape(-1, *half_squares.shape)
            contexts[rows] = (projections - half_squares).argmax(axis=-1)
        return contexts


CONTEXT_FUNCTIONS = {"halfspaces": GLNClassifier, "nearest-row": NearestRow, "nearest-between": NearestBetween}
