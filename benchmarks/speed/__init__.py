"""How fast a Gated Linear Network learns, as ratios within one run: to a floor, to other learners, from size to size.

One pass of the plain learner over MNIST's 60,000 training rows, compared with the floor and a row-by-row NumPy loop::

    python benchmarks/speed plain --json

One pass of the most accurate learner, on one thread and on two::

    python benchmarks/speed default

A pass by learners that people would use instead, and by a checkout of PyGLN, if there is one::

    python benchmarks/speed peers --json
    python benchmarks/speed peers --pygln FOLDER --pygln-backends numpy pytorch tf jax

Peak memory of a pass against weights and data; how seconds grow with each size and shrink with threads::

    python benchmarks/speed memory
    python benchmarks/speed scaling --picture speed_scaling.png

Sizes of models and of files, and what half precision changes::

    python benchmarks/speed files --mnist FOLDER

One row a call, compared with river's and scikit-learn's linear models, and where the time goes::

    python benchmarks/speed single

`--rows N` and `--repeats N` make short runs. MNIST, deskewed, comes from `--mnist FOLDER`, the folder named by
SKLEARN_GLN_MNIST, or OpenML. What is compared is measured in turn (A B A B ...) in the same run; the minimum and the
median of the repetitions are reported, of ratios those of the minima and the median pair by pair. Seconds are those of
one `partial_fit` call on data in memory; a first chunk, learned by a model that is thrown away, pays for compilation
and is reported apart as the warm-up. In `peers`, "batches of N" are the rows of a step within one call, "calls of N"
the rows of a call; river's and PyGLN's models learn --slow-rows rows, from which their seconds are scaled.

The floor is a time that learning could barely go below on this machine: the gating product of all rows with all
hyperplanes, in blocks of the best of several sizes, and for each row and first-layer neuron a dot product and a clipped
update of weights that never leave the L1 cache, divided by the number of cores (in `peers` by --n-jobs).
"""

import argparse

from common import run_and_record

from speed.default import add_default
from speed.files import add_files
from speed.memory import add_memory
from speed.peers import add_peers
from speed.plain import add_plain
from speed.scaling import add_scaling
from speed.single import add_single


def main(arguments=None):
    """Run the subcommand that the arguments name; returns its results, as recorded by --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_plain, add_default, add_peers, add_memory, add_files, add_scaling, add_single):
        add(subparsers)
    return run_and_record(parser.parse_args(arguments))
