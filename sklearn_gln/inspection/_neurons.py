"""Neuron by neuron: what each predicts, which of its contexts rows visit, and what its weights are like."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from sklearn.utils.validation import check_is_fitted

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
    """What every neuron predicts for each row.

    Parameters
    ----------
    estimator : GLNClassifier or GLNRegressor
        A fitted estimator, of any backend.

    X : array-like of shape (n_samples, n_features)
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
    check_is_fitted(estimator)
    online = estimator._online
    read = expit if online.settings.likelihood == "bernoulli" else _restore(online.stack)
    shapes = [(len(online.outputs), size) for size in online.settings.layer_sizes]

    def predict(block, _, outputs, kernels):
        if outputs is None:
            return [read(np.zeros((len(block), *shape))) for shape in shapes]
        return [read(kernels.to_numpy(layer)[: len(block)].astype(float)) for layer in outputs.layers]

    return [np.concatenate(layer) for layer in zip(*_by_block(estimator, X, predict), strict=True)]


@dataclass
class Summary:
    """What `summary` returns; printed, it is a table of layers.

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
        n_outputs = neurons["output"].max() + 1
        lines.append(
            f"Means over the neurons of {n_outputs:,} output{'s' * (n_outputs > 1)}. "
            f"{self.n_weights:,} weights learned from {self.n_samples_seen:,} rows."
        )
        return "\n".join(lines)


def summary(estimator, X=None):
    """Which contexts of each neuron rows visit, what its weights are like, what is dead or saturated.

    Parameters
    ----------
    estimator : GLNClassifier or GLNRegressor
        A fitted estimator, of any backend.

    X : array-like of shape (n_samples, n_features), default=None
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

    ValueError
        If X is invalid.

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
    check_is_fitted(estimator)
    online, neurons = estimator._online, {}
    settings = online.settings
    with estimator._kernels(1) as kernels, kernels.scope(estimator.device):
        network = online.in_force(kernels)
        layers = network.layers if network else []
        weights = [(kernels.to_numpy(layer.weights), kernels.to_numpy(layer.energy) > 0) for layer in layers]
    shares = online.output_weights()[0]
    columns = [
        _weight_columns(*arrays, settings) | {"layer": number, "share": shares[:, number, np.newaxis]}
        for number, arrays in enumerate(weights)
    ]
    if X is not None:
        for of_layer, counted in zip(columns, _count_contexts(estimator, X), strict=True):
            of_layer |= counted
