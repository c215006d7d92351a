"""The ``stacyvm`` command."""

import click

from stacyvm.cli.errors import EXIT_CODES_HELP
from stacyvm.cli.lazy import LazyGroup

# Each in a module of its own, imported when called. The short help stands here so that
# `stacyvm --help` imports none of them; a test compares it with theirs.
COMMANDS = {
    "serve": ("stacyvm.cli.serve:serve", "Run the server in the foreground."),
    "spawn": ("stacyvm.cli.spawn:spawn", "Start a sandbox and print its id."),
    "exec": ("stacyvm.cli.exec:exec_", "Run a command in a sandbox."),
    "cp": ("stacyvm.cli.cp:cp", "Copy files or directories into or out of a sandbox."),
    "list": ("stacyvm.cli.list:list_", "List the live sandboxes."),
    "extend": ("stacyvm.cli.extend:extend", "Give a sandbox more time."),
    "kill": ("stacyvm.cli.kill:kill", "Destroy sandboxes at once."),
    "logs": ("stacyvm.cli.logs:logs", "Print the last output of a sandbox's commands."),
    "stats": ("stacyvm.cli.stats:stats", "Show what a sandbox uses."),
    "setup": ("stacyvm.cli.setup:setup", "Prepare this machine: Docker engine, Redis, images."),
    "images": ("stacyvm.cli.images:images", "Build and list the images sandboxes start from."),
    "doctor": ("stacyvm.cli.doctor:doctor", "Check this machine and say what to do."),
    "demo": ("stacyvm.cli.demo:demo", "Do the main job once, end to end."),
    "version": ("stacyvm.cli.version:version", "Print the version."),
}


_EPILOG = f"""\b
Examples:
  stacyvm serve                              (in one terminal, then in another)
  id=$(stacyvm spawn)
  stacyvm exec $id -- node -e 'console.log(1 + 1)'
  stacyvm kill $id

{EXIT_CODES_HELP}"""


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="stacyvm", message="stacyvm %(version)s")
def main() -> None:
    """Self-hosted sandboxes for untrusted code."""
