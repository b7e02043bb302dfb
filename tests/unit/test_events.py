"""Events: names, the bounded log and its watchers, one line each, never a secret."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from rmlb.events import (
    SUBSCRIBER_QUEUE,
    Event,
    EventLog,
    EventName,
    Severity,
    admin_state_changed,
    log_setup,
    member_health_changed,
    redacted,
    write_log,
)

AT = 1_700_000_000.25
STAMP = "2023-11-14T22:13:20.250Z"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def started(number: int) -> Event:
    return Event(EventName.STARTED, AT, fields={"n": number})


class TestMaking:
    @pytest.mark.parametrize(
        ("after", "name", "severity"),
        [
            ("in service", EventName.MEMBER_IN_SERVICE, Severity.INFO),
            ("suspect", EventName.MEMBER_SUSPECT, Severity.WARNING),
            ("refusing", EventName.MEMBER_REFUSING, Severity.WARNING),
            ("out of service", EventName.MEMBER_OUT_OF_SERVICE, Severity.ERROR),
        ],
    )
    def test_each_health_has_its_event(
        self, after: str, name: EventName, severity: Severity
    ) -> None:
        event = member_health_changed(2, "x", after, "answered 200", AT)
        assert (event.name, event.severity, event.at) == (name, severity, AT)
        assert event.fields == {"member": 2, "from": "x", "to": after, "why": "answered 200"}

    def test_the_operators_word(self) -> None:
        event = admin_state_changed(1, "enabled", "draining", "admin API", AT)
        assert event.name is EventName.ADMIN_STATE_CHANGED
        assert event.fields["to"] == "draining"


class TestLog:
    def test_keeps_the_newest_and_numbers_them_all(self) -> None:
        log = EventLog(size=3, sink=lambda event: None)
        for number in range(5):
            log.add(started(number))
        assert [entry.number for entry in log.recent()] == [3, 4, 5]
        assert [entry.number for entry in log.recent(after=4)] == [5]

    def test_every_event_reaches_the_sink_once(self) -> None:
        seen: list[Event] = []
        EventLog(sink=seen.append).add(started(1))
        assert [event.name for event in seen] == [EventName.STARTED]

    async def test_a_watcher_waits_and_gets_new_events_in_order(self) -> None:
        log = EventLog(sink=lambda event: None)
        log.add(started(0))
        with log.subscribe() as subscription:
            waiting = asyncio.ensure_future(subscription.next())
            await asyncio.sleep(0)
            assert not waiting.done()
            log.add(started(1))
            log.add(started(2))
            assert (await waiting).number == 2
            assert (await subscription.next()).number == 3
        assert log.subscribers == 0

    async def test_a_slow_watcher_loses_its_oldest_and_can_tell(self) -> None:
        log = EventLog(sink=lambda event: None)
        with log.subscribe() as subscription:
            for number in range(SUBSCRIBER_QUEUE + 10):
                log.add(started(number))
            assert (await subscription.next()).number == 11

    def test_secrets_are_hidden_before_anyone_sees_them(self) -> None:
        seen: list[Event] = []
        log = EventLog(sink=seen.append)
        log.add(Event(EventName.FAULT, AT, fields={"token": "t0p", "url": "redis://u:pw@h/0"}))
        expected = {"token": "***", "url": "redis://***@h/0"}
        assert seen[0].fields == expected
        assert log.recent()[0].event.fields == expected


def test_octets_that_are_no_text_can_be_shown() -> None:
    """A file name or a URL may hold any; the log and the API are UTF-8."""
    event = Event(EventName.FAULT, AT, fields={"file": "a\udcff", "member": 1, "why": "gr\u00fcn"})
    assert event.fields == {"file": "a\\udcff", "member": 1, "why": "gr\u00fcn"}


def test_redaction_leaves_the_rest() -> None:
    fields = {"member": 1, "why": "answered 200", "secret_file": None, "Authorization": "Bearer x"}
    assert redacted(fields) == {**fields, "Authorization": "***"}


class TestLines:
    def test_text_is_key_value_on_one_line(self, stream: io.StringIO) -> None:
        log_setup("info", "text", stream)
        write_log(member_health_changed(1, "in service", "suspect", "no answer", AT))
        assert stream.getvalue() == (
            f"time={STAMP} level=warning event=member-suspect member=1 "
            'from="in service" to=suspect why="no answer"\n'
        )

    def test_text_cannot_be_forged(self, stream: io.StringIO) -> None:
        log_setup("info", "text", stream)
        why = 'a\nlevel=error\r"x" \x1b[1m\\'
        write_log(Event(EventName.STARTED, AT, fields={"why": why, "empty": "", "yes": True}))
        assert stream.getvalue() == (
            f"time={STAMP} level=info event=started "
            'why="a\\nlevel=error\\x0d\\"x\\" \\x1b[1m\\\\" empty="" yes=true\n'
        )

    def test_json(self, stream: io.StringIO) -> None:
        log_setup("info", "json", stream)
        write_log(Event(EventName.READY, AT, fields={"why": "a\nb", "members": 2}))
        assert json.loads(stream.getvalue()) == {
            "time": STAMP,
            "level": "info",
            "event": "ready",
            "why": "a\nb",
            "members": 2,
        }
        assert stream.getvalue().count("\n") == 1

    def test_the_level_is_a_floor(self, stream: io.StringIO) -> None:
        log_setup("warning", "text", stream)
        write_log(started(1))
        write_log(Event(EventName.FAULT, AT, Severity.ERROR))
        assert [line.split()[2] for line in stream.getvalue().splitlines()] == ["event=fault"]

    @pytest.mark.parametrize("kind", ["text", "json"])
    def test_a_library_record_is_one_line_with_its_traceback(
        self, stream: io.StringIO, kind: str
    ) -> None:
        log_setup("info", kind, stream)  # type: ignore[arg-type]  # parametrized literal
        try:
            raise ValueError("boom")
        except ValueError:
            logging.getLogger("asyncio").exception("task %s failed", 7)
        logging.getLogger("asyncio").info("chatter")
        (line,) = stream.getvalue().splitlines()
        assert "fault" in line
        assert "task 7 failed" in line
        assert "ValueError: boom" in line

    def test_a_stderr_that_has_gone_stops_nothing(self, stream: io.StringIO) -> None:
        class Gone(io.StringIO):
            def write(self, text: str) -> int:
                raise BrokenPipeError

        log_setup("info", "text", Gone())
        write_log(started(1))
