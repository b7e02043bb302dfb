"""Redis slow, full, dead, empty, shut, read-only: calls go on, and what is here is there again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rig import Balancer, wait_until
from rig_redis import RedisServer
from test_shared_state import PLAIN, Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(stack, tmp_path)


def lost_and_back(balancer: Balancer) -> tuple[int, int]:
    return len(balancer.told("state-store-lost")), len(balancer.told("state-store-back"))


def freeze(redis: RedisServer) -> None:
    redis.freeze()


def kill(redis: RedisServer) -> None:
    redis.kill()


def fill(redis: RedisServer) -> None:
    redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.ask("CONFIG", "SET", "maxmemory", "1")


def shut(redis: RedisServer) -> None:
    redis.ask("CONFIG", "SET", "requirepass", "changed")
    redis._client["password"] = "changed"
    redis.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def make_read_only(redis: RedisServer) -> None:
    redis.ask("REPLICAOF", "127.0.0.1", "1")


def thaw(redis: RedisServer) -> None:
    redis.resume()


def start_again(redis: RedisServer) -> None:
    redis.start()


def empty(redis: RedisServer) -> None:
    redis.ask("CONFIG", "SET", "maxmemory", "0")


def let_in(redis: RedisServer) -> None:
    redis.ask("CONFIG", "SET", "requirepass", "")
    del redis._client["password"]


def make_master(redis: RedisServer) -> None:
    redis.ask("REPLICAOF", "NO", "ONE")


TROUBLES: dict[str, tuple[Callable[[RedisServer], None], Callable[[RedisServer], None], str]] = {
    "frozen": (freeze, thaw, "Timeout"),
    "killed": (kill, start_again, ""),
    "full": (fill, empty, "maxmemory"),
    "shut": (shut, let_in, "uthenticat"),
    "read-only": (make_read_only, make_master, "read only"),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_trouble(site: Site, name: str) -> None:
    begin, end, why = TROUBLES[name]
    balancer = site.balancer(2, sip=PLAIN)
    site.caller.set_up(100, site.place(2))
    wait_until("written", lambda: len(site.redis.bindings()) == 100)
    balancer.put_state(2, "draining")
    balancer.put_state(2, "enabled")
    before = len(site.caller.latencies)
    begin(site.redis)
    site.caller.follow("INFO", site.place(2))  # while nobody knows yet
    wait_until("lost", lambda: lost_and_back(balancer)[0] == 1)
    assert balancer.status()["state"]["connected"] is False
    wait_until("why", lambda: why in balancer.status()["state"]["why"])
    balancer.put_state(1, "draining")
    site.caller.set_up(100, site.place(2))
    site.caller.follow("INFO", site.place(2))
    state = balancer.status()["state"]
    assert (state["connected"], state["backlog"]) == (False, 0)
    assert max(site.caller.latencies[before:]) < 0.5, "nothing was sent twice"
    end(site.redis)
    wait_until("back", lambda: lost_and_back(balancer) == (1, 2))
    wait_until("written again", lambda: len(site.redis.bindings()) == 200)
    members = site.redis.document("operator")["members"]
    assert (members["1"]["state"], members["2"]["state"]) == ("draining", "enabled")
    assert balancer.status()["state"]["connected"] is True
    site.caller.follow("BYE", site.place(2))
    assert site.misrouted() == 0
    wait_until(
        "ended", lambda: all(value.endswith("ended") for value in site.redis.bindings().values())
    )
    assert lost_and_back(balancer) == (1, 2), "one alarm each way"
    balancer.assert_balanced()


def test_no_store_at_the_start(site: Site) -> None:
    """The balancer starts all the same, and finds the store when it is there."""
    site.redis.kill()
    begun = time.monotonic()
    balancer = site.balancer(2)
    assert time.monotonic() - begun < 8
    assert lost_and_back(balancer) == (1, 0)
    site.caller.set_up(20, site.place(2))
    site.redis.start()
    wait_until("written", lambda: len(site.redis.bindings()) == 20)
    assert lost_and_back(balancer) == (1, 1)


def test_emptied_while_nobody_looked(site: Site) -> None:
    """FLUSHALL is no outage, and found out all the same."""
    balancer = site.balancer(2)
    site.caller.set_up(20, site.place(2))
    wait_until("written", lambda: len(site.redis.bindings()) == 20)
    balancer.put_state(1, "draining")
    wait_until("said", lambda: site.redis.document("operator") is not None)
    site.redis.ask("FLUSHALL")
    wait_until("said again", lambda: site.redis.document("operator") is not None)
    wait_until("written again", lambda: len(site.redis.bindings()) == 20)
    assert lost_and_back(balancer) == (0, 1)


def test_goodbye(site: Site) -> None:
    """What was not written yet is at the end, and the balancer's own key is gone."""
    balancer = site.balancer(2)
    wait_until("there", lambda: bool(site.redis.ask("KEYS", "*balancer:*")))
    site.caller.set_up(20, site.place(2), rate=5000)
    balancer.stop()
    assert len(site.redis.bindings()) == 20
    assert site.redis.ask("KEYS", "*balancer:*") == []
