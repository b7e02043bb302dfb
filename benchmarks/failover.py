"""What failing members cost, measured: detection times, lost calls, flapping, overload answers.

    python benchmarks/failover.py [detection] [flapping] [overload] [merge]

Runs the rig of the integration tests (real balancer, real sipp) and writes
`benchmarks/results/failover.json` and `failover.md`. Some twelve minutes in all; nothing else
should load the machine meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "integration"))

import rig  # noqa: E402 - found by the line above
import rig_merge  # noqa: E402
from rig import Balancer, Process, Sipp  # noqa: E402
from rig_calls import Callers  # noqa: E402

RATE = 300
TRIES = 3
FLAPPING_S = 300
OVERLOAD_S = 20

Start = Callable[[Any], Any]


@contextlib.contextmanager
def stage() -> Iterator[tuple[Path, Start]]:
    """A folder, and a `start` whose processes end with the block."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:

        def start(process: Process) -> Process:
            return stack.enter_context(process)

        yield Path(folder), start


def pool(
    folder: Path, start: Start, transport: str, **config: str
) -> tuple[Balancer, dict[int, Sipp]]:
    members = {
        n: start(Sipp.member(folder, n, "uas_shared", transport=transport, ring_ms=300))
        for n in (1, 2)
    }
    balancer = start(Balancer(folder, {n: m.address for n, m in members.items()}, **config))
    for n in members:
        balancer.wait_health(n, "in service")
    return balancer, members


def detection() -> list[dict[str, Any]]:
    """SIGKILL and SIGSTOP under 300 calls/s with 300 ms of ringing."""
    rows = []
    for fault in ("SIGKILL", "SIGSTOP"):
        for transport in ("u1", "t1"):
            times, failed, resent = [], 0, 0
            for number in range(TRIES):
                say(f"{fault} over {transport}, try {number + 1} of {TRIES}")
                with stage() as (folder, start):
                    balancer, members = pool(folder, start, transport)
                    caller = start(
                        Sipp(
                            folder, "uac_shared", target=balancer.port, transport=transport,
                            rate=RATE, calls=4000, hold_ms=300,
                        )
                    )  # fmt: skip
                    time.sleep(5.0)
                    at = time.time()
                    members[1].kill() if fault == "SIGKILL" else members[1].freeze()
                    balancer.wait_health(1, "out of service")
                    times.append(1000 * (went_out(balancer) - at))
                    failed += caller.finish().failed
                    resent += int(
                        balancer.metrics().total("rmlb_own_messages_total", what="resend")
                    )
                    balancer.assert_balanced()
            rows.append(
                {
                    "fault": fault,
                    "transport": "udp" if transport == "u1" else "tcp",
                    "out_of_service_ms": {
                        "min": round(min(times), 1),
                        "median": round(statistics.median(times), 1),
                        "max": round(max(times), 1),
                    },
                    "calls": 4000 * TRIES,
                    "failed": failed,
                    "requests_sent_again": resent,
                }
            )
    return rows


def flapping() -> list[dict[str, Any]]:
    """A member that goes up and down every 2 s for five minutes, under 100 calls/s.

    Calls ring for 300 ms and last 2 s. The callers are not sipp, which takes the second 2xx of a
    call (a fork: it rang at the member when that froze) for its own and loses both dialogs.
    """
    say(f"flapping for {FLAPPING_S} s")
    with stage() as (folder, start):
        balancer, members = pool(folder, start, "u1")
        calls = 100 * (FLAPPING_S + 10)
        with Callers(
            rig.free_port(), (rig.HOST, balancer.port), host=rig.HOST, hold_s=2.0
        ) as callers:
            callers.begin(calls, 100)
            end = time.monotonic() + FLAPPING_S
            while time.monotonic() < end:
                time.sleep(2.0)
                members[1].freeze()
                time.sleep(2.0)
                members[1].resume()
            made = callers.finish(120.0)
        survivor = members[2].stop()
        balancer.assert_balanced()
        outcomes = Counter(each.outcome or "hangs" for each in made)
        return [
            {
                "calls": calls,
                "failed": calls - outcomes.pop("completed", 0),
                "how": ", ".join(f"{n} {what}" for what, n in outcomes.items()) or "-",
                "answered_by_both": sum(each.finals > 1 for each in made),
                "state_changes": balancer.members()[1]["transitions"],
                "survivors_calls_failed": survivor.failed,
                # in-dialog requests of the survivor's dialogs, which was in service throughout
                "misrouted": members[1].stop().counters["adopted"],
            }
        ]


def overload() -> list[dict[str, Any]]:
    """300 calls/s offered to members limited to 50 calls/s each: how fast is the 503?"""
    say(f"overload for {OVERLOAD_S} s")
    with stage() as (folder, start):
        members = {n: start(Sipp.member(folder, n, "uas_member")) for n in (1, 2)}
        balancer = start(
            Balancer(
                folder,
                {n: m.address for n, m in members.items()},
                extra="[overload]\ncalls-per-second = 50\n",
            )
        )
        for n in members:
            balancer.wait_health(n, "in service")
        caller = start(
            Sipp(folder, "uac_full", target=balancer.port, rate=200, calls=200 * OVERLOAD_S)
        )
        refusals = refusal_times(balancer.port, 100, OVERLOAD_S - 2)
        result = caller.finish()
        answered = int(balancer.metrics().total("rmlb_messages_answered_total", code=503))
        balancer.assert_balanced()
        return [
            {
                "offered_per_s": 300,
                "limit_per_s": 100,
                "accepted_and_completed": result.successful,
                "refused_503": answered,
                "failed_otherwise": result.created - result.successful - result.failed,
                "time_to_503_ms": {
                    "samples": len(refusals),
                    "p50": round(quantile(refusals, 0.5), 2),
                    "p99": round(quantile(refusals, 0.99), 2),
                    "max": round(max(refusals), 2),
                },
            }
        ]


def merge() -> list[dict[str, Any]]:
    """Two Kamailio members before one server that refuses merged requests (RFC 3261 8.2.2.2).

    One member is killed, all its processes at once, in the middle of 800 calls at 80 calls/s
    that ring for 1.5 s (frozen: 3 s, and it goes on 0.3 s after it went out of service); every
    third call is ended by the server where its BYE comes to the VIP. `retry.deadline` is 4 s.
    """
    rows = []
    for name, variant in rig_merge.VARIANTS.items():
        for frozen in (False, True):
            if frozen and name not in ("own", "vip-sent-by"):
                continue
            say(f"merge: {variant.name}{', frozen' * frozen}")
            with tempfile.TemporaryDirectory() as folder:
                options = {"ring_s": 3.0, "thaws_after_s": 0.3} if frozen else {}
                outcome = rig_merge.kill_while_calls_ring(
                    Path(folder), variant, calls=800, rate=80, **options
                )
                fault = "SIGSTOP, SIGCONT" if frozen else "SIGKILL"
                rows.append({"fault": fault, **rig_merge.row(outcome)})
    return rows


def refusal_times(port: int, rate: int, seconds: float) -> list[float]:
    """Milliseconds from INVITE to 503, of a caller of its own."""
    found: list[float] = []
    sent: dict[bytes, float] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.bind((rig.HOST, 0))
        caller.settimeout(0.001)
        own = caller.getsockname()[1]
        begun = time.perf_counter()
        number = 0
        while time.perf_counter() < begun + seconds:
            if time.perf_counter() >= begun + number / rate:
                number += 1
                call_id = b"overload-%d" % number
                caller.sendto(invite(call_id, port, own), (rig.HOST, port))
                sent[call_id] = time.perf_counter()
            with contextlib.suppress(TimeoutError):
                data = caller.recv(65535)
                if data.startswith(b"SIP/2.0 503"):
                    call_id = data.partition(b"Call-ID: ")[2].partition(b"\r\n")[0]
                    found.append(1000 * (time.perf_counter() - sent[call_id]))
    return found


def invite(call_id: bytes, port: int, own: int) -> bytes:
    return b"\r\n".join(
        [
            b"INVITE sip:service@%b:%d SIP/2.0" % (rig.HOST.encode(), port),
            b"Via: SIP/2.0/UDP %b:%d;branch=z9hG4bK%b" % (rig.HOST.encode(), own, call_id),
            b"From: <sip:probe@%b>;tag=1" % rig.HOST.encode(),
            b"To: <sip:service@%b>" % rig.HOST.encode(),
            b"Call-ID: " + call_id,
            b"CSeq: 1 INVITE",
            b"Max-Forwards: 70",
            b"Content-Length: 0\r\n\r\n",
        ]
    )


def went_out(balancer: Balancer) -> float:
    """Wall clock of the last member-out-of-service event."""
    return max(e["at"] for e in balancer.events() if e["name"] == "member-out-of-service")


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def say(what: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", flush=True)


def environment() -> dict[str, str]:
    sipp = subprocess.run(["sipp", "-v"], capture_output=True, text=True, check=False).stdout
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "sipp": sipp.strip().splitlines()[0].strip() if sipp.strip() else "?",
        "method": "tests/integration/rig*.py: rmlb, members and callers as "
        "processes on loopback; probes every 200 ms; members accept each other's dialogs",
    }


def page(results: dict[str, Any]) -> str:
    lines = ["# Failing members", ""]
    lines += [f"- {key}: {value}" for key, value in results["environment"].items()]
    for name, rows in results.items():
        if name == "environment":
            continue
        flat = [flatten(row) for row in rows]
        lines += ["", f"## {name}", "", inspect.getdoc(CASES[name]) or "", ""]
        lines += ["| " + " | ".join(flat[0]) + " |", "|" + " --- |" * len(flat[0])]
        lines += ["| " + " | ".join(str(v) for v in row.values()) + " |" for row in flat]
    return "\n".join(lines) + "\n"


def flatten(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key} ")
        else:
            flat[f"{prefix}{key}".replace("_", " ")] = value
    return flat


CASES: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "detection": detection,
    "flapping": flapping,
    "overload": overload,
    "merge": merge,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("case", nargs="*", choices=[[], *CASES], help="default: all")
    chosen = parser.parse_args().case or list(CASES)
    file = HERE / "results" / "failover.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    results["environment"] = environment()
    for name in chosen:
        results[name] = CASES[name]()
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(results, indent=2) + "\n")
        file.with_suffix(".md").write_text(page(results))
    print(page(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
