/** A conversation as the quality rules look at it: its texts, taken out once. */
import { textOf, type Conversation } from "../../../shared/events/conversation.ts";

export interface Draft {
  readonly conversation: Conversation;
  /** All that the user said. */
  readonly prompt: string;
  readonly answer: string;
  /** What came from outside and could carry instructions: users and tools. */
  readonly incoming: string;
  /** Characters of all messages together. */
  readonly length: number;
}

export function draftOf(conversation: Conversation): Draft {
  const of = (...roles: string[]) =>
    conversation.messages
      .filter((message) => roles.includes(message.role))
      .map(textOf)
      .join("\n");
  return {
    conversation,
    prompt: of("user"),
    answer: textOf(conversation.answer),
    incoming: of("user", "tool", "function"),
    length: [...conversation.messages, conversation.answer].reduce((sum, message) => sum + textOf(message).length + (message.tool_calls === undefined ? 0 : JSON.stringify(message.tool_calls).length), 0),
  };
}

/** Words in lower case, the first so many of them. */
export function wordsIn(text: string, most = Infinity): string[] {
  const words: string[] = [];
  const lower = text.toLowerCase();
  let start = -1;
  for (let at = 0; at < lower.length && words.length < most; at++) {
    const unit = lower.charCodeAt(at);
    const isHalf = unit >= 0xd800 && unit < 0xdc00 && (lower.codePointAt(at) ?? 0) >= 0x1_0000;
    if (isHalf ? /[\p{L}\p{N}]/u.test(lower.slice(at, at + 2)) : inWord(unit)) {
      if (start < 0) start = at;
    } else if (start >= 0) {
      words.push(lower.slice(start, at));
      start = -1;
    }
    if (isHalf) at++;
  }
  if (start >= 0 && words.length < most) words.push(lower.slice(start));
  return words;
}

/** By UTF-16 unit: 0 not looked at yet, 1 a letter or digit, 2 neither. */
const kinds = new Uint8Array(0x1_0000);

function inWord(unit: number): boolean {
  let kind = kinds[unit] ?? 0;
  if (kind === 0) kinds[unit] = kind = /[\p{L}\p{N}]/u.test(String.fromCharCode(unit)) ? 1 : 2;
  return kind === 1;
}
