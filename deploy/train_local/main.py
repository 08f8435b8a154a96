"""train-local: one command from a source tree to a trained model. See --help and ../README.md."""

import datetime
import shlex
import signal
import subprocess
import sys
import time

import build
import options as command_line
from metrics import Metrics
from probe import StatusProbe
from progress import Display, progress_line
from report import count, report, summary
from restart_policy import EXIT_INTERNAL
from run_folder import FolderError, RunFolder, read_json, shown, write_json
from supervisor import Stop, Supervisor

EXIT_STOPPED = 130
TICK = 0.05


class Signals:
    """Counts Ctrl-C, SIGTERM and SIGHUP; the first asks to stop, the second to hurry."""

    def __init__(self):
        self.count = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._take)

    def _take(self, number, frame):
        self.count += 1


def _now_text():
    return datetime.datetime.now().astimezone().isoformat(timespec='milliseconds')


def _fingerprint(programs, folder):
    command = [programs.ctl, 'fingerprint', '--file', folder.model]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Stop(EXIT_INTERNAL, f'no fingerprint of the model: {done.stderr.strip()}')
    return done.stdout.strip()


def _train(options, programs, folder, display, signals):
    """Trains, and returns the supervisor, the metrics and the seconds it took."""
    start = time.monotonic()

    def say(text):
        display.say(text, _now_text(), time.monotonic() - start)

    def note(text):
        if options.verbose:
            say(text)
        else:
            print(_now_text(), text, file=display.log, flush=True)

    supervisor = Supervisor(options, programs, folder, say, note)
    probe = StatusProbe(programs.ctl, interval=0.5 if display.is_terminal else 1.0)
    metrics = Metrics(folder.metrics)
    try:
        while not supervisor.step(time.monotonic()):
            if signals.count:
                raise build.Stopped
            _look(supervisor, probe, metrics)
            line = progress_line(metrics.last, metrics.accuracy, supervisor.status,
                                 options.total_rounds, supervisor.restarts, supervisor.runs)
            display.show(line, time.monotonic() - start, _now_text())
            time.sleep(TICK)
    finally:
        probe.stop()
        supervisor.stop_all(hurry=lambda: signals.count > 1)
    metrics.poll()
    return supervisor, metrics, time.monotonic() - start


def _look(supervisor, probe, metrics):
    metrics.poll()
    if not supervisor.endpoint:
        return
    answer = probe.poll(supervisor.endpoint, time.monotonic())
    if answer:
        supervisor.take_status(*answer)


def _conclude(options, programs, folder, display, training):
    supervisor, metrics, seconds = training
    result = read_json(folder.result)
    if result is None:
        raise Stop(EXIT_INTERNAL, f'the run ended, but rank 0 left no result; see {folder.logs}')
    supervisor.take_run(result.get('run_id'))
    facts = {'fingerprint': _fingerprint(programs, folder), 'restarts': supervisor.restarts,
             'runs': supervisor.runs, 'wall_seconds': seconds,
             'samples_per_second': metrics.samples_per_second()}
    outcome = summary(options, result, facts)
    write_json(folder.summary, outcome)
    folder.remove_state()  # the model is saved; a run that is done is not gone on with
    by_name = {process.name: process.restarts for process in supervisor.processes}
    display.say('\n' + report(outcome, by_name, folder.path))


def _run(options, signals):
    folder = RunFolder(options.out)
    folder.prepare()
    with open(folder.log_file('train-local'), 'a', encoding='utf-8') as log:
        display = Display(log=log)
        programs = build.programs(options.build, display, folder.log_file('build'), lambda: signals.count > 0)
        display.say(f'training {options.model} on {options.dataset}: {count(options.workers, "worker")}, '
                    f'{count(options.shards, "shard")}; watch it with\n  ' +
                    shlex.join([folder.link_ctl(programs.ctl), '--endpoint', shown(folder.endpoint), 'status',
                                '--watch']))
        display.begin()
        training = _train(options, programs, folder, display, signals)
        _conclude(options, programs, folder, display, training)


def main():
    options = command_line.parse(sys.argv[1:])
    signals = Signals()
    try:
        _run(options, signals)
    except build.Stopped:
        print('\ntrain-local: stopped; no process is left', file=sys.stderr)
        return EXIT_STOPPED
    except FolderError as error:
        print(f'train-local: {error}', file=sys.stderr)
        return command_line.EXIT_USAGE
    except (Stop, build.BuildError) as error:
        print(f'\ntrain-local: {error}', file=sys.stderr)
        return getattr(error, 'exit_code', EXIT_INTERNAL)
    return 0


if __name__ == '__main__':
    sys.exit(main())
