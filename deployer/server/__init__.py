"""`deploy serve`: the operations and queries of the command line over HTTP.

A rollout runs in a process of its own, which goes on when a client leaves or the server ends; the server itself only
asks, reads and passes on.
"""
