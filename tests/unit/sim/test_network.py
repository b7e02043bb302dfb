"""Where the virtual IP of a pair on loopback leads, and what moves it."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from rmlb.sim.network import ADDRESSES, VIP, Network
from rmlb.sim.wire import Peer

PORT = 5060


class Moved(Network):
    """With its script, as a balancer runs it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, PORT)
        self._command = shlex.split(self.write_script())

    def run(self, action: str, number: int) -> None:
        subprocess.run([*self._command, action, str(number)], check=True)


@pytest.fixture
def network(tmp_path: Path) -> Moved:
    directory = tmp_path / "with a blank"
    directory.mkdir()
    return Moved(directory)


def test_nobody_has_it_at_first(network: Moved) -> None:
    assert network.owner == 0
    assert network.leads(Peer(VIP, PORT)) is None


def test_it_follows_the_script(network: Moved) -> None:
    network.run("enable", 2)
    assert network.owner == 2
    network.run("enable", 1)
    network.run("enable", 1)
    assert network.owner == 1
    network.run("disable", 2)  # what the former owner says late changes nothing
    assert network.owner == 1
    network.run("disable", 1)
    assert network.owner == 0
    network.run("disable", 1)


def test_what_goes_where(network: Moved) -> None:
    network.run("enable", 2)
    owner = Peer(ADDRESSES[2], PORT)
    assert network.leads(Peer(VIP, PORT)) == owner
    assert network.leads(Peer(ADDRESSES[1], PORT)) == owner
    probe = Peer(ADDRESSES[1], 40_000)  # what the standby asks for itself is answered to it
    assert network.leads(probe) == probe
