"""The lines that QGIS and the engine exchange: one JSON object a line, in UTF-8.

To the engine
    run       id, job          do the job; the engine does one at a time, in order
    cancel    id               stop that job as soon as it can
    quit                       end; so does the end of the stream

From the engine
    ready     pid, python, missing    once, before any job; `missing` names packages not found
    progress  id, fraction, text, seconds_left    fraction in 0 to 1, seconds_left None if unknown
    log       id, level, text         level is info or warning
    result    id, value               the job is done
    error     id, kind, text, detail  the job failed; text is a sentence for the user

`kind` is one of `ERROR_KINDS`; the last one is never sent, it is how the client reports that the
engine itself could not be started or died.
"""

from __future__ import annotations

import json

ERROR_KINDS = ("input", "cancelled", "memory", "internal", "engine")


def encode(message: dict) -> bytes:
    """Return `message` as one line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict:
    """Return the message that `line` holds; ValueError where it holds none."""
    message = json.loads(line.decode())
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ValueError("not a message: an object with a 'type' is expected")
    return message
