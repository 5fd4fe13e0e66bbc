/** Entry of the run child: one process for one attempt at one run, forked by the trainer (fork.ts), gone when the attempt has ended. */
import { serveParent } from "./channel.ts";
import { executeRun } from "./execute.ts";

serveParent(executeRun);
