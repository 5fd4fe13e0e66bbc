/** Tables as plain text, for people. Widths are counted in code points, which is right for the letters that we print. */

export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
}

/** Lines without trailing spaces, the header first, then a rule. A cell may hold several lines. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const header = columns.map(({ title }) => title);
  const widths = columns.map((_, index) => Math.max(...[header, ...rows].flatMap((row) => (row[index] ?? "").split("\n").map(width))));
  const rule = widths.map((size) => "─".repeat(size));
  return [header, rule, ...rows].flatMap((row) => rowLines(columns, widths, row));
}

function rowLines(columns: readonly Column[], widths: readonly number[], row: readonly string[]): string[] {
  const cells = columns.map((_, index) => (row[index] ?? "").split("\n"));
  const height = Math.max(...cells.map((lines) => lines.length));
  return Array.from({ length: height }, (_, line) =>
    columns
      .map(({ align }, index) => pad(cells[index]?.[line] ?? "", widths[index] ?? 0, align ?? "left"))
      .join("  ")
      .trimEnd(),
  );
}

/** Two texts beside each other, wrapped to `columnWidth`. */
export function sideBySide(left: { title: string; text: string }, right: { title: string; text: string }, columnWidth: number): string[] {
  const lines = [left, right].map(({ title, text }) => [title, "─".repeat(Math.min(columnWidth, width(title))), ...wrap(text, columnWidth)]);
  const height = Math.max(...lines.map((column) => column.length));
  return Array.from({ length: height }, (_, index) => `${pad(lines[0]?.[index] ?? "", columnWidth, "left")}  │ ${lines[1]?.[index] ?? ""}`.trimEnd());
}

/** Breaks at spaces; a word longer than a line is cut. */
export function wrap(text: string, columnWidth: number): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split("\n")) {
    let line = "";
    for (const word of paragraph.split(" ")) {
      let rest = word;
      if (line !== "" && width(line) + 1 + width(rest) > columnWidth) {
        lines.push(line);
        line = "";
      }
      while (width(rest) > columnWidth) {
        lines.push([...rest].slice(0, columnWidth).join(""));
        rest = [...rest].slice(columnWidth).join("");
      }
      line = line === "" ? rest : `${line} ${rest}`;
    }
    lines.push(line);
  }
  return lines;
}

function pad(text: string, size: number, align: "left" | "right"): string {
  const filler = " ".repeat(Math.max(0, size - width(text)));
  return align === "left" ? text + filler : filler + text;
}

const width = (text: string) => [...text].length;
