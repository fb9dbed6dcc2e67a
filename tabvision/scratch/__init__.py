"""The course in 300 lines of numpy: what the rest of the library does, written to be read.

Read `matmul.py`, `autograd.py`, `layers.py`, `optimizers.py` and `models.py` in this order. Tests check that each agrees
with torch and with its production counterpart in this library; docs/lessons/ walks through them.
"""

from tabvision.scratch.autograd import Value, side_by_side
from tabvision.scratch.layers import Conv, Flatten, Linear, ReLU, Sequential, cross_entropy, mse, softmax
from tabvision.scratch.matmul import matmul_by_broadcasting, matmul_by_einsum, matmul_by_loops, matmul_by_products
from tabvision.scratch.models import DotBias, TabularNet, fit, image_net
from tabvision.scratch.optimizers import SGD, Adam, Momentum, RMSProp, optimizer_race

# fmt: off
__all__ = [
    "SGD", "Adam", "Conv", "DotBias", "Flatten", "Linear", "Momentum", "RMSProp", "ReLU", "Sequential", "TabularNet",
    "Value", "cross_entropy", "fit", "image_net", "matmul_by_broadcasting", "matmul_by_einsum", "matmul_by_loops",
    "matmul_by_products", "mse", "optimizer_race", "side_by_side", "softmax",
]
