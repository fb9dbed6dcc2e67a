"""A folder is checked ahead of training."""

from pathlib import Path

import pytest

from tabvision.data.images.check import check_images
from tabvision.errors import BadTypeError
from tests.made.images import write_folder


@pytest.mark.parametrize("num_workers", [0, 3])
def test_every_damaged_picture_is_found_with_its_reason(tmp_path: Path, num_workers: int) -> None:
    root = write_folder(tmp_path, {"a": 4, "b": 3})
    (root / "a" / "a_001.jpg").write_bytes(b"")
    (root / "b" / "b_002.jpg").write_bytes((root / "b" / "b_000.jpg").read_bytes()[:-20])

    num, bad = check_images(root, num_workers=num_workers)

    assert num == 7
    assert bad["image"].tolist() == [f"{root}/a/a_001.jpg", f"{root}/b/b_002.jpg"]
    assert bad["reason"].tolist()[0] == "0 bytes"
    assert bad["reason"].tolist()[1].startswith("damaged: image file is truncated")


def test_a_wrong_number_of_threads_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadTypeError, match="num_workers must be a whole number"):
        check_images(tmp_path, num_workers="many")  # type: ignore[arg-type]
