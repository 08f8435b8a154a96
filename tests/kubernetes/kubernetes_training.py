"""Trains Fashion-MNIST on Kubernetes with the manifests as they are: 3 shards, 4 worker pods.

    deploy/train-local on this machine  --> fingerprint, accuracy
    the manifests, undisturbed          --> fingerprint, accuracy                    must be the same
    the manifests, while pods of workers, shards and the coordinator are deleted,
      all of them at once, and all shards are restarted by a rollout                 must be the same

Prints a table of what was done and how long it took until the next version. On a cluster that is not the test cluster the
nodes' CPUs may be others, whose last bits OpenBLAS does not promise: there only the two runs in it must be equal.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time

from cluster import NAMESPACE, Cluster, Failure, Forwarded, Skipped, eventually, expect, run

NAME = 'kubernetes_training'
SHARDS, WORKERS = 3, 4
MANIFESTS = 'deploy/kubernetes'
OVERLAYS = {'base': ['1.29', '1.32', '1.36'], 'overlays/1.20': ['1.20']}
# Only so that a test that hangs ends.
POD_PATIENCE, TRAINING_PATIENCE = 180.0, 900.0

# As in the image.
KERNELS = {'OPENBLAS_CORETYPE': 'Haswell', 'OPENBLAS_NUM_THREADS': '1'}


def say(text):
    print(text, flush=True)


def check_manifests(cluster, checker):
    """Every overlay against the schemas of all its versions; the one for this cluster with the cluster itself."""
    for overlay, versions in OVERLAYS.items():
        rendered = cluster.kubectl('kustomize', os.path.join(MANIFESTS, overlay)).stdout
        with tempfile.NamedTemporaryFile('w', suffix='.yaml') as file:
            file.write(rendered)
            file.flush()
            if os.access(checker, os.X_OK):
                for version in versions:
                    said = run([checker, '--version', version, file.name]).stdout.strip()
                    say(f'{overlay}: {said}')
    overlay = overlay_for(cluster)
    # A namespace must be there before anything can be tried in it.
    cluster.kubectl('apply', '-f', os.path.join(MANIFESTS, 'base/namespace.yaml'))
    accepted = cluster.kubectl('apply', '--dry-run=server', '-k', overlay).stdout.splitlines()
    expect(len(accepted) >= 10, f'the cluster accepts only {accepted}')
    say(f'{overlay}: the cluster accepts {len(accepted)} objects (server-side dry run)')


def overlay_for(cluster):
    return os.path.join(MANIFESTS, 'base' if cluster.version() >= (1, 26) else 'overlays/1.20')


class Training:
    """One application of the manifests. As a context manager: everything of it is deleted at the end."""

    def __init__(self, cluster, keep=False):
        self._cluster, self._keep = cluster, keep

    def __enter__(self):
        self._cluster.kubectl('apply', '-k', overlay_for(self._cluster))
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.show_state()
        if not self._keep:
            self._cluster.kubectl('delete', 'namespace', NAMESPACE, '--wait', patience=POD_PATIENCE, check=False)

    def status(self):
        """What `lockstepctl status` says inside a shard's pod; None while none answers."""
        for shard in reversed(range(SHARDS)):  # shard 0 hosts the coordinator: others forward
            done = self._cluster.execute(f'lockstep-shard-{shard}', 'lockstepctl', 'status', '-o', 'json', check=False,
                                         patience=30)
            try:
                return json.loads(done.stdout)
            except ValueError:
                continue
        return None

    def wait_for_version(self, version, what, patience=POD_PATIENCE):
        def reached():
            status = self.status()
            held = status and status['version']  # none before the first
            return status if held is not None and held >= version else None

        return eventually(reached, what, patience)

    def wait_for_end(self):
        """Until all workers have completed; (seconds, accuracy that rank 0 reports)."""
        start = time.monotonic()

        def complete():
            job = self._cluster.get('job', 'lockstep-worker')
            for condition in job['status'].get('conditions', []):
                if condition['type'] == 'Failed' and condition['status'] == 'True':
                    raise Failure(f'the Job has failed: {condition}')
            return job['status'].get('succeeded', 0) == WORKERS

        eventually(complete, 'all workers complete', TRAINING_PATIENCE)
        return time.monotonic() - start, self.accuracy()

    def accuracy(self):
        for pod in self._cluster.pods('worker'):
            log = self._cluster.kubectl('-n', NAMESPACE, 'logs', pod['metadata']['name'], check=False).stdout
            found = re.findall(r'test accuracy (\d\.\d+)', log)
            if found:
                return float(found[-1])
        raise Failure('no worker has reported an accuracy')

    def fingerprint(self):
        """Asked inside a shard's pod."""
        done = self._cluster.execute('lockstep-shard-1', 'lockstepctl', 'fingerprint', '-o', 'json', patience=90)
        return json.loads(done.stdout)['fingerprint']

    def show_state(self):
        for arguments in (['get', 'pods', '-o', 'wide'], ['get', 'events', '--sort-by=.lastTimestamp']):
            done = self._cluster.kubectl('-n', NAMESPACE, *arguments, check=False)
            say(f'\n--- kubectl {" ".join(arguments)}\n' + '\n'.join(done.stdout.splitlines()[-25:]))
        for component in ('shard', 'worker'):
            for pod in self._cluster.pods(component):
                name = pod['metadata']['name']
                log = self._cluster.kubectl('-n', NAMESPACE, 'logs', name, '--tail=15', check=False)
                say(f'\n--- log of {name}\n{log.stdout}{log.stderr}')


def train_here(programs):
    """(fingerprint, accuracy) of the same training by processes on this machine."""
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, 'run')
        run(['deploy/train-local', '--out', out, '--shards', str(SHARDS), '--workers', str(WORKERS)],
            patience=TRAINING_PATIENCE, env=dict(os.environ, LOCKSTEP_BIN_DIR=programs, **KERNELS))
        with open(os.path.join(out, 'summary.json'), encoding='utf-8') as file:
            summary = json.load(file)
    return summary['fingerprint'], summary['test_accuracy']


def from_outside(cluster, programs, *command):
    """What `lockstepctl` says through `kubectl port-forward`: shard addresses lead nowhere from here."""
    with Forwarded(cluster, 'service/lockstep', 7700) as forwarded:
        done = run([os.path.join(programs, 'lockstepctl'), '--endpoint', forwarded.endpoint, *command], check=False)
    expect(done.returncode in (0, 1), f'lockstepctl {command[0]} from outside: {done.stderr}')
    return done.stdout


def look_from_inside(cluster):
    done = cluster.execute('lockstep-shard-1', 'lockstepctl', 'status', check=False)
    expect(done.returncode in (0, 1), f'lockstepctl status from inside: {done.stderr}')
    return done.stdout


class Disturbances:
    """Deletes pods of a training, and measures how long it takes until the next version."""

    def __init__(self, cluster, training):
        self._cluster, self._training = cluster, training
        self.table = []

    def delete(self, what, *names):
        self._measure(f'delete {what}', lambda: self._cluster.kubectl(
            '-n', NAMESPACE, 'delete', 'pod', '--wait=false', *names))

    def kill(self, what, *names):
        """Deletes without a grace period: SIGKILL at once, as when a node goes."""
        self._measure(f'delete --grace-period=0 --force {what}', lambda: self._cluster.kubectl(
            '-n', NAMESPACE, 'delete', 'pod', '--wait=false', '--grace-period=0', '--force', *names))

    def rollout_restart(self):
        def restart():
            self._cluster.kubectl('-n', NAMESPACE, 'rollout', 'restart', 'statefulset/lockstep-shard')
            self._cluster.kubectl('-n', NAMESPACE, 'rollout', 'status', 'statefulset/lockstep-shard',
                                  patience=POD_PATIENCE * SHARDS)

        self._measure('rollout restart of all shards', restart)

    def workers(self):
        """Names of worker pods that run, and are not on their way out."""
        return [pod['metadata']['name'] for pod in self._cluster.pods('worker')
                if pod['status'].get('phase') == 'Running' and 'deletionTimestamp' not in pod['metadata']]

    def _measure(self, what, disturb):
        before = self._training.wait_for_version(1, 'the training makes progress')
        expect(before['state'] != 'done', f'the training was done before: {what}')
        uids = self._uids()
        start = time.monotonic()
        disturb()
        eventually(lambda: self._replaced(uids), f'a pod is replaced after: {what}', POD_PATIENCE)
        replaced = time.monotonic() - start
        newest = self._training.wait_for_version(before['version'], f'the run answers after: {what}')
        answers = time.monotonic() - start
        after = self._training.wait_for_version(newest['version'] + 2, f'training goes on after: {what}')
        self.table.append((what, before['version'], replaced, answers, time.monotonic() - start, after['version']))

    def _uids(self):
        return {pod['metadata']['uid'] for component in ('shard', 'worker') for pod in self._cluster.pods(component)}

    def _replaced(self, before):
        """All members run, and not all of them did before."""
        now = self._uids()
        running = len(self.workers()) + sum(1 for pod in self._cluster.pods('shard')
                                            if pod['status'].get('phase') == 'Running' and
                                            'deletionTimestamp' not in pod['metadata'])
        return now - before and running == SHARDS + WORKERS


def print_table(rows):
    say('')
    say('seconds until Kubernetes runs the new pods, the run answers, and it has made two more versions')
    say(f'{"WHAT":<55} {"AT VERSION":>10} {"PODS":>8} {"ANSWERS":>8} {"TRAINS":>8} {"VERSION":>8}')
    for what, before, replaced, answers, trains, after in rows:
        say(f'{what:<55} {before:>10} {replaced:>6.1f} s {answers:>6.1f} s {trains:>6.1f} s {after:>8}')


def train_undisturbed(cluster, programs):
    with Training(cluster) as training:
        start = time.monotonic()
        training.wait_for_version(1, 'the training begins')
        say(f'version 1 after {time.monotonic() - start:.1f} s')
        inside, outside = look_from_inside(cluster), from_outside(cluster, programs, 'status')
        say(f'\nlockstepctl status, inside a pod:\n{inside}\nthrough kubectl port-forward:\n{outside}')
        seconds, accuracy = training.wait_for_end()
        fingerprint = training.fingerprint()
        outside = json.loads(from_outside(cluster, programs, 'fingerprint', '-o', 'json'))['fingerprint']
        expect(outside == fingerprint, f'fingerprint {fingerprint} inside, {outside} through kubectl port-forward')
        say(f'undisturbed: accuracy {accuracy}, fingerprint {fingerprint}, {seconds:.0f} s')
        return fingerprint, accuracy


def train_disturbed(cluster, keep):
    with Training(cluster, keep) as training:
        disturb = Disturbances(cluster, training)
        training.wait_for_version(100, 'the training begins')
        disturb.delete('a worker', disturb.workers()[0])
        disturb.delete('shard 1', 'lockstep-shard-1')
        disturb.delete('shard 0, the coordinator', 'lockstep-shard-0')
        disturb.kill('a worker and shard 2', disturb.workers()[-1], 'lockstep-shard-2')
        disturb.kill('all pods', *disturb.workers(), *(f'lockstep-shard-{shard}' for shard in range(SHARDS)))
        disturb.rollout_restart()
        _, accuracy = training.wait_for_end()
        fingerprint = training.fingerprint()
        print_table(disturb.table)
        say(f'disturbed: accuracy {accuracy}, fingerprint {fingerprint}')
        return fingerprint, accuracy


def test(options):
    with Cluster(options.cluster, options.keep) as cluster:
        for archive in ('lockstep.tar', 'fashion-mnist.tar'):
            cluster.load(os.path.join(options.programs, archive))
        check_manifests(cluster, os.path.join(os.path.dirname(options.cluster), 'check-manifests'))
        here = train_here(options.programs)
        say(f'on this machine: accuracy {here[1]}, fingerprint {here[0]}')
        undisturbed = train_undisturbed(cluster, options.programs)
        disturbed = train_disturbed(cluster, options.keep)
        expect(undisturbed == disturbed, f'undisturbed {undisturbed}, disturbed {disturbed}')
        expect(abs(undisturbed[1] - here[1]) < 0.01, f'accuracy {undisturbed[1]} in the cluster, {here[1]} here')
        if cluster.ours:
            expect(undisturbed[0] == here[0], f'fingerprint {undisturbed[0]} in the cluster, {here[0]} here')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--programs', required=True, help='folder with the programs, lockstep.tar and fashion-mnist.tar')
    parser.add_argument('--cluster', required=True, help='command that brings up the test cluster')
    parser.add_argument('--keep', action='store_true', help='leave the cluster and what was applied')
    options = parser.parse_args()
    try:
        test(options)
    except Skipped as skipped:
        say(f'SKIPPED {NAME}: {skipped}')
        return 0
    except (Failure, subprocess.TimeoutExpired) as failure:
        say(f'FAILED {NAME}: {failure}')
        return 1
    say(f'PASSED {NAME}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
