"""A member of the pool as routing sees it: where it listens, what health and the operator say.

Immutable: health checks and operators change a member by publishing a new one in a new
routing table, never in place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from rmlb.sip.address import SipAddress, Transport


class Health(StrEnum):
    """What health checking says of a member (DESIGN 2)."""

    IN_SERVICE = "in service"
    SUSPECT = "suspect"
    REFUSING = "refusing"
    OUT_OF_SERVICE = "out of service"


class AdminState(StrEnum):
    """What the operator says of a member; independent of health, survives a restart."""

    ENABLED = "enabled"
    DRAINING = "draining"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Member:
    """One Resource Manager. `weight` is its share of new calls now (100 is normal, 0 is none)."""

    id: int
    addresses: tuple[SipAddress, ...]
    health: Health = Health.OUT_OF_SERVICE
    admin_state: AdminState = AdminState.ENABLED
    weight: int = 100
    share: int = 100
    """Its weight as configured, before slow start: what the hash of old calls went by."""
    excused: bool = False
    """This host's own way to every member is cut, or was: out of service says nothing of it."""

    @property
    def reachable(self) -> bool:
        """It answers, or may well: anything but silent or unreachable."""
        return self.health is not Health.OUT_OF_SERVICE or self.excused

    @property
    def lost(self) -> bool:
        """Its dialogs belong to the survivor: out of service or disabled (DESIGN 2)."""
        return not self.reachable or self.admin_state is AdminState.DISABLED

    @property
    def takes_new_calls(self) -> bool:
        """May be chosen for a call that belongs to no one yet."""
        return (
            self.health in (Health.IN_SERVICE, Health.SUSPECT)
            and self.admin_state is AdminState.ENABLED
            and self.weight > 0
        )

    @property
    def as_known(self) -> Member:
        """The same; suspect where it is excused, because nobody knows."""
        return replace(self, health=Health.SUSPECT) if self.excused else self

    def address_for(self, transport: Transport) -> SipAddress | None:
        """Its first address of that transport."""
        return next((a for a in self.addresses if a.transport is transport), None)
