"""Targets with a bug in them: what finds nothing here finds nothing anywhere."""
