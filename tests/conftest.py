"""What several test files share."""

import pytest
import torch


@pytest.fixture
def double():
    """Compute in float64, where rounding cannot be taken for a mistake, and from one seed."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
