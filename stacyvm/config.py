"""All settings. This is the only module that reads the environment."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of a server, from ``STACYVM_…`` variables and ``.env``.

    Each description is the setting's documentation.
    """

    model_config = SettingsConfigDict(
        env_prefix="STACYVM_", env_file=".env", extra="ignore", frozen=True
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
