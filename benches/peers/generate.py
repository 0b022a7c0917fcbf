#!/usr/bin/env python3
"""Writes records in the shape of enrichment results, from a seed: the same options, the same bytes.

    generate.py --rows 100000 --seed 1 --out rows.ndjson
    generate.py --rows 100000 --seed 1 --format csv --out rows.csv
    generate.py --rows 100000 --seed 1 --shape narrow --out events.ndjson

A wide record has 18 keys in about 900 bytes: text, numbers, a struct, lists of text and of structs,
long free text, nulls and missing keys. Two columns trip a reader that takes its types from a sample:
`growth` has integers only before row 50 000, and `parent` only nulls before row 20 000. A narrow
record has 5 scalars in 90 bytes. Needs the standard library only.
"""
import argparse
import csv
import json
import random
import sys

FRACTIONS_FROM = 50_000
TEXT_FROM = 20_000

PIECES = "al bo cen dra el fir gon hul ist jar kem lor mund nev osk pra quill ros sten tur ul vas wex yan zor".split()
PLACES = [
    ("Malmö", "SE", 55.6, 13.0), ("Leeds", "GB", 53.8, -1.5), ("東京", "JP", 35.7, 139.7), ("Recife", "BR", -8.1, -34.9),
    ("Kraków", "PL", 50.1, 19.9), ("Austin", "US", 30.3, -97.7), ("Nairobi", "KE", -1.3, 36.8), ("Lyon", "FR", 45.8, 4.8),
    ("Zürich", "CH", 47.4, 8.5), ("Perth", "AU", -31.9, 115.9), ("Porto", "PT", 41.1, -8.6), ("Boise", "US", 43.6, -116.2),
]
INDUSTRIES = ["Software", "Logistics", "Énergie", "Bildung", "Retail & Wholesale", 'Food "to go"', "Biotech", "Mining",
              "Insurance", "Aerospace", "Legal", "Media", "Telecom", "Farming"]
FORMS = ["Inc", "GmbH", "Ltd", "SAS", "AB", "LLC", "& Söhne", "株式会社"]
TITLES = ["Founder", "CFO", "CTO", "Head of Sales", 'VP, "Platform"', "Engineer", "Buyer", "Chief of Staff"]
GIVEN = ["Åsa", "José", "Wei", "Fatima", "Liam", "Zoë", "Arjun", "Mia", "Kofi", "Yuki", "Inês", "Marek"]
FAMILY = ["Müller", "García", "Chen", "Okafor", "Smith", "O'Hara", "Nowak", "Sato", "Rossi", "Novák", "Kim", "Baker"]
ENDINGS = ["com", "io", "de", "co.uk", "fr", "ai", "net"]
SPICE = [' "so to speak"', "\n", "\n- ", " naïve", " 🚀", " — ", "\t", " C:\\tmp", " 日本語", ", ", "; ", " <b>&amp;</b>"]
EVENTS = ["view", "signup", "purchase", "refund", "open", "call"]
WIDE = ["company_name", "website", "domain", "industry", "employee_count", "revenue_usd", "is_public", "founded_year",
        "hq", "emails", "contacts", "phone", "growth", "parent", "notes", "sources", "score", "enriched_at"]
NARROW = ["id", "ts", "kind", "amount", "ok"]


class Records:
    def __init__(self, seed):
        # Only this one method is drawn from: Python keeps its numbers from version to version.
        self.random = random.Random(seed).random
        self.vocabulary = [self.word() for _ in range(4000)]

    def below(self, n):
        return int(self.random() * n)

    def one(self, items):
        return items[self.below(len(items))]

    def word(self):
        return "".join(self.one(PIECES) for _ in range(1 + self.below(3)))

    def prose(self):
        room, parts = int(600 * self.random() ** 2), []
        while room > 0:
            # Squared: some words are everywhere, most are rare.
            part = self.vocabulary[int(4000 * self.random() ** 2)]
            if self.random() < 0.06:
                part += self.one(SPICE)
            parts.append(part)
            room -= len(part) + 1
        return " ".join(parts)

    def time(self, index):
        minutes, second = divmod(index % 2_592_000, 60)
        hours, minute = divmod(minutes, 60)
        day, hour = divmod(hours, 24)
        return f"2026-06-{day + 1:02}T{hour:02}:{minute:02}:{second:02}.{self.below(1000):03}Z"

    def wide(self, index):
        chance, one, below = self.random, self.one, self.below
        name = f"{self.word().title()} {self.word().title()}"
        host = f"{name.lower().replace(' ', '-')}{index % 9973}.{one(ENDINGS)}"
        city, country, lat, lon = one(PLACES)
        people = [{
            "name": f"{one(GIVEN)} {one(FAMILY)}",
            "title": one(TITLES),
            "email": None if chance() < 0.2 else f"{one('ajmsk')}.{one(FAMILY).lower()}@{host}",
            "confidence": round(chance(), 3),
        } for _ in range(below(4))]
        record = {
            "company_name": f"{name} {one(FORMS)}",
            "website": f"https://www.{host}/",
            "domain": host,
            "industry": one(INDUSTRIES),
            "employee_count": int(10 ** (1 + 4 * chance())),
            "revenue_usd": None if chance() < 0.3 else round(10 ** (5 + 4 * chance()), 2),
            "is_public": chance() < 0.12,
            "founded_year": 1890 + below(136),
            "hq": None if chance() < 0.02 else {"city": city, "country": country, "lat": round(lat + chance() / 10, 5),
                                                "lon": round(lon + chance() / 10, 5)},
            "emails": [f"{box}@{host}" for box in ("info", "sales", "jobs")[:below(4)]],
            "contacts": people,
        }
        if chance() < 0.85:
            record["phone"] = f"+{1 + below(99)} {20 + below(980)} {below(10_000_000):07}"
        record["growth"] = below(340) - 40 if index < FRACTIONS_FROM else round(340 * chance() - 40, 2)
        none = index < TEXT_FROM or chance() < 0.4
        record["parent"] = None if none else f"{self.word().title()} Holding"
        if chance() < 0.9:
            record["notes"] = self.prose()
        record["sources"] = [f"https://{one(('registry', 'news', 'jobs'))}.example.org/companies/{below(1 << 32):08x}"
                             for _ in range(1 + below(4))]
        record["score"] = round(chance(), 4)
        record["enriched_at"] = self.time(index)
        return record

    def narrow(self, index):
        return {"id": 100_000_000 + index, "ts": self.time(index), "kind": self.one(EVENTS),
                "amount": round(1000 * self.random(), 2), "ok": self.random() < 0.97}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shape", choices=["wide", "narrow"], default="wide")
    parser.add_argument("--format", choices=["ndjson", "csv"], default="ndjson")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    records = Records(args.seed)
    make, columns = (records.wide, WIDE) if args.shape == "wide" else (records.narrow, NARROW)
    compact = {ascii: json.JSONEncoder(ensure_ascii=ascii, separators=(",", ":")).encode for ascii in (False, True)}

    def cell(value):
        if isinstance(value, bool):
            return "true" if value else "false"
        return compact[False](value) if isinstance(value, (dict, list)) else value

    with open(args.out, "w", encoding="utf-8", newline="", buffering=1 << 20) as out:
        if args.format == "csv":
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(columns)
            for index in range(args.rows):
                record = make(index)
                writer.writerow([cell(record.get(column)) for column in columns])
        else:
            for index in range(args.rows):
                # One in four escapes all outside ASCII, as many APIs do.
                out.write(compact[index % 4 == 3](make(index)) + "\n")


if __name__ == "__main__":
    sys.exit(main())
