"""What the tests of a training run share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """As in the subprocesses: losses are equal bit for bit with as many threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
