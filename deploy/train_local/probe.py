"""Asks `lockstepctl status` in the background: a run that hangs does not hang train-local."""

import json
import os
import subprocess
import tempfile

from process import die_with

TIMEOUT = '2s'


class StatusProbe:
    """At most one question is under way at a time."""

    def __init__(self, ctl, interval):
        self._ctl = ctl
        self._interval = interval
        self._next = 0.0
        self._asked = 0.0
        self._popen = None
        self._answer = None  # a file, since a pipe might fill up

    def poll(self, endpoint, now):
        """(time of the question, status) when an answer has come; else None. Never blocks."""
        if self._popen is None:
            if now >= self._next:
                self._ask(endpoint, now)
            return None
        if self._popen.poll() is None:
            return None
        self._popen = None
        return self._read()

    def stop(self):
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()

    def _ask(self, endpoint, now):
        self._asked = now
        self._next = now + self._interval
        self._answer = tempfile.TemporaryFile()
        self._popen = subprocess.Popen(
            [self._ctl, '--endpoint', endpoint, '--timeout', TIMEOUT, '-o', 'json', 'status',
             '-n', '1'],
            stdin=subprocess.DEVNULL, stdout=self._answer, stderr=subprocess.DEVNULL,
            start_new_session=True, preexec_fn=die_with(os.getpid()))

    def _read(self):
        with self._answer as file:
            file.seek(0)
            try:
                status = json.load(file)
            except ValueError:
                return None  # it could not be reached
        return (self._asked, status) if isinstance(status, dict) else None
