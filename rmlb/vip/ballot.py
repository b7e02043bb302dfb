"""The election's words: what a balancer is told (events), what it is to do (actions). PURE.

`vip.election` decides; vip.holding gives it the events and carries out the actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Settings:
    """What does not change while the keeper runs."""

    id: int
    others: int = 1
    """Balancers besides this one."""
    interval_s: float = 0.1
    witness: bool = True
    """A witness is configured."""
    lone_s: float = 30.0
    alone_keep: bool = True
    preempt: bool = False
    started: bool = True
    """`initial-state`: False does not claim until told, or until an owner was seen and is gone."""
    blind_s: float = 0.1
    """Least time without an answer of the witness after which it is "no witness"."""


class Beat(NamedTuple):
    """What one heartbeat says, from one balancer to one other."""

    sender: int
    epoch: int
    n: int
    heard: int = 0
    """The receiver's newest n that the sender has got."""
    owner: bool = False
    ready: bool = False
    """Could own: healthy enough, may claim."""
    score: int = 0
    blind: bool = False
    """No witness for 3 I."""
    both_blind: bool = False
    """Blind, and the receiver's newest heartbeat said blind."""
    alone: bool = False
    """Owns without having asked anybody: yields to whoever owns by the rules."""
    claiming: bool = False
    """Has asked the witness, and may own before its next heartbeat."""
    goodbye: bool = False
    wants: bool = False
    """Asks the owner to hand over."""
    release: bool = False
    """The owner has let go; n is its last."""
    heir: int = 0
    """Of a release: who takes over; 0: whoever can."""


class Record(NamedTuple):
    """The lease record in the witness."""

    owner: int
    epoch: int
    n: int
    lone: bool = False
    released: bool = False


# -- events -------------------------------------------------------------------------------------


class Tick(NamedTuple):
    """Time has passed: to be given at least every I, and when `next_at` is reached."""


class Heard(NamedTuple):
    """An authentic heartbeat. `verified`: it echoes our nonce, so it is no replay."""

    beat: Beat
    verified: bool = True


class Read(NamedTuple):
    """The witness answered; the request left at `asked_at`."""

    record: Record | None
    asked_at: float


class Renewed(NamedTuple):
    """The witness took the renewal, or (not `taken`) says who owns."""

    n: int
    taken: bool
    record: Record | None
    asked_at: float


class Claimed(NamedTuple):
    """The witness took the claim, or says why not."""

    epoch: int
    taken: bool
    record: Record | None
    asked_at: float


class Unanswered(NamedTuple):
    """The witness did not answer a request, or refused the connection."""


class Health(NamedTuple):
    """What the host and the worker are worth. Not ready: the worker is dead or stands still."""

    ready: bool
    score: int


class Strangers(NamedTuple):
    """The end of a stranger check."""

    clean: bool


class Takeover(NamedTuple):
    """The operator wants this balancer to own."""


class Release(NamedTuple):
    """The operator wants another one to own."""

    force: bool = False


class Stop(NamedTuple):
    """This balancer is to end: hand over, and say goodbye by `Farewell`."""


class Farewell(NamedTuple):
    """It ends now."""


Event = (
    Tick | Heard | Read | Renewed | Claimed | Unanswered | Health
    | Strangers | Takeover | Release | Stop | Farewell
)  # fmt: skip


# -- actions ------------------------------------------------------------------------------------


class Send(NamedTuple):
    """Send a heartbeat to this balancer, or (None) to all: `beat_for` says what."""

    to: int | None = None
    release: bool = False
    heir: int = 0
    wants: bool = False
    goodbye: bool = False


class Renew(NamedTuple):
    """Write the lease; also where there is none, or an older epoch's."""

    epoch: int
    n: int
    lone: bool


class Claim(NamedTuple):
    """Compare-and-set: `expected` is what the record must be (n: at most), None: missing."""

    expected: Record | None
    epoch: int
    n: int


class ReadRecord(NamedTuple):
    """Read the lease record."""


class GiveBack(NamedTuple):
    """Mark the record as released."""

    epoch: int
    n: int


class Own(NamedTuple):
    """Add the VIP and announce it."""

    epoch: int
    why: str


class LetGo(NamedTuple):
    """Remove the VIP. `finish`: what is queued may still be dealt with."""

    why: str
    finish: bool = False


class Announce(NamedTuple):
    """Say again where the VIP is: another one has just let go of it."""


class CheckStrangers(NamedTuple):
    """Ask whether anybody unknown has the VIP; answered by `Strangers`."""


class Tell(NamedTuple):
    """Something that people want to know."""

    what: str
    fields: dict[str, int | float | str]
    grave: bool = False


class Answer(NamedTuple):
    """How a command ended; `why` says why not."""

    done: bool
    why: str = ""


Action = (
    Send | Renew | Claim | ReadRecord | GiveBack | Own | LetGo | Announce
    | CheckStrangers | Tell | Answer
)  # fmt: skip
