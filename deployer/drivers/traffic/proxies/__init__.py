"""Several proxies that stand for one, each with the driver on its own machine.

    several   the driver of them all: prepared on all, made on all, read back from all
    dividing  what of a budget each of them gets; pure
    agreeing  what they do as one, and where they differ; pure
    far       one proxy on another machine, as the driver of it
    channel   the way to it: one ssh, at whose other end the agent answers
    agent     `deploy proxy --stdio`: the driver there, for whoever came by ssh
    words     what both say to each other, one line of JSON each

The driver runs where its proxy is: files, lock and sockets are local to it, so that a change is whole on that host
however the network is, and no socket is open to anybody else.
"""

from deployer.drivers.traffic.proxies.proxy_pool import Proxies as Proxies
