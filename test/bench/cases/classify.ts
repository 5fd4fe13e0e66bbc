/** Sorting into domains: clinc150's ten domains by keywords alone and with the trained classifier, and the samples; accuracy, abstention, calibration, speed. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { projectRoot } from "../../../shared/config/settings.ts";
import { loadSamples } from "../../../shared/datasets/samples.ts";
import { setClassifier } from "../../../shared/domains/classifier_file.ts";
import { classify, fallbackDomain } from "../../../shared/domains/classify.ts";
import { loadDomains, type Domain } from "../../../shared/domains/domains.ts";
import { predict, trainNaiveBayes, type Example } from "../../../shared/domains/naive_bayes.ts";
import { textOf } from "../../../shared/events/conversation.ts";
import { shuffled } from "../../support/shuffled.ts";
import type { Bench, BenchContext } from "../bench.ts";

const clincSchema = z.looseObject({ train: z.array(z.tuple([z.string(), z.string()])), test: z.array(z.tuple([z.string(), z.string()])), oos_test: z.array(z.tuple([z.string(), z.string()])) });

export const classifyBench: Bench = {
  name: "classify",
  about: "sorting into domains: clinc150 and the samples, keywords alone and with the trained classifier",
  async run(context) {
    await onSamples(context);
    const folder = context.option("clinc", join(projectRoot, "..", "shared", "data", "clinc150"));
    if (existsSync(join(folder, "data_full.json"))) onClinc(context, folder);
    else context.say(`clinc150 is not at ${folder} (--clinc FOLDER): left out`);
  },
};

/** Five folds: the classifier is trained on what keywords were sure of in four of them, as the collector does it, and asked about the fifth. */
async function onSamples({ report }: BenchContext): Promise<void> {
  const samples = (await loadSamples(join(projectRoot, "shared", "datasets", "samples"))).filter(({ kind }) => kind !== "junk");
  const rows = shuffled(samples.map(({ domain, messages }) => ({ domain, question: textOf(messages.find(({ role }) => role === "user") ?? { role: "user" }), text: messages.map(textOf).join("\n") })));
  const results: Result[][] = [[], []];
  for (let fold = 0; fold < 5; fold++) {
    const table = loadDomains();
    const isTest = (at: number) => at % 5 === fold;
    const sorted = rows.filter((_, at) => !isTest(at)).map(({ text }) => ({ text, domain: classify(text, table).domain }));
    for (const [at, withClassifier] of [false, true].entries()) {
      setClassifier(table, withClassifier ? trainNaiveBayes(sorted) : null);
      for (const { question, domain } of rows.filter((_, row) => isTest(row))) results[at]?.push({ ...classify(question, table), truth: domain });
    }
  }
  const table = loadDomains();
  const started = performance.now();
  for (const { question } of rows) classify(question, table);
  const speed = (performance.now() - started) / rows.length;
  for (const [at, name] of ["keywords", "keywords and classifier"].entries()) {
    const { accuracy, abstained, precision } = summary(results[at] ?? []);
    report({ case: `samples, ${name}`, sizes: { questions: rows.length }, ours: accuracy, unit: "share right", bar: "≥ 0.9", note: "the samples have questions of `general`, for which abstaining is right", detail: { abstained, rightWhenDecided: precision, ...(at === 0 ? { msAQuestion: speed } : {}) } });
  }
}

function onClinc({ report }: BenchContext, folder: string): void {
  const data = clincSchema.parse(JSON.parse(readFileSync(join(folder, "data_full.json"), "utf8")));
  const domains = z.record(z.string(), z.array(z.string())).parse(JSON.parse(readFileSync(join(folder, "domains.json"), "utf8")));
  const domainOf = new Map(Object.entries(domains).flatMap(([domain, intents]) => intents.map((intent) => [intent, domain.replaceAll("_", "-")] as const)));
  const label = ([text, intent]: readonly [string, string]): Example[] => {
    const domain = domainOf.get(intent);
    return domain === undefined ? [] : [{ text, domain }];
  };
  // The table that a user would write in a minute: the intents' own names as keywords.
  const table: Domain[] = Object.entries(domains).map(([name, intents]) => ({ name: name.replaceAll("_", "-"), description: "", keywords: { en: Object.fromEntries(intents.flatMap((intent) => [[intent.replaceAll("_", " "), 4], ...intent.split("_").filter((word) => word.length > 3).map((word) => [word, 2.5] as const)])) } }));
  const test = data.test.flatMap(label);
  const outside = data.oos_test.map(([text]) => text);
  const started = performance.now();
  const keywords = test.map(({ text, domain }) => ({ ...classify(text, table), truth: domain }));
  const speed = (performance.now() - started) / test.length;
  const strayed = () => outside.filter((text) => !classify(text, table).abstained).length / outside.length;
  const alone = summary(keywords);
  report({ case: "clinc150, keywords alone", sizes: { questions: test.length, domains: table.length }, ours: alone.accuracy, unit: "share right", note: "keywords: the names of the intents", detail: { abstained: alone.abstained, rightWhenDecided: alone.precision, outOfScopeDecided: strayed(), msAQuestion: speed } });
  const train = shuffled(data.train.flatMap(label));
  for (const [name, examples] of [["sorted by the keywords themselves", train.flatMap(({ text }) => { const found = classify(text, table); return found.abstained ? [] : [{ text, domain: found.domain }]; })], ["sorted by people", train]] as const) {
    const before = performance.now();
    const model = trainNaiveBayes(examples);
    const seconds = (performance.now() - before) / 1_000;
    if (model === null) continue;
    setClassifier(table, model);
    const both = summary(test.map(({ text, domain }) => ({ ...classify(text, table), truth: domain })));
    const sure = test.map(({ text, domain }) => ({ ...predict(model, text), truth: domain }));
    const atThreshold = sure.filter(({ probability }) => probability >= model.threshold);
    report({
      case: `clinc150, with a classifier trained on rows ${name}`,
      sizes: { questions: test.length, trainedOn: examples.length, features: model.features.size },
      ours: both.accuracy,
      unit: "share right",
      ratio: both.accuracy / alone.accuracy,
      note: "ratio: over keywords alone",
      detail: { abstained: both.abstained, rightWhenDecided: both.precision, outOfScopeDecided: strayed(), classifierAlone: sure.filter((one) => one.domain === one.truth).length / sure.length, aboveThreshold: { share: atThreshold.length / sure.length, right: atThreshold.filter((one) => one.domain === one.truth).length / Math.max(1, atThreshold.length) }, ece: calibrationError(sure), temperature: model.temperature, threshold: model.threshold, secondsToTrain: seconds },
    });
    setClassifier(table, null);
  }
}

interface Result {
  readonly domain: string;
  readonly truth: string;
  readonly abstained: boolean;
}

function summary(results: readonly Result[]): { accuracy: number; abstained: number; precision: number } {
  const right = results.filter(({ domain, truth }) => domain === truth).length;
  const decided = results.filter(({ abstained, domain }) => !abstained && domain !== fallbackDomain);
  return { accuracy: right / results.length, abstained: results.filter(({ abstained }) => abstained).length / results.length, precision: decided.filter(({ domain, truth }) => domain === truth).length / Math.max(1, decided.length) };
}

/** Expected calibration error over ten bins of probability (Guo et al. 2017). */
export function calibrationError(rows: readonly { domain: string; truth: string; probability: number }[]): number {
  let error = 0;
  for (let bin = 0; bin < 10; bin++) {
    const own = rows.filter(({ probability }) => Math.min(9, Math.floor(probability * 10)) === bin);
    if (own.length === 0) continue;
    const right = own.filter(({ domain, truth }) => domain === truth).length / own.length;
    const said = own.reduce((sum, { probability }) => sum + probability, 0) / own.length;
    error += (Math.abs(right - said) * own.length) / rows.length;
  }
  return error;
}
