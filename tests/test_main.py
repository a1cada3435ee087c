"""The demonstration, on terminals, pipes and files of all kinds."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

from sklearn_gln.__main__ import main

pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")

ROOT = Path(__file__).parent.parent
MODULE = ["-m", "sklearn_gln"]
SHORT = """
    from sklearn_gln import __main__ as demonstration

    digits = demonstration.load_digits(return_X_y=True)
    demonstration.load_digits = lambda **_: [array[:300] for array in digits]
    demonstration.main([])
"""  # two lines of progress
SHORT = ["-c", dedent(SHORT)]
SLOW = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": ""}  # small matrices; buffers as anywhere else


def start(arguments, *, env=(), before=(), **options):
    environment = os.environ | SLOW | dict(env)
    return subprocess.Popen([*before, sys.executable, *arguments], cwd=ROOT, env=environment, **options)


def run(arguments, **env):
    """Standard output and error of a demonstration that ends well, without a terminal."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = start(arguments, env=env, text=True, **pipes)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output, errors


def untimed(output):
    """The output without seconds, and with the line ends of files."""
    output = output.replace("\r\n", "\n")
    output = re.sub(r"ready in [\d.]+ s", "ready in _ s", output)
    return re.sub(r"(?m)^( seconds).*", r"\1", output)


@pytest.fixture(scope="module")
def short():
    return untimed(run(SHORT)[0])


@pytest.mark.thorough
def test_the_whole_of_it():
    output, errors = run(MODULE, NO_COLOR="1", TERM="", PYTHONIOENCODING="ascii:strict")
    assert errors == ""
    assert output.isascii()
    assert max(map(len, output.splitlines())) <= 79
    *progress, _, names, test, seconds = output.splitlines()
    assert names.split() == ["GLNClassifier", "SGDClassifier", "MLPClassifier"]
    gln, *others = (float(share.rstrip("%")) for share in test.split()[1:])
    assert gln > max(95, *others)
    assert [line.split()[0] for line in progress[-8:]] == ["200", "400", "600", "800", "1000", "1200", "1400", "1437"]
    assert len(seconds.split()) == 4


@pytest.mark.thorough
def test_a_slow_and_narrow_terminal_with_colours(short):
    reader, terminal = pty.openpty()
    process = start(
        SHORT, stdin=terminal, stdout=terminal, stderr=terminal, env={"FORCE_COLOR": "1", "COLUMNS": "40", "LINES": "5"}
    )
    os.close(terminal)
    output = b""
    while piece := read(reader):
        output += piece
        time.sleep(0.01)
    os.close(reader)
    assert process.wait() == 0
    assert untimed(output.decode()) == short
    assert b"\x1b" not in output


def read(terminal):
    """The next few bytes; none when the last process has left the terminal."""
    try:
        return os.read(terminal, 16)
    except OSError:
        return b""


@pytest.mark.thorough
def test_a_reader_that_leaves():
    with start(SHORT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.thorough
def test_no_standard_output_at_all():
    closed = ["sh", "-c", 'exec "$0" "$@" >&-']  # not by a function before exec: JAX warns of such forks
    process = start(SHORT, before=closed, stderr=subprocess.PIPE)
    assert process.communicate()[1] == b""
    assert process.returncode == 0


@pytest.mark.thorough
def test_ctrl_c():
    process = start(MODULE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == b""
    assert process.returncode == 128 + signal.SIGINT


def test_options(capsys):
    with pytest.raises(SystemExit, match="^0$"):
        main(["--help"])
    assert "handwritten digits, streamed once" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit, match="^2$"):
        main(["--fast"])
    assert "unrecognized arguments: --fast" in capsys.readouterr().err
