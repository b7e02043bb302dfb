"""The rules of ownership, why they hold, and their factors. PURE.

Rules
-----
I is the heartbeat interval. `now` is seconds of CLOCK_BOOTTIME. Everybody counts own heartbeats
(n). An ownership has an epoch; each claim makes a larger one.

1.  The owner sends heartbeat n to all, then renews the lease with n. It may forward until 2.5 I
    after the *send* time of the newest n that the witness, or every other balancer, confirmed.
2.  A standby whose newest evidence of the owner is n, seen at t, claims at t + 3 I by
    compare-and-set in the witness: same owner, same epoch, stored n not larger than seen n.
3.  A balancer that said goodbye neither votes nor claims.
4.  Without a witness (none configured, or both sides have heard each other say so for 3 I):
    as VRRP. The owner confirms itself, a standby claims at t + 3 I without asking. A partition
    may give two owners; when they hear each other the lower epoch, then the lower ID, lets go.
5.  A missing record is written at once by the owner alone; by others when every other balancer is
    heard (none owns), has said goodbye or has been silent for `lone`.
6.  An owner whose peers have been silent for `lone` records that. Such a record is claimed after
    `lone` instead of 3 I; the owner may forward for 0.8 `lone` on it, and then, with
    `alone = keep`, goes on alone.
7.  A release names the heir. Where there are two balancers a fresh one is as good as a claim.

Theory
------
Why not two owners while the witness is reachable: let a standby claim with seen n. Had the
witness confirmed a larger n, its stored n is larger and the claim fails. Had every other balancer
confirmed a larger n, this one has seen it. So the owner's newest confirmed heartbeat is at most n,
sent before t, and its deadline lies before t + 2.5 I. Half an interval is left for drift
(200 ppm of 3 I is nothing), for the owner's own page and for the frames under way.

A release is fresh if it echoes a heartbeat of ours sent less than 2.5 I ago; who released claims
again at the earliest 3 I later. A balancer that was held up itself takes nobody for silent: its
clock of evidence starts anew; its deadline as an owner does not, that is looked at first. One that
has just started was not asked for any confirmation: for 3 I it relies on nobody's having let go.

Where the rules are carried out
-------------------------------
    knowledge   what is known: peers, evidence of the owner, the record, own heartbeats
    tenure      1, 4, 6: how long the owner may forward
    candidacy   2, 4, 5: when a standby may own, and whether it has to ask
    yielding    to whom the owner gives it up, and when
    election    the events in, the actions out; 3, 7 and what two owners do

Whoever changes a factor here (2.5, 3, 0.8) changes the theory above.
"""

from __future__ import annotations

from typing import Final

HOLD: Final = 2.5
"""Intervals that the owner may forward after a confirmed heartbeat was sent."""

CLAIM: Final = 3.0
"""Intervals without new evidence after which a standby claims."""

LONE_SHARE: Final = 0.8
"""Part of `lone` for which a record that says so is relied on: HOLD to CLAIM, about."""

HEARD: Final = 2.5
"""Intervals after which a balancer is not heard "now" any more."""

TICKS: Final = 3
"""Heartbeats in a row with a better score upon which the owner yields."""

PATIENCE: Final = 10.0
"""Intervals that the best candidate has before the next one claims; and for `preempt`."""
