"""A click group that imports a subcommand only when it is called."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import click
from typing_extensions import override

from stacyvm.cli.errors import CommandError, ExitCode
from stacyvm.cli.text import clean


class LazyGroup(click.Group):
    """A group that knows its commands as ``name: ("module:attribute", short help)``.

    ``stacyvm version`` must not pay for the engine's client, nor ``--help`` for anything.
    Expected errors are one line on stderr; every exit code is that of the error.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return None
        module, _, attribute = self.lazy[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{attribute} is not a command")
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in self.lazy.items()])

    @override
    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        run = partial(super().main, args, prog_name, complete_var, False, **extra)
        if not standalone_mode:
            return run()
        try:
            result: Any = run()
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.UsageError as error:
            _show_usage_error(error)
            sys.exit(error.exit_code)
        except CommandError as error:
            error.show()
            sys.exit(error.code)
        except click.ClickException as error:
            click.echo(f"stacyvm: {clean(error.format_message())}", err=True)
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(ExitCode.INTERRUPTED)
        # click gives the code of ctx.exit() back as the result
        sys.exit(result if isinstance(result, int) else 0)


def _show_usage_error(error: click.UsageError) -> None:
    click.echo(f"stacyvm: {clean(error.format_message())}", err=True)
    if error.ctx is not None:
        click.echo(f"  See `{error.ctx.command_path} --help`.", err=True)
