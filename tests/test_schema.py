"""The schema: plain data, refused in a sentence where it does not fit, readable when printed."""

import dataclasses
import json
from typing import Any
from xml.etree import ElementTree

import pytest

from tabvision.errors import TabvisionError
from tabvision.schema import Categorical, Continuous, Date, Image, LeftOut, Schema, Target
from tabvision.tasks import Binary, Multiclass, Regression

HALF = (0.5, 0.5, 0.5)
SCHEMA = Schema(
    target=Target(columns=("paid",), task=Multiclass(3), classes=("no", 1, True)),
    continuous=(
        Continuous(name="age", source="age", mean=40.0, std=10.0, fill=38.0, had_missing=True, bins=(-1.0, 1.0)),
        Continuous(name="sold_elapsed", source="sold", mean=1e9, std=1e7, fill=1e9, part="elapsed"),
    ),
    categorical=(
        Categorical(name="job", source="job", vocabulary=("cook", "nurse"), ordered=True),
        Categorical(name="size", source="size", vocabulary=(1, 2.5, True)),
        Categorical(name="age_missing", source="age", vocabulary=(False, True), part="missing"),
    ),
    dates=(Date(name="sold", parts=("elapsed",)),),
    left_out=(LeftOut(name="id", reason="every value differs"),),
)


def test_a_schema_goes_to_json_and_back() -> None:
    assert Schema.from_dict(json.loads(json.dumps(SCHEMA.to_dict()))) == SCHEMA


def test_a_image_goes_to_json_and_back_and_stands_for_its_column() -> None:
    schema = dataclasses.replace(SCHEMA, image=Image(name="photo", size=(32, 48), mean=HALF, std=HALF))

    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    assert schema.inputs == (*SCHEMA.inputs, "photo")


def test_statistics_fill_in_what_is_left_to_the_weights_and_nothing_else() -> None:
    open_, closed = (
        dataclasses.replace(SCHEMA, image=Image(size=(32, 32), mean=mean, std=mean)) for mean in ((), HALF)
    )

    assert open_.with_statistics(list(HALF), list(HALF)) == closed
    assert closed.with_statistics((0.0,) * 3, (1.0,) * 3) == closed
    assert SCHEMA.with_statistics(HALF, HALF) == SCHEMA


def test_vocabularies_keep_the_kind_of_each_value() -> None:
    back = Schema.from_dict(json.loads(json.dumps(SCHEMA.to_dict())))

    assert [type(value) for value in back.categorical[1].vocabulary] == [int, float, bool]


def test_inputs_are_the_raw_columns_each_once() -> None:
    assert SCHEMA.inputs == ("age", "sold", "job", "size")


def test_a_category_has_one_more_code_than_values() -> None:
    assert SCHEMA.categorical[0].cardinality == 3


def test_it_prints_one_line_a_column() -> None:
    lines = str(SCHEMA).splitlines()

    assert [line.split()[0] for line in lines] == ["paid", "sold", "job", "size", "age_missing", "age", "id"]
    assert "1 part: elapsed" in lines[1]
    assert "multiclass, 3 classes: no, 1, True" in lines[0]
    assert any("std 10, missing filled with 38" in line for line in lines)


def test_a_notebook_shows_the_same_as_a_table_in_which_no_name_is_markup() -> None:
    evil = Categorical(name="<script>alert(1)</script>", source="x", vocabulary=("<b>", "a\nb"))
    shown = dataclasses.replace(SCHEMA, categorical=(evil,))._repr_html_()

    rows = ElementTree.fromstring(shown).findall("tr")
    assert ["".join(row[1].itertext()) for row in rows] == [
        "use",
        "target",
        "date",
        "categorical",
        "continuous",
        "left out",
    ]
    assert rows[3][0].text == "<script>alert(1)</script>"
    assert rows[3][2].text == r"2 values: <b>, a\nb"
    assert {element.tag for element in ElementTree.fromstring(shown).iter()} == {"table", "tr", "th", "td"}


def test_a_wide_table_prints_short() -> None:
    columns = tuple(Continuous(name=f"x{i}", source=f"x{i}", mean=0.0, std=1.0, fill=0.0) for i in range(1000))
    wide = Schema(target=Target(columns=("y",), task=Regression(mean=(0.0,), spread=(1.0,))), continuous=columns)
    assert len(str(wide).splitlines()) < 50
    assert "990 more columns" in str(wide)

    wide = dataclasses.replace(SCHEMA, continuous=columns)
    assert "id           left out     every value differs" in str(wide).splitlines()


def test_no_line_is_wider_than_a_terminal_and_none_is_broken_in_two() -> None:
    long = Categorical(name="n" * 50, source="x", vocabulary=("one\nline\tand another", "a" * 90))
    lines = str(dataclasses.replace(SCHEMA, categorical=(long,), dates=())).splitlines()

    assert max(map(len, lines)) == 80
    assert [line.split()[1] for line in lines][:2] == ["target", "categorical"]
    assert r"one\nline\tand another" in lines[1]


def test_labels_that_spaces_or_commas_would_hide_stand_in_quotes() -> None:
    target = Target(columns=("paid",), task=Multiclass(4), classes=("well", "well ", "1,5", "so so"))

    assert "4 classes: well, 'well ', '1,5', so so" in str(dataclasses.replace(SCHEMA, target=target))


def test_a_newer_format_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"format 3 is newer than 2.*Update tabvision"):
        Schema.from_dict({**SCHEMA.to_dict(), "format": 3})


def test_a_fact_at_its_default_is_not_written() -> None:
    number, category = SCHEMA.to_dict()["continuous"][1], SCHEMA.to_dict()["categorical"][1]

    assert number == {"name": "sold_elapsed", "source": "sold", "mean": 1e9, "std": 1e7, "fill": 1e9, "part": "elapsed"}
    assert category == {"name": "size", "source": "size", "vocabulary": [1, 2.5, True]}
    assert "images" not in SCHEMA.to_dict()


def test_facts_that_are_seldom_recorded_go_to_json_and_back() -> None:
    number = dataclasses.replace(SCHEMA.continuous[0], low=0.0, high=99.5, atoms=(0.0, 18.0))
    date = dataclasses.replace(SCHEMA.dates[0], first="2013-01-01", last="2013-12-31 23:59:00")
    target = dataclasses.replace(SCHEMA.target, low=(-1.5,), high=(2.0,))
    schema = dataclasses.replace(SCHEMA, target=target, continuous=(number,), dates=(date,))

    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


@pytest.mark.parametrize(
    ("where", "fact", "message"),
    [
        (("continuous", 0), {"log": True}, "facts that this version does not know: log. Update tabvision"),
        (("target",), {"unit": "EUR"}, "facts that this version does not know: unit"),
        ((), {"videos": []}, "facts that this version does not know: videos"),
        (("categorical", 0), {"text": "lower"}, "Invalid enum value 'lower'"),
        (("dates", 0), {"format": "%d.%m.%Y"}, "Invalid enum value '%d.%m.%Y'"),
        (("images", 0), {"channels": 0}, "Expected `int` >= 1"),
        (("images", 0), {"value_range": [0, 65535]}, "Expected `array`, got `int`"),
        (
            (),
            {"images": [{"size": [8, 8]}, {"size": [9, 9]}]},
            "a row has 2 images, and this version reads one. Update",
        ),
    ],
)
def test_facts_that_this_version_does_not_follow_are_refused(where: Any, fact: dict[str, Any], message: str) -> None:
    data = dataclasses.replace(SCHEMA, image=Image(size=(8, 8))).to_dict()
    inner = data
    for key in where:
        inner = inner[key]
    inner.update(fact)

    with pytest.raises(TabvisionError, match=message):
        Schema.from_dict(data)


def test_spread_goes_on_working_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="Image: `spread` will be removed in 0.3. Use std instead"):
        image = Image(size=(8, 8), mean=HALF, spread=HALF)  # type: ignore[call-arg]  # what the test is about
    with pytest.warns(DeprecationWarning, match="Continuous: `spread` will be removed in 0.3"):
        spread = SCHEMA.continuous[0].spread  # type: ignore[attr-defined]  # likewise

    assert (image.std, spread) == (HALF, 10.0)


def _changed(**changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(SCHEMA.to_dict())), **changes}


def test_facts_that_do_not_fit_are_a_tabvision_error(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [
        None,
        [],
        {},
        {"format": 1},
        {"format": 1, "continuous": 3, "image": []},
        {"format": 1, "continuous": [{"name": ["x"], "source": ["x"]}], "dates": [{"name": {}}]},
        _changed(format="1"),
        _changed(format=True),
        _changed(format=0),
        _changed(target=None),
        _changed(target={"columns": ["y"], "task": {"name": "unheard of"}}),
        _changed(target={"columns": "y", "task": Binary().to_dict()}),
        _changed(continuous=[{"name": 3}]),
        _changed(continuous={"age": 1}),
        _changed(images=3),
        _changed(images=[3]),
        _changed(continuous=None),
        _changed(categorical=[{"name": "a", "source": "a", "vocabulary": [["nested"]]}]),
        _changed(dates=[{"name": "d", "parts": ["century"]}]),
    ]

    for data in cases:
        with subtests.test(data=data), pytest.raises(TabvisionError):
            Schema.from_dict(data)


def test_how_text_is_read_is_a_fact_and_the_strict_ways_are_not_written() -> None:
    price = Continuous(name="price", source="price", mean=5.0, std=1.0, fill=5.0, text="€")
    month = Continuous(name="when_month", source="when", mean=5.0, std=1.0, fill=5.0, part="month")
    when = Date(name="when", parts=("month",), format="d/m/Y")
    schema = Schema(target=SCHEMA.target, continuous=(price, month), dates=(when,))

    facts = json.loads(json.dumps(schema.to_dict()))

    assert Schema.from_dict(facts) == schema
    assert (facts["continuous"][0]["text"], facts["dates"][0]["format"]) == ("€", "d/m/Y")
    assert "text" not in facts["continuous"][1]
    assert "text read as €" in str(schema)
    assert "text read as d/m/Y, 1 part: month" in str(schema)
    assert "Unix time in ms, 1 part: month" in str(
        dataclasses.replace(schema, dates=(dataclasses.replace(when, format="ms"),))
    )
    for text in ("F", "1.5 kg\n", "1.5" + "k" * 50):
        with pytest.raises(TabvisionError, match=r"continuous\[0\]\.text"):
            Schema.from_dict({**facts, "continuous": [{**facts["continuous"][0], "text": text}]})


def test_words_that_are_missing_go_to_json_and_back() -> None:
    for words in ((), ("NA", "?")):
        schema = dataclasses.replace(SCHEMA, na_values=words)

        assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    assert "na_values" not in SCHEMA.to_dict()


def test_known_columns_are_inputs_and_target_with_the_texts_they_may_hold() -> None:
    code = Categorical(name="code", source="code", vocabulary=("007", "None"))
    rooms = Categorical(name="rooms", source="rooms", vocabulary=(1, 2))
    tags = Target(columns=("tags",), task=Multiclass(), classes=("a", "b"), separator="|")

    schema = Schema(target=tags, categorical=(code, rooms), image=Image(size=(8, 8), name="file"))

    assert schema.known_columns == {"code": ("007", "None"), "rooms": None, "file": (), "tags": ("a", "b", "")}
    assert schema.text_columns == {"code", "file", "tags"}
