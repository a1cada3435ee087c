"""Predictions, contexts visited and weights, neuron by neuron."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import entropy

from sklearn_gln.inspection._local import check_ours, is_at, learned, output_limits

# How the columns of a summary become those of a layer, and how these are printed.
PRINTED = {
    "n_visited": (np.mean, "contexts learned", ",.1f"),
    "weight_mean": (np.mean, "weights: mean", ".3f"),
    "weight_std": (np.mean, "deviation", ".3f"),
    "weight_max": (np.max, "largest", ".3g"),
    "at_max_weight": (np.mean, "at bound", ".1%"),
    "n_occupied": (np.mean, "contexts met", ",.1f"),
    "effective_contexts": (np.mean, "effective", ",.1f"),
    "unseen": (np.mean, "unseen", ".1%"),
    "clipped": (np.mean, "clipped", ".1%"),
}


def neuron_predictions(estimator, X):
    """Predict each row with every neuron.

    Parameters
    ----------
    estimator : GLNClassifier or GLNRegressor
        A fitted estimator, of any backend.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows. The result holds n_samples x n_outputs numbers for each neuron: explain large data in parts.

    Returns
    -------
    predictions : list of ndarray of shape (n_samples, n_outputs, n_neurons), float64
        For each layer the probability that each neuron gives to its class (of two classes the second; else each class
        against all others), or in regression the mean that it predicts for the target. The first layer of a regressor
        is a single linear neuron.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.

    TypeError
        If it is not a GLNClassifier or GLNRegressor, but a Pipeline or a search, say.

    ValueError
        If X is invalid.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_gln import GLNClassifier
    >>> from sklearn_gln.inspection import neuron_predictions
    >>> X, y = load_iris(return_X_y=True)
    >>> model = GLNClassifier(layer_sizes=(10, 5), random_state=0).fit(X, y)
    >>> [probabilities.shape for probabilities in neuron_predictions(model, X)]
    [(150, 3, 10), (150, 3, 5)]
    """
    check_ours(estimator)
    online = estimator._closed()
    layers = [[] for _ in online.settings.layer_sizes]
    for n_samples, outputs, kernels in _forward(estimator, online, X):
        for number, size in enumerate(online.settings.layer_sizes):
            predicted = np.zeros((n_samples, online.n_outputs, size))
            if outputs is not None:
                predicted[:] = kernels.to_numpy(outputs.layers[number])[:n_samples]
            means = online.settings.likelihood.mean(predicted)
            layers[number].append(online.head.restore(means.swapaxes(1, 2)).swapaxes(1, 2))
    return list(map(np.concatenate, layers))


@dataclass
class Summary:
    """The result of `summary`; printed, it is a table of layers.

    Attributes
    ----------
    neurons : dict of str to ndarray of shape (n,)
        A column for each entry, a row for each neuron of each output: ``pandas.DataFrame(summary.neurons)``.

        - layer, neuron, output: its place;
        - share: of the layer in the output, as `aggregation` weighs it; of regressors in the target's mean;
        - n_inputs: length of its weight vectors;
        - n_contexts, n_visited: weight vectors that it may have, and that rows were learned in. The others are dead so
          far: they still pass on what the layer below says, or whatever `initial_weights` are;
        - weight_mean, weight_std, weight_max: mean, deviation and largest magnitude of the weights learned;
        - at_max_weight: share of them that `max_weight` holds.

        If rows X were given:

        - n_occupied: contexts that these rows meet;
        - effective_contexts: the exponential of the entropy of their shares in the rows: as many contexts, met equally
          often, would be as hard to guess;
        - unseen: share of rows in contexts that no row was learned in;
        - clipped: share of rows for which the neuron's prediction is saturated, clipped to the bound of `eps`, or in
          regression to three times the largest target.

    n_samples_seen : int
        Rows learned.

    n_weights : int
        Weights that were learned, of all neurons.
    """

    neurons: dict[str, np.ndarray]
    n_samples_seen: int
    n_weights: int

    def __str__(self):
        neurons = self.neurons
        columns = [name for name in PRINTED if name in neurons]
        table = [["layer", "neurons", "inputs", "share", "of contexts", *(PRINTED[name][1] for name in columns)]]
        for number in np.unique(neurons["layer"]):
            of_layer = neurons["layer"] == number
            n_inputs, n_contexts = (neurons[name][of_layer][0] for name in ("n_inputs", "n_contexts"))
            n_neurons = neurons["neuron"][of_layer].max() + 1
            share = neurons["share"][of_layer].mean()
            line = [f"{number}", f"{n_neurons:,}", f"{n_inputs:,}", f"{share:.3f}", f"{n_contexts:,}"]
            for name in columns:
                combine, _, form = PRINTED[name]
                line.append(format(combine(neurons[name][of_layer]), form))
            table.append(line)
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table]
        lines.append(
            f"Neurons of {neurons['output'].max() + 1:,} output(s), means over all but for the largest weight; "
            f"{self.n_weights:,} weights learned from {self.n_samples_seen:,} rows."
        )
        return "\n".join(lines)


def summary(estimator, X=None):
    """Count, for each neuron, the contexts that rows visit, and describe its weights: dead, saturated or in use.

    Parameters
    ----------
    estimator : GLNClassifier or GLNRegressor
        A fitted estimator, of any backend.

    X : {array-like, sparse matrix} of shape (n_samples, n_features), default=None
        Rows to count in the contexts, such as those to be predicted: many in contexts that were never learned are
        unlike the training data.

    Returns
    -------
    summary : Summary
        Print it for a table of layers; its `neurons` are columns for a data frame.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.

    TypeError
        If it is not a GLNClassifier or GLNRegressor, but a Pipeline or a search, say.

    ValueError
        If X is invalid, or the estimator has learned no row yet.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_gln import GLNClassifier
    >>> from sklearn_gln.inspection import summary
    >>> X, y = load_iris(return_X_y=True)
    >>> model = GLNClassifier(layer_sizes=(10, 5), context_dim=4, random_state=0).fit(X, y)
    >>> neurons = summary(model, X).neurons
    >>> neurons["n_visited"].shape, int(neurons["n_contexts"][0])
    ((45,), 16)
    >>> float(neurons["unseen"].max())
    0.0
    """
    online = learned(estimator)
    with estimator._kernels(1) as kernels, kernels.scope(estimator.device):
        layers = online.ensure_network(kernels).layers
        weights = [kernels.to_numpy(layer.weights) for layer in layers]
        visited = [kernels.to_numpy(layer.accumulator) > 0 for layer in layers]  # (n_outputs, n_neurons, n_slots) each
    shares = online.head.shares()
    columns = []
    for number, of_layer in enumerate(weights):
        n_outputs, n_neurons, _, n_inputs = of_layer.shape
        is_linear = online.settings.likelihood.has_linear_first and number == 0
        columns.append(
            {
                "layer": number,
                "neuron": np.arange(n_neurons),
                "output": np.arange(n_outputs)[:, np.newaxis],
                "share": shares[:, number, np.newaxis],
                "n_inputs": n_inputs,
                "n_contexts": 1 if is_linear else 2**online.settings.context_dim,
                "n_visited": visited[number].sum(axis=2),
                **_weight_columns(of_layer, visited[number], online.settings.max_weight),
            }
        )
    if X is not None:
        for of_layer, counted in zip(columns, _row_columns(estimator, online, X, visited), strict=True):
            of_layer |= counted
    neurons = {
        name: np.concatenate([np.broadcast_to(of[name], of["n_visited"].shape).ravel() for of in columns])
        for name in columns[0]
    }
    n_weights = int((neurons["n_visited"] * neurons["n_inputs"]).sum())
    return Summary(neurons, online.n_samples_seen, n_weights)


def _forward(estimator, online, X):
    """Chunk by chunk of X: its number of samples, what the layers make of it, and the kernels, in their scope."""
    X = estimator._check_X(X)
    with estimator._kernels(len(X)) as kernels, kernels.scope(estimator.device):
        for indices, _, outputs in online.forward(X, kernels):
            yield len(indices), outputs, kernels


def _weight_columns(weights, visited, max_weight):
    """Statistics of the slots visited (n_outputs, n_neurons, n_slots), for each neuron."""
    statistics = np.zeros((4, *visited.shape[:2]))
    for place in np.ndindex(visited.shape[:2]):
        used = weights[place][visited[place]]
        if used.size:
            magnitudes = np.abs(used)
            at_bound = np.mean(magnitudes >= used.dtype.type(max_weight))
            statistics[:, *place] = used.mean(dtype=float), used.std(dtype=float), magnitudes.max(), at_bound
    return dict(zip(("weight_mean", "weight_std", "weight_max", "at_max_weight"), statistics, strict=True))


def _row_columns(estimator, online, X, visited):
    """How often rows meet which contexts and limits, for each neuron: a dict of each layer."""
    contexts, unseen, clipped = ([[] for _ in visited] for _ in range(3))
    for n_samples, outputs, kernels in _forward(estimator, online, X):
        limits = output_limits(online, kernels)
        for number, layer in enumerate(online.network.layers):
            given = outputs.contexts[number], layer.slots(outputs.contexts[number]), outputs.layers[number]
            met, slots, predicted = (kernels.to_numpy(array)[:n_samples] for array in given)
            chains = np.ogrid[: visited[number].shape[0], : visited[number].shape[1]]
            contexts[number].append(met)
            unseen[number].append(np.sum(~visited[number][*chains, slots], axis=0))
            clipped[number].append(np.sum(is_at(limits, predicted), axis=0))
    columns = []
    for number, chunks in enumerate(contexts):
        met = np.concatenate(chunks)
        n_occupied, effective = np.zeros(met.shape[1:], int), np.zeros(met.shape[1:])
        for place in np.ndindex(met.shape[1:]):
            counts = np.unique_counts(met[:, *place]).counts
            n_occupied[place], effective[place] = len(counts), np.exp(entropy(counts))
        columns.append(
            {
                "n_occupied": n_occupied,
                "effective_contexts": effective,
                "unseen": np.sum(unseen[number], axis=0) / len(met),
                "clipped": np.sum(clipped[number], axis=0) / len(met),
            }
        )
    return columns
