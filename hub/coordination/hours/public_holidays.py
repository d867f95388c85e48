"""Public holidays: the one door to the package that knows them."""

from collections.abc import Callable
from datetime import date
from functools import cache

import holidays


def holidays_of(country: str | None) -> Callable[[int], bool] | None:
    """Give a function that tells whether a day (a proleptic ordinal) is a public holiday.

    Substitute holidays count (Japan's 振替休日 and 国民の休日). None where none are kept.
    """
    if country is None or country == "none":
        return None
    return lambda day: day in _year(country, date.fromordinal(day).year)


@cache  # what a law says of a year is the same for everybody
def _year(country: str, year: int) -> frozenset[int]:
    return frozenset(day.toordinal() for day in holidays.country_holidays(country, years=year))


def holidays_between(country: str, first: date, last: date) -> list[tuple[date, str]]:
    """Give the public holidays from `first` to `last` with their names, by day."""
    years = range(first.year, last.year + 1)
    found = holidays.country_holidays(country, years=years)
    return sorted((day, str(name)) for day, name in found.items() if first <= day <= last)
