from typing import Any

import pytest

from stacyvm.api.schemas import (
    ExecBody,
    InvalidBodyError,
    SpawnBody,
    WriteBody,
    check_env,
    check_image,
    check_metadata,
    validate,
)
from stacyvm.domain.errors import InvalidRequestError


@pytest.mark.parametrize(
    "image",
    [
        "",
        "alpine",
        "alpine:latest",
        "stacyvm/node",
        "registry.example.org:5000/a/b-c/d__e:v1.2",
        "localhost:5000/x",
        "node@sha256:" + "a" * 64,
        "node:20@sha256:" + "0" * 64,
    ],
)
def test_image_references_are_accepted(image: str) -> None:
    assert check_image(image) == image


@pytest.mark.parametrize(
    "image",
    [
        "Alpine",
        "a b",
        "../etc",
        "a:",
        "a:b:c",
        "-x",
        "a//b",
        "a\n",
        "http://x/y",
        "é",
        "a" * 256,
        "a@sha256:1",
        "x/" * 120 + "X" * 10,
    ],
)
def test_what_is_no_image_reference_is_refused(image: str) -> None:
    with pytest.raises(InvalidRequestError, match="no image reference"):
        check_image(image)


@pytest.mark.parametrize("value", [512.0, "512", True, 2**31, 10**400, [], {}])
def test_only_json_integers_are_integers(value: Any) -> None:
    with pytest.raises(InvalidBodyError) as caught:
        validate(SpawnBody, {"memory_mb": value})
    assert [problem["field"] for problem in caught.value.problems] == ["memory_mb"]


def test_null_is_all_defaults_and_null_fields_are_absent() -> None:
    assert validate(SpawnBody, None) == SpawnBody()
    assert validate(SpawnBody, {"image": None, "metadata": None}) == SpawnBody()


def test_keys_match_in_any_case_and_unknown_ones_are_ignored() -> None:
    body = validate(ExecBody, {"COMMAND": "ls", "Args": ["A"], "env": {"Key": "v"}, "nope": 1})
    assert body == ExecBody(command="ls", args=["A"], env={"Key": "v"})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (SpawnBody, []),
        (SpawnBody, "x"),
        (SpawnBody, 5),
        (SpawnBody, {"ttl": 30}),
        (SpawnBody, {"metadata": {"a": 1}}),
        (SpawnBody, {"env": ["a"]}),
        (SpawnBody, {"network": "host"}),
        (SpawnBody, {"workspace": "/"}),
        (SpawnBody, {"read_only": 1}),
        (SpawnBody, {"image": "a\ud800"}),
        (ExecBody, {"command": ["ls"]}),
        (ExecBody, {"args": "x"}),
        (ExecBody, {"args": [1]}),
        (ExecBody, {"stream": "true"}),
        (ExecBody, {"stdin": 1}),
        (ExecBody, {"command": "\udcff"}),
        (WriteBody, {"content": "\ud800"}),
        (WriteBody, {"path": 1}),
    ],
)
def test_wrong_types_are_refused(schema: type[SpawnBody], value: object) -> None:
    with pytest.raises(InvalidBodyError, match="invalid request body"):
        validate(schema, value)


def test_a_path_may_be_bytes_that_are_not_text() -> None:
    assert validate(WriteBody, {"path": "/a\udcff"}).path == "/a\udcff"


@pytest.mark.parametrize(
    "env",
    [
        {"": "x"},
        {"A=B": "x"},
        {"A\0": "x"},
        {"A": "\0"},
        {"A": "x" * 32769},
        {str(n): "" for n in range(257)},
        {str(n): "x" * 32000 for n in range(5)},
    ],
)
def test_environments_no_process_can_have_are_refused(env: dict[str, str]) -> None:
    with pytest.raises(InvalidRequestError):
        check_env(env)


@pytest.mark.parametrize("metadata", [{str(n): "" for n in range(65)}, {"a": "é" * 17000}])
def test_metadata_is_bounded(metadata: dict[str, str]) -> None:
    with pytest.raises(InvalidRequestError, match="limit"):
        check_metadata(metadata)
