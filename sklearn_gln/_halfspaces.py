"""Where neurons cut: halfspaces, drawn from the first samples."""

from typing import NamedTuple

import numpy as np
from scipy.special import entr

from sklearn_gln._arrays import Array
from sklearn_gln._base_predictor import NEGLIGIBLE, RunningMoments
from sklearn_gln._settings import Settings
from sklearn_gln._window import GAP, Window
from sklearn_gln.kernels import get_kernels

SINGLE = 0.7  # of cuts, the share on one feature: from 0.6 to all did as well on tables, where rotations mean little
N_CANDIDATES = 4  # of each cut; 2 were worse, 8 no better
MIN_SAMPLES = 32  # to choose by: fewer say too little about which cut is best
COINCIDENT = 1e-6  # two samples nearer than this fraction of their norms define no direction
OFF_THE_SAMPLES = (
    1e-5  # of the projections: a median is a sample's own projection, and rounding must not decide its side
)
DIGITS = 9  # of gains and entropies: rounding, as of sums in another order, must not choose


class Pool(NamedTuple):
    """The first samples, of which halfspaces are made."""

    side_info: Array  # (n, n_side)
    targets: Array  # (n, n_targets): what cuts are to tell apart, each of mean 0 and deviation 1
    numbers: Array  # (n_targets,): of which class, or output
    weight: Array  # (n,)
    entropy: Array  # (n_side,): of each feature's values; 0 where they are all the same

    @classmethod
    def of(cls, side_info: Array, y: Array, weight: Array, output_numbers: Array) -> "Pool":
        """y (n,) are class numbers, or (n, n_outputs) targets, of which wild ones count as the farthest usual one."""
        if y.ndim == 1:
            numbers = np.unique(y)
            targets = (y[:, np.newaxis] == numbers).astype(float)
        else:
            numbers, targets = output_numbers, y.astype(float)
            usual = Window(targets, weight).usual()
            targets = np.clip(targets, usual.median - usual.reach / GAP, usual.median + usual.reach / GAP)
        moments = RunningMoments.empty(targets.shape[1])
        moments.update(targets, weight, get_kernels("numpy"))
        deviation = np.sqrt(moments.variance)
        varies = deviation > NEGLIGIBLE * np.abs(moments.mean)
        inverse = np.divide(1, deviation, out=np.zeros_like(deviation), where=varies)
        scaled = np.nan_to_num((targets - moments.mean) * inverse)  # the mean where there is none
        return cls(side_info, scaled, numbers, weight, _entropies(side_info, weight))

    def of_output(self, number: int) -> "Pool":
        """The pool to draw the halfspaces of one output alone."""
        return self._replace(targets=self.targets[:, self.numbers == number])


def draw_halfspaces(pool: Pool, n_neurons: int, settings: Settings, rng: np.random.Generator) -> tuple[Array, Array]:
    """The halfspaces of n_neurons: normals (n_neurons, context_dim, n_side) and offsets (n_neurons, context_dim)."""
    count, n_side = n_neurons * settings.context_dim, pool.side_info.shape[1]
    if settings.halfspaces == "cuts":
        n_candidates = N_CANDIDATES if len(pool.weight) >= MIN_SAMPLES else 1
        side_info = pool.side_info.astype(float, copy=False)
        normals = _draw_normals(side_info, pool.entropy, count * n_candidates, rng)
        projections = side_info @ normals.T
        offsets = np.median(projections, axis=0)
        offsets += settings.offset_scale * projections.std(axis=0) * rng.standard_normal(len(offsets))
        offsets += OFF_THE_SAMPLES * np.abs(projections).max(axis=0)
        gains = _gains(projections > offsets, pool).reshape(count, n_candidates)
        best = n_candidates * np.arange(count) + gains.argmax(axis=1)
        normals, offsets = normals[best], offsets[best]
    else:
        normals = rng.standard_normal((count, n_side))
        offsets = settings.offset_scale * rng.standard_normal(count)
        if settings.halfspaces == "gaussian":
            normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    shape = (n_neurons, settings.context_dim)
    return normals.reshape(*shape, n_side), offsets.reshape(shape)


def _draw_normals(side_info: Array, entropy: Array, count: int, rng: np.random.Generator) -> Array:
    """Unit normals (count, n_side): single features, by their entropy, and differences of two samples."""
    n_samples, n_side = side_info.shape
    first = rng.integers(n_samples, size=count)
    second = (first + 1 + rng.integers(max(n_samples - 1, 1), size=count)) % n_samples
    normals = side_info[first] - side_info[second]
    norms = np.linalg.norm(side_info, axis=1)
    coincident = np.linalg.norm(normals, axis=1) <= COINCIDENT * (norms[first] + norms[second])
    normals[coincident] = rng.standard_normal((np.count_nonzero(coincident), n_side))
    if entropy.any():
        single = np.flatnonzero(rng.random(count) < SINGLE)
        normals[single] = 0
        normals[single, rng.choice(n_side, len(single), p=entropy / entropy.sum())] = 1
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return normals


def _entropies(values: Array, weight: Array) -> Array:
    """Of the values in each column: (n_columns,)."""
    n, n_columns = values.shape
    order = np.argsort(values, axis=0)
    ordered = np.take_along_axis(values, order, axis=0)
    numbers = np.cumsum(np.diff(ordered, axis=0, prepend=ordered[:1]) != 0, axis=0) + n * np.arange(n_columns)
    shares = np.bincount(numbers.ravel(), weight[order].ravel() / weight.sum(), minlength=n * n_columns)
    return np.round(entr(shares).reshape(n_columns, n).sum(axis=1), DIGITS)


def _gains(is_positive: Array, pool: Pool) -> Array:
    """By how much cuts (n, n_cuts) lower the variance of targets, summed over them: (n_cuts,)."""
    total = pool.weight.sum()
    share = pool.weight @ is_positive / total
    sums = (pool.weight[:, np.newaxis] * pool.targets).T @ is_positive / total
    between = share * (1 - share)
    gains = np.divide((sums**2).sum(axis=0), between, out=np.zeros_like(share), where=between > 0)
    return np.round(gains, DIGITS)
