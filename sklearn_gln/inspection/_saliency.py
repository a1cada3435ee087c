"""Contributions of features to outputs, as bars or as images."""

from reprlib import repr as brief

import numpy as np
from sklearn.base import is_classifier

from sklearn_gln._input import missing
from sklearn_gln.inspection._axes import COLORS, get_axes, literal
from sklearn_gln.inspection._local import category_names, explain, feature_names, learned, output_names
from sklearn_gln.kernels import as_numpy

GAP = 2  # pixels between images
LIMIT = 99.5  # percentile of contributions' magnitudes at which the colours of images end


class SaliencyDisplay:
    """Contributions of features to outputs, for single rows: as bars, or as images where features are pixels.

    Make one by `from_estimator`. Of wide rows, of more than `max_dense` features, its bars are of the features that
    contribute alone.

    Parameters
    ----------
    contributions : ndarray of shape (n_samples, n_outputs, n_features)
        The contribution of each feature to each output.

    intercept : ndarray of shape (n_samples, n_outputs)
        What remains: with the contributions it sums to the output.

    X : ndarray of shape (n_samples, n_features)
        The features themselves; of categories the levels, as text.

    output_names : list of str, of length n_outputs
        Names of the outputs, such as the classes.

    feature_names : list of str, of length n_features
        Names of the features, for bars.

    image_shape : tuple of int or None, default=None
        Height and width of images of n_features pixels. None: bars, of a single row.

    row_names : list of str or None, default=None
        A name for each row, next to its images.

    Attributes
    ----------
    ax_ : matplotlib Axes

    figure_ : matplotlib Figure

    See Also
    --------
    local_coefficients : The numbers behind it.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_gln import GLNClassifier
    >>> from sklearn_gln.inspection import SaliencyDisplay
    >>> X, y = load_wine(return_X_y=True, as_frame=True)
    >>> model = GLNClassifier(random_state=0).fit(X, y)
    >>> display = SaliencyDisplay.from_estimator(model, X[:1])
    >>> display.output_names
    ['0']
    """

    def __init__(self, contributions, intercept, X, *, output_names, feature_names, image_shape=None, row_names=None):
        self.contributions = contributions
        self.intercept = intercept
        self.X = X
        self.output_names = output_names
        self.feature_names = feature_names
        self.image_shape = image_shape
        self.row_names = row_names

    @classmethod
    def from_estimator(cls, estimator, X, *, outputs=None, image_shape=None, row_names=None, ax=None, **options):
        """Explain the outputs of a fitted estimator for rows, and draw the contributions.

        Parameters
        ----------
        estimator : GLNClassifier or GLNRegressor
            A fitted estimator, with a base predictor that is not a callable.

        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            One row for bars, one or more for images.

        outputs : list or None, default=None
            The outputs to explain: labels of `classes_`, or numbers of a regressor's targets. None: for bars the class
            predicted, else all. Two classes have one output, that of the second.

        image_shape : tuple of int or None, default=None
            Height and width, where features are pixels. None: bars.

        row_names : list of str or None, default=None
            A name for each row, next to its images. None: for a classifier what it predicts.

        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.

        **options
            Passed to `plot`.

        Returns
        -------
        display : SaliencyDisplay

        Raises
        ------
        ValueError
            If X or `outputs` do not fit the estimator, `image_shape` does not fit X or there are categories, or several
            rows come without it.

        TypeError
            If the estimator is not a GLN, but a Pipeline or a search, say.
        """
        online, categories = learned(estimator), category_names(estimator)
        rows = estimator._check_X(X)
        n_rows, n_features = len(rows), estimator.n_features_in_
        if image_shape is None and n_rows != 1:
            raise ValueError(
                f"X has {n_rows} rows, and bars show one; pass X[i:i+1], or image_shape=(height, width) if features "
                "are pixels."
            )
        if image_shape is not None and np.prod(image_shape) != n_features:
            raise ValueError(f"image_shape={image_shape!r} does not hold the {n_features} features of X.")
        if image_shape is not None and categories:
            raise ValueError(
                f"image_shape={image_shape!r} makes pixels of features, and {brief(categories)} are categories; pass "
                "one row without it, for bars."
            )
        local, numbers = explain(estimator, rows), None
        contributions, intercept = local.feature_contributions, local.intercept
        if online.wide is None:
            values = _as_shown(estimator, X, rows)
        else:
            values = online.wide.rows(rows, np.arange(n_rows))
            if image_shape is None:
                numbers = np.unique(np.concatenate([of_output.indices for of_output in contributions]))
                contributions, values = [each[:, numbers] for each in contributions], values[:, numbers]
            contributions, values = np.stack([each.toarray() for each in contributions], axis=1), values.toarray()
        n_outputs = intercept.shape[1]
        classifies, names = is_classifier(estimator), output_names(estimator, n_outputs)
        predicted = estimator.predict(X) if classifies else None
        if outputs is None:
            outputs = names
            if image_shape is None and classifies and predicted.ndim == 1 and n_outputs > 1:
                outputs = predicted
        unknown = [output for output in outputs if output not in names]
        if unknown:
            raise ValueError(
                f"outputs={brief(unknown)} are not outputs of the estimator, which has {brief(names.tolist())}."
            )
        chosen = [int(np.flatnonzero(names == output)[0]) for output in outputs]
        if row_names is None and classifies and predicted.ndim == 1:
            row_names = [f"says {label}" for label in predicted]
        display = cls(
            contributions[:, chosen],
            intercept[:, chosen],
            values,
            output_names=[str(output) for output in outputs],
            feature_names=feature_names(estimator, numbers),
            image_shape=image_shape,
            row_names=row_names,
        )
        return display.plot(ax=ax, **options)

    def plot(self, ax=None, *, n_features=10):
        """Draw the contributions.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.

        n_features : int, default=10
            Bars: those of the largest contributions; the others are summed up in one.

        Returns
        -------
        self : SaliencyDisplay
        """
        if self.image_shape is None:
            self._plot_bars(ax, n_features)
        else:
            self._plot_images(ax)
        self.figure_ = self.ax_.figure
        return self

    def bars(self, n_features=10):
        """Names and heights of the bars: a list of str, and an ndarray of shape (n_outputs, n_bars).

        The largest contributions of the first row, then the sum of the others and the intercept.
        """
        contributions = self.contributions[0]
        order = np.argsort(-np.abs(contributions).max(axis=0), kind="stable")
        shown, others = order[:n_features], order[n_features:]
        values = [value if isinstance(value, str) else f"{value:.4g}" for value in self.X[0, shown]]
        names = [f"{self.feature_names[feature]} = {value}" for feature, value in zip(shown, values, strict=True)]
        heights = [contributions[:, shown]]
        if len(others):
            names.append(f"{len(others)} others")
            heights.append(contributions[:, others].sum(axis=1, keepdims=True))
        return [*names, "intercept"], np.hstack([*heights, self.intercept[0, :, np.newaxis]])

    def _plot_bars(self, ax, n_features):
        names, heights = self.bars(n_features)
        self.ax_ = ax = get_axes(ax, figsize=(6.4, 0.6 + 0.32 * len(names)))
        places, thickness = np.arange(len(names)), 0.8 / len(heights)
        totals = heights.sum(axis=1)
        for number, (name, total) in enumerate(zip(self.output_names, totals, strict=True)):
            offset = (number - (len(heights) - 1) / 2) * thickness
            label = f"output {literal(name)}: sum {total:.2f}"
            ax.barh(places + offset, heights[number], thickness, color=COLORS[number % len(COLORS)], label=label)
        ax.set_yticks(places, list(map(literal, names)))
        ax.invert_yaxis()
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_xlabel("contribution to the output")
        ax.legend()

    def _plot_images(self, ax):
        height, width = self.image_shape
        n_rows, n_outputs, _ = self.contributions.shape
        if ax is None:
            ax = get_axes(figsize=(0.85 * (n_outputs + 1) + 1.6, 0.85 * n_rows * height / width + 0.6))
        pixels = self.X.reshape(n_rows, 1, height, width)
        limit = np.percentile(np.abs(self.contributions), LIMIT) or 1.0
        ax.imshow(mosaic(pixels), cmap="gray_r", extent=_extent(0, 1, n_rows, height, width))
        shown = ax.imshow(
            mosaic(self.contributions.reshape(n_rows, n_outputs, height, width)),
            cmap="RdBu_r",
            vmin=-limit,
            vmax=limit,
            extent=_extent(1, n_outputs, n_rows, height, width),
        )
        ax.set_xlim(0, (n_outputs + 1) * (width + GAP) - GAP)
        ax.set_xticks((np.arange(n_outputs + 1) + 0.5) * (width + GAP), ["image", *map(literal, self.output_names)])
        ax.set_yticks((np.arange(n_rows) + 0.5) * (height + GAP), list(map(literal, self.row_names or [""] * n_rows)))
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        totals = self.intercept + self.contributions.sum(axis=2)
        for row, output in np.ndindex(totals.shape):
            place = (output + 1) * (width + GAP) + 1, (row + 1) * (height + GAP) - GAP - 1
            ax.text(*place, f"{totals[row, output]:.1f}", fontsize="x-small")
        ax.figure.colorbar(shown, ax=ax, label="contribution to the output", fraction=0.03, pad=0.02)
        self.ax_ = ax


def _as_shown(estimator, X, rows):
    """The features (n, n_features), in place of categories the text of levels; rows are X as it was checked."""
    is_categorical = estimator.is_categorical_
    if not is_categorical.any():
        return as_numpy(rows[:]).astype(float)
    shown, levels = rows.astype(object), np.asarray(as_numpy(X), dtype=object)[:, is_categorical]
    shown[:, is_categorical] = np.where(missing(levels), "missing", levels.astype(str))
    return shown


def mosaic(images):
    """Images (n, m, height, width) as one, in n lines of m, with NaN between them."""
    padded = np.pad(images, ((0, 0), (0, 0), (0, GAP), (0, GAP)), constant_values=np.nan)
    joined = padded.swapaxes(1, 2)
    return joined.reshape(joined.shape[0] * joined.shape[1], -1)[:-GAP, :-GAP]


def _extent(first, n_columns, n_lines, height, width):
    """Where an image of such a mosaic lies whose first column is this one."""
    left, right = first * (width + GAP), (first + n_columns) * (width + GAP) - GAP
    return left, right, n_lines * (height + GAP) - GAP, 0
