"""What ends a run early, and what it says then: Ctrl-C, and too little memory."""

import re
import signal
from contextlib import contextmanager


class Interrupt:
    """Within ``with``, the first Ctrl-C only sets ``asked``; the second stops at once."""

    asked = False

    def __enter__(self):
        self.before = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, self.handle)
        return self

    def __exit__(self, *_):
        signal.signal(signal.SIGINT, self.before)

    def handle(self, number, frame):
        """What the operating system's signal calls."""
        if self.asked:
            signal.default_int_handler(number, frame)
        self.asked = True


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
