"""Where displays draw. Matplotlib is imported when they do."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F", "#5B4EA0", "#117733")
LINES = ("-", "--", "-.", ":")


def literal(name):
    """A name of a feature or class, so that matplotlib shows it as it is: "$" would begin a formula."""
    return str(name).replace("$", r"\$")


def import_pyplot():
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            'Displays need matplotlib, which is not installed; install it with `pip install "sklearn_gln[plotting]"`.'
        ) from error
    return pyplot


def get_axes(ax=None, **figure_options):
    """The axes given, or those of a new figure."""
    pyplot = import_pyplot()
    return pyplot.subplots(layout="constrained", **figure_options)[1] if ax is None else ax


def line_style(number):
    """Options of the line of this number, apart in colour-blind eyes and, for the first four, in grey."""
    return {"color": COLORS[number % len(COLORS)], "linestyle": LINES[number % len(LINES)]}
