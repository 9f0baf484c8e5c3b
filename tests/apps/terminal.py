"""Runs a command on a terminal that this script holds, and does what a person would do there.

terminal.py SCENARIO COMMAND...; prints what went wrong, and exits with 1 then.
"""

import fcntl, os, pty, select, signal, struct, sys, termios, time

scenario, command = sys.argv[1], sys.argv[2:]
pid, master = pty.fork()
if pid == 0:
    # What a shell does: the command is a job, and its parent is in the same session.
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, os.getpgrp())
        # A test that runs in the background has some of them ignored.
        for number in signal.SIGTTOU, signal.SIGINT, signal.SIGQUIT:
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    before = termios.tcgetattr(0)
    while True:
        _, status = os.waitpid(job, os.WUNTRACED)
        os.tcsetpgrp(0, os.getpgrp())
        restored = termios.tcgetattr(0) == before
        print(f"[restored {restored}]", flush=True)
        if not os.WIFSTOPPED(status):
            break
        print("[stopped]", flush=True)
        os.tcsetpgrp(0, job)
        os.killpg(job, signal.SIGCONT)
    print(f"[status {os.waitstatus_to_exitcode(status)}]", flush=True)
    # What came into our own input meanwhile.
    termios.tcsetattr(0, termios.TCSANOW, before[:3] + [before[3] & ~termios.ICANON] + before[4:])
    left = os.read(0, 100) if select.select([0], [], [], 0.2)[0] else b""
    print(f"[left {left!r}]", flush=True)
    os._exit(0)

fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
seen = b""


def until(text, seconds=60):
    global seen
    end = time.monotonic() + seconds
    while text.encode() not in seen:
        if not select.select([master], [], [], max(0, end - time.monotonic()))[0]:
            fail(f"no {text!r}")
        try:
            seen += os.read(master, 4096)
        except OSError:
            fail(f"the terminal is closed before {text!r}")


def fail(why):
    os.kill(pid, signal.SIGKILL)
    sys.exit(f"{why} in {seen.decode(errors='replace')}")


until("ready")
if scenario == "size":
    until("30 100")
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 90, 0, 0))
    until("40 90")
elif scenario == "interrupt":
    os.write(master, b"\x03")
elif scenario == "pipeline":
    os.write(master, b"first\n")
    until("reader has first")
    os.write(master, b"second\n")
elif scenario == "killed":
    # The job is the only child of the shell.
    os.kill(int(open(f"/proc/{pid}/task/{pid}/children").read().split()[0]), signal.SIGKILL)
    until("[status -9]")
elif scenario == "stop":
    os.write(master, b"\x1a")
    until("[stopped]")
    os.write(master, b"go on\n")
    until("heard go on")
until("[left b''")
sys.stdout.buffer.write(seen)
