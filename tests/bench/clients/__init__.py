"""Programs of ours that the benches start; each is run by its path, and speaks JSON lines."""
