"""The demo: `scripts/demo`."""
