"""The linear model that a network is at each row, once its halfspaces have chosen the weights."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, vstack
from sklearn.base import is_classifier
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_gln._base import BaseGLN
from sklearn_gln._evidence import LIMIT
from sklearn_gln._likelihood import SQUARE_LIMIT, SQUARE_SCALE
from sklearn_gln._network import base_signals
from sklearn_gln.kernels import as_numpy


@dataclass
class LocalCoefficients:
    """A linear model for each row and output, as `local_coefficients` returns them.

    The output is ``intercept + contributions.sum(axis=2)``.

    Wide rows, of more than `max_dense` features, are told to neurons by linear models over all features: what each of
    them says, the shift of the output, is a base logit. How sure it is counts as held, and is part of the intercept.

    Attributes
    ----------
    coefficients : ndarray of shape (n_samples, n_outputs, n_base)
        How much the output changes with each base logit. In the network's precision, the estimator's `dtype`.

    intercept : ndarray of shape (n_samples, n_outputs), float64
        What the constant input, class frequencies or a target's mean, and clipped neurons add to the output. Of wide
        rows also what is known of how sure their base logits are.

    base_logits : ndarray of shape (n_samples, n_base), or (n_samples, n_outputs, n_base) with categories or wide rows
        What the network makes of features: base logits, then the squares and pieces that the first layer is given
        (`n_bins`); in regression scaled features, then their scaled squares, if the regressor has `squares`.
        Categories have base logits at the ends of these parts: indicators of levels among the first, and after the last
        what is known of the row's level, which each output knows of its own class or target. Of wide rows they are the
        shifts of the linear models, within +-8, which features then share in proportion.

    is_clipped : ndarray of shape (n_samples, n_outputs), bool
        Whether a neuron that the output depends on is clipped. It then is a constant, which is part of the intercept
        and explains nothing; sum and coefficients hold all the same. With ``eps=1e-9`` few neurons ever are.

    slopes : ndarray of shape (n_samples, n_base) or None
        How much each base logit changes with its feature: 0 where the feature is clipped, missing or a category, whose
        levels have no order. The least and the largest feature of a row count as held if the base predictor is
        "minmax". None if it is a callable, and of wide rows.
    """

    coefficients: np.ndarray
    intercept: np.ndarray
    base_logits: np.ndarray
    is_clipped: np.ndarray
    slopes: np.ndarray | None
    _features: np.ndarray | None  # (n_base,): the feature that each base logit is of; None of wide rows
    _of_columns: list | None = None  # of wide rows: for each output the contributions, a CSR array of their shape

    @property
    def contributions(self):
        """The share of each base logit in the output, (n_samples, n_outputs, n_base): coefficient times base logit."""
        by_output = self.base_logits.ndim == 3
        return self.coefficients * (self.base_logits if by_output else self.base_logits[:, np.newaxis])

    @property
    def feature_contributions(self):
        """The share of each feature in the output, (n_samples, n_outputs, n_features): the sum of its base logits'.

        Compared to a feature whose base logit is 0: one at its mean, a probability of 1/2, or in place of what is known
        of a category's level a level that has never come.

        Of wide rows a list of SciPy's CSR arrays, one of shape (n_samples, n_features) for each output, compared to a
        row without the feature; only contributions that are not 0 are stored. The output is
        ``intercept[:, k] + feature_contributions[k].sum(axis=1)``.
        """
        return self._by_feature(self.contributions) if self._of_columns is None else self._of_columns

    @property
    def feature_coefficients(self):
        """How much the output changes with each feature, (n_samples, n_outputs, n_features), on its side of halfspaces.

        In units of the output per unit of the feature. 0 for categories. Not of wide rows, in which features that are
        absent would have some too.
        """
        return self._by_feature(self.coefficients * self._known_slopes()[:, np.newaxis])

    def _known_slopes(self):
        if self._of_columns is not None:
            raise ValueError(
                f"Rows of {self._of_columns[0].shape[1]:,} features are wide: also those that are absent would have "
                "coefficients, n_samples x n_features numbers in all. Read `feature_contributions` of "
                "local_coefficients, which are sparse."
            )
        if self.slopes is None:
            raise ValueError(
                "base_predictor is a callable, so which features its probabilities depend on is not known; read "
                "`coefficients` and `contributions` of local_coefficients: those of the probabilities' logits."
            )
        return self.slopes

    def _by_feature(self, of_base):
        self._known_slopes()
        sums = np.zeros((self._features.max() + 1, *of_base.shape[:2]), of_base.dtype)
        np.add.at(sums, self._features, np.moveaxis(of_base, 2, 0))
        return np.moveaxis(sums, 0, 2)


def local_coefficients(estimator, X):
    """Explain a fitted network by the linear model that it is at each row.

    Halfspaces of the features select a weight vector in every neuron. With these, every neuron is a linear function of
    its inputs, and so is the output of the base logits. The sum of contributions is exact, to rounding.

    Parameters
    ----------
    estimator : GLNClassifier or GLNRegressor
        A fitted estimator, of any backend.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows to explain. The result holds n_samples x n_outputs x n_base numbers, and takes twice their memory while
        it is made; of wide rows also n_outputs numbers for each value that is not 0.

    Returns
    -------
    local : LocalCoefficients
        Coefficients, intercept and contributions of what `decision_function` gives: for two classes the logit of the
        second, else one output for each class or label; of a regressor what `predict` gives, one output for each
        target. Its `feature_contributions` are sparse if rows are wide, whether X is dense or sparse.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.

    TypeError
        If it is not a GLNClassifier or GLNRegressor, but a Pipeline or a search, say.

    ValueError
        If X is invalid, or the estimator has learned no row yet.

    References
    ----------
    .. [1] Veness et al., "Gated Linear Networks", AAAI 2021 (arXiv:1910.01526).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn_gln import GLNClassifier
    >>> from sklearn_gln.inspection import local_coefficients
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = GLNClassifier(random_state=0).fit(X, y)
    >>> local = local_coefficients(model, X[:5])
    >>> local.feature_contributions.shape
    (5, 1, 30)
    >>> logits = local.intercept + local.contributions.sum(axis=2)
    >>> bool(np.allclose(logits[:, 0], model.decision_function(X[:5]), atol=1e-4))
    True

    Wide rows, here of counted words: the largest contributions of one.

    >>> from sklearn.feature_extraction.text import HashingVectorizer
    >>> lines = ["cheap pills", "cheap watches now", "minutes of the meeting", "the meeting is at noon"] * 20
    >>> words = HashingVectorizer(n_features=2**18, norm=None, alternate_sign=False)
    >>> spam = GLNClassifier(random_state=0).fit(words.transform(lines), [1, 1, 0, 0] * 20)
    >>> local = local_coefficients(spam, words.transform(["cheap meeting"]))
    >>> of_words = local.feature_contributions[0]
    >>> of_words.shape, of_words.nnz
    ((1, 262144), 2)
    >>> cheap, meeting = (of_words[0, words.transform([word]).indices[0]] for word in ("cheap", "meeting"))
    >>> bool(cheap > 0 > meeting)
    True
    """
    learned(estimator)
    return explain(estimator, estimator._check_X(X))


def explain(estimator, X):
    """As `local_coefficients`, of checked rows."""
    online = estimator._closed()
    with estimator._kernels(len(X)) as kernels, kernels.scope(estimator.device):
        explainer = _Explainer(online, kernels)
        parts = [explainer(X, *chunk) for chunk in online.forward(X, kernels)]
    *dense, of_columns = zip(*parts, strict=True)
    joined = [None if items[0] is None else np.concatenate(items) for items in dense]
    if online.wide is not None:
        by_output = [vstack(of_output, format="csr") for of_output in zip(*of_columns, strict=True)]
        return LocalCoefficients(*joined, None, by_output)
    features, categories = online.predictor.features(squares=online.settings.squares), online.categories
    if categories is not None:
        features = np.concatenate([categories.sources[features], categories.evidence_sources])
    return LocalCoefficients(*joined, features)


def check_ours(estimator, *, fitted=True):
    """Raise TypeError unless this is a GLNClassifier or GLNRegressor, NotFittedError unless it is fitted."""
    if not isinstance(estimator, BaseGLN):
        name = f"a {type(estimator).__name__}"
        if isinstance(estimator, type):
            name, advice = f"the class {estimator.__name__}", "Pass an instance that was fitted."
        elif isinstance(estimator, Pipeline):
            advice = "Pass its last step, pipeline[-1], and transformed samples, pipeline[:-1].transform(X)."
        elif isinstance(estimator, BaseSearchCV):
            advice = "Pass its best_estimator_; if that is a Pipeline, the last step and transformed samples."
        else:
            advice = "Of an estimator around one, pass the fitted GLN that it holds, and samples as that one sees them."
        raise TypeError(f"estimator is {name}; a GLNClassifier or GLNRegressor can be inspected. {advice}")
    if fitted:
        check_is_fitted(estimator)


def learned(estimator):
    """The network of a fitted estimator, with its statistics, once there is one."""
    check_ours(estimator)
    if not estimator._online.n_samples_seen:
        raise ValueError("The estimator has learned no row yet, so there is no network to look into; learn some first.")
    return estimator._closed()


def feature_names(estimator, numbers=None):
    """Names of the features, or those of these numbers, a list of str: of a table's columns, else x0, x1, ..."""
    numbers = range(estimator.n_features_in_) if numbers is None else numbers
    names = getattr(estimator, "feature_names_in_", None)
    return [f"x{number}" if names is None else str(names[number]) for number in numbers]


def category_names(estimator):
    """Names of the features that are categories, a list of str."""
    return feature_names(estimator, np.flatnonzero(estimator.is_categorical_))


def output_names(estimator, n_outputs):
    """The outputs as users know them, an ndarray (n_outputs,): labels of a classifier, else numbers of targets."""
    return estimator.classes_[estimator._has_come][-n_outputs:] if is_classifier(estimator) else np.arange(n_outputs)


def output_limits(online, kernels):
    """The bounds (n_outputs | 1, 1) of neurons' outputs."""
    if online.network.limits is None:
        return np.full((1, 1), online.settings.limit)
    return kernels.to_numpy(online.network.limits)[:, np.newaxis]


def is_at(limits, outputs):
    """Which outputs (n, n_outputs, n_neurons) are clipped."""
    return np.abs(outputs) >= limits.astype(outputs.dtype)


class _Layer(NamedTuple):
    """The outputs of a layer for some samples, and how they came about; all of NumPy."""

    n_evidence: int  # of its inputs, those that come after the layer below

    weights: np.ndarray  # (n_outputs, n_neurons, n_slots, n_inputs)
    slots: np.ndarray  # (n, n_outputs | 1, n_neurons)
    outputs: np.ndarray  # (n, n_outputs, n_neurons)
    is_clipped: np.ndarray  # (n, n_outputs, n_neurons)
    gains: np.ndarray | float  # (n, n_outputs, n_neurons): by which the weighted sum of inputs is multiplied
    scales: np.ndarray | float  # (n, n_outputs, n_neurons): by which outputs are, where they are inputs


class _Explainer:
    """Explains chunks of samples, in the scope of the kernels."""

    def __init__(self, online, kernels):
        self.online, self.settings, self.kernels = online, online.settings, kernels
        self.likelihood = online.settings.likelihood
        self.join = partial(self.likelihood.joined, kernels)
        self.network = online.ensure_network(kernels)
        self.weights = [kernels.to_numpy(layer.weights) for layer in self.network.layers]

    def __call__(self, X, indices, inputs, outputs):
        """The fields of LocalCoefficients for a chunk of what `OnlineNetwork.forward` gives."""
        n_samples, likelihood = len(indices), self.likelihood
        n_evidence = 0 if inputs.evidence is None else inputs.evidence.shape[2]
        signals = base_signals(self.kernels, inputs, self.settings)
        layers = self._layers(outputs, signals, n_evidence, n_samples)
        given = self.join(signals.of_first(self.join))
        base, x = (self._on_host(array, n_samples) for array in (likelihood.outputs(given), inputs.base))
        coefficients, intercept, is_clipped = _pass_back(layers, base, *self.online.output_weights())
        coefficients = coefficients * self._on_host(likelihood.scales(given), n_samples)
        coefficients, constants = np.split(coefficients, [base.shape[2] - self.settings.n_constants], axis=2)
        base, values = np.split(base, [coefficients.shape[2]], axis=2)
        intercept += np.vecdot(constants, values, dtype=float)
        (of_evidence, coefficients), (evidence, base) = (
            np.split(array, [n_evidence], axis=2) for array in (coefficients, base)
        )
        coefficients, base = likelihood.by_base_input(coefficients), likelihood.base_values(base[:, 0], x)
        n_basis = self.online.predictor.n_basis  # which comes first there, and last here
        coefficients, base = np.roll(coefficients, -n_basis, axis=2), np.roll(base, -n_basis, axis=1)
        if self.online.wide is not None:
            return self._of_wide(X, indices, of_evidence, evidence, intercept, is_clipped)
        slopes = self._slopes(as_numpy(X[indices[0] : indices[-1] + 1]), x)
        if n_evidence:
            of_output = np.repeat(base[:, np.newaxis], evidence.shape[1], axis=1)
            coefficients = np.concatenate([coefficients, of_evidence], axis=2)
            base = np.concatenate([of_output, evidence], axis=2)
            slopes = None if slopes is None else np.pad(slopes, ((0, 0), (0, n_evidence)))
        return coefficients, intercept, base, is_clipped, slopes, None

    def _of_wide(self, X, indices, coefficients, evidence, intercept, is_clipped):
        """The same of wide rows, whose evidence (n, n_outputs, n_evidence) has these coefficients."""
        online = self.online
        (coefficients, others), (shifts, sureness) = (np.split(array, 2, axis=2) for array in (coefficients, evidence))
        intercept += np.vecdot(others, sureness, dtype=float)
        rows = online.wide.rows(X, indices)
        shares, of_value = online.wide.shares(rows), np.repeat(np.arange(len(indices)), np.diff(rows.indptr))
        of_columns, unit = [], np.broadcast_to(online.head.unit, coefficients.shape[1:2])
        for output in range(coefficients.shape[1]):
            contributions = csr_array((np.zeros(rows.nnz), rows.indices, rows.indptr), rows.shape, copy=True)
            for model in range(coefficients.shape[2]):
                parts = shares.weights[shares.columns, output, model] * shares.values
                sums = np.bincount(of_value, parts, len(indices))
                divisor = np.maximum(unit[output], np.abs(sums) / LIMIT)  # a shift that is clipped is shared out
                contributions.data += parts * (coefficients[:, output, model] / divisor)[of_value]
            contributions.eliminate_zeros()
            of_columns.append(contributions)
        return coefficients, intercept, shifts, is_clipped, None, of_columns

    def _layers(self, outputs, base, n_evidence, n_samples):
        limits, layers = output_limits(self.online, self.kernels), []
        given = zip(self.network.layers, outputs.contexts, outputs.layers, outputs.signals, strict=True)
        for number, (layer, contexts, neurons, signal) in enumerate(given):
            if number:
                inputs = base.above(outputs.signals[number - 1], self.join, skip=self.settings.skip)
            else:
                inputs = base.of_first(self.join)
            slots = layer.slots(contexts)
            arrays = (
                slots,
                neurons,
                self.likelihood.gains(self.kernels, layer, slots, inputs),
                self.likelihood.scales(signal),
            )
            slots, neurons, gains, scales = (self._on_host(array, n_samples) for array in arrays)
            n_more = n_evidence if self.settings.skip or not number else 0
            layers.append(_Layer(n_more, self.weights[number], slots, neurons, is_at(limits, neurons), gains, scales))
        return layers

    def _on_host(self, array, n_samples):
        """Without padding; a number stays one."""
        return array if isinstance(array, float) else self.kernels.to_numpy(array)[:n_samples]

    def _slopes(self, X, x):
        if callable(self.online.predictor.kind):
            return None
        categories = self.online.categories
        slopes = self.online.predictor.slopes(X if categories is None else categories.expanded(X), x)
        if categories is not None:
            slopes[:, len(categories.numbers) :] = 0
        if self.settings.squares:
            within = np.abs(x) < SQUARE_LIMIT
            slopes = np.hstack([slopes, slopes * np.where(within, 2 * SQUARE_SCALE * x, 0)])
        return np.hstack([slopes, *self.online.predictor.basis_slopes(X, x, slopes)])


def _pass_back(layers, base, output_weights, constant):
    """How much outputs change with base, which of them are clipped, and what is not part of base.

    The base is (n, n_outputs | 1, n_base). From the last layer to the first, each neuron's share in the output is
    passed on to its inputs.
    """
    n_outputs = len(output_weights)
    coefficients = np.zeros((len(base), n_outputs, base.shape[2]), base.dtype)
    intercept, is_clipped = np.tile(constant, (len(base), 1)), np.zeros((len(base), n_outputs), bool)
    from_above = 0.0
    for number, layer in reversed(list(enumerate(layers))):
        n_neurons, below = layer.outputs.shape[2], layers[number - 1] if number else None
        shares = from_above + output_weights[:, number, np.newaxis] / n_neurons  # (n, n_outputs, n_neurons)
        stopped = layer.is_clipped & (shares != 0)
        is_clipped |= stopped.any(axis=2)
        intercept += np.sum(shares * layer.outputs, axis=2, where=stopped, dtype=float)
        passed = _sum_slots(layer.weights, layer.slots, np.where(stopped, 0, shares) * layer.gains)
        n_below = below.outputs.shape[2] if below else 0
        of_below, of_evidence, of_base = np.split(passed, [n_below, n_below + layer.n_evidence], axis=2)
        from_above = of_below * below.scales if below else 0.0
        coefficients[:, :, : layer.n_evidence] += of_evidence
        coefficients[:, :, base.shape[2] - of_base.shape[2] :] += of_base
    return coefficients, intercept, is_clipped


def _sum_slots(weights, slots, factors):
    """Weights in slots (n, n_outputs | 1, n_neurons) times factors, summed over neurons: (n, n_outputs, n_inputs)."""
    n_outputs, n_neurons, n_slots, n_inputs = weights.shape
    factors = factors.astype(weights.dtype)
    columns = slots + np.arange(0, n_outputs * n_neurons * n_slots, n_slots).reshape(n_outputs, n_neurons)
    ends = np.arange(0, factors.size + 1, n_neurons)
    shape = len(ends) - 1, n_outputs * n_neurons * n_slots
    matrix = csr_array((factors.ravel(), np.broadcast_to(columns, factors.shape).ravel(), ends), shape=shape)
    return (matrix @ weights.reshape(-1, n_inputs)).reshape(-1, n_outputs, n_inputs)
