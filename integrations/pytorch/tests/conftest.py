"""Devices to test on: the CPU always, the GPU where PyTorch finds one. NORMA_REQUIRE=cuda makes a missing GPU a failure."""

import os

import pytest
import torch

# The tests are many small calls, which two pools of threads on one machine only slow down.
torch.set_num_threads(1)

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])

if os.environ.get("NORMA_REQUIRE") == "cuda" and not torch.cuda.is_available():
    raise RuntimeError("NORMA_REQUIRE is cuda, but PyTorch finds no GPU")


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(20261120)


@pytest.fixture
def gpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return "cuda"
