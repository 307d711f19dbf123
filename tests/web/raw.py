"""A client that says exactly what it is told to, byte for byte."""

import contextlib
import re
import socket
import time


def connect(port, timeout_s=10):
    return socket.create_connection(("127.0.0.1", port), timeout=timeout_s)


def say(port, data, *, timeout_s=10):
    """Send bytes and give back everything that comes until the peer closes (or the time is over)."""
    with connect(port, timeout_s) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(data)
        return hear(sock)


def hear(sock):
    answer = b""
    try:
        while chunk := sock.recv(65536):
            answer += chunk
    except (TimeoutError, ConnectionResetError):
        pass
    return answer


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else None


def seconds_until_closed(sock, limit_s):
    """How long the peer keeps this connection."""
    started = time.monotonic()
    sock.settimeout(limit_s)
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return None
    return time.monotonic() - started


def answers(heard):
    """How many status lines were heard."""
    return len(re.findall(rb"HTTP/1\.1 [0-9]{3} ", heard))
