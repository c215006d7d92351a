"""A sandbox's specification as the body of Docker's create call."""

import json
from dataclasses import dataclass
from typing import Any

from stacyvm.domain.sandbox import SandboxSpec
from stacyvm.providers.agent_command import WORKSPACE, agent_command

AGENT_DIR = "/.stacyvm"
_TMP_MB = 64
# Root's last rights, for the agent's first moments: to own the workspace and to become the guest.
_CAPABILITIES = ("CHOWN", "SETGID", "SETUID")


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentVolume:
    """The volume with the interpreter and the agent, and the name of the loader in it."""

    name: str
    loader: str

    @property
    def program(self) -> list[str]:
        """The start of the agent's command line; it uses nothing of the image."""
        return [
            f"{AGENT_DIR}/lib/{self.loader}",
            "--library-path",
            f"{AGENT_DIR}/lib",
            f"{AGENT_DIR}/bin/python3",
            "-I",
            "-S",
            f"{AGENT_DIR}/agent.pyz",
        ]


def labels(spec: SandboxSpec, *, instance: str) -> dict[str, str]:
    """Return the labels by which a server finds its own sandboxes again."""
    found = {
        "stacyvm": "true",
        "stacyvm.provider": "docker",
        "stacyvm.instance": instance,
        "stacyvm.sandbox": spec.id,
        "stacyvm.image": spec.image,
    }
    if spec.metadata:
        found["stacyvm.metadata"] = json.dumps(spec.metadata)
    return found


def container_config(
    spec: SandboxSpec, *, image: str, instance: str, volume: AgentVolume, network: str, quota: bool
) -> dict[str, Any]:
    """Return the hardened configuration of a sandbox's container.

    Args:
        spec: What is wanted.
        image: Image reference with a tag or digest.
        instance: For the labels.
        volume: Where the agent is.
        network: Network to join, or ``none``.
        quota: Whether the engine can limit the size of a container's own layer.
    """
    in_memory = spec.workspace == "memory" or spec.read_only
    command = agent_command(
        volume.program, spec, uid=spec.uid, soft_disk=not in_memory and not quota
    )
    return {
        "Image": image,
        "Hostname": spec.id,
        "User": "0:0",
        "WorkingDir": "/",
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "Entrypoint": [*command, "--contained"],
        "Cmd": None,
        "OpenStdin": True,
        "StdinOnce": False,
        "Tty": False,
        "Labels": labels(spec, instance=instance),
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": _host_config(spec, volume, network=network, in_memory=in_memory, quota=quota),
    }


def _host_config(
    spec: SandboxSpec, volume: AgentVolume, *, network: str, in_memory: bool, quota: bool
) -> dict[str, Any]:
    memory = spec.memory_mb * 2**20
    tmpfs = {"/tmp": f"rw,exec,nosuid,nodev,size={_TMP_MB}m,mode=1777"}  # noqa: S108 - the guest's
    if in_memory:
        owner = f"uid={spec.uid},gid={spec.uid},mode=0755"
        tmpfs[WORKSPACE] = f"rw,exec,nosuid,nodev,size={_memory_workspace_mb(spec)}m,{owner}"
    config: dict[str, Any] = {
        "NetworkMode": network,
        "CapDrop": ["ALL"],
        "CapAdd": [*_CAPABILITIES],
        "SecurityOpt": ["no-new-privileges:true"],
        "Memory": memory,
        "MemorySwap": memory,  # both together: no swap
        "NanoCpus": spec.vcpus * 10**9,
        "PidsLimit": spec.pids,
        "Init": True,
        "ReadonlyRootfs": spec.read_only,
        "Tmpfs": tmpfs,
        "LogConfig": {"Type": "none", "Config": {}},
        "IpcMode": "private",
        "Mounts": [
            {
                "Type": "volume",
                "Source": volume.name,
                "Target": AGENT_DIR,
                "ReadOnly": True,
                "VolumeOptions": {"NoCopy": True},
            }
        ],
    }
    if spec.runtime:
        config["Runtime"] = spec.runtime
    if quota and spec.disk_mb and not in_memory:
        config["StorageOpt"] = {"size": f"{spec.disk_mb}M"}
    return config


def _memory_workspace_mb(spec: SandboxSpec) -> int:
    """Return the size of a workspace in memory.

    It counts against the sandbox's memory: at more than three quarters of that, writing would end
    in the kernel killing something rather than in an error.
    """
    most = max(spec.memory_mb * 3 // 4, 1)
    return min(spec.disk_mb or most, most)
