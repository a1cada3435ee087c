"""The surroundings of learning in a process: NumPy's error state, BLAS threads, Ctrl-C, workers, memory."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from joblib.parallel import get_active_backend
from threadpoolctl import ThreadpoolController


@contextmanager
def entered() -> Iterator[None]:
    """Surround all that the package does in one call of the user's; to be used as a decorator: ``@entered()``.

    Inside, floating-point errors have NumPy's default effects, whatever the caller's ``np.seterr`` says: underflow,
    which is common, has none. A StopIteration does not leave: it would end the caller's loop without a word.
    """
    try:
        with np.errstate(divide="warn", over="warn", invalid="warn", under="ignore"):
            yield
    except (StopIteration, RuntimeError) as error:  # one that leaves a generator is the cause of a RuntimeError
        stopped = error.__cause__ if isinstance(error, RuntimeError) else error
        if not isinstance(stopped, StopIteration):
            raise
        raise ValueError(
            "A callable (base_predictor, learning_rate or a callback) raised StopIteration, which has no meaning here. "
            "Have it return a value, or raise another error."
        ) from stopped


@cache
def _blas_libraries() -> list[Any]:
    return ThreadpoolController().select(user_api="blas").lib_controllers  # looks at all libraries: milliseconds


class _OneBlasThread:
    """To be inside of while working: BLAS threads wait actively for their next product and would take cores from ours.

    Several threads may be inside at once; the last to leave restores what was before.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), set[object](), list[int]()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        me = object()
        try:
            self._enter(me)
            yield
        finally:
            try:
                self._leave(me)
            except KeyboardInterrupt:  # setting threads takes long enough to be hit
                self._leave(me)
                raise

    def _enter(self, me: object) -> None:
        with self._lock:
            if not self._inside:
                self._before = [library.num_threads for library in _blas_libraries()]
            self._inside.add(me)
            if len(self._inside) == 1:
                self._set([1] * len(self._before))

    def _leave(self, me: object) -> None:
        with self._lock:
            if self._inside == {me}:
                self._set(self._before)
            self._inside.discard(me)

    def _set(self, numbers: list[int]) -> None:
        for library, number in zip(_blas_libraries(), numbers, strict=True):
            library.set_num_threads(number)


one_blas_thread = _OneBlasThread()
if hasattr(os, "register_at_fork"):  # threads that were inside are not there in the child
    os.register_at_fork(after_in_child=one_blas_thread.__init__)  # type: ignore[misc]


@contextmanager
def interrupts_held() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back until the function that this gives is called, or the end."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    held: list[tuple[Any, ...]] = []

    def release() -> None:
        if held:
            handler(*held.pop())

    signal.signal(signal.SIGINT, lambda *received: held.append(received))
    try:
        yield release
    finally:
        signal.signal(signal.SIGINT, handler)
        release()


def n_threads(n_jobs: int | None) -> int:
    """How many threads share the work with this n_jobs, and what joblib is configured to."""
    return _effective_n_jobs(n_jobs, require="sharedmem")


def n_processes(n_jobs: int | None) -> int:
    """How many processes do: 1 where the caller has not chosen a joblib engine that has any."""
    backend, _ = get_active_backend(prefer="threads")
    return 1 if _shares_memory(backend) else _effective_n_jobs(n_jobs, prefer="threads")


def _effective_n_jobs(n_jobs: int | None, **hint: str) -> int:
    """How many of the joblib backend that is active under this hint share the work."""
    _, configured = get_active_backend()
    backend, _ = get_active_backend(**hint)
    n_jobs = n_jobs or configured or 1
    # Dask answers with the size of the cluster, whatever it is asked.
    return n_jobs if n_jobs >= 1 and not _shares_memory(backend) else backend.effective_n_jobs(n_jobs)


def _shares_memory(backend: Any) -> bool:
    return getattr(backend, "supports_sharedmem", False)  # of joblib, whose processes know no such attribute


def installed_memory() -> int | None:
    """This machine's bytes, None where it does not tell."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", ()):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
