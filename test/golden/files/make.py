"""Makes the workbooks and Parquet files that test/collector/formats.test.ts reads, with openpyxl, xlsxwriter and pyarrow.
    python make.py <this folder>
"""
import os
import sys

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import xlsxwriter

folder = sys.argv[1]
QA = [("Como cancelo o contrato?", "Avise por escrito com trinta dias.", "Contrato de aluguel"), ("Qual é o prazo da multa?", "O prazo é de dez dias, contados do aviso.", "")]

book = openpyxl.Workbook()
sheet = book.active
sheet.title = "Perguntas"
sheet.append(["Pergunta", "Resposta", "Contexto"])
for row in QA:
    sheet.append(row)
sheet.append(["Esta célula é calculada?", "=CONCATENATE(\"a\",\"b\")", ""])  # openpyxl computes nothing: no value
sheet.append(["Sem resposta", None, None])
book.create_sheet("Outra").append(["x"])
book.save(os.path.join(folder, "openpyxl.xlsx"))

book = xlsxwriter.Workbook(os.path.join(folder, "xlsxwriter.xlsx"))
sheet = book.add_worksheet("Q&A")
sheet.write_row(0, 0, ["question", "answer"])
sheet.write_row(1, 0, ["What is 6 times 7?"])
sheet.write_formula(1, 1, '="It is " & 42', None, "It is 42")  # with the value that Excel would have computed
sheet.write_row(2, 0, ["How many days has a week?", 7])
sheet.write_row(3, 0, ["What is 1 divided by 0?"])
sheet.write_formula(3, 1, "=1/0", None, "#DIV/0!")
sheet.write_rich_string(4, 0, "Is ", book.add_format({"bold": True}), "bold", " text kept?")
sheet.write_string(4, 1, "Yes, with _x000D_ and line\nbreaks.")
book.close()

pq.write_table(pa.table({"pergunta": [q for q, _, _ in QA], "resposta": [a for _, a, _ in QA], "contexto": [c for _, _, c in QA]}), os.path.join(folder, "columns.parquet"), compression="zstd")
messages = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a, _ in QA]
pq.write_table(pa.table({"messages": messages}), os.path.join(folder, "messages.parquet"), compression="snappy")
