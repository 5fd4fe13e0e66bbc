/** Finds a TCP port that nobody listens on. */
import { createServer, type AddressInfo } from "node:net";

/** A port of 127.0.0.1 that was free a moment ago. Somebody may be faster: whoever uses it must be ready to ask again. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", resolve);
  });
  const { port } = probe.address() as AddressInfo;
  await new Promise<void>((resolve) => probe.close(() => resolve()));
  return port;
}
