"""Templates under the module name StacyVM's own Python client had."""

from stacyvm_sdk.templates import TemplateManager

__all__ = ["TemplateManager"]
