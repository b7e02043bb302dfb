"""What the commands that ask a running balancer print: answers of the API in words.

Knows the API's JSON and nothing of HTTP. With `as_json` the answer is printed as it came.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

from rmlb.cli import styles
from rmlb.cli.client import ApiClient
from rmlb.cli.failure import CliError
from rmlb.cli.layout import Cell, Row, clean, duration, print_line, print_pairs, print_table


def show_status(client: ApiClient, as_json: bool) -> None:
    """`rmlb status`."""
    status = client.get("/api/v1/status", "version", "vip", "members", "messages")
    if as_json:
        _print_json(status)
        return
    vip, messages = status["vip"], status["messages"]
    ready = Cell("ready", "green") if status["ready"] else Cell("not ready", "bold red")
    print_line(
        f"rmlb {status['version']} ({status['engine']} engine), {status['ha_mode']}, "
        f"up {duration(status['uptime_s'])}: ",
        ready,
        "" if status["ready"] else f" ({status['reason']})",
    )
    role = "owner" if vip["owner"] else "standby"
    parts = ("forwarded", "answered", "absorbed", "dropped", "held")
    pairs: list[tuple[str, Cell | str]] = [
        *_activity(status),
        ("virtual IP", f"{clean(vip['address'])}, {role} (provider {vip['provider']})"),
        ("listening", ", ".join(_listener(each) for each in status["listeners"]) or "nowhere"),
        ("state", _store(status["state"])),
        *(("peer", _peer(peer)) for peer in status["peers"]),
        ("bindings", f"{status['bindings']}"),
        (
            "messages",
            f"received {messages['received']} = "
            + " + ".join(f"{part} {messages[part]}" for part in parts),
        ),
    ]
    if messages["imbalance"]:
        pairs.append(("imbalance", Cell(str(messages["imbalance"]), "bold red")))
    print_pairs(pairs)
    print()
    _print_members(status["members"])


def show_members(client: ApiClient, as_json: bool) -> None:
    """`rmlb members`."""
    answer = client.get("/api/v1/members", "members")
    if as_json:
        _print_json(answer)
    else:
        _print_members(answer["members"])


def set_state(client: ApiClient, member: int, state: str, as_json: bool) -> None:
    """`rmlb enable`, `drain`, `disable`."""
    answer = client.put(f"/api/v1/members/{member}", {"state": state})
    if as_json:
        _print_json(answer)
        return
    print_line(
        f"member {answer['id']}: ",
        Cell(answer["admin_state"], styles.ADMIN.get(answer["admin_state"], "")),
        f", {answer['health']}, {_calls(answer['calls'])}",
    )


def switch_over(client: ApiClient, member: int | None, as_json: bool) -> None:
    """`rmlb switchover`."""
    body = None if member is None else {"member": member}
    _show_activity(client.post("/api/v1/switchover", body), as_json)


def tell_active(client: ApiClient, member: int, as_json: bool) -> None:
    """`rmlb active`."""
    _show_activity(client.post(f"/api/v1/members/{member}/active"), as_json)


def take_over(client: ApiClient, as_json: bool) -> None:
    """`rmlb takeover`."""
    _show_owner(client.post("/api/v1/takeover"), as_json)


def release_vip(client: ApiClient, force: bool, as_json: bool) -> None:
    """`rmlb release`."""
    body = {"force": True} if force else None
    _show_owner(client.post("/api/v1/release", body), as_json)


def _show_owner(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(answer)
        return
    vip = answer["vip"]
    print_line(f"{clean(vip['address'])}: ", "owner" if vip["owner"] else "standby")


def _show_activity(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(answer)
        return
    print_line("active: ", clean(answer["active"]))
    for each in answer["members"]:
        if each["draining"] is not None:
            print_line(f"member {each['id']} drains: {_calls(each['draining']['left'])} left")


def show_calls(client: ApiClient, call_id: str | None, as_json: bool) -> None:
    """`rmlb calls`."""
    if call_id is None:
        answer = client.get("/api/v1/calls", "calls", "members")
        if as_json:
            _print_json(answer)
            return
        rows: list[Row] = [[str(each["id"]), str(each["calls"])] for each in answer["members"]]
        print_table(["MEMBER", "CALLS"], [*rows, ["all", str(answer["calls"])]])
        return
    call = client.get("/api/v1/calls", "call_id", "member", call_id=call_id)
    if as_json:
        _print_json(call)
        return
    ages = (("age", "age_s"), ("expires in", "expires_in_s"))
    print_pairs(
        [
            ("call", call["call_id"]),
            ("member", str(call["member"])),
            ("state", call["state"]),
            *((name, duration(call[key])) for name, key in ages if call[key] is not None),
        ]
    )


def show_events(client: ApiClient, follow: bool, as_json: bool) -> None:
    """`rmlb events`; with `follow` it ends by Ctrl-C, or in an error with the balancer."""
    show = _print_json_line if as_json else _print_event
    if not follow:
        for event in client.get("/api/v1/events", "events", follow="0")["events"]:
            show(event)
        return
    for event in client.stream("/api/v1/events"):
        show(event)
        sys.stdout.flush()
    raise CliError(f"the balancer at {client.url} has stopped")


def _print_members(members: list[dict[str, Any]]) -> None:
    now = time.time()
    rows: list[Row] = []
    for each in members:
        sip = each["sip"] if isinstance(each["sip"], str) else ", ".join(each["sip"])
        since = "-" if each["since"] is None else duration(max(0.0, now - each["since"]))
        rows.append(
            [
                str(each["id"]),
                sip,
                Cell(each["health"], styles.HEALTH.get(each["health"], "")),
                Cell(each["admin_state"], styles.ADMIN.get(each["admin_state"], "")),
                str(each["calls"]),
                str(each["requests_total"]),
                str(each["weight"]),
                since,
                clean(each["why"]),
            ]
        )
    heads = ["ID", "SIP", "HEALTH", "OPERATOR", "CALLS", "REQUESTS", "WEIGHT", "FOR", "WHY"]
    print_table(heads, rows)


def _print_event(event: dict[str, Any]) -> None:
    at = datetime.fromtimestamp(event["at"], UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
    fields = " ".join(f"{key}={_quoted(value)}" for key, value in event["fields"].items())
    severity = Cell(f"{event['severity']:<7}", styles.SEVERITY.get(event["severity"], ""))
    print_line(f"{at}  ", severity, f"  {event['name']}  {fields}")


def _quoted(value: object) -> str:
    text = str(value)
    return f'"{text}"' if " " in text or not text else text


def _print_json(content: object) -> None:
    print(json.dumps(content, indent=2))


def _print_json_line(content: object) -> None:
    print(json.dumps(content))


def _calls(count: int) -> str:
    return f"{count} call" if count == 1 else f"{count} calls"


def _listener(listener: dict[str, Any]) -> str:
    return str(listener["address"]) + ("" if listener["open"] else " (closed)")


def _activity(status: dict[str, Any]) -> list[tuple[str, Cell | str]]:
    """Who is active, in active-standby mode; and who drains, since when, with how many calls."""
    pairs: list[tuple[str, Cell | str]] = []
    if status["ha_mode"] == "active-standby":
        active = status["active"]
        pairs.append(("active", "nobody yet" if active is None else f"member {active}"))
    for each in status["members"]:
        draining = each["draining"]
        if draining is not None:
            age = duration(max(0.0, time.time() - draining["since"]))
            text = f"member {each['id']} for {age}, {_calls(draining['left'])} left"
            pairs.append(("draining", Cell(f"{text} ({draining['cause']})", "yellow")))
    return pairs


def _store(state: dict[str, Any]) -> str:
    shown = f"{state['backend']}, {'connected' if state['connected'] else 'not connected'}"
    if state.get("why"):
        shown += f" ({clean(state['why'])})"
    waiting = state.get("backlog", 0) + state.get("to_repeat", 0)
    return f"{shown}, {waiting} to write" if waiting else shown


def _peer(peer: dict[str, Any]) -> str:
    role = "owner" if peer["owner"] else "standby"
    return f"{peer['id']} at {peer['address']}, {role if peer['alive'] else 'silent'}"
