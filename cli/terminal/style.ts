/** Colours for people: off when the stream is no terminal or NO_COLOR is set (https://no-color.org). */
import { parentEnvironment } from "../../shared/config/settings.ts";

const codes = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, blue: 34, magenta: 35, cyan: 36 } as const;
export type Colour = keyof typeof codes;
export type Paint = (text: string, ...colours: readonly Colour[]) => string;

export function painter(stream: { readonly isTTY?: boolean }): Paint {
  const noColour = parentEnvironment()["NO_COLOR"];
  if (stream.isTTY !== true || (noColour !== undefined && noColour !== "")) return (text) => text;
  return (text, ...colours) => (colours.length === 0 ? text : `\u001b[${colours.map((colour) => codes[colour]).join(";")}m${text}\u001b[0m`);
}
