"""Every target, by name."""

from __future__ import annotations

from admin_targets import TARGETS as ADMIN
from config_targets import TARGETS as CONFIG
from engine_targets import TARGETS as ENGINE
from heartbeat_targets import TARGETS as HEARTBEAT
from sip_targets import TARGETS as SIP
from stored_targets import TARGETS as STORED
from target import Target
from telling_targets import TARGETS as TELLING

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (*SIP, *ENGINE, *HEARTBEAT, *CONFIG, *ADMIN, *STORED, *TELLING)
}
