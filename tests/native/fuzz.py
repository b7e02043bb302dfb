"""Fuzzes the instrumented engine: `make fuzz-native [EXECUTIONS=...] [SEED=...]`.

Everything goes in exact-size heap blocks (exact.pyx): the traffic of the differential test, decided
and compared with Python on the way; the corpora and their mutations, scanned and read; pieces of
header fields; streams of all of these, cut into messages and compared with Python. A sanitizer's
finding ends the process with its report; before that, the octets at fault are in the file that is
named at the start.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from pathlib import Path
from random import Random

import exact
from mutations import mutate
from traffic import CORPUS, Traffic

from rmlb.fastpath.engine import CompiledRouter
from rmlb.routing.verdict import Origin, Verdict
from rmlb.sip.framing import StreamFramer

CONVERSATION = 400
"""Messages of one run of traffic; ten mutations of messages that it saw follow for each."""


class ExactRouter(CompiledRouter):
    """The compiled engine, its messages in blocks of their size."""

    def receive(self, data: bytes, origin: Origin, now: float) -> Verdict:
        if not self.ownership.may_forward():
            return self.receive_odd(data, origin, now)
        plain = exact.decide(self.core, data, origin, now)
        return plain if plain is not None else self.receive_odd(data, origin, now)


def cut_alike(stream: bytes, most: int) -> int:
    """Cut a stream, and compare with the Python framer; how many messages were plain."""
    messages, rest = exact.cut(stream, most)
    of_rest, of_all = (StreamFramer(max_message_size=most) for _ in range(2))
    found = messages + of_rest.feed(rest)
    assert found == of_all.feed(stream), "another cut"
    assert (of_rest.rest, str(of_rest.error)) == (of_all.rest, str(of_all.error))
    return len(messages)


class LastWords:
    """A file with the octets in hand, for when the process ends in them."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o600)

    def say(self, data: bytes) -> None:
        os.pwrite(self._file, len(data).to_bytes(4, "big") + data, 0)


SEEDS = 1_000_000
"""Conversations that one SEED could begin, each by a seed of its own: none is another one's."""


def fuzz(executions: int, seed: int, words: LastWords) -> tuple[int, int, int, int]:
    """Executions, messages of traffic among them, and what was plain of the mutations; messages
    that were cut off streams."""
    done = messages = plain = cut = 0
    while done < executions:
        rng = Random(seed)
        traffic = Traffic(seed)
        traffic.both.compiled.__class__ = ExactRouter
        traffic.run(CONVERSATION)
        messages += traffic.both.messages
        done += traffic.both.messages
        seen: deque[bytes] = deque((data for data, _, _ in traffic.past), maxlen=60)
        seen.extend(offer.data for offer in traffic.offers)
        seen.extend(rng.sample(CORPUS, 20))
        for _ in range(CONVERSATION * 10):
            data = mutate(rng.choice(seen), rng)
            words.say(data)
            plain += exact.read(data)
            start = rng.randrange(len(data) + 1)
            exact.read_piece(data[start : start + rng.randrange(120)])
            stream = b"".join(rng.choices(seen, k=rng.randrange(3))) + data
            stream = stream[: rng.randrange(len(stream) + 1)] if rng.random() < 0.5 else stream
            words.say(stream)
            cut += cut_alike(stream, rng.choice((300, 65535)))
            done += 3
        seed += 1
    return done, messages, plain, cut


if __name__ == "__main__":
    wanted, first_seed = int(sys.argv[1]), int(sys.argv[2]) * SEEDS
    path = Path(f"/tmp/rmlb-fuzz-{os.getpid()}")
    print(f"last octets in {path}", flush=True)
    begun = time.monotonic()
    done, messages, plain, cut = fuzz(wanted, first_seed, LastWords(path))
    path.unlink()
    print(
        f"{done:,} executions, {messages:,} of them decided and compared, {plain:,} of the others "
        f"plain, {cut:,} messages cut off streams; no finding, {time.monotonic() - begun:.0f} s"
    )
