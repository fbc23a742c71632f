"""Services that get no requests, workers: no proxy is asked, and nothing is moved but which colour is the live one.

driver       the live value in its file, and what runs
no_requests  the answers to all questions about requests, connections and domains
"""

from deployer.drivers.traffic.proxyless.driver import ProxylessTraffic

__all__ = ["ProxylessTraffic"]
