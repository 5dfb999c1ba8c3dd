import pytest

from leaderboard.address import Filters, link, parse

SETS = ["WLASL100", "zoo"]


@pytest.mark.parametrize(
    "filters",
    [
        Filters(),
        Filters("WLASL100", "test", "bone & ü=1", "every", ("ece", "date"), "parameters", "-n", "a:b+c:d:e", "f:g", 7),
    ],
)
def test_an_address_says_all_that_is_looked_at(filters):
    assert parse(link(filters), SETS) == (filters, [])


def test_what_is_as_by_default_is_left_out():
    assert link(Filters()) == "?tab=leaderboard" and link(Filters(), sort="-n") == "?tab=leaderboard&sort=-n"
    assert link(Filters(dataset="zoo", sort="-n"), dataset="all") == "?tab=leaderboard&sort=-n"


@pytest.mark.parametrize(
    ("query", "expected", "strange"),
    [
        ("", Filters(), []),
        ("?dataset=zoo&unheard=1&tab=x", Filters("zoo"), []),
        ("?dataset=WLASL7&protocol=test", Filters(protocol="test"), ["dataset=WLASL7"]),
        ("?protocol=%3Cimg%3E&rows=&sort=--n&axis=fun", Filters(), ["protocol=<img>", "axis=fun", "sort=--n"]),
        (
            "?columns=ece,fun,__class__&page=9",
            Filters(columns=("ece",), page=9),
            ["columns=fun", "columns=__class__"],
        ),
        ("?dataset=zoo&dataset=WLASL100", Filters("WLASL100"), []),
        ("?page=0&row=x", Filters(row="x"), ["page=0"]),
        ("?page=-1", Filters(), ["page=-1"]),
        ("?page=" + "9" * 5000, Filters(), ["page=" + "9" * 100]),
        ("?%ff=%zz&&=&search=" + "x" * 5000, Filters(search="x" * 100), []),
    ],
)
def test_what_names_nothing_is_left_out_and_told(query, expected, strange):
    found, told = parse(query, SETS)
    assert found == expected and sorted(told) == sorted(strange)
