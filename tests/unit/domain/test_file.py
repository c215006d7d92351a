from datetime import UTC, datetime

import pytest

from stacyvm.domain.errors import InvalidPathError
from stacyvm.domain.file import FileInfo, check_path


@pytest.mark.parametrize(
    "path", ["/", "a", "/a/b", "a..b", "...", "caf\u00e9", "x\udcff", "a" * 4096]
)
def test_a_usable_path_is_kept_as_it_is(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "empty"),
        ("a\0b", "NUL"),
        ("a" * 5000, "5000 bytes, limit 4096"),
        ("\u00e9" * 2049, "4098 bytes"),
        ("..", '".."'),
        ("/workspace/../etc/passwd", '".."'),
        ("a/..", '".."'),
        ("\ud800", "not valid text"),
    ],
)
def test_an_unusable_path_is_refused(path: str, message: str) -> None:
    with pytest.raises(InvalidPathError, match=message):
        check_path(path)


@pytest.mark.parametrize(
    ("path", "name"), [("/", "/"), ("/a", "a"), ("/a/b.txt", "b.txt"), ("/a/b/", "b")]
)
def test_the_name_is_the_last_part(path: str, name: str) -> None:
    info = FileInfo(path=path, size=0, mode=0o644, is_dir=False, mod_time=datetime.now(UTC))
    assert info.name == name
