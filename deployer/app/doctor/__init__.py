"""What is missing on this host, and where records, runtime and proxy disagree; the safe part of it is put right.

examining    everything there is to look at: findings, each with its remedy
machine      the machine: state folder, disk, clock, programs, a team's HAProxy
sight        one service as store, runtime and proxy show it
services     what differs between these three
leftovers    what is ours and belongs to nothing any more
cures        what puts a difference right
fixing       the cures, each under the lock of its service, and a second look
"""

from deployer.app.doctor.examination import examine
from deployer.app.doctor.fixer import fix

__all__ = ["examine", "fix"]
