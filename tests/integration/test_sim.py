"""The simulators on real sockets: against sipp, against each other, on the command line."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import rig
from conftest import Start
from rig import Sipp, assert_all_succeeded

from rmlb.sim.call import CallPlan
from rmlb.sim.rm import RmTally, SimulatedRm
from rmlb.sim.sip_server import SimulatedSipServer
from rmlb.sim.tally import CallTally
from rmlb.sip.address import SipAddress, Transport

BOTH = [Transport.UDP, Transport.TCP]
SIPP = {Transport.UDP: "u1", Transport.TCP: "t1"}


@asynccontextmanager
async def simulated_rm(member: int = 1, **options: object) -> AsyncIterator[SimulatedRm]:
    rm = SimulatedRm(member, rig.HOST, rig.free_port(), **options)  # type: ignore[arg-type]
    await rm.start()
    try:
        yield rm
    finally:
        await rm.stop()


def port_of(rm: SimulatedRm) -> int:
    return rm.agent.wires[Transport.UDP].port


async def place(
    port: int, transport: Transport = Transport.UDP, *, calls: int = 100, hold_s: float = 0.1
) -> tuple[SimulatedSipServer, CallTally]:
    plan = CallPlan(SipAddress(transport, rig.HOST, port), hold_s=hold_s)
    server = SimulatedSipServer(plan, rate=200, calls=calls)
    return server, await server.run()


# -- against sipp ---------------------------------------------------------------------------


@pytest.mark.parametrize("transport", BOTH)
@pytest.mark.parametrize("scenario", ["uac_full", "sn:uac"])
async def test_sipp_calls_simulated_rm(
    tmp_path: Path, start: Start, scenario: str, transport: Transport
) -> None:
    async with simulated_rm() as rm:
        options = {"target": port_of(rm), "transport": SIPP[transport], "rate": 100, "calls": 100}
        uac = start(Sipp(tmp_path, scenario, **options))  # type: ignore[arg-type]
        assert_all_succeeded(uac, await asyncio.to_thread(uac.finish), 100)
    assert (rm.tally.calls, rm.tally.ended, rm.tally.misrouted) == (100, 100, 0)
    assert rm.tally.unreadable == 0


@pytest.mark.parametrize("transport", BOTH)
@pytest.mark.parametrize(
    ("scenario", "answer", "counted"),
    [("uac_cancel", 200, "cancelled"), ("uac_busy", 486, "refused")],
)
async def test_calls_that_are_not_answered(
    tmp_path: Path, start: Start, scenario: str, answer: int, counted: str, transport: Transport
) -> None:
    async with simulated_rm(ring_s=0.2, answer=answer) as rm:
        options = {"target": port_of(rm), "transport": SIPP[transport], "rate": 50, "calls": 20}
        uac = start(Sipp(tmp_path, scenario, **options))  # type: ignore[arg-type]
        assert_all_succeeded(uac, await asyncio.to_thread(uac.finish), 20)
    assert (getattr(rm.tally, counted), rm.tally.answered) == (20, 0)


@pytest.mark.parametrize("transport", BOTH)
async def test_simulated_sip_server_calls_sipp(
    tmp_path: Path, start: Start, transport: Transport
) -> None:
    uas = start(Sipp.member(tmp_path, 2, transport=SIPP[transport]))
    server, tally = await place(uas.port, transport)
    assert (tally.completed, tally.failed, tally.misrouted) == (100, 0, 0)
    assert tally.members == {2: 100}
    assert server.agent.strays == 0
    at_member = await asyncio.to_thread(uas.stop)
    assert at_member.counters["calls"] == 100
    assert set(at_member.reasons) <= {"FailedTcpClosed"}


async def test_simulated_sip_server_and_a_forked_call(tmp_path: Path, start: Start) -> None:
    """Both 200 are acknowledged, the second dialog is ended."""
    uas = start(Sipp.member(tmp_path, 1, "uas_fork"))
    plan = CallPlan(SipAddress(Transport.UDP, rig.HOST, uas.port), hold_s=1.0, reinvite=False)
    tally = await SimulatedSipServer(plan, rate=20, calls=5).run()
    assert (tally.completed, tally.forked) == (5, 5)
    at_member = await asyncio.to_thread(uas.stop)
    assert (at_member.successful, at_member.failed) == (5, 0)


# -- against each other ---------------------------------------------------------------------


@pytest.mark.parametrize("transport", BOTH)
async def test_simulated_sip_server_calls_simulated_rm(transport: Transport) -> None:
    async with simulated_rm() as rm:
        server, tally = await place(port_of(rm), transport)
    assert (tally.completed, tally.failed, tally.misrouted) == (100, 0, 0)
    assert tally.all_completed
    assert tally.members == {1: 100}
    assert len(tally.setup_s) == 100
    # ACK, re-INVITE, ACK, BYE
    again = rm.tally.in_dialog - 400  # over UDP a slow moment repeats an answer, and its ACK
    assert again == 0 if transport.is_stream else again >= 0
    assert rm.tally == RmTally(
        1, calls=100, answered=100, ended=100, in_dialog=400 + again, repeated=rm.tally.repeated
    )
    assert (server.agent.strays, server.agent.repeated, server.agent.unreadable) == (0, 0, 0)


@pytest.mark.parametrize("transport", BOTH)
async def test_rm_hangs_up(transport: Transport) -> None:
    async with simulated_rm() as rm:
        placing = asyncio.create_task(place(port_of(rm), transport, calls=5, hold_s=20.0))
        await rig.until("5 calls", lambda: len(rm.calls) == 5)
        statuses = [await rm.hang_up(call_id) for call_id in list(rm.calls)]
        _, tally = await placing
    assert statuses == [200] * 5
    assert (tally.completed, tally.hung_up) == (5, 5)


async def test_a_busy_rm_fails_calls_with_its_answer() -> None:
    async with simulated_rm(answer=486) as rm:
        _, tally = await place(port_of(rm), calls=3)
    assert not tally.all_completed
    assert tally.reasons == {"INVITE: 486 Busy Here": 3}


async def test_nobody_there_over_tcp() -> None:
    _, tally = await place(rig.free_port(), Transport.TCP, calls=3)
    assert tally.reasons == {"INVITE: connection refused": 3}


async def test_a_request_for_another_member_is_misrouted_at_both_ends() -> None:
    """Member 2 takes over the address of member 1 in the middle of a call."""
    async with simulated_rm(1) as first:
        port = port_of(first)
        plan = CallPlan(SipAddress(Transport.UDP, rig.HOST, port), hold_s=1.0)
        server = SimulatedSipServer(plan, rate=100, calls=1)
        running = asyncio.create_task(server.run())
        await rig.until("an answer", lambda: bool(server.tally.members))
    second = SimulatedRm(2, rig.HOST, port)
    await second.start()
    tally = await running
    await second.stop()
    assert tally.completed == 1
    assert tally.misrouted == 2  # re-INVITE and BYE
    assert not tally.all_completed
    assert second.tally.misrouted == second.tally.in_dialog == 3  # and the ACK
    assert second.tally.adopted == 2


# -- what arrives is not always SIP ---------------------------------------------------------


async def test_rubbish_is_counted_and_harms_nothing() -> None:
    async with simulated_rm() as rm:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
            for data in (b"\x00\xff", b"INVITE", b"SIP/2.0 200 OK\r\n\r\n", b"\r\n\r\n"):
                caller.sendto(data, (rig.HOST, port_of(rm)))
        _, writer = await asyncio.open_connection(rig.HOST, port_of(rm))
        writer.write(b"BYE nothing\r\nContent-Length: x\r\n\r\n")
        await writer.drain()
        _, tally = await place(port_of(rm), calls=5)
        writer.close()
    assert tally.completed == 5
    assert rm.tally.unreadable == 4  # a keep-alive is no rubbish


async def test_compact_headers_over_udp() -> None:
    async with simulated_rm() as rm:
        answer = await asyncio.to_thread(
            _ask,
            port_of(rm),
            b"OPTIONS sip:x SIP/2.0\r\nv:SIP/2.0/UDP 192.0.2.1:9;rport ;branch=z9hG4bKx\r\n"
            b"f: <sip:a@b;lr>;tag=1\r\nt: <sip:x>\r\ni:\r\n 77\r\nCSeq: 1 OPTIONS\r\nl: 0\r\n\r\n",
        )
    assert answer.startswith("SIP/2.0 200 OK\r\n")
    assert "Call-ID: 77\r\n" in answer
    assert ";received=127.0.0.1" in answer
    assert rm.tally.probes == 1


def _ask(port: int, request: bytes) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.settimeout(5.0)
        caller.sendto(request, (rig.HOST, port))
        return caller.recv(65535).decode()


# -- the command line -----------------------------------------------------------------------


def simulate(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rmlb.cli", "simulate", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("transport", BOTH)
def test_command_line(tmp_path: Path, start: Start, transport: Transport) -> None:
    rm = start(rig.SimulatedMember(tmp_path, 7))
    target = ["--target", rm.address, "--transport", transport]
    done = simulate("sip-server", *target, "--calls", "10", "--hold", "50ms")
    assert done.returncode == 0, done.stderr
    assert "10 placed, 10 completed, 0 failed" in done.stdout
    assert "member 7 10 (100%)" in done.stdout
    assert "calls 10, answered 10" in rm.stop()


def test_command_line_tells_failure(tmp_path: Path, start: Start) -> None:
    rm = start(rig.SimulatedMember(tmp_path, 1, args=["--answer", "486"]))
    done = simulate("sip-server", "--target", rm.address, "--calls", "2")
    assert done.returncode == 1
    assert "2 x INVITE: 486 Busy Here" in done.stdout


def test_command_line_port_in_use(tmp_path: Path, start: Start) -> None:
    rm = start(rig.SimulatedMember(tmp_path, 1))
    done = simulate("rm", "--listen", rm.address)
    assert done.returncode == 1
    assert done.stderr == f"rmlb: cannot listen on udp:{rm.address}: address already in use\n"


async def test_command_line_ctrl_c() -> None:
    command = ["-m", "rmlb.cli", "simulate", "sip-server", "--calls", "0", "--target"]
    async with simulated_rm() as rm:
        child = await asyncio.create_subprocess_exec(
            sys.executable, *command, f"{rig.HOST}:{port_of(rm)}", stdout=asyncio.subprocess.PIPE
        )
        await rig.until("3 calls", lambda: rm.tally.calls >= 3)
        child.send_signal(signal.SIGINT)
        output, _ = await asyncio.wait_for(child.communicate(), 20)
    assert child.returncode == 0
    assert b" 0 failed" in output
    assert rm.tally.ended == rm.tally.calls
