"""Builder of the callback that a person watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detbox.callbacks import RunContext, Stage, register_callback
from detbox.ranges import Count

if TYPE_CHECKING:
    from detbox.console.progress import ConsoleProgress


@register_callback("progress", Stage.DISPLAY)
def progress(context: RunContext, *, every: Count = 50) -> list[ConsoleProgress]:
    """A bar and one line per epoch; losses are read every so many batches."""
    from detbox.console.progress import ConsoleProgress

    return [ConsoleProgress(every)]
