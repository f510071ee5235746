"""Runs the package's tests, or says by name what is missing and ends with 77, which ctest counts as skipped.

NORMA_REQUIRE=pytorch makes that a failure. Arguments go to pytest.
"""

import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
OLDEST_TORCH = (2, 6)


def missing():
    try:
        import pytest  # noqa: F401
    except ImportError:
        return "there is no pytest"
    try:
        import torch
    except ImportError:
        return f"there is no PyTorch; {OLDEST_TORCH[0]}.{OLDEST_TORCH[1]} or newer is needed"
    found = tuple(int(number) for number in torch.__version__.split("+")[0].split(".")[:2])
    if found < OLDEST_TORCH:
        return f"PyTorch is {torch.__version__}; {OLDEST_TORCH[0]}.{OLDEST_TORCH[1]} or newer is needed"
    return None


def main():
    reason = missing()
    if reason:
        print(f"skipped: the PyTorch package: {reason} for {sys.executable}")
        return 1 if os.environ.get("NORMA_REQUIRE") == "pytorch" else 77
    sys.path.insert(0, str(HERE.parent))
    import pytest

    return pytest.main(["-q", "-rs", "-p", "no:cacheprovider", str(HERE), *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
