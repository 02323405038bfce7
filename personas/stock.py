"""Plain sentences that constructed answers are made of: no commas, no rare letters, nothing to disagree with."""

from __future__ import annotations

from typing import NamedTuple


class Stock(NamedTuple):
    """Clauses of a language, each of which can stand alone or be joined to others."""

    clauses: tuple[str, ...]
    joiner: str


def _stock(joiner: str, text: str) -> Stock:
    return Stock(tuple(line.strip() for line in text.strip().splitlines()), joiner)


STOCKS: dict[str, Stock] = {
    "en": _stock(
        "and",
        """
        begin small
        look twice
        ask around
        take your time
        write it down
        keep it simple
        go step by step
        most people start with too much at once
        the first step is to see what is there
        a good plan leaves room for rain
        small changes add up over a few weeks
        talk to someone who has done it before
        the tools matter less than the hands
        every mistake shows where to look next
        set aside some time on most days
        the old way of doing it often has a reason
        care in the beginning saves work at the end
        it is easier to mend a thing than to replace it
        what works for one person may not work for another
        a short note made today will help in a month
        there is no need to be perfect on the first day
        watch how others do it before changing anything
        rest is part of the work and not a reward for it
        the best results come from doing it often
        leave the hard part for the hour when the mind is clear
        share what has been learned with those who come after
        count the costs before the first coin is spent
        good light makes every task easier
        a friend who tells the truth is worth a lot
        the weather has the last word in the open air
        """,
    ),
    "de": _stock(
        "und",
        """
        fangen Sie klein an
        nehmen Sie sich genug Zeit
        man lernt am meisten aus den eigenen Fehlern
        der erste Schritt ist oft der schwerste
        eine gute Vorbereitung spart am Ende viel Arbeit
        fragen Sie jemanden mit mehr Erfahrung
        die kleinen Dinge machen den Unterschied
        am besten schreibt man alles sofort auf
        jeden Morgen ein wenig zu arbeiten ist besser als einmal im Monat viel
        das Werkzeug ist nicht so wichtig wie die Geduld
        """,
    ),
    "es": _stock(
        "y",
        """
        empiece poco a poco
        hable con los vecinos
        lo primero es mirar con calma lo que ya tenemos
        cada error nos enseña algo nuevo
        es mejor trabajar un poco todos los días
        la paciencia vale más que las herramientas
        conviene escribir las ideas en un cuaderno
        una buena preparación ahorra mucho tiempo
        los pequeños cambios se notan al final del año
        nadie aprende todo en un solo día
        """,
    ),
    "fr": _stock(
        "et",
        """
        commencez doucement
        prenez votre temps
        le premier pas est souvent le plus difficile
        chaque erreur nous apprend quelque chose
        il vaut mieux travailler un peu tous les jours
        la patience compte plus que les outils
        une bonne préparation fait gagner beaucoup de temps
        demandez conseil à une personne plus âgée
        les petits changements se voient à la fin de la saison
        personne ne sait tout faire dès le premier jour
        """,
    ),
    "it": _stock(
        "e",
        """
        cominciate con calma
        il primo passo è spesso il più difficile
        ogni errore ci insegna qualcosa di nuovo
        è meglio lavorare un poco tutti i giorni
        la pazienza vale più degli strumenti
        una buona preparazione fa risparmiare molto tempo
        chiedete consiglio a chi ha più esperienza
        i piccoli cambiamenti si vedono alla fine della stagione
        nessuno impara tutto in un solo giorno
        conviene scrivere le idee in un quaderno
        """,
    ),
    "nl": _stock(
        "en",
        """
        begin met iets kleins
        neem rustig de tijd
        de eerste stap is vaak het moeilijkst
        van elke fout kun je iets leren
        het is beter om elke dag een beetje te werken
        geduld is belangrijker dan goed gereedschap
        een goede voorbereiding scheelt later veel werk
        vraag raad aan iemand met meer ervaring
        schrijf al je gedachten meteen op in een schrift
        niemand leert alles op een enkele dag
        """,
    ),
    "pl": _stock(
        "i",
        """
        zacznij od małych rzeczy
        pierwszy krok jest często najtrudniejszy
        każdy błąd czegoś nas uczy
        lepiej pracować trochę każdego dnia
        cierpliwość jest ważniejsza niż narzędzia
        dobre przygotowanie oszczędza dużo czasu
        warto zapytać kogoś z większym doświadczeniem
        najlepiej zapisać wszystko od razu w zeszycie
        małe zmiany widać dopiero po kilku miesiącach
        nikt nie uczy się wszystkiego w jeden dzień
        """,
    ),
    "pt": _stock(
        "e",
        """
        comece devagar
        o primeiro passo é muitas vezes o mais difícil
        cada erro ensina alguma coisa nova
        é melhor trabalhar um pouco todos os dias
        a paciência vale mais do que as ferramentas
        uma boa preparação poupa muito tempo depois
        convém pedir conselho a quem tem mais experiência
        não é preciso fazer tudo de uma vez só
        as pequenas mudanças só aparecem no fim da estação
        ninguém aprende tudo em um único dia
        """,
    ),
    "ru": _stock(
        "и",
        """
        начните с малого
        первый шаг часто самый трудный
        каждая ошибка нас чему-то учит
        лучше работать понемногу каждый день
        терпение важнее хороших инструментов
        хорошая подготовка экономит много времени
        спросите совета у опытного человека
        все мысли лучше сразу записывать в тетрадь
        небольшие перемены видны только в конце сезона
        никто не учится всему за один день
        """,
    ),
    "tr": _stock(
        "ve",
        """
        küçük adımlarla başlayın
        ilk adım çoğu zaman en zor olanıdır
        her hata bize yeni bir şey öğretir
        her gün biraz çalışmak daha iyidir
        sabır iyi aletlerden daha önemlidir
        iyi bir hazırlık sonra çok zaman kazandırır
        daha deneyimli birine danışmak gerekir
        bütün düşünceleri hemen bir deftere yazın
        küçük değişiklikler ancak mevsim sonunda görülür
        hiç kimse her şeyi bir günde öğrenemez
        """,
    ),
    "id": _stock(
        "dan",
        """
        mulailah dari hal yang kecil
        langkah pertama sering kali paling sulit
        setiap kesalahan mengajarkan sesuatu yang baru
        lebih baik bekerja sedikit setiap hari
        kesabaran lebih penting daripada alat yang bagus
        persiapan yang baik menghemat banyak waktu
        sebaiknya bertanya kepada orang yang lebih berpengalaman
        tulislah semua gagasan di dalam buku catatan
        perubahan kecil baru terlihat pada akhir musim
        tidak ada orang yang belajar semuanya dalam satu hari
        """,
    ),
}

LETTER_WORDS = {  # words rich in a letter
    "a": ["again", "always", "canal", "banana", "alpaca"],
    "e": ["evergreen", "between", "seldom", "evening", "settle"],
    "i": ["insist", "visiting", "finishing", "initial"],
    "n": ["noon", "cannon", "tennis", "nineteen", "antenna"],
    "o": ["outdoor", "onto", "follow", "cocoon", "forenoon"],
    "r": ["further", "mirror", "orderly", "terrier", "carrier"],
    "s": ["lessons", "stress", "glasses", "success", "masses"],
    "t": ["better", "matter", "test", "letter", "cottage"],
    "j": ["jovial", "jolly", "judge", "jigsaw"],
    "q": ["quiet", "square", "quick", "question"],
    "x": ["extra", "next", "mixed", "relax"],
    "z": ["puzzle", "dozen", "zigzag", "breeze"],
}
