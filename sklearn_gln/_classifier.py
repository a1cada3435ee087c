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
    """Gated Linear Network classifier: learns online, one row at a time, without backpropagation.

    Every neuron predicts the target itself: it mixes the logits of the layer below (and, with skip connections, the
    scaled features) with a weight vector that halfspaces of the features select, and learns by an online step of its
    own. More than two classes are learned one against all and joined by a softmax. See the README for the method.

    What is learned is a function of the rows in their order alone: any split of a stream into `partial_fit` calls
    gives the same model.

    Parameters
    ----------
    layer_sizes : array-like of int, default=(50, 50, 50)
        Neurons of each hidden layer. ``()`` is one neuron per output.

    context_dim : int, default=8
        Halfspaces of each neuron, so up to 2**context_dim weight vectors. Memory is taken for those that rows visit.
        0: no gating.

    halfspaces : {"pairs", "gaussian", "raw_gaussian"}, default="pairs"
        How halfspaces are drawn. "pairs": normal to the difference of two random rows among the first 256, at their
        median projection plus `offset_scale` deviations of random noise. "gaussian": unit normals of random direction
        [1]_ with normal offsets of deviation `offset_scale`. "raw_gaussian": the same, normals not scaled to length 1.

    offset_scale : float or None, default=None
        See `halfspaces`. None: 1.5 for "pairs", 0 for Gaussian halfspaces.

    share_halfspaces : bool, default=True
        Whether all outputs gate by the same halfspaces: as accurate, and gating does not grow with the classes.

    base_predictor : {"standard", "global", "minmax", "identity"} or callable, default="standard"
        How features become base logits. "standard": scaled by running mean and deviation, clipped to +-4. "global":
        centred, and scaled by one deviation common to all features (for features of one unit, such as pixels).
        "minmax": each row scaled to its own [0, 1] and read as probabilities. "identity": features are probabilities.
        A callable maps rows (n, n_features) to base probabilities (n, n_base), each row by itself. Halfspaces see the
        raw features with "minmax" and "identity", else the scaled ones.

    bias : bool, default=True
        Whether each neuron has a constant input 1.

    skip : bool, default=True
        Whether all layers see the base logits, not only the first.

    learning_rate : {"normalized", "constant", "inverse", "hyperbolic"} or callable, default="normalized"
        The size of steps. "normalized": a / (u . P u) of each row's inputs u, decaying in the weight vectors whose rows
        are noisy. Plain gradient steps: "constant" is a; "inverse" min(100 / t, a) [1]_; "hyperbolic"
        min(a, 1 / (1 + 0.1 t)), with t the row number; a callable maps row numbers (n,) to rates (n,).

    learning_rate_init : float or None, default=None
        The a above. None: 4 for "normalized", 1e-3 "constant", 1e-2 "inverse", 3e-3 "hyperbolic".

    label_smoothing : float or None, default=None
        The s of the probabilities s and 1 - s that neurons learn as targets, in place of 0 and 1: it bounds their
        logits and curbs overconfidence. None: 0.02 for "normalized", else 0.

    preconditioner : {"auto", "full"} or None, default="auto"
        P of "normalized" steps. "full": the regularised inverse of the inputs' second moments. None: the identity,
        cheaper and less accurate. "auto": "full" up to 1,500 features.

    initial_weights : {"mean", "uniform", "zero"}, default="mean"
        "mean": 1 / n on the n neurons below, 0 on base logits, so that unseen contexts pass on the mean of the layer
        below. "uniform": 1 / n_inputs [1]_.

    aggregation : {"layers", "last_layer", "neuron"}, default="layers"
        The output logit: the mean over all layers of their mean logits, the mean logit of the last layer, or that of
        a final layer of one neuron [1]_.

    eps : float, default=1e-4
        Probabilities are clipped to [eps, 1 - eps] everywhere.

    max_weight : float or None, default=None
        Weights are clipped to [-max_weight, max_weight] after each step; None: not at all.

    batch_size : int, default=1
        Consecutive rows of a call that see the same weights; their steps are summed. Plain learning rates only.

    max_iter : int, default=5
        Passes over the rows in `fit`; `partial_fit` makes one.

    shuffle : bool, default=True
        Whether `fit` visits rows in a new random order in each pass.

    class_weight : dict, "balanced" or None, default=None
        Weights of classes, {label: weight}, which multiply sample weights. "balanced": inversely proportional to
        class frequencies, in `fit` as in scikit-learn, in `partial_fit` from the counts so far, at most 10.

    dtype : {"float32", "float64"}, default="float32"
        Precision of weights and kernels. Statistics and probabilities are always float64.

    backend : {"auto", "numba", "numpy"}, default="auto"
        Where the kernels run. "auto": Numba if it is installed, else NumPy.

    n_jobs : int or None, default=None
        Threads; None is 1 and -1 all cores. The result does not depend on it.

    random_state : int, RandomState instance or None, default=None
        Draws the halfspaces and, in `fit`, the orders of rows. Pass an int for reproducible results.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.

    n_features_in_ : int
        Number of features seen.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X had names that are all strings.

    n_iter_ : int
        Passes made by `fit`.

    n_samples_seen_ : int
        Rows learned, those of every pass counted.

    progressive_loss_ : float
        Mean log-loss (natural logarithm) of the predictions made for each row just before it was first learned:
        an honest estimate of performance along the stream. Weighted by `sample_weight`.

    progressive_accuracy_ : float
        The accuracy of these predictions.

    See Also
    --------
    sklearn.linear_model.SGDClassifier : Linear online learner.
    sklearn.neural_network.MLPClassifier : Network trained by backpropagation.

    Notes
    -----
    At rows 1, 2, 4, ..., 256 the network is built anew from all rows so far and learns them again; scaling and
    preconditioners are refreshed at 512, 1024, 2048 and then every 2048 rows. A row of weight q is learned q times in
    succession, also in part, and at most 1,000 times. A missing value (NaN) is no evidence: its base logit is 0.
    Parameters are read when learning begins; only `backend` and `n_jobs` may change later.

    References
    ----------
    .. [1] Veness et al., "Gated Linear Networks", AAAI 2021 (arXiv:1910.01526).
    .. [2] Veness et al., "Online Learning with Gated Linear Networks", 2017 (arXiv:1712.01897).

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_gln import GLNClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    >>> model = GLNClassifier(random_state=0).fit(X_train, y_train)
    >>> model.score(X_test, y_test) > 0.95
    True

    A stream, learned in chunks of any size:

    >>> import numpy as np
    >>> stream = GLNClassifier(random_state=0)
    >>> for rows in np.array_split(np.arange(len(X_train)), 10):
    ...     stream = stream.partial_fit(X_train[rows], y_train[rows], classes=[0, 1])
    >>> stream.progressive_accuracy_ > 0.9
    True
    """

    _parameter_constraints: dict = {
        **BaseGLN._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def __init__(
        self,
        layer_sizes=(50, 50, 50),
        context_dim=8,
        *,
        halfspaces="pairs",
        offset_scale=None,
        share_halfspaces=True,
        base_predictor="standard",
        bias=True,
        skip=True,
        learning_rate="normalized",
        learning_rate_init=None,
        label_smoothing=None,
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
        self.label_smoothing = label_smoothing
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
        """Learn from nothing, in `max_iter` passes over the rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; NaN is a missing value.

        y : array-like of shape (n_samples,)
            Labels of any type, at least two different ones.

        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts, fractions included; None: once. Rows of weight 0 are left out.

        Returns
        -------
        self : GLNClassifier

        Raises
        ------
        ValueError
            If the input or a parameter is invalid; the estimator is left as it was.
        """
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
            online = self._new_online(X, self._outputs(), random_state)
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
        """Go on learning: one pass over the rows, in their order.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; NaN is a missing value.

        y : array-like of shape (n_samples,)
            Labels.

        classes : array-like of shape (n_classes,), default=None
            All labels that may ever come. Required in the first call, and may be left out later.

        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts, fractions included; None: once. Rows of weight 0 are left out.

        Returns
        -------
        self : GLNClassifier

        Raises
        ------
        ValueError
            If the input or a parameter is invalid, or y holds a label that was not announced; the estimator is left
            as it was.
        """
        self._learn_on(X, y, classes, sample_weight)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def progressive_predict_proba(self, X, y, classes=None, sample_weight=None):
        """Predict each row, then learn from it: `partial_fit` that returns the predictions made before.

        The test-then-train protocol, at the speed of a whole chunk.

        Parameters
        ----------
        X, y, classes, sample_weight
            As in `partial_fit`. Rows of weight 0 are predicted only.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes), float64
            What `predict_proba` would have given for each row just before it was learned.
        """
        return self._learn_on(X, y, classes, sample_weight, predict=True)

    def _learn_on(self, X, y, classes, sample_weight, predict=False):
        with self._unchanged_on_error():
            begun = hasattr(self, "_online")
            X, y, sample_weight = self._check_X_y(X, y, sample_weight, reset=not begun)
            check_classification_targets(y)
            self._announce_classes(classes, begun)
            codes = self._encode(y)
            if not begun:
                self._online = self._new_online(X, self._outputs(), check_random_state(self.random_state))
                self._class_counts = np.zeros(len(self.classes_), int)
                self._progress = np.zeros(3)
            weights = sample_weight * self._class_weights_in_stream(codes, sample_weight > 0)
        probabilities = np.empty((len(X), len(self.classes_))) if predict else None
        order = None if predict else np.flatnonzero(weights)
        counted = np.where(weights > 0, sample_weight, 0)
        progress = self._progress.copy()
        try:
            for block, logits in self._learn(self._online, X, codes, weights, order):
                progress += self._scores(logits, codes[block], counted[block])
                self._class_counts += np.bincount(codes[block[weights[block] > 0]], minlength=len(self.classes_))
                if predict:
                    probabilities[block] = self._probabilities(logits)
        finally:
            self._set_progress(progress)
        return probabilities

    def predict(self, X):
        """The most probable class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; NaN is a missing value.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        decisions = self.decision_function(X)
        codes = (decisions > 0).astype(int) if decisions.ndim == 1 else decisions.argmax(axis=1)
        return self.classes_[codes]

    def predict_proba(self, X):
        """Class probabilities, in the order of `classes_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; NaN is a missing value.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes), float64
        """
        check_is_fitted(self)
        return self._probabilities(self._logits(self._check_X(X)))

    def predict_log_proba(self, X):
        """Natural logarithms of the class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; NaN is a missing value.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes), float64
        """
        return np.log(self.predict_proba(X))

    def decision_function(self, X):
        """Output logits: for two classes that of the second, else one for each class against all others.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; NaN is a missing value.

        Returns
        -------
        logits : ndarray of shape (n_samples,) or (n_samples, n_classes), float64
        """
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
            _, self.progressive_loss_, self.progressive_accuracy_ = (sums / sums[0]).tolist()


def _check_classes(classes):
    if len(classes) < 2:
        raise ValueError(
            f"A classifier needs at least two classes; got {len(classes)} class: {classes}. If the stream brings "
            "others later, announce them as `classes` in the first call of partial_fit."
        )
    return classes
