"""How accurate and how calibrated each layer of a classifier is."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import is_classifier
from sklearn.calibration import CalibrationDisplay, calibration_curve
from sklearn.metrics import accuracy_score, log_loss

from sklearn_gln.inspection._axes import get_axes, line_style
from sklearn_gln.inspection._local import check_ours


@dataclass
class LayerScores:
    """How well the probabilities of one layer, or of the output, did.

    Attributes
    ----------
    name : str
        "layer 0", "layer 1", ..., "output".

    accuracy, log_loss : float
        Of the probabilities.

    calibration_error : float
        Mean difference between the probability given to the most probable class and the share of rows for which it was
        right, over bins of equally many rows.

    confidence, share_right : ndarray of shape (n_bins,)
        Means of these two in each bin.
    """

    name: str
    accuracy: float
    log_loss: float
    calibration_error: float
    confidence: np.ndarray
    share_right: np.ndarray


class LayerDisplay:
    """Reliability curves of each layer and of the output, with accuracy and log-loss.

    The share of rows for which the most probable class is right, against the probability given to it. Make one by
    `from_estimator`.

    Parameters
    ----------
    scores : list of LayerScores
        One for each layer, and one for the output, which weighs the layers.

    Attributes
    ----------
    ax_ : matplotlib Axes

    figure_ : matplotlib Figure

    See Also
    --------
    GLNClassifier.staged_predict_proba : The probabilities.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_gln import GLNClassifier
    >>> from sklearn_gln.inspection import LayerDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> model = GLNClassifier(random_state=0).fit(X[:1000], y[:1000])
    >>> display = LayerDisplay.from_estimator(model, X[1000:], y[1000:])
    >>> [scores.name for scores in display.scores]
    ['layer 0', 'layer 1', 'layer 2', 'output']
    """

    def __init__(self, scores):
        self.scores = scores

    @classmethod
    def from_estimator(cls, estimator, X, y, *, n_bins=10, ax=None, **options):
        """Score the layers of a fitted classifier, and draw the curves.

        Parameters
        ----------
        estimator : GLNClassifier
            Fitted, to one label a row.

        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows that were not learned.

        y : array-like of shape (n_samples,)
            Their labels.

        n_bins : int, default=10
            Bins of the curves, of equally many rows each.

        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.

        **options
            Passed to `plot`.

        Returns
        -------
        display : LayerDisplay

        Raises
        ------
        ValueError
            If the estimator is not a classifier of one label a row, or X or y is invalid.

        TypeError
            If it is not a GLN, but a Pipeline or a search, say.
        """
        check_ours(estimator)
        y = np.asarray(y)
        if not is_classifier(estimator) or y.ndim != 1:
            raise ValueError(
                f"{type(estimator).__name__} with y of shape {y.shape}: layers are scored of classifiers with one "
                "label a row. `staged_predict` of a regressor gives the predictions of its layers."
            )
        stages = [*estimator.staged_predict_proba(X), estimator.predict_proba(X)]
        names = [*(f"layer {number}" for number in range(len(stages) - 1)), "output"]
        scores = [_score(name, stage, y, estimator.classes_, n_bins) for name, stage in zip(names, stages, strict=True)]
        return cls(scores).plot(ax=ax, **options)

    def plot(self, ax=None, **options):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.

        **options
            Passed to matplotlib's `plot`, for all curves.

        Returns
        -------
        self : LayerDisplay
        """
        ax = get_axes(ax)
        for number, scores in enumerate(self.scores):
            style = line_style(number) | {"marker": "os^Dv"[number % 5], "markersize": 4}
            if number == len(self.scores) - 1:
                style |= {"color": "black", "linestyle": "-", "linewidth": 2}
            name = f"{scores.name}: {scores.accuracy:.1%}, {scores.log_loss:.3f}"
            curve = CalibrationDisplay(scores.share_right, scores.confidence, scores.confidence, estimator_name=name)
            curve.plot(ax=ax, ref_line=number == 0, **style | options)
        lowest = min(np.min([scores.confidence.min(), scores.share_right.min()]) for scores in self.scores)
        ax.set(xlim=(lowest - 0.03, 1.03), ylim=(lowest - 0.03, 1.03))
        ax.legend(title="accuracy, log-loss", fontsize="small")
        ax.set_xlabel("probability given to the most probable class")
        ax.set_ylabel("share of rows for which it was right")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _score(name, probabilities, y, classes, n_bins):
    confidence, predicted = probabilities.max(axis=1), classes[probabilities.argmax(axis=1)]
    share_right, mean_confidence = calibration_curve(predicted == y, confidence, n_bins=n_bins, strategy="quantile")
    edges = np.quantile(confidence, np.linspace(0, 1, n_bins + 1))[1:-1]
    n_rows = np.unique_counts(np.searchsorted(edges, confidence)).counts  # of the bins, as calibration_curve has them
    error = float(np.average(np.abs(share_right - mean_confidence), weights=n_rows))
    loss = log_loss(y, probabilities, labels=classes)
    return LayerScores(name, accuracy_score(y, predicted), loss, error, mean_confidence, share_right)
