"""Every kind of store a URL can name: with users, over TLS, behind Sentinel, as a Cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import rig_redis
import trustme
from rig import Balancer, wait_until
from rig_redis import RedisServer
from test_shared_state import DIALOGS, PLAIN, Site


class Kind(Site):
    """A site whose store is another one."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        super().__init__(stack, directory)
        self.stack, self.directory = stack, directory
        self.redis.close()

    def start(self, server: RedisServer, url: str) -> RedisServer:
        self.redis, self.url = self.stack.enter_context(server), url
        return server

    def take_over(self, first: Balancer, second: Balancer) -> None:
        """Dialogs of the first one go on through the second, which knows them from the store."""
        assert (first.status()["state"]["connected"], first.told("state-store-lost")) == (True, [])
        first.put_state(1, "draining")
        self.caller.set_up(50, self.place(2))
        first.put_state(1, "enabled")
        wait_until("heard", lambda: second.members()[1]["admin_state"] == "enabled")
        first.stop()
        self.caller.follow("BYE", self.place(3))
        self.assert_led_right(second, 50)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Kind]:
    with ExitStack() as stack:
        yield Kind(stack, tmp_path)


def test_a_user_who_may_touch_these_keys_alone(site: Kind) -> None:
    site.start(*rig_redis.with_user(site.directory))
    site.take_over(site.balancer(2, sip=PLAIN), site.balancer(3, sip=PLAIN))


def test_tls(site: Kind) -> None:
    site.start(*rig_redis.with_tls(site.directory, trustme.CA()))
    ca = f'[tls]\nca = "{site.directory}/redis-ca.pem"\n'
    site.take_over(
        site.balancer(2, sip=PLAIN, extra=ca), site.balancer(3, sip=PLAIN, extra=ca)
    )  # fmt: skip


def test_a_certificate_of_somebody_else(site: Kind) -> None:
    site.start(*rig_redis.with_tls(site.directory, trustme.CA()))
    (site.directory / "other.pem").write_bytes(trustme.CA().cert_pem.bytes())
    balancer = site.balancer(2, extra=f'[tls]\nca = "{site.directory}/other.pem"\n')
    assert "certificate verify failed" in balancer.status()["state"]["why"]


def test_sentinel_and_a_failover(site: Kind) -> None:
    master = site.start(RedisServer(site.directory, name="master"), "")
    replica = site.stack.enter_context(rig_redis.replica(site.directory, master))
    sentinel = site.stack.enter_context(rig_redis.Sentinel(site.directory, master))
    site.url = sentinel.url
    wait_until("replica known", lambda: len(sentinel.ask("SENTINEL", "REPLICAS", "rm")) == 1, 30)
    first = site.balancer(2, sip=PLAIN)
    site.caller.set_up(DIALOGS // 4, site.place(2))
    wait_until("written", lambda: len(master.bindings()) == DIALOGS // 4)
    master.kill()
    wait_until("lost", lambda: bool(first.told("state-store-lost")))
    wait_until("failed over", lambda: sentinel.master_port() == replica.port, 30)
    wait_until("back", lambda: first.status()["state"]["connected"], 30)
    site.caller.set_up(DIALOGS // 4, site.place(2))
    wait_until("written", lambda: len(replica.bindings()) == DIALOGS // 2)
    second = site.balancer(3, sip=PLAIN)
    first.kill()
    site.caller.follow("INFO", site.place(3))
    site.assert_led_right(second, DIALOGS // 2)


def test_cluster(site: Kind) -> None:
    servers, url = rig_redis.cluster(site.directory)
    for server in servers:
        site.start(server, url)
    rig_redis.join(servers)
    first, second = site.balancer(2, sip=PLAIN), site.balancer(3, sip=PLAIN)
    site.take_over(first, second)
    assert sum(len(server.bindings()) > 0 for server in servers) == 1, "all keys in one slot"
