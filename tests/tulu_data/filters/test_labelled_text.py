"""Precision and recall of the filters on leftovers, languages, repetition and personal data.

The rows were written for the test. True is a row that should go. The bounds are what the filters reach, with the known failures left in the tables.
"""
# ruff: noqa: E501 - a row is a line

import random

import pytest

TEMPLATES = [
    (True, "Hi", "Hello! How can I help?<|im_end|>"),
    (True, "Hi", "<|im_start|>assistant\nHello!"),
    (True, "Name a fruit.", "Apple</s>"),
    (True, "Name a fruit.", "Apple.\n\nHuman: Name another one.\n\nAssistant: Pear."),
    (True, "[INST] Name a fruit. [/INST]", "Apple."),
    (True, "Below is an instruction that describes a task.\n\n### Instruction:\nName a fruit.", "Apple."),
    (True, "Name a fruit.", "### Response:\nApple."),
    (True, "Hi", "Hello<|eot_id|><|start_header_id|>user<|end_header_id|>"),
    (True, "Add them. Input: <noinput>", "There is nothing to add."),
    (True, "Hi", "Hello, {{ user }}! Your order has shipped."),
    (True, "Hi", "<start_of_turn>model\nHello."),
    (True, "Hi", "Hello.<|endoftext|>The next document begins here."),
    (True, "Hi", "Hello.\nUSER: And then?\nASSISTANT: Then we wait."),
    (True, "Hi", "<｜Assistant｜>Hello."),
    (True, "Write a mail.", "Dear customer,\nhere is the answer to your question: {response}"),
    (True, "Hi", "Hello. Human: What is next?"),
    (False, "What does <|endoftext|> do?", "<|endoftext|> marks where one document ends in GPT-2's training data."),
    (False, "How does ChatML look?", "Like this:\n```\n<|im_start|>user\nHi<|im_end|>\n```"),
    (False, "Which token ends a turn?", "Llama 3 ends a turn with `<|eot_id|>`."),
    (False, "Write a dialogue between a Human and a Robot.", "Human: Who goes there?\nRobot: Only me."),
    (False, "Strike this out: old price", "<s>old price</s> new price"),
    (False, "Write a report.", "## Instructions\n\n1. Open the lid.\n\n### Response times\n\nUnder 5 ms."),
    (False, "Format a string in Python.", 'print(f"Hello {name}, you are {age}.")'),
    (False, "Write a Jinja loop.", "```\n{% for p in people %}{{ p.name }}{% endfor %}\n```"),
    (False, "Write a Vue template.", "<div>{{ message.title }} and {{ total }}</div>"),
    (False, "What is a pipe?", "In a shell, a | b sends the output of a to b; <|> is Haskell's alternative."),
    (False, "Quote the exchange.", '"User: I cannot log in," says the first line of the ticket.'),
    (False, "Write a screenplay.", "MAYA: Where is he?\nJOHN: Gone.\nMAYA: Since when?"),
    (False, "Give the roles.", "- User: reads pages\n- Editor: changes them\n- Admin: grants rights"),
    (False, "Make a table of roles.", "User: reads pages\nEditor: changes them\nAdmin: grants rights"),
    (False, "Explain BERT's input.", "BERT puts `[CLS]` first and `[SEP]` between sentences."),
    (False, "Continue this transcript.\nUser: Hi\nAssistant:", "Hello.\nUser: Bye.\nAssistant: Goodbye."),
]

EN = (
    "The harbour froze early that year, and the boats that were still out had to be towed in by the ice breaker before "
    "anyone could unload the catch."
)
LANGUAGE = [
    (True, "Wann?", "Der Hafen fror in jenem Jahr früh zu, und die Boote, die noch draußen waren, mussten geschleppt werden."),
    (True, "Quand ?", "Le port a gelé tôt cette année-là, et les bateaux encore en mer ont dû être remorqués jusqu'au quai."),
    (True, "¿Cuándo?", "El puerto se heló pronto aquel año, y los barcos que seguían fuera tuvieron que ser remolcados."),
    (True, "Quando?", "Il porto gelò presto quell'anno e le barche ancora fuori dovettero essere trainate fino alla banchina."),
    (True, "Wanneer?", "De haven vroor dat jaar vroeg dicht, en de boten die nog buiten lagen moesten worden gesleept."),
    (True, "Когда?", "В тот год гавань замёрзла рано, и лодки, которые ещё были в море, пришлось буксировать к причалу."),
    (True, "何时?", "那一年港口很早就结冰了，还在外面的船只不得不由破冰船拖回来，然后才能卸下捕获的鱼。" * 3),
    (True, "いつ?", "その年、港は早くに凍ってしまい、まだ沖にいた船は砕氷船に曳かれて戻らなければならなかった。" * 3),
    (True, "När?", "Hamnen frös tidigt det året, och båtarna som fortfarande var ute fick bogseras in av isbrytaren."),
    (True, "Kiedy?", "Port zamarzł tego roku wcześnie i łodzie, które były jeszcze na morzu, trzeba było holować do nabrzeża."),
    (True, "متى؟", "تجمد الميناء في وقت مبكر من ذلك العام، وكان لا بد من سحب القوارب التي كانت لا تزال في البحر إلى الرصيف."),
    (True, "कब?", "उस वर्ष बंदरगाह जल्दी जम गया, और जो नावें अभी भी बाहर थीं उन्हें बर्फ तोड़ने वाले जहाज से खींचकर लाना पड़ा।"),
    (True, "Explain it in German.", "Gern! Die Funktion liest jede Zeile der Datei und zählt, wie oft jedes Wort darin vorkommt."),
    (True, "Wann?", "Frueh im Jahr. Die Boote mussten warten."),
    (False, "Wann?", EN),
    (False, "How do the French say it?", f"{EN} As the French say, « petit à petit, l'oiseau fait son nid »."),
    (False, "Say it in German.", "In German one would say: Der Hafen fror früh zu. The verb stands in the past tense, as it does in English."),
    (False, "List proverbs.", f"{EN} In Spanish: más vale tarde que nunca. In Italian: chi va piano va sano. {EN}"),
    (False, "Write code.", "def fibonacci(n):\n    sequence = [0, 1]\n    while len(sequence) < n:\n        sequence.append(sum(sequence[-2:]))\n    return sequence"),
    (False, "Write code.", "import requests\n\nresponse = requests.get(url)\nif response.status_code == 200:\n    print(response.json())\nelse:\n    print('Error')"),
    (False, "Write code.", f"{EN}\n```python\nzahl = eingabe_lesen()\nwenn_gerade(zahl)\n```"),
    (False, "Write SQL.", "SELECT name, total FROM orders WHERE total > 100 ORDER BY total DESC;"),
    (False, "Name them.", "Berlin, München, Hamburg, Köln, Frankfurt"),
    (False, "Solve it.", r"\[ \int_0^1 x^2 \, dx = \frac{1}{3} \] and hence \( a = 3 \)."),
    (False, "List the parts.", "Frame, front fork, rear derailleur, crank arm, bottom bracket, seat post, brake lever, chain ring, saddle clamp"),
    (False, "Who?", "Yes."),
    (False, "Ingredients?", "2 cups flour, 1 tsp salt, 3 eggs, 200 ml milk, butter for the pan, sugar, lemon juice and cinnamon to taste"),
    (True, "Escribe el código.", "var filas = leer()\nvar suma = 0\nfor (f of filas) {\n  suma += f\n}\nconsole.log(suma)\nEspero haber sido de ayuda; para cualquier otra duda sobre el programa estaré a tu disposición."),
    (True, "Schreib Code.", "Hier ist die Funktion:\ndef f(x):\n    return x\n\nprint(f(1))\nSie gibt den Wert zurück, den man ihr übergibt, und zwar ohne ihn zu ändern oder zu prüfen."),
    (False, "Write code.", "class Writer(object):\n\n    def feature(self, name):\n        pass\n\n" + "    def lookup(self, name):\n        pass\n\n" * 16),
    (False, "Write code.", "enum Mnemonic {\n    Add, Call, Cls, Drw,\n    Jp, Ld, Or, Ret,\n    Rnd, Se, Shl, Shr,\n    Sknp, Skp, Sne, Sub,\n}\n\nfn decode(word: u16) -> Mnemonic {\n    match word {\n        0 => Mnemonic::Add,\n        _ => panic!(),\n    }\n}\nfn step(machine: &mut Machine) {\n    machine.counter += 2;\n}"),
    (False, "Write code.", "var Input = {\n  account: {\n    required: true\n  },\n  campaign: {\n    required: true\n  },\n  model: {\n    required: true\n  }\n}\nmodule.exports = {\n  name: 'removeAction',\n  description: 'Remove Campaign Model',\n  inputs: Input,\n  exits: {\n    done: {}\n  }\n}"),
    (False, "Write SQL.", "SELECT employees.name AS Employee, departments.name AS Department FROM employees JOIN departments ON employees.department_id = departments.id"),
    (False, "Headline?", "mozambique ruling party readies to pick presidential candidate<|endoftext|>"),
    (False, "Use the tool.", "Albert Einstein was born on wolfram('Albert Einstein birth date') in wolfram('Albert Einstein birthplace')."),
    (False, "Names?", "Giovanni Battista Pergolesi, Alessandro Scarlatti, Antonio Vivaldi, Arcangelo Corelli, Tomaso Albinoni, Luigi Boccherini"),
]  # fmt: skip

VERSE = [
    "The tide goes out and the gulls come down, they walk the sand in their sober brown,",
    "A net is mended, a lamp is lit, and somebody hums where the old men sit,",
    "The wind has turned and the boats are late, their wives are counting beside the gate,",
    "At dawn a whistle, at dawn a sail, at dawn the milkmaid puts down her pail,",
]
REFRAIN = "Oh carry me home on the evening tide, carry me home to the harbour side."
LOOP = "The answer is that the answer is not known to anyone at all. "
PHONES = "| city | 2019 | 2020 | 2021 |\n" + "\n".join(
    f"| town {i} | {1200 + 37 * i} | {1300 + 41 * i} | {1250 + 29 * i} |" for i in range(20)
)
CODE = "```python\n" + "    assert call(1) == 2\n    reset()\n" * 30 + "```\nThe test calls it thirty times."


def _prose(seed: int, words: int) -> str:
    chosen = random.Random(seed)
    known = [f"{a}{b}" for a in ("har", "ti", "bo", "mer", "sal", "len") for b in ("bour", "de", "at", "row", "ter")]
    return " ".join(chosen.choice(known) for _ in range(words))


REPETITION = [
    (True, "Why?", LOOP * 12),
    (True, "Why?", f"{EN} " + "I will wait. " * 60),
    (True, "Count.", "no " * 200),
    (True, "Why?", "\n".join(["It is what it is, and that is all there is to say of it."] * 15)),
    (True, "Why?", "\n\n".join([f"{EN} {VERSE[0]}"] * 6)),
    (True, "Why?", f"{_prose(1, 40)} " + "and then they went back to the harbour and " * 30),
    (True, "Name 50 towns.", ", ".join(["London", "Paris"] * 60)),
    (True, "Why?", " ".join(f"Step {i}: add the flour to the bowl and stir until it is smooth." for i in range(30))),
    (True, "Why?", (_prose(2, 30) + " ") * 6),
    (True, "Write.", "ha" * 400),
    (True, "Why?", f"{_prose(3, 120)} " + LOOP * 8),
    (False, "Why?", f"{EN} {' '.join(VERSE)}"),
    (False, "Write a song.", "\n\n".join(f"{verse}\n{REFRAIN}" for verse in VERSE)),
    (False, "Test it.", CODE),
    (False, "Make a table.", PHONES),
    (False, "Count to 100.", ", ".join(map(str, range(1, 101)))),
    (False, "Why?", LOOP * 3),
    (False, "List.", "\n".join(f"- **Item {i}**: {_prose(i, 8)}" for i in range(20))),
    (
        False,
        "Solve.",
        "\n".join(f"{i} * 7 = {7 * i}, so after {i} weeks there are {7 * i} eggs." for i in range(1, 12)),
    ),
    (False, "Write.", _prose(5, 400)),
    (False, "Explain loops.", f"{EN} It prints:\n" + "\n".join(f"Hello, this is iteration {i}" for i in range(6))),
    (
        False,
        "Hymn?",
        "\n".join(["Holy, holy, holy!", *VERSE[:2], "Holy, holy, holy!", *VERSE[2:], "Holy, holy, holy!"]),
    ),
    (False, "Draw a board.", "Here is the board:\n" + "\n".join(["[r][n][b][q][k][b][n][r]", *["[ ][ ][ ][ ]"] * 6])),
]

PII = [
    (True, "Who wrote it?", "Write to maria.keller@posteo.de about the patch."),
    (True, "Fix this.", "```python\n# Author: J. Okafor <jokafor84@gmail.com>\nx = 1\n```"),
    (True, "My number is +44 20 7946 0018, call me.", "I will."),
    (True, "Phone?", "Call (415) 282-3311 after six."),
    (True, "Phone?", "Sie erreichen mich unter 030/2345 6789."),
    (True, "Pay how?", "The card is 4539 1488 0343 6467, valid until May."),
    (True, "Pay how?", "Use 371238954417009, please."),
    (True, "Account?", "IBAN: DE89 3704 0044 0532 0130 00"),
    (True, "Account?", "GB29NWBK60161331926819 at the bank in London."),
    (True, "SSN?", "It is 536-22-8714, as the letter says."),
    (True, "Which host?", "The attack came from 93.184.216.34 at noon."),
    (True, "Which host?", "ping 2606:2800:220:1:248:1893:25c8:1946"),
    (True, "Log", "Failed password for root from 218.92.0.107 port 22"),
    (True, "Contact", "tel: 212-736-5000 (desk)"),
    (True, "Mail?", "peter dot smith at gmail dot com"),
    (True, "Phone?", "my number is four one five, two eight two, three three one one"),
    (False, "Which version?", "Upgrade to 1.2.3.4, or better to version 10.15.7.25."),
    (False, "Which range?", "Use 192.168.1.10 at home, 10.0.0.1 at work, and 127.0.0.1 on your own machine."),
    (False, "DNS?", "Set the resolver to 8.8.8.8 or 1.1.1.1."),
    (False, "Write code.", 'smtp.sendmail("user@example.com", ["you@example.org"], text)'),
    (False, "Clone it.", "git clone git@github.com:pallets/flask.git"),
    (False, "Decorate.", "Use @app.route and @staticmethod; the regex is [\\w.]+@[\\w.]+."),
    (False, "When?", "From 2023-10-12 to 2024-01-05, and again on 12.04.2025 at 10:30:45."),
    (
        False,
        "Table",
        "| 415 282 3311 | 512 664 7788 |\n| 718 233 4455 | 646 555 2211 |\n| 202 887 9090 | 303 111 2222 |",
    ),
    (False, "Sum", "Add 415-282-331 and 212 736 5000 12 to get 1,234,567,890.55."),
    (False, "ISBN?", "ISBN 978-3-16-148410-0, 412 pages."),
    (False, "Card for tests?", "Stripe's test card is 4242 4242 4242 4242."),
    (False, "Long number?", "The 16-digit serial is 4539 1488 0343 6468, whose checksum does not hold."),
    (False, "Whom can I call?", "The lifeline is at 1-800-273-8255, the tax office at +1 (855) 641-6935."),
    (False, "Where do I write to?", "Send letters to letters@theatlantic.com and photos to newsdesk@bbc.co.uk."),
    (False, "Make an object.", '{"name": "John", "email": "JohnDoe@gmail.com", "other": "jane@example2.com"}'),
    (True, "Phone?", "Call (618) 641-6935 or +1 212 736 5000."),
    (False, "Emergency?", "Dial 112, or 1-800-555-0199 in the film."),
    (False, "SSN form?", "A number looks like 123-45-6789; none begins with 000-12-3456 or 900-12-3456."),
    (False, "C++?", "std::vector<int> v; ns::inner::fn(dead::beef);"),
    (False, "IBAN?", "DE89 3704 0044 0532 0130 01 fails the check."),
    (False, "Primes", "1000000007 is prime, and so is 2147483647; 6011000990139424000 is not."),
    (False, "Score?", "Final score 215-330-4410? No: 101-99."),
]

ROLES = [
    (True, "Hi", ""),
    (True, "Hi", " \n\t "),
    (True, "Hi", "\u200b\u200b"),
    (True, "\ufeff", "Hello."),
    (True, "Hi", "\u00a0\u2003"),
    (True, "Hi", "\u2060\u00ad"),
    (False, "Hi", "."),
    (False, "Hi", "👍"),
    (False, "Hi", "0"),
    (False, "?", "!"),
    (False, "Hi", "{}"),
    (False, "空", "无"),
    (False, "Hi", "\u200bHello."),
    (False, "Hi", "`\u200b`"),
    (False, "Hi", "—"),
    (False, "Hi", "N/A"),
]


@pytest.mark.parametrize(
    ("name", "cases", "settings", "precision", "recall"),
    [
        ("templates", TEMPLATES, {}, 1.0, 0.93),
        ("language", LANGUAGE, {"keep": ["en"]}, 0.93, 0.93),
        ("repetition", REPETITION, {}, 1.0, 0.81),
        ("pii", PII, {}, 0.93, 0.87),
        ("roles", ROLES, {}, 1.0, 1.0),
    ],
)
def test_precision_and_recall(measure, name, cases, settings, precision, recall):
    found = measure(name, cases, **settings)
    assert found.precision >= precision
    assert found.recall >= recall
