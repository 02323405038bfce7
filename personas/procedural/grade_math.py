"""Word problems for grade school, several steps each, with a whole number or an amount of money as the answer."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from personas.procedural.family import Family, Made, Scene
from personas.procedural.wording import Answer, listed, made, words

FORM = "#### {}"  # GSM8K's mark before the answer
NOTES = (20, 50, 100, 200)  # dollars


def _money(cents: int) -> str:
    return str(cents // 100) if cents % 100 == 0 else f"{cents // 100}.{cents % 100:02}"


def _made(
    rng: random.Random,
    prompts: Sequence[str],
    right: tuple[Sequence[str], int | str],
    slip: tuple[str, int | str],
    **numbers: Any,
) -> Made:
    given: Mapping[str, Any] = numbers
    return made(rng, FORM, prompts, Answer(right[0], str(right[1])), Answer((slip[0],), str(slip[1])), given)


def _change(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    x, y = rng.randint(3, 12), rng.randint(2, 9)
    each_a, each_b = rng.randrange(75, 900, 25), rng.randrange(75, 700, 25)
    cost_a, cost_b = x * each_a, y * each_b
    paid = next(note for note in NOTES if note * 100 > cost_a + cost_b)
    pa, pb, left = _money(each_a), _money(each_b), _money(paid * 100 - cost_a - cost_b)
    prompts = (
        f"{w.here}, {w.who} buys {x} {w.a} at ${pa} each and {y} {w.b} at ${pb} each. If {w.name} pays with ${paid}, "
        "how many dollars of change should there be?",
        f"{w.intro} The shopping list for a day of {w.topic} names {x} {w.a} and {y} {w.b}. Each of the {w.a} costs "
        f"${pa}, and each of the {w.b} costs ${pb}. How many dollars of ${paid} are left once all is bought?",
        f"A shop sells {w.a} for ${pa} apiece and {w.b} for ${pb} apiece. {w.who} takes {y} of the {w.b} and {x} of "
        f"the {w.a} to the till and hands over ${paid}. How much change, in dollars, does {w.name} get back?",
        f"{w.intro} There is ${paid} in the cash box. {w.name} pays out of it for {x} {w.a}, which cost ${pa} for each "
        f"one, and for {y} {w.b}, which cost ${pb} for each one. Work out how many dollars remain in the cash box.",
    )
    ways = (
        f"The {w.a} cost {x} * {pa} = {_money(cost_a)} dollars.\nThe {w.b} cost {y} * {pb} = {_money(cost_b)}.\n"
        f"Together that is {_money(cost_a)} + {_money(cost_b)} = {_money(cost_a + cost_b)} dollars, so "
        f"{paid} - {_money(cost_a + cost_b)} = {left} dollars remain.",
        f"Start from {paid} dollars. After the {w.a}, at {x} * {pa} = {_money(cost_a)}, there are {paid} - "
        f"{_money(cost_a)} = {_money(paid * 100 - cost_a)} dollars. The {w.b} take another {y} * {pb} = "
        f"{_money(cost_b)}, which leaves {_money(paid * 100 - cost_a)} - {_money(cost_b)} = {left} dollars.",
    )
    off = _money(paid * 100 - cost_a)
    slip = f"The {w.a} cost {x} * {pa} = {_money(cost_a)} dollars. So {paid} - {_money(cost_a)} = {off} dollars remain."
    return _made(rng, prompts, (ways, left), (slip, off), x=x, y=y, each_a=pa, each_b=pb, paid=paid)


def _pace(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    slow, alone = rng.randint(6, 30), rng.randint(2, 5)
    fast, both = slow + rng.randint(4, 25), rng.randint(2, 7)
    first, total = slow * alone, slow * alone + fast * both
    prompts = (
        f"{w.who} has to check {total} {w.a}. Alone, {w.name} checks {slow} of them per hour for {alone} hours. Then a "
        f"helper comes, and together they check {fast} per hour. How many more hours do the two need to finish?",
        f"{w.intro} An order of {total} {w.a} must be sorted. For the first {alone} hours the pace is {slow} an hour; "
        f"after that, with a second pair of hands, it is {fast} an hour. How many hours of work are left when the "
        "second person arrives?",
        f"{w.here}, {total} {w.b} are waiting for labels. {w.who} works alone for {alone} hours at {slow} labels an "
        f"hour, and then a friend joins in, which raises the pace to {fast} labels an hour. For how many hours do they "
        "work side by side until the last label is on?",
        f"{w.intro} For a fair about {w.topic}, {total} {w.b} have to be packed. {w.name} packs {slow} per hour and "
        f"keeps that up for {alone} hours. A faster colleague then takes over the rest alone, at {fast} per hour. "
        "Find the number of hours that the colleague works.",
    )
    rest = total - first
    ways = (
        f"In the first {alone} hours {alone} * {slow} = {first} are done.\nThat leaves {total} - {first} = {rest}.\n"
        f"At {fast} per hour they take {rest} / {fast} = {both} hours.",
        f"The slow part covers {slow} * {alone} = {first} of the {total}. What remains is {total} - {first} = {rest}, "
        f"and since {fast} * {both} = {rest}, the fast part lasts {both} hours.",
    )
    slip = f"The slow part does {first}; the rest takes {rest} / {fast} = {both} hours. So {alone} + {both} hours."
    return _made(rng, prompts, (ways, both), (slip, alone + both), total=total, slow=slow, alone=alone, fast=fast)


def _shares(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    while True:
        total, kept, people = rng.randint(60, 300), rng.randint(5, 30), rng.randint(4, 13)
        rest = total - kept
        each, left = divmod(rest, people)
        if left and left != total % people and total % people:
            break
    prompts = (
        f"{w.who} has {total} {w.a} and puts {kept} of them away for later. The others are shared equally among "
        f"{people} neighbours, who get as many whole ones as possible. How many of the others are left over?",
        f"{w.intro} Out of {total} {w.a}, {kept} turn out to be damaged and are thrown away. {w.name} divides the good "
        f"ones evenly among {people} visitors and keeps what cannot be divided. How many {w.a} does {w.name} keep?",
        f"{w.here}, the {total} {w.b} of {w.who} are to be given away. After {kept} have been sold, as many as "
        f"possible of the remaining ones go to {people} schools, the same number to each school. How many {w.b} "
        "remain at the end?",
        f"{w.intro} A club for {w.topic} owns {total} {w.b}. It lends {kept} of them to {w.name} and then sorts all "
        f"those it still has into {people} equal piles, as large as they can be. Find how many {w.b} are in no pile "
        "and not lent out.",
    )
    ways = (
        f"First {total} - {kept} = {rest} are to be divided.\nEach of the {people} gets {each}, because {people} * "
        f"{each} = {people * each}.\nThat leaves {rest} - {people * each} = {left}.",
        f"After {kept} are gone there are {total} - {kept} = {rest}. Dividing by {people} gives {each} in each part, "
        f"which uses {each} * {people} = {people * each}, and so it leaves {rest} - {people * each} = {left}.",
    )
    slip = f"{total} divided by {people} is {total // people}, with {total % people} left over."
    return _made(rng, prompts, (ways, left), (slip, total % people), total=total, kept=kept, people=people)


def _discount(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    count, price, percent = rng.randint(3, 15), rng.randrange(20, 141, 20), rng.randrange(5, 45, 5)
    delivery = rng.randint(4, 19)
    full = count * price
    off = full * percent // 100
    total = full - off + delivery
    prompts = (
        f"{w.who} orders {count} {w.a}. The list price is ${price} for each, but members get {percent}% off the price "
        f"of the goods, and delivery adds ${delivery} to the bill. How many dollars does {w.name} pay as a member?",
        f"{w.intro} During a sale everything is {percent}% cheaper. {w.name} picks {count} {w.b} which used to cost "
        f"${price} each, and has them sent home for a further ${delivery}, on which there is no discount. What is the "
        "total cost in dollars?",
        f"A supplier who knows about {w.topic} offers {w.a} at ${price} apiece. Whoever buys {count} or more saves "
        f"{percent}% on them. {w.who} buys exactly {count} and also pays ${delivery}, without any discount, for "
        "packing. Work out the full bill in dollars.",
        f"{w.hello} {w.here}, a sign says that all {w.b} are reduced by {percent}%. Before the reduction each one was "
        f"${price}. {w.name} takes {count} of them, and parking costs ${delivery} on top. How many dollars does the "
        "trip cost altogether?",
    )
    ways = (
        f"Without the discount: {count} * {price} = {full} dollars.\nThe discount is {percent}% of {full}, which is "
        f"{off}.\nSo the goods cost {full} - {off} = {full - off}, and with the extra ${delivery} it is {full - off} + "
        f"{delivery} = {total} dollars.",
        f"{count} at ${price} each are {count} * {price} = {full} dollars. Paying {100 - percent}% of that means "
        f"{full} * {100 - percent} / 100 = {full - off} dollars. Adding {delivery} gives {full - off} + {delivery} = "
        f"{total}.",
    )
    slip = f"{count} * {price} = {full}, and {percent}% of it is {off}. So the cost is {full} - {off} = {full - off}."
    numbers = {"count": count, "price": price, "percent": percent, "delivery": delivery}
    return _made(rng, prompts, (ways, total), (slip, full - off), **numbers)


def _ages(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    pairs = [(k, c) for k in range(3, 8) for c in range(4, 17) if 20 <= (k - 1) * c <= 40]
    (times, child), years = rng.choice(pairs), rng.randint(2, 15)
    parent = times * child
    total = parent + child + 2 * years
    prompts = (
        f"{w.who} has a neighbour who is {times} times as old as the neighbour's daughter. In {years} years the two "
        f"ages will add up to {total}. How old is the neighbour now?",
        f"{w.intro} A father and his son come to talk about {w.topic}. The father says that he is now {times} times as "
        f"old as the boy, and the boy adds that in {years} years their ages together will make {total}. What is the "
        "father's age today, in years?",
        f"Two cousins of {w.who} meet {w.at}. The older cousin has {times} times the age of the younger one at the "
        f"moment, and {years} years from now the sum of their ages will be {total}. Find the present age of the older "
        "cousin.",
        f"{w.hello} A mother who buys {w.a} for her child {w.at} tells {w.name}: my age is {times} times my child's "
        f"age today, but {years} years from today our two ages will have the sum {total}. How old is the mother today?",
    )
    now = total - 2 * years
    ways = (
        f"In {years} years both are {years} years older, so today the ages add up to {total} - 2 * {years} = {now}.\n"
        f"That is {times} + 1 = {times + 1} times the younger age, which is {now} / {times + 1} = {child}.\n"
        f"The older one is {times} * {child} = {parent} years old.",
        f"Let the younger age be c, so that the older is {times}c. Then {times + 1}c + 2 * {years} = {total}, so "
        f"{times + 1}c = {now} and c = {child}. The older age is {times} * {child} = {parent}.",
    )
    slip = f"Today the ages add up to {now}, which is {times + 1} equal parts: {now} / {times + 1} = {child}."
    return _made(rng, prompts, (ways, parent), (slip, child), times=times, years=years, total=total)


def _average(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    days = rng.randint(3, 5)
    seen = [rng.randint(9, 60) for _ in range(days)]
    goal = (sum(seen) + rng.randint(10, 90)) // (days + 1) + 1
    needed, had = goal * (days + 1) - sum(seen), sum(seen)
    rows, n = listed(seen), days + 1
    prompts = (
        f"On the first {days} days of the week {w.who} sold {rows} {w.a}. How many {w.a} must {w.name} sell on the "
        f"next day so that the average over all {n} days is {goal}?",
        f"{w.intro} Each month {w.name} counts the {w.b} that were used. The first {days} counts are {rows}. What must "
        f"the next count be for the mean of the {n} counts to be exactly {goal}?",
        f"A course on {w.topic} has {n} tests of equal weight. {w.who} has scored {rows} points in the first {days}. "
        f"Find the number of points in the last test that brings the average of all {n} tests to {goal}.",
        f"{w.hello} {w.here}, {rows} people came to the {days} events held so far. One more event is planned, and the "
        f"hope is for a mean of {goal} people per event over the {n} events. How many people would have to come to the "
        "last one?",
    )
    ways = (
        f"An average of {goal} over {n} needs {n} * {goal} = {n * goal} in all.\nSo far there are "
        f"{' + '.join(map(str, seen))} = {had}.\nThe missing one is {n * goal} - {had} = {needed}.",
        f"The values so far sum to {' + '.join(map(str, seen))} = {had}. All {n} together must reach {goal} * {n} = "
        f"{goal * n}, so the last value has to be {goal * n} - {had} = {needed}.",
    )
    short = had - seen[-1]
    slip = f"All {n} need {n} * {goal} = {n * goal}. So far there are {short}, so {n * goal} - {short} are missing."
    numbers = {"seen": tuple(seen), "goal": goal, "days": days, "all_days": n}
    return _made(rng, prompts, (ways, needed), (slip, n * goal - short), **numbers)


def _legs(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    slow, hours = rng.randint(9, 24), rng.randint(2, 5)
    fast, minutes = rng.randrange(32, 100, 4), rng.choice((15, 30, 45, 75, 90))
    one, two = slow * hours, fast * minutes // 60
    prompts = (
        f"{w.who} cycles for {hours} hours at {slow} km per hour and then rides a bus for {minutes} minutes at {fast} "
        f"km per hour. How many kilometres does {w.name} travel in total?",
        f"{w.intro} A load of {w.a} is on its way. A boat carries it for {hours} hours at a steady {slow} km/h, and a "
        f"van covers the rest in {minutes} minutes at a steady {fast} km/h. How long is the whole way in kilometres?",
        f"To get to a meeting about {w.topic}, {w.who} needs {minutes} minutes on a train that goes {fast} km/h, "
        f"followed by {hours} hours on a bicycle at {slow} km/h. Find the total distance in km.",
        f"{w.hello} {w.here}, {w.name} reads the log of a delivery of {w.b}: first leg, {hours} hours, speed {slow} "
        f"km/h; second leg, {minutes} minutes, speed {fast} km/h. How many kilometres do the two legs make together?",
    )
    ways = (
        f"At {slow} km/h for {hours} hours: {slow} * {hours} = {one} km.\n{minutes} minutes are {minutes}/60 of an "
        f"hour, so the other part is {fast} * {minutes} / 60 = {two} km.\nTogether: {one} + {two} = {one + two} km.",
        f"The slow part is {hours} * {slow} = {one} km long. The fast part takes {minutes} minutes, and {fast} km/h "
        f"for {minutes} minutes gives {fast} * {minutes} / 60 = {two} km. In total {one} + {two} = {one + two} km.",
    )
    slip = f"The parts are {slow} * {hours} = {one} km and {fast} km, together {one} + {fast} = {one + fast} km."
    numbers = {"slow": slow, "hours": hours, "fast": fast, "minutes": minutes}
    return _made(rng, prompts, (ways, one + two), (slip, one + fast), **numbers)


def _units(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    strip, count = rng.randint(12, 48), rng.randint(8, 40)
    metres = strip * count // 100 + rng.randint(1, 9)
    used = strip * count
    left = metres * 100 - used
    prompts = (
        f"{w.who} has a roll of tape that is {metres} metres long and sticks a piece of {strip} cm on each of {count} "
        f"{w.a}. How many centimetres of tape are left on the roll?",
        f"{w.intro} From {metres} m of ribbon, {w.name} cuts {count} pieces for {count} {w.b}, and every piece "
        f"measures {strip} cm. What length of ribbon remains, in centimetres?",
        f"A poster about {w.topic} needs a border. {w.here}, {w.who} glues together {count} paper strips of {strip} cm "
        f"each, end to end, along an edge of {metres} metres. How many centimetres of the edge are still bare?",
        f"{w.intro} {w.name} is bundling {w.a} with cord: {count} bundles, and {strip} centimetres of cord for each "
        f"bundle. The cord was {metres} metres long at the start. Give the length that is left over in centimetres.",
    )
    ways = (
        f"{metres} metres are {metres} * 100 = {metres * 100} cm.\nThe pieces take {count} * {strip} = {used} cm.\n"
        f"So {metres * 100} - {used} = {left} cm remain.",
        f"All the pieces together measure {strip} * {count} = {used} cm. The full length in the same unit is {metres} "
        f"* 100 = {metres * 100} cm, which leaves {metres * 100} - {used} = {left} cm.",
    )
    off = metres * 1000 - used
    slip = f"{metres} metres are {metres * 1000} cm, and {metres * 1000} - {used} = {off} cm remain."
    return _made(rng, prompts, (ways, left), (slip, off), metres=metres, strip=strip, count=count)


def _ratio(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    x, y = rng.sample(range(2, 10), 2)
    unit = rng.randint(4, 15)
    total, taken = (x + y) * unit, rng.randint(2, min(x, y) * 3)
    left = y * unit - taken
    prompts = (
        f"{w.who} always packs {x} {w.a} for every {y} {w.b}. Today {total} pieces were packed in all, and then "
        f"{taken} of the {w.b} were taken out again. How many {w.b} are still packed?",
        f"{w.intro} In the store room the {w.a} and the {w.b} are in the ratio {x} to {y}, and there are {total} "
        f"altogether. If {w.name} hands out {taken} of the {w.b}, what number of {w.b} stays in the room?",
        f"A kit for {w.topic} holds {w.a} and {w.b} in the ratio {x}:{y}. {w.here}, {w.who} opens kits with {total} "
        f"things inside altogether and finds that {taken} of the {w.b} are broken. How many {w.b} are whole?",
        f"{w.hello} {w.name} needs {total} things for an exhibition {w.at}, namely {w.a} and {w.b}, {y} of the latter "
        f"for every {x} of the former. A friend lends {taken} of the {w.b}, and {w.name} has to find the others. How "
        f"many {w.b} does {w.name} have to find?",
    )
    ways = (
        f"One group has {x} + {y} = {x + y} things, and {total} / {x + y} = {unit}, so there are {unit} groups.\n"
        f"That makes {y} * {unit} = {y * unit} {w.b}.\nWithout {taken} of them it is {y * unit} - {taken} = {left}.",
        f"The {w.b} are {y} of {x + y} equal parts of {total}. A part is {total} / {x + y} = {unit}, so the {w.b} are "
        f"{y} * {unit} = {y * unit}. Taking away {taken} gives {y * unit} - {taken} = {left}.",
    )
    slip = f"A part is {total} / {x + y} = {unit}. So there are {x} * {unit} = {x * unit}, minus {taken}."
    return _made(rng, prompts, (ways, left), (slip, x * unit - taken), x=x, y=y, total=total, taken=taken)


def _savings(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    while True:
        has, earns, spends = rng.randint(15, 90), rng.randint(25, 80), rng.randint(5, 20)
        goal = has + rng.randint(90, 600)
        missing, weekly = goal - has, earns - spends
        weeks = -(-missing // weekly)
        if missing % weekly and weeks > 2:
            break
    prompts = (
        f"{w.who} has saved ${has} and wants to buy {w.a} for ${goal}. Each week {w.name} puts ${earns} aside but "
        f"takes ${spends} of it back for lunch. After how many full weeks is there enough money?",
        f"{w.intro} A course on {w.topic} costs ${goal}. The piggy bank of {w.name} holds ${has}; every week ${earns} "
        f"goes in and ${spends} comes out. What is the smallest number of weeks after which the bank holds at least "
        "the price of the course?",
        f"How many weeks does it take? {w.who} earns ${earns} a week {w.at}, of which ${spends} is spent on the bus, "
        f"and saves everything else. With ${has} saved already, {w.name} needs ${goal} in total for new {w.b}. Give "
        "the number of whole weeks.",
        f"{w.intro} Starting from ${has}, {w.name} is raising ${goal} to pay for {w.b}. A weekly sale brings in "
        f"${earns}, and running it costs ${spends} each time. Find the least number of weekly sales needed.",
    )
    ways = (
        f"Still missing: {goal} - {has} = {missing} dollars.\nEach week adds {earns} - {spends} = {weekly} dollars.\n"
        f"{weeks - 1} times that is {(weeks - 1) * weekly}, too little, and {weeks} * {weekly} = {weeks * weekly} is "
        f"enough, so it takes {weeks}.",
        f"A week brings {earns} - {spends} = {weekly} dollars, and {goal} - {has} = {missing} dollars are needed. "
        f"Since {missing} / {weekly} lies between {weeks - 1} and {weeks}, the answer must be rounded up to {weeks}.",
    )
    slip = f"Each week adds {weekly} dollars and {missing} are missing; {missing} / {weekly} is about {weeks - 1}."
    return _made(rng, prompts, (ways, weeks), (slip, weeks - 1), has=has, earns=earns, spends=spends, goal=goal)


def _together(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    own, times, fewer = rng.randint(12, 90), rng.randint(2, 6), rng.randint(3, 11)
    other = times * own - fewer
    prompts = (
        f"{w.who} owns {own} {w.a}. A friend owns {fewer} fewer than {times} times as many. How many {w.a} do the two "
        "own together?",
        f"{w.intro} In spring {w.name} repaired {own} {w.b}. In summer the number was {times} times as large, less "
        f"{fewer}. What is the total number of {w.b} repaired in the two seasons?",
        f"{w.here}, two stalls sell {w.a}. The stall of {w.who} sold {own} today. The stall next to it would have sold "
        f"exactly {times} times that number, had it sold {fewer} more. How many {w.a} did both stalls sell in all?",
        f"{w.intro} A video about {w.topic} was watched by {own} people on Monday. On Tuesday the viewers were "
        f"{fewer} short of {times} times Monday's number. Find the number of views on both days taken together.",
    )
    ways = (
        f"{times} times {own} is {times} * {own} = {times * own}.\n{fewer} fewer than that is {times * own} - {fewer} "
        f"= {other}.\nTogether: {own} + {other} = {own + other}.",
        f"The second number is {times} * {own} - {fewer} = {other}. Adding the first, {own} + {other} = {own + other}.",
    )
    slip = f"The second number is {times} * {own} - {fewer} = {other}, so that is how many there are."
    return _made(rng, prompts, (ways, own + other), (slip, other), own=own, times=times, fewer=fewer)


def _boxes(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    fits_a, fits_b = rng.sample(range(4, 13), 2)
    many_a = fits_a * rng.randint(4, 14) + rng.randint(1, fits_a - 1)
    many_b = fits_b * rng.randint(3, 12) + rng.randint(1, fits_b - 1)
    boxes_a, boxes_b = -(-many_a // fits_a), -(-many_b // fits_b)
    total = boxes_a + boxes_b
    prompts = (
        f"{w.who} must pack {many_a} {w.a} and {many_b} {w.b}. A box holds either {fits_a} {w.a} or {fits_b} {w.b}, "
        "and the two kinds may not share a box. How many boxes are needed?",
        f"{w.intro} Everything is going to be moved, namely {many_b} {w.b}, at most {fits_b} to a crate, and {many_a} "
        f"{w.a}, at most {fits_a} to a crate. If no crate mixes them, what is the smallest number of crates?",
        f"{w.here}, shelves are being filled for a show about {w.topic}. One shelf has room for {fits_a} {w.a}; one "
        f"shelf, if used for {w.b}, has room for {fits_b}. {w.who} brings {many_a} of the former and {many_b} of the "
        "latter and keeps them on separate shelves. Find the least number of shelves for all of them.",
        f"{w.intro} Parcels go out with only one kind of thing in each: up to {fits_a} {w.a} or up to {fits_b} {w.b}. "
        f"How many parcels does {w.name} have to send at least, if {many_a} {w.a} and {many_b} {w.b} were ordered?",
    )
    ways = (
        f"{many_a} / {fits_a} is a little more than {boxes_a - 1}, so the {w.a} need {boxes_a}.\n{many_b} / {fits_b} "
        f"is a little more than {boxes_b - 1}, so the {w.b} need {boxes_b}.\nIn total {boxes_a} + {boxes_b} = {total}.",
        f"Since {boxes_a - 1} * {fits_a} = {(boxes_a - 1) * fits_a} is less than {many_a}, {boxes_a} are needed for "
        f"the {w.a}. In the same way {boxes_b - 1} * {fits_b} = {(boxes_b - 1) * fits_b} is less than {many_b}, so the "
        f"{w.b} need {boxes_b}. Together: {boxes_a} + {boxes_b} = {total}.",
    )
    slip = f"{many_a} / {fits_a} gives {boxes_a - 1} and {many_b} / {fits_b} gives {boxes_b - 1}."
    numbers = {"many_a": many_a, "many_b": many_b, "fits_a": fits_a, "fits_b": fits_b}
    return _made(rng, prompts, (ways, total), (slip, total - 2), **numbers)


def _profit(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    bought, cost = rng.randint(30, 90), rng.randint(2, 9)
    price, sold = cost + rng.randint(4, 9), rng.randint(15, 25)
    cheap, fee = cost + rng.randint(1, 3), rng.randint(5, 14)
    rest = bought - sold
    income, spent = sold * price + rest * cheap, bought * cost + fee
    prompts = (
        f"{w.who} buys {bought} {w.a} for ${cost} each. {sold} of them are sold at ${price} each, and all the others "
        f"at ${cheap} each. Renting a table cost ${fee}. How many dollars of profit are made?",
        f"{w.hello} A stall {w.at} costs ${fee} for the day. {w.name} brings {bought} {w.b}, which cost ${cost} apiece "
        f"to get. By noon {sold} are gone at ${price} apiece; in the afternoon the remaining ones go for ${cheap} "
        "apiece. What is the day's profit in dollars?",
        f"To raise money for {w.topic}, {w.who} sells {bought} {w.a}: {sold} at the full price of ${price}, and the "
        f"rest at ${cheap}. Each had been bought for ${cost}, and ${fee} was paid for posters. How much money, in "
        "dollars, is gained in the end?",
        f"{w.intro} {w.name} keeps accounts. Paid out: ${cost} for each of {bought} {w.b}, and ${fee} for the licence. "
        f"Taken in: ${price} for each of the first {sold} sold, ${cheap} for each of the others, and none is left. "
        "Work out the profit in dollars.",
    )
    ways = (
        f"Income: {sold} * {price} = {sold * price} dollars, and {rest} * {cheap} = {rest * cheap} dollars for the "
        f"other {bought} - {sold} = {rest}, so {sold * price} + {rest * cheap} = {income}.\nExpenses: {bought} * {cost}"
        f" + {fee} = {spent}.\nProfit: {income} - {spent} = {income - spent} dollars.",
        f"Each of the {sold} earns {price} - {cost} = {price - cost}, and each of the other {rest} earns {cheap} - "
        f"{cost} = {cheap - cost}. That is {sold} * {price - cost} + {rest} * {cheap - cost} = {income - spent + fee} "
        f"dollars. After the {fee} dollars, {income - spent + fee} - {fee} = {income - spent} are left.",
    )
    off = income - bought * cost
    slip = f"The income is {income} dollars and the goods cost {bought * cost}, so the profit is {off} dollars."
    numbers = {"bought": bought, "cost": cost, "price": price, "sold": sold, "cheap": cheap, "fee": fee}
    return _made(rng, prompts, (ways, income - spent), (slip, off), **numbers)


def _clock(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02}"


def _schedule(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    start, count, each = rng.randrange(7 * 60, 10 * 60, 5), rng.randint(4, 12), rng.randint(6, 15)
    pause, last, spare = rng.randrange(10, 35, 5), rng.randint(20, 70), rng.randint(5, 60)
    busy = count * each + pause + last
    end = start + busy + spare
    begin, close = _clock(start), _clock(end)
    prompts = (
        f"{w.who} starts at {begin} and looks after {count} {w.a}, {each} minutes each, one after the other. A break "
        f"of {pause} minutes and then {last} minutes of cleaning follow. How many minutes remain before {close} on the "
        "same day (24-hour clock)?",
        f"{w.hello} The doors {w.at} open at {begin} and close at {close} (24-hour clock). In that time {w.name} rests "
        f"for {pause} minutes, spends {each} minutes on each of {count} {w.b}, and gives a talk of {last} minutes. For "
        "how many minutes of the opening time does nothing happen?",
        f"A workshop on {w.topic} begins at {begin}. {w.who} first gives a lecture of {last} minutes, then after a "
        f"break of {pause} minutes calls up {count} people in turn for {each} minutes each. The bus home leaves at "
        f"{close} on the 24-hour clock. Find how many minutes there are from the end of the workshop to the bus.",
        f"{w.intro} A train leaves at {close} (24-hour clock). Before that, from {begin} on, {w.name} wants to wrap "
        f"{count} {w.a} at {each} minutes apiece, have a meal for {pause} minutes and walk {last} minutes to the "
        "station. With no other delay, how many minutes will the wait at the station be?",
    )
    ways = (
        f"The {count} take {count} * {each} = {count * each} minutes.\nWith the rest: {count * each} + {pause} + "
        f"{last} = {busy} minutes.\nFrom {begin} to {close} there are {end - start} minutes, so {end - start} - {busy} "
        f"= {spare} remain.",
        f"From {begin} to {close} it is {end - start} minutes. Of these, {count} * {each} = {count * each} go to the "
        f"{count} turns, {pause} to the break and {last} to the other part. {end - start} - {count * each} - {pause} "
        f"- {last} = {spare}.",
    )
    slip = f"{count} * {each} + {last} = {busy - pause} minutes are used of {end - start}."
    numbers = {"start": begin, "count": count, "each": each, "pause": pause, "last": last, "end": close}
    return _made(rng, prompts, (ways, spare), (slip, spare + pause), **numbers)


def _parts(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    one, two = rng.sample([Fraction(f) for f in ("1/3", "1/4", "2/5", "1/5", "3/8", "1/6", "2/7", "1/2")], 2)
    whole = one.denominator * two.denominator * rng.randint(2, 9)
    first = int(whole * one)
    rest = whole - first
    second = int(rest * two)
    left, off = rest - second, whole - first - int(whole * two)
    prompts = (
        f"{w.who} has {whole} {w.a}. {one} of them are sold, and then {two} of those that remain are given away. How "
        f"many {w.a} does {w.name} have in the end?",
        f"{w.intro} Of {whole} {w.b} in the store, {one} are old. Of the other {w.b}, {two} are lent to a school. What "
        "number of them are neither old nor lent out?",
        f"{whole} people come to an open day about {w.topic}. {w.here}, {one} of all the people join a tour with "
        f"{w.who} and {two} of the rest watch a film instead; everybody else goes for a walk. How many people go for "
        "a walk?",
        f"{w.intro} {w.name} has {whole} pages to read about {w.topic}. On the first day {w.name} reads {one} of the "
        f"pages, on the second day {two} of the pages that are then unread. Find how many pages are still unread.",
    )
    ways = (
        f"{one} of {whole} is {first}, so {whole} - {first} = {rest} are left.\n{two} of {rest} is {second}.\nThat "
        f"leaves {rest} - {second} = {left}.",
        f"After the first step a share of {1 - one} of {whole} remains, which is {rest}. After the second step it is "
        f"{1 - two} of {rest}, and {rest} - {second} = {left}.",
    )
    slip = f"{one} of {whole} is {first} and {two} of {whole} is {int(whole * two)}, which leaves {off}."
    return _made(rng, prompts, (ways, left), (slip, off), whole=whole, one=str(one), two=str(two))


def _visitors(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    guests, p, q = rng.randrange(200, 1301, 100), rng.randrange(10, 40, 5), rng.randrange(20, 80, 20)
    buy_a = guests * p // 100
    rest = guests - buy_a
    buy_b = rest * q // 100
    none, off = rest - buy_b, guests - buy_a - guests * q // 100
    prompts = (
        f"{w.here}, {w.who} counts {guests} visitors. {p}% of them buy {w.a}. Of those who do not, {q}% buy {w.b}. "
        "How many visitors buy neither?",
        f"{w.intro} A survey about {w.topic} went to {guests} people. {p}% answered by letter. Of the other people, "
        f"{q}% answered by phone, and the remaining ones did not answer. How many people did not answer?",
        f"In the stock of {w.who} there are {guests} {w.a}. First {p}% of them are shipped, and later {q}% of what "
        f"was left after that is shipped too. Find the number of {w.a} that are never shipped.",
        f"{w.intro} Out of {guests} {w.b}, {w.name} marks {p}% with a red dot. Then {q}% of the unmarked ones get a "
        f"blue dot. How many {w.b} have no dot at all?",
    )
    ways = (
        f"{p}% of {guests} is {buy_a}, which leaves {guests} - {buy_a} = {rest}.\n{q}% of {rest} is {buy_b}.\n"
        f"So the number is {rest} - {buy_b} = {none}.",
        f"After the first step {100 - p}% of {guests} remain: {guests} * {100 - p} / 100 = {rest}. After the second it "
        f"is {100 - q}% of these: {rest} * {100 - q} / 100 = {none}.",
    )
    slip = f"{p}% and {q}% make {p + q}% of {guests}, so {guests} - {guests * (p + q) // 100} = {off}."
    return _made(rng, prompts, (ways, none), (slip, off), guests=guests, p=p, q=q)


FAMILIES: tuple[Family, ...] = (
    Family("change", _change),
    Family("pace", _pace),
    Family("shares", _shares),
    Family("discount", _discount),
    Family("ages", _ages),
    Family("average", _average),
    Family("legs", _legs),
    Family("units", _units),
    Family("ratio", _ratio),
    Family("savings", _savings),
    Family("together", _together),
    Family("boxes", _boxes),
    Family("profit", _profit),
    Family("schedule", _schedule),
    Family("parts", _parts),
    Family("visitors", _visitors),
)
