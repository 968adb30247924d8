"""Containers with the attributes of an array that are none, and what to pass in their place."""

from __future__ import annotations

from typing import Any

import array_api_compat


def is_plain_array(x: Any) -> bool:
    """Whether `x` belongs to a library of the array API standard, and is what its functions take.

    Those overlook the mask, the unit or the fields of a NumPy subclass, and fail deep inside on
    tensors that are sparse, nested, quantised or distributed. Other subclasses of PyTorch's tensors
    are taken: parameters, and what its transforms and compilers pass.
    """
    if not array_api_compat.is_array_api_obj(x):
        return False
    if array_api_compat.is_torch_array(x):
        dense = not (x.is_nested or x.is_quantized or hasattr(x, "to_local"))
        return dense and not hasattr(x, "get_mask") and str(x.layout) == "torch.strided"
    if array_api_compat.is_numpy_array(x) and hasattr(x, "__setitem__"):  # no scalar
        return type(x).__module__ == "numpy" and type(x).__name__ in ("ndarray", "memmap")
    return not (array_api_compat.is_pydata_sparse_array(x) or hasattr(x, "filled"))


def kind_of(x: Any) -> str:
    """Name what a container is: its type, and how a tensor is stored that is not dense."""
    name = type(x).__name__
    if not array_api_compat.is_torch_array(x) or name != "Tensor":
        return name
    if x.is_nested or x.is_quantized:
        return "a nested Tensor" if x.is_nested else "a quantized Tensor"
    return f"a Tensor of layout {x.layout}"


def conversion(x: Any) -> str:
    """Return the sentence of a message that says what to pass in the place of a container."""
    if getattr(x, "is_nested", False):
        return "Pad it (`torch.nested.to_padded_tensor`), and mask the padding."
    if hasattr(x, "to_local"):
        return "Pass its `to_local()`, or all of it by `full_tensor()`."
    if hasattr(x, "filled") or hasattr(x, "get_mask"):
        return "Fill it, and pass its mask as a mask."
    if getattr(x, "is_quantized", False):
        return "Pass its `dequantize()`."
    if array_api_compat.is_numpy_array(x) or type(x).__module__.startswith("numpy"):
        return "Pass `numpy.asarray` of it."
    for method in ("to_numpy", "todense", "to_dense"):
        if hasattr(x, method):
            return f"Pass its `{method}()`."
    return "Convert it first."
