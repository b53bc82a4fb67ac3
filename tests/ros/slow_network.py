"""A bridge and a robot in two network namespaces, with a slow link between: run by ``test_faults.py``, alone.

The link is a pair of TUN devices whose packets this program carries from one to the other, later, and not all of them:
what netem does, without its kernel module. Prints one JSON object.
"""

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

NEWNET, NEWUSER, NO_RIGHTS = 0x40000000, 0x10000000, 77


def unshare(flags):
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def become_root():
    """A namespace of users in which this one may do everything, and one of networks."""
    user, group = os.getuid(), os.getgid()
    unshare(NEWUSER | NEWNET)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        Path(f"/proc/self/{name}").write_text(text)


def tun(address):
    """A TUN device with an address in this namespace."""
    file = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(file, 0x400454CA, struct.pack("16sH", b"slow0", 0x1001))
    for command in (f"ip addr add {address}/24 dev slow0", "ip link set slow0 up", "ip link set lo up"):
        subprocess.run(command.split(), check=True)
    return file


def carry(here, there, delay, jitter, loss):
    """Carry packets both ways for ever."""
    chance, waiting, number = random.Random(1), [], 0
    while True:
        patience = max(waiting[0][0] - time.monotonic(), 0.0) if waiting else 1.0
        for file in select.select([here, there], [], [], patience)[0]:
            packet = os.read(file, 65536)
            if chance.random() >= loss:
                number += 1
                due = time.monotonic() + delay + chance.uniform(0.0, jitter)
                heapq.heappush(waiting, (due, number, there if file == here else here, packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, file, packet = heapq.heappop(waiting)
            os.write(file, packet)


def robot(file, delay, jitter, loss):
    """In the other namespace: the arm, its guard, the server, and the link."""
    unshare(NEWNET)
    other = tun("10.77.0.2")
    threading.Thread(target=carry, args=(file, other, delay, jitter, loss), daemon=True).start()
    from conftest import Arm, RunningGuard

    from lohovla.ros.transport.in_process_ros import InProcessRos
    from lohovla.ros.transport.rosbridge_server import RosbridgeServer

    graph = InProcessRos()
    arm = Arm(graph, camera_hz=10.0)
    guard = RunningGuard(graph, "always")
    RosbridgeServer(graph, 2, "10.77.0.2", 9090).start()
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.2)
    del arm, guard


def main(delay, jitter, loss, seconds):
    try:
        become_root()
        file = tun("10.77.0.1")
    except OSError as error:
        print(error)
        return NO_RIGHTS
    child = os.fork()
    if child == 0:
        robot(file, delay, jitter, loss)
        os._exit(0)
    from conftest import Bench

    from lohovla.ros.transport.rosbridge_client import Rosbridge

    transport = Rosbridge("ws://10.77.0.2:9090")
    assert transport.wait(30.0), transport.trouble
    bench = Bench("always", transport=transport, arm=False, guard="theirs", acted=0.4)
    ages, submit = [], bench.worker.submit
    bench.worker.submit = lambda job, now: (ages.append(now - job.taken), submit(job, now))
    bench.start()
    bench.until(lambda: bench.session.loop.latency_stats.chunks, 40.0)
    end = time.monotonic() + seconds
    bench.until(lambda: time.monotonic() > end, 60.0)
    record = {
        "chunks": len(bench.session.loop.latency_stats.chunks),
        "oldest": max(ages),
        "sent": bench.robot.sent,
        "passed": bench.robot.guard.said.get("passed", 0),
        "offset": bench.session.snapshot()["clock_offset_s"],
        "events": dict(bench.session.log.counts),
    }
    print(json.dumps(record), flush=True)
    os.kill(child, 9)
    os._exit(0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main(*(float(word) for word in sys.argv[1:])))
