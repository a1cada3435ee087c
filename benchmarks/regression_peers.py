"""Other regressors: for tables with fit and predict, for streams as functions that predict each row, then learn it."""

import numpy as np
from common import running_moments, scale_online
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import BayesianRidge, Ridge, SGDRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

RECENT_ERRORS = 100


# Tables


def scaled(model):
    return make_pipeline(StandardScaler(), model)


def scaled_with_target(model):
    return TransformedTargetRegressor(scaled(model), transformer=StandardScaler())


TABLE_PEERS = {
    "Ridge": scaled(Ridge()),
    "BayesianRidge": scaled(BayesianRidge()),
    "SGD": scaled_with_target(SGDRegressor()),
    "KNN": scaled(KNeighborsRegressor()),
    "MLP": scaled_with_target(MLPRegressor()),
    "RandomForest": RandomForestRegressor(),
    "HistGradientBoosting": HistGradientBoostingRegressor(),
}
TREE_ENSEMBLES = ("RandomForest", "HistGradientBoosting")


# Streams: functions of X (n, n_features), y (n,) and a seed that return means (n,) and standard deviations (n,)


def learn_mean(_X, y, _seed):
    """The mean of the targets before, whatever the features."""
    return learn_in_turn(lambda _: 0.0, lambda *_: None, y)


def river_learner(make_model):
    """`make_model` makes one of river's regressors from the module river and a seed."""

    def learn(X, y, seed):
        try:
            import river
            from river import forest, linear_model, neighbors, preprocessing  # noqa: F401  (attributes of river)
        except ImportError as error:
            raise SystemExit(f"Models come from river ({error}); install it with `pip install river`.") from error
        model = make_model(river, seed)
        rows = [dict(enumerate(row)) for row in X.tolist()]
        return learn_in_turn(
            lambda i: model.predict_one(rows[i]), lambda i, target: model.learn_one(rows[i], target), y
        )

    return learn


def scaled_river_learner(make_model):
    return river_learner(lambda river, seed: river.preprocessing.StandardScaler() | make_model(river, seed))


def sklearn_learner(make_model):
    def learn(X, y, seed):
        model, rows = make_model(seed), scale_online(X)[:, np.newaxis]
        return learn_in_turn(
            lambda i: model.predict(rows[i])[0], lambda i, target: model.partial_fit(rows[i], [target]), y
        )

    return learn


def learn_in_turn(predict, learn, y):
    """Predict each row, then learn it; means and standard deviations, both (n,).

    `predict(i)` gives row i's prediction and `learn(i, target)` learns it, as deviations from the mean of the targets:
    of those before the row, and of those up to it. Predictions stay within the range of the targets before, widened to
    both sides by its width: without, single ones of models that have it hard are millions of deviations wrong.
    """
    centers, units = (moments[:, 0] for moments in running_moments(y[:, np.newaxis]))
    lowest, highest = np.minimum.accumulate(y), np.maximum.accumulate(y)
    widths = highest - lowest
    means = np.zeros(len(y))
    learn(0, 0.0)
    for i in range(1, len(y)):
        before = i - 1
        mean = centers[before] + units[before] * predict(i)
        means[i] = np.clip(mean, lowest[before] - widths[before], highest[before] + widths[before])
        learn(i, float((y[i] - centers[i]) / units[i]))
    return means, recent_deviation(y - means)


def recent_deviation(errors):
    """Root mean square (n,) of the last errors before each row; the first error, made in ignorance, does not count."""
    known = np.concatenate([np.full(RECENT_ERRORS, np.nan), errors[1:-1]])
    windows = np.lib.stride_tricks.sliding_window_view(known, RECENT_ERRORS)[1:]
    deviations = np.sqrt(np.nanmean(np.square(windows), axis=1))
    return np.concatenate([[np.nan, np.nan], deviations])


STREAM_PEERS = {
    "RunningMean": learn_mean,
    "Linear": scaled_river_learner(lambda river, _: river.linear_model.LinearRegression()),
    "BayesianLinear": scaled_river_learner(lambda river, _: river.linear_model.BayesianLinearRegression()),
    "KNN": scaled_river_learner(lambda river, _: river.neighbors.KNNRegressor()),
    "ARF": river_learner(lambda river, seed: river.forest.ARFRegressor(seed=seed)),
    "SGD": sklearn_learner(lambda seed: SGDRegressor(random_state=seed)),
    "MLP": sklearn_learner(lambda seed: MLPRegressor(batch_size=1, random_state=seed)),
}
