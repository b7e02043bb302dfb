"""Alarms of a pair: what both balancers see is told once by the one that holds the virtual IP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rig_net import ADDRESSES, NetBalancer, Site, inside
from rig_process import wait_until

WANTED = ("member-stopped-*", "member-back", "nic-down", "owner-changed")
PORT = 8080

Told = dict[str, Any]
"""An event as it leaves a balancer."""


class Desk:
    """Who is told: a web server on the caller's host, and a command on each balancer's."""

    def __init__(self, site: Site) -> None:
        self.posted: list[Told] = []
        self.reacted = site.directory / "reacted"
        self.reacted.touch()
        posted = self.posted

        class Take(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        place = (ADDRESSES["caller"], PORT)
        self._server = inside(site.name("caller"), lambda: ThreadingHTTPServer(place, Take))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def tables(self) -> str:
        on = f"on = {json.dumps(WANTED)}\nowner-only = true\n"
        write = f'event=$(cat); printf "%s\\n" "$event" >> {self.reacted}'
        command = json.dumps(["/bin/sh", "-c", write])
        url = f"http://{ADDRESSES['caller']}:{PORT}/"
        return (
            f"[[reaction]]\n{on}command = {command}\n"
            f'[[webhook]]\n{on}url = "{url}"\ntimeout = "500ms"\n'
        )

    def told(self) -> tuple[list[Told], list[Told]]:
        """Each event that was posted; each for which the command ran."""
        ran = [json.loads(line) for line in self.reacted.read_text().splitlines()]
        return list(self.posted), ran

    def was_told(self, site: Site, expected: list[str]) -> None:
        """Exactly these and every move so far, each by one post and one command.

        A move: the address has come to a balancer, an ownership with an epoch of its own. How many
        there were the keepers have counted; on a busy machine there may be more than were caused.
        Order is only kept by one balancer.
        """

        def complete() -> bool:
            most = len(expected) + moves(site)
            return all(len(told) >= most for told in self.told())

        wait_until(f"{expected} and every move are told: {self.told()}", complete, 30.0)
        for told in self.told():
            epochs = [e["fields"]["epoch"] for e in told if e["name"] == "owner-changed"]
            assert len(epochs) == len(set(epochs)) == moves(site), f"epochs {epochs}"
            names = [event["name"] for event in told if event["name"] != "owner-changed"]
            assert sorted(names) == sorted(expected)
            assert len({event["id"] for event in told}) == len(told)
            assert all(event["owner"] for event in told)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[tuple[Site, Desk]]:
    with Site(tmp_path) as site:
        site.members = site.start_members()
        site.start_redis()
        desk = Desk(site)
        for number in (1, 2):
            balancer = site.make_balancer(number, interval="500ms", extra=desk.tables())
            watched = f'[gvp]\nnics = "0"\nnic.eth0 = "{site.mac(f"b{number}")}"\n'
            text = balancer.config_path.read_text() + watched
            url = f"redis://{ADDRESSES['redis']}:6379/0"
            balancer.config_path.write_text(text.replace("[state]\n", f'[state]\nurl = "{url}"\n'))
        for balancer in site.balancers.values():
            site.start(balancer.begin())
        site.wait_settled()
        yield site, desk
        desk.close()


def told(balancer: NetBalancer, name: str) -> int:
    return len(balancer.told(name))


def moves(site: Site) -> int:
    """How often the address came to a balancer, as the keepers count it."""
    each = (b.metrics().total("rmlb_vip_takeovers_total") for b in site.balancers.values())
    return int(sum(each))


def test_a_killed_and_a_drained_member_and_a_pulled_cable_are_told_once(
    desk: tuple[Site, Desk],
) -> None:
    """Of the owner's cable, which is also the way to the web server: it hears of it afterwards.

    The members that the owner cannot reach meanwhile have not stopped.
    """
    site, alarms = desk
    owner = site.owner
    both = tuple(site.balancers.values())
    expected: list[str] = []
    alarms.was_told(site, expected)

    site.members[1].kill()
    for balancer in both:
        balancer.wait_health(1, "out of service")
    site.members[1].start()
    for balancer in both:
        balancer.wait_health(1, "in service", 30.0)
    expected += ["member-stopped-unexpectedly", "member-back"]
    alarms.was_told(site, expected)

    site.balancers[owner].put_state(2, "draining")
    wait_until("both know", lambda: all(told(each, "member-drained") for each in both))
    site.members[2].kill()
    for balancer in both:
        balancer.wait_health(2, "out of service")
    expected += ["member-stopped-intentionally"]
    alarms.was_told(site, expected)
    site.members[2].start()
    site.balancers[owner].put_state(2, "enabled")
    for balancer in both:
        balancer.wait_health(2, "in service", 30.0)
    expected += ["member-back"]
    alarms.was_told(site, expected)

    owner = site.owner
    cut_off, other = site.balancers[owner], site.balancers[3 - owner]
    stops = told(cut_off, "member-stopped-unexpectedly")
    before = moves(site)
    site.port(f"b{owner}", "down")
    wait_until("the other one owns", lambda: other.owner)
    wait_until("it is told", lambda: bool(told(cut_off, "nic-down")))
    for member in (1, 2):
        cut_off.wait_health(member, "out of service", 30.0)
    lost = cut_off.told("member-out-of-service")[-2:]
    assert [each.get("cause") for each in lost] == ["eth0 is down"] * 2, lost
    site.port(f"b{owner}", "up")
    site.wait_settled()
    for member in (1, 2):
        cut_off.wait_health(member, "in service", 30.0)
    expected += ["nic-down"]
    wait_until("the keepers have counted the move", lambda: moves(site) > before)
    alarms.was_told(site, expected)
    assert told(cut_off, "member-stopped-unexpectedly") == stops, "nor to those who take it of both"
