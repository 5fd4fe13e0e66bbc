/**
 * From what was said to a row of training data, or to the reason why it is none: normalise ▸ quality ▸ anonymise ▸ deduplicate ▸ classify. Pure but
 * for the list of what is there already; writes nothing, and gives nothing out that has not been anonymised.
 */
import type { Row } from "../../../shared/datasets/row.ts";
import { splitOf, threadOf } from "../../../shared/datasets/split.ts";
import { isInWindow, windowOf } from "../../../shared/datasets/window.ts";
import { explainWords } from "../../../shared/domains/classify.ts";
import type { Domain } from "../../../shared/domains/domains.ts";
import { featuresOf, type Features } from "../../../shared/domains/features.ts";
import { spokenWords } from "../../../shared/domains/spoken.ts";
import { isSure } from "../../../shared/domains/trainer.ts";
import { sha256, type Conversation, type Message } from "../../../shared/events/conversation.ts";
import { PersonalDataError, type Anonymised, type Anonymiser } from "../../../shared/anonymise/anonymiser.ts";
import { contentId, type Duplicates } from "../deduplicate/duplicates.ts";
import { judge, type QualityReason } from "../quality/rules.ts";
import type { Sides } from "../store/sides.ts";
import { normaliseConversation } from "./normalise.ts";

export type DropReason = QualityReason | "duplicate" | "near_duplicate" | "split_conflict" | "personal_data_failure" | "internal_error";
/** `lesson`: what the classifier of domains can learn from the row; null where keywords were in doubt about it. */
export type Outcome = { readonly kind: "row"; readonly row: Row; readonly lesson: Features | null } | { readonly kind: "drop"; readonly domain: string; readonly reason: DropReason; readonly conversation: string };

export interface PipelineParts {
  readonly anonymiser: Anonymiser;
  readonly domains: readonly Domain[];
  readonly heldOutShare: number;
  /** TRAINING_DATA_DAYS */
  readonly days: number;
  /** MAX_ROW_CHARACTERS */
  readonly longest?: number;
  /** Where the rows are that are there already. */
  readonly sides?: Pick<Sides, "sideFor">;
}

/** @param now milliseconds since 1970, put on the row as collectedAt @param key conversationKey of its id, for who has it already */
export function processConversation(given: Conversation, duplicates: Duplicates, { anonymiser, domains, heldOutShare, days, longest, sides }: PipelineParts, now: number, key = conversationKey(given.id)): Outcome {
  const conversation = normaliseConversation(given);
  const drop = (reason: DropReason, messages: readonly Message[]): Outcome => ({ kind: "drop", domain: sort(messages, domains, given.domain).domain, reason, conversation: key });

  const raw = [...conversation.messages, conversation.answer];
  const fault = judge(conversation, longest);
  if (fault !== null) return drop(fault, raw);

  let clean: Anonymised;
  let model: string;
  let id: string;
  try {
    clean = anonymiser.conversation({ messages: raw, tools: conversation.tools });
    model = publicModel(conversation.model, anonymiser);
    id = publicId(given.id, anonymiser);
  } catch (error) {
    if (error instanceof PersonalDataError) return drop("personal_data_failure", raw);
    throw error;
  }

  const { messages, tools, counts } = clean;
  const content = { id: contentId(messages), messages };
  const match = duplicates.find(content);
  const window = windowOf(days, now);
  // What is too old to be trained on makes no duplicate of something that is not.
  if (match !== null && (isInWindow(match, window) || !isInWindow(conversation, window))) return drop(match.reason, messages);

  const cluster = match?.cluster ?? content.id;
  const caller = conversation.caller === "" || /^[0-9a-f]{16,64}$/.test(conversation.caller) ? conversation.caller : sha256(conversation.caller);
  const thread = threadOf(caller, messages);
  const side = sides === undefined ? splitOf(thread, heldOutShare) : sides.sideFor(cluster, thread, heldOutShare);
  // Its cluster is on one side and its conversation on the other: wherever it went, what is tested with would have been trained on.
  if (side === null) return drop("split_conflict", messages);
  const { domain, language, lesson } = sort(messages, domains, given.domain);
  const row: Row = {
    version: 1,
    id: content.id,
    conversation: id,
    domain,
    language,
    messages,
    ...(tools === undefined ? {} : { tools }),
    split: side,
    cluster,
    source: conversation.source,
    model,
    generation: conversation.generation,
    caller,
    ...(conversation.finishReason === undefined || !/^[a-z_]{1,32}$/.test(conversation.finishReason) ? {} : { finishReason: conversation.finishReason }),
    ...(conversation.feedback === undefined ? {} : { feedback: conversation.feedback }),
    ...(conversation.provenance === undefined ? {} : { provenance: conversation.provenance }),
    createdAt: conversation.createdAt,
    collectedAt: now,
    anonymised: counts,
  };
  return { kind: "row", row, lesson: lesson() };
}

interface Sorted {
  readonly domain: string;
  readonly language: Row["language"];
  lesson(this: void): Features | null;
}

function sort(messages: readonly Message[], domains: readonly Domain[], given?: string): Sorted {
  const words = spokenWords(messages);
  const found = explainWords(words, domains);
  // A person who hands a file over knows what it is about; a name that is none of ours would open a folder that nobody trains.
  const domain = given !== undefined && domains.some(({ name }) => name === given) ? given : found.classification.domain;
  return { domain, language: found.classification.language, lesson: () => (isSure(found, domain) ? featuresOf(words) : null) };
}

/** The same conversation has the same key for ever: half a SHA-256 of its id. */
export function conversationKey(id: string): string {
  return sha256(id).slice(0, 32);
}

/** An application may put anything into an id; one that could tell about a person is written as its hash. */
function publicId(id: string, anonymiser: Anonymiser): string {
  const harmless = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/.test(id) && anonymiser.find(id).length === 0;
  return harmless ? id : `${hashedIdMark}${conversationKey(id)}`;
}

const models = new WeakMap<Anonymiser, Map<string, string>>();
const mostModels = 256;

/** Conversations by the thousand name the same few models. */
function publicModel(model: string, anonymiser: Anonymiser): string {
  let known = models.get(anonymiser);
  if (known === undefined) models.set(anonymiser, (known = new Map<string, string>()));
  let text = known.get(model);
  if (text === undefined) {
    text = anonymiser.text(model).text;
    if (known.size >= mostModels) known.clear();
    if (model.length <= 128) known.set(model, text);
  }
  return text;
}

const hashedIdMark = "sha256:";

/** conversationKey of the conversation that a row came from. */
export const keyOfRow = ({ conversation }: Pick<Row, "conversation">) => (conversation.startsWith(hashedIdMark) ? conversation.slice(hashedIdMark.length) : conversationKey(conversation));
