"""Runs a program that is stopped and continued until it ends, and ends as it does."""

import signal
import subprocess
import sys
import time

program = subprocess.Popen(sys.argv[1:])
while program.poll() is None:
    program.send_signal(signal.SIGSTOP)
    time.sleep(0.03)
    program.send_signal(signal.SIGCONT)
    time.sleep(0.07)
sys.exit(program.returncode)
