"""Several proxies that stand for one, each with the driver on its own host.

    proxy_group     the driver of them all: prepared on all, made on all, read back from all
    members         the proxies of a group, asked at the same time
    prompt_calls    how long one of them is waited for that says nothing
    group_division  the live value, written to all or to none
    group_certificates  the certificates, the same at all of them
    budget_split    what of a budget each of them gets; pure
    consensus       what they do as one, and where they differ; pure
    group_inspection, group_upkeep  what is asked and done beside a rollout
    remote_proxy    one proxy on another host, as the driver of it; remote_parts: what it has beside the port Traffic
    remote_calls    its calls; remote_stream: the requests that it answers
    channel         the way to it: one ssh, at whose other end the agent answers
    agent           `deploy proxy --stdio`: the driver there, for the client that came by ssh
    protocol        what both say to each other, one line of JSON each
    proxy_pool      keeps the drivers of remote proxies, for as long as a command runs

The driver runs where its proxy is: files, lock and sockets are local to it, so that a change is whole on that host
however the network is, and no socket is open to anybody else.
"""

from deployer.drivers.traffic.proxies.proxy_pool import Proxies as Proxies
