"""Parameters that several commands share."""

from typing import Any

import click
from typing_extensions import override

from stacyvm.domain.sandbox import is_sandbox_id


class SandboxId(click.ParamType[str]):
    """A sandbox's id; a typing error is told at once instead of as "not found"."""

    name = "sandbox"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_sandbox_id(str(value)):
            self.fail(f"{value!r} is no sandbox id (sb- and 8 hexadecimal digits)", param, ctx)
        return str(value)


class Pair(click.ParamType[tuple[str, str]]):
    """``KEY=VALUE``; the value may be empty and may hold further equal signs."""

    name = "key=value"

    @override
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        return key, text


SANDBOX_ID = SandboxId()
PAIR = Pair()

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
