"""One line that says how the training goes. The text is pure; Display puts it on the screen."""

import os
import shutil
import sys
import textwrap

# Somebody is always last; below this it is not worth a word.
WORTH_SAYING = 1.0


def progress_line(metrics, accuracy, status, total_rounds, restarts, runs=1):
    """`metrics` is the newest round, `status` what lockstepctl said last; either may be empty."""
    parts = [_round(metrics, status, total_rounds)]
    # First, since a narrow terminal cuts off the end.
    parts += waiting_for(status) or _not_training(status)
    if _is_number(metrics.get('loss')):
        parts.append(f'loss {metrics["loss"]:.4f}')
    if _is_number(accuracy):
        parts.append(f'accuracy {accuracy:.4f}')
    if _is_number(metrics.get('samples_per_second')):
        parts.append(f'{short_number(metrics["samples_per_second"])} samples/s')
    if restarts:
        parts.append(f'restarts {restarts}')
    if runs > 1:
        parts.append(f'runs {runs}')
    return '  '.join(parts)


def waiting_for(status):
    """["waits 8.2 s for rank 3 (worker-3)"]: who has been waited for longest; [] if nobody."""
    late = [w for w in culprits(status) if w.get('since_seconds', 0) >= WORTH_SAYING]
    if not late:
        return []
    first = max(late, key=lambda w: w['since_seconds'])
    more = f' and {len(late) - 1} more' if len(late) > 1 else ''
    return [f'waits {first["since_seconds"]:.1f} s for {who(first)}{more}']


def culprits(status):
    """Entries of waiting_for without those that only wait themselves: nobody can go on while a shard is silent, and
    a live worker may be held back by one that is not."""
    entries = status.get('waiting_for', [])
    active = {w['rank'] for w in status.get('workers', []) if w.get('state') == 'active'}
    shards = [entry for entry in entries if 'shard' in entry]
    ailing = [entry for entry in entries if 'rank' in entry and entry['rank'] not in active]
    return (shards + ailing) or entries


def short_number(value):
    """"812", "48.2k", "3.1M"."""
    for limit, unit in ((1e6, 'M'), (1e3, 'k')):
        if value >= limit:
            return f'{value / limit:.1f}{unit}'
    return f'{value:.0f}'


def who(entry):
    """"rank 3 (worker-3)", "shard 1": of an entry of waiting_for."""
    if 'shard' in entry:
        return f'shard {entry["shard"]}'
    name = entry.get('name')
    return f'rank {entry.get("rank")} ({name})' if name else f'rank {entry.get("rank")}'


def _round(metrics, status, total_rounds):
    current = metrics.get('round') or status.get('version') or 0
    return f'round {current}/{total_rounds}' if total_rounds else f'round {current}'


def _not_training(status):
    state = status.get('state', '')
    return [] if state in ('', 'training', 'done') else [state.replace('_', ' ')]


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _after(elapsed, text):
    return f'{elapsed:6.1f} s  {text}'


def wrapped(text, columns):
    """For the screen: lines of at most `columns`, those after the first indented below what follows the time."""
    return textwrap.fill(text, max(40, columns), subsequent_indent=' ' * len(_after(0, '')), break_long_words=False,
                         break_on_hyphens=False)


def seconds_between_lines(elapsed):
    """In a log: often at first, less so in a long run."""
    return 2.0 if elapsed < 60 else 10.0


class Display:
    """On a terminal one line that is drawn again; elsewhere plain lines, not too many.

    What is said with `say` stays, and also goes to DIR/logs/train-local.log, as do the plain lines.
    """

    def __init__(self, stream=sys.stdout, log=None):
        self._stream = stream
        self.log = log
        self._drawn = False
        self.is_terminal = stream.isatty() and os.environ.get('TERM') != 'dumb'
        self._next_line = 0.0

    def say(self, text, timestamp='', elapsed=None):
        self._clear()
        line = text if elapsed is None else _after(elapsed, text)
        if self.is_terminal and elapsed is not None:
            line = wrapped(line, shutil.get_terminal_size().columns)
        print(line, file=self._stream, flush=True)
        if self.log:
            for line in text.splitlines():
                print(f'{timestamp} {line}'.strip(), file=self.log, flush=True)

    def begin(self):
        """`elapsed` starts again from 0."""
        self._next_line = 0.0

    def show(self, line, elapsed, timestamp='', pause=None):
        """In a log at most every `pause` seconds, if given."""
        if self.is_terminal:
            width = shutil.get_terminal_size().columns
            self._stream.write('\r\x1b[K' + line[:max(1, width - 1)])
            self._stream.flush()
            self._drawn = True
        if elapsed < self._next_line:
            return
        self._next_line = elapsed + (pause or seconds_between_lines(elapsed))
        if not self.is_terminal:
            print(_after(elapsed, line), file=self._stream, flush=True)
        if self.log:
            print(timestamp, line, file=self.log, flush=True)

    def _clear(self):
        if self._drawn:
            self._stream.write('\r\x1b[K')
            self._drawn = False
