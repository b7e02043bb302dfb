from __future__ import annotations

from pathlib import Path

import pytest
from config_samples import PAIR, config, site

from rmlb.config import Config, ConfigError, load, parse


def below(folder: Path, **tables: str) -> Config:
    """The least configuration in a file of that folder."""
    path = folder / "site.toml"
    path.write_text(site(**tables))
    return load(path, environ={"HOME": "/home/operator"})


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/rmlb", "HOME": "/root"}, "/var/lib/rmlb"),
        ({"STATE_DIRECTORY": "/var/lib/rmlb:/var/lib/other"}, "/var/lib/rmlb"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/root"}, "/state/rmlb/10.99.0.100-1"),
        ({"HOME": "/root"}, "/root/.local/state/rmlb/10.99.0.100-1"),
        ({"HOME": "", "STATE_DIRECTORY": ""}, "/var/lib/rmlb/10.99.0.100-1"),
    ],
)
def test_where_state_is_kept(environ: dict[str, str], folder: str) -> None:
    assert parse(PAIR, "f", environ=environ).state.directory == Path(folder)


def test_the_environment_of_the_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/rmlb")
    assert parse(PAIR, "f").state.directory == Path("/var/lib/rmlb")


def test_two_balancers_on_one_host_do_not_share_their_state() -> None:
    other = PAIR.replace("mymemberid = 1", "mymemberid = 2")
    folders = {
        parse(text, "f", environ={"HOME": "/root"}).state.directory for text in (PAIR, other)
    }
    assert len(folders) == 2


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "own.secret").write_text("0123456789abcdef\n")
    found = below(tmp_path, state='dir = "state"', security='secret-file = "own.secret"')
    assert found.state.directory == tmp_path / "state"
    assert found.security.secret_file == str(tmp_path / "own.secret")


def test_a_file_of_secrets(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text("\n  the newest secret of all \n\nthe one before that\n")
    found = below(tmp_path, security=f'secret-file = "{path}"')
    assert found.security.secrets == ("the newest secret of all", "the one before that")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: no such file or directory"),
        (b"", "holds no secret"),
        (b"long enough, certainly\nshort\n", "secret 2 is too short"),
        (b"long enough, certainly\n" * 2, "holds a secret twice"),
        (b"\xff" * 20, "is not UTF-8"),
    ],
)
def test_a_file_of_secrets_that_is_none(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "secrets").write_bytes(content)
    with pytest.raises(ConfigError) as error:
        below(tmp_path, security='secret-file = "secrets"')
    (problem,) = error.value.problems
    assert problem.key == "security.secret-file"
    assert said in problem.message
    assert "certainly" not in str(problem)


def test_several_defaults_come_from_the_cluster() -> None:
    found = config(cluster='name = "east"\nmymemberid = 1', sip='via-host = "rm.example.com"')
    assert found.heartbeat.id == 1
    assert found.cluster.members == (1,)
    assert found.sip.via_host == "rm.example.com"
    assert found.state.directory.name == "east-1"


def test_a_witness_is_the_state_store_when_that_is_one_server() -> None:
    assert config().witness == ""
    assert config(state='url = "redis://a"').witness == "redis://a"
    assert config(state='url = "redis+cluster://a"').witness == ""
    assert config(state='url = "redis://a"', vip='witness = "none"').witness == ""
    assert config(state='url = "redis+cluster://a"', vip='witness = "redis://b"').witness == (
        "redis://b"
    )


def test_admin_uses_the_certificate_of_tls_unless_it_has_its_own() -> None:
    assert config().admin.certificate == ""
