# For assignments in PyTorch: results are tensors, and PyTorch may be used, but not for what you are to write.
import torch
from torch.overrides import TorchFunctionMode

ALLOWED = ALLOWED | {"torch"}
MAY_USE = "Python, NumPy and PyTorch's simple functions and layers"
ARRAY, KIND, NUMBER = torch.Tensor, "tensor", ()
FORBIDDEN = {"scaled_dot_product_attention", "multi_head_attention_forward", "_native_multi_head_attention",
             "_transformer_encoder_layer_fwd", "cross_entropy", "nll_loss"}


def as_array(value):
    """A tensor as a NumPy array; anything else as it is."""
    return value.detach().numpy() if isinstance(value, torch.Tensor) else value


def copy_of(value):
    return value.clone() if isinstance(value, torch.Tensor) else value


class Watch(TorchFunctionMode):
    """Complains when one of PyTorch's functions is called that does the whole task, by whatever way."""

    def __init__(self, complain):
        super().__init__()
        self.complain = complain

    def __torch_function__(self, function, types, arguments=(), options=None):
        if function.__name__ in FORBIDDEN:
            self.complain(f"torch's {function.__name__}")
        return function(*arguments, **(options or {}))


watching = Watch
