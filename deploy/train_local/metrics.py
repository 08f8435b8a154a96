"""Follows metrics.jsonl, to which rank 0 appends a line for each round."""

import json


class Metrics:
    """The newest round, and how fast the run has been since it last started from the beginning."""

    def __init__(self, path):
        self._path = path
        self._offset = 0
        self._rest = b''
        self.last = {}
        self.accuracy = None  # of the newest round that measured it
        self._samples = 0.0
        self._seconds = 0.0

    def poll(self):
        """Reads what was appended since the last call."""
        try:
            with open(self._path, 'rb') as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b'\n')
        for line in lines:
            self._take(line)

    def samples_per_second(self):
        """Over all rounds of this pass through them; None before the first."""
        return self._samples / self._seconds if self._seconds > 0 else None

    def _take(self, line):
        try:
            entry = json.loads(line)
        except ValueError:
            return  # torn by a kill -9 in the middle of a write
        if not isinstance(entry, dict) or not isinstance(entry.get('round'), int):
            return
        if entry['round'] < self.last.get('round', 0):
            self._samples = self._seconds = 0.0
            self.accuracy = None
        self.last = entry
        if entry.get('accuracy') is not None:
            self.accuracy = entry['accuracy']
        seconds = entry.get('seconds') or 0.0
        self._samples += (entry.get('samples_per_second') or 0.0) * seconds
        self._seconds += seconds
