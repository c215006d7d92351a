"""All settings. This is the only module that reads the environment."""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "STACYVM_"
ENV_FILE = ".env"
# The clients' own, and the mark on a sandbox's processes, should a server run in one.
_NOT_OURS = frozenset({"STACYVM_URL", "STACYVM_EXEC"})


class Settings(BaseSettings):
    """Settings of a server, from ``STACYVM_…`` variables and ``.env``.

    Each description is the setting's documentation.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=ENV_FILE, extra="ignore", frozen=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(7423, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    data_dir: Path = Field(
        Path("~/.local/share/stacyvm"),
        description="Where the server keeps its identity, the embedded Redis and local sandboxes.",
    )
    redis_url: str = Field(
        "",
        description="Redis to use. Empty: a private redis-server on a Unix socket in data_dir.",
    )
    api_key: SecretStr | None = Field(
        None,
        description="Key every API call must carry in X-API-Key. Unset: open, on loopback only.",
    )
    insecure: bool = Field(False, description="Allow listening beyond loopback without an API key.")
    allowed_hosts: Annotated[list[str], NoDecode] = Field(
        [],
        description="Host names accepted beside loopback and the own address, comma separated.",
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        [], description="Web origins that may call the API, comma separated. `*` allows all."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="How much the server logs."
    )

    provider: Literal["docker", "local"] = Field(
        "docker",
        description="Where sandboxes come from. `local` runs plain processes: far less isolated.",
    )
    docker_host: str = Field(
        "",
        description="Engine address, as in DOCKER_HOST. Empty: DOCKER_HOST, else the local socket.",
    )
    default_image: str = Field("stacyvm/node", description="Image of a spawn that names none.")
    pull_timeout: float = Field(
        300, gt=0, description="Longest time to pull an image that is not here, in seconds."
    )
    default_memory_mb: int = Field(
        1024, ge=16, description="Memory of a spawn that names none, in MiB."
    )
    max_memory_mb: int = Field(65536, ge=16, description="Most memory a spawn may ask for, in MiB.")
    default_vcpus: int = Field(1, ge=1, description="CPUs of a spawn that names none.")
    max_vcpus: int = Field(64, ge=1, description="Most CPUs a spawn may ask for.")
    default_pids: int = Field(512, ge=16, description="Most processes and threads in a sandbox.")
    default_disk_mb: int = Field(
        10240,
        ge=0,
        description="Size limit of a workspace, in MiB; 0 is none. Hard in memory, soft on disk.",
    )
    max_disk_mb: int = Field(102400, ge=0, description="Most disk_mb a spawn may ask for.")
    default_ttl: float = Field(
        1800, gt=0, description="Time to live of a spawn that names none, in seconds."
    )
    max_ttl: float = Field(86400, gt=0, description="Longest time to live, in seconds.")
    default_exec_timeout: float = Field(
        300, gt=0, description="Time limit of an exec that names none, in seconds."
    )
    max_exec_timeout: float = Field(
        600, gt=0, description="Longest time limit of an exec, in seconds; also what `0s` means."
    )
    max_exec_output: int = Field(
        8 * 2**20,
        ge=1024,
        description="Bytes of output a synchronous exec keeps; the rest is dropped and marked.",
    )
    max_body: int = Field(2 * 2**20, ge=1024, description="Largest JSON body accepted, in bytes.")
    max_upload: int = Field(
        0,
        ge=0,
        description="Largest raw upload accepted, in bytes; 0 leaves it to the workspace's size.",
    )
    max_sandboxes: int = Field(0, ge=0, description="Most live sandboxes; 0 is no limit.")
    max_sandboxes_per_owner: int = Field(
        0, ge=0, description="Most live sandboxes of one owner; 0 is no limit."
    )
    spawn_concurrency: int = Field(
        10, ge=1, description="Engine creations under way at once; further spawns wait."
    )
    preview_domain: str = Field(
        "localhost", description="Domain in the preview URLs that clients build."
    )
    runtimes: Annotated[list[str], NoDecode] = Field(
        ["runsc"], description="Container runtimes a spawn may name, comma separated."
    )

    reap_interval: float = Field(
        1, gt=0, description="Seconds between two looks for expired sandboxes."
    )
    reconcile_interval: float = Field(
        30, gt=0, description="Seconds between two comparisons of records and engine."
    )
    record_retention: float = Field(
        86400, gt=0, description="Seconds the record of an ended sandbox is kept."
    )
    heartbeat_interval: float = Field(
        10, gt=0, description="Seconds between two heartbeats on a silent stream."
    )

    @field_validator("allowed_hosts", "cors_origins", "runtimes", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return (
            [part.strip() for part in value.split(",") if part.strip()]
            if isinstance(value, str)
            else value
        )

    @field_validator("data_dir")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser().absolute()


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


def unknown_variables() -> list[str]:
    """Return a sentence for each ``STACYVM_`` variable that sets nothing, most likely misspelt.

    Looks where ``Settings`` does, in the environment and in ``.env``. Names only: a value may be a
    secret.
    """
    return [_unknown(name, "the environment") for name in _misfits(os.environ)] + [
        _unknown(name, ENV_FILE) for name in _misfits(dotenv_values(ENV_FILE))
    ]


def _misfits(names: Iterable[str]) -> list[str]:
    known = {variable(name) for name in Settings.model_fields} | _NOT_OURS
    ours = (name for name in names if name.upper().startswith(PREFIX))
    return sorted(name for name in ours if name.upper() not in known)


def _unknown(name: str, place: str) -> str:
    # Without the prefix, which would make any two names alike.
    close = get_close_matches(name[len(PREFIX) :].lower(), Settings.model_fields, n=1)
    hint = (
        f"did you mean {variable(close[0])}?"
        if close
        else "`stacyvm serve --help` lists all settings"
    )
    return f"{name[:100]} in {place} is no setting; {hint}"
