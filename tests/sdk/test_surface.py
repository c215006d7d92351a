"""The public names: complete, sorted, the same in both clients, and without the server."""

import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import stacyvm_sdk
from stacyvm_sdk import (
    AsyncClient,
    AsyncExecStream,
    AsyncSandbox,
    AsyncTemplateManager,
    Client,
    ExecError,
    ExecResult,
    ExecStream,
    Sandbox,
    SandboxInfo,
    SpawnAdmissionDecision,
    SpawnOptions,
    StacyVMError,
    Template,
    TemplateManager,
    exceptions,
)

import stacyvm.exceptions
import stacyvm.providers
import stacyvm.streaming
import stacyvm.templates

# Section 16 of the contract: StacyVM's own client, whose users' code must go on working.
CONTRACT = {
    Client.__init__: "base_url api_key user_id timeout",
    Client.spawn: "image provider memory_mb vcpus ttl owner_id template metadata",
    Client.admission: "image provider memory_mb vcpus ttl owner_id metadata",
    Client.get: "sandbox_id",
    Client.list: "",
    Client.spawn_template: "template_name",
    Client.prune: "",
    Client.pool_status: "",
    Client.quota_summary: "",
    Client.health: "",
    Client.providers: "",
    Client.close: "",
    Sandbox.__init__: "http sandbox_id info",
    Sandbox.exec: "command args mode env workdir timeout",
    Sandbox.exec_stream: "command args mode env workdir",
    Sandbox.write_file: "path content mode",
    Sandbox.read_file: "path",
    Sandbox.list_files: "path",
    Sandbox.delete_file: "path recursive",
    Sandbox.move_file: "old_path new_path",
    Sandbox.chmod_file: "path mode",
    Sandbox.stat_file: "path",
    Sandbox.glob_files: "pattern",
    Sandbox.extend_ttl: "ttl",
    Sandbox.destroy: "",
    Sandbox.refresh: "",
    Sandbox.get_preview_url: "port",
    TemplateManager.list: "",
    TemplateManager.get: "name",
    TemplateManager.save: "template",
    TemplateManager.delete: "name",
    ExecResult: "exit_code stdout stderr duration",
    SandboxInfo: "id state provider image memory_mb vcpus created_at expires_at metadata "
    "preview_domain",
    SpawnAdmissionDecision: "allowed queueable reason active_sandboxes max_sandboxes "
    "active_owner_sandboxes max_owner_sandboxes max_ttl",
    Template: "name image memory_mb vcpus ttl provider metadata",
    StacyVMError.__init__: "message code",
}


def parameters(function: object) -> list[inspect.Parameter]:
    found = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    return [parameter for parameter in found if parameter.name != "self"]


@pytest.mark.parametrize(("function", "names"), CONTRACT.items())
def test_the_contracts_arguments_come_first_and_in_its_order(function: object, names: str) -> None:
    positional = [
        p.name for p in parameters(function) if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    expected = names.split()
    assert positional[: len(expected)] == expected


@pytest.mark.parametrize(
    ("sync", "async_"),
    [
        (Client, AsyncClient),
        (Sandbox, AsyncSandbox),
        (TemplateManager, AsyncTemplateManager),
        (ExecStream, AsyncExecStream),
    ],
)
def test_the_asynchronous_twin_has_the_same_methods(sync: type, async_: type) -> None:
    assert methods(sync) == methods(async_)


def methods(kind: type) -> dict[str, object]:
    """Return the public members: names, kinds and defaults of arguments of the methods."""
    shared: dict[str, object] = {}
    for name in dir(kind):
        member = inspect.getattr_static(kind, name)
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(member, property):
            shared[name] = "property"
        else:
            shared[name] = [(p.name, p.kind, p.default) for p in parameters(member)]
    return shared


def test_every_method_of_the_asynchronous_twins_that_talks_is_a_coroutine() -> None:
    silent = {"with_sandbox", "exec_stream", "get_preview_url"}  # these give what is awaited later
    for kind in (AsyncClient, AsyncSandbox, AsyncTemplateManager):
        for name, member in vars(kind).items():
            if inspect.isfunction(member) and not name.startswith("_"):
                assert inspect.iscoroutinefunction(member) is (name not in silent), name


def test_the_options_of_with_sandbox_are_the_arguments_of_spawn() -> None:
    assert [p.name for p in parameters(Client.spawn)] == list(SpawnOptions.__annotations__)


def test_an_image_in_place_of_a_function_is_told_before_anything_is_spawned() -> None:
    image: Any = "stacyvm/node"
    with Client("http://127.0.0.1:1") as client, pytest.raises(TypeError, match="image="):
        client.with_sandbox(image)
    with pytest.raises(TypeError, match="image="):
        AsyncClient("http://127.0.0.1:1").with_sandbox(image)


def test_all_is_sorted_and_complete() -> None:
    names = stacyvm_sdk.__all__
    assert names == sorted(names)
    public = {
        name
        for name, value in vars(stacyvm_sdk).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public == set(names)
    errors = {
        name
        for name, value in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(value, StacyVMError)
    }
    assert errors <= set(names)


def test_the_docstring_draws_the_whole_tree_of_errors() -> None:
    drawn = re.findall(r"^[│ ├└─]*([A-Z]\w+)", exceptions.__doc__ or "", re.MULTILINE)
    tree: list[type[StacyVMError]] = [StacyVMError, *descendants(StacyVMError)]
    assert sorted(name for name in drawn if hasattr(exceptions, name)) == sorted(
        each.__name__ for each in tree
    )


def descendants(kind: type[StacyVMError]) -> list[type[StacyVMError]]:
    return [each for child in kind.__subclasses__() for each in (child, *descendants(child))]


@pytest.mark.parametrize("kind", descendants(StacyVMError))
def test_every_error_survives_pickling(kind: type[StacyVMError]) -> None:
    error = kind(ExecResult(3, "", "bad\n"), "x") if kind is ExecError else kind("why")
    error.details = {"a": 1}
    error.status = 418
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    assert type(copy) is kind
    assert (str(copy), vars(copy)) == (str(error), vars(error))
    assert error.code


def test_the_server_package_gives_the_clients_names_too() -> None:
    from stacyvm import AsyncClient as FromServer1
    from stacyvm import Client as FromServer2
    from stacyvm import with_sandbox

    assert (FromServer1, FromServer2) == (AsyncClient, Client)
    assert with_sandbox is stacyvm_sdk.with_sandbox
    assert set(stacyvm_sdk.__all__) < set(dir(stacyvm))
    assert stacyvm.templates.TemplateManager is TemplateManager
    assert stacyvm.providers.ProviderManager is stacyvm_sdk.ProviderManager
    assert stacyvm.streaming.StreamChunk is stacyvm_sdk.StreamChunk
    assert stacyvm.exceptions.SandboxNotFound is stacyvm_sdk.SandboxNotFound
    with pytest.raises(ImportError):
        from stacyvm import nothing_of_that_name  # noqa: F401
    with pytest.raises(AttributeError):
        _ = stacyvm.providers.nothing_of_that_name


def test_the_old_helpers_work_on_a_response() -> None:
    lines = (
        b'{"stream":"stdout","data":"a"}\n\njunk\n{"exit_code":0}\n{"stream":"stderr","data":"b"}'
    )
    chunks = stacyvm.streaming.iter_ndjson(httpx.Response(200, content=lines))
    assert [(chunk.stream, chunk.data) for chunk in chunks] == [
        ("stdout", "a"),
        ("stdout", ""),
        ("stderr", "b"),
    ]
    stacyvm.exceptions.handle_response(httpx.Response(204))
    with pytest.raises(stacyvm_sdk.Conflict):
        stacyvm.exceptions.handle_response(httpx.Response(409, json={"code": "CONFLICT"}))


def run(code: str) -> str:
    """Run ``code`` in a fresh interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path("/"),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_sdk_needs_nothing_of_the_server() -> None:
    foreign = ["stacyvm", "aiohttp", "pydantic", "docker", "redis", "click", "rich"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({foreign}))\nimport stacyvm_sdk; print('ok')"
    )
    assert run(code) == "ok\n"


def test_the_servers_packages_do_not_import_the_sdk() -> None:
    code = "import sys, stacyvm, stacyvm.providers; print('stacyvm_sdk' in sys.modules)"
    assert run(code) == "False\n"


def test_importing_the_sdk_costs_little_beside_the_http_library() -> None:
    code = (
        "import time, httpx, httpcore; start = time.process_time()\n"
        "import stacyvm_sdk; print(time.process_time() - start)"
    )
    assert min(float(run(code)) for _ in range(3)) < 0.2


@pytest.mark.parametrize(
    "module", sorted(path.stem for path in Path(stacyvm_sdk.__path__[0]).glob("*.py"))
)
def test_every_module_can_be_imported_alone(module: str) -> None:
    assert run(
        f"import stacyvm_sdk.{module}; print('ok')" if module != "__init__" else "print('ok')"
    )


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(stacyvm_sdk.__path__[0]) / "py.typed").exists()
