"""Python client of stacyvm, self-hosted sandboxes.

::

    from stacyvm_sdk import Client

    with Client() as client, client.with_sandbox() as sandbox:
        print(sandbox.exec("echo hello").stdout)
"""

from stacyvm_sdk._exec_stream import AsyncExecStream, ExecStream
from stacyvm_sdk._http import handle_response
from stacyvm_sdk.async_client import AsyncClient
from stacyvm_sdk.async_sandbox import AsyncSandbox
from stacyvm_sdk.client import Client, with_sandbox
from stacyvm_sdk.exceptions import (
    Conflict,
    ConnectionError,  # noqa: A004 - the contract's name
    DeadlineExceeded,
    ExecError,
    ExecTimeout,
    FileNotFound,
    Forbidden,
    ImageNotFound,
    InvalidRequest,
    InvalidResponse,
    LimitExceeded,
    ProviderError,
    ProviderNotFound,
    SandboxLost,
    SandboxNotFound,
    StacyVMError,
    StreamInterrupted,
    TemplateNotFound,
    Unauthorized,
    Unavailable,
)
from stacyvm_sdk.models import (
    AsyncContent,
    Content,
    Duration,
    ExecOutcome,
    ExecResult,
    FileInfo,
    QuotaSummary,
    SandboxInfo,
    SpawnAdmissionDecision,
    SpawnOptions,
    Template,
)
from stacyvm_sdk.providers import ProviderManager
from stacyvm_sdk.sandbox import Sandbox
from stacyvm_sdk.streaming import StreamChunk, iter_ndjson
from stacyvm_sdk.templates import AsyncTemplateManager, TemplateManager

__all__ = [
    "AsyncClient",
    "AsyncContent",
    "AsyncExecStream",
    "AsyncSandbox",
    "AsyncTemplateManager",
    "Client",
    "Conflict",
    "ConnectionError",
    "Content",
    "DeadlineExceeded",
    "Duration",
    "ExecError",
    "ExecOutcome",
    "ExecResult",
    "ExecStream",
    "ExecTimeout",
    "FileInfo",
    "FileNotFound",
    "Forbidden",
    "ImageNotFound",
    "InvalidRequest",
    "InvalidResponse",
    "LimitExceeded",
    "ProviderError",
    "ProviderManager",
    "ProviderNotFound",
    "QuotaSummary",
    "Sandbox",
    "SandboxInfo",
    "SandboxLost",
    "SandboxNotFound",
    "SpawnAdmissionDecision",
    "SpawnOptions",
    "StacyVMError",
    "StreamChunk",
    "StreamInterrupted",
    "Template",
    "TemplateManager",
    "TemplateNotFound",
    "Unauthorized",
    "Unavailable",
    "handle_response",
    "iter_ndjson",
    "with_sandbox",
]
