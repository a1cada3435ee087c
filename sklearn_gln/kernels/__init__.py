"""The kernel contract: what a backend must compute, and nothing more.

A backend is a module of functions, all with the signatures below; ``get_kernels(name)`` imports it. Shapes use
n samples (a time axis), k outputs, j neurons, c contexts, i inputs; ``k|1`` is an axis that has length 1 where
all outputs share the array.

::

    asarray(x) -> Array                     # NumPy in, dtype kept
    to_numpy(x) -> ndarray

    select_contexts(side_info, hyperplanes, offsets) -> contexts
        # (n, n_side), (k|1, j, context_dim, n_side), (k|1, j, context_dim) -> int32 (n, k|1, j) in [0, 2**context_dim)
        # bit q of a context says whether hyperplane q has the row on its positive side

    bernoulli_infer(weights, contexts, inputs, *, max_logit) -> logits (n, k, j)
        # weights (k, j, c, i); inputs: one or two blocks (n, k|1, block_size) whose sizes sum to i

    bernoulli_learn(weights, energy, contexts, inputs, directions, targets, rates, sample_weight=None, *,
                    damping, max_logit, max_weight, batch_size) -> (weights, energy, logits)
        # energy (k, j, c): the squared errors of each weight row, summed; directions: blocks shaped as inputs, the
        # step's v (the inputs themselves for a gradient step); targets (n, k) in {0, 1}; rates (n, k|1);
        # sample_weight (n, k|1): visits of each row

    second_moment(block, sample_weight=None) -> (k|1, b, b)     # sum over rows of weight * outer(u, u); weight (n, 1)
    precondition(block, matrices) -> (directions, squares)      # block @ matrices (k|1, b, b) or the block itself
                                                                # for None; squares (n, k|1) = sum(block * directions)
    TASK_SIZE: int | None                                       # the neurons that one call serves best; see below

Rules that every backend keeps:

- samples are a time axis: row t sees what rows before t left behind. Returned logits are those before the row's own
  step, clipped to [-max_logit, max_logit]; the clip does not stop the step;
- within a batch of ``batch_size`` consecutive rows (counted from the first row of the call) all rows see the same
  weights and energies; the steps that meet in one context are summed, then clipped once to [-max_weight, max_weight];
- a row of weight q is visited floor(q) times, then once more with step and squared error scaled by the fraction; the
  visits follow one another on the row's own logit, and their sum is one step;
- ``weights`` and ``energy`` may be overwritten: the caller uses what is returned. A backend with a ``TASK_SIZE``
  writes in place, so that ``ThreadedKernels`` can cut its calls into tasks; with None it has threads of its own;
- no random numbers, no row counter, no global configuration inside; arrays of one floating dtype in, the same out;
- nothing of shape (n, k, j, i) for all rows at once.
"""

import importlib
import importlib.util
from concurrent.futures import Executor
from types import ModuleType

from sklearn_gln.kernels._threads import ThreadedKernels

BACKENDS = {
    "numpy": "sklearn_gln.kernels._numpy",
    "numba": "sklearn_gln.kernels._numba",
}

Kernels = ModuleType | ThreadedKernels


def get_kernels(backend: str = "auto") -> ModuleType:
    """Import the kernels of a backend; "auto" is Numba where it is installed, else NumPy."""
    if backend == "auto":
        backend = "numpy" if importlib.util.find_spec("numba") is None else "numba"
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r} is unknown; choose 'auto' or one of {', '.join(map(repr, BACKENDS))}.")
    try:
        return importlib.import_module(BACKENDS[backend])
    except ImportError as error:
        raise ImportError(
            f"backend={backend!r} needs a package that is not installed ({error}); install it with "
            f"`pip install {backend}`, or choose backend='numpy'."
        ) from error


def in_tasks(kernels: ModuleType, executor: Executor | None = None) -> Kernels:
    """The kernels with their calls cut into tasks, which the executor's threads share."""
    return kernels if kernels.TASK_SIZE is None else ThreadedKernels(kernels, executor)
