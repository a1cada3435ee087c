"""Write the marked tables of README.rst again from the recorded runs, without running anything again.

A marked table stands between two comments, the first of which names the function that prints it, the records that it is
given, and which of the tables that it prints this one is::

    .. written by sparse_rows.print_records from sparse_rows_streams.jsonl: table 1

    ...

    .. end of what is written

`python benchmarks/readme_tables.py` writes all of them; tests/test_records.py fails where one differs from its records.
"""

import importlib
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from common import RESULTS, read_runs

README = Path(__file__).parent / "README.rst"
MARKED = re.compile(
    r"^(\.\. written by (\w+)\.(\w+) from (\w+\.jsonl): table (\d+)\n\n)(.*?)(\n\.\. end of what is written\n)",
    re.MULTILINE | re.DOTALL,
)


def rewrite(text):
    """The text with its marked tables as their records have them."""
    return MARKED.sub(lambda found: found[1] + print_again(*found.group(2, 3, 4, 5)) + found[7], text)


def print_again(script, function, records, number):
    """The table of this number, from 1, among those that the script's function prints of the records."""
    recorded = [record for run in read_runs(RESULTS / records) for record in run["records"]]
    with redirect_stdout(StringIO()) as printed:
        getattr(importlib.import_module(script), function)(recorded)
    return tables_in(printed.getvalue())[int(number) - 1]


def tables_in(text):
    """The tables in a text: from a line of = to the third."""
    return re.findall(r"^=[= ]+\n(?:[^=\n].*\n)+=[= ]+\n(?:[^=\n].*\n)+=[= ]+\n", text, re.MULTILINE)


if __name__ == "__main__":
    README.write_text(rewrite(README.read_text(encoding="utf-8")), encoding="utf-8")
