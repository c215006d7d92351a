"""The program inside a sandbox; standard library only, imports nothing else of ours."""
