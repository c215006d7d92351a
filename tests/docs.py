"""Documentation made from the code: ``python -m tests.docs`` writes it, a test compares it."""

from pathlib import Path

from stacyvm.config import Settings

DOCS = Path(__file__).parents[1] / "docs"

HEAD = """# Settings

A server reads its settings from the environment and from a file `.env` in the working directory;
the environment wins. This page is made from `stacyvm/config.py` by `python -m tests.docs`.
The clients (SDK, command line) read `STACYVM_URL` and `STACYVM_API_KEY` from the environment alone.

| variable | default | meaning |
|---|---|---|
"""


def settings_page() -> str:
    """Return ``docs/settings.md``."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else str(field.default)
        if isinstance(field.default, list):
            default = ",".join(field.default)
        shown = f"`{default}`" if default else "(empty)"
        rows.append(f"| `STACYVM_{name.upper()}` | {shown} | {field.description} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    (DOCS / "settings.md").write_text(settings_page())
