"""HEP3 packets as an independent implementation reads them: Wireshark's dissector (tshark)."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

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

    def decoded(self, directory: Path, *fields: str) -> list[list[str]]:
        """These fields of every packet, read by tshark."""
        capture = directory / "hep.pcap"
        with capture.open("wb") as file:
            file.write(struct.pack("!IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101))  # raw IP
            for packet in self.packets:
                udp = struct.pack("!HHHH", 40_000, 9060, 8 + len(packet), 0) + packet
                ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0,
                                 bytes([127, 0, 0, 1]), bytes([127, 0, 0, 1]))  # fmt: skip
                file.write(struct.pack("!IIII", 1, 0, len(ip + udp), len(ip + udp)) + ip + udp)
        command = ["tshark", "-r", str(capture), "-d", "udp.port==9060,hep", "-T", "fields"]
        command += ["-E", "separator=|", *(f for name in fields for f in ("-e", name))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return [line.split("|") for line in done.stdout.splitlines()]


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
    lb = rig.Balancer(directory, {n: each.address for n, each in members.items()}, extra=extra)
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
    expected = lb.metrics().total("rmlb_messages_received_total") * 2
    rig.wait_until("every copy", lambda: len(collector.packets) >= expected)
    rows = collector.decoded(
        tmp_path, "hep.correlation_id", "hep.capture_id", "hep.src_port", "hep.dst_port",
        "sip.Method", "sip.Status-Code", "hep.proto_t",
    )  # fmt: skip
    assert len(rows) == len(collector.packets)
    (uuid,) = {row[0] for row in rows}
    assert len(uuid) == 32
    assert uuid.isalnum()
    assert {row[1] for row in rows} == {"77"}
    assert str(lb.port) in rows[0][2:4]
    assert [row[4] for row in rows[:2]] == ["INVITE", "INVITE"]
    assert {"200", "180"} <= {row[5] for row in rows}
    assert {row[4] for row in rows} >= {"INVITE", "ACK", "BYE"}
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
    rows = collector.decoded(tmp_path, "hep.correlation_id", "sip.Call-ID")
    assert rows
    assert {row[0] for row in rows} == {row[1] for row in rows}


def test_a_sample_has_whole_calls(start: Start, collect: Collect, tmp_path: Path) -> None:
    collector = collect("udp")
    extra = f'[trace]\nhep = "{rig.HOST}:{collector.port}"\nsample = 4\n'
    run_call(start, tmp_path, extra, watch=collector, calls=60)
    rig.wait_until("some", lambda: bool(collector.packets))
    rows = collector.decoded(tmp_path, "hep.correlation_id", "sip.Method", "sip.Status-Code")
    calls = {row[0] for row in rows}
    assert 3 <= len(calls) <= 35
    for call in calls:
        messages = [row for row in rows if row[0] == call]
        assert sum(row[1] == "INVITE" for row in messages) >= 2
        assert sum(row[1] == "BYE" for row in messages) >= 2


def test_the_command_line_sends_too(start: Start, collect: Collect, tmp_path: Path) -> None:
    collector = collect("udp")
    run_call(start, tmp_path, "", watch=collector, cli=True)
    rig.wait_until("a BYE", lambda: any(b"BYE sip:" in each for each in collector.packets))
    rows = collector.decoded(tmp_path, "hep.correlation_id", "sip.Method")
    assert len({row[0] for row in rows}) == 1
    assert len(rows[0][0]) == 32


def test_a_collector_that_is_not_there_costs_packets_only(
    start: Start, collect: Collect, tmp_path: Path
) -> None:
    collector = collect("udp")
    extra = f'[trace]\nhep = "{rig.HOST}:{rig.free_port()}"\nhep-transport = "tcp"\n'
    lb = run_call(start, tmp_path, extra, watch=collector, calls=5)
    rig.wait_until(
        "they are counted",
        lambda: lb.metrics().total("rmlb_hep_packets_total", outcome="lost") > 0,
    )
    lb.assert_balanced()
