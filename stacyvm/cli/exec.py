"""``stacyvm exec``."""

import asyncio
from typing import Any

import click
from stacyvm_sdk.models import ExecOutcome
from stacyvm_sdk.sandbox import Sandbox
from typing_extensions import override

from stacyvm.cli.connection import Connection, client_options
from stacyvm.cli.errors import CommandError, ExitCode
from stacyvm.cli.parameters import PAIR, SANDBOX_ID
from stacyvm.cli.streams import Output, stdin_source


class ExecUsageError(click.UsageError):
    """A usage error that cannot be taken for the exit code of what ran in the sandbox."""

    exit_code = ExitCode.EXEC_FAILED


class ExecCommand(click.Command):
    """A command whose own failures give 125, so that they differ from what ran in the sandbox."""

    @override
    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise ExecUsageError(error.format_message(), error.ctx) from error

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CommandError as error:
            if error.code != ExitCode.TIMED_OUT:
                error.code = ExitCode.EXEC_FAILED
            raise


_EXAMPLES = """\b
Examples:
  stacyvm exec $id -- node app.js --verbose
  stacyvm exec -c 'ls *.json | wc -l' $id
  stacyvm exec $id sort < names.txt"""


@click.command(
    "exec", cls=ExecCommand, epilog=_EXAMPLES, context_settings={"allow_interspersed_args": False}
)
@click.option(
    "-c", "--shell", metavar="SCRIPT", help="Run SCRIPT with sh; the words are its arguments."
)
@click.option(
    "-e", "--env", type=PAIR, multiple=True, metavar="KEY=VALUE", help="Environment; repeatable."
)
@click.option("-w", "--workdir", metavar="DIR", help="Where to run it; default /workspace.")
@click.option("--timeout", metavar="DURATION", help="Kill it after this long, such as 30s, 5m.")
@click.option("-i", "--stdin", "keep_stdin", is_flag=True, help="Pass on a terminal's stdin too.")
@click.option("-n", "--no-stdin", is_flag=True, help="Leave stdin alone.")
@click.argument("sandbox_id", metavar="ID", type=SANDBOX_ID)
@click.argument("words", metavar="[--] [COMMAND]...", nargs=-1, type=click.UNPROCESSED)
@client_options
@click.pass_context
def exec_(
    ctx: click.Context,
    sandbox_id: str,
    words: tuple[str, ...],
    shell: str | None,
    env: tuple[tuple[str, str], ...],
    workdir: str | None,
    timeout: str | None,
    keep_stdin: bool,
    no_stdin: bool,
    connection: Connection,
) -> None:
    """Run a command in a sandbox.

    Options go before ID. Output comes as it is printed, and the exit code is the command's.
    A pipe or file on stdin is passed on. Ctrl-C kills the command. Without -c nothing interprets
    the words: no variables, no pipes.
    """
    if keep_stdin and no_stdin:
        raise ExecUsageError("--stdin and --no-stdin exclude each other")
    command, args = _command(shell, words)
    run: dict[str, Any] = {
        "command": command,
        "args": args,
        "mode": "argv" if shell is None else "shell",
        "env": dict(env),
        "workdir": workdir,
        "timeout": timeout,
    }
    source = None if no_stdin else stdin_source(terminal=keep_stdin)
    try:
        with connection.client() as client:
            sandbox = client.get(sandbox_id)  # a plain error for what is wrong before any stdin
            if source is None:
                outcome = _run(sandbox, run)
            else:
                outcome = _run_with_stdin(connection, sandbox_id, run, source)
    except BrokenPipeError:
        # Whoever read our output is satisfied; leaving has closed the stream, which kills the
        # command.
        ctx.exit(ExitCode.BROKEN_PIPE)
    _finish(ctx, outcome, timeout)


def _command(shell: str | None, words: tuple[str, ...]) -> tuple[str, list[str]]:
    dashes = words[:1] == ("--",)
    rest = list(words[1:] if dashes else words)
    if shell is not None:
        return shell, rest
    if not rest:
        raise ExecUsageError("what is to run? Give COMMAND after ID, or -c SCRIPT before it")
    if rest[0].startswith("-") and not dashes:
        raise ExecUsageError(
            f"options such as {rest[0]} go before ID; write -- before a command that starts so"
        )
    return rest[0], rest[1:]


def _run(sandbox: Sandbox, run: dict[str, Any]) -> ExecOutcome:
    output = Output()
    with sandbox.exec_stream(**run) as stream:
        for chunk in stream:
            output.write(chunk)
        return stream.result


def _run_with_stdin(
    connection: Connection, sandbox_id: str, run: dict[str, Any], source: int
) -> ExecOutcome:
    # Late: only this way of running needs aiohttp, which takes as long to import as all the rest.
    from stacyvm.cli.duplex import run_duplex

    return asyncio.run(run_duplex(connection, sandbox_id, run, source, Output()))


def _finish(ctx: click.Context, outcome: ExecOutcome, timeout: str | None) -> None:
    if outcome.timed_out:
        raise CommandError(
            f"the command ran into its time limit ({timeout or 'the default'}) and was killed",
            code=ExitCode.TIMED_OUT,
        )
    if outcome.truncated:
        click.echo("stacyvm: the output was cut", err=True)
    ctx.exit(outcome.exit_code)
