/** Reads one file of conversations and tells what it found: as a process of its own, so that its memory can be bounded. Arguments: path, format. */
import { formatNamed } from "../../../services/collector/formats/formats.ts";

const [path = "", format = ""] = process.argv.slice(2);
const faults: string[] = [];
let drafts = 0;
if (format === "held") faults.push(...Array.from({ length: 100 }, (_, at) => `${at}`.padEnd(1 << 20, "x").split("").join("")));
else {
  for await (const item of formatNamed(format).read(path, {})) {
    if ("fault" in item) faults.push(`${item.at.line ?? `#${item.at.record ?? ""}`}: ${item.fault}`);
    else drafts++;
  }
}
process.send?.({ drafts, faults: faults.map((fault) => fault.slice(0, 200)) });
process.disconnect?.();
