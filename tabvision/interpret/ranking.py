"""Measure how high held-out items rank among all items that a user has not taken."""

from __future__ import annotations

import numpy as np
import torch
from torchmetrics.functional.retrieval import retrieval_normalized_dcg, retrieval_recall

from tabvision.checks import check_whole
from tabvision.data import CollabDataModule
from tabvision.data.splits.base import PartName
from tabvision.errors import BadValueError, speaking
from tabvision.interpret.embeddings import check_ratings_module
from tabvision.interpret.recommend import item_scores, seen_items
from tabvision.modules import CollabModule
from tabvision.modules.collab_network import sorted_pairs


@speaking("ranking_metrics")
def ranking_metrics(
    module: CollabModule,
    data: CollabDataModule,
    k: int = 10,
    *,
    part: PartName = "val",
    max_users: int | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Return recall and NDCG of held-out items in the top `k` of all items that the user did not take in training.

    Every item is ranked, not just a sample, so figures can be compared across models, and across data of the same size.
    Users and items unknown to training cannot be ranked and are left out.

    Args:
        module: A trained module.
        data: Its data.
        k: The number of top ranks that count, at least 1.
        part: "val" or "test".
        max_users: The most users to measure, drawn at random; None for all.
        seed: Determines that draw.

    Returns:
        `recall@k` and `ndcg@k`; and `recall@k_popular` and `ndcg@k_popular`, for ranking items for everyone by the number
        of users who took them.

    Raises:
        BadTypeError: The module is not a CollabModule.
        BadValueError: `k` or `max_users` is below 1, or the part does not exist or has no pair of known user and item.
    """
    check_ratings_module(module)
    check_whole("k", k)
    pairs = data.held_out_pairs(part)
    held_out, training = sorted_pairs(pairs[:, (pairs > 0).all(dim=0)]), sorted_pairs(data.training_pairs())
    users = np.unique(held_out[0].numpy())
    if not len(users):
        raise BadValueError(f"no {part} pair has a known user and item", "Pass another part or split")
    if max_users is not None:
        check_whole("max_users", max_users)
        users = np.sort(np.random.default_rng(seed).permutation(users)[:max_users])
    popular = np.bincount(training[1].numpy(), minlength=module.item.cardinality)[1:].astype(np.float32)
    found, top_k = list[float](), min(k, len(popular))
    for user in users.tolist():
        wanted, known = seen_items(held_out, user), seen_items(training, user)
        relevant = torch.zeros(len(popular), dtype=torch.bool)
        relevant[wanted - 1] = True
        for scores in (item_scores(module, user), popular.copy()):
            scores[np.setdiff1d(known, wanted) - 1] = -np.inf  # items taken in training rank last
            ranked = torch.from_numpy(scores)
            recall = float(retrieval_recall(ranked, relevant, top_k=top_k))
            found += [recall, float(retrieval_normalized_dcg(ranked, relevant.long(), top_k=top_k))]
    names = (f"recall@{k}", f"ndcg@{k}", f"recall@{k}_popular", f"ndcg@{k}_popular")
    return dict(zip(names, np.reshape(found, (-1, 4)).mean(axis=0).tolist(), strict=True))
