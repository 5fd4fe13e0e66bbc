/** A chart of a few lines as SVG: for curves that are to be looked at in the docs. */
export interface Line {
  readonly name: string;
  readonly values: readonly number[];
}

const [width, height] = [720, 360];
const margin = { left: 56, right: 16, top: 40, bottom: 44 };
/** Told apart by people who see few colours, too, and by their dashes. */
const styles = [
  { colour: "#222222", dashes: "none" },
  { colour: "#0072b2", dashes: "7 3" },
  { colour: "#d55e00", dashes: "2 3" },
] as const;

/** @param lines at most three, all of one length; the first value stands at x = 1 */
export function lineChart(title: string, axes: { readonly x: string; readonly y: string }, lines: readonly Line[]): string {
  const all = lines.flatMap(({ values }) => [...values]);
  const count = Math.max(...lines.map(({ values }) => values.length));
  const [low, high] = [Math.floor(2 * Math.min(...all)) / 2, Math.ceil(2 * Math.max(...all)) / 2];
  const x = (at: number) => margin.left + ((at - 1) / Math.max(1, count - 1)) * (width - margin.left - margin.right);
  const y = (value: number) => height - margin.bottom - ((value - low) / (high - low)) * (height - margin.top - margin.bottom);
  const text = (at: readonly [number, number], words: string, anchor = "middle") => `<text x="${at[0].toFixed(1)}" y="${at[1].toFixed(1)}" text-anchor="${anchor}">${words}</text>`;
  const grid = ticks(low, high, 0.5).map((value) => `<path d="M${margin.left} ${y(value).toFixed(1)}H${width - margin.right}" stroke="#dddddd"/>${text([margin.left - 8, y(value) + 4], value.toFixed(1), "end")}`);
  const steps = ticks(0, count, 10).filter((at) => at > 0).map((at) => text([x(at), height - margin.bottom + 18], String(at)));
  const curves = lines.map(({ values }, at) => `<polyline fill="none" stroke="${styles[at % 3]?.colour}" stroke-width="2" stroke-dasharray="${styles[at % 3]?.dashes}" points="${values.map((value, step) => `${x(step + 1).toFixed(1)},${y(value).toFixed(1)}`).join(" ")}"/>`);
  const legend = lines.map(({ name }, at) => {
    const from = width - margin.right - 110 * (lines.length - at);
    return `<path d="M${from} 46h28" stroke="${styles[at % 3]?.colour}" stroke-width="2" stroke-dasharray="${styles[at % 3]?.dashes}"/>${text([from + 34, 50], name, "start")}`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12" fill="#222222">
<rect width="${width}" height="${height}" fill="#ffffff"/>
<text x="${margin.left}" y="22" font-size="14">${title}</text>
${[...grid, ...steps, ...curves, ...legend].join("\n")}
${text([(margin.left + width - margin.right) / 2, height - 8], axes.x)}
<text transform="translate(14 ${height / 2}) rotate(-90)" text-anchor="middle">${axes.y}</text>
</svg>
`;
}

function ticks(from: number, to: number, apart: number): number[] {
  return Array.from({ length: Math.floor((to - from) / apart + 1e-9) + 1 }, (_, at) => from + at * apart);
}
