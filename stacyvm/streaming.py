"""Streams under the module name StacyVM's own Python client had."""

from stacyvm_sdk.streaming import StreamChunk, iter_ndjson

__all__ = ["StreamChunk", "iter_ndjson"]
