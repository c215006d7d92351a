"""Records, claims and expiry in Redis."""
