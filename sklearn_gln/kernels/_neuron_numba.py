"""One sample at one weight vector, for the compiled loops of chunks and of single rows: sums of the same order in both.

(p, x) is one sample of the two blocks and (v, z) of their directions; w are the weights of one slot.
"""

from math import exp

import numpy as np

from sklearn_gln.kernels._jit import inline, jit


@inline
def dot(w, p, x):
    from_previous = from_base = w.dtype.type(0)
    for i in range(p.size):
        from_previous += w[i] * p[i]
    n_previous = np.uint64(p.size)  # unsigned: no check for negative indices
    for i in range(x.size):
        from_base += w[n_previous + np.uint64(i)] * x[i]
    return from_previous + from_base


@inline
def within(weight, max_weight):
    return weight if max_weight is None else min(max(weight, -max_weight), max_weight)


@inline
def move(w, g, v, z, max_weight):
    for i in range(v.size):
        w[i] = within(w[i] - g * v[i], max_weight)
    n_previous = np.uint64(v.size)
    for i in range(z.size):
        at = n_previous + np.uint64(i)
        w[at] = within(w[at] - g * z[i], max_weight)


@jit
def repeat(s, target, rate, accumulated, square, times, one, squared, damping, limit):
    """Return the size of the summed step of all repeats of one sample, on scalars, and their summed gain."""
    step = gain = one - one
    while times > 0:
        part = min(times, one)
        if squared:
            e, gained = s - target, one
        else:
            e = one / (one + exp(-min(max(s, -limit), limit))) - target
            gained = e * e
        g = part * rate * e / (one + damping * (accumulated + gain))
        s -= g * square
        step += g
        gain += part * gained
        times -= one
    return step, gain
