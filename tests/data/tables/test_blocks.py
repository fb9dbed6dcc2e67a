"""Blocks of table files: as long as they may be, whatever the row groups of a Parquet file are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabvision.data.tables import blocks


@pytest.mark.parametrize(("group", "sizes"), [(30, [120, 120, 60]), (100, [100] * 3), (200, [130, 70, 100])])
def test_row_groups_are_gathered_to_blocks_also_of_categories(
    group: int, sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 130)
    rows = np.arange(300)
    frame = pd.DataFrame({"x": rows, "word": [f"w{row // 30}" for row in rows]})
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=group)

    found = [block for _, block in blocks.TableBlocks(tmp_path / "a.parquet").read(None, ["word"])]

    assert [len(block) for block in found] == sizes
    assert all(isinstance(block["word"].dtype, pd.CategoricalDtype) for block in found)
    pd.testing.assert_frame_equal(pd.concat([block.astype({"word": "str"}) for block in found]), frame)
