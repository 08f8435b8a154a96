"""Trains with containers of the image alone: 2 shards and 2 workers, each in its own network namespace, as a user without
rights, with a read-only root file system and no capability. The model must be that of the same training on this machine.

    podman network: shard-0  shard-1  worker-0  worker-1  --> lockstepctl fingerprint, asked inside a container
    deploy/train-local, the same settings on loopback     --> fingerprint in its summary          must be equal
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import uuid

ROUNDS = 120
SETTINGS = {'optimizer': 'momentum', 'lr': '0.1'}
BATCH, SEED = '16', '1'
PORT = 7700
PATIENCE = 120.0  # only so that a run that hangs ends
USER = 65532

# For machines where podman's defaults (crun, raised limits) need rights that are not there.
MODEST = '[engine]\nruntime="runc"\n[containers]\ndefault_ulimits=["nofile=20000:20000","nproc=20000:20000"]\n'

# As in the image.
KERNELS = {'OPENBLAS_CORETYPE': 'Haswell', 'OPENBLAS_NUM_THREADS': '1'}


class Failure(Exception):
    """The containers do not do what they must; the message says what."""


class Podman:
    """Commands of podman, with settings under which containers run on this machine."""

    def __init__(self, scratch):
        self._modest = os.path.join(scratch, 'containers.conf')
        with open(self._modest, 'w', encoding='utf-8') as file:
            file.write(MODEST)
        self._environment = dict(os.environ)

    def why_it_cannot_run(self, image):
        """None if it can; else what it said, with its own and with modest settings."""
        said = []
        for settings in ({}, {'CONTAINERS_CONF': self._modest}):
            self._environment = dict(os.environ, **settings)
            done = self.run('run', '--rm', '--network=none', image, 'true', check=False)
            if done.returncode == 0:
                return None
            said.append(' '.join(done.stderr.split()))
        return '; '.join(said)

    def run(self, *arguments, check=True):
        done = subprocess.run(['podman', *arguments], env=self._environment, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False)
        if check and done.returncode != 0:
            raise Failure(f'podman {shlex.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}')
        return done

    def output(self, *arguments):
        return self.run(*arguments).stdout.strip()


class Containers:
    """Containers on a network of their own; all are gone at the end."""

    def __init__(self, podman, image):
        self._podman, self._image = podman, image
        self._mark = 'lockstep-' + uuid.uuid4().hex[:8]
        self._names = []

    def __enter__(self):
        self._podman.run('network', 'create', self._mark)
        return self

    def __exit__(self, *_):
        for name in self._names:
            self._podman.run('rm', '--force', '--volumes', '--time', '0', self._full(name), check=False)
        self._podman.run('network', 'rm', '--force', self._mark, check=False)

    def start(self, name, *command):
        self._names.append(name)
        self._podman.run('run', '--detach', '--name', self._full(name), '--hostname', name,
                         '--network', f'{self._mark}:alias={name}', '--read-only', '--cap-drop=all',
                         '--security-opt=no-new-privileges', '--memory=1g', self._image, *command)

    def execute(self, name, *command):
        return self._podman.output('exec', self._full(name), *command)

    def wait(self, name):
        """Blocks until it has ended; its exit code."""
        return int(self._podman.output('wait', self._full(name)))

    def logs(self, name):
        done = self._podman.run('logs', self._full(name), check=False)
        return done.stdout + done.stderr

    def network_namespace(self, name):
        pid = self._podman.output('inspect', '--format', '{{.State.Pid}}', self._full(name))
        expect(pid != '0', f'{name} has ended already')
        return os.readlink(f'/proc/{pid}/ns/net')

    def stop(self, name):
        """SIGTERM, as Kubernetes does it; the exit code."""
        self._podman.run('stop', '--time', '30', self._full(name))
        return int(self._podman.output('inspect', '--format', '{{.State.ExitCode}}', self._full(name)))

    def _full(self, name):
        return f'{self._mark}-{name}'


def expect(condition, what):
    if not condition:
        raise Failure(what)


def start_shard(containers, index):
    flags = [f'--{name}={value}' for name, value in SETTINGS.items()]
    containers.start(f'shard-{index}', 'lockstep-server', f'--shard-index={index}', '--shards=2', '--workers=2',
                     f'--bind=0.0.0.0:{PORT}', f'--advertise=shard-{index}:{PORT}', f'--coordinator=shard-0:{PORT}',
                     '--data-dir=/var/lib/lockstep/state', '--after-run=serve', *flags)


def start_worker(containers, rank):
    containers.start(f'worker-{rank}', 'lockstep-worker', f'--coordinator=shard-0:{PORT}', f'--name=worker-{rank}',
                     '--dataset=digits', '--model=mlp', f'--batch={BATCH}', f'--seed={SEED}', f'--rounds={ROUNDS}',
                     f'--rank={rank}', '--delay-max=20ms')


def check_rights(containers, name):
    """Neither root nor a capability, and nothing outside the volume can be written."""
    status = dict(line.split(':\t', 1) for line in containers.execute(name, 'cat', '/proc/1/status').splitlines())
    expect(status['Uid'].split() == [str(USER)] * 4, f'{name} runs as {status["Uid"]}')
    for capabilities in ('CapPrm', 'CapEff', 'CapBnd'):
        expect(int(status[capabilities], 16) == 0, f'{name} has capabilities: {capabilities} {status[capabilities]}')
    expect(status['NoNewPrivs'] == '1', f'{name} can gain privileges')
    written = containers.execute(name, 'sh', '-c', 'touch /usr/bin/x /etc/x /x 2>/dev/null; ls /usr/bin/x /etc/x /x || true')
    expect(written == '', f'{name} can write {written}')


def train_in_containers(podman, image):
    """The fingerprint."""
    with Containers(podman, image) as containers:
        try:
            # Workers first: any order must do.
            for rank in range(2):
                start_worker(containers, rank)
            for index in range(2):
                start_shard(containers, index)
            members = ['worker-0', 'worker-1', 'shard-0', 'shard-1']
            namespaces = {containers.network_namespace(name) for name in members}
            namespaces.add(os.readlink('/proc/self/ns/net'))
            expect(len(namespaces) == 5, f'network namespaces are shared: {namespaces}')
            for name in members:
                check_rights(containers, name)
            for rank in range(2):
                code = containers.wait(f'worker-{rank}')
                expect(code == 0, f'worker-{rank} ended with {code}')
            endpoint = f'--endpoint=127.0.0.1:{PORT}'
            # Waits until then, and asks again if the network's name service drops a question.
            containers.execute('shard-1', 'lockstepctl', endpoint, 'wait', f'--version={ROUNDS}', '--timeout=60s')
            status = json.loads(containers.execute('shard-1', 'lockstepctl', endpoint, 'status', '-o', 'json'))
            expect(status['state'] == 'done' and status['version'] == ROUNDS, f'the run is not done: {status}')
            said = json.loads(containers.execute('shard-1', 'lockstepctl', endpoint, 'fingerprint', '-o', 'json'))
            for index in range(2):
                code = containers.stop(f'shard-{index}')
                expect(code == 0, f'shard-{index} ended with {code} on SIGTERM')
            return said['fingerprint']
        except (Failure, OSError, subprocess.TimeoutExpired, ValueError) as failure:
            logs = ''.join(f'\n--- {name}\n' + '\n'.join(containers.logs(name).splitlines()[-15:])
                           for name in ('shard-0', 'shard-1', 'worker-0', 'worker-1'))
            raise Failure(f'{failure}{logs}')


def train_on_loopback(programs, scratch):
    out = os.path.join(scratch, 'run')
    flags = [f'--{name}={value}' for name, value in SETTINGS.items()]
    done = subprocess.run(['deploy/train-local', '--out', out, '--dataset=digits', '--model=mlp', '--workers=2', '--shards=2',
                           f'--batch={BATCH}', f'--seed={SEED}', f'--rounds={ROUNDS}', *flags],
                          env=dict(os.environ, LOCKSTEP_BIN_DIR=programs, **KERNELS), capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False)
    expect(done.returncode == 0, f'train-local ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}')
    with open(os.path.join(out, 'summary.json'), encoding='utf-8') as file:
        return json.load(file)['fingerprint']


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--image', required=True)
    parser.add_argument('--programs', required=True, help='folder with the three programs that the image holds')
    parser.add_argument('--name', required=True, help='what to call the test when it passes or fails')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        podman = Podman(scratch)
        why = podman.why_it_cannot_run(options.image)
        if why:
            print(f'SKIPPED {options.name}: podman cannot run containers here: {why}')
            return 0
        start = time.monotonic()
        try:
            here = train_on_loopback(options.programs, scratch)
            there = train_in_containers(podman, options.image)
            expect(here == there, f'fingerprint in containers {there}, on loopback {here}')
        except (Failure, subprocess.TimeoutExpired) as failure:
            print(f'FAILED {options.name}: {failure}')
            return 1
        print(f'fingerprint {there}, in containers and on loopback; {time.monotonic() - start:.0f} s')
        print(f'PASSED {options.name}')
        return 0


if __name__ == '__main__':
    sys.exit(main())
