"""Floods from one source while a trusted caller's calls go on: `make floods`.

    python benchmarks/floods.py [junk] [options] [invite] [connections] [--seconds 20] [--rate 100]

The stage of `chaos.py`, with `[security] trusted` (the caller's and the members' network part) and
`source-rate`, and a stranger who sends as much as one core can: junk datagrams, OPTIONS for the
balancer, INVITEs with a Call-ID each; or opens connections and says nothing. Each flood is sent
without the limit, too, to show what it is good for. Writes benchmarks/results/floods.md.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE), str(HERE.parent / "tests" / "integration")]

import soak  # noqa: E402 - found by the line above
from chaos import environment  # noqa: E402
from rig_net import ADDRESSES, VIP, NetSipp  # noqa: E402
from rig_process import Process  # noqa: E402

from benchmarks.native import build  # noqa: E402

ADDRESSES["stranger"] = "10.99.0.201"

LIMITS = """trusted = ["10.99.0.200", "10.99.0.11", "10.99.0.12"]
source-rate = 1000
source-penalty = "10s"
"""
KINDS = ("junk", "options", "invite", "connections")


def flood(stage: soak.Stage, kind: str, seconds: int) -> Process:
    """The stranger begins."""
    own = ADDRESSES["stranger"]
    if kind == "connections":
        return stage.player("stranger", "idle", "idle", own, VIP, str(seconds))
    words = (str(build("flood")), kind, own, VIP, "0", str(seconds))
    return stage.run("stranger", f"flood-{kind}", *words)


def one(kind: str, limited: bool, options: argparse.Namespace) -> dict[str, Any]:
    """Calls for some seconds before, during and after the flood."""
    with tempfile.TemporaryDirectory() as folder, soak.Stage(Path(folder), Random(1)) as stage:
        stage.security = LIMITS if limited else ""
        stage.open(options.rate)
        owner = stage.owner
        seconds = options.seconds
        caller: NetSipp = stage.call(options.rate, (seconds + 6) / 60)
        time.sleep(3.0)
        balancer = stage.balancers[owner]
        before = soak.use(balancer, owner, 0.0, 0)
        changes = len(balancer.told("owner-changed"))
        received = balancer.metrics().total("rmlb_messages_received_total")
        stranger = flood(stage, kind, seconds)
        peak = 0.0
        while stranger.running:
            peak = max([peak, *(each.rss_mib for each in soak.use(balancer, owner, 0.0, 0))])
            time.sleep(0.5)
        seen = balancer.metrics().total("rmlb_messages_received_total") - received
        dropped = balancer.metrics().by("rmlb_messages_dropped_total", "reason")
        result = caller.finish()
        moved = len(balancer.told("owner-changed")) - changes
        stage.shut()
        sent = stranger.stdout.split()
        return {
            "flood": kind,
            "source-rate": 1000 if limited else "none",
            "sent per s": round(int(sent[-1]) / seconds) if sent else "",
            "read per s": round(seen / seconds),
            "dropped": int(dropped.get("source_rate", 0)),
            "calls": result.created,
            "completed %": round(100 * result.successful / result.created, 2),
            "MiB before": round(max(each.rss_mib for each in before), 1) if before else "",
            "MiB at most": round(peak, 1),
            "owner changes": moved,
        }


def page(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    text = ["# Floods", ""]
    options.minutes = options.seconds / 60
    text += [f"- {key}: {value}" for key, value in environment(options).items()]
    text += ["", "One source floods the VIP while a trusted caller's calls go on.", ""]
    text += ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    text += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
    return "\n".join(text) + "\n"


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", nargs="*", choices=[[], *KINDS], help="default: all")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rate", type=int, default=100, help="calls/s of the trusted caller")
    options = parser.parse_args()
    rows = []
    for kind in options.kind or KINDS:
        for limited in (True, False):
            rows.append(one(kind, limited, options))
            print(json.dumps(rows[-1]), flush=True)
    text = page(rows, options)
    if not options.kind:
        (HERE / "results" / "floods.md").write_text(text)
    print(text)
    limited_rows = [row for row in rows if row["source-rate"] != "none"]
    bad = [row for row in limited_rows if row["completed %"] < 99.9 or row["owner changes"]]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
