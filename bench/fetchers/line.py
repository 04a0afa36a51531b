"""A long line: a network namespace of its own, in which every packet to `FAR` takes its time.

The kernel's netem is not everywhere, but TUN devices are.  What is sent to `FAR` comes out of one here, waits, and goes
back in with its two addresses swapped (which leaves all checksums right): so it arrives at `NEAR`, as if from `FAR`.
The replies go the same way.  A server that listens on `NEAR` is then reached at `FAR`, over TCP of the kernel's own.
"""

import ctypes
import fcntl
import os
import select
import socket
import statistics
import struct
import subprocess
import threading
import time
from collections import deque
from typing import Self

NEAR, FAR = "10.99.0.1", "10.99.0.2"
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_MTU = 1500


def enter_namespace() -> None:
    """Leave the machine's network; this process and those it starts have only loopback and the line.

    Raises:
        OSError: not allowed, or not possible here.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"no network namespace: {os.strerror(number)}")


class Line:
    """Carries packets, each with the same delay, as long as it is open.  Use it inside `enter_namespace`.

    Args:
        delay: seconds, one way.

    Raises:
        OSError: there is no TUN device here.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self._device, _TUNSETIFF, struct.pack("16sH22x", b"line", _IFF_TUN | _IFF_NO_PI))
        for words in (
            "link set lo up",
            f"address add {NEAR}/24 dev line",
            f"link set line mtu {_MTU} txqueuelen 100000 up",
        ):
            subprocess.run(["ip", *words.split()], check=True, timeout=10)
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._stopped)
        self._thread.join()
        os.close(self._stop)
        os.close(self._device)

    def _carry(self) -> None:
        under_way: deque[tuple[float, bytes]] = deque()
        while True:
            wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
            ready, _, _ = select.select([self._device, self._stop], [], [], wait)
            if self._stop in ready:
                return
            if self._device in ready:
                due = time.monotonic() + self._delay
                for packet in self._waiting():
                    under_way.append((due, packet))
            while under_way and under_way[0][0] <= time.monotonic():
                os.write(self._device, under_way.popleft()[1])

    def _waiting(self) -> list[bytes]:
        """Take packets of IPv4 out of the device, a few at a time, each addressed to where its reply would go."""
        packets = []
        try:
            for _ in range(64):
                packet = os.read(self._device, _MTU)
                if packet[0] >> 4 == 4:
                    packets.append(packet[:12] + packet[16:20] + packet[12:16] + packet[20:])
        except BlockingIOError:
            pass
        return packets


def round_trip(port: int, times: int = 5) -> float:
    """Measure how long TCP needs to connect to `FAR`, in seconds: that is once there and back."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        with socket.create_connection((FAR, port), timeout=10):
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
