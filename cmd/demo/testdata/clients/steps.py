"""Runs the steps of a Jira client: JSON from standard input, the results as JSON to
standard output. A client shows an error as an exception or in its log."""

import json
import logging
import sys
import tempfile
import time

CONTENT = b"an attachment \x00\xff"


class Shown(logging.Handler):
    """Keeps the errors that a client logs."""

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
