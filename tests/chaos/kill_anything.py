"""kill -9 of real processes, again and again, while they train: the model must be that of a run in which nobody died.

    a run, while: random workers, shards, the coordinator, all  --> data of model.safetensors
      at once die at random moments, and servers at every
      fail point between two steps of durable work
    an undisturbed run of as many rounds -------------------------> the same bytes, or this fails

What dies is started again at once, as Kubernetes would. Prints kills by role, which fail points were hit, versions
that were lost, and how long it took from a kill to the next version (one process at a time is killed, or all).
"""

import argparse
import ctypes
import hashlib
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

SHARDS = 2
WORKERS = 3
ENDLESS = 1_000_000_000  # rounds: the run ends when the kills are done, however slow the machine
LAST_ROUNDS = 30  # after the last kill
SLOWED = '0.06'  # seconds that a worker sleeps at most before a round, so that there is time to kill
PATIENCE = 60.0  # only so that a run that hangs ends


class Failure(Exception):
    """The run is not what it must be; the message says how."""


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Programs:

    def __init__(self):
        folder = os.environ.get('LOCKSTEP_BIN_DIR')
        built = os.environ.get('LOCKSTEP_BUILT', '')
        places = {'lockstep-server': 'server', 'lockstep-worker': 'worker/trainer', 'lockstepctl': 'deploy/ctl'}
        for name, place in places.items():
            path = os.path.join(folder, name) if folder else os.path.join(built, place, name)
            setattr(self, name.split('-')[-1], path)


class Run:
    """All processes of one run. Restarts what has died when `step` is called."""

    def __init__(self, programs, folder, rounds, options, slowed):
        self.programs, self.folder, self.rounds = programs, folder, rounds
        self.optimizer, self.hidden, self.policy = options.optimizer, options.hidden, options.policy_flags
        self.slowed = slowed
        self.processes = {}
        self.done = set()
        self.addresses = {}
        self.fail_points = {}  # of a shard's next life
        self.deaths = 0
        os.makedirs(folder)
        for index in range(SHARDS):
            self.start(f'shard-{index}')
        for rank in range(WORKERS):
            self.start(f'worker-{rank}')

    def names(self, role):
        count = SHARDS if role == 'shard' else WORKERS
        return [f'{role}-{i}' for i in range(count)]

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, name):
        role, index = name.split('-')
        command = self.shard_command(int(index)) if role == 'shard' else self.worker_command(int(index))
        with open(self.path(name + '.log'), 'ab') as log:
            self.processes[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                    preexec_fn=die_with_parent)
        if role == 'shard' and name not in self.addresses:
            self.addresses[name] = self.await_address(name)

    def shard_command(self, index):
        name = f'shard-{index}'
        command = [self.programs.server, '--shard-index', str(index), '--shards', str(SHARDS), '--workers',
                   str(WORKERS), '--bind', self.addresses.get(name, '127.0.0.1:0'), '--port-file',
                   self.path(name + '.address'), '--data-dir', self.path(name), '--optimizer', self.optimizer,
                   '--lr', '0.01', '--lease', '1s', '--checkpoint-rounds', '9', '--journal-segment-bytes', '65536']
        command += self.policy
        if index > 0:
            command += ['--coordinator', self.addresses['shard-0']]
        if name in self.fail_points:
            fail_point = self.fail_points.pop(name)
            command += ['--fail-point', fail_point, '--fsync', 'round' if '-sync' in fail_point else 'never']
        return command

    def worker_command(self, rank):
        command = [self.programs.worker, '--coordinator', self.addresses['shard-0'], '--name', f'worker-{rank}',
                   '--rank', str(rank), '--dataset', 'digits', '--model', 'mlp', '--batch', '16', '--seed', '7',
                   '--rounds', str(self.rounds), '--hidden', str(self.hidden)]
        if self.slowed:
            command += ['--delay-max', SLOWED]
        if rank == 0:
            command += ['--save', self.path('model.safetensors')]
        return command

    def await_address(self, name):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                with open(self.path(name + '.address'), encoding='utf-8') as file:
                    if address := file.read().strip():
                        return address
            except FileNotFoundError:
                pass
            time.sleep(0.01)
        raise Failure(f'{name} does not say where it listens; see {self.path(name)}.log')

    def step(self):
        """Starts again what has died."""
        for name, process in self.processes.items():
            code = process.poll()
            if code is None or name in self.done:
                continue
            if code == 0:
                self.done.add(name)
            elif code in (-signal.SIGKILL, 75):
                self.deaths += 1
                self.start(name)
            else:
                raise Failure(f'{name} ended with {code}; see {self.path(name)}.log')

    def kill(self, names):
        for name in names:
            if name not in self.done:
                self.processes[name].kill()
        for name in names:
            self.processes[name].wait()

    def version(self):
        """The newest version complete on every shard, or None when nobody answers."""
        asked = subprocess.run([self.programs.lockstepctl, '--endpoint', self.addresses['shard-0'], 'status', '-o',
                                'json'], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
        try:
            return json.loads(asked.stdout).get('version')
        except ValueError:
            return None

    def await_version(self, beyond):
        """Until a version later than `beyond` is there, or the run is over. The seconds that it took."""
        start = time.monotonic()
        while time.monotonic() - start < PATIENCE:
            self.step()
            version = self.version()
            if version is not None and version > beyond:
                return time.monotonic() - start
            if self.finished():
                return None
            time.sleep(0.01)
        raise Failure(f'no version after {beyond} within {PATIENCE:g} s; see the logs in {self.folder}')

    def finished(self):
        return len(self.done) == len(self.processes)

    def finish(self):
        """Until every process has ended. Fails when no version comes for a while, however long the whole takes."""
        deadline, newest = time.monotonic() + PATIENCE, 0
        while not self.finished():
            self.step()
            if time.monotonic() > deadline:
                version = self.version() or 0
                if version <= newest:
                    raise Failure(
                        f'does not end: {sorted(set(self.processes) - self.done)} still run; see {self.folder}')
                deadline, newest = time.monotonic() + PATIENCE, version
            time.sleep(0.02)

    def end(self):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def ends(self):
        """What workers say that they end with, and what rank 0 has saved: one (version, fingerprint), if they agree."""
        ends = set()
        for name in self.names('worker'):
            with open(self.path(name + '.log'), encoding='utf-8') as log:
                ends.add(re.findall(r'ends with version (\d+), fingerprint (\w+)', log.read())[-1])
        saved = subprocess.run([self.programs.lockstepctl, 'fingerprint', '--file', self.path('model.safetensors')],
                               stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout.strip()
        return ends | {(str(self.rounds), saved)}

    def fingerprint(self):
        with open(self.path('model.safetensors'), 'rb') as file:
            (header,) = struct.unpack('<Q', file.read(8))
            file.seek(8 + header)
            return hashlib.sha256(file.read()).hexdigest()


class Chaos:

    def __init__(self, run, options, fail_points):
        self.run = run
        self.random = random.Random(options.seed)
        self.fail_points = fail_points
        self.roles = []  # whose turn is next; each has one before any has a second
        self.hit = {name: 0 for name in fail_points}
        self.kills = {'worker': 0, 'shard': 0, 'coordinator': 0, 'all': 0, 'fail point': 0}
        self.recoveries = []  # seconds, what was killed, when
        self.lost = 0
        self.newest = -1

    def look(self):
        version = self.run.version()
        if version is not None:
            self.lost += max(0, self.newest - version)
            self.newest = max(self.newest, version)
        return self.newest

    def strike(self, number):
        if number < len(self.fail_points):
            self.strike_at(self.fail_points[number])
        else:
            if not self.roles:
                self.roles = ['worker', 'shard', 'coordinator', 'all']
                self.random.shuffle(self.roles)
            self.strike_now(self.roles.pop())

    def strike_now(self, role):
        time.sleep(self.random.uniform(0, 0.3))
        before = self.look()
        names = {'worker': lambda: [self.random.choice(self.run.names('worker'))],
                 'shard': lambda: ['shard-1'],
                 'coordinator': lambda: ['shard-0'],
                 'all': lambda: self.run.names('shard') + self.run.names('worker')}[role]()
        self.run.kill(names)
        self.kills[role] += 1
        self.recover(before, role)

    def strike_at(self, fail_point):
        """A server is killed, and in its next life it dies at the fail point."""
        coordinators = fail_point.startswith(('coordinator', 'manifest'))
        name = 'shard-0' if coordinators else self.random.choice(['shard-0', 'shard-1'])
        rare = coordinators or fail_point.startswith(('journal.segment', 'journal.index', 'checkpoint', 'compaction'))
        before = self.look()
        if fail_point.startswith('compaction'):
            self.lengthen_journal(name)
        self.run.fail_points[name] = f'{fail_point}@{1 if rare else self.random.randint(1, 4)}'
        self.run.kill([name])
        self.run.step()
        second_life = self.run.processes[name]
        deadline = time.monotonic() + PATIENCE / 2
        while second_life.poll() is None and time.monotonic() < deadline:
            self.run.step()
            time.sleep(0.01)
        if second_life.poll() == -signal.SIGKILL:
            self.hit[fail_point] += 1
        self.kills['fail point'] += 1
        self.recover(max(before, self.look() if second_life.poll() is None else before), f'{name} at {fail_point}')

    def lengthen_journal(self, name):
        """A life that dies when it would write its next checkpoint leaves a journal that is worth compacting."""
        self.run.fail_points[name] = 'checkpoint.before-write@1'
        self.run.kill([name])
        self.run.step()
        life = self.run.processes[name]
        deadline = time.monotonic() + PATIENCE / 2
        while life.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)

    def recover(self, before, killed):
        took = self.run.await_version(before)
        if took is not None:
            self.recoveries.append((took, killed, time.strftime('%H:%M:%S')))
        self.look()


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float('nan')


def fail_points_of(programs):
    listed = subprocess.run([programs.server, '--list-fail-points'], stdin=subprocess.DEVNULL, capture_output=True,
                            text=True, check=True)
    return listed.stdout.split()


def report(chaos, equal, agree):
    print('kills        ' + ', '.join(f'{role} {count}' for role, count in chaos.kills.items()))
    hit = [name for name, count in chaos.hit.items() if count]
    print(f'fail points  {len(hit)} of {len(chaos.hit)} hit')
    for name in sorted(set(chaos.hit) - set(hit)):
        print(f'             not hit: {name}')
    print(f'versions     {chaos.lost} lost, newest {chaos.newest}')
    times = [took for took, _, _ in chaos.recoveries]
    print(f'recovery     p50 {percentile(times, 0.5):.2f} s, p99 {percentile(times, 0.99):.2f} s, from a kill to the next '
          'version')
    for took, killed, at in sorted(chaos.recoveries, reverse=True)[:3]:
        print(f'             {took:.2f} s until {at} (killed: {killed})')
    print(f'all workers end with the model that rank 0 saved: {"yes" if agree else "no"}')
    if equal is None:
        print('fingerprint not compared with an undisturbed run: who contributes depends on time. Each version had one set '
              'of contributors on all shards: workers check that')
    else:
        print(f'fingerprint equal: {"yes" if equal else "no"}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=60, metavar='N', help='how many (%(default)s)')
    parser.add_argument('--seed', type=int, default=1, metavar='S', help='of what is killed and when (%(default)s)')
    parser.add_argument('--every-fail-point', action='store_true', help='fail unless each was hit')
    parser.add_argument('--no-fail-points', action='store_true', help='kill at random moments only')
    parser.add_argument('--optimizer', default='adam', help='(%(default)s)')
    parser.add_argument('--hidden', type=int, default=128, metavar='UNITS',
                        help='of the model, 300 bytes each: 333333 make it 100 MB (%(default)s)')
    parser.add_argument('--policy', choices=['all', 'quorum', 'deadline'], default='all',
                        help='of rounds (%(default)s)')
    parser.add_argument('--contributors', type=int, metavar='K', choices=range(1, WORKERS + 1),
                        help=f'of {WORKERS} workers that make a round (quorum: 2, deadline: 1)')
    parser.add_argument('--deadline', metavar='TIME', help='of policy deadline (20ms)')
    parser.add_argument('--keep', action='store_true', help='keep the logs, and say where they are')
    options = parser.parse_args()
    if options.policy == 'all' and options.contributors or options.policy != 'deadline' and options.deadline:
        parser.error('--contributors is for --policy quorum and deadline, --deadline for the latter')
    options.policy_flags = {
        'all': [],
        'quorum': ['--policy', 'quorum', '--contributors', str(options.contributors or 2)],
        'deadline': ['--policy', 'deadline', '--deadline', options.deadline or '20ms', '--contributors',
                     str(options.contributors or 1)],
    }[options.policy]
    programs = Programs()
    fail_points = [] if options.no_fail_points else fail_points_of(programs)
    scratch = tempfile.mkdtemp(prefix='lockstep-chaos-')
    runs = []
    try:
        disturbed = Run(programs, os.path.join(scratch, 'disturbed'), ENDLESS, options, slowed=True)
        runs.append(disturbed)
        chaos = Chaos(disturbed, options, fail_points)
        disturbed.await_version(0)
        for number in range(options.kills):
            chaos.strike(number)
        disturbed.slowed = False
        disturbed.kill(disturbed.names('worker'))
        disturbed.rounds = chaos.look() + LAST_ROUNDS
        disturbed.finish()
        fingerprint = disturbed.fingerprint()
        agree = len(disturbed.ends()) == 1
        equal = None
        if options.policy == 'all':
            undisturbed = Run(programs, os.path.join(scratch, 'undisturbed'), disturbed.rounds, options, slowed=False)
            runs.append(undisturbed)
            undisturbed.finish()
            equal = undisturbed.fingerprint() == fingerprint
        report(chaos, equal, agree)
        if equal is False or not agree or chaos.lost:
            raise Failure(f'repeat with: tests/chaos/kill-anything --kills {options.kills} --seed {options.seed}')
        if options.every_fail_point and not all(chaos.hit.values()):
            raise Failure('some fail points were not hit')
        if options.keep:
            print(f'kept for you: {scratch}')
        else:
            shutil.rmtree(scratch)
    except Failure as failure:
        print(f'kill-anything: {failure}\nkept for you: {scratch}', file=sys.stderr)
        return 1
    finally:
        for run in runs:
            run.end()
    return 0


if __name__ == '__main__':
    sys.exit(main())
