"""A picture of predicted means and intervals: rows of one feature, a gap in them, noise that grows along it."""

import numpy as np
from common import STYLES
from matplotlib.figure import Figure
from scipy.stats import norm
from sklearn.utils import check_random_state

N_ROWS = 400
STREAMED = (50, 200, 1000)
GAP = (0.8, 1.8)
RANGE = (-4.0, 4.0)
SHADES = {0.9: "#CFE3F2", 0.5: "#8FC0E3"}  # of intervals, by coverage
GRID = np.linspace(RANGE[0] - 0.6, RANGE[1] + 0.6, 500)


def mean_of(x):
    return np.sin(1.8 * x) + x / 4


def deviation_of(x):
    return 0.05 + 0.07 * np.clip(x + 4, 0, None)


def make_rows(n_rows, seed):
    """X (n_rows, 1), y (n_rows,), in random order; no feature lies in the gap."""
    rng = check_random_state(seed)
    x = rng.uniform(*RANGE, 2 * n_rows)
    x = x[(x < GAP[0]) | (x > GAP[1])][:n_rows]
    return x[:, np.newaxis], mean_of(x) + deviation_of(x) * rng.normal(size=n_rows)


def draw(make_model, params, seed, path):
    """Above GLNRegressor fitted with both likelihoods, below during one pass; `make_model` makes it of parameters."""
    figure = Figure(figsize=(7.4, 5.6), layout="constrained")
    above, below = figure.subfigures(2, 1)
    X, y = make_rows(N_ROWS, seed)
    axes = above.subplots(1, 2, sharex=True, sharey=True)
    for ax, likelihood in zip(axes, ("squared", "gaussian"), strict=True):
        model = make_model({"likelihood": likelihood, **params}).fit(X, y)
        draw_panel(ax, model, X, y, f'fit to {N_ROWS} rows, likelihood="{model.likelihood}"')
    axes = below.subplots(1, len(STREAMED), sharex=True, sharey=True)
    X, y = make_rows(max(STREAMED), seed + 1)
    model, learned = make_model(params), 0
    for ax, n_rows in zip(axes, STREAMED, strict=True):
        model.partial_fit(X[learned:n_rows], y[learned:n_rows])
        learned = n_rows
        draw_panel(ax, model, X[:n_rows], y[:n_rows], f"one pass, {n_rows:,} rows so far")
    handles, labels = above.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, markerscale=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=92)


def draw_panel(ax, model, X, y, title):
    """Rows X (n, 1), y (n,), what the model predicts along the feature, and the truth."""
    color, truth = STYLES[0]["color"], STYLES[1]["color"]
    places = GRID[:, np.newaxis]
    for coverage, shade in SHADES.items():
        low, high = model.predict_interval(places, coverage=coverage).T
        ax.fill_between(GRID, low, high, color=shade, linewidth=0, label=f"{coverage:.0%} interval")
    ax.axvspan(*GAP, color="0.93", zorder=0, label="no rows here")
    ax.plot(X[:, 0], y, ".", color="0.35", markersize=2.5, markeredgewidth=0, label="rows")
    ax.plot(GRID, model.predict(places), color=color, linewidth=2, label="predicted mean")
    ax.plot(GRID, mean_of(GRID), color=truth, linewidth=1.2, linestyle="--", label="true mean")
    for sign, label in ((-1, "true 5 % and 95 %"), (1, None)):
        quantile = mean_of(GRID) + sign * norm.ppf(0.95) * deviation_of(GRID)
        ax.plot(GRID, quantile, color=truth, linewidth=1.2, linestyle=":", label=label)
    ax.set_title(title, fontsize="small")
    ax.set(xlabel="feature", ylabel="target", xticks=(-4, -2, 0, 2, 4), xlim=GRID[[0, -1]], ylim=(-3.2, 3.6))
    ax.label_outer()
