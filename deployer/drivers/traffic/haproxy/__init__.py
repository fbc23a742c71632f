"""HAProxy as the traffic layer: `HAProxyTraffic` moves users between the colours of a service.

What is where:

    driver    the driver: each call of the Traffic protocol, as steps that can be read
    spec      what the proxy knows about one service; services/NAME.json
    claims    two services that want the same address, name or path
    render    all specs -> config file, maps, certificate lists (pure text)
    state     the live value of each service, in the one map that moves the traffic
    servers   servers at run time: add, check, drain, remove, on every worker
    proxy     our own HAProxy, or the one that a team already runs: validate, load
    master    the master socket: every worker, also old ones that still serve
    sides     the rules that give a request its side: share, lease, budget
    shield    a second chance with stable for what the candidate failed
    budget    failed responses that users saw, over all workers
    stream    the requests as they are answered, from every worker
    tally     what they add up to
    clients   those of them that keep their side
    examining where the files and what runs differ
    home      the folder: what lies where, atomic writes, the lock
"""

from deployer.drivers.traffic.haproxy.driver import HAProxyTraffic

__all__ = ["HAProxyTraffic"]
