"""Embeddings: their widths, their start, the row for unknown values, and lookups that agree with torch's."""

import pytest
import torch
from torch.nn import functional

from tabvision.nets.embeddings import Embeddings, embedding_width

WIDTHS = [2, 4, 2, 4, 3]
CARDINALITIES = [3, 5, 7, 2, 9]


def codes_of(rows: int = 50) -> torch.Tensor:
    return torch.stack([torch.randint(number, (rows,)) for number in CARDINALITIES], dim=1)


def test_widths_follow_fastais_rule(subtests: pytest.Subtests) -> None:
    for cardinality, width in [(1, 2), (2, 2), (3, 3), (10, 6), (100, 21), (1000, 77), (10_000, 278), (40_000, 600)]:
        with subtests.test(cardinality=cardinality, width=width):
            assert embedding_width(cardinality) == width


def test_rows_start_at_length_one_and_those_of_code_0_at_zero() -> None:
    embeddings = Embeddings([5000, 3000], [64, 64])

    for column in (0, 1):
        table = embeddings.table(column).detach()
        assert table[1:].norm(dim=1).mean().item() == pytest.approx(1, abs=0.03)
        assert (table[0] == 0).all()


def test_columns_share_tables_with_the_values_and_gradients_of_torchs_lookup() -> None:
    embeddings, codes = Embeddings(CARDINALITIES, WIDTHS).eval(), codes_of()
    result = embeddings(codes)
    assert [tuple(table.shape) for table in embeddings.tables] == [(10, 2), (7, 4), (9, 3)]
    each = [functional.embedding(codes[:, column], embeddings.table(column)) for column in range(len(WIDTHS))]
    assert torch.equal(result, torch.cat(each, dim=1))

    upstream = torch.randn(len(codes), sum(WIDTHS))
    gradients = torch.autograd.grad(embeddings(codes), [*embeddings.parameters()], upstream)
    expected = torch.autograd.grad(torch.cat(each, dim=1), [*embeddings.parameters()], upstream)
    for found, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, wanted)

    old = {f"tables.{column}.weight": embeddings.table(column).detach().clone() for column in range(len(WIDTHS))}
    fresh = Embeddings(CARDINALITIES, WIDTHS).eval()
    fresh.load_state_dict(old)
    assert torch.equal(fresh(codes), embeddings(codes))


def test_each_member_has_embeddings_of_its_own() -> None:
    embeddings, codes = Embeddings(CARDINALITIES, WIDTHS, members=3).eval(), codes_of(4)

    result = embeddings(codes)

    assert result.shape == (4, 3, sum(WIDTHS))
    tables = [embeddings.table(column).view(CARDINALITIES[column], 3, -1) for column in range(len(WIDTHS))]
    for member in range(3):
        each = {column: tables[column][codes[:, column], member] for column in range(len(WIDTHS))}
        in_order = [each[column] for column in (0, 2, 1, 3, 4)]  # column by column within a table
        assert torch.equal(result[:, member], torch.cat(in_order, dim=1))


def test_a_code_beyond_its_column_is_an_error_not_a_row_of_another_column() -> None:
    embeddings = Embeddings([3, 3], [2, 2])

    for wrong in ([[3, 0]], [[0, -1]]):
        with pytest.raises(IndexError, match="out of range"):
            embeddings(torch.tensor(wrong))


def test_in_training_that_share_of_codes_is_unknown() -> None:
    torch.manual_seed(0)
    embeddings = Embeddings([3, 5], [2, 4], unknown_share=0.2)

    result = embeddings(torch.ones(50_000, 2, dtype=torch.int64))

    unknown = torch.stack([(result[:, :2] == 0).all(1), (result[:, 2:] == 0).all(1)], 1).double()
    assert unknown.mean().item() == pytest.approx(0.2, abs=0.007)  # five standard errors
    assert unknown.prod(1).mean().item() == pytest.approx(0.04, abs=0.005)  # columns independently


def test_in_evaluation_every_code_is_kept() -> None:
    embeddings = Embeddings([3], [2], unknown_share=0.9).eval()
    codes = torch.ones(1000, 1, dtype=torch.int64)

    assert torch.equal(embeddings(codes), embeddings.table(0)[codes[:, 0]])


def test_the_unknown_row_learns_although_no_training_row_is_unknown() -> None:
    torch.manual_seed(0)
    embeddings = Embeddings([3], [2], unknown_share=0.05)

    embeddings(torch.ones(1000, 1, dtype=torch.int64)).sum().backward()

    (table,) = embeddings.parameters()
    assert table.grad is not None
    assert (table.grad[0] > 0).all()


def test_dropout_drops_outputs_in_training_only() -> None:
    embeddings = Embeddings([50], [20], dropout=0.5)
    codes = torch.randint(1, 50, (100, 1))

    assert (embeddings(codes) == 0).double().mean().item() == pytest.approx(0.5, abs=0.06)
    assert (embeddings.eval()(codes) != 0).all()
