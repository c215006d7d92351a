import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyvm.domain.errors import InvalidRequestError
from stacyvm.domain.execution import build_argv

TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=30)


@pytest.mark.parametrize("mode", ["", "shell"])
def test_the_shell_form_appends_quoted_args(mode: str) -> None:
    assert build_argv("echo hi", ["it's", "$HOME"], mode) == (
        "sh",
        "-c",
        "echo hi 'it'\"'\"'s' '$HOME'",
    )


@given(st.lists(TEXT, max_size=5))
def test_a_shell_sees_the_very_args(args: list[str]) -> None:
    argv = build_argv("printf '%s\\0'", args, "shell")
    seen = subprocess.run(argv, capture_output=True, check=True).stdout
    assert seen.decode() == "".join(f"{arg}\0" for arg in args or [""])


def test_the_argv_form_is_taken_as_it_is() -> None:
    assert build_argv("node", ["-e", "1; 2"], "argv") == ("node", "-e", "1; 2")


@pytest.mark.parametrize(
    ("command", "args", "mode", "message"),
    [
        (" ", [], "argv", "argv exec mode requires command"),
        ("ls", [], "pty", 'unknown exec mode "pty"'),
        ("a\0b", [], "", "NUL"),
        ("ls", ["a\0b"], "argv", "NUL"),
    ],
)
def test_what_cannot_be_run_is_refused(
    command: str, args: list[str], mode: str, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        build_argv(command, args, mode)
