"""The election, event by event: what the simulation does not spell out."""

from __future__ import annotations

from rmlb.vip.ballot import (
    Announce,
    Answer,
    Beat,
    Claim,
    Claimed,
    Event,
    Health,
    Heard,
    LetGo,
    Own,
    Read,
    Record,
    Release,
    Send,
    Settings,
    Stop,
    Strangers,
    Takeover,
    Tick,
)
from rmlb.vip.election import Election

I = 0.1  # noqa: E741  # as in the rules
HEALTHY = Health(True, 10)


class Bench:
    """Balancer 1 of two, with a witness that the test plays."""

    def __init__(self, **settings: object) -> None:
        self.now = 100.0
        self.election = Election(Settings(id=1, interval_s=I, **settings), self.now)  # type: ignore[arg-type]
        self.give(HEALTHY)

    def give(self, event: Event) -> list[object]:
        return list(self.election.handle(event, self.now))

    def after(self, seconds: float, event: Event | None = None) -> list[object]:
        """Time passes in ticks of I/2, then the event."""
        done: list[object] = []
        end = self.now + seconds
        while self.now + I / 2 < end:
            self.now += I / 2
            done += self.give(Tick())
        self.now = end
        return done + self.give(event or Tick())

    def hear(self, **fields: object) -> list[object]:
        known = {"sender": 2, "epoch": 5, "n": 7, "ready": True, "score": 10} | fields
        return self.give(Heard(Beat(**known)))  # type: ignore[arg-type]

    def standby(self) -> Bench:
        """Balancer 2 owns, epoch 5, and the witness says so."""
        self.give(Read(Record(2, 5, 7), self.now))
        self.hear(owner=True, heard=1)
        return self

    def owning(self) -> Bench:
        """By a claim in the empty witness, balancer 2 being there."""
        self.hear(epoch=0, n=1)
        self.after(3 * I)
        self.hear(epoch=0, n=2, ready=False)
        self.give(Read(None, self.now))
        self.give(Strangers(True))
        self.give(Claimed(1, True, Record(1, 1, 5), self.now))
        assert self.election.owner
        self.hear(epoch=1, n=3, heard=self.election.n, ready=False)
        return self


def kinds(actions: list[object], kind: type) -> list[object]:
    return [action for action in actions if isinstance(action, kind)]


def test_a_standby_claims_after_three_intervals_and_not_before() -> None:
    bench = Bench().standby()
    bench.after(I, Read(Record(2, 5, 7), bench.now))
    assert not kinds(bench.after(1.9 * I), Claim)
    (claim,) = kinds(bench.after(0.2 * I, Read(Record(2, 5, 7), bench.now + 0.1 * I)), Claim)
    assert claim == Claim(Record(2, 5, 7), 6, bench.election.n)


def test_a_larger_stored_n_is_new_evidence() -> None:
    bench = Bench().standby()
    bench.after(2 * I, Read(Record(2, 5, 8), bench.now))
    assert not kinds(bench.after(2 * I), Claim)


def test_a_claim_that_was_answered_too_late_owns_nothing() -> None:
    bench = Bench().standby()
    bench.after(4 * I, Read(Record(2, 5, 7), bench.now))
    asked_at = bench.now
    bench.now += 2.5 * I
    assert not kinds(bench.give(Claimed(6, True, Record(1, 6, 9), asked_at)), Own)


def test_a_fresh_release_is_as_good_as_a_claim() -> None:
    bench = Bench().standby()
    bench.after(I / 2)
    released = bench.hear(n=8, release=True, heir=1, heard=bench.election.n)
    assert kinds(released, Own)


def test_a_stale_release_asks_the_witness() -> None:
    bench = Bench().standby()
    stale = bench.election.n
    bench.after(5 * I)
    released = bench.hear(n=8, release=True, heir=1, heard=stale)
    assert not kinds(released, Own)


def test_just_started_it_does_not_rely_on_the_recorded_owner_having_let_go() -> None:
    """A third one may own, confirmed by all but this one: it lets go once it hears this one."""
    bench = Bench(others=2)
    bench.give(Read(Record(2, 5, 7), bench.now))
    bench.hear(n=8, heard=1)
    assert not kinds(bench.after(2 * I, Read(Record(2, 5, 7), bench.now)), Claim)
    assert kinds(bench.after(1.1 * I, Read(Record(2, 5, 7), bench.now)), Claim)


def test_held_up_itself_it_takes_nobody_for_silent() -> None:
    bench = Bench(witness=False)
    bench.hear(owner=True, heard=1, blind=True, both_blind=True)
    bench.now += 30.0
    assert not kinds(bench.give(Tick()), Own)
    assert kinds(bench.after(3.1 * I), Own), "but after 3 I of silence"


def test_the_deadline_is_looked_at_first() -> None:
    bench = Bench().owning()
    bench.now += 30.0
    first = bench.give(Heard(Beat(2, 1, 9, heard=bench.election.n, ready=True)))[0]
    assert isinstance(first, LetGo)


def test_of_two_owners_the_lower_epoch_lets_go() -> None:
    bench = Bench().owning()
    assert kinds(bench.hear(epoch=0, n=9, owner=True, heard=bench.election.n), Announce)
    assert bench.election.owner
    assert kinds(bench.hear(epoch=2, n=10, owner=True, heard=bench.election.n), LetGo)


def test_release_needs_a_ready_peer_that_confirms() -> None:
    bench = Bench().owning()
    assert kinds(bench.give(Release()), Answer) == [
        Answer(False, "no other balancer is ready to take over")
    ]
    bench.hear(epoch=1, n=4, heard=bench.election.n)
    assert not kinds(bench.give(Release()), LetGo)
    handed = bench.hear(epoch=1, n=5, heard=bench.election.n)
    assert [type(each) for each in handed[:3]] == [Answer, LetGo, Send]
    assert kinds(handed, LetGo) == [LetGo("it was told to release it", finish=True)]
    assert kinds(handed, Send) == [Send(None, release=True, heir=2)]


def test_release_by_force_waits_to_be_told() -> None:
    bench = Bench().owning()
    assert kinds(bench.give(Release(force=True)), Answer) == [Answer(True)]
    assert not bench.election.candidate
    bench.give(Takeover())
    assert bench.election.candidate


def test_a_worker_that_stands_still_is_no_owner() -> None:
    bench = Bench().owning()
    bench.hear(epoch=1, n=4, heard=bench.election.n)
    assert kinds(bench.give(Health(False, 0)), LetGo)


def test_yields_to_a_better_score_after_three_heartbeats() -> None:
    bench = Bench().owning()
    for n in (4, 5):
        bench.hear(epoch=1, n=n, heard=bench.election.n, score=11)
    assert bench.election._handing is None
    bench.hear(epoch=1, n=6, heard=bench.election.n, score=11)
    assert kinds(bench.hear(epoch=1, n=7, heard=bench.election.n, score=11), LetGo)


def test_a_stopped_one_waits_to_be_told_or_for_an_owner_to_be_gone() -> None:
    bench = Bench(started=False)
    assert not bench.election.candidate
    bench.standby()
    assert bench.election.candidate, "it has seen a normal owner"


def test_told_to_stop_while_nobody_was_ready_it_hands_over_as_soon_as_somebody_is() -> None:
    """It refuses new calls meanwhile (HA-RULES 4: without a ready peer, drain first)."""
    bench = Bench().owning()
    assert kinds(bench.give(Stop()), Answer) == [
        Answer(False, "no other balancer is ready to take over")
    ]
    done = bench.hear(epoch=1, n=4, heard=bench.election.n, ready=False)
    assert not kinds(done, LetGo)
    done = bench.hear(epoch=1, n=5, heard=bench.election.n)
    assert Send(2) in done
    done = bench.hear(epoch=1, n=6, heard=bench.election.n)
    assert kinds(done, LetGo) == [LetGo("it stops", finish=True)]


def test_after_a_stop_it_is_no_candidate() -> None:
    bench = Bench().standby()
    assert kinds(bench.give(Stop()), Answer) == [Answer(False, "this balancer does not own it")]
    assert not bench.election.candidate
