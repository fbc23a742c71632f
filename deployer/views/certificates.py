"""Certificates for people."""

from __future__ import annotations

from collections.abc import Callable

from deployer.views.data import CertificateRow, CertificatesView
from deployer.views.text import columns, moment, one_line

Ink = Callable[[str, str], str]


def certificates(view: CertificatesView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    """Write a row for each certificate, and below them what is wrong."""
    if not view.certificates:
        return ["no live service has TLS: `traffic: {tls: auto}` in its manifest gets certificates"]
    heads = ("service", "domain", "from", "issuer", "days left", "renewed from", "serial", "at the proxies")
    out = [[ink(head, "dim") for head in heads]]
    for one in view.certificates:
        renewed = moment(one.renews_at) if one.renews_at else "-"
        days = "-" if one.source == "placeholder" else f"{one.days_left:.0f}"
        out.append(
            [
                ink(one.service, "bold"),
                one.domain or "any",
                one.source,
                one_line(one.issuer) or "-",
                ink(days, "yellow" if one.warning else ""),
                renewed,
                one.serial or "-",
                _proxies(one),
            ]
        )
    wrong = [f"! {one.domain or one.service}: {one_line(one.problem)}" for one in view.certificates if one.problem]
    return [*columns(out), *wrong]


def _proxies(one: CertificateRow) -> str:
    if not one.proxies:
        return "not read"
    if set(one.proxies.values()) == {one.serial}:
        names = ", ".join(filter(None, one.proxies))
        return f"the same at {names}" if names else "the same"
    return ", ".join(f"{name or 'this host'}: {serial}" for name, serial in one.proxies.items())
