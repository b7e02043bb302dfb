"""Two workers on loopback: what is handed over, and who may.

A condition is waited for, never a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from rmlb.admin.views import PeerView
from rmlb.events import Event, EventName
from rmlb.handover import NONCE_OCTETS, Handover, Keys
from rmlb.routing.affinity import Memory
from rmlb.routing.keys import Keyring, affinity_key
from rmlb.routing.member import Health, Member
from rmlb.routing.router import Router
from rmlb.routing.table import Listener, RoutingTable
from rmlb.routing.verdict import Forward, Origin
from rmlb.sip.address import SipAddress, Transport

HOST = "127.0.0.1"
SECRET = "the secret of both balancers"
INVITE = (
    "INVITE sip:ivr@10.0.0.100 SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK{n};rport\r\n"
    "Max-Forwards: 70\r\nFrom: <sip:caller@example.com>;tag=c\r\nTo: <sip:ivr@example.com>\r\n"
    "Call-ID: call-{n}\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
)


def make_router() -> Router:
    members = {
        n: Member(n, (SipAddress(Transport.UDP, f"10.0.0.1{n}", 5060),), health=Health.IN_SERVICE)
        for n in (1, 2)
    }
    table = RoutingTable(
        members=members,
        listeners=(Listener(0, Transport.UDP, "10.0.0.100", 5060, "10.0.0.100"),),
        keys=Keyring([SECRET]),
        affinity_key=affinity_key("test"),
        instance=b"0000000a",
        vips=frozenset(("10.0.0.100",)),
    )
    return Router(table, Memory())


class Worker:
    """One of the two."""

    def __init__(self, secret: str = SECRET) -> None:
        self.router = make_router()
        self.events: list[Event] = []
        self.secret = secret
        self.handover: Handover
        self.name = ""

    @property
    def pending(self) -> int:
        return self.router.memory.pending.unanswered

    def invite(self, count: int) -> None:
        now = asyncio.get_running_loop().time()
        for number in range(count):
            data = INVITE.format(n=number).encode()
            origin = Origin(Transport.UDP, 0, 0, "192.0.2.10", 5060)
            assert isinstance(self.router.receive(data, origin, now), Forward)

    def told(self, name: EventName) -> list[Event]:
        return [event for event in self.events if event.name is name]


@pytest_asyncio.fixture
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Worker, Worker]]:
    """The first owns, the other one listens."""
    former, successor = Worker(), Worker(getattr(request, "param", SECRET))
    successor.handover = Handover(
        successor.router, [(HOST, 0)], {"former": (HOST, 1)}, [successor.secret],
        successor.events.append,
    )  # fmt: skip
    await successor.handover.start()
    place = successor.handover.places[0]
    former.handover = Handover(
        former.router, [], {"successor": place}, [SECRET], former.events.append
    )
    former.handover.standing_changed(True, True, [])
    yield former, successor
    for worker in (former, successor):
        await worker.handover.close()


def owner() -> PeerView:
    return PeerView(2, "successor", alive=True, owner=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10.0):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


async def test_all_that_waits_for_an_answer(pair: tuple[Worker, Worker]) -> None:
    former, successor = pair
    former.invite(200)
    former.handover.standing_changed(False, True, [])
    former.handover.standing_changed(False, False, [owner()])
    await former.handover.finished()
    assert (former.pending, successor.pending) == (0, 200)
    (told,) = former.told(EventName.REQUESTS_HANDED_OVER)
    assert (told.fields["requests"], told.fields["taken"]) == (200, 200)


async def test_what_was_answered_meanwhile_is_told_afterwards(pair: tuple[Worker, Worker]) -> None:
    former, successor = pair
    former.invite(3)
    former.handover.standing_changed(False, True, [])
    former.handover.standing_changed(False, True, [owner()])
    await until(lambda: successor.pending == 3)
    pending = former.router.memory.pending
    entry = next(iter(pending.waiting_for(1) + pending.waiting_for(2)))
    pending.answered(entry, 200, entry.begun, by=entry.newest.member)
    await former.handover.finished()
    assert successor.pending == 2


async def test_in_disorder_nothing_is_handed_over_and_all_forgotten(
    pair: tuple[Worker, Worker],
) -> None:
    """The other one has carried on without: what is kept here is not true any more."""
    former, successor = pair
    former.invite(5)
    former.handover.standing_changed(False, False, [])
    assert former.pending == 5, "nobody else owns yet: it may be ours again"
    former.handover.standing_changed(False, False, [owner()])
    assert (former.pending, successor.pending) == (0, 0)


async def test_owner_again_before_anybody_else_was(pair: tuple[Worker, Worker]) -> None:
    former, _ = pair
    former.invite(5)
    former.handover.standing_changed(False, True, [])
    former.handover.standing_changed(True, True, [])
    former.handover.standing_changed(True, True, [owner()])
    assert former.pending == 5


@pytest.mark.parametrize("pair", ["another secret altogether"], indirect=True)
async def test_only_with_the_secret_of_the_cluster(pair: tuple[Worker, Worker]) -> None:
    former, successor = pair
    former.invite(5)
    former.handover.standing_changed(False, True, [])
    former.handover.standing_changed(False, False, [owner()])
    await former.handover.finished()
    assert successor.pending == 0
    assert former.told(EventName.NOT_HANDED_OVER)


async def test_a_frame_is_good_once_and_in_its_place(pair: tuple[Worker, Worker]) -> None:
    """The nonce is the connection's: what was recorded of another one is refused."""
    _, successor = pair
    frame = Keys([SECRET]).sign(bytes(16), 0, b'{"requests":[]}')
    reader, writer = await asyncio.open_connection(*successor.handover.places[0])
    await reader.readexactly(16)
    writer.write(frame)
    assert await reader.read() == b""
    writer.close()


async def test_strangers_are_sent_away(pair: tuple[Worker, Worker]) -> None:
    former, _ = pair
    stranger = Handover(
        former.router, [(HOST, 0)], {"peer": ("192.0.2.1", 1)}, [SECRET], former.events.append
    )
    await stranger.start()
    reader, writer = await asyncio.open_connection(*stranger.places[0])
    assert await reader.read() == b""
    writer.close()
    await stranger.close()


async def test_an_address_that_is_taken_is_told(pair: tuple[Worker, Worker]) -> None:
    former, successor = pair
    place = successor.handover.places[0]
    second = Handover(former.router, [place], {}, [SECRET], former.events.append)
    await second.start()
    (told,) = former.told(EventName.CONFIG_WARNING)
    assert str(told.fields["why"]).startswith(f"[heartbeat] listen: TCP {HOST}:{place[1]}: ")
    await second.close()


async def test_nobody_takes_it(pair: tuple[Worker, Worker]) -> None:
    former, successor = pair
    await successor.handover.close()
    former.invite(1)
    former.handover.standing_changed(False, True, [])
    former.handover.standing_changed(False, False, [owner()])
    await former.handover.finished()
    assert former.told(EventName.NOT_HANDED_OVER)
    assert former.pending == 0


async def test_the_end_of_the_worker_in_the_midst_of_it_is_no_fault(
    pair: tuple[Worker, Worker],
) -> None:
    _, successor = pair
    faults: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, fault: faults.append(fault))
    others = asyncio.all_tasks()
    reader, writer = await asyncio.open_connection(*successor.handover.places[0])
    await reader.readexactly(NONCE_OCTETS)
    for task in asyncio.all_tasks() - others:
        task.cancel()
    assert await reader.read() == b"", "it is closed"
    writer.close()
    await asyncio.sleep(0)
    assert faults == []
