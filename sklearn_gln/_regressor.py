"""GLNRegressor: targets in, means, standard deviations and quantiles out."""

from numbers import Real
from reprlib import repr as brief

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_gln._base import BaseGLN
from sklearn_gln._base_predictor import MEAN_SCALINGS
from sklearn_gln._compat import StrOptions, _fit_context
from sklearn_gln._head import TargetHead, of_targets
from sklearn_gln._input import check_columns, real_targets, rows_with_values
from sklearn_gln._likelihood import TARGET_LIKELIHOODS
from sklearn_gln._schedule import FEW
from sklearn_gln._target_scale import MAX_TARGET
from sklearn_gln._wide_rows import MAX_DENSE

MAX_SQUARES = 64  # features; with more, squares cost more than they gain
N_UNSCORED = 16  # targets of an output
HELD_OUT = 6  # one row of this many is, from a fit of several passes


class GLNRegressor(RegressorMixin, BaseGLN):
    """Gated Linear Network regressor: learns online, one row at a time, and reports how far its predictions may be off.

    Every neuron predicts the target itself: it mixes what the layer below predicts and, with skip connections, the
    scaled features with a weight vector that halfspaces of the features select, and learns by its own online step.
    Several targets are learned independently of each other. ``METHOD.rst`` beside this module is the method.

    The model depends on the rows and their order alone: any split of a stream into `partial_fit` calls gives the same
    one.

    Parameters
    ----------
    layer_sizes : array-like of int, default=(50, 50, 50)
        Neurons of each hidden layer. With "squared", the first of them is preceded by a layer of one linear neuron, so
        that ``()`` is online linear regression. More of them average over more halfspaces: smoother, more accurate, in
        proportion slower.

    context_dim : int, default=8
        Halfspaces of each neuron, so up to 2**context_dim weight vectors. Only those that rows visit take memory. 0: no
        gating. More cut the space more finely, and need more rows to fill it; time hardly grows.

    likelihood : {"squared", "gaussian"}, default="squared"
        The neurons' loss. "squared": the mean of the target, by squared error; the variance is estimated from past
        errors. "gaussian": mean and variance, as weighted products of Gaussians [2]_.

    halfspaces : {"cuts", "gaussian", "raw_gaussian"}, default="cuts"
        How halfspaces are drawn. "cuts": from the first 256 rows, seven of ten on one feature, drawn by the entropy of
        its values, the others normal to the difference of two random rows, at the median plus `offset_scale` deviations
        of random noise; each is that of four candidates which best tells these rows' targets apart. "gaussian": unit
        normals of random direction [1]_ with normal offsets of deviation `offset_scale`. "raw_gaussian": the same,
        normals not scaled to length 1.

    offset_scale : float or None, default=None
        See `halfspaces`. None: 1.5 for "cuts", 0 for Gaussian halfspaces. Smaller ones cut nearer the middle of the
        data, which suits images.

    share_halfspaces : bool, default=False
        Whether all targets gate by the same halfspaces, chosen to tell all of them apart. False: each gates by its own,
        and is learned as by an estimator for it alone, of the same `random_state`. True takes half the time for many
        targets; where they depend on different features, errors are larger.

    base_predictor : {"standard", "global", "identity"} or callable, default="standard"
        How features become the first layer's inputs. "standard": scaled by mean and deviation, clipped to +-10 (+-4 for
        halfspaces); values out of all proportion do not count in these, which are fixed at row 256 unless `half_life`
        is a number. "global": centred, and scaled by one deviation common to all features (for features of one unit,
        such as pixels). "identity": as they are, within +-1e15. A callable maps rows (n, n_features) to inputs (n,
        n_base), within +-1e15 too, each row by itself. Halfspaces see the raw features with "identity", else the scaled
        ones.

    categorical_features : {"from_dtype"}, array-like of {str, int, bool} or None, default="from_dtype"
        The features that are categories, in the forms that HistGradientBoosting takes. "from_dtype": a table's columns
        of text or of a categorical dtype. Else columns' names, their numbers, or a mask; None: none. Levels are text,
        numbers, booleans, dates or missing, and may come at any time; 1, 1.0 and True are one level, '1' is another.
        Neurons are given the mean of their target in the earlier rows of the level,
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

    squares : {"auto"} or bool, default="auto"
        Whether "squared" neurons are given the inputs' squares too (of what is within +-4), for smooth functions.
        "auto": where features are scaled and there are up to 64.

    bias : bool, default=True
        Whether each neuron has a constant input 1.

    skip : bool, default=True
        Whether all layers see the inputs, not only the first.

    learning_rate : {"normalized", "constant", "inverse", "hyperbolic"} or callable, default="normalized"
        The size of steps. "normalized": a / (u . P u) of each row's inputs u, decaying in the weight vectors that have
        seen many rows. Plain gradient steps: "constant" is a; "inverse" min(100 / t, a) [1]_; "hyperbolic"
        min(a, 1 / (1 + 0.1 t)), with t the row number; a callable maps row numbers (n,) to rates (n,). No step of
        "squared" is longer than 1 / (u . P u), or 1 / (u . u), with which it meets the row's own target.

    learning_rate_init : float or None, default=None
        The a above. None: 0.5 for "normalized", 1e-3 "constant", 1e-2 "inverse", 3e-3 "hyperbolic". Larger ones learn
        faster and are noisier; "normalized" steps forgive a factor of two.

    preconditioner : {"auto", "full", "block"} or None, default="auto"
        P of "normalized" steps. "full": the regularised inverse of the d inputs' second moments, for which a row
        takes time d^2, a refresh d^3, and memory is 12 d^2 bytes. "block": the same in random groups of up to 128
        inputs, so a row takes time 128 d, a refresh 128^2 d, and memory is 1,536 d bytes. None: the identity.
        "auto": "full" up to 1,500 inputs, else "block".

    initial_weights : {"mean", "uniform", "zero"}, default="mean"
        "mean": 1 / n on the n neurons below, 0 on inputs, so that unseen contexts pass on the mean of the layer
        below. "uniform": 1 / n_inputs [1]_.

    aggregation : {"stacked", "layers", "last_layer", "neuron"}, default="stacked"
        The predicted mean. "stacked": a weighted mean of the layers' means; the weights are fitted to predictions that
        were made before the rows were learned. "layers": the mean over all layers. "last_layer": the mean of the last
        layer. "neuron": that of a final layer of one neuron [1]_.

    max_weight : float or None, default=None
        Weights are clipped to [-max_weight, max_weight] after each step; None: not at all, but for batches at 1e6. A
        brake for plain steps that diverge.

    batch_size : int, default=1
        Consecutive rows of a call that see the same weights; their steps are summed. Plain learning rates of "squared"
        only. Faster on PyTorch, and no longer exactly online.

    half_life : {"auto", "mixed"}, float or None, default="auto"
        The number of rows after which earlier rows count half, as streams change. "mixed": in step sizes it is 50 for
        one neuron in six (all but a new start, every 256 rows), 1,000 for another, and none for the others, and the
        layers above find out which to trust; preconditioners and variances have 4,000, and scaling stays. Means and
        standard deviations then also follow the last errors, by memories of 4 and 64 rows, as far as these have
        foretold errors so far, unless weights are counts. A number is that of all of these, scaling too, for streams
        whose pace is known. None: all rows count alike, so that steps shrink and a late change is learned slowly.
        "auto": "mixed" where steps are normalized and rows in order, in `partial_fit` and in `fit` without `shuffle`,
        else None; `partial_fit` goes on as `fit` began. Rows sorted by their targets are not in order: shuffle them.

    max_iter : int, default=10
        Passes over the rows in `fit`; `partial_fit` makes one. With more than one, every sixth row is held out from
        them: what is predicted for these rows fits the stack and the variances, before they too are learned, once.

    shuffle : bool, default=True
        Whether `fit` visits rows in a new random order in each pass. False for rows in the order of time.

    warm_start : bool, default=False
        Whether `fit` goes on from the last model instead of starting from nothing; features and the number of
        targets must stay.

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

    dtype : {"float32", "float64"}, default="float32"
        Precision of weights and kernels. Statistics and predictions are always float64. "float64" takes twice the
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
    n_features_in_ : int
        Number of features seen.

    is_categorical_ : ndarray of shape (n_features_in_,), bool
        Which features are categories.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if all columns of X had strings as names.

    n_outputs_ : int
        Number of targets.

    n_iter_ : int
        Passes made by `fit`, earlier ones included with `warm_start`.

    loss_curve_ : list of float
        For each pass of `fit`, the mean Gaussian log-loss of the predictions made just before each row was learned.
        After the first pass these rows had been seen before.

    validation_loss_curve_ : list of float
        The log-loss on validation rows after each pass, if there were any.

    n_samples_seen_ : int
        Rows learned, those of every pass counted.

    progressive_loss_ : float
        Mean Gaussian log-loss, ln(2 pi s^2) / 2 + (y - m)^2 / (2 s^2), of the means m and deviations s predicted for
        each row just before it was first learned: an honest estimate of performance along the stream. Weighted by
        `sample_weight`; of several targets the sum of their means. The first 16 values of a target, and those before it
        has a unit, are left out; NaN until then.

    See Also
    --------
    GLNClassifier : The same network for labels.
    sklearn.linear_model.BayesianRidge : Linear regression with standard deviations.

    Notes
    -----
    The network is built again from all rows so far at rows 1, 2, 4, ..., 256, and with it the unit in which it learns
    the target; the stack and variances are refreshed every 64 rows up to 1024, then every 256, preconditioners at 512,
    1024, 2048 and then every 2048 rows; the scaling of features stays as it is, unless `half_life` is a number or a
    feature's unit changes. A missing value (NaN) is not evidence: its input is 0. Parameters are read when learning
    begins; only `backend`, `device` and `n_jobs` may change later.

    Of a category's level, and for each target, are known the weight W of the earlier rows and the sum S of their
    targets. A row meets (S - W m) / (W + 10), where m is the mean of all rows so far, in the target's unit and within
    +-8, and W / (W + 10) [3]_; in a stream twice, of all rows and with a half-life of 500 rows, and where `half_life`
    is a number with that one alone. In later passes of `fit` it meets what it met in the first. A row that comes again
    in another call counts as a new one, and meets its own target.

    Of a column of wide rows (`max_dense`), and for each target, are known weights of linear models, and how sure they
    are: least squares by a Kalman filter with a diagonal covariance, which needs no scaling.
    A row meets the sum of its values times the weights, without the constant, and 1 / sqrt(1 + u), where u is the sum's
    variance. There are models of two prior variances, 3 and 0.3 for values in units of their root mean square; in a
    stream each of all rows and with a half-life of 500 rows, and where `half_life` is a number with that one alone.
    Neurons see nothing else of the row. NaN is as absent as 0, and values count up to 8 root mean squares of their
    column. In later passes of `fit` a row meets what it met in the first. A column that has come takes at most 52
    bytes, and in a stream 128 for each target.

    A target more than 16 deviations off is taken for an error, and teaches next to nothing even if the features
    foretell it, where it is 64 times as far from the median as the next nearer ones of the last 256 and fewer than one
    in five are like it, or 8 times as far and one of the two farthest. Where such targets are real, transform them
    (:class:`~sklearn.compose.TransformedTargetRegressor`).

    One of several targets that has no value in the first 256 rows is learned from the first refresh of variances on
    that finds 16 of them. Until then its predicted deviation is infinite.

    Weights are counts: a row of weight q does about what q rows spread among the others do. It is learned q times in
    succession, also in part, and at most 1,000 times. Where one of the first 256 rows weighs more than 4 and rows have
    the same features, as in tables of counts, the network is built again after each row up to 16, then eight times in
    each doubling up to 1,024, before anything is forgotten, and learns rows alike as one, whose target is the mean of
    theirs, in four rounds of random order. In between, and afterwards, neurons learn a row as often as it weighs
    multiples of the mean weight so far.

    A target that has been the same in all rows so far is predicted as that value. Its standard deviation is the
    value's magnitude (1 for 0) divided by sqrt(1 + n), with n the weight of the rows up to the last refresh of
    variances: by Laplace's rule of succession the next row is another value with a chance of about 1 / n, and may then
    be off by the target's own size.

    References
    ----------
    .. [1] Veness et al., "Gated Linear Networks", AAAI 2021 (arXiv:1910.01526).
    .. [2] Budden et al., "Gaussian Gated Linear Networks", NeurIPS 2020 (arXiv:2006.05964).
    .. [3] Prokhorenkova et al., "CatBoost: unbiased boosting with categorical features", NeurIPS 2018
       (arXiv:1706.09516), section 3.2: ordered target statistics.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_gln import GLNRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> model = GLNRegressor(random_state=0).fit(X_train, y_train)
    >>> mean, deviation = model.predict(X_test, return_std=True)
    >>> lower, upper = model.predict_interval(X_test, coverage=0.9).T
    >>> covered = (lower <= y_test) & (y_test <= upper)
    >>> 0.8 < float(covered.mean()) < 1
    True
    >>> model.predict_quantiles(X_test, [0.05, 0.5, 0.95]).shape
    (111, 3)

    A stream, learned in chunks of any size:

    >>> import numpy as np
    >>> stream = GLNRegressor(random_state=0)
    >>> for rows in np.array_split(np.arange(len(X_train)), 10):
    ...     stream = stream.partial_fit(X_train[rows], y_train[rows])
    >>> stream.progressive_loss_ < 6
    True
    """

    _parameter_constraints: dict = {
        **BaseGLN._parameter_constraints,
        "likelihood": [StrOptions(TARGET_LIKELIHOODS.keys())],
        "base_predictor": [StrOptions(set(MEAN_SCALINGS)), callable],
        "squares": [StrOptions({"auto"}), "boolean"],
    }
    _LEARNED = (*BaseGLN._LEARNED, "n_outputs_", "_is_matrix", "progressive_loss_")

    def __init__(
        self,
        layer_sizes=(50, 50, 50),
        context_dim=8,
        *,
        likelihood="squared",
        halfspaces="cuts",
        offset_scale=None,
        share_halfspaces=False,
        base_predictor="standard",
        categorical_features="from_dtype",
        max_levels=2**20,
        max_dense=MAX_DENSE,
        squares="auto",
        bias=True,
        skip=True,
        learning_rate="normalized",
        learning_rate_init=None,
        preconditioner="auto",
        initial_weights="mean",
        aggregation="stacked",
        max_weight=None,
        batch_size=1,
        half_life="auto",
        max_iter=10,
        shuffle=True,
        warm_start=False,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=3,
        tol=1e-4,
        dtype="float32",
        backend="auto",
        device=None,
        n_jobs=None,
        random_state=None,
        verbose=False,
    ):
        self.layer_sizes = layer_sizes
        self.context_dim = context_dim
        self.likelihood = likelihood
        self.halfspaces = halfspaces
        self.offset_scale = offset_scale
        self.share_halfspaces = share_halfspaces
        self.base_predictor = base_predictor
        self.categorical_features = categorical_features
        self.max_levels = max_levels
        self.max_dense = max_dense
        self.squares = squares
        self.bias = bias
        self.skip = skip
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.preconditioner = preconditioner
        self.initial_weights = initial_weights
        self.aggregation = aggregation
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
        self.dtype = dtype
        self.backend = backend
        self.device = device
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Learn from scratch, in up to `max_iter` passes over the rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features, numbers or bool. Missing are NaN, None, pandas' NA and NaT, nulls and masked elements. Dates and
            durations raise ValueError: turn them into numbers, such as days since a date.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Real targets; dates and durations raise ValueError. In a matrix some of a row's targets may be missing (NaN,
            None, pandas' NA, masked): these outputs learn nothing of the row. Each column must have values.

        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts, fractions included; None: once. Rows of weight 0 are left out. Weights of a mean
            below 1, such as shares that sum to 1, are taken as multiples of their mean. Losses count them as given.

        X_val, y_val, sample_weight_val : array-like, default=None
            Rows to validate on after each pass, in place of a `validation_fraction` of X.

        Returns
        -------
        self : GLNRegressor

        Raises
        ------
        ValueError
            If the input or a parameter is invalid; the estimator is left as it was.

        MemoryError
            If the network would not fit into this machine's memory; see `estimate_memory`.
        """
        self._fit(X, y, sample_weight, {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val})
        return self

    def partial_fit(self, X, y, sample_weight=None, check_input=True):
        """Go on learning: one pass over the rows, in their order.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value, as in `fit`. No rows, or none of positive weight: nothing is learned.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Real targets as in `fit`; a column may have its first values later.

        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts, fractions included; None: once. Unlike in `fit` not rescaled, but in tables of
            counts (Notes): small weights are little evidence. Rows of weight 0 are left out.

        check_input : bool, default=True
            False skips the checks of X, y and sample_weight in all calls but the first. Of NumPy's arrays of floats
            they take a tenth of a call with one row, of lists and tables longer than the rest. X must then be a float32
            or float64 array of the right width without infinities, y an array of numbers of the shape of the first
            call's, missing ones NaN, sample_weight a float64 array or None.

        Returns
        -------
        self : GLNRegressor

        Raises
        ------
        ValueError
            If the input or a parameter is invalid; the estimator is left as it was.

        MemoryError
            If the network would not fit into this machine's memory; see `estimate_memory`. Or where memory runs out:
            rows up to `n_samples_seen_` are learned, those of the next block perhaps by some layers, and the estimator
            can go on.
        """
        self._learn_targets(X, y, sample_weight, check_input)
        return self

    def progressive_predict(self, X, y, sample_weight=None, return_std=False, check_input=True):
        """Predict each row, then learn from it: `partial_fit` that returns the predictions made before.

        The test-then-train protocol, at the speed of a whole chunk.

        Parameters
        ----------
        X, y, sample_weight, check_input
            As in `partial_fit`. Rows of weight 0 are predicted only.

        return_std : bool, default=False
            Whether to return standard deviations too.

        Returns
        -------
        mean, deviation : ndarray of shape (n_samples,) or (n_samples, n_outputs), float64
            The output of `predict` for each row just before it was learned.
        """
        return self._learn_targets(X, y, sample_weight, check_input, lambda outputs: self._moments(outputs, return_std))

    def predict(self, X, return_std=False, quantiles=None, check_input=True):
        """Return the mean of the target for each row, and its standard deviation; or its quantiles.

        A :class:`~sklearn.pipeline.Pipeline` passes `return_std` and `quantiles` on. So does
        :class:`~sklearn.compose.TransformedTargetRegressor` with the `quantiles` of a single target; where its function
        rises, as the logarithm does, it returns those of the target itself.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value.

        return_std : bool, default=False
            Whether to return standard deviations too: of the target, noise included.

        quantiles : float or array-like of shape (n_quantiles,), default=None
            Return what `predict_quantiles` does for these, in place of the mean.

        check_input : bool, default=True
            False skips the checks of X, which must be a float32 or float64 array without infinities.

        Returns
        -------
        mean : ndarray of shape (n_samples,) or (n_samples, n_outputs), float64

        deviation : ndarray shaped as mean
            Only if `return_std`.

        Raises
        ------
        ValueError
            If the input is invalid, or `return_std` and `quantiles` are both given.
        """
        if quantiles is not None:
            if return_std:
                raise ValueError(
                    "return_std=True and quantiles exclude each other: the deviation belongs to the mean; call predict "
                    "once for each."
                )
            return self.predict_quantiles(X, quantiles, check_input)
        return self._answer(X, check_input, lambda outputs: self._moments(outputs, return_std))

    def staged_predict(self, X, check_input=True):
        """Yield the mean of the target by each layer alone, from the first, which is a linear model, to the last.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value.

        check_input : bool, default=True
            False skips the checks of X, which must be a float32 or float64 array without infinities.

        Yields
        ------
        mean : ndarray of shape (n_samples,) or (n_samples, n_outputs), float64
        """
        yield from self._answers_by_layer(X, check_input, self._restored)

    def predict_quantiles(self, X, quantiles, check_input=True):
        """Return values that given shares of targets lie below.

        They are the mean plus the standard deviation times the quantile of (target - mean) / deviation over the latest
        rows (up to 1,024), as predicted before these were learned, and over 20 rows' worth of a Gaussian. So noise may
        be skewed, and they rise with the quantile.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value.

        quantiles : float or array-like of shape (n_quantiles,)
            The shares, numbers in (0, 1) in any order.

        check_input : bool, default=True
            False skips the checks of X, which must be a float32 or float64 array without infinities.

        Returns
        -------
        values : ndarray of shape (n_samples, n_quantiles) or (n_samples, n_outputs, n_quantiles), float64
            Without the last axis if `quantiles` is one number.

        Raises
        ------
        ValueError
            If the input is invalid, or `quantiles` is empty or not within (0, 1).

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_gln import GLNRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(5000, 2))
        >>> y = X[:, 0] + rng.exponential(size=5000)
        >>> model = GLNRegressor(random_state=0).fit(X[:3000], y[:3000])
        >>> low, high = model.predict_quantiles(X[3000:], [0.05, 0.95]).T
        >>> 0.02 < float(np.mean(y[3000:] < low)) < 0.08 and 0.92 < float(np.mean(y[3000:] < high)) < 0.98
        True
        """
        check_is_fitted(self)
        levels = _shares("quantiles", quantiles, "0.5 for the median, or [0.05, 0.95]")
        return self._answer(X, check_input, lambda outputs: self._quantiles(outputs, levels))

    def predict_interval(self, X, coverage=0.9, check_input=True):
        """Return intervals that hold given shares of targets, and as many targets below as above.

        Their ends are quantiles; see `predict_quantiles`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; NaN is a missing value.

        coverage : float or array-like of shape (n_coverages,), default=0.9
            The shares of targets, numbers in (0, 1).

        check_input : bool, default=True
            False skips the checks of X, which must be a float32 or float64 array without infinities.

        Returns
        -------
        intervals : ndarray of shape (n_samples, 2, n_coverages) or (n_samples, n_outputs, 2, n_coverages), float64
            Lower and upper ends. Without the last axis if `coverage` is one number.

        Raises
        ------
        ValueError
            If the input is invalid, or `coverage` is empty or not within (0, 1).
        """
        check_is_fitted(self)
        coverage = _shares("coverage", coverage, "0.9 for 90 % of the targets, or [0.5, 0.9]")
        levels = np.stack([(1 - coverage) / 2, (1 + coverage) / 2])
        return self._answer(X, check_input, lambda outputs: self._quantiles(outputs, levels))

    def estimate_memory(self, n_features, n_targets=1, *, n_categorical=0, n_samples=None):
        """Return how much memory the network may take, before it is fitted.

        Learning takes some hundred MB on top of it, and as many bytes again for each network that is kept while another
        learns: with `early_stopping`, `warm_start`, and in a second `fit`.

        Parameters
        ----------
        n_features : int
            Features, or inputs where `base_predictor` is a callable.

        n_targets : int, default=1
            Columns of y.

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
        >>> from sklearn_gln import GLNRegressor
        >>> GLNRegressor().estimate_memory(n_features=20) // 2**20
        11
        """
        n_rows = np.inf if n_samples is None else n_samples
        settings = self._settings(n_features, n_categorical=n_categorical)
        return self._estimate_memory(0, n_features, n_categorical, n_targets, n_rows, settings)

    @property
    def _likelihood(self):
        return TARGET_LIKELIHOODS[self.likelihood]

    def _squares(self, n_base):
        if self.squares == "auto":
            return self.base_predictor in ("standard", "global") and n_base <= MAX_SQUARES
        return bool(self.squares)

    def _learn_targets(self, X, y, sample_weight, check_input, read=None):
        def encode(y, sample_weight, begun):  # noqa: ARG001
            if not begun:
                self._set_targets(y)
            return self._encode(y)

        return self._learn_stream(X, y, sample_weight, check_input, encode, read)

    def _read_targets(self, y):
        return real_targets(y)

    def _encode_all(self, y, sample_weight, begun):
        if not begun:
            self._set_targets(y)
        y = self._encode(y)
        weights = self._weights_in_stream(y, sample_weight)
        check_columns(y, weights)
        return y, weights

    def _weights_in_stream(self, targets, sample_weight):
        return rows_with_values(targets, sample_weight)

    def _set_targets(self, y):
        self._is_matrix = y.ndim == 2
        self.n_outputs_ = y.shape[1] if self._is_matrix else 1

    def _encode(self, y):
        """Targets (n, n_outputs) float64; NaN where there is none."""
        if self._is_matrix and y.shape == (0,):  # an empty list
            y = y.reshape(0, self.n_outputs_)
        if (y.ndim == 2) != self._is_matrix or y.shape[1:] not in ((), (self.n_outputs_,)):
            raise ValueError(
                f"y has shape {y.shape}, and the first call's y was "
                + (f"a matrix of {self.n_outputs_} targets." if self._is_matrix else "one target for each row.")
                + " Pass y of that form, or start again with a clone."
            )
        y = y.astype(np.float64, copy=False)
        if not np.all((np.abs(y) <= MAX_TARGET) | (np.isnan(y) & (self.n_outputs_ > 1))):
            raise ValueError(
                f"y contains {'' if self.n_outputs_ > 1 else 'NaN, '}infinity or a value beyond {MAX_TARGET:g}; leave "
                "such rows out, or scale y."
            )
        return y.reshape(len(y), self.n_outputs_)

    def _begin(self, X, random_state, *, in_order):
        self.n_iter_, self.loss_curve_, self.validation_loss_curve_ = 0, [], []
        self._set_progress(np.zeros((2, self.n_outputs_)))
        return self._new_online(X, random_state, in_order=in_order)

    def _output_numbers(self):
        return np.arange(self.n_outputs_)

    def _new_head(self, settings):
        calibrated = settings.likelihood.has_spread or settings.aggregation == "stacked"
        n_layers, knows_wild = len(settings.layer_sizes), not self._is_of_bandit
        return TargetHead.empty(
            self.n_outputs_, n_layers, settings.aggregation, calibrated, settings.is_mixed, knows_wild
        )

    def _hold_out(self, rows, weights, random_state):
        if self.max_iter == 1 or weights[rows].mean() > FEW:  # rows of which others alike would stay
            return rows, rows[:0]
        held_out = random_state.permutation(len(rows)) % HELD_OUT == HELD_OUT - 1
        return rows[~held_out], rows[held_out]

    def _moments(self, outputs, return_std):
        """Means, and deviations if they are asked for, in the shape of y."""
        outputs = outputs if self._is_matrix else outputs[:, 0]
        mean = outputs[..., 0]
        return (mean, np.sqrt(outputs[..., 1])) if return_std else mean

    def _quantiles(self, outputs, levels):
        """Quantiles of levels (...), in the shape of y and theirs."""
        as_many_axes = (..., *(np.newaxis,) * levels.ndim)
        mean, deviation = (moment[as_many_axes] for moment in self._moments(outputs, return_std=True))
        of_scores = self._online.head.scores.quantiles(levels)
        of_scores = of_scores if self._is_matrix else of_scores[0]
        with np.errstate(invalid="ignore"):
            reach = deviation * of_scores
        return mean + np.where(of_scores == 0, 0, reach)  # a deviation may be infinite

    def _restored(self, means):
        targets = self._online.head.restore(means)
        return targets if self._is_matrix else targets[:, 0]

    def _counted(self, online, order, targets, weights, counted):
        # (n, n_outputs): 0 for the first targets of each output, of which nobody can expect a prediction.
        counted = of_targets(counted, targets)
        is_learned = of_targets(weights[order], targets[order]) > 0
        numbers = online.head.scale.n_targets + np.cumsum(is_learned, axis=0)
        counted[order] *= numbers > N_UNSCORED
        return counted

    def _scores(self, outputs, targets, sample_weight):
        # Of each output.
        weights = of_targets(sample_weight, targets) if sample_weight.ndim == 1 else sample_weight
        weights = np.where(np.isfinite(outputs[..., 1]), weights, 0)  # else nothing was said
        losses = np.where(weights > 0, gaussian_losses(outputs, targets), 0)
        return np.stack([weights.sum(axis=0), (weights * losses).sum(axis=0)])

    def _mean_loss(self, sums):
        scored = sums[0] > 0
        return float((sums[1, scored] / sums[0, scored]).sum()) if scored.any() else np.nan

    def _set_progress(self, sums):
        self._progress = sums
        self.progressive_loss_ = self._mean_loss(sums)


def _shares(name, values, example):
    """Float64 numbers within (0, 1): one, (), or some, (n,)."""
    items = np.asarray(values, dtype=object)
    if items.ndim > 1 or not items.size or not all(isinstance(item, Real) and 0 < item < 1 for item in items.flat):
        raise ValueError(f"{name}={brief(values)} must be numbers between 0 and 1, such as {example}.")
    return items.astype(np.float64)


def gaussian_losses(predictions, y):
    """The log-loss of targets y (n, n_outputs), shaped alike; predictions are means and variances."""
    mean, variance = predictions[..., 0], predictions[..., 1]
    return (np.log(2 * np.pi * variance) + np.square(y - mean) / variance) / 2
