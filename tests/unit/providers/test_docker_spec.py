from typing import Any

import pytest

from stacyvm.domain.sandbox import SandboxSpec
from stacyvm.providers.docker_images import with_tag
from stacyvm.providers.docker_spec import AgentVolume, container_config

VOLUME = AgentVolume(name="stacyvm-agent-abc", loader="ld-linux-x86-64.so.2")


def config(*, quota: bool = False, **fields: Any) -> dict[str, Any]:
    spec = SandboxSpec(**{"id": "sb-00000001", "image": "node", "memory_mb": 512, **fields})
    return container_config(
        spec, image="node:latest", instance="me", volume=VOLUME, network="none", quota=quota
    )


def test_nothing_of_the_hardening_is_missing() -> None:
    host = config(vcpus=2, pids=99)["HostConfig"]
    expected = {
        "NetworkMode": "none",
        "CapDrop": ["ALL"],
        "CapAdd": ["CHOWN", "SETGID", "SETUID"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Memory": 512 * 2**20,
        "MemorySwap": 512 * 2**20,
        "NanoCpus": 2 * 10**9,
        "PidsLimit": 99,
        "Init": True,
        "LogConfig": {"Type": "none", "Config": {}},
    }
    assert {key: host[key] for key in expected} == expected
    assert not {"Binds", "Privileged", "Devices", "PidMode", "PortBindings"} & set(host)
    assert [(mount["Type"], mount["ReadOnly"]) for mount in host["Mounts"]] == [("volume", True)]


def test_the_entrypoint_is_the_agent_and_uses_nothing_of_the_image() -> None:
    entrypoint = config(ttl=1.5, disk_mb=10)["Entrypoint"]
    assert entrypoint == [
        "/.stacyvm/lib/ld-linux-x86-64.so.2",
        "--library-path",
        "/.stacyvm/lib",
        "/.stacyvm/bin/python3",
        "-I",
        "-S",
        "/.stacyvm/agent.pyz",
        "--workspace",
        "/workspace",
        "--lease-ms",
        "1500",
        "--uid",
        "1000",
        "--disk-mb",
        "10",
        "--contained",
    ]


def test_labels_find_the_sandbox_again() -> None:
    assert config(metadata={"a": "b"})["Labels"] == {
        "stacyvm": "true",
        "stacyvm.provider": "docker",
        "stacyvm.instance": "me",
        "stacyvm.sandbox": "sb-00000001",
        "stacyvm.image": "node",
        "stacyvm.metadata": '{"a": "b"}',
    }


@pytest.mark.parametrize("fields", [{"workspace": "memory"}, {"read_only": True}])
def test_a_workspace_in_memory_has_a_hard_size_and_no_watchdog(fields: dict[str, Any]) -> None:
    found = config(disk_mb=64, **fields)
    assert "size=64m,uid=1000,gid=1000" in found["HostConfig"]["Tmpfs"]["/workspace"]
    assert "--disk-mb" not in found["Entrypoint"]


@pytest.mark.parametrize("disk_mb", [0, 512, 10240])
def test_a_workspace_in_memory_leaves_memory_to_run_in(disk_mb: int) -> None:
    tmpfs = config(disk_mb=disk_mb, workspace="memory")["HostConfig"]["Tmpfs"]
    assert "size=384m" in tmpfs["/workspace"]


def test_a_quota_takes_the_place_of_the_watchdog() -> None:
    found = config(quota=True, disk_mb=10)
    assert found["HostConfig"]["StorageOpt"] == {"size": "10M"}
    assert "--disk-mb" not in found["Entrypoint"]


def test_a_runtime_is_named_only_when_asked_for() -> None:
    assert "Runtime" not in config()["HostConfig"]
    assert config(runtime="runsc")["HostConfig"]["Runtime"] == "runsc"


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("node", "node:latest"),
        ("stacyvm/node", "stacyvm/node:latest"),
        ("node:22", "node:22"),
        ("host:5000/node", "host:5000/node:latest"),
        ("host:5000/node:22", "host:5000/node:22"),
        ("node@sha256:00", "node@sha256:00"),
    ],
)
def test_an_image_without_a_tag_means_latest(image: str, full: str) -> None:
    assert with_tag(image) == full
