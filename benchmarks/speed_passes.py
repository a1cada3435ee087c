"""What the speed benchmarks share: options of a command, memory that is at hand, the seconds of a pass."""

from pathlib import Path

import numpy as np
from common import DIGITS, positive_int, seconds_of
from sklearn.base import clone

WARM_UP_ROWS = 2048


def add_command(subparsers, run, summary):
    parser = subparsers.add_parser(run.__name__, help=summary)
    parser.set_defaults(run=run)
    parser.add_argument("--repeats", type=positive_int, default=5, metavar="N", help="repetitions (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results, versions and machine to FILE")
    return parser


def add_data_options(parser):
    parser.add_argument("--mnist", metavar="FOLDER", help="folder with MNIST's four idx files")
    parser.add_argument("--rows", type=positive_int, metavar="N", help="only N training images")


def touch_memory(layer_sizes, context_dim, n_inputs, n_outputs):
    """Take and give back as much memory as the weights of this network fill.

    A virtual machine may need seconds to get back a gigabyte that has lain idle: not what is measured here.
    """
    widths = [n_inputs + 1 + n_previous for n_previous in (0, *layer_sizes[:-1])]
    n_weights = n_outputs * 2**context_dim * int(np.dot(layer_sizes, widths))
    np.zeros(n_weights, np.float32)[::1024] = 1  # one in each page


def fit_seconds(model, X, y):
    """Seconds that a new model like this one takes for one pass."""
    return seconds_of(clone(model).partial_fit, X, y, classes=DIGITS)
