"""What is taken for the admin API's URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from rmlb.cli.client import ApiClient
from rmlb.cli.failure import CliError


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://127.0.0.1:8560", "http://127.0.0.1:8560"),
        ("http://127.0.0.1:8560/", "http://127.0.0.1:8560"),
        ("127.0.0.1:8560", "http://127.0.0.1:8560"),
        ("localhost", "http://localhost"),
        ("https://[::1]:8560", "https://[::1]:8560"),
    ],
)
def test_urls(given: str, url: str) -> None:
    assert ApiClient(given).url == url


@pytest.mark.parametrize(
    "given", ["", "ftp://x", "http://", "http://x:99999", "http://[::1", "a b"]
)
def test_no_urls(given: str) -> None:
    with pytest.raises(CliError, match="--api") as caught:
        ApiClient(given)
    assert caught.value.code == 2


def test_an_unusable_ca_file(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="No such file"):
        ApiClient("https://127.0.0.1", ca_file=str(tmp_path / "none.pem"))
    (tmp_path / "text.pem").write_text("hello")
    with pytest.raises(CliError, match="not a PEM file"):
        ApiClient("https://127.0.0.1", ca_file=str(tmp_path / "text.pem"))
