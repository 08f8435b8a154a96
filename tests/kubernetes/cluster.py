"""A Kubernetes cluster to test on, and kubectl for it."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import time

NAMESPACE = 'lockstep'


class Failure(Exception):
    """Something is not as it must be; the message says what."""


class Skipped(Exception):
    """There is no cluster to test on; the message says why."""


def expect(condition, what):
    if not condition:
        raise Failure(what)


def run(command, patience=120.0, check=True, **more):
    """What the command did. Failure if it fails or takes longer than `patience` seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=patience,
                              check=False, **more)
    except subprocess.TimeoutExpired as late:
        raise Failure(f'{shlex.join(command)} does not end within {patience:g} s') from late
    if check and done.returncode != 0:
        raise Failure(f'{shlex.join(command)} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}')
    return done


def eventually(look, what, patience):
    """What `look` returns, once that is something; asked several times a second."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    raise Failure(f'not within {patience:g} s: {what}')


class Cluster:
    """The cluster of KUBECONFIG, or the test cluster, which is brought up and, on leaving the context, taken away."""

    def __init__(self, tool, keep):
        self._tool, self._keep = os.path.abspath(tool), keep
        self.ours = not os.environ.get('KUBECONFIG')
        self._environment = dict(os.environ)
        self._kubectl = [shutil.which('kubectl') or 'kubectl']

    def __enter__(self):
        if self.ours:
            up = run([self._tool, 'up', '--nodes', '2'], patience=600, check=False)
            if up.returncode != 0:
                run([self._tool, 'down'], patience=120, check=False)
                raise Skipped(f'the test cluster does not come up on this machine: {up.stderr.strip()[-500:]}')
            self._environment['KUBECONFIG'] = up.stdout.strip().splitlines()[-1]
        if not shutil.which('kubectl'):
            if not self.ours:
                raise Skipped('KUBECONFIG is set, but there is no kubectl')
            self._kubectl = [self._tool, 'kubectl']
        return self

    def __exit__(self, *_):
        if self.ours and not self._keep:
            run([self._tool, 'down'], patience=120, check=False)

    def load(self, archive):
        loader = [self._tool, 'load'] if self.ours else shlex.split(os.environ.get('LOCKSTEP_LOAD_IMAGE', ''))
        if loader:
            run([*loader, archive], patience=600, env=self._environment)

    def kubectl(self, *arguments, **more):
        return run([*self._kubectl, *arguments], env=self._environment, **more)

    def kubectl_process(self, *arguments):
        return subprocess.Popen([*self._kubectl, *arguments], env=self._environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def version(self):
        """(major, minor) of the API server."""
        server = json.loads(self.kubectl('version', '-o', 'json').stdout)['serverVersion']
        return int(server['major']), int(server['minor'].rstrip('+'))

    def pods(self, component, **more):
        """Pods as the API tells of them, sorted by name."""
        return self.get('pods', '-l', f'app.kubernetes.io/component={component}', **more)['items']

    def get(self, *what, **more):
        return json.loads(self.kubectl('-n', NAMESPACE, 'get', *what, '-o', 'json', **more).stdout)

    def execute(self, pod, *command, **more):
        return self.kubectl('-n', NAMESPACE, 'exec', pod, '--', *command, **more)


class Forwarded:
    """`kubectl port-forward` to something, as a context manager; `endpoint` is the address here."""

    def __init__(self, cluster, target, port):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            self._local = free.getsockname()[1]
        self.endpoint = f'127.0.0.1:{self._local}'
        self._start = lambda: cluster.kubectl_process('-n', NAMESPACE, 'port-forward', target, f'{self._local}:{port}')

    def __enter__(self):
        self._process = self._start()

        def listens():
            with socket.socket() as probe:
                return probe.connect_ex(('127.0.0.1', self._local)) == 0

        eventually(listens, 'kubectl port-forward listens', 30)
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
