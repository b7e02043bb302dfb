"""HEP3 packets as an independent implementation reads them: Homer's capture module in Kamailio."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

import pytest
import rig
from conftest import Start

UUID = "00LO8D4S7O9GTA1E60A4FF5MES000001"


class Collector:
    """A HEP3 collector that keeps what comes, by UDP or TCP."""

    def __init__(self, kind: str) -> None:
        self.packets: list[bytes] = []
        self._kind = kind
        self._socket = socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
        )
        self._socket.bind((rig.HOST, 0))
        self._socket.settimeout(30)
        if kind == "tcp":
            self._socket.listen()
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            if self._kind == "udp":
                while packet := self._socket.recv(65_535):
                    self.packets.append(packet)
                return
            connection, _ = self._socket.accept()
            with connection, connection.makefile("rb") as stream:
                while head := stream.read(6):
                    self.packets.append(head + stream.read(struct.unpack("!H", head[4:])[0] - 6))
        except OSError:
            pass

    def close(self) -> None:
        if self._kind == "tcp":
            self._socket.shutdown(socket.SHUT_RDWR)
        else:
            self._wake()
        self._thread.join(5)
        self._socket.close()

    def _wake(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"", (rig.HOST, self.port))


class Capture(rig.Process):
    """Kamailio with Homer's capture module: what it makes of HEP3 packets, a row a message."""

    def __init__(self, directory: Path) -> None:
        self.port = rig.free_port()
        # db_flatstore fails on some longer paths, such as those of tmp_path
        self._folder = tempfile.TemporaryDirectory(prefix="hep-")
        self._rows = Path(self._folder.name)
        modules = next(Path("/usr/lib").glob("*/kamailio/modules"))
        config = directory / "capture.cfg"
        config.write_text(
            "debug=1\nlog_stderror=yes\nchildren=1\ndisable_tcp=yes\n"
            f'listen=udp:{rig.HOST}:{self.port}\nmpath="{modules}/"\n'
            'loadmodule "db_flatstore.so"\nloadmodule "sipcapture.so"\n'
            f'modparam("sipcapture", "db_url", "flatstore:{self._rows}")\n'
            'modparam("sipcapture", "capture_on", 1)\n'
            'modparam("sipcapture", "hep_capture_on", 1)\n'
            'modparam("db_flatstore", "flush", 1)\n'
            'modparam("db_flatstore", "encode_delimiter", 1)\n'
            'request_route { sip_capture("cap"); drop; }\n'
            'reply_route { sip_capture("cap"); drop; }\n'
        )
        command = ["kamailio", "-f", str(config), "-DD", "-E", "-M", "8", "-m", "32"]
        super().__init__(directory, "capture", [*command, "-Y", str(directory)])

    def start(self) -> Self:
        super().start()
        rig.wait_until("kamailio listens", lambda: rig.is_bound(self.port, "udp"), 20)
        return self

    def close(self) -> None:
        if self.running:  # SIGTERM: its children end with it
            self.send_signal(signal.SIGTERM)
            self.wait(20)
        self._folder.cleanup()

    def reads(self, packets: list[bytes]) -> list[Row]:
        """The packets, as it understood them."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for sent, packet in enumerate(packets, 1):
                udp.sendto(packet, (rig.HOST, self.port))
                if sent % 20 == 0:  # its socket buffer is small
                    rig.wait_until("they are read", lambda n=sent: len(self._lines()) >= n)
        rig.wait_until("all are read", lambda: len(self._lines()) == len(packets))
        return [_row(line) for line in self._lines()]

    def _lines(self) -> list[str]:
        return [line for file in self._rows.iterdir() for line in file.read_text().splitlines()]


class Row(NamedTuple):
    """One captured message."""

    what: str
    """Method or status."""
    call_id: str
    source: str
    target: str
    node: str
    correlation: str


def _row(line: str) -> Row:
    cells = line.split("|")
    node = next(i for i, cell in enumerate(cells) if cell.startswith("homer01:"))
    places = f"{cells[22]}:{cells[23]}", f"{cells[24]}:{cells[25]}"
    return Row(cells[2], cells[13], *places, cells[node], cells[node + 1])


@pytest.fixture
def collect() -> Iterator[Callable[[str], Collector]]:
    """`collect("udp")` is a collector that ends with the test."""
    with ExitStack() as stack:

        def made(kind: str) -> Collector:
            found = Collector(kind)
            stack.callback(found.close)
            return found

        yield made


def run_call(
    start: Start,
    directory: Path,
    extra: str,
    *,
    watch: Collector,
    cli: bool = False,
    calls: int = 1,
) -> rig.Balancer:
    members = {n: start(rig.SimulatedMember(directory, n)) for n in (1, 2)}
    addresses = {n: each.address for n, each in members.items()}
    lb = rig.Balancer(directory, addresses, extra=extra)
    start(lb)
    if cli:
        command = [*members[1].command[:3], "trace", "--hep", f"{rig.HOST}:{watch.port}"]
        start(
            rig.Process(
                directory, "trace", [*command, "--api", f"http://{rig.HOST}:{lb.admin_port}"]
            )
        )
        rig.wait_until("it watches", lambda: lb.status()["trace"]["watchers"] == 1, 20)
    caller = [*members[1].command[:3], "simulate", "sip-server", "--calls", str(calls)]
    caller += ["--target", f"{rig.HOST}:{lb.port}", "--hold", "100ms", "--rate", "50"]
    done = subprocess.run(caller, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return lb


Collect = Callable[[str], Collector]


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_a_call_has_one_correlation_id(
    start: Start, collect: Collect, tmp_path: Path, kind: str
) -> None:
    collector = collect(kind)
    lb = run_call(
        start, tmp_path,
        f'[trace]\nhep = "{rig.HOST}:{collector.port}"\nhep-transport = "{kind}"\n'
        'hep-id = 77\nhep-node = "left"\nhep-key = "sesame"\n',
        watch=collector,
    )  # fmt: skip
    received = lb.metrics().total("rmlb_messages_received_total")
    rig.wait_until("every copy", lambda: len(collector.packets) >= received * 2)
    rows = start(Capture(tmp_path)).reads(collector.packets)
    (uuid,) = {row.correlation for row in rows}
    assert len(uuid) == 32
    assert uuid.isalnum()
    assert len({row.call_id for row in rows}) == 1
    assert {row.node for row in rows} == {"homer01:77"}
    assert [row.what for row in rows[:2]] == ["INVITE", "INVITE"]
    assert rows[0].target == rows[1].source == f"{rig.HOST}:{lb.port}"
    assert {"INVITE", "180", "200", "ACK", "BYE"} <= {row.what for row in rows}
    assert lb.metrics().total("rmlb_hep_packets_total", outcome="lost") == 0
    assert lb.metrics().total("rmlb_hep_packets_total", outcome="sent") == len(rows)


def test_without_uuid_it_is_the_call_id(start: Start, collect: Collect, tmp_path: Path) -> None:
    collector = collect("udp")
    members = {n: start(rig.SimulatedMember(tmp_path, n)) for n in (1, 2)}
    extra = f'[trace]\nhep = "{rig.HOST}:{collector.port}"\n'
    addresses = {n: each.address for n, each in members.items()}
    lb = start(rig.Balancer(tmp_path, addresses, extra=extra))
    rig.Sipp(tmp_path, "uac_full", target=lb.port, calls=1).run()
    rig.wait_until("every copy", lambda: len(collector.packets) >= 18)
    rows = start(Capture(tmp_path)).reads(collector.packets)
    assert {row.correlation for row in rows} == {rows[0].call_id}


def test_a_sample_has_whole_calls(start: Start, collect: Collect, tmp_path: Path) -> None:
    collector = collect("udp")
    extra = f'[trace]\nhep = "{rig.HOST}:{collector.port}"\nsample = 4\n'
    lb = run_call(start, tmp_path, extra, watch=collector, calls=60)
    rig.wait_until(
        "all that was sent",
        lambda: (
            len(collector.packets) == lb.metrics().total("rmlb_hep_packets_total", outcome="sent")
        ),
    )
    rows = start(Capture(tmp_path)).reads(collector.packets)
    calls = {row.correlation for row in rows}
    assert 3 <= len(calls) <= 35
    for call in calls:
        what = [row.what for row in rows if row.correlation == call]
        assert what.count("INVITE") >= 2
        assert what.count("BYE") == 2


def test_the_command_line_sends_too(start: Start, collect: Collect, tmp_path: Path) -> None:
    collector = collect("udp")
    run_call(start, tmp_path, "", watch=collector, cli=True)
    rig.wait_until("a BYE", lambda: sum(b"BYE sip:" in each for each in collector.packets) == 2)
    rows = start(Capture(tmp_path)).reads(list(collector.packets))
    assert len({row.correlation for row in rows}) == 1
    assert len(rows[0].correlation) == 32


def test_a_collector_that_is_not_there_costs_packets_only(
    start: Start, collect: Collect, tmp_path: Path
) -> None:
    extra = f'[trace]\nhep = "{rig.HOST}:{rig.free_port()}"\nhep-transport = "tcp"\n'
    lb = run_call(start, tmp_path, extra, watch=collect("udp"), calls=5)
    rig.wait_until(
        "they are counted",
        lambda: lb.metrics().total("rmlb_hep_packets_total", outcome="lost") > 0,
    )
    lb.assert_balanced()
