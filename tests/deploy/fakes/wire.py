"""What the fake programs say to each other: one JSON object a connection, and one back."""

import json
import socket


def ask(address, question):
    """The answer, or None if nobody answers."""
    host, port = address.rsplit(':', 1)
    try:
        with socket.create_connection((host, int(port)), timeout=2) as peer:
            peer.sendall(json.dumps(question).encode() + b'\n')
            return json.loads(peer.makefile().readline())
    except (OSError, ValueError):
        return None


def options(arguments):
    """{"shard-index": "0", ...} of `--shard-index 0 ...`."""
    names = [name.removeprefix('--') for name in arguments[::2]]
    return dict(zip(names, arguments[1::2]))
