"""Sandboxes as JSON records and as rows of a table."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from stacyvm_sdk.models import SandboxInfo

from stacyvm.cli.text import since, span

COLUMNS = ("ID", "STATE", "IMAGE", "PROVIDER", "OWNER", "AGE", "EXPIRES IN", "METADATA")
_METADATA_SHOWN = 60  # characters


def as_record(info: SandboxInfo) -> dict[str, Any]:
    """Return the record that ``--json`` prints."""
    return asdict(info)


def as_row(info: SandboxInfo) -> tuple[str, ...]:
    """Return the cells under ``COLUMNS``."""
    age, overdue = since(info.created_at), since(info.expires_at)
    return (
        info.id,
        info.state,
        info.image,
        info.provider,
        info.owner_id or "-",
        "-" if age is None else span(age),
        "-" if overdue is None else span(-overdue),
        _short(info.metadata),
    )


def _short(metadata: Mapping[str, str]) -> str:
    text = ",".join(f"{key}={value}" for key, value in sorted(metadata.items()))
    return text if len(text) <= _METADATA_SHOWN else text[: _METADATA_SHOWN - 1] + "…"
