"""A verifier whose completion says what to do: every way to misbehave that we could think of."""

import json
import os
import signal
import subprocess
import sys
import time

from prerlkit.verify import Settings, Verdict, Verifier


class HostileSettings(Settings):
    where: str = ""


class Hostile(Verifier):
    name = "hostile"
    Settings = HostileSettings
    needs_answer = False

    def judge(self, sample):
        match sample.completion.split(":")[0]:
            case "pass":
                return Verdict.of(True, "fine", pid=os.getpid())
            case "fail":
                return Verdict.of(False)
            case "raise":
                raise ValueError("no luck")
            case "exit":
                sys.exit(0)
            case "interrupt":
                raise KeyboardInterrupt
            case "os_exit":
                os._exit(3)
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                while True:
                    time.sleep(1)
            case "hang_in_c":
                return 9**9**9**2
            case "nan":
                return Verdict(float("nan"), True)
            case "two":
                return Verdict(2.0, True)
            case "bool":
                return True
            case "none":
                return None
            case "half":
                return Verdict(1.0, None)
            case "text_score":
                return Verdict("1", True)
            case "bad_details":
                return Verdict.of(True, "", a={(1, 2): 3})
            case "unjudged":
                return Verdict.unjudged("who knows")
            case "print":
                print("x" * 100_000, flush=True)
                os.write(1, b"\x00\x00\x00\x05abcde")
                return Verdict.of(True)
            case "lie":
                lie(sample.completion.split(":")[1])
                time.sleep(20)
            case "stdin":
                return Verdict.of(sys.stdin.read() == "")
            case "daemon":
                # Away from the session, the group and the parent: a double fork with setsid.
                start_daemon(self.settings.where)
                return Verdict.of(True)
            case "daemon_hang":
                start_daemon(self.settings.where)
                time.sleep(100)
            case "daemon_crash":
                start_daemon(self.settings.where)
                os._exit(1)
            case "memory":
                self.eaten = bytearray(8 * 2**30)
                return Verdict.of(True)
            case "environment":
                return Verdict.of(True, json.dumps(dict(os.environ)))
            case "modules":
                return Verdict.of(True, ",".join(m for m in ("torch", "transformers") if m in sys.modules))
            case "echo":
                return Verdict.of(True, "", completion=sample.completion, row=dict(sample.row), answer=sample.answer)
            case "load":
                with self.off_the_clock():
                    time.sleep(1.2)
                return Verdict.of(True)
            case "load_hang":
                with self.off_the_clock():
                    pass
                time.sleep(100)
        return None


def start_daemon(where):
    before = len(os.listdir(where))
    subprocess.run([sys.executable, "-c", DAEMON, where], start_new_session=True)
    while len(os.listdir(where)) == before:
        time.sleep(0.01)


DAEMON = """
import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
open(sys.argv[1] + "/" + str(os.getpid()), "w").close()
time.sleep(1000)
"""


def lie(how):
    """Write into every pipe of this process what is not the worker's to say."""
    frame = b'[1.0, true, "", [], "x"]'
    text = {
        "garbage": b"\xff" * 4096,
        "no verdict": len(frame).to_bytes(4, "big") + frame,
        "a number": b"\0\0\0\0015",
        "deep": (200_000).to_bytes(4, "big") + b"[" * 200_000,
        "long": (200 << 20).to_bytes(4, "big") + b" " * 10_000_000,
        "clock": b'\0\0\0\x0e{"clock":true}' * 100,
    }[how]
    for fd in range(3, 20):
        try:
            os.set_blocking(fd, True)
            os.write(fd, text)
        except OSError:
            pass
