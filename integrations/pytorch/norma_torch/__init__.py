"""norma for PyTorch: RMSNorm, and RMSNorm with the Linear layers behind it in one pass, through the C library libnorma.

    import norma_torch
    report = norma_torch.patch(model)          # a Hugging Face model; norma_torch.unpatch(model) undoes it
    print(report)

libnorma is the file that NORMA_LIBRARY names, else the installed libnorma.so.0. README.md has the rest.
"""

from ._abi import LibraryNotFound, NormaError, NormaOutOfMemory
from .functional import rmsnorm, rmsnorm_linear
from .modules import RMSNorm, RMSNormLinear
from .patching import Report, patch, unpatch

__all__ = [
    "LibraryNotFound",
    "NormaError",
    "NormaOutOfMemory",
    "RMSNorm",
    "RMSNormLinear",
    "Report",
    "patch",
    "rmsnorm",
    "rmsnorm_linear",
    "unpatch",
]
