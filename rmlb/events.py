"""What happened, named once: state changes that people want to see, now and afterwards.

Owns the names, the bounded log of recent events with its subscribers, and how an event (or
any log record of a library) becomes one line on stderr. Knows nothing of who causes or
watches events. Never for packets: an event is a change of state, so a healthy balancer
under full load is silent. To be used from the event loop's thread only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple, TextIO

import orjson
import structlog

RECENT_EVENTS: Final = 1000
"""Events kept for late watchers: at some 500 octets each half a megabyte, and days of a
healthy site."""

SUBSCRIBER_QUEUE: Final = 256
"""Events waiting for one slow watcher. Beyond that its oldest are lost, and the gap in the
numbers tells it so; a watcher that does not read must not cost memory."""

HIDDEN: Final = "***"

Value = str | int | float | bool | None


class EventName(StrEnum):
    """Every event there is. The values are part of the outside interface."""

    STARTED = "started"
    STOPPING = "stopping"
    STOPPED = "stopped"
    RELOADED = "reloaded"
    CONFIG_REJECTED = "config-rejected"
    CONFIG_WARNING = "config-warning"
    LISTENING = "listening"
    READY = "ready"
    NOT_READY = "not-ready"
    MEMBER_IN_SERVICE = "member-in-service"
    MEMBER_SUSPECT = "member-suspect"
    MEMBER_REFUSING = "member-refusing"
    MEMBER_OUT_OF_SERVICE = "member-out-of-service"
    ADMIN_STATE_CHANGED = "admin-state-changed"
    ACTIVE_MEMBER_CHANGED = "active-member-changed"
    FAILOVERSCRIPT_ENDED = "failoverscript-ended"
    FAILOVERSCRIPT_FAILED = "failoverscript-failed"
    MEMBER_DRAINED = "member-drained"
    MEMBER_NOT_DRAINED = "member-not-drained"
    OPERATOR_STATE_NOT_KEPT = "operator-state-not-kept"
    OPERATOR_STATE_SET_ASIDE = "operator-state-set-aside"
    OWNER_CHANGED = "owner-changed"
    OWNER_KNOWN = "owner-known"
    NOT_HANDED_OVER = "not-handed-over"
    REQUESTS_HANDED_OVER = "requests-handed-over"
    PEER_LOST = "peer-lost"
    PEER_BACK = "peer-back"
    PEER_LEFT = "peer-left"
    WITNESS_LOST = "witness-lost"
    WITNESS_BACK = "witness-back"
    ALONE = "alone"
    TWO_OWNERS = "two-owners"
    STRANGER_ON_VIP = "stranger-on-vip"
    ADDRESS_FAILED = "address-failed"
    LEFTOVER_REMOVED = "leftover-removed"
    NIC_DOWN = "nic-down"
    NIC_UP = "nic-up"
    GATEWAY_LOST = "gateway-lost"
    GATEWAY_BACK = "gateway-back"
    CONFIGURATION_DIFFERS = "configuration-differs"
    WORKER_DIED = "worker-died"
    WORKER_STILL = "worker-still"
    LOSS_LOG_NOT_KEPT = "loss-log-not-kept"
    LOSS_LOG_SET_ASIDE = "loss-log-set-aside"
    MEMBER_STOPPED_UNEXPECTEDLY = "member-stopped-unexpectedly"
    MEMBER_STOPPED_INTENTIONALLY = "member-stopped-intentionally"
    MEMBER_BACK = "member-back"
    REACTION_FAILED = "reaction-failed"
    WEBHOOK_FAILED = "webhook-failed"
    SYSLOG_FAILED = "syslog-failed"
    STATE_STORE_LOST = "state-store-lost"
    STATE_STORE_BACK = "state-store-back"
    STATE_STORE_NOT_UNDERSTOOD = "state-store-not-understood"
    SOURCE_LIMITED = "source-limited"
    FAULT = "fault"


class Severity(StrEnum):
    """How much an operator should care; the values are the log levels."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `at` is the wall clock in seconds since 1970 (UTC).

    Text in `fields` is UTF-8 whoever made it up: octets that are none (of a file name, of a URL)
    are escaped, or neither the log nor the API could show the event.
    """

    name: EventName
    at: float
    severity: Severity = Severity.INFO
    fields: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(isinstance(each, str) and _SURROGATE.search(each) for each in self.fields.values()):
            object.__setattr__(self, "fields", {k: _utf8(v) for k, v in self.fields.items()})


_SURROGATE = re.compile("[\ud800-\udfff]")


def _utf8(value: Value) -> Value:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return value


def member_health_changed(
    member: int, before: str, after: str, why: str, at: float, cause: str | None = None
) -> Event:
    """The event of a transition; `before` and `after` are the words of `Health`.

    `cause`: what of this host's own is to blame, so that the member need not have stopped.
    """
    name = EventName(f"member-{after.replace(' ', '-')}")
    severity = Severity.INFO if name is EventName.MEMBER_IN_SERVICE else Severity.WARNING
    if name is EventName.MEMBER_OUT_OF_SERVICE and cause is None:
        severity = Severity.ERROR
    fields = _change(member, before, after, why)
    return Event(name, at, severity, fields if cause is None else {**fields, "cause": cause})


def admin_state_changed(member: int, before: str, after: str, why: str, at: float) -> Event:
    """The event of an operator's word; `before` and `after` are the words of `AdminState`."""
    return Event(
        EventName.ADMIN_STATE_CHANGED, at, Severity.INFO, _change(member, before, after, why)
    )


def _change(member: int, before: str, after: str, why: str) -> dict[str, Value]:
    return {"member": member, "from": before, "to": after, "why": why}


class NumberedEvent(NamedTuple):
    """An event with its place in the log; numbers start at 1 and have no gaps."""

    number: int
    event: Event


class Subscription:
    """What one watcher has not read yet."""

    def __init__(self) -> None:
        self._waiting: deque[NumberedEvent] = deque(maxlen=SUBSCRIBER_QUEUE)
        self._arrived = asyncio.Event()

    def put(self, entry: NumberedEvent) -> None:
        self._waiting.append(entry)
        self._arrived.set()

    async def next(self) -> NumberedEvent:
        """The oldest unread event; waits for one."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()


class EventLog:
    """The recent events, and those who watch for new ones."""

    def __init__(
        self, size: int = RECENT_EVENTS, sink: Callable[[Event], None] | None = None
    ) -> None:
        """`sink` gets every event once; None writes it to the log."""
        self._recent: deque[NumberedEvent] = deque(maxlen=size)
        self._number = 0
        self._sink = write_log if sink is None else sink
        self._subscriptions: set[Subscription] = set()
        self._listeners: list[Callable[[NumberedEvent], None]] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        """Events since start, by name and severity."""

    def add(self, event: Event) -> NumberedEvent:
        """Record, log and publish an event; secrets in its fields are hidden first."""
        self._number += 1
        entry = NumberedEvent(self._number, replace(event, fields=redacted(event.fields)))
        self._recent.append(entry)
        self.counts[str(event.name), str(event.severity)] += 1
        self._sink(entry.event)
        for subscription in self._subscriptions:
            subscription.put(entry)
        for listener in self._listeners:
            listener(entry)
        return entry

    def listen(self, listener: Callable[[NumberedEvent], None]) -> None:
        """Call it with each event from now on, in the same moment; it must neither wait nor fail.

        What it adds itself comes after the event that it was called with.
        """
        self._listeners.append(listener)

    def recent(self, after: int = 0) -> list[NumberedEvent]:
        """The kept events with a number above `after`, oldest first."""
        return [entry for entry in self._recent if entry.number > after]

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """Watch for new events inside the `with` block."""
        subscription = Subscription()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    @property
    def subscribers(self) -> int:
        return len(self._subscriptions)


_SECRET_KEY = re.compile(r"token|secret|password|passwd|authorization|hash[-_]key", re.IGNORECASE)
_URL_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def redacted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without secrets: by their key, and user:password in URLs."""
    return {key: _safe_value(key, value) for key, value in fields.items()}


def _safe_value(key: str, value: Any) -> Any:
    if value is not None and _SECRET_KEY.search(key):
        return HIDDEN
    if isinstance(value, str):
        return _URL_CREDENTIALS.sub(f"{HIDDEN}@", value)
    return value


def write_log(event: Event) -> None:
    """One line on stderr. A reader of stderr that has gone away stops no balancer."""
    log = structlog.get_logger()
    try:
        log.log(_LEVELS[event.severity], str(event.name), at=event.at, **event.fields)
    except (OSError, ValueError):  # a closed pipe, a closed file
        return


_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def log_setup(level: str, format: Literal["text", "json"], stream: TextIO | None = None) -> None:
    """Send events and the records of libraries to `stream` (stderr), one line each.

    `level` is debug, info, warning or error; `format` is text (key=value) or json.
    """
    target = sys.stderr if stream is None else stream
    number = _LEVELS[level]
    shared: list[Any] = [structlog.stdlib.add_log_level, _stamp, _hide_secrets]
    renderer: Renderer = _as_json if format == "json" else _as_text
    if _is_journal(target):
        renderer = _prioritized(renderer)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _name_fault],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))


Renderer = Callable[[Any, str, MutableMapping[str, Any]], str]

_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Of syslog, by level: what the journal takes from a line that begins with <N>."""


def _is_journal(stream: TextIO) -> bool:
    """systemd has connected the stream to the journal and says so in $JOURNAL_STREAM."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # no file behind it
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _prioritized(renderer: Renderer) -> Renderer:
    """The same lines, each with its priority in front (sd-daemon(3))."""

    def render(logger: Any, method: str, line: MutableMapping[str, Any]) -> str:
        priority = _PRIORITIES.get(str(line.get("level")), 6)
        return f"<{priority}>{renderer(logger, method, line)}"

    return render


def _stamp(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An event brings its own time; a record of a library gets the present one."""
    at = line.pop("at", None)
    moment = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    line["time"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return line


def _hide_secrets(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> dict[str, Any]:
    return redacted(line)


def _name_fault(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> dict[str, Any]:
    """A record of a library: its text is the reason, its traceback stays on the line."""
    text = line.pop("event", "")
    exception = line.pop("exc_info", None)
    if isinstance(exception, tuple) and exception[1] is not None:
        line["exception"] = structlog.processors.ExceptionRenderer()(
            None, "", {"exc_info": exception}
        )["exception"]
    return {**line, "event": str(EventName.FAULT), "why": text}


_FIRST: Final = ("time", "level", "event")


def _in_order(line: MutableMapping[str, Any]) -> dict[str, Any]:
    return {key: line[key] for key in _FIRST if key in line} | dict(line)


def as_text(event: Event) -> str:
    """The event as in the log, without time and level: one line of key=value."""
    return _as_text(None, "", {"event": str(event.name), **event.fields})


def _as_text(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> str:
    return " ".join(f"{key}={_quoted(value)}" for key, value in _in_order(line).items())


def _quoted(value: Any) -> str:
    """A value on one line, in quotes where it would not read as one word."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = _CONTROL.sub(_escaped, str(value).replace("\\", "\\\\"))
    if text and not any(char in ' ="' for char in text):
        return text
    return '"' + text.replace('"', '\\"') + '"'


def _escaped(match: re.Match[str]) -> str:
    return "\\n" if match[0] == "\n" else f"\\x{ord(match[0]):02x}"


def _as_json(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> str:
    return orjson.dumps(_in_order(line), default=str, option=orjson.OPT_NON_STR_KEYS).decode()
