"""A LightningModule for ratings of items by users."""

from __future__ import annotations

from typing import Any, final

import torch
from typing_extensions import override

from tabvision.modules.collab_network import CollabNetwork, sorted_pairs
from tabvision.modules.supervised import SupervisedModule


@final
class CollabModule(CollabNetwork, SupervisedModule):
    """Predict a user's rating of an item from learned latent factors.

    "dot" takes the dot product of the user's and the item's factors and adds a bias for each, as the course does; "neural"
    feeds the factors of both to fully connected layers. It overfits without strong dropout: on MovieLens 100k its RMSE is
    0.948 without dropout and 0.889 with a dropout of half; "dot" reaches 0.878.

    The pairs in the training data are stored with the weights, so that `tabvision.interpret.recommend` can leave out items
    that a user has already rated.

    Args:
        schema: The schema of the data: `data.schema`, or the dict it was saved as; its two categories are users and items.
        factors: Number of latent factors of each user and item.
        kind: "dot" or "neural".
        rowwise: Whether a step updates only the users and items in its batch, for "dot" with AdamW. With millions of users
            or items this is many times as fast; it needs a rate of 1e-2.
        widths: Width of each hidden layer, only for "neural"; None for (100,).
        unknown_share: Fraction of users and items hidden in training to learn unseen ones, only for "neural"; None for 0.003.
        dropout: Fraction dropped after each hidden layer, in [0, 1), only for "neural"; None for 0.5.
        lr: One rate, `(first, last)` group, `(None, last)`, "first:last", or a list with one rate per layer group.
        optimizer: "adamw", "adam", "sgd", "rmsprop", or a function from param groups to an optimizer.
        weight_decay: Strength of the weight decay, at least 0.
        decay: "decoupled" (AdamW) or "l2" (added to the gradient).
        decay_norms: Whether norms and biases of layers decay as well; factors and biases of users and items always do.
        momentum: For SGD and RMSprop, in [0, 1).

    Raises:
        BadValueError: The schema is not one of ratings, or a setting is out of range or has no effect.

    Source: 50 factors, rate 5e-3 and decay 0.1: fastai's book, chapter 8.

    Example:
        >>> from tabvision.schema import Categorical, Schema, Target
        >>> from tabvision.tasks import Regression
        >>> users, films = (Categorical(name=name, source=name, vocabulary=(1, 2)) for name in ("user", "film"))
        >>> target = Target(columns=("stars",), task=Regression(y_range=(0.5, 5.5), mean=(3.0,), spread=(1.0,)))
        >>> module = CollabModule(Schema(target=target, categorical=(users, films)))
        >>> [group.name for group in module.layer_groups()]
        ['embeddings', 'offset']
    """

    @override
    def on_train_start(self) -> None:
        """Add the data's user-item pairs to those of earlier fits."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if hasattr(data, "known_pairs"):  # only a CollabDataModule has them
            self.seen = sorted_pairs(torch.cat([self.seen, data.known_pairs()], dim=1))
