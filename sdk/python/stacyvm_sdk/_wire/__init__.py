"""The wire without I/O: how requests are built and answers are read.

Both clients are thin over this: each of their methods runs one ``Call``.
"""
