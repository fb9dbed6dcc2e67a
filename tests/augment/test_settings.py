"""Settings are checked, plain, and found by name or by what changes."""

import pytest

from tabvision.augment.settings import PRESETS, Augmentation, augmentation_named
from tabvision.errors import BadTypeError, UnknownNameError


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_found_by_name_and_survives_as_plain_data(name: str) -> None:
    settings = augmentation_named(name)

    assert Augmentation.from_dict(settings.to_dict()) == settings
    assert augmentation_named(settings) is settings
    assert all(type(value) in (float, list) for value in settings.to_dict().values())


def test_the_default_is_fastais_with_presizing() -> None:
    settings = Augmentation()

    assert (settings.flip, settings.rotate, settings.zoom, settings.warp) == (0.5, 10, 1.1, 0.2)
    assert (settings.affine_share, settings.lighting_share) == (0.75, 0.75)
    assert (settings.brightness, settings.contrast, settings.min_scale) == (0.2, 0.2, 0.75)


def test_none_is_no_augmentation_and_a_mapping_changes_the_preset_it_names() -> None:
    assert augmentation_named(None) == PRESETS["none"]
    assert augmentation_named({"rotate": 20}) == Augmentation(rotate=20)
    assert augmentation_named({"preset": "none", "flip": 0.5}).to_dict() == {**PRESETS["none"].to_dict(), "flip": 0.5}
    assert augmentation_named({"ratio": [0.75, 1.5]}).ratio == (0.75, 1.5)


def test_a_function_varies_images_by_itself_and_is_no_plain_data() -> None:
    settings = augmentation_named(max)

    assert settings.own is max
    assert settings.to_dict() == PRESETS["none"].to_dict()
    assert Augmentation(own=max).rotate == Augmentation().rotate
    with pytest.raises(BadTypeError, match="own must be a function, got 'max'"):
        Augmentation(own="max")  # type: ignore[arg-type]


def test_what_is_misspelt_or_of_the_wrong_kind_is_refused_with_close_names() -> None:
    with pytest.raises(UnknownNameError, match=r"no preset named 'defualt'. Choices: default, "):
        augmentation_named("defualt")

    with pytest.raises(UnknownNameError, match=r"no setting named 'rotation'. Choices: ratio|rotate"):
        augmentation_named({"rotation": 20})

    with pytest.raises(BadTypeError, match="rotate must be a number, got 'much'"):
        augmentation_named({"rotate": "much"})
