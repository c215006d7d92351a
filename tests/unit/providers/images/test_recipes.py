import io
import tarfile

import pytest

from stacyvm.providers.images.recipes import NAMES, Recipe, loader, recipe


@pytest.mark.parametrize("name", NAMES)
def test_every_image_has_a_recipe(name: str) -> None:
    made = recipe(name)
    assert made.image == f"stacyvm/{name}"
    assert b"FROM debian:trixie-slim" in dict(made.context)["Dockerfile"]


def test_the_agents_recipe_holds_its_sources_and_nothing_made_from_them() -> None:
    names = [name for name, _ in recipe("agent").context]
    assert "stacyvm/agent/build.py" in names
    assert "assemble.py" in names
    assert [name for name in names if name.endswith(".pyc") or "__pycache__" in name] == []


def test_the_same_recipe_gives_the_same_bytes() -> None:
    assert recipe("agent") == recipe("agent")
    assert recipe("agent").archive() == recipe("agent").archive()
    assert recipe("agent").digest == recipe("agent").digest


@pytest.mark.parametrize(
    "other",
    [
        (("a", b"1"), ("b", b"3")),
        (("a", b"1"),),
        (("a", b"1"), ("c", b"2")),
        (("a", b"1:1:b:12"),),
        (("ab", b"1"), ("", b"2")),
    ],
)
def test_any_change_changes_the_hash(other: tuple[tuple[str, bytes], ...]) -> None:
    one = Recipe(name="x", context=(("a", b"1"), ("b", b"2")))
    assert Recipe(name="x", context=other).digest != one.digest


def test_the_archive_holds_the_context() -> None:
    made = Recipe(name="x", context=(("Dockerfile", b"FROM scratch"), ("a/b", b"2")))
    with tarfile.open(fileobj=io.BytesIO(made.archive())) as archive:
        read = {m.name: archive.extractfile(m) for m in archive.getmembers()}
        assert {name: file.read() for name, file in read.items() if file} == dict(made.context)


def test_the_loader_is_the_architectures() -> None:
    assert loader("x86_64") == loader("amd64") == "ld-linux-x86-64.so.2"
    assert loader("aarch64") == loader("arm64") == "ld-linux-aarch64.so.1"
    with pytest.raises(ValueError, match="riscv64"):
        loader("riscv64")
