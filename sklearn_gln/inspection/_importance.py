"""How much features contribute on average."""

from dataclasses import replace
from reprlib import repr as brief

import numpy as np

from sklearn_gln._compat import check_sample_weight
from sklearn_gln.inspection._axes import COLORS, get_axes, literal
from sklearn_gln.inspection._local import category_names, explain, feature_names, learned, output_names
from sklearn_gln.kernels import as_numpy


def global_contributions(estimator, X=None, *, sample_weight=None):
    """Return the importance of each feature: its mean absolute contribution to the output.

    Contributions are those of `local_coefficients`, but compared to the mean of the rows: coefficients are multiplied
    by how far base logits are from their means. A constant feature then contributes nothing, whatever it is (but with
    base predictor "minmax", which scales it by the other features of its row). Those of wide rows, of more than
    `max_dense` features, are compared to rows without the feature.

    Parameters
    ----------
    estimator : GLNClassifier or GLNRegressor
        A fitted estimator, of any backend, with a base predictor that is not a callable.

    X : {array-like, sparse matrix} of shape (n_samples, n_features) or None, default=None
        The rows to explain, learned or not. It takes as much memory as `local_coefficients`, and some hundred rows are
        enough. None: those that the estimator keeps, at most 256 of the last that it learned; with base predictor
        "minmax" or "identity", with categories, or of wide rows, it keeps none.

    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of the rows of X. None: 1. Rows that were kept have the weights with which they were learned.

    Returns
    -------
    importances : ndarray of shape (n_features,) or (n_outputs, n_features), float64
        The first shape for two classes and for one target; else a row for each class, label or target. In the unit of
        the logit that `decision_function` gives, or of the target. Dense, whatever X is.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.

    TypeError
        If it is not a GLNClassifier or GLNRegressor, but a Pipeline or a search, say.

    ValueError
        If X or `sample_weight` is invalid, the estimator has learned no row yet or kept none, or its base predictor is
        a callable.

    See Also
    --------
    sklearn.inspection.permutation_importance : What the score loses without a feature. It takes labels, and many
        predictions.

    Notes
    -----
    In `SelectFromModel`, `RFE` and `RFECV` pass ``importance_getter=global_contributions``: without X it works for
    whatever features are left. Around a Pipeline, pass ``lambda pipeline: global_contributions(pipeline[-1])``.
    `SelectFromModel`, which fits once, may have rows: ``functools.partial(global_contributions, X=X)``. They add up
    outputs (RFE their squares), so targets of different units should be scaled first.

    Contributions do not say which side of halfspaces a feature chooses: in ``y = x1 * sign(x0)`` x0 is underrated. And
    they show what was learned, right or wrong; whether it helps on new rows, `permutation_importance` tells.

    Examples
    --------
    >>> from sklearn.datasets import make_friedman1
    >>> from sklearn.feature_selection import RFE
    >>> from sklearn_gln import GLNRegressor
    >>> from sklearn_gln.inspection import global_contributions
    >>> X, y = make_friedman1(300, n_features=8, random_state=0)  # the last three are noise
    >>> model = GLNRegressor(random_state=0)
    >>> importances = global_contributions(model.fit(X, y), X)
    >>> bool(importances[:5].min() > importances[5:].max())
    True
    >>> RFE(model, n_features_to_select=5, importance_getter=global_contributions).fit(X, y).support_.tolist()
    [True, True, True, True, True, False, False, False]
    """
    importances = _by_output(estimator, X, sample_weight)
    return importances[0] if len(importances) == 1 else importances


def _by_output(estimator, X, sample_weight):
    """The importances (n_outputs, n_features)."""
    rows, weights = _weighted_rows(estimator, X, sample_weight)
    local = explain(estimator, rows)
    if estimator._online.wide is not None:
        return np.stack([weights @ np.abs(of_output) for of_output in local.feature_contributions]) / weights.sum()
    mean = np.average(local.base_logits, axis=0, weights=weights).astype(local.base_logits.dtype)
    centred = replace(local, base_logits=local.base_logits - mean)
    return np.average(np.abs(centred.feature_contributions), axis=0, weights=weights)


def _weighted_rows(estimator, X, sample_weight):
    """The rows of X, or those kept, as the network takes them, and their weights (n,)."""
    predictor = learned(estimator).predictor
    window = predictor.window
    if X is not None:
        rows = estimator._check_X(X)
        weights = np.ones(len(rows)) if sample_weight is None else check_sample_weight(as_numpy(sample_weight), rows)
        if not weights.any():
            raise ValueError("sample_weight is zero for every row; give at least one row a positive weight.")
        return rows, weights
    if sample_weight is not None:
        raise ValueError("sample_weight holds weights of rows, but X is None; pass these rows as X.")
    categories, is_wide = category_names(estimator), estimator._online.wide is not None
    if categories or is_wide or not len(window.weight):
        why = f"base_predictor={predictor.kind!r} keeps none of the rows learned"
        if is_wide:
            why = f"no rows are kept that are wide (of {estimator.n_features_in_:,} features)"
        elif categories:
            why = f"no rows are kept where features are categories ({brief(categories)})"
        raise ValueError(
            f"X is None, and {why}; pass rows as X. As importance_getter of SelectFromModel: "
            "functools.partial(global_contributions, X=X)."
        )
    return estimator._check_X(window.values, check_input=False), window.weight


class ImportanceDisplay:
    """Importances of features as bars, the largest first, stacked where there are several outputs.

    Make one by `from_estimator`.

    Parameters
    ----------
    importances : ndarray of shape (n_outputs, n_features)
        The importance of each feature for each output. `from_estimator` leaves out features of wide rows that
        contribute nothing.

    output_names : list of str, of length n_outputs
        Names of the outputs, such as the classes.

    feature_names : list of str, of length n_features
        Names of the features.

    Attributes
    ----------
    ax_ : matplotlib Axes

    figure_ : matplotlib Figure

    See Also
    --------
    global_contributions : The numbers behind it.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_gln import GLNClassifier
    >>> from sklearn_gln.inspection import ImportanceDisplay
    >>> X, y = load_wine(return_X_y=True, as_frame=True)
    >>> model = GLNClassifier(random_state=0).fit(X, y)
    >>> display = ImportanceDisplay.from_estimator(model, X)
    >>> display.importances.shape
    (3, 13)
    """

    def __init__(self, importances, *, output_names, feature_names):
        self.importances = importances
        self.output_names = output_names
        self.feature_names = feature_names

    @classmethod
    def from_estimator(cls, estimator, X=None, *, sample_weight=None, ax=None, **options):
        """Find the importances of a fitted estimator, and draw them.

        Parameters
        ----------
        estimator, X, sample_weight
            As in `global_contributions`.

        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.

        **options
            Passed to `plot`.

        Returns
        -------
        display : ImportanceDisplay

        Raises
        ------
        NotFittedError, TypeError, ValueError
            As in `global_contributions`.
        """
        importances, shown = _by_output(estimator, X, sample_weight), None
        if estimator._online.wide is not None:
            shown = np.flatnonzero(importances.any(axis=0))
            importances = importances[:, shown]
        display = cls(
            importances,
            output_names=list(map(str, output_names(estimator, len(importances)))),
            feature_names=feature_names(estimator, shown),
        )
        return display.plot(ax=ax, **options)

    def plot(self, ax=None, *, n_features=10):
        """Draw the importances.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.

        n_features : int, default=10
            Those of the largest importances, added up over the outputs; the others are summed up in one bar.

        Returns
        -------
        self : ImportanceDisplay
        """
        names, lengths = self.bars(n_features)
        self.ax_ = ax = get_axes(ax, figsize=(6.4, 0.6 + 0.32 * len(names)))
        starts = np.cumsum(lengths, axis=0) - lengths
        for number, name in enumerate(self.output_names):
            color = COLORS[number % len(COLORS)]
            ax.barh(range(len(names)), lengths[number], left=starts[number], color=color, label=literal(name))
        ax.set_yticks(range(len(names)), list(map(literal, names)))
        ax.invert_yaxis()
        ax.set_xlabel("mean absolute contribution to the output")
        if len(self.output_names) > 1:
            ax.legend(title="output")
        self.figure_ = ax.figure
        return self

    def bars(self, n_features=10):
        """Names and lengths of the bars: a list of str, and an ndarray of shape (n_outputs, n_bars)."""
        order = np.argsort(-self.importances.sum(axis=0), kind="stable")
        shown, others = order[:n_features], order[n_features:]
        names, lengths = [self.feature_names[feature] for feature in shown], [self.importances[:, shown]]
        if len(others):
            names.append(f"sum of {len(others)} others")
            lengths.append(self.importances[:, others].sum(axis=1, keepdims=True))
        return names, np.hstack(lengths)
