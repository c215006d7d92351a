"""What ``stacyvm demo`` does: a server of its own, the job in a sandbox, the check, the proof."""
