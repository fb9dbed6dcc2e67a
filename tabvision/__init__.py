"""tabvision: fastai's way of training as plain PyTorch Lightning parts.

Importing this package loads neither torch nor pandas; import the part you need, such as `tabvision.data`.
"""

__version__ = "0.1.0"
