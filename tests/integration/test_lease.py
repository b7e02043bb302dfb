"""The lease script against a real Redis: it does what `decide` says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig_process import Process, free_port, is_bound, wait_until

from rmlb.vip.ballot import Claim, GiveBack, Record, Renew
from rmlb.vip.lease import Lease, LeaseError, Request, decide


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"]
    with Process(tmp_path_factory.mktemp("redis"), "redis", command):
        wait_until("redis listens", lambda: is_bound(port, "tcp"))
        yield port


def request(dice: random.Random, record: Record | None) -> Request:
    epoch, n = dice.randint(1, 4), dice.randint(1, 4)
    kind = dice.randrange(4)
    if kind == 0:
        return Renew(epoch, n, dice.random() < 0.3)
    if kind == 1:
        seen = Record(dice.randint(1, 3), dice.randint(1, 4), dice.randint(1, 4))
        chosen = record if dice.random() < 0.5 else seen
        return Claim(None if dice.random() < 0.2 else chosen, epoch, n)
    return GiveBack(epoch, n) if kind == 2 else None


async def test_the_script_does_what_is_decided(redis: int) -> None:
    dice = random.Random(1)
    leases = {n: Lease(f"redis://127.0.0.1:{redis}/0", "both", n, 5.0) for n in (1, 2, 3)}
    record: Record | None = None
    kept = 0
    for step in range(1500):
        id = dice.randint(1, 3)
        asked = request(dice, record)
        expected = decide(record, asked, id)
        assert await leases[id].ask(asked) == expected, f"step {step}: {asked} on {record}"
        record = expected[1]
        kept += expected[0]
    assert 300 < kept < 1200, "both outcomes were met"
    for lease in leases.values():
        await lease.close()


async def test_no_answer(tmp_path: Path) -> None:
    lease = Lease(f"redis://127.0.0.1:{free_port()}/0", "x", 1, 0.2)
    with pytest.raises(LeaseError):
        await lease.ask(None)
    await lease.close()
