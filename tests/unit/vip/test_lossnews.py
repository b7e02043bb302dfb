"""The owner's loss log, put together from heartbeats."""

from __future__ import annotations

from rmlb.vip.advert import Alongside, SharedLoss, page
from rmlb.vip.lossnews import MOST, LossNews


def log(count: int) -> tuple[SharedLoss, ...]:
    return tuple(SharedLoss(n, 1 + n % 2, (1, 2), float(n)) for n in range(1, count + 1))


def beat(losses: tuple[SharedLoss, ...], seq: int) -> Alongside:
    return Alongside(tuple(page(losses, seq)), loss_number=losses[-1].number)


def test_a_gap_of_any_width_is_filled() -> None:
    news, owners = LossNews(), log(300)
    news.know(owners[:7])
    told = [news.hear(2, beat(owners, seq)) for seq in range(30)]
    assert told == [True] * 24 + [False] * 6, "288 older ones, 12 in a heartbeat"
    assert news.losses == list(owners)


def test_what_is_known_is_no_news() -> None:
    news, owners = LossNews(), log(20)
    news.know(owners)
    assert not news.hear(2, beat(owners, 1))
    more = (*owners, SharedLoss(21, 1, (2,), 21.0))
    assert news.hear(2, beat(more, 2))
    assert not news.hear(2, beat(more, 3))


def test_a_worker_that_has_forgotten_is_told_again() -> None:
    news, owners = LossNews(), log(20)
    news.hear(2, beat(owners, 1))
    news.know(())
    assert news.hear(2, beat(owners, 2))


def test_another_owner_has_a_log_of_its_own() -> None:
    news = LossNews()
    news.hear(2, beat(log(30), 1))
    news.hear(3, beat(log(5), 1))
    assert news.losses == list(log(5))


def test_an_owner_that_has_lost_its_log_begins_anew() -> None:
    news = LossNews()
    news.hear(2, beat(log(30), 1))
    news.hear(2, beat(log(5), 1))
    assert news.losses == list(log(5))


def test_it_is_bounded() -> None:
    news, owners = LossNews(), log(MOST + 500)
    for seq in range(600):
        news.hear(2, beat(owners, seq))
    assert len(news.losses) == MOST
    assert news.losses[-1] == owners[-1]
