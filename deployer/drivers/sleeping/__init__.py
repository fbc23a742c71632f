"""Services that sleep while nobody comes: stopped or paused, and started by the first request.

sleeper   puts a service to sleep and wakes it: the one lock under which that happens
starters  stop, pause and start what stood, without store and engine
wakes     what became of starts
waker      the process that gets the first request; splice: bytes in both directions
"""

from deployer.drivers.sleeping.sleeper import LocalSleeper

__all__ = ["LocalSleeper"]
