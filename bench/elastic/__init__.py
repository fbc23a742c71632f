"""A size that follows the load, on real instances: beside an oracle, the simulated policy, and a fixed number.

    python -m bench.elastic [--minutes N] [--hold SECONDS] [--only LOAD...] [--docker] [--alone]

Requests come by chance (open loop: at their moment, whatever became of those before), each on a new connection, and
take 100 ms on average, in which an instance sleeps: the room is scarce and not the processor. They meet the real proxy;
`deploy keep` has the size follow them. The loads, of N minutes each (10 unless said otherwise): `step`, from 10 to 400
requests a second and back; `sine`, from 10 to 390 and back, once; `spikes` of 20 s, five times; `around`, a
load that swings around the threshold of the second instance.

Each load is given to a service with `scale`, then to one with a fixed number of instances: as many as the load needs at
its peak, behind the same proxy; with `--docker` that is a service of Docker Swarm, and all run on a private engine, as
root (as in bench.peers). With `--alone` there is none. For each are printed, also to bench/results/elastic.json:

- requests, and those that were lost: the command fails when one was;
- those that waited: that took 50 ms longer than an instance needed for them. A busy host shows here, too: the fixed
  number, where nobody waits for room, is what to compare with;
- instance-seconds from the journal, from the start command to the removal, beside the oracle of `deploy scale --replay`
  for the moments at which the requests really came; changes of size;
- the longest time from the first request of a queue, as the proxy has it twenty times a second, to the start command.

What the generator sends late is no open loop: the table has by how much at most, and says that there are no figures
where it sent more than 0.1% of the requests over 50 ms too late. As root it goes ahead of all else (`nice`), as users
have processors of their own. A load that cannot be measured ends the command; the table has those before it.

The simulated policy has the same requests, and instances that start as quickly as those here did. `hold` is 60 s as
ever unless said otherwise, which weighs more in ten minutes than in an hour.
"""
