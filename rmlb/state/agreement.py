"""What balancers that share a store must say alike, and how two versions of it become one. Pure.

    losses     the loss log: the union of what all know
    active     active-standby: the newest turn wins
    operator   the operator's words: of each member the newest

Every merge gives the same for the same pair whoever makes it, keeps what it kept before, and so
ends with everybody alike however often the store was away, empty, or written by two at once. Knows
nothing of the store; its documents are JSON (records.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from rmlb.state.succession import LARGEST_LOSS, KeptLoss, member_id, read_losses, whole

FRESH_S: Final = 2.0
"""A loss so young may still get another number: its member was given no dialog since."""

ONE_LOSS_S: Final = 10.0
"""Two balancers that both lost a member within this saw one loss: health checking of an idle pool
takes up to two intervals and a timeout, 5 s by default."""

_CAUTION: Final = {"enabled": 0, "draining": 1, "disabled": 2}


class Word(NamedTuple):
    """What the operator said of a member: `number` counts his words on it."""

    number: int
    state: str


@dataclass(frozen=True, slots=True)
class Losses:
    """The loss log; `at` in seconds since 1970. Two losses may have one number, of two members."""

    number: int = 0
    """Of the newest loss ever."""
    losses: tuple[KeptLoss, ...] = ()

    @property
    def names(self) -> frozenset[tuple[int, int]]:
        """What a loss is known by: number and member."""
        return frozenset((loss.number, loss.member) for loss in self.losses)


@dataclass(frozen=True, slots=True)
class Active:
    """Who gets the calls in active-standby mode. `turn` counts the decisions."""

    turn: int = 0
    active: int | None = None
    elected: int | None = None
    retiring: frozenset[int] = frozenset()


def merge_losses(ours: Losses, theirs: Losses, now: float, ttl_s: float) -> Losses:
    """The log of both. `now` in seconds since 1970; what is older than `ttl_s` is left out.

    A loss keeps its number, because dialogs carry it. Only one of ours that is fresh, and that
    they do not have, gives way: to one of theirs that is the same loss, else it goes behind
    theirs, so that every dialog under way with its member moves.
    """
    known = ours.names
    merged = {(x.number, x.member): x for x in theirs.losses if x.at > now - ttl_s}
    number = max(ours.number, theirs.number)
    later: list[KeptLoss] = []
    for loss in ours.losses:
        name = (loss.number, loss.member)
        if name in merged or loss.at <= now - ttl_s:
            continue
        fresh = now - loss.at < FRESH_S
        if fresh and _is_told_otherwise(loss, theirs, known):
            continue
        if fresh and (later or loss.number <= theirs.number):
            later.append(loss)
        else:
            merged[name] = loss
    for loss in later:
        number += 1
        merged[number, loss.member] = loss._replace(number=number)
    return Losses(number, tuple(merged[name] for name in sorted(merged)))


def _is_told_otherwise(loss: KeptLoss, theirs: Losses, known: frozenset[tuple[int, int]]) -> bool:
    """Somebody else recorded the same loss, and every dialog that ours would move moves by it."""
    return any(
        other.member == loss.member
        and other.number >= loss.number
        and (other.number, other.member) not in known
        and abs(other.at - loss.at) < ONE_LOSS_S
        for other in theirs.losses
    )


def merge_words(ours: Mapping[int, Word], theirs: Mapping[int, Word]) -> dict[int, Word]:
    """Of each member the newest word; of two equally new the more cautious."""
    merged = dict(theirs)
    for member, word in ours.items():
        there = merged.get(member)
        if there is None or _rank(word) > _rank(there):
            merged[member] = word
    return merged


def _rank(word: Word) -> tuple[int, int, str]:
    return word.number, _CAUTION.get(word.state, -1), word.state


# documents: `read_` raise ValueError, KeyError, TypeError or AttributeError for what is none


def losses_content(losses: Losses) -> dict[str, Any]:
    return {"number": losses.number, "losses": [list(loss) for loss in losses.losses]}


def read_losses_document(content: dict[str, Any] | None) -> Losses:
    if content is None:
        return Losses()
    return Losses(whole(content["number"], LARGEST_LOSS), read_losses(content["losses"]))


def active_content(active: Active) -> dict[str, Any]:
    return {
        "turn": active.turn,
        "active": active.active,
        "elected": active.elected,
        "retiring": sorted(active.retiring),
    }


def read_active(content: dict[str, Any] | None) -> Active:
    if content is None:
        return Active()
    active, elected = content["active"], content["elected"]
    return Active(
        whole(content["turn"]),
        None if active is None else member_id(active),
        None if elected is None else member_id(elected),
        frozenset(map(member_id, content["retiring"])),
    )


def words_content(words: Mapping[int, Word], beside: Mapping[str, Any]) -> dict[str, Any]:
    """`beside`: the members as found there; what later versions added to them stays."""
    members = dict(beside)
    for member, word in sorted(words.items()):
        found = members.get(str(member))
        more = found if isinstance(found, dict) else {}
        members[str(member)] = {**more, "state": word.state, "number": word.number}
    return {"members": members}


def read_words(content: dict[str, Any] | None, allowed: Iterable[str]) -> dict[int, Word]:
    """Words that this version does not know are passed over."""
    if content is None:
        return {}
    known = set(allowed)
    return {
        int(member): Word(whole(word["number"]), word["state"])
        for member, word in content["members"].items()
        if word["state"] in known
    }
