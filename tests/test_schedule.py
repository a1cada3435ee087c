"""The clock: its events and what happens at each, stated as tables; and chunks, cut sample by sample."""

from itertools import pairwise

import numpy as np
import pytest

from sklearn_gln._likelihood import BERNOULLI, TARGET_LIKELIHOODS
from sklearn_gln._schedule import MAX_CHUNK, Chunk

UP_TO = 10_240
REBUILDS = [1, 2, 4, 8, 16, 32, 64, 128, 256]
REFRESHES = [512, 1024, 2048, 4096, 6144, 8192, 10_240]
EVERY_256 = list(range(512, UP_TO + 1, 256))
EVERY_64 = list(range(320, UP_TO + 1, 64))
REGRESSION = sorted({*(event for event in EVERY_64 if event <= 1024), *EVERY_256})
BERNOULLI_CASES = {("bernoulli", None): REFRESHES, ("bernoulli", 300.0): EVERY_256, ("bernoulli", "mixed"): EVERY_256}
EVENTS = BERNOULLI_CASES | {
    (likelihood, half_life): REGRESSION for likelihood in TARGET_LIKELIHOODS for half_life in (None, 300, "mixed")
}
CASES = pytest.mark.parametrize(("likelihood", "half_life"), EVENTS)


def schedule_of(likelihood, half_life):
    return (BERNOULLI if likelihood == "bernoulli" else TARGET_LIKELIHOODS[likelihood]).schedule(
        forgets=half_life is not None
    )


@CASES
def test_events_of_the_clock(likelihood, half_life):
    schedule, expected = schedule_of(likelihood, half_life), [*REBUILDS, *EVENTS[likelihood, half_life]]
    events = [schedule.event_after(0)]
    while events[-1].number < UP_TO:
        events.append(schedule.event_after(events[-1].number))
    assert [event.number for event in events] == expected
    following = iter(events)
    event = next(following)
    for t in range(UP_TO):
        if t == event.number:
            event = next(following)
        assert schedule.event_after(t) == event


@CASES
def test_what_happens_at_an_event(likelihood, half_life):
    schedule = schedule_of(likelihood, half_life)
    events = [schedule.event_after(number - 1) for number in [*REBUILDS, *EVENTS[likelihood, half_life]]]
    numbers = [event.number for event in events]
    assert [event.number for event in events if event.rebuild] == REBUILDS
    rescales = [number for number in numbers if number in (256, *EVERY_256)]
    assert [event.number for event in events if event.rescale] == rescales
    assert [event.number for event in events if event.recondition] == [*REBUILDS, *REFRESHES]
    assert [event.number for event in events if event.forget] == [number for number in numbers if number in EVERY_256]
    assert not any(event.bound for event in events)


@CASES
def test_accumulators_are_bounded_each_million_samples(likelihood, half_life):
    schedule, bounds = schedule_of(likelihood, half_life), []
    for million in (2**20, 2**21, 3 * 2**20):
        event = schedule.event_after(million - 3000)
        while event.number < million + 3000:
            bounds += [event.number] if event.bound else []
            event = schedule.event_after(event.number)
    assert bounds == [2**20, 2**21, 3 * 2**20]


# Chunks


def naive_chunks(events, n_seen, numbers):
    """Chunks that end at an event's sample, or are full; the numbers of their events."""
    chunks, start = [], 0
    for place, (before, number) in enumerate(pairwise([n_seen, *numbers])):
        happens = number > before and number in events
        if happens or place + 1 - start == MAX_CHUNK or place + 1 == len(numbers):
            chunks.append((slice(start, place + 1), number if happens else None))
            start = place + 1
    return chunks


def make_numbers(seed, n, n_seen=0):
    """Numbers (n,) of samples, some of which have weight 0, that follow others."""
    rng = np.random.default_rng(seed)
    return n_seen + np.cumsum(rng.random(n) < rng.choice([0.1, 0.7, 1.0], size=n // 50 + 1).repeat(50)[:n])


# Rebuilds where samples alike are learned as one.
MERGES = [*range(1, 17), *range(18, 33, 2), *range(36, 65, 4), *range(72, 129, 8), *range(144, 257, 16)]
MERGES += [*range(288, 513, 32), *range(576, 1025, 64)]


@CASES
@pytest.mark.parametrize("n_seen", [0, 1, 255, 256, 1000, 1024, 3000])
@pytest.mark.parametrize("first_merge", [1, 45, 1025])
def test_chunks_are_cut_at_events_and_where_they_are_full(likelihood, half_life, n_seen, first_merge):
    schedule, numbers = schedule_of(likelihood, half_life), make_numbers(n_seen, 6000, n_seen)
    chunks = schedule.chunks(n_seen, numbers, (numbers >= first_merge) & (numbers <= 1024))
    rebuilds = {number for number in MERGES if number >= first_merge}
    events = {*REBUILDS, *EVENTS[likelihood, half_life], *rebuilds}
    assert all(event.rebuild == (event.number in {*REBUILDS, *rebuilds}) for _, event in chunks if event is not None)
    assert [(place, event and event.number) for place, event in chunks] == naive_chunks(events, n_seen, numbers)
    assert [place.start for place, _ in chunks[1:]] == [place.stop for place, _ in chunks[:-1]]
    assert (chunks[0].place.start, chunks[-1].place.stop) == (0, 6000)
    assert all(0 < place.stop - place.start <= MAX_CHUNK for place, _ in chunks)


def test_chunks_of_nothing_and_of_samples_without_weight():
    schedule = schedule_of("bernoulli", None)
    assert schedule.chunks(0, np.zeros(0, int), np.zeros(0, bool)) == []
    for n_seen in (0, 20, 256, 300, 320, 1024):  # an event that has happened does not happen again
        chunks = schedule.chunks(n_seen, np.full(MAX_CHUNK + 5, n_seen), np.full(MAX_CHUNK + 5, 0 < n_seen < 1024))
        assert chunks == [Chunk(slice(0, MAX_CHUNK), None), Chunk(slice(MAX_CHUNK, MAX_CHUNK + 5), None)]


def happenings(schedule, numbers, merges, cuts):
    """The places of the samples after which something happens, and what, in a stream that is cut into calls."""
    found, n_seen = [], 0
    for start, stop in pairwise([0, *cuts, len(numbers)]):
        for place, event in schedule.chunks(n_seen, numbers[start:stop], merges[start:stop]):
            n_seen = int(numbers[start + place.stop - 1])
            found += [] if event is None else [(start + place.stop - 1, event)]
    return found


@CASES
def test_any_split_of_a_stream_sees_the_same_events(likelihood, half_life):
    schedule, numbers = schedule_of(likelihood, half_life), make_numbers(1, 5000)
    merges = (numbers >= 45) & (numbers <= 1024)
    expected = happenings(schedule, numbers, merges, [])
    rebuilds = {number for number in MERGES if number >= 45}
    assert [event.number for _, event in expected] == [
        number for number in sorted({*REBUILDS, *EVENTS[likelihood, half_life], *rebuilds}) if number <= numbers[-1]
    ]
    for seed in range(5):
        cuts = np.sort(np.random.default_rng(seed).integers(0, 5001, size=3 ** (seed + 1)))
        assert happenings(schedule, numbers, merges, cuts.tolist()) == expected
    assert happenings(schedule, numbers, merges, range(1, 5000)) == expected
