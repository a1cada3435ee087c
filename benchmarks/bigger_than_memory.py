"""Memory and speed while streams of any length are learned: from Parquet files, and from dask arrays.

Ten million rows of each, which takes some minutes; one source; the same on a small scale::

    python benchmarks/bigger_than_memory.py --json
    python benchmarks/bigger_than_memory.py parquet --rows 10_000_000
    python benchmarks/bigger_than_memory.py --rows 300_000

Needs skops, and pyarrow or dask (`pip install skops pyarrow dask`). The stream is synthetic: ten normal features, of
which four decide the class by a curved boundary, and noise. For Parquet it is first written to a temporary folder,
chunk by chunk; dask makes each block when it is asked for. Each source is learned by `fit_stream` in a process of its
own, which first learns a few chunks that are not timed, because code has to be compiled. Then, at each tenth of the
rows: rows learned in a second, the share of time in which the next chunk was read or made, and the most memory that the
process has held so far, libraries included. What a checkpoint costs is measured at the end, with the model at its
largest.

With --json, a run that was stopped goes on with the sources that are left.
"""

import argparse
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
from common import (
    add_json_option,
    add_options,
    in_new_process,
    one_of,
    peak_memory,
    positive_float,
    print_table,
    run_tasks,
    seconds_of,
)

from sklearn_gln import GLNClassifier
from sklearn_gln.io import fit_stream, save

N_FEATURES = 10
CHUNK_ROWS = 65_536
CHUNKS_IN_FILE = 16
WARM_UP_CHUNKS = 2
CHECKPOINTS_TIMED = 5
MEGABYTE = 2**20


def main(arguments=None):
    """Run what the arguments ask for; returns a record for each source."""
    options = build_parser().parse_args(arguments)
    tasks = [
        {"source": source, "rows": options.rows, "every": options.every, "seed": options.seed}
        for source in options.sources or SOURCES
    ]
    records = run_tasks(run_once, tasks, options.json)
    for record in records:
        print_record(record)
    return records


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "sources", nargs="*", metavar="SOURCE", help=f"{' or '.join(SOURCES)} (both)", type=one_of(SOURCES)
    )
    add_options(parser, "--rows", rows=10_000_000)
    parser.add_argument(
        "--every", type=positive_float, default=60.0, metavar="S", help="seconds between checkpoints (%(default)g)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the stream and the model (%(default)s)")
    add_json_option(parser, "bigger_than_memory")
    return parser


def print_record(record):
    print(
        f"{record['source']}: {record['rows']:,} rows, {record['data_mb']:,.0f} MB as an array, progressive accuracy "
        f"{record['accuracy']:.3f}"
    )
    print_table(record["progress"], ".3g")
    print(
        f"A checkpoint of {record['checkpoint_mb']:.1f} MB takes {record['checkpoint_seconds']:.3f} s, "
        f"{100 * record['checkpoint_share']:.2f} % of the time at one each {record['every']:g} s.\n"
    )


def run_once(source, rows, every, seed):
    """Memory and speed of one source, in a new process."""
    with TemporaryDirectory() as folder:
        if source == "parquet":
            write_parquet(Path(folder, "rows"), rows, seed)
        return in_new_process(learn, source, folder, rows, every, seed)


def learn(source, folder, n_rows, every, seed):
    """Learn one source; the memory measured is that of the process, which has to be a new one."""
    data, checkpoint = SOURCES[source](Path(folder, "rows"), n_rows, seed), Path(folder, "model.skops")
    model = GLNClassifier(random_state=seed)
    warm_up = [make_chunk(seed, number, CHUNK_ROWS) for number in range(WARM_UP_CHUNKS)]
    warm_up = fit_stream(GLNClassifier(random_state=seed), warm_up, classes=[0, 1])
    save(warm_up, checkpoint.with_name("warm_up.skops"))
    watched = Watch(n_rows)
    fit_stream(model, lambda start: watched(data(start)), classes=[0, 1], checkpoint=checkpoint, every=every)
    saving = min(seconds_of(save, model, checkpoint) for _ in range(CHECKPOINTS_TIMED))
    return {
        "progress": watched.progress,
        "accuracy": model.progressive_accuracy_,
        "data_mb": n_rows * (N_FEATURES * 4 + 1) / MEGABYTE,
        "checkpoint_seconds": saving,
        "checkpoint_share": saving / every,
        "checkpoint_mb": checkpoint.stat().st_size / MEGABYTE,
    }


class Watch:
    """Notes speed and memory at each tenth of a stream."""

    def __init__(self, n_rows):
        self.n_rows, self.progress = n_rows, []

    def __call__(self, chunks):
        start, reading, n_done = perf_counter(), 0.0, 0
        self.note(n_done, 0.0, reading)
        chunks = iter(chunks)
        while True:
            before = perf_counter()
            chunk = next(chunks, None)
            reading += perf_counter() - before
            tenth = 10 * n_done // self.n_rows
            if chunk is None or tenth > 10 * self.progress[-1]["rows"] // self.n_rows:
                self.note(n_done, perf_counter() - start, reading)
            if chunk is None:
                break
            yield chunk
            n_done += len(chunk[1])

    def note(self, rows, seconds, reading):
        if self.progress and rows == self.progress[-1]["rows"]:
            return
        self.progress.append(
            {
                "rows": rows,
                "seconds": seconds,
                "rows_per_second": rows / seconds if seconds else None,
                "reading_share": reading / seconds if seconds else None,
                "peak_mb": peak_memory() / MEGABYTE,
            }
        )


# The stream


def chunk_sizes(n_rows):
    """The rows of each chunk: all the same but the last."""
    n_full, rest = divmod(n_rows, CHUNK_ROWS)
    return [CHUNK_ROWS] * n_full + [rest] * (rest > 0)


def make_chunk(seed, number, n_rows):
    """Rows X (n_rows, N_FEATURES) float32 and classes y (n_rows,) int8, always the same for a seed and a number."""
    rng = np.random.default_rng([seed, number])
    X = rng.standard_normal((n_rows, N_FEATURES), np.float32)
    score = X[:, 0] * X[:, 1] + np.sin(2 * X[:, 2]) + 0.5 * X[:, 3] + 0.3 * rng.standard_normal(n_rows)
    return X, (score > 0).astype(np.int8)


# Sources: each gives the chunks from a number on


def write_parquet(folder, n_rows, seed):
    pa, pq = import_pyarrow()
    folder.mkdir()
    names = [f"x{column}" for column in range(N_FEATURES)]
    sizes = chunk_sizes(n_rows)
    for first in range(0, len(sizes), CHUNKS_IN_FILE):
        with pq.ParquetWriter(folder / f"{first:06}.parquet", schema(pa, names)) as writer:
            for number in range(first, min(first + CHUNKS_IN_FILE, len(sizes))):
                X, y = make_chunk(seed, number, sizes[number])
                writer.write_table(pa.table([*X.T, y], schema=schema(pa, names)))


def from_parquet(folder, _n_rows, _seed):
    _, pq = import_pyarrow()

    def chunks(start):  # file by file: a dataset of all would be read far ahead of what is learned
        batches = (
            batch for file in sorted(folder.iterdir()) for batch in pq.ParquetFile(file).iter_batches(CHUNK_ROWS)
        )
        for batch in islice(batches, start, None):
            *columns, y = (column.to_numpy() for column in batch.columns)
            yield np.stack(columns, axis=1), y

    return chunks


def from_dask(_folder, n_rows, seed):
    try:
        import dask
        import dask.array as da
    except ImportError as error:
        raise SystemExit(f"dask arrays need dask ({error}); install it with `pip install dask`.") from error
    made = [(dask.delayed(make_chunk, nout=2)(seed, i, size), size) for i, size in enumerate(chunk_sizes(n_rows))]
    X = da.concatenate([da.from_delayed(chunk[0], (size, N_FEATURES), np.float32) for chunk, size in made])
    y = da.concatenate([da.from_delayed(chunk[1], (size,), np.int8) for chunk, size in made])

    def chunks(start):
        blocks = zip(X.to_delayed()[start:, 0], y.to_delayed()[start:], strict=True)
        return (dask.compute(*block, scheduler="synchronous") for block in blocks)

    return chunks


def schema(pa, names):
    return pa.schema([*((name, pa.float32()) for name in names), ("y", pa.int8())])


def import_pyarrow():
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise SystemExit(f"Parquet files need pyarrow ({error}); install it with `pip install pyarrow`.") from error
    return pa, pq


SOURCES = {"parquet": from_parquet, "dask": from_dask}

if __name__ == "__main__":
    main()
