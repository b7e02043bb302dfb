"""Alarms of a pair: what both balancers see is told once by the one that holds the virtual IP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rig_net import ADDRESSES, NetBalancer, Site, inside
from rig_process import wait_until

WANTED = ("member-stopped-*", "member-back", "nic-down", "owner-changed")
NAMES = {
    "member-stopped-unexpectedly", "member-stopped-intentionally", "member-back", "nic-down",
    "owner-changed",
}  # fmt: skip
PORT = 8080


class Desk:
    """Who is told: a web server on the caller's host, and a command on each balancer's."""

    def __init__(self, site: Site) -> None:
        self.posted: list[dict[str, object]] = []
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
        command = json.dumps(["/bin/sh", "-c", f'echo "$RMLB_EVENT" >> {self.reacted}'])
        url = f"http://{ADDRESSES['caller']}:{PORT}/"
        return (
            f"[[reaction]]\n{on}command = {command}\n"
            f'[[webhook]]\n{on}url = "{url}"\ntimeout = "500ms"\n'
        )

    def was_told(self, expected: list[str]) -> None:
        """Exactly these, each by one post and one command; order is only kept by one balancer."""
        wait_until(
            f"{expected}: {self.names()} posted, {self.commands()} run",
            lambda: len(self.posted) >= len(expected) <= len(self.commands()),
            30.0,
        )
        assert sorted(self.names()) == sorted(expected)
        assert sorted(self.commands()) == sorted(expected)
        assert len({post["id"] for post in self.posted}) == len(expected)
        assert all(post["owner"] for post in self.posted)

    def names(self) -> list[str]:
        return [str(post["name"]) for post in self.posted]

    def commands(self) -> list[str]:
        return self.reacted.read_text().split()

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


def test_a_killed_and_a_drained_member_and_a_pulled_cable_are_told_once(
    desk: tuple[Site, Desk],
) -> None:
    """Of the owner's cable, which is also the way to the web server: it hears of it afterwards."""
    site, alarms = desk
    owner = site.owner
    both = tuple(site.balancers.values())
    expected = ["owner-changed"]
    alarms.was_told(expected)

    site.members[1].kill()
    for balancer in both:
        balancer.wait_health(1, "out of service")
    site.members[1].start()
    for balancer in both:
        balancer.wait_health(1, "in service", 30.0)
    expected += ["member-stopped-unexpectedly", "member-back"]
    alarms.was_told(expected)

    site.balancers[owner].put_state(2, "draining")
    wait_until("both know", lambda: all(told(each, "member-drained") for each in both))
    site.members[2].kill()
    for balancer in both:
        balancer.wait_health(2, "out of service")
    expected += ["member-stopped-intentionally"]
    alarms.was_told(expected)
    site.members[2].start()
    site.balancers[owner].put_state(2, "enabled")
    for balancer in both:
        balancer.wait_health(2, "in service", 30.0)
    expected += ["member-back"]
    alarms.was_told(expected)

    site.port(f"b{owner}", "down")
    other = site.balancers[3 - owner]
    wait_until("the other one owns", lambda: other.owner)
    wait_until("it is told", lambda: bool(told(site.balancers[owner], "nic-down")))
    site.port(f"b{owner}", "up")
    site.wait_settled()
    assert site.owner == 3 - owner

    def moves() -> int:
        """How often the address came to somebody; on a busy machine it may move once more."""
        return sum("owner" in fields for each in both for fields in each.told("owner-changed"))

    for names in (alarms.names, alarms.commands):
        wait_until(f"the cable: {names()}", lambda n=names: "nic-down" in n(), 30.0)  # type: ignore[misc]
        wait_until(f"{moves()} moves", lambda n=names: n().count("owner-changed") >= moves(), 30.0)  # type: ignore[misc]
        assert names().count("nic-down") == 1
        assert names().count("owner-changed") == moves() >= 2
        assert set(names()) == NAMES
