#!/usr/bin/env python3
"""Makes the test data beside this script: companies.csv, companies.ndjson, company_facts.ndjson.

Every company, person, address and number is made up. Domains end in `.example`, which nobody can
register; telephone numbers come from ranges kept for fiction, or have 555 where none is known.

The output depends on SEED alone: the random source is written out here, because the methods of
Python's own may change between versions. Run it without arguments to write the files again, or
with `--check` to compare them with what stands there.
"""

import json
import sys
from pathlib import Path

SEED = 20_261_123
COMPANIES = 2_650
NDJSON_ROWS = 300

COLUMNS = [
    "record_id", "domain", "company_name", "website", "country", "city", "industry",
    "employee_count", "revenue_usd", "founded_year", "is_public", "hq", "offices", "contacts",
    "registration_no", "phone", "notes", "crm_row_id",
]


class Random:
    """splitmix64."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        return z ^ (z >> 31)

    def below(self, n):
        return self.next() % n

    def between(self, low, high):
        return low + self.below(high - low + 1)

    def chance(self, percent):
        return self.below(100) < percent

    def pick(self, items):
        return items[self.below(len(items))]

    def some(self, items, count):
        rest = list(items)
        return [rest.pop(self.below(len(rest))) for _ in range(min(count, len(rest)))]


# code, telephone number with # for a digit, [(city, lat, lon)], [legal form], [person]
COUNTRIES = [
    ("US", "+1 415 555 01##", [("San Francisco", 37.7749, -122.4194), ("Austin", 30.2672, -97.7431), ("St. Paul", 44.9537, -93.09), ("New York, NY", 40.7128, -74.006)],
     ["Inc.", "LLC", "Corp.", "Co., Inc."], ["Avery Holt", "Jordan O'Neal", "Maya \"Mo\" Whitfield", "Chris Delgado"]),
    ("CA", "+1 613 555 01##", [("Montréal", 45.5019, -73.5674), ("Toronto", 43.6532, -79.3832), ("Québec", 46.8139, -71.208)],
     ["Ltd.", "Inc.", "Ltée"], ["Noémie Tremblay", "Liam Fraser", "Étienne Côté"]),
    ("GB", "+44 20 7946 0###", [("London", 51.5072, -0.1276), ("Leeds", 53.8008, -1.5491), ("Newcastle upon Tyne", 54.9783, -1.6178)],
     ["Ltd", "plc", "& Sons Ltd"], ["Imogen Hartley", "Rhys ap Gwilym", "Tom Ashdown"]),
    ("IE", "+353 20 913 ####", [("Dún Laoghaire", 53.294, -6.1339), ("Cork", 51.8985, -8.4756)],
     ["Ltd", "DAC"], ["Aoife Ní Bhriain", "Seán Ó Murchú"]),
    ("DE", "+49 30 23125 ###", [("München", 48.1351, 11.582), ("Köln", 50.9375, 6.9603), ("Berlin", 52.52, 13.405), ("Düsseldorf", 51.2277, 6.7735)],
     ["GmbH", "AG", "GmbH & Co. KG", "SE"], ["Jürgen Weiß", "Käthe Böhm", "Søren Groß"]),
    ("FR", "+33 1 99 00 ## ##", [("Paris", 48.8566, 2.3522), ("Orléans", 47.903, 1.9093), ("L'Haÿ-les-Roses", 48.7793, 2.3378)],
     ["SARL", "S.A.", "SAS"], ["Hélène L'Hermite", "François Guérin", "Zoé Lefèvre"]),
    ("ES", "+34 555 01# ###", [("Málaga", 36.7213, -4.4214), ("A Coruña", 43.3623, -8.4115)],
     ["S.L.", "S.A."], ["Íñigo Peña", "María José Núñez"]),
    ("SE", "+46 8 465 004 ##", [("Malmö", 55.605, 13.0038), ("Göteborg", 57.7089, 11.9746), ("Västerås", 59.6099, 16.5448)],
     ["AB", "Aktiebolag (publ)"], ["Åsa Lindqvist", "Björn Öberg"]),
    ("NO", "+47 555 01 ###", [("Tromsø", 69.6492, 18.9553), ("Oslo", 59.9139, 10.7522)],
     ["AS", "ASA"], ["Øyvind Ås", "Ingrid Sæther"]),
    ("PL", "+48 555 01# ###", [("Łódź", 51.7592, 19.456), ("Kraków", 50.0647, 19.945)],
     ["Sp. z o.o.", "S.A."], ["Małgorzata Żak", "Paweł Wójcik"]),
    ("UA", "+380 555 01# ###", [("Київ", 50.4501, 30.5234), ("Львів", 49.8397, 24.0297)],
     ["ТОВ", "LLC"], ["Олена Шевчук", "Тарас Її"]),
    ("JP", "+81 3 5550 1###", [("東京", 35.6762, 139.6503), ("大阪", 34.6937, 135.5023)],
     ["株式会社", "K.K."], ["佐藤 花子", "鈴木 一郎", "Kenji Mori"]),
    ("IN", "+91 555 010 ####", [("Bengaluru", 12.9716, 77.5946), ("Pune", 18.5204, 73.8567), ("मुंबई", 19.076, 72.8777)],
     ["Pvt Ltd", "Ltd"], ["Ananya Rao", "Vikram Deshpande"]),
    ("BR", "+55 11 5550 1###", [("São Paulo", -23.5505, -46.6333), ("Brasília", -15.7939, -47.8828)],
     ["Ltda.", "S.A."], ["João Conceição", "Luísa Magalhães"]),
    # Namibia: its code is what careless readers take for "not available".
    ("NA", "+264 555 01####", [("Windhoek", -22.5609, 17.0658), ("Lüderitz", -26.6481, 15.1538)],
     ["(Pty) Ltd", "CC"], ["Ndapewa Shikongo", "Petrus van Wyk"]),
    ("AE", "+971 555 01####", [("دبي", 25.2048, 55.2708), ("Abu Dhabi", 24.4539, 54.3773)],
     ["FZ-LLC", "PJSC"], ["ليلى الحداد", "Omar Farouk"]),
]

FIRST = """Kestrel Juniper Marlow Tamarack Ostrava Halden Brindle Quarry Saltmarsh Vesper Lindgren Copperfield
Norrland Amberley Thistle Fjordlys Caldera Monsoon Palisade Redwing Driftwood Larkspur Böhme Estrela Żubr
Kaze Nimbus Obsidian Zephyr Hawthorn Meridian Aldous Ravel Sørlys Ciel Élan Müller Ñandú Čapek Øst Ishikawa
Banyan Tidewater Gantry Piston Umbra Wren Yarrow Ember Flint""".split()
SECOND = """Robotics Logistics Foods Analytics Biotech Shipping Energi Textiles Health Systems Optics Mining
Software Studios Capital Marine Labs Forge Foundry Mobility Networks Ceramics Timber Instruments Aerospace
Media Pharma Interiors Breweries Farms Semiconductors Insurance Travel Cycles Audio Hydro Solar Paper Tools
Security""".split()
INDUSTRIES = ["Software", "Manufacturing", "Food & Beverage", "Logistics, Freight", "Biotechnology", "Energy",
              "Textiles", "Healthcare", "Mining", "Financial Services", "Media", "Aerospace"]
TITLES = ["CEO", "CTO", "Head of Sales", "VP Engineering", "Office Manager", "Procurement, EMEA"]
TECH = ["postgres", "kubernetes", "salesforce", "sap", "snowflake", "react", "rust", "c++", "c#", ".net", "hubspot",
        "kafka", "terraform", "excel"]
INVESTORS = ["Northlight Ventures", "Bühler & Töchter", "Harbour Nine", "三山キャピタル", "O'Dowd Partners"]
PLAIN_NOTES = ["Met at the trade fair.", "Asked for a quote, wants it by Friday", "No reply yet", "Prefers e-mail",
               "Renewal in Q3; check terms", "Old customer"]
ODD_NOTES = [
    "Said: \"call me, not my assistant\", twice.",
    "First line, with a comma\nsecond line \"quoted\"\n\nfourth line",
    "Windows line end\r\nand a tab\there",
    "Fährt fort in Zürich – naïve café, œuvre, ½ price, 5 €",
    "Very happy 🎉👩‍💻 — wants the 🇳🇦 office too",
    "日本語のメモ、カンマ,と\"引用符\"",
    "ملاحظة من اليمين إلى اليسار",
    "combining: e\u0301 a\u030a; zero width:\u200bhere; line separator:\u2028there",
    "=SUM(A1:A9)", "null", "NaN", "true", "007", "-", "\"", "''", "  spaces around  ", "trailing comma,",
    "back\\slash \\n is not a line break", "{\"looks\": \"like json\"}", "[1, 2", "NA", "1e5", "0x1F",
]
ASCII = str.maketrans("öÖøØéÉüÜñÑčČżŻúÚ", "oOoOeEuUnNcCzZuU")


def digits(r, pattern):
    return "".join(str(r.below(10)) if c == "#" else c for c in pattern)


def round_number(r, value):
    """A JSON number that is a whole one now and then, as hand-written data has them."""
    return int(value) if r.chance(10) else value


def contact(r, country, domain):
    if r.chance(4):
        return None
    name = r.pick(country[4])
    mail = f"{r.pick(['info', 'office', 'sales', 'hello'])}+{r.below(90) + 10}@{domain}"
    made = {
        "name": name,
        "title": None if r.chance(20) else r.pick(TITLES),
        "email": None if r.chance(25) else mail,
    }
    # A key that only some have.
    if r.chance(20):
        made["verified"] = r.chance(60)
    return made


def company(r, number):
    country = r.pick(COUNTRIES)
    code, phone, cities, forms, _ = country
    first, second, form = r.pick(FIRST), r.pick(SECOND), r.pick(forms)
    city, lat, lon = r.pick(cities)
    domain = f"{first}-{second}".translate(ASCII).lower() + f".{code.lower()}.example"
    row = {
        # Beyond 2^53: a double cannot hold these.
        "record_id": 9_007_199_254_740_993 + number * 7_919,
        "domain": domain,
        "company_name": f"{form}{first} {second}" if form == "株式会社" else f"{first} {second} {form}".replace("Sons", "Söner" if r.chance(50) else "Sons"),
        "website": None if r.chance(14) else f"https://{domain}",
        "country": code,
        "city": None if r.chance(5) else city,
        "industry": None if r.chance(7) else r.pick(INDUSTRIES),
        "employee_count": None if r.chance(8) else size(r),
        "revenue_usd": None if r.chance(35) else revenue(r),
        "founded_year": None if r.chance(20) else r.between(1871, 2025),
        "is_public": None if r.chance(30) else r.chance(12),
        "hq": None,
        "offices": None,
        "contacts": None,
        "registration_no": None if r.chance(10) else f"{r.between(1, r.pick([999, 99_999, 999_999])):06d}",
        "phone": None if r.chance(40) else digits(r, phone),
        "notes": None,
        "crm_row_id": f"r{number:05d}",
    }
    if r.chance(45):
        row["hq"] = {"city": city, "country": code, "lat": round_number(r, lat), "lon": lon}
        if r.chance(6):
            row["hq"]["lat"] = row["hq"]["lon"] = None
        elif r.chance(3):
            row["hq"] = {}
    if r.chance(45):
        row["offices"] = [c[0] for c in r.some(cities + r.pick(COUNTRIES)[2], r.between(0, 3))]
    if r.chance(28):
        row["contacts"] = [contact(r, country, domain) for _ in range(r.pick([0, 1, 1, 1, 2, 2, 3]))]
    if r.chance(30):
        row["notes"] = r.pick(ODD_NOTES) if r.chance(55) else r.pick(PLAIN_NOTES)
    elif r.chance(4):
        # Known to be empty, which is not the same as unknown.
        row["notes"] = ""
    return row


def size(r):
    return r.pick([r.between(1, 50), r.between(1, 60), r.between(51, 400), r.between(51, 400), r.between(400, 90_000)])


def revenue(r):
    millions = r.between(1, 40_000)
    return millions * 10_000 if r.chance(60) else float(f"{millions * 10_000 + r.below(1_000_000) / 100:.2f}")


def companies():
    """Rows in file order. About one in twenty repeats an earlier domain with other values: the
    filter may drop the first of a pair, so that its order against deduplication shows."""
    r = Random(SEED)
    rows, taken = [], set()
    while len(rows) < COMPANIES:
        number = len(rows)
        row = company(r, number)
        if rows and r.chance(5):
            earlier = r.pick(rows)
            for column in ("domain", "company_name", "country", "city", "hq"):
                row[column] = earlier[column]
            if row["website"] is not None:
                row["website"] = f"https://{row['domain']}"
        elif row["domain"] in taken:
            continue
        taken.add(row["domain"])
        rows.append(row)
    return rows


def facts(rows):
    """What the reference table knows: about 70 in 100 of the domains, in another order."""
    r = Random(SEED + 1)
    known = [d for d in dict.fromkeys(row["domain"] for row in rows) if r.chance(70)]
    made = []
    for domain in r.some(known, len(known)):
        fact = {"domain": domain}
        # A key may be null or absent; both mean that nothing is known.
        if not r.chance(8):
            fact["hiring_now"] = None if r.chance(10) else r.chance(45)
        fact["tech_stack"] = None if r.chance(15) else r.some(TECH, r.below(4))
        if r.chance(40):
            fact["funding"] = {
                "round": r.pick(["Seed", "Series A", "Series B", "Séries C", None]),
                "amount_usd": None if r.chance(15) else r.between(1, 900) * 100_000,
                "investors": r.some(INVESTORS, r.below(3)),
            }
        elif r.chance(50):
            fact["funding"] = None
        fact["headcount_growth"] = None if r.chance(12) else r.between(-500, 1_500) / 1000
        made.append(fact)
    return made


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def cell(value):
    """One CSV cell: null is an empty one, the empty text a quoted one, nested values JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        value = compact(value)
    if not isinstance(value, str):
        return json.dumps(value)
    if value == "" or any(c in value for c in ",\"\r\n"):
        return '"' + value.replace('"', '""') + '"'
    return value


def csv_text(rows):
    lines = [",".join(COLUMNS)]
    lines += [",".join(cell(row[column]) for column in COLUMNS) for row in rows]
    return "\n".join(lines) + "\n"


def ndjson_text(rows):
    return "".join(compact(row) + "\n" for row in rows)


def main():
    rows = companies()
    files = {
        "companies.csv": csv_text(rows),
        # Absent and null mean the same: every other row leaves its nulls out.
        "companies.ndjson": ndjson_text(
            row if i % 2 == 0 else {k: v for k, v in row.items() if v is not None}
            for i, row in enumerate(rows[:NDJSON_ROWS])
        ),
        "company_facts.ndjson": ndjson_text(facts(rows)),
    }
    here = Path(__file__).resolve().parent
    stale = 0
    for name, text in files.items():
        data = text.encode("utf-8")
        path = here / name
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_bytes() != data:
                print(f"{name} is not what this script makes", file=sys.stderr)
                stale = 1
        else:
            path.write_bytes(data)
            print(f"{name}: {len(data)} bytes, {data.count(10)} line ends")
    return stale


if __name__ == "__main__":
    sys.exit(main())
