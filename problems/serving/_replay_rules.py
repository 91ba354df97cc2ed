"""Rules that a log can break, with the sentence for each."""

from __future__ import annotations

(
    FINE,
    NONSENSE,
    NOT_WAITING,
    NO_LOOK,
    FULL,
    NO_NEED,
    EMPTY,
    SHORT,
    CHANGED,
    NO_WAIT,
    AFTER,
    EARLY,
    NO_CUT,
    NOT_CUT,
    NO_PROMPT,
) = range(15)
BROKEN = (
    "",
    "entry {entry} is no entry of a log",
    "entry {entry} admits request {request}, which is not waiting then",
    "entry {entry} admits a request when the server does not look at its queue",
    "entry {entry} admits request {request}, but the batch or the KV cache is full",
    "entry {entry} preempts request {request}, which is not running or for which there is no need",
    "entry {entry} runs a step that computes nothing or too much",
    "entry {entry} decodes without the blocks for it",
    "entry {entry} goes on with a step when something has changed",
    "entry {entry} waits though a request runs, or none waits",
    "entry {entry} comes after the end",
    "the log ends before entry {entry}, and before the simulation does",
    "entry {entry} cuts a step where nothing has arrived, or within a segment",
    "entry {entry} goes on with a step though none is cut",
    "entry {entry} puts request {request} behind other prompts, but its own is not being prefilled",
)
