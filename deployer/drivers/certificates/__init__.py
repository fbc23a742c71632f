"""Certificates that are got by themselves, from an ACME authority (RFC 8555).

keeper     what the rest of deployer asks for: what is kept, orders, what the authority suggests
files      what is kept in the state folder: account keys, key and chain of each domain, what became of orders
keys       keys, requests, placeholders, and what a certificate says
authority  one order, from the first request to the chain
problems   what an authority, or the way to it, says, in words
proofs     how a domain is proven: by HTTP, by a TXT record, by one that is there for good
dns        a TXT record that a program of the user sets and removes
lego       orders by the program `lego`, for its DNS providers
probe      whether a domain leads to the proxy
supplied   a proxy that has what it serves before it is configured

`acme`, `josepy` and `cryptography` (the extra `tls`) are imported when a key is made or an order placed.
"""

from deployer.drivers.certificates.keeper import CertificateKeeper as CertificateKeeper
from deployer.drivers.certificates.problems import OrderFailed as OrderFailed
from deployer.drivers.certificates.supplied import supplied as supplied
