"""What the hold on the VIP measures of itself."""

from __future__ import annotations

import asyncio
import time

from rmlb.ownership import Page, clock
from rmlb.vip.election import Election, Settings
from rmlb.vip.holding import Holding
from rmlb.vip.providers import Nobody

INTERVAL_S = 0.05


async def test_held_up_is_told_of_its_life_and_not_of_its_start() -> None:
    began = clock() - 5.0
    settings = Settings(id=1, others=0, interval_s=INTERVAL_S)
    holding = Holding(
        Election(settings, began), Nobody(), Page(), None,
        lambda *_: None, lambda: None,
    )  # fmt: skip
    holding.tick()
    assert holding.figures.held_up_s == 0.0
    await asyncio.sleep(2 * INTERVAL_S)
    time.sleep(0.5)  # noqa: ASYNC251 - this is the hold-up
    await asyncio.sleep(2 * INTERVAL_S)
    await holding.close()
    assert 0.5 - 2 * INTERVAL_S <= holding.figures.held_up_s < 5.0
