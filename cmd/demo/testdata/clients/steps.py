"""Takes steps of a client of Jira: JSON from standard input, their outcomes as
JSON to standard output. What a client shows is its exception or what it logs."""

import json
import logging
import sys
import tempfile
import time

CONTENT = b"an attachment \x00\xff"


class Shown(logging.Handler):
    """Keeps what a client logs as an error."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def upload_file():
    file = tempfile.NamedTemporaryFile(suffix=".bin")
    file.write(CONTENT)
    file.flush()
    return file


def take(make):
    shown = Shown()
    logging.getLogger().addHandler(shown)
    outcomes = []
    for step in json.load(sys.stdin):
        shown.lines.clear()
        began = time.monotonic()
        try:
            ok, text = True, str(getattr(make(step), step["do"])())
        except Exception as e:
            ok, text = False, str(e)
        outcomes.append({"ok": ok, "text": "\n".join([text, *shown.lines]), "seconds": time.monotonic() - began})
    json.dump(outcomes, sys.stdout)
