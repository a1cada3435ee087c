"""The textbook oracle of Gaussian neurons: one scalar at a time, in means and variances, as formulas are printed."""

import math

import numpy as np

from tests.naive import clip, join, seen_by


def mix(w, gaussians):
    """1 / v = sum_i w_i / v_i, m = v sum_i w_i m_i / v_i, before any bound on v; None where every weight is 0."""
    precision = sum(weight / v for weight, (_, v) in zip(w, gaussians, strict=True))
    if precision == 0.0:
        return None
    return sum(weight * m / v for weight, (m, v) in zip(w, gaussians, strict=True)) / precision, 1.0 / precision


def predict(w, gaussians, min_variance, max_variance):
    """What a variance above the bound lacks in precision comes from a Gaussian of mean 0."""
    mixed = mix(w, gaussians)
    if mixed is None:
        return 0.0, max_variance
    m, v = mixed
    return (m * max_variance / v, max_variance) if v > max_variance else (m, max(v, min_variance))


def loss(w, gaussians, y):
    m, v = mix(w, gaussians)
    return 0.5 * math.log(2.0 * math.pi * v) + (y - m) ** 2 / (2.0 * v)


def gradient(m, v, y, gaussians):
    return [((y - m_i) ** 2 - (m - m_i) ** 2 - v) / (2.0 * v_i) for m_i, v_i in gaussians]


def curvature(m, v, gaussians):
    """The expectation of the gradient's squared length over targets from N(m, v)."""
    return sum((v / v_i) ** 2 / 2.0 + v * ((m_i - m) / v_i) ** 2 for m_i, v_i in gaussians)


def project(w, gaussians, min_variance, max_variance, max_weight):
    w = [clip(weight, 0.0, max_weight) for weight in w]
    precision = sum(weight / v for weight, (_, v) in zip(w, gaussians, strict=True))
    if precision > 1.0 / min_variance:
        return [weight / (min_variance * precision) for weight in w]
    if precision < 1.0 / max_variance:
        highest = sum(max_weight / v for _, v in gaussians)
        if highest <= 1.0 / max_variance:
            return [max_weight] * len(w)
        share = (1.0 / max_variance - precision) / (highest - precision)
        return [(1.0 - share) * weight + share * max_weight for weight in w]
    return w


def repeat(w, gaussians, target, *, rate, repeats, count, normalized, damping, max_error, max_weight, **bounds):
    """The weights after all repeats of one row; `count` of repeats before."""
    whole = math.floor(repeats)
    for part in [1.0] * whole + [repeats - whole] * (repeats > whole):
        m, v = predict(w, gaussians, **bounds)
        bound = max_error * math.sqrt(v)
        y = m + clip(target - m, -bound, bound)
        step = part * rate / (1.0 + damping * count)
        if normalized:
            step /= curvature(m, v, gaussians)
        w = [value - step * slope for value, slope in zip(w, gradient(m, v, y, gaussians), strict=True)]
        w = project(w, gaussians, max_weight=max_weight, **bounds)
        count += part
    return w


def join_gaussians(inputs, t, output):
    return list(zip(join([m for m, _ in inputs], t, output), join([v for _, v in inputs], t, output), strict=True))


def gaussian_infer(weights, slots, inputs, *, min_variance, max_variance):
    n, (k, j) = len(slots), weights.shape[:2]
    means, variances = np.zeros((n, k, j)), np.zeros((n, k, j))
    for t, output, neuron in np.ndindex(n, k, j):
        w = weights[output, neuron, seen_by(slots, t, output)[neuron]].tolist()
        gaussians = join_gaussians(inputs, t, output)
        means[t, output, neuron], variances[t, output, neuron] = predict(w, gaussians, min_variance, max_variance)
    return means, variances


def gaussian_learn(
    weights,
    accumulator,
    slots,
    inputs,
    targets,
    rates,
    repeats=None,
    *,
    normalized,
    damping,
    max_error,
    max_weight,
    min_variance,
    max_variance,
):
    n, (k, j) = len(slots), weights.shape[:2]
    weights, accumulator = weights.astype(float), accumulator.astype(float)
    means, variances = gaussian_infer(
        weights, slots, inputs, min_variance=min_variance, max_variance=max_variance
    )  # overwritten as rows come
    for t, output, neuron in np.ndindex(n, k, j):
        slot = output, neuron, seen_by(slots, t, output)[neuron]
        gaussians = join_gaussians(inputs, t, output)
        w = weights[slot].tolist()
        means[t, output, neuron], variances[t, output, neuron] = predict(w, gaussians, min_variance, max_variance)
        n_repeats = 1.0 if repeats is None else seen_by(repeats, t, output)
        weights[slot] = repeat(
            w,
            gaussians,
            float(targets[t, output]),
            rate=seen_by(rates, t, output),
            repeats=n_repeats,
            count=float(accumulator[slot]),
            normalized=normalized,
            damping=damping,
            max_error=max_error,
            max_weight=max_weight,
            min_variance=min_variance,
            max_variance=max_variance,
        )
        accumulator[slot] += n_repeats
    return weights, accumulator, means, variances
