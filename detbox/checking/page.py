"""The report as one page that needs nothing else: pictures inside, no script, no address."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from html import escape

from detbox.checking.report import Defect, Report
from detbox.checking.rules import Place
from detbox.checking.subject import Part
from detbox.data.images import Reading
from detbox.evaluation.fonts import legible
from detbox.messages import counted, printable
from detbox.picturing import annotated, read_small

PICTURES = 4
"""of a defect"""
MOST = 80
"""of the page; some 20 kB each"""
SIDE = 320
"""pixels of a picture"""
CLASSES = 200
"""rows of the table"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em;
  color: #1d2126; background: #fff }
h2 { font-size: 1.05em; margin: 0 0 .3em } p { margin: .2em 0 }
section { border-left: .4em solid #8a94a3; background: #f5f7f9; padding: .8em 1em; margin: 1em 0 }
section.error { border-color: #c62828 } section.warning { border-color: #e08600 }
table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: .15em .8em; text-align: right; border-bottom: 1px solid #dde2e7 }
td:first-child, th:first-child { text-align: left }
section div { display: grid; grid-template-columns: repeat(4, 1fr); gap: .8em }
figure { margin: .5em 0 .2em }
figure img { max-width: 100%; display: block }
figcaption, .more { font-size: .85em; color: #4a535e; overflow-wrap: anywhere }
@media (prefers-color-scheme: dark) {
  body { color: #e4e7eb; background: #16191d } section { background: #20252b }
  td, th { border-color: #39414a } figcaption, .more { color: #a9b3bf } }
"""


def page(report: Report, title: str, reading: Reading) -> str:
    """The whole page; what cannot be read of a data set is shown without a picture."""
    pictures = _Pictures(report, reading)
    sections = "\n".join(_section(each, report, pictures) for each in report.defects)
    named = escape(printable(title))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{named}</title><style>{STYLE}</style></head>
<body><h1>{named}</h1>
<p>{escape(report.summary())}</p>
{sections}
{_table(report.subject.names, report.subject.parts)}
</body></html>
"""


class _Pictures:
    """Drawn and written out, until there are enough."""

    def __init__(self, report: Report, reading: Reading) -> None:
        self._report, self._reading, self._left = report, reading, MOST
        self._names = {each.name: legible(each.split.label_space) for each in report.subject.parts}

    def of(self, place: Place) -> str:
        """A picture with its caption; nothing, once there are enough."""
        if not self._left:
            return ""
        self._left -= 1
        split = self._report.part(place.split).split
        caption = escape(_told(self._report, place))
        pixels = read_small(split, place.image, self._reading, SIDE)
        if pixels is None:
            return f"<figure><figcaption>{caption} (cannot be read)</figcaption></figure>"
        names = self._names[place.split]
        drawn = annotated(pixels, split, place.image, names, place.objects)
        file = io.BytesIO()
        drawn.save(file, "JPEG", quality=80)
        data = base64.b64encode(file.getvalue()).decode()
        image = f'<img alt="" src="data:image/jpeg;base64,{data}">'
        return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _section(defect: Defect, report: Report, pictures: _Pictures) -> str:
    places = defect.found.places
    shown = "".join(pictures.of(place) for place in places[:PICTURES])
    rest = [_told(report, place) for place in places[PICTURES:]]
    unseen = defect.found.number - len(places) if places else 0
    if unseen > 0:
        rest.append(f"and {counted(unseen, 'other')}")
    where = f"{defect.found.split}: " if defect.found.split else ""
    lines = [
        f"<h2>{defect.severity}: {escape(printable(where + defect.found.what))}</h2>",
        *(f"<p>{escape(printable(each))}</p>" for each in (defect.rule.harm, defect.rule.mend)),
        f"<div>{shown}</div>",
        *([f'<p class="more">{escape(", ".join(rest))}</p>'] if rest else []),
    ]
    return f'<section class="{defect.severity}">{"".join(lines)}</section>'


def _told(report: Report, place: Place) -> str:
    return ": ".join(filter(None, (report.named(place), printable(place.note))))


def _table(names: Sequence[str], parts: Sequence[Part]) -> str:
    head = "".join(
        f"<th>boxes{part.name and f' in {part.name}'}</th><th>pictures</th>" for part in parts
    )
    more = len(names) - CLASSES
    rest = f"<p>and {counted(more, 'class')} more</p>" if more > 0 else ""
    rows = "\n".join(_rows(names[:CLASSES], parts))
    return f"<table><tr><th>class</th>{head}</tr>\n{rows}</table>{rest}"


def _rows(names: Sequence[str], parts: Sequence[Part]) -> Iterator[str]:
    labels = [{name: k for k, name in enumerate(p.split.label_space.names)} for p in parts]
    for name in names:
        cells = ""
        for part, known in zip(parts, labels, strict=True):
            label = known.get(name)
            counts = (part.boxes_of_class, part.images_of_class)
            cells += "".join(f"<td>{0 if label is None else each[label]}</td>" for each in counts)
        yield f"<tr><td>{escape(printable(name))}</td>{cells}</tr>"
