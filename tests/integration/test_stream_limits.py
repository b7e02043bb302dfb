"""Connections: how they are used, cut, limited and given up (RFC 3261 18.2.2, 18.3; RFC 5626)."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rig import HOST, Balancer, free_port, wait_until
from rig_dialog import converse, new_call_id, set_up
from rig_wire import Agent, next_message, request, response

URI = "sip:ivr@example.com"

QUICK = 'incomplete-timeout = "600ms"\nconnect-timeout = "1s"\n'


class Setting:
    """A caller, a member over TCP and UDP, a balancer with short limits."""

    def __init__(self, stack: ExitStack, directory: Path, sip: str, members: str = "tcp") -> None:
        self.caller = stack.enter_context(Agent("udp tcp", free_port(), name="caller"))
        self.member = stack.enter_context(Agent(members, free_port(), name="member"))
        addresses = [f"{how}:{HOST}:{self.member.port}" for how in members.split()]
        self.balancer = stack.enter_context(Balancer(directory, {1: addresses}, sip=sip))
        self.place = (HOST, self.balancer.port)

    def options(self, call_id: str = "", *, length: bool = True, body: bytes = b"") -> bytes:
        """An OPTIONS that the balancer answers itself."""
        return request(
            "OPTIONS", f"sip:{HOST}:{self.balancer.port}", via=self.caller.via("tcp"),
            call_id=call_id or new_call_id(), length=length, body=body,
        )  # fmt: skip

    def plain(self) -> socket.socket:
        """A bare connection, 5 s for everything."""
        return socket.create_connection(self.place, 5.0)

    def unsent(self, cause: str) -> float:
        return self.balancer.metrics().total("rmlb_send_errors_total", cause=cause)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    with ExitStack() as stack:
        yield Setting(stack, tmp_path_factory.mktemp("quick"), QUICK)


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    """Few connections, closed after a second of silence; the member by UDP uses none."""
    with ExitStack() as stack:
        limits = 'max-connections = 5\nmax-connections-per-source = 3\nidle-timeout = "1s"\n'
        yield Setting(stack, tmp_path_factory.mktemp("tight"), limits, "udp")


def read_messages(sock: socket.socket, count: int) -> list[bytes]:
    """That many whole messages; AssertionError when the connection ends before."""
    buffer, found = b"", []
    while len(found) < count:
        whole = next_message(buffer.lstrip(b"\r\n"))
        if whole is not None:
            message, buffer = whole
            found.append(message)
            continue
        data = sock.recv(65536)
        assert data, f"closed after {len(found)} of {count} messages"
        buffer += data
    return found


def read_to_end(sock: socket.socket) -> bytes:
    """All that comes until the peer closes. TimeoutError if it does not."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := sock.recv(65536):
            data += more
    return data


def status_of(message: bytes) -> int:
    return int(message.split(b" ", 2)[1])


# reuse


def test_one_connection_to_a_member(quick: Setting) -> None:
    before = quick.member.accepted
    for _ in range(20):
        call = set_up(quick.caller, quick.member, quick.place, "udp")
        converse(call.caller, call.callee, "BYE")
    assert quick.member.accepted - before <= 1
    assert quick.member.accepted <= 2, "one of calls, one of probes"


def test_many_requests_at_once_open_one_connection(tmp_path: Path) -> None:
    """Before the first connection is up, the others wait for it."""
    with ExitStack() as stack:
        setting = Setting(stack, tmp_path, QUICK)
        for index in range(50):
            data = request("MESSAGE", URI, via=setting.caller.via("udp"), call_id=f"burst-{index}")
            setting.caller.send_udp(data, setting.place)
        heard = [setting.member.hear("MESSAGE") for _ in range(50)]
        assert {each.header("Call-ID") for each in heard} == {f"burst-{i}" for i in range(50)}
        assert setting.member.accepted <= 2
        for each in heard:
            each.answer(response(each, 200, tag="m"))
            setting.caller.hear("200")


def test_the_members_own_connection_serves_its_requests(quick: Setting) -> None:
    """Requests of a member over a connection that it opened, answers back over the same."""
    call = set_up(quick.caller, quick.member, quick.place, "tcp")
    converse(call.callee, call.caller, "INFO")
    converse(call.callee, call.caller, "BYE")


def test_a_member_that_closes_is_connected_anew(quick: Setting) -> None:
    before = quick.member.accepted
    for stream in list(quick.member.streams):
        stream.close()
        stream.closed.wait(2)
    time.sleep(0.2)  # it was under suspicion for a moment, and unanswered requests were repeated
    quick.balancer.wait_health(1, "in service")
    call = set_up(quick.caller, quick.member, quick.place, "udp")
    converse(call.caller, call.callee, "BYE")
    assert quick.member.accepted > before


# the answer's way back (18.2.2)


def test_answer_by_the_connection_of_the_request(quick: Setting) -> None:
    """Also when the sent-by is a port where nobody listens."""
    with quick.plain() as sock:
        sock.sendall(request("MESSAGE", URI, via=f"TCP {HOST}:9", call_id=new_call_id()))
        got = quick.member.hear("MESSAGE")
        got.answer(response(got, 200, tag="m"))
        assert status_of(read_messages(sock, 1)[0]) == 200


def test_caller_reconnects_between_invite_and_200(quick: Setting) -> None:
    """The connection is gone: to `received` and the sent-by port, over a new one."""
    caller, member = quick.caller, quick.member
    stream = caller.connect(quick.place)
    data = request(
        "INVITE", URI, via=caller.via("tcp"), call_id=new_call_id(), contact=caller.contact("tcp")
    )
    stream.send(data)
    got = member.hear("INVITE")
    quick.balancer.see_close(stream.close)
    got.answer(response(got, 200, tag="m", contact=member.contact("tcp")))
    answer = caller.hear("200")
    assert answer.stream is not None
    assert answer.stream.local == (HOST, caller.port), "one that the balancer opened"


def test_caller_resets_its_connection(quick: Setting) -> None:
    caller, member = quick.caller, quick.member
    with quick.plain() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.sendall(request("MESSAGE", URI, via=caller.via("tcp"), call_id=new_call_id()))
        got = member.hear("MESSAGE")
        quick.balancer.see_close(sock.close)
    got.answer(response(got, 200, tag="m"))
    caller.hear("200")


def test_nobody_at_the_sent_by_harms_nobody(quick: Setting) -> None:
    with quick.plain() as sock:
        sock.sendall(request("MESSAGE", URI, via=f"TCP {HOST}:9", call_id=new_call_id()))
        got = quick.member.hear("MESSAGE")
        quick.balancer.see_close(sock.close)
    before = quick.unsent("connect_failed")
    got.answer(response(got, 200, tag="m"))
    wait_until("counted", lambda: quick.unsent("connect_failed") == before + 1)


# cutting


def test_pipelined_in_one_segment(quick: Setting) -> None:
    ids = [new_call_id("pipe") for _ in range(30)]
    with quick.plain() as sock:
        sock.sendall(b"".join(quick.options(each) for each in ids))
        answers = read_messages(sock, len(ids))
    assert [status_of(a) for a in answers] == [200] * len(ids)
    assert [a for a, i in zip(answers, ids, strict=True) if f"Call-ID: {i}\r\n".encode() in a]


def test_segments_of_one_octet(quick: Setting) -> None:
    data = quick.options()
    with quick.plain() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for index in range(len(data)):
            sock.send(data[index : index + 1])
        assert status_of(read_messages(sock, 1)[0]) == 200


def test_random_cuts_change_nothing(quick: Setting) -> None:
    chance = random.Random(7)
    ids = [new_call_id("cut") for _ in range(60)]
    stream = b"\r\n\r\n".join(quick.options(each, body=b"\r\n\r\nSIP" * 5) for each in ids)
    with quick.plain() as sock:
        while stream:
            size = chance.choice((1, 7, 100, 1500))
            sock.sendall(stream[:size])
            stream = stream[size:]
        answers = read_messages(sock, len(ids))
    assert [status_of(a) for a in answers] == [200] * len(ids)


def test_always_a_part_of_the_next_message(quick: Setting) -> None:
    """A busy stream whose every segment ends inside a message is not an incomplete message."""
    halves = quick.options(new_call_id("half"))
    middle = len(halves) // 2
    with quick.plain() as sock:
        sock.sendall(halves[:middle])
        deadline = time.monotonic() + 1.5  # more than twice the limit
        sent = 0
        while time.monotonic() < deadline:
            sock.sendall(halves[middle:] + halves[:middle])
            sent += 1
            time.sleep(0.1)
        sock.sendall(halves[middle:])
        answers = read_messages(sock, sent + 1)
    assert {status_of(a) for a in answers} == {200}


# keep-alives


def test_ping_pong(quick: Setting) -> None:
    """RFC 5626 4.4.1: a double CRLF wants a single one back; a single one wants nothing."""
    with quick.plain() as sock:
        sock.sendall(b"\r\n\r\n")
        assert sock.recv(100) == b"\r\n"
        sock.sendall(b"\r\n")
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(100)
        sock.settimeout(5)
        sock.sendall(b"\r\n" + quick.options() + b"\r\n\r\n")
        assert status_of(read_messages(sock, 1)[0]) == 200


def test_a_ping_does_not_run_into_the_incomplete_limit(quick: Setting) -> None:
    with quick.plain() as sock:
        sock.sendall(b"\r\n")
        time.sleep(0.9)
        sock.sendall(quick.options())
        assert status_of(read_messages(sock, 1)[0]) == 200


# messages that do not end as they should


def test_incomplete_message(quick: Setting) -> None:
    """400 and the end of the connection, not before and not much after the limit."""
    began = time.monotonic()
    with quick.plain() as sock:
        sock.sendall(quick.options(body=b"x" * 50)[:-10])
        answer = read_to_end(sock)
    assert status_of(answer) == 400
    assert 0.5 < time.monotonic() - began < 2


def test_incomplete_header(quick: Setting) -> None:
    with quick.plain() as sock:
        sock.sendall(quick.options().partition(b"\r\nContent-Length")[0])
        assert status_of(read_to_end(sock)) == 400


def test_dripping(quick: Setting) -> None:
    """An octet now and then does not keep a message alive."""
    data = quick.options()
    began = time.monotonic()
    with quick.plain() as sock, contextlib.suppress(ConnectionError):
        sock.settimeout(0.1)
        for index in range(len(data) - 1):
            sock.sendall(data[index : index + 1])
            with contextlib.suppress(TimeoutError):
                if not sock.recv(65536):
                    break
    assert time.monotonic() - began < 2


def test_eof_inside_a_message(quick: Setting) -> None:
    before = quick.balancer.metrics().total("rmlb_messages_received_total")
    with quick.plain() as sock:
        sock.sendall(quick.options(body=b"x" * 50)[:-10])
        sock.shutdown(socket.SHUT_WR)
        read_to_end(sock)
    wait_until(
        "counted",
        lambda: quick.balancer.metrics().total("rmlb_messages_received_total") == before + 1,
    )


def test_no_content_length_ends_with_silence(quick: Setting) -> None:
    """RFC 2543: what follows is the body, until nothing follows."""
    with quick.plain() as sock:
        sock.sendall(quick.options(length=False, body=b"some octets"))
        assert status_of(read_messages(sock, 1)[0]) == 200


def test_no_content_length_ends_with_the_stream(quick: Setting) -> None:
    """RFC 2543: the end of the stream ends it, and the answer still comes back."""
    caller, member = quick.caller, quick.member
    stream = caller.connect(quick.place)
    data = request(
        "MESSAGE", URI, via=f"TCP {HOST}:9", call_id=new_call_id(), body=b"part", length=False
    )
    stream.send(data)
    stream.end_sending()
    got = member.hear("MESSAGE")
    assert got.body == b"part"
    assert got.headers("Content-Length") == ["4"]
    time.sleep(0.1)
    got.answer(response(got, 200, tag="m"))
    assert caller.hear("200").stream is stream
    stream.close()


@pytest.mark.parametrize(
    ("junk", "status"),
    [
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        (b"Content-Length: -1\r\n", 400),
        (b"Content-Length: x\r\n", 400),
        (b"Content-Length: 99999999999999\r\n", 400),
        (b"Content-Length: 70000\r\n", 513),
    ],
)
def test_a_length_that_cannot_be(quick: Setting, junk: bytes, status: int) -> None:
    """Answered, then closed: nobody knows where the next message begins."""
    data = quick.options(length=False).replace(b"\r\n\r\n", b"\r\n" + junk + b"\r\n")
    with quick.plain() as sock:
        sock.sendall(data)
        assert status_of(read_to_end(sock)) == status


def test_too_large_while_it_is_still_being_sent(quick: Setting) -> None:
    """The 513 is read although the caller goes on sending: no reset overtakes it."""
    data = quick.options(body=b"x" * 300_000)
    with quick.plain() as sock:
        for start in range(0, len(data), 8192):
            with contextlib.suppress(ConnectionError):
                sock.sendall(data[start : start + 8192])
            time.sleep(0.002)
        assert status_of(read_to_end(sock)) == 513


def test_endless_header(quick: Setting) -> None:
    with quick.plain() as sock, contextlib.suppress(ConnectionError):
        sock.sendall(quick.options()[:-4] + b"\r\nX: " + b"y" * 200_000)
        assert status_of(read_to_end(sock)) == 513


@pytest.mark.parametrize("junk", [b"\n\n\n", b"\rX", bytes(range(14, 256)) * 10, b"\x16\x03\x01"])
def test_binary_junk_closes(quick: Setting, junk: bytes) -> None:
    """Nothing to answer: just the end."""
    with quick.plain() as sock:
        sock.sendall(junk)
        assert read_to_end(sock) == b""


# bad peers


def test_slow_reader(quick: Setting) -> None:
    """Its connection goes when 4 MiB wait for it; the others notice nothing."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(0.5)
        sock.connect(quick.place)
        block = b"".join(quick.options(new_call_id("slow")) for _ in range(100))
        before = quick.unsent("slow_reader")
        deadline = time.monotonic() + 20
        with contextlib.suppress(ConnectionError):
            while quick.unsent("slow_reader") == before and time.monotonic() < deadline:
                with contextlib.suppress(TimeoutError):
                    sock.sendall(block * 5)
                call = set_up(quick.caller, quick.member, quick.place, "udp")
                converse(call.caller, call.callee, "BYE")
    assert quick.unsent("slow_reader") == before + 1


def test_dead_member_does_not_stall_the_others(tmp_path: Path) -> None:
    """SYNs into a full backlog: connect-timeout for its calls, nothing for the others'."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind((HOST, 0))
        full.listen(0)
        for _ in range(3):  # backlog 0 takes one or two; then SYNs are dropped
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        caller = stack.enter_context(Agent("udp", free_port(), name="caller"))
        member = stack.enter_context(Agent("udp", free_port(), name="member"))
        dead = stack.enter_context(Agent("udp", free_port(), name="dead"))
        balancer = stack.enter_context(
            Balancer(
                tmp_path,
                {
                    1: [f"udp:{HOST}:{member.port}"],
                    # probed by UDP, so in service; calls that came by TCP go to the full socket
                    2: [f"udp:{HOST}:{dead.port}", f"tcp:{HOST}:{full.getsockname()[1]}"],
                },
                sip=QUICK + "udp-size-limit = 1300\n",
                extra='[drain]\nlimit = "0s"\n',
            )
        )
        place = (HOST, balancer.port)
        balancer.wait_health(2, "in service")
        prompt, slowest = 0, 0.0
        for index in range(40):
            call_id = f"dead-{index}"
            data = request("MESSAGE", URI, via=caller.via("udp"), call_id=call_id, body=b"x" * 1500)
            began = time.monotonic()
            caller.send_udp(data, place)
            with contextlib.suppress(AssertionError):
                while (got := member.hear("MESSAGE", 0.05)).header("Call-ID") != call_id:
                    pass
                slowest = max(slowest, time.monotonic() - began)
                got.answer(response(got, 200, tag="m"))
                prompt += 1
        assert 10 <= prompt <= 35, "both members get calls"
        assert slowest < 0.05
        wait_until(
            "connect timeout counted",
            lambda: balancer.metrics().total(
                "rmlb_send_errors_total", cause="connect_timeout"
            ) > 0,
        )  # fmt: skip


# limits


def test_connections_per_source(tight: Setting) -> None:
    with ExitStack() as stack:
        kept = [stack.enter_context(tight.plain()) for _ in range(3)]
        for sock in kept:
            sock.sendall(tight.options())
            assert status_of(read_messages(sock, 1)[0]) == 200
        with tight.plain() as one_more:
            assert read_to_end(one_more) == b""
        for sock in kept:
            sock.sendall(tight.options())
            assert status_of(read_messages(sock, 1)[0]) == 200
    assert tight.unsent("too_many_connections") == 1
    wait_until("closed", lambda: tight.balancer.open_connections() == 0)
    with tight.plain() as sock:
        sock.sendall(tight.options())
        assert status_of(read_messages(sock, 1)[0]) == 200


def test_connections_of_all_sources(tight: Setting) -> None:
    wait_until("closed", lambda: tight.balancer.open_connections() == 0)
    with ExitStack() as stack:
        for index in range(5):
            sock = stack.enter_context(
                socket.create_connection(tight.place, 5, (f"127.0.0.{2 + index // 2}", 0))
            )
            sock.sendall(tight.options())
            assert status_of(read_messages(sock, 1)[0]) == 200
        more = stack.enter_context(socket.create_connection(tight.place, 5, ("127.0.0.9", 0)))
        assert read_to_end(more) == b""
        call = set_up(tight.caller, tight.member, tight.place, "udp")  # needs none
        converse(call.caller, call.callee, "BYE")


def test_idle_connections_are_closed(tight: Setting) -> None:
    with tight.plain() as idle, tight.plain() as busy:
        began = time.monotonic()
        idle.sendall(tight.options())
        assert status_of(read_messages(idle, 1)[0]) == 200
        idle.settimeout(0.2)
        closed_after = None
        while closed_after is None and time.monotonic() - began < 5:
            busy.sendall(b"\r\n\r\n")  # a keep-alive is what it says
            assert busy.recv(100) == b"\r\n"
            with contextlib.suppress(TimeoutError):
                assert idle.recv(100) == b""
                closed_after = time.monotonic() - began
        assert closed_after is not None
        assert 0.9 < closed_after < 3
        busy.sendall(tight.options())
        assert status_of(read_messages(busy, 1)[0]) == 200


def test_an_idle_connection_to_a_member_is_no_trouble(tmp_path: Path) -> None:
    """We close it; the member is not suspected for that, and the next call opens another."""
    with ExitStack() as stack:
        setting = Setting(stack, tmp_path, 'idle-timeout = "1s"\n')
        for _ in range(2):
            call = set_up(setting.caller, setting.member, setting.place, "udp")
            converse(call.caller, call.callee, "BYE")
            wait_until("closed", lambda: setting.balancer.open_connections() == 0)
        assert setting.member.accepted >= 3, "probes have their own, and stay"
        assert "member-suspect" not in setting.balancer.stderr


def test_sums_balance(quick: Setting, tight: Setting) -> None:
    quick.balancer.assert_balanced()
    tight.balancer.assert_balanced()
