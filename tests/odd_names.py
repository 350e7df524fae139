"""Names that files and folders can have, each of which one reader or another stumbles over."""

from __future__ import annotations

ODD_NAMES = (
    "a=b",
    "a[1]",
    "a,b",
    "{a}",
    "a b",
    " a ",
    "it's",
    '"a"',
    "'a'",
    "~a",
    "\u00fc",  # ü as one character
    "u\u0308",  # and as two
    "50%",
    "#1",
    "$HOME",
    "${now:%H}",
    "a${b",
    "\\${a}",
    "a\\",
    "a\\'b",
    "-a",
    "a\nb",
    "1e5",
    "true",
    "null",
    "choice(1,2)",
    "a::b",
    "a&b;c|d",
    "猫",
    "x" * 200,
)
ODDEST = "-a=[b],{c} 'd' ~ü 50% #$HOME ${e} 猫\\"
"""most of them in one"""

ODD_CLASSES = (
    "valve [/off]",
    "[red]",
    "[link=x]",
    ":cat:",
    "a\\",
    "\\[red]",
    "{name}",
    "%s",
    "a=b",
    "",
    " ",
    "a\tb",
    "a\nb",
    "\x1b[2Jb",
    "ventil\u202ereversed",
    "猫",
    "قطة",
    "बिल्ली",
    "👨\u200d👩\u200d👧",
    "\ud83d",  # half of an emoji, which JSON can hold
    "long " * 100,
)
