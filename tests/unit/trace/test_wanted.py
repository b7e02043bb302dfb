"""Filters of watchers."""

from __future__ import annotations

import pytest
from trace_samples import UUID, received, request, response, traced

from rmlb.trace.wanted import Wanted


@pytest.mark.parametrize(
    ("wanted", "is_so"),
    [
        (Wanted(), True),
        (Wanted("abc@host"), True),
        (Wanted("abc"), True),
        (Wanted("abd"), False),
        (Wanted(UUID[3:9]), True),
        (Wanted(UUID, exact=True), True),
        (Wanted("abc@host", exact=True), True),
        (Wanted("abc", exact=True), False),
    ],
)
def test_by_call(wanted: Wanted, is_so: bool) -> None:
    (one,) = traced(received(request("INVITE", "abc@host", uuid=UUID)))
    assert wanted(one) is is_so


def test_a_sample_takes_calls_as_a_whole() -> None:
    wanted = Wanted(sample=4)
    taken = 0
    for number in range(400):
        messages = traced(
            received(request("INVITE", f"{number}@host")),
            received(response(200, "OK", "INVITE", f"{number}@host")),
        )
        answers = {wanted(each) for each in messages}
        assert len(answers) == 1
        taken += answers.pop()
    assert 60 < taken < 140
