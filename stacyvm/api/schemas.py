"""The JSON bodies, checked strictly: ``512.0``, ``"512"`` and ``true`` are no integers."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import override

from stacyvm.domain.errors import InvalidRequestError

MAX_ENTRIES = 256  # of env; metadata has its own, smaller limits
MAX_ENV_VALUE = 32 * 1024  # bytes
MAX_ENV = 128 * 1024  # bytes of all names and values
MAX_METADATA_ENTRIES = 64
MAX_METADATA = 32 * 1024  # bytes
MAX_IMAGE = 255  # characters

_COMPONENT = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?/)?"  # registry
    rf"{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"  # tag
    r"(?:@[a-z0-9+._-]{1,32}:[0-9a-fA-F]{32,128})?"  # digest
)


def _encodable(text: str) -> str:
    """Refuse lone surrogates, which JSON can spell and UTF-8 cannot."""
    text.encode()
    return text


Int32 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
Text = Annotated[str, AfterValidator(_encodable)]
# A path need not be UTF-8: surrogate escapes stand for its other bytes, and the domain checks it.
PathText = str
Texts = dict[Text, Text]


class Body(BaseModel):
    """Base of all bodies: unknown keys are ignored, nothing is converted."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, hide_input_in_errors=True)


class SpawnBody(Body):
    """``POST /sandboxes``."""

    image: Text = ""
    provider: Text = ""
    memory_mb: Int32 = 0
    vcpus: Int32 = 0
    ttl: Text = ""
    template: Text = ""
    owner_id: Text = ""
    metadata: Texts = {}
    env: Texts = {}
    network: Literal["", "none", "open"] = ""
    runtime: Text = ""
    workspace: Literal["", "disk", "memory"] = ""
    disk_mb: Int32 | None = None
    read_only: bool = False


class ExtendBody(Body):
    """``POST /sandboxes/{id}/extend``."""

    ttl: Text = ""


class ExecBody(Body):
    """``POST /sandboxes/{id}/exec``. ``stdin`` is text, or True for the rest of the HTTP body."""

    command: Text = ""
    args: list[Text] = []
    mode: Text = ""
    env: Texts = {}
    workdir: Text = ""
    timeout: Text = ""
    stream: bool = False
    stdin: bool | Text = False


class WriteBody(Body):
    """``POST /sandboxes/{id}/files``."""

    path: PathText = ""
    content: Text = ""
    mode: Text = ""


class MoveBody(Body):
    """``POST /sandboxes/{id}/files/move``."""

    old_path: PathText = ""
    new_path: PathText = ""


class ChmodBody(Body):
    """``POST /sandboxes/{id}/files/chmod``."""

    path: PathText = ""
    mode: Text = ""


class InvalidBodyError(InvalidRequestError):
    """The body is not JSON, or not what the route takes; ``problems`` says where."""

    def __init__(self, problems: list[dict[str, str]]) -> None:
        super().__init__("invalid request body")
        self.problems = problems

    @override
    def details(self) -> dict[str, Any]:
        """Return each problem with the field it is about."""
        return {"problems": self.problems} if self.problems else {}


B = TypeVar("B", bound=Body)


def validate(schema: type[B], value: object) -> B:
    """Return ``value`` as ``schema``: ``null`` is all defaults, keys match in any case.

    Raises:
        InvalidBodyError: It does not fit.
    """
    if value is None:
        return schema()
    if not isinstance(value, Mapping):
        raise InvalidBodyError([{"field": "", "problem": "Input should be a JSON object"}])
    fields = {str(key).lower(): item for key, item in value.items() if item is not None}
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        raise InvalidBodyError(
            [
                {"field": ".".join(str(part) for part in item["loc"])[:200], "problem": item["msg"]}
                for item in error.errors()[:20]
            ]
        ) from error


def check_image(image: str) -> str:
    """Return an image reference as Docker writes them; empty is the default image.

    Raises:
        InvalidRequestError: It is not one.
    """
    if image and (len(image) > MAX_IMAGE or not _IMAGE.fullmatch(image)):
        raise InvalidRequestError(f"invalid input: image {image!r:.100} is no image reference")
    return image


def check_env(env: Texts) -> Texts:
    """Return environment variables that a process can have.

    Raises:
        InvalidRequestError: A bad name, a NUL, or too much.
    """
    for name, value in env.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise InvalidRequestError(
                f"invalid input: env {name!r:.100}: a name must not be empty or contain =, "
                "and neither name nor value may contain NUL"
            )
        if len(value.encode()) > MAX_ENV_VALUE:
            raise InvalidRequestError(
                f"invalid input: env {name!r:.100} is longer than {MAX_ENV_VALUE} bytes"
            )
    _check_size("env", env, MAX_ENTRIES, MAX_ENV)
    return env


def check_metadata(metadata: Texts) -> Texts:
    """Return metadata of a size that fits a record and a label.

    Raises:
        InvalidRequestError: Too many entries or too many bytes.
    """
    _check_size("metadata", metadata, MAX_METADATA_ENTRIES, MAX_METADATA)
    return metadata


def _check_size(name: str, values: Texts, entries: int, limit: int) -> None:
    if len(values) > entries:
        raise InvalidRequestError(
            f"invalid input: {name} has {len(values)} entries, limit {entries}"
        )
    size = sum(len(key.encode()) + len(value.encode()) for key, value in values.items())
    if size > limit:
        raise InvalidRequestError(f"invalid input: {name} has {size} bytes, limit {limit}")
