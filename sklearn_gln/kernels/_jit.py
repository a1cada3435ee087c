"""Functions compiled by Numba when they are first called, and kept on disk."""

import warnings
from contextlib import suppress
from typing import Any

import numba
from numba.core.caching import FunctionCache

# Reductions may be reordered and multiply-adds fused, so that loops vectorise; NaN and infinities keep their meaning.
options: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
}


class _Cache(FunctionCache):
    """Numba's cache on disk, but that a damaged file or a full disk turns it off, where Numba's ends the call."""

    warned = False  # by any function's

    def load_overload(self, *args):
        try:
            return super().load_overload(*args)
        except Exception as error:  # unpickling garbage may raise anything
            return self._turn_off(error)

    def save_overload(self, *args):
        try:
            super().save_overload(*args)
        except Exception as error:
            self._turn_off(error)

    def _turn_off(self, error):
        self.disable()
        if not _Cache.warned:
            _Cache.warned = True
            warnings.warn(
                f"Numba's cache of compiled kernels cannot be used ({type(error).__name__}: {error!s:.200}); they are "
                f"compiled again in each process, which takes up to a minute. Delete the folder {self.cache_path}, "
                "which Numba makes again, or free space on its disk.",
                RuntimeWarning,
                stacklevel=2,
            )


def _jit(**more):
    def decorate(function):
        compiled = numba.njit(**(options | more))(function)
        with suppress(RuntimeError, OSError):  # without a folder that can be written each process compiles
            compiled._cache = _Cache(function)
        return compiled

    return decorate


jit = _jit()
inline = _jit(inline="always")
short = _jit(nogil=False)  # where threads would wait longer for the lock than such a call takes
