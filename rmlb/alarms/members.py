"""What several events together say of a member: it stopped, intentionally or not; it is back. Pure.

The two alarm conditions of the Genesys guide ("stopped unexpectedly", "stopped intentionally"),
each told once for each stop, and the end of it told once. Intentionally means: an operator
disabled it, or drained it until it was empty; or it said no to calls (503, 603) before it left.
One that is out of service because of the balancer's own interface (`cause`) has not stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rmlb.events import Event, EventName, Severity, Value

_HEALTH: Final = {
    EventName.MEMBER_IN_SERVICE,
    EventName.MEMBER_SUSPECT,
    EventName.MEMBER_REFUSING,
    EventName.MEMBER_OUT_OF_SERVICE,
}


class MemberAlarms:
    """All members, as their events tell of them."""

    def __init__(self, admin_states: Mapping[int, str]) -> None:
        """`admin_states`: words kept from before this process; those members are no news."""
        self._admin = dict(admin_states)
        self._health: dict[int, EventName] = {}
        self._stopped = {member for member, word in admin_states.items() if word == "disabled"}

    def on_event(self, event: Event) -> Event | None:
        """The alarm that this event amounts to, if any."""
        member = event.fields.get("member")
        if not isinstance(member, int):
            return None
        why = str(event.fields.get("why", ""))
        if event.name in _HEALTH:
            self._health[member] = event.name
            if event.name is EventName.MEMBER_OUT_OF_SERVICE and "cause" not in event.fields:
                return self._left(member, str(event.fields.get("from")), why, event.at)
        elif event.name is EventName.ADMIN_STATE_CHANGED:
            self._admin[member] = str(event.fields.get("to"))
            if self._admin[member] == "disabled":
                return self._stops(member, "disabled", why, event.at)
        elif event.name is EventName.MEMBER_DRAINED:
            if why != "operator":
                return None  # after a switch-over it is passive, not stopped
            self._admin[member] = "draining"  # an empty one is drained before it is told to drain
            return self._stops(member, "drained", why, event.at)
        else:
            return None
        return self._back(member, why, event.at)

    def _left(self, member: int, before: str, why: str, at: float) -> Event | None:
        word = self._admin.get(member, "enabled")
        if word != "enabled":
            return self._stops(member, word, why, at)
        if before == "refusing":
            return self._stops(member, "refused calls", why, at)
        return self._stops(member, None, why, at)

    def _stops(self, member: int, intention: str | None, why: str, at: float) -> Event | None:
        if member in self._stopped:
            return None
        self._stopped.add(member)
        fields: dict[str, Value] = {"member": member, "why": why}
        if intention is None:
            return Event(EventName.MEMBER_STOPPED_UNEXPECTEDLY, at, Severity.ERROR, fields)
        fields["intention"] = intention
        return Event(EventName.MEMBER_STOPPED_INTENTIONALLY, at, Severity.WARNING, fields)

    def _back(self, member: int, why: str, at: float) -> Event | None:
        enabled = self._admin.get(member, "enabled") == "enabled"
        serving = self._health.get(member) is EventName.MEMBER_IN_SERVICE
        if member not in self._stopped or not (enabled and serving):
            return None
        self._stopped.discard(member)
        return Event(EventName.MEMBER_BACK, at, Severity.INFO, {"member": member, "why": why})
