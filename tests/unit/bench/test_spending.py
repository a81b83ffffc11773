"""Processor time is told apart by thread and by process."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.load import Load
from bench.spending import CLIENTS, HOSTS, LINTER, LOOP, OTHERS, THREADS, spent_ms, tree

BUSY_MS = 50
#: For each line it reads: works in its own thread, and in another.
PROGRAM = """
import sys, threading, time
def work():
    until = time.thread_time() + 0.05
    while time.thread_time() < until: pass
other, done = threading.Semaphore(0), threading.Semaphore(0)
def follow():
    while True:
        other.acquire(); work(); done.release()
threading.Thread(target=follow, daemon=True).start()
for line in sys.stdin:
    work(); other.release(); done.acquire(); print(flush=True)
"""


@pytest.fixture
def program() -> Iterator[subprocess.Popen[str]]:
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("the kernel does not tell how long a thread has run (/proc/self/schedstat)")
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        yield running
        running.terminate()


def test_a_daemons_loop_its_threads_and_clients_are_told_apart(program: subprocess.Popen[str]) -> None:
    def work() -> Load:
        assert program.stdin is not None
        assert program.stdout is not None
        until = time.process_time() + BUSY_MS / 1000
        while time.process_time() < until:
            pass
        for _ in range(2):
            program.stdin.write("\n")
            program.stdin.flush()
            program.stdout.readline()
        return Load(2, 0, 1.0, ())

    work()
    parts = spent_ms(program.pid, work)
    assert set(parts) == {LOOP, THREADS, HOSTS, LINTER, OTHERS, CLIENTS}
    assert min(parts[LOOP], parts[THREADS]) >= BUSY_MS * 0.9
    assert parts[CLIENTS] >= BUSY_MS / 2 * 0.9
    assert parts[HOSTS] == parts[LINTER] == parts[OTHERS] == 0


def test_a_process_is_followed_to_what_it_started(program: subprocess.Popen[str]) -> None:
    assert program.pid in list(tree(os.getpid()))
