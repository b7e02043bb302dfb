"""Active-standby as a table: events in, active and retiring members out."""

from __future__ import annotations

from typing import Any

import pytest

from rmlb.health.activity import SETTLE_S, Activity, ActivityError, Change
from rmlb.routing.member import AdminState, Health, Member

HEALTH = {
    "in": Health.IN_SERVICE,
    "sus": Health.SUSPECT,
    "ref": Health.REFUSING,
    "out": Health.OUT_OF_SERVICE,
    "?": Health.SUSPECT,
}
STATES = {"drain": AdminState.DRAINING, "off": AdminState.DISABLED, "": AdminState.ENABLED}


class Stage:
    """Plays steps: "1=in 2=out/off" says how members are (? is unheard), "+3" lets time pass,
    "switch", "switch 1", "told 1", "taken 1", "retired 1" are what people say.
    """

    def __init__(self, **kept: Any) -> None:
        self.activity = Activity(**kept)
        self.now = 100.0
        self.members: dict[int, Member] = {}
        self.unheard: set[int] = set()

    def play(self, step: str) -> Change | None:
        word, _, rest = step.partition(" ")
        if word.startswith("+"):
            self.now += float(word[1:])
            return self.activity.on_time(self.now)
        if word == "switch":
            return self.activity.on_switchover(int(rest) if rest else None)
        if word == "told":
            return self.activity.on_told(int(rest))
        if word == "taken":
            self.activity.on_taken_away(int(rest))
            return None
        if word == "retired":
            self.activity.retired(int(rest))
            return None
        for part in step.split():
            number, _, how = part.partition("=")
            health, _, state = how.partition("/")
            member = Member(int(number), (), HEALTH[health], STATES[state])
            self.members[member.id] = member
            self.unheard -= {member.id}
            if health == "?":
                self.unheard.add(member.id)
        return self.activity.on_members(dict(self.members), self.unheard, self.now)

    @property
    def shown(self) -> str:
        """Active and retiring: "2", "1 <2", "-"."""
        retiring = "".join(f" <{member}" for member in sorted(self.activity.retiring))
        return f"{self.activity.active or '-'}{retiring}"


START = ("1=in 2=in", "2")

TABLE: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("the highest in service", {}, [START]),
    ("of three", {}, [("1=in 2=in 3=in", "3")]),
    ("the higher answers later", {}, [("1=in 2=?", "-"), ("2=in", "2")]),
    ("the higher turns out dead", {}, [("1=in 2=?", "-"), ("2=out", "1")]),
    ("the higher is refusing", {}, [("1=in 2=?", "-"), ("2=ref", "1")]),
    ("the higher says nothing", {},
     [("1=in 2=?", "-"), (f"+{SETTLE_S - 0.1}", "-"), ("+0.1", "1"), ("2=in", "1")]),
    ("nobody there, then one after the other", {},
     [("1=out 2=out", "-"), ("1=in", "1"), ("2=in", "1")]),
    ("a drained one is not waited for", {}, [("1=in 2=?/drain", "1")]),
    ("nobody heard in time, the doubtful one must do", {},
     [("1=out 2=?", "-"), (f"+{SETTLE_S}", "2"), ("2=out", "2"), ("1=in", "1")]),
    ("lost, and no fail-back", {}, [START, ("2=sus", "2"), ("2=out", "1"), ("2=in", "1")]),
    ("lost to the highest that is left", {}, [("1=in 2=in 3=in", "3"), ("3=out", "2")]),
    ("a suspicion moves nobody", {}, [START, ("2=sus", "2"), ("2=in", "2")]),
    ("lost, and the other is only suspect", {}, [START, ("1=sus", "2"), ("2=out", "1")]),
    ("both lost, the first to return", {},
     [START, ("2=out", "1"), ("1=out", "1"), ("2=in", "2"), ("1=in", "2")]),
    ("both lost, it returns itself", {}, [START, ("1=out", "2"), ("2=out", "2"), ("2=in", "2")]),
    ("refusing: its dialogs stay", {}, [START, ("2=ref", "1 <2"), ("2=in", "1 <2")]),
    ("refusing with nobody else", {}, [START, ("1=out", "2"), ("2=ref", "2"), ("1=in", "1 <2")]),
    ("both refuse", {}, [START, ("1=ref", "2"), ("2=ref", "2")]),
    ("disabled: at once", {}, [START, ("2=in/off", "1"), ("2=in", "1")]),
    ("drained: a switch-over", {}, [START, ("2=in/drain", "1 <2"), ("2=in", "1 <2")]),
    ("drained with nobody else", {}, [("1=out 2=in", "2"), ("2=in/drain", "2"), ("1=in", "1 <2")]),
    ("retired", {}, [START, ("switch", "1 <2"), ("retired 2", "1")]),
    ("lost while retiring", {}, [START, ("switch", "1 <2"), ("2=out", "1"), ("2=in", "1")]),
    ("the new one dies while the old one retires", {},
     [START, ("switch", "1 <2"), ("1=out", "2"), ("1=in", "2")]),
    ("switched back half-way", {}, [START, ("switch", "1 <2"), ("switch", "2 <1")]),
    ("switched to where it is", {}, [START, ("switch 2", "2")]),
    ("of three to the highest other", {}, [("1=in 2=in 3=in", "3"), ("switch", "2 <3")]),
    ("of three to the named", {}, [("1=in 2=in 3=in", "3"), ("switch 1", "1 <3")]),
    ("preempt: the highest comes back", {"preempt": True},
     [START, ("2=out", "1"), ("2=sus", "1"), ("2=in", "2 <1")]),
    ("preempt, but the operator's word holds while it can", {"preempt": True},
     [START, ("switch", "1 <2"), ("2=in", "1 <2"), ("1=out", "2"), ("1=in", "2")]),
    ("preempt, and the operator's choice is lost for good", {"preempt": True},
     [("1=in 2=in 3=in", "3"), ("switch 1", "1 <3"), ("1=out", "3"), ("1=in", "3")]),
    ("told: the Resource Managers' election outranks ours", {}, [START, ("told 1", "1 <2")]),
    ("told before it answers", {}, [("1=out 2=in", "2"), ("told 1", "2"), ("1=in", "1 <2")]),
    ("told, lost, back", {}, [START, ("told 1", "1 <2"), ("1=out", "2"), ("1=in", "1 <2")]),
    ("told, refusing, back", {}, [START, ("told 1", "1 <2"), ("1=ref", "2 <1"), ("1=in", "1 <2")]),
    ("told of another", {}, [START, ("told 1", "1 <2"), ("told 2", "2 <1")]),
    ("told, then the operator switches", {},
     [START, ("told 1", "1 <2"), ("switch", "2 <1"), ("1=in", "2 <1")]),
    ("told, then taken away by the operator", {},
     [START, ("told 1", "1 <2"), ("taken 1", "1 <2"), ("1=in/off", "2"), ("1=in", "2")]),
    ("switched, then told", {}, [START, ("switch 1", "1 <2"), ("told 2", "2 <1")]),
    ("kept over a restart", {"active": 1}, [("1=? 2=?", "1"), ("2=in", "1"), ("1=in", "1")]),
    ("kept, but it died meanwhile", {"active": 1},
     [("1=? 2=?", "1"), ("2=in", "1"), ("1=out", "2")]),
    ("kept, retiring goes on", {"active": 1, "retiring": {2}},
     [("1=? 2=?", "1 <2"), ("1=in", "1 <2")]),
    ("kept election", {"active": 2, "elected": 1},
     [("1=? 2=?", "2"), ("2=in", "2"), ("1=in", "1 <2")]),
    ("kept member that is gone", {"active": 3}, [("1=in 2=in", "2")]),
    ("a member taken out of the configuration", {"retiring": {7}}, [START]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kept", "steps"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_table(kept: dict[str, Any], steps: list[tuple[str, str]]) -> None:
    stage = Stage(**kept)
    for step, wanted in steps:
        before = stage.activity.active
        change = stage.play(step)
        assert stage.shown == wanted, step
        if stage.activity.active != before:
            assert change is not None, step
            assert (change.before, change.after) == (before, stage.activity.active)
        else:
            assert change is None, step


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (["1=in 2=in"], "the highest member ID in service"),
        (["1=in 2=in", "2=out"], "member 2 is out of service"),
        (["1=in 2=in", "2=ref"], "member 2 is refusing"),
        (["1=in 2=in", "2=in/drain"], "member 2 is draining"),
        (["1=in 2=in", "2=in/off"], "member 2 is disabled"),
        (["1=sus 2=in", "2=out"], "member 2 is out of service; nobody else is in service"),
        (["1=in 2=in", "switch"], "switch-over"),
        (["1=in 2=in", "told 1"], "the Resource Managers' own election chose it"),
    ],
)
def test_every_change_says_why(steps: list[str], why: str) -> None:
    stage = Stage()
    changes = [stage.play(step) for step in steps]
    assert changes[-1] is not None
    assert changes[-1].why == why


@pytest.mark.parametrize(
    ("members", "step", "error"),
    [
        ("1=out 2=in", "switch", "no other member is in service and enabled"),
        ("1=in/drain 2=in", "switch", "no other member is in service and enabled"),
        ("1=out 2=in", "switch 1", "member 1 is out of service: it cannot take the calls"),
        ("1=sus 2=in", "switch 1", "member 1 is suspect: it cannot take the calls"),
        ("1=in/off 2=in", "switch 1", "member 1 is disabled: it cannot take the calls"),
        ("1=in/off 2=in", "told 1", "member 1 is disabled: enable it first"),
        ("1=in/drain 2=in", "told 1", "member 1 is draining: enable it first"),
    ],
)
def test_what_cannot_be_done_changes_nothing(members: str, step: str, error: str) -> None:
    stage = Stage()
    stage.play(members)
    with pytest.raises(ActivityError) as caught:
        stage.play(step)
    assert str(caught.value) == error
    assert (stage.shown, stage.activity.elected) == ("2", None)


def test_time_alone_changes_nothing_once_somebody_is_active() -> None:
    stage = Stage()
    stage.play("1=in 2=in")
    stage.play("1=? 2=in")
    assert stage.play("+1000") is None
