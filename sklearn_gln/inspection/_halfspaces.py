"""Where the halfspaces of neurons cut a plane of two features."""

from reprlib import repr as brief

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, RegressorMixin, is_classifier, is_regressor
from sklearn.inspection import DecisionBoundaryDisplay

from sklearn_gln.inspection._axes import get_axes, import_pyplot, line_style, literal
from sklearn_gln.inspection._local import category_names, learned
from sklearn_gln.inspection._neurons import neuron_predictions
from sklearn_gln.kernels import as_numpy, get_kernels


class HalfspaceDisplay:
    """The halfspaces of chosen neurons and the regions between them, above what is predicted: for two features.

    In each region a neuron is one linear model. Make one by `from_estimator`.

    Parameters
    ----------
    boundary : sklearn.inspection.DecisionBoundaryDisplay
        What is predicted on a grid.

    projections : list of ndarray of shape (context_dim, n_grid, n_grid)
        For each chosen neuron how far each point of the grid lies on the positive side of its halfspaces.

    neurons : list of (int, int)
        Layer and number of the chosen neurons.

    response_name : str
        What is predicted, for the colour bar.

    Attributes
    ----------
    contexts : list of ndarray of shape (n_grid, n_grid)
        For each chosen neuron the number of the region that each point is in, from 0 to 2**context_dim - 1.

    ax_ : matplotlib Axes

    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from sklearn_gln import GLNClassifier
    >>> from sklearn_gln.inspection import HalfspaceDisplay
    >>> X, y = make_moons(200, noise=0.2, random_state=0)
    >>> model = GLNClassifier(context_dim=3, random_state=0).fit(X, y)
    >>> display = HalfspaceDisplay.from_estimator(model, X, neurons=[(0, 0), (1, 7)])
    >>> bool(display.contexts[0].max() < 8)
    True
    """

    def __init__(self, boundary, projections, neurons, *, response_name=""):
        self.boundary = boundary
        self.projections = projections
        self.neurons = neurons
        self.response_name = response_name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        neurons=((0, 0),),
        output=0,
        response="model",
        grid_resolution=200,
        eps=0.5,
        ax=None,
        **options,
    ):
        """Draw halfspaces of a fitted estimator.

        Parameters
        ----------
        estimator : GLNClassifier or GLNRegressor
            A fitted estimator of two features, neither of them a category.

        X : {array-like, sparse matrix} of shape (n_samples, 2)
            Rows, which say how far to draw.

        neurons : sequence of (int, int), default=((0, 0),)
            Layer and number of each neuron, from 0. The first layer of a regressor has no halfspaces.

        output : int, default=0
            The output whose neurons are meant: of more than two classes or of several targets.

        response : {"model", "neuron"}, default="model"
            What to colour the plane by. "model": the probabilities of the classes, or the mean of a target. "neuron":
            what the chosen neuron, which must be one, predicts.

        grid_resolution : int, default=200
            Points of the grid on each side.

        eps : float, default=0.5
            How far to draw beyond X, in the features' units.

        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.

        **options
            Passed to `plot`.

        Returns
        -------
        display : HalfspaceDisplay

        Raises
        ------
        ValueError
            If there are not two features, one is a category, rows count as wide (`max_dense` is 1), or `neurons`,
            `output` or `response` name something that does not exist.

        TypeError
            If the estimator is not a GLN, but a Pipeline or a search, say.
        """
        import_pyplot()
        from matplotlib.figure import Figure

        online, neurons = learned(estimator), [tuple(map(int, neuron)) for neuron in neurons]
        _check(estimator, online, neurons, output, response)
        predicts, name = estimator, "mean of the target"
        if response == "neuron":
            predicts, name = _Neuron(estimator, *neurons[0], output), f"prediction of neuron {neurons[0]}"
        elif is_classifier(estimator):
            name = f"probability of {estimator.classes_[-1]}"
        boundary = DecisionBoundaryDisplay.from_estimator(
            predicts,
            estimator._check_X(X)[:][:, :2] if issparse(X) else X,
            response_method="predict" if is_regressor(predicts) else "predict_proba",
            grid_resolution=grid_resolution,
            eps=eps,
            ax=Figure().subplots(),  # it draws, but where and how we want comes later
        )
        grid = np.column_stack([boundary.xx0.ravel(), boundary.xx1.ravel()])
        side_info = online.predictor.transform(grid, get_kernels("numpy")).side_info
        first = np.cumsum([0, *online.settings.layer_sizes])
        projections = []
        for layer, neuron in neurons:
            place = (0 if online.settings.share_halfspaces else output), first[layer] + neuron
            normals, offsets = (
                as_numpy(array)[place] for array in (online.network.hyperplanes, online.network.offsets)
            )
            projections.append(
                (normals.astype(float) @ side_info.T - offsets[:, np.newaxis]).reshape(-1, *boundary.xx0.shape)
            )
        return cls(boundary, projections, neurons, response_name=name).plot(ax=ax, **options)

    @property
    def contexts(self):
        def number(projections):
            return sum(
                ((each > 0) << bit for bit, each in enumerate(projections)),
                start=np.zeros(self.boundary.xx0.shape, int),
            )

        return [number(projections) for projections in self.projections]

    def plot(self, ax=None, **options):
        """Draw what is predicted, and the halfspaces above it.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw. None: a new figure.

        **options
            Passed to `DecisionBoundaryDisplay.plot`, such as `plot_method` or `alpha`.

        Returns
        -------
        self : HalfspaceDisplay
        """
        ax = get_axes(ax)
        options = {"alpha": 0.6, "plot_method": "pcolormesh"} | options
        for axis in ("xlabel", "ylabel"):
            label = getattr(self.boundary, axis)
            if label is not None and not getattr(ax, f"get_{axis}")():
                options = {axis: literal(label)} | options
        has_one_response = self.boundary.response.ndim == 2
        if has_one_response:
            options = {"cmap": "RdBu_r"} | options
        self.boundary.plot(ax=ax, **options)
        if has_one_response:
            ax.figure.colorbar(self.boundary.surface_, ax=ax, label=literal(self.response_name))
        for number, ((layer, neuron), projections) in enumerate(zip(self.neurons, self.projections, strict=True)):
            style = line_style(number)
            for projection in projections:
                ax.contour(
                    self.boundary.xx0,
                    self.boundary.xx1,
                    projection,
                    levels=[0],
                    colors=[style["color"]],
                    linestyles=[style["linestyle"]],
                    linewidths=1.2,
                )
            ax.plot([], [], **style, label=f"layer {layer}, neuron {neuron}")
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self


class _Neuron(RegressorMixin, BaseEstimator):
    """Predicts as one neuron of a fitted estimator does."""

    def __init__(self, estimator, layer, neuron, output):
        self.estimator = estimator
        self.layer = layer
        self.neuron = neuron
        self.output = output

    def fit(self, X, y=None):  # noqa: ARG002  (there is nothing left to fit)
        return self

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, X):
        return neuron_predictions(self.estimator, X)[self.layer][:, self.output, self.neuron]


def _check(estimator, online, neurons, output, response):
    if estimator.n_features_in_ != 2:
        raise ValueError(f"The estimator has {estimator.n_features_in_} features; halfspaces can be drawn for two.")
    if online.wide is not None:
        raise ValueError(
            "The estimator was fitted with max_dense=1, so that rows of two features count as wide: halfspaces cut a "
            "sketch of them, not the features. Fit it with max_dense=2 or more."
        )
    categories = category_names(estimator)
    if categories:
        raise ValueError(
            f"Halfspaces are drawn over two features that are numbers, and {brief(categories)} are categories, whose "
            "levels have no order."
        )
    sizes = online.settings.layer_sizes
    for layer, neuron in neurons:
        if not (0 <= layer < len(sizes) and 0 <= neuron < sizes[layer]):
            raise ValueError(
                f"neurons={brief(neurons)} names neuron {neuron} of layer {layer}; the layers have "
                f"{brief(sizes)} neurons."
            )
    if not 0 <= output < online.n_outputs:
        raise ValueError(
            f"output={output!r} is not an output of the estimator; they are numbered 0 to {online.n_outputs - 1}."
        )
    if response not in ("model", "neuron") or (response == "neuron" and len(neurons) != 1):
        raise ValueError(
            f"response={response!r} with {len(neurons)} neurons; it is 'model', or 'neuron' with one neuron, whose "
            "prediction is drawn."
        )
