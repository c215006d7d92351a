"""Python client of stacyvm."""
