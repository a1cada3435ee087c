"""The unit in which a network learns a real target: centred, and divided by its deviation.

Both are those of the samples up to the last rebuild. A target that none of these had gets them from the last ones at
the first event thereafter that finds enough; before, it is not learned. Before the target has varied predictions say
nothing. A target further off than `reach` counts the less the further, so that a wild one teaches next to nothing; the
reach follows the last targets where they leave it.
"""

from dataclasses import dataclass, field

import numpy as np

from sklearn_gln._arrays import BY_OUTPUT, BY_SAMPLE_AND_OUTPUT, Array
from sklearn_gln._base_predictor import RunningMoments
from sklearn_gln._window import SIZE, Usual, Window
from sklearn_gln.kernels import Kernels, get_kernels

MAX_TARGET = 1e100  # its square and the square of its inverse are numbers
MAX_DEVIATIONS = 1e12  # of a target from the mean; its square is a number in float32 too
CONSTANT = 1e-13  # a deviation below this fraction of the mean's magnitude is none
FARTHEST = 16.0  # deviations: of 256 targets, up to the last rebuild, none is farther from their mean
FADING = 0.5  # of the reach that was, at least, at an event
LARGEST_FACTOR = 8.0  # of earlier errors: a wild target had blown up their unit
SMALLEST_LIMIT = 1.5  # deviations of the target
HEADROOM = 3.0  # of neurons' predictions, over the largest target seen
ENOUGH = 16  # targets for a unit, after the last rebuild


@dataclass
class TargetScale:
    origin: Array = field(metadata=BY_OUTPUT)  # (n_outputs,): the targets' mean
    unit: Array = field(metadata=BY_OUTPUT)  # (n_outputs,): their deviation, or their size where they are all the same
    largest: Array = field(metadata=BY_OUTPUT)  # (n_outputs,): of |target|, in its unit
    window: Window = field(metadata=BY_SAMPLE_AND_OUTPUT)  # of targets
    reach: Array = field(metadata=BY_OUTPUT)  # (n_outputs,) in their units, since the last event
    is_known: Array = field(metadata=BY_OUTPUT)  # (n_outputs,) bool: whether origin and unit are
    varied: Array = field(metadata=BY_OUTPUT)  # (n_outputs,) bool: whether the target had by the last event
    n_targets: Array = field(metadata=BY_OUTPUT)  # (n_outputs,): taken in so far
    knows_wild: bool = True  # whether some targets may be wild

    @classmethod
    def empty(cls, n_outputs: int, knows_wild: bool = True) -> "TargetScale":
        return cls(
            np.zeros(n_outputs),
            np.ones(n_outputs),
            np.zeros(n_outputs),
            Window.empty(n_outputs),
            np.full(n_outputs, MAX_DEVIATIONS),
            np.zeros(n_outputs, bool),
            np.zeros(n_outputs, bool),
            np.zeros(n_outputs, int),
            knows_wild,
        )

    @property
    def limits(self) -> Array:
        """The bounds (n_outputs,) of neurons' predictions."""
        return HEADROOM * np.maximum(SMALLEST_LIMIT, self.largest)

    @property
    def is_late(self) -> Array:
        """Whether there have been samples, but too few targets to know anything of them: (n_outputs,)."""
        is_late: Array = ~self.is_known & (len(self.window.weight) > 0)
        return is_late
        return is_late

    def standardize(self, y: Array) -> Array:
        """Targets (n, n_outputs) in their units; from the reach on they count the less the further off they are.

        NaN where there is none, or no unit yet.
        """
        standardized = np.clip((y - self.origin) / self.unit, -MAX_DEVIATIONS, MAX_DEVIATIONS)
        excess = np.maximum(np.abs(standardized) / self.reach, 1)
        return np.where(self.is_known, standardized / excess**3, np.nan)

    def restore(self, means: Array) -> Array:
        """The inverse of `standardize`, of means (..., n_outputs)."""
        return means * self.unit + self.origin

    def rescale(self, y: Array, sample_weight: Array, kernels: Kernels) -> Array:
        """Go over to the units of the targets y (n, n_outputs) of all samples so far.

        Returns the factors (n_outputs,) that errors in the old units are to be multiplied by.
        """
        before = self.unit
        self.window = Window(y, sample_weight)
        usual = self._usual()
        self.origin, self.unit = self._of_window(usual, kernels)
        self.is_known = np.count_nonzero(~np.isnan(y), axis=0) > 0
        self.largest = np.zeros(len(before))
        self.reach = np.where(self.varied, FARTHEST, MAX_DEVIATIONS)
        self._follow(usual)
        self.window = Window(y[-SIZE:], sample_weight[-SIZE:])
        return np.where(self.varied, np.minimum(before / self.unit, LARGEST_FACTOR), 1)

    def _usual(self) -> Usual:
        usual = self.window.usual(of_targets=True)
        return usual if self.knows_wild else usual._replace(reach=np.full(len(usual.reach), np.inf))

    def _of_window(self, usual: Usual, kernels: Kernels) -> tuple[Array, Array]:
        """Mean and deviation of the window's targets, or their size where they are all the same."""
        bound = np.where(usual.n_others > 0, usual.reach, np.inf)
        moments = RunningMoments.empty(len(bound))
        bounds = usual.median - bound, usual.median + bound
        moments.update(self.window.values, self.window.weight, kernels, bounds)
        deviation, size = np.sqrt(moments.variance), np.abs(moments.mean)
        constant = deviation <= np.maximum(CONSTANT * size, 1 / MAX_TARGET)
        return moments.mean, np.where(constant, np.where(size > 1 / MAX_TARGET, size, 1), deviation)

    def take_in(self, y: Array, standardized: Array, sample_weight: Array) -> None:
        """Have the largest target, and at the next event the reach, follow targets (n, n_outputs)."""
        self.largest = np.fmax(self.largest, np.fmax.reduce(np.abs(standardized), axis=0))
        self.window.add(y, sample_weight)
        self.n_targets = self.n_targets + np.count_nonzero(~np.isnan(y), axis=0)

    def follow(self) -> None:
        """Have the reach follow the last targets, and those that have come late get a unit."""
        usual = self._usual()
        begins = ~self.is_known & (self.n_targets >= ENOUGH)
        if begins.any():
            origin, unit = self._of_window(usual, get_kernels("numpy"))
            self.origin, self.unit = np.where(begins, origin, self.origin), np.where(begins, unit, self.unit)
            self.is_known = self.is_known | begins
        self._follow(usual)

    def _follow(self, usual: Usual) -> None:
        of_window = (np.abs(usual.median - self.origin) + usual.reach) / self.unit
        before = np.where(self.varied, FADING * self.reach, 0)
        reach = np.clip(np.maximum(of_window, before), FARTHEST, MAX_DEVIATIONS)
        self.reach = np.where(usual.n_others > 0, reach, self.reach)
        of_window = np.fmax.reduce(np.abs(self.standardize(self.window.values)), axis=0, initial=0)
        self.largest = np.fmax(self.largest, of_window)

    def update(self) -> None:
        self.varied = self.largest > FARTHEST * CONSTANT
