"""What becomes of a process that has ended: as Kubernetes would restart a pod. Pure.

    exit 0             done
    64, 65, 78         wrong options or damaged data: a restart would end the same way; stop all
    77                 fenced: its place was taken from it; come back once nobody holds it
    anything else      restart: at once, or if it lived for less than QUICK seconds, after a pause
                       that doubles each time; after MAX_QUICK_FAILURES in a row, stop all
"""

import dataclasses
import enum
import signal

QUICK = 2.0
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
MAX_QUICK_FAILURES = 10

EXIT_USAGE = 64
EXIT_DATA = 65
EXIT_INTERNAL = 70
EXIT_RETRY = 75
EXIT_FENCED = 77
EXIT_CONFIGURATION = 78


class Action(enum.Enum):
    DONE = 'done'
    RESTART = 'restart'
    FENCED = 'fenced'
    STOP_ALL = 'stop all'


@dataclasses.dataclass(frozen=True)
class Verdict:
    action: Action
    pause: float = 0.0  # RESTART: seconds to wait before
    exit_code: int = 0  # STOP_ALL: for train-local


class RestartPolicy:
    """Of one process: knows only how often in a row it failed quickly."""

    def __init__(self):
        self._quick_failures = 0

    def judge(self, exit_code, lived):
        """`exit_code` as Popen gives it (negative: the signal), `lived` in seconds."""
        if exit_code == 0:
            return Verdict(Action.DONE)
        if exit_code in (EXIT_USAGE, EXIT_CONFIGURATION):
            return Verdict(Action.STOP_ALL, exit_code=EXIT_USAGE)
        if exit_code == EXIT_DATA:
            return Verdict(Action.STOP_ALL, exit_code=EXIT_DATA)
        self._quick_failures = self._quick_failures + 1 if lived < QUICK else 0
        if self._quick_failures >= MAX_QUICK_FAILURES:
            return Verdict(Action.STOP_ALL, exit_code=EXIT_INTERNAL)
        action = Action.FENCED if exit_code == EXIT_FENCED else Action.RESTART
        return Verdict(action, pause=pause_after(self._quick_failures))


def pause_after(quick_failures):
    if quick_failures == 0:
        return 0.0
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (quick_failures - 1))


def place_is_free(status, rank):
    """Does a status say that nobody holds the rank, so that a fenced worker may come back?"""
    for worker in status.get('workers', []):
        if worker.get('rank') == rank:
            return worker.get('state') in ('absent', 'lost')
    return True


def describe(exit_code):
    """"was killed by SIGKILL", "ended with code 75 (asks to be restarted)"."""
    if exit_code < 0:
        try:
            return f'was killed by {signal.Signals(-exit_code).name}'
        except ValueError:
            return f'was killed by signal {-exit_code}'
    meanings = {
        0: 'done',
        EXIT_USAGE: 'wrong usage or configuration',
        EXIT_DATA: 'damaged data',
        EXIT_INTERNAL: 'internal error',
        EXIT_RETRY: 'asks to be restarted',
        EXIT_FENCED: 'fenced: its place was taken from it',
        EXIT_CONFIGURATION: 'wrong configuration',
    }
    meaning = meanings.get(exit_code)
    return f'ended with code {exit_code}' + (f' ({meaning})' if meaning else '')
