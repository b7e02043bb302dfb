"""Three balancers, three addresses that move together, a watched NIC, a gateway, a blackout."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from rig_net import ADDRESSES, VIP, NetBalancer, Site, ip, kill_all
from rig_process import wait_until

TOGETHER = (VIP, "10.99.0.101", "fd00:99::100")
GATEWAY = "caller"
LONE_S = 2.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("three"), balancers=3) as site:
        site.members = site.start_members()
        site.start_redis()
        for number in site.numbers:
            mac = second_cable(site, number)
            site.make_balancer(
                number,
                vip=f'addresses = ["10.99.0.101", "fd00:99::100/64"]\nlone = "{LONE_S:g}s"\n'
                f'gateway-ip = "{ADDRESSES[GATEWAY]}"\n',
                extra=f'[gvp]\nnics = "1"\nnic.eth1 = "{mac.replace(":", "-").upper()}"\n',
            )
        site.begin_balancers()
        yield site
        site.wait_settled()


def second_cable(site: Site, number: int) -> str:
    """eth1, to nowhere; its hardware address."""
    namespace = site.name(f"b{number}")
    ip("-n", namespace, "link", "add", "eth1", "type", "veth", "peer", "name", "far")
    for name in ("eth1", "far"):
        ip("-n", namespace, "link", "set", name, "up")
    shown = subprocess.run(
        ["ip", "netns", "exec", namespace, "cat", "/sys/class/net/eth1/address"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return shown.stdout.strip()


def holders(site: Site) -> dict[str, list[int]]:
    """Who has which of the addresses."""
    return {
        host: [n for n, each in site.balancers.items() if each.has_address(host)]
        for host in TOGETHER
    }


def all_with(number: int) -> dict[str, list[int]]:
    """That one has them all, and nobody else any."""
    return {host: [number] for host in TOGETHER}


def moved_from(site: Site, number: int) -> int:
    """Some other balancer owns, and has all of the addresses alone."""

    def owner() -> int:
        others = [n for n, each in site.balancers.items() if n != number and each.running]
        owners = [n for n in others if site.balancers[n].owner]
        return owners[0] if len(owners) == 1 else 0

    wait_until("another one owns", lambda: owner() > 0)
    found = owner()
    wait_until("it alone has them all", lambda: holders(site) == all_with(found))
    return found


def test_addresses_move_together(site: Site) -> None:
    first = site.owner
    assert holders(site) == all_with(first)
    assert site.balancers[first].post("/api/v1/release")[0] == 200
    moved_from(site, first)


def test_a_watched_interface_loses_carrier(site: Site) -> None:
    site.wait_settled()
    before = site.owner
    namespace = site.name(f"b{before}")
    ip("-n", namespace, "link", "set", "far", "down")
    moved_from(site, before)
    wait_until("it is told", lambda: site.balancers[before].told("nic-down"))
    assert site.balancers[before].told("nic-down")[-1] == {"interface": "eth1"}
    ip("-n", namespace, "link", "set", "far", "up")
    wait_until("it is told", lambda: site.balancers[before].told("nic-up"))


def test_the_gateway_does_not_answer_the_owner(site: Site) -> None:
    site.wait_settled()
    before = site.owner
    with site.cut(f"b{before}", GATEWAY):
        moved_from(site, before)
    assert site.balancers[before].told("gateway-lost") == [{"address": ADDRESSES[GATEWAY]}]
    wait_until("it is told", lambda: site.balancers[before].told("gateway-back"))


def test_the_owner_is_killed_and_one_of_two_takes_over(site: Site) -> None:
    site.wait_settled()
    before = site.owner
    rest = {n: each for n, each in site.balancers.items() if n != before}
    took = {n: takeovers(each) for n, each in rest.items()}
    kill_whole(site.balancers[before])
    after = moved_from(site, before)
    more = {n: takeovers(each) - took[n] for n, each in rest.items()}
    assert more == {n: int(n == after) for n in rest}
    site.balancers[before]._spawn()
    site.wait_settled()
    assert site.owner == after, "no fail-back"


def test_power_is_back_on_one_host_only(site: Site) -> None:
    """Nobody is heard, no witness: it waits for `lone`, and then keeps it, with an alarm."""
    for each in site.balancers.values():
        kill_whole(each)
    assert site.redis is not None
    site.redis.kill()
    wait_until("the kernel removes them", lambda: not any(holders(site).values()))
    lonely = site.balancers[1]
    begun = time.time()
    lonely._spawn()
    wait_until("it owns", lambda: answers(lonely) and lonely.owner, 20.0)
    (took,) = [e["at"] for e in lonely.events() if e["name"] == "owner-changed"]
    assert took - begun > LONE_S
    assert lonely.told("alone")
    assert holders(site) == all_with(1)

    site.start_redis()
    for number in (2, 3):
        site.balancers[number]._spawn()
    site.wait_settled()
    assert site.owner == 1
    assert len(lonely.told("owner-changed")) == 1


def takeovers(balancer: NetBalancer) -> int:
    return int(balancer.metrics().total("rmlb_vip_takeovers_total"))


def kill_whole(balancer: NetBalancer) -> None:
    """Keeper and worker at once, so that neither lets go for the other."""
    worker = balancer.worker
    kill_all([balancer.pid, worker], signal.SIGKILL)
    balancer.wait(5.0)


def answers(balancer: NetBalancer) -> bool:
    try:
        return balancer.get("/healthz")[0] == 200
    except OSError:
        return False
