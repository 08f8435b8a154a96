"""Follows metrics.jsonl, to which rank 0 appends a line for each round."""

import json
import os


class Metrics:
    """The newest round, and how fast the run has been since it last started from the beginning."""

    def __init__(self, path):
        self._path = path
        self._file_id = None
        self._begin()

    def _begin(self):
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
                self._notice_other_file(os.fstat(file.fileno()))
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b'\n')
        for line in lines:
            self._take(line)

    def _notice_other_file(self, info):
        """A replacement of rank 0 writes the file anew without the rounds that come again."""
        file_id = (info.st_dev, info.st_ino)
        if self._file_id not in (None, file_id) or info.st_size < self._offset:
            self._begin()
        self._file_id = file_id

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
