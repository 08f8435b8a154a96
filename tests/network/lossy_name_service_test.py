"""A name service whose answers get lost: programs ask again, before they give up.

A host with a name service of its own, which answers each question only when it comes for the second time. Needs root
and `ip`; skipped, with the reason, where they are missing.
"""

import os
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.environ['PATH'] += ':/usr/sbin:/sbin'  # ip, tc
sys.path.insert(0, os.path.join(ROOT, 'tests', 'bench'))
import network_lab  # noqa: E402

SERVER, CTL = (os.path.join(ROOT, path) for path in ('server/lockstep-server', 'deploy/ctl/lockstepctl'))
HOST = 0
NAME = 'ps-0.example'

# The name service: prints READY, then a line for each question. A is 0x0001; whatever else is asked has no record.
NAME_SERVICE = '''
import collections, socket, sys
here = sys.argv[1]
service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
service.bind((here, 53))
print("READY", flush=True)
times_asked = collections.Counter()
while True:
    question, who = service.recvfrom(512)
    name_end = question.index(0, 12) + 1
    body, kind = question[12:name_end + 4], question[name_end:name_end + 2]
    times_asked[body] += 1
    print(kind.hex(), times_asked[body], flush=True)
    if times_asked[body] == 1:
        continue
    answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x05\\0\\4" + socket.inet_aton(here) if kind == b"\\0\\1" else b""
    counts = b"\\0\\1" + (b"\\0\\1" if answer else b"\\0\\0") + b"\\0\\0\\0\\0"
    service.sendto(question[:2] + b"\\x81\\x80" + counts + body + answer, who)
'''


class LossyNameServiceTest(unittest.TestCase):

    def test_a_lost_answer_is_asked_for_again(self):
        with network_lab.NetworkLab(hosts=1, rate=None) as lab:
            lab.write_etc(HOST, 'resolv.conf', f'nameserver {lab.address(HOST)}\n')
            with tempfile.TemporaryDirectory(dir=os.environ.get('TEST_TMPDIR')) as scratch:
                self.play(lab, scratch)

    def play(self, lab, scratch):
        names = lab.popen(HOST, ['/usr/bin/python3', '-c', NAME_SERVICE, lab.address(HOST)], stdout=subprocess.PIPE,
                          text=True)
        self.assertEqual(names.stdout.readline(), 'READY\n')
        clean = {key: value for key, value in os.environ.items() if key != 'RES_OPTIONS'}
        ready = f'{scratch}/ready'
        lab.popen(HOST, [SERVER, '--shards', '1', '--workers', '1', '--bind', '0.0.0.0:7700', '--data-dir',
                         f'{scratch}/data', '--port-file', ready], env=clean, stderr=subprocess.DEVNULL)
        while not os.path.exists(ready):
            time.sleep(0.05)
        asked = lab.run(HOST, [CTL, '--endpoint', NAME, '-o', 'json', 'status'], env=clean, capture_output=True,
                        text=True)
        names.kill()
        with names.stdout:
            questions = names.stdout.read()
        self.assertIn('"run_id"', asked.stdout, f'{asked.stderr}\nthe name service was asked:\n{questions}')
        self.assertIn('0001 2', questions, 'the name was not asked for: nothing is proved')


if __name__ == '__main__':
    network_lab.run_tests()
