"""A single row, compiled: what the other kernels do, without an array for each step in between.

u are the inputs of neurons, (k|1, size) as blocks are without their time axis, and v the directions of their steps.
"""

from math import exp, isnan, log

import numpy as np

from sklearn_gln.kernels._jit import inline, short
from sklearn_gln.kernels._neuron_numba import dot, move, repeat


@inline
def _standardized(value, mean, inverse_deviation, limit):
    return 0.0 if isnan(value) else min(max((value - mean) * inverse_deviation, -limit), limit)


@short
def inputs(x, mean, inverse_deviation, side_limit, base_limit, side_info, base, square_limit, square_scale, squares):
    """Fill side information, base inputs and, if there is room, their squares with those of a row x (d,)."""
    for i in range(mean.size):
        value = float(x[i])
        side_info[i] = _standardized(value, mean[i], inverse_deviation[i], side_limit)
        scaled = _standardized(value, mean[i], inverse_deviation[i], base_limit)
        base[i] = scaled
        if i < squares.size:
            bounded = min(max(scaled, -square_limit), square_limit)
            squares[i] = square_scale * bounded * bounded


@short
def pieces(x, columns, middle, inverse_width, limit, pieces):
    """Fill pieces with those of a row x (d,)."""
    for i in range(columns.size):
        pieces[i] = _standardized(float(x[columns[i]]), middle[i], inverse_width[i], limit)


@short
def contexts(side_info, hyperplanes, offsets):
    """The contexts (k|1, j) of a row's side information (n_side,), in float64."""
    n_outputs, n_neurons, context_dim, n_side = hyperplanes.shape
    contexts = np.empty((n_outputs, n_neurons), np.int32)
    for k in range(n_outputs):
        for j in range(n_neurons):
            context = 0
            for bit in range(context_dim):
                projection = 0.0
                for i in range(n_side):
                    projection += side_info[i] * hyperplanes[k, j, bit, i]
                context |= int(projection > offsets[k, j, bit]) << bit
            contexts[k, j] = context
    return contexts


@inline
def _bounded(logit, k, limits):
    """Within the limits (k,) of outputs; size 0: there are none."""
    return min(max(logit, -limits[k]), limits[k]) if limits.size else logit


@short
def infer(weights, slot_of, contexts, first, below, base, limit, limits, logits, number, means):
    """Fill logits (k, j) of layer `number`, within its limit and then the outputs' limits, and means (k, layers).

    Its neurons are those from `first` on in contexts (k|1, all neurons).
    """
    n_outputs, n_neurons = logits.shape
    for k in range(n_outputs):
        ks, kp = min(k, len(contexts) - 1), min(k, len(below) - 1)
        total = 0.0
        for j in range(n_neurons):
            slot = slot_of[ks, j, contexts[ks, first + j]]
            s = dot(weights[k, j, slot], below[kp], base)
            logits[k, j] = _bounded(min(max(s, -limit), limit), k, limits)
            total += logits[k, j]
        means[k, number] = total / n_neurons


@short
def slots(slot_of, contexts, first):
    """The slots (k|1, j) of such a layer."""
    found = np.empty(slot_of.shape[:2], np.int32)
    for k in range(len(found)):
        for j in range(found.shape[1]):
            found[k, j] = slot_of[k, j, contexts[k, first + j]]
    return found


@short
def assign_slots(weights, accumulator, slot_of, n_slots, contexts, first):
    """As `slots`, and new contexts get slots; also whether there was room, without which none does."""
    found = slots(slot_of, contexts, first)
    for k in range(len(found)):
        for j in range(found.shape[1]):
            if found[k, j] == 0 and n_slots[k, j] == weights.shape[2]:
                return found, False
    for ks in range(len(found)):
        outputs = (0, len(weights)) if len(found) == 1 else (ks, ks + 1)
        for j in range(found.shape[1]):
            if found[ks, j] == 0:
                slot = n_slots[ks, j]
                for k in range(outputs[0], outputs[1]):
                    weights[k, j, slot] = weights[k, j, 0]
                    accumulator[k, j, slot] = 0
                found[ks, j] = slot_of[ks, j, contexts[ks, first + j]] = slot
                n_slots[ks, j] += 1
    return found, True


@inline
def _direct(u, matrix, moment, v):
    for i in range(u.size):
        value = u[i]
        for o in range(u.size):
            v[o] += value * matrix[i, o]
        for o in range(u.size):
            moment[i, o] += value * u[o]


@short
def directions(u, matrices, places, moment, v):
    """Fill v (k|1, b) with the directions of u, add u to the second moment, and return u . v (k|1,).

    matrices, moment: (k|1, b, b), or of groups whose columns are `places` (g, b), padded with the size of u; of size 0
    they stand for the identity, and there is no moment.
    """
    n_outputs, size = u.shape
    zero = u.dtype.type(0)
    if matrices.size:
        v[:] = zero
    else:
        v[:] = u
    if places.size:
        inputs, steps = np.zeros(places.shape[1], u.dtype), np.empty(places.shape[1], u.dtype)
        for g in range(len(places)):
            for i in range(inputs.size):
                inputs[i] = u[0, places[g, i]] if places[g, i] < size else zero
            steps[:] = zero
            _direct(inputs, matrices[g], moment[g], steps)
            for i in range(inputs.size):
                if places[g, i] < size:
                    v[0, places[g, i]] = steps[i]
    elif matrices.size:
        for k in range(n_outputs):
            _direct(u[k], matrices[k], moment[k], v[k])
    squares = np.zeros(n_outputs, u.dtype)
    for k in range(n_outputs):
        for i in range(size):
            squares[k] += u[k, i] * v[k, i]
    return squares


@short
def learn(
    weights, accumulator, slots, below, base, below_directions, base_directions, below_squares, base_square, targets,
    rate, squared, damping, limit, max_weight, limits, logits, number, means,
):  # fmt: skip
    """As `infer`, of slots (k|1, j), just before the row is learned by a normalized step."""
    n_outputs, n_neurons = logits.shape
    one = weights.dtype.type(1)
    for k in range(n_outputs):
        ks, kp = min(k, len(slots) - 1), min(k, len(below) - 1)
        stepped = rate / (below_squares[kp] + base_square)
        total = 0.0
        for j in range(n_neurons):
            slot = slots[ks, j]
            s = dot(weights[k, j, slot], below[kp], base)
            logits[k, j] = _bounded(min(max(s, -limit), limit), k, limits)
            total += logits[k, j]
            before = weights.dtype.type(accumulator[k, j, slot])
            g, gain = repeat(s, targets[k], stepped, before, one, one, one, squared, damping, limit)
            accumulator[k, j, slot] += gain
            move(weights[k, j, slot], g, below_directions[kp], base_directions, max_weight)
        means[k, number] = total / n_neurons


@short
def variance(mean_square, log_ratio, slots, outputs, means):
    """The variance (k,) of the last layer's outputs (k, j) about their means (k, layers), and what its slots tell."""
    n_outputs, n_neurons = outputs.shape
    variance = np.empty(n_outputs)
    for k in range(n_outputs):
        ks = min(k, len(slots) - 1)
        within = disagreement = 0.0
        for j in range(n_neurons):
            within += log_ratio[k, j, slots[ks, j]]
            disagreement += (outputs[k, j] - means[k, -1]) ** 2
        variance[k] = mean_square[k] * exp(within / n_neurons) + disagreement / n_neurons
    return variance


@short
def spread(errors, weight, slots, outputs, targets):
    """Add the squared errors of the last layer's outputs (k, j), and the row, to the sums of their slots (k|1, j)."""
    n_outputs, n_neurons = outputs.shape
    for k in range(n_outputs):
        ks = min(k, len(slots) - 1)
        for j in range(n_neurons):
            error = outputs[k, j] - targets[k]
            errors[k, j, slots[ks, j]] += error * error
            weight[k, j, slots[ks, j]] += 1


@short
def moments(x, lower, upper, weight, mean, squares):
    """Weights, means and squared deviations (d,) after one more row x, of which what lies within the bounds counts."""
    weight, mean, squares = weight.copy(), mean.copy(), squares.copy()
    for i in range(weight.size):
        value = float(x[i])
        if lower[i] <= value <= upper[i]:
            share = 1 / (weight[i] + 1)
            shift = value - mean[i]
            mean[i] += shift * share
            squares[i] += shift * shift * weight[i] * share
            weight[i] += 1
    return weight, mean, squares


@short
def recent_labels(logits, codes, sums, evidence, max_weight, exponents, head_start, shares, share, prior, max_loss):
    """As `_recent_labels.RecentLabels.learn_all`, of a row's logits and codes (n_labels,): what it leaves behind."""
    n_labels, n_memories, _, n_classes = sums.shape
    sums, evidence, max_weight = sums.copy(), evidence.copy(), np.maximum(max_weight, 1.0)
    correction = np.empty((logits.size, 2))
    log_p, scores = np.empty(n_classes), np.empty(n_classes)
    offsets, likelihood = np.empty(n_classes), np.empty(evidence.shape[1])
    for label in range(n_labels):
        weight = 1 / max_weight[label]
        if n_classes == 2:
            log_p[0], log_p[1] = -_softplus(logits[label]), -_softplus(-logits[label])
        else:
            log_p[:] = logits - _log_sum_exp(logits)
        for h in range(likelihood.size):
            m = h - exponents.size
            for c in range(n_classes):
                if m < 0:
                    scores[c] = exponents[h] * log_p[c]
                else:
                    of_class = sums[label, m, :, c]
                    scores[c] = log_p[c] + log(prior + of_class[0]) - log(prior + of_class[1])
            likelihood[h] = scores[codes[label]] - _log_sum_exp(scores)
        evidence[label] = share * evidence[label] - weight * np.minimum(likelihood.max() - likelihood, max_loss)
        mixed = np.exp(head_start + evidence[label])
        mixed /= mixed.sum()
        factor = mixed[exponents.size :].sum()
        for h in range(exponents.size):
            factor += mixed[h] * exponents[h]
        offsets[:] = 0
        for m in range(n_memories):
            for c in range(n_classes):
                of_class = sums[label, m, :, c]
                of_class[0] = shares[m] * of_class[0] + weight * (c == codes[label])
                of_class[1] = shares[m] * of_class[1] + weight * exp(log_p[c])
                log_ratio = log(prior + of_class[0]) - log(prior + of_class[1])
                offsets[c] += mixed[exponents.size + m] * log_ratio
        if n_classes == 2:
            correction[label, 0], correction[label, 1] = factor, offsets[1] - offsets[0]
        else:
            correction[:, 0], correction[:, 1] = factor, offsets
    return sums, evidence, max_weight, correction


@inline
def _softplus(x):
    return max(x, 0.0) + log(1 + exp(-abs(x)))


@inline
def _log_sum_exp(values):
    largest = values.max()
    return largest + log(np.exp(values - largest).sum())
