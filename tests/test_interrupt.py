"""Signals are answered at once, also while the main thread is inside C code, and end the process in bounded time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from prerlkit import interrupt
from prerlkit.interrupt import Interrupts, answered

IN_C = "hashlib.pbkdf2_hmac('sha256', b'a', b'b', 2_000_000_000)"
"""Minutes in C code, without the interpreter's lock, that no signal ends."""

SCRIPT = """
import hashlib, os, signal, sys, time
from prerlkit.interrupt import AtOnce, answer_at_once, answered

def line(text): os.write(1, f"{text}\\n".encode())  # whole: two threads print

class Steps(AtOnce):
    def ends(self, press): return press > 1
    def announce(self, press, ends): line("now" if ends else "after the step")
    def request(self): line("requested")
    def give_up(self): line("given up")

answer_at_once()
"""


def start(body: str) -> subprocess.Popen:
    """Start Python with the handler and `body`, and wait until it prints `ready`."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT + body],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background job ignores it
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(1)  # until it is in what follows
    return process


def press(process: subprocess.Popen, expected: str) -> None:
    """Send SIGINT, and read the answer."""
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == f"{expected}\n"


def test_a_main_thread_inside_c_code_is_answered_for_and_ended():
    process = start(f"print('ready', flush=True); {IN_C}")
    begun = time.monotonic()
    press(process, "stopping")
    assert process.wait(60) == 130
    assert time.monotonic() - begun > interrupt.GRACE - 1  # it had the time to end by itself


def test_the_next_signal_after_one_that_ends_waits_no_longer():
    process = start(f"with answered(Steps()):\n  print('ready', flush=True); {IN_C}")
    press(process, "after the step")  # printed although the main thread takes no request yet
    press(process, "now")
    press(process, "given up")
    assert process.wait(60) == 130


def test_a_signal_before_the_second_means_what_the_policy_says():
    process = start(
        "with answered(Steps()):\n"
        "  print('ready', flush=True)\n"
        "  try: time.sleep(600)\n"
        "  except KeyboardInterrupt: print('ended')"
    )
    process.send_signal(signal.SIGINT)
    assert {process.stdout.readline() for _ in range(2)} == {"after the step\n", "requested\n"}
    process.send_signal(signal.SIGTERM)
    assert set(process.communicate(timeout=60)[0].splitlines()) == {"now", "ended"}
    assert process.returncode == 130


def test_a_process_that_was_stopped_is_not_torn_down_but_runs_its_exit_functions():
    process = start(
        "import atexit\n"
        "class Slow:\n"
        "  def __del__(self): time.sleep(600)\n"
        "slow = Slow()\n"
        "atexit.register(print, 'tidied')\n"
        "try:\n"
        "  print('ready', flush=True); time.sleep(600)\n"
        "except KeyboardInterrupt: pass"
    )
    press(process, "stopping")
    assert process.communicate(timeout=60)[0] == "tidied\n"
    assert process.returncode == 130


def test_a_forked_copy_answers_as_a_fresh_process_and_not_for_its_parent():
    process = start(
        "child = os.fork()\n"
        "if not child:\n"
        "  try: print('ready', flush=True); time.sleep(600)\n"
        "  except KeyboardInterrupt: os._exit(7)\n"
        "time.sleep(1); os.kill(child, signal.SIGINT)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])); time.sleep(0.5)"
    )
    assert process.communicate(timeout=60)[0].splitlines() == ["7"]
    assert process.returncode == 0


def test_a_program_that_is_not_ours_gets_its_handlers_and_its_wakeup_descriptor_again():
    read, write = os.pipe()
    os.set_blocking(write, False)
    before, wakeup = signal.getsignal(signal.SIGINT), signal.set_wakeup_fd(write)
    try:
        with answered(interrupt.AtOnce()):
            assert isinstance(signal.getsignal(signal.SIGTERM), Interrupts)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert os.read(read, 10) == bytes([signal.SIGINT])  # passed on
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        assert signal.set_wakeup_fd(wakeup) == write
        os.close(read)
        os.close(write)
