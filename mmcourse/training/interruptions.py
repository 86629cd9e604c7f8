"""What ends a run early, and what it says then: Ctrl-C, SIGTERM, and too little memory."""

import re
import signal
import threading
from contextlib import contextmanager


class Interrupt:
    """Within ``with``, Ctrl-C and SIGTERM only set ``asked``, so that the step can end.

    A second Ctrl-C stops at once. Schedulers send SIGTERM some seconds before they kill, and some
    send it twice. Python has signals in its main thread only: in another one, ``asked`` stays
    False.
    """

    asked = False

    def __enter__(self):
        self.before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self.handle)
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def handle(self, number, frame):
        """What Python calls when a signal came."""
        if self.asked and number == signal.SIGINT:
            signal.default_int_handler(number, frame)
        self.asked = True


def ignore_interrupts(worker):
    """Signals reach the workers of a DataLoader too, and the step that is to end needs them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def memory_advice(config):
    """Turn what is raised when the device has too little memory into a MemoryError with advice.

    Python raises MemoryError, PyTorch a RuntimeError of one kind or another.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, MemoryError)
        if not is_memory and not re.search("out of memory|allocate memory", str(error)):
            raise
        raise MemoryError(
            f"out of memory with batch_size {config.batch_size} and accumulate "
            f"{config.accumulate}: take a smaller batch_size, or accumulate="
            f"{2 * config.accumulate}, which has the same losses and needs about half ({error!r})"
        ) from error
