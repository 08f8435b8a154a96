#!/usr/bin/python3
"""Hosts with links of a known speed, on one machine.

Each host is a network namespace with an address 198.18.77.x. A virtual cable joins it to one
switch, and a token bucket at either end of the cable limits each direction on its own:

    host 0: 198.18.77.1 --[rate up / rate down]--+
    host 1: 198.18.77.2 --[rate up / rate down]--+-- switch
    ...                                          |

    with NetworkLab(hosts=8, rate="1gbit") as lab:
        server = lab.popen(0, ["./server", "--address", lab.address(0)])
        lab.run(1, ["./client", lab.address(0)], check=True)

The switch is a namespace too, so nothing of the machine's own network changes. Leaving the `with`
block, an exception, exit, SIGINT, SIGTERM and SIGHUP all end the processes that the lab started and
take the namespaces away; what a SIGKILL leaves behind, the next lab removes. Needs root, `ip` and
`tc`. Labs of several processes can exist at the same time.

    tests/bench/network_lab.py --check      is the rate what was asked for?
"""

import argparse
import atexit
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

_SWITCH = "sw"
_PREFIX = "lockstep-lab-"
_LOCKS = os.path.join(tempfile.gettempdir(), "lockstep-network-labs")
# TCP keeps a 1 Gbit/s link busy with these: a bucket that holds a few of the 64 KiB segments which
# virtual cables pass in one piece, and a queue of some milliseconds before packets are dropped.
_BURST = "512kb"
_LATENCY = "50ms"


class LabError(Exception):
    """The lab cannot be had here; the message says why."""


def _ip(*arguments):
    _command("ip", *arguments)


def _command(*argv):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"`{' '.join(argv)}` failed: {done.stderr.strip() or done.returncode}")


def _namespaces():
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True)
    return [line.split()[0] for line in listed.stdout.splitlines() if line.strip()]


def _etc_of(namespace):
    """`ip netns exec` shows the files of this folder in /etc."""
    return f"/etc/netns/{namespace}"


def _end_processes_in(namespace):
    """Ends what runs in one of our namespaces: children of children included."""
    listed = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True)
    for pid in listed.stdout.split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass


def _remove_namespaces(prefix):
    for namespace in [name for name in _namespaces() if name.startswith(prefix)]:
        _end_processes_in(namespace)
        subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)
        shutil.rmtree(_etc_of(namespace), ignore_errors=True)


def _try_lock(path):
    """An open, locked file, or None when a living lab holds it."""
    lock = open(path, "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock
    except BlockingIOError:
        lock.close()
        return None


def _remove_leftovers():
    """Removes the labs whose process is gone: a lock file outlives it, the lock does not."""
    for name in os.listdir(_LOCKS):
        path = os.path.join(_LOCKS, name)
        lock = _try_lock(path)
        if lock is None:
            continue
        _remove_namespaces(f"{_PREFIX}{name}-")
        os.unlink(path)
        lock.close()


def missing_requirement():
    """Why no lab can be had here, or None. Creates and removes a small one to find out."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            return f"`{tool}` is not installed (Debian package iproute2)"
    try:
        with NetworkLab(hosts=1):
            return None
    except LabError as error:
        return str(error)


def run_tests():
    """`unittest.main()` where a lab can be had; elsewhere says that the tests are skipped, and why."""
    reason = missing_requirement()
    if reason is not None:
        print(f"SKIPPED: {reason}")
        return
    unittest.main()


class NetworkLab:
    """See the module's description. Not for several threads at once."""

    def __init__(self, hosts, rate="1gbit", burst=_BURST, latency=_LATENCY):
        """`rate`, `burst` and `latency` are as `tc-tbf(8)` reads them; rate=None sets no limit."""
        if not 1 <= hosts <= 250:
            raise LabError(f"a lab has 1 to 250 hosts, not {hosts}")
        self.hosts = hosts
        self._limit = rate and ["rate", rate, "burst", burst, "latency", latency]
        self._processes = []
        self._lock = None
        self._handlers = {}

    def __enter__(self):
        self._catch_signals()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def address(self, host):
        """The IP address of a host, 0 to hosts - 1."""
        return f"198.18.77.{host + 1}"

    def popen(self, host, argv, **options):
        """`subprocess.Popen` of a command in a host; it is ended with the lab at the latest."""
        command = ["ip", "netns", "exec", self._name(f"h{host}"), *argv]
        process = subprocess.Popen(command, **options)
        self._processes.append(process)
        return process

    def run(self, host, argv, **options):
        """`subprocess.run` of a command in a host."""
        return subprocess.run(["ip", "netns", "exec", self._name(f"h{host}"), *argv], **options)

    def write_etc(self, host, name, text):
        """What the host's processes see as /etc/NAME. Those that run see a change if there was one when they began."""
        folder = _etc_of(self._name(f"h{host}"))
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:  # in place: it is mounted
            file.write(text)

    def unplug(self, host):
        """Takes the host's cable away: nobody gets a word from it any more, not even that it is gone."""
        self._in_switch("link", "set", f"port{host}", "down")

    def close(self):
        """Ends the lab's processes and removes its namespaces. May be called again, also after a
        signal cut it short: then it is, at exit."""
        if self._lock is not None:
            _remove_namespaces(self._prefix)
            for process in self._processes:
                process.kill()
                process.wait()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._lock.name)
            self._lock.close()
            self._lock = None
        atexit.unregister(self.close)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _catch_signals(self):
        """Turns the signals that end a process into SystemExit, so that clean-up runs."""

        def leave(number, _frame):
            sys.exit(128 + number)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, leave)

    def _build(self):
        os.makedirs(_LOCKS, exist_ok=True)
        _remove_leftovers()
        self._lock = self._new_lock()
        atexit.register(self.close)
        self._prefix = f"{_PREFIX}{os.path.basename(self._lock.name)}-"
        _ip("netns", "add", self._name(_SWITCH))
        self._in_switch("link", "add", "bridge", "type", "bridge")
        self._in_switch("link", "set", "bridge", "up")
        for host in range(self.hosts):
            self._add_host(host)

    @staticmethod
    def _new_lock():
        while True:
            lock = _try_lock(os.path.join(_LOCKS, f"{os.getpid()}-{time.time_ns() % 10**6:06}"))
            # Another lab may have taken the file for a leftover just before it was locked.
            if lock is not None and os.path.exists(lock.name):
                return lock

    def _name(self, place):
        return self._prefix + place

    def _in_switch(self, *arguments):
        _ip("-netns", self._name(_SWITCH), *arguments)

    def _add_host(self, host):
        name, port = self._name(f"h{host}"), f"port{host}"
        _ip("netns", "add", name)
        self._in_switch("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        self._in_switch("link", "set", port, "master", "bridge", "up")
        _ip("-netns", name, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
        _ip("-netns", name, "link", "set", "eth0", "up")
        _ip("-netns", name, "link", "set", "lo", "up")
        self._limit_rate(name, "eth0")
        self._limit_rate(self._name(_SWITCH), port)

    def _limit_rate(self, namespace, device):
        if self._limit:
            _command("tc", "-netns", namespace, "qdisc", "replace", "dev", device, "root",
                     "tbf", *self._limit)


# --- self-check ------------------------------------------------------------------------------

_CHUNK = bytes(1 << 20)


def _receive(address):
    """Accepts one connection; prints the bits per second once the start is over."""
    listener = socket.create_server((address, 7001))
    print("ready", flush=True)
    connection = listener.accept()[0]
    buffer = bytearray(1 << 20)
    received, started = 0, None
    accepted = time.monotonic()
    while count := connection.recv_into(buffer):
        now = time.monotonic()
        if started is None:
            # The full bucket lets a first burst through at any speed, and TCP has to find the rate.
            started = now if now - accepted > 0.5 else None
        else:
            received, ended = received + count, now
    print(received * 8 / (ended - started))


def _send(address, seconds):
    connection = socket.create_connection((address, 7001))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        connection.sendall(_CHUNK)


def _measure(lab, sender, receiver, seconds=2.5):
    """Bits per second of one TCP connection between two hosts."""
    me = [sys.executable, os.path.abspath(__file__)]
    address = lab.address(receiver)
    sink = lab.popen(receiver, [*me, "--receive", address], stdout=subprocess.PIPE, text=True)
    if sink.stdout.readline().strip() != "ready":
        raise LabError("the receiver did not start")
    lab.run(sender, [*me, "--send", address, "--seconds", str(seconds)], check=True)
    return float(sink.communicate(timeout=30)[0])


def _check():
    reason = missing_requirement()
    if reason is not None:
        print(f"SKIPPED: {reason}")
        return 0
    rate = 1e9
    with NetworkLab(hosts=2, rate="1gbit") as lab:
        measured = [_measure(lab, 0, 1), _measure(lab, 1, 0)]
    good = all(0.90 * rate <= bits <= 1.02 * rate for bits in measured)
    shown = ", ".join(f"{bits / 1e6:.0f}" for bits in measured)
    print(f"{'OK' if good else 'BAD'}: TCP each way at {shown} Mbit/s over links of 1000 Mbit/s")
    return 0 if good else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="measure TCP between two hosts")
    parser.add_argument("--receive", metavar="ADDRESS", help=argparse.SUPPRESS)
    parser.add_argument("--send", metavar="ADDRESS", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=2.5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.receive:
        return _receive(options.receive)
    if options.send:
        return _send(options.send, options.seconds)
    if options.check:
        return _check()
    parser.error("nothing to do: --check measures; benchmarks import this module")


if __name__ == "__main__":
    sys.exit(main())
