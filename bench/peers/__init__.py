"""Updates and rollbacks under load: deployer beside Docker Swarm and beside a rolling playbook.

    python -m bench.peers [ROUNDS] [--only NAME...]

Same machine, engine, HAProxy program, image and load for all of them. The engine is a private one, in namespaces of its
own, so that nothing of it is left and no other engine learns of a swarm. In each round every contender has its turn: it
brings version 2 to everyone and takes it back, while clients ask 60 times a second on new and on kept connections.
Printed are medians with the least and the most, and the requests that were lost. Results go to
bench/results/peers.json. It must run as root, and needs docker, dockerd, haproxy, socat and the extra `ansible`.

Swarm is tuned not to lose anything: new before old, one after the other, a monitor of 1 s, HAProxy asking its DNS and
the health of tasks five times a second. The playbook is the usual one: drain, replace, wait, enable, one by one.
"""
