"""A rollout as a document: a page for people, JUnit and Markdown for pipelines."""

from __future__ import annotations

import json
from typing import Literal

from deployer.views.report.data import ReportView

Format = Literal["html", "json", "junit", "md"]
FORMATS: tuple[Format, ...] = ("html", "json", "junit", "md")


def render(view: ReportView, form: Format) -> str:
    """Write the report in a format."""
    if form == "json":
        return json.dumps(view.to_dict(), indent=1, default=str) + "\n"
    if form == "junit":
        from deployer.views.report.junit import junit

        return junit(view)
    if form == "md":
        from deployer.views.report.markdown import markdown

        return markdown(view)
    from deployer.views.report.page import page

    return page(view)
