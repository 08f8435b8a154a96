"""What `round`, `checkpoint` and `network` share: starting Lockstep and gloo, timing their rounds in turns, and the report.

    with Bench() as bench:                                   # whatever happens, no process is left behind
        teams = start_teams(bench, options, Loopback(), build(options))
        times = take_turns(teams, options.rounds, options.batches)
        bench.finish()

A team is N processes, one for each rank, that run rounds when told to (see push_pull.cc) and wait on standard input
otherwise: while one team is timed, the other one does nothing. The time of a round is that of its slowest rank.
"""

import argparse
import ctypes
import json
import math
import os
import select
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
READY_SECONDS = 180.0  # to connect, check a result and warm up
ROUND_SECONDS = 120.0  # for one round
END_SECONDS = 15.0  # to leave and end

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class BenchError(Exception):
    """The measurement cannot be had; the message says why."""


# ---- The command line and the programs ----


def parser(description):
    """The flags that both scripts have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog='LOCKSTEP_BAZEL is the Bazel command, with start-up options ("bazel").')
    made.add_argument('--workers', type=int, default=4, metavar='N', help='worker processes')
    made.add_argument('--shards', type=int, default=2, metavar='S', help='shard processes')
    made.add_argument('--bytes', type=int, default=100_000_000, metavar='B', help='size of the fp32 model')
    made.add_argument('--rounds', type=int, default=50, metavar='R', help='timed rounds of each side')
    made.add_argument('--batches', type=int, default=5, help='turns that each side takes')
    made.add_argument('--warmup', type=int, default=3, help='rounds before the first timed one')
    made.add_argument('--connections', type=int, metavar='K', help='of each worker to each shard')
    made.add_argument('--durability', choices=['journal', 'memory'], default='memory',
                      help='what the servers keep on disk; gloo keeps nothing')
    made.add_argument('--optimizer', default='aggregate', metavar='NAME',
                      help="what the servers make of the round's mean; aggregate: hand it out, as gloo does")
    made.add_argument('--server-flag', action='append', default=[], metavar='FLAG',
                      help='one more flag for the servers')
    made.add_argument('--no-gloo', action='store_true', help='time Lockstep alone')
    made.add_argument('--no-build', action='store_true', help='use the programs that were built last')
    made.add_argument('--json', metavar='FILE', help='write the numbers to this file')
    return made


def check(options):
    for name in ('workers', 'shards', 'rounds', 'batches'):
        if getattr(options, name) < 1:
            raise BenchError(f'--{name} must be at least 1')
    if options.bytes < 4:
        raise BenchError('--bytes must be at least 4: one fp32 element')


def build(options, others=()):
    """Builds the programs and `others`; returns a function from a label's path to the program."""
    labels = ['server/lockstep-server', 'tests/bench/push_pull', 'tests/bench/gloo/gloo_ring']
    labels = (labels if with_gloo(options) else labels[:2]) + list(others)
    bazel = shlex.split(os.environ.get('LOCKSTEP_BAZEL', 'bazel'))
    if not options.no_build:
        _bazel(bazel + ['build', '-c', 'opt'] + ['//' + ':'.join(label.rsplit('/', 1)) for label in labels])
    folder = _bazel(bazel + ['info', '-c', 'opt', 'bazel-bin'], capture=True).strip()
    for label in labels:
        if not os.access(os.path.join(folder, label), os.X_OK):
            raise BenchError(f'{folder}/{label} is not there; run without --no-build')
    return lambda label: os.path.join(folder, label)


def with_gloo(options):
    return options.workers > 1 and not options.no_gloo


def _bazel(command, capture=False):
    done = subprocess.run(command, cwd=ROOT, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE if capture else 2,
                          stderr=subprocess.DEVNULL if capture else None)
    if done.returncode != 0:
        raise BenchError(f'{shlex.join(command)} failed with code {done.returncode}')
    return done.stdout


# ---- Processes ----


class Process:
    """One program: its standard output is read line by line, its standard error goes to a file."""

    def __init__(self, name, popen, argv, log_path):
        self.name = name
        self._log_path = log_path
        self._buffer = b''
        with open(log_path, 'wb') as log:
            self._popen = popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                start_new_session=True, preexec_fn=_die_with(os.getpid()))

    def write(self, line):
        try:
            self._popen.stdin.write(line.encode() + b'\n')
            self._popen.stdin.flush()
        except BrokenPipeError:
            raise self.failure('ended before it was told to')

    def read_line(self, deadline):
        while b'\n' not in self._buffer:
            readable, _, _ = select.select([self._popen.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                raise self.failure('did not answer in time')
            data = os.read(self._popen.stdout.fileno(), 1 << 16)
            if not data:
                raise self.failure('ended before it was told to')
            self._buffer += data
        line, self._buffer = self._buffer.split(b'\n', 1)
        if line.startswith(b'error'):
            raise self.failure(line.decode())
        return line.decode()

    @property
    def pid(self):
        return self._popen.pid

    def running(self):
        return self._popen.poll() is None

    def end_of_input(self):
        self._popen.stdin.close()

    def wait(self, deadline):
        try:
            code = self._popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise self.failure('did not end')
        if code != 0:
            raise self.failure(f'ended with code {code}')

    def kill(self):
        if self.running():
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def failure(self, what):
        with open(self._log_path, encoding='utf-8', errors='replace') as log:
            end = [line.rstrip() for line in log if line.strip()][-5:]
        return BenchError('\n  '.join([f'{self.name}: {what}. The end of its log:'] + (end or ['(empty)'])))


def _die_with(parent):
    """For preexec_fn: the child is killed when `parent` dies, kill -9 included."""

    def prepare():
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


class Bench:
    """Owns all processes and a folder for their files."""

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        self.folder = tempfile.mkdtemp(prefix='lockstep-bench-')
        self._processes = []
        return self

    def __exit__(self, *_):
        for process in self._processes:
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, name, popen, argv):
        process = Process(name, popen, argv, os.path.join(self.folder, name + '.log'))
        self._processes.append(process)
        return process

    def process(self, name):
        return next(process for process in self._processes if process.name == name)

    def finish(self):
        """Lets every process end by itself, and checks that it does."""
        for process in self._processes:
            process.end_of_input()
        deadline = time.monotonic() + END_SECONDS
        for process in self._processes:
            process.wait(deadline)


class Loopback:
    """Everything on this host. `network` has the other kind of place."""

    def on_worker(self, _rank):
        return subprocess.Popen

    def on_shard(self, _index):
        return subprocess.Popen

    def shard_flags(self, _index):
        return ['--bind', '127.0.0.1:0']

    def worker_address(self, _rank):
        return '127.0.0.1'


# ---- Teams ----


class Team:

    def __init__(self, ranks):
        self._ranks = ranks

    def wait_until_ready(self):
        deadline = time.monotonic() + READY_SECONDS
        for rank in self._ranks:
            line = rank.read_line(deadline)
            if line != 'ready':
                raise rank.failure(f'expected `ready`, but it said {line!r}')

    def run(self, rounds):
        """Seconds of each round: its slowest rank's."""
        for rank in self._ranks:
            rank.write(str(rounds))
        deadline = time.monotonic() + ROUND_SECONDS * (rounds + 1)
        return [max(times) for times in zip(*(self._times(rank, rounds, deadline) for rank in self._ranks))]

    @staticmethod
    def _times(rank, rounds, deadline):
        word, *times = rank.read_line(deadline).split()
        if word != 'rounds' or len(times) != rounds:
            raise rank.failure(f'expected the times of {rounds} rounds, but it said {word} and {len(times)} numbers')
        return [float(text) for text in times]


def start_teams(bench, options, place, program):
    """Starts both sides one after the other, and waits until they are ready to be timed."""
    teams = {'lockstep': _start_lockstep(bench, options, place, program)}
    teams['lockstep'].wait_until_ready()
    if with_gloo(options):
        teams['gloo'] = _start_gloo(bench, options, place, program)
        teams['gloo'].wait_until_ready()
    return teams


def _start_lockstep(bench, options, place, program):
    coordinator = None
    for index in range(options.shards):
        shard = _start_shard(bench, options, place, program, index, coordinator)
        if index == 0:
            coordinator = _address_of(bench, shard)
    return Team([
        bench.start(f'push-pull-{rank}', place.on_worker(rank), [
            program('tests/bench/push_pull'), '--coordinator', coordinator, '--rank', str(rank),
            '--bytes', str(options.bytes), '--warmup', str(options.warmup)] +
                    ([] if options.optimizer == 'aggregate' else ['--any-values']))
        for rank in range(options.workers)])


def _start_shard(bench, options, place, program, index, coordinator):
    command = [program('server/lockstep-server'), '--shard-index', str(index), '--shards', str(options.shards),
               '--workers', str(options.workers), '--optimizer', options.optimizer, '--log-level', 'info',
               '--port-file', os.path.join(bench.folder, f'shard-{index}.address')]
    command += ['--durability', options.durability, '--data-dir', os.path.join(bench.folder, f'shard-{index}.data')]
    command += place.shard_flags(index) + options.server_flag
    if coordinator:
        command += ['--coordinator', coordinator]
    if options.connections:
        command += ['--connections', str(options.connections)]
    return bench.start(f'shard-{index}', place.on_shard(index), command)


def _address_of(bench, shard):
    path = os.path.join(bench.folder, shard.name + '.address')
    deadline = time.monotonic() + END_SECONDS
    while not os.path.exists(path) or not os.path.getsize(path):
        if not shard.running() or time.monotonic() > deadline:
            raise shard.failure('has not said where it listens')
        time.sleep(0.02)
    with open(path, encoding='utf-8') as file:
        return file.read().strip()


def _start_gloo(bench, options, place, program):
    store = os.path.join(bench.folder, 'gloo')
    return Team([
        bench.start(f'gloo-{rank}', place.on_worker(rank), [
            program('tests/bench/gloo/gloo_ring'), '--rank', str(rank), '--size', str(options.workers),
            '--bytes', str(options.bytes), '--warmup', str(options.warmup), '--store', store,
            '--address', place.worker_address(rank), '--barrier-stdin'])
        for rank in range(options.workers)])


# ---- Measuring ----


def take_turns(teams, rounds, batches):
    """Seconds of `rounds` rounds of each team, in batches; who begins alternates."""
    times = {name: [] for name in teams}
    order = list(teams)
    done = 0
    for batch in range(batches):
        count = rounds * (batch + 1) // batches - done
        done += count
        for name in order if count else []:
            times[name] += teams[name].run(count)
        order.reverse()
    return times


def summarize(times):
    """{name: {median_s, p10_s, p90_s, rounds}}, and how much longer Lockstep takes than gloo."""
    summary = {name: _quantiles(seconds) for name, seconds in times.items()}
    if 'gloo' in summary:
        summary['ratio'] = summary['lockstep']['median_s'] / summary['gloo']['median_s']
    return summary


def _quantiles(seconds):
    return {'median_s': statistics.median(seconds), 'p10_s': _quantile(seconds, 0.1), 'p90_s': _quantile(seconds, 0.9),
            'rounds': len(seconds)}


def _quantile(seconds, share):
    ordered = sorted(seconds)
    position = share * (len(ordered) - 1)
    low, high = ordered[math.floor(position)], ordered[math.ceil(position)]
    return low + (high - low) * (position - math.floor(position))


def report(options, summary):
    """The table for people."""
    lines = [f'{options.workers} workers, {options.shards} shards, {options.bytes:,} bytes; milliseconds a round',
             f'{"":10}{"median":>10}{"p10":>10}{"p90":>10}{"rounds":>8}']
    for name in ('lockstep', 'gloo'):
        if name in summary:
            row = summary[name]
            shown = ''.join(f'{row[key] * 1e3:10.2f}' for key in ('median_s', 'p10_s', 'p90_s'))
            lines.append(f'{name:10}{shown}{row["rounds"]:8}')
    if 'ratio' in summary:
        lines.append(f'ratio     {summary["ratio"]:10.2f}  (lockstep / gloo; below 1: lockstep is faster)')
    return '\n'.join(lines)


def write_json(options, summary):
    if options.json:
        content = {**summary, 'workers': options.workers, 'shards': options.shards, 'bytes': options.bytes}
        with open(options.json, 'w', encoding='utf-8') as file:
            json.dump(content, file, indent=2)
            file.write('\n')


def measure(options, place, program):
    """The numbers of one run at a place."""
    with Bench() as bench:
        teams = start_teams(bench, options, place, program)
        times = take_turns(teams, options.rounds, options.batches)
        bench.finish()
    return summarize(times)
