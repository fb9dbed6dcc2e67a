"""Linear heads fitted to their minimum, beside scikit-learn, and those that leave out rows."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from tabvision.nets import linear_fit
from tabvision.nets.linear_fit import Heads, Rows, fitted_heads, mean_and_std, mean_loss
from tabvision.tasks import Multiclass, Regression, Task


def rows(target: torch.Tensor) -> Rows:
    features = torch.randn(len(target), 4, generator=torch.Generator().manual_seed(1))
    features[:, 0] += target.reshape(len(target), -1)[:, 0]
    return Rows(features, target, torch.ones(len(target)))


def head_of(given: Rows, task: Task, penalty: float = 0.1) -> Heads:
    """Return the head fitted to all rows with that penalty."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_fit, "_PENALTIES", (penalty,))
        return fitted_heads(given, task, torch.full((len(given.target),), -1), 1)[0]


def test_the_head_of_classes_is_that_of_a_logistic_regression() -> None:
    given = rows(torch.arange(60) % 3)

    head = head_of(given, Multiclass(num_classes=3))

    reference = LogisticRegression(C=1 / (60 * 0.1)).fit(given.features, given.target)
    found = head.logits(given.features)[:, 0].softmax(1).numpy()
    np.testing.assert_allclose(found, reference.predict_proba(given.features), atol=1e-3)


@pytest.mark.parametrize("spread", [1.0, 100.0])
def test_the_head_of_numbers_is_that_of_a_ridge_regression(spread: float) -> None:
    numbers = torch.randn(60, 1, generator=torch.Generator().manual_seed(2))
    given = rows(numbers)
    given.features[:, 1:] += spread * given.features[:, :1]  # features that nearly repeat one another
    task = Regression(margin=None).fit(numbers.numpy(), 0)

    head = head_of(given, task)

    standard = (numbers - task.mean[0]) / task.spread[0]
    scale = float(task.loss(torch.ones(1, 1), numbers.mean().reshape(1, 1)))  # of a squared error of one
    reference = Ridge(alpha=60 * 0.1 / 2 / scale).fit(given.features, standard[:, 0])
    np.testing.assert_allclose(head.weight[0, 0], reference.coef_, atol=3e-3)


def test_the_penalty_is_the_one_with_the_lowest_held_out_loss() -> None:
    given, task, fold = rows(torch.arange(60) % 3), Multiclass(num_classes=3), torch.arange(60) % 5
    is_out = fold.unsqueeze(1) == torch.arange(5)

    _, penalty = fitted_heads(given, task, fold, 5)

    losses = {}
    for each in (1.0, 0.3, 0.1, 0.03, 0.01, 0.001):
        heads = [head_of(Rows(*(some[fold != k] for some in given)), task, each) for k in range(5)]
        joined = Heads(*(torch.cat(some) for some in zip(*heads, strict=True)))
        losses[each] = float(mean_loss(given, task, joined, is_out).sum())
    assert penalty == min(losses, key=lambda each: losses[each])


def test_a_head_of_a_fold_learns_from_the_other_rows_alone() -> None:
    wide = torch.randn(30, 50, generator=torch.Generator().manual_seed(3))  # more features than rows
    task, fold = Multiclass(num_classes=2), torch.arange(30) % 3
    given = Rows(wide, (wide[:, 0] > 0).long(), torch.ones(30))

    heads, penalty = fitted_heads(given, task, fold, 3)
    others = fold != 1
    alone = head_of(Rows(*(each[others] for each in given)), task, penalty)

    torch.testing.assert_close(heads.logits(wide)[:, 1], alone.logits(wide)[:, 0], atol=1e-2, rtol=0)


def test_features_of_each_head_give_what_the_same_features_for_all_give() -> None:
    task, fold = Multiclass(num_classes=3), torch.arange(60) % 3
    given = rows(torch.arange(60) % 3)

    shared, penalty = fitted_heads(given, task, fold, 3)
    own, same = fitted_heads(given._replace(features=given.features.unsqueeze(1).repeat(1, 3, 1)), task, fold, 3)

    assert penalty == same
    torch.testing.assert_close(shared.weight, own.weight, atol=1e-3, rtol=0)


def test_a_fold_without_rows_has_the_head_that_learns_from_all() -> None:
    given, task = rows(torch.arange(60) % 3), Multiclass(num_classes=3)

    heads, penalty = fitted_heads(given, task, torch.arange(60) % 5, 6)

    whole = head_of(given, task, penalty)
    torch.testing.assert_close(
        heads.logits(given.features)[:, 5], whole.logits(given.features)[:, 0], atol=1e-2, rtol=0
    )


def test_a_feature_that_hardly_varies_in_training_does_not_decide_elsewhere() -> None:
    given = rows(torch.arange(60) % 3)
    given.features[:, 3] *= 1e-6
    mean, std = mean_and_std(given.features)
    heads, _ = fitted_heads(
        given._replace(features=(given.features - mean) / std), Multiclass(num_classes=3), torch.arange(60) % 5, 6
    )

    elsewhere = (torch.eye(4)[3:] - mean) / std  # 1 where training rows have a millionth

    assert (heads.logits(elsewhere) - heads.logits(elsewhere * torch.tensor([1, 1, 1, 0]))).abs().max() < 1e-2
