"""The lease record in the witness: read, renew, claim, give back, each by one script. SHELL: Redis.

One hash under `{name}:lease` with owner, epoch, n, lone, released. `decide` says in Python what the
script does in Redis; a test holds the two together. Runs on plain asyncio, in the keeper. The
expiry only collects garbage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from rmlb.vip.ballot import Claim, GiveBack, Record, Renew

EXPIRES_S: Final = 7 * 24 * 3600
"""A week without a heartbeat: nobody needs the record of a cluster that is gone."""

SCRIPT: Final = """
local r = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'n', 'lone', 'released')
local there = r[1] and r[2] and r[3]
local owner, epoch, n = tonumber(r[1] or 0), tonumber(r[2] or 0), tonumber(r[3] or 0)
local what, id = ARGV[1], tonumber(ARGV[2])
local new_epoch, new_n = tonumber(ARGV[3]), tonumber(ARGV[4])
local taken, lone, released = false, '0', '0'
if what == 'renew' then
  taken = not there or epoch < new_epoch or (epoch == new_epoch and owner == id)
  lone = ARGV[5]
elseif what == 'claim' then
  if tonumber(ARGV[6]) == 0 then
    taken = not there
  else
    taken = there and owner == tonumber(ARGV[6]) and epoch == tonumber(ARGV[7])
      and n <= tonumber(ARGV[8])
  end
elseif what == 'release' then
  taken = there and owner == id and epoch == new_epoch
  released = '1'
end
if taken then
  redis.call('HSET', KEYS[1], 'owner', id, 'epoch', ARGV[3], 'n', ARGV[4],
    'lone', lone, 'released', released)
  redis.call('EXPIRE', KEYS[1], ARGV[9])
  return {1, tostring(id), ARGV[3], ARGV[4], lone, released}
end
if not there then return {0} end
return {0, r[1], r[2], r[3], r[4] or '0', r[5] or '0'}
"""
"""KEYS[1]: the hash. ARGV: what, id, epoch, n, lone, expected owner (0: none), expected epoch,
largest expected n, expiry. Reads with any other `what`."""

Request = Claim | Renew | GiveBack | None
"""None reads."""


def decide(record: Record | None, request: Request, id: int) -> tuple[bool, Record | None]:
    """Whether the witness does it, and the record afterwards: what `SCRIPT` does."""
    if isinstance(request, Renew):
        taken = (
            record is None
            or record.epoch < request.epoch
            or (record.epoch == request.epoch and record.owner == id)
        )
        new = Record(id, request.epoch, request.n, request.lone)
    elif isinstance(request, Claim):
        expected = request.expected
        if expected is None or record is None:
            taken = expected is None and record is None
        else:
            same = (record.owner, record.epoch) == (expected.owner, expected.epoch)
            taken = same and record.n <= expected.n
        new = Record(id, request.epoch, request.n)
    elif isinstance(request, GiveBack):
        taken = record is not None and (record.owner, record.epoch) == (id, request.epoch)
        new = Record(id, request.epoch, request.n, released=True)
    else:
        return False, record
    return taken, new if taken else record


class LeaseError(Exception):
    """The witness did not answer in time, or not as it should."""


class Lease:
    """The record of one cluster, as one balancer reads and writes it."""

    def __init__(self, url: str, name: str, id: int, timeout_s: float) -> None:
        """`name` is the cluster's; a request that takes longer than `timeout_s` has failed."""
        self._redis = Redis.from_url(
            url,
            socket_connect_timeout=max(timeout_s, 0.5),
            socket_timeout=None,
            retry_on_timeout=False,
            max_connections=8,
        )
        self._key = f"{{{name}}}:lease"
        self._id = id
        self._timeout_s = timeout_s
        self._sha = ""

    async def ask(self, request: Request) -> tuple[bool, Record | None]:
        """Carry it out in the witness: whether it was done, and the record. Raises LeaseError."""
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._run(self._arguments(request))
        except (TimeoutError, RedisError, OSError, ValueError) as error:
            raise LeaseError(str(error) or type(error).__name__) from None
        return answer[0] == 1, _record(answer[1:])

    async def close(self) -> None:
        await self._redis.aclose()

    async def _run(self, arguments: list[str | int]) -> list[bytes | int]:
        if not self._sha:
            self._sha = await self._redis.script_load(SCRIPT)
        try:
            done = self._redis.evalsha(self._sha, 1, self._key, *map(str, arguments))
            return await cast("Awaitable[list[bytes | int]]", done)
        except NoScriptError:  # a restarted server knows no scripts
            done = self._redis.eval(SCRIPT, 1, self._key, *map(str, arguments))
            return await cast("Awaitable[list[bytes | int]]", done)

    def _arguments(self, request: Request) -> list[str | int]:
        if isinstance(request, Renew):
            head: list[str | int] = ["renew", self._id, request.epoch, request.n]
            return [*head, int(request.lone), 0, 0, 0, EXPIRES_S]
        if isinstance(request, Claim):
            expected = request.expected or Record(0, 0, 0)
            head = ["claim", self._id, request.epoch, request.n, 0]
            return [*head, expected.owner, expected.epoch, expected.n, EXPIRES_S]
        if isinstance(request, GiveBack):
            head = ["release", self._id, request.epoch, request.n]
            return [*head, 0, 0, 0, 0, EXPIRES_S]
        return ["read", self._id, 0, 0, 0, 0, 0, 0, EXPIRES_S]


def _record(fields: list[bytes | int]) -> Record | None:
    if not fields:
        return None
    owner, epoch, n, lone, released = (int(value) for value in fields)
    return Record(owner, epoch, n, bool(lone), bool(released))
