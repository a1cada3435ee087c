"""The floor that learners are compared with, measured."""

from functools import partial
from time import perf_counter

import numba
import numpy as np
from common import DIGITS, PYGLN, seconds_of
from joblib import cpu_count

PRODUCT_ROWS = (1024, 2048, 4096, 8192, 16384)  # block sizes tried for the gating product
SQUARE_SIZE = 4096  # of the matrices whose product shows the best rate
FAIR_SHARE = 0.8  # of that rate, which the gating product must reach
N_PAIRS = 2**17  # dot products and updates timed at once, some milliseconds
PAIR_RUNS = 10


def floor_measures(X):
    """The parts of the floor, and the rate that it is compared with: functions that return seconds, by name."""
    rng = np.random.default_rng(0)
    square = rng.standard_normal((SQUARE_SIZE, SQUARE_SIZE), dtype=np.float32)
    hyperplanes = rng.standard_normal((n_hyperplanes(), X.shape[1]), dtype=np.float32)
    measures = {"square product": partial(seconds_of, np.matmul, square, square, out=np.empty_like(square))}
    for n_rows in sorted({min(n_rows, len(X)) for n_rows in PRODUCT_ROWS}):
        measures["gating product", n_rows] = partial(product_seconds, X, hyperplanes.T, n_rows)
    return measures | {"pair": partial(pair_seconds, X.shape[1] + 1)}


def n_hyperplanes():
    """Those of the plain network for ten outputs, its final neurons included."""
    return len(DIGITS) * (sum(PYGLN["layer_sizes"]) + 1) * PYGLN["context_dim"]


def product_seconds(X, normals, block_rows):
    """Seconds of X @ normals in blocks of rows."""
    projections = np.empty((block_rows, normals.shape[1]), np.float32)
    start = perf_counter()
    for first in range(0, len(X), block_rows):
        block = X[first : first + block_rows]
        np.matmul(block, normals, out=projections[: len(block)])
    return perf_counter() - start


def pair_seconds(n_inputs):
    """Seconds of one dot product and clipped update, on one core."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((4, n_inputs), dtype=np.float32)
    weights = np.full(n_inputs, 1 / n_inputs, np.float32)
    arguments = weights, inputs, np.arange(4, dtype=np.float32), np.float32(1e-4), np.float32(PYGLN["max_weight"])
    learn_pairs(*arguments, 1)  # compiled here
    return min(seconds_of(learn_pairs, *arguments, N_PAIRS // len(inputs)) / N_PAIRS for _ in range(PAIR_RUNS))


@numba.njit(fastmath=True, error_model="numpy")
def learn_pairs(weights, inputs, targets, rate, max_weight, n_rounds):
    for _ in range(n_rounds):
        for t in range(len(inputs)):
            row = inputs[t]
            dot = np.float32(0)
            for i in range(weights.size):
                dot += weights[i] * row[i]
            step = rate * (dot - targets[t])
            for i in range(weights.size):
                weights[i] = min(max(weights[i] - step * row[i], -max_weight), max_weight)


def floor_of(times, n_rows, n_features, n_cores=None):
    """The floor from the best times of its two parts, and whether its matrix product is near the best rate."""
    n_cores = n_cores or cpu_count()
    products = {name[1]: seconds["min"] for name, seconds in times.items() if name[0] == "gating product"}
    block_rows = min(products, key=products.get)
    gflops = 2 * n_rows * n_features * n_hyperplanes() / products[block_rows] / 1e9
    square_gflops = 2 * SQUARE_SIZE**3 / times["square product"]["min"] / 1e9
    pair = times["pair"]["min"]
    pairs_seconds = pair * n_rows * len(DIGITS) * PYGLN["layer_sizes"][0] / n_cores
    return {
        "seconds": products[block_rows] + pairs_seconds,
        "gating_seconds": products[block_rows],
        "gating_block_rows": block_rows,
        "gating_gflops": gflops,
        "square_gflops": square_gflops,
        "fair": gflops >= FAIR_SHARE * square_gflops,
        "pairs_seconds": pairs_seconds,
        "nanoseconds_per_pair": pair * 1e9,
        "cores": n_cores,
    }


def print_floor(floor):
    share = floor["gating_gflops"] / floor["square_gflops"]
    verdict = "fair" if floor["fair"] else f"not fair: below {FAIR_SHARE:.0%}, repeat on a quiet machine"
    print(
        f"floor {floor['seconds']:.2f} s\n"
        f"  gating product {floor['gating_seconds']:.2f} s in blocks of {floor['gating_block_rows']} rows, "
        f"{floor['gating_gflops']:.0f} GFLOP/s, {share:.0%} of the {floor['square_gflops']:.0f} of a square product "
        f"({verdict})\n"
        f"  dot products and updates {floor['pairs_seconds']:.2f} s, {floor['nanoseconds_per_pair']:.0f} ns a pair, "
        f"{floor['cores']} cores"
    )
