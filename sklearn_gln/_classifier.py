"""GLNClassifier: labels in, probabilities out."""

from itertools import pairwise
from numbers import Integral, Real
from reprlib import repr as brief

import numpy as np
from scipy.special import log_expit, log_softmax
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils._metadata_requests import UNUSED
from sklearn.utils.multiclass import check_classification_targets

from sklearn_gln._base import BaseGLN
from sklearn_gln._base_predictor import SCALED
from sklearn_gln._compat import Interval, StrOptions, _fit_context
from sklearn_gln._head import PlainHead, StackedHead
from sklearn_gln._input import check_columns, labels, rows_with_values
from sklearn_gln._learning_rate import SMOOTHING, SMOOTHING_OF_WIDE
from sklearn_gln._runtime import interrupts_held
from sklearn_gln._stack import PRECISION, WITH_HALF_LIFE
from sklearn_gln._state import from_plain, to_plain
from sklearn_gln._wide_rows import MAX_DENSE
from sklearn_gln.kernels import as_numpy

N_BINS = 6  # 4 and 10 did as well
MAX_STREAM_CLASS_WEIGHT = 10.0  # of "balanced" weights in a stream, where a class may be rare at first


class GLNClassifier(ClassifierMixin, BaseGLN):
    """Gated Linear Network classifier: learns online, one row at a time, without backpropagation.

    Every neuron predicts the target itself: it mixes the logits of the layer below (and, with skip connections, the
    scaled features) with a weight vector that halfspaces of the features select, and learns by its own online step.
    More than two classes are learned one against all and joined by a softmax. ``METHOD.rst`` beside this module is the
    method.

    The model depends on the rows and their order alone: any split of a stream into `partial_fit` calls gives the same
    one.

    Parameters
    ----------
    layer_sizes : array-like of int, default=(50, 50, 50)
        Neurons of each hidden layer. ``()`` is one neuron per output. More of them average over more halfspaces:
        smoother, more accurate, in proportion slower.

    context_dim : int, default=8
        Halfspaces of each neuron, so up to 2**context_dim weight vectors. Only those that rows visit take memory. 0: no
        gating. More cut the space more finely, and need more rows to fill it; time hardly grows.

    halfspaces : {"cuts", "gaussian", "raw_gaussian"}, default="cuts"
        How halfspaces are drawn. "cuts": from the first 256 rows, seven of ten on one feature, drawn by the entropy of
        its values, the others normal to the difference of two random rows, at the median plus `offset_scale` deviations
        of random noise; each is that of four candidates which best tells these rows' classes apart. "gaussian": unit
        normals of random direction [1]_ with normal offsets of deviation `offset_scale`. "raw_gaussian": the same,
        normals not scaled to length 1.

    offset_scale : float or None, default=None
        See `halfspaces`. None: 1.5 for "cuts", 0 for Gaussian halfspaces. Smaller ones cut nearer the middle of the
        data, which suits images.

    share_halfspaces : bool, default=True
        Whether all outputs gate by the same halfspaces: as accurate, and gating takes no longer for more classes.

    base_predictor : {"standard", "global", "minmax", "identity"} or callable, default="standard"
        How features become base logits. "standard": scaled by mean and deviation, clipped to +-4; values out of all
        proportion do not count in these, which are fixed at row 256 unless `half_life` is a number, but follow a
        change of unit. "global": centred, and scaled by one deviation common to all features (for features of one unit,
        such as pixels).
        "minmax": each row scaled to its own [0, 1] and read as probabilities. "identity": features are probabilities.
        A callable maps rows (n, n_features) to base probabilities (n, n_base), each row by itself. Halfspaces see the
        raw features with "minmax" and "identity", else the scaled ones.

    categorical_features : {"from_dtype"}, array-like of {str, int, bool} or None, default="from_dtype"
        The features that are categories, in the forms that HistGradientBoosting takes. "from_dtype": a table's columns
        of text or of a categorical dtype. Else columns' names, their numbers, or a mask; None: none. Levels are text,
        numbers, booleans, dates or missing, and may come at any time; 1, 1.0 and True are one level, '1' is another.
        Neurons are given the frequency of their output's class in the earlier rows of the level,
        against that in all rows, and how many these were; see the Notes. Columns of at most 32 levels in the first 256
        rows have indicators of these as well, and of some to come, which count as features; of categories halfspaces
        see these alone. With ``check_input=False`` too X may be a table or hold text where features are categories.

    max_levels : int, default=2**20
        How many levels of a category are told apart, those that come first; others share places with them, by hash. In
        a stream a level takes at most 48 bytes, and 64 for each output.

    max_dense : int, default=1024
        Rows of more features than this, sparse or not, are wide: what takes time is their values other than 0. Linear
        models over all columns predict each output, neurons mix these predictions, and halfspaces cut a sketch of the
        row; see the Notes. Sparse rows up to this width are made dense, 2,048 at a time at most. Dense rows that are
        wide, such as images or embeddings, are usually predicted better, and in more time, if this is raised to their
        width. Rows with categories, or of a `base_predictor` other than "standard" and "global", are never wide.

    n_bins : int or {"auto"}, default="auto"
        More inputs for the first layer, so that it can bend: the square of each scaled feature, and how far the feature
        has come through each of n_bins bins between quantiles of the first 256 rows, from -0.5 to 0.5; no bins for
        features of two values. 0: none of these. "auto": 6 with normalized steps and scaled features (`base_predictor`
        "standard" or "global"), else 0.

    bias : bool, default=True
        Whether each neuron has a constant input 1.

    skip : bool, default=True
        Whether all layers see the base logits, not only the first.

    learning_rate : {"normalized", "constant", "inverse", "hyperbolic"} or callable, default="normalized"
        The size of steps. "normalized": a / (u . P u) of each row's inputs u, decaying in the weight vectors whose rows
        are noisy. Plain gradient steps: "constant" is a; "inverse" min(100 / t, a) [1]_; "hyperbolic"
        min(a, 1 / (1 + 0.1 t)), with t the row number; a callable maps row numbers (n,) to rates (n,).

    learning_rate_init : float or None, default=None
        The a above. None: 4 for "normalized", 1e-3 "constant", 1e-2 "inverse", 3e-3 "hyperbolic". Larger ones learn
        faster and are noisier; "normalized" steps forgive a factor of two.

    label_smoothing : float or None, default=None
        The s of the probabilities s and 1 - s that neurons learn as targets, in place of 0 and 1: it bounds their
        logits and curbs overconfidence. None: 0.02 for "normalized", 0.005
        of wide rows (`max_dense`), else 0.

    preconditioner : {"auto", "full", "block"} or None, default="auto"
        P of "normalized" steps. "full": the regularised inverse of the d base logits' second moments, for which a row
        takes time d^2, a refresh d^3, and memory is 12 d^2 bytes. "block": the same in random groups of up to 128
        base logits, so a row takes time 128 d, a refresh 128^2 d, and memory is 1,536 d bytes. None: the identity.
        "auto": "full" up to 1,500 base logits, else "block". What `n_bins` adds is always in such groups.

    initial_weights : {"mean", "uniform", "zero"}, default="mean"
        "mean": 1 / n on the n neurons below, 0 on base logits, so that unseen contexts pass on the mean of the layer
        below. "uniform": 1 / n_inputs [1]_.

    aggregation : {"stacked", "layers", "last_layer", "neuron"}, default="stacked"
        The output logit. "stacked": a weighted sum of the layers' mean logits and the log frequency of the class; the
        weights, common to all classes, are fitted to the predictions made before rows were first learned, which
        calibrates the probabilities. "layers": the mean over all layers of their mean logits. "last_layer": the mean
        logit of the last layer. "neuron": that of a final layer of one neuron [1]_.

    eps : float, default=1e-4
        Every neuron's probability is clipped to [eps, 1 - eps]. A larger one bounds overconfidence and hides what a
        neuron knows; with 1e-9 explanations are exact nearly everywhere.

    max_weight : float or None, default=None
        Weights are clipped to [-max_weight, max_weight] after each step; None: not at all. A brake for plain steps that
        diverge.

    batch_size : int, default=1
        Consecutive rows of a call that see the same weights; their steps are summed. Plain learning rates only. Faster
        on PyTorch, and no longer exactly online.

    half_life : {"auto", "mixed"}, float or None, default="auto"
        The number of rows after which earlier rows count half, as streams change. "mixed": in step sizes it is 50 for
        one neuron in six (all but a new start, every 256 rows), 1,000 for another, and none for the others, and the
        layers above find out which to trust; preconditioners, the stack and class frequencies have 4,000, and scaling
        stays. It follows abrupt and slow change, and costs next to nothing where there is none. Probabilities then also
        follow the last labels, by memories of 4 and 32 rows, as far as these have foretold labels so far: they are
        those of the row that comes next. Where labels come in runs they are not those of other rows: for these shuffle,
        or give None or a number. A number is that of all of these, scaling too, for streams whose pace is known. None:
        all rows count alike, so that steps shrink and a late change is learned slowly. "auto": "mixed" where steps are
        normalized and rows in order, in `partial_fit` and in `fit` without `shuffle`, else None; `partial_fit` goes on
        as `fit` began.

    max_iter : int, default=3
        Passes over the rows in `fit`; `partial_fit` makes one. More do not overfit soon: steps of pass e are divided by
        e.

    shuffle : bool, default=True
        Whether `fit` visits rows in a new random order in each pass. False for rows in the order of time.

    warm_start : bool, default=False
        Whether `fit` goes on from the last model instead of starting from nothing; features must stay, and classes too,
        unless `new_classes` is "add".

    early_stopping : bool, default=False
        Whether `fit` stops once the log-loss on held-out rows no longer falls, and keeps the network with the lowest.
        Saves time with a large `max_iter`, and costs rows.

    validation_fraction : float, default=0.1
        The share of rows that `early_stopping` holds out, unless `X_val` and `y_val` are given to `fit`.

    n_iter_no_change : int, default=3
        `fit` ends after this number of passes in succession, none of which brought the loss (with `early_stopping`, the
        loss on held-out rows) `tol` below the lowest before.

    tol : float, default=1e-4
        See `n_iter_no_change`.

    class_weight : dict, "balanced" or None, default=None
        Weights of classes, {label: weight}, which multiply sample weights. "balanced": inversely proportional to class
        frequencies, in `fit` as in scikit-learn, in `partial_fit` from the counts so far, at most 10. It raises the
        probabilities of rare classes, which are then better found and no longer calibrated.

    new_classes : {"error", "add"}, default="error"
        What `partial_fit` does with a label that was not announced. "error": it raises ValueError. "add": the label
        is a class from then on, `classes_` has it in its place, and the network's outputs are those that they would be
        had it been announced; `classes` may be left out. One output more is learned, and in a stream of two classes two
        more. Before a second class has come the probability of the first is 1, as is that of any to come 0; the row
        that brings one counts as a miss, whose log-loss is -ln(eps). Needs `share_halfspaces`, and a label for each
        row.

    dtype : {"float32", "float64"}, default="float32"
        Precision of weights and kernels. Statistics and probabilities are always float64. "float64" takes twice the
        memory and changes results in the sixth digit.

    backend : {"auto", "numba", "numpy", "torch", "tensorflow", "jax"}, default="auto"
        The library that the kernels run on. "auto": Numba if it is installed, else NumPy. The model is the same on
        each, except for rounding. See ``kernels/README.rst``.

    device : str, device of the framework, or None, default=None
        Where "torch", "tensorflow" and "jax" learn and predict: "cpu", "cuda" or "gpu", "cuda:1", "tpu". None: the
        framework's own default. Features that are already there, as an array of this framework, stay there.

    n_jobs : int or None, default=None
        Threads of "numba" and "numpy"; None is 1 and -1 all cores. Other frameworks have their own threads. Where the
        caller has chosen an engine of processes, ``joblib.parallel_config`` with "loky", "dask" or "ray", this is the
        number of its workers that learn, each a part of the outputs, unless there is only one output. The result
        does not depend on it.

    random_state : int, RandomState instance or None, default=None
        Draws the halfspaces and, in `fit`, the orders of rows. Pass an int for reproducible results. The spread over
        several is the model's own noise.

    verbose : bool or int, default=False
        Whether `fit` prints the losses after each pass. For progress bars see `set_callbacks` (scikit-learn 1.9).

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted; of a matrix y the numbers of its columns. With `new_classes` "add" those that have been
        announced or have come so far.

    n_features_in_ : int
        Number of features seen.

    is_categorical_ : ndarray of shape (n_features_in_,), bool
        Which features are categories.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if all columns of X had strings as names.

    n_iter_ : int
        Passes made by `fit`, earlier ones included with `warm_start`.

    loss_curve_ : list of float
        For each pass of `fit`, the mean log-loss of the predictions made just before each row was learned. After the
        first pass these rows had been seen before.

    validation_loss_curve_ : list of float
        The log-loss on validation rows after each pass, if there were any.

    n_samples_seen_ : int
        Rows learned, those of every pass counted.

    progressive_loss_ : float
        Mean log-loss (natural logarithm) of the predictions made for each row just before it was first learned:
        an honest estimate of performance along the stream. Weighted by `sample_weight`; for a matrix y the mean over
        its labels.

    progressive_accuracy_ : float
        The accuracy of these predictions; for a matrix y the share of rows with all labels right.

    See Also
    --------
    sklearn.linear_model.SGDClassifier : Linear online learner.
    sklearn.neural_network.MLPClassifier : Network trained by backpropagation.

    Notes
    -----
    At rows 1, 2, 4, ..., 256 the network is built again from all rows so far and learns them again; the stack and
    preconditioners are refreshed at 512, 1024, 2048 and then every 2048 rows, the stack every 256 rows with a
    half-life. A missing value (NaN) is not evidence: its base logit is 0. Parameters are read when learning begins;
    only `backend`, `device` and `n_jobs` may change later.

    Of a category's level, and for each output, are known the weight W of the earlier rows and the weight S of those of
    its class. A row meets logit((S + 10 p) / (W + 10)) - logit(p), where p = (s + 1/2) / (w + 1) is the same of all
    rows, and W / (W + 10) [3]_; in a stream twice, of all rows and with a half-life of 500 rows, and where `half_life`
    is a number with that one alone. In later passes of `fit` it meets what it met in the first. A row that comes again
    in another call counts as a new one, and meets its own label.

    Of a column of wide rows (`max_dense`), and for each output, are known weights of linear models, and how sure they
    are: logistic regression by a Kalman filter with a diagonal covariance, which needs no scaling [4]_.
    A row meets the sum of its values times the weights, without the constant, and 1 / sqrt(1 + u), where u is the sum's
    variance. There are models of two prior variances, 3 and 0.3 for values in units of their root mean square; in a
    stream each of all rows and with a half-life of 500 rows, and where `half_life` is a number with that one alone.
    Neurons see nothing else of the row. NaN is as absent as 0, and values count up to 8 root mean squares of their
    column. In later passes of `fit` a row meets what it met in the first. A column that has come takes at most 52
    bytes, and in a stream 128 for each output.

    Weights are counts: a row of weight q does about what q rows spread among the others do. It is learned q times in
    succession, also in part, and at most 1,000 times. Where one of the first 256 rows weighs more than 4 and rows have
    the same features, as in tables of counts, the network is built again after each row up to 16, then eight times in
    each doubling up to 1,024, before anything is forgotten, and learns rows alike as one, whose target is the mean of
    theirs, in four rounds of random order. In between, and afterwards, neurons learn a row as often as it weighs
    multiples of the mean weight so far.

    References
    ----------
    .. [1] Veness et al., "Gated Linear Networks", AAAI 2021 (arXiv:1910.01526).
    .. [2] Veness et al., "Online Learning with Gated Linear Networks", 2017 (arXiv:1712.01897).
    .. [3] Prokhorenkova et al., "CatBoost: unbiased boosting with categorical features", NeurIPS 2018
       (arXiv:1706.09516), section 3.2: ordered target statistics.
    .. [4] Jaakkola and Jordan, "Bayesian parameter estimation via variational methods", Statistics and Computing 10,
       2000: the bound on the logistic curvature that keeps steps from overshooting.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_gln import GLNClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    >>> model = GLNClassifier(random_state=0).fit(X_train, y_train)
    >>> model.score(X_test, y_test) > 0.9
    True

    A stream, learned in chunks of any size:

    >>> import numpy as np
    >>> stream = GLNClassifier(random_state=0)
    >>> for rows in np.array_split(np.arange(len(X_train)), 10):
    ...     stream = stream.partial_fit(X_train[rows], y_train[rows], classes=[0, 1])
    >>> stream.progressive_accuracy_ > 0.9
    True

    Words, hashed:

    >>> from sklearn.feature_extraction.text import HashingVectorizer
    >>> words = HashingVectorizer(n_features=2**18)
    >>> mails = ["your parcel waits", "meeting at ten", "claim your prize now", "minutes of the meeting"] * 25
    >>> is_spam = [True, False, True, False] * 25
    >>> reader = GLNClassifier(random_state=0)
    >>> for start in range(0, len(mails), 20):
    ...     chunk = slice(start, start + 20)
    ...     reader = reader.partial_fit(words.transform(mails[chunk]), is_spam[chunk], classes=[False, True])
    >>> reader.predict(words.transform(["your prize waits"]))
    array([ True])
    """

    _parameter_constraints: dict = {
        **BaseGLN._parameter_constraints,
        "n_bins": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
        "label_smoothing": [Interval(Real, 0, 0.5, closed="left"), None],
        "eps": [Interval(Real, 0, 0.5, closed="neither")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "new_classes": [StrOptions({"error", "add"})],
    }

    _LEARNED = (*BaseGLN._LEARNED, "classes_", "_multilabel", "_is_open", "_has_come", "_class_counts")

    # As in BaseGLN.
    __metadata_request__predict_proba = {"check_input": UNUSED}
    __metadata_request__predict_log_proba = {"check_input": UNUSED}
    __metadata_request__decision_function = {"check_input": UNUSED}

    def __init__(
        self,
        layer_sizes=(50, 50, 50),
        context_dim=8,
        *,
        halfspaces="cuts",
        offset_scale=None,
        share_halfspaces=True,
        base_predictor="standard",
        categorical_features="from_dtype",
        max_levels=2**20,
        max_dense=MAX_DENSE,
        n_bins="auto",
        bias=True,
        skip=True,
        learning_rate="normalized",
        learning_rate_init=None,
        label_smoothing=None,
        preconditioner="auto",
        initial_weights="mean",
        aggregation="stacked",
        eps=1e-4,
        max_weight=None,
        batch_size=1,
        half_life="auto",
        max_iter=3,
        shuffle=True,
        warm_start=False,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=3,
        tol=1e-4,
        class_weight=None,
        new_classes="error",
        dtype="float32",
        backend="auto",
        device=None,
        n_jobs=None,
        random_state=None,
        verbose=False,
    ):
        self.layer_sizes = layer_sizes
        self.context_dim = context_dim
        self.halfspaces = halfspaces
        self.offset_scale = offset_scale
        self.share_halfspaces = share_halfspaces
        self.base_predictor = base_predictor
        self.categorical_features = categorical_features
        self.max_levels = max_levels
        self.max_dense = max_dense
        self.n_bins = n_bins
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
        self.half_life = half_life
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.class_weight = class_weight
        self.new_classes = new_classes
        self.dtype = dtype
        self.backend = backend
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = self.class_weight is None and self.new_classes == "error"
        return tags

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Learn from scratch, in up to `max_iter` passes over the rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features, numbers or bool. Missing are NaN, None, pandas' NA and NaT, nulls and masked elements. Dates and
            durations raise ValueError: turn them into numbers, such as days since a date.

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            At least two different labels (with `new_classes` "add" one) of one type, such as numbers, bool, text or
            dates, without missing values; `predict` returns labels equal to these. Or, for several labels a row, a
            matrix of 0 and 1, and NaN where that is not known: the label's output learns nothing of the row.

        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts, fractions included; None: once. Rows of weight 0 are left out. Weights of a mean
            below 1, such as shares that sum to 1, are taken as multiples of their mean, before `class_weight`
            multiplies them. Losses count them as given.

        X_val, y_val, sample_weight_val : array-like, default=None
            Rows to validate on after each pass, in place of a `validation_fraction` of X.

        Returns
        -------
        self : GLNClassifier

        Raises
        ------
        ValueError
            If the input or a parameter is invalid; the estimator is left as it was.

        MemoryError
            If the network would not fit into this machine's memory; see `estimate_memory`.
        """
        self._fit(X, y, sample_weight, {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val})
        return self

    def partial_fit(self, X, y, classes=None, sample_weight=None, check_input=True):
        """Go on learning: one pass over the rows, in their order.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value, as in `fit`. No rows, or none of positive weight: nothing is learned.

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels, or a matrix of 0, 1 and NaN, as in `fit`.

        classes : array-like of shape (n_classes,), default=None
            All labels that may ever come. Required in the first call, except for a matrix y; may be left out later.
            With `new_classes` "add" some of them, in any call: they are columns of probability 0 until they come.

        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts, fractions included; None: once. Unlike in `fit` not rescaled, but in tables of
            counts (Notes): small weights are little evidence. Rows of weight 0 are left out.

        check_input : bool, default=True
            False skips the checks of X, y and sample_weight in all calls but the first. Of NumPy's arrays of floats
            they take a tenth of a call with one row, of lists and tables longer than the rest. X must then be a float32
            or float64 array of the right width without infinities, y an array of labels (n_samples,) or of bool
            (n_samples, n_labels), sample_weight a float64 array or None.

        Returns
        -------
        self : GLNClassifier

        Raises
        ------
        ValueError
            If the input or a parameter is invalid, or y holds a label that was not announced and `new_classes` is
            "error"; the estimator is left as it was.

        MemoryError
            If the network would not fit into this machine's memory; see `estimate_memory`. Or where memory runs out:
            rows up to `n_samples_seen_` are learned, those of the next block perhaps by some layers, and the estimator
            can go on.
        """
        self._learn_labels(X, y, classes, sample_weight, check_input)
        return self

    def progressive_predict_proba(self, X, y, classes=None, sample_weight=None, check_input=True):
        """Predict each row, then learn from it: `partial_fit` that returns the predictions made before.

        The test-then-train protocol, at the speed of a whole chunk.

        Parameters
        ----------
        X, y, classes, sample_weight, check_input
            As in `partial_fit`. Rows of weight 0 are predicted only.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes), float64
            The output of `predict_proba` for each row just before it was learned. With `new_classes` "add" columns are
            those of `classes_` after this call, 0 before a class has come, and all of them in the first row of all.
        """
        return self._learn_labels(X, y, classes, sample_weight, check_input, self._probabilities)

    def _learn_labels(self, X, y, classes, sample_weight, check_input, read=None):
        def encode(y, sample_weight, begun):
            if y.ndim > 1 and (check_input or not begun):  # other labels are compared to the classes anyway
                y = _check_targets(y)
            if classes is not None or not begun:
                self._announce_classes(classes, y, begun)
            return self._codes(y, sample_weight)

        return self._learn_stream(X, y, sample_weight, check_input, encode, read)

    def predict(self, X, check_input=True):
        """Return the most probable class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value.

        check_input : bool, default=True
            False skips the checks of X, which must be a float32 or float64 array without infinities.

        Returns
        -------
        labels : ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels from `classes_`; where several may apply to a row, 1 for those of probability above 1/2.
        """
        return self._answer(X, check_input, self._labels)

    def staged_predict(self, X, check_input=True):
        """Yield the most probable class of each row by each layer alone, from the first layer to the last.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value.

        check_input : bool, default=True
            False skips the checks of X, which must be a float32 or float64 array without infinities.

        Yields
        ------
        labels : ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        yield from self._answers_by_layer(X, check_input, self._labels)

    def staged_predict_proba(self, X, check_input=True):
        """Yield class probabilities by each layer alone, from the first layer to the last: those of its mean logit.

        With `aggregation="last_layer"` or "neuron" the last ones are those of `predict_proba`; else that weighs all
        layers.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value.

        check_input : bool, default=True
            False skips the checks of X, which must be a float32 or float64 array without infinities.

        Yields
        ------
        probabilities : ndarray of shape (n_samples, n_classes), float64
        """
        yield from self._answers_by_layer(X, check_input, self._probabilities)

    def predict_proba(self, X, check_input=True):
        """Return class probabilities, in the order of `classes_`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value.

        check_input : bool, default=True
            False skips the checks of X, which must be a float32 or float64 array without infinities.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes), float64
            Rows sum to 1, except for several labels a row, which are independent, and before a first class has come.
        """
        return self._answer(X, check_input, self._probabilities)

    def predict_log_proba(self, X, check_input=True):
        """Return natural logarithms of the class probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value.

        check_input : bool, default=True
            False skips the checks of X, which must be a float32 or float64 array without infinities.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes), float64
        """
        return self._answer(X, check_input, self._log_probabilities)

    def score(self, X, y, sample_weight=None):
        """Return the accuracy of `predict`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value.

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any type that `fit` takes, or a matrix of 0, 1 and NaN, which counts as right.

        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counts; None: all alike.

        Returns
        -------
        accuracy : float
            The share of rows predicted right; for a matrix y, of rows with all labels right.
        """
        y, predicted = labels(as_numpy(y)), self.predict(X)
        if y.shape == (len(predicted), 1) and predicted.ndim == 1:
            y = y[:, 0]
        if y.shape != predicted.shape:
            raise ValueError(f"y has shape {y.shape}, and the predictions for X have shape {predicted.shape}.")
        hits = y == predicted
        hits = (hits | np.isnan(y)).all(axis=1) if self._multilabel else hits
        return accuracy_score(np.ones(len(hits), bool), hits, sample_weight=as_numpy(sample_weight))

    def decision_function(self, X, check_input=True):
        """Return output logits: for two classes that of the second, else one for each class against all others.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value.

        check_input : bool, default=True
            False skips the checks of X, which must be a float32 or float64 array without infinities.

        Returns
        -------
        logits : ndarray of shape (n_samples,) or (n_samples, n_classes), float64
            -inf for a class that has been announced and has not come.
        """
        return self._answer(X, check_input, self._decision)

    def estimate_memory(self, n_features, n_classes=2, *, n_labels=None, n_categorical=0, n_samples=None):
        """Return how much memory the network may take, before it is fitted.

        Learning takes some hundred MB on top of it, and as many bytes again for each network that is kept while another
        learns: with `early_stopping`, `warm_start`, and in a second `fit`.

        Parameters
        ----------
        n_features : int
            Features, or base probabilities where `base_predictor` is a callable.

        n_classes : int, default=2
            Classes.

        n_labels : int or None, default=None
            Columns of y where it is a matrix, in place of `n_classes`.

        n_categorical : int, default=0
            Features that are categories, of `n_features`.

        n_samples : int or None, default=None
            Rows to be learned, each of which visits one context of a neuron. None: enough to visit every context;
            "torch", "tensorflow" and "jax" take memory for all contexts at once.

        Returns
        -------
        n_bytes : int
            Bytes of weights, halfspaces and preconditioners, at most.

        Examples
        --------
        >>> from sklearn_gln import GLNClassifier
        >>> GLNClassifier(context_dim=8).estimate_memory(n_features=784, n_classes=10) // 2**20
        3915
        """
        n_outputs = n_labels or _n_outputs(n_classes, self.new_classes == "add")
        n_rows = np.inf if n_samples is None else n_samples
        settings = self._settings(n_features, n_categorical=n_categorical)
        return self._estimate_memory(0, n_features, n_categorical, n_outputs, n_rows, settings)

    def _n_bins(self):
        is_scaled = self.base_predictor in SCALED
        if self.n_bins == "auto":
            return N_BINS if is_scaled and self.learning_rate == "normalized" else 0
        if self.n_bins and not is_scaled:
            raise ValueError(
                f"n_bins={self.n_bins} cannot be used with base_predictor={brief(self.base_predictor)}, which scales "
                "no features. Use n_bins='auto' or 0, or base_predictor='standard'."
            )
        return int(self.n_bins)

    def _label_smoothing(self, normalized, is_wide):
        if self.label_smoothing is not None:
            return self.label_smoothing
        return (SMOOTHING_OF_WIDE if is_wide else SMOOTHING) * normalized

    def _begin(self, X, random_state, *, in_order):
        self.n_iter_, self.loss_curve_, self.validation_loss_curve_ = 0, [], []
        self._progress = np.zeros(3)
        return self._new_online(X, random_state, in_order=in_order)

    def _output_numbers(self):
        n_classes = np.count_nonzero(self._has_come)
        n_outputs = n_classes if self._multilabel else _n_outputs(n_classes, self._is_open)
        return np.array([1]) if n_outputs == 1 and n_classes == 2 else np.arange(n_outputs)

    def _new_head(self, settings):
        n_layers, is_open = len(settings.layer_sizes), self._is_open
        if settings.aggregation != "stacked":
            return PlainHead.empty(n_layers, settings.aggregation, is_open=is_open)
        n_classes = np.count_nonzero(self._has_come)
        shape = (n_classes, 2) if self._multilabel else (n_classes + is_open,)
        return StackedHead.empty(
            n_layers,
            *shape,
            precision=PRECISION if settings.half_life is None else WITH_HALF_LIFE,
            is_open=is_open,
            has_memories=settings.is_mixed and not self._is_of_bandit,  # whose labels are of the actions that it chose
        )

    def _read_targets(self, y):
        return labels(y)

    def _encode_all(self, y, sample_weight, begun):
        y = _check_targets(y)
        if not begun:
            self._set_classes(np.arange(y.shape[1]) if y.ndim == 2 else np.unique(y), multilabel=y.ndim == 2)
            self._has_come = np.ones(len(self.classes_), bool)
        codes = self._codes(y, sample_weight)
        if self._multilabel:
            sample_weight = rows_with_values(codes, sample_weight)
            check_columns(codes, sample_weight)
        return codes, sample_weight * self._class_weights(y, codes)

    def _encode(self, y):
        return self._codes(_check_targets(y))

    def _log_probabilities(self, logits):
        """Natural logarithms of the probabilities (n, n_classes) that output logits stand for."""
        if self._multilabel:
            return log_expit(logits)
        if self._is_of_second(logits):
            return log_expit(np.hstack([-logits, logits]))
        if not self._is_open:
            return log_softmax(logits, axis=1)
        if not logits.shape[1]:
            return logits
        with np.errstate(invalid="ignore"):
            log_p = log_softmax(logits, axis=1)
        return np.where(np.isneginf(logits), logits, log_p)  # also where none has come

    def _probabilities(self, logits):
        return np.exp(self._log_probabilities(logits))

    def _decide(self, logits):
        """The most probable class number (n,), or which labels are more probable than not (n, n_labels)."""
        if self._multilabel:
            return logits > 0
        return (logits[:, 0] > 0).astype(int) if self._is_of_second(logits) else logits.argmax(axis=1)

    def _decision(self, logits):
        if self._is_of_second(logits):
            return logits[:, 0]
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 and not self._multilabel else logits

    def _is_of_second(self, logits):
        """Whether the one logit of two classes is that of the second, and that of the first is 0."""
        return logits.shape[1] == 1 and len(self.classes_) == 2

    def _arranged(self, outputs):
        if not self._is_open:
            return outputs
        if np.count_nonzero(self._has_come) == 2:
            outputs = np.hstack([np.zeros_like(outputs), outputs])
        arranged = np.full((len(outputs), len(self.classes_)), -np.inf)
        arranged[:, self._has_come] = outputs
        return arranged

    def _labels(self, logits):
        if not len(self.classes_):
            raise ValueError("No class has come yet, so that there is none to predict; learn a row first.")
        codes = self._decide(logits)
        return codes.astype(int) if self._multilabel else self.classes_[codes]

    def _set_classes(self, classes, multilabel):
        if multilabel and self.class_weight is not None:
            raise ValueError(
                f"class_weight={brief(self.class_weight)} has no meaning for a matrix of labels; use "
                "class_weight=None, and sample_weight to weight rows."
            )
        is_open = self.new_classes == "add"
        if is_open and multilabel:
            raise ValueError(
                "new_classes='add' has no meaning for a matrix of labels, whose columns are all there is; use "
                "new_classes='error'."
            )
        if is_open and not self.share_halfspaces:
            raise ValueError(
                "new_classes='add' and share_halfspaces=False exclude each other: a class's halfspaces would depend on "
                "when it comes. Use share_halfspaces=True, or announce all classes and use new_classes='error'."
            )
        if not (multilabel or is_open) and len(classes) < 2:
            raise ValueError(
                f"A classifier needs at least two classes; got {len(classes)} class: {brief(classes.tolist())}. If the "
                "stream brings others later, announce them as `classes` in the first call of partial_fit, or use "
                "new_classes='add'."
            )
        self.classes_, self._multilabel, self._is_open = classes, multilabel, is_open
        self._has_come, self._class_counts = np.full(len(classes), not is_open), np.zeros(len(classes), int)

    def _announce_classes(self, classes, y, begun):
        multilabel, is_open = y.ndim == 2, self._is_open if begun else self.new_classes == "add"
        if classes is None:
            if not (multilabel or is_open):
                raise ValueError(
                    "classes=None in the first call of partial_fit; pass all labels that the stream will ever bring, "
                    "such as classes=np.unique(y_all), or use new_classes='add'."
                )
            classes = np.arange(y.shape[1]) if multilabel else y[:0]
        try:
            announced = labels(as_numpy(classes), "classes")
            if announced.ndim != 1:
                raise ValueError(f"they are of shape {announced.shape}, and must be of shape (n_classes,).")
            if announced.dtype.kind == "f":
                _check_discrete(announced)
        except (TypeError, ValueError) as error:
            raise type(error)(f"classes={brief(classes)} are not labels of classes: {error!s:.300}") from error
        classes = np.unique(announced)
        if begun and is_open:
            self._add_classes(classes)
        elif begun and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"classes={brief(classes.tolist())} is not the same as on last call to partial_fit, was: "
                f"{brief(self.classes_.tolist())}. Leave `classes` out in later calls, or start again with a clone."
            )
        if multilabel and len(classes) != y.shape[1]:
            raise ValueError(
                f"classes={brief(classes.tolist())} are {len(classes)}, and y has {y.shape[1]} columns, one for each "
                "label; leave `classes` out or name each column."
            )
        if not begun:
            self._set_classes(classes, multilabel)

    def _add_classes(self, added):
        """Have these labels be classes, as they may come; some may be classes already."""
        _, is_known = self._look_up(added)
        if is_known.all():
            return
        classes = np.unique(_together(self.classes_, added[~is_known]))
        places = np.searchsorted(classes, self.classes_)
        has_come, counts = np.zeros(len(classes), bool), np.zeros(len(classes), int)
        has_come[places], counts[places] = self._has_come, self._class_counts
        self.classes_, self._has_come, self._class_counts = classes, has_come, counts

    def _let_in(self, online, code):
        """Have `online` learn a class that is about to come."""
        number = np.count_nonzero(self._has_come[:code])
        with interrupts_held():
            vars(online).update(vars(online.with_class(number)))
            self._has_come = self._has_come | (np.arange(len(self.classes_)) == code)

    def _resume(self):
        online = super()._resume()
        for code in np.flatnonzero(~self._has_come):
            self._let_in(online, code)
        return online

    def _arrivals(self, codes, sample_weight):
        """The rows (n_new,) with which classes come, in their order."""
        if self._has_come.all():
            return np.zeros(0, int)
        rows = np.flatnonzero((sample_weight > 0) & ~self._has_come[codes])
        _, first = np.unique(codes[rows], return_index=True)
        return np.sort(rows[first])

    def _check_growth(self, codes, sample_weight):
        n_new = len(self._arrivals(codes, sample_weight))
        if n_new:
            online, n_features = self._online, self.n_features_in_
            n_samples = online.n_samples_seen + len(codes)
            n_given, n_categorical = online.n_columns - n_features, np.count_nonzero(self.is_categorical_)
            sizes = n_given, n_features, n_categorical, online.n_outputs + n_new, n_samples
            self._check_memory(self._estimate_memory(*sizes, online.settings))

    def _learn_in_order(self, X, codes, sample_weight, order):
        arrivals = np.searchsorted(order, self._arrivals(codes, sample_weight)).tolist()
        if not arrivals and self._has_come.all():
            yield from super()._learn_in_order(X, codes, sample_weight, order)
            return
        for start, stop in pairwise([None, *arrivals, len(order)]):
            brings_class = start is not None
            if brings_class:  # it is predicted by what came before, and learned with what comes after
                first = order[start : start + 1]
                yield from self._learn(self._online, X, 0 * codes, 0 * sample_weight, first)
                self._let_in(self._online, codes[first[0]])
            numbers = np.cumsum(self._has_come)[codes] - 1
            for chunk, outputs in self._learn(self._online, X, numbers, sample_weight, order[start:stop]):
                yield chunk[brings_class:], outputs[brings_class:]
                brings_class = False

    def _closed(self):
        if not self._is_open:
            return self._online
        come = self.classes_[self._has_come]
        if len(come) < 2:
            raise ValueError(
                f"No class but {brief(come.tolist())} has come so far, so that there is nothing to tell apart. Learn "
                "rows of two classes or more first."
            )
        return from_plain(to_plain(self._online)).closed()

    def _look_up(self, y):
        """Class numbers (n,) of labels, and whether they are classes."""
        classes, kinds = self.classes_, {self.classes_.dtype.kind, y.dtype.kind}
        if not len(classes):
            return np.zeros(len(y), int), np.zeros(len(y), bool)
        if kinds == {"M", "O"}:  # NumPy's dates and Python's, or pandas'
            classes, y = (_as_python_dates(array) for array in (classes, y))
        try:
            codes = np.searchsorted(classes, y)
        except TypeError as error:
            raise ValueError(
                f"y holds labels that do not compare with the classes {brief(self.classes_.tolist())}: {error!s:.100}."
            ) from error
        return codes, classes[np.minimum(codes, len(classes) - 1)] == y

    def _codes(self, y, sample_weight=None):
        """Class numbers (n,) int, or a matrix (n, n_labels) of bool, or of 0, 1 and NaN.

        Where classes may come, labels that have a weight are some.
        """
        if self._multilabel and y.shape == (0,):  # an empty list
            y = np.zeros((0, len(self.classes_)), bool)
        if (y.ndim == 2) != self._multilabel or y.shape[1:] not in ((), self.classes_.shape):
            raise ValueError(
                f"y has shape {y.shape}, and the first call's y was "
                + (f"a matrix of {len(self.classes_)} labels." if self._multilabel else "one label for each row.")
                + " Pass y of that form, or start again with a clone."
            )
        if self._multilabel:
            return y
        codes, known = self._look_up(y)
        if self._is_open and sample_weight is not None:
            is_new = ~known & (sample_weight > 0)
            if is_new.any():
                added = np.unique(labels(y[is_new]))
                if added.dtype.kind == "f":
                    _check_discrete(added)
                self._add_classes(added)
                codes, known = self._look_up(y)
            return np.where(known, codes, 0)
        if not np.all(known):
            raise ValueError(
                f"The target label(s) {brief(np.unique(y[~known]).tolist())} in y do not exist in the initial classes "
                f"{brief(self.classes_.tolist())}; pass every label that may come as `classes` in the first call of "
                "partial_fit, or use new_classes='add'."
            )
        return codes

    def _count(self, codes):
        # How often each class occurs: (n_classes,).
        return (
            np.nansum(codes, axis=0).astype(int)
            if self._multilabel
            else np.bincount(codes, minlength=len(self.classes_))
        )

    def _add_counts(self, counts):
        self._class_counts = self._class_counts + counts

    def _stratify(self, codes, test_size):
        # Where both parts can have each class.
        fewest = 0 if self._multilabel else np.unique_counts(codes).counts.min()
        return codes if min(test_size, 1 - test_size) * len(codes) >= len(self.classes_) and fewest > 1 else None

    def _class_weights(self, y, codes):
        """Each row's class weight, as scikit-learn has it: (n,)."""
        if self.class_weight is None:
            return 1.0
        class_weight, classes = self.class_weight, self.classes_
        # scikit-learn takes numbers and text only, and no weights of classes to come.
        if self._is_open or (classes.dtype.kind in "OmM" and not isinstance(classes[0], str)):
            if class_weight != "balanced":
                numbers = {
                    label: number for number, known in enumerate(classes) for label in class_weight if label == known
                }
                class_weight = {
                    numbers.get(label, label): weight
                    for label, weight in class_weight.items()
                    if label in numbers or not self._is_open
                }
            classes, y = np.arange(len(classes)), codes
        weights = compute_class_weight(class_weight, classes=classes, y=y)
        if not np.all((weights >= 0) & np.isfinite(weights)):
            raise ValueError(
                f"class_weight={brief(self.class_weight)} must hold finite weights >= 0; 0 leaves a class out."
            )
        return weights[codes]

    def _weights_in_stream(self, codes, sample_weight):
        # The weights of classes are those of the rows before and the row itself.
        if self._multilabel:
            return rows_with_values(codes, sample_weight)
        if self.class_weight is None:
            return sample_weight
        if self.class_weight != "balanced":
            return sample_weight * self._class_weights(self.classes_, codes)
        exists, comes = sample_weight > 0, np.zeros(len(codes), int)
        comes[self._arrivals(codes, sample_weight)] = 1
        n_classes = np.count_nonzero(self._has_come) + np.cumsum(comes)
        n_rows = self._class_counts.sum() + np.cumsum(exists)
        weights = np.empty(len(codes))
        for code in np.unique(codes):
            of_class = codes == code
            count = self._class_counts[code] + np.cumsum(of_class & exists)
            weights[of_class] = ((n_rows + n_classes) / (n_classes * (count + 1)))[of_class]
        return sample_weight * np.minimum(weights, MAX_STREAM_CLASS_WEIGHT)

    def _scores(self, logits, codes, sample_weight):
        # The third sum is of hits.
        if not len(self.classes_):  # no row so far weighs anything
            return np.zeros(3)
        hits, log_p = self._decide(logits) == codes, self._log_probabilities(logits)
        if self._multilabel:
            gaps, n_known = np.isnan(codes), np.maximum(np.count_nonzero(~np.isnan(codes), axis=1), 1)
            losses = -np.where(gaps, 0, np.where(codes == 1, log_p, log_expit(-logits))).sum(axis=1) / n_known
            hits = (hits | gaps).all(axis=1)
        else:
            losses = -log_p[np.arange(len(codes)), codes]
        if not self._has_come.all():
            is_new = ~self._has_come[codes]
            hits[is_new], losses[is_new] = False, -np.log(self._online.settings.eps)
        return np.array([sample_weight.sum(), sample_weight @ losses, sample_weight @ hits])

    def _set_progress(self, sums):
        self._progress = sums
        if sums[0] > 0:
            _, self.progressive_loss_, self.progressive_accuracy_ = (sums / sums[0]).tolist()


def _check_targets(y):
    """Labels (n,), or an indicator matrix (n, n_labels) of bool, or with gaps of 0, 1 and NaN."""
    if not y.size:
        return y.astype(bool) if y.ndim == 2 else y
    if y.ndim == 1 or y.shape[1] == 1:
        _check_discrete(y)
        return column_or_1d(y, warn=True)
    has_gaps = y.dtype.kind == "f" and np.isnan(y).any()
    if not np.isin(y[~np.isnan(y)] if has_gaps else y, (0, 1)).all():
        raise ValueError(
            f"y of shape {y.shape} holds values other than 0 and 1; a matrix says with 1 and 0 which labels apply. For "
            "several targets of several classes use sklearn.multioutput.MultiOutputClassifier."
        )
    return y if has_gaps else y.astype(bool)


def _check_discrete(y):
    """Raise ValueError if labels are numbers with fractions, and warn if they are as many as a target's values."""
    if y.dtype.kind in "biufU" or isinstance(y.flat[0], str):
        check_classification_targets(y)


def _as_python_dates(array):
    is_coarse = array.dtype.kind == "O" or np.datetime_data(array.dtype)[0] in ("Y", "M", "W", "D", "us", "ms", "s")
    return array.astype(object) if is_coarse else array.astype("datetime64[us]").astype(object)


def _n_outputs(n_classes, is_open):
    """The network's outputs for these classes, which may be all that come or not."""
    return n_classes + 1 if is_open else 1 if n_classes == 2 else n_classes


def _together(classes, added):
    """Labels of both, of a type that they have in common."""
    if not len(classes):
        return added
    joined = np.concatenate([classes, added])
    kinds = {classes.dtype.kind, added.dtype.kind}
    if len(kinds) == 1 or (kinds <= set("biuf") and joined.dtype.kind in {"i", "u", *kinds}):
        return joined
    classes, added = (_as_python_dates(a) if a.dtype.kind == "M" else a.astype(object) for a in (classes, added))
    return labels(np.concatenate([classes, added]), "y")
