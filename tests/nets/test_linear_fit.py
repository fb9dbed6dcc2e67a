"""Linear heads fitted to their minimum, beside scikit-learn, and those that leave out rows."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from tabvision.nets.linear_fit import Rows, fitted_heads, minimized
from tabvision.tasks import Multiclass, Regression


def rows(target: torch.Tensor) -> Rows:
    features = torch.randn(len(target), 4, generator=torch.Generator().manual_seed(1))
    features[:, 0] += target.reshape(len(target), -1)[:, 0]
    return Rows(features, target, torch.ones(len(target)))


def test_the_head_of_classes_is_that_of_a_logistic_regression() -> None:
    given = rows(torch.arange(60) % 3)

    head = minimized(given, Multiclass(num_classes=3), 0.1, torch.ones(60, 1))

    reference = LogisticRegression(C=1 / (60 * 0.1)).fit(given.features, given.target)
    found = head.logits(given.features)[:, 0].softmax(1).numpy()
    np.testing.assert_allclose(found, reference.predict_proba(given.features), atol=1e-3)


def test_the_head_of_numbers_is_that_of_a_ridge_regression() -> None:
    numbers = torch.randn(60, 1, generator=torch.Generator().manual_seed(2))
    given = rows(numbers)
    task = Regression(margin=None).fit(numbers.numpy(), 0)

    head = minimized(given, task, 0.1, torch.ones(60, 1))

    standard = (numbers - task.mean[0]) / task.spread[0]
    scale = float(task.loss(torch.ones(1, 1), numbers.mean().reshape(1, 1)))  # of a squared error of one
    reference = Ridge(alpha=60 * 0.1 / 2 / scale).fit(given.features, standard[:, 0])
    np.testing.assert_allclose(head.weight[0, 0], reference.coef_, atol=1e-3)


def test_a_head_of_a_fold_learns_from_the_other_rows_alone() -> None:
    wide = torch.randn(30, 50, generator=torch.Generator().manual_seed(3))  # more features than rows
    task, fold = Multiclass(num_classes=2), torch.arange(30) % 3
    given = Rows(wide, (wide[:, 0] > 0).long(), torch.ones(30))

    heads, penalty = fitted_heads(given, task, fold, 3)
    others = fold != 1
    alone = minimized(Rows(*(each[others] for each in given)), task, penalty, torch.ones(int(others.sum()), 1))

    torch.testing.assert_close(heads.logits(wide)[:, 1], alone.logits(wide)[:, 0], atol=1e-2, rtol=0)
