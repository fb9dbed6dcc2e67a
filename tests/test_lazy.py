"""Names that are imported when they are first asked for."""

import importlib

import pytest

from tabvision.lazy import lazy_names

PACKAGES = ("tabvision.callbacks", "tabvision.data", "tabvision.inference", "tabvision.modules", "tabvision.serving")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_found_and_no_module_takes_its_place(package: str) -> None:
    module = importlib.import_module(package)

    # a module's network, without Lightning, is for `Predictor` alone
    assert sorted(name for name in module._MODULES if not name.endswith("Network")) == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name).__name__ == name
    assert not set(module._MODULES) & set(module._MODULES.values())


def test_a_name_that_is_not_there_is_told_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'tabvision' has no attribute 'nothing'"):
        lazy_names("tabvision", {})("nothing")
