"""`rmlb explain`: what the balancer would do with one message, and by which rule.

Reads the files and prints; what is said of a message is explanation.py's.
"""

from __future__ import annotations

import base64
import difflib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from rmlb import config as configuration
from rmlb.cli.explanation import CHANNEL, Explanation, explain_octets, readable
from rmlb.cli.failure import FAILED, MISUSED, CliError
from rmlb.cli.layout import Cell, print_line, print_pairs
from rmlb.config import ConfigError
from rmlb.routing.table import Listener
from rmlb.routing.verdict import Destination, Forward, Kind, Reply
from rmlb.sip.address import bracketed

_KINDS = {
    Kind.TO_MEMBER: "a request for a member",
    Kind.RESPONSE: "a response to what we forwarded",
    Kind.MEMBER_RESPONSE: "a response for a member whose Via names the VIP",
    Kind.OUTWARD: "a request going outward along a dialog of ours",
    Kind.OPTIONS: "OPTIONS for the balancer itself",
    Kind.OTHER: "anything else: refused or dropped",
    Kind.OWN_ACK: "ACK to an answer of our own",
}


def explain(
    config_file: Path, message_file: Path, source: str, transport: str, as_json: bool
) -> int:
    """The command: print the explanation of each message in the file; the exit code.

    `source` is IP:PORT, `transport` a name; empty for what the message itself suggests.
    """
    try:
        config = configuration.load(config_file)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return MISUSED
    try:
        data = message_file.read_bytes()
    except OSError as error:
        raise CliError(f"{message_file}: {error.strerror}", FAILED) from None
    for number, each in enumerate(explain_octets(config, data, source, transport)):
        if as_json:
            print(json.dumps(as_object(each)))
        else:
            if number:
                print()
            _print(each)
    return 0


def as_object(explanation: Explanation) -> dict[str, object]:
    """For `--json`. `leaves` is readable, `leaves_base64` exact."""
    verdict, origin = explanation.verdict, explanation.origin
    found: dict[str, object] = {
        "message": explanation.message,
        "transport": str(origin.transport),
        "from": _place(origin.host, origin.port),
        "listener": str(_listener_name(explanation.listener)),
        "kind": str(verdict.kind),
        "kind_meaning": _KINDS[verdict.kind],
        "verdict": explanation.outcome,
        "reason": None,
        "rule": explanation.rule,
        "status": None,
        "step": None,
        "member": None,
        "destination": None,
        "leaves": None,
        "leaves_base64": None,
        "notes": list(explanation.notes),
    }
    if isinstance(verdict, Forward):
        found["step"] = str(verdict.step) if verdict.step is not None else None
        found["member"] = verdict.to.member or verdict.answered_by or None
        found["status"] = verdict.status or None
    else:
        found["reason"] = str(verdict.reason)
    if isinstance(verdict, Reply):
        found["status"] = verdict.status
    if isinstance(verdict, Forward | Reply):
        found["destination"] = _destination(verdict.to)
        found["leaves"] = verdict.data.decode("utf-8", "backslashreplace")
        found["leaves_base64"] = base64.b64encode(verdict.data).decode()
    return found


def _print(explanation: Explanation) -> None:
    verdict, origin = explanation.verdict, explanation.origin
    where = f"{origin.transport} from {_place(origin.host, origin.port)}"
    pairs: list[tuple[str, Cell | str]] = [
        ("message", explanation.message),
        ("received", f"{where} on {_listener_name(explanation.listener)}"),
        ("kind", f"{verdict.kind}: {_KINDS[verdict.kind]}"),
    ]
    if isinstance(verdict, Forward):
        pairs.append(("verdict", Cell("forward", "green")))
        if verdict.step is not None:
            pairs.append(("step", str(verdict.step)))
        if member := verdict.to.member or verdict.answered_by:
            pairs.append(("member", str(member)))
    elif isinstance(verdict, Reply):
        pairs += [
            ("verdict", Cell(f"answer {verdict.status}", "yellow")),
            ("reason", str(verdict.reason)),
        ]
    else:
        pairs += [("verdict", Cell(explanation.outcome, "red")), ("reason", str(verdict.reason))]
    pairs.append(("rule", explanation.rule))
    if isinstance(verdict, Forward | Reply):
        pairs += [("destination", _destination(verdict.to)), ("octets", str(len(verdict.data)))]
    print_pairs([*pairs, *(("note", note) for note in explanation.notes)])
    if isinstance(verdict, Forward | Reply):
        print()
        before = _lines(explanation.received) if isinstance(verdict, Forward) else []
        for line, is_new in _compared(before, _lines(verdict.data)):
            print_line(Cell(line, "bold green" if is_new and before else ""))


def _compared(before: list[str], after: list[str]) -> Iterator[tuple[str, bool]]:
    """Each line of `after`, and whether it is new or changed."""
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for what, _, _, first, last in matcher.get_opcodes():
        for line in after[first:last]:
            yield line, what != "equal"


def _lines(data: bytes) -> list[str]:
    """A message line by line; lone CR and LF and everything unprintable as escapes."""
    return [readable(line) for line in data.split(b"\r\n")]


def _listener_name(listener: Listener) -> str:
    return f"{listener.transport}:{_place(listener.host, listener.port)}"


def _destination(to: Destination) -> str:
    place = f"{to.transport}:{_place(to.host, to.port)}"
    return f"{place} (over the connection it came by)" if to.channel == CHANNEL else place


def _place(host: str, port: int) -> str:
    return f"{bracketed(host)}:{port}"
