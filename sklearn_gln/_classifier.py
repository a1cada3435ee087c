"""GLNClassifier: labels in, probabilities out."""

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted

from sklearn_gln._base import BaseGLN
from sklearn_gln._compat import StrOptions, _fit_context

MAX_STREAM_CLASS_WEIGHT = 10.0  # of "balanced" weights in a stream, where a class may be rare at first


class GLNClassifier(ClassifierMixin, BaseGLN):
    """Gated Linear Network classifier."""

    _parameter_constraints: dict = {
        **BaseGLN._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def __init__(
        self,
        layer_sizes=(50, 50, 50),
        context_dim=4,
        *,
        halfspaces="pairs",
        offset_scale=None,
        share_halfspaces=True,
        base_predictor="standard",
        bias=True,
        skip=True,
        learning_rate="normalized",
        learning_rate_init=None,
        preconditioner="auto",
        initial_weights="mean",
        aggregation="layers",
        eps=1e-4,
        max_weight=None,
        batch_size=1,
        max_iter=5,
        shuffle=True,
        class_weight=None,
        dtype="float32",
        backend="auto",
        n_jobs=None,
        random_state=None,
    ):
        self.layer_sizes = layer_sizes
        self.context_dim = context_dim
        self.halfspaces = halfspaces
        self.offset_scale = offset_scale
        self.share_halfspaces = share_halfspaces
        self.base_predictor = base_predictor
        self.bias = bias
        self.skip = skip
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.preconditioner = preconditioner
        self.initial_weights = initial_weights
        self.aggregation = aggregation
        self.eps = eps
        self.max_weight = max_weight
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.class_weight = class_weight
        self.dtype = dtype
        self.backend = backend
        self.n_jobs = n_jobs
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Learn from nothing, in `max_iter` passes over the rows."""
        with self._unchanged_on_error():
            X, y, sample_weight = self._check_X_y(X, y, sample_weight, reset=True)
            check_classification_targets(y)
            self.classes_ = _check_classes(np.unique(y))
            codes = np.searchsorted(self.classes_, y)
            weights = sample_weight * compute_class_weight(self.class_weight, classes=self.classes_, y=y)[codes]
            rows = np.flatnonzero(weights)
            if not rows.size:
                raise ValueError("sample_weight is zero for every row: there is nothing to learn from.")
            random_state = check_random_state(self.random_state)
            online = self._new_online(self._outputs(), random_state)
            progress = np.zeros(3)
            for epoch, order in enumerate(self._epochs(rows, random_state)):
                for block, logits in self._learn(online, X, codes, weights, order):
                    if epoch == 0:
                        progress += self._scores(logits, codes[block], sample_weight[block])
            self._online, self.n_iter_ = online, self.max_iter
            self._class_counts = np.bincount(codes[rows], minlength=len(self.classes_)) * self.max_iter
            self._set_progress(progress)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Go on learning: one pass over the rows, in their order."""
        self._learn_on(X, y, classes, sample_weight)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def progressive_predict_proba(self, X, y, classes=None, sample_weight=None):
        """Predict each row, then learn from it: `partial_fit` that returns the predictions made before."""
        return self._learn_on(X, y, classes, sample_weight, predict=True)

    def _learn_on(self, X, y, classes, sample_weight, predict=False):
        with self._unchanged_on_error():
            begun = hasattr(self, "_online")
            X, y, sample_weight = self._check_X_y(X, y, sample_weight, reset=not begun)
            check_classification_targets(y)
            self._announce_classes(classes, begun)
            codes = self._encode(y)
            if not begun:
                self._online = self._new_online(self._outputs(), check_random_state(self.random_state))
                self._class_counts = np.zeros(len(self.classes_), int)
                self._progress = np.zeros(3)
            weights = sample_weight * self._class_weights_in_stream(codes, sample_weight > 0)
        probabilities = np.empty((len(X), len(self.classes_))) if predict else None
        order = None if predict else np.flatnonzero(weights)
        progress = self._progress.copy()
        try:
            for block, logits in self._learn(self._online, X, codes, weights, order):
                progress += self._scores(logits, codes[block], sample_weight[block])
                self._class_counts += np.bincount(codes[block[weights[block] > 0]], minlength=len(self.classes_))
                if predict:
                    probabilities[block] = self._probabilities(logits)
        finally:
            self._set_progress(progress)
        return probabilities

    def predict(self, X):
        """The most probable class of each row: (n,)."""
        decisions = self.decision_function(X)
        codes = (decisions > 0).astype(int) if decisions.ndim == 1 else decisions.argmax(axis=1)
        return self.classes_[codes]

    def predict_proba(self, X):
        """Class probabilities (n, n_classes), in the order of `classes_`."""
        check_is_fitted(self)
        return self._probabilities(self._logits(self._check_X(X)))

    def predict_log_proba(self, X):
        """Natural logarithms of the class probabilities: (n, n_classes)."""
        return np.log(self.predict_proba(X))

    def decision_function(self, X):
        """Output logits: (n,) for two classes (positive: the second), else (n, n_classes)."""
        check_is_fitted(self)
        logits = self._logits(self._check_X(X))
        return logits[:, 0] if logits.shape[1] == 1 else logits

    def _outputs(self):
        """The class that each output tells from the others."""
        return np.array([1]) if len(self.classes_) == 2 else np.arange(len(self.classes_))

    def _probabilities(self, logits):
        if logits.shape[1] == 1:
            return np.hstack([expit(-logits), expit(logits)])
        return softmax(logits, axis=1)

    def _announce_classes(self, classes, begun):
        if not begun and classes is None:
            raise ValueError(
                "classes=None in the first call of partial_fit; pass all labels that the stream will ever bring, "
                "such as classes=np.unique(y_all)."
            )
        if classes is not None:
            classes = _check_classes(unique_labels(classes))
            if begun and not np.array_equal(classes, self.classes_):
                raise ValueError(
                    f"classes={classes} differ from those of the first call, {self.classes_}; leave `classes` out in "
                    "later calls, or start anew with a clone."
                )
            self.classes_ = classes

    def _encode(self, y):
        """Class numbers (n,) int."""
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(
                f"y contains {unknown}, which are not among the announced classes {self.classes_}; pass every label "
                "that may come as `classes` in the first call of partial_fit."
            )
        return np.searchsorted(self.classes_, y)

    def _class_weights_in_stream(self, codes, exists):
        """Each row's class weight (n,), from the rows before and itself."""
        n_classes = len(self.classes_)
        if self.class_weight != "balanced":
            return compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_)[codes]
        n_rows = self._class_counts.sum() + np.cumsum(exists)
        weights = np.empty(len(codes))
        for code in np.unique(codes):
            of_class = codes == code
            count = self._class_counts[code] + np.cumsum(of_class & exists)
            weights[of_class] = ((n_rows + n_classes) / (n_classes * (count + 1)))[of_class]
        return np.minimum(weights, MAX_STREAM_CLASS_WEIGHT)

    def _scores(self, logits, codes, sample_weight):
        """Sums over rows: weight, weighted log-loss, weighted hits."""
        probabilities = self._probabilities(logits)
        of_truth = np.take_along_axis(probabilities, codes[:, np.newaxis], axis=1)[:, 0]
        losses = -np.log(np.maximum(of_truth, np.finfo(float).tiny))
        hits = probabilities.argmax(axis=1) == codes
        return np.array([sample_weight.sum(), sample_weight @ losses, sample_weight @ hits])

    def _set_progress(self, sums):
        self._progress = sums
        if sums[0] > 0:
            _, self.progressive_loss_, self.progressive_accuracy_ = sums / sums[0]


def _check_classes(classes):
    if len(classes) < 2:
        raise ValueError(
            f"A classifier needs at least two classes; got {len(classes)} class: {classes}. If the stream brings "
            "others later, announce them as `classes` in the first call of partial_fit."
        )
    return classes
