/** A conversation in the one spelling that anonymiser and search for duplicates expect (shared/anonymise/normalise.ts). */
import { normaliseText } from "../../../shared/anonymise/normalise.ts";
import { walkConversation } from "../../../shared/anonymise/walk.ts";
import { unitsOf } from "../../../shared/domains/units.ts";
import type { Conversation } from "../../../shared/events/conversation.ts";

export function normaliseConversation(conversation: Conversation): Conversation {
  const { messages, tools } = walkConversation({ messages: [...conversation.messages, conversation.answer], tools: conversation.tools }, normalised);
  const answer = messages.pop() ?? conversation.answer;
  return { ...conversation, messages, answer, ...(tools === undefined ? {} : { tools }) };
}

const normalised = (text: string) => (isNormal(text) ? text : normaliseText(text));

/** Below it nothing combines with what stands before it. */
const firstCombining = 0x300;
/** By UTF-16 unit: 0 not looked at yet, 1 stays as it is wherever it stands, 2 may not. */
const kinds = new Uint8Array(0x2200);
const newline = 0x0a;
const space = 0x20;

/** Whether normaliseText would leave the text alone: sure of nearly every text that people write, by one look at each character. */
export function isNormal(text: string): boolean {
  const { length } = text;
  const units = unitsOf(text);
  if (length === 0) return true;
  if ((units[0] ?? 0) <= space || (units[length - 1] ?? 0) <= space) return false;
  for (let at = 0; at < length; at++) {
    const unit = units[at] ?? 0;
    if (unit === newline) {
      if (units[at - 1] === space || (units[at + 1] === newline && units[at + 2] === newline)) return false;
    } else if (unit >= kinds.length || (kinds[unit] || findKind(unit)) !== 1) return false;
  }
  return true;
}

function findKind(unit: number): number {
  const character = String.fromCharCode(unit);
  const stays = (unit < firstCombining || (unit >= 0x2018 && unit < 0x2028) || (unit >= 0x20a0 && unit < 0x20d0)) && unit > 0x1f && ["a", "1", ")", " "].every((side) => normaliseText(`a${side}${character}${side}a`) === `a${side}${character}${side}a`);
  return (kinds[unit] = stays ? 1 : 2);
}
