/**
 * A process that writes without end, to be killed in the middle. Arguments: what to write (file, folder, lines) and where. It reports every write
 * that was acknowledged.
 */
import { join } from "node:path";
import { appendLinesSynced, createFolderAtomic, writeFileAtomic, writeFileSynced } from "../../../shared/files/atomic.ts";
import { contentOf } from "./content.ts";

const [kind = "", path = ""] = process.argv.slice(2);
const say = (message: object) => process.send?.(message);

for (let version = 1; ; version++) {
  if (kind === "file") await writeFileAtomic(path, contentOf(version));
  else if (kind === "lines") await appendLinesSynced(path, [`{"line":${version}}`]);
  else {
    await createFolderAtomic(join(path, `folder-${version}`), async (temporary) => {
      await writeFileSynced(join(temporary, "first"), contentOf(version));
      say({ halfway: version });
      await writeFileSynced(join(temporary, "second"), contentOf(version));
    });
  }
  say({ written: version });
}
