"""A simulated member in the network of a pair on loopback, as a process of its own.

    python -m rmlb.sim.member NUMBER PORT DIRECTORY SIP-PORT

`rmlb simulate rm` answers to where a request came from; this one answers to the virtual IP, so
that its answers reach the new owner after a takeover. The last two are the network's.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rmlb.sim.console import run, serve
from rmlb.sim.network import Network, VirtualWire
from rmlb.sim.rm import SimulatedRm

HOST = "127.0.0.1"


def main(arguments: list[str]) -> int:
    """The exit status."""
    number, port, directory, sip_port = arguments
    network = Network(Path(directory), int(sip_port))
    wire = VirtualWire(HOST, int(port), network)
    return run(serve(SimulatedRm(int(number), HOST, int(port), wires=[wire])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
