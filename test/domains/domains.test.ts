import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { classify, loadDomains, requireDomain } from "../../shared/domains/domains.ts";
import { EverloraError } from "../../shared/errors/errors.ts";

describe("the table of domains", () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "everlora-domains-"));
  });
  after(() => rm(folder, { recursive: true, force: true }));
  const write = (value: unknown) => writeFile(join(folder, "domains.json"), typeof value === "string" ? value : JSON.stringify(value));
  const faultOf = () => {
    try {
      loadDomains(folder);
    } catch (error) {
      assert.ok(error instanceof EverloraError);
      assert.equal(error.code, "invalid_settings");
      return error.message;
    }
    return assert.fail("was accepted");
  };

  it("has the five bundled domains", () => {
    assert.deepEqual(loadDomains().map((domain) => domain.name), ["technical", "support", "legal", "medical", "general"]);
  });

  it("takes the user's domains, which may replace a bundled one", async () => {
    await write([{ name: "sales", keywords: { pt: { orçamento: 4 }, en: { quote: 4 } }, minExamples: 7 }, { name: "legal", keywords: { en: { statute: 9 } } }]);
    const domains = loadDomains(folder);
    assert.equal(classify("Preciso de um orçamento", domains).domain, "sales");
    assert.equal(classify("Can you quote me?", domains).domain, "sales");
    assert.equal(requireDomain("sales", domains).minExamples, 7);
    assert.equal(classify("advogado, contrato, cláusula", domains).domain, "general", "the replaced table has no such words");
  });

  it("names file and field of what is wrong", async () => {
    await write("{");
    assert.match(faultOf(), /domains\.json is not JSON/);
    await write([{ name: "Bad Name", keywords: {} }]);
    assert.match(faultOf(), /0\.name/);
    await write([{ name: "x", keywords: { pt: { a: -1 } } }]);
    assert.match(faultOf(), /0\.keywords\.pt\.a/);
    await write([{ name: "x", keywords: {}, colour: 1 }]);
    assert.match(faultOf(), /colour/);
    await write([{ name: "x", keywords: {} }, { name: "x", keywords: {} }]);
    assert.match(faultOf(), /x is there twice/);
  });

  it("lists the known names for an unknown one", () => {
    assert.throws(() => requireDomain("sport", loadDomains()), (error: unknown) => error instanceof EverloraError && error.code === "unknown_domain" && error.hint.includes("medical"));
  });
});
