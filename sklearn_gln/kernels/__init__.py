"""The kernel contract: everything that a backend must compute, and nothing more.

A backend is a module of functions, all with the signatures below; ``get_kernels(name)`` imports it. Shapes use
n samples (a time axis), k outputs, j neurons, r slots, c contexts, i inputs, d features; ``k|1`` is an axis that has
length 1 where all outputs share the array. A slot is one weight row of a neuron; a context, which a sample's side
information selects, may or may not have a slot of the same number: kernels that index weights are given slots.

::

    scope(device) -> context manager        # inside it arrays are made on the device, and the functions may be called;
                                            # None is the framework's own default; ValueError if it is not available
    asarray(x) -> Array                     # NumPy or any framework in, dtype kept; an array on the device as it is
    to_numpy(x) -> ndarray
    owns(x) -> bool                         # whether x is an array of this framework
    take(x, places, axis=0) -> Array        # at NumPy integers, none negative, along an axis

    extremes(x) -> (min, max)               # Python floats, NaN left out; of nothing (0, 0)
    standardize(x, mean, inverse_deviation, *, limit) -> (n, d)     # (x - mean) * inverse_deviation within +-limit,
                                                                    # 0 where x is NaN; in the precision of the operands
    logit(probabilities, *, max_logit) -> as shaped                 # within +-max_logit, 0 for NaN
    minmax_logit(x, *, max_logit) -> (n, d) # the same of each row scaled to its own [0, 1]; 0 for a constant row
    fill_missing(x) -> as shaped            # 0 where x is NaN
    column_moments(x, sample_weight, lower=-inf, upper=inf) -> (weight, mean, squares)  # (n, d), (n,) -> (d,) each,
                                            # float64, of what lies within [lower, upper], (d,) each; NaN left out:
                                            # sums of weights, means, weighted sums of squared deviations
    input_block(parts, dtype, bias) -> (n, 1, ...)  # parts (n, size) side by side, cast; then a constant 1 if bias
    side_by_side(blocks) -> (n, k|1, ...)   # blocks (n, k|1, size) of one dtype, those that outputs share repeated if
                                            # others are by output

    select_contexts(side_info, hyperplanes, offsets, dtype) -> contexts
        # (n, n_side), (k|1, j, context_dim, n_side), (k|1, j, context_dim) -> int32 (n, k|1, j) in [0, 2**context_dim)
        # computed in dtype ("float32", "float64"); bit q says whether hyperplane q has the row on its positive side

    linear_infer(weights, slots, inputs, *, limit) -> logits (n, k, j)
        # weights (k, j, r, i); slots (n, k|1, j) int32; inputs: one or two blocks (n, k|1, block_size) whose sizes sum
        # to i

    linear_learn(weights, accumulator, slots, inputs, directions, targets, rates, repeats=None, *,
                    loss, damping, limit, max_weight, batch_size) -> (weights, accumulator, logits)
        # accumulator (k, j, r) float64: damps the steps of each slot, see below; directions: blocks shaped as inputs,
        # the step's v (the inputs themselves for a gradient step); targets (n, k); rates (n, k|1);
        # repeats (n, k|1): how often each sample is learned; loss: "log" or "squared"

    gaussian_base(features, dtype, *, scale, bias_means, variance) -> (means, variances)
        # the base block of a Gaussian network, (n, 1, 2 d + len(bias_means)) each: means scale * x, -scale * x, then
        # the constants; all of one variance
    gaussian_learn(weights, accumulator, slots, inputs, targets, rates, repeats=None, *, normalized, damping, max_error,
                   max_weight, min_variance, max_variance) -> (weights, accumulator, means, variances)
        # inputs: one or two blocks, each a pair (means, variances) of (n, k|1, size); everything else as above; means
        # and variances (n, k, j)

    clip(x, lower, upper) -> as shaped      # x within [lower, upper], dtype kept: two Python numbers, or two arrays
                                            # that broadcast against x
    minimum(x, y) -> as shaped              # of two arrays that broadcast
    neuron_mean(x) -> (n, k) float64        # the mean over neurons of x (n, k, j)
    neuron_moments(x) -> (mean, variance)   # (n, k) float64 each: the same, and the mean squared deviation from it
    at_slots(table, slots) -> (n, k, j)     # table (k, j, r), slots (n, k|1, j) int32: table[k, j, slots[n, k, j]]
    add_at_slots(table, slots, values) -> table     # += values (n, k, j); slots that occur several times add up
    expand(array, slot_of) -> (k, j, c, ...)        # array (k, j, r, ...), slot_of (k|1, j, c):
                                                    # array[k, j, slot_of[k, j, c]]

    columns_infer(rows, known, *, variances, constant_precision) -> (shifts, uncertainties)
        # z and u of `_wide_rows`, which has the formulas and bounds, (n, k, m) each, of m models; NumPy's arrays on
        # every backend, float64.
        # rows = (indptr (n + 1,), slots, values): row t has values[indptr[t]:indptr[t + 1]] in columns of these slots,
        # from 1 on, none twice; slot 0 is the constant's. known = (weights, precision, squares, counts) of the slots,
        # (r, k, m) the first two and (r,) the others. variances (m,): v; the constant's is 1 / constant_precision
    columns_learn(rows, known, targets, sample_weight, *, variances, constant_precision, loss)
                                            -> (shifts, uncertainties)
        # the same just before each row is learned, in order; the arrays of `known` are written in place. targets
        # (n, k), NaN: none; sample_weight (n,), 0: the row is predicted only; loss: "log" or "squared"

    precondition(block, matrices, groups=None) -> (directions, squares)
        # directions: block (n, k|1, b) @ matrices (k|1, b, b), or the block itself for None; squares (n, k|1): sum over
        # b of block * directions; groups = (places (g, b), columns (d,)) for matrices (g, b, b) of a block (n, 1, d):
        # places[g] are the columns of group g, padded with d; columns are where the groups, side by side, have them
    add_second_moment(moment, block, sample_weight=None, groups=None) -> moment
        # float64 (k|1, b, b) += sum over samples of weight * outer(u, u); block (n, k|1, b), weight (n, k|1)
    add_cross_moment(moment, block, targets, sample_weight) -> moment
        # float64 (k, b) += sum over samples of weight * y * u; block (n, k|1, b), targets (n, k), weight (n, k|1)
    damped_inverse(moment, weight, floor, dtype, ridge=1.0) -> (k|1, b, b)
        # (M + ridge m I)^-1 of M = moment / weight in float64, then cast; m = max(mean eigenvalue of M, floor), 1 for 0

    ON_DEVICE: bool                         # has its own arrays, and a slot for every context from the start
    TASK_SIZE: int | None                   # the neurons that one call serves best; see below
    OUTPUTS_TOGETHER: bool                  # with a TASK_SIZE: whether one call had best have all outputs of a neuron
                                            # that share halfspaces; its weights then are those of some neurons of each
                                            # output, not contiguous
    CHUNK_SIZES: tuple[int, ...] | None     # chunk sizes to which callers pad their arrays (with samples of 0 repeats),
                                            # because others would be compiled again; None: any number of samples
    ROWS: ModuleType | None                 # functions by which `_single_row` has one row go through the network, to
                                            # the results of those above, and the head takes in its label; None: there
                                            # are none, and it goes their way

Rules that every backend keeps:

- a neuron computes s = w . u with the weights w of the sample's slot. For the log loss s is the logit of the target's
  probability, its error is e = sigmoid(s within +-limit) - y, and the slot's accumulator gains e^2. For the squared
  loss s is the prediction itself (called a logit all the same), e = s - y without a limit, and the accumulator gains 1.
  The step is w -= rate / (1 + damping * accumulator) * e * v, with the accumulator as it was before;
- samples are a time axis: sample t sees what samples before t left behind. Returned logits are those before the
  sample's own step, clipped to [-limit, limit]; the clip does not stop the step. A limit may be infinite;
- within a batch of ``batch_size`` consecutive samples (counted from the first sample of the call) all samples see the
  same weights and accumulators; the steps that meet in one slot are summed, then clipped once to
  [-max_weight, max_weight];
- a sample of q repeats is learned floor(q) times, then once more with step and gain scaled by the fraction; the
  repeats follow one another on the sample's own logit, and their sum is one step;
- ``weights``, ``accumulator`` and ``table`` may be overwritten: the caller uses what is returned. A backend with a
  ``TASK_SIZE`` learns in place, so that ``ThreadedKernels`` can cut its calls into tasks; one with None has its own
  threads;
- a Gaussian neuron with the weights w of the sample's slot and inputs N(m_i, v_i), a_i = 1 / v_i, predicts the weighted
  product of their densities: precision L = w . a, but at least 1 / max_variance; mean m = sum_i w_i a_i m_i / L;
  variance v = 1 / L, within [min_variance, max_variance]. One repeat of a sample with target y is one step down the
  gradient of -ln N(y; m, v): with e = y - m, clipped to max_error deviations (sqrt(v)),

      dw_i = -rate / (1 + damping * accumulator) * a_i (e (m - m_i) + (e^2 - v) / 2),

  divided, if ``normalized``, by the curvature sum_i (a_i v)^2 / 2 + v (a_i (m_i - m))^2: the trace of the Fisher
  information of w, with which steps no longer depend on the scale and the number of inputs. The accumulator gains 1.
  Then w is clipped to [0, max_weight]; where its precision for this sample is above 1 / min_variance w is pulled
  straight towards 0, where it is below 1 / max_variance straight towards max_weight, until it is on the bound. A sample
  of q repeats is learned floor(q) times, each time with the prediction that the repeat before left, then once more with
  step and gain scaled by the fraction; the prediction before the first repeat is returned. There are no batches;
- no random numbers, no sample counter, no global configuration inside; arrays of one floating dtype in, the same out,
  except that sums are float64: beyond 2^24 float32 would no longer count;
- nothing of shape (n, k, j, i) for all samples at once.
"""

import importlib
import importlib.util
from concurrent.futures import Executor
from types import ModuleType
from typing import Any

import numpy as np

from sklearn_gln.kernels._threads import ThreadedKernels

BACKENDS = {
    "numpy": "sklearn_gln.kernels._numpy",
    "numba": "sklearn_gln.kernels._numba",
    "torch": "sklearn_gln.kernels._torch",
    "tensorflow": "sklearn_gln.kernels._tensorflow",
    "jax": "sklearn_gln.kernels._jax",
}
OTHER_NAMES = {"pytorch": "torch", "tf": "tensorflow"}

Kernels = ModuleType | ThreadedKernels


def get_kernels(backend: str = "auto") -> ModuleType:
    """Import and return the kernels of a backend; "auto" is Numba where it is installed, else NumPy."""
    if backend == "auto":
        backend = "numpy" if importlib.util.find_spec("numba") is None else "numba"
    if backend not in BACKENDS:
        hint = f" (it is called {OTHER_NAMES[backend]!r} here)" if backend in OTHER_NAMES else ""
        names = ", ".join(map(repr, BACKENDS))
        raise ValueError(f"backend={backend!r} is unknown{hint}; choose 'auto' or one of {names}.")
    try:
        return importlib.import_module(BACKENDS[backend])
    except ImportError as error:
        package = backend if backend == "numba" else f'"sklearn_gln[{backend}]"'
        raise ImportError(
            f"backend={backend!r} needs a package that is not installed ({error}); install it with "
            f"`pip install {package}`, or choose backend='numpy'."
        ) from error


def in_tasks(kernels: ModuleType, executor: Executor | None = None) -> Kernels:
    """Return kernels whose calls are cut into tasks, which the executor's threads share."""
    return kernels if kernels.TASK_SIZE is None else ThreadedKernels(kernels, executor)


def as_numpy(data: Any) -> Any:
    """Return an array of PyTorch, TensorFlow or JAX as a NumPy array, and anything else as it is."""
    framework = type(data).__module__.partition(".")[0]
    if framework == "torch":
        data = (data.float() if str(data.dtype) == "torch.bfloat16" else data).numpy(force=True)
    elif framework in ("tensorflow", "jax", "jaxlib"):
        data = np.asarray(data)
    else:
        return data
    return data.astype(np.float32) if data.dtype.kind == "V" else data  # bfloat16 and smaller, unknown to NumPy
