"""Hosts that vanish without a word, and come back under the same name with another address.

Real processes in network namespaces: a host vanishes when its link goes down, so that nobody gets a FIN or an RST.
Names are those of /etc/hosts of each namespace, as a cluster's DNS would change them. Needs root and `ip`; skipped, with
the reason, where they are missing. Prints how long each thing took; only that it happens decides.
"""

import json
import os
import shutil
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.environ['PATH'] += ':/usr/sbin:/sbin'  # ip, tc
sys.path.insert(0, os.path.join(ROOT, 'tests', 'bench'))
import network_lab  # noqa: E402

PROGRAMS = os.environ.get('LOCKSTEP_BIN_DIR')
SERVER, WORKER, CTL = (
    os.path.join(PROGRAMS, os.path.basename(path)) if PROGRAMS else os.path.join(ROOT, path)
    for path in ('server/lockstep-server', 'worker/trainer/lockstep-worker', 'deploy/ctl/lockstepctl'))
PATIENCE = 60.0  # TCP alone would take 15 minutes
SHARD_0, SHARD_1, WORKER_HOST, NEW_SHARD_1 = range(4)


class Scene:
    """Two shards and a worker, each on a host of its own, and a fourth host for shard 1's next life."""

    def __init__(self, lab):
        self.lab = lab
        self.folder = tempfile.mkdtemp(dir=os.environ.get('TEST_TMPDIR'))
        self.names = {}
        for host in range(lab.hosts):
            self._write_hosts(host)

    def close(self):
        shutil.rmtree(self.folder)

    def _write_hosts(self, host):
        known = {'localhost': '127.0.0.1', **self.names}
        self.lab.write_etc(host, 'hosts', ''.join(f'{at} {name}\n' for name, at in known.items()))

    def point(self, name, host):
        """The name means that host from now on, everywhere."""
        self.names[name] = self.lab.address(host)
        for other in range(self.lab.hosts):
            self._write_hosts(other)

    def start(self, host, name, command):
        with open(self.log(name), 'a', encoding='utf-8') as log:
            environment = {key: value for key, value in os.environ.items() if not key.startswith('LOCKSTEP_')}
            return self.lab.popen(host, command, stdout=log, stderr=log, env=environment)

    def start_shard(self, index, host):
        return self.start(host, f'shard-{index}', [
            SERVER, '--shard-index', str(index), '--shards', '2', '--workers', '1', '--advertise', f'ps-{index}',
            '--coordinator', 'ps-0', '--data-dir', f'{self.folder}/data-{index}'])

    def log(self, name):
        return f'{self.folder}/{name}.log'

    def says(self, name, words):
        with open(self.log(name), encoding='utf-8') as file:
            return words in file.read()

    def status(self):
        asked = self.lab.run(SHARD_0, [CTL, '--timeout', '2s', '-o', 'json', 'status'], capture_output=True, text=True)
        return json.loads(asked.stdout) if asked.stdout else {}


def seconds_until(look, what):
    start = time.monotonic()
    while not look():
        if time.monotonic() - start > PATIENCE:
            raise AssertionError(f'not within {PATIENCE:g} s: {what}')
        time.sleep(0.05)
    print(f'{time.monotonic() - start:6.1f} s: {what}', flush=True)


class VanishedHostTest(unittest.TestCase):

    def test_hosts_vanish_and_come_back_elsewhere(self):
        with network_lab.NetworkLab(hosts=4, rate=None) as lab:
            scene = Scene(lab)
            try:
                self.play(scene)
            finally:
                scene.close()

    def play(self, scene):
        data = os.path.join(ROOT, 'worker', 'trainer', 'data')
        worker = ['env', f'LOCKSTEP_DATASET_DIR={data}', WORKER, '--endpoint', 'ps-0', '--dataset', 'digits', '--rounds',
                  '1000000', '--batch', '8', '--name']
        scene.start(WORKER_HOST, 'worker', [*worker, 'first'])
        time.sleep(3)  # so that whoever looked for the name has given up more than once
        self.assertTrue(scene.says('worker', 'trying again'))
        scene.start_shard(0, SHARD_0)
        old = scene.start_shard(1, SHARD_1)
        scene.point('ps-1', SHARD_1)
        scene.point('ps-0', SHARD_0)
        seconds_until(lambda: (scene.status().get('version') or 0) > 10, 'names that had not been there are found')

        scene.lab.unplug(SHARD_1)
        seconds_until(lambda: scene.status()['shards'][1]['state'] in ('silent', 'lost'),
                      'status says that the shard is silent')
        seconds_until(lambda: scene.says('worker', 'to shard 1 has ended'),
                      '  (later) the worker has given its connection to the vanished shard up')
        seconds_until(lambda: scene.status()['shards'][1]['state'] == 'lost',
                      '  (later) status says that the shard is lost')
        stuck = scene.status()['version']

        old.kill()  # `ip netns exec` has become the program itself
        old.wait()
        scene.start_shard(1, NEW_SHARD_1)
        scene.point('ps-1', NEW_SHARD_1)
        seconds_until(lambda: scene.status()['version'] > stuck + 10, 'the shard is found under its new address')

        scene.lab.unplug(WORKER_HOST)
        seconds_until(lambda: scene.status()['workers'][0]['state'] == 'lost', 'status says that the worker is lost')
        stuck = scene.status()['version']
        scene.start(SHARD_0, 'replacement', [*worker, 'second'])
        seconds_until(lambda: scene.status()['version'] > stuck + 10, 'its replacement trains')


if __name__ == '__main__':
    network_lab.run_tests()
