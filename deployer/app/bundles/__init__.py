"""Bundles of a state folder: made of a release, and brought to where one is deployed from."""
