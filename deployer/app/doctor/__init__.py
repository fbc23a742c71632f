"""What is missing on this host, and where records, runtime and proxy disagree; the safe part of it is fixed.

examination  everything there is to look at: findings, each with its remedy
host         the host: state folder, disk, clock, programs, a team's HAProxy
snapshot     one service as store, runtime and proxy show it
services     what differs between these three
garbage      what is deployer's and belongs to nothing any more
jobs         scheduled jobs that did not run
fixes        what fixes a difference
fixer        the fixes, each under the lock of its service, and a second look
"""

from deployer.app.doctor.examination import examine
from deployer.app.doctor.fixer import fix

__all__ = ["examine", "fix"]
