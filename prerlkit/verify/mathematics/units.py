"""The units that an answer may have, and how they convert."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from prerlkit.verify.mathematics.words import number_of_words

_MEASURES = """
length: m meter metre =1; cm centimeter centimetre =1/100; mm millimeter millimetre =1/1000; dm decimeter =1/10;
length: km kilometer kilometre =1000; nm nanometer =1/1000000000; in inch inche inches =254/10000
length: ft foot feet =3048/10000; yd yard =9144/10000; mi mile =1609344/1000; lightyear =9460730472580800
mass: g gram gm =1; kg kilogram kilo =1000; mg milligram =1/1000; t ton tonne =1000000
mass: lb lbs pound =45359237/100000; oz ounce =45359237/1600000
time: s sec secs second =1; ms millisecond =1/1000; min mins minute =60; h hr hrs hour =3600; day =86400; week =604800
calendar: month =1; year yr =12; decade =120; century centurie centuries =1200
volume: L l liter litre =1; mL ml milliliter millilitre =1/1000
kitchen: gallon gal =16; quart =4; pint =2; cup =1; tablespoon =1/16; teaspoon =1/48
money: dollar USD usd buck =1; cent ¢ =1/100; dime =1/10; nickel =1/20; penny pennie pennies =1/100
pound: GBP gbp =1
euro: euro EUR eur =1
rupee: rupee Rs rs INR =1
yuan: yuan 元 RMB rmb CNY =1
yen: yen JPY =1
angle: degree deg =1
celsius: celsius =1
fahrenheit: fahrenheit =1
data: bit =1; byte =8; KB kilobyte =8000; MB megabyte =8000000; GB gigabyte =8000000000
energy: J joule =1; kJ kilojoule =1000; cal calorie =4184/1000
power: W watt =1; kW kilowatt =1000; mW milliwatt =1/1000; MW megawatt =1000000
force: N newton =1
substance: mol mole =1; mmol =1/1000
temperature: K kelvin =1
resistance: ohm =1; kiloohm =1000
electronenergy: eV electronvolt =1; keV =1000; MeV =1000000
pressure: Pa pascal =1; kPa kilopascal =1000; atm atmosphere =101325
current: A amp ampere =1; mA milliamp =1/1000
charge: C coulomb =1
field: T tesla =1
level: dB decibel =1
horsepower: hp horsepower =1
data rate: baud =1
voltage: V volt =1
frequency: Hz hertz =1; kHz =1000; rpm =1/60
"""
_DERIVED = {
    "mph": "mi/h", "kph": "km/h", "kmh": "km/h", "kmph": "km/h", "mps": "m/s", "fps": "ft/s", "bps": "bit/s",
    "cc": "cm^3", "sqft": "ft^2", "mpg": "mile/gallon",
}  # fmt: skip
_THINGS = frozenset(
    re.findall(
        r"\S+",
        """unit radian rad way apple orange banana pear peach lemon lime melon watermelon mango grape berry berries
    strawberry strawberries blueberry cherry cherries plum fruit vegetable carrot potato tomato onion pumpkin flower
    rose tulip daisy lily plant tree bush seed leaf egg cookie brownie cake cupcake muffin donut doughnut pie pizza
    slice piece loaf bread sandwich burger hamburger hotdog candy candies chocolate lollipop gumball snack meal
    dinner lunch breakfast dish plate bowl glass bottle can jar box bag basket bucket crate carton packet pack
    package case container barrel tank bin pile stack row column book page chapter notebook magazine newspaper
    letter word line paragraph story poem essay stamp card sticker pencil pen crayon marker eraser ruler folder
    paper sheet poster photo picture painting drawing song video movie game toy doll ball balloon marble bead button
    ribbon block brick tile coin bill note ticket token prize medal point goal run hit  vote mark win loss game
    match round set lap trip step jump flight stop station ride person people man men woman women child children kid
    boy girl baby babies student pupil teacher worker employee member friend player guest passenger customer visitor
    patient doctor nurse driver resident villager soldier guard  team group class classroom school family
    household club company office dog cat puppy kitten horse pony cow calf pig sheep goat chicken hen rooster duck
    goose geese bird fish shark rabbit hamster mouse mice turtle frog spider ant bee butterfly lion tiger bear
    elephant monkey animal pet insect car truck bus van bike bicycle motorcycle train plane airplane boat ship wheel
    tire vehicle seat house home room door window chair table desk bed lamp shelf shelves floor wall building
    apartment shirt pant dress skirt sock shoe hat coat jacket sweater scarf glove uniform shorts side angle vertex
    vertice vertices edge face diagonal triangle square rectangle circle cube sphere polygon line segment solution
    root zero value number digit integer factor divisor multiple prime term element subset permutation combination
    arrangement outcome possibility possibilities choice option function    path route question
    problem answer test exam quiz lesson course assignment task job project hour shift item object thing part
    section area unit mark entry entries copy copies kind type color colour size tour event meeting session day
    night morning evening afternoon weekend time month  hole cave hill mountain rock stone shell acre hectare
    lane street block phone computer laptop tablet camera battery batteries television tv machine tool nail screw
    bolt board plank rope string rope wire pole post fence panel gift present toothpick stick match candle flag sign
    lightbulb bulb""",
    )
)
"""Everyday things that are counted. They convert into nothing, and differ from each other."""
_ADJECTIVES = frozenset(
    re.findall(
        r"\S+",
        """red blue green yellow white black brown pink purple orange small large big new old different distinct
        possible     real total additional extra whole full square cubic us u.s. american""",
    )
)
_NO_KIND = frozenset(
    re.findall(r"\S+", "possible real total additional extra whole full square cubic us u.s. american")
)
NUMBERS = {
    "ten": 10, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
    "lakh": 10**5, "crore": 10**7,
}  # fmt: skip
"""Words that multiply: `5 million` is 5,000,000."""
FRACTIONS = {"half": 2, "halve": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10,
             "hundredth": 100}  # fmt: skip
"""Words that divide: `2 thirds`."""
_OF = re.compile(
    r"(.*?)\s*\bof (?:the |a |an |his |her |their |its |all |each )?(?P<of>[a-z]+(?: [a-z]+)?)", re.IGNORECASE
)
_NUMBER_OF = re.compile(r"(?:number|(?:square|cube|cubic)? ?(?:root|square|cube))s?", re.IGNORECASE)
_FACTOR = re.compile(r"([A-Za-z.元¢]+)(?:\s*\^\s*\{?\s*(-?\d)\s*\}?|\s+(squared|cubed))?")


class Unit(NamedTuple):
    """What a number counts: a scale, and dimensions with their powers."""

    scale: Fraction
    dimensions: tuple[tuple[str, int], ...]


def _table() -> dict[str, tuple[str, Fraction]]:
    table = {}
    for line in _MEASURES.strip().splitlines():
        dimension, entries = line.split(":")
        for entry in entries.strip("; ").split(";"):
            names, scale = entry.split("=")
            table.update({name: (dimension, Fraction(scale.strip())) for name in names.split()})
    return table


_KNOWN = _table()
_SYMBOLS = frozenset(["kwh", "khz", "usd", "eur", "gbp", "jpy", "inr", "rmb", "cny"])


@lru_cache(maxsize=4096)
def unit_of(words: str) -> Unit | None:
    """Return the unit that words name, `cm^2` or `pounds of apples` or `km per hour`; None where one is unknown.

    What is counted of something counts as it: a pound of apples is a pound.
    """
    text = re.sub(r"\\cdot|[~\\]", " ", re.sub(r"[{}]", "", words)).strip(" .")
    text = re.sub(r"\bper\b|\ba(?=\s+(?:day|week|month|year|hour|minute|second)\b)", "/", text)
    if (of := _OF.fullmatch(text)) and not re.search(r"\bof which\b", text):
        text = of[1]
        if any(number_of_words(word) is not None for word in of["of"].split()) or _NUMBER_OF.fullmatch(text):
            return None  # 5 square roots of two, 5 of ten
        if not text:
            return Unit(Fraction(1), ())
    if text == "digit number":
        return None
    scale, dimensions = Fraction(1), dict[str, int]()
    for i, side in enumerate(text.split("/")):
        power_of_next = 1
        rest = _DERIVED_UNITS.sub(lambda found: _DERIVED[found[0]], side) if i == 0 else side
        if "/" in rest:
            return unit_of(text.replace(side, rest, 1))
        at, seen = 0, 0
        for found in _FACTOR.finditer(rest):
            if rest[at : found.start()].strip(" *-·"):
                return None
            at = found.end()
            word, exponent = found[1].strip("."), found[2] or {"squared": "2", "cubed": "3"}.get(found[3] or "", "1")
            if word.lower() in ("square", "sq", "cubic", "cu"):
                power_of_next = 2 if word.lower().startswith("s") else 3
                continue
            if word.lower() in _ADJECTIVES:
                continue
            one = _single(word)
            if one is None:
                return None
            power = int(exponent) * power_of_next * (-1 if i else 1)
            scale *= one[1] ** power
            dimensions[one[0]] = dimensions.get(one[0], 0) + power
            power_of_next, seen = 1, seen + 1
        if rest[at:].strip(" .*") or not seen:
            return None
    return Unit(scale, tuple(sorted((name, power) for name, power in dimensions.items() if power)))


def _single(word: str) -> tuple[str, Fraction] | None:
    if word in _KNOWN:
        return _KNOWN[word]
    for name in (word.lower(), _singular(word.lower())):
        if name in _KNOWN and len(name) > 2 and name not in _SYMBOLS:
            return _KNOWN[name]
        if name in _THINGS:
            return name, Fraction(1)
    return None


def _singular(word: str) -> str:
    """Good enough to compare two spellings of one word."""
    for ending in ("ches", "shes", "sses", "xes", "zes"):
        if word.endswith(ending):
            return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def same_kind(gold: str, answer: str) -> bool:
    """Return whether two units don't count different things: red and blue marbles, pounds of apples and of pears."""
    (left, of), (right, other) = _kind(gold), _kind(answer)
    return (not left or not right or left == right) and (not of or not other or same_label(of, other))


def _kind(words: str) -> tuple[frozenset[str], str]:
    """The adjectives that tell one kind from another, and what it is counted of."""
    of = _OF.fullmatch(words.strip())
    adjectives = (_ADJECTIVES - _NO_KIND) & frozenset(re.findall(r"[a-z]+", (of[1] if of else words).lower()))
    return adjectives, of["of"] if of else ""


def same_label(gold: str, answer: str) -> bool:
    """Return whether words after a number say the same, singular or plural."""
    left, right = ([_singular(word) for word in re.findall(r"[A-Za-z]+", text)] for text in (gold, answer))
    return left == right or (
        all(len(word) > 3 for word in left) and [word.lower() for word in left] == [word.lower() for word in right]
    )


_DERIVED_UNITS = re.compile(r"\b(?:" + "|".join(_DERIVED) + r")\b")
