"""Sleeps and wakes by the hundred: is anybody lost who comes to a service that sleeps?

    python -m bench.wakes [WAKES] [--docker] [--every N]

Eight services in one state folder, with one proxy, one waker and one keeper: for `sleep: stop` and `sleep: pause` one
each that is woken by a GET, a POST of 1 MB, a WebSocket and a gRPC call (that of a large message). The keeper puts each
to sleep when nobody has come for a second; then somebody comes, and has to be answered as if it had been awake. All
eight do so at the same time, 1,000 wakes in all unless said otherwise. `--docker`: all but gRPC in containers.

With every Nth visit (20) something is killed by SIGKILL, before the visit or in its first 0.15 s, by turns: the keeper;
the waker, which passes on what it has and listens until the next one does; the waker with that. Another one of each is
started. Where nothing of a waker is left a 503 with Retry-After is what the documents promise, and a request that it
had in its hands is cut, as none is sent twice: both are counted apart, and only where such a kill explains them. All
others who are not answered are lost, and the command fails; also when a wake failed, or there were fewer than asked.

Printed are medians and 99th percentiles of the parts of a wake that no kill fell into: the start by the runtime, until
the instance is healthy, the rest, and all of it as the client sees it. Results go to bench/results/wakes.json.
"""
