"""How a classifier did along a stream, each row predicted before it was learned."""

from reprlib import repr as brief

import numpy as np
from sklearn.base import clone

from sklearn_gln import GLNClassifier
from sklearn_gln.inspection._axes import get_axes, line_style, literal
from sklearn_gln.inspection._local import check_ours

METRICS = {"log_loss": "log-loss", "accuracy": "accuracy"}
SMALLEST = np.finfo(float).tiny  # probability


class ProgressiveLossDisplay:
    """Log-loss or accuracy along a stream, over all rows and over those of each class.

    Every row is predicted before it is learned. Make one by `from_estimator` or `from_predictions`.

    Parameters
    ----------
    losses : ndarray of shape (n_samples,)
        Minus the natural logarithm of the probability given to each row's class, in the order of the stream.

    hits : ndarray of shape (n_samples,), bool
        Whether each row's class was the most probable.

    y : ndarray of shape (n_samples,)
        The rows' classes.

    classes : ndarray of shape (n_classes,)
        The classes that have their own curves.

    Attributes
    ----------
    ax_ : matplotlib Axes

    figure_ : matplotlib Figure

    lines_ : list of matplotlib Line2D
        The curve of all rows, then those of the classes.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_gln import GLNClassifier
    >>> from sklearn_gln.inspection import ProgressiveLossDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> display = ProgressiveLossDisplay.from_estimator(GLNClassifier(random_state=0), X, y)
    >>> float(display.hits.mean()) > 0.9
    True
    """

    def __init__(self, losses, hits, y, *, classes):
        self.losses = losses
        self.hits = hits
        self.y = y
        self.classes = classes

    @classmethod
    def from_estimator(cls, estimator, X, y, *, ax=None, **options):
        """Stream rows in their order through a clone of the estimator, and draw how it did.

        Parameters
        ----------
        estimator : GLNClassifier
            Fitted or not: a clone learns the stream from nothing.

        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows in the order of the stream.

        y : array-like of shape (n_samples,)
            Their labels.

        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.

        **options
            Passed to `plot`.

        Returns
        -------
        display : ProgressiveLossDisplay

        Raises
        ------
        ValueError
            If X or y is invalid.

        TypeError
            If the estimator is not a GLNClassifier, but a Pipeline or a search, say.
        """
        check_ours(estimator, fitted=False)
        if not isinstance(estimator, GLNClassifier):
            raise TypeError(
                f"estimator is a {type(estimator).__name__}; curves are drawn of a GLNClassifier. The attribute "
                "progressive_loss_ of a regressor tells how it did."
            )
        classes = np.unique(y)
        probabilities = clone(estimator).progressive_predict_proba(X, y, classes=classes)
        if estimator.new_classes == "add":  # a row that brings a class costs what it does in progressive_loss_
            probabilities = np.where(probabilities > 0, probabilities, estimator.eps)
        return cls.from_predictions(y, probabilities, classes=classes, ax=ax, **options)

    @classmethod
    def from_predictions(cls, y, probabilities, *, classes=None, ax=None, **options):
        """Draw how probabilities did that were given to rows before they were learned.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Labels in the order of the stream.

        probabilities : array-like of shape (n_samples, n_classes)
            Such as `progressive_predict_proba` returns.

        classes : array-like of shape (n_classes,), default=None
            The labels of the columns. None: all that are in y, sorted.

        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.

        **options
            Passed to `plot`.

        Returns
        -------
        display : ProgressiveLossDisplay

        Raises
        ------
        ValueError
            If shapes do not fit, or y has a label that is not in `classes`.
        """
        y, probabilities = np.asarray(y), np.asarray(probabilities)
        classes = np.unique(y) if classes is None else np.asarray(classes)
        if y.ndim != 1 or probabilities.shape != (len(y), len(classes)):
            raise ValueError(
                f"probabilities of shape {probabilities.shape} for y of shape {y.shape} and {len(classes)} classes; "
                f"they must be one row for each label and one column for each class: ({len(y)}, {len(classes)})."
            )
        is_class = y[:, np.newaxis] == classes
        if not is_class.any(axis=1).all():
            unknown = np.unique(y[~is_class.any(axis=1)])
            raise ValueError(
                f"y has the labels {brief(unknown.tolist())}, which are not in classes={brief(classes.tolist())}."
            )
        codes = is_class.argmax(axis=1)
        losses = -np.log(np.maximum(np.take_along_axis(probabilities, codes[:, np.newaxis], axis=1)[:, 0], SMALLEST))
        hits = probabilities.argmax(axis=1) == codes
        return cls(losses, hits, y, classes=classes).plot(ax=ax, **options)

    def curve(self, metric="log_loss", window=None, label=None):
        """Means over the rows of a moving window.

        Parameters
        ----------
        metric : {"log_loss", "accuracy"}, default="log_loss"
            The values averaged.

        window : int or None, default=None
            Rows of the stream that a mean is over, up to and including its own. None: a tenth of them.

        label : label, default=None
            The class whose rows count. None: all.

        Returns
        -------
        curve : ndarray of shape (n_samples,)
            NaN where the window has no such row.
        """
        if metric not in METRICS:
            raise ValueError(f"metric={metric!r} is unknown; choose from {list(METRICS)}.")
        n_rows = len(self.y)
        window = max(1, n_rows // 10) if window is None else window
        counted = np.ones(n_rows, bool) if label is None else self.y == label
        values = np.where(counted, self.losses if metric == "log_loss" else self.hits, 0.0)
        sums, counts = (np.cumsum(np.append(0.0, each)) for each in (values, counted))
        first = np.maximum(np.arange(1, n_rows + 1) - window, 0)
        counts = counts[1:] - counts[first]
        return np.divide(sums[1:] - sums[first], counts, out=np.full(n_rows, np.nan), where=counts > 0)

    def plot(self, ax=None, *, metric="log_loss", window=None, by_class=True):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.

        metric : {"log_loss", "accuracy"}, default="log_loss"
            The values drawn.

        window : int or None, default=None
            Rows of the stream that a point is the mean over. None: a tenth of them.

        by_class : bool, default=True
            Whether to draw the curve of each class too.

        Returns
        -------
        self : ProgressiveLossDisplay
        """
        ax, rows = get_axes(ax), np.arange(1, len(self.y) + 1)
        curves = [("all", self.curve(metric, window), {"color": "black", "linewidth": 2.2, "zorder": 3})]
        for number, label in enumerate(self.classes if by_class else ()):
            curves.append((str(label), self.curve(metric, window, label), line_style(number) | {"linewidth": 1}))
        self.lines_ = [ax.plot(rows, values, label=name, **style)[0] for name, values, style in curves]
        ax.set_xlabel("rows seen")
        ax.set_ylabel(f"progressive {METRICS[metric]}")
        ax.margins(x=0)
        # Numbers first: matplotlib leaves out labels that begin with "_".
        numbers = list(map(str, range(len(curves))))
        legend = ax.legend(self.lines_, numbers, title="class" if by_class else None, ncols=2, fontsize="small")
        for text, (name, *_) in zip(legend.get_texts(), curves, strict=True):
            text.set_text(literal(name))
        self.ax_, self.figure_ = ax, ax.figure
        return self
