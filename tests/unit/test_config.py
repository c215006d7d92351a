from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stacyvm.config import Settings
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
