"""HAProxy as the traffic layer: `HAProxyTraffic` moves users between the colours of a service.

What is where:

    driver           each call of the port Traffic, as steps that can be read
    inspection       what only looks, beside a rollout; upkeep: what keeps the proxy right
    membership       what it does as one of several
    parts            what all of them work on
    division         how users are divided: the live value in the file and at every worker
    places           the servers of a service's places, as all workers have them
    admission        servers come: checked by the proxy, and only then in rotation
    draining         servers go: no new requests, the running ones end, then forgotten
    tunnels          WebSockets and tcp sessions, closed a portion at a time
    reload           a changed configuration comes into the running proxy, all of it or nothing
    examination      where the files and what runs differ

    spec             what the proxy knows about one service; services/NAME.json
    spec_facts       the same, read without its models
    render           all specs -> config file, maps, certificate lists (pure text), by:
    frontend, backend  the parts of the file; listeners: the addresses it binds; quote: values in it
    rules            conditions and variables, as text; identity: a client's roll, by its cookie
    routing_rules    the rules that give a request its side: share, lease, budget
    shield           a second chance with stable for what the candidate failed
    waker             the way to a process that wakes a service; sleeping: who sleeps and wakes, at every worker
    affinity         a client keeps its instance
    budget           failed responses that users saw, over all workers

    proxy            our own HAProxy, or the one that a team already runs: validate, load
    binary           the haproxy program; command_line: how a team started theirs
    master           the master socket: every worker, also old ones that still serve
    servers          servers at run time: add, check, drain, remove, on every worker
    live_map         the one map that moves the traffic, at every worker; live_value: what it says of a service
    internal_sockets by which the proxy reaches itself
    request_stream   the requests as they are answered, from every worker
    request_counter  what they add up to; clients: those that keep their side; addresses: not too much of one
    shown_certificates  what is shown for each domain; certificates: keys and chains in files and workers
    layout           the folder: what lies where, atomic writes, the lock
    endpoint_files   by which an emergency finds the proxy
"""

from deployer.drivers.traffic.haproxy.driver import HAProxyTraffic

__all__ = ["HAProxyTraffic"]
