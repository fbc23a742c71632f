"""Scheduled jobs of the live release: when they are due, their runs, and what is known of both.

times       which due time is to be run, left out or waited for: pure
runs        one run, from its start to its record; one whose process was killed is found again
scheduler   runs what is due, in the server or for a timer
overview    what `deploy jobs` and `deploy status` show
"""
