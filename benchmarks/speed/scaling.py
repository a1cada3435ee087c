"""How the seconds of a pass grow with each size of the problem, and shrink with threads."""

from functools import partial

import numpy as np
from common import PRESETS, STYLES, add_command, add_options, pass_seconds, print_table, time_in_turn
from joblib import cpu_count

from sklearn_gln import GLNClassifier

JOBS = {"numba": min(2, cpu_count()), "numpy": 1}  # NumPy's products gain nothing from more
BASE = {"rows": 8192, "neurons": 32, "inputs": 128, "outputs": 8, "context_dim": 4}  # neurons: of two layers
RANGES = {
    "rows": (2048, 4096, 8192, 16384, 32768),
    "neurons": (8, 16, 32, 64, 128),
    "inputs": (32, 64, 128, 256, 512),
    "outputs": (4, 8, 16, 32, 64),
    "context_dim": (1, 2, 3, 4, 6, 8, 12),
}
LARGE = {"neurons": 128, "inputs": 256, "outputs": 16}  # in place of the base's: enough work for every thread
SERIES_STYLES = dict(zip(JOBS, STYLES, strict=False))
PROPORTIONAL_STYLE = {"color": "0.4", "linestyle": ":", "label": "in proportion (n_jobs: inversely)"}


def add_scaling(subparsers):
    parser = add_command(
        subparsers, scaling, "seconds against each size and against threads, on synthetic data", "speed"
    )
    add_options(parser, "--repeats", "--rows", "--picture", rows=BASE["rows"])
    parser.add_argument("--preset", choices=PRESETS, default="default", help="learner (%(default)s)")


def scaling(options):
    """Seconds of a pass over synthetic rows: around the base with one size at a time varied, and by threads."""
    base = BASE | {"rows": options.rows}
    ranges = RANGES | {"rows": [options.rows * n // BASE["rows"] for n in RANGES["rows"]]}
    cases = {
        (backend, name, value): (backend, base | {name: value}, n_jobs)
        for name, values in ranges.items()
        for value in values
        for backend, n_jobs in JOBS.items()
    }
    threads = numbers_of_threads()
    cases |= {("numba", "threads", n_jobs): ("numba", base | LARGE, n_jobs) for n_jobs in threads}
    warm_up = {backend: seconds_of_pass(options.preset, backend, base, n_jobs) for backend, n_jobs in JOBS.items()}
    seconds = time_in_turn(
        {key: partial(seconds_of_pass, options.preset, *case) for key, case in cases.items()}, options.repeats
    )
    curves = {
        name: {backend: describe_curve(values, [seconds[backend, name, value] for value in values]) for backend in JOBS}
        for name, values in ranges.items()
    }
    by_threads = describe_threads(threads, [seconds["numba", "threads", n_jobs] for n_jobs in threads])
    print_results(curves, by_threads)
    if options.picture:
        plot(curves, by_threads, base, options.repeats, options.picture)
    records = [
        {"against": name, "backend": backend, **curve}
        for name, by_backend in curves.items()
        for backend, curve in by_backend.items()
    ]
    records.append({"against": "threads", "backend": "numba", "base": base | LARGE, **by_threads})
    return {"base": base, "n_jobs": JOBS, "warm_up_seconds": warm_up}, records


def numbers_of_threads():
    """1, 2, 4, ... and the number of cores."""
    n_cores = cpu_count()
    return [*(2**k for k in range((n_cores - 1).bit_length())), n_cores]


def seconds_of_pass(preset, backend, sizes, n_jobs):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((sizes["rows"], sizes["inputs"]), dtype=np.float32)
    y = np.argmax(X @ rng.standard_normal((sizes["inputs"], sizes["outputs"]), dtype=np.float32), axis=1)
    network = {"layer_sizes": (sizes["neurons"],) * 2, "context_dim": sizes["context_dim"]}
    params = PRESETS[preset] | network | {"backend": backend, "n_jobs": n_jobs, "random_state": 0}
    return pass_seconds(GLNClassifier(**params), X, y, np.arange(sizes["outputs"]))


def describe_curve(values, seconds):
    """The slope is that of the best seconds in the upper half of the range, on logarithmic axes."""
    values, best = np.array(values), np.array([summary["min"] for summary in seconds])
    upper = values >= np.sqrt(values[0] * values[-1])
    slope = np.polyfit(np.log(values[upper]), np.log(best[upper]), 1)[0]
    return {"values": values.tolist(), "seconds": seconds, "slope": float(slope)}


def describe_threads(values, seconds):
    return {"values": values, "seconds": seconds, "speed_up": [seconds[0]["min"] / s["min"] for s in seconds]}


def print_results(curves, by_threads):
    print_table(
        {
            "seconds against": name,
            "from": by_backend["numba"]["values"][0],
            "to": by_backend["numba"]["values"][-1],
            **{f"slope, {backend}": curve["slope"] for backend, curve in by_backend.items()},
        }
        for name, by_backend in curves.items()
    )
    print("on the larger base, numba:")
    print_table(
        {"threads": n_threads, "seconds": seconds, "speed-up": speed_up}
        for n_threads, seconds, speed_up in zip(*by_threads.values(), strict=True)
    )


def plot(curves, by_threads, base, repeats, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.4), layout="constrained")
    panels = figure.subplots(2, 3, sharey=True).flat
    for panel, (name, by_backend) in zip(panels, curves.items(), strict=False):
        for backend, curve in by_backend.items():
            plot_seconds(panel, curve, f"{backend}, n_jobs={JOBS[backend]}", SERIES_STYLES[backend])
        slopes = ", ".join(f"{backend} {curve['slope']:.2f}" for backend, curve in by_backend.items())
        values = np.array(by_backend["numba"]["values"])
        lowest = min(curve["seconds"][-1]["min"] for curve in by_backend.values())
        panel.plot(values, 0.6 * lowest * values / values[-1], **PROPORTIONAL_STYLE)
        panel.set_title(f"slopes: {slopes}", fontsize="medium")
        panel.set_xlabel("neurons in each of two layers" if name == "neurons" else name)
        label_axis(panel, values)
    panel, values = figure.axes[-1], np.array(by_threads["values"])
    plot_seconds(panel, by_threads, None, SERIES_STYLES["numba"])
    panel.plot(values, 0.6 * by_threads["seconds"][0]["min"] / values, **PROPORTIONAL_STYLE)
    panel.set_title(f"numba, {values[-1]} threads: {by_threads['speed_up'][-1]:.2f} times as fast", fontsize="medium")
    panel.set_xlabel(f"n_jobs, with {in_words(LARGE)}", fontsize="small")
    label_axis(panel, values)
    for panel in figure.axes[::3]:
        panel.set_ylabel(f"seconds of one pass, best of {repeats}")
    figure.suptitle(f"Around {in_words(base)}")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110)


def plot_seconds(panel, curve, label, style):
    panel.plot(curve["values"], [summary["min"] for summary in curve["seconds"]], label=label, **style)


def label_axis(panel, values):
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xticks(values, values)
    panel.minorticks_off()
    panel.grid(color="0.9")


def in_words(sizes):
    return ", ".join(
        f"{value:,} {name}" if name != "context_dim" else f"{name} {value}" for name, value in sizes.items()
    )
