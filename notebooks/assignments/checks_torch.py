# For assignments in PyTorch: results are tensors, and PyTorch may be used, but not for the task.
import torch

LIBRARIES = LIBRARIES | {"torch"}
MAY_USE = "Python's own modules, NumPy and PyTorch's simple functions and layers"
ARRAY = torch.Tensor
KIND = "tensor"
NUMBER = ()
FORBIDDEN = {"scaled_dot_product_attention", "multi_head_attention_forward",
             "_native_multi_head_attention", "_transformer_encoder_layer_fwd", "cross_entropy",
             "nll_loss"}
FORBIDDEN_STEPS = FORBIDDEN | {
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable", "_scaled_dot_product_attention_math",
    "_safe_softmax", "nll_loss_forward", "nll_loss2d_forward", "nll_loss_nd", "nll_loss2d"}


def as_array(value):
    """A tensor as a NumPy array; anything else as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    return torch.Tensor.detach(value).as_subclass(torch.Tensor).numpy()


def copy_of(value):
    return value.clone() if isinstance(value, torch.Tensor) else value
