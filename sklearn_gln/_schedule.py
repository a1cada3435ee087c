"""The clock: what happens after which sample.

Everything is tied to sample numbers, never to calls, so that any split of a stream gives the same model. In a
classifier without a half-life events come at

    1, 2, 4, ..., 256                   the network is built again from all samples so far, which it then replays
    512, 1024, 2048, 4096, 6144, ...    preconditioners follow the statistics of all samples so far

and with a half-life, after the rebuilds, every 256 samples: scaling, and forgetting. Regression has events every 64
samples up to 1024 and every 256 after that: variances and limits. After each event the head is fitted.

Where a sample up to 256 weighs more than FEW and some samples are alike, the network is built again more often and for
longer: after each sample up to 16, then eight times in each doubling, up to 1024.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sklearn_gln._arrays import Array

LAST_REBUILD = 256
FEW = 4  # weights up to this are not taken for counts
LAST_MERGE = 1024  # the last rebuild that learns samples alike as one
MERGES = 8  # of such rebuilds in each doubling
REFRESH_PERIOD = 2048
SHORT_PERIOD = LAST_REBUILD  # with a half-life, and in regression
EARLY_PERIOD, LATE = 64, 1024  # in regression, and the sample from which on periods are the later ones
UNIT_PERIOD = 1024  # multiples of it at which units are checked, where there is an event
BOUND_PERIOD = 2**20
MAX_CHUNK = 2048  # samples


class Event(NamedTuple):
    """Everything that happens after a sample, besides fitting the head."""

    number: int  # the sample's
    rebuild: bool  # the network is built again from all samples so far, and replays them
    rescale: bool  # scaling follows the statistics
    recondition: bool  # so do preconditioners: inverting large matrices more often takes longer than learning
    bound: bool  # accumulators are kept from making steps smaller than the rounding of weights
    forget: bool  # samples so far may come to count less


class Chunk(NamedTuple):
    """Samples that are learned together: no event comes between them."""

    place: slice
    event: Event | None  # after the last of them


@dataclass(frozen=True)
class Schedule:
    """Events after the rebuilds come in periods."""

    early_period: int = REFRESH_PERIOD  # up to sample LATE
    period: int = REFRESH_PERIOD  # from there on

    def event_after(self, n_seen: int) -> Event:
        """The first event after n_seen samples."""
        number = _next_number(n_seen, self.early_period if n_seen < LATE else self.period)
        return Event(
            number,
            rebuild=number <= LAST_REBUILD,
            rescale=number % SHORT_PERIOD == 0,
            recondition=number == _next_number(number - 1, REFRESH_PERIOD),
            bound=number % BOUND_PERIOD == 0,
            forget=number > LAST_REBUILD and number % SHORT_PERIOD == 0,
        )

    def chunks(self, n_seen: int, numbers: Array, merges: Array) -> list[Chunk]:
        """Cut samples of these numbers, which follow n_seen others, at events and where a chunk is full.

        merges (n,): whether samples alike are learned as one at each of them.
        """
        chunks, start = [], 0
        rebuilds = [number for number in numbers[merges].tolist() if next_merge(number - 1) == number]
        while start < len(numbers):
            event = self.event_after(n_seen)
            number = next((number for number in rebuilds if n_seen < number <= event.number), None)
            if number == event.number:
                event = event._replace(rebuild=True)
            elif number is not None:
                event = Event(number, True, rescale=False, recondition=False, bound=False, forget=False)
            stop = min(start + MAX_CHUNK, int(np.searchsorted(numbers, event.number)) + 1, len(numbers))
            n_seen = int(numbers[stop - 1])
            chunks.append(Chunk(slice(start, stop), event if n_seen == event.number else None))
            start = stop
        return chunks


def next_merge(n_seen: int) -> int:
    """The first number after n_seen samples at which samples alike may be learned as one."""
    period = max(1, (1 << n_seen.bit_length() >> 1) // MERGES)
    return (n_seen // period + 1) * period


def _next_number(n_seen: int, period: int) -> int:
    """The first power of two after n_seen; from the period on, but not before the last rebuild, its next multiple."""
    if n_seen < max(period, LAST_REBUILD):
        return 1 << n_seen.bit_length()
    return (n_seen // period + 1) * period
