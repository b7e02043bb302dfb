"""config/rmlb.toml is complete and true: every key, and each default is the code's."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from config_samples import FILE, HOME, problems

from rmlb.config import Config, RmConfig, calls, load, parse, rm_options, service
from rmlb.config.schema import LISTS, TABLES
from rmlb.config.table import Table

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "config" / "rmlb.toml").read_text()
MODELS: dict[str, type[Table]] = {**TABLES, "rm.1": RmConfig, **LISTS}
NO_DEFAULT = {"cluster.virtual-ip", "rm.1.sip", "rm.2.sip"}


def lines() -> list[tuple[str, str, bool]]:
    """Every key of the file with its table: key path, line without #, whether it is in effect."""
    found = []
    table = ""
    for line in TEXT.splitlines():
        if header := re.fullmatch(r"#?\[\[?([a-z0-9.]+)\]\]?", line):
            table = header[1]
        elif key := re.match(r"#?([a-z][a-z0-9.-]*) = ", line):
            found.append((f"{table}.{key[1]}", line.removeprefix("#"), not line.startswith("#")))
    return found


def base() -> Config:
    """A file that says no more than the reference must say."""
    needed = {key: line for key, line, _ in lines() if key in NO_DEFAULT}
    tables: dict[str, str] = {}
    for key, line in needed.items():
        table = key.rpartition(".")[0]
        tables[table] = tables.get(table, "") + line + "\n"
    return parse("".join(f"[{t}]\n{body}" for t, body in tables.items()), FILE, environ=HOME)


def test_it_loads() -> None:
    assert load(ROOT / "config" / "rmlb.toml")


def test_no_key_is_missing_and_none_is_given_twice() -> None:
    def plain(key: str) -> str:
        return re.sub(r"\.(member|nic)\.[a-z0-9]+$", r".\1", key)

    written = [plain(key) for key, _, _ in lines() if not key.startswith("rm.2.")]
    known = [f"{table}.{key}" for table, model in MODELS.items() for key in model.fields()]
    assert sorted(set(written)) == sorted(known)
    others = [key for key in written if key not in ("cluster.member", "gvp.nic")]
    assert len(others) == len(set(others))


def test_each_default_is_the_code_s() -> None:
    reference, code = parse(TEXT, FILE, environ=HOME), base()
    assert reference.given > code.given
    for name in TABLES:
        assert getattr(reference, name) == getattr(code, name)
    assert reference.rm == code.rm
    for name in LISTS:
        assert getattr(reference, name) == getattr(code, name) == ()


def test_each_key_with_a_default_is_in_effect() -> None:
    """A key may be commented out only if its default is nothing at all."""
    in_effect = {key for key, _, active in lines() if active}
    for table, model in MODELS.items():
        if table in LISTS:
            continue
        for key, (_, field) in model.fields().items():
            path = f"{table}.{key}"
            if not field.is_required() and path not in in_effect:
                assert field.get_default(call_default_factory=True) in (None, "", (), {}), path


EXAMPLES = [(key, line) for key, line, active in lines() if not active]


@pytest.mark.parametrize(("key", "line"), EXAMPLES, ids=[key for key, _ in EXAMPLES])
def test_each_example_is_accepted(key: str, line: str) -> None:
    """Alone it may lack what belongs to it (files, a second key); its value must be right."""
    table = key.partition(".")[0]
    if table in LISTS:
        text = TEXT[: TEXT.index("#[[reaction]]")] + "\n".join(
            [f"[[{table}]]", *(example for k, example in EXAMPLES if k.startswith(f"{table}."))]
        )
        assert problems(text) == ()
        return
    text = re.sub(rf"^#{re.escape(line)}$", lambda _: line, TEXT, count=1, flags=re.MULTILINE)
    assert text != TEXT
    allowed = ("is missing", "cannot be read", "is off", "there is no nic.eth")
    assert [
        str(problem)
        for problem in problems(text)
        if not any(word in problem.message for word in allowed)
    ] == []


def test_each_key_is_explained_above_it() -> None:
    """A comment above every key or group of keys; nothing else stands between."""
    explained = False
    for line in TEXT.splitlines():
        if line.startswith("# "):
            explained = True
        elif not line or re.match(r"#?\[", line):
            explained = explained and not line
            if not line:
                explained = False
        elif re.match(r"#?[a-z]", line) and "rm2" not in line:
            assert explained or line == 'sip = "10.99.0.12:5060"', line


@pytest.mark.parametrize("module", [rm_options, calls, service], ids=lambda m: m.__name__)
def test_each_field_has_its_meaning_under_it_and_a_kind(module: object) -> None:
    path = getattr(module, "__file__", "")
    for node in ast.parse(Path(path).read_text()).body:
        if not isinstance(node, ast.ClassDef) or not node.name.endswith("Config"):
            continue
        fields = [
            (node.body[i], node.body[i + 1] if i + 1 < len(node.body) else None)
            for i in range(len(node.body))
            if isinstance(node.body[i], ast.AnnAssign)
        ]
        assert fields
        for field, after in fields:
            meaning = after.value if isinstance(after, ast.Expr) else None
            assert isinstance(meaning, ast.Constant), ast.unparse(field)
            assert "efault" in str(meaning.value), ast.unparse(field)


@pytest.mark.parametrize("table", MODELS)
def test_each_default_is_a_value_of_its_kind(table: str) -> None:
    model = MODELS[table]
    for key, (_, field) in model.fields().items():
        kind = model.kind(key)
        assert kind.allowed
        default = field.get_default(call_default_factory=True)
        if not field.is_required() and default is not None and kind.show(default) != "***":
            assert kind.read(kind.show(default)) == default, f"{table}.{key}"
