"""Where events leave the balancer: each one goes to whoever the configuration says wants it.

Listens to the event log, adds the alarms of `members` to it, and owns the lanes to commands,
webhooks and syslog. Never waits; what it has to say of its own failures are events, which no
command and no webhook gets.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from rmlb.alarms.document import ABOUT_ALARMS, Sender, make_document, matches
from rmlb.alarms.lane import Lane
from rmlb.alarms.members import MemberAlarms
from rmlb.alarms.reactions import Reaction, Threads
from rmlb.alarms.syslog import Syslog
from rmlb.alarms.webhooks import Webhook
from rmlb.config import Config, ReactionConfig, WebhookConfig
from rmlb.events import Event, EventLog, EventName, NumberedEvent, Severity, Value

CLOSE_S: Final = 2.0
"""What is under way when the balancer stops has so long to reach its receiver."""

_LEVELS: Final = {"debug": 0, "info": 1, "warning": 2, "error": 3}


@dataclass(frozen=True, slots=True, eq=False)
class _Lane:
    wanted: ReactionConfig | WebhookConfig
    lane: Lane


class Desk:
    """One balancer's."""

    def __init__(
        self,
        config: Config,
        log: EventLog,
        instance: str,
        is_owner: Callable[[], bool],
    ) -> None:
        """`instance` differs with every start; `is_owner`: this balancer holds the VIP now."""
        self._config = config
        self._log = log
        self._is_owner = is_owner
        balancer = str(config.heartbeat.id or socket.gethostname())
        self._sender = Sender(config.cluster.name, balancer, instance)
        self._members = MemberAlarms({})
        self._threads = Threads()
        self._lanes: list[_Lane] = []
        self._syslog: Lane | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """Deliveries by channel (reaction, webhook, syslog) and outcome (done, failed, lost)."""

    def start(self, admin_states: Mapping[int, str]) -> None:
        """Listen from now on. `admin_states`: the operator's words kept from before."""
        self._members = MemberAlarms(admin_states)
        self._open()
        self._log.listen(self._on_event)

    def configure(self, config: Config) -> None:
        """Go on under a new configuration; lanes that stay the same keep what waits in them."""
        former, syslog = self._lanes, self._syslog
        if config.log == self._config.log:
            syslog = None
        else:
            self._syslog = None
        self._config = config
        self._open()
        gone = [each.lane for each in former if each not in self._lanes]
        if syslog is not None:
            gone.append(syslog)
        for lane in gone:
            task = asyncio.get_running_loop().create_task(lane.close(CLOSE_S), name="close lane")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Deliver what waits, for a moment; then end what runs."""
        lanes = [each.lane for each in self._lanes]
        if self._syslog is not None:
            lanes.append(self._syslog)
        await asyncio.gather(*(lane.close(CLOSE_S) for lane in lanes), *self._closing)
        self._threads.close()

    def _open(self) -> None:
        """The lanes that the configuration wants, those that there are among them."""
        there = list(self._lanes)
        self._lanes = []
        every: list[ReactionConfig | WebhookConfig] = [*self._config.reaction]
        every += self._config.webhook
        for wanted in every:
            same = next((each for each in there if each.wanted == wanted), None)
            if same is not None:
                there.remove(same)
            self._lanes.append(same or _Lane(wanted, self._lane_to(wanted)))
        target = self._config.log.syslog
        if target is not None and self._syslog is None:
            self._syslog = self._lane("syslog", Syslog(self._config.log, target, self._tell))

    def _lane_to(self, wanted: ReactionConfig | WebhookConfig) -> Lane:
        if isinstance(wanted, ReactionConfig):
            return self._lane("reaction", Reaction(wanted, self._threads, self._tell))
        return self._lane("webhook", Webhook(wanted, self._tell))

    def _lane(self, channel: str, receiver: Reaction | Webhook | Syslog) -> Lane:
        name = EventName(f"{channel}-failed")
        return Lane(
            channel,
            receiver,
            self.outcomes,
            lambda: self._tell(name, {"why": "too many events wait: the oldest are lost"}),
        )

    def _on_event(self, entry: NumberedEvent) -> None:
        event = entry.event
        owner = self._is_owner()
        document = make_document(entry, self._sender, owner=owner)
        if event.name not in ABOUT_ALARMS:
            for each in self._lanes:
                if matches(each.wanted.on, event.name) and (owner or not each.wanted.owner_only):
                    each.lane.put((entry, document))
        # of its own failures syslog is not told: that could go on for ever
        loud = _LEVELS[event.severity] >= _LEVELS[self._config.log.level]
        if self._syslog is not None and loud and event.name is not EventName.SYSLOG_FAILED:
            self._syslog.put((entry, document))
        alarm = self._members.on_event(event)
        if alarm is not None:
            self._log.add(alarm)

    def _tell(self, name: EventName, fields: dict[str, Value]) -> None:
        self._log.add(Event(name, time.time(), Severity.WARNING, fields))
