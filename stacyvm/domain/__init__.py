"""The rules of stacyvm, free of any framework, clock, file or network."""
