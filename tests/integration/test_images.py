import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import NotFound

from stacyvm.domain.errors import ProviderError
from stacyvm.providers.images.builder import Status, build, states
from stacyvm.providers.images.engine import connected
from stacyvm.providers.images.recipes import AGENT_HASH, AGENT_LOADER, NAMES, Recipe
from tests.cli.conftest import Shell, clean_environment
from tests.conftest import SESSION

pytestmark = pytest.mark.docker

BARE = f"stacyvm-test/bare-{SESSION}"
LOADER = "/.stacyvm/lib/ld-linux-x86-64.so.2"


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    with connected() as client:
        yield client


@pytest.fixture
def volume(client: docker.DockerClient) -> Iterator[str]:
    """The agent's image, copied into a volume as the provider does it."""
    made = client.volumes.create(f"stacyvm-test-{SESSION}")
    filler = client.containers.create(
        "stacyvm/agent", volumes={made.name: {"bind": "/.stacyvm", "mode": "rw"}}
    )
    filler.remove()
    yield str(made.name)
    made.remove()


@pytest.fixture
def bare(client: docker.DockerClient) -> Iterator[str]:
    """An image with nothing in it, not even a C library."""
    empty = io.BytesIO()
    with tarfile.open(fileobj=empty, mode="w") as archive:
        folder = tarfile.TarInfo("tmp")
        folder.type = tarfile.DIRTYPE
        folder.mode = 0o1777
        archive.addfile(folder)
    client.api.import_image_from_data(empty.getvalue(), repository=BARE, tag="latest")
    yield BARE
    client.images.remove(BARE)


def _run(client: docker.DockerClient, image: str, volume: str, command: list[str]) -> str:
    output = client.containers.run(
        image,
        command,
        remove=True,
        network_mode="none",
        read_only=True,
        user="1000",
        cap_drop=["ALL"],
        volumes={volume: {"bind": "/.stacyvm", "mode": "ro,nocopy"}},
    )
    return bytes(output).decode()


def test_all_images_are_up_to_date(client: docker.DockerClient) -> None:
    assert [one.status for one in states(client)] == [Status.READY] * len(NAMES)


def test_an_up_to_date_image_is_not_built_again(
    client: docker.DockerClient, tmp_path: Path
) -> None:
    before = states(client)
    done = Shell(directory=tmp_path, environment=clean_environment()).run("images", "build")
    assert done.returncode == 0
    assert done.stderr == b"The images are up to date.\n"
    assert states(client) == before


def test_the_list_is_json_for_programs(client: docker.DockerClient, tmp_path: Path) -> None:
    done = Shell(directory=tmp_path, environment=clean_environment()).run(
        "images", "list", "--json"
    )
    assert [(one["image"], one["status"]) for one in json.loads(done.stdout)] == [
        (f"stacyvm/{name}", "ready") for name in NAMES
    ]


def test_the_agent_image_tells_its_hash_and_loader(client: docker.DockerClient) -> None:
    labels = client.images.get("stacyvm/agent").labels
    assert len(labels[AGENT_HASH]) == 64
    assert labels[AGENT_LOADER].startswith("ld-linux-")


def test_its_python_runs_in_an_image_with_nothing_in_it(
    client: docker.DockerClient, bare: str, volume: str
) -> None:
    code = (
        "import sys, json, selectors, tarfile, hashlib, ctypes, resource, termios;"
        "print(json.dumps([sys.version_info[:2], sys.prefix, json.__cached__[-3:]]))"
    )
    python = [LOADER, "--library-path", "/.stacyvm/lib", "/.stacyvm/bin/python3", "-I", "-S"]
    output = _run(client, bare, volume, [*python, "-c", code])
    assert json.loads(output) == [[3, 13], "/.stacyvm", "pyc"]


def test_no_bytecode_is_missing(client: docker.DockerClient, bare: str, volume: str) -> None:
    code = (
        "import importlib.util as u, os\n"
        "for folder, _, names in os.walk('/.stacyvm/lib/python3.13'):\n"
        "    for name in names:\n"
        "        if name.endswith('.py'):\n"
        "            path = u.cache_from_source(os.path.join(folder, name))\n"
        "            flags = open(path, 'rb').read(8)[4:]\n"
        "            assert flags == b'\\1\\0\\0\\0', path\n"
        "print('all')"
    )
    python = [LOADER, "--library-path", "/.stacyvm/lib", "/.stacyvm/bin/python3", "-I", "-S"]
    assert _run(client, bare, volume, [*python, "-c", code]) == "all\n"


@pytest.mark.parametrize("prefix", [[], [LOADER, "--library-path", "/.stacyvm/lib"]])
def test_its_qjs_runs_in_an_image_with_nothing_in_it(
    client: docker.DockerClient, bare: str, volume: str, prefix: list[str]
) -> None:
    script = "console.log([1, 2, 3].map((n) => n ** 2).join())"
    assert _run(client, bare, volume, [*prefix, "/.stacyvm/bin/qjs", "-e", script]) == "1,4,9\n"


@pytest.mark.parametrize(
    ("image", "command"),
    [
        ("stacyvm/node", ["node", "-e", "console.log(6 * 7)"]),
        ("stacyvm/quickjs", ["qjs", "-e", "console.log(6 * 7)"]),
    ],
)
def test_a_sandbox_image_runs_its_engine_as_a_plain_user(
    client: docker.DockerClient, image: str, command: list[str], volume: str
) -> None:
    assert _run(client, image, volume, command) == "42\n"
    assert _run(client, image, volume, ["sh", "-c", "id -un; pwd"]) == "sandbox\n/workspace\n"


def test_a_build_that_fails_shows_its_log_and_leaves_no_image(
    client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"broken-{SESSION}"
    content = b"FROM debian:trixie-slim\nRUN echo before the end && false\n"
    broken = Recipe(name=name, context=(("Dockerfile", content),))
    monkeypatch.setattr("stacyvm.providers.images.builder.recipe", lambda _: broken)
    log: list[str] = []
    with pytest.raises(ProviderError, match="returned a non-zero code: 1"):
        build(client, name, log.append)
    assert "before the end" in log
    with pytest.raises(NotFound):
        client.images.get(f"stacyvm/{name}")


def test_no_engine_is_told_with_its_reason(tmp_path: Path) -> None:
    environment = clean_environment(STACYVM_DOCKER_HOST=f"unix://{tmp_path}/none")
    done = Shell(directory=tmp_path, environment=environment).run("images", "list")
    assert done.returncode == 7
    assert b"The Docker engine does not answer: No such file or directory." in done.stderr
