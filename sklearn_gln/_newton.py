"""Newton's method for the few parameters of a head."""

from collections.abc import Callable

import numpy as np

from sklearn_gln._arrays import Array

Derivatives = Callable[[Array], tuple[float, Array, Array]]  # at a point: the loss, its gradient, its curvature

MAX_STEPS = 50  # it needs about 6
MAX_HALVINGS = 40  # of a step
CONVERGED = 1e-11
ROUNDING = 1e-10  # of a loss: near the optimum it must not stop the last steps, which make splits agree


def minimize(
    derivatives: Derivatives, start: Array, step_of: Callable[[Array, Array, Array], Array]
) -> tuple[Array, Array]:
    """Minimize a convex loss by steps `step_of` (point, gradient, curvature); return the point and the curvature there.

    A step that raises the loss is halved.
    """
    point = start
    loss, gradient, curvature = derivatives(point)
    for _ in range(MAX_STEPS):
        step, old, old_loss = step_of(point, gradient, curvature), point, loss
        for _ in range(MAX_HALVINGS):
            point = old + step
            loss, gradient, curvature = derivatives(point)
            if loss <= old_loss + ROUNDING * abs(old_loss):
                break
            step = step / 2
        if np.abs(point - old).max() < CONVERGED:
            break
    return point, curvature
