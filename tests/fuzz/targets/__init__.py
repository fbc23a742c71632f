"""One fuzz target each; see tests/fuzz/target.py."""
