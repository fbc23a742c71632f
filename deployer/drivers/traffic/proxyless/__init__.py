"""Services that get no requests, workers: no proxy is asked, and nothing is moved but which colour is the live one."""

from deployer.drivers.traffic.proxyless.driver import ProxylessTraffic

__all__ = ["ProxylessTraffic"]
