"""The REST API on aiohttp: one module a noun."""
