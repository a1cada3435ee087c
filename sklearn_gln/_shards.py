"""Outputs shared out over processes: each worker learns all samples of a call, for its part of the outputs alone.

Outputs are independent of each other, so that workers need no word of one another while they learn::

    parent   part of the network, samples  ->  workers: learn  ->  part of the network, its predictions  ->  joined

A head that needs all outputs stays with the parent and learns from what comes back; one whose outputs are independent
goes with them. Nothing changes before all workers have succeeded. The first samples, by whose targets cuts are chosen,
have been learned.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from sklearn_gln import _outputs
from sklearn_gln._arrays import Array
from sklearn_gln._head import LayersHead
from sklearn_gln._online import OnlineNetwork
from sklearn_gln._state import from_plain, to_plain
from sklearn_gln.kernels import as_numpy, get_kernels


def learn(
    model: Any, online: OnlineNetwork, X: Array, y: Array, sample_weight: Array, order: Array, n_workers: int,
    epoch: int, held_out: bool,
) -> tuple[OnlineNetwork, list[tuple[Array, Array]]]:  # fmt: skip
    """Return `online` after learning, and all that `OnlineNetwork.learn` would yield; the one given is left as it is.

    The workers call `_learn_alone` of `model`, an estimator that need not be fitted.
    """
    whole, X = from_plain(to_plain(online)), as_numpy(X)
    if whole.network is not None and np.isnan(y).any():  # of whichever outputs
        whole.network.expect_gaps(get_kernels("numpy"))
    bounds = np.linspace(0, online.n_outputs, n_workers + 1).astype(int)
    tasks = (
        delayed(_learn_part)(
            model, part(whole, outputs), X, y[:, outputs] if y.ndim == 2 else y, sample_weight, order, epoch, held_out,
        )
        for outputs in map(slice, bounds[:-1], bounds[1:])
    )  # fmt: skip
    parts, predicted = zip(*Parallel(n_workers, batch_size=1)(tasks), strict=True)
    joined = join(parts)
    chunks = online.chunks(order, X, sample_weight, first_pass=epoch == 1 and not held_out)
    predictions = [np.concatenate(of_chunk, axis=1) for of_chunk in zip(*predicted, strict=True)]
    if online.head.is_by_output:
        return joined, [(indices, of_chunk) for (indices, _), of_chunk in zip(chunks, predictions, strict=True)]
    joined.head = deepcopy(online.head)
    return joined, list(joined.learn_head(chunks, predictions, y, sample_weight, epoch))


def _learn_part(
    model: Any, online: OnlineNetwork, X: Array, y: Array, sample_weight: Array, order: Array, epoch: int,
    held_out: bool,
) -> tuple[OnlineNetwork, list[Array]]:  # fmt: skip
    """A worker's task: the part of the network after learning, and its predictions for each chunk."""
    online = deepcopy(online)  # engines may hand over memory that is the parent's, or cannot be written
    learned = model._learn_alone(online, X, y, sample_weight, order, epoch, held_out)
    predicted = [predictions for _, predictions in learned]
    return from_plain(to_plain(online)), predicted


def part(online: OnlineNetwork, outputs: slice) -> OnlineNetwork:
    """The network, in NumPy, of some outputs; it shares memory with the whole."""
    head = online.head if online.head.is_by_output else LayersHead(len(online.settings.layer_sizes))
    shares_halfspaces = online.settings.share_halfspaces
    return _outputs.take(replace(online, head=head), outputs, shares_halfspaces=shares_halfspaces)


def join(parts: Sequence[OnlineNetwork]) -> OnlineNetwork:
    """The inverse of `part`."""
    for layers in zip(*(part.network.layers for part in parts if part.network), strict=True):
        n_slots = max(layer.weights.shape[2] for layer in layers)
        for layer in layers:
            layer.make_room(n_slots)
    return _outputs.join(parts, shares_halfspaces=parts[0].settings.share_halfspaces)
