"""Whose fault it is that members are silent: ours while our own way to them is cut."""

from __future__ import annotations

from rmlb.cutoff import MENDED_S, NEIGHBOUR_S, CutOff

CABLE = "eth0 is down"


class Host:
    """Its way to each address, as the test says."""

    def __init__(self) -> None:
        self.cut: set[str] = set()
        self.cut_off = CutOff(lambda host: CABLE if host in self.cut else None)

    def look(self, now: float, *hosts: str) -> None:
        self.cut_off.look(1, hosts, now)


def test_nothing_is_to_blame_while_the_way_is_whole() -> None:
    host = Host()
    host.look(100.0, "a")
    assert host.cut_off.blame(1, [1], 100.0) is None
    assert host.cut_off.overdue(200.0) == []


def test_a_cut_way_is_to_blame_and_for_a_while_after_it_is_mended() -> None:
    host = Host()
    host.cut = {"a"}
    host.look(100.0, "a")
    assert host.cut_off.blame(1, [1], 100.0) == CABLE
    host.cut = set()
    host.look(101.0, "a")
    assert host.cut_off.blame(1, [1], 99.0 + MENDED_S) == CABLE
    assert host.cut_off.blame(1, [1], 101.0 + MENDED_S) is None


def test_one_whole_way_of_several_is_enough_and_no_address_is_no_cut() -> None:
    host = Host()
    host.cut = {"a"}
    host.look(100.0, "a", "b")
    host.look(100.0)
    assert host.cut_off.blame(1, [1], 100.0) is None


def test_still_silent_with_a_whole_way_it_has_stopped_told_once() -> None:
    host = Host()
    host.cut = {"a"}
    host.look(100.0, "a")
    host.cut_off.blame(1, [1], 100.0)
    host.look(120.0, "a")
    assert host.cut_off.overdue(121.0) == [], "the cable is still out"
    host.cut = set()
    host.look(125.0, "a")
    assert host.cut_off.overdue(119.0 + MENDED_S) == []
    assert host.cut_off.overdue(121.0 + MENDED_S) == [1]
    assert host.cut_off.overdue(122.0 + MENDED_S) == []


def test_one_that_has_answered_since_has_stopped_by_itself() -> None:
    host = Host()
    host.cut = {"a"}
    host.look(100.0, "a")
    host.cut = set()
    host.cut_off.answered(1, 101.9, 102.0, serves=True)
    assert host.cut_off.blame(1, [1], 101.0) is None


def test_back_in_service_it_is_forgotten() -> None:
    host = Host()
    host.cut = {"a"}
    host.look(100.0, "a")
    host.cut_off.blame(1, [1], 100.0)
    host.cut_off.answered(1, 101.9, 102.0, serves=True)
    assert host.cut_off.overdue(200.0) == []


class Pool:
    """Two members, each by an address of its own."""

    def __init__(self) -> None:
        self.cut = {"a", "b"}
        self.cut_off = CutOff(lambda host: CABLE if host in self.cut else None)

    def goes_out(self, member: int, now: float) -> None:
        self.cut_off.look(1, ["a"], now)
        self.cut_off.look(2, ["b"], now)
        assert self.cut_off.blame(member, [1, 2], now) == CABLE

    def serves(self, member: int, now: float) -> None:
        self.cut_off.answered(member, now - 0.01, now, serves=True)

    def excused(self, now: float, patience_s: float = 9.0) -> set[int]:
        return set(self.cut_off.excused(patience_s, now))


def test_the_first_to_go_out_is_excused_though_the_others_seem_in_service() -> None:
    pool = Pool()
    pool.goes_out(1, 100.0)
    assert pool.excused(100.0) == {1}
    pool.goes_out(2, 100.1)
    assert pool.excused(1000.0) == {1, 2}, "as long as it is cut"


def test_while_another_one_can_be_reached_nobody_is_excused() -> None:
    pool = Pool()
    pool.cut = {"a"}
    pool.goes_out(1, 100.0)
    assert pool.excused(100.0) == set()


def test_who_does_not_answer_where_others_do_is_excused_for_a_while_only() -> None:
    pool = Pool()
    pool.goes_out(1, 100.0)
    pool.goes_out(2, 100.1)
    pool.cut = set()
    pool.serves(2, 110.0)
    assert pool.excused(119.0) == {1}
    pool.serves(2, 118.0)
    assert pool.excused(119.1) == set()


def test_an_answer_to_what_was_sent_before_the_cut_proves_nothing() -> None:
    pool = Pool()
    pool.goes_out(1, 100.0)
    pool.cut_off.answered(2, 99.9, 100.05, serves=True)
    assert pool.excused(200.0) == {1}


def test_an_answer_after_the_cut_counts_though_its_sender_had_not_gone_out() -> None:
    pool = Pool()
    pool.goes_out(1, 100.0)
    pool.cut = set()
    pool.serves(2, 101.0)
    assert pool.excused(110.0) == {1}
    assert pool.excused(110.1) == set()


def test_cut_again_it_is_excused_anew() -> None:
    pool = Pool()
    pool.goes_out(1, 100.0)
    pool.goes_out(2, 100.1)
    pool.serves(2, 110.0)
    pool.goes_out(2, 112.0)
    assert pool.excused(130.0) == {1, 2}


def test_one_that_stays_silent_with_all_others_has_stopped_after_all() -> None:
    pool = Pool()
    pool.goes_out(1, 100.0)
    pool.goes_out(2, 100.0)
    assert pool.cut_off.overdue(101.0 + MENDED_S) == [1, 2]
    assert pool.excused(101.0 + MENDED_S) == set()


def test_the_cut_is_not_forgotten_for_an_answer_from_before_it() -> None:
    host = Host()
    host.cut = {"a"}
    host.look(100.0, "a")
    host.cut_off.answered(1, 99.0, 100.1, serves=True)
    assert host.cut_off.blame(1, [1], 101.0) == CABLE


def test_one_that_answers_and_is_not_in_service_yet_stays_excused() -> None:
    pool = Pool()
    pool.goes_out(1, 100.0)
    pool.goes_out(2, 100.0)
    pool.cut = set()
    pool.serves(2, 101.0)
    for at in (101.0, 109.0, 150.0):
        pool.cut_off.answered(1, at - 0.01, at, serves=False)
        assert pool.excused(at) == {1}
        assert pool.cut_off.overdue(at) == []
    pool.cut_off.silent(1)
    assert pool.excused(150.1) == set()
    assert pool.cut_off.overdue(150.1) == [1]


def test_neighbours_are_found_again_before_patience_with_quick_probes_ends() -> None:
    pool = Pool()
    pool.goes_out(1, 100.0)
    pool.goes_out(2, 100.0)
    pool.cut = set()
    pool.serves(2, 101.0)
    assert pool.excused(101.0 + NEIGHBOUR_S, patience_s=0.3) == {1}
    assert pool.excused(101.1 + NEIGHBOUR_S, patience_s=0.3) == set()
