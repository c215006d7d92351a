import inspect

from stacyvm.domain import errors
from stacyvm.domain.errors import ExecTimeoutError, SandboxLostError, StacyError

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, StacyError) and cls.__module__ == errors.__name__
]


def test_the_docstring_draws_the_whole_tree() -> None:
    assert len(CLASSES) > 20
    drawn = errors.__doc__ or ""
    assert [cls.__name__ for cls in CLASSES if cls.__name__ not in drawn] == []


def test_every_code_is_upper_snake_case() -> None:
    assert all(cls.code.replace("_", "").isalpha() and cls.code.isupper() for cls in CLASSES)


def test_a_timeout_shows_its_partial_output() -> None:
    error = ExecTimeoutError("sb-1", timeout=1.5, stdout="a", stderr="b", truncated=False)
    assert error.message == "exec timeout: sb-1 (after 1.5s)"
    assert error.details() == {
        "stdout": "a",
        "stderr": "b",
        "truncated": False,
        "timeout_seconds": 1.5,
    }


def test_a_lost_sandbox_says_which_and_why() -> None:
    error = SandboxLostError("sb-1", "out of memory")
    assert error.details() == {"sandbox_id": "sb-1", "reason": "out of memory"}
