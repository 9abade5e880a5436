"""Render the package's templates, styles and scripts to one self-contained HTML file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ptspec.report import words
from ptspec.report.clean import clean
from ptspec.report.html.comparison_view import whisker
from ptspec.report.html.text import highlighted, script_data, source_hash, visible

HERE = Path(__file__).parent
SCRIPTS = ("theme.js", "tables.js", "plot.js", "curves.js", "overlays.js", "samples.js")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        clean=clean,
        visible=visible,
        highlighted=highlighted,
        duration=words.duration,
        size=words.size,
        count=words.count,
        parameters=words.parameters,
        plural=words.plural,
        number=words.number,
        json=partial(json.dumps, ensure_ascii=False),
        moment=moment,
        whisker=whisker,
    )
    return environment


def moment(when: str) -> str:
    """Return an ISO 8601 moment as "2026-11-24 09:10 UTC"; other text unchanged."""
    try:
        then = datetime.fromisoformat(when.replace("Z", "+00:00"))
    except ValueError:
        return clean(when)
    return f"{then.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"


def page(template: str, data: Mapping[str, Any], **view: Any) -> str:
    """Return the page of `template`.

    `data` is for its scripts. The Content-Security-Policy allows only our own inline script and style, and no
    loading.
    """
    style = (HERE / "assets" / "report.css").read_text(encoding="utf-8")
    script = "".join((HERE / "assets" / name).read_text(encoding="utf-8") for name in SCRIPTS)
    policy = (
        f"default-src 'none'; style-src {source_hash(style)}; script-src {source_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    rendered: str = (
        _environment()
        .get_template(template)
        .render(
            style=Markup(style), script=Markup(script), policy=policy, data=script_data(dict(data)), **view
        )
    )
    return rendered
