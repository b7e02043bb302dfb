from __future__ import annotations

import tomllib

import pytest
from config_samples import FILE, problems, site
from hypothesis import example, given
from hypothesis import strategies as st

from rmlb.config.syntax import correction, read

UNQUOTED = [
    ("virtual-ip = 10.0.0.1", 'virtual-ip = "10.0.0.1"'),
    ("virtual-ip = 2001:db8::1/64", 'virtual-ip = "2001:db8::1/64"'),
    ("members = 1 2", 'members = "1 2"'),
    ("member.1 = 10.1.1.1:9801", 'member.1 = "10.1.1.1:9801"'),
    ('"member.1" = 10.1.1.1:9801', '"member.1" = "10.1.1.1:9801"'),
    ("nic.eth0 = 00-0F-1F-6D-EB-CA", 'nic.eth0 = "00-0F-1F-6D-EB-CA"'),
    ("nics = 0 1", 'nics = "0 1"'),
    ("ha-mode = active-active", 'ha-mode = "active-active"'),
    ("ha-mode = active active  # as exported", 'ha-mode = "active active"  # as exported'),
    (
        r"failoverscript = C:\Program Files\GCTI\gvp\VP Resource Manager 9.0\bin\NLB.bat",
        r"failoverscript = 'C:\Program Files\GCTI\gvp\VP Resource Manager 9.0\bin\NLB.bat'",
    ),
    (
        r'failoverscript = "C:\Program Files\NLB.bat"',
        r"failoverscript = 'C:\Program Files\NLB.bat'",
    ),
    (r"failoverscript = C:\O'Neil\NLB.bat", r'failoverscript = "C:\\O' + "'" + r'Neil\\NLB.bat"'),
    ("hotstandby = TRUE", "hotstandby = true"),
    ("heartbeattimer =", 'heartbeattimer = ""'),
    ("name = 2024-13-45", 'name = "2024-13-45"'),
    ("interval = 100ms", 'interval = "100ms"'),
    ("listen = [udp:5060, tcp:5060]", 'listen = ["udp:5060", "tcp:5060"]'),
    ('listen = ["udp:5060", tcp:5060]', 'listen = ["udp:5060", "tcp:5060"]'),
    ("virtual-ip = “10.0.0.1”", 'virtual-ip = "10.0.0.1"'),
    ('virtual-ip = "10.0.0.1', 'virtual-ip = "10.0.0.1"'),
    ("; a comment of an INI file", "# a comment of an INI file"),
]


@pytest.mark.parametrize(("line", "corrected"), UNQUOTED)
def test_an_unquoted_line_is_shown_corrected(line: str, corrected: str) -> None:
    text = f"# pasted\n[cluster]\n{line}\n"
    _, faults = read(text)
    assert [fault.allowed for fault in faults] == [corrected]
    assert faults[0].message.startswith("line 3: ")


@pytest.mark.parametrize(("line", "corrected"), UNQUOTED)
def test_a_corrected_line_is_toml(line: str, corrected: str) -> None:
    tomllib.loads(corrected)
    assert correction(corrected) is None, "and needs no further correction"


def test_every_unquoted_line_is_reported_at_once_with_what_is_wrong_behind_it() -> None:
    text = site(
        cluster="members = 1 2\nmymemberid = 3\nnosuch = here",
        gvp="nics = 0 1\nnic.eth0 = 00-0F-1F-6D-EB-CA",
        rm_2="sip = 10.99.0.12:5060",
    )
    found = [problem.key for problem in problems(text)]
    assert found[:5] == [
        "cluster.members",
        "cluster.nosuch",
        "gvp.nics",
        "gvp.nic.eth0",
        "rm.2.sip",
    ]
    assert "cluster.nosuch" in found[5:], "unknown even when quoted"
    assert "gvp.nics" in found[5:], "1 is listed, but there is no nic.eth1"


def test_a_correction_alone_does_not_make_the_file_acceptable() -> None:
    (problem,) = problems(site(cluster="mymemberid = 01"))
    assert str(problem) == (
        f'{FILE}: cluster.mymemberid: line 3: text needs quotes; allowed: mymemberid = "01"'
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cluster\nname = 1", "line 1, column 9: the ] of the table's name is missing: [cluster"),
        ("[cluster]\n[cluster]", "line 2, column 9: the table is given twice: [cluster]"),
        ("[a]\nb = 1\nb = 2", "line 3, column 6: the key is given twice: b = 2"),
        ("[a]\nlisten = [\n  udp:5060,\n]", "line 3, column 3: this is no TOML value: udp:5060,"),
        ("[a]\nb = [1, 2\nc = 3\n", "line 3, column 1: the ] of a list is missing, or a comma"),
        ("[a]\nvirtual-ip: 10.0.0.1", "line 2, column 11: a = is missing after the key"),
        ("[a]\n*", "line 2, column 1: this is neither a [table] nor key = value"),
        ('[a]\nb = "x\x00y"', "line 2, column 7: a control character"),
        ("a = " + "[" * 5000, "nested too deeply"),
    ],
)
def test_other_errors_name_line_column_and_reason(text: str, message: str) -> None:
    problem = problems(text)[0]
    assert message in str(problem)
    assert str(problem).startswith(f"{FILE}: ")


def test_a_key_given_twice_does_not_end_the_search() -> None:
    found = problems(site(cluster='name = "a"\nname = "b"\nmembers = 1 2', log="level = 1"))
    assert [problem.key for problem in found] == [
        "cluster.name",
        "cluster.members",
        "log.level",
        "cluster.members",
    ]


def test_the_end_of_the_document_is_its_last_line() -> None:
    (problem,) = problems("[a]\nb = {")
    assert "line 2, column 6" in problem.message


def test_windows_line_ends_are_line_ends() -> None:
    _, faults = read("[cluster]\r\nmembers = 1 2\r\n")
    assert faults[0].allowed == 'members = "1 2"'


def test_corrections_end() -> None:
    raw, faults = read("a = x y\n" * 300)
    assert raw is None
    assert faults


@pytest.mark.parametrize(
    "line",
    ['a = """x', "a = [", "a = {", "a = '''x", "a", "[a", 'a = "x\0"', "a = 1", "", "a b = 1"],
)
def test_what_cannot_be_corrected(line: str) -> None:
    assert correction(line) is None


@given(st.text(max_size=80))
@example("“”")
@example("'")
@example('"')
@example("\\")
@example("[,]")
def test_any_value_is_corrected_to_toml_or_not_at_all(value: str) -> None:
    fixed = correction(f"key = {value}")
    if fixed is not None:
        assert "key" in tomllib.loads(fixed.line)


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_any_text_is_read_or_explained(text: str) -> None:
    raw, faults = read(text)
    assert raw is not None or faults
