"""Folders of images: classes, parts, and what is wrong with them in a sentence."""

import os
import re
from pathlib import Path

import pytest

from tabvision.data.images.folders import all_images, class_folders, unlabeled_test
from tabvision.data.splits.base import TEST, TRAIN, VALIDATION
from tabvision.errors import BadTypeError, BadValueError, MissingFileError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_folder_is_a_class_at_any_depth(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = touch(tmp_path, "dog/b.JPG", "dog/a.png", "cat/2020/x.webp", "cat/.hidden.jpg", "cat/notes.txt", "loose.jpg")

    table = class_folders(root)

    assert table.frame["image"].tolist() == [f"{root}/cat/2020/x.webp", f"{root}/dog/a.png", f"{root}/dog/b.JPG"]
    assert table.frame["label"].tolist() == ["cat", "dog", "dog"]
    assert table.part is None
    found, remedy = "1 folder of images inside 2 class folders: the outer folder is the class", "pass label_depth=2"
    assert caplog.messages == [
        f"{found}. If the inner ones are, {remedy} (--label-depth 2).",
        "1 file of other kinds left out: 1 .txt.",
        "1 image outside the class folders left out.",
    ]


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """Three classes in two groups, and an image that belongs to none."""
    return touch(tmp_path, "pets/cat/1.jpg", "pets/dog/2.jpg", "farm/cow/old/3.jpg", "farm/loose.jpg")


def test_class_folders_may_be_deeper(groups: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert class_folders(groups).frame["label"].tolist() == ["farm", "farm", "pets", "pets"]
    assert "3 folders of images inside 2 class folders: the outer folder is the class" in caplog.messages[0]
    caplog.clear()

    table = class_folders(groups, depth=2)

    assert table.frame["label"].tolist() == ["cow", "cat", "dog"]
    assert caplog.messages == ["1 image outside the class folders left out."]


def test_class_folders_are_found_where_known_classes_are(groups: Path) -> None:
    assert class_folders(groups, known=("cat", "cow", "dog")).frame["label"].tolist() == ["cow", "cat", "dog"]
    assert len(class_folders(groups, known=("farm", "pets")).frame) == 4


def test_folders_of_one_name_in_several_groups_are_one_class_and_said(
    groups: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(groups, "farm/cat/4.jpg")

    assert class_folders(groups, depth=2).frame["label"].tolist() == ["cat", "cow", "cat", "dog"]
    assert caplog.messages[0] == "Class folders with the same name in several groups are one class: 'cat'."


def test_a_depth_within_parts_counts_from_them(tmp_path: Path) -> None:
    root = touch(tmp_path, "train/x/a/1.jpg", "train/y/b/2.jpg", "valid/x/a/3.jpg")

    table = class_folders(root, depth=2)

    assert table.frame["label"].tolist() == ["a", "b", "a"]


@pytest.mark.parametrize("depth", [0, "2"])
def test_a_depth_that_is_none_is_refused(groups: Path, depth: int) -> None:
    with pytest.raises((BadValueError, BadTypeError), match="label_depth must be"):
        class_folders(groups, depth=depth)


def test_photos_that_are_not_read_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = touch(tmp_path, "a/1.jpg", "b/2.jpg", "b/3.HEIC", "b/4.heic", "b/README")
    os.mkfifo(root / "b" / "5.jpg")

    class_folders(root)

    said = "4 files of other kinds left out: 2 .heic, 1 .jpg, 1 without a suffix. Convert photos to JPEG or PNG to use them."
    assert caplog.messages == [said]
    caplog.clear()
    all_images(root)
    assert caplog.messages == [said]


def test_a_class_of_photos_that_are_not_read_is_refused(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/1.jpg", "b/2.jpg", "c/x/3.heic", "c/4.heic", "c/5.txt")

    with pytest.raises(
        BadValueError, match=r"'.*/c' holds no image that can be read: 2 \.heic, 1 \.txt\. Convert them"
    ):
        class_folders(root)
    with pytest.raises(BadValueError, match=r"holds no images: 2 \.heic, 1 \.txt\. Pass one with images"):
        all_images(root / "c")


@pytest.mark.parametrize("name", ["valid", "val", "Validation"])
def test_folders_named_for_parts_divide_the_images(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    root = touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg", f"{name}/a/3.jpg", "test/b/4.jpg", "labels/x.jpg")

    table = class_folders(root)

    found = dict(zip(table.frame["image"].str[-5].tolist(), table.part.tolist(), strict=True))  # type: ignore[union-attr]
    assert found == {"1": TRAIN, "2": TRAIN, "3": VALIDATION, "4": TEST}
    assert f"Folders next to the parts, left out: '{root}/labels'." in caplog.messages


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    table = class_folders(touch(tmp_path, "train/1.jpg", "bus/2.jpg"))

    assert table.part is None
    assert table.frame["label"].tolist() == ["bus", "train"]


def test_test_images_may_have_no_labels(tmp_path: Path) -> None:
    root = touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "test/3.jpg")

    assert unlabeled_test(root) == f"{root}/test"
    assert len(class_folders(root).frame) == 2
    assert unlabeled_test(touch(tmp_path, "test/a/3.jpg")) is None


def test_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/1.jpg", "b/2.jpg")
    (root / "a" / "again").symlink_to(root)

    assert len(all_images(root).frame) == 2


def test_a_link_that_leads_nowhere_is_listed_and_one_to_a_pipe_is_not(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/1.jpg", "b/2.jpg")
    os.mkfifo(root / "pipe")
    for name, target in {"circle.jpg": "circle.jpg", "gone.jpg": "nowhere", "pipe.jpg": "../pipe"}.items():
        (root / "a" / name).symlink_to(target)
    (root / "c").symlink_to("c")

    names = [Path(file).name for file in class_folders(root).frame["image"]]

    assert names == ["1.jpg", "circle.jpg", "gone.jpg", "2.jpg"]


@pytest.mark.parametrize("parts", ["", "train/"])
def test_a_link_from_a_class_up_to_the_top_brings_no_images_of_other_classes(tmp_path: Path, parts: str) -> None:
    root = touch(tmp_path, f"{parts}a/1.jpg", f"{parts}b/2.jpg")
    (root / parts / "a" / "again").symlink_to(root)

    assert class_folders(root).frame["label"].tolist() == ["a", "b"]


def test_folders_without_a_image_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = touch(tmp_path, "a/1.jpg", "b/2.jpg", "c/readme.txt")

    class_folders(root)

    assert f"Folders without an image, left out: '{root}/c'." in caplog.messages


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "the folder '.*' is empty. Pass a folder with a folder of images for each class"),
        (["a.txt"], "holds no images and no class folders"),
        (["a.jpg", "b.jpg"], "holds 2 images and no class folders. Put each class into a folder of its own, or pass"),
        (["a/x.txt", "b/y.txt"], "the class folders in '.*' hold no images: 'a', 'b'"),
        (["a/1.jpg"], "holds images of one class, 'a'. Add a folder of images for every other class"),
        (["a/1.jpg", "b/x.txt"], "holds images of one class, 'a'"),
    ],
)
def test_folders_that_cannot_be_learned_from_are_a_sentence(tmp_path: Path, names: list[str], sentence: str) -> None:
    with pytest.raises(BadValueError, match=f".*{sentence}"):
        class_folders(touch(tmp_path, *names))


def test_a_folder_without_images_has_none_to_predict(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match=r"holds no images\. Pass one with images"):
        all_images(tmp_path)


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "file.jpg").touch()

    with pytest.raises(
        MissingFileError, match=f"no folder .* Did you mean {re.escape(repr(str(tmp_path / 'photos')))}"
    ):
        class_folders(tmp_path / "photo")
    with pytest.raises(MissingFileError, match="Check the path"):
        class_folders(tmp_path / "no" / "where")
    with pytest.raises(BadValueError, match="is a file, not a folder"):
        class_folders(tmp_path / "file.jpg")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (b"dog/caf\xe9.jpg", r"the folder '.*/dog' holds 1 image whose name is not UTF-8: 'caf\\udce9.jpg'. Rename"),
        (b"caf\xe9/1.jpg", r"the name of the folder '.*/caf\\udce9' is not UTF-8. Rename it"),
    ],
)
def test_names_that_are_not_utf_8_are_a_sentence(tmp_path: Path, name: bytes, sentence: str) -> None:
    root = touch(tmp_path, "cat/1.jpg", "dog/2.jpg")
    try:
        touch(root, os.fsdecode(name))
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")

    with pytest.raises(BadValueError, match=f"{sentence}"):
        class_folders(root)
    with pytest.raises(BadValueError, match=f"{sentence}"):
        all_images(root)
