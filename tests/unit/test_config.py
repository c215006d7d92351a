from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stacyvm.config import Settings, unknown_variables
from tests.docs import DOCS, settings_page


def test_every_setting_is_documented_as_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())
    assert (DOCS / "settings.md").read_text() == settings_page(), "run: python -m tests.docs"


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACYVM_ALLOWED_HOSTS", "a.example, b.example,")
    monkeypatch.setenv("STACYVM_DATA_DIR", "~/somewhere")
    monkeypatch.setenv("STACYVM_API_KEY", "hush")
    settings = Settings(_env_file=None)
    assert settings.allowed_hosts == ["a.example", "b.example"]
    assert settings.data_dir == Path("~/somewhere").expanduser()
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", 70000), ("max_ttl", 0), ("provider", "firecracker"), ("default_memory_mb", 1)],
)
def test_a_setting_that_makes_no_sense_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(_env_file=None, **{name: value})


def test_a_variable_that_sets_nothing_is_named_with_what_was_meant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("STACYVM_MAX_SANDBOX=3\nOTHER=1\nSTACYVM_PORT=1\n")
    monkeypatch.setenv("STACYVM_DEFAULT_TLL", "hush")
    monkeypatch.setenv("STACYVM_MOON", "hush")
    monkeypatch.setenv("STACYVM_URL", "http://localhost")
    monkeypatch.setenv("stacyvm_host", "127.0.0.1")
    assert unknown_variables() == [
        "STACYVM_DEFAULT_TLL in the environment is no setting; did you mean STACYVM_DEFAULT_TTL?",
        "STACYVM_MOON in the environment is no setting; `stacyvm serve --help` lists all settings",
        "STACYVM_MAX_SANDBOX in .env is no setting; did you mean STACYVM_MAX_SANDBOXES?",
    ]


def test_without_a_misspelling_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert unknown_variables() == []
