"""The made-up people of the demo: the same ones on every machine.

Every number lies in a range kept for fiction (Ofcom's drama numbers, NANP 555-01xx, and those of Bundesnetzagentur
and ARCEP), and is written the way people write numbers: in one of many ways.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

__all__ = ["AGENTS", "COMPANIES", "CONTACT_COUNT", "DEALS", "Person", "people"]

CONTACT_COUNT = 200

# user name, first name, last name, the sandbox's line on which she telephones, and her extension on an Asterisk
AGENTS = [
    ("alice", "Alice", "Agent", "10031", "1001"),
    ("bob", "Bob", "Agent", "10032", "1002"),
    ("carol", "Carol", "Agent", "10033", "1003"),
]

# name, city, country, switchboard, what they do
COMPANIES = [
    ("Northlight Joinery", "Leeds", "United Kingdom", "0113 496 0100", "Staircases and doors, made to measure."),
    ("Brightwater Dental", "London", "United Kingdom", "(020) 7946 0100", "Four practices in south London."),
    ("Pennine Bikes", "Manchester", "United Kingdom", "0161 496 0100", "Hire and repair. Busy from April on."),
    ("Castle Street Coffee", "Edinburgh", "United Kingdom", "+44 (0)131 496 0100", "Roastery and three cafés."),
    ("Meridian Freight", "Birmingham", "United Kingdom", "+44.121.496.0100", "Pallets to Ireland and back, daily."),
    ("Søndergaard & Daughters", "Berlin", "Germany", "+49 30 23125-100", "Organs, restored."),
    ("Atelier Lavande", "Paris", "France", "+33 1 99 00 10 00", "Soap. Out of office: call +33 1 99 00 10 01."),
    ("Potomac Instruments", "Washington DC", "United States", "+1 (202) 555-0100", "Weather stations."),
]

_FIRST = (
    "Amelia Arthur Beatrice Callum Daisy Duncan Eleanor Ewan Fatima Finlay Grace Hamish Imogen Isaac Jasmine Jonas "
    "Keira Kwame Leila Lewis Maeve Mohammed Nadia Niall Olive Owen Priya Rhys Rosa Samir Sofia Tobias Uma Victor "
    "Wanda Xavier Yasmin Zoë"
)
_LAST = (
    "Abbott Achebe Bailey Banerjee Bright Campbell Castellano Dąbrowski Doyle Evans Ferreira Fraser Gallagher Green "
    "Hughes Ibrahim Jansen Kapoor Kowalski Lindqvist MacLeod Mensah Murphy Novak Okafor Olsen Patel Quinn Reid Rossi "
    "Sato Schmidt Singh Stewart Thomas Ueda Vasquez Walker Xu Young Zimmermann"
)
_TITLES = (
    "Owner",
    "Office manager",
    "Buyer",
    "Head of sales",
    "Accounts",
    "Engineer",
    "Designer",
    "Dispatcher",
    "Assistant",
    "Workshop lead",
)

# How the numbers of each country are written; {:03d} is a running number, so that no two people share one by accident.
_PHONES = {
    "Leeds": "0113 496 0{:03d}",
    "London": "020 7946 0{:03d}",
    "Manchester": "(0161) 496 0{:03d}",
    "Edinburgh": "+44 (0)131 496 0{:03d}",
    "Birmingham": "0044 121 496 0{:03d}",
    "Berlin": "+49 30 23125-{:03d}",
    "Paris": "+33 1 99 00 1{0[0]} {0[1]}{0[2]}",
    "Washington DC": "+1 202-555-01{:02d}",
}
_MOBILES = ("07700 900{:03d}", "+44 7700 900 {:03d}", "+447700900{:03d}", "07700/900{:03d}")


@dataclass(frozen=True, kw_only=True)
class Person:
    first_name: str
    last_name: str
    company: str = ""
    job_title: str = ""
    email: str = ""
    phone: str = ""
    mobile: str = ""
    notes: str = ""
    phones: dict[str, str] = field(default_factory=dict)


# People whom the demo's steps mention; the rest is filled up to CONTACT_COUNT.
_NOTABLE = [
    Person(
        first_name="Dana",
        last_name="Whitfield",
        company="Brightwater Dental",
        job_title="Practice manager",
        email="dana.whitfield@brightwater.example",
        phone="020 7946 0018",
        mobile="07700 900018",
        notes="Prefers mornings. In the holidays her deputy answers: 020 7946 0019.",
        phones={"Home": "01632 960018"},
    ),
    Person(
        first_name="",
        last_name="O'Brien & Söhne",
        company="Søndergaard & Daughters",
        job_title="Supplier",
        email="post@obrien-soehne.example",
        phone="+49 30 23125-118",
    ),
    # Two people behind one number: the pop asks which of them it is, and remembers the answer.
    Person(first_name="Henry", last_name="Ashdown", company="Pennine Bikes", job_title="Owner", phone="0161 496 0021"),
    Person(first_name="Ruth", last_name="Ashdown", company="Pennine Bikes", job_title="Books", phone="+441614960021"),
    # Three colleagues in one workshop with one telephone.
    Person(first_name="Ilse", last_name="Holm", company="Northlight Joinery", phone="0113 496 0022"),
    Person(first_name="Jack", last_name="Tanner", company="Northlight Joinery", phone="0113 4960022"),
    Person(first_name="Moira", last_name="Kerr", company="Northlight Joinery", phone="(0113) 496-0022"),
]

# title, company, last name of the contact, agent, stage, pounds, days from today
DEALS = [
    ("Booking system for four practices", "Brightwater Dental", "Whitfield", "alice", "negotiation", 18_400, 9),
    ("Recall letters", "Brightwater Dental", "Whitfield", "alice", "lead", 2_200, 40),
    ("Hire fleet tracking", "Pennine Bikes", "Ashdown", "alice", "offer", 7_900, 14),
    ("Staircase configurator", "Northlight Joinery", "Holm", "alice", "lead", 12_000, 60),
    ("Wind chest drawings", "Søndergaard & Daughters", "O'Brien & Söhne", "bob", "offer", 5_600, 21),
    ("Café tills", "Castle Street Coffee", "", "bob", "negotiation", 9_300, 5),
    ("Depot Wi-Fi", "Meridian Freight", "", "bob", "lead", 3_100, 33),
    ("Shop in three languages", "Atelier Lavande", "", "carol", "offer", 14_750, 18),
    ("Station firmware", "Potomac Instruments", "", "carol", "negotiation", 31_000, 25),
    ("Driver app", "Meridian Freight", "", "carol", "won", 22_000, -12),
    ("Loyalty cards", "Castle Street Coffee", "", "carol", "lost", 1_900, -30),
]


def people() -> Iterator[Person]:
    """CONTACT_COUNT people, always the same."""
    yield from _NOTABLE
    random = Random(7946)  # noqa: S311  (a fixed seed: the demo is the same everywhere)
    names = random.sample(
        [(first, last) for first in _FIRST.split() for last in _LAST.split()], CONTACT_COUNT - len(_NOTABLE)
    )
    for serial, (first_name, last_name) in enumerate(names, start=200):
        name, city, *_rest = COMPANIES[serial % len(COMPANIES)]
        yield Person(
            first_name=first_name,
            last_name=last_name,
            company=name,
            job_title=random.choice(_TITLES),
            email=f"{first_name}.{last_name}@{name.split()[0]}.example".lower().translate(_ASCII),
            phone=_phone(city, serial),
            mobile=_MOBILES[serial % len(_MOBILES)].format(serial) if serial % 3 else "",
            phones={"Home": f"01632 960{serial}"} if serial % 5 == 0 else {},
        )


_ASCII = str.maketrans("ąëøö", "aeoo")


def _phone(city: str, serial: int) -> str:
    if city == "Washington DC":
        # Only a hundred numbers are kept for fiction there; every eighth person has one of them.
        return _PHONES[city].format(serial // len(COMPANIES))
    return _PHONES[city].format(f"{serial:03d}" if city == "Paris" else serial)
